"""``l1scout analyse NAME``: physics and detector quantities of scouting data, or of a simulated run."""

from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from l1scout.analysis.cosmics import Cosmics, Cuts
from l1scout.analysis.counts import CrossingCounts
from l1scout.analysis.filling import find_scheme, load_scheme
from l1scout.analysis.firing import Firing
from l1scout.analysis.linearity import against, read_reference
from l1scout.analysis.livetime import LiveTime
from l1scout.analysis.luminosity import METHODS, Luminosity
from l1scout.analysis.occupancy import Occupancy
from l1scout.analysis.vdm import VdmScan, read_scan
from l1scout.cli.masses import masses
from l1scout.cli.output import Json
from l1scout.cli.results import give
from l1scout.cli.simulate import one_of
from l1scout.cli.sources import (
    Condition,
    Files,
    MinPt,
    MinQuality,
    Occupied,
    Out,
    Prescale,
    SchemeName,
    Section,
    Seed,
    Simulate,
    read,
)
from l1scout.errors import InputError
from l1scout.lhc import ORBITS_PER_LUMISECTION
from l1scout.training.metrics import Measured

analyse = typer.Typer(
    help="Physics and detector quantities, from packets, files or a simulated run. "
    "Each command prints a table; with --out it writes figure, tables (CSV) and result (JSON), too.",
    no_args_is_help=True,
)
analyse.command()(masses)


@analyse.command()
def livetime(
    files: Files = None,
    orbits: Simulate = None,
    seed: Seed = 1,
    scheme: Annotated[str, typer.Option(help="Simulation: 2018, 2024 or none.")] = "2018",
    occupancy: Occupied = 0.05,
    condition: Condition = None,
    section: Section = ORBITS_PER_LUMISECTION,
    prescale: Prescale = 1.0,
    out: Out = None,
    json: Json = False,
) -> None:
    """Count orbits, live time and prescale of every lumisection: what all rates are divided by."""
    state = CrossingCounts(LiveTime(section))
    read(state, files, orbits, seed, scheme, occupancy, condition, prescale)
    live, rows = state.live, state.live.table()
    result = {
        "orbits": live.orbits,
        "live_s": live.seconds,
        "unplaced_orbits": live.unplaced,
        "sections": rows,
    }
    give("livetime", result, {"sections": rows}, None, out, simulated=state.simulated, json=json)


@analyse.command()
def luminosity(
    files: Files = None,
    orbits: Simulate = None,
    seed: Seed = 1,
    scheme: SchemeName = "2018",
    occupancy: Occupied = 0.05,
    condition: Condition = None,
    section: Section = ORBITS_PER_LUMISECTION,
    min_pt: MinPt = 1,
    min_quality: MinQuality = 0,
    prescale: Prescale = 1.0,
    method: Annotated[str, typer.Option(help="What makes the luminosity: zero or rate.")] = "zero",
    sigma_vis: Annotated[
        str | None, typer.Option(help="Visible cross section and uncertainty in microbarn: 50,1.")
    ] = None,
    out: Out = None,
    json: Json = False,
) -> None:
    """Measure luminosity of every bunch and lumisection by zero and rate counting, background taken away.

    Without a visible cross section (see `l1scout analyse calibrate`): muons a crossing.
    """
    from l1scout.report import analyses

    one_of("--method", method, dict.fromkeys(METHODS))
    state = Luminosity(load_scheme(scheme), LiveTime(section), min_pt, min_quality)
    calibration = _measured("--sigma-vis", sigma_vis) if sigma_vis else None
    read(state, files, orbits, seed, scheme, occupancy, condition, prescale)
    result = state.result(calibration, method)
    tables = {"total": [result["total"]], "sections": result["sections"], "bunches": result["bunches"]}
    draw = partial(analyses.luminosity, state, result)
    give("luminosity", result, tables, draw, out, simulated=state.counts.simulated, json=json)


def _measured(option: str, text: str) -> Measured:
    try:
        value, error = (float(t) for t in text.split(","))
    except ValueError:
        value = error = -1.0
    if not (value > 0 and error >= 0 and np.isfinite(value) and np.isfinite(error)):
        msg = f"{option} {text}: a value above 0 and its uncertainty expected, such as 50,1"
        raise InputError(msg)
    return Measured(value, error)


@analyse.command()
def linearity(
    reference: Annotated[
        Path,
        typer.Option(
            help="CSV with columns section or bx, and reference: luminosity by another luminometer."
        ),
    ],
    files: Files = None,
    orbits: Simulate = None,
    seed: Seed = 1,
    scheme: SchemeName = "2018",
    occupancy: Occupied = 0.05,
    condition: Condition = None,
    section: Section = ORBITS_PER_LUMISECTION,
    min_pt: MinPt = 1,
    min_quality: MinQuality = 0,
    prescale: Prescale = 1.0,
    method: Annotated[str, typer.Option(help="What makes the luminosity: zero or rate.")] = "zero",
    out: Out = None,
    json: Json = False,
) -> None:
    """Compare muons a crossing with the luminosity of another luminometer: is the response straight."""
    from l1scout.report import analyses

    one_of("--method", method, dict.fromkeys(METHODS))
    known = read_reference(reference)
    state = Luminosity(load_scheme(scheme), LiveTime(section), min_pt, min_quality)
    read(state, files, orbits, seed, scheme, occupancy, condition, prescale)
    result, simulated = against(state, known, method), state.counts.simulated
    draw = partial(analyses.linearity, result, simulated)
    give("linearity", result, {"points": result["points"]}, draw, out, simulated=simulated, json=json)


@analyse.command()
def calibrate(
    scan: Annotated[
        Path,
        typer.Option(
            help='JSON: {"x": [[first orbit, last, mm], ...], "y": ..., "protons": [[n, error], ...]}'
        ),
    ],
    files: Files = None,
    orbits: Simulate = None,
    seed: Seed = 1,
    scheme: SchemeName = "2018",
    occupancy: Occupied = 0.05,
    condition: Condition = None,
    min_pt: MinPt = 1,
    min_quality: MinQuality = 0,
    out: Out = None,
    json: Json = False,
) -> None:
    """Fit a van der Meer scan: the visible cross section, which makes muons a luminosity."""
    from l1scout.report import analyses

    planes, protons = read_scan(scan)
    state = VdmScan(load_scheme(scheme), planes, min_pt=min_pt, min_quality=min_quality)
    read(state, files, orbits, seed, scheme, occupancy, condition)
    result = state.result(protons)
    tables, draw = {"planes": result["planes"]}, partial(analyses.calibrate, state)
    give("calibrate", result, tables, draw, out, simulated=state.simulated, json=json)


@analyse.command()
def occupancy(
    files: Files = None,
    orbits: Simulate = None,
    seed: Seed = 1,
    scheme: SchemeName = "2018",
    occupied: Occupied = 0.05,
    condition: Condition = None,
    section: Section = ORBITS_PER_LUMISECTION,
    min_pt: MinPt = 1,
    min_quality: MinQuality = 0,
    reference: Annotated[
        list[Path] | None, typer.Option(help="Data to compare with; without it: symmetry in phi.")
    ] = None,
    tolerance: Annotated[float, typer.Option(min=0, max=1, help="Relative difference to ignore.")] = 0.05,
    out: Out = None,
    json: Json = False,
) -> None:
    """Map muons by BX, lumisection, eta, phi and track finder; find hot and dead regions and satellites."""
    from l1scout.report import analyses

    state = Occupancy(load_scheme(scheme), LiveTime(section), min_pt, min_quality)
    read(state, files, orbits, seed, scheme, occupied, condition)
    before = None
    if reference:
        before = Occupancy(None, LiveTime(section), min_pt, min_quality)
        read(before, reference, None, seed, scheme, occupied, None)
    result = state.result(before, tolerance)
    tables = {n: result[n] for n in ("finders", "classes", "processors", "satellites", "cells")}
    draw = partial(analyses.occupancy, state, result)
    give("occupancy", result, tables, draw, out, simulated=state.simulated, json=json)


@analyse.command()
def firing(
    files: Files = None,
    orbits: Simulate = None,
    seed: Seed = 1,
    scheme: SchemeName = "2018",
    occupancy: Occupied = 0.05,
    condition: Condition = None,
    min_pt: MinPt = 1,
    min_quality: MinQuality = 0,
    out: Out = None,
    json: Json = False,
) -> None:
    """Measure pre- and post-firing: muons seen one BX early or late, or twice, by track finder and eta."""
    from l1scout.report import analyses

    state = Firing(load_scheme(scheme), min_pt=min_pt, min_quality=min_quality)
    read(state, files, orbits, seed, scheme, occupancy, condition)
    result = state.result()
    tables = {"shares": result["shares"], "beyond_chance": result["beyond_chance"]}
    draw = partial(analyses.firing, state, result)
    give("firing", result, tables, draw, out, simulated=state.simulated, json=json, shown=20)


@analyse.command()
def cosmics(
    files: Files = None,
    orbits: Simulate = None,
    seed: Seed = 1,
    scheme: SchemeName = "2018",
    occupancy: Occupied = 0.05,
    condition: Condition = None,
    min_pt: MinPt = 1,
    min_quality: MinQuality = 0,
    out: Out = None,
    json: Json = False,
) -> None:
    """Find cosmic muons in empty BX: rate, angles, delay and efficiency of each leg."""
    from l1scout.report import analyses

    state = Cosmics(load_scheme(scheme), cuts=Cuts(min_pt=min_pt, min_quality=min_quality))
    read(state, files, orbits, seed, scheme, occupancy, condition)
    result = state.result()
    tables = {n: result[n] for n in ("cos_zenith", "phi", "efficiency")}
    draw = partial(analyses.cosmics, state, result)
    give("cosmics", result, tables, draw, out, simulated=state.simulated, json=json, shown=20)


@analyse.command()
def filling(
    files: Files = None,
    orbits: Simulate = None,
    seed: Seed = 1,
    scheme: Annotated[str, typer.Option(help="Simulation: 2018, 2024 or none.")] = "2018",
    occupancy: Occupied = 0.05,
    condition: Condition = None,
    out: Out = None,
    json: Json = False,
) -> None:
    """Find the filling scheme and its offset in data."""
    from l1scout.report import analyses

    state = CrossingCounts()
    read(state, files, orbits, seed, scheme, occupancy, condition)
    found = find_scheme(state.all_muons, state.live.orbits)
    result = {
        "orbits": state.live.orbits,
        "colliding": int(found.scheme.bx.size),
        "known": found.known,
        "offset": found.offset,
        "missing": found.missing,
        "extra": found.extra,
        "differences of the next best": found.next_best,
        "undecided": found.undecided.tolist(),
        "muons_a_crossing": {"empty": found.level[0], "colliding": found.level[1]},
        "ranges": found.scheme.ranges,
    }
    trains = [{"first": a, "last": b, "bunches": b - a + 1} for a, b in found.scheme.ranges]
    draw = partial(analyses.filling, state, found)
    give("filling", result, {"trains": trains}, draw, out, simulated=state.simulated, json=json)
