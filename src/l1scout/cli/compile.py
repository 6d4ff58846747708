"""``l1scout compile``: a model made ready for an engine."""

from pathlib import Path
from typing import Annotated

import typer

from l1scout.cli.output import Json, print_json, print_line, progress
from l1scout.errors import InputError

ENGINES = ("table",)


def compile(  # noqa: A001, the command's name
    model: Annotated[Path, typer.Option("--model", "-m", help="Model directory.")],
    engine: Annotated[str, typer.Option(help=f"One of: {', '.join(ENGINES)}.")] = "table",
    target: Annotated[
        Path | None, typer.Option("--out", help="File to write; by default model.table in the directory.")
    ] = None,
    json: Json = False,
) -> None:
    """Compile a model for an engine: the answer to every possible input, in one file."""
    import time

    from l1scout.deploy.engines.table import TABLE_FILE, TableEngine, build
    from l1scout.model.card import made_from
    from l1scout.model.directory import load_model

    if engine not in ENGINES:
        msg = f"--engine {engine}: choose one of {', '.join(ENGINES)}; the others need no compiling"
        raise InputError(msg)
    loaded, path = load_model(model), target or model / TABLE_FILE
    start = time.perf_counter()
    with progress() as bar:
        task = bar.add_task("inputs, twice", total=None)
        build(loaded, path, progress=lambda n, of: bar.update(task, completed=n, total=of))
    seconds = time.perf_counter() - start
    steps = dict(zip((q.name for q in loaded.card.outputs), TableEngine(loaded, path).steps, strict=True))
    size = path.stat().st_size
    if json:
        entries = loaded.domain.entries
        about = {"file": path, "entries": entries, "bytes": size, "steps": steps, "seconds": seconds}
        print_json({**about, "provenance": made_from(loaded.card).as_dict()})
        return
    print_line(f"model {loaded.card.name}, trained on {loaded.card.origin}")
    print_line(f"{path}: {loaded.domain.entries:,} inputs, {size / 1e6:.0f} MB, {seconds:.1f} s")
    for q in loaded.card.outputs:
        print_line(f"  {q.name} in steps of {steps[q.name]:.3g} {q.unit}")
