"""Occupancy: dead and noisy sectors, satellites, classes of BX, and the real 2018 data."""

from dataclasses import replace

import numpy as np
import pytest

from l1scout.analysis import ANALYSES, Setup
from l1scout.analysis.common.maps import PROCESSOR_FINDER, Occupancy
from l1scout.analysis.common.regions import find_regions, pulls
from l1scout.analysis.common.schemes import load_scheme
from l1scout.analysis.common.stream_maps import axes_of
from l1scout.core.orbit_data import OrbitData
from l1scout.errors import InputError
from l1scout.io import read_events
from l1scout.io.format_writer import write_data
from l1scout.lhc import ORBIT_FREQUENCY_HZ
from l1scout.simulate.activity import Activity
from l1scout.simulate.all_streams import simulate_streams
from l1scout.simulate.run import Running, simulate_run

SCHEME = load_scheme("2018")
OCCUPANCY = ANALYSES["occupancy"]


def occupancy(seed=1, orbits=400, **conditions):
    state = Occupancy(SCHEME)
    running = Running(**{"intermediate": 0.0, "cosmics": 0.0, "occupancy": 0.2} | conditions)
    for piece in simulate_run(seed, orbits, running=running, chunk=100):
        state.add(piece.muons)
    return state


def test_a_dead_and_a_weak_sector():
    state = occupancy(processors=((15, 0.0), (20, 0.7)))
    dead, weak = state.processor_regions()
    assert (dead.cell, dead.count) == (15, 0)
    assert weak.cell == 20
    assert weak.ratio == pytest.approx(0.7, abs=4 * weak.error)
    assert weak.error < 0.02
    cells = state.result()["cells"]
    # processor 15 - 12 = 3 of the BMTF: 90 to 120 degrees
    assert {c["phi_deg"] for c in cells if c["count"] == 0} == {92.5, 97.5, 102.5, 107.5, 112.5, 117.5}
    assert {c["finder"] for c in cells} == {"BMTF"}


def test_a_noisy_sector():
    state = occupancy(noise=((33, 20.0),))
    (hot,) = state.processor_regions()
    true = 1 + 20 * 400 / hot.expected
    assert (hot.cell, hot.ratio) == (33, pytest.approx(true, abs=4 * hot.error))


def test_nothing_is_found_where_nothing_is():
    """Ten runs: 36 processors and 10,800 cells each, and pulls of unit width."""
    scatter = []
    for seed in range(10):
        state = occupancy(seed, 100)
        assert state.processor_regions() == []
        assert state.cell_regions() == []
        assert state.satellites() == []
        scatter.append(pulls(state.processors, PROCESSOR_FINDER))
    assert np.std(scatter) == pytest.approx(1, abs=5 / np.sqrt(2 * 360))


def test_against_a_reference():
    """A detector that is not symmetric: only what changed is found."""
    before = occupancy(1, processors=((15, 0.5),))
    after = occupancy(2, processors=((15, 0.5), (16, 0.9)))
    assert [r.cell for r in after.processor_regions()] == [15, 16]
    (changed,) = after.processor_regions(before.processors)
    assert (changed.cell, changed.ratio) == (16, pytest.approx(0.9, abs=4 * changed.error))
    assert after.processor_regions(before.processors, tolerance=0.2) == []
    assert [r["processor"] for r in after.result(before)["processors"]] == [16]


def test_one_hot_cell_does_not_make_the_others_dead():
    counts = np.array([100, 101, 99, 5000, 100, 100])
    assert [r.cell for r in find_regions(counts, np.zeros(6, np.int64))] == [3]
    assert find_regions(np.zeros(6, np.int64), np.zeros(6, np.int64)) == []


@pytest.mark.parametrize("afterglow", [(0.0, 1.0), (0.003, 10.0)])
def test_satellites(afterglow):
    """One far from trains and one beside a train, in spite of early and late muons and afterglow."""
    state = occupancy(orbits=1500, bunches=((3450, 0.05), (130, 0.15)), afterglow=afterglow, cosmics=0.5)
    near, far = state.satellites()
    for found, (bx, size) in zip((near, far), ((130, 0.15), (3450, 0.05)), strict=True):
        assert found.bx == bx
        assert found.relative == pytest.approx(size, abs=4 * found.error)
        assert found.error < 0.05


def test_rates_of_the_classes_of_bx():
    state = occupancy()
    rows = {row["bx_class"]: row for row in state.classes()}
    mu = Running(occupancy=0.2).nominal
    assert rows["inner"]["muons_per_crossing"] == pytest.approx(
        mu, abs=4 * rows["inner"]["muons_per_crossing_stat"]
    )
    edge = rows["first of train"]
    assert edge["muons_per_crossing"] == pytest.approx(0.99 * mu, abs=4 * edge["muons_per_crossing_stat"])
    beside = rows["empty beside one"]
    assert beside["muons_per_crossing"] == pytest.approx(0.01 * mu, abs=4 * beside["muons_per_crossing_stat"])
    total = sum(row["rate_hz"] for row in rows.values())
    assert total == pytest.approx(state.muons / 400 * ORBIT_FREQUENCY_HZ)
    assert sum(row["bx"] for row in rows.values()) == 3564


def test_real_muons_of_2018(shared_data):
    """Triggered data: shares of the track finders and maps, but no rate."""
    state = Occupancy(SCHEME)
    for events in read_events(shared_data / "real-cms" / "l1ntuple_run320040_2018_200ev.root"):
        state.add(events.muons)
    result = state.result()
    assert state.simulated is None  # the file does not state it
    assert result["orbits"] is None
    assert result["classes"] == result["satellites"] == []
    assert sum(row["share"] for row in result["finders"]) == pytest.approx(1)
    assert [row["muons"] for row in result["finders"]] == [23, 2, 3, 2, 30]  # as counted by hand
    assert all(0 <= row["low"] <= row["share"] <= row["high"] <= 1 for row in result["finders"])
    assert all(row["low"] < row["high"] for row in result["finders"])
    assert state.cells.sum() == state.muons == 60


def streams_of(objects, chunks, **options):
    analysis = OCCUPANCY(OCCUPANCY.Options(objects=objects, **options), Setup(scheme=load_scheme("2018")))
    for data in chunks:
        analysis.add(data)
    return analysis


def without(data, name, place):
    """Return data without the objects of a stream for which `place` is True of their columns."""
    batch = data.streams[name]
    return replace(data, streams={**data.streams, name: batch.select(~place(batch))})


@pytest.fixture(scope="module")
def collisions():
    activity = Activity(pile_up=5.0, single_stubs=0.2)
    return list(simulate_streams(4, 12, ("jet", "tower", "stub", "etsum"), activity=activity))


HOLES = {
    "tower": lambda b: (b["hwEta"] == 5) & ((b["hwPhi"] - 1) // 4 == 3),
    "stub": lambda b: (b["station"] == 2) & (b["wheel"] == -1) & (b["sector"] == 7),
}
CENTRES = {"tower": ("all", 5.0, 70.0), "stub": ("MB2", -1.0, 7.0)}


@pytest.mark.parametrize("stream", HOLES)
def test_dead_regions_of_any_stream(collisions, stream):
    """Nothing without; towers and a chamber that are dead, and nothing else."""
    assert streams_of(stream, collisions).result().numbers["object_cells"] == []
    result = streams_of(stream, [without(data, stream, HOLES[stream]) for data in collisions]).result()
    (cell,) = result.numbers["object_cells"]
    assert (cell["count"], cell["part"], cell["eta"], cell["phi"]) == (0, *CENTRES[stream])


def test_cells_of_calorimeter_objects():
    """Steps of whole hardware units, so that no cell has more of their values than another."""
    axes = axes_of("jet")
    eta, phi = axes.edges
    assert (axes.eta_step, axes.phi_step, axes.phi_cells) == (4, 2, 72)
    assert eta[-1] == pytest.approx(0.0435 * 119.5)
    assert phi[-1] - phi[0] == pytest.approx(360)
    columns = {"hwEta": np.array([-120, 0, 3, 4, 120]), "hwPhi": np.array([0, 143, 1, 2, 0])}
    cells = axes.cells(columns)
    assert (cells // 72 - cells[0] // 72).tolist()[:4] == [0, 30, 30, 31]
    assert cells[4] == -1
    assert (cells % 72).tolist()[:4] == [0, 71, 0, 1]


def test_counts_of_any_stream(collisions):
    for name in ("jet", "jet[pt>=8]", "etsum"):
        analysis = streams_of(name, collisions)
        result = analysis.result().numbers
        batches = [data.streams[name.partition("[")[0]] for data in collisions]
        keep = [b["hwPt"] >= 16 if "[" in name else np.ones(b.n_objects, bool) for b in batches]
        every, *classes = result["object_classes"]
        assert every["objects"] == result["objects"] == sum(int(k.sum()) for k in keep)
        assert every["occupied"] == sum(
            np.unique(b.row[k]).size for b, k in zip(batches, keep, strict=True)
        ) / (12 * 3564)
        assert sum(row["objects"] for row in classes) == result["objects"]
        assert sum(row["objects"] * row["crossings"] for row in result["multiplicity"]) == result["objects"]
        assert {h.sum() for h in analysis.state.histograms.values()} == {result["objects"]}
    assert analysis.state.axes is None  # sums have no place
    with pytest.raises(InputError, match="name cuts in --objects"):
        OCCUPANCY(OCCUPANCY.Options(objects="jet"), Setup(min_hw_pt=5))


def test_a_reference_of_any_stream(collisions, tmp_path):
    """A hole that the reference has, too, is none."""
    made = [without(data, "stub", HOLES["stub"]) for data in collisions]
    stubs = [OrbitData({"stub": data.streams["stub"]}) for data in made]
    write_data(iter(stubs), tmp_path / "set")
    reference = (tmp_path / "set",)
    assert streams_of("stub", made, reference=reference).result().numbers["object_cells"] == []
    (cell,) = streams_of("stub", collisions, reference=reference).result().numbers["object_cells"]
    assert (cell["part"], cell["eta"], cell["phi"], cell["expected"]) == ("MB2", -1.0, 7.0, 0.0)
