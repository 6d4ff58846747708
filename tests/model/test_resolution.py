"""Predicted uncertainties: a value for every integer, calibrated on simulated muons not seen before."""

import dataclasses
import json
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from l1scout.dataset.collect import collect
from l1scout.dataset.matched import read_dataset
from l1scout.deploy.recalibrate import Recalibrator
from l1scout.evaluate.error_coverage import NOMINAL
from l1scout.evaluate.evaluation import evaluate
from l1scout.model.quantities import VARIABLES, model_inputs
from l1scout.model.resolution import (
    AXES,
    ETA,
    MAX_CELLS,
    MIN_MUONS,
    ONE_SIGMA,
    Resolution,
    learn,
    own_residuals,
)
from l1scout.report import evaluation_page as report_page
from l1scout.report.evaluation_page import evaluation_page
from l1scout.simulate.chain import simulate_events
from l1scout.statistics import half_width
from l1scout.training.fit import fit
from l1scout.training.recipes import recipe
from l1scout.training.save_model import save

CODES = st.integers(-35, 35) | st.integers(-(2**15), 2**15 - 1)
"""Of any column: near the edges of `tables`, or anywhere in int16."""


@st.composite
def tables(draw):
    used = draw(st.lists(st.sampled_from(AXES), min_size=1, unique=True))
    integers = st.lists(st.integers(-30, 30), min_size=1, max_size=8, unique=True)
    edges = {n: tuple(sorted(draw(integers))) for n in used}
    cells = int(np.prod([len(e) for e in edges.values()]))
    number = st.floats(1e-6, 10)
    values = {v: tuple(draw(st.lists(number, min_size=cells, max_size=cells))) for v in VARIABLES}
    return Resolution(edges, values)


@given(tables(), st.lists(st.tuples(*[CODES] * len(AXES)), min_size=1, max_size=20))
def test_every_integer_has_the_value_of_its_bin(table, muons):
    """Against a search by hand; and JSON gives the same table back."""
    columns = dict(zip(AXES, np.array(muons, np.int16).T, strict=True))
    found = table(columns)
    for k, muon in enumerate(muons):
        cell = 0
        for name, edges in table.edges.items():
            x = dict(zip(AXES, muon, strict=True))[name]
            x = abs(x) if name in ETA else x
            cell = cell * len(edges) + max((i for i, e in enumerate(edges) if e <= x), default=0)
        for v in VARIABLES:
            assert found[v][k] == np.float32(table.values[v][cell])
    assert (
        TypeAdapter(Resolution).validate_json(TypeAdapter(Resolution).dump_json(table), strict=True) == table
    )


@given(
    st.integers(0, 6000),
    st.integers(0, 2**32 - 1),
    st.sampled_from([("hwPt", eta, *quality) for eta in ETA for quality in ((), ("hwQual",))]),
    st.sampled_from([(6, 91), (6, 8), (1, 512)]),
)
def test_learned_bins_rise_and_are_filled(n, seed, inputs, pt):
    random = np.random.default_rng(seed)
    low, high = pt
    columns = {
        "hwPt": np.minimum(low + random.exponential(8, n), high - 1).astype(np.int16),
        **{name: random.integers(-80, 81, n).astype(np.int16) for name in ETA},
        "hwQual": random.choice([0, 4, 8, 12], n, p=[0.001, 0.2, 0.299, 0.5]).astype(np.int8),
    }
    residuals = {v: random.normal(0, 0.1, n) for v in VARIABLES}
    table = learn(columns, residuals, inputs)
    if n < MIN_MUONS:
        assert table is None
        return
    assert table is not None
    assert set(table.edges) == set(inputs)
    cells = [np.prod([len(e) for e in table.edges.values()]), table.cells(columns)]
    assert cells[0] <= MAX_CELLS
    filled = np.bincount(cells[1], minlength=cells[0])
    assert filled.min() >= MIN_MUONS
    assert len(TypeAdapter(Resolution).dump_json(table)) < 20_000
    for edges in table.edges.values():
        assert all(a < b for a, b in pairwise(edges))


def test_planted_resolutions_are_found():
    """A width that depends on pT, eta and quality, each muon's pull Gaussian: width and coverage are 1."""
    random, n = np.random.default_rng(3), 200_000
    columns = {
        "hwPt": np.minimum(6 + random.exponential(10, n), 90).astype(np.int16),
        "hwEtaAtVtx": random.integers(-80, 81, n).astype(np.int16),
        "hwQual": random.choice([4, 8, 12], n).astype(np.int8),
    }
    true = (
        0.01 * (1 + columns["hwPt"] / 40) * (1 + (columns["hwEtaAtVtx"] / 80) ** 2) * 12 / columns["hwQual"]
    )
    residuals = {v: random.normal(0, true) for v in ("phi", "eta")}
    own = random.normal(0, true)
    residuals["pt"] = own / (1 - own)  # relative to the offline pT
    first, second = ({k: c[h] for k, c in columns.items()} for h in (slice(None, None, 2), slice(1, None, 2)))
    table = learn(first, {v: r[::2] for v, r in residuals.items()}, ("hwPt", "hwEtaAtVtx", "hwQual"))
    assert table.edges["hwQual"] == (4, 8, 12)
    for v, pull in table.pulls(second, {v: r[1::2] for v, r in residuals.items()}).items():
        width = half_width(pull)
        assert width.value == pytest.approx(1, abs=0.01 + 4 * width.error), v
        assert np.mean(np.abs(table(second)[v] / true[1::2] - 1) < 0.25) > 0.98


def test_own_residuals():
    """8 GeV that is 10 GeV offline is off by a quarter of itself."""
    r = own_residuals({"phi": np.zeros(3), "eta": np.zeros(3), "pt": np.array([-0.2, 0.0, -1.5])})
    assert r["pt"].tolist() == pytest.approx([-0.25, 0.0, -np.inf])


@pytest.fixture(scope="module")
def evaluation(tmp_path_factory):
    """A network trained on simulated muons, on its test part, as `l1scout evaluate` does it."""
    folder = tmp_path_factory.mktemp("simulated")
    collect(simulate_events(5, chunk=40_000), folder / "d.parquet", max_pairs=20_000, seed=5)
    data = read_dataset(folder / "d.parquet")
    save(fit(data, recipe("balanced"), inputs=model_inputs(["hwQual"]), epochs=12, batch=256), folder / "m")
    assert (folder / "m" / "card.json").stat().st_size < 40_000
    return evaluate(data, {"m": Recalibrator.load(folder / "m")})


def test_uncertainties_of_simulated_muons_are_calibrated(evaluation):
    """Pull width and coverage of one standard deviation, within 3 % and their statistics."""
    found = evaluation.coverage["m"]
    for v in VARIABLES:
        width, share = found.width[v], found.observed[v][NOMINAL.index(ONE_SIGMA)]
        assert width.value == pytest.approx(1, abs=0.03 + 3 * width.error), v
        assert share.value == pytest.approx(ONE_SIGMA, abs=0.02 + 3 * share.error), v
        assert found.observed[v][-1].value < NOMINAL[-1]  # tails are longer than a Gaussian's
    filled = [m.value for m in found.by_pt["recalibrated"]["pt"] if m.value == m.value]
    assert len(filled) >= 5
    assert np.median(filled) == pytest.approx(1, abs=0.5)  # 1.05 to 1.21 for three seeds


def test_results_name_the_pull_widths(evaluation, monkeypatch):
    numbers = json.loads(json.dumps(evaluation.as_dict()))["models"]["m"]["uncertainty"]
    assert numbers["pull_width"]["pt"]["value"] == evaluation.coverage["m"].width["pt"].value
    assert len(numbers["coverage"]["phi"]) == len(numbers["coverage"]["nominal"])
    monkeypatch.setattr(report_page, "residual_figure", lambda _: "<svg/>")  # most of the time
    monkeypatch.setattr(report_page, "profile_figure", lambda *_: "<svg/>")
    text = evaluation_page(evaluation)
    assert "Predicted uncertainties" in text
    assert f"{evaluation.coverage['m'].width['phi'].value:.3f} ± " in text
    without = dataclasses.replace(evaluation, coverage={})
    assert without.as_dict()["models"]["m"]["uncertainty"] is None
    assert "Predicted uncertainties" not in evaluation_page(without)
