"""The archive read as columns: the same as through its records; and it keeps its encodings."""

from dataclasses import fields

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from front_end import BOARD_FORMATS, make_run, random_blocks, stored_bytes
from l1scout.errors import InputError
from l1scout.formats.fine_suppression import suppress
from l1scout.formats.records import find_records
from l1scout.formats.streams.muon import decode_records
from l1scout.io import archive, archive_chunk, archive_writer, read_events
from l1scout.io.archive_chunk import ArchiveChunk
from l1scout.io.batches import read_batches
from l1scout.io.rewrite import add_columns

ORBITS = 30
CHECKS = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def stored():
    """Bytes of stored files by format and kind."""
    made = {}
    for form in BOARD_FORMATS.values():
        _, captures, _ = make_run(form, orbits=ORBITS, chunk=10)
        made[form.name] = stored_bytes(captures, form)
    return made


def assert_same(one, two):
    """Compare everything that two batches hold."""
    assert set(one.columns) == set(two.columns) != set()
    for name in one.columns:
        assert one[name].dtype == two[name].dtype
        np.testing.assert_array_equal(one[name], two[name], err_msg=name)
    for field in fields(one):
        if field.name != "columns":
            np.testing.assert_array_equal(
                getattr(one, field.name), getattr(two, field.name), err_msg=field.name
            )


def chunk_of(words, form, *, plain, patched=False):
    """Make a chunk of records, and the words that it holds."""
    starts, _, ends = find_records(words, form)
    stretch = archive_chunk.gather([(words[: ends[0]], starts)], form, framed=False)
    columns, side = archive_chunk.to_columns(stretch, form, 0, plain=plain)
    chunk = ArchiveChunk(columns, side, form, framed=False)
    assert (chunk.side.at.size > 0) >= patched
    return chunk, starts


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("form", BOARD_FORMATS.values(), ids=list(BOARD_FORMATS))
def test_muons_of_columns_are_those_of_the_records(stored, form, plain):
    words = np.frombuffer(stored[form.name]["RECORDS"], "<u4")
    chunk, starts = chunk_of(words, form, plain=plain)
    assert not chunk.side.at.size  # so nothing went through the records
    for keep in (np.ones(starts.size, np.bool_), np.arange(starts.size) % 3 == 1):
        truth, found = decode_records(words, starts[keep], form), chunk.decode(keep)
        assert_same(truth.objects, found.objects)
        np.testing.assert_array_equal(truth.flagged, found.flagged)
    twins = truth.objects["intermediate"]
    assert 0 < np.count_nonzero(twins) < twins.size


@CHECKS
@given(
    st.integers(0, 1 << 32), st.sampled_from(list(BOARD_FORMATS.values())), st.booleans(), st.integers(0, 10)
)
def test_of_records_of_any_words_too(seed, form, plain, flips):
    """Muons that no GMT would send, links that disagree, spare bits in use, records out of order."""
    rng = np.random.default_rng(seed)
    words = suppress(random_blocks(rng, 40, form), form)[0].copy()
    at = rng.integers(0, words.size, flips)
    words[at] ^= np.uint32(1) << rng.integers(0, 32, flips).astype(np.uint32)
    chunk, starts = chunk_of(words, form, plain=plain)
    keep = rng.random(starts.size) < 0.7
    truth, found = decode_records(words, starts[keep], form), chunk.decode(keep)
    assert_same(truth.objects, found.objects)
    np.testing.assert_array_equal(truth.flagged, found.flagged)


@pytest.mark.parametrize(("kind", "form"), [("RAW", "run3"), ("RECORDS", "run3"), ("RECORDS", "run2")])
def test_batches_of_an_archive_are_those_of_its_stored_file(stored, tmp_path, kind, form, monkeypatch):
    monkeypatch.setattr(archive_writer, "CHUNK", 30_000)
    (tmp_path / "in").write_bytes(stored[form][kind])
    archive.to_parquet(tmp_path / "in", tmp_path / "a")
    one, two = (list(read_batches([tmp_path / n], intermediate=True)) for n in ("in", "a"))
    assert sum(b.muons.n_objects for b in one) == sum(b.muons.n_objects for b in two) > 0
    if kind == "RAW":
        assert len(one) == len(two)
        for a, b in zip(one, two, strict=True):
            assert_same(a.muons, b.muons)


def encodings(path):
    """How each column of a file is encoded, and the rows of its row groups."""
    with pq.ParquetFile(path) as file:
        meta = file.metadata
        groups = [meta.row_group(k) for k in range(meta.num_row_groups)]
        columns = {
            c.path_in_schema: (sorted(c.encodings), c.compression)
            for c in (groups[0].column(k) for k in range(groups[0].num_columns))
        }
        return columns, [group.num_rows for group in groups]


def test_a_recalibrated_archive_keeps_its_encodings(stored, tmp_path, monkeypatch):
    """A copy that lost them was half as large again; the new columns are all that may be added."""
    monkeypatch.setattr(archive_writer, "CHUNK", 40_000)
    (tmp_path / "in").write_bytes(stored["run3"]["RAW"])
    archive.to_parquet(tmp_path / "in", tmp_path / "a")

    def compute(columns):
        assert {"hwEta", "hwPhi"} <= set(columns)  # though the archive holds what the GMT's table leaves
        return {"L1Mu_ptRecal": columns["hwEta"] / np.float32(8), "L1Mu_isRecal": columns["hwPhi"] > 100}

    add_columns(tmp_path / "a", tmp_path / "later", compute, rows=777)
    archive.to_parquet(tmp_path / "in", tmp_path / "at once", compute=compute)
    (before, groups) = encodings(tmp_path / "a")
    assert len(groups) > 2
    for name in ("later", "at once"):
        after, groups_after = encodings(tmp_path / name)
        assert groups_after == groups
        assert {n: after[n] for n in before} == before
        added = 0
        with pq.ParquetFile(tmp_path / name) as file:
            for k in range(file.num_row_groups):
                group = file.metadata.row_group(k)
                added += sum(
                    group.column(c).total_compressed_size
                    for c in range(group.num_columns)
                    if group.column(c).path_in_schema.startswith("L1Mu_")
                )
        size = (tmp_path / name).stat().st_size
        assert size - added < 1.1 * (tmp_path / "a").stat().st_size
        archive.to_raw(tmp_path / name, tmp_path / "out")
        assert (tmp_path / "out").read_bytes() == stored["run3"]["RAW"]
        muons = next(iter(read_events(tmp_path / "in"))).muons
        table = pq.read_table(tmp_path / name)
        np.testing.assert_array_equal(table["L1Mu_ptRecal"].to_numpy()[: muons.n_objects] * 8, muons["hwEta"])
    one, two = (pq.read_table(tmp_path / name) for name in ("later", "at once"))
    assert one.select(two.column_names).equals(two)


def test_foreign_parquet_files_keep_their_encodings(tmp_path):
    table = pa.table({"hwPt": np.arange(500, dtype=np.int32) % 300, "hwCharge": np.zeros(500, np.int8)})
    options = {"use_dictionary": ["hwCharge"], "column_encoding": {"hwPt": "DELTA_BINARY_PACKED"}}
    pq.write_table(table, tmp_path / "a", row_group_size=200, compression="gzip", **options)
    add_columns(tmp_path / "a", tmp_path / "b", lambda c: {"x": c["hwPt"].astype(np.float32)}, rows=7)
    (one, groups), (two, groups_after) = (encodings(tmp_path / n) for n in "ab")
    assert groups_after == groups == [200, 200, 100]
    assert {n: two[n] for n in one} == one
    assert pq.read_table(tmp_path / "b").select(table.column_names).equals(table)


def test_a_damaged_page_is_noticed_when_columns_are_read(stored, tmp_path):
    """Nothing compares the columns with the stored file then: the pages have checksums."""
    (tmp_path / "in").write_bytes(stored["run3"]["RAW"])
    archive.to_parquet(tmp_path / "in", tmp_path / "a")
    good = (tmp_path / "a").read_bytes()
    with pq.ParquetFile(tmp_path / "a") as file:
        group = file.metadata.row_group(0)
        names = [group.column(k).path_in_schema for k in range(group.num_columns)]
        column = group.column(names.index("hwEtaAtVtx"))
        assert column.compression == "UNCOMPRESSED"
        place = column.data_page_offset + column.total_compressed_size // 2
    bad = bytearray(good)
    bad[place] ^= 1
    (tmp_path / "a").write_bytes(bad)
    with pytest.raises(InputError, match="damaged"):
        list(read_events(tmp_path / "a"))
