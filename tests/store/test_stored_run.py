"""A run of the store as the input of an analysis."""

import json

import pytest
from typer.testing import CliRunner

from l1scout.cli import make_app
from l1scout.errors import InputError
from l1scout.formats.wire_formats.run3 import RUN3
from l1scout.readout.spool import Spool
from l1scout.readout.writer import Limits, SegmentWriter
from l1scout.store.catalogue import Catalogue
from l1scout.store.stored_run import stored_run
from live_packets import feed, packets

ORBITS = 24


@pytest.fixture
def store(tmp_path):
    """A store's folder with five segments of run 7, and some of run 8 from another source."""
    folder = tmp_path / "store"
    folder.mkdir()
    catalogue = Catalogue(folder, create=True)
    for run, source in ((7, 1), (8, 1), (8, 2)):
        spool = Spool(tmp_path / f"spool{run}{source}")
        writer = SegmentWriter(spool, run, source, RUN3, Limits(orbits=5))
        feed(writer, b"".join(packets()))
        writer.finish()
        for segment in spool.waiting():
            (folder / segment.name).write_bytes(spool.path(segment).read_bytes())
            catalogue.add(spool.note(segment), segment.name)
    catalogue.close()
    return folder


def test_a_run_of_the_store(store):
    files, missing = stored_run(store, 7)[:2]
    assert [f.name for f in files] == sorted(f.name for f in files)
    assert len(files) == 5
    assert missing == []
    args = ["analyse", "livetime", "--run", "7", "--store", str(store), "--json"]
    result = json.loads(CliRunner().invoke(make_app(), args).stdout)
    assert result["orbits"] == ORBITS
    assert {row["run"] for row in result["sections"]} == {7}
    assert [i["file"] for i in result["provenance"]["inputs"]] == [f.name for f in files]


def test_a_golden_json_selects_from_a_run_of_the_store(store, tmp_path):
    golden = tmp_path / "golden.json"
    args = ["analyse", "livetime", "--run", "7", "--store", str(store), "--golden", str(golden), "--json"]
    golden.write_text('{"7": [[1, 2]]}')
    result = json.loads(CliRunner().invoke(make_app(), args).stdout)
    assert result["orbits"] == ORBITS
    assert result["provenance"]["options"]["golden_json"] == "golden.json"
    golden.write_text('{"7": [[2, 2]], "8": [[1, 1]]}')
    refused = CliRunner().invoke(make_app(), args).exception
    assert isinstance(refused, InputError)
    assert "the data have run 7 lumisections 1-1" in str(refused)


def test_deleted_segments_are_said(store):
    catalogue = Catalogue(store)
    segments = catalogue.segments(7)
    catalogue.deleted(segments[1])
    files, missing = stored_run(store, 7)[:2]
    assert len(files) == 4
    assert missing == ["1 of 5 segments of run 7 were deleted here"]
    for segment in segments:
        catalogue.deleted(segment)
    with pytest.raises(InputError, match="all 5 segments of run 7 were deleted"):
        stored_run(store, 7)


def test_what_is_not_one_stored_run(store, tmp_path):
    with pytest.raises(InputError, match="run 9 is not in this store; the latest runs are 7, 8"):
        stored_run(store, 9)
    with pytest.raises(InputError, match=r"several sources \(1, 2\)"):
        stored_run(store, 8)
    with pytest.raises(InputError, match="catalogue"):
        stored_run(tmp_path, 7)


def test_one_of_several_sources_is_chosen(store):
    files = stored_run(store, 8, 2).files
    assert {f.name.split("_")[1] for f in files} == {"source02"}
    with pytest.raises(InputError, match="run 8 has no source 3; it has 1, 2"):
        stored_run(store, 8, 3)
    args = ["analyse", "livetime", "--run", "8", "--source", "1", "--store", str(store), "--json"]
    assert json.loads(CliRunner().invoke(make_app(), args).stdout)["orbits"] == ORBITS
