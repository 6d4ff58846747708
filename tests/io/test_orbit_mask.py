"""Selections keep the account of each stream: masked orbits, and lumisections of a prescaled stream."""

from dataclasses import replace

import numpy as np
import pytest

from l1scout.analysis.common.live_time import LiveTime
from l1scout.core.orbit_data import OrbitData
from l1scout.errors import InputError
from l1scout.io.orbit_mask import OrbitMask, read_mask
from l1scout.io.selection import DataSelection, Selector
from l1scout.lhc import ORBITS_PER_LUMISECTION
from stream_rows import RUN, objects

FIRST, ORBITS = 262_000, 300
"""On both sides of the end of lumisection 1, at orbit 262,144."""


@pytest.fixture
def data():
    rng = np.random.default_rng(2)
    made = {n: objects(n, rng, rows=200, first_orbit=FIRST, orbits=ORBITS) for n in ("muon", "tower")}
    every = np.arange(FIRST, FIRST + ORBITS)
    return OrbitData({"muon": made["muon"], "tower": made["tower"].of_orbits(every[every % 9 < 2])})


def test_masked_orbits_count_nowhere(data):
    mask = OrbitMask({RUN: ((262_010, 262_019), (262_250, 400_000)), 5: ((0, 10**6),)})
    (masked,) = mask.apply([data])
    left = np.array([o for o in range(FIRST, 262_250) if not 262_010 <= o <= 262_019])
    assert np.array_equal(masked.muons.orbits_seen(), left)
    assert mask.left_out == ORBITS - left.size
    tower = masked.streams["tower"]
    assert np.array_equal(tower.orbits_seen(), left[left % 9 < 2])
    assert tower.n_orbits == np.count_nonzero(left % 9 < 2)
    for name, batch in masked.streams.items():
        assert np.array_equal(batch.orbit, data.streams[name].orbit[np.isin(data.streams[name].orbit, left)])
    live = LiveTime()
    live.add(masked.muons)
    assert live.orbits == left.size


def test_data_of_other_runs_stay(data):
    assert next(OrbitMask({7: ((0, 10**6),)}).apply([data])) is data


def test_orbits_that_are_not_known_cannot_be_masked(data):
    blind = OrbitData({"muon": replace(data.muons, first_orbit=None)})
    with pytest.raises(InputError, match="does not tell which orbits were seen"):
        next(OrbitMask({RUN: ((1, 2),)}).apply([blind]))


def test_lumisections_of_a_prescaled_stream_keep_its_orbits(data):
    """Each stream has its own number of orbits in the selected lumisection, not that of the muons."""
    selector = Selector(DataSelection(lumisections=((2, 2),)))
    (part,) = selector.apply([data])
    later = np.arange(ORBITS_PER_LUMISECTION, FIRST + ORBITS)
    assert np.array_equal(part.muons.orbits_seen(), later)
    assert np.array_equal(part.streams["tower"].orbits_seen(), later[later % 9 < 2])
    assert (selector.kept, selector.left_out, selector.uncertain) == (later.size, ORBITS - later.size, 0)


def test_live_time_of_orbits_with_gaps(data):
    live = LiveTime()
    live.add(data.streams["tower"])
    every = np.arange(FIRST, FIRST + ORBITS)
    assert live.orbits == np.count_nonzero(every % 9 < 2)
    assert [s.orbits for s in live.sections.values()] == [
        np.count_nonzero(every[every < ORBITS_PER_LUMISECTION] % 9 < 2),
        np.count_nonzero(every[every >= ORBITS_PER_LUMISECTION] % 9 < 2),
    ]


@pytest.mark.parametrize(
    "text", ["[]", '{"x": [[1, 2]]}', '{"1": [[2, 1]]}', '{"1": [[true, 2]]}', '{"1": 3}', "{"]
)
def test_a_file_that_is_no_mask(tmp_path, text):
    path = tmp_path / "mask.json"
    path.write_text(text)
    with pytest.raises(InputError, match="not a file of masked orbits"):
        read_mask(path)


def test_a_mask_is_read(tmp_path, data):
    path = tmp_path / "mask.json"
    path.write_text(f'{{"{RUN}": [[{FIRST}, {FIRST + ORBITS - 2}]]}}')
    (masked,) = read_mask(path).apply([data])
    assert masked.muons.n_orbits == 1
