"""Simulated, real or unknown: segments state what the packets state, and nothing is inferred."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from l1scout.cli import make_app
from l1scout.formats.marks import SIMULATED
from l1scout.formats.packets import TRAILER_BYTES
from l1scout.formats.wire_formats.run3 import RUN3
from l1scout.readout.spool import Spool
from l1scout.readout.writer import Limits, SegmentWriter
from l1scout.store.account import account
from l1scout.store.catalogue import Catalogue
from l1scout.store.transfer import transfer
from live_packets import feed, packets, stored_spool

REAL_RUN = 380_963
"""A run of 2024: its number alone says nothing of the data."""


def marked(packet: bytes, marks: int) -> bytes:
    """Return a packet of Run 3 whose orbits carry these marks only."""
    plain = bytearray(packet)
    for orbits in [RUN3.find_orbits(memoryview(plain))]:
        rows = np.frombuffer(plain, "<u4", (len(plain) - TRAILER_BYTES) // 4).reshape(-1, 8)
        rows[orbits.spans[:, 0] - 1, 6] = marks
    return bytes(plain)


def write(folder, marks, *, run=REAL_RUN, **options) -> Spool:
    """Write packets, of three orbits each, whose marks are given one by one, as segments of six orbits."""
    spool = Spool(folder)
    writer = SegmentWriter(spool, run, 1, RUN3, Limits(orbits=6), **options)
    for packet, mark in zip(packets(), marks, strict=False):
        feed(writer, marked(packet, mark))
    writer.finish()
    return spool


@pytest.mark.parametrize(
    ("marks", "stated", "labels"),
    [
        ([0, 0, 0, 0], "unknown", ["unknown", "unknown"]),
        ([SIMULATED] * 4, "unknown", ["simulated", "simulated"]),
        ([SIMULATED] * 4, "real", ["simulated", "simulated"]),
        ([0, SIMULATED, 0, 0], "unknown", ["simulated", "unknown"]),
        ([0, 0, 0, SIMULATED], "real", ["real", "simulated"]),
        ([1, 1, 1, 1], "real", ["real", "real"]),
    ],
)
def test_segments_state_what_packets_state(tmp_path, marks, stated, labels):
    spool = write(tmp_path / "spool", marks, data=stated)
    assert [s.data for s in spool.waiting()] == labels


def test_the_last_segment_of_a_run_without_orbits_has_the_label_of_the_run(tmp_path):
    spool = Spool(tmp_path / "spool")
    writer = SegmentWriter(spool, REAL_RUN, 1, RUN3, Limits(seconds=0))
    feed(writer, marked(packets()[0], SIMULATED))
    writer.tick()
    spool.close()
    spool = Spool(tmp_path / "spool")  # readout was started again
    SegmentWriter(spool, REAL_RUN, 1, RUN3).finish()
    assert [(s.orbits, s.data) for s in spool.waiting()] == [(3, "simulated"), (0, "simulated")]


def l1scout(*words):
    done = CliRunner().invoke(make_app(), [str(w) for w in words], catch_exceptions=False)
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    ("marks", "stated", "label"),
    [
        ([SIMULATED, 0, 0, 0], "real", "simulated"),
        ([0, 0, 0, 0], "real", "real"),
        ([0, 0, 0, 0], "unknown", "unknown"),
    ],
)
def test_every_output_of_the_store_states_it(tmp_path, marks, stated, label):
    spool = write(tmp_path / "spool", marks, data=stated)
    store = stored_spool(spool, tmp_path / "store")
    over = (
        f"--set=store.folder={store}",
        f"--set=run.folder={tmp_path}",
        f"--set=readout.spool={tmp_path}/x",
    )
    listed = l1scout("runs", "--json", *over)
    assert (listed["data"], listed["runs"][0]["data"], listed["provenance"]["data"]) == (label,) * 3
    sections = l1scout("runs", REAL_RUN, "--json", *over)
    assert sections["lumisections"][0]["data"] == sections["provenance"]["data"] == label
    told = l1scout("account", REAL_RUN, "--json", *over)
    assert told["data"] == told["provenance"]["data"] == label
    assert {s["data"] for s in told["stages"] if s["name"].startswith(("readout", "wire", "store"))} == {
        label
    }
    copied = l1scout("transfer", tmp_path / "copy", "--json", *over)
    assert copied["data"] == copied["provenance"]["data"]


def test_objects_are_counted_by_kind_at_every_stage(tmp_path):
    spool = write(tmp_path / "spool", [0] * 8)
    segments = list(spool.waiting())
    muons = sum(s.objects["muon"] for s in segments)
    intermediate = sum(s.objects["intermediate_muon"] for s in segments)
    assert muons > 0
    store = stored_spool(spool, tmp_path / "store")
    catalogue = Catalogue(store)
    (run,) = catalogue.runs()
    rows = catalogue._rows('SELECT kind, SUM("count") FROM run_objects GROUP BY kind ORDER BY kind')
    catalogue.close()
    assert run["objects"] == dict(rows) == {"muon": muons, "intermediate_muon": intermediate}
    for stage in account(REAL_RUN, store)[1:]:
        assert stage.objects == run["objects"], stage.name


def test_a_transfer_states_the_data_of_what_it_copies(tmp_path):
    store = stored_spool(write(tmp_path / "spool", [SIMULATED] * 8), tmp_path / "store", method="zstd")
    done = transfer(store, str(tmp_path / "copy"))
    assert (done.copied, done.data) == (4, "simulated")
