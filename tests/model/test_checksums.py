"""A model directory of which a bit has changed is not used."""

import subprocess
import sys

import pytest

from hand_made import model_directory
from l1scout.errors import InputError
from l1scout.model.checksums import SUMS_FILE, write_sums
from l1scout.model.directory import load_model


@pytest.fixture
def path(tmp_path):
    path = model_directory(tmp_path / "m")
    (path / "model.keras").write_bytes(b"the network as it was trained")
    write_sums(path)
    load_model(path)
    return path


def test_any_changed_byte_is_refused(path):
    names = sorted(p.name for p in path.iterdir())
    assert names == ["SHA256SUMS", "card.json", "model.keras", "network.json"]
    for name in names:
        content = (path / name).read_bytes()
        for place in range(len(content)):
            changed = bytearray(content)
            changed[place] ^= 1 << place % 8
            (path / name).write_bytes(changed)
            with pytest.raises(InputError) as error:
                load_model(path)
            assert "\n" not in str(error.value)
        (path / name).write_bytes(content)
    load_model(path)


@pytest.mark.parametrize("name", ["card.json", "model.keras", "network.json", SUMS_FILE])
def test_a_missing_file_is_named(path, name):
    (path / name).unlink()
    with pytest.raises(InputError, match=rf"{name}: cannot be read .*train"):
        load_model(path)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"0" * 64 + b"  card.json\n", b" " * 70_000])
def test_sums_that_are_none_are_refused(path, content):
    (path / SUMS_FILE).write_bytes(content)
    with pytest.raises(InputError, match=rf"{SUMS_FILE}: (damaged|larger)"):
        load_model(path)


def test_sums_name_no_other_directorys_files(path):
    with (path / SUMS_FILE).open("a") as file:
        file.write("0" * 64 + "  ../network.json\n")
    with pytest.raises(InputError, match="damaged"):
        load_model(path)


def test_other_files_in_the_directory_do_not_matter(path):
    (path / "notes.txt").write_text("mine")
    load_model(path)


@pytest.mark.skipif(sys.platform == "darwin", reason="sha256sum is GNU's")
def test_the_sums_are_those_of_sha256sum(path):
    subprocess.run(["sha256sum", "--check", "--strict", SUMS_FILE], cwd=path, check=True)
