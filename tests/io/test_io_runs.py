"""Years of run numbers: certain, or unknown."""

import pytest

from l1scout.io.runs import era, year


@pytest.mark.parametrize(
    ("run", "expected"),
    [
        (149_181, "2010"),
        (151_000, "2010"),  # lead ions
        (165_617, "2011"),
        (182_000, "2011"),  # lead ions
        (194_533, "2012"),
        (211_000, "2013"),  # protons on lead
        (260_627, "2015"),
        (263_000, "2015"),  # lead ions
        (286_000, "2016"),  # protons on lead
        (306_800, "2017"),
        (315_267, "2018"),
        (327_000, "2018"),  # lead ions
        (346_500, "unknown"),  # test beam of 2021
        (360_000, "2022"),
        (370_000, "2023"),
        (375_000, "2023"),  # lead ions
        (380_963, "2024"),
        (388_784, "2024"),  # lead ions
        (392_000, "2025"),
        (400_000, "2025"),  # lead ions
        (403_000, "2026"),
        (390_000, "unknown"),
        (212_000, "unknown"),
        (500_000, "unknown"),
    ],
)
def test_the_year_of_a_run(run, expected):
    assert year(run) == expected
    assert era([run]) == (expected if expected == "unknown" else f"{expected} (by run number)")


def test_several_runs_and_none():
    assert era([380_963, 315_267, 390_000, 1]) == "2018, 2024, unknown (by run number)"
    assert era([1, 0]) is None
    assert era([]) is None
