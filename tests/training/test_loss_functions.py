"""Losses of residuals: of pT, relative to the offline pT, a balanced loss sees the logarithm at high pT."""

import numpy as np
import pytest

from l1scout.formats.streams.muon import PT
from l1scout.training.loss_functions import LOSSES, WIDTH, columns


def loss_of_pt(name, hw_pt, ratio):
    """Loss of one muon whose recalibrated pT is `ratio` times the offline pT, phi and eta being right."""
    packed = columns(np.zeros((1, 3)), np.array([[1.0, 1.0, 0.5]]), np.ones((1, 3)), np.array([hw_pt]))
    return float(np.sum(LOSSES[name](packed, np.array([[0, 0, -(ratio - 1) / 0.5]], np.float32))))


@pytest.mark.parametrize(("gev", "slope"), [(5, 1.0), (20, 1.0), (80, 0.5), (200, 0.5)])
def test_twice_the_pt_counts_as_much_as_half_of_it_at_high_pt(gev, slope):
    """At low pT half of it is half as bad: residuals are 1 and -0.5."""
    high, low = (loss_of_pt("balanced", int(PT.to_hardware(gev)), r) for r in (2.0, 0.5))
    assert low / high == pytest.approx(0.5 / slope, rel=0.05)


def test_between_the_loss_changes_steadily():
    found = np.array([loss_of_pt("balanced", code, 3.0) for code in range(30, 180)])
    steps = np.diff(found)
    assert (steps <= 1e-3).all()
    assert -steps.min() < 0.05 * (found[0] - found[-1])


def test_a_pt_that_is_not_positive_has_a_finite_loss_that_rises():
    found = [loss_of_pt("balanced", 511, r) for r in (0.3, 0.05, 0.0, -1.0)]
    assert np.isfinite(found).all()
    assert (np.diff(found) > 0).all()


def test_the_loss_for_the_rms_is_the_square_of_the_relative_residual_at_any_pt():
    for code in (9, 280):
        assert loss_of_pt("rms", code, 1.3) == pytest.approx((0.3 / WIDTH["pt"]) ** 2, rel=1e-5)
