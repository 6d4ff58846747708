"""Data of several sources, joined: every stream as it was, with the orbits in which it was seen."""

from dataclasses import replace

import numpy as np
import pytest

from l1scout.core.orbit_data import OrbitData
from l1scout.errors import InputError
from l1scout.formats.stream import STREAMS
from l1scout.io.built_data import BuildAccount, build_data
from stream_rows import objects

FIRST, ORBITS = 262_100, 60
ROWS = ("orbit", "bx", "run", "lumisection")
SOURCES = {
    1: ("muon",),
    2: ("jet", "egamma", "tau", "etsum"),
    **{10 + k: ("stub",) for k in range(12)},
    32: ("tower",),
}


@pytest.fixture(scope="module")
def truth():
    rng = np.random.default_rng(8)
    made = {}
    for name in ("muon", "jet", "egamma", "tau", "etsum", "stub", "tower"):
        batch = objects(name, rng, rows=400, first_orbit=FIRST, orbits=ORBITS)
        if name == "stub":  # in a crossing by sector, as sources are in order
            order = np.lexsort((batch["sector"], batch.row))
            batch = replace(batch, columns={n: c[order] for n, c in batch.columns.items()})
        made[name] = batch
    return made


def of_source(truth, source, step, seen=None):
    """Yield the data of a source, some orbits at a time."""
    every = np.arange(FIRST, FIRST + ORBITS) if seen is None else seen
    for first in range(0, every.size, step):
        streams = {}
        for name in SOURCES[source]:
            batch = truth[name]
            if name == "stub":
                batch = batch.select(batch["sector"] == source - 10)
            streams[name] = batch.of_orbits(every[first : first + step])
        yield OrbitData(streams)


def join(truth, steps, seen=None, **options):
    account = BuildAccount()
    sources = {
        s: of_source(truth, s, step, (seen or {}).get(s))
        for s, step in zip(SOURCES, np.resize(steps, len(SOURCES)), strict=True)
    }
    return list(build_data(sources, account=account, **options)), account


def joined(parts, name):
    """Return orbit, BX and columns of a stream in all batches, object by object."""
    batches = [part.streams[name] for part in parts]
    rows = [
        np.concatenate([getattr(b, n)[b.row] for b in batches]) for n in ("orbit", "bx", "run", "lumisection")
    ]
    return rows, {c: np.concatenate([b[c] for b in batches]) for c in batches[0].columns}


def assert_same(parts, name, batch):
    rows, columns = joined(parts, name)
    for column, found in zip(ROWS, rows, strict=True):
        assert np.array_equal(found, getattr(batch, column)[batch.row]), (name, column)
    for column, found in columns.items():
        assert np.array_equal(found, batch[column]), (name, column)
        assert found.dtype == batch[column].dtype


@pytest.mark.parametrize("steps", [[60], [7, 13, 4], [1, 30]])
def test_what_is_joined_is_the_truth(truth, steps):
    parts, account = join(truth, steps, orbits=10)
    for name, batch in truth.items():
        assert_same(parts, name, batch)
        assert sum(part.streams[name].n_orbits for part in parts) == ORBITS
        assert all(part.streams[name].first_orbit is not None for part in parts)
    assert set(parts[0].streams) == set(truth)
    assert (account.orbits, account.complete) == (ORBITS, ORBITS)
    assert len(parts) > 1 or steps == [60]


def test_a_prescaled_stream_states_its_orbits(truth):
    seen = np.array([o for o in range(FIRST, FIRST + ORBITS) if o % 9 < 2])
    parts, account = join(truth, [11], {32: seen}, prescales={32: (2, 9)}, orbits=20)
    assert_same(parts, "tower", truth["tower"].of_orbits(seen))
    assert np.array_equal(np.concatenate([p.streams["tower"].orbits_seen() for p in parts]), seen)
    assert sum(p.streams["tower"].n_orbits for p in parts) == seen.size
    assert sum(p.streams["tower"].lost_orbits for p in parts) == 0
    assert sum(p.streams["muon"].n_orbits for p in parts) == ORBITS
    assert (account.complete, account.counts[32].prescaled) == (ORBITS, ORBITS - seen.size)


def test_a_stream_of_several_sources_lacks_orbits_in_which_one_is_missing(truth):
    """Stubs of an orbit without sector 3 are left out, and the orbit is lost for them alone."""
    gone = np.array([FIRST + 5, FIRST + 40])
    left = np.setdiff1d(np.arange(FIRST, FIRST + ORBITS), gone)
    parts, account = join(truth, [8, 60], {13: left}, orbits=60)
    assert_same(parts, "stub", truth["stub"].of_orbits(left))
    assert_same(parts, "muon", truth["muon"])
    assert (
        sum(p.streams["stub"].n_orbits for p in parts),
        sum(p.streams["stub"].lost_orbits for p in parts),
    ) == (58, 2)
    assert (account.complete, account.counts[13].absent, account.counts[12].absent) == (58, 2, 0)


def test_a_source_without_any_orbit(truth):
    parts, account = join(truth, [60], {32: np.zeros(0, np.int64)}, orbits=1)
    assert len(parts) == 2  # orbit by orbit closed, but for the last
    tower = parts[0].streams["tower"]
    assert (tower.n_orbits, tower.n_objects, tower.lost_orbits) == (0, 0, ORBITS - 1)
    assert set(tower.columns) == set(STREAMS["tower"].empty().columns)
    assert account.counts[32].absent == ORBITS


def test_data_that_do_not_tell_their_orbits(truth):
    blind = OrbitData({"muon": replace(truth["muon"], n_orbits=None, first_orbit=None)})
    with pytest.raises(InputError, match="which orbits were seen"):
        next(build_data({1: iter([blind]), 2: of_source(truth, 2, 60)}))
