"""``l1scout analyse NAME``: physics and detector quantities of scouting data, or of a simulated run."""

from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.markup import escape

from l1scout.analysis.cosmics import Cosmics, Cuts
from l1scout.analysis.counts import CrossingCounts
from l1scout.analysis.filling import find_scheme
from l1scout.analysis.firing import Firing
from l1scout.analysis.linearity import against, read_reference
from l1scout.analysis.livetime import LiveTime
from l1scout.analysis.luminosity import METHODS, Luminosity
from l1scout.analysis.occupancy import Occupancy
from l1scout.analysis.vdm import VdmScan, read_scan
from l1scout.cli.job import CUTS, SIMULATION, TIME, Job, analysis
from l1scout.cli.masses import masses
from l1scout.cli.simulate import one_of
from l1scout.errors import InputError
from l1scout.io.batches import read_batches
from l1scout.io.folder import expand
from l1scout.io.quality import ReadQuality
from l1scout.statistics import Measured

analyse = typer.Typer(
    help="Physics and detector quantities, from packets, files or a simulated run. "
    "Each command prints a table; with --out it writes figure, tables (CSV) and result (JSON), too.",
    no_args_is_help=True,
)
analysis(analyse, "scheme", "bx_range", "min_hw_pt", *SIMULATION, *TIME)(masses)

Method = Annotated[str, typer.Option(help="Counting method: zero or rate.")]


@analysis(analyse, "scheme", "bx_range", *CUTS)
def livetime(job: Job) -> None:
    """Count orbits, live time and prescale of every lumisection: what all rates are divided by."""
    state = job.read(CrossingCounts(LiveTime(job.options.section)))
    live, rows = state.live, state.live.table()
    result = {
        "orbits": live.orbits,
        "live_s": live.seconds,
        "unplaced_orbits": live.unplaced,
        "sections": rows,
    }
    job.give(result, {"sections": rows})


@analysis(analyse)
def luminosity(
    job: Job,
    method: Method = "zero",
    sigma_vis: Annotated[
        str | None, typer.Option(help="Visible cross section and uncertainty in microbarn: 50,1.")
    ] = None,
) -> None:
    """Measure the luminosity of every bunch and lumisection by zero and rate counting, without background.

    Without a visible cross section (see `l1scout analyse calibrate`): muons per crossing and per orbit.
    """
    from l1scout.report import analyses

    one_of("--method", method, dict.fromkeys(METHODS))
    calibration = _measured("--sigma-vis", sigma_vis) if sigma_vis else None
    o = job.options
    state = job.analyse(lambda scheme: Luminosity(scheme, LiveTime(o.section), o.lowest_hw_pt, o.min_quality))
    result = state.result(calibration, method)
    tables = {"total": [result["total"]], "sections": result["sections"], "bunches": result["bunches"]}
    draw = partial(analyses.luminosity, state, result)
    job.give(result, tables, draw)


def _measured(option: str, text: str) -> Measured:
    try:
        value, error = (float(t) for t in text.split(","))
    except ValueError:
        value = error = -1.0
    if not (value > 0 and error >= 0 and np.isfinite(value) and np.isfinite(error)):
        msg = f"{option} {text}: a value above 0 and its uncertainty expected, such as 50,1"
        raise InputError(msg)
    return Measured(value, error)


@analysis(analyse, "bx_range")
def linearity(
    job: Job,
    reference: Annotated[
        Path,
        typer.Option(
            help="CSV with columns section or bx, and reference: luminosity by another luminometer."
        ),
    ],
    method: Method = "zero",
) -> None:
    """Check the linearity of the muon rate against the luminosity of another luminometer."""
    from l1scout.report import analyses

    one_of("--method", method, dict.fromkeys(METHODS))
    known = read_reference(reference)
    o = job.options
    state = job.analyse(lambda scheme: Luminosity(scheme, LiveTime(o.section), o.lowest_hw_pt, o.min_quality))
    result = against(state, known, method)
    draw = partial(analyses.linearity, result, job.simulated)
    job.give(result, {"points": result["points"]}, draw)


@analysis(analyse, "bx_range", *TIME)
def calibrate(
    job: Job,
    scan: Annotated[
        Path,
        typer.Option(
            help=escape(
                'JSON: {"x": [[first orbit, last orbit, separation in mm], ...], "y": [...], '
                '"protons": [[protons per bunch of beam 1, uncertainty], [of beam 2, uncertainty]]}'
            )
        ),
    ],
) -> None:
    """Calibrate: fit sigma_vis, which converts muon rates into luminosity, to a van der Meer scan."""
    from l1scout.report import analyses

    planes, protons = read_scan(scan)
    o = job.options
    state = job.analyse(
        lambda scheme: VdmScan(scheme, planes, min_hw_pt=o.lowest_hw_pt, min_quality=o.min_quality)
    )
    result = state.result(protons)
    draw = partial(analyses.calibrate, state)
    job.give(result, {"planes": result["planes"]}, draw)


@analysis(analyse, "prescale")
def occupancy(
    job: Job,
    reference: Annotated[
        list[Path] | None, typer.Option(help="Data to compare with; without it: symmetry in phi.")
    ] = None,
    tolerance: Annotated[float, typer.Option(min=0, max=1, help="Relative difference to ignore.")] = 0.05,
) -> None:
    """Map muons by BX, lumisection, eta, phi and track finder; find hot and dead regions and satellites."""
    from l1scout.report import analyses

    o = job.options
    state = job.analyse(
        lambda scheme: Occupancy(scheme, LiveTime(o.section), o.lowest_hw_pt, o.min_quality),
        needs_scheme=False,
    )
    before = None
    if reference:
        before = Occupancy(None, LiveTime(o.section), o.lowest_hw_pt, o.min_quality)
        quality = ReadQuality()
        for events in read_batches(expand(reference)[0], quality=quality, flavour=o.flavour):
            before.add(events.muons)
        quality.check(allow_damaged=o.accept_damaged)
        job.data.notes += [f"--reference: {warning}" for warning in quality.warnings()]
    result = state.result(before, tolerance)
    if not job.data.quality.independent:
        result |= {"satellites": []}  # each pass of a loop has the same muons: chance proves nothing
        job.data.notes.append("satellites are not sought: the data repeat")
    tables = {n: result[n] for n in ("finders", "classes", "processors", "satellites", "cells")}
    draw = partial(analyses.occupancy, state, result)
    job.give(result, tables, draw, histograms=state.histograms)


@analysis(analyse, "bx_range", *TIME)
def firing(job: Job) -> None:
    """Measure prefiring and postfiring: muons seen a BX early, a BX late or twice, by finder and eta."""
    from l1scout.report import analyses

    o = job.options
    state = job.analyse(lambda scheme: Firing(scheme, min_hw_pt=o.lowest_hw_pt, min_quality=o.min_quality))
    result = state.result()
    tables = {"shares": result["shares"], "beyond_chance": result["beyond_chance"]}
    draw = partial(analyses.firing, state, result)
    job.give(result, tables, draw, shown=20)


@analysis(analyse, "bx_range", *TIME)
def cosmics(job: Job) -> None:
    """Find cosmic muons in empty BX: rate, angles, delay and efficiency of each leg."""
    from l1scout.report import analyses

    o = job.options
    state = job.analyse(
        lambda scheme: Cosmics(scheme, cuts=Cuts(min_hw_pt=o.lowest_hw_pt, min_quality=o.min_quality))
    )
    result = state.result()
    tables = {n: result[n] for n in ("cos_zenith", "phi", "efficiency")}
    draw = partial(analyses.cosmics, state, result)
    job.give(result, tables, draw, shown=20)


@analysis(analyse, "scheme", *TIME, *CUTS)
def filling(job: Job) -> None:
    """Find the filling scheme and its offset in data."""
    from l1scout.report import analyses

    state = job.analyse(lambda _: CrossingCounts(), needs_scheme=False)
    found = find_scheme(state.all_muons, state.live.orbits)
    result = {
        "orbits": state.live.orbits,
        "colliding": int(found.scheme.bx.size),
        "known": found.known,
        "offset": found.offset,
        "missing": found.missing,
        "extra": found.extra,
        "differing_bx_of_next_best": found.next_best,
        "undecided": found.undecided.tolist(),
        "muons_per_empty_crossing": found.level[0],
        "muons_per_colliding_crossing": found.level[1],
        "ranges": found.scheme.ranges,
    }
    trains = [{"first": a, "last": b, "bunches": b - a + 1} for a, b in found.scheme.ranges]
    draw = partial(analyses.filling, state, found)
    job.give(result, {"trains": trains}, draw)
