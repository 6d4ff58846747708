"""Real muons of 2018 and 2024 through the menu: what the docs have by hand, and what the trigger recorded."""

import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import uproot
from typer.testing import CliRunner

from l1scout.cli import make_app
from l1scout.core.orbit_batch import OrbitBatch
from l1scout.core.orbit_data import OrbitData
from l1scout.errors import InputError
from l1scout.io import read_events
from l1scout.trigger.cross_check import CrossChecker
from l1scout.trigger.crossing_blocks import crossing_blocks
from l1scout.trigger.emulator import emulate
from l1scout.trigger.event_inputs import inputs_of_events
from l1scout.trigger.load_menu import load_menu
from l1scout.trigger.recorded_events import recorded_events
from l1scout.trigger.short_form import parse_algorithm
from l1scout.trigger.skim import Skim
from l1scout.trigger.skim_expression import skim_menu

PAGE = (Path(__file__).parents[2] / "docs/trigger-events.md").read_text("utf-8")
FILES = {
    380963: ("l1nano_run380963_2024_100ev.root", "L1Menu_Collisions2024_v1_3_0-d1.derived.json.gz"),
    320040: ("l1ntuple_run320040_2018_200ev.root", "L1Menu_Collisions2018_v2_1_0-d1.derived.json.gz"),
}
COLUMNS = ("bxInEvent", "hwPt", "hwEtaAtVtx", "hwPhiAtVtx", "hwQual", "hwCharge")
SECTION = re.compile(r"## \d+\. Run (\d+), orbit (\d+), BX (\d+)\n(.*?)(?=\n## )", re.DOTALL)
SECTIONS = [(int(run), int(orbit), int(bx), text) for run, orbit, bx, text in SECTION.findall(PAGE)]


class RealEvents:
    """The events of a file, and what the menu decides on them."""

    def __init__(self, folder, run):
        name, menu = FILES[run]
        self.path = folder / "real-cms" / name
        (data,) = read_events(self.path)
        self.muons, self.menu = data.muons, load_menu(folder / "l1-menus" / menu)
        inputs, row = inputs_of_events(data)
        self.problems = emulate(self.menu, inputs).problems
        self.bits = {name: bits[row] for name, bits in emulate(self.menu, inputs).bits.items()}


@pytest.fixture(scope="module")
def events(shared_data):
    return {run: RealEvents(shared_data, run) for run in FILES}


def recorded_2018(events):
    """The decisions of the Global Trigger before prescales: shape (events, 512)."""
    tree = uproot.open(events.path)["l1uGTTree/L1uGTTree"]
    return np.array(tree["m_algoDecisionInitial"].array().tolist()).astype(bool)


def test_the_page_has_ten_events():
    assert len(SECTIONS) == 10
    assert len({run for run, *_ in SECTIONS}) == 2


@pytest.mark.parametrize("number", range(10))
def test_events_by_hand(events, number):
    run, orbit, bx, text = SECTIONS[number]
    of_run = events[run]
    muons = of_run.muons
    (row,) = np.flatnonzero((muons.orbit == orbit) & (muons.bx == bx))
    table = [
        tuple(map(int, line.strip("| ").split("|"))) for line in re.findall(r"^\| +-?\d.*\|$", text, re.M)
    ]
    here = range(muons.offsets[row], muons.offsets[row + 1])
    assert table == [tuple(int(muons[c][k]) for c in COLUMNS) for k in here]
    results = re.findall(r"^- `(\w+)` is \*\*([01])\*\*", text, re.M)
    assert results
    for name, bit in results:
        assert of_run.bits[name][row] == (bit == "1"), name
        if run == 320040:
            assert recorded_2018(of_run)[row, of_run.menu.select(name).index] == (bit == "1")


def test_the_arithmetic_of_the_page():
    sums = re.findall(r"(?<![\w(])(\d+ [x+] [\d x+()-]*[\d)]) = (\d+)", PAGE)
    tables = re.findall(r"(dEta|dPhi|cosh|cos)\((\d+)\) = (-?\d+)", PAGE)
    for text, value in sums:
        assert re.fullmatch(r"[\d +*()-]+", text.replace("x", "*"))
        assert eval(text.replace("x", "*")) == int(value), text
    eta, phi = 0.010875, 2 * math.pi / 576
    functions = {
        "dEta": lambda n: 1000 * n * eta,
        "dPhi": lambda n: 1000 * n * phi,
        "cosh": lambda n: 10_000 * math.cosh(n * eta),
        "cos": lambda n: 10_000 * math.cos(n * phi),
    }
    for name, n, value in tables:
        assert math.floor(functions[name](int(n)) + 0.5) == int(value), (name, n)
    assert len(sums) >= 15
    assert len(tables) >= 14


def test_every_recorded_bit_of_2018_is_emulated_and_no_other(events):
    """The hardware's decisions before prescales, of all algorithms on muons alone."""
    of_run = events[320040]
    recorded = recorded_2018(of_run)
    assert len(of_run.bits) == 79
    for algorithm in of_run.menu.algorithms:
        if algorithm.name in of_run.bits:
            np.testing.assert_array_equal(
                of_run.bits[algorithm.name], recorded[:, algorithm.index], err_msg=algorithm.name
            )
    assert sum(int(b.sum()) for b in of_run.bits.values()) == 84


def test_the_cross_check_of_real_decisions(events, shared_data, tmp_path):
    """The hardware and the menu agree; a menu with another threshold does not, and that is explained."""
    of_run = events[320040]
    found = CrossChecker(of_run.menu).run_events(recorded_events(of_run.path))
    assert found.agrees
    assert (found.events, len(found.algorithms)) == (200, 79)
    assert sum(a.recorded for a in found.algorithms) == 84
    wrong = parse_algorithm("MU4[QLTY>=12]", "L1_SingleMu3", index=of_run.menu.select("L1_SingleMu3").index)
    others = [a for a in of_run.menu.algorithms if a.name != "L1_SingleMu3"]
    menu = replace(of_run.menu, algorithms=(*others, wrong))
    (one,) = CrossChecker(menu).run_events(recorded_events(of_run.path, rows=30)).differing
    muons = of_run.muons
    good = (muons["bxInEvent"] == 0) & (muons["hwQual"] >= 12)
    soft, hard = (set(muons.row[good & (muons["hwPt"] >= limit)].tolist()) for limit in (7, 9))
    assert (one.name, one.only_recorded, one.only_emulated) == ("L1_SingleMu3", len(soft - hard), 0)
    assert 2569 in one.by_bx  # the ninth event of the page: hwPt 7
    arguments = [
        "menu",
        "cross-check",
        str(of_run.path),
        "--menu",
        str(shared_data / "l1-menus" / FILES[320040][1]),
    ]
    result = CliRunner().invoke(make_app(), arguments)
    assert result.exit_code == 0, result.output
    assert "79 of 343 algorithms compared in 200 events" in " ".join(result.output.split())


def test_every_recorded_bit_of_2024_is_emulated(events):
    """Decisions after prescales and masks: what is recorded must be emulated; unprescaled bits are equal."""
    of_run = events[380963]
    tree = uproot.open(of_run.path)["Events"]
    recorded = {n: np.array(tree[n].array()).astype(bool) for n in of_run.bits if n in tree}
    assert len(recorded) == 114
    assert sum(int(r.sum()) for r in recorded.values()) == 494
    assert not any((r & ~of_run.bits[n]).any() for n, r in recorded.items())
    equal = [n for n, r in recorded.items() if r.any() and np.array_equal(r, of_run.bits[n])]
    assert (len(equal), sum(int(recorded[n].sum()) for n in equal)) == (35, 486)


def test_a_skim_of_triggered_events(events, shared_data, tmp_path):
    """Events with their five crossings are kept as a whole; only their own crossing decides."""
    of_run = events[380963]
    skim = Skim(skim_menu("L1_DoubleMu_15_7_SQ", of_run.menu))
    (kept,) = skim.apply(read_events(of_run.path))
    wanted = of_run.muons.take(np.flatnonzero(of_run.bits["L1_DoubleMu_15_7_SQ"]))
    assert kept.muons.orbit.tolist() == wanted.orbit.tolist()
    assert kept.muons["bxInEvent"].tolist() == wanted["bxInEvent"].tolist()
    assert len(kept.offline) == skim.counts.selected == 16
    with pytest.raises(InputError, match="without a window"):
        list(Skim(skim_menu("MU5"), 1).apply(read_events(of_run.path)))
    with pytest.raises(InputError, match="triggered events"):
        list(crossing_blocks(read_events(of_run.path)))


def test_what_is_not_an_event_of_the_trigger_is_refused():
    columns = {"hwPt": np.full(9, 5, np.int16), "bxInEvent": np.zeros(9, np.int16)}
    batch = OrbitBatch(np.array([-1]), np.array([1]), np.array([0, 9]), columns)
    with pytest.raises(InputError, match="more than the 8 objects"):
        inputs_of_events(OrbitData.of_muons(batch))
    far = batch.with_columns(bxInEvent=np.full(9, 3, np.int16))
    with pytest.raises(InputError, match="3 BX from its event"):
        inputs_of_events(OrbitData.of_muons(far))
