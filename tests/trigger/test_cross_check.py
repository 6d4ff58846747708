"""Recorded bits beside emulated ones: a fault of the firmware is found and named, a clean run has none."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from gt_files import decide, random_objects, write_raw
from l1scout.cli import make_app
from l1scout.core.orbit_data import OrbitData
from l1scout.errors import InputError
from l1scout.io.batches import read_batches
from l1scout.trigger.cross_check import CrossChecker
from l1scout.trigger.cross_check_faults import single_bit_faults
from l1scout.trigger.crossing_blocks import crossing_blocks
from l1scout.trigger.emulator import emulate
from l1scout.trigger.load_menu import load_menu
from l1scout.trigger.orbit_inputs import inputs_of_orbits
from l1scout.trigger.short_form import parse_algorithm
from menu_documents import algorithm, cut, menu_xml

QUALITY = cut("Q", "QLTY", data="8,9,10,11,12,13,14,15")
BARREL = cut("ER", "ETA", -0.821 - 0.0003, 0.821 + 0.0003)
FAR = cut("FAR", "DPHI", 1.0, 3.142)
HEAVY = cut("HEAVY", "MASS", 7.0, 18.0)
FIRST, ORBITS = 100, 6
ALGORITHMS = {
    "MU22": QUALITY,
    "MU3[Q]": QUALITY,
    "comb{MU7, MU3}": "",
    "dist{MU3-1, MU3}[FAR]": FAR,
    "mass_inv{MU3, MU3}[HEAVY]": HEAVY,
    "JET60": "",
    "MU5 AND JET35+1": "",
    "EXT_BPTX.v0": "",
}


def make_menu(path, changes=None):
    algorithms = {**ALGORITHMS, **(changes or {})}
    texts = [
        algorithm(
            37 * k, text if isinstance(cuts, str) else cuts[0], cuts if isinstance(cuts, str) else cuts[1]
        )
        for k, (text, cuts) in enumerate(algorithms.items())
    ]
    path.write_text(menu_xml(*texts))
    return load_menu(path)


@pytest.fixture(scope="module")
def menu(tmp_path_factory):
    return make_menu(tmp_path_factory.mktemp("menu") / "menu.xml")


@pytest.fixture(scope="module")
def objects():
    return random_objects(first=FIRST, orbits=ORBITS)


def with_decisions(menu, objects, **options):
    return OrbitData({**objects.streams, "gt": decide(menu, objects, FIRST, ORBITS, **options)})


def by_orbit(data, orbits=range(FIRST, FIRST + ORBITS)):
    """Batches of one orbit each, as a reader of small chunks gives them."""
    for orbit in orbits:
        yield OrbitData(
            {n: b.take(np.flatnonzero(b.orbit == orbit), n_orbits=1) for n, b in data.streams.items()}
        )


@pytest.mark.parametrize("boards", [1, 3])
def test_a_clean_run_has_no_mismatch(menu, objects, boards):
    found = CrossChecker(menu).run([with_decisions(menu, objects, boards=boards)])
    assert found.agrees
    assert [a.name for a in found.algorithms] == [f"L1_{37 * k}" for k in range(7)]
    assert all(a.recorded == a.emulated > 10 for a in found.algorithms)
    # of the crossings before the first orbit and after the last nothing is known
    missing = {a.name: ORBITS * 3564 - a.compared for a in found.algorithms}
    assert {name for name, n in missing.items() if n} <= {"L1_111", "L1_222"}
    assert max(missing.values()) <= 1
    assert list(found.not_emulated) == ["L1_259"]
    assert "no external signals" in found.not_emulated["L1_259"]
    assert found.orbits == ORBITS


def test_batches_of_single_orbits_give_the_same(menu, objects):
    """An algorithm that looks at the next crossing sees it in the next orbit, and the next batch."""
    data = with_decisions(menu, objects)
    whole, parts = CrossChecker(menu).run([data]), CrossChecker(menu).run(by_orbit(data))
    assert parts.algorithms == whole.algorithms
    assert parts.agrees


def test_blocks_hold_what_all_crossings_do(menu, objects):
    """The crossings near objects, with their neighbours, against all crossings laid out."""
    wanted = emulate(menu, inputs_of_orbits(objects, FIRST, ORBITS)).bits
    for chunks, rows in (([objects], 30_000), (by_orbit(objects), 30_000), ([objects], 100)):
        got = {name: np.zeros(ORBITS * 3564, np.bool_) for name in wanted}
        for block in crossing_blocks(chunks, rows=rows):
            place = block.time[block.decided] - FIRST * 3564
            for name, bits in emulate(menu, block.inputs).bits.items():
                got[name][place] = bits[block.decided]
        for name in wanted:
            np.testing.assert_array_equal(got[name], wanted[name])


def test_one_bit_of_one_threshold_is_found_and_named(menu, objects, tmp_path):
    """The firmware has 47 (23 GeV) where the menu has 45: bit 1 differs."""
    faulty = make_menu(tmp_path / "faulty.xml", {"MU22": ("MU23", "")})
    found = CrossChecker(menu).run(by_orbit(with_decisions(faulty, objects)))
    (one,) = found.differing
    muons = objects.streams["muon"]
    best = np.maximum.reduceat(muons["hwPt"], muons.offsets[:-1])
    expected = np.flatnonzero((best >= 45) & (best < 47))
    assert (one.name, one.only_emulated, one.only_recorded) == ("L1_0", len(expected), 0)
    assert one.explanations == ("MU22: bit 1 of the threshold of MU22: 47, not 45 (23, not 22 GeV)",)
    assert [(m.orbit, m.bx) for m in one.examples] == [
        (muons.orbit[row], muons.bx[row]) for row in expected[:5]
    ]
    assert max(o["hwPt"] for o in one.examples[0].objects) in (45, 46)
    assert sum(one.by_bx.values()) == len(expected)
    assert not found.agrees


@pytest.mark.parametrize(
    ("text", "faulty", "explanation"),
    [
        ("MU3[Q]", ("MU3[Q]", cut("Q", "QLTY", data="8,9,10,11,12,13,14")), "value 15 of Q fails"),
        (
            "dist{MU3-1, MU3}[FAR]",
            ("dist{MU3-1, MU3}[FAR]", cut("FAR", "DPHI", 0.488, 3.142)),
            "bit 9 of the lower limit of FAR: 488, not 1000",
        ),
        ("JET60", ("JET60 AND NOT JET60", ""), "never set"),
    ],
)
def test_faults_of_cuts_are_named(menu, objects, tmp_path, text, faulty, explanation):
    other = make_menu(tmp_path / "faulty.xml", {text: faulty})
    (one,) = CrossChecker(menu).run([with_decisions(other, objects)]).differing
    assert any(explanation in e for e in one.explanations), one.explanations


def test_faults_of_equal_cuts_of_two_legs_are_told_apart():
    found = list(single_bit_faults(parse_algorithm("comb{MU7[ETA<=1.0], MU3[ETA<=1.0]}", "A")))
    assert len({what for what, _ in found}) == len(found) == 2 * (9 + 2 * 9)
    assert len({str(changed.conditions) for _, changed in found}) == len(found)


def test_bits_that_come_late(menu, objects):
    late = with_decisions(menu, objects, late=1)
    found = CrossChecker(menu).run([late])
    assert "the recorded bit comes 1 BX late" in found.differing[0].explanations
    again = CrossChecker(menu, delay=1).run(by_orbit(late))
    assert again.agrees
    assert again.algorithms[0].recorded > 10


def test_what_is_not_known_is_not_compared(menu, objects):
    """Without an orbit, an algorithm that looks at its last or first crossing cannot be judged."""
    data = with_decisions(menu, objects)
    whole = {a.name: a.compared for a in CrossChecker(menu).run([data]).algorithms}
    gap = [o for o in range(FIRST, FIRST + ORBITS) if o != FIRST + 2]
    found = CrossChecker(menu).run(by_orbit(data, gap))
    assert found.agrees
    lost = {a.name: whole[a.name] - a.compared for a in found.algorithms}
    assert lost["L1_0"] == 3564
    assert all(3564 <= lost[name] <= 3565 for name in ("L1_111", "L1_222"))


def test_orbits_without_decisions_are_left_out(menu, objects):
    """A source that is missing in an orbit is no trigger that did not fire."""
    data = with_decisions(menu, objects)
    gt = data.streams["gt"].with_orbits(np.arange(FIRST, FIRST + ORBITS))
    fewer = gt.of_orbits(np.array([o for o in range(FIRST, FIRST + ORBITS) if o != FIRST + 2]))
    found = CrossChecker(menu).run([OrbitData({**data.streams, "gt": fewer})])
    assert found.agrees
    assert (found.orbits, found.orbits_left_out) == (ORBITS - 1, 1)


def test_a_bit_without_an_algorithm_is_no_agreement(menu, objects):
    data = with_decisions(menu, objects)
    gt = data.streams["gt"]
    stuck = gt.with_columns(algo480=gt["algo480"] | np.uint32(1 << 31))
    found = CrossChecker(menu).run([OrbitData({**data.streams, "gt": stuck})])
    assert found.unknown_bits == {511: len(gt)}
    assert not found.agrees


def test_algorithms_that_the_recording_ignores(menu, objects, tmp_path):
    """A bit that is set in every crossing does not keep one: it is compared where there is a record."""
    with_always = make_menu(tmp_path / "m.xml", {"MU0 OR NOT MU0": ""})
    data = with_decisions(menu, objects)
    gt = data.streams["gt"]
    index = with_always.algorithms[-1].index
    column = f"algo{32 * (index // 32):03}"
    data = OrbitData(
        {**data.streams, "gt": gt.with_columns(**{column: gt[column] | np.uint32(1 << index % 32)})}
    )
    assert [a.name for a in CrossChecker(with_always).run([data]).differing] == [f"L1_{index}"]
    found = CrossChecker(with_always, ignored=[f"L1_{index}"]).run([data])
    assert found.agrees
    assert found.algorithms[-1].compared == len(gt)


def test_nothing_is_no_agreement(menu, objects):
    with pytest.raises(InputError, match="needs the stream gt"):
        CrossChecker(menu).run([objects])
    gt = decide(menu, objects, FIRST, ORBITS)
    with pytest.raises(InputError, match="needs the stream gt and objects"):
        CrossChecker(menu).run([OrbitData({"gt": gt})])
    with pytest.raises(InputError, match="nothing was compared"):
        CrossChecker(menu).run([])
    with pytest.raises(InputError, match="delay"):
        CrossChecker(menu, delay=4000)


def run(*arguments):
    return CliRunner().invoke(make_app(), ["menu", "cross-check", *map(str, arguments)])


def test_command(objects, tmp_path):
    menu = make_menu(tmp_path / "menu.xml")
    faulty = make_menu(tmp_path / "faulty.xml", {"MU22": ("MU23", "")})
    orbits = range(FIRST, FIRST + ORBITS)
    good = write_raw(tmp_path / "good.raw", with_decisions(menu, objects), orbits)
    bad = write_raw(tmp_path / "bad.raw", with_decisions(faulty, objects), orbits)
    result = run(good, "--menu", menu.source)
    assert result.exit_code == 0, result.output
    assert "7 of 8 algorithms compared in 6 orbits" in result.output
    assert (
        "L1_259: the data have no external signals" in result.output.replace("\n", " ")
        or "not emulated: L1_259" in result.output
    )
    result = run(bad, "--menu", menu.source)
    assert result.exit_code == 1
    assert "bit 1 of the threshold of MU22: 47, not 45" in result.output
    result = run(bad, "--menu", menu.source, "--json")
    assert result.exit_code == 1
    document = json.loads(result.stdout)
    (wrong,) = (a for a in document["algorithms"] if a["only_recorded"] + a["only_emulated"])
    assert wrong["name"] == "L1_0"
    assert document["agrees"] is False
    assert document["provenance"]["data"] == "unknown"  # the file states nothing
    assert wrong["examples"][0]["objects"][0]["object"] == "MU"


def test_files_give_what_their_objects_give(menu, objects, tmp_path):
    data = with_decisions(menu, objects)
    path = write_raw(tmp_path / "a.raw", data, range(FIRST, FIRST + ORBITS))
    from_file = CrossChecker(menu).run(read_batches([path]))
    assert from_file.algorithms == CrossChecker(menu).run([data]).algorithms
