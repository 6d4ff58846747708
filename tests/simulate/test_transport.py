"""Transport against analytic answers, a plain numpy twin, and finer steps."""

import numpy as np
import pytest

from l1scout.formats.streams.muon import MUON_MASS
from l1scout.simulate import detector
from l1scout.simulate.detector import MATERIALS, SHELLS, energy_loss, step_table
from l1scout.simulate.transport import CURVATURE, Start, transport
from l1scout.statistics import half_width


def particles(pt, *, eta=0.3, charge=1.0, n=1, **kinks):
    values = {"pt": pt, "phi": 0.1, "eta": eta, "z": 0.0, "charge": charge}
    values |= {"kink_radius": 0.0, "kink_fraction": 1.0, "kink_phi": 0.0, "kink_theta": 0.0} | kinks
    return Start(*(np.full(n, float(values[name])) for name in Start._fields))


def numpy_twin(start, steps):
    """Mean transport of particles without kinks: the kernel's job, a step at a time for all particles."""
    tan = np.sinh(start.eta)
    p = start.pt * np.hypot(1, tan)
    kappa = CURVATURE * start.charge * detector.SOLENOID_FIELD / start.pt
    r = detector.CALORIMETER_RADIUS
    b = 0.5 * kappa * r**2
    alpha = np.arcsin(b / r)
    azimuth, z = start.phi + alpha, start.z + tan * 2 * alpha / kappa
    cos_dip = 1 / np.hypot(1, tan)
    grid = np.exp(detector.GRID_LOW + detector.GRID_STEP * np.arange(steps.mean.shape[1]))
    crossings = []
    for k, r2 in enumerate(steps.r):
        inside = np.abs(z) < steps.half_length[k]
        curl = np.where(inside, CURVATURE * start.charge * steps.field[k], 0)
        middle = 0.5 * (r + r2)
        sine = (b + 0.5 * curl / (p * cos_dip) * (middle**2 - r**2)) / middle
        slant = 1 / np.sqrt(1 - sine**2) / (1 if steps.projective[k] else cos_dip)
        lost = np.where(inside, slant * np.interp(np.log(p), np.log(grid), steps.mean[k]), 0)
        energy = np.hypot(p, MUON_MASS)
        p_middle = np.sqrt((energy - lost / 2) ** 2 - MUON_MASS**2)
        p = np.sqrt((energy - lost) ** 2 - MUON_MASS**2)
        bending = 0.5 * curl / (p_middle * cos_dip)
        sine = (b + bending * (middle**2 - r**2)) / middle
        b = b + bending * (r2**2 - r**2)
        azimuth = azimuth + sine / np.sqrt(1 - sine**2) / middle * (r2 - r)
        z = z + tan * (r2 - r) / np.sqrt(1 - sine**2)
        r = r2
        if steps.station[k] >= 0:
            crossings.append((azimuth, np.arcsin(b / r), z))
    return [np.stack(values, axis=1) for values in zip(*crossings, strict=True)]


def test_mean_transport_equals_its_numpy_twin():
    random = np.random.default_rng(4)
    start = particles(5.0, n=300)._replace(
        pt=random.uniform(4.5, 80, 300),
        eta=random.uniform(-0.8, 0.8, 300),
        phi=random.uniform(-3, 3, 300),
        charge=random.choice([-1.0, 1.0], 300),
    )
    found = transport(start, None)
    for ours, twin in zip(found, numpy_twin(start, step_table()), strict=True):
        assert np.isfinite(ours).mean() > 0.9
        np.testing.assert_allclose(ours[np.isfinite(ours)], twin[np.isfinite(ours)], rtol=1e-7, atol=1e-8)


def test_hard_muon_is_a_line_and_charge_mirrors():
    plus, minus = transport(particles(1e5), None), transport(particles(1e5, charge=-1), None)
    np.testing.assert_allclose(plus.phi, 0.1, atol=1e-4)
    np.testing.assert_allclose(plus.z, np.sinh(0.3) * np.array([detector.STATION_RADII]), rtol=1e-6)
    np.testing.assert_allclose(plus.phi + minus.phi, 0.2, atol=1e-12)


def test_positive_muon_turns_towards_negative_phi_by_what_real_ones_do():
    # real muons near 4 GeV bend by 0.82-0.84 rad to MB2; the field integral fixes the rest
    bend = 0.1 - transport(particles(4.0, eta=0.0), None).phi[0, 1]
    assert 0.78 < bend < 0.88
    assert transport(particles(10.0), None).phi[0, 1] < 0.1


def test_soft_muon_does_not_reach_the_stations():
    assert np.isnan(transport(particles(2.0), None).phi).all()


@pytest.mark.parametrize(
    ("material", "minimum"), [("Fe", 11.42), ("Al", 4.358), ("brass", 11.95), ("PbWO4", 10.2)]
)
def test_energy_loss_has_the_pdg_minimum(material, minimum):
    """Minimum mean loss in MeV/cm (PDG; PbWO4 and brass by density, within 1.5 %)."""
    mean = energy_loss(MATERIALS[material], np.geomspace(0.25, 1.0, 200))[2]
    assert mean.min() * 10 == pytest.approx(minimum, rel=0.015)


def test_random_transport_has_the_mean_loss_and_scatters_around_the_mean_track():
    start = particles(15.0, n=20_000)
    mean = transport(start._replace(**{f: getattr(start, f)[:1] for f in Start._fields}), None)
    found = transport(start, np.random.default_rng(1))
    assert np.isfinite(found.phi).mean() > 0.995
    shift = np.nanmedian(found.phi[:, 1]) - mean.phi[0, 1]
    assert abs(shift) < 0.001
    assert 0.008 < np.nanstd(found.phi[:, 1]) < 0.013  # rad: ~90 X0 of calorimeter and coil at 15 GeV


def test_steps_are_fine_enough(monkeypatch):
    start = particles(4.5, n=1)
    nominal = transport(start, None)
    monkeypatch.setattr(detector, "SHELLS", tuple(s._replace(steps=8 * s.steps) for s in SHELLS))
    fine = transport(start, None, step_table.__wrapped__())
    np.testing.assert_allclose(nominal.phi[0, :2], fine.phi[0, :2], atol=5e-3)  # a quarter of the scattering
    np.testing.assert_allclose(nominal.z[0, :2], fine.z[0, :2], rtol=2e-3)


def test_kink_changes_direction_and_momentum():
    straight = transport(particles(8.0), None).phi[0, 1]
    kinked = transport(particles(8.0, kink_radius=0.6, kink_phi=0.02), None).phi[0, 1]
    assert kinked - straight == pytest.approx(0.02 * (1 - 0.6 / 5.124), rel=0.05)
    softer = transport(particles(8.0, kink_radius=0.6, kink_fraction=0.6), None).phi[0, 1]
    assert softer < straight - 0.1
    nothing = transport(particles(8.0, kink_radius=0.6), None).phi[0, 1]
    assert nothing == pytest.approx(straight, abs=1e-6)


def test_same_seed_same_tracks():
    one, two = (transport(particles(6.0, n=500), np.random.default_rng(7)) for _ in range(2))
    assert one.phi.tobytes() == two.phi.tobytes()


def test_scattering_scales_the_spread_and_nothing_else():
    start = particles(15.0, n=20_000)
    once, twice = (
        transport(start, np.random.default_rng(1), step_table(scattering=s)).phi[:, 1] for s in (1.0, 2.0)
    )
    assert np.nanmedian(twice) == pytest.approx(np.nanmedian(once), abs=1e-3)
    assert 1.7 < half_width(twice[np.isfinite(twice)]).value / half_width(once[np.isfinite(once)]).value < 2.1
