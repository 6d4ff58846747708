"""``l1scout analyse masses``: spectra of muon pairs."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from l1scout.analysis.masses import Masses, PairCuts
from l1scout.cli.job import Job
from l1scout.cli.output import warn
from l1scout.cli.sources import Data
from l1scout.core.orbit_data import OrbitData
from l1scout.errors import InputError


def masses(
    job: Job,
    pairs: Annotated[
        int | None,
        typer.Option("--simulate", min=1, help="Simulate this number of pairs: resonances and a continuum."),
    ] = None,
    muons: Annotated[
        Path | None,
        typer.Option(help="Send these offline pairs (open-data CSV) through the simulated trigger."),
    ] = None,
    model: Annotated[
        list[Path] | None, typer.Option("--model", "-m", help="Model directory; several allowed.")
    ] = None,
    share: Annotated[
        list[str] | None,
        typer.Option(help=escape('Simulation: share of a resonance, such as "J/psi=0.2"; several allowed.')),
    ] = None,
    min_pair_pt: Annotated[float, typer.Option(min=0, help="Smallest pT of the pair in GeV.")] = 8.0,
    max_eta: Annotated[float, typer.Option(min=0, help="Largest |eta| of each muon.")] = 0.83,
    bins: Annotated[int | None, typer.Option(min=1, help="Bins of the figure's spectrum.")] = None,
    span: Annotated[
        str | None, typer.Option("--range", help="Lowest and highest mass of the figure in GeV, such as 2,5.")
    ] = None,
    log: Annotated[
        bool,
        typer.Option(
            "--log/--linear", help="Mass axis and bins: logarithmic (bins of 2.5 % of the mass) or linear."
        ),
    ] = True,
    every: Annotated[
        bool, typer.Option("--all", help="Muons of all track finders, not of the barrel only.")
    ] = False,
) -> None:
    """Make spectra of the masses of muon pairs: raw, recalibrated, and offline where there is any.

    Pairs of a model that predicts uncertainties also in four categories, best measured first.
    """
    from l1scout.deploy.recalibrate import Recalibrator
    from l1scout.evaluate.evaluation import name_models
    from l1scout.io.conditions import differences, of_file
    from l1scout.report import analyses
    from l1scout.report.mass_figures import mass_edges

    options = job.options
    files = bool(options.files) or options.run is not None
    if sum((files, pairs is not None, muons is not None)) != 1:
        msg = "give one of: files to read or --run, --simulate, --muons"
        raise InputError(msg)
    if not files:
        job.data = Data(options, _simulated(options.seed, pairs, muons, share), _about(job, pairs, muons))
    edges = mass_edges(bins, _span(span), log=log)  # refused before anything is read
    models = name_models([Recalibrator.load(m, errors=True) for m in model or ()])
    warnings = [
        line
        for file in (job.data.files if files else ())
        for name, m in models.items()
        for line in differences(of_file(file, flavour=options.flavour), m.card.conditions, str(file), name)
    ]
    warn(warnings)
    if models:
        job.model = {
            "name": ", ".join(models),
            "sha256": [m.card.onnx.get("sha256") for m in models.values()],
        }
    cuts = PairCuts(options.min_pt, options.min_quality, max_eta, min_pair_pt, not every)
    state = Masses({f"model {name}": m for name, m in models.items()}, cuts)
    for events in job.events():
        state.add(events)
    result = state.result()
    if muons:
        result = {"sample": f"{muons.name}, real pairs through the simulated trigger"} | result
    if models:
        result["warnings"] = warnings
    tables = {n: result[n] for n in ("pairs", "peaks", "not_detected")}
    rows = "real offline pairs, simulated trigger" if muons else "crossings or events"
    job.give(result, tables, partial(analyses.masses, state, rows, edges, log=log), shown=20)


def _span(text: str | None) -> tuple[float, float] | None:
    """Read two masses (InputError)."""
    if text is None:
        return None
    try:
        low, high = (float(t) for t in text.split(","))
    except ValueError:
        msg = f"--range {text}: lowest and highest mass in GeV expected, such as 2,5"
        raise InputError(msg) from None
    return low, high


def _about(job: Job, pairs: int | None, muons: Path | None) -> dict[str, object]:
    """Describe the simulated pairs for the provenance."""
    what = f"pairs of {muons.name} through the simulated trigger" if muons else f"{pairs} muon pairs"
    return {"simulation": what, "seed": job.options.seed}


def _simulated(
    seed: int, pairs: int | None, muons: Path | None, share: Sequence[str] | None
) -> Iterator[OrbitData]:
    if muons:
        from l1scout.simulate.chain import simulate_events

        return simulate_events(seed, muons=muons)
    from l1scout.simulate.dimuons import DEFAULT_SHARES, Pairs, simulate_dimuons

    shares = dict(DEFAULT_SHARES)
    try:
        shares |= {name: float(value) for name, _, value in (s.rpartition("=") for s in share or ())}
        settings = Pairs(shares)
    except ValueError as error:
        msg = f"--share: {error}"
        raise InputError(msg) from None
    return simulate_dimuons(seed, pairs or 0, settings)
