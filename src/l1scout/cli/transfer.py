"""``l1scout transfer``: stored segments to another place, verified."""

from typing import Annotated

import typer

from l1scout.cli.live import Set, SettingsFile, load
from l1scout.cli.output import Json, print_json, print_line, print_problem, progress
from l1scout.core.provenance import current, is_simulated


def transfer(
    target: Annotated[
        str, typer.Argument(help="Folder or any URL that fsspec knows, such as s3://bucket/l1.")
    ],
    settings: SettingsFile = None,
    over: Set = None,
    run: Annotated[int | None, typer.Option(min=0, help="Only this run.")] = None,
    keep_days: Annotated[
        float | None,
        typer.Option(min=0, help="Then delete here what is older and verified there; default: nothing."),
    ] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Read the copies that are there already, too.")
    ] = False,
    json: Json = False,
) -> None:
    """Copy stored segments elsewhere, and read every copy back; stopped, it goes on when started again.

    Segments that still wait for their compression are left for the next time. Notes, settings and a catalogue
    go along, so that the copy is a store of its own. A copy that has gone is made again. Nothing is deleted
    here of which no verified copy is there.
    """
    from l1scout.store.transfer import transfer as copy

    chosen = load(settings, over)
    with progress() as bar:
        task = bar.add_task("bytes", total=None)
        done = copy(
            chosen.store.folder,
            target,
            run=run,
            keep_days=keep_days,
            verify=verify,
            uncompressed=chosen.store.method == "none",
            progress=lambda at, of: bar.update(task, completed=at, total=of),
        )
    if json:
        print_json(vars(done) | {"provenance": current(simulated=is_simulated(done.data)).as_dict()})
    else:
        print_line(
            f"{done.copied} files copied and verified ({done.copied_bytes / 1e6:.1f} MB), "
            f"{done.there} were there already; {done.data} data; "
            f"{done.deleted} deleted here ({done.deleted_bytes / 1e6:.1f} MB)"
        )
        if done.again:
            print_problem(f"{done.again} copies had gone or were damaged, and were made again")
        if done.not_compressed:
            print_line(f"{done.not_compressed} segments are not compressed yet: left for the next time")
        for name, why in done.failed.items():
            print_problem(f"{name}: {why}")
        if done.not_tried:
            print_problem(f"{target} takes no more: {done.not_tried} files were not tried")
    raise typer.Exit(bool(done.failed))
