"""More muons than memory holds: all are trained on, once an epoch, whatever the order of files."""

import dataclasses
import tracemalloc

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from l1scout.cli import make_app
from l1scout.dataset import plausibility, split
from l1scout.dataset.matched import files_of, joined, read_datasets
from l1scout.errors import InputError
from l1scout.model.card import read_card
from l1scout.simulate.kinds import HARD
from l1scout.training import epochs as stream
from l1scout.training.epochs import mixed, read_stream
from l1scout.training.fit import fit
from l1scout.training.recipes import RECIPES, quiet_copies
from toy_muons import toy_dataset

RECIPE = dataclasses.replace(RECIPES["balanced"], epochs=3, batch=256)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("many")
    for k in range(3):
        table = pa.table(dict(toy_dataset(3000, seed=k).columns))
        pq.write_table(table, folder / f"d{k}.parquet", row_group_size=1000 - 300 * k)
    return files_of([folder])


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(stream, "BLOCK", 700)


def rows(data):
    return sorted(zip(*(data[n].tolist() for n in data.columns), strict=True))


def test_blocks_hold_every_training_muon_once(files):
    read = read_stream(files)
    wanted = read_datasets(files).part("train")
    assert read.muons == 9000
    assert read.training_muons == len(wanted)
    for seed in (1, 2):
        blocks = list(read.blocks(np.random.default_rng(seed)))
        assert len(blocks) > 4
        assert rows(joined(blocks)) == rows(wanted)
    one, other = (next(read.blocks(np.random.default_rng(seed))) for seed in (1, 2))
    assert rows(one) != rows(other)


def test_samples_do_not_depend_on_the_order_of_files(files, monkeypatch):
    monkeypatch.setattr(stream, "SAMPLE", 900)
    one, other = read_stream(files), read_stream(files[::-1])
    whole = read_datasets(files)
    assert len(set(rows(one.train)) ^ set(rows(other.train))) <= 4 * len(one.train.columns)  # ends
    assert rows(one.validation) == rows(other.validation)
    assert len(one.validation) == pytest.approx(900, rel=0.15)
    assert split.part(one.validation.identity, "validation").all()
    for name, column in one.train.columns.items():  # ranges are those of all
        assert (column.min(), column.max()) == (
            whole.part("train")[name].min(),
            whole.part("train")[name].max(),
        )


def test_chunks_are_whole_and_mixed_anew_every_epoch(files):
    read = read_stream(files)
    seen = []
    for number in range(2):
        chunks = [
            x
            for x, _ in mixed(read, lambda d: (d["recoPt"][:, None], d["recoEta"][:, None]), 256, (5, number))
        ]
        assert [len(x) for x in chunks[:-1]] == [256] * (len(chunks) - 1)
        seen.append(np.concatenate(chunks)[:, 0])
    assert not np.array_equal(*seen)
    assert np.array_equal(*map(np.sort, seen))
    assert np.array_equal(np.sort(seen[0]), np.sort(read_datasets(files).part("train")["recoPt"]))


def test_training_from_files_helps_and_repeats(files):
    one, again = (fit(read_stream(files), RECIPE, seed=3) for _ in range(2))
    memory = fit(read_datasets(files), RECIPE, seed=3)
    with quiet_copies():
        for x, y in zip(one.model.get_weights(), again.model.get_weights(), strict=True):
            assert np.array_equal(x, y)
    assert one.card.training["muons"] == memory.card.training["muons"]
    assert one.card.data == memory.card.data
    assert one.card.domain == memory.card.domain
    for trained in (one, memory):  # 0.4 to 0.6 for three seeds
        assert all(trained.validation.ratio.rms[v].value < 0.9 for v in ("phi", "pt"))


def test_the_papers_recipes_take_the_papers_part_of_files_as_of_memory(files, tmp_path):
    """Muons of another pT, and of a hard component that is a choice, are in neither."""
    columns = dict(toy_dataset(1500, seed=9).columns)
    more = {n: c.copy() for n, c in columns.items()}
    more["hwPt"][:] = 200
    rows = np.arange(1500) % 3
    both = {n: np.where(rows == 1, more[n], c).astype(c.dtype) for n, c in columns.items()}
    both["simKind"] = np.where(rows == 2, HARD, 0).astype(np.int8)
    mixed_file = tmp_path / "mixed.parquet"
    pq.write_table(pa.table(both), mixed_file, row_group_size=400)
    recipe = dataclasses.replace(RECIPES["A"], epochs=2)
    with pytest.raises(InputError, match="paper=True"):
        fit(read_stream([mixed_file]), recipe)
    streamed = fit(read_stream([mixed_file], paper=True), recipe, seed=3)
    memory = fit(read_datasets([mixed_file]), recipe, seed=3)
    assert streamed.card.training["epoch_kept"] in (1, 2)
    assert streamed.card.domain == memory.card.domain
    assert streamed.card.domain["hwPt"][1] <= 90
    assert streamed.card.data["muons"] == memory.card.data["muons"] == np.count_nonzero(rows == 0)
    assert streamed.card.training["muons"] == memory.card.training["muons"]
    assert streamed.validation.muons == memory.validation.muons


def test_memory_does_not_grow_with_files(files, monkeypatch):
    monkeypatch.setattr(
        plausibility, "refuse_repeated", lambda *_: None
    )  # the same files over and over again

    def peak(n):
        read = read_stream(files * n)
        tracemalloc.start()
        for block in read.blocks(np.random.default_rng(1)):
            assert len(block) < 2000
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return used

    peak(1)
    assert peak(8) < 1.3 * peak(2)


def test_on_the_command_line(files, tmp_path):
    folder = files[0].parent
    args = ["train", "--data", str(folder), "--out", str(tmp_path / "m"), "--model", "small", "--epochs", "1"]
    done = CliRunner().invoke(make_app(), [*args, "--in-memory", "5000"])
    assert done.exit_code == 0, done.output
    assert read_card(tmp_path / "m").data["file"] == "d0.parquet and 2 more"
    with pytest.raises(InputError, match=r"no \*.parquet"):
        files_of([tmp_path])
