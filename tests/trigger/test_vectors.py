"""Test vectors: reading, and the menus of 2016, 2018 and 2024 bit for bit."""

import gzip
import json
import re

import numpy as np
import pytest
from typer.testing import CliRunner

from l1scout.cli import make_app
from l1scout.errors import InputError
from l1scout.trigger import fixed_point
from l1scout.trigger.check_vector import check_vector
from l1scout.trigger.load_menu import load_menu
from l1scout.trigger.trigger_inputs import SLOTS
from l1scout.trigger.vector_file import read_vector
from menu_documents import algorithm, cut, menu_xml

FILES = {
    "2016": ("L1Menu_Collisions2016_v8_m2.xml.gz", "TestVector_L1Menu_Collisions2016_v8.txt.gz"),
    "2018": (
        "L1Menu_Collisions2018_v2_1_0-d1.derived.json.gz",
        "TestVector_L1Menu_Collisions2018_v2_1_0.txt.gz",
    ),
    "2024": (
        "L1Menu_Collisions2024_v1_3_0-d1.derived.json.gz",
        "L1menu_2024_v1_3_0_ttBar_TestVector_003.txt.gz",
    ),
    "2024 data": (
        "L1Menu_Collisions2024_v1_3_0-d1.derived.json.gz",
        "L1menu_2024_v1_3_0_data_TestVector_000.txt.gz",
    ),
}
AXO = [f"L1_AXO_{name}" for name in ("VLoose", "Loose", "Nominal", "Tight", "VTight")]
EXPECTED = {  # algorithms emulated, bits set, different by algorithm, not emulated
    "2016": (257, 408_867, {"L1_DoubleJet_90_30_Mj30j30_620": 4, "L1_DoubleJet_100_30_Mj30j30_620": 4}, []),
    "2018": (343, 332_559, {}, []),
    "2024": (403, 338_369, {}, AXO),
    "2024 data": (403, 127_713, {"L1_CDC_SingleMu_3_er1p2_TOP120_DPHI2p618_3p142": 28}, AXO),
}


@pytest.mark.parametrize("name", FILES)
def test_every_algorithm_equals_its_vector(shared_data, name):
    menu, vector = (shared_data / "l1-menus" / file for file in FILES[name])
    found = check_vector(load_menu(menu), read_vector(vector))
    different = {a.name: a.different for a in found.algorithms if a.different}
    bits = sum(a.set_in_vector for a in found.algorithms)
    assert (len(found.algorithms), bits, different, list(found.skipped)) == EXPECTED[name]
    assert found.unexplained == ()
    assert found.unused_bits == 0
    assert all(a.equal + a.different == 3564 for a in found.algorithms)


def test_2016_is_equal_with_the_limit_its_vector_was_made_with(shared_data, tmp_path):
    menu, vector = (shared_data / "l1-menus" / file for file in FILES["2016"])
    text = gzip.decompress(menu.read_bytes()).decode()
    path = tmp_path / "menu.xml"
    path.write_text(text.replace("<maximum>+1.4000000000000000E+04", "<maximum>+1.4000000000000000E+03"))
    found = check_vector(load_menu(path), read_vector(vector))
    assert sum(a.different for a in found.algorithms) == 0


def test_a_wrong_threshold_is_found_and_named(shared_data, tmp_path):
    """One bit of one threshold, as a fault of firmware would be; the other algorithms stay equal."""
    menu, vector = (shared_data / "l1-menus" / file for file in FILES["2018"])
    document = json.loads(gzip.decompress(menu.read_bytes()))
    (planted,) = (a for a in document["algorithms"] if a["name"] == "L1_SingleMu22")
    for text in ("expression", "conditions"):
        planted[text] = json.loads(
            json.dumps(planted[text]).replace("MU22", "MU23").replace("`0x2d`", "`0x2f`")
        )
    path = tmp_path / "L1Menu_2018.json"
    path.write_text(json.dumps(document))
    cabling = shared_data / "l1-menus/L1Menu_cabling_2018_03_19.xml"
    found = check_vector(load_menu(path, cabling), read_vector(vector))
    assert [a.name for a in found.unexplained] == ["L1_SingleMu22"]


@pytest.mark.parametrize(("table", "etas"), [("MU_MU", 451), ("CALO_CALO", 230), ("CALO_MU", 920)])
def test_integers_are_those_of_the_firmware(shared_data, table, etas):
    """Up to the largest difference of eta that can occur: the firmware's tables hold 0 beyond."""
    with gzip.open(shared_data / "l1-menus/gtl_luts.json.gz") as file:
        official = json.load(file)
    muon = "MU" in table
    for eta, name in ((True, "ETA"), (False, "PHI")):
        mine = fixed_point.delta_table(muon=muon, eta=eta)
        used = etas if eta else len(mine)
        np.testing.assert_array_equal(mine[:used], official[f"{table}_DIFF_{name}_LUT"][:used])
    prefix = table.replace("CALO_MU", "CALO_MUON")
    for mine, name in (
        (fixed_point.cosh_table(muon=muon), "COSH_DETA"),
        (fixed_point.cos_table(muon=muon), "COS_DPHI"),
    ):
        used = etas if "COSH" in name else len(mine)
        np.testing.assert_array_equal(mine[:used], official[f"{prefix}_{name}_LUT"][:used])


def line(bx=0, **words):
    """A line of a test vector with all fields 0 but those that are given by their place."""
    widths = [4, *[16] * 8, *[8] * 48, 64, 128, 1]
    fields = ["0" * width for width in widths]
    fields[0] = f"{bx:04d}"
    for place, value in words.items():
        fields[int(place[1:])] = f"{value:0{widths[int(place[1:])]}x}"
    return " ".join(fields) + "\n"


def test_a_line_by_hand(tmp_path):
    path = tmp_path / "vector.txt"
    muon = (
        (3 << 62) | (1 << 61) | (0x5A << 53) | (71 << 36) | (3 << 34) | (2 << 32) | ((-5 & 511) << 23)
    ) | (9 << 19 | 45 << 10 | 575)
    jet = 3 << 28 | 1 << 27 | 143 << 19 | (-7 & 255) << 11 | 1025
    cicada = {f"f{51 + k}": nibble << 28 for k, nibble in enumerate((7, 15, 1, 2))}
    sums = {"f49": 0xA << 28 | 100 << 12 | 240, "f50": 0x5 << 28, "f46": 3 << 28 | 17 << 12 | 99}
    given = {"f2": muon, "f34": jet, "f57": 1 << 200, "f58": 1 << 511 | 1, "f9": 77}
    path.write_text(line(0) + line(1, **given, **cicada, **sums))
    vector = read_vector(path)
    streams = {
        name: {n: objects.in_slots(n, 2, SLOTS[name]) for n in objects.columns}
        for name, objects in vector.inputs.streams.items()
    }
    names = ("hwDXY", "shower", "hwPtUnconstrained", "tfMuonIndex", "hwChargeValid", "hwCharge", "hwIso")
    assert [int(streams["muon"][n][1, 1]) for n in names] == [3, 1, 0x5A, 71, 1, 1, 2]
    names = ("hwEtaAtVtx", "hwQual", "hwPt", "hwPhiAtVtx")
    assert [int(streams["muon"][n][1, 1]) for n in names] == [-5, 9, 45, 575]
    names = ("hwQual", "hwDisplaced", "hwPhi", "hwEta", "hwPt")
    assert [int(streams["jet"][n][1, 1]) for n in names] == [3, 1, 143, -7, 1025]
    assert int(streams["egamma"]["hwPt"][1, 0]) == 77
    names = ("hwMissEtHF", "hwMissEtHFPhi", "centrality", "towerCount", "minBiasHFM0", "hwTotalHt")
    assert [int(streams["etsum"][n][1, 0]) for n in names] == [240, 100, 0x5A, 17, 3, 99]
    assert vector.inputs.cicada.tolist() == [0, 0x7F12]
    assert np.argwhere(vector.inputs.external).tolist() == [[1, 200]]
    assert np.argwhere(vector.algorithms).tolist() == [[1, 0], [1, 511]]
    assert sum(int(np.count_nonzero(c)) for c in streams["muon"].values()) == 11


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "0 lines"),
        ("0000 12 34\n", "line 1 has 3 fields, but a test vector has 60 or 48"),
        (line(0) + line(1)[:-40], "line 2 has 59 of 60 fields: it may be cut short"),
        (line(0) + line(1)[:-140], "line 2"),
        (line(0).replace("00000000 ", "0000000g ", 1), "hexadecimal"),
        (line(0) + line(2), "line 2 has BX 0002, not 0001"),
        (line(0).replace("0" * 16, "0" * 15 + "+", 1), "hexadecimal"),
        (line(0) * 2, "line 2 has BX 0000, not 0001"),
    ],
)
def test_damaged_vectors_are_refused(tmp_path, text, why):
    path = tmp_path / "vector.txt"
    path.write_text(text)
    with pytest.raises(InputError, match=re.escape(why)):
        read_vector(path)


@pytest.fixture
def small(tmp_path):
    """A menu of three algorithms and a vector of three crossings in which L1_2 has one wrong bit."""
    cuts = cut("ETA", "ETA", -1.5061875, 1.5061875) + cut("M", "MASS", 0, 9)
    menu, vector = tmp_path / "menu.xml", tmp_path / "vector.txt"
    texts = (
        algorithm(1, "MU3[ETA] AND NOT EXT_BPTX.v0", cuts),
        algorithm(2, "MU22"),
        algorithm(9, "AXO[A]", name="L1_AXO"),
    )
    menu.write_text(menu_xml(*texts))
    vector.write_text(
        line(0, f1=7 << 10, f58=2) + line(1, f1=60 << 10, f58=2) + line(2, f1=7 << 10, f57=1 << 67)
    )
    return menu, vector


def run(*arguments):
    return CliRunner().invoke(make_app(), ["menu", *map(str, arguments)], env={"COLUMNS": "200"})


def test_check_lists_bits_by_algorithm(small):
    done = run("check", *small, "--json")
    assert done.exit_code == 1
    found = json.loads(done.stdout)
    first, second = found["algorithms"]
    keys = ("name", "set_in_vector", "set_by_emulator", "equal", "different", "crossings")
    assert [first[k] for k in keys] == ["L1_1", 2, 2, 3, 0, []]
    assert [second[k] for k in keys] == ["L1_2", 0, 1, 2, 1, [1]]
    assert list(found["not_emulated"]) == ["L1_AXO"]
    text = run("check", *small).output
    assert "2 of 3 algorithms emulated, 2 bits set, 5 equal, 1 different" in text
    assert "L1_2: 1 bits differ without a known reason" in text


def test_check_compares_one_board(shared_data):
    folder = shared_data / "l1-menus"
    menu = load_menu(folder / "L1Menu_Collisions2016_v8_m2.xml.gz")
    words = (
        folder / "L1Menu_Collisions2016_v8_m2.xml.gz",
        folder / "TestVector_L1Menu_Collisions2016_v8.txt.gz",
    )
    found = json.loads(run("check", *words, "--board", 1, "--json").stdout)
    own = {a.name for a in menu.algorithms if a.module == 1}
    assert {a["name"] for a in found["algorithms"]} | set(found["not_emulated"]) == own
    assert (len(own), found["bits_set_without_algorithm"]) == (143, 0)
    done = run("check", *words, "--board", 7)
    assert "no algorithm is on board 7; boards: [0, 1]" in str(done.exception)


def test_show_has_limits_in_hardware_and_physics_units(small):
    text = run("show", small[0]).output
    assert (
        "MU3: pT >= 3 GeV (hardware 7) [MU3]; eta within -1.50619..1.50619 (hardware -138..138) [ETA]" in text
    )
    assert "EXT_BPTX.v0: bit of the external signals is 67 [EXT_BPTX.v0]" in text
    assert "not emulated: AXO[A]: AXO is a neural network" in text
    found = json.loads(run("show", small[0], "--algorithm", "L1_1", "--json").output)
    (one,) = found["algorithms"]
    limit = one["conditions"][0]["objects"][0]["limits"][1]
    assert (limit["hardware"], limit["unit"], limit["quantity"]) == ([-138, 138], None, "eta")
    assert limit["physics"] == pytest.approx([-1.5061875, 1.5061875])


def test_an_unknown_algorithm_names_close_ones(small):
    done = run("show", small[0], "--algorithm", "axo")
    assert isinstance(done.exception, InputError)
    assert "there are L1_AXO" in str(done.exception)
