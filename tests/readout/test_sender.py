"""The sender, step by step: no threads, no sockets, no waiting."""

import pytest
from pydantic import ValidationError

from l1scout.access import Access
from l1scout.formats.wire_formats.run3 import RUN3
from l1scout.readout.segment_messages import Answer
from l1scout.readout.segments import Segment
from l1scout.readout.sender import IDLE_CLOSE_S, Sender
from l1scout.readout.spool import Spool
from l1scout.readout.writer import Limits, SegmentWriter
from l1scout.wire import WireError
from live_packets import feed, packets


class FakeStore:
    """Gives the answers that a test has prepared, and keeps what it is offered and sent."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.offered: list[Segment] = []
        self.received: list[bytes] = []
        self.connected = self.closed = 0
        self.socket = self

    def connect(self, *_: object) -> "FakeStore":
        self.connected += 1
        return self

    def send(self, **message: object) -> None:
        self.offered.append(Segment.from_dict(message["offer"]))

    def sendfile(self, file, offset: int, size: int) -> None:
        file.seek(offset)
        self.received.append(file.read(size))

    def read(self, _: type[Answer]) -> Answer:
        if not self.answers:
            msg = "closed by the other side"
            raise WireError(msg)
        return self.answers.pop(0)

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def store(monkeypatch):
    store = FakeStore()
    monkeypatch.setattr("l1scout.readout.sender.connect", store.connect)
    return store


@pytest.fixture
def spool(tmp_path):
    spool = Spool(tmp_path / "spool")
    writer = SegmentWriter(spool, 7, 1, RUN3, Limits(orbits=12))
    feed(writer, b"".join(packets()))
    writer.finish()
    return spool


def sender_of(spool, **options):
    events: list[str] = []
    return Sender(spool, "store:1", Access(), lambda event, **_: events.append(event), **options), events


def test_a_step_sends_the_oldest_segment_and_forgets_it_when_acknowledged(spool, store):
    sender, events = sender_of(spool)
    first, second = spool.waiting()
    data = spool.path(first).read_bytes()
    store.answers = [Answer(send=100), Answer(done=True)]
    assert sender.step() == 0
    assert store.received == [data[100:]]
    assert [*spool.waiting()] == [second]
    assert (sender.sent, sender.sent_bytes, sender.drained()) == (1, first.size, False)
    store.answers = [Answer(done=True)]  # it was there already
    assert sender.step() == 0
    assert store.offered == [first, second]
    assert (sender.drained(), store.connected, events) == (True, 1, ["store connected"])


def test_an_unanswered_segment_stays(spool, store):
    """Sent completely, but the store never said that it has it."""
    sender, _ = sender_of(spool)
    store.answers = [Answer(send=0)]
    sender.step()
    assert len(store.received) == 1
    assert (len(spool), sender.sent, sender.connected) == (2, 0, False)


def test_a_store_that_is_away_is_tried_more_and_more_slowly(spool, monkeypatch):
    def refuse(*_: object) -> None:
        msg = "store:1: connection refused"
        raise WireError(msg)

    monkeypatch.setattr("l1scout.readout.sender.connect", refuse)
    sender, events = sender_of(spool)
    assert [sender.step() for _ in range(7)] == [0.1, 0.2, 0.5, 1.0, 2.0, 2.0, 2.0]
    assert events == ["store not reached, trying again"]  # one line, not seven
    assert len(spool) == 2


def test_what_the_store_asks_for(spool, store):
    sender, events = sender_of(spool)
    first, second = spool.waiting()
    store.answers = [Answer(wait="disk full")]
    assert sender.step() == 1.0
    assert len(spool) == 2
    store.answers = [Answer(send=first.size + 1)]
    assert sender.step() == 0.1
    assert (sender.connected, store.received) == (False, [])
    store.answers = [Answer(refused="another one has its name")]
    assert sender.step() == 0
    store.answers = [Answer(done=True)]
    sender.step()
    assert store.offered[-1] == second
    assert [*spool.waiting()] == [first]  # kept for a person to look at
    assert sender.drained()
    assert "store refuses segment" in events


def test_damage_on_the_way_is_repeated_five_times(spool, store):
    sender, events = sender_of(spool)
    for k in range(5):
        store.answers = [Answer(send=0), Answer(again="checksum")]
        assert sender.step() == (0.1 if k == 4 else 0.0)
    assert events.count("segment damaged on the way, again") == 5
    assert (len(store.received), store.closed, len(spool)) == (5, 1, 2)


def test_an_idle_connection_is_closed(spool, store):
    now = [0.0]
    sender, _ = sender_of(spool, clock=lambda: now[0])
    store.answers = [Answer(done=True)] * 2
    sender.step()
    sender.step()
    now[0] = IDLE_CLOSE_S - 1
    assert sender.step() == 1.0
    assert sender.connected
    now[0] = IDLE_CLOSE_S
    sender.step()
    assert (sender.connected, store.closed) == (False, 1)


@pytest.mark.parametrize("said", [{"done": 1}, {"done": "yes"}, {"done": 1.0}, {"stored": True}])
def test_only_a_plain_yes_is_an_acknowledgement(said):
    with pytest.raises(ValidationError):
        Answer.model_validate(said)
