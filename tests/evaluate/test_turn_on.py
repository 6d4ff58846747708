"""Turn-on curves: counted by hand, and efficiencies that never leave 0 to 1."""

import json

import numpy as np
import pytest

from l1scout.evaluate.turn_on import EDGES_GEV, THRESHOLDS_GEV, efficiency, turn_on


def test_counts_by_hand():
    offline = np.array([4.2, 4.2, 4.2, 25.0])
    l1 = np.array([5.0, 4.5, 30.0, 19.5])
    curves = turn_on(offline, {"GMT": l1, "B": l1 + 0.5})
    assert [c.threshold_gev for c in curves] == list(THRESHOLDS_GEV)
    at = np.searchsorted(EDGES_GEV, 4.2) - 1
    assert curves[0].muons[at] == 3
    assert curves[0].curves["GMT"].value[at] == pytest.approx(2 / 3)  # at the threshold counts
    assert curves[0].curves["B"].value[at] == 1
    hard = np.searchsorted(EDGES_GEV, 25) - 1
    assert curves[2].curves["GMT"].value[hard] == 0
    assert curves[2].curves["B"].value[hard] == 1


def test_intervals_stay_in_the_unit_range_and_empty_bins_are_empty():
    found = efficiency(np.array([0, 7, 3, 0]), np.array([7, 7, 7, 0]))
    some = slice(0, 3)
    for values in (found.value[some], found.low[some], found.high[some]):
        assert np.all((values >= 0) & (values <= 1))
    assert np.all(found.low[some] <= found.value[some])
    assert np.all(found.value[some] <= found.high[some])
    assert (found.low[0], found.high[1]) == (0, 1)
    assert found.high[0] > 0.1
    assert np.isnan([found.value[3], found.low[3], found.high[3]]).all()
    text = json.dumps(turn_on(np.array([4.0]), {"GMT": np.array([5.0])})[0].as_dict(), allow_nan=False)
    assert "Clopper-Pearson" in text
