"""Muons of triggered events beside those of scouting, with differences that were made."""

import numpy as np

from l1scout.analysis.common.central_events import MUON_COLUMNS, EventComparison, compare_with_events
from l1scout.core.orbit_batch import final_muons
from stream_files import every


def test_events_of_the_same_crossings_agree():
    """Whatever the order of their muons; muons of neighbouring BX of the event do not count."""
    scouting = final_muons(every(1, names=["muon"]).muons)
    events = scouting.take(np.arange(0, len(scouting), 3)[::-1])
    order = np.lexsort([-np.arange(events.n_objects), events.row])
    columns = {name: values[order] for name, values in events.columns.items()}
    columns["bxInEvent"] = np.zeros(events.n_objects, np.int16)
    events = events.with_columns(**columns)
    found = compare_with_events(scouting, events)
    n = len(events)
    assert found == EventComparison(n, 0, n, n, events.n_objects, 0, 0)
    columns["bxInEvent"][0] = 1
    found = compare_with_events(scouting, events.with_columns(**columns))
    assert (found.identical, found.only_scouting, found.only_event) == (n - 1, 1, 0)


def test_differences_are_counted():
    scouting = final_muons(every(1, names=["muon"]).muons)
    events = scouting.take(np.arange(10))
    for name in MUON_COLUMNS:
        changed = events[name].copy()
        changed[0] += 1
        found = compare_with_events(scouting, events.with_columns(**{name: changed}))
        assert (found.identical, found.only_event, found.only_scouting) == (9, 1, 1)
        assert found.common == events.n_objects - 1


def test_events_of_orbits_that_were_not_seen_are_not_compared():
    scouting = final_muons(every(1, names=["muon"]).muons)
    events = scouting.take(np.arange(10))
    late = scouting.of_orbits(np.arange(int(events.orbit[-1]) + 1, 262_300))
    found = compare_with_events(late, events)
    assert (found.events, found.not_seen, found.compared) == (10, 10, 0)
    events.run[:] = 7
    assert compare_with_events(scouting, events).not_seen == 10
    # orbits of one run, in a batch of two, are not those of the other
    both = scouting.take(np.r_[np.arange(len(scouting)), len(scouting) - 1])
    both.run[-1] = 7
    assert compare_with_events(both.with_orbits(scouting.orbits_seen()), events).not_seen == 10
    lost = scouting.take(np.arange(1, len(scouting))).with_orbits(scouting.orbits_seen())
    found = compare_with_events(lost, scouting.take(np.arange(10)))
    assert (found.compared, found.identical) == (10, 9)
    assert found.only_event == scouting.counts[0]
