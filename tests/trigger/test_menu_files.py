"""Menus from XML and from JSON of facts: limits, features that are not known, and hostile files."""

import gzip
import json

import pytest

from l1scout.errors import InputError
from l1scout.trigger import xml_tree
from l1scout.trigger.load_menu import load_menu
from l1scout.trigger.menu import Leg, LegCut, PairCut
from menu_documents import algorithm, cut, element, facts, menu_xml


def load(tmp_path, text, name="menu.xml"):
    path = tmp_path / name
    path.write_text(text)
    return load_menu(path)


def only_condition(menu):
    (found,) = menu.algorithms[0].conditions.values()
    assert menu.problems == {}
    return found


ETA = cut("MU-ETA_2p10", "ETA", -2.1043125, 2.1043125)
LIMITS = [
    # expression, cuts, leg: as the menus of 2016, 2018 and 2024 have them in hardware
    ("MU4p5[MU-ETA_2p10]", ETA, ("MU", 10), LegCut("ETA", "MU-ETA_2p10", -193, 193)),
    ("MU0[A]", cut("A", "ETA", -2.45, 2.45), ("MU", 1), LegCut("ETA", "A", -225, 225)),
    ("EG28[A]", cut("A", "ETA", -2.1315, 2.1315), ("EG", 56), LegCut("ETA", "A", -49, 48)),
    ("JET30[A]", cut("A", "ETA", -5.0, -2.523), ("JET", 60), LegCut("ETA", "A", -115, -59)),
    (
        "MU3[A]",
        cut("A", "PHI", 0.5235987755982989, 2.6179938779914944),
        ("MU", 7),
        LegCut("PHI", "A", 48, 239),
    ),
    (
        "MU3[A]",
        cut("A", "PHI", 5.759586531581287, 0.5235987755982989),
        ("MU", 7),
        LegCut("PHI", "A", 528, 47),
    ),
    ("MU3[A]", cut("A", "QLTY", data="12,13,14,15"), ("MU", 7), LegCut("QLTY", "A", mask=0xF000)),
    ("TAU26[A]", cut("A", "ISO", data="1,2,3"), ("TAU", 52), LegCut("ISO", "A", mask=0xE)),
    ("JET35[A]", cut("A", "DISP", data="1"), ("JET", 70), LegCut("DISP", "A", mask=2)),
    ("MU3[A]", cut("A", "CHG", data="negative"), ("MU", 7), LegCut("CHG", "A", mask=2)),
    ("MU0[A]", cut("A", "INDEX", 36, 71), ("MU", 1), LegCut("INDEX", "A", 36, 71)),
    ("MU0[A]", cut("A", "UPT", 10, 255), ("MU", 1), LegCut("UPT", "A", 11, 255)),
    ("MU0[A]", cut("A", "IP", data="1,2,3"), ("MU", 1), LegCut("IP", "A", mask=14)),
    ("CICADA[A]", cut("A", "CSCORE", 127.0, 0), ("CICADA", 0x7F00), LegCut("SCORE", "A", low=0x7F00)),
]


@pytest.mark.parametrize(("expression", "cuts", "leg", "limit"), LIMITS)
def test_limits_of_one_object(tmp_path, expression, cuts, leg, limit):
    (found,) = only_condition(load(tmp_path, menu_xml(algorithm(0, expression, cuts)))).legs
    assert (found.kind, found.threshold) == leg
    assert found.cuts == (limit,)


@pytest.mark.parametrize(
    ("function", "type_", "low", "high", "hardware"),
    [
        ("dist", "DR", 0.0, 1.4001, (0, 1961)),
        ("dist", "DR", 0.3, 11.8, (90, 139_240)),
        ("dist", "DR", 0.0, 0.5, (0, 250)),
        ("dist", "DETA", 0.2, 10.0, (200, 10_000)),
        ("dist", "DPHI", 2.618, 3.142, (2618, 3142)),
        ("mass_inv", "MASS", 0.0, 9.0, (0, 405)),
        ("mass", "MASS", 225.0, 151982.0, (253_125, 115_492_641_620)),
    ],
)
def test_limits_of_pairs(tmp_path, function, type_, low, high, hardware):
    text = algorithm(0, f"{function}{{MU3, MU3}}[CUT]", cut("CUT", type_, low, high))
    found = only_condition(load(tmp_path, menu_xml(text)))
    assert found.cuts == (PairCut(type_, "CUT", *hardware),)
    assert found.type == {"dist": "dist"}.get(function, "mass-inv")


def test_signals_offsets_and_comparisons(tmp_path):
    menu = load(tmp_path, menu_xml(algorithm(3, "EXT_BPTX.v0-2 AND NOT TAU.eq.260p5+1 AND MUS1 AND CENT5")))
    conditions = menu.algorithms[0].conditions
    assert conditions["EXT_BPTX.v0-2"].legs == (Leg("EXT", "EXT_BPTX.v0-2", 67, offset=-2),)
    assert conditions["TAU.eq.260p5+1"].legs == (Leg("TAU", "TAU.eq.260p5+1", 521, True, 1),)
    assert conditions["MUS1"].legs == (Leg("MUS", "MUS1", 2),)
    assert conditions["CENT5"].legs == (Leg("CENT", "CENT5", 5),)
    assert menu.algorithms[0].offsets == (-2, 1)


@pytest.mark.parametrize(("grammar", "veto"), [("0.2", True), ("0.6", True), ("0.7", False), ("0.12", False)])
def test_the_meaning_of_overlap_removal_follows_the_grammar(tmp_path, grammar, veto):
    text = algorithm(0, "comb_orm{TAU26, TAU26, JET55}[A]", cut("A", "ORMDR", 0, 0.5))
    assert only_condition(load(tmp_path, menu_xml(text, grammar=grammar))).veto == veto


@pytest.mark.parametrize(
    ("expression", "cuts", "why"),
    [
        ("AXO[AXO-MODEL_v4]", "", "neural network"),
        ("ZDCP10", "", "test vectors have no field"),
        ("FUTURE5", "", "FUTURE5 is not known"),
        ("future{MU0, MU0}", "", "future is not known"),
        ("MU0+3", "", "BX offset 3"),
        ("MU0[MISSING]", "", "no limits of the cut MISSING"),
        ("MU0[A]", cut("A", "NEW"), "type NEW is not emulated"),
        ("MU0[A]", cut("A", "QLTY", data="16"), "value '16' is not one of 0..15"),
        ("MU0[A]", cut("A", "ETA", -1.0, 1.0), "not the edge of a bin"),
        ("MU0[A]", cut("A", "ETA", "nan", 1.0), "'nan' is not a number"),
        ("MU0[A]", cut("A", "INDEX", 1e300, 1e301), "not a whole number"),
        ("EG5[A]", cut("A", "QLTY", data="1"), "cut QLTY on EG is not emulated"),
        ("MU3p7", "", "not the edge of a bin"),
        ("comb{MU0, MU0}[A]", cut("A", "TBPT", 1, 2), "type TBPT is not emulated"),
        ("mass_inv{MU0, MU0}[A]", cut("A", "MASS", 2, 1), "not 0 or more and rising"),
        ("mass_inv{MU0, MU0}[A]", cut("A", "MASS", 0, 1e200), "not 0 or more and rising"),
        ("EXT_OTHER", "", "OTHER is not in the cabling"),
        ("MU0 AND MU3 OR MU5", "", "add brackets"),
        ("mass_inv_dr{MU0, MU0}[A]", cut("A", "MASSDR", 0, 1), "1/dR"),
    ],
)
def test_what_is_not_known_is_reported_with_the_algorithm(tmp_path, expression, cuts, why):
    menu = load(tmp_path, menu_xml(algorithm(0, "MU0", name="L1_Good"), algorithm(1, expression, cuts)))
    assert list(menu.problems) == ["L1_1"]
    assert why in menu.problems["L1_1"]


def test_a_threshold_that_contradicts_the_name_is_reported(tmp_path):
    wrong = element("object_requirement", name="MU3", type="MU", comparison_operator=".ge.", threshold=4.0)
    menu = load(tmp_path, menu_xml(algorithm(0, "MU3", wrong)))
    assert "threshold 7 by its name, but 9 by its limits" in menu.problems["L1_0"]


def test_another_scale_or_precision_is_reported(tmp_path):
    scale = element("scale", object="JET", type="ET", step=0.25, n_bits=12)
    digits = element("scale", object="PRECISION", type="MU-MU-Math", step=0, n_bits=5)
    text = menu_xml(
        algorithm(0, "JET20"),
        algorithm(1, "mass_inv{MU0, MU0}[A]", cut("A", "MASS", 0, 9)),
        algorithm(2, "EG20"),
        more=f"<scale_set>{scale}{digits}</scale_set>",
    )
    problems = load(tmp_path, text).problems
    assert "JET has ET in steps of 0.25, not 0.5" in problems["L1_0"]
    assert "precision MU-MU-Math is not 4 decimals" in problems["L1_1"]
    assert "L1_2" not in problems


BOMB = '<!DOCTYPE m [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]>'
HOSTILE = {
    "entities": (menu_xml(algorithm(0, "MU0")).replace("<tmxsd", BOMB + "<tmxsd", 1), "document type"),
    "external entity": ('<!DOCTYPE m SYSTEM "file:///etc/passwd"><m/>', "document type"),
    "cut short": (menu_xml(algorithm(0, "MU0"))[:-60], "cut short"),
    "not a menu": ("<html></html>", "begins with 'html'"),
    "deep": ("<a>" * 50, "too deep"),
    "deep in bins": ("<menu><bin>" + "<a>" * 50, "too deep"),
    "long text": (f"<menu><name>{'x' * (1 << 17)}</name></menu>", "characters"),
    "no algorithms": (menu_xml(), "has no algorithms"),
    "index": (menu_xml(algorithm(512, "MU0")), "index 512, outside 0..511"),
    "large index": (menu_xml(algorithm(10**30, "MU0")), "index '1000000"),
    "index twice": (
        menu_xml(algorithm(1, "MU0"), algorithm(1, "MU3", name="B")),
        "two algorithms have the index",
    ),
    "name twice": (menu_xml(algorithm(1, "MU0"), algorithm(2, "MU3", name="L1_1")), "have the name"),
    "no expression": (menu_xml(algorithm(1, "")), "no name or no expression"),
    "grammar": (menu_xml(algorithm(1, "MU0"), grammar="latest"), "grammar version"),
    "binary": ("\x00\x01", "neither XML nor JSON"),
    "empty": ("", "neither XML nor JSON"),
    "JSON cut short": (facts("MU0", [("MU0", ())])[:-5], "not valid JSON"),
    "other JSON": ('{"a": 1}', "not a document of a menu's facts"),
    "deep JSON": ('{"a":' + "[" * 100_000, "not valid JSON"),
    "no year": (facts("MU0", [("MU0", ())], name="L1Menu"), "has no year"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_one_clear_error(tmp_path, name):
    text, why = HOSTILE[name]
    with pytest.raises(InputError, match=why) as caught:
        load(tmp_path, text)
    assert str(tmp_path) in str(caught.value)


def test_a_compressed_file_may_not_grow_without_limit(tmp_path):
    path = tmp_path / "menu.xml.gz"
    path.write_bytes(gzip.compress(b"<menu>" + b" " * 1_000_000))
    with pytest.raises(InputError, match="MiB"):
        xml_tree.read_bytes(path, 1000)
    path.write_bytes(gzip.compress(menu_xml(algorithm(0, "MU0")).encode())[:-20])
    with pytest.raises(InputError, match="damaged or cut short"):
        load_menu(path)


def test_facts_have_hardware_limits(tmp_path):
    objects = [
        ("MU3-1", ["Threshold: 3.0 GeV : `0x7`", "Eta: E [-1.202, 1.202] : `[0x192, 0x6e]`"]),
        ("MU0", ["Threshold: 0.0 GeV : `0x1`", "Index: I 72 : `0x48`", "Quality: Q : `0xf000`"]),
    ]
    cuts = ["Delta-R: [0.0, 1.6] : `[0.0, 2.561]` `precision: 3`", 'Charge Correaltion: `"os"`']
    text = facts("dist{MU3-1[E], MU0[I, Q]}[DR, CHGCOR_OS]", objects, cuts)
    found = only_condition(load(tmp_path, text, "menu_2024.json"))
    first, second = found.legs
    assert (first.offset, first.cuts) == (-1, (LegCut("ETA", "E", -110, 110),))
    assert second.cuts == (LegCut("INDEX", "I", 72, 89), LegCut("QLTY", "Q", mask=0xF000))
    assert found.cuts == (PairCut("DR", "Delta-R", 0, 2561), PairCut("CHGCOR", "CHGCOR_OS", 1, 1))
    assert not found.veto


@pytest.mark.parametrize(
    ("req", "why"),
    [
        (["Threshold: 3.0 GeV : `0x8`"], "threshold 7 by its name, but 8"),
        (["Threshold: 3.0 GeV : `0x7`", "Glow: G 1 : `0x1`"], "0 limits|1 limits"),
    ],
)
def test_facts_that_contradict_are_reported(tmp_path, req, why):
    menu = load(tmp_path, facts("MU3", [("MU3", req)]), "menu_2024.json")
    assert any(text in menu.problems["L1_7"] for text in why.split("|"))


def test_the_cabling_beside_a_menu_of_facts_is_found(tmp_path):
    text = facts("EXT_BPTX.v0", [("EXT_BPTX.v0", ())])
    assert "give the menu's cabling" in load(tmp_path, text, "L1Menu_2024.json").problems["L1_7"]
    (tmp_path / "L1Menu_cabling_2018_01_01.xml").write_text(menu_xml())
    assert load(tmp_path, text, "L1Menu_2024.json").problems
    cabling = tmp_path / "L1Menu_cabling_2024_01_01.xml"
    cabling.write_text(menu_xml())
    menu = load(tmp_path, text, "L1Menu_2024.json")
    assert only_condition(menu).legs[0].threshold == 67
    assert menu.signals_from == str(cabling)


def test_facts_and_xml_give_the_same_conditions(tmp_path):
    req = ["Threshold: 26.0 GeV : `0x34`", "Isolation: A : : `0x000e`"]
    cuts = ["Mass: [0.0, 9.0] : `[0.0, 40.5]` `precision: 1`"]
    text = "mass_inv{TAU26[A], TAU26[A]}[M]"
    one = only_condition(load(tmp_path, facts(text, [("TAU26", req)] * 2, cuts), "menu_2024.json"))
    xml = menu_xml(algorithm(7, text, cut("A", "ISO", data="1,2,3") + cut("M", "MASS", 0, 9)))
    other = only_condition(load(tmp_path, xml))
    assert one.legs == other.legs
    assert [(c.type, c.low, c.high) for c in one.cuts] == [(c.type, c.low, c.high) for c in other.cuts]
    assert json.loads(facts("MU0", []))["algorithms"][0]["index"] == 7
