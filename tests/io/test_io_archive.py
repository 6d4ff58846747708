"""The compact archive: the same bytes back whatever they were, and columns that anybody can read."""

import bz2
import contextlib
import gc
import json
import random
import re
import struct
from pathlib import Path

import awkward as ak
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from crc32c import crc32c
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

import l1scout
from front_end import BOARD_FORMATS, make_run, random_blocks, stored_bytes
from l1scout.cli import make_app
from l1scout.core.orbit_batch import concatenate
from l1scout.errors import InputError
from l1scout.formats.fine_suppression import suppress
from l1scout.formats.raw import FILE_HEADER, file_header, read_frames, read_header
from l1scout.formats.records import find_records
from l1scout.formats.streams.muon import FIELDS
from l1scout.formats.wire_formats.run2 import RUN2
from l1scout.formats.wire_formats.run3 import RUN3
from l1scout.io import archive, archive_chunk, archive_writer, read_events
from l1scout.io.archive_frames import IrregularError
from l1scout.io.archive_rows import from_residuals, to_records, to_residuals, to_rows
from l1scout.io.format_writer import write_data
from l1scout.io.input_file import InputFile
from l1scout.io.inspect import describe
from l1scout.io.rewrite import add_columns
from l1scout.lhc import ORBITS_PER_LUMISECTION
from stream_files import every

ORBITS = 12
PT = 0x1FF << 10


@pytest.fixture(scope="module")
def stored():
    """Bytes of stored files by format and kind."""
    made = {}
    for form in BOARD_FORMATS.values():
        _, captures, _ = make_run(form, orbits=ORBITS, chunk=6)
        made[form.name] = stored_bytes(captures, form)
    return made


@pytest.fixture
def there_and_back(tmp_path):
    """Archive bytes, get them back, and compare; the archive's path."""

    def go(data: bytes, **options) -> archive.Converted:
        source, target, again = (tmp_path / n for n in ("in", "archive.parquet", "again"))
        source.write_bytes(data)
        done = archive.to_parquet(source, target, **options)
        archive.to_raw(target, again)
        assert again.read_bytes() == data
        assert done.bytes_in == len(data)
        assert done.crc32c == crc32c(data)
        return done

    return go


def frame(payload: bytes, orbit: int, *, source: int = 1, crc: bool = True, run: int = 320040) -> bytes:
    body = struct.pack("<I", source) + payload
    lumi = orbit // ORBITS_PER_LUMISECTION + 1
    return struct.pack("<HHIIIII", 6, 0, run, lumi, orbit, len(body), crc32c(body) if crc else 0) + body


def raw_file(frames: list[bytes], run: int = 320040) -> bytes:
    body = b"".join(frames)
    return file_header(run, 1, len(frames), FILE_HEADER.itemsize + len(body)) + body


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize(("kind", "form"), [("RAW", "run3"), ("RECORDS", "run3"), ("RECORDS", "run2")])
def test_same_bytes_and_same_muons(stored, tmp_path, there_and_back, kind, form, plain, monkeypatch):
    monkeypatch.setattr(archive_writer, "CHUNK", 30_000)
    done = there_and_back(stored[form][kind], plain=plain)
    assert done.verbatim == 0
    assert done.orbits == (ORBITS if kind == "RAW" else 0)
    one, two = (
        concatenate([e.muons for e in read_events(tmp_path / n, rows=100, intermediate=True)])
        for n in ("in", "archive.parquet")
    )
    assert set(one.columns) == set(two.columns)
    for name in one.columns:
        np.testing.assert_array_equal(one[name], two[name], err_msg=name)
    for name in ("orbit", "bx", "run", "lumisection", "offsets"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name), err_msg=name)
    assert (one.n_orbits, one.simulated) == (two.n_orbits, two.simulated)
    assert done.final_muons + done.intermediate_muons == one.n_objects
    assert done.intermediate_muons == np.count_nonzero(one["intermediate"])


def test_the_largest_run_number(stored, there_and_back, tmp_path):
    run = (1 << 32) - 1
    raw = read_header(stored["run3"]["RAW"])
    first = next(iter(read_frames(stored["run3"]["RAW"], raw)))
    there_and_back(raw_file([frame(bytes(first.records), first.orbit, run=run)], run))
    (events,) = read_events(tmp_path / "archive.parquet")
    assert set(events.muons.run.tolist()) == {run}
    assert pq.read_table(tmp_path / "archive.parquet")["run"][0].as_py() == run


def test_compressed_files_come_back_decompressed(stored, tmp_path):
    data = stored["run3"]["RAW"]
    for pack in (bz2.compress, lambda d: pa.compress(d, "zstd", asbytes=True)):
        (tmp_path / "in").write_bytes(pack(data))
        archive.to_parquet(tmp_path / "in", tmp_path / "archive")
        archive.to_raw(tmp_path / "archive", tmp_path / "out")
        assert (tmp_path / "out").read_bytes() == data


def test_what_an_analyst_finds(stored, tmp_path):
    """Final muons as plain columns: with pyarrow and awkward only."""
    (tmp_path / "in").write_bytes(stored["run3"]["RAW"])
    archive.to_parquet(tmp_path / "in", tmp_path / "a.parquet", plain=True)
    l1 = concatenate([e.muons for e in read_events(tmp_path / "in", intermediate=True)])
    final = l1["intermediate"] == 0
    table = pq.read_table(tmp_path / "a.parquet")
    muons = ak.from_parquet(tmp_path / "a.parquet")
    for name in ("hwPt", "hwEta", "hwPhi", "hwEtaAtVtx", "hwPhiAtVtx", "hwCharge", "hwQual", "tfMuonIndex"):
        np.testing.assert_array_equal(table[name].to_numpy(), l1[name][final])
        np.testing.assert_array_equal(ak.to_numpy(muons[name]), l1[name][final])
    for name in ("run", "lumisection", "orbit", "bx"):
        np.testing.assert_array_equal(table[name].to_numpy(), getattr(l1, name)[l1.row][final])
    assert np.count_nonzero(table["twin"].to_numpy()) == np.count_nonzero(~final)


def test_recalibrated_archives_are_still_archives(stored, tmp_path):
    (tmp_path / "in").write_bytes(stored["run3"]["RAW"])
    archive.to_parquet(tmp_path / "in", tmp_path / "a")
    done = add_columns(tmp_path / "a", tmp_path / "b", lambda c: {"x": c["hwPt"] / np.float32(2)}, rows=777)
    assert done.rows == pq.read_table(tmp_path / "b")["x"].length()
    archive.to_raw(tmp_path / "b", tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == stored["run3"]["RAW"]
    assert (
        sum(e.muons.n_objects for e in read_events(tmp_path / "b"))
        == describe(tmp_path / "in")["final_muons"]
    )


def test_frames_of_every_kind(stored, there_and_back, tmp_path):
    """Empty orbits, other sources, no checksum, records that are none, the next lumisection, a gap."""
    raw = stored["run3"]["RAW"]
    last = ORBITS_PER_LUMISECTION - 1
    of = list(read_frames(raw, read_header(raw)))

    def records(k: int, orbit: int) -> bytes:
        return bytes(of[k].records).replace(struct.pack("<I", of[k].orbit), struct.pack("<I", orbit))

    frames = [
        frame(b"", last - 1),
        frame(records(0, last), last),
        frame(b"calorimeter", last, source=2),
        frame(records(1, last + 1), last + 1, crc=False),
        frame(records(2, last + 2) + b"\1\2\3", last + 2),
        frame(records(2, last + 3) + b"none", last + 3),
        b"rubbish",
        frame(records(3, last + 9) * 2, last + 9),
        frame(records(3, last + 9), last + 9),
    ]
    done = there_and_back(raw_file(frames) + b"end")
    assert done.orbits == 5
    assert done.verbatim == sum(map(len, (frames[2], frames[4], frames[5], b"rubbish", b"end")))
    found = describe(tmp_path / "archive.parquet")
    # the last orbit is there twice
    assert (found["orbits_covered"], found["duplicate_orbits"]) == (6, 1)
    assert found["archive"]["verbatim"] == done.verbatim


def test_other_streams_are_read_as_from_the_stored_file(tmp_path):
    write_data([every(1)], tmp_path / "stored.raw", "raw", drop=True)
    archive.to_parquet(tmp_path / "stored.raw", tmp_path / "archive")
    stored, found = (l1scout.open(tmp_path / name) for name in ("stored.raw", "archive"))
    assert list(found.streams) == list(stored.streams)
    assert len(found.streams) > 5
    for name, batch in stored.streams.items():
        for column, values in batch.columns.items():
            np.testing.assert_array_equal(found.streams[name].columns[column], values)
    assert (found.orbits, found.simulated) == (stored.orbits, stored.simulated)


def test_reading_holds_a_few_chunks_however_many_there_are(tmp_path, monkeypatch):
    """Their sides, here frames of jets, are all different: pyarrow must not keep those of chunks before."""
    write_data([every(1, ["muon", "jet"], rows=4000, orbits=400)], tmp_path / "stored.raw", "raw", drop=True)
    monkeypatch.setattr(archive_writer, "CHUNK", 1 << 13)
    monkeypatch.setattr(archive, "MAX_ROWS", 8 * 100)
    archive.to_parquet(tmp_path / "stored.raw", tmp_path / "archive")
    gc.collect()  # nothing of other tests is freed meanwhile
    with InputFile(tmp_path / "archive") as file:
        said, before = archive.metadata(file), pa.total_allocated_bytes()
        held = [pa.total_allocated_bytes() - before for _ in archive.chunks(file, said)]
    assert len(held) > 15
    assert max(held) < 2 * max(held[:4])


@pytest.mark.parametrize(
    "data", [raw_file([]), raw_file([frame(b"", k) for k in range(500)]), raw_file([]) + b"x"]
)
def test_files_without_a_muon(there_and_back, tmp_path, data):
    done = there_and_back(data)
    assert (done.final_muons, done.orbits) == (0, 500 * (len(data) > 100))
    assert sum(e.muons.n_orbits for e in read_events(tmp_path / "archive.parquet")) == done.orbits


CHECKS = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


EDITS = st.tuples(st.floats(0, 1), st.integers(0, 30), st.binary(max_size=30))


@CHECKS
@given(st.lists(EDITS, min_size=1, max_size=4), st.sampled_from(["RAW", "RECORDS"]), st.booleans())
def test_damaged_files_come_back_too(stored, there_and_back, edits, kind, plain):
    data = bytearray(stored["run3"][kind])
    keep = 32 if kind == "RAW" else 64 * 4 * 51  # enough to be told what it is
    for where, size, new in edits:
        at = keep + int(where * (len(data) - keep))
        data[at : at + size] = new
    there_and_back(bytes(data), plain=plain)


@CHECKS
@given(st.integers(0, 1 << 32), st.sampled_from([RUN2, RUN3]))
def test_records_of_any_words_come_back(there_and_back, seed, form):
    """Muons that no GMT would send, links that disagree, spare bits in use."""
    rng = np.random.default_rng(seed)
    words = suppress(random_blocks(rng, 60, form), form)[0].copy()
    words[rng.integers(0, words.size, 10)] ^= np.uint32(1) << rng.integers(0, 32, 10).astype(np.uint32)
    if form is RUN3:
        there_and_back(raw_file([frame(words.tobytes(), 77)]))
    starts, _, ends = find_records(words, form)
    stretch = archive_chunk.gather([(words[: ends[0]], starts), b"tail"], form, framed=False)
    for plain in (True, False):
        columns, side = archive_chunk.to_columns(stretch, form, 5, plain=plain)
        again, crc = archive_chunk.from_columns(columns, side, form, framed=False)
        assert (again.data, crc) == (words[: ends[0]].tobytes() + b"tail", 5)


def slow_rows(words, starts, form):
    """Rows by their definition, a muon at a time."""
    eta, index, size = 0x1FF << 23, 0x7F << 4, form.record_words
    out = []
    for start in starts.tolist():
        n1, n2 = words[start] >> 16 & 15, words[start] & 15
        muons = [tuple(map(int, words[start + 3 + size * k :][:size])) for k in range(n1 + n2)]
        twin = {}
        for j, (f, s, *_) in enumerate(muons):
            if f & eta == 0 and s & index == 0:
                same = [
                    i
                    for i, (a, b, *_) in enumerate(muons)
                    if i not in twin and (a & eta or b & index) and (a & ~eta, b & ~index) == (f, s)
                ]
                twin |= {same[0]: j} if same else {}
        for i, muon in enumerate(muons):
            if i not in twin.values():
                out.append((start, *muon, int(i >= n1), twin.get(i, -1) + 1))
    return out


@pytest.mark.parametrize("form", BOARD_FORMATS.values(), ids=list(BOARD_FORMATS))
def test_rows_follow_their_definition(stored, form):
    for words in (
        np.frombuffer(stored[form.name]["RECORDS"], "<u4"),
        suppress(random_blocks(np.random.default_rng(1), 300, form), form)[0],
    ):
        starts, _, _ = find_records(words, form)
        columns, first = to_rows(words, starts, form)
        slow = slow_rows(words, starts, form)
        record = np.repeat(starts, np.diff(np.r_[first, len(slow)]))
        assert record.tolist() == [r[0] for r in slow]
        assert columns["second"].tolist() == [r[-2] for r in slow]
        assert columns["twin"].tolist() == [r[-1] for r in slow]
        muons = np.array([r[1] | r[2] << 32 for r in slow], np.uint64)
        for name, values in form.muon.decode(muons).items():
            np.testing.assert_array_equal(columns[name], values)
        np.testing.assert_array_equal(columns["orbit"], words[record + 2] & 0x7FFFFFFF)
        np.testing.assert_array_equal(columns["bx"], words[record + 1] & form.bx_mask)
    words = np.frombuffer(stored[form.name]["RECORDS"], "<u4")
    starts, _, _ = find_records(words, form)
    columns, first = to_rows(words, starts, form)
    back, places = to_records(columns, first, form)
    np.testing.assert_array_equal(back, words)  # readout's records need no patch
    np.testing.assert_array_equal(places, starts)
    assert np.count_nonzero(columns["twin"]) > 0.8 * len(columns["twin"])


def slow_residuals(c):
    """What the table, learned so far, leaves of hwEta and hwPhi: a muon at a time."""
    eta_table, phi_table, out = {}, {}, []
    for pt, charge, index, eta0, phi0, eta, phi in zip(*(x.tolist() for x in c), strict=True):
        region = (
            "E"
            if index < 18 or 90 <= index < 108
            else "B"
            if 36 <= index < 72
            else "O"
            if index < 108
            else "?"
        )
        side, sign = 1 if eta0 >= 0 else -1, 1 - 2 * charge

        def key(e, pt=pt, region=region):
            return region, abs(e) >> 3 & 31, pt

        guess = eta0
        if 0 < pt < 128:
            k = eta_table.get(key(eta0), 0)
            for _ in range(16):
                guess = eta0 + side * k
                k, before = eta_table.get(key(guess), 0), k
                if k == before:
                    break
        turn = sign * phi_table.get(key(eta), 0) if 0 < pt < 128 else 0
        expected = (phi0 - turn + 576) % 576 if -576 <= phi0 - turn < 1152 else phi0 - turn
        out.append((eta - guess, phi - expected))
        if 0 < pt < 128:
            eta_table[key(eta)] = (eta - eta0) * (1 if eta >= 0 else -1)
            step = sign * (phi0 - phi)
            phi_table[key(eta)] = step + 576 * ((step < -288) - (step >= 288))
    return np.array(out)


NAMES = ("hwPt", "hwCharge", "tfMuonIndex", "hwEtaAtVtx", "hwPhiAtVtx", "hwEta", "hwPhi")


def test_residuals_follow_their_definition(stored):
    words = np.frombuffer(stored["run3"]["RECORDS"], "<u4")
    columns, _ = to_rows(words, find_records(words, RUN3)[0], RUN3)
    eta, phi = to_residuals(columns)
    slow = slow_residuals([columns[n] for n in NAMES])
    np.testing.assert_array_equal(np.stack([eta, phi], axis=1), slow)
    for got, name in zip(from_residuals(columns, eta, phi), NAMES[5:], strict=True):
        np.testing.assert_array_equal(got, columns[name])


def test_gmt_muons_leave_next_to_nothing(stored):
    """Of simulated muons, whose vertex coordinates are those of a GMT table."""
    from l1scout.simulate.run import simulate_run

    muons = next(iter(simulate_run(1, 300, chunk=300))).muons
    final = muons.select(muons["intermediate"] == 0)
    eta, phi = to_residuals(final.columns)
    assert np.count_nonzero(phi[5000:]) < 0.03 * phi[5000:].size
    assert np.count_nonzero(eta[5000:]) < 0.15 * eta[5000:].size


@given(st.lists(st.tuples(*(st.integers(FIELDS[n].low, FIELDS[n].high) for n in NAMES)), max_size=40))
@settings(max_examples=200, deadline=None)
def test_residuals_of_anything_come_back(rows):
    columns = dict(zip(NAMES, np.array(rows, np.int16).reshape(-1, 7).T.copy(), strict=True))
    residuals = to_residuals(columns)
    for got, name in zip(from_residuals(columns, *residuals), NAMES[5:], strict=True):
        np.testing.assert_array_equal(got, columns[name])


def test_damaged_archives_are_refused(stored, tmp_path):
    (tmp_path / "in").write_bytes(stored["run3"]["RAW"])
    archive.to_parquet(tmp_path / "in", tmp_path / "a")
    good, path, out = (tmp_path / "a").read_bytes(), tmp_path / "bad", tmp_path / "out"
    rng = random.Random(1)
    for k in range(150):
        bad = bytearray(good)
        at = rng.randrange(len(bad))
        bad[at : at + rng.choice([1, 4])] = rng.choice([b"\xff" * 4, rng.randbytes(4), b"\0" * 4])[
            : rng.choice([1, 4])
        ]
        path.write_bytes(bad[: rng.randrange(len(bad))] if k % 10 == 0 else bad)
        refused = None
        try:
            for _ in read_events(path):
                pass
            archive.to_raw(path, out)
        except InputError as error:
            refused = str(error)
        if refused is None:
            assert out.read_bytes() == stored["run3"]["RAW"]
            out.unlink()
        else:
            assert "\n" not in refused
            assert str(path) in refused
            assert not out.exists()


def test_changed_rows_are_noticed(stored, tmp_path, monkeypatch):
    monkeypatch.setattr(archive_writer, "CHUNK", 30_000)
    (tmp_path / "in").write_bytes(stored["run3"]["RAW"])
    archive.to_parquet(tmp_path / "in", tmp_path / "a")
    table = pq.read_table(tmp_path / "a")
    starts = np.flatnonzero(table["side"].is_valid())
    assert len(starts) > 2
    pt = table.schema.get_field_index("hwPt")
    changed = {
        "a row less": table.slice(0, table.num_rows - 1),
        "no first row": table.slice(1),
        "a chunk less": pa.concat_tables([table.slice(0, starts[1]), table.slice(starts[2])]),
        "the last chunk less": table.slice(0, starts[-1]),
        "another pt": table.set_column(pt, table.schema.field(pt), pa.array(table["hwPt"].to_numpy() ^ 1)),
        "no column": table.drop_columns(["twin"]),
        "another type": table.cast(table.schema.set(pt, pa.field("hwPt", pa.int32(), nullable=False))),
    }
    for what, wrong in changed.items():
        pq.write_table(wrong, tmp_path / "b")
        with pytest.raises(InputError) as error:
            archive.to_raw(tmp_path / "b", tmp_path / "out")
        assert str(tmp_path / "b") in str(error.value), what
        assert "of other making" not in str(error.value), what
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("field", archive_chunk.SIDE.names)
@pytest.mark.parametrize("value", [0, 3, 1 << 22, 0xFFFFFFFF])
def test_lies_in_the_side(stored, tmp_path, field, value):
    (tmp_path / "in").write_bytes(stored["run3"]["RAW"])
    archive.to_parquet(tmp_path / "in", tmp_path / "a")
    table = pq.read_table(tmp_path / "a")
    side = bytearray(table["side"][0].as_py())
    np.frombuffer(side, archive_chunk.SIDE, 1)[field][0] = value
    if bytes(side) == table["side"][0].as_py() or (field, value > 0) == ("checked", True):
        return  # no lie
    sides = pa.array([bytes(side)] + [None] * (table.num_rows - 1), pa.binary())
    at = table.schema.get_field_index("side")
    pq.write_table(table.set_column(at, table.schema.field(at), sides), tmp_path / "b")
    with pytest.raises(InputError, match=re.escape(str(tmp_path / "b"))):
        archive.to_raw(tmp_path / "b", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "said",
    [
        None,
        3,
        {},
        {"form": "run9"},
        {"header": "zz"},
        {"header": "00"},
        {"header": None},
        {"version": "2"},
        {"bytes": "x"},
    ],
)
def test_lies_in_the_footer(stored, tmp_path, said):
    (tmp_path / "in").write_bytes(stored["run3"]["RAW"])
    archive.to_parquet(tmp_path / "in", tmp_path / "a")
    table = pq.read_table(tmp_path / "a")
    whole = json.loads(table.schema.metadata[b"l1scout"])
    whole["archive"] = {**whole["archive"], **said} if isinstance(said, dict) and said else said
    pq.write_table(table.replace_schema_metadata({"l1scout": json.dumps(whole)}), tmp_path / "b")
    for use in (lambda p: archive.to_raw(p, tmp_path / "out"), describe):
        with pytest.raises(InputError, match="of other making"):
            use(tmp_path / "b")


def test_archives_of_an_older_layout_are_refused(stored, tmp_path):
    """Version 1 had hwDXY one bit too low."""
    (tmp_path / "in").write_bytes(stored["run3"]["RAW"])
    archive.to_parquet(tmp_path / "in", tmp_path / "a")
    table = pq.read_table(tmp_path / "a")
    whole = json.loads(table.schema.metadata[b"l1scout"])
    whole["archive"]["version"] = 1
    pq.write_table(table.replace_schema_metadata({"l1scout": json.dumps(whole)}), tmp_path / "b")
    with pytest.raises(InputError, match="archive of version 1, not 2; make it again"):
        describe(tmp_path / "b")


def test_convert_and_what_it_refuses(stored, samples, tmp_path):
    (tmp_path / "in.raw").write_bytes(stored["run3"]["RAW"])

    def run(*arguments):
        done = CliRunner().invoke(make_app(), ["convert", *map(str, arguments)])
        if done.exception and not isinstance(done.exception, SystemExit):
            raise done.exception
        return done.stdout

    assert f"{ORBITS} orbits" in run(tmp_path / "in.raw", tmp_path / "a.parquet")
    said = json.loads(run(tmp_path / "a.parquet", tmp_path / "out.raw", "--json"))
    assert said["bytes_out"] == len(stored["run3"]["RAW"])
    assert (tmp_path / "out.raw").read_bytes() == stored["run3"]["RAW"]
    with pytest.raises(InputError, match="cannot hold offline muons"):
        run(samples["PARQUET"], tmp_path / "x")
    with pytest.raises(InputError, match=r"cannot hold muon\.bxInEvent"):
        run(samples["DPG_NANO"], tmp_path / "x.raw")
    with pytest.raises(InputError, match="the input itself"):
        run(tmp_path / "a.parquet", tmp_path / "a.parquet")


@pytest.mark.parametrize("part", ["split_raw", "regular_stretches"])
def test_an_archive_that_would_lie_is_not_written(stored, tmp_path, monkeypatch, part):
    """If a part of the file were left out on the way."""
    raw = stored["run3"]["RAW"]
    (tmp_path / "in").write_bytes(raw if part == "regular_stretches" else raw + b"\0")
    whole = getattr(archive_writer, part)
    monkeypatch.setattr(archive_writer, part, lambda *a: iter(list(whole(*a))[:-1]))
    with pytest.raises(InputError, match="not give back the same bytes"):
        archive.to_parquet(tmp_path / "in", tmp_path / "a")
    assert [p.name for p in tmp_path.iterdir()] == ["in"]


def _other_value(table: pa.Table) -> pa.Table:
    name = "hwPt"
    column = table[name].combine_chunks().to_numpy().copy()
    column[len(column) // 2] ^= 1
    return table.set_column(table.schema.get_field_index(name), table.schema.field(name), pa.array(column))


@pytest.mark.parametrize("fault", ["value", "side", "bit on disk", "half", "statement"])
def test_what_is_written_otherwise_than_it_was_is_noticed(stored, tmp_path, monkeypatch, fault):
    """As faulty memory or a faulty disk does; a source is removed only after this."""
    (tmp_path / "in").write_bytes(stored["run3"]["RAW"])
    write, close = pq.ParquetWriter.write_table, pq.ParquetWriter.close

    def write_table(self, table, rows):
        if fault == "value":
            table = _other_value(table)
        elif fault == "side":
            side = bytearray(table["side"][0].as_py())
            side[40] ^= 1
            changed = pa.array([bytes(side), *[None] * (table.num_rows - 1)], pa.binary())
            table = table.set_column(
                table.schema.get_field_index("side"), table.schema.field("side"), changed
            )
        write(self, table, rows)

    def close_and_damage(self):
        if fault == "statement":
            self.add_key_value_metadata({"l1scout": '{"archive": {}}'})
        close(self)
        (part,) = tmp_path.glob("a*")
        data = bytearray(part.read_bytes())
        if fault == "bit on disk":
            data[len(data) // 4] ^= 16
        part.write_bytes(data[: len(data) // 2] if fault == "half" else data)

    monkeypatch.setattr(pq.ParquetWriter, "write_table", write_table)
    monkeypatch.setattr(pq.ParquetWriter, "close", close_and_damage)
    with pytest.raises(InputError, match="reads back different"):
        archive.to_parquet(tmp_path / "in", tmp_path / "a")
    assert [p.name for p in tmp_path.iterdir()] == ["in"]


@pytest.mark.parametrize("step", ["to_residuals", "to_rows", "_unexpected"])
def test_a_step_that_does_not_lead_back_is_noticed(stored, tmp_path, monkeypatch, step):
    """A wrong residual, a wrong first row, a wrong head: the records are compared word by word besides."""
    (tmp_path / "in").write_bytes(stored["run3"]["RAW"])
    right = getattr(archive_chunk, step)

    def wrong(*arguments, **options):
        found = right(*arguments, **options)
        one = found if step == "_unexpected" else found[1]
        one[len(one) // 2] += 1
        return found

    monkeypatch.setattr(archive_chunk, step, wrong)
    with pytest.raises(InputError, match=r"would not give back the same bytes|rows that are no records"):
        archive.to_parquet(tmp_path / "in", tmp_path / "a")
    assert [p.name for p in tmp_path.iterdir()] == ["in"]


def test_regular_files_take_the_short_way_to_the_same_archive(stored, tmp_path, monkeypatch):
    """Chunks end in the middle of frames; damage of any frame leads to the long way."""
    raw, long_way = stored["run3"]["RAW"], []
    split = archive_writer.split_raw
    monkeypatch.setattr(archive_writer, "CHUNK", 1000)
    monkeypatch.setattr(archive_writer, "split_raw", lambda *a: long_way.append(1) or split(*a))
    (tmp_path / "in").write_bytes(raw)
    archive.to_parquet(tmp_path / "in", tmp_path / "short")
    assert not long_way
    monkeypatch.setattr(archive_writer, "regular_stretches", _irregular)
    archive.to_parquet(tmp_path / "in", tmp_path / "long")
    assert long_way
    tables = [pq.read_table(tmp_path / n).drop_columns("side") for n in ("short", "long")]
    assert tables[0].equals(tables[1])


def _irregular(*_):
    raise IrregularError
    yield


@pytest.mark.parametrize("word", range(7))
def test_a_frame_that_is_not_regular(stored, tmp_path, monkeypatch, word):
    """Whatever word of its head is damaged, its bytes come back, and it counts as when the file is read."""
    raw = bytearray(stored["run3"]["RAW"])
    starts = [f.start for f in read_frames(bytes(raw), read_header(raw))]
    raw[starts[3] + 4 * word] ^= 0x10
    (tmp_path / "in").write_bytes(raw)
    done = archive.to_parquet(tmp_path / "in", tmp_path / "a")
    archive.to_raw(tmp_path / "a", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == raw
    assert done.verbatim > 0


def test_kernels_stay_inside_their_arrays(stored, monkeypatch):
    """The same through kernels that check every index, with rows of any values."""
    import numba

    from l1scout.io import archive_rows

    for name in ("arrange", "_pair", "_unfold"):
        checked = numba.njit(boundscheck=True, error_model="numpy")(getattr(archive_rows, name).py_func)
        monkeypatch.setattr(archive_rows, name, checked)
    words = np.frombuffer(stored["run3"]["RECORDS"], "<u4")[:3000]
    columns, first = to_rows(words, find_records(words, RUN3)[0], RUN3)
    rng = np.random.default_rng(3)
    for _ in range(300):
        bad = {n: c.copy() for n, c in columns.items()}
        for name in ("second", "twin", "intermediate", "hwEta"):
            at = rng.integers(0, len(bad[name]), 3)
            bad[name][at] = rng.integers(-128, 128, 3)
        groups = np.unique(rng.choice(first, rng.integers(1, first.size)))
        with contextlib.suppress(InputError):
            to_records(bad, np.unique(np.r_[0, groups]), RUN3)


def test_documentation_has_every_column():
    text = (Path(__file__).parents[2] / "docs" / "archive.md").read_text("utf-8")
    rows = {n for line in text.splitlines() if line.startswith("| ") for n in line.split("|")[1].split(", ")}
    named = {n.strip() for n in rows}
    for form in BOARD_FORMATS.values():
        for plain in (False, True):
            assert set(archive_writer.archive_schema(form, framed=True, plain=plain).names) <= named
