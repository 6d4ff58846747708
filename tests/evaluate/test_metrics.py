"""The nine metrics, their uncertainties and the published ones."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from l1scout.evaluate.metrics import CORE, TAIL, ratios, residuals, scores
from l1scout.evaluate.published import PUBLISHED, published_ratios
from l1scout.model.quantities import VARIABLES
from l1scout.statistics import half_width, mean, paired_ratio, rms, rms_ratio, share, wrap


@given(st.floats(-1e4, 1e4))
def test_wrapped_angles_are_the_same_angle_in_range(phi):
    wrapped = float(wrap(phi))
    assert -np.pi <= wrapped < np.pi
    assert np.isclose(np.cos(wrapped), np.cos(phi), atol=1e-8)
    assert np.isclose(np.sin(wrapped), np.sin(phi), atol=1e-8)


def test_ends_of_the_turn():
    ends = [-np.pi, np.pi, np.nextafter(np.pi, 0), np.nextafter(-np.pi, -4), 3 * np.pi]
    assert np.all(wrap(ends) < np.pi)
    assert np.all(wrap(ends) >= -np.pi)


def test_residuals_are_l1_minus_offline_wrapped_and_relative():
    reco = {
        "recoPt": np.array([10.0, 4.0]),
        "recoEta": np.array([0.1, 0.2]),
        "recoPhi": np.array([-3.1, 1.0]),
    }
    r = residuals([12.0, 3.0], [0.15, 0.2], [3.1, 1.5], reco)
    assert r["pt"] == pytest.approx([0.2, -0.25])
    assert r["eta"] == pytest.approx([0.05, 0])
    assert r["phi"] == pytest.approx([6.2 - 2 * np.pi, 0.5])


def test_nine_numbers_by_hand():
    r = {
        "phi": np.array([0.0, 0.0079, -0.009, 0.1, -0.11]),
        "eta": np.array([0.0, 0.0014, -0.0016, 0.05, -0.051]),
        "pt": np.array([0.0, -0.009, 0.011, 0.15, 14.0]),
    }
    s = scores(r)
    for v in r:
        assert s.core[v].value == pytest.approx(0.4)
        assert s.tail[v].value == pytest.approx(0.2)
        assert s.rms[v].value == pytest.approx(np.sqrt(np.mean(r[v] ** 2)))
    # An outlier of 14 times its pT counts in full: there is no window.
    assert s.rms["pt"].value > 6
    assert [(k, v) for k, v, _ in s] == [
        (k, v) for k in ("rms", "core", "tail") for v in ("phi", "eta", "pt")
    ]


@pytest.mark.parametrize("measure", [rms, half_width, mean, lambda x: share(np.abs(x) > 1)])
def test_uncertainties_are_the_scatter_of_repeated_samples(measure):
    rng = np.random.default_rng(1)
    samples = 0.3 + rng.standard_t(6, (400, 2000))
    results = [measure(x) for x in samples]
    scatter = np.std([m.value for m in results])
    assert np.mean([m.error for m in results]) == pytest.approx(
        scatter, rel=0.25 if measure is half_width else 0.15
    )


@pytest.mark.parametrize("measure", [rms_ratio, lambda a, b: paired_ratio(np.abs(a) > 1, np.abs(b) > 1)])
def test_ratios_know_that_both_are_the_same_muons(measure):
    rng = np.random.default_rng(2)
    raw = rng.normal(0, 1, (400, 2000))
    model = 0.8 * raw + rng.normal(0, 0.2, raw.shape)
    results = [measure(a, b) for a, b in zip(model, raw, strict=True)]
    scatter = np.std([m.value for m in results])
    assert np.mean([m.error for m in results]) == pytest.approx(scatter, rel=0.15)


def test_extreme_samples_have_numbers():
    assert rms(np.zeros(5)).value == 0
    assert share(np.zeros(10, bool)).error > 0
    assert share(np.ones(10, bool)).error > 0
    assert np.isnan(paired_ratio(np.ones(3), np.zeros(3)).value)
    assert rms_ratio(np.zeros(3), np.ones(3)).value == 0
    nothing = {v: np.zeros(4) for v in VARIABLES}
    assert ratios(nothing, nothing).as_dict()["rms"]["phi"] == {"value": None, "error": None}


def test_published_ratios_are_those_of_the_paper():
    b = published_ratios("B")
    assert [round(b.rms[v].value, 2) for v in VARIABLES] == [0.72, 0.91, 0.61]
    assert [round(b.core[v].value, 2) for v in VARIABLES] == [1.33, 1.09, 1.40]
    assert [round(b.tail[v].value, 2) for v in VARIABLES] == [0.65, 0.76, 0.60]
    assert list(PUBLISHED) == ["GMT", *"ABCDEF"]
    assert PUBLISHED["F"].tail["pt"].value == pytest.approx(0.2648)


def test_windows_are_the_seed_papers():
    assert CORE == {"phi": 0.008, "eta": 0.0015, "pt": 0.01}
    assert TAIL == {"phi": 0.1, "eta": 0.05, "pt": 0.15}
