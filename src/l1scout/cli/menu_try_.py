"""``l1scout menu try``: algorithms of one's own beside a menu."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from l1scout.cli.menu_show import Cabling, Column, Prescales
from l1scout.cli.output import AcceptDamaged, Json, print_json, print_line, print_table, progress, warn
from l1scout.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from l1scout.core.orbit_data import OrbitData

CHUNK = 100


def try_(
    algorithms: Annotated[
        Path,
        typer.Argument(help="Algorithms: TOML in the short form, or Python, which is run.", metavar="FILE"),
    ],
    data: Annotated[
        list[Path] | None, typer.Argument(help="Scouting data: files or folders.", metavar="DATA")
    ] = None,
    menu: Annotated[Path | None, typer.Option("--menu", help="Menu to compare with.")] = None,
    cabling: Cabling = None,
    prescales: Prescales = None,
    column: Column = None,
    model: Annotated[
        Path | None, typer.Option("--model", "-m", help="Model directory: recalibrated muons, too.")
    ] = None,
    simulate: Annotated[
        int | None, typer.Option(min=1, help="Simulate this number of orbits instead; drawn muons alone.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the simulation.")] = 1,
    accept_damaged: AcceptDamaged = False,
    json: Json = False,
) -> None:
    """Try algorithms of your own on scouting data: their rates, and what they add to a menu or share with it.

    Python can do what firmware cannot, with recalibrated pT and its uncertainty, and any crossings nearby.
    """
    from l1scout.analysis.common.tried_rates import try_algorithms
    from l1scout.deploy.recalibrate import Recalibrator
    from l1scout.io.quality import ReadQuality
    from l1scout.trigger.decider import read_tried
    from l1scout.trigger.load_menu import load_menu
    from l1scout.trigger.prescale_files import read_prescales

    if bool(data) == (simulate is not None):
        msg = "give data, or --simulate ORBITS"
        raise InputError(msg)
    if prescales and not menu:
        msg = "--prescales are those of a menu: give --menu, too"
        raise InputError(msg)
    loaded = load_menu(menu, cabling) if menu else None
    decider = read_tried(algorithms, loaded)
    factors, notes = None, list[str]()
    if prescales and loaded:
        table = read_prescales(prescales)
        factors, notes = table.of_menu(loaded, column), table.notes(loaded)
    recalibrator = Recalibrator.load(model, errors=True) if model else None
    quality = ReadQuality()
    found = try_algorithms(decider, _chunks(data or [], simulate, seed, quality), factors, recalibrator)
    quality.check(allow_damaged=accept_damaged)
    warn([*notes, *found["skipped"], *quality.warnings()])
    if json:
        print_json(found)
    else:
        _print(found)


def _chunks(data: list[Path], simulate: int | None, seed: int, quality: Any) -> "Iterator[OrbitData]":
    from l1scout.core.orbit_data import OrbitData
    from l1scout.io.batches import read_batches
    from l1scout.io.folder import expand
    from l1scout.simulate.run import simulate_run

    with progress() as bar:
        task = bar.add_task("orbits", total=simulate)
        if simulate:
            pieces = simulate_run(seed, simulate, chunk=CHUNK)
            chunks: Iterator[OrbitData] = (OrbitData.of_muons(piece.muons) for piece in pieces)
        else:
            named, skipped = expand(data)
            warn(f"skipped: {reason}" for reason in skipped)
            chunks = read_batches(named, quality=quality)
        for chunk in chunks:
            yield chunk
            bar.advance(task, chunk.main.n_orbits or 0)


def _print(found: dict[str, Any]) -> None:
    from rich.markup import escape
    from rich.table import Table

    from l1scout.core.provenance import data_label

    menu = found["menu"]
    print_line(f"{data_label(found['simulated'])}: {found['orbits']:,} orbits, {found['live_s']:.4g} s")
    if menu["name"]:
        for key, what in (
            ("total_rate_hz", "before prescales"),
            ("prescaled_total_rate_hz", "after prescales"),
        ):
            if key in menu:
                rate = menu[key]
                print_line(f"menu {menu['name']}, {what}: {rate['value']:.6g} ± {rate['error']:.2g} Hz")
    titles = ["algorithm", "crossings", "rate Hz", "68 % interval"]
    titles += ["not in menu Hz"] * bool(menu["name"])
    titles += ["added after prescales Hz"] * any("added_after_prescales_hz" in r for r in found["algorithms"])
    table = Table(*titles, box=None, padding=(0, 2, 0, 0))
    for row in found["algorithms"]:
        cells = [escape(row["algorithm"]), f"{row['crossings']:,}", f"{row['rate_hz']:.4g}",
                 f"{row['rate_low_hz']:.4g}..{row['rate_high_hz']:.4g}"]  # fmt: skip
        if "not_in_menu_hz" in row:
            ends = f"{row['not_in_menu_low_hz']:.4g}..{row['not_in_menu_high_hz']:.4g}"
            cells.append(f"{row['not_in_menu_hz']:.4g} ({ends})")
        if "added_after_prescales_hz" in row:
            cells.append(f"{row['added_after_prescales_hz']:.4g}")
        table.add_row(*cells)
    print_table(table)
    for row in found["algorithms"]:
        if row.get("most_shared"):
            shared = (f"{s['algorithm']} {100 * s['share']:.1f} %" for s in row["most_shared"])
            print_line(f"{row['algorithm']} shares with {', '.join(shared)}")
    if found["orbits_left_out"]:
        warn([f"{found['orbits_left_out']:,} orbits are left out in which not all streams were seen"])
    for name, why in found["not_evaluated"].items():
        print_line(f"{name}: not evaluated: {why}")
    if menu.get("not_emulated"):
        why = "their streams are not in the data, or menu show has the reason"
        warn([f"{len(menu['not_emulated'])} algorithms of the menu were not emulated: {why}"])
