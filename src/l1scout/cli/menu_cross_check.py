"""``l1scout menu cross-check``: recorded bits of the Global Trigger beside emulated ones."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from l1scout.cli.menu_show import Cabling
from l1scout.cli.output import (
    AcceptDamaged,
    Json,
    print_json,
    print_line,
    print_problem,
    print_table,
    progress,
    warn,
)
from l1scout.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from l1scout.core.orbit_data import OrbitData
    from l1scout.trigger.cross_check_result import CheckedAlgorithm, CrossCheck

SHOWN = 4
"""Explanations of an algorithm that are printed."""


def cross_check(
    files: Annotated[
        list[Path],
        typer.Argument(help="Files with objects and with the stream gt, folders of such, or L1Ntuples."),
    ],
    menu: Annotated[Path, typer.Option("--menu", help="Menu: XML, or JSON of derived facts; also as .gz.")],
    cabling: Cabling = None,
    ignored: Annotated[
        list[str] | None,
        typer.Option(
            help="Algorithm, by name or index, for which alone the recording keeps no crossing; may be given "
            "several times."
        ),
    ] = None,
    run: Annotated[
        int | None, typer.Option(help="Run in the store that FILES name: all its sources are joined.", min=0)
    ] = None,
    delay: Annotated[
        int, typer.Option(help="Crossings that the recorded bits are later than their objects.")
    ] = 0,
    examples: Annotated[int, typer.Option(min=0, help="Mismatches listed of each algorithm.")] = 3,
    accept_damaged: AcceptDamaged = False,
    json: Json = False,
) -> None:
    """Compare the recorded bits of the Global Trigger with those of the objects; exit 1 if any differs.

    Bits are compared before masks and prescales, in every crossing of the orbits that were seen. For each
    algorithm that differs it lists the first crossings with their objects, the BX, and single faults of the
    firmware (one bit of one limit) that would explain all of them. Algorithms that cannot be emulated from
    the data are listed, and say nothing about the trigger. Of L1Ntuples it compares the events' own
    crossings with the decisions that the hardware recorded.
    """
    from l1scout.io.batches import read_batches
    from l1scout.io.folder import expand
    from l1scout.io.quality import ReadQuality
    from l1scout.store.stored_run import stored_run
    from l1scout.trigger.cross_check import CrossChecker
    from l1scout.trigger.cross_check_result import summary
    from l1scout.trigger.load_menu import load_menu
    from l1scout.trigger.recorded_events import has_decisions, recorded_events

    loaded = load_menu(menu, cabling)
    checker = CrossChecker(loaded, ignored or (), delay, examples)
    stored = None if run is None else stored_run(files[0], run)
    named, skipped = expand(files) if stored is None else ([], stored.notes)
    quality = ReadQuality()
    with progress() as bar:
        task = bar.add_task("orbits", total=None)

        def chunks() -> "Iterator[OrbitData]":
            for data in stored.read(quality) if stored else read_batches(named, quality=quality):
                yield data
                bar.advance(task, data.main.n_orbits or 0)

        events = [path for path in named if has_decisions(path)]
        if events and len(events) < len(named):
            msg = f"{events[0]}: an L1Ntuple: compare it apart from files with the stream gt"
            raise InputError(msg)
        if events:
            found = checker.run_events(part for path in events for part in recorded_events(path))
        else:
            found = checker.run(chunks())
    quality.check(allow_damaged=accept_damaged)
    warn([reason if stored else f"skipped: {reason}" for reason in skipped] + quality.warnings())
    if json:
        print_json({**summary(found, loaded), "read": quality.summary()})
    else:
        _print(found, loaded.name)
    if not found.agrees:
        raise typer.Exit(1)


def _print(found: "CrossCheck", menu: str) -> None:
    from rich.markup import escape
    from rich.table import Table

    from l1scout.core.provenance import data_label

    titles = ("index", "algorithm", "board", "recorded", "emulated", "only recorded", "only emulated")
    table = Table(*titles, box=None, padding=(0, 2, 0, 0))
    for a in found.differing:
        numbers = (a.recorded, a.emulated, a.only_recorded, a.only_emulated)
        board = "" if a.module is None else str(a.module)
        table.add_row(str(a.index), escape(a.name), board, *(f"{n:,}" for n in numbers))
    if table.row_count:
        print_table(table)
    for a in found.differing:
        _print_algorithm(a)
    for reason, names in _by_reason(found.not_emulated).items():
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        print_line(f"not emulated: {', '.join(names[:3])}{more}: {reason}")
    hashes = ", ".join(f"{value} in {n:,} records" for value, n in found.menu_hashes.items())
    if not found.events:
        print_line(f"menu hash: {hashes or 'no records'}")
    if len(found.menu_hashes) > 1:
        warn(["the menu changed on the way: compare the parts of the data with their own menus"])
    compared = f"{len(found.algorithms)} of {len(found.algorithms) + len(found.not_emulated)} algorithms"
    left_out = f", {found.orbits_left_out:,} left out" if found.orbits_left_out else ""
    what = f"{found.events:,} events" if found.events else f"{found.orbits:,} orbits{left_out}"
    orbits = f"{what} ({data_label(found.simulated)} data)"
    print_line(
        f"{menu}: {compared} compared in {orbits}: "
        f"{sum(a.recorded for a in found.algorithms):,} bits recorded, "
        f"{sum(a.different for a in found.algorithms):,} different"
    )
    for a in found.differing:
        print_problem(f"{a.name}: {a.different:,} bits differ")
    for index, n in found.unknown_bits.items():
        print_problem(f"bit {index} is set in {n:,} crossings, but the menu has no algorithm {index}")


def _print_algorithm(one: "CheckedAlgorithm") -> None:
    """Print where an algorithm differs, and what would explain it."""
    from l1scout.trigger.cross_check_inputs import in_words

    most = sorted(one.by_bx.items(), key=lambda item: (-item[1], item[0]))[:5]
    listed = ", ".join(f"{bx} ({n:,})" for bx, n in most)
    print_line(f"{one.name}: {len(one.by_bx):,} BX differ, most often {listed}")
    for found in one.examples:
        which = "only recorded" if found.recorded else "only emulated"
        objects = "; ".join(map(in_words, found.objects)) or "no objects"
        print_line(f"  orbit {found.orbit}, BX {found.bx}, {which}: {objects}")
    for text in one.explanations[:SHOWN]:
        print_line(f"  explained by: {text}")
    if len(one.explanations) > SHOWN:
        print_line(f"  or by {len(one.explanations) - SHOWN} other faults (--json lists them)")
    if not one.explanations:
        print_line("  no single bit of a limit explains it")


def _by_reason(problems: dict[str, str]) -> dict[str, list[str]]:
    """Return the algorithms with each reason, whatever part of their expression it is about."""
    found: dict[str, list[str]] = {}
    for name, reason in problems.items():
        found.setdefault(reason.rpartition(": ")[2], []).append(name)
    return found
