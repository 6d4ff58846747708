"""The sender, step by step, and a store that gives the answers that a test has prepared: real sockets."""

import base64
import errno
import json
import socket
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from chain import wait_for
from l1scout.access import Access
from l1scout.formats.wire_formats.run3 import RUN3
from l1scout.readout.segment_note import SegmentNote
from l1scout.readout.segments import Segment
from l1scout.readout.sender import IDLE_CLOSE_S, RETURN_S, Sender
from l1scout.readout.spool import Spool
from l1scout.readout.store_client import ChangedFileError
from l1scout.readout.writer import Limits, SegmentWriter
from live_packets import feed, packets


@dataclass
class Request:
    """What a store got."""

    method: str
    name: str
    headers: dict[str, str]
    body: bytes = b""


@dataclass
class Reply:
    """What a store answers; `early`: before it has read the body."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    error: str = ""
    early: bool = False


class ScriptedStore:
    """Answers requests as a test has prepared, and keeps what it got; without a script, it stores."""

    def __init__(self) -> None:
        self.script: list[Reply | None] = []
        self.got: list[Request] = []
        self.connections = 0
        store = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                super().setup()
                store.connections += 1

            def answer(self) -> None:
                reply = store.script.pop(0) if store.script else store.usual(self.command, self.headers)
                request = Request(self.command, self.path.rpartition("/")[2], dict(self.headers))
                store.got.append(request)
                if reply is None:  # gone without an answer
                    self.close_connection = True
                    return
                if not reply.early:
                    request.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                self.send_response(reply.status)
                text = json.dumps({"error": reply.error}).encode() if reply.error else b""
                given = {
                    "Content-Length": str(len(text)),
                    "Content-Type": "application/json",
                    **reply.headers,
                }
                for name, value in given.items():
                    self.send_header(name, value)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(text)
                if reply.early:
                    self.wfile.flush()
                    self.rfile.read(int(self.headers.get("Content-Length", 0)))

            do_PUT = do_HEAD = do_GET = answer

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.address = f"127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    @staticmethod
    def usual(method: str, headers: dict[str, str]) -> Reply:
        if method == "HEAD":
            return Reply(404, {"Upload-Offset": "0"})
        return Reply(201, {"Repr-Digest": headers["Repr-Digest"]})

    @property
    def put(self) -> list[Request]:
        return [r for r in self.got if r.method == "PUT"]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def store():
    store = ScriptedStore()
    yield store
    store.close()


@pytest.fixture
def spool(tmp_path):
    spool = Spool(tmp_path / "spool")
    writer = SegmentWriter(spool, 7, 1, RUN3, Limits(orbits=12))
    feed(writer, b"".join(packets()))
    writer.finish()
    return spool


class Log:
    def __init__(self) -> None:
        self.lines: list[tuple[str, dict]] = []

    def __call__(self, event: str, **values: object) -> None:
        self.lines.append((event, values))

    @property
    def events(self) -> list[str]:
        return [event for event, _ in self.lines]


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def sender_of():
    made: list[Sender] = []

    def make(spool: Spool, stores: str, **options: object) -> tuple[Sender, Log, Clock]:
        log, clock = Log(), Clock()
        made.append(Sender(spool, stores, Access(), log, clock=clock, **options))
        return made[-1], log, clock

    yield make
    for sender in made:
        sender.stop()


def step(sender: Sender, clock: Clock) -> float:
    """Let the sender do a step, when its time has come."""
    wait_s = sender.step()
    clock.now += wait_s
    return wait_s


def digest(segment: Segment) -> str:
    return f"crc32c=:{base64.b64encode(segment.crc32c.to_bytes(4, 'big')).decode()}:"


def test_a_step_sends_the_oldest_segment_and_forgets_it_when_acknowledged(spool, store, sender_of):
    sender, log, _ = sender_of(spool, store.address)
    first, second = spool.waiting()
    data, note = spool.path(first).read_bytes(), spool.note(first)
    assert sender.step() == 0
    (put,) = store.put
    assert (put.name, put.body) == (first.name, data)
    assert SegmentNote.decode(put.headers["L1scout-Note"]) == SegmentNote.decode(note.encode())
    assert put.headers["Repr-Digest"] == digest(first)
    assert "Authorization" not in put.headers
    assert [*spool.waiting()] == [second]
    assert (sender.sent, sender.sent_bytes, sender.drained()) == (1, first.size, False)
    store.script = [Reply(200, {"Repr-Digest": digest(second)})]  # it was there already
    assert sender.step() == 0
    assert (sender.drained(), store.connections, log.events) == (True, 1, ["store connected"])


def test_a_segment_that_was_begun_goes_on_where_it_was_cut(spool, store, sender_of):
    sender, _, clock = sender_of(spool, store.address)
    first, _ = spool.waiting()
    data = spool.path(first).read_bytes()
    store.script = [Reply(404, {"Upload-Offset": "0"}), None]
    assert step(sender, clock) == 0.1
    assert (len(spool), sender.sent, sender.connected) == (2, 0, False)
    store.script = [Reply(404, {"Upload-Offset": "100"})]
    assert step(sender, clock) == 0
    put = store.put[-1]
    assert put.headers["Content-Range"] == f"bytes 100-{first.size - 1}/{first.size}"
    assert put.body == data[100:]


@pytest.mark.parametrize("there", [Reply(200), Reply(404, {"Upload-Offset": "999999999"})])
def test_of_a_segment_that_is_there_a_byte_is_enough(spool, store, sender_of, there):
    """Whether the store's segment is this one, notes and all, only a PUT tells."""
    sender, _, clock = sender_of(spool, store.address)
    first, _ = spool.waiting()
    store.script = [there]
    assert step(sender, clock) == 0
    assert store.put[-1].headers["Content-Range"] == f"bytes {first.size - 1}-{first.size - 1}/{first.size}"
    assert sender.sent == 1


def test_a_range_that_the_store_does_not_have_is_corrected(spool, store, sender_of):
    sender, _, clock = sender_of(spool, store.address)
    first, _ = spool.waiting()
    data = spool.path(first).read_bytes()
    store.script = [
        Reply(404, {"Upload-Offset": "500"}),
        Reply(416, {"Upload-Offset": "40"}, "not from there"),
    ]
    assert step(sender, clock) == 0
    assert [put.body for put in store.put] == [data[500:], data[40:]]
    assert sender.sent == 1


def test_a_store_that_is_away_is_tried_more_and_more_slowly(spool, store, sender_of):
    store.close()
    sender, log, clock = sender_of(spool, store.address)
    assert [step(sender, clock) for _ in range(7)] == [0.1, 0.2, 0.5, 1.0, 2.0, 2.0, 2.0]
    assert log.events == ["store not reached, trying again"]  # one line, not seven
    assert "connection refused" in log.lines[0][1]["why"]
    assert sender.step() == 2.0  # not before its time, whatever comes into the spool
    clock.now += 1.5
    assert sender.step() == 0.5
    assert any("nothing reaches the store" in line and "refused" in line for line in sender.alarms)
    assert len(spool) == 2


def test_what_the_store_asks_for(spool, store, sender_of):
    sender, log, clock = sender_of(spool, store.address)
    for status, headers, wait_s in (
        (507, {"Retry-After": "3"}, 3),
        (503, {}, 1),
        (503, {"Retry-After": "100000"}, 10),
        (503, {"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}, 1),
    ):
        store.script = [Reply(404), Reply(status, headers, "disk full" if status == 507 else "busy")]
        assert step(sender, clock) == wait_s
    assert len(spool) == 2
    assert [values["why"] for _, values in log.lines if "why" in values] == [
        f"{store.address}: disk full",
        f"{store.address}: busy",
    ]
    assert any("busy" in line for line in sender.alarms)
    step(sender, clock)
    assert (sender.sent, sender.alarms) == (1, [])


@pytest.mark.parametrize("status", [401, 403])
def test_a_wrong_token_is_an_alarm_at_once(spool, store, sender_of, status):
    sender, _, clock = sender_of(spool, store.address)
    store.script = [Reply(404), Reply(status, error="set access.token as the store has it", early=True)]
    assert step(sender, clock) == 5.0
    assert sender.alarms == [f"{store.address}: set access.token as the store has it"]
    assert len(spool) == 2
    step(sender, clock)
    assert sender.alarms == []


def test_an_answer_without_a_body_says_what_to_do_too(spool, store, sender_of):
    sender, _, clock = sender_of(spool, store.address)
    store.script = [Reply(401)]
    assert step(sender, clock) == 5.0
    wanted = "no token or a wrong one; set access.token as the store has it"
    assert sender.alarms == [f"{store.address}: {wanted}"]


@pytest.mark.parametrize("status", [409, 413])
@pytest.mark.parametrize("early", [False, True])
def test_what_the_store_refuses_does_not_keep_the_others_back(spool, store, sender_of, status, early):
    sender, log, clock = sender_of(spool, store.address)
    first, second = spool.waiting()
    store.script = [Reply(404), Reply(status, error="another one has its identity", early=early)]
    assert step(sender, clock) == 0
    assert [*spool.waiting()] == [second]
    assert [s.name for s in spool.refused()] == [first.name]  # kept for a person to look at
    step(sender, clock)
    assert (sender.drained(), sender.sent, sender.refused) == (True, 1, 1)
    assert "segment refused by the store" in log.events


@pytest.mark.parametrize("status", [400, 422])
def test_what_is_not_accepted_five_times_is_refused(spool, store, sender_of, status):
    """The bytes had the right checksum here: the way, or the store, must be at fault."""
    sender, log, clock = sender_of(spool, store.address)
    first, _ = spool.waiting()
    data = spool.path(first).read_bytes()
    store.script = [Reply(404)]
    for k in range(5):
        store.script.append(Reply(status, error="checksum"))
        if k:
            store.script.insert(0, Reply(404))
        assert step(sender, clock) == 0
    assert {put.body for put in store.put} == {data}
    assert log.events.count("segment not accepted, again") == 5
    assert sender.refused == 1


ANSWERS_OF_OTHERS = {
    "plain yes": Reply(200),
    "another digest": Reply(201, {"Repr-Digest": "crc32c=:AAAAAA==:"}),
    "not found": Reply(404, error="not found"),
    "moved": Reply(301, {"Location": "http://192.0.2.7/"}),
    "conflict of another server": Reply(409, {"Content-Type": "text/html"}, "html"),
    "no content": Reply(204),
    "error": Reply(500, error="fault"),
    "odd": Reply(299),
}


@pytest.mark.parametrize("name", ANSWERS_OF_OTHERS)
def test_only_a_store_that_names_the_segments_checksum_acknowledges_it(spool, store, sender_of, name):
    sender, _, clock = sender_of(spool, store.address)
    store.script = [Reply(404), ANSWERS_OF_OTHERS[name]]
    assert step(sender, clock) > 0
    assert (len(spool), sender.sent, sender.refused) == (2, 0, 0)
    step(sender, clock)
    assert (len(spool), sender.sent) == (1, 1)


def test_a_segment_that_changed_in_the_spool_is_repaired_and_not_sent_before(spool, store, sender_of):
    sender, log, clock = sender_of(spool, store.address)
    first, _ = spool.waiting()
    path = spool.path(first)
    good = path.read_bytes()
    path.write_bytes(good[:500] + bytes([good[500] ^ 1]) + good[501:])
    assert step(sender, clock) == 0
    assert "segment changed in the spool, repaired" in log.events
    assert (len(spool), sender.sent) == (2, 0)
    step(sender, clock)
    assert store.put[-1].body == good
    assert sender.sent == 1


@pytest.mark.parametrize(
    ("leads_to", "why"),
    [("/proc/self/mem", "input/output error"), ("/", "is a directory")],  # reading the first is an I/O error
)
def test_a_segment_that_cannot_be_read_does_not_keep_the_others_back(spool, store, sender_of, leads_to, why):
    sender, log, clock = sender_of(spool, store.address)
    first, second = spool.waiting()
    spool.path(first).unlink()
    spool.path(first).symlink_to(leads_to)
    with pytest.raises(ChangedFileError, match=why):
        sender._client.put(spool.note(first), spool.path(first), 0)
    assert step(sender, clock) == 0
    assert [*spool.waiting()] == [second]
    assert (spool.n_refused, sender.refused) == (1, 1)
    assert any("cannot be read" in values.get("why", "") for _, values in log.lines)
    step(sender, clock)
    assert (sender.drained(), sender.sent) == (True, 1)


@pytest.mark.parametrize("error", [errno.EMFILE, errno.ENOMEM])
def test_a_want_of_resources_is_no_damage(spool, store, sender_of, monkeypatch, error):
    sender, _, clock = sender_of(spool, store.address)
    first, _ = spool.waiting()
    real = Path.open

    def short(path, *arguments, **options):
        if path == spool.path(first):
            raise OSError(error, "planted")
        return real(path, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", short)
        assert step(sender, clock) > 0
    assert (len(spool), spool.bad, sender.refused) == (2, 0, 0)
    assert step(sender, clock) == 0
    assert sender.sent == 1


def test_a_file_that_could_not_be_read_once_is_left_as_it_is(spool, store, sender_of, monkeypatch):
    sender, _, clock = sender_of(spool, store.address)
    first, _ = spool.waiting()
    data, real, left = spool.path(first).read_bytes(), Path.open, [None]

    def once(path, *arguments, **options):
        if path == spool.path(first) and left:
            left.pop()
            raise OSError(errno.EIO, "planted")
        return real(path, *arguments, **options)

    monkeypatch.setattr(Path, "open", once)
    assert step(sender, clock) == 0
    assert (len(spool), spool.bad, sender.refused) == (2, 0, 0)
    assert step(sender, clock) == 0
    assert (sender.sent, store.put[-1].body) == (1, data)


def test_while_all_stores_are_away_the_alarm_stays(spool, store, sender_of):
    """Whichever is tried: an alarm that comes and goes with each store would be read as progress."""
    store.close()
    sender, log, clock = sender_of(spool, f"{store.address}, {store.address}", failover_s=3.0)
    began = clock.now
    while log.events.count("going on with another store") < 4:
        step(sender, clock)
        if clock.now - began >= 6.0:
            (alarm,) = sender.alarms
            assert alarm.startswith("nothing reaches the store")
    assert "connection refused" in sender.why


def test_an_idle_connection_is_closed(spool, store, sender_of):
    sender, _, clock = sender_of(spool, store.address)
    sender.step()
    sender.step()
    clock.now += IDLE_CLOSE_S - 1
    assert sender.step() == 1.0
    assert sender.connected
    clock.now += 1
    sender.step()
    assert not sender.connected


def test_another_store_is_used_while_the_first_one_fails(spool, store, sender_of):
    first = ScriptedStore()
    first.script = [Reply(404), Reply(507, error="disk full")] * 100
    sender, log, clock = sender_of(spool, f"{first.address}, {store.address}", failover_s=10.0)
    began = clock.now
    while not sender.sent:
        step(sender, clock)
    assert 10.0 <= clock.now - began < 15.0
    assert len(store.put) == 1
    assert any(first.address in line and "has failed" in line for line in sender.alarms)
    assert log.events.count("going on with another store") == 1
    # the first one is tried again now and then, and used as soon as it is back
    clock.now += RETURN_S
    step(sender, clock)
    assert sender.sent == 1
    assert step(sender, clock) == 0
    assert (sender.sent, len(store.put)) == (2, 2)  # not one second was lost
    write_segments(spool)
    clock.now += RETURN_S
    first.script = []
    step(sender, clock)
    assert (sender.sent, sender.alarms) == (3, [])
    assert "first store is back" in log.events
    first.close()


def write_segments(spool: Spool) -> None:
    writer = SegmentWriter(spool, 8, 1, RUN3, Limits(orbits=12))
    feed(writer, b"".join(packets()))
    writer.finish()


def test_the_thread_goes_on_after_a_fault_in_the_program(spool, store, monkeypatch):
    log = Log()
    sender = Sender(spool, store.address, Access(), log)
    real, faults = Sender.step, iter([ZeroDivisionError("planted")])

    def broken(self: Sender) -> float:
        for fault in faults:
            raise fault
        return real(self)

    monkeypatch.setattr(Sender, "step", broken)
    monkeypatch.setattr("l1scout.readout.sender._RETRY_S", (0.01,))
    sender.start()
    try:
        wait_for(sender.drained)
    finally:
        sender.stop()
    assert "fault in the sender, trying again" in log.events


def test_stopping_does_not_wait_for_a_store_that_says_nothing(spool):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        sender = Sender(spool, f"127.0.0.1:{silent.getsockname()[1]}", Access(), Log()).start()
        wait_for(lambda: sender.connected)
        sender.stop()
        assert not sender._thread.is_alive()
    assert len(spool) == 2
