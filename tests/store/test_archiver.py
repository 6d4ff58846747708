"""Segments that are compressed before they are acknowledged, without processes of their own."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from chain import PATIENCE_S
from l1scout.formats.wire_formats.run3 import RUN3
from l1scout.readout.spool import Spool
from l1scout.readout.writer import Limits, SegmentWriter
from l1scout.store import archiver as archiver_module
from l1scout.store.archiver import Archiver
from l1scout.store.catalogue import Catalogue
from l1scout.store.compress import Method
from live_packets import feed, packets, stored_spool


@pytest.fixture
def segment_and_upload(tmp_path):
    spool = Spool(tmp_path / "spool")
    writer = SegmentWriter(spool, 7, 1, RUN3, Limits(orbits=4))
    feed(writer, b"".join(packets(per=2)))
    writer.finish()
    folder = stored_spool(spool, tmp_path / "store")
    catalogue = Catalogue(folder)
    segment = catalogue.segments(7)[0].segment
    catalogue.close()
    upload = tmp_path / f"{segment.name}.part"
    upload.write_bytes((folder / segment.folder / segment.name).read_bytes())
    return segment, upload


def test_a_process_that_is_still_starting_is_not_ended(monkeypatch, segment_and_upload):
    """It compiles kernels, which may take longer than a segment may: ended, it would begin anew for ever."""
    segment, upload = segment_and_upload
    ready, pools, reasons = threading.Event(), [], []
    monkeypatch.setattr(archiver_module, "_warm_up", ready.wait)

    def pool(workers):
        pools.append(ThreadPoolExecutor(workers))
        return pools[-1]

    archiver = Archiver(Method("zstd"), 1, lambda event, **more: reasons.append(more["why"]), pool, 0.01)
    archiver.start()
    assert archiver.compress(upload, segment) is None
    assert reasons == ["the processes that compress are still starting"]
    ready.set()
    archiver._limit_s = PATIENCE_S
    made = archiver.compress(upload, segment)
    archiver.close()
    assert (len(pools), archiver.done, archiver.failures) == (1, 1, 1)
    assert made is not None
    assert made.size > 0
