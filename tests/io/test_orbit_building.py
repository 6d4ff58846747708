"""Orbit building against a model in plain Python: nothing is lost, doubled or mixed, whatever arrives."""

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from l1scout.io.orbit_building import Fragments, OrbitBuilder

SOURCES = (1, 10, 11)
PRESCALES = {11: (1, 3)}


def fragments(source, orbits, name="", size=0, truncated=()):
    orbit = np.array(orbits, np.int64)
    return Fragments.of(source, orbit, f"{source}:{name}", size, np.isin(orbit, truncated))


def built_by_source(built, source):
    """Return orbit and content of each fragment of a source."""
    return [
        (int(orbit), f"{part.content}/{place}")
        for one in built
        for part in one.parts[source]
        for orbit, place in zip(part.orbit, part.place, strict=True)
    ]


class Model:
    """The same in plain Python, an orbit at a time."""

    def __init__(self, window):
        self.window, self.closed = window, 0
        self.held = {source: {} for source in SOURCES}
        self.last = dict.fromkeys(SOURCES, -1)
        self.ended = set()
        self.counts = {s: dict.fromkeys(("taken", "late", "duplicate"), 0) for s in SOURCES}
        self.out = []

    def take(self, source, orbits, name):
        for k, orbit in enumerate(orbits):
            self.counts[source]["taken"] += 1
            self.last[source] = max(self.last[source], orbit)
            if orbit < self.closed:
                self.counts[source]["late"] += 1
            elif orbit in self.held[source]:
                self.counts[source]["duplicate"] += 1
            else:
                self.held[source][orbit] = f"{source}:{name}/{k}"
        self.close()

    def close(self):
        waiting = [self.last[s] for s in SOURCES if s not in self.ended]
        limit = min(waiting) if waiting else max(self.last.values()) + 1
        limit = max(limit, sorted(self.last.values())[-2] - self.window)
        while self.closed < limit:
            there = {s: self.held[s].pop(self.closed) for s in SOURCES if self.closed in self.held[s]}
            if there:
                self.out.append((self.closed, there))
            self.closed += 1


class Building(RuleBasedStateMachine):
    """Any arrivals: gaps, repeats, old numbers, sources that end."""

    @initialize(window=st.integers(0, 30))
    def begin(self, window):
        self.builder = OrbitBuilder(SOURCES, prescales=PRESCALES, window=window)
        self.model = Model(window)
        self.built, self.n = [], 0

    @rule(
        source=st.sampled_from(SOURCES),
        start=st.integers(-12, 25),
        steps=st.lists(st.integers(-2, 6), max_size=12),
    )
    def arrive(self, source, start, steps):
        if source in self.model.ended:
            return
        orbits = np.cumsum([max(self.model.last[source] + start, 0), *steps]).clip(min=0)
        self.n += 1
        self.built += self.builder.step(fragments(source, orbits, self.n))
        self.model.take(source, orbits.tolist(), self.n)

    @rule(source=st.sampled_from(SOURCES))
    def end(self, source):
        self.model.ended.add(source)
        self.built += self.builder.end(source)
        self.model.close()

    @precondition(lambda self: self.built)
    @invariant()
    def orbits_rise(self):
        every = np.concatenate([one.orbit for one in self.built])
        assert np.all(np.diff(every) > 0)

    @invariant()
    def it_is_as_the_model_says(self):
        if not hasattr(self, "model"):
            return
        orbits = [int(o) for one in self.built for o in one.orbit]
        assert orbits == [orbit for orbit, _ in self.model.out]
        for source in SOURCES:
            found = built_by_source(self.built, source)
            assert found == [(o, parts[source]) for o, parts in self.model.out if source in parts]
            counts = self.builder.counts[source]
            held = len(self.model.held[source])
            assert {n: getattr(counts, n) for n in self.model.counts[source]} == self.model.counts[source]
            assert counts.taken == counts.built + counts.late + counts.duplicate + held
            assert len(orbits) == counts.built + counts.absent + counts.prescaled
        assert self.builder.orbits == len(orbits)
        complete = [o for o, parts in self.model.out if {1, 10} <= set(parts) and (11 in parts or o % 3 != 0)]
        assert self.builder.complete == len(complete)

    def teardown(self):
        if hasattr(self, "model"):
            self.built += self.builder.finish()
            self.model.ended.update(SOURCES)
            self.model.close()
            self.it_is_as_the_model_says()
            assert self.builder.held_bytes == 0
            assert not any(self.model.held.values())


TestBuilding = Building.TestCase
TestBuilding.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)


def test_a_source_that_is_late_is_waited_for_up_to_the_window():
    builder = OrbitBuilder((1, 2, 3), window=10)
    assert builder.step(fragments(1, range(5))) == []
    assert builder.step(fragments(2, range(5))) == []
    (built,) = builder.step(fragments(3, range(5)))
    assert built.orbit.tolist() == [0, 1, 2, 3]  # more of orbit 4 may come
    built = [*builder.step(fragments(1, range(5, 40))), *builder.step(fragments(2, range(5, 40)))]
    assert built[-1].orbit.tolist() == list(range(4, 29))
    assert builder.forced == 25
    builder.step(fragments(3, range(20, 32)))
    assert (builder.counts[3].late, builder.counts[3].absent) == (9, 24)
    assert builder.complete == 7


def test_one_wrong_number_closes_nothing():
    builder = OrbitBuilder((1, 2), window=10)
    assert builder.step(fragments(1, [3, 1 << 31])) == []
    assert builder.step(fragments(2, [3, 4]))[0].orbit.tolist() == [3]


def test_memory_is_bounded():
    """A source that sends nothing: the oldest orbits go when more bytes are held than allowed."""
    builder = OrbitBuilder((1, 2), window=1 << 40, max_bytes=1000)
    closed = []
    for k in range(50):
        closed += builder.step(fragments(1, range(10 * k, 10 * k + 10), k, size=500))
        assert builder.held_bytes <= 1000
    assert np.concatenate([one.orbit for one in closed]).tolist() == list(range(481))
    assert builder.counts[2].absent == 481


def test_truncated_fragments_are_counted():
    builder = OrbitBuilder((1,))
    builder.step(fragments(1, range(6), truncated=[2, 4]))
    builder.finish()
    assert builder.counts[1].truncated == 2


def test_the_source_furthest_behind_is_read_next():
    builder = OrbitBuilder((1, 2))
    assert builder.behind() == 1
    builder.step(fragments(1, range(5)))
    assert builder.behind() == 2
    builder.end(2)
    assert builder.behind() == 1
    builder.end(1)
    assert builder.behind() is None


def test_an_unknown_source_is_an_error():
    with pytest.raises(KeyError):
        OrbitBuilder((1,)).step(fragments(2, [0]))
