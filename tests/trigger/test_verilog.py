"""Algorithms on muons as Verilog equal the emulator, which equals the firmware's test vectors."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from l1scout.cli import make_app
from l1scout.errors import InputError
from l1scout.firmware.verilator import have_icarus, have_verilator
from l1scout.trigger.load_menu import load_menu
from l1scout.trigger.random_muons import random_muons
from l1scout.trigger.short_form import parse_algorithm
from l1scout.trigger.vector_file import read_vector
from l1scout.trigger.verilog import why_not_verilog, write_verilog
from l1scout.trigger.verilog_simulation import check_verilog

ICARUS = pytest.mark.skipif(not have_icarus(), reason="needs Icarus Verilog: apt-get install iverilog")
VERILATOR = pytest.mark.skipif(
    not have_verilator(), reason="needs Verilator: apt-get install verilator g++ make"
)
CUTS = [
    "MU20[QLTY>=8, ETA=-1.0..0.5]",
    "MU0[CHG=-, INDEX=36..71, IP=1..3]",
    "MU3[ISO=1..2, UPT>=30, SLICE=0..4]",
    "comb{MU5, MU3}[OS]",
    "comb{MU5, MU3, MU0}[LS]",
    "comb{MU10, MU5, MU3, MU0-1}",
    "MU5[PHI=5.5..1.0] AND NOT MU3+2",
    "MU30 XOR (MU5-2 OR MU40+1)",
]
PAIRS = [
    "dist{MU3, MU0}[DR<=1.4, OS]",
    "dist{MU3-1, MU3}[DETA<=1.2, DPHI>=1.0]",
    "mass_inv{MU3, MU0}[MASS=2..30, LS]",
]
MASSES = ["mass_inv_3{MU0, MU0, MU0}[MASS<=40, OS]", "mass_inv_upt{MU3, MU0}[MASSUPT<=20]"]


def check(texts, crossings, folder, simulator):
    algorithms = [parse_algorithm(text, f"A{k}", index=500 - 33 * k) for k, text in enumerate(texts)]
    found = check_verilog(write_verilog(algorithms), random_muons(crossings), folder, simulator)
    assert found.different == {a.name: 0 for a in algorithms}
    assert all(0 < n < crossings for n in found.fired.values()), found.fired
    return found


@ICARUS
def test_cuts_on_muons_in_icarus(tmp_path):
    """A four-valued simulator: nothing depends on a register that was never set."""
    check(CUTS, 300, tmp_path, "icarus")


@ICARUS
@pytest.mark.parametrize("text", [*PAIRS, *MASSES])
def test_pairs_in_icarus(tmp_path, text):
    check([text], 60, tmp_path, "icarus")


@pytest.mark.long
@VERILATOR
def test_in_verilator(tmp_path):
    check([CUTS[3], CUTS[6]], 3000, tmp_path, "verilator")


@ICARUS
def test_a_wrong_threshold_in_the_verilog_is_seen(tmp_path):
    from dataclasses import replace

    made = write_verilog([parse_algorithm("MU20", "A", index=3)])
    wrong = replace(made, text=made.text.replace("9'd41", "9'd43"))
    assert wrong.text != made.text
    found = check_verilog(wrong, random_muons(300), tmp_path, "icarus")
    assert found.different["A"] > 0
    assert not found.agrees


@ICARUS
def test_an_algorithm_of_a_menu_on_its_vector(shared_data, tmp_path):
    folder = shared_data / "l1-menus"
    menu = load_menu(folder / "L1Menu_Collisions2018_v2_1_0-d1.derived.json.gz")
    inputs = read_vector(folder / "TestVector_L1Menu_Collisions2018_v2_1_0.txt.gz").inputs
    names = ("L1_SingleMu22", "L1_SingleMu7_DQ", "L1_DoubleMu_15_7_SQ", "L1_TripleMu_5_3_3_SQ")
    found = check_verilog(
        write_verilog([menu.select(n) for n in names if n in {a.name for a in menu.algorithms}]),
        inputs.only(np.arange(400)),
        tmp_path,
        "icarus",
    )
    assert found.agrees
    assert found.fired["L1_SingleMu22"] > 20


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("JET60", "looks at JET"),
        ("comb{MU0, MU0, MU0, MU0, MU0}", "more than 4 muons"),
        ("MUS0", "looks at MUS"),
    ],
)
def test_what_does_not_become_verilog_is_refused(text, why):
    algorithm = parse_algorithm(text, "A")
    assert why in why_not_verilog(algorithm)
    with pytest.raises(InputError, match=why):
        write_verilog([algorithm])
    with pytest.raises(InputError, match="no algorithm"):
        write_verilog([])


def run(*arguments):
    return CliRunner().invoke(make_app(), ["menu", "verilog", *map(str, arguments)])


@ICARUS
def test_command(tmp_path):
    arguments = ("--when", "comb{MU5, MU3}[OS]", "--out", tmp_path / "rtl", "--random", 200)
    result = run(*arguments, "--simulator", "icarus", "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)["checks"]["random crossings"]
    assert found["agrees"] is True
    assert found["fired"]["skim"] > 10
    assert "module muon_trigger" in (tmp_path / "rtl/muon_trigger.v").read_text()


def test_command_says_what_is_wrong(tmp_path):
    for arguments, why in (
        (("--when", "MU5"), "--out"),
        (("--out", tmp_path), "name a menu"),
        (("--out", tmp_path, "--when", "MU5", "--random", 5, "--simulator", "x"), "choose one of"),
    ):
        result = run(*arguments)
        assert isinstance(result.exception, InputError)
        assert why in str(result.exception)
