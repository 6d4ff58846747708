"""The report of an evaluation: one HTML file that needs nothing else, for people who were not there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from l1scout.analysis.figures.canvas import origin
from l1scout.core.provenance import Provenance
from l1scout.evaluate.carried import carried, recorded
from l1scout.evaluate.evaluation import Evaluation
from l1scout.evaluate.profiles import MIN_MUONS, SIGNIFICANT
from l1scout.evaluate.published import PUBLISHED, SOURCE, published_ratios
from l1scout.evaluate.slices import FLOOR
from l1scout.files import write_text
from l1scout.model.quantities import VARIABLES
from l1scout.report.figures import coverage_figure, profile_figure, residual_figure
from l1scout.report.render import render
from l1scout.report.result_tables import (
    KIND_NAMES,
    RATIO_NAMES,
    judged,
    ratio_rows,
    score_rows,
    worse_bins,
    worse_count,
)
from l1scout.report.sample_tables import SLICE_HEAD, sample_notes, sample_rows, slice_rows
from l1scout.report.turn_on_figure import turn_on_figure

_UNITS = {"phi": " rad", "eta": "", "pt": ""}


@dataclass(frozen=True)
class _Tile:
    """RMS of a variable before and after, and its change in percent, ours and published."""

    variable: str
    percent: float
    before: str
    after: str
    unit: str
    published_percent: float | None


def write_evaluation_page(
    evaluation: Evaluation, path: str | Path, notes: Sequence[str] = (), record: Provenance | None = None
) -> None:
    """Write the report of an evaluation.

    Parameters
    ----------
    evaluation : Evaluation
    path : str or Path
        HTML file to write.
    notes : sequence of str
        Plain sentences for the section "How this was made".
    record : Provenance, optional
        Kept in the page's metadata.

    Raises
    ------
    InputError
        If the file cannot be written.
    """
    write_text(Path(path), evaluation_page(evaluation, notes, record))


def evaluation_page(
    evaluation: Evaluation, notes: Sequence[str] = (), record: Provenance | None = None
) -> str:
    """Make the report's HTML; see `write_evaluation_page`."""
    data = evaluation.data
    return render(
        "evaluation.html",
        provenance=record.as_json() if record else "",
        origin=origin(data.simulated),
        simulated=data.simulated,
        recorded_from=_sources(evaluation),
        unseen=evaluation.part == "test part",
        muons=len(data),
        models=list(evaluation.models),
        warnings=[w for found in (evaluation, *evaluation.also.values()) for w in found.warnings],
        notes=notes,
        variables=VARIABLES,
        sigma=f"{SIGNIFICANT:g}",
        min_muons=MIN_MUONS,
        source=SOURCE,
        **_metrics(evaluation),
        **_samples(evaluation),
        **_bins(evaluation),
        **_figures(evaluation),
        **_origin_of_muons_and_models(evaluation),
    )


def _metrics(evaluation: Evaluation) -> dict[str, Any]:
    """Return the nine metrics and what to know about them."""
    core, published = evaluation.raw_scores.core, PUBLISHED["GMT"].core
    percent = {v: (100 * core[v].value, 100 * published[v].value) for v in ("phi", "pt")}
    names = list(evaluation.models)
    return {
        "kinds": KIND_NAMES,
        "ratio_kinds": RATIO_NAMES,
        "headlines": {name: _tiles(evaluation, name) for name in names},
        "score_rows": score_rows({"GMT": evaluation.raw_scores, **evaluation.model_scores}),
        "ratio_rows": ratio_rows(evaluation.ratios),
        "floor": FLOOR,
        "selection": evaluation.selection,
        "floor_percent": 100 * (1 - evaluation.without_floor.muons / np.count_nonzero(evaluation.compared)),
        "slice_head": SLICE_HEAD,
        "without_floor_rows": slice_rows([evaluation.without_floor], names),
        "outside_rows": slice_rows(evaluation.outside, names),
        "core_percent": percent if evaluation.data.simulated else {},
        "pull_widths": {name: c.width for name, c in evaluation.coverage.items()},
    }


def _tiles(evaluation: Evaluation, name: str) -> list[_Tile]:
    before, after = evaluation.raw_scores.rms, evaluation.model_scores[name].rms
    ratio = evaluation.ratios[name].rms
    published = published_ratios(name).rms if name in PUBLISHED else None
    tiles = []
    for v in VARIABLES:
        digits = 4 if v == "eta" else 3
        texts = (f"{before[v].value:.{digits}f}", f"{after[v].value:.{digits}f}", _UNITS[v])
        known = 100 * (published[v].value - 1) if published else None
        tiles.append(_Tile(v, 100 * (ratio[v].value - 1), *texts, known))
    return tiles


def _samples(evaluation: Evaluation) -> dict[str, Any]:
    """Return the models on further samples, and the record of the default network if this is simulation."""
    own = {True: "this page, simulated", False: "this page, recorded", None: "this page"}
    own_name = own[evaluation.data.simulated]
    models = evaluation.models if evaluation.also else ()
    tables = {name: carried(evaluation, name, own_name) for name in models}
    about, measured = recorded() if evaluation.data.simulated else (None, [])
    return {
        "sample_tables": {name: (sample_rows(rows), sample_notes(rows)) for name, rows in tables.items()},
        "record": about,
        "record_model": measured[0] if measured else None,
        "record_rows": sample_rows(measured[0].samples) if measured else [],
        "record_notes": sample_notes(measured[0].samples) if measured else [],
    }


def _bins(evaluation: Evaluation) -> dict[str, Any]:
    """Return the bins in which models are compared, where they are worse, and the models' ranges."""
    groups = {
        "what the trigger sees (hwPt and L1 η)": [p for p in evaluation.profiles if not p.offline],
        "offline pT, η and charge": [p for p in evaluation.profiles if p.offline],
    }
    counts = {
        what: {name: worse_count(profiles, name) for name in evaluation.models}
        for what, profiles in groups.items()
    }
    seen = [count for by in counts.values() for count in by.values()]
    by_pt = next((p for p in evaluation.profiles if p.axis.name == "pt"), None)
    domains = []
    for name, card in evaluation.cards.items():
        low, high = card.get("domain", {}).get("hwPt", (None, None))
        if low is not None:
            gev = {"low_gev": f"{(low - 1) / 2:g}", "high_gev": f"{(high - 1) / 2:g}"}
            left = sum(evaluation.left_as_is[name].values())
            domains.append({"name": name, "low": low, "high": high, "left_as_is": left, **gev})
    return {
        "worse_counts": counts,
        "judged_bins": any(bins for _, bins in seen),
        "worse_anywhere": any(worse for worse, _ in seen),
        "pt_range": by_pt.judged if by_pt and by_pt.judged else ("-", "-"),
        "not_judged": by_pt.not_judged if by_pt else 0,
        "judged": judged(evaluation.profiles),
        "worse": {name: worse_bins(evaluation.profiles, name) for name in evaluation.models},
        "domains": domains,
    }


def _figures(evaluation: Evaluation) -> dict[str, Any]:
    return {
        "residual_figure": residual_figure(evaluation),
        "profiles": [
            {"axis": p.axis.name, "label": p.axis.label, "svg": profile_figure(evaluation, p)}
            for p in evaluation.profiles
        ],
        "turn_on_figure": turn_on_figure(evaluation) if evaluation.turn_on else "",
        "coverage_figure": coverage_figure(evaluation) if evaluation.coverage else "",
    }


def _origin_of_muons_and_models(evaluation: Evaluation) -> dict[str, Any]:
    """Return where the muons come from and how the models were trained."""
    about, part = evaluation.data.about, evaluation.part
    if part == "test part":
        part += ": a fifth, chosen by a hash of each muon’s own values"
    cuts = about.get("cuts")
    if not isinstance(cuts, list) or not all(isinstance(c, Mapping) for c in cuts):
        cuts = []
    return {
        "data": [
            ("Data set", f"{evaluation.data.name}, sha256 {evaluation.data.sha256[:16]}…"),
            ("Source", _sources(evaluation) or "not stated"),
            ("Era", str(about.get("era") or "not stated")),
            ("Seed", str(about.get("seed", "none"))),
            ("Muons", f"{len(evaluation.data):,}, {part}"),
        ],
        "cuts": [{"cut": "", "l1": None, "offline": None, **c} for c in cuts],
        "recipes": [
            (f"Model {name}", _recipe(card, evaluation.left_as_is[name]))
            for name, card in evaluation.cards.items()
        ],
    }


def _sources(evaluation: Evaluation) -> str:
    source = evaluation.data.about.get("source", [])
    return ", ".join(map(str, source)) if isinstance(source, list) else str(source)


def _recipe(card: Mapping[str, Any], left_as_is: Mapping[str, int]) -> str:
    """Say how a model was trained, and how many muons it left as they were."""
    recipe, training = card["recipe"], card["training"]
    network = (
        f"{recipe.get('loss')}, {recipe.get('optimizer')} (rate {recipe.get('learning_rate')}), "
        f"L2 {recipe.get('l2') or 'none'}, hidden {recipe.get('hidden')}"
    )
    muons = training.get("muons")
    count = f"{muons:,}" if isinstance(muons, int) else "an unstated number of"
    effort = (
        f"{training.get('epochs_run', training.get('epochs'))} epochs of {count} muons "
        f"({_kept(recipe, training)}), batches of {training.get('batch')}, seed {training.get('seed')}"
    )
    if "imported" in recipe:  # trained elsewhere
        network, effort = f"imported from {recipe['imported']}", "training not known"
    left = ", ".join(f"{n:,} {why}" for why, n in left_as_is.items()) or "none"
    return "; ".join((network, effort, f"test muons left as they were: {left}"))


def _kept(recipe: Mapping[str, Any], training: Mapping[str, Any]) -> str:
    """Say from which epoch the weights are."""
    if recipe.get("schedule", "constant") == "constant":
        return f"epoch {training.get('epoch_kept')} kept, by validation loss"
    if not isinstance(guarded := training.get("guard"), Mapping):
        return "at a falling rate"
    worse = f"{len(guarded['worse'])} of {guarded['checks']} comparisons with the raw trigger"
    return f"at a falling rate, with a guard that left {worse} worse in validation"
