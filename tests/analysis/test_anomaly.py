"""Rates, spectrum and top crossings of anomaly scores, beside counts made by hand."""

import numpy as np
import pytest

from l1scout.analysis import ANALYSES, Setup
from l1scout.analysis.common.anomaly_counts import spectrum_edges
from l1scout.analysis.common.top_crossings import described
from l1scout.core.orbit_batch import OrbitBatch
from l1scout.core.orbit_data import OrbitData
from l1scout.errors import InputError
from l1scout.lhc import ORBIT_FREQUENCY_HZ

SCORES = [0, 3, 700, 3, 262_143]
"""Of crossings of orbits 2, 2, 3, 4, 4; the last but one has a score of another model, too."""


def scored():
    columns = {
        "hwScore": [0, 3, 700, 3, 9, 262_143],
        "level": [0, 0, 0, 0, 1, 0],
        "modelId": [5, 5, 5, 5, 6, 5],
    }
    scores = OrbitBatch(
        np.array([2, 2, 3, 4, 4]), np.array([10, 30, 5, 7, 8]), np.array([0, 1, 2, 3, 5, 6]),
        {n: np.array(c, np.int32) for n, c in columns.items()},
        np.full(5, 9), np.full(5, 1), n_orbits=4, first_orbit=1, simulated=True,
    )  # fmt: skip
    jets = {"hwPt": [20, 61, 9], "hwEta": [10, -20, 0], "hwPhi": [0, 36, 2]}
    jets = OrbitBatch(
        np.array([2, 4]), np.array([10, 8]), np.array([0, 1, 3]),
        {n: np.array(c, np.int16) for n, c in jets.items()}, n_orbits=4, first_orbit=1, simulated=True,
    )  # fmt: skip
    return OrbitData({"anomaly": scores, "jet": jets})


def result(*data, **options):
    analysis = ANALYSES["anomaly"]
    made = analysis(analysis.Options(**options), Setup())
    for piece in data:
        made.add(piece)
    return made.result()


def test_rates_at_thresholds():
    rows = result(scored(), threshold=(1, 3, 701)).numbers["thresholds"]
    assert [(r["level"], r["model_id"], r["hw_score"], r["crossings"]) for r in rows] == [
        ("muon", 5, 1, 4), ("muon", 5, 3, 4), ("muon", 5, 701, 1),
        ("all", 6, 1, 1), ("all", 6, 3, 1), ("all", 6, 701, 0),
    ]  # fmt: skip
    hz = ORBIT_FREQUENCY_HZ / 4
    assert rows[0]["rate_hz"] == pytest.approx(4 * hz)
    # Garwood's interval of 4 and of 0, as tabulated
    assert rows[0]["rate_low_hz"] / hz == pytest.approx(2.086, abs=2e-3)
    assert rows[0]["rate_high_hz"] / hz == pytest.approx(7.163, abs=2e-3)
    assert (rows[5]["rate_low_hz"], rows[5]["rate_high_hz"] / hz) == (0, pytest.approx(1.841, abs=2e-3))


def test_default_thresholds_are_powers_of_two():
    rows = result(scored()).numbers["thresholds"]
    assert [r["hw_score"] for r in rows if r["level"] == "all"] == [0, 1, 2, 4, 8]


def test_spectrum_has_every_score_once():
    edges = spectrum_edges()
    assert (edges[0], edges[1], edges[-1]) == (0, 1, 2**18)
    assert np.all(np.diff(edges) > 0)
    rows = [r for r in result(scored()).numbers["spectrum"] if r["level"] == "muon"]
    for score in SCORES:
        (row,) = [r for r in rows if r["low"] <= score <= r["high"]]
        assert row["crossings"] == SCORES.count(score)
    assert sum(r["crossings"] for r in rows) == 5


def test_top_crossings():
    found = [r for r in result(scored(), top=3).numbers["top"] if r["level"] == "muon"]
    assert [(r["run"], r["orbit"], r["bx"], r["hw_score"]) for r in found] == [
        (9, 4, 8, 262_143), (9, 3, 5, 700), (9, 2, 30, 3),
    ]  # fmt: skip
    assert found[0]["objects"] == "jet 30.5 (-0.87, 1.57), 4.5 (0.00, 0.09)"
    assert described(scored(), 2, 30) == ""


def test_data_without_scores_are_refused():
    with pytest.raises(InputError, match="has no anomaly scores; give --model"):
        result(OrbitData({"jet": scored().streams["jet"]}))


@pytest.mark.parametrize("score", [-1, 1 << 18, 1_000_000])
def test_scores_that_no_word_holds_are_refused(score):
    """As a damaged or hostile file may have them."""
    data = scored()
    data.streams["anomaly"]["hwScore"][2] = score
    with pytest.raises(InputError, match=f"{score}.*beyond 0 to 262143"):
        result(data)


def test_histograms_of_the_stream():
    from l1scout.quality.stream_histograms import empty_counts, fill

    counts = empty_counts("anomaly")
    fill("anomaly", scored().streams["anomaly"], counts)
    edges = spectrum_edges()
    assert counts["score"].sum() == 6
    assert counts["score"][np.searchsorted(edges, 700, side="right") - 1] == 1
    assert counts["level_score"].sum(axis=1).tolist() == [5, 1, 0, 0]
    assert counts["multiplicity"][[1, 2]].tolist() == [4, 1]
