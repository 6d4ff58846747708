"""The page as its readers see it: complete, self-contained, and honest."""

import base64
import dataclasses
import json
import re
import xml.etree.ElementTree as ET
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import matplotlib
import numpy as np
import pytest

from l1scout.errors import InputError
from l1scout.evaluate.carried import carried, recorded
from l1scout.evaluate.evaluation import Evaluation
from l1scout.evaluate.metrics import Scores
from l1scout.evaluate.profiles import AXES, HARDWARE_AXES, MIN_MUONS, profile
from l1scout.evaluate.targets import raw_residuals
from l1scout.evaluate.turn_on import turn_on
from l1scout.report import evaluation_page as report_page
from l1scout.report.evaluation_page import evaluation_page, write_evaluation_page
from l1scout.report.figures import residual_figure
from l1scout.report.result_tables import ratio_rows, score_rows, worse_bins
from l1scout.report.sample_tables import comparison_rows, markdown_table, sample_notes, sample_rows
from l1scout.statistics import Measured
from toy_muons import toy_dataset


def evaluation(factors, also=None, **about) -> Evaluation:
    """Results of models that scale the raw residuals by a factor, another one above 10 GeV."""
    data = dataclasses.replace(toy_dataset(20_000), about={"simulated": True, "source": ["toy"], **about})
    raw = raw_residuals(data)
    high = data["recoPt"] > 10
    models = {n: {v: np.where(high, b, a) * r for v, r in raw.items()} for n, (a, b) in factors.items()}
    card = {"recipe": {"loss": "logcosh"}, "training": {"muons": 10, "epochs": 2}, "training_data": {}}
    card["domain"] = {"hwPt": (6, 60)}
    pts = {n: data["recoPt"] * (1 + r["pt"]) for n, r in {"GMT": raw, **models}.items()}
    return Evaluation(
        data,
        "test part",
        raw,
        models,
        dict.fromkeys(models, card),
        {name: {"no usable answer": 3} for name in models},
        [profile(data, axis, raw, models) for axis in (*AXES, *HARDWARE_AXES)],
        turn_on=turn_on(data["recoPt"], pts),
        also=also or {},
        warnings=["other.root: era 2024, but <model> was trained on 2018"] if also else [],
    )


@pytest.fixture(scope="module")
def mixed():
    return evaluation({"B": (0.7, 1.4)})


@pytest.fixture(scope="module")
def text(mixed):
    return evaluation_page(mixed, ["Made by a test."])


@pytest.fixture
def no_figures(monkeypatch):
    """Leave out the figures, which take most of the time."""
    monkeypatch.setattr(report_page, "residual_figure", lambda _: "<svg/>")
    monkeypatch.setattr(report_page, "profile_figure", lambda *_: "<svg/>")
    monkeypatch.setattr(report_page, "turn_on_figure", lambda _: "<svg/>")


class Checker(HTMLParser):
    """Every tag closed, and every address that a browser would fetch."""

    VOID = ("meta", "img", "br", "link")

    def __init__(self):
        super().__init__()
        self.open, self.fetched, self.words = [], [], []

    def handle_starttag(self, tag, attrs):
        if tag not in self.VOID:
            self.open.append(tag)
        self.fetched += [v for k, v in attrs if k in ("src", "href")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.words.append(data)


def table_rows(html):
    """Every table row of a page as the text of its cells."""
    rows = re.findall(r"<tr[^>]*>(.*?)</tr>", html, re.DOTALL)
    cells = (re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL) for row in rows)
    return [[unescape(re.sub(r"<[^>]+>", "", cell)).strip() for cell in row] for row in cells]


def parsed(html):
    checker = Checker()
    checker.feed(html)
    assert not checker.open
    return checker


def test_the_page_needs_nothing_else(text):
    fetched = parsed(text).fetched
    assert len(fetched) == 9
    assert all(a.startswith(("data:image/svg+xml;base64,", "#where", "#outside")) for a in fetched)
    assert "url(" not in text
    assert "$" not in " ".join(parsed(text).words)


def test_figures_are_drawings_that_say_simulation_and_never_cms(text):
    figures = [base64.b64decode(m) for m in re.findall(r"svg\+xml;base64,([^\"]+)", text)]
    assert len(figures) == 7
    for figure in figures:
        assert ET.fromstring(figure).tag.endswith("svg")
        assert b"simulation" in figure
        assert b"Preliminary" not in figure


def test_simulation_is_said_and_the_cores_are_not_claimed(text):
    words = " ".join(parsed(text).words)
    assert "Simulated muons." in words
    assert "cores do not reach the published ones" in text
    assert "14.8 %" in words
    assert "Preliminary" not in words


def test_how_it_was_made_is_said(text):
    words = parsed(text).words
    for said in ("toy", "Made by a test.", "test muons left as they were: 3 no usable answer"):
        assert any(said in w for w in words)


def test_published_rows_stand_beside_ours(text):
    words = parsed(text).words
    assert words.count("published") == 3  # the raw trigger, model B, and model B's ratios
    for printed in ("0.166", "41.25", "0.119", "26.68", "0.72"):
        assert printed in words


def test_where_the_model_is_worse_is_said_at_the_top_and_below(mixed, text):
    assert "Not everything is better" in text
    found = worse_bins(mixed.profiles, "B")
    assert any(f.startswith("pT, offline pT [GeV]: RMS at 10 to") for f in found)
    assert all(f in text for f in found)


def test_a_better_model_is_not_called_worse(no_figures):
    text = evaluation_page(evaluation({"B": (0.7, 0.7)}))
    assert "No model is significantly worse" in text
    assert "nowhere" in text


@pytest.mark.parametrize(
    ("simulated", "banner", "label"),
    [(False, "Recorded muons", "data"), (None, "unstated origin", "unstated")],
)
def test_other_origins_are_named_and_not_called_simulated(no_figures, simulated, banner, label):
    found = evaluation({"B": (0.7, 0.7)}, simulated=simulated, source=["run 1"])
    text = evaluation_page(found)
    assert banner in text
    assert "Simulated muons" not in text
    assert "cores do not reach" not in text
    assert label in residual_figure(found)


def test_names_from_files_cannot_inject_markup(no_figures):
    nasty = "<script>alert(1)</script>"
    about = {"source": [nasty], "era": nasty, "seed": nasty, "cuts": [{"cut": nasty, "l1": nasty}]}
    text = evaluation_page(evaluation({nasty: (0.9, 0.9)}, **about), [nasty])
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    parsed(text)
    for cuts in (7, ["x"], {"a": 1}, None):
        parsed(evaluation_page(evaluation({"B": (0.9, 0.9)}, cuts=cuts)))


def test_drawing_leaves_no_trace_and_repeats(mixed, text):
    before = dict(matplotlib.rcParams)
    again = evaluation_page(mixed, ["Made by a test."])
    assert dict(matplotlib.rcParams) == before
    assert again == text


def test_writing(tmp_path, mixed, no_figures):
    write_evaluation_page(mixed, tmp_path / "new" / "r.html")
    assert (tmp_path / "new" / "r.html").read_text("utf-8") == evaluation_page(mixed)
    assert len(list((tmp_path / "new").iterdir())) == 1
    with pytest.raises(InputError, match="cannot be written"):
        write_evaluation_page(mixed, tmp_path / "new" / "r.html" / "x" / "r.html")


def test_numbers_for_scripts_are_plain_json(mixed):
    result = json.loads(json.dumps(mixed.as_dict(), allow_nan=False))
    assert result["models"]["B"]["ratio_to_raw"]["rms"]["phi"]["value"] > 0
    assert result["published"]["scores"]["GMT"]["tail"]["pt"]["value"] == pytest.approx(0.4484)
    assert [p["axis"] for p in result["profiles"]] == ["pt", "eta", "charge", "hw_pt", "hw_eta"]
    assert result["muons"] == 20_000


def test_every_headline_number_is_there_without_the_lowest_hwpt(mixed, text):
    """The toy's muons of hwPt 6 are 1 in 20; by hand, the ratio of the others."""
    few = mixed.without_floor
    above = mixed.data["hwPt"] > 6
    assert few.muons == above.sum() < len(mixed.data)
    raw, after = mixed.raw["pt"][above], mixed.models["B"]["pt"][above]
    by_hand = np.sqrt(np.mean(after**2) / np.mean(raw**2))
    assert few.ratios["B"].rms["pt"].value == pytest.approx(by_hand)
    found = mixed.as_dict()["without_hwpt_6"]
    assert found["models"]["B"]["ratio_to_raw"]["rms"]["pt"]["value"] == pytest.approx(by_hand)
    assert "without hwPt 6, model B" in text
    assert f"{by_hand:.2f}" in text


def test_claims_state_their_range_and_muons_outside_are_shown(mixed, text):
    hard = mixed.data["recoPt"] > 30
    assert [s.muons for s in mixed.outside] == [hard.sum(), (mixed.data["recoPt"] > 45).sum()]
    assert mixed.outside[0].ratios["B"].rms["pt"].value == pytest.approx(1.4)
    assert "offline pT above 30 GeV, model B" in text
    by_pt = mixed.profiles[0]
    assert by_pt.judged[0] == 2
    assert by_pt.outside == np.count_nonzero(mixed.data["recoPt"] > 250) == 0
    assert "They reach offline p<sub>T</sub> of 2.0 to" in text
    assert "recalibrates hwPt 6 to 60" in text
    few = mixed.data.select(mixed.data["recoPt"] < 6)
    p = profile(few, AXES[0], raw_residuals(few), {})
    assert (p.judged, p.not_judged) == ((2.0, 6.0), 0)
    rest = few.select(np.arange(MIN_MUONS - 1))
    p = profile(rest, AXES[0], raw_residuals(rest), {})
    assert (p.judged, p.not_judged) == (None, MIN_MUONS - 1)


def test_a_simulated_page_says_that_it_holds_for_its_simulation_and_shows_the_record(text):
    about, (model, *_) = recorded()
    assert {"own simulation", "official tables", "real muons, 2024"} <= {s.name for s in model.samples}
    assert "hold for this simulated sample only" in text
    assert about["date"] in text
    assert "validation/carry_over.py" in about["command"]
    assert f"Model {model.name}, trained on" in text
    for sample in model.samples:
        assert f"{sample.muons:,}" in text
    assert all(row in table_rows(text) for row in sample_rows(model.samples))


def test_the_study_page_shows_the_numbers_of_the_record():
    """The record is the one place of these numbers: the page in docs is written from it."""
    page = (Path(__file__).parents[2] / "docs" / "study.md").read_text("utf-8")
    models = recorded()[1]
    assert markdown_table(comparison_rows(models)) in page
    assert markdown_table(sample_rows(models[0].samples)) in page
    assert all(note in page for note in sample_notes(models[0].samples))


def test_other_samples_stand_beside_and_warnings_at_the_top(no_figures):
    other = evaluation({"B": (1.1, 1.1)}, simulated=False, source=["run 1"])
    found = evaluation({"B": (0.7, 0.7)}, also={"real": other})
    text = evaluation_page(found)
    assert "era 2024, but &lt;model&gt; was trained on 2018" in text
    samples = carried(found, "B", "own")
    assert [s.name for s in samples] == ["own", "real"]
    assert [s.ratios.rms["phi"].value for s in samples] == pytest.approx([0.7, 1.1])
    assert samples[0].recalibrated == 20_000 - 3
    rows = sample_rows(carried(found, "B", "this page, simulated"))
    assert all(row in table_rows(text) for row in rows)
    result = json.loads(json.dumps(found.as_dict(), allow_nan=False))
    assert result["also"]["real"]["models"]["B"]["ratio_to_raw"]["rms"]["eta"]["value"] == pytest.approx(1.1)
    assert "hold for this simulated sample" not in evaluation_page(other)


def test_values_are_printed_to_the_digits_of_their_errors():
    number = Measured(0.12345, 0.0123)
    scores = Scores(*(dict.fromkeys(("phi", "eta", "pt"), number) for _ in range(3)))
    row = score_rows({"mine": scores})[0]
    assert row.cells[0] == ("0.123", "0.012")
    assert row.cells[3] == ("12.3", "1.2")
    missing = dataclasses.replace(scores, rms=dict.fromkeys(("phi", "eta", "pt"), Measured(float("nan"))))
    assert ratio_rows({"mine": missing})[0].cells[0] == ("-", "")
