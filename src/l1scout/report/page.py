"""The report: one HTML file that needs nothing else, for people who were not there."""

import base64
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from l1scout import __version__
from l1scout.core.provenance import Provenance
from l1scout.evaluate.carried import carried, recorded
from l1scout.evaluate.evaluation import Evaluation
from l1scout.evaluate.profiles import MIN_MUONS, SIGNIFICANT
from l1scout.evaluate.published import PUBLISHED, SOURCE, published_ratios
from l1scout.evaluate.slices import FLOOR
from l1scout.files import complete_or_nothing
from l1scout.model.quantities import VARIABLES
from l1scout.report import carry
from l1scout.report.figures import coverage_figure, origin, profile_figure, residual_figure
from l1scout.report.result_tables import (
    KIND_NAMES,
    Row,
    judged,
    ratio_rows,
    score_rows,
    worse_bins,
    worse_count,
)
from l1scout.report.turn_on_figure import turn_on_figure

_TEMPLATE = Template((Path(__file__).parent / "page.html").read_text("utf-8"))
STYLE = (Path(__file__).parent / "style.css").read_text("utf-8")
_GREEK = {"phi": "φ", "eta": "η", "pt": "p<sub>T</sub>"}
_UNITS = {"phi": " rad", "eta": "", "pt": ""}
_WHAT = {"phi": "RMS of Δφ", "eta": "RMS of Δη", "pt": "RMS of Δp<sub>T</sub>/p<sub>T</sub>"}
_AXIS_TITLES = {
    "pt": "Against offline p<sub>T</sub>",
    "eta": "Against offline η",
    "charge": "By charge",
    "hw_pt": "Against hwPt",
}


def write_page(
    evaluation: Evaluation, path: str | Path, notes: Sequence[str] = (), record: Provenance | None = None
) -> None:
    """Write the report of an evaluation.

    Parameters
    ----------
    evaluation : Evaluation
    path : str or Path
        Of the HTML file.
    notes : sequence of str
        Plain sentences for "How this was made".
    record : Provenance, optional
        Kept in the page's metadata.

    Raises
    ------
    InputError
        If it cannot be written.
    """
    write_text(path, page(evaluation, notes, record))


def write_text(path: str | Path, text: str) -> None:
    """Write a text file, which appears when it is complete (InputError if it cannot be written)."""
    with complete_or_nothing(Path(path)) as part:
        part.write_text(text, "utf-8", "backslashreplace")


def page(evaluation: Evaluation, notes: Sequence[str] = (), record: Provenance | None = None) -> str:
    """Make the report's HTML; see `write_page`."""
    names = list(evaluation.models)
    return _TEMPLATE.substitute(
        style=STYLE,
        version=escape(__version__),
        provenance=escape(record.as_json()) if record else "",
        origin=escape(origin(evaluation.data.simulated)),
        banner=_banner(evaluation),
        muons=f"{len(evaluation.data):,}",
        unseen=" that no model has seen" if evaluation.part == "test part" else "",
        models=", ".join(f"model {escape(n)}" for n in names),
        tiles="".join(_tiles(evaluation, name) for name in names),
        caution=_caution(evaluation),
        scores=_table(score_rows({"GMT": evaluation.raw_scores, **evaluation.model_scores}), KIND_NAMES),
        ratios=_table(ratio_rows(evaluation.ratios), {k: n.split()[0] for k, n in KIND_NAMES.items()}),
        floor=FLOOR,
        floor_share=f"{100 * (1 - evaluation.without_floor.muons / len(evaluation.data)):.1f}",
        parts=carry.slices_html([evaluation.without_floor], names),
        carry=_carry(evaluation),
        outside=carry.slices_html(evaluation.outside, names),
        judged="".join(f"<li>{escape(line)}</li>" for line in judged(evaluation.profiles)),
        range=_range(evaluation),
        turn_on=_image(turn_on_figure(evaluation), "Turn-on curves of the raw trigger and of the models")
        if evaluation.turn_on
        else "",
        warnings=_warnings(evaluation),
        core_remark=_core_remark(evaluation),
        residuals=_image(residual_figure(evaluation), "Residuals of the raw trigger and of the models"),
        profiles="".join(
            f"<h3>{_AXIS_TITLES[p.axis.name]}</h3>"
            + _image(profile_figure(evaluation, p), f"Bias, resolution and tail against {p.axis.label}")
            for p in evaluation.profiles
        ),
        worse=_worse(evaluation),
        uncertainties=_uncertainties(evaluation),
        sigma=f"{SIGNIFICANT:g}",
        min_muons=MIN_MUONS,
        made="".join(f"<p>{escape(n)}</p>" for n in notes),
        data=_data(evaluation),
        recipes=_recipes(evaluation),
        source=escape(SOURCE),
    )


def _banner(evaluation: Evaluation) -> str:
    if evaluation.data.simulated:
        return (
            "<strong>Simulated muons.</strong> Everything on this page except the rows marked "
            "“published” comes from l1scout’s own simulation of the detector and the trigger, not from CMS "
            "data."
        )
    if evaluation.data.simulated is None:
        return "<strong>Muons of unstated origin.</strong> The data set does not say whether it is simulated."
    return f"<strong>Recorded muons</strong> from {escape(_sources(evaluation))}."


def _sources(evaluation: Evaluation) -> str:
    source = evaluation.data.about.get("source", [])
    return ", ".join(map(str, source)) if isinstance(source, list) else str(source)


def _tiles(evaluation: Evaluation, name: str) -> str:
    """RMS before and after, large."""
    before, after, ratio = (
        evaluation.raw_scores.rms,
        evaluation.model_scores[name].rms,
        evaluation.ratios[name].rms,
    )
    tiles = []
    for v in VARIABLES:
        digits = 4 if v == "eta" else 3
        known = ""
        if name in PUBLISHED:
            known = f"; published {100 * (published_ratios(name).rms[v].value - 1):+.0f} %"
        change = 100 * (ratio[v].value - 1)
        kind = "worse" if change > 0 else "better"
        tiles.append(
            f'<div class="tile"><div class="what">{_WHAT[v]}</div>'
            f'<div class="change {kind}">{_signed(change)} %</div>'
            f'<div class="detail">{before[v].value:.{digits}f} → {after[v].value:.{digits}f}{_UNITS[v]}'
            f"{_minus(known)}</div></div>"
        )
    return f'<h3>Model {escape(name)}</h3><div class="tiles">{"".join(tiles)}</div>'


def _caution(evaluation: Evaluation) -> str:
    """Say at once that the averages hide bins in which the raw trigger is better, and the range judged."""
    counts = {name: worse_count(evaluation.profiles, name) for name in evaluation.models}
    by_pt = next((p for p in evaluation.profiles if p.axis.name == "pt"), None)
    if not any(seen for _, seen in counts.values()):
        return "<p>No bin of p<sub>T</sub>, η, charge or hwPt has enough muons to judge a model.</p>"
    low, high = by_pt.judged if by_pt and by_pt.judged else ("-", "-")
    beyond = by_pt.not_judged if by_pt else 0
    span = f"offline p<sub>T</sub> of {low} to {high} GeV"
    rest = (
        f' Of the {beyond:,} muons outside nothing is claimed: <a href="#outside">what is known of them</a>.'
        if beyond
        else ""
    )
    if not any(worse for worse, _ in counts.values()):
        return (
            "<p>No model is significantly worse than the raw trigger in any bin of η, charge and hwPt, "
            f"and of {span}.{rest}</p>"
        )
    found = ", ".join(
        f"model {escape(name)} in {worse} of {seen} bins" for name, (worse, seen) in counts.items()
    )
    return (
        "<p>These are averages over mostly soft muons. <strong>Not everything is better:</strong> "
        f"of the bins in η, charge and hwPt, and in {span}, {found} is worse than the raw trigger in some "
        f'respect. <a href="#where">See where.</a>{rest}</p>'
    )


def _range(evaluation: Evaluation) -> str:
    """Say for which hwPt each model answers."""
    lines = []
    for name, card in evaluation.cards.items():
        low, high = card.get("domain", {}).get("hwPt", (None, None))
        if low is not None:
            kept = sum(evaluation.left_as_is[name].values())
            lines.append(
                f"<li>Model {escape(name)} recalibrates hwPt {low} to {high} (L1 p<sub>T</sub> "
                f"{(low - 1) / 2:g} to {(high - 1) / 2:g} GeV); {kept:,} of these muons are outside its "
                "range and keep the trigger’s values.</li>"
            )
    return f"<ul>{''.join(lines)}</ul>" if lines else ""


def _carry(evaluation: Evaluation) -> str:
    """Show further samples, and what is known of the default network on muons of another kind."""
    own = {True: "this page, simulated", False: "this page, recorded", None: "this page"}
    out = []
    if evaluation.also:
        name_here = own[evaluation.data.simulated]
        out += [_carry_table(evaluation, name, name_here) for name in evaluation.models]
    if evaluation.data.simulated:
        about, samples = recorded()
        out.append(
            "<p><strong>The numbers of this page hold for this simulated sample only.</strong> With the "
            "trigger’s official tables, and for real muons, a network that was trained on our simulation is "
            "much less good. The default network on three samples, measured on "
            f"{escape(about['date'])} with <code>{escape(about['command'])}</code> (docs/study.md): "
            "ratios model / raw trigger, below 1 is better for RMS and tail; pull widths, 1 is right.</p>"
            f"{carry.html(samples)}"
        )
    return "".join(out)


def _carry_table(evaluation: Evaluation, name: str, own: str) -> str:
    head = f"<p>Model {escape(name)} on several samples: ratios model / raw trigger, and pull widths.</p>"
    return head + carry.html(carried(evaluation, name, own))


def _warnings(evaluation: Evaluation) -> str:
    lines = [w for found in (evaluation, *evaluation.also.values()) for w in found.warnings]
    return f'<ul class="warnings">{"".join(f"<li>{escape(w)}</li>" for w in lines)}</ul>' if lines else ""


def _signed(x: float) -> str:
    return _minus(f"{x:+.0f}")


def _minus(text: str) -> str:
    return text.replace("-", "\N{MINUS SIGN}")


def _table(rows: Sequence[Row], kinds: Mapping[str, str]) -> str:
    head = "".join(f'<th colspan="3" scope="colgroup">{escape(n)}</th>' for n in kinds.values())
    sub = "".join(
        f'<th scope="col"{" class=first" if v == "phi" else ""}>{_GREEK[v]}</th>'
        for _ in kinds
        for v in VARIABLES
    )
    body = []
    for row in rows:
        cells = []
        for k, (value, error) in enumerate(row.cells):
            extra = f' <span class="error">± {error}</span>' if error else ""
            cells.append(f"<td{' class=first' if k % 3 == 0 else ''}>{value}{extra}</td>")
        name = "raw trigger (GMT)" if row.name == "GMT" else f"model {escape(row.name)}"
        where = ' class="published"' if row.published else ""
        label = "published" if row.published else name
        body.append(f'<tr{where}><th scope="row">{label}</th>{"".join(cells)}</tr>')
    return (
        f'<div class="scroll"><table class="numbers"><thead><tr><th rowspan="2"></th>{head}</tr>'
        f"<tr>{sub}</tr></thead><tbody>{''.join(body)}</tbody></table></div>"
    )


def _core_remark(evaluation: Evaluation) -> str:
    """Say that the cores of the simulation are not those of the publication."""
    if not evaluation.data.simulated:
        return ""
    core, known = evaluation.raw_scores.core, PUBLISHED["GMT"].core
    shares = " and ".join(
        f"{100 * core[v].value:.1f} % in {_GREEK[v]} (published: {100 * known[v].value:.1f} %)"
        for v in ("phi", "pt")
    )
    return (
        "<li><strong>The φ and p<sub>T</sub> cores do not reach the published ones.</strong> In this "
        f"simulation the raw trigger has {shares} in its core. No choice of the simulation’s parameters "
        "closes the gap, and its cause is not known. Compare ratios, not cores.</li>"
    )


def _worse(evaluation: Evaluation) -> str:
    out = []
    for name in evaluation.models:
        found = worse_bins(evaluation.profiles, name)
        items = "".join(f"<li>{escape(f)}</li>" for f in found) or "<li>nowhere</li>"
        out.append(f"<p><strong>Model {escape(name)}</strong></p><ul>{items}</ul>")
    return "".join(out)


def _uncertainties(evaluation: Evaluation) -> str:
    if not evaluation.coverage:
        return ""
    rows = "".join(
        f"<tr><th>model {escape(name)}</th>"
        + "".join(f"<td>{c.width[v].value:.3f} ± {c.width[v].error:.3f}</td>" for v in VARIABLES)
        + "</tr>"
        for name, c in evaluation.coverage.items()
    )
    return (
        "<h2>Predicted uncertainties</h2><p>A model says how far off its answer may be: 68 % of muons are "
        "within that. The pull is a muon’s residual over it (p<sub>T</sub>: of its own p<sub>T</sub>, as the "
        "offline one is not known), its width half of the central 68 %: 1 is right. Tails are longer "
        "than a Gaussian’s: they are where the share seen lies below the line. Full marks: in bins of the "
        "recalibrated p<sub>T</sub>; open: of the offline p<sub>T</sub>, which the prediction does not "
        'know.</p><div class="scroll"><table class="numbers"><thead><tr><th>pull width</th>'
        + "".join(f"<th>{_GREEK[v]}</th>" for v in VARIABLES)
        + f"</tr></thead><tbody>{rows}</tbody></table></div>"
        + _image(coverage_figure(evaluation), "Coverage and pull width of the predicted uncertainties")
    )


def _data(evaluation: Evaluation) -> str:
    about = evaluation.data.about
    facts = {
        "Data set": f"{evaluation.data.name}, sha256 {evaluation.data.sha256[:16]}…",
        "Source": _sources(evaluation) or "not stated",
        "Era": str(about.get("era") or "not stated"),
        "Seed": str(about.get("seed", "none")),
        "Muons": f"{len(evaluation.data):,}, {evaluation.part}"
        + (": a fifth, chosen by a hash of each muon’s own values" if evaluation.part == "test part" else ""),
    }
    rows = "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in facts.items())
    return f"<dl>{rows}</dl>{_cut_flow(about.get('cuts'))}"


def _cut_flow(cuts: Any) -> str:
    if not isinstance(cuts, list) or not all(isinstance(c, Mapping) for c in cuts):
        return ""
    rows = "".join(
        f'<tr><th scope="row">{escape(str(c.get("cut", "")))}</th>'
        + "".join(f"<td>{_count(c.get(side))}</td>" for side in ("l1", "offline"))
        + "</tr>"
        for c in cuts
    )
    return (
        '<div class="scroll"><table class="cuts"><thead><tr><th>Muons left after each cut</th><th>L1</th>'
        f"<th>offline</th></tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _count(n: Any) -> str:
    return f"{n:,}" if isinstance(n, int) else ""


def _recipes(evaluation: Evaluation) -> str:
    rows = []
    for name, card in evaluation.cards.items():
        recipe, training = card["recipe"], card["training"]
        left = evaluation.left_as_is[name]
        network = (
            f"{recipe.get('loss')}, {recipe.get('optimizer')} (rate {recipe.get('learning_rate')}), "
            f"L2 {recipe.get('l2') or 'none'}, hidden {recipe.get('hidden')}"
        )
        effort = (
            f"{training.get('epochs_run', training.get('epochs'))} epochs of "
            f"{_count(training.get('muons'))} muons ({_kept(recipe, training)}), "
            f"batches of {training.get('batch')}, "
            f"seed {training.get('seed')}"
        )
        kept = ", ".join(f"{n:,} {why}" for why, n in left.items()) or "none"
        if "imported" in recipe:  # trained elsewhere
            network, effort = f"imported from {recipe['imported']}", "training not known"
        facts = (network, effort, f"test muons left as they were: {kept}")
        rows.append(f"<dt>Model {escape(name)}</dt><dd>{escape('; '.join(facts))}</dd>")
    return f"<dl>{''.join(rows)}</dl>"


def _kept(recipe: Mapping[str, Any], training: Mapping[str, Any]) -> str:
    """Say which epoch's weights they are."""
    if recipe.get("schedule", "constant") == "constant":
        return f"epoch {training.get('epoch_kept')} kept, by validation loss"
    if not isinstance(guarded := training.get("guard"), Mapping):
        return "at a falling rate"
    return f"at a falling rate, with a guard; bins not safe: {guarded['bins_not_safe']}"


def _image(svg: str, text: str) -> str:
    """Embed a figure; on narrow screens it scrolls sideways rather than shrinks."""
    data = base64.b64encode(svg.encode()).decode()
    return f'<figure class="wide"><img alt="{escape(text)}" src="data:image/svg+xml;base64,{data}"></figure>'
