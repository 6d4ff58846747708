"""Anomaly scores: inputs by hand, a golden score, engines beside each other, models that are not right."""

from dataclasses import replace

import numpy as np
import pytest

from l1scout.core.orbit_batch import OrbitBatch, occurrence
from l1scout.core.orbit_data import OrbitData
from l1scout.deploy.anomaly_score import AnomalyScorer, hardware_score
from l1scout.deploy.engine import create_engine
from l1scout.errors import InputError
from l1scout.lhc import order_of_time
from l1scout.model.anomaly_inputs import AnomalyInputs, ObjectInputs
from l1scout.model.directory import load_model
from toy_anomaly import INPUTS, anomaly_model, write_anomaly_model

GOLDEN = [36, 1068]
"""Scores of `muons` by `anomaly_model`: 16 times the sum of squares, far from the next integers."""


def muons(**changes):
    """Three crossings: two muons of which the softer one comes first; an intermediate one; one far off."""
    columns = {
        "hwPt": [9, 41, 100, 511],
        "hwEtaAtVtx": [64, -64, 0, 224],
        "hwPhiAtVtx": [288, 0, 5, 575],
        "intermediate": [0, 0, 1, 0],
    }
    columns = {n: np.array(c, np.int16) for n, c in columns.items()}
    batch = OrbitBatch(
        np.array([3, 3, 4]), np.array([7, 9, 1]), np.array([0, 2, 3, 4]), columns, n_orbits=5, first_orbit=0,
        simulated=True,
    )  # fmt: skip
    return OrbitData({"muon": replace(batch, **changes)})


def test_inputs_by_hand():
    """In quarters of (value - offset) / 2**shift, halves to even; the hardest muon is first."""
    crossings, hardware = INPUTS(muons())
    assert (crossings.orbit.tolist(), crossings.bx.tolist(), crossings.n_orbits) == ([3, 4], [7, 1], 5)
    # 41/16 = 2.5625 is 10.25 quarters, -0.5 is -2; (0-288)/128 is -9; 9/16 is 2.25 quarters; 511/16 is 127.75
    assert hardware[:, 0].tolist() == [10, -2, -9, 2, 2, 0]
    assert hardware[:, 1].tolist() == [127, 7, 9, 0, 0, 0]
    # halves to even: 10/16 and 14/16 are 2.5 and 3.5 quarters
    assert INPUTS.objects[0].scaled("hwPt", np.array([10, 14])).tolist() == [2, 4]
    assert INPUTS.objects[0].scaled("hwEtaAtVtx", np.array([-32768, 32767])).tolist() == [-128, 127]


def laid_out_by_numpy(part, batch, crossings):
    """The inputs of one stream: objects are sorted, and numbered in their crossings."""
    pt = batch["hwPt"].astype(np.int64) if "hwPt" in batch.columns else np.zeros(batch.n_objects, np.int64)
    order = np.lexsort([-pt, batch.row])
    place = np.empty(batch.n_objects, np.int64)
    place[order] = occurrence(batch.row)
    time = order_of_time(crossings.orbit, crossings.bx)
    at = np.searchsorted(time, order_of_time(batch.orbit, batch.bx))[batch.row]
    chosen = place < part.places
    laid = np.zeros((part.places, len(part.columns), len(crossings)), np.int16)
    for k, name in enumerate(part.columns):
        laid[place[chosen], k, at[chosen]] = part.scaled(name, batch[name][chosen])
    return laid.reshape(-1, len(crossings))


@pytest.mark.parametrize("kind", [np.int16, np.int32])
def test_layout_is_that_of_numpy(kind):
    """Also of equal hwPt, of more objects than places, and of values far outside the range of inputs."""
    random, orbits = np.random.default_rng(4), np.arange(4)
    parts, streams = [], {}
    for name, places in (("jet", 3), ("egamma", 12), ("etsum", 1)):
        time = np.sort(random.choice(4 * 3564, 3000, replace=False))
        counts = random.integers(1, 8, 3000) if name != "etsum" else np.ones(3000, np.int64)
        wide = random.integers(-(1 << 15), 1 << 15, (2, counts.sum())).astype(kind)
        columns = {"hwEta": wide[0], "hwPhi": wide[1]}
        if name != "etsum":
            columns["hwPt"] = random.integers(1, 20, counts.sum()).astype(kind)
        batch = OrbitBatch(time // 3564, time % 3564 + 1, np.r_[0, np.cumsum(counts)], columns)
        streams[name] = batch.with_orbits(orbits)
        parts.append(
            ObjectInputs(name, places, tuple(columns), (5, 0, 288)[: len(columns)], (9, 3, 0)[: len(columns)])
        )
    crossings, hardware = AnomalyInputs("all", tuple(parts))(OrbitData(streams))
    expected = [laid_out_by_numpy(part, streams[part.stream], crossings) for part in parts]
    assert np.array_equal(hardware, np.concatenate(expected))
    assert np.count_nonzero(hardware) > 10_000


def test_score_is_the_sum_of_squares_in_sixteenths():
    latent = np.array([[0, 0.5, 1.0, 200.0], [0, 0.25, -2.0, 0]], np.float32)
    assert hardware_score(latent).tolist() == [0, 5, 80, 2**18 - 1]


def test_golden_scores():
    toy = anomaly_model()
    scorer = AnomalyScorer(toy, create_engine("onnx", toy))
    (data,) = scorer.step(muons())
    scores = data.streams["anomaly"]
    assert scores["hwScore"].tolist() == GOLDEN
    assert scores["level"].tolist() == [0, 0]
    assert set(scores["modelId"].tolist()) == {int(toy.sha256[:3], 16)}
    assert (scores.n_orbits, scores.first_orbit, scores.simulated) == (5, 0, True)
    # a second model's scores come beside those of the first, and none of them twice
    other = anomaly_model(hidden=5)
    (twice,) = AnomalyScorer(other, create_engine("fused", other)).step(data)
    both = twice.streams["anomaly"]
    assert both.counts.tolist() == [2, 2]
    assert both["hwScore"][both["modelId"] == scorer.model_id].tolist() == GOLDEN
    assert set(both["modelId"].tolist()) == {scorer.model_id, int(other.sha256[:3], 16)}
    with pytest.raises(InputError, match=r"has scores of model \d+ \(toy\) already"):
        next(scorer.step(twice))


def test_engines_agree():
    """Float engines differ by rounding at most, fixed point by the rounding of its words."""
    toy = anomaly_model()
    hardware = np.random.default_rng(1).integers(-128, 128, (6, 3000)).astype(np.int16)
    exact = np.square(toy.network(hardware)).sum(axis=0)
    for name, most in (("onnx", 1e-4), ("fused", 1e-4), ("fixed:Q8.16", 2e-3)):
        scores = AnomalyScorer(toy, create_engine(name, toy)).scores(hardware)
        low, high = (16 * (exact * (1 + s * most) + s * most) for s in (-1, 1))
        assert np.all((scores >= np.floor(low)) & (scores <= np.floor(high))), name


def test_data_that_lack_what_the_model_takes():
    toy = anomaly_model()
    scorer = AnomalyScorer(toy, create_engine("fused", toy))
    with pytest.raises(InputError, match="has no muon, which the anomaly model takes, but jet"):
        scorer(OrbitData({"jet": muons().muons}))
    with pytest.raises(InputError, match="does not count its orbits"):
        scorer(muons(n_orbits=None))
    columns = {n: c for n, c in muons().muons.columns.items() if n != "hwPhiAtVtx"}
    with pytest.raises(InputError, match="has no hwPhiAtVtx"):
        scorer(muons(columns=columns))


def test_orbits_of_which_a_stream_is_missing_are_not_scored():
    more = (
        ObjectInputs("jet", 1, ("hwPt",), (0,), (2,)),
        ObjectInputs("etsum", 1, ("hwMissEt",), (0,), (2,)),
    )
    both = AnomalyInputs("all", (*INPUTS.objects, *more))
    seen = np.array([3])
    jets = OrbitBatch(
        np.array([3]), np.array([8]), np.array([0, 1]), {"hwPt": np.array([4], np.int16)}, simulated=True
    ).with_orbits(seen)
    none = np.array([0, 0, 1])  # a crossing without sums
    sums = OrbitBatch(
        np.array([3, 3]), np.array([7, 8]), none, {"hwMissEt": np.array([9], np.int16)}, simulated=True
    ).with_orbits(seen)
    crossings, hardware = both(OrbitData({"muon": muons().muons, "jet": jets, "etsum": sums}))
    assert (crossings.orbit.tolist(), crossings.bx.tolist(), crossings.n_orbits) == ([3, 3], [7, 8], 1)
    assert hardware[-2:].tolist() == [[0, 4], [0, 9]]


def test_a_model_comes_back(tmp_path):
    folder = write_anomaly_model(tmp_path / "model")
    assert load_model(folder, anomaly=True).card.anomaly == INPUTS
    with pytest.raises(InputError, match="is an anomaly model, which corrects no muons"):
        load_model(folder)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda card: card["anomaly"]["objects"][0].update(places=13), "needs 1 to 12 places"),
        (lambda card: card["anomaly"]["objects"][0].update(shift=[4, 7]), "an offset and a shift for each"),
        (lambda card: card["anomaly"]["objects"][0].update(shift=[4, 7, 16]), "shifts outside 0..15"),
        (lambda card: card["anomaly"]["objects"][0].update(places=1), "not those of its objects"),
        (
            lambda card: card["anomaly"].update(objects=2 * card["anomaly"]["objects"]),
            "name each stream once",
        ),
        (lambda card: card["domain"].update({"muon0.hwPt": [0, 511]}), "not those of its objects"),
        (lambda card: card["outputs"].pop(), "outputs"),
        (lambda card: card.pop("anomaly"), "corrects muons"),
    ],
)
def test_hostile_cards(tmp_path, change, why):
    folder = write_anomaly_model(tmp_path / "model", change=change)
    with pytest.raises(InputError, match=why):
        AnomalyScorer.load(folder)


def test_orbits_without_an_object_have_no_score():
    toy = anomaly_model()
    empty = muons().muons.take(np.zeros(0, np.int64), n_orbits=7)
    scores = AnomalyScorer(toy, create_engine("fused", toy))(OrbitData({"muon": empty}))
    assert (len(scores), scores.n_objects, scores.n_orbits) == (0, 0, 7)
    assert scores["hwScore"].shape == (0,)
