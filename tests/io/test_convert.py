"""Files converted from every format to every other: nothing is lost unless it was listed and accepted."""

from dataclasses import replace

import numpy as np
import pytest
import uproot

from l1scout.core.orbit_batch import OrbitBatch, concatenate, final_muons
from l1scout.core.orbit_data import OrbitData
from l1scout.errors import InputError
from l1scout.formats.packets import Trailer
from l1scout.formats.stream import STREAMS
from l1scout.formats.wire_formats.objects import encode_packet
from l1scout.io import describe, detect, read_events
from l1scout.io.convert import convert
from l1scout.io.format_writer import WRITERS, write_data
from l1scout.io.quality import ReadQuality
from l1scout.lhc import lumisection
from l1scout.simulate.activity import Activity
from l1scout.simulate.all_streams import simulate_streams
from stream_files import every, path_of, read, same
from stream_rows import RUN, objects


@pytest.mark.parametrize("writer", ["raw", "archive", "parquet-dataset"])
def test_all_streams_come_back_with_their_orbits(tmp_path, writer):
    data, path = every(), path_of(tmp_path, writer)
    done = write_data([data], path, writer)
    assert done.lost == []
    assert done.objects == {name: batch.n_objects for name, batch in data.streams.items()}
    if writer == "archive":
        convert([path], tmp_path / "again.raw")
        path = tmp_path / "again.raw"
    found = read(path)
    assert set(found.streams) == set(data.streams)
    for name, batch in data.streams.items():
        same(found.streams[name], batch)
        assert found.streams[name].first_orbit == batch.first_orbit


@pytest.mark.parametrize("writer", ["scouting-nano", "scouting-nano-rntuple"])
def test_nano_with_all_columns(tmp_path, writer):
    data, path = every(), path_of(tmp_path, writer)
    with pytest.raises(InputError, match=r"cannot hold.*muon.hwIso.*intermediate muons.*--drop.*--hardware"):
        write_data([data], path, writer)
    assert not list(tmp_path.iterdir())
    with pytest.raises(InputError, match="cannot hold intermediate muons: "):
        write_data([data], path, writer, hardware=True)
    final = data.muons.select(data.muons["intermediate"] == 0)
    data = data.with_muons(final)
    assert write_data([data], path, writer, hardware=True, zstd=True).lost == []
    found = read(path)
    for name, batch in data.streams.items():
        same(found.streams[name], batch, {"intermediate"})
        assert found.streams[name].first_orbit == 262_000


def test_what_was_left_out_is_said(tmp_path):
    data = every()
    done = write_data([data], tmp_path / "nano.root", drop=True)
    assert {"muon.hwIso", "muon.second", "jet.hwDisplaced", "stub.valid", "intermediate muons"} <= set(
        done.lost
    )
    assert "muon.hwPt" not in done.lost
    assert done.orbits == 300
    data.streams["jet"]["hwPhi"][:] = 200  # beyond a full turn: no value of the branch
    assert "jet.hwPhi" in write_data([data], tmp_path / "nano.root", drop=True).lost


def test_records_hold_muons_only(tmp_path):
    data = every(names=["muon", "jet"])
    with pytest.raises(InputError, match="stream jet, run, number of orbits, whether the data are simulated"):
        write_data([data], tmp_path / "x.dat")
    write_data([data], tmp_path / "x.dat", drop=True)
    found = read(tmp_path / "x.dat")
    same(found.muons, replace(data.muons, run=found.muons.run, n_orbits=None, simulated=None))


def test_streams_that_were_seen_in_other_orbits(tmp_path):
    """As towers, which are recorded in two of nine orbits: every format keeps the number, by lumisection."""
    data = every(names=["muon", "tower"])
    seen = np.union1d(data.streams["tower"].orbit, np.arange(262_003, 262_300, 9))  # some have no tower
    towers = data.streams["tower"].with_orbits(seen)
    muons = data.muons.select(data.muons["intermediate"] == 0)
    data = OrbitData({"muon": muons, "tower": towers}, None, data.origin)
    for writer in ("scouting-nano", "scouting-nano-rntuple", "parquet-dataset", "raw"):
        path = path_of(tmp_path, writer)
        options = {"hardware": True} if "nano" in writer else {}
        write_data([data], path, writer, **options)
        found = read(path)
        assert found.muons.n_orbits == 300
        assert found.streams["tower"].orbits_seen().tolist() == seen.tolist()
    on = np.count_nonzero(seen < 262_144)
    part = next((tmp_path / "parquet-dataset/stream=tower/run=390000/lumisection=1").iterdir())
    assert read(part).streams["tower"].n_orbits == on


def test_orbits_whose_numbers_are_not_known(tmp_path):
    data = every(names=["muon"])
    data = data.with_muons(replace(data.muons, first_orbit=None))
    with pytest.raises(InputError, match=r"orbits without muons .have no known numbers"):
        write_data([data], tmp_path / "x.raw")
    data = data.with_muons(replace(data.muons, n_orbits=None))
    with pytest.raises(InputError, match=r"orbits without muons .are not stated by the input"):
        write_data([data], tmp_path / "x.raw")
    write_data([data], tmp_path / "set")
    assert read(tmp_path / "set").muons.n_orbits is None


def test_selections_are_carried_over(tmp_path):
    data = every(names=["jet"])
    jets = data.streams["jet"]
    flags = OrbitBatch(
        jets.orbit, jets.bx, np.arange(len(jets) + 1),
        {"SelBx_DijetEt30": jets.counts > 1, "SelBx_Other": jets["hwPt"][jets.offsets[:-1]] > 900},
        jets.run, jets.lumisection,
    )  # fmt: skip
    data = replace(data, selections=flags)
    write_data([data], tmp_path / "nano.root", hardware=True)
    convert([tmp_path / "nano.root"], tmp_path / "set")
    convert([tmp_path / "set"], tmp_path / "again", "scouting-nano-rntuple", hardware=True)
    for path in ("nano.root", "set", "again"):
        found = read(tmp_path / path).selections
        for name, values in flags.columns.items():
            on = found[name]
            assert found.orbit[on].tolist() == jets.orbit[values].tolist()
            assert found.bx[on].tolist() == jets.bx[values].tolist()
    with pytest.raises(InputError, match="cannot hold selection SelBx_DijetEt30, selection SelBx_Other"):
        convert([tmp_path / "nano.root"], tmp_path / "x.raw")


def test_several_files_become_one_and_orbits_add_up(tmp_path):
    parts = [every(seed, first_orbit=262_000 + 300 * seed, names=["muon", "jet"]) for seed in range(3)]
    for k, part in enumerate(parts):
        write_data([part], tmp_path / f"{k}.raw")
    convert([tmp_path / "1.raw"], tmp_path / "1", drop=True)
    quality = ReadQuality()
    inputs = [tmp_path / name for name in ("0.raw", "1", "2.raw", "1.raw")]
    done = convert(inputs, tmp_path / "all.raw", quality=quality, rows=50)
    assert (done.orbits, quality.duplicate_orbits) == (900, 300)
    found = read(tmp_path / "all.raw")
    for name in ("muon", "jet"):
        same(found.streams[name], concatenate([part.streams[name] for part in parts]))
    convert([tmp_path / "all.raw"], tmp_path / "nano.root", drop=True)
    assert describe(tmp_path / "nano.root")["orbits_covered"] == 900


def test_empty_crossings(tmp_path):
    data = every(names=["muon", "jet"], orbits=3, rows=20)
    done = write_data([data], tmp_path / "nano.root", drop=True, empty_crossings=True)
    assert done.orbits == 3
    found = next(iter(read_events(tmp_path / "nano.root", rows=1 << 20))).muons
    assert (len(found), found.bx[0], found.bx[-1]) == (3 * 3564, 1, 3564)
    with pytest.raises(InputError, match=r"no rows for empty crossings; these have: .*scouting-nano"):
        write_data([data], tmp_path / "x.raw", empty_crossings=True)
    lacking = data.with_muons(replace(data.muons, first_orbit=None, n_orbits=100))
    with pytest.raises(InputError, match="does not state which orbits it covers"):
        write_data([lacking], tmp_path / "x.root", drop=True, empty_crossings=True)


def test_the_provenance_names_the_inputs(tmp_path):
    write_data([every(names=["jet"])], tmp_path / "nano.root", hardware=True)
    convert([tmp_path / "nano.root"], tmp_path / "set")
    assert '"nano.root"' in (tmp_path / "set/_l1scout.json").read_text()
    assert read(tmp_path / "set").origin.seed == 7


def test_what_convert_refuses(tmp_path):
    write_data([every(names=["jet"])], tmp_path / "jets.raw")
    for target, options, message in [
        ("jets.raw", {}, "is the input itself"),
        ("x.txt", {}, "its suffix does not tell the format"),
        ("x.raw", {"hardware": True}, "CMSSW .raw has no option hardware; it has none"),
        ("x", {"name": "nano"}, "no 'nano' among the writers: choose one of archive"),
    ]:
        with pytest.raises(InputError, match=message):
            convert([tmp_path / "jets.raw"], tmp_path / target, **options)
    two = [every(names=["jet"]), every(names=["jet", "muon"], first_orbit=263_000)]
    with pytest.raises(InputError, match="have no stream muon: write the parts"):
        write_data(two, tmp_path / "set")
    runs = [every(names=["jet"]), every(names=["jet"], first_orbit=263_000)]
    runs[1].streams["jet"].run[:] = RUN + 1
    with pytest.raises(InputError, match="holds one run, not 390000 and 390001"):
        write_data(runs, tmp_path / "x.raw")
    assert write_data(runs, tmp_path / "set").orbits == 600


HELD = {"native64": "puppi", "native64-tkmuon": "tkmuon"}
READ_BY = {"scouting-nano-rntuple": "scouting-nano", **dict.fromkeys((*HELD, "packets"), "dma-packets")}


@pytest.mark.parametrize("writer", sorted(set(WRITERS) - {"flat-table"}))
def test_files_are_told_from_their_content(tmp_path, writer):
    path = path_of(tmp_path, writer)
    data = every(names=[HELD.get(writer, "muon")], rows=2000, first_orbit=0, orbits=3)
    write_data([data], path, writer, drop=True)
    found = detect(path / "_l1scout.json" if path.is_dir() else path)
    assert found.name == READ_BY.get(writer, writer)
    assert list(read(path).streams) == list(data.streams)


@pytest.mark.parametrize(("writer", "stream"), HELD.items())
def test_events_of_phase_2_come_back_with_their_orbits(tmp_path, writer, stream):
    """Orbits without objects, too, and on both sides of orbits that were not seen."""
    data = every(names=[stream], rows=400, orbits=12)
    batch = data.streams[stream]
    batch = batch.of_orbits(np.setdiff1d(np.arange(262_000, 262_012), [262_004, 262_005]))
    data = OrbitData({stream: batch})
    path = tmp_path / f"x.{WRITERS[writer].form.suffix}"
    with pytest.raises(InputError, match="cannot hold run, whether the data are simulated: accept"):
        write_data([data], path)
    write_data([data], path, drop=True)
    found = read(path)
    same(found.streams[stream], replace(batch, run=np.zeros(len(batch), np.int64), simulated=None))
    assert found.streams[stream].orbits_seen().tolist() == batch.orbits_seen().tolist()


def test_what_events_of_phase_2_do_not_hold_is_named(tmp_path):
    data = every(names=["puppi", "muon"], rows=400, orbits=12)
    candidates = data.streams["puppi"].columns
    candidates["hwId"][:2], candidates["hwZ0"][:2] = (0, 5), 7
    done = write_data([data], tmp_path / "x.native64", drop=True)
    assert "stream muon" in done.lost
    assert "puppi.hwZ0 (kept for some objects)" in done.lost
    candidates["hwPt"][5] = 0
    assert "puppis of which hwPt is 0" in write_data([data], tmp_path / "x.native64", drop=True).lost
    muons = every(names=["tkmuon"], rows=400, orbits=12)
    muons.streams["tkmuon"]["valid"][7] = 0
    done = write_data([muons], tmp_path / "x.native64mu", drop=True)
    assert "tkmuons that are not valid" in done.lost
    assert read(tmp_path / "x.native64mu").streams["tkmuon"].n_objects == muons.main.n_objects - 1
    few = every(names=["tkmuon"], rows=1, orbits=300)
    with pytest.raises(InputError, match="too few tkmuons to tell them from other objects"):
        write_data([few], tmp_path / "few.native64mu", drop=True)
    with pytest.raises(
        InputError, match=r"x\.dat: zero-suppressed records cannot hold tkmuon: the input has"
    ):
        write_data([few], tmp_path / "x.dat", drop=True)


def test_packets_of_all_sources_come_back_as_one(tmp_path):
    """Orbits are those of any source, not the sum; towers were seen in some of them only."""
    data = every(orbits=60)
    towers = data.streams["tower"]
    seen = np.union1d(towers.orbit, np.arange(262_000, 262_060, 9))
    data = OrbitData({**data.streams, "tower": towers.with_orbits(seen)})
    with pytest.raises(InputError, match="any source cannot hold run: accept the loss"):
        write_data([data], tmp_path / "x.packets")
    write_data([data], tmp_path / "x.packets", drop=True)
    found = read(tmp_path / "x.packets")
    for name, batch in data.streams.items():
        same(found.streams[name], replace(batch, run=np.zeros(len(batch), np.int64)))
        assert found.streams[name].orbits_seen().tolist() == batch.orbits_seen().tolist()
        assert found.streams[name].lost_orbits == 0
    described = describe(tmp_path / "x.packets")
    assert described["sources"] == [1, 4, *range(10, 26), 32, 48]
    assert described["orbits"] == 60
    orbits = {row["source"]: row["orbits"] for row in described["packets_of_sources"]}
    assert (orbits[1], orbits[32]) == (60, seen.size)
    parts = (tmp_path / "x.packets").read_bytes().split(b"L1SOBJCT")[1:]
    parts.sort(key=lambda part: part[:2])  # one source after the other
    (tmp_path / "sorted.packets").write_bytes(b"".join(b"L1SOBJCT" + part for part in parts))
    for name, batch in read(tmp_path / "sorted.packets").streams.items():
        same(batch, found.streams[name])
    quality = ReadQuality()
    convert([tmp_path / "x.packets", tmp_path / "sorted.packets"], tmp_path / "set", quality=quality)
    assert quality.duplicate_orbits == 60
    convert([tmp_path / "x.packets"], tmp_path / "run", run_number=390_001)
    assert {int(run) for batch in read(tmp_path / "run").streams.values() for run in batch.run} == {390_001}
    for name, batch in read(tmp_path / "set").streams.items():
        same(batch, found.streams[name])


def test_a_simulated_run_of_all_streams_comes_back_from_every_format(tmp_path):
    """Exactly: objects, crossings, orbits, and run 0 as it is before a run number is given."""
    streams = ("muon", "jet", "egamma", "tau", "etsum", "stub", "tower")
    truth = list(simulate_streams(3, 2, streams, activity=Activity(pile_up=1.0)))
    write_data(truth, tmp_path / "set")
    convert([tmp_path / "set"], tmp_path / "run.raw", drop=True, run_number=390_001)
    convert([tmp_path / "run.raw"], tmp_path / "nano.root", hardware=True, drop=True)
    convert([tmp_path / "nano.root"], tmp_path / "again")
    for name in streams:
        expected = concatenate([data.streams[name] for data in truth])
        for path, run in (("set", 0), ("run.raw", 390_001), ("nano.root", 390_001), ("again", 390_001)):
            batch = expected
            if name == "muon" and path in ("nano.root", "again"):
                batch = final_muons(expected)
            batch = batch.take(np.flatnonzero(batch.counts), n_orbits=batch.n_orbits)
            runs = np.full(len(batch), run, np.int64)
            blocks = lumisection(batch.orbit)
            batch = replace(batch, run=runs, lumisection=blocks)
            lost = {"link"} if path != "set" else set()
            same(read(tmp_path / path).streams[name], batch, lost)


HOSTILE_ORBITS = [
    ("[", "are damaged"),
    ("[1]", "are damaged"),
    ('{"jet": 5}', "are damaged"),
    ('{"jet": [[390000, 1, [262000, 10]]]}', "its orbits contradict each other"),
    ('{"jet": [[390000, 1, [0, 144]]]}', "its orbits contradict each other"),
    ('{"jet": [[390000, 1, [0, 99999999999]]]}', "are damaged"),
    ('{"jet": [[390000, 1, [0, "AAAA"]]]}', "are damaged"),
    ('{"jet": [["x", 1, [262000, 144]]]}', "are damaged"),
]


@pytest.mark.parametrize(("text", "message"), HOSTILE_ORBITS)
def test_hostile_lists_of_orbits_are_refused(tmp_path, text, message):
    write_data([every(names=["jet"])], tmp_path / "nano.root", hardware=True)
    with uproot.update(tmp_path / "nano.root") as file:
        file["l1scout_orbits"] = text
    with pytest.raises(InputError, match=message):
        list(read_events(tmp_path / "nano.root"))


def test_damage_is_counted_if_the_first_source_is_not_known(tmp_path):
    empty, path = np.zeros(0, np.uint32), tmp_path / "x.packets"

    def packet(source, first):
        return encode_packet(source, [(first + k, 0, empty, 0) for k in range(20)], Trailer(0, 0, 20))

    path.write_bytes(packet(200, 0) + packet(32, 0) + bytes(100) + packet(32, 20))
    found = describe(path)
    assert (found["corrupt"], found["corrupt_bytes"]) == (1, 100)
    assert {row["source"]: row["orbits"] for row in found["packets_of_sources"]} == {32: 40, 200: 0}


@pytest.mark.parametrize("wrong", [7, 5000])
def test_records_of_another_orbit_than_their_packet_are_left_out(tmp_path, wrong):
    """They are counted as damage; their orbit is not one that was seen."""
    stream, rng = STREAMS["jet"], np.random.default_rng(3)
    jets = objects("jet", rng, 20, first_orbit=1000, orbits=1)
    foreign = stream.encode(objects("jet", rng, 3, first_orbit=wrong, orbits=1), 22)[0]
    words = np.concatenate([stream.encode(jets, 22)[0], foreign])
    path = tmp_path / "x.packets"
    path.write_bytes(encode_packet(22, [(1000, 2, words, 0)], Trailer(0, 0, 0)))
    quality = ReadQuality()
    (data,) = read_events(path, quality=quality)
    found = data.streams["jet"]
    np.testing.assert_array_equal(found["hwPt"], jets["hwPt"])
    assert found.orbits_seen().tolist() == [1000]
    assert quality.damaged_parts == 3
