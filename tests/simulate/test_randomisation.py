"""Domain randomisation: every parameter is drawn, from its range, and the same seed draws the same."""

from dataclasses import fields
from itertools import islice

import numpy as np
import pytest

from l1scout.errors import InputError
from l1scout.simulate.chain import simulate_events, trigger_tables
from l1scout.simulate.generator import Spectrum
from l1scout.simulate.offline import Tracker
from l1scout.simulate.randomisation import Randomisation, Setting
from l1scout.simulate.stubs import Chambers

FIXED = Randomisation(
    block=4000,
    tables=False,
    material=(1, 1),
    scattering=(1, 1),
    alignment=0,
    heavy_flavour=((5.3, 1.3), (5.3, 1.3)),
    in_flight=(1, 1),
    turn_on=(3.45, 3.45),
    resolution=(1, 1),
    efficiency=(0.94, 0.94),
    contaminated=(0.08, 0.08),
    crosstalk=(0.005, 0.005),
)
"""Draws the nominal detector."""


@pytest.fixture(scope="module")
def nominal():
    return Setting(trigger_tables(), Spectrum(), Tracker(), Chambers(), 1.04, 1.0, (0.0, 0.0, 0.0, 0.0))


def words(randomise, seed=3, blocks=2):
    found = islice(simulate_events(seed, randomise=randomise), blocks)
    return [
        (e.muons["hwPt"].tobytes(), e.muons["hwEta"].tobytes(), e.offline["recoPt"].tobytes()) for e in found
    ]


def test_same_seed_same_events():
    settings = Randomisation(block=2000)
    assert words(settings) == words(settings)
    assert words(settings) != words(settings, seed=4)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("material", (1.5, 1.5)),
        ("scattering", (2, 2)),
        ("alignment", 0.1),
        ("heavy_flavour", ((4.3, 3.0), (4.3, 3.0))),
        ("in_flight", (3, 3)),
        ("turn_on", (8, 8)),
        ("resolution", (3, 3)),
        ("efficiency", (0.5, 0.5)),
        ("contaminated", (0.9, 0.9)),
        ("crosstalk", (0.5, 0.5)),
    ],
)
def test_every_parameter_reaches_the_simulation(name, value):
    assert words(Randomisation(**{**vars(FIXED), name: value}), blocks=1) != words(FIXED, blocks=1)


def test_draws_fill_their_ranges_and_leave_the_nominal_detector_alone(nominal):
    r = Randomisation()
    drawn = [r.draw(np.random.default_rng(k), nominal) for k in range(300)]
    ranges = {
        "material": ([d.material / 1.04 for d in drawn], r.material),
        "scattering": ([d.scattering for d in drawn], r.scattering),
        "n": ([-d.spectrum.heavy_flavour[0] for d in drawn], (-5.3, -4.3)),
        "p0": ([d.spectrum.heavy_flavour[1] for d in drawn], (1.3, 3.0)),
        "in flight": ([d.spectrum.generated[1] / Spectrum().generated[1] for d in drawn], r.in_flight),
        "turn-on": ([d.tracker.turn_on for d in drawn], r.turn_on),
        "resolution": ([d.chambers.phi_sigma[0] / 0.30e-3 for d in drawn], r.resolution),
        "directions": ([d.chambers.bend_sigma[2] / 60e-3 for d in drawn], r.resolution),
        "phi efficiency": ([d.chambers.phi_efficiency for d in drawn], r.efficiency),
        "theta efficiency": ([d.chambers.theta_efficiency for d in drawn], r.efficiency),
        "contaminated": ([d.chambers.contaminated for d in drawn], r.contaminated),
        "crosstalk": ([d.chambers.crosstalk for d in drawn], r.crosstalk),
    }
    for name, (values, (low, high)) in ranges.items():
        assert low - 1e-9 <= min(values) < low + 0.1 * (high - low), name
        assert high + 1e-9 >= max(values) > high - 0.1 * (high - low), name
    stations = np.array([d.alignment for d in drawn])
    assert stations.std(0) == pytest.approx(np.full(4, r.alignment), rel=0.2)
    assert nominal.chambers == Chambers()


def test_tables_are_drawn_together_unless_they_are_official(nominal):
    (bmtf, gmt) = nominal.tables
    variants = ((bmtf, gmt), (bmtf._replace(high=bmtf.high + 1), gmt))
    drawn = [Randomisation().draw(np.random.default_rng(k), nominal, variants).tables for k in range(20)]
    assert {id(t) for t in drawn} == {id(v) for v in variants}
    assert (
        Randomisation(tables=False).draw(np.random.default_rng(0), nominal, variants).tables is nominal.tables
    )


def test_the_description_names_every_range():
    text = str(Randomisation(block=1234))
    for f in fields(Randomisation):
        value = getattr(Randomisation(block=1234), f.name)
        numbers = [1e3 * value] if f.name == "alignment" else np.ravel(value) if f.name != "tables" else []
        assert all(f"{x:,g}" in text or f"{x:,}" in text for x in numbers), f.name
    assert "the trigger's tables" in text
    assert "tables" not in str(Randomisation(tables=False))


def test_muons_of_a_file_are_not_randomised(tmp_path):
    with pytest.raises(InputError, match="randomised"):
        next(simulate_events(1, muons=tmp_path / "dimuons.csv", randomise=Randomisation()))
