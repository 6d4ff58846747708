"""Small Parquet files that would fill memory or take minutes are refused, or cost what they are."""

import resource

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from l1scout.errors import InputError
from l1scout.io.batches import read_batches
from l1scout.io.inspect import describe
from l1scout.store.compress import decompress, decompress_unknown

HW = ("hwPt", "hwEta", "hwPhi", "hwEtaAtVtx", "hwPhiAtVtx", "hwCharge", "hwQual", "tfMuonIndex")


def everything(path):
    return [len(batch.muons) for batch in read_batches([path])]


READERS = {
    "inspect": describe,
    "read": everything,
    "decompress": lambda path: decompress(path, "parquet", 1 << 20),
    "salvage": lambda path: decompress_unknown(path, "parquet"),
}


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """A hundred million muons that are all the same, in some 30 kB."""
    path = tmp_path_factory.mktemp("bombs") / "rows.parquet"
    table = pa.table({name: np.zeros(1 << 18, np.int16) for name in HW})
    with pq.ParquetWriter(path, table.schema, compression="zstd") as writer:
        for _ in range(400):
            writer.write_table(table)
    return path


@pytest.fixture(scope="module")
def value(tmp_path_factory, samples):
    """An archive each of whose rows has the same side of 4 MB: written out, a hundred gigabytes."""
    path = tmp_path_factory.mktemp("bombs") / "value.parquet"
    archive = pq.read_table(samples["ARCHIVE"])
    one = archive.slice(0, 1)
    table = pa.concat_tables([one] * 1024).combine_chunks()
    table = pa.concat_tables([table] * 32).combine_chunks()
    side = pa.DictionaryArray.from_arrays(pa.array(np.zeros(len(table), np.int32)), [bytes(4 << 20)])
    table = table.set_column(table.schema.get_field_index("side"), "side", side)
    with pq.ParquetWriter(path, table.schema, compression="zstd", store_schema=False) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata(archive.schema.metadata)
    return path


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("bomb", ["rows", "value"])
def test_bombs(request, reader, bomb):
    path = request.getfixturevalue(bomb)
    before = resource.getrusage(resource.RUSAGE_SELF)
    with pytest.raises(InputError) as caught:
        READERS[reader](path)
    assert "\n" not in str(caught.value)
    after = resource.getrusage(resource.RUSAGE_SELF)
    assert after.ru_utime - before.ru_utime < 20
    assert after.ru_maxrss - before.ru_maxrss < 1 << 20  # KiB
