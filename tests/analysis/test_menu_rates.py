"""Rates of a menu: equal to a count of all crossings one by one, with prescales and recalibrated muons."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.stats import poisson

import l1scout
from l1scout.analysis import ANALYSES, Setup
from l1scout.analysis.common.equal_rate import (
    LeadingMuons,
    turn_on_at_equal_rate,
    with_recalibrated_codes,
)
from l1scout.core.orbit_batch import OrbitBatch, concatenate, final_muons
from l1scout.core.orbit_data import OrbitData
from l1scout.errors import InputError
from l1scout.lhc import BX_PER_ORBIT, ORBIT_FREQUENCY_HZ
from l1scout.simulate.kinds import HARD
from l1scout.simulate.run import Running, simulate_run
from l1scout.trigger.emulator import emulate
from l1scout.trigger.load_menu import load_menu
from l1scout.trigger.orbit_inputs import inputs_of_orbits
from l1scout.trigger.prescale_files import read_prescales
from l1scout.trigger.prescales import Prescaler
from menu_documents import MUON_MENU

ORBITS, FIRST = 60, 1000
NAMES = ["L1_SingleMu5", "L1_SingleMu22", "L1_DoubleMu", "L1_Isolated", "L1_Empty"]


@pytest.fixture(scope="module")
def muons():
    running = Running(occupancy=0.05)
    return concatenate([p.muons for p in simulate_run(3, ORBITS, first=FIRST, running=running, chunk=ORBITS)])


@pytest.fixture(scope="module")
def menu(tmp_path_factory):
    path = tmp_path_factory.mktemp("menu") / "menu.toml"
    path.write_text(MUON_MENU)
    return path


@pytest.fixture(scope="module")
def bits(muons, menu):
    """A flag per crossing of all orbits, by algorithm."""
    inputs = inputs_of_orbits(OrbitData.of_muons(muons), FIRST, ORBITS)
    found = emulate(load_menu(menu), inputs)
    assert set(found.problems) == {"L1_Jet"}
    return {name: found.bits[name] for name in NAMES}


def analysed(menu, muons, **options):
    return l1scout.analyse("menu", [OrbitData.of_muons(muons)], menu=menu, **options).numbers


def test_rates_are_those_of_all_crossings_counted_one_by_one(muons, menu, bits):
    found = analysed(menu, muons, section_orbits=1025)  # two sections: 25 and 35 orbits
    hz = ORBIT_FREQUENCY_HZ / ORBITS
    together = np.stack(list(bits.values()))
    rows = {row["algorithm"]: row for row in found["algorithms"]}
    assert [row["algorithm"] for row in found["algorithms"]] == NAMES
    for k, name in enumerate(NAMES):
        n, row = int(bits[name].sum()), rows[name]
        assert row["crossings"] == n > 0
        assert row["rate_hz"] == pytest.approx(n * hz)
        only = together[k] & (together.sum(axis=0) == 1)
        assert row["pure_rate_hz"] == pytest.approx(only.sum() * hz)
        assert found["by_section"][name] == [
            int(bits[name][: 25 * BX_PER_ORBIT].sum()), int(bits[name][25 * BX_PER_ORBIT :].sum())
        ]  # fmt: skip
        by_bx = bits[name].reshape(ORBITS, BX_PER_ORBIT).sum(axis=0)
        bx = np.flatnonzero(by_bx)
        assert found["by_bx"][name] == {"bx": (bx + 1).tolist(), "crossings": by_bx[bx].tolist()}
        for m, other in enumerate(NAMES):
            assert found["overlap"]["crossings"][k][m] == int((bits[name] & bits[other]).sum())
    any_ = together.any(axis=0)
    assert found["total_rate_hz"]["value"] == pytest.approx(any_.sum() * hz)
    assert found["total_rate_hz"]["error"] == pytest.approx(np.sqrt(any_.sum()) * hz)
    assert [s["crossings"] for s in found["sections"]] == [
        int(any_[: 25 * BX_PER_ORBIT].sum()), int(any_[25 * BX_PER_ORBIT :].sum())
    ]  # fmt: skip
    assert "no jet" in found["not_emulated"]["L1_Jet"]


def test_the_interval_of_a_rate_is_that_of_a_poisson_count(muons, menu):
    row = next(r for r in analysed(menu, muons)["algorithms"] if r["algorithm"] == "L1_SingleMu22")
    hz, n = ORBIT_FREQUENCY_HZ / ORBITS, row["crossings"]
    assert poisson.sf(n - 1, row["rate_low_hz"] / hz) == pytest.approx(0.1587, abs=1e-4)
    assert poisson.cdf(n, row["rate_high_hz"] / hz) == pytest.approx(0.1587, abs=1e-4)


def test_orbits_that_were_not_seen_count_nothing(muons, menu):
    """Of the run only every other ten orbits are known; muons beside a gap have no neighbours there."""
    parts = [muons.cut(FIRST + 10)[0], muons.cut(FIRST + 20)[1].cut(FIRST + 30)[0]]
    found = l1scout.analyse("menu", map(OrbitData.of_muons, parts), menu=menu).numbers
    wanted = dict.fromkeys(NAMES, 0)
    for part in parts:
        inputs = inputs_of_orbits(OrbitData.of_muons(part), part.first_orbit, 10)
        one = emulate(load_menu(menu), inputs)
        wanted = {name: n + int(one.bits[name].sum()) for name, n in wanted.items()}
    assert {row["algorithm"]: row["crossings"] for row in found["algorithms"]} == wanted
    assert found["orbits"] == 20
    rows = np.flatnonzero(np.isin(muons.orbit, [FIRST, FIRST + 5]))  # and of these only their sum is known
    some = muons.take(rows, n_orbits=4)
    found = analysed(menu, replace(some, n_orbits=4))
    empty = next(r for r in found["algorithms"] if r["algorithm"] == "L1_Empty")
    assert empty["crossings"] > 3.5 * BX_PER_ORBIT


@pytest.mark.parametrize("pieces", [1, 2, 5])
def test_neighbours_across_orbits_and_pieces_are_seen(menu, pieces):
    """Muons at the ends of orbits only, where a filling scheme has none."""
    random = np.random.default_rng(pieces)
    orbit, bx = np.meshgrid(np.arange(FIRST, FIRST + 40), [1, 2, 3, 3561, 3562, 3563, 3564], indexing="ij")
    there = random.random(orbit.shape) < 0.5
    n = int(there.sum())
    columns = {"hwPt": random.integers(1, 60, n), "hwQual": np.full(n, 12)}
    columns = {name: values.astype(np.int16) for name, values in columns.items()}
    every = OrbitBatch.from_objects(orbit[there], bx[there], columns, n_orbits=40, first_orbit=FIRST)
    analysis = ANALYSES["menu"]
    made, rest = [], every
    for k in range(pieces):
        part, rest = rest.cut(FIRST + 40 * (k + 1) // pieces)
        made.append(analysis(analysis.Options(menu=menu), Setup()))
        made[-1].add(OrbitData.of_muons(part))
    whole = made[0]
    for later in made[1:]:
        whole.merge(later)
    wanted = emulate(load_menu(menu), inputs_of_orbits(OrbitData.of_muons(every), FIRST, 40)).bits
    rows = {row["algorithm"]: row["crossings"] for row in whole.result().numbers["algorithms"]}
    assert {name: rows[name] for name in NAMES} == {name: int(wanted[name].sum()) for name in NAMES}


def test_only_orbits_in_which_all_streams_were_seen_count(muons, menu):
    """Jets of every other orbit: algorithms of the menu look at both, and none misses jets unseen."""
    seen = np.arange(FIRST, FIRST + ORBITS, 2)
    at = np.flatnonzero(np.isin(muons.orbit, seen))[::7]
    columns = {n: np.full(at.size, 60, np.int16) for n in ("hwPt", "hwEta", "hwPhi")}
    jets = OrbitBatch.from_objects(muons.orbit[at], muons.bx[at], columns, simulated=True).with_orbits(seen)
    result = l1scout.analyse("menu", [OrbitData({"muon": muons, "jet": jets})], menu=menu)
    rows = {row["algorithm"]: row["crossings"] for row in result.numbers["algorithms"]}
    assert result.numbers["orbits"] == ORBITS // 2
    assert rows["L1_Jet"] == at.size
    inside = muons.of_orbits(seen)
    good = (inside["hwQual"] >= 12) & (inside["hwPt"] >= 11) & (inside["intermediate"] == 0)
    assert rows["L1_SingleMu5"] == len(np.unique(inside.row[good]))
    assert any(f"{ORBITS // 2} orbits are left out" in warning for warning in result.warnings)


def test_prescaled_rates_are_what_the_prescaler_passes(muons, menu, bits, tmp_path):
    factors = {
        "L1_SingleMu5": 2.5,
        "L1_SingleMu22": 1,
        "L1_DoubleMu": 3,
        "L1_Isolated": 20,
        "L1_Empty": 0,
        "L1_Jet": 1,
    }
    index = {
        "L1_SingleMu5": 0,
        "L1_SingleMu22": 7,
        "L1_DoubleMu": 8,
        "L1_Isolated": 9,
        "L1_Empty": 10,
        "L1_Jet": 11,
    }
    table = tmp_path / "prescales.csv"
    table.write_text("Index,Name,a\n" + "".join(f"{index[n]},{n},{f}\n" for n, f in factors.items()))
    found = analysed(menu, muons, prescales=table, column="a")
    rows = {row["algorithm"]: row for row in found["algorithms"]}
    loaded, hz = load_menu(menu), ORBIT_FREQUENCY_HZ / ORBITS
    decisions = emulate(loaded, inputs_of_orbits(OrbitData.of_muons(muons), FIRST, ORBITS))
    prescaler = Prescaler(loaded, read_prescales(table), "a")
    passed = prescaler.apply(decisions)
    for name in NAMES:
        n = len(passed.fired(name))
        assert abs(rows[name]["prescaled_rate_hz"] / hz - n) <= 1
        assert rows[name]["prescale"] == factors[name]
    together = np.stack([passed.bits[name] for name in NAMES])
    total, error = (found["prescaled_total_rate_hz"][k] / hz for k in ("value", "error"))
    assert abs(total - together.any(axis=0).sum()) < 3 * error
    pure = (together.sum(axis=0) == 1)[None] & together
    for k, name in enumerate(NAMES):
        expected = rows[name]["prescaled_pure_rate_hz"] / hz
        assert abs(expected - pure[k].sum()) < 4 * np.sqrt(expected + 1)
    masks = tmp_path / "finor.xml"
    cells = "".join(f"<row>{k},{int(k in (7, 9))}</row>" for k in index.values())
    masks.write_text(
        '<run-settings><context id="uGtProcessor"><param id="finorMask"><columns>algo,mask</columns>'
        f"<rows>{cells}</rows></param></context></run-settings>"
    )
    found = analysed(menu, muons, prescales=table, column="a", masks=(masks,))
    alone = bits["L1_SingleMu22"].sum() + (bits["L1_Isolated"] & ~bits["L1_SingleMu22"]).sum() / 20
    assert found["prescaled_total_rate_hz"]["value"] / hz == pytest.approx(alone, rel=1e-6)


def test_pile_up_bins_add_up(muons, menu, bits, tmp_path):
    reference = tmp_path / "pile_up.csv"
    reference.write_text("bx,reference\n" + "".join(f"{k},{20 + k % 30}\n" for k in range(1, 3565)))
    rows = analysed(menu, muons, pile_up=reference)["pile_up"]
    single = [row for row in rows if row["algorithm"] == "L1_SingleMu5"]
    assert len(single) == 8
    assert sum(row["fired"] for row in single) == bits["L1_SingleMu5"].sum()
    assert sum(row["crossings"] for row in single) == ORBITS * BX_PER_ORBIT
    assert [row["pile_up"] for row in single] == sorted(row["pile_up"] for row in single)
    first = single[0]
    inside = 20 + np.arange(1, 3565) % 30 <= first["pile_up_high"]
    at_most = bits["L1_SingleMu5"].reshape(ORBITS, -1)[:, inside].sum()
    assert first["fired"] <= at_most


class Halved:
    """Stands for a network: muons of the barrel have half their pT."""

    card = SimpleNamespace(name="halved", sha256="0", finders=("bmtf",))

    def __call__(self, columns):
        pt = 0.5 * (columns["hwPt"] - 1.0)
        barrel = (columns["tfMuonIndex"] >= 36) & (columns["tfMuonIndex"] < 72)
        eta, phi = columns["hwEtaAtVtx"] * 0.010875, columns["hwPhiAtVtx"] * (2 * np.pi / 576)
        return SimpleNamespace(pt=np.where(barrel, pt / 2, pt), eta=eta, phi=phi, recalibrated=barrel)


def test_recalibrated_muons_take_the_place_of_raw_ones(muons, menu, bits, monkeypatch):
    analysis = ANALYSES["menu"]
    monkeypatch.setattr(analysis, "_model", Halved())
    made = analysis(analysis.Options(menu=menu), Setup())
    made.add(OrbitData.of_muons(muons))
    rows = {row["algorithm"]: row for row in made.result().numbers["algorithms"]}
    final = final_muons(muons)
    changed = OrbitData.of_muons(with_recalibrated_codes(final, Halved()(final.columns)))
    wanted = emulate(load_menu(menu), inputs_of_orbits(changed, FIRST, ORBITS)).bits
    hz = ORBIT_FREQUENCY_HZ / ORBITS
    for name in NAMES:
        n, other = int(bits[name].sum()), int(wanted[name].sum())
        assert rows[name]["recalibrated_rate_hz"] == pytest.approx(other * hz)
        assert rows[name]["change_hz"] == pytest.approx((other - n) * hz)
        only = int((bits[name] ^ wanted[name]).sum())
        assert rows[name]["change_stat_hz"] == pytest.approx(np.sqrt(only) * hz)
    assert rows["L1_SingleMu22"]["change_hz"] < 0
    assert rows["L1_Empty"]["change_hz"] == 0


def test_recalibrated_codes_are_the_triggers():
    columns = {"hwPt": [45, 9, 3], "hwEtaAtVtx": [-5, 7, 1], "hwPhiAtVtx": [575, 0, 4]}
    batch = OrbitBatch.from_objects(
        [1, 1, 2], [1, 2, 3], {n: np.array(c, np.int16) for n, c in columns.items()}
    )
    answer = SimpleNamespace(
        pt=np.array([21.99, 4.0, 99.0], np.float32),
        eta=np.array([0.0163, -0.0164, 0], np.float32),
        phi=np.array([-0.0109, 3.14159, 0], np.float32),
        recalibrated=np.array([True, True, False]),
    )
    made = with_recalibrated_codes(batch, answer)
    assert made["hwPt"].tolist() == [44, 9, 3]
    assert made["hwEtaAtVtx"].tolist() == [1, -2, 1]
    assert made["hwPhiAtVtx"].tolist() == [575, 288, 4]
    assert made["hwPt"].dtype == np.int16


def test_equal_rate_and_its_gain():
    pt = np.array([5, 12, 20, 30, 40.0])
    columns = {"hwPt": (2 * pt + 1).astype(np.int16), "hwQual": np.full(5, 12, np.int16)}
    batch = OrbitBatch.from_objects(np.arange(5), np.ones(5, int), columns)
    leading = LeadingMuons()
    leading.add(batch, SimpleNamespace(pt=0.8 * pt), np.ones(5, np.bool_))
    other = LeadingMuons.of_sample({**batch.columns, "simKind": np.full(5, 0)}, SimpleNamespace(pt=0.8 * pt))
    assert other.equal_thresholds() == leading.equal_thresholds()
    none = LeadingMuons.of_sample({**batch.columns, "simKind": np.full(5, HARD)}, SimpleNamespace(pt=pt))
    assert none.raw.sum() == none.recalibrated.sum() == 0
    five, ten, twenty = leading.equal_thresholds((5, 10, 20))
    assert (ten["crossings"], ten["recalibrated_crossings"]) == (4, 4)
    assert ten["recalibrated_threshold_gev"] == pytest.approx(4.01)  # 4.0 itself has five crossings
    assert twenty["crossings"] == 3
    assert twenty["recalibrated_crossings_at_same_threshold"] == 2
    offline = np.array([25.0, 25, 25, 25, 10])
    (curve,) = turn_on_at_equal_rate(
        [twenty], offline, np.array([19, 21, 21, 19, 5.0]), np.array([16, 16, 5, 16, 5.0])
    )
    assert curve["muons_above_threshold"] == 4
    assert curve["efficiency_above_threshold"] == {"raw": 0.5, "recalibrated": 0.75}
    assert curve["gain_above_threshold"] == 0.25
    assert curve["gain_above_threshold_stat"] == pytest.approx(np.sqrt(3) / 4)
    assert five["crossings"] == 5


def test_options_that_need_others_are_refused(menu, tmp_path):
    options = ANALYSES["menu"].Options
    with pytest.raises(InputError, match="give --model, too"):
        options(menu=menu, pairs=tmp_path)
    with pytest.raises(InputError, match="need --prescales"):
        options(menu=menu, column="a")
