"""Prescales and masks: files, hostile ones too, and the prescaler of the firmware."""

import json
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from l1scout.cli import make_app
from l1scout.errors import InputError
from l1scout.trigger.crossing_bits import crossings_of, pack_flags
from l1scout.trigger.emulator import Decisions
from l1scout.trigger.prescale_files import read_masks, read_prescales
from l1scout.trigger.prescales import Masks, Prescaler, PrescaleTable, count_down, factor_of
from l1scout.trigger.short_form import menu_of, parse_algorithm

CSV = "\ufeffIndex,Name,Emergency,2p0E34+ZeroBias\r\n0,L1_A,0,1\r\n1,L1_B,2.5,160\r\n"


def settings_xml(
    rows="<row>0, 0, 1</row> <!--L1_A--><row>1, 2.5, 160</row>", index="1", name="prescales", more=""
):
    columns = (
        "<columns>algo/prescale-index, 0, 1</columns>"
        if name == "prescales"
        else "<columns> algo,mask </columns>"
    )
    return (
        f'<?xml version="1.0"?><run-settings id="uGT"><context id="uGtProcessor">'
        f'<param id="index" type="uint">{index}</param><param id="{name}" type="table">{columns}'
        f"<types>uint, uint</types><rows>{rows}</rows></param>{more}</context>"
        f'<context id="other"><param id="prescales">no table</param></context></run-settings>'
    )


@pytest.fixture
def menu():
    return menu_of(
        [
            parse_algorithm(text, f"L1_{n}", index=k)
            for k, (n, text) in enumerate({"A": "MU3", "B": "MU5"}.items())
        ]
    )


def test_csv_and_xml_give_hundredths(tmp_path, menu):
    path = tmp_path / "prescales.csv"
    path.write_text(CSV)
    table = read_prescales(path)
    assert (table.columns, table.active) == (("Emergency", "2p0E34+ZeroBias"), None)
    assert table.of_menu(menu, "Emergency") == {"L1_A": 0, "L1_B": 250}
    with pytest.raises(InputError, match="which column is in use; it has Emergency, 2p0E34"):
        table.of_menu(menu, None)
    path.write_text(settings_xml())
    table = read_prescales(path)
    assert (table.columns, table.active) == (("0", "1"), "1")
    assert table.of_menu(menu, None) == {"L1_A": 100, "L1_B": 16000}
    assert table.of_menu(menu, "0") == {"L1_A": 0, "L1_B": 250}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "does not begin with Index,Name"),
        ("a,b,c\n1,2,3\n", "does not begin with Index,Name"),
        (CSV.replace("2.5", "0.5"), "'0.5' is not 0, or 1 to 9999999.99"),
        (CSV.replace("2.5", "2.505"), "'2.505' is not"),
        (CSV.replace("160", "10000000"), "'10000000' is not"),
        (CSV.replace("160", "-1"), "'-1' is not"),
        (CSV.replace("160", "1e9"), "'1e9' is not"),
        (CSV.replace("160", "inf"), "'inf' is not"),
        (CSV.replace("160", ""), "line 3, column 2p0E34"),
        (CSV.replace(",160", ""), "line 3 has 3 of 4 cells: it may be cut short"),
        (CSV.replace("1,L1_B", "0,L1_B"), "index 0 occurs twice"),
        (CSV.replace("1,L1_B", "512,L1_B"), "'512' is not one of 0..511"),
        (CSV.replace("Emergency", "2p0E34+ZeroBias"), "twice"),
        (CSV.replace("L1_B", '"L1_B'), "not CSV"),
        (settings_xml()[:-80], "not well-formed XML, or cut short"),
        ("<!DOCTYPE a [<!ENTITY b 'c'>]><run-settings/>", "document type"),
        ("<menu></menu>", "not with run-settings"),
        (settings_xml(index="7"), "the column in use, '7', is not among 0, 1"),
        (settings_xml(rows="<row>0, 1</row>"), "row 1 of prescales has 2 of 3 cells"),
        (settings_xml(rows="<row>0, 1, 1</row><row>0, 1, 1</row>"), "index 0 occurs twice"),
        (settings_xml(more='<param id="prescales"/>'), "states prescales twice"),
        (settings_xml(name="finorMask"), "has no table of prescales"),
        ("Index,Name," + "x" * (1 << 22), "more than 4 MiB"),
    ],
)  # fmt: skip
def test_damaged_prescales_are_refused(tmp_path, text, why):
    path = tmp_path / "prescales"
    path.write_text(text)
    with pytest.raises(InputError, match=why) as error:
        read_prescales(path)
    assert str(path) in str(error.value)


def test_a_table_of_another_menu_is_refused(tmp_path, menu):
    path = tmp_path / "prescales.csv"
    path.write_text(CSV.replace("L1_B", "L1_C"))
    with pytest.raises(InputError, match="algorithm 1 is L1_C, but L1_B in the menu"):
        read_prescales(path).of_menu(menu, "Emergency")
    path.write_text(CSV.replace("1,L1_B", "2,L1_B"))
    with pytest.raises(InputError, match="no prescale of 1 algorithms, such as L1_B"):
        read_prescales(path).of_menu(menu, "Emergency")


def test_rows_of_algorithms_that_the_menu_lacks_are_named(tmp_path, menu):
    """A prescale of what the menu has not, and masks whose comments name other algorithms."""
    path = tmp_path / "prescales.csv"
    path.write_text(CSV + "7,L1_Gone,0,30\r\n")
    (note,) = read_prescales(path).notes(menu)
    assert "prescales of 1 algorithms are not used, as the menu" in note
    assert note.endswith("has none of them: 7 L1_Gone")
    path.write_text(CSV)
    assert read_prescales(path).notes(menu) == []
    path.write_text(settings_xml("<row>0, 0, 1</row> <!--L1_A--><row>1, 1, 1</row> <!-- L1_C: old -->"))
    (note,) = read_prescales(path).notes(menu)
    assert "such as 1, L1_C (L1_B in the menu): they may be those of another menu" in note
    rows = "<row>0, 1</row> <!-- L1_X --><row>8, 1</row> <!-- L1_Y --><row>9, 0</row>"
    path.write_text(settings_xml(rows, name="finorMask"))
    other, lacking, without = read_masks(path).notes(menu)
    assert "such as 0, L1_X (L1_A in the menu)" in other
    assert lacking.endswith("has none of them: 8 L1_Y")
    assert "no mask of 1 algorithms, such as L1_B" in without
    rows = "<row>0, 1</row><!-- L1_A -->" + "".join(f"<row>{k}, 0</row>" for k in range(1, 512))
    path.write_text(settings_xml(rows, name="finorMask"))
    assert read_masks(path).notes(menu) == []


def test_masks(tmp_path):
    finor, veto = tmp_path / "finor.xml", tmp_path / "veto.xml"
    finor.write_text(settings_xml("<row>0,1</row><row>1,0</row>", name="finorMask"))
    veto.write_text(settings_xml("<row>1,1</row>", name="vetoMask"))
    masks = read_masks(finor, veto)
    assert (masks.finor, masks.veto) == ({0: True, 1: False}, {1: True})
    finor.write_text(settings_xml("<row>0,2</row>", name="finorMask"))
    with pytest.raises(InputError, match="the mask is '2', not 0 or 1"):
        read_masks(finor)
    finor.write_text(settings_xml())
    with pytest.raises(InputError, match="neither of the tables finorMask, vetoMask"):
        read_masks(finor)


@given(st.integers(100, 2000), st.lists(st.integers(0, 50), min_size=1, max_size=5))
def test_the_prescaler_passes_the_bits_at_which_the_sum_reaches_a_multiple(factor, parts):
    counter, passed = 0, []
    for bits in parts:  # in pieces of any size
        part = np.zeros(bits, np.bool_)
        counter = count_down(counter, factor, part)
        passed += part.tolist()
    sums = [Fraction(100 * k, factor) for k in range(len(passed) + 1)]
    assert passed == [int(b) > int(a) for a, b in pairwise(sums)]


def test_one_in_two_and_a_half_by_hand():
    passed = np.zeros(10, np.bool_)
    assert count_down(0, 250, passed) == 0
    assert np.flatnonzero(passed).tolist() == [2, 4, 7, 9]
    assert count_down(70, 0, passed) == 70
    assert not passed.any()


def test_counters_go_on_when_the_column_changes(menu):
    table = PrescaleTable("t", ("a", "b"), {0: (300, 500), 1: (100, 0)}, {})
    prescaler = Prescaler(menu, table, "a")
    every = Decisions(
        4, {"L1_A": pack_flags(np.ones(4, np.bool_)), "L1_B": pack_flags(np.ones(4, np.bool_))}, {}
    )
    first = prescaler.apply(every)
    assert [first.fired(n).tolist() for n in first.words] == [[2], [0, 1, 2, 3]]
    prescaler.select("b")  # the counter of A stands at 100
    second = prescaler.apply(every)
    assert [second.fired(n).tolist() for n in second.words] == [[3], []]


def test_decision_has_masks_vetoes_and_bx(menu):
    table = PrescaleTable("t", ("a",), {0: (100,), 1: (100,)}, {})
    flags = [[1, 1, 0, 0, 1], [0, 1, 1, 0, 0]]
    given_ = Decisions(
        5, dict(zip(("L1_A", "L1_B"), (pack_flags(np.array(f, np.bool_)) for f in flags), strict=True)), {}
    )

    def decision(finor=(), veto=(), bx=()):
        prescaler = Prescaler(menu, table, "a", Masks(dict(finor), dict(veto), dict(bx)))
        return crossings_of(prescaler.decide(prescaler.apply(given_, first_bx=3562))).tolist()

    assert decision() == [0, 1, 2, 4]
    assert decision({0: False}) == [1, 2]
    assert decision(veto={1: True}) == [0, 4]
    allowed = np.ones(3564, np.bool_)
    allowed[[3561, 0, 1]] = False  # BX 3562, 1 and 2: crossings 0, 3 and 4
    assert decision(bx={0: allowed}) == [1, 2]


FACTORS = {"0": 0, "1": 100, "2.5": 250, "1.05": 105, "1.050": 105, "9999999.99": 999_999_999}
NONE = ("0.99", "٣", "1.", ".5", "1.005", "10000000", "1e3", "nan", "", " ")


@pytest.mark.parametrize(("text", "factor"), [*FACTORS.items(), *((text, None) for text in NONE)])
def test_factors_are_hundredths(text, factor):
    assert factor_of(text) == factor


def test_show_prints_prescales_and_masks(tmp_path):
    menu, table, masks = tmp_path / "m.toml", tmp_path / "p.csv", tmp_path / "f.xml"
    menu.write_text(
        '[[algorithm]]\nname="L1_A"\nexpression="MU3"\n[[algorithm]]\nname="L1_B"\nexpression="MU5"\n'
    )
    table.write_text(CSV)
    masks.write_text(settings_xml("<row>1,0</row>", name="finorMask"))

    def show(*more):
        return CliRunner().invoke(make_app(), ["menu", "show", str(menu), "--prescales", str(table), *more])

    text = show("--masks", str(masks)).output
    assert "prescale Emergency: off, 2p0E34+ZeroBias: 1" in text
    assert "prescale Emergency: 2.5, 2p0E34+ZeroBias: 160\n  masked" in text
    found = json.loads(show("--column", "Emergency", "--json").output)
    assert [a["prescales"] for a in found["algorithms"]] == [{"Emergency": 0.0}, {"Emergency": 2.5}]
    assert "has no column nothing" in str(show("--column", "nothing").exception)


@pytest.mark.parametrize("year", ["2024_v1_3_0", "2025_v1_3_0", "2026_v1_1_0"])
def test_official_tables_are_read(shared_data, year):
    table = read_prescales(shared_data / "l1-menus" / f"prescales_L1Menu_Collisions{year}.csv")
    assert len(table.factors) == {"2024": 408, "2025": 466, "2026": 504}[year[:4]]
    fractional = {f for row in table.factors.values() for f in row if f % 100}
    assert fractional == (set() if year[:4] == "2024" else {250})


def test_official_settings_are_read(shared_data):
    folder = shared_data / "l1-menus"
    table = read_prescales(folder / "UGT_BASE_RS_PRESCALES_L1MenuCollisions2022_v1_1_0.xml.gz")
    assert (table.active, table.factors[4][2], len(table.columns)) == ("2", 6_300_000, 10)
    masks = read_masks(folder / "UGT_BASE_RS_FINOR_MASK_L1MenuCollisions2022_v1_1_0.xml.gz")
    assert len(masks.finor) == 512


def test_factors_that_the_firmware_cannot_hold_are_named(menu):
    table = PrescaleTable("t", ("a",), {0: (1 << 24,), 1: ((1 << 24) - 1,)}, {}, "a")
    assert table.too_large(menu, None) == ["L1_A"]
