"""Files of the archive's own Parquet encoder, read by pyarrow."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from l1scout.io.parquet_encoder import ParquetEncoder

KINDS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")


def columns_of(kind, rows, rng):
    """Make columns of a type: one value, two, few, many, all that there can be, and runs of them."""
    limits = np.iinfo(kind)
    few, many = rng.integers(0, 5, rows), rng.integers(0, 300, rows)
    every = rng.integers(limits.min, limits.max, rows, kind, endpoint=True)
    made = {"one": few * 0 + 7, "two": few & 1, "few": few * 9, "many": many & min(int(limits.max), 511)}
    made |= {"below": -few if limits.min < 0 else few, "runs": np.sort(few), "ends": every}
    return {name: values.astype(kind) for name, values in made.items()}


@pytest.mark.parametrize("how", ["bits", "bytes", "runs", "split", "plain"])
@pytest.mark.parametrize("packed", [True, False])
def test_pyarrow_reads_every_type_and_encoding(tmp_path, how, packed):
    rng, groups = np.random.default_rng(1), []
    for rows in (1, 7, 8, 1000, 129):
        columns = {f"{k}_{n}": c for k in KINDS for n, c in columns_of(k, rows, rng).items()}
        columns |= {"f": rng.random(rows), "g": rng.random(rows).astype("f4"), "b": rng.random(rows) < 0.5}
        groups.append((columns, rows, rng.bytes(rows % 50)))
    first = groups[0][0]
    fields = [pa.field(n, pa.from_numpy_dtype(c.dtype), nullable=False) for n, c in first.items()]
    schema = pa.schema([*fields, pa.field("side", pa.binary())])
    ways = {name: how for name in first if name not in ("f", "g", "b")}
    writer = ParquetEncoder(tmp_path / "a", schema, ways, () if packed else schema.names, ["int16_below"])
    for columns, rows, side in groups:
        writer.write({**columns, "side": side}, rows)
    writer.close({"key": "value"})
    with pq.ParquetFile(tmp_path / "a", page_checksum_verification=True) as file:
        assert file.schema_arrow.remove_metadata().equals(schema)
        assert file.metadata.metadata == {b"key": b"value"}
        assert file.num_row_groups == len(groups)
        for k, (columns, rows, side) in enumerate(groups):
            table = file.read_row_group(k)
            assert table["side"].to_pylist() == [side, *[None] * (rows - 1)]
            for name, values in columns.items():
                np.testing.assert_array_equal(table[name].to_numpy(), values, err_msg=name)
            chunk = file.metadata.row_group(k).column(schema.get_field_index("int16_below"))
            below = columns["int16_below"]
            assert (chunk.statistics.min, chunk.statistics.max) == (below.min(), below.max())


def test_a_file_without_rows_is_one(tmp_path):
    schema = pa.schema([pa.field("x", pa.int16(), nullable=False)])
    ParquetEncoder(tmp_path / "a", schema, {}).close({})
    assert pq.read_table(tmp_path / "a").equals(schema.empty_table())


def test_runs_and_bits_are_as_short_as_can_be(tmp_path):
    """Three values take two bits; 100 runs of one value each, a few bytes; a column of one value, none."""
    rows = 1 << 16
    columns = {"bits": np.arange(rows) % 3 * 4, "runs": np.arange(rows) // 656, "same": np.full(rows, 9)}
    schema = pa.schema([pa.field(n, pa.int64(), nullable=False) for n in columns])
    writer = ParquetEncoder(
        tmp_path / "a", schema, dict.fromkeys(columns, "bits") | {"runs": "runs"}, [*columns]
    )
    writer.write(columns, rows)
    writer.close({})
    with pq.ParquetFile(tmp_path / "a") as file:
        group = file.metadata.row_group(0)
        sizes = {group.column(k).path_in_schema: group.column(k).total_compressed_size for k in range(3)}
    assert rows // 4 < sizes["bits"] < rows // 4 + 150
    assert sizes["runs"] < 100 * (8 + 4) + 150
    assert sizes["same"] < 150
