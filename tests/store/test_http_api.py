"""The HTTP API of the store over real connections: what it answers, and what it makes of hostile clients."""

import json
import random
import socket
from collections import Counter
from contextlib import closing, suppress
from dataclasses import replace
from http.client import HTTPResponse
from types import SimpleNamespace

import pytest

from certificates import client_access, listener_access, make_certificate
from chain import PATIENCE_S, wait_for
from l1scout.errors import InputError
from l1scout.formats.wire_formats.run3 import RUN3
from l1scout.readout.segment_note import ReadoutPosition, SegmentNote
from l1scout.readout.spool import Spool
from l1scout.readout.writer import Limits, SegmentWriter
from l1scout.store import http_api, http_clients, http_server
from l1scout.store.http_api import application, digest, parse_digest
from l1scout.store.http_clients import MAX_HEAD_BYTES, ClientProtocol
from l1scout.store.http_server import MAX_OPEN, MAX_WAITING, HttpServer, RateLimitedLog
from live_packets import feed, packets
from store_requests import StoreClient, make_store

RUN = 7
TOKEN = "a-token-of-twenty-six-letters"
EVENTS: Counter[str] = Counter()


@pytest.fixture(autouse=True)
def _patience(monkeypatch):
    """No limit on time: what a test shows does not depend on the machine."""
    monkeypatch.setattr(http_clients, "REQUEST_S", PATIENCE_S)
    monkeypatch.setattr(http_clients, "IDLE_S", PATIENCE_S)
    EVENTS.clear()


def log(event: str, *, times: int = 1, **_: object) -> None:
    EVENTS[event] += times


@pytest.fixture(scope="module")
def segments(tmp_path_factory):
    """Notes and bytes of the segments of a run."""
    spool = Spool(tmp_path_factory.mktemp("spool"))
    writer = SegmentWriter(spool, RUN, 1, RUN3, Limits(orbits=5))
    feed(writer, b"".join(packets()))
    writer.finish()
    return [(spool.note(s), spool.path(s).read_bytes()) for s in spool.waiting()]


@pytest.fixture
def store(tmp_path):
    store = make_store(tmp_path / "store", log, method="none")
    yield store
    store.close()


@pytest.fixture
def client(store):
    with closing(StoreClient(store.server.address)) as client:
        yield client


def dial(store):
    host, port = store.server.address.rsplit(":", 1)
    return closing(socket.create_connection((host, int(port)), PATIENCE_S))


def everything(connection) -> bytes:
    """Return what comes until the other side closes the connection."""
    received = b""
    with suppress(ConnectionError):
        while piece := connection.recv(1 << 16):
            received += piece
    return received


def status_on(connection) -> int:
    """Read an answer to its end, and return its status."""
    with HTTPResponse(connection) as answer:
        answer.begin()
        answer.read()
        return answer.status


def put_head(note, length, *more) -> bytes:
    segment = note.segment
    lines = [
        f"PUT /v1/segments/{segment.name} HTTP/1.1",
        f"Content-Length: {length}",
        f"L1scout-Note: {note.encode().decode()}",
        f"Repr-Digest: {digest(segment.crc32c)}",
        *more,
    ]
    return "\r\n".join([*lines, "", ""]).encode()


def test_a_segment_is_stored_and_found(store, client, segments):
    (note, data), *_ = segments
    name = note.segment.name
    absent = client.head(name)
    assert (absent.status, absent.headers["Upload-Offset"]) == (404, "0")
    for status in (201, 200):
        reply = client.put(note, data)
        assert (reply.status, reply.headers["Repr-Digest"]) == (status, digest(note.segment.crc32c))
    there = client.head(name)
    assert (there.status, there.headers["Repr-Digest"]) == (200, digest(note.segment.crc32c))
    assert (store.folder.file(note.segment)).read_bytes() == data
    assert client.ask("GET", "/healthz").content == {"state": "running", "alarms": []}


def test_a_cut_segment_goes_on_where_it_was_cut(store, client, segments, monkeypatch):
    monkeypatch.setattr(http_api, "_PIECE_BYTES", 1)
    (note, data), *_ = segments
    with dial(store) as connection:
        connection.sendall(put_head(note, len(data)) + data[:1000])
        wait_for(lambda: client.head(note.segment.name).headers["Upload-Offset"] == "1000")
    wait_for(lambda: EVENTS["client gone in a request"])
    too_far = client.put(note, data, 1001)
    assert (too_far.status, too_far.headers["Upload-Offset"]) == (416, "1000")
    assert client.put(note, data, 1000).status == 201
    assert store.folder.file(note.segment).read_bytes() == data


def test_bytes_travel_only_when_they_are_wanted(store, segments):
    """``Expect: 100-continue``: the answer comes before the body if there is nothing to send."""
    (note, data), *_ = segments
    with dial(store) as connection:
        connection.sendall(put_head(note, len(data), "Expect: 100-continue"))
        assert connection.recv(1 << 16) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(data)
        assert status_on(connection) == 201
        connection.sendall(put_head(note, len(data), "Expect: 100-continue"))
        assert everything(connection).startswith(b"HTTP/1.1 200 ")


def test_position_and_settings(store, client, segments):
    assert client.ask("GET", f"/v1/runs/{RUN}/sources/1").content["index"] == 0
    for note, data in segments:
        client.put(note, data)
    position = client.ask("GET", f"/v1/runs/{RUN}/sources/1").content
    assert ReadoutPosition(**position) == segments[-1][0].position
    beginning = client.ask("GET", f"/v1/runs/{RUN}/sources/2").content
    assert ReadoutPosition(**beginning) == ReadoutPosition()
    path = f"/v1/runs/{RUN}/sources/1/settings"
    for text in ("[readout]\nsource = 1\n", "[readout]\nsource = 2\n"):
        assert client.ask("PUT", path, text.encode()).status == 201
        assert (store.folder.path / "run000007" / "source01_settings.toml").read_text() == text
        assert store.catalogue.settings(RUN) == {1: text}


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "why"),
    [
        ("PUT", "/v1/runs/7/sources/1/settings", b"[a", 400, "invalid TOML"),
        ("PUT", "/v1/runs/7/sources/1/settings", b"\xff", 400, "invalid TOML"),
        ("PUT", "/v1/runs/7/sources/1/settings", b'[access]\ntoken="x"', 400, "leave out access.token"),
        ("PUT", "/v1/runs/7/sources/1/settings", b"#" * 65537, 413, "larger than 65536 bytes"),
        ("GET", "/v1/runs/4294967296/sources/1", None, 404, "run and source are numbers"),
        ("GET", "/v1/runs/1/sources/65536", None, 404, "run and source are numbers"),
        ("GET", "/v1/runs/%C2%B2/sources/1", None, 404, "run and source are numbers"),
        ("GET", "/v1/runs/../../etc/passwd", None, 404, "Not Found"),
        ("GET", "/", None, 404, "see docs/store-api.md"),
        ("POST", "/healthz", b"", 405, "Method Not Allowed"),
        ("DELETE", "/v1/segments/run000007_source01_ls0001_index000000.raw", None, 405, "Not Allowed"),
    ],
)
def test_requests_that_make_no_sense(store, client, method, path, body, status, why):
    reply = client.ask(method, path, body)
    assert (reply.status, why in reply.error) == (status, True)
    assert sorted(p.name for p in store.folder.path.iterdir() if p.is_dir()) == ["incoming"]


WRONG = {
    "no note": ({"L1scout_Note": None}, 400, "the header L1scout-Note is missing"),
    "damaged note": ({"L1scout_Note": "{}"}, 400, "note of a segment"),
    "no digest": ({"Repr_Digest": None}, 400, "Repr-Digest is missing"),
    "other digest": ({"Repr_Digest": digest(1)}, 400, "Repr-Digest is missing or not that of the note"),
    "other algorithm": ({"Repr_Digest": "sha-256=:AAAA:"}, 400, "Repr-Digest is missing"),
    "absurd range": ({"Content_Range": "bytes 0-99999999999999/99999999999999"}, 400, "Content-Range"),
    "endless range": ({"Content_Range": f"bytes 0-{'9' * 5000}/1"}, 400, "Content-Range"),
    "other unit": ({"Content_Range": "orbits 0-1/2"}, 400, "Content-Range"),
    "part of the rest": ({"Content_Range": "bytes 0-1/8588"}, 400, "Content-Range"),
    "compressed": ({"Content_Encoding": "gzip"}, 415, "send the bytes as they are"),
    "chunked": ({"Transfer_Encoding": "chunked"}, 411, "with its Content-Length"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_headers(store, client, segments, name):
    (note, data), *_ = segments
    headers, status, why = WRONG[name]
    if name == "chunked":
        with dial(store) as connection:
            head = put_head(note, 0).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
            connection.sendall(head + b"5\r\nhello\r\n")
            assert everything(connection).startswith(b"HTTP/1.1 411 ")
    else:
        reply = client.put(note, data, **headers)
        assert (reply.status, why in reply.error) == (status, True)
    assert list(store.folder.incoming.iterdir()) == []
    with closing(StoreClient(store.server.address)) as other:
        assert other.put(note, data).status == 201


@pytest.mark.parametrize(
    "name",
    ["..%2f..%2fetc%2fpasswd", "%2e%2e", "x", "run000007_source01_ls0001_index000000.raw%00", "%ff" * 50],
)
def test_names_that_are_none(store, client, segments, name):
    (note, data), *_ = segments
    assert client.head(name).status == 404
    assert client.put(note, data, name=name).status in (400, 404)
    assert sorted(p.name for p in store.folder.path.iterdir() if p.is_dir()) == ["incoming"]


def test_a_note_of_another_name_or_size(client, segments):
    (note, data), (second, _), *_ = segments
    other = client.put(note, data, name=second.segment.name)
    assert (other.status, "the note is that of" in other.error) == (400, True)
    longer = SegmentNote(segment=replace(note.segment, size=len(data) + 1), position=note.position)
    short = client.put(longer, data)
    assert (short.status, f"the body has {len(data)} bytes" in short.error) == (400, True)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"index": (1 << 32) - 1}, "the position after segment 0 has index 4294967295"),
        ({"index": 0}, "the position after segment 0 has index 0"),
        ({"ended": True}, "differ in whether the run has ended"),
        ({"last_orbit": -1}, "the position is before the segment's last orbit, 4"),
        ({"last_orbit": 1 << 31}, "position.last_orbit"),
        ({"gap_orbits": -(1 << 70)}, "position.gap_orbits"),
    ],
)
def test_a_wrong_position_does_not_mislead_a_readout_that_has_lost_its_spool(client, segments, change, why):
    (note, data), *_ = segments
    wrong = SegmentNote.model_construct(segment=note.segment, position=replace(note.position, **change))
    answer = client.put(wrong, data)
    assert (answer.status, why in answer.error) == (400, True)
    assert client.ask("GET", f"/v1/runs/{RUN}/sources/1").content["index"] == 0


def test_damage_and_contradictions_are_answered_and_counted(store, client, segments):
    (note, data), *_ = segments
    wrong = client.put(note, data[:-1] + bytes([data[-1] ^ 1]))
    assert (wrong.status, "do not have the note's checksum" in wrong.error) == (422, True)
    other = SegmentNote(segment=replace(note.segment, last_orbit=3), position=note.position)
    lie = client.put(other, data)
    assert (lie.status, "the file has orbits 0 to 4, the note 0 to 3" in lie.error) == (422, True)
    assert client.put(note, data).status == 201
    missed = SegmentNote(segment=replace(note.segment, missed=1), position=note.position)
    assert client.put(missed, data).status == 409
    alarms = store.status().alarms
    assert alarms == client.ask("GET", "/healthz").content["alarms"]
    assert [alarm.split()[0] for alarm in alarms] == ["1", "2"]


def test_a_segment_that_is_too_long_is_refused_before_a_byte_is_written(tmp_path, segments):
    store = make_store(tmp_path / "store", max_segment_bytes=4096, method="none")
    (note, _), *_ = segments
    huge = SegmentNote(segment=replace(note.segment, size=1 << 40), position=note.position)
    with dial(store) as connection:
        connection.sendall(put_head(huge, 1 << 40))
        assert everything(connection).startswith(b"HTTP/1.1 413 ")
    assert list(store.folder.incoming.iterdir()) == []
    store.close()


def test_only_so_many_segments_at_a_time(tmp_path, segments):
    store = make_store(tmp_path / "store", connections=1, method="none")
    (note, data), (second, more), *_ = segments
    with dial(store) as connection, closing(StoreClient(store.server.address)) as client:
        connection.sendall(put_head(note, len(data)) + data[:10])
        wait_for(lambda: store.receiver.receiving)
        for busy in (client.put(second, more), client.put(note, data)):
            assert (busy.status, busy.headers["Retry-After"]) == (503, "1")
        connection.sendall(data[10:])
        assert status_on(connection) == 201
        assert client.put(second, more).status == 201
    store.close()


def test_requests_one_after_the_other_without_waiting(store, segments):
    """Pipelined requests are answered in order; many at once end the connection."""
    request = b"GET /v1/runs/7/sources/1 HTTP/1.1\r\n\r\n"
    with dial(store) as connection:
        connection.sendall(3 * request + b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n")
        answer = everything(connection)
    assert (answer.count(b"200 OK"), answer.count(b"404 Not Found")) == (3, 1)
    with dial(store) as connection:
        with suppress(ConnectionError):
            connection.sendall(100 * request)
        assert everything(connection).count(b"200 OK") <= 10
    assert_works(store, segments)


def assert_works(store, segments) -> None:
    with closing(StoreClient(store.server.address)) as client:
        assert [client.put(*segment).status for segment in segments] == [201] * len(segments)
    assert store.server.alive
    assert not EVENTS["fault in a request"]


def test_random_bytes(store, segments):
    """Whatever comes, the store answers or closes the connection, and goes on."""
    chance = random.Random(15)
    good = put_head(segments[0][0], 10) + b"x" * 10
    for k in range(200):
        junk = chance.randbytes(chance.randrange(1, 300))
        at = chance.randrange(len(good))
        with dial(store) as connection, suppress(ConnectionError):
            connection.sendall(junk if k % 2 else good[:at] + junk + good[at:])
            connection.shutdown(socket.SHUT_WR)
            answer = everything(connection)
            assert answer == b"" or answer.startswith((b"HTTP/1.1 4", b"HTTP/1.1 2"))
    assert_works(store, segments)


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\nX: " + b"a" * (2 * MAX_HEAD_BYTES),
        b"GET /" + b"a" * (2 * MAX_HEAD_BYTES),
        b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * MAX_HEAD_BYTES,
    ],
    ids=["header", "path", "many"],
)
def test_heads_have_a_limited_size(store, segments, head):
    with dial(store) as connection, suppress(ConnectionError):
        connection.sendall(head)
        answer = everything(connection)
        assert answer == b"" or answer.startswith((b"HTTP/1.1 431 ", b"HTTP/1.1 400 "))
        if answer:
            assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]
    assert_works(store, segments)


def test_silent_connections_do_not_keep_others_out(store, segments):
    """They go, oldest first, when there are many: no time is waited for."""
    with closing(StoreClient(store.server.address)) as before:
        assert before.ask("GET", f"/v1/runs/{RUN}/sources/1").status == 200
        host, port = store.server.address.rsplit(":", 1)
        silent = [socket.create_connection((host, int(port)), PATIENCE_S) for _ in range(300)]
        assert_works(store, segments)
        assert before.ask("GET", f"/v1/runs/{RUN}/sources/1").status == 200
        assert store.server.connections <= MAX_WAITING + 2
        wait_for(lambda: EVENTS["client rejected"] >= 1)
        for connection in silent:
            connection.close()


def test_idle_clients_give_way_too(store, segments):
    """As many connections as the store has places for, each with a good request."""
    clients = [StoreClient(store.server.address) for _ in range(MAX_OPEN + 20)]
    for client in clients:
        assert client.ask("GET", f"/v1/runs/{RUN}/sources/1").status == 200
    assert store.server.connections <= MAX_OPEN
    assert_works(store, segments)
    for client in clients:
        client.close()


@pytest.mark.parametrize(
    "beginning", [b"", b"G", b"\r\n", b"GET / HTTP/1.1\r\nX: "], ids=["silent", "letter", "line", "head"]
)
def test_a_request_has_so_long_to_arrive(store, monkeypatch, beginning):
    monkeypatch.setattr(http_clients, "REQUEST_S", 0.0)
    with dial(store) as connection:
        with suppress(ConnectionError):
            connection.sendall(beginning)
        assert everything(connection) == b""
    wait_for(lambda: EVENTS["client rejected"])


def test_a_body_that_stalls_is_given_up(store, segments, monkeypatch):
    """What came is kept, and the segment may be sent by others."""
    (note, data), *_ = segments
    with dial(store) as connection, closing(StoreClient(store.server.address)) as client:
        monkeypatch.setattr(http_api, "_PIECE_BYTES", 1)
        connection.sendall(put_head(note, len(data)) + data[:10])
        wait_for(lambda: client.head(note.segment.name).headers["Upload-Offset"] == "10")
        monkeypatch.setattr(http_clients, "IDLE_S", 0.0)
        assert everything(connection) == b""
        monkeypatch.setattr(http_clients, "IDLE_S", PATIENCE_S)
        wait_for(lambda: not store.receiver.receiving)
        assert client.put(note, data, 10).status == 201


@pytest.mark.parametrize(
    ("age_s", "silent_s", "size", "paused", "given_up"),
    [
        (10.0, 9.0, 0, False, False),
        (100.0, 16.0, 1 << 30, False, True),
        (100.0, 14.0, 1 << 30, False, False),
        (100.0, 1.0, 400_000, False, True),  # less than 4 kB/s
        (100.0, 1.0, 500_000, False, False),
        (100.0, 99.0, 0, True, False),  # the store itself does not read
    ],
)
def test_when_a_body_is_given_up(monkeypatch, age_s, silent_s, size, paused, given_up):
    monkeypatch.setattr(http_clients, "IDLE_S", 15.0)
    protocol = object.__new__(ClientProtocol)
    protocol.flow = SimpleNamespace(read_paused=paused)
    protocol._head_began, protocol._body_began, protocol._moved = None, 1000.0 - age_s, 1000.0 - silent_s
    protocol._body_bytes = size
    assert (protocol.fault(1000.0) != "") == given_up


def test_a_stop_lets_an_upload_end_for_a_while_only(tmp_path, segments, monkeypatch):
    monkeypatch.setattr(http_server, "STOP_S", 1)
    store = make_store(tmp_path / "store", method="none")
    (note, data), *_ = segments
    with dial(store) as connection:
        connection.sendall(put_head(note, len(data)) + data[:10])
        wait_for(lambda: store.receiver.receiving)
        store.close()
        assert everything(connection) == b""
    assert not store.server.alive
    assert store.server.error is None


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    folder = tmp_path_factory.mktemp("certificates")
    return make_certificate(folder, "store"), make_certificate(folder, "readout")


class Served:
    """A store's API with access for some, without the rest of a store."""

    receiver, state, alarms, is_healthy = None, "running", (), True


def served(access):
    return HttpServer(application(Served(), access.token, log), "127.0.0.1:0", access, log).start()


def status_of(server, access, token="", path="/v1/runs/1/sources/1"):
    """Ask a server: without a receiver, whoever is accepted gets 507."""
    with closing(StoreClient(server.address, token, access.client())) as client:
        return client.ask("GET", path).status


def test_a_token_is_needed_where_there_is_one(certificates):
    own, _ = certificates
    server, access = served(listener_access(own, TOKEN)), client_access(own)
    assert status_of(server, access, TOKEN) == 507
    for wrong in ("", TOKEN[:-1], TOKEN + "x", TOKEN.upper(), "\xe4" * 20):
        assert status_of(server, access, wrong) == 401
    assert status_of(server, access, "", "/healthz") == 200
    with closing(StoreClient(server.address, "", access.client())) as client:
        reply = client.ask("GET", "/v1/runs/1/sources/1", Authorization=f"Basic {TOKEN}")
    assert (reply.status, reply.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert EVENTS["client rejected"] == 6
    server.stop()


def test_client_certificates(certificates):
    own, readout = certificates
    server = served(listener_access(own, clients=readout))
    assert status_of(server, client_access(own, own=readout)) == 507
    for access in (client_access(own), client_access(own, own=own)):
        with pytest.raises(OSError, match=r"(?i)certificate|ssl|unknown ca|reset|EOF|closed"):
            status_of(server, access)
    assert status_of(server, client_access(own, own=readout)) == 507
    server.stop()


def test_silent_handshakes_do_not_keep_others_out(certificates):
    own, _ = certificates
    server = served(listener_access(own, TOKEN))
    host, port = server.address.rsplit(":", 1)
    silent = [socket.create_connection((host, int(port)), PATIENCE_S) for _ in range(300)]
    for connection in silent[::2]:
        with suppress(ConnectionError):
            connection.sendall(b"GET / HTTP/1.1\r\n\r\n")
    assert status_of(server, client_access(own), TOKEN) == 507
    wait_for(lambda: server.connections <= MAX_WAITING + 1)
    for connection in silent:
        connection.close()
    wait_for(lambda: server.connections == 0)
    server.stop()
    assert server.error is None


@pytest.mark.parametrize(
    ("listen", "settings"),
    [("0.0.0.0:0", {}), ("0.0.0.0:0", {"certificate": True}), ("no address", {}), ("127.0.0.1:1x", {})],
)
def test_a_store_that_others_could_use_unseen_does_not_start(tmp_path, certificates, listen, settings):
    own, _ = certificates
    given = {"access__certificate": own.certificate, "access__key": own.key} if settings else {}
    with pytest.raises(InputError, match=listen.split(":")[0]):
        make_store(tmp_path / "store", listen=listen, **given)
    assert not (tmp_path / "store").exists()


def test_an_address_that_is_taken(store, tmp_path):
    with pytest.raises(InputError, match=f"{store.server.address}: cannot listen there"):
        make_store(tmp_path / "other", listen=store.server.address)


def test_a_flood_gives_one_line_a_second():
    now, lines = [0.0], []
    brief = RateLimitedLog(lambda event, **values: lines.append((event, values)), lambda: now[0])
    for _ in range(1000):
        brief("client rejected", peer="x")
    brief("other")
    now[0] = 1.0
    brief("client rejected", peer="y")
    assert lines == [
        ("client rejected", {"peer": "x", "times": 1}),
        ("other", {"times": 1}),
        ("client rejected", {"peer": "y", "times": 1000}),
    ]


def test_digests():
    assert parse_digest(digest(0xDEADBEEF)) == 0xDEADBEEF
    assert parse_digest(f"sha-256=:AAAA:, {digest(5)}") == 5
    for text in ("", "crc32c=:AAAA:", "crc32c=AAAAAA==", "xcrc32c=:AAAAAA==:", "crc32c=:AAAAAA==:x"):
        assert parse_digest(text) is None
