"""Pages, figures and terminal tables show names from files as they are: never as markup."""

import io
import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from html.parser import HTMLParser
from types import SimpleNamespace

import jinja2
import numpy as np
import pytest
from rich.console import Console

from l1scout.cli import output
from l1scout.cli.output import print_table
from l1scout.dataset.cuts import CutFlow
from l1scout.evaluate.carried import recorded
from l1scout.evaluate.metrics import KINDS, Scores
from l1scout.evaluate.published import PUBLISHED
from l1scout.evaluate.slices import Slice
from l1scout.evaluate.turn_on import EDGES_GEV
from l1scout.firmware.against import Against
from l1scout.model.quantities import VARIABLES
from l1scout.report.firmware_page import firmware_page
from l1scout.report.render import render
from l1scout.report.result_tables import Row, score_rows
from l1scout.report.study_figures import metric_figure
from l1scout.report.study_page import study_page
from l1scout.report.terminal_tables import (
    cut_flow_table,
    metrics_by_row,
    metrics_table,
    plain_table,
    records_table,
    samples_table,
    slices_table,
)
from l1scout.report.turn_on_figure import turn_on_figure
from l1scout.statistics import Measured
from l1scout.training.recipes import RECIPES
from toy_muons import toy_dataset

HOSTILE = "<script>alert(1)</script>\"'&"
FORMULA = "$a_$ {x} [bold]"
NUMBERS = Scores(*({v: Measured(0.1 * (k + 1), 0.01) for v in VARIABLES} for k in range(3)))


class Tags(HTMLParser):
    """Every tag of a page, with its attributes' names."""

    def __init__(self, html):
        super().__init__()
        self.seen = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, *(name for name, _ in attrs)))


def entry(name):
    recipe = replace(RECIPES["A"], name=name)
    spread = {k: dict.fromkeys(VARIABLES, 0.002) for k in KINDS}
    return SimpleNamespace(
        recipe=recipe, scores=NUMBERS, by_seed=spread, objective=Measured(0.9, 0.1), without_floor=NUMBERS
    )


def summary(name):
    data = type("Data", (list,), {})(range(1234))
    data.name, data.sha256, data.about, data.simulated = name, "0" * 64, {"era": name}, True
    study = SimpleNamespace(data=data, plan=SimpleNamespace(folds=5, seeds=2))
    limit = SimpleNamespace(reached=NUMBERS)
    return SimpleNamespace(
        study=study, search=name, raw=NUMBERS, raw_without_floor=NUMBERS, entries=[entry(name)], limit=limit
    )


def firmware(name, scores=None):
    area = dict.fromkeys(("luts", "inverters", "flip_flops", "carries", "dsps", "block_rams"), 1234)
    timing = {"assumed_clock_mhz": 250.0, "core_ns": 8.0, "latency_edges": 5, "latency_ns": 20.0}
    timing |= {"million_muons_per_s": 250.0, "cores": 2, "needed_million_per_s": 320.0}
    found = {
        "build": {"compiler": name, "stages": 3},
        "timing": timing,
        "ecp5": {"mhz": 123.0, "device": name},
        "core": area,
        "module": {**area, "parts": {name: {"luts": 0.01}}},
        "simulation": {"icarus": name},
    }
    return firmware_page(name, found, scores, name)


def test_no_page_lets_a_name_become_markup():
    scores = Against(1000, NUMBERS, NUMBERS, NUMBERS)
    for page in (
        lambda name: study_page(summary(name), name),
        firmware,
        lambda name: firmware(name, scores),
    ):
        hostile, plain = page(HOSTILE), page("plain")
        assert "<script" not in hostile
        assert "&lt;script&gt;alert(1)&lt;/script&gt;&#34;&#39;&amp;" in hostile
        assert Tags(hostile).seen == Tags(plain).seen


def test_the_study_page_shows_every_table():
    html = study_page(summary("mine"), "l1scout study")
    text = re.sub(r"<[^>]+>", " ", html)
    for shown in ("0.1000(100)", "1.000", "1 networks, each trained 10 times", "1,234 matched", "0.0020"):
        assert shown in text
    assert f"{PUBLISHED['GMT'].rms['phi'].value:.3f}" in text


def test_the_firmware_page_shows_scores_and_area():
    text = re.sub(r"<[^>]+>", " ", firmware("core", Against(1000, NUMBERS, NUMBERS, NUMBERS)))
    for shown in ("1,234", "5 clock edges (20 ns at an assumed 250 MHz)", "123 MHz", "0.100", "1.00 %"):
        assert shown in text
    assert "Not compared" in firmware("core")


def test_a_template_without_a_value_is_an_error():
    with pytest.raises(jinja2.UndefinedError, match="compiler"):
        render("firmware.html", name="x")


def test_a_formula_in_a_name_is_drawn_as_text():
    n = len(EDGES_GEV) - 1
    curve = SimpleNamespace(value=np.full(n, 0.5), low=np.full(n, 0.4), high=np.full(n, 0.6))
    curves = SimpleNamespace(threshold_gev=5.0, curves={"GMT": curve, FORMULA: curve})
    data = toy_dataset(100)
    drawn = [
        metric_figure(summary(FORMULA)),
        turn_on_figure(SimpleNamespace(turn_on=[curves, curves], data=data, part="all muons")),
    ]
    for svg in drawn:
        assert ET.fromstring(svg).tag.endswith("svg")
        assert f"<!-- {FORMULA}" in svg or f"<!-- model {FORMULA}" in svg


@pytest.fixture
def printed(monkeypatch):
    """Return what is printed into a pipe as wide as a terminal."""
    stream = io.StringIO()
    monkeypatch.setattr(output, "out", Console(file=stream, width=80, highlight=False))

    def text(table):
        print_table(table)
        shown = stream.getvalue()
        stream.seek(0)
        stream.truncate()
        return shown

    return text


def test_tables_show_markup_and_control_characters_as_they_are(printed):
    text = printed(plain_table(["", "[red]n"], [["[/] [bold]x[/]", "\x1b[31m1\n2"]], "[link=x]t"))
    assert text.splitlines()[0].strip() == "[link=x]t"
    assert "[red]n" in text
    assert "[/] [bold]x[/]" in text
    assert r"\x1b[31m1\n2" in text
    assert "\x1b" not in text


def test_lines_in_a_pipe_are_not_folded(printed):
    rows = [[f"row {k}", *(f"{k}.{j}" * 6 for j in range(12))] for k in range(3)]
    lines = printed(plain_table(["", *(f"c{j}" for j in range(12))], rows)).splitlines()
    assert len(lines) == 4
    assert lines[1].split() == ["row", "0", *rows[0][1:]]


def test_the_nine_metrics_fit_80_columns_and_line_up(printed):
    rows = score_rows({"GMT": NUMBERS, "B": NUMBERS})
    lines = printed(metrics_table(rows)).splitlines()
    assert len(lines) == 10
    assert max(len(line.rstrip()) for line in lines) <= 80
    assert lines[0].split() == ["GMT", "paper", "B", "paper"]
    assert lines[1].split()[:5] == ["RMS", "phi", "0.100", "±", "0.010"]
    assert lines[9].startswith("tail % pT")


def test_many_networks_are_lines(printed):
    lines = printed(metrics_by_row([Row("A", False, [("1", "")] * 9), Row("A", True, [("2", "")] * 9)]))
    assert [line.split() for line in lines.splitlines()[1:]] == [["A", *"1" * 9], ["published", *"2" * 9]]


def test_records_have_a_column_for_every_key(printed):
    rows = [{"bx": 3, "mu_stat": 0.123456}, {"bx": 4, "more": None}, {"more": np.float32(1e-9)}]
    lines = printed(records_table(rows, "bunches")).splitlines()
    assert [line.split() for line in lines] == [
        ["bunches"],
        ["bx", "mu", "stat", "more"],
        ["3", "0.1235"],
        ["4"],
        ["1e-09"],
    ]


def test_the_cut_flow_has_thousands(printed):
    flow = CutFlow()
    flow.l1 |= {"read": 12_345}
    flow.offline |= {"read": 67}
    assert printed(cut_flow_table(flow)).splitlines()[1].split() == ["read", "12,345", "67"]


def test_samples_stand_beside_one_another(printed):
    samples = recorded()[1][0].samples[:3]
    lines = printed(samples_table(samples)).splitlines()
    assert max(len(line.rstrip()) for line in lines) <= 80
    assert [lines[1].split()[0], *lines[1].split()[1:]] == ["muons", *(f"{s.muons:,}" for s in samples)]
    phi = next(line for line in lines if line.startswith("RMS phi"))
    assert phi.split()[2] == f"{samples[0].ratios.rms['phi'].value:.3f}"


def test_parts_of_the_muons_stand_beside_one_another(printed):
    some = Slice("hwPt above 6", 1234, NUMBERS, {"B": NUMBERS}, {"B": NUMBERS})
    lines = printed(slices_table([some, Slice("none", 1, None, {}, {})], "B")).splitlines()
    assert lines[1].split() == ["muons", "1,234", "1"]
    assert lines[2].split() == ["RMS", "phi", "0.100", "±", "0.010", "-"]
