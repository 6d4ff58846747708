"""Folders in which the chain writes are this user's alone, and no link in them or beside them is followed."""

import os
from pathlib import Path

import pytest

from l1scout.control.services import StatusFile
from l1scout.errors import InputError
from l1scout.files import complete_folder, complete_or_nothing, open_own, own_folder, write_small
from l1scout.readout.segments import Segment
from l1scout.readout.spool import Spool

SOMEBODY = 12345


@pytest.fixture
def secret(tmp_path):
    """A file that a link leads to, and that must stay as it is."""
    path = tmp_path / "secret"
    path.write_text("untouched")
    yield path
    assert path.read_text() == "untouched"


def test_new_folder_is_for_this_user_only(tmp_path):
    own_folder(tmp_path / "a" / "b", "spool folder")
    assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700
    own_folder(tmp_path / "a" / "b", "spool folder")


@pytest.mark.parametrize("mode", [0o720, 0o702, 0o777, 0o1777])
def test_others_may_write(tmp_path, mode):
    folder = tmp_path / "spool"
    folder.mkdir()
    folder.chmod(mode)
    with pytest.raises(InputError, match=r"cannot use .*/spool as the spool folder: other users may write"):
        Spool(folder)
    folder.chmod(0o755)
    Spool(folder).close()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give folders away")
def test_somebody_elses_folder(tmp_path):
    folder = tmp_path / "spool"
    folder.mkdir(mode=0o700)
    os.chown(folder, SOMEBODY, SOMEBODY)
    with pytest.raises(InputError, match=f"belongs to user {SOMEBODY}, and this is user 0"):
        Spool(folder)
    assert not list(folder.iterdir())


@pytest.mark.parametrize("there", [True, False])
def test_link_to_a_folder(tmp_path, there):
    target = tmp_path / "target"
    if there:
        target.mkdir(mode=0o700)
    (tmp_path / "spool").symlink_to(target)
    with pytest.raises(InputError, match=r"is a symbolic link; name the folder|file exists"):
        Spool(tmp_path / "spool")
    assert not there or not list(target.iterdir())


def test_file_where_a_folder_is_to_be(tmp_path):
    (tmp_path / "spool").touch()
    with pytest.raises(InputError, match=r"cannot use .*/spool as the spool folder: file exists"):
        Spool(tmp_path / "spool")


@pytest.mark.parametrize("name", ["lock", "reserve"])
def test_links_in_the_spool_are_not_followed(tmp_path, secret, name):
    folder = tmp_path / "spool"
    folder.mkdir(mode=0o700)
    (folder / name).symlink_to(secret)
    with pytest.raises(InputError, match=f"{name}: Too many levels of symbolic links"):
        Spool(folder)


def test_links_under_the_names_of_segments_are_put_aside(tmp_path, secret):
    folder = tmp_path / "spool"
    spool = Spool(folder)
    segment = Segment(7, 1, 0, 1, "run3")
    spool.close()
    for suffix in ("", ".part", ".json", ".json.new"):
        (folder / (segment.name + suffix)).symlink_to(secret)
    again = Spool(folder)
    assert (len(again), again.recovered) == (0, [])
    assert again.bad == 3
    (folder / (segment.name + ".part")).symlink_to(secret)
    with pytest.raises(OSError, match="symbolic links"):
        again.open(segment)


@pytest.mark.parametrize("name", ["out", "out.part"])
def test_links_beside_an_output_are_not_followed(tmp_path, secret, name):
    """Another user may have put them into /tmp."""
    (tmp_path / name).symlink_to(secret)
    with complete_or_nothing(tmp_path / "out") as part:
        part.write_text("result")
    assert (tmp_path / "out").read_text() == "result"
    assert not (tmp_path / "out").is_symlink()


def test_link_beside_a_folder_of_output(tmp_path, secret):
    (tmp_path / "model.part").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").mkdir()
    with pytest.raises(InputError, match="model: cannot be written"), complete_folder(tmp_path / "model"):
        pass
    assert not list((tmp_path / "elsewhere").iterdir())


def test_small_files(tmp_path, secret):
    path: Path = tmp_path / "status.json"
    (tmp_path / "status.json.new").symlink_to(secret)
    write_small(path, b"one")
    path.unlink()
    path.symlink_to(secret)
    write_small(path, b"two", durable=True)
    assert (path.read_bytes(), path.is_symlink()) == (b"two", False)
    (tmp_path / "log").symlink_to(secret)
    with pytest.raises(OSError, match="symbolic links"), open_own(tmp_path / "log", "ab"):
        pass


def test_status_file(tmp_path, secret):
    from live_packets import board_status

    (tmp_path / "board.json.new").symlink_to(secret)
    StatusFile(tmp_path / "board.json")(board_status(run=1, delivered=1, dropped=0, state="running"))
    assert (tmp_path / "board.json").read_text().startswith("{")
