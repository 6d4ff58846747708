"""``l1scout central``: scouting beside events of the central DAQ."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from l1scout.cli.output import AcceptDamaged, Flavour, Json, print_json, print_line, progress, warn

if TYPE_CHECKING:
    from l1scout.analysis.common.central_events import CentralMatch
    from l1scout.io.quality import ReadQuality


def central(
    sources: Annotated[
        list[Path], typer.Argument(help="Scouting data: files or folders.", metavar="SCOUTING...")
    ],
    events: Annotated[
        list[Path],
        typer.Option("--events", help="Files of triggered events: L1Ntuple, L1-DPG nano; several allowed."),
    ],
    bx_offset: Annotated[
        int,
        typer.Option(min=-3563, max=3563, help="How many BX later scouting has numbered the crossings."),
    ] = 0,
    out: Annotated[
        Path | None, typer.Option(help="CSV file for the objects that only one of both has.")
    ] = None,
    flavour: Flavour = None,
    accept_damaged: AcceptDamaged = False,
    json: Json = False,
) -> None:
    """Match scouting to events of the central DAQ by run, orbit and BX, and compare their L1 objects.

    An event is identical if its own BX has the same objects in both, in any order, by all hardware columns
    that both have. Events in orbits that scouting did not see are counted, and not compared. Objects that
    both have at other BX show whether their numbers agree: if most are found at +1, give --bx-offset 1.
    """
    from l1scout.analysis.common.central_events import compared_columns
    from l1scout.core.provenance import joint_origin
    from l1scout.errors import InputError
    from l1scout.io.folder import expand, refuse_input
    from l1scout.io.quality import ReadQuality

    if out:
        refuse_input(out, expand([*sources, *events])[0])
    read, of_events = ReadQuality(), ReadQuality()
    matches, origins = _events(events, of_events, flavour, bx_offset)
    seen: set[str] = set()
    with progress() as bar:
        task = bar.add_task("orbits", total=None)
        for data in _read(sources, read, flavour):
            if data.main.n_orbits is None:
                msg = f"{data.source}: holds triggered events; give scouting data here, events with --events"
                raise InputError(msg)
            origins |= data.origins
            for name in matches.keys() & data.streams.keys():
                if name not in seen and data.streams[name].n_objects:
                    columns = set(compared_columns(name, data.streams[name]))
                    matches[name].columns = tuple(c for c in matches[name].columns if c in columns)
                    seen.add(name)
                matches[name].add(data.streams[name])
            bar.advance(task, data.main.n_orbits)
    read.check(allow_damaged=accept_damaged)
    compared = {name: match for name, match in matches.items() if name in seen}
    if not compared:
        msg = f"scouting data have none of the streams of the events: {', '.join(matches)}"
        raise InputError(msg)
    warn([*read.warnings(), *of_events.warnings(), *_notes(compared)])
    result: dict[str, Any] = {"simulated": joint_origin(origins)}
    result |= {"streams": {name: match.as_dict() for name, match in compared.items()}}
    if out:
        _write(out, compared, result["simulated"])
    if json:
        print_json(result)
        return
    for name, numbers in result["streams"].items():
        _print(name, numbers)


def _events(
    paths: list[Path], quality: "ReadQuality", flavour: str | None, bx_offset: int
) -> "tuple[dict[str, CentralMatch], set[bool | None]]":
    """Read the events, by stream, and say whether they are simulated (InputError if they are none)."""
    from l1scout.analysis.common.central_events import CentralMatch, compared_columns
    from l1scout.core.orbit_batch import concatenate
    from l1scout.errors import InputError

    parts: dict[str, list[Any]] = {}
    origins: set[bool | None] = set()
    for data in _read(paths, quality, flavour):
        if data.main.n_orbits is not None:
            msg = f"{data.source}: holds orbits of scouting, not triggered events, which --events needs"
            raise InputError(msg)
        origins |= data.origins
        for name, batch in data.streams.items():
            parts.setdefault(name, []).append(batch)
    if not parts:
        msg = f"{paths[0]}: no events"
        raise InputError(msg)
    joint = {name: concatenate(batches) for name, batches in parts.items()}
    return {n: CentralMatch(b, compared_columns(n, b), bx_offset) for n, b in joint.items()}, origins


def _read(paths: list[Path], quality: "ReadQuality", flavour: str | None) -> Any:
    from l1scout.io.batches import read_batches
    from l1scout.io.folder import expand

    files, skipped = expand(paths)
    warn([f"skipped: {reason}" for reason in skipped])
    yield from read_batches(files, quality=quality, flavour=flavour)


def _notes(matches: "dict[str, CentralMatch]") -> list[str]:
    """Return what a user must know of the numbers."""
    notes = []
    for name, match in matches.items():
        if not match.columns:
            notes.append(f"{name}: no hardware column is in both: only the numbers of objects are compared")
        if not match.seen.any():
            runs = sorted({*match.events.run.tolist()})[:5]
            notes.append(
                f"{name}: no event is in an orbit of the scouting data; the events are of run "
                f"{', '.join(map(str, runs))}"
            )
    return notes


def _write(out: Path, matches: "dict[str, CentralMatch]", simulated: bool | None) -> None:
    from l1scout.core.provenance import current
    from l1scout.files import write_text
    from l1scout.report.result_tables import rows_csv

    rows = [{"stream": name, **row} for name, match in matches.items() for row in match.differences()]
    names = list(dict.fromkeys(key for row in rows for key in row))
    table = [{key: row.get(key) for key in names} for row in rows]
    write_text(out, current(simulated=simulated).csv_comment() + (rows_csv(table) if table else ""))


def _print(name: str, numbers: dict[str, Any]) -> None:
    share = numbers["identical_share"]
    print_line(
        f"{name}: {numbers['identical']:,} of {numbers['compared']:,} events identical; "
        f"{numbers['not_seen']:,} of {numbers['events']:,} are in orbits that scouting did not see"
    )
    if numbers["compared"]:
        print_line(f"  share {share['value']:.4f}, 68 % interval {share['low']:.4f} to {share['high']:.4f}")
    print_line(
        f"  objects: {numbers['common']:,} in both, {numbers['only_event']:,} in events only, "
        f"{numbers['only_scouting']:,} in scouting only"
    )
    print_line(f"  columns: {', '.join(numbers['columns'])}")
    without = {c: n for c, n in numbers["identical_without_column"].items() if n > numbers["identical"]}
    if without:
        print_line("  identical without " + ", ".join(f"{c}: {n:,}" for c, n in without.items()))
    shifts = ", ".join(f"{int(s):+d} BX {n:,}" for s, n in numbers["common_by_bx_shift"].items())
    print_line(f"  objects in both, if scouting is later by {shifts}")
