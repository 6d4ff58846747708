"""Training of an anomaly model: what is usual scores low, what is not high; the model directory is whole."""

import numpy as np
import pytest

from l1scout.core.orbit_batch import OrbitBatch
from l1scout.core.orbit_data import OrbitData
from l1scout.deploy.anomaly_score import AnomalyScorer
from l1scout.errors import InputError
from l1scout.model.card import read_card
from l1scout.training.anomaly_fit import collect_crossings, fit_encoder, save_anomaly_model, scaled_to


def chunk(first, crossings=3000, seed=1, pt=20.0):
    """Crossings with one or two muons, flat in eta and phi."""
    rng = np.random.default_rng([seed, first])
    counts = rng.choice([1, 2], crossings, p=[0.9, 0.1])
    n = int(counts.sum())
    columns = {
        "hwPt": np.clip(rng.exponential(pt, n) + 6, 1, 511),
        "hwEtaAtVtx": rng.integers(-220, 221, n),
        "hwPhiAtVtx": rng.integers(0, 576, n),
        "hwDXY": rng.choice(4, n, p=[0.9, 0.06, 0.03, 0.01]),
    }
    time = np.sort(rng.choice(10 * 3564, crossings, replace=False))
    batch = OrbitBatch(
        first + time // 3564, time % 3564 + 1, np.r_[0, np.cumsum(counts)],
        {name: values.astype(np.int16) for name, values in columns.items()},
        n_orbits=10, first_orbit=first, simulated=True,
    )  # fmt: skip
    return OrbitData({"muon": batch})


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    sample = collect_crossings((chunk(10 * k) for k in range(2)), "muon")
    assert (sample.hardware.shape, sample.orbits, sample.simulated) == ((32, 6000), 20, True)
    folder = tmp_path_factory.mktemp("anomaly") / "model"
    losses = []
    fitted = fit_encoder(sample, epochs=3, seed=2, on_epoch=lambda _k, loss: losses.append(loss))
    assert losses[-1] < losses[0]
    save_anomaly_model(fitted, folder)
    return folder


def test_scales_follow_the_spread_of_the_data():
    (muons,) = scaled_to(chunk(0), "muon").objects
    assert (muons.columns, muons.places) == (("hwPt", "hwEtaAtVtx", "hwPhiAtVtx", "hwDXY"), 8)
    assert muons.offset == (0, 0, 288, 0)
    assert muons.shift == (5, 7, 7, 0)  # RMS of about 33, 128, 166 and 0.5


def test_what_is_not_usual_scores_higher(trained):
    scorer = AnomalyScorer.load(trained)
    usual, hard = scorer(chunk(100))["hwScore"], scorer(chunk(100, pt=400.0))["hwScore"]
    assert np.median(hard) > np.quantile(usual, 0.9)


def test_the_card_says_what_it_was_trained_on(trained):
    card = read_card(trained)
    assert (card.origin, card.data["crossings"], card.data["orbits"]) == ("simulated crossings", 6000, 20)
    assert card.anomaly.level == "muon"
    assert card.onnx["output"]["name"] == "latent_means"
    exceeded = card.scores["score_exceeded_by_fraction"]
    assert list(exceeded) == []  # of 600 validation crossings, ten are more than a hundredth


def test_orbits_are_counted_up_to_the_last_crossing_that_is_used():
    """Of chunks of ten orbits and 3000 crossings, half of the second is used: about five orbits of it."""
    sample = collect_crossings((chunk(10 * k) for k in range(3)), "muon", 4500)
    assert sample.hardware.shape[1] == 4500
    assert 14 <= sample.orbits <= 16


def test_too_few_crossings_are_refused():
    with pytest.raises(InputError, match="900 crossings with an object are too few"):
        collect_crossings([chunk(0, crossings=900)], "muon")
    with pytest.raises(InputError, match="no etsum"):
        collect_crossings([chunk(0)], "all")
