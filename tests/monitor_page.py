"""What tests of the live page share: a spool that the test writes, and the page's server in a thread."""

import io
import threading
import urllib.error
import urllib.request
from functools import cache
from pathlib import Path

from front_end import Keep
from l1scout.board.repeat import RepeatedPackets
from l1scout.formats.wire_formats.run3 import RUN3
from l1scout.monitor.monitor import Monitor
from l1scout.monitor.page_frames import unpack
from l1scout.readout.spool import Spool
from l1scout.readout.writer import Limits, SegmentWriter
from l1scout.settings import read_settings
from live_packets import small_packets
from processes import wait_for

RUN = 42
_packets = cache(small_packets)


class SpoolWriter:
    """Writes simulated orbits into a spool as a readout does."""

    def __init__(self, folder: Path, run: int = RUN, segment_orbits: int = 8192) -> None:
        self.spool = Spool(folder)
        self.writer = SegmentWriter(self.spool, run, 1, RUN3, Limits(orbits=segment_orbits))
        self._next = 0

    def write(self, orbits: int = 48) -> None:
        """Write more orbits; the last packet may be held back until the next one."""
        sink = Keep()
        source = RepeatedPackets(io.BytesIO(_packets("run3", 24, 0.1)), RUN3, self._next)
        source.run(sink, pace=0, orbits=orbits)
        self._next += orbits
        sink.bytes.seek(0)
        for packet in RUN3.split(sink.bytes):
            self.writer.step(packet)

    def close(self) -> None:
        """End the run."""
        self.writer.finish()
        self.spool.close()

    @property
    def orbits(self) -> int:
        """Orbits written."""
        return self.writer.totals.counts["orbits"]


class Served:
    """A monitor in a thread."""

    def __init__(self, folder: Path, *data: object, **more: object) -> None:
        over = {
            "monitor.listen": "127.0.0.1:0",
            "monitor.folder": folder / "histograms",
            "run.folder": folder / "run",
            "readout.spool": folder / "spool",
            "store.folder": folder / "store",
            **{name.replace("__", "."): value for name, value in more.items()},
        }
        settings = read_settings(None, {}, [f"{name}={value}" for name, value in over.items()])
        self.monitor = Monitor(settings, [str(d) for d in data], lambda *_, **__: None, tick_s=0.05)
        self.url = f"http://{self.monitor.address}"
        self._thread = threading.Thread(target=self.monitor.run, daemon=True)
        self._thread.start()

    @property
    def orbits(self) -> int:
        """Orbits in the histograms."""
        return self.monitor.live.histograms.orbits

    def wait_for_orbits(self, orbits: int) -> None:
        """Wait until the histograms have at least this number of orbits."""
        wait_for(
            lambda: self.orbits >= orbits, lambda: f"{self.orbits} of {orbits}: {self.monitor.live.faults}"
        )

    def get(self, path: str, **headers: str) -> tuple[int, bytes, dict[str, str]]:
        """Return status, content and headers of an answer."""
        request = urllib.request.Request(self.url + path, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, answer.read(), dict(answer.headers)
        except urllib.error.HTTPError as error:
            return error.code, error.read(), dict(error.headers)

    def frame(self, query: str):
        """Return head and arrays of a frame."""
        status, content, _ = self.get(f"/api/frame?{query}")
        assert status == 200, content
        return unpack(content)

    def close(self) -> None:
        """Stop, and wait for the end."""
        self.monitor.stop()
        self._thread.join(60)
        assert not self._thread.is_alive()
