"""A small client of the store, for its tests: what the readout's own one does not show."""

import base64
import http.client
import json
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from chain import PATIENCE_S
from l1scout.readout.segment_note import SegmentNote
from l1scout.readout.spool import Spool
from l1scout.settings import read_settings
from l1scout.store.store import Store


def digest(crc: int) -> str:
    """Return the header ``Repr-Digest`` of a CRC32C."""
    return f"crc32c=:{base64.b64encode(crc.to_bytes(4, 'big')).decode()}:"


class Reply(NamedTuple):
    """What the store answered."""

    status: int
    content: dict[str, Any]
    headers: Mapping[str, str]

    @property
    def error(self) -> str:
        return str(self.content["error"])


class StoreClient:
    """A connection to a store, which may be used again after it was closed."""

    def __init__(self, address: str, token: str = "", context: ssl.SSLContext | None = None) -> None:
        host, port = address.rsplit(":", 1)
        self._always = {"Authorization": f"Bearer {token}"} if token else {}
        if context:
            self.http = http.client.HTTPSConnection(host, int(port), timeout=PATIENCE_S, context=context)
        else:
            self.http = http.client.HTTPConnection(host, int(port), timeout=PATIENCE_S)

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str | None) -> Reply:
        given = self._always | {n.replace("_", "-"): v for n, v in headers.items() if v is not None}
        self.http.request(method, path, body, given)
        answer = self.http.getresponse()
        text = answer.read()
        return Reply(answer.status, json.loads(text) if text else {}, answer.headers)

    def put(
        self, note: SegmentNote, data: bytes, start: int = 0, name: str = "", **headers: str | None
    ) -> Reply:
        """Send a segment from a byte on; headers of the same name replace the right ones, None leaves out."""
        segment = note.segment
        whole = {"L1scout_Note": note.encode().decode(), "Repr_Digest": digest(segment.crc32c)}
        if start:
            whole["Content_Range"] = f"bytes {start}-{segment.size - 1}/{segment.size}"
        path = f"/v1/segments/{name or segment.name}"
        return self.ask("PUT", path, data[start:], **(whole | headers))

    def head(self, name: str) -> Reply:
        return self.ask("HEAD", f"/v1/segments/{name}")

    def close(self) -> None:
        self.http.close()


def make_store(
    folder: Path, log: Any = lambda event, **_: None, *, start: bool = True, **settings: object
) -> Store:
    """Make a store on a free port; names of settings in other sections than its own have two underscores."""
    given = {"listen": "127.0.0.1:0", "folder": folder, "drain_seconds": PATIENCE_S, **settings}
    over = [f"{n.replace('__', '.') if '__' in n else 'store.' + n}={v}" for n, v in given.items()]
    store = Store(read_settings(None, {}, over), log)
    if start:
        store.start()
    return store


def push(spool: Spool, store: Store) -> list[int]:
    """Send all segments of a spool, and return the statuses; they stay in the spool."""
    client = StoreClient(store.server.address)
    replies = [client.put(spool.note(s), spool.path(s).read_bytes()) for s in spool.waiting()]
    client.close()
    return [reply.status for reply in replies]
