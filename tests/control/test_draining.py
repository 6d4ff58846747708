"""The end of a run: stage after stage, and never longer than the sum of the bounds."""

import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain import PATIENCE_S
from l1scout.control.draining import FORCED_S, MARGIN_S, Drain
from l1scout.settings import Settings
from store_requests import make_store

TICK_S = 0.5
NEVER = 1e9


class FakeProcess:
    """Ends some time after it was asked, was told to stop at once, or was killed."""

    def __init__(self, name: str, after_s: float, at_once_s: float, comes_up_s: float = 0.0) -> None:
        self.name, self.kind = name, name.partition(".")[0]
        self._after, self._at_once, self._up = after_s, at_once_s, comes_up_s
        self._ends = NEVER
        self.ended, self.alive, self.lives, self.latest = False, True, 1, None
        self.told: list[str] = []

    def tick(self, now: float) -> None:
        if now >= self._ends:
            self.alive = False
            self.ended = self.ended or self.told[-1] == "ask"  # it ended as it should

    def ask(self, now: float, *, at_once: bool = False) -> None:
        if "ask" not in self.told and (at_once or now >= self._up):
            self.told.append("ask")
            self._ends = now + self._after

    def force(self, now: float) -> None:
        self.told.append("force")
        self._ends = min(self._ends, now + self._at_once)

    def signal(self, number: signal.Signals) -> None:
        assert number == signal.SIGKILL
        self.told.append("kill")
        self._ends = 0.0


class FakeChain:
    def __init__(self, *stages: list[FakeProcess]) -> None:
        self.stages, self.sources = stages, []


def drain(chain: FakeChain, now_at: float = NEVER, kill_at: float = NEVER) -> float:
    """Return how long it takes; asks to stop at once, and to kill, at some time."""
    settings = Settings()
    work, now = Drain(chain, settings, lambda *_, **__: None), 0.0
    while not work.step(now, at_once=now >= now_at, kill=now >= kill_at):
        first = next(k for k, stage in enumerate(chain.stages) if not all(p.ended for p in stage))
        assert not any(p.told for stage in chain.stages[first + 1 :] for p in stage)
        assert "at most" in work.waits_for()
        now += TICK_S
        for process in (p for stage in chain.stages for p in stage):
            process.tick(now)
        assert now < 1000
    assert work.waits_for() == ""
    return now


def chain_of(after_s: float, at_once_s: float) -> FakeChain:
    return FakeChain(
        *(
            [FakeProcess(f"{kind}.{source}", after_s, at_once_s) for source in ("a", "b")]
            for kind in ("board", "readout")
        ),
        [FakeProcess("store", after_s, at_once_s)],
    )


TIMES = st.sampled_from([0.0, 1.0, 20.0, NEVER])


@given(st.lists(st.tuples(TIMES, TIMES, TIMES), min_size=5, max_size=5), TIMES, TIMES)
def test_the_chain_ends_within_the_sum_of_its_bounds(times, now_at, kill_at):
    names = ("board.a", "board.b", "readout.a", "readout.b", "store")
    a, b, c, d, e = (FakeProcess(name, *t) for name, t in zip(names, times, strict=True))
    bounds = (MARGIN_S, MARGIN_S, Settings().store.drain_seconds + MARGIN_S)
    limit = sum(bounds) + 3 * (FORCED_S + 2 * TICK_S)
    limit = min(limit, now_at + 3 * (FORCED_S + 2 * TICK_S), kill_at + 3 * 2 * TICK_S)
    assert drain(FakeChain([a, b], [c, d], [e]), now_at, kill_at) <= limit


def test_what_ends_by_itself_is_asked_once():
    chain = chain_of(1.0, NEVER)
    drain(chain)
    assert {tuple(p.told) for stage in chain.stages for p in stage} == {("ask",)}


def test_what_does_not_end_is_told_to_stop_at_once_and_then_killed():
    chain = FakeChain([], [FakeProcess("readout", NEVER, NEVER)], [FakeProcess("store", 1.0, 1.0)])
    assert drain(chain) >= MARGIN_S + FORCED_S
    told = chain.stages[1][0].told
    assert (told[0], told[1], told[-1]) == ("ask", "force", "kill")
    assert chain.stages[2][0].told == ["ask"]


@pytest.mark.parametrize(("at", "least"), [({"now_at": 0.0}, "force"), ({"kill_at": 0.0}, "kill")])
def test_now_does_not_wait(at, least):
    chain = chain_of(NEVER, 1.0)
    assert drain(chain, **at) <= 3 * (1.0 + 2 * TICK_S)
    assert all(least in p.told for stage in chain.stages for p in stage)


@pytest.mark.parametrize(("stops", "drain_seconds"), [(2, NEVER), (1, 0.0)])
def test_a_store_ends_though_its_compression_does_not(tmp_path, monkeypatch, stops, drain_seconds):
    events = []
    store = make_store(
        tmp_path, lambda event, **_: events.append(event), start=False, drain_seconds=drain_seconds
    )
    finish = store._compressor.finish
    monkeypatch.setattr(store._compressor, "finish", lambda _limit_s: False)
    for _ in range(stops):
        store.stop()
    statuses = []
    store.run(statuses.append)
    assert statuses[-1].state == "idle"
    assert "segments are left uncompressed until the next start" in events
    assert finish(PATIENCE_S)
