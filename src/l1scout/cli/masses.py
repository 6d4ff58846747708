"""``l1scout analyse masses``: spectra of muon pairs."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from l1scout.analysis.masses import Masses, PairCuts
from l1scout.cli.output import Json, progress, warn
from l1scout.cli.results import give
from l1scout.cli.sources import Files, MinQuality, Out, Seed
from l1scout.errors import InputError
from l1scout.io.batches import read_batches
from l1scout.orbits import Events


def masses(
    files: Files = None,
    pairs: Annotated[
        int | None,
        typer.Option("--simulate", min=1, help="Simulate so many pairs: resonances and a continuum."),
    ] = None,
    muons: Annotated[
        Path | None,
        typer.Option(help="Send these offline pairs (open-data CSV) through the simulated trigger."),
    ] = None,
    seed: Seed = 1,
    model: Annotated[
        list[Path] | None, typer.Option("--model", "-m", help="Model directory; several allowed.")
    ] = None,
    share: Annotated[
        list[str] | None,
        typer.Option(help='Simulation: share of a resonance, such as "J/psi=0.2"; several allowed.'),
    ] = None,
    min_pt: Annotated[float, typer.Option(min=0, help="Of each muon, GeV.")] = 0.0,
    min_pair_pt: Annotated[float, typer.Option(min=0, help="Of the pair, GeV.")] = 8.0,
    min_quality: MinQuality = 0,
    max_eta: Annotated[float, typer.Option(min=0)] = 0.83,
    every: Annotated[
        bool, typer.Option("--all", help="Muons of all track finders, not of the barrel only.")
    ] = False,
    out: Out = None,
    json: Json = False,
) -> None:
    """Make spectra of the masses of muon pairs: raw, recalibrated, and offline where there is any.

    Pairs of a model that predicts uncertainties also in four categories, best measured first.
    """
    from l1scout.deploy.recalibrate import Recalibrator
    from l1scout.io.conditions import differences, of_file
    from l1scout.report import analyses
    from l1scout.training.evaluation import name_models

    if sum(map(bool, (files, pairs, muons))) != 1:
        msg = "give one of: files to read, --simulate, --muons"
        raise InputError(msg)
    models = name_models([Recalibrator.load(m, errors=True) for m in model or ()])
    warnings = [
        line
        for file in files or ()
        for name, m in models.items()
        for line in differences(of_file(file), m.card.conditions, str(file), name)
    ]
    warn(warnings)
    cuts = PairCuts(min_pt, min_quality, max_eta, min_pair_pt, not every)
    state = Masses({f"model {name}": m for name, m in models.items()}, cuts)
    with progress() as bars:
        task = bars.add_task("rows", total=pairs)
        for events in _pairs(files, pairs, muons, seed, share):
            state.add(events)
            bars.advance(task, len(events.l1))
    result = state.result()
    if muons:
        result = {"sample": f"{muons.name}, real pairs through the simulated trigger"} | result
    if models:
        result["warnings"] = warnings
    tables = {"pairs": result["pairs"], "peaks": result["peaks"]}
    rows = "real offline pairs, simulated trigger" if muons else "crossings or events"
    draw = partial(analyses.masses, state, rows)
    give("masses", result, tables, draw, out, simulated=state.simulated, json=json, shown=20)


def _pairs(
    files: Sequence[Path] | None,
    pairs: int | None,
    muons: Path | None,
    seed: int,
    share: Sequence[str] | None,
) -> Iterator[Events]:
    if files:
        return read_batches(files)
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
