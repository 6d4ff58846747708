"""Conditions of muons: what files say, what run numbers say, and what is warned of."""

import numpy as np
import pytest

from l1scout.io import conditions_of
from l1scout.io.conditions import (
    BMTF,
    KALMAN,
    Conditions,
    differences,
    of_metadata,
    simulation,
    years,
)
from toy_muons import write_parquet

REAL_2018 = Conditions(False, "2018 (by run number)", BMTF, "hardware")


@pytest.mark.parametrize("kind", ["DPG_NANO", "SCOUTING_NANO", "L1NTUPLE"])
def test_run_numbers_say_the_era_but_not_that_data_are_real(samples, kind):
    found = conditions_of(samples[kind])
    assert (found.simulated, years(found.era), found.trigger, found.tables) == (
        None,
        {2018},
        None,
        None,
    )


def test_a_parquet_file_says_it_itself_and_before_its_run_numbers(tmp_path):
    columns = {"hwPt": np.array([7, 8]), "hwCharge": np.array([0, 1]), "run": np.array([380_963, 380_963])}
    found = conditions_of(write_parquet(tmp_path / "a", columns))
    assert (found.simulated, years(found.era), found.trigger) == (None, {2024}, None)
    found = conditions_of(write_parquet(tmp_path / "c", columns, {"simulated": False}))
    assert (years(found.era), found.trigger, found.tables) == ({2024}, KALMAN, "hardware")
    about = {"simulated": True, "era": "2030", "trigger": "other", "tables": "official"}
    assert conditions_of(write_parquet(tmp_path / "b", columns, about)) == Conditions(
        True, "2030", "other", "official"
    )


def test_what_is_not_known_is_not_guessed(samples, tmp_path):
    assert conditions_of(samples["PARQUET"]) == Conditions()
    assert conditions_of(samples["PATTERN"]) == Conditions()
    assert conditions_of(tmp_path / "missing") == Conditions()
    assert of_metadata({"simulated": "yes", "era": "not stated", "tables": 7}) == Conditions()


def test_years_are_found_in_texts():
    assert years("2017/18 trigger, simulated") == {2017, 2018}
    assert years("2022, 2024 (by run number)") == {2022, 2024}
    assert years("unknown") == years(None) == set()


def test_equal_conditions_are_not_warned_of():
    assert differences(simulation(), simulation(), "f", "m") == []
    model = of_metadata({"simulated": False, "era": "2017/18"})
    assert differences(REAL_2018, Conditions(False, model.era, BMTF, "hardware"), "f", "m") == []


def test_each_difference_is_a_line_that_names_file_and_training(tmp_path):
    lines = differences(Conditions(False, "2024", KALMAN, "hardware"), simulation(), "nano.root", "default")
    assert [line.split(" ")[1] for line in lines] == ["real", "era", "trigger", "look-up"]
    assert lines[0] == "nano.root: real muons, but model default was trained on simulated muons"
    assert lines[1] == ("nano.root: era 2024, but model default was trained on 2017/18 trigger, simulated")
    (line,) = differences(simulation(gmt_luts=tmp_path), simulation(), "x", "m")
    assert "look-up tables BMTF l1scout's own, GMT official, but model m was trained on l1scout's own" in line


def test_what_cannot_be_compared_is_one_line():
    (line,) = differences(Conditions(), simulation(), "x.parquet", "m")
    assert line.startswith(
        "x.parquet: cannot compare origin, era, trigger, look-up tables: the file holds muons of unstated"
    )
    (line,) = differences(simulation(), Conditions(), "x.parquet", "m")
    assert "trained on muons of unstated origin" in line
