"""The short form: limits in the expression, exact in hardware; TOML files of such algorithms."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from l1scout.cli import make_app
from l1scout.errors import InputError
from l1scout.trigger.emulator import emulate
from l1scout.trigger.load_menu import load_menu
from l1scout.trigger.menu import LegCut, PairCut
from l1scout.trigger.short_form import menu_of, parse_algorithm
from menu_documents import algorithm, cut, menu_xml
from random_triggers import random_inputs


def leg_cuts(text):
    (condition,) = parse_algorithm(text, "A").conditions.values()
    return [(c.type, c.low, c.high, c.mask) for c in condition.legs[0].cuts]


def pair_cuts(text):
    (condition,) = parse_algorithm(text, "A").conditions.values()
    return [(c.type, c.low, c.high) for c in condition.cuts]


def test_cuts_of_objects_become_hardware_values():
    text = "MU5[QLTY >= 12, |ETA|<=1.506, PHI=6..0.5, CHG=-, ISO=1..2, IP<=1, INDEX=36..71, UPT>=10, SLICE=0]"
    assert leg_cuts(text) == [
        ("QLTY", 0, 0, 0xF000),
        ("ETA", -138, 138, 0),  # centres within; 138 x 0.010875 = 1.5008
        ("PHI", 550, 45, 0),  # wraps through 0
        ("CHG", 0, 0, 2),
        ("ISO", 0, 0, 0b0110),
        ("IP", 0, 0, 0b0011),
        ("INDEX", 36, 71, 0),
        ("UPT", 11, 255, 0),
        ("SLICE", 0, 0, 0),
    ]
    assert leg_cuts("JET30[ETA=-3..-2.5, DISP=1]") == [("ETA", -69, -58, 0), ("DISP", 0, 0, 2)]
    assert leg_cuts("CICADA[CSCORE>=127]") == [("SCORE", 127 * 256, 0, 0)]


def test_cuts_of_pairs_become_hardware_values():
    assert pair_cuts("mass_inv{MU3, MU3}[MASS=2..4, OS, DR<=1.4, DPHI>=2.6, DETA=0.1..1.8]") == [
        ("MASS", 20, 80),
        ("CHGCOR", 1, 1),
        ("DR", 0, 1960),
        ("DPHI", 2600, 4000),
        ("DETA", 100, 1800),
    ]
    assert pair_cuts("comb{MU3, MU3}[LS]") == pair_cuts("comb{MU3, MU3}[CHGCOR=ls]") == [("CHGCOR", 0, 0)]
    assert pair_cuts("dist_orm{JET40, TAU30}[DETA<=1.5, ORMDR<=0.2]")[1] == ("ORMDR", 0, 40)


@given(st.integers(-225, 25), st.integers(0, 200))
def test_windows_of_eta_hold_the_bins_whose_centre_is_inside(first, width):
    low, high = first * 0.010875, (first + width) * 0.010875
    assert leg_cuts(f"MU3[ETA={low:.6f}..{high:.6f}]") == [("ETA", first, first + width, 0)]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("MU5[BLA>=1]", "no cut of the type BLA"),
        ("MU5[QLTY>=99]", "not one of 0..15"),
        ("MU5[QLTY=1.5]", "whole number"),
        ("MU5[ETA=2..1]", "no bin of MU is inside"),
        ("MU5[|ETA|>=1.5]", "only an upper limit"),
        ("MU5[PHI>=2]", "both limits"),
        ("MU3[PHI=0..100]", "less than a turn apart"),
        ("MU3[PHI=-6..6]", "less than a turn apart"),
        ("MU999", "threshold of MU999 is above its scale"),
        ("MU\uff13", "not known"),
        ("MU5[ETA=1..2..3]", "not understood"),
        ("MU5[ETA>=1..2]", "not understood"),
        ("MU5[INDEX=5..2]", "limits must rise"),
        ("MU5[UPT=20..10]", "limits must rise"),
        ("ETM30[ETA=1..2]", "ETM has no ETA"),
        ("EG5[QLTY>=3]", "not emulated"),
        ("MU5.3", "not known"),
        ("comb{MU5, MU3}[DR<=1]", "cuts DR in comb"),
        ("mass_inv{MU5, MU3}[MASS=4..2]", "rising"),
        ("MU5 AND MU3 OR MU2", "add brackets"),
        ("EXT_BPTX", "no file states the bit"),
        ("AXO[A>=1]", "neural network"),
    ],
)
def test_what_cannot_be_exact_is_refused(text, why):
    with pytest.raises(InputError, match=why):
        parse_algorithm(text, "A")


def test_the_short_form_decides_as_the_xml_does(tmp_path):
    path = tmp_path / "menu.xml"
    cuts = cut("E", "ETA", -1.5061875, 1.5061875) + cut("Q", "QLTY", data="12,13,14,15")
    cuts += cut("M", "MASS", 2, 9) + cut("C", "CHGCOR", data="os")
    path.write_text(menu_xml(algorithm(0, "mass_inv{MU3[Q,E],MU0[Q]}[M,C] AND NOT EXT_BPTX.v0", cuts)))
    menu = load_menu(path)
    own = "mass_inv{MU3[QLTY>=12, |ETA|<=1.506], MU0[Q]}[MASS=2..9, OS] AND NOT EXT_BPTX.v0"
    inputs = random_inputs(np.random.default_rng(0), 3000)
    wanted = emulate(menu, inputs).bits["L1_0"]
    got = emulate(menu_of([parse_algorithm(own, "A", menu=menu)]), inputs).bits["A"]
    assert 0 < wanted.sum() < 3000
    np.testing.assert_array_equal(got, wanted)


MENU = """
name = "Mine"
[signals]
BPTX = 7
[[algorithm]]
name = "L1_A"
expression = "comb{MU5[QLTY>=12], MU3}[OS]"
[[algorithm]]
name = "L1_B"
index = 9
expression = "MU3 AND EXT_BPTX-1"
"""


def test_a_menu_of_toml(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(MENU)
    menu = load_menu(path)
    assert (menu.name, [a.index for a in menu.algorithms], menu.signals) == ("Mine", [0, 9], {"BPTX": 7})
    (comb,) = menu.algorithms[0].conditions.values()
    assert comb.legs[0].cuts == (LegCut("QLTY", "QLTY>=12", mask=0xF000),)
    assert comb.cuts == (PairCut("CHGCOR", "OS", 1, 1),)
    done = CliRunner().invoke(make_app(), ["menu", "show", str(path), "--json"])
    assert [a["name"] for a in json.loads(done.output)["algorithms"]] == ["L1_A", "L1_B"]


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ('name = "Mine"', "name = 3", "name is not of the type str"),
        ("[[algorithm]]", "[[algorithms]]", "'algorithms' is not one of"),
        ("BPTX = 7", "BPTX = 256", "not one of 0..255"),
        ("BPTX = 7", "BPTX = true", "not one of 0..255"),
        ("index = 9", "index = 0", "two algorithms have the index 0"),
        ("index = 9", "index = 512", "outside 0..511"),
        ("MU3 AND", "MU3 BUT", "L1_B: expression"),
        ('name = "L1_A"', "", "needs a name"),
        ("index = 9", "prescale = 9", "'prescale' is not one of"),
        ("[[algorithm]]", "[[algorithm", "not valid TOML"),
    ],
)
def test_damaged_toml_is_refused(tmp_path, old, new, why):
    path = tmp_path / "mine.toml"
    path.write_text(MENU.replace(old, new))
    with pytest.raises(InputError, match=why) as error:
        load_menu(path)
    assert str(path) in str(error.value)
