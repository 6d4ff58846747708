"""Files of several boards as one: what they have of the same orbits is joined, what cannot be is refused."""

import numpy as np
import pytest

from l1scout.core.orbit_data import OrbitData
from l1scout.errors import InputError
from l1scout.io.format_writer import write_data
from l1scout.io.read_together import read_together
from l1scout.simulate.activity import Activity
from l1scout.trigger.board_files import write_board_files


@pytest.fixture(scope="module")
def boards(tmp_path_factory):
    folder = tmp_path_factory.mktemp("together") / "boards"
    sources = {"gmt": None, "calo": range(2, 3)}
    write_board_files(folder, sources, 6, Activity(pile_up=1.0, towers=1.0), seed=3)
    return folder


def test_boards_are_joined(boards):
    (data,) = read_together([boards / "calo.dat", boards / "gmt.dat"])
    assert set(data.streams) == {"muon", "jet", "egamma", "tau", "etsum"}
    for batch in data.streams.values():
        assert (batch.n_orbits, batch.first_orbit, batch.simulated) == (6, 0, True)
        assert len(np.unique(batch.orbit)) == 6
    alone = next(read_together([boards / "gmt.dat"])).muons
    for name in ("hwPt", "hwPhi"):
        np.testing.assert_array_equal(data.muons[name], alone[name])


def test_one_board_gives_all_its_streams_at_once(boards):
    chunks = list(read_together([boards / "calo.dat"]))
    assert all(set(data.streams) == {"jet", "egamma", "tau", "etsum"} for data in chunks)
    assert sum(data.streams["jet"].n_orbits for data in chunks) == 6


def test_two_boards_with_one_stream_are_refused(boards, tmp_path):
    (data,) = read_together([boards / "calo.dat"])
    write_data([OrbitData({"jet": data.streams["jet"]})], tmp_path / "jets", drop=True)
    with pytest.raises(InputError, match="jet is in files of several boards"):
        list(read_together([boards / "calo.dat", tmp_path / "jets" / "_l1scout.json"]))
