"""Folders as inputs: their files in order, and what else is in them is said."""

import pytest

from l1scout.errors import InputError
from l1scout.io.folder import expand


def test_files_of_a_folder_in_order(tmp_path, samples):
    folder = tmp_path / "run"
    (folder / "b").mkdir(parents=True)
    for name in ("b/1.parquet", "a.parquet"):
        (folder / name).write_bytes(samples["PARQUET"].read_bytes())
    (folder / "notes.md").write_text("hello, this is a text")
    (folder / "numbers.npz").write_bytes(samples["NPZ"].read_bytes())
    found, skipped = expand([folder, samples["PARQUET"]])
    assert found == [folder / "a.parquet", folder / "b/1.parquet", samples["PARQUET"]]
    assert len(skipped) == 2
    assert "notes.md: unknown format" in skipped[0]
    assert skipped[1].endswith("numbers.npz: numpy archive: holds no muons")


def test_a_folder_without_muons_is_refused(tmp_path):
    (tmp_path / "notes.md").write_text("hello")
    with pytest.raises(InputError, match="no file with muons"):
        expand([tmp_path])
