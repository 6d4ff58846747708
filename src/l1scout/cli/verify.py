"""``l1scout verify``: every engine against Keras in float64, at every possible input."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from l1scout.cli.engine_option import Engines
from l1scout.cli.output import Json, print_json, print_table, progress

if TYPE_CHECKING:
    from l1scout.evaluate.verify import Verified


def verify(
    model: Annotated[Path, typer.Option("--model", "-m", help="Model directory.")],
    engine: Engines = None,
    table: Annotated[Path | None, typer.Option(help="The table, if not in the model directory.")] = None,
    sample: Annotated[
        int | None, typer.Option(min=1, help="Compare this number of random inputs instead of all.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Random seed of the sample.")] = 1,
    json: Json = False,
) -> None:
    """Compare engines with the Keras network in float64 over the whole input domain, or a random sample.

    `fixed` is Q8.8 unless told otherwise, as the Micron DLA is: its steps are coarser than a hardware
    count. Rules can be compared: --engine fixed --engine fixed:Q4.12,variable. Exit status 1 if an entry
    of the table is not what it should be.
    """
    from l1scout.deploy.engine import available_engines, create_engine, engines_left_out
    from l1scout.evaluate.verify import verify as compare
    from l1scout.firmware.quantised import reference_of
    from l1scout.model.card import made_from
    from l1scout.model.directory import load_model

    loaded = load_model(model)
    names = engine or available_engines(loaded, table)
    engines = {name: create_engine(name, loaded, table=table) for name in names}
    reference, what = reference_of(loaded)
    with progress() as bar:
        task = bar.add_task("inputs", total=sample or loaded.domain.entries)
        found = compare(
            loaded,
            engines,
            reference,
            sample=sample,
            seed=seed,
            progress=lambda n, of: bar.update(task, completed=n, total=of),
        )
    wrong = any(v.inexact for v in found.values())
    if json:
        about = {"sampled": sample is not None, "domain_inputs": loaded.domain.entries}
        result: dict[str, Any] = {name: {**asdict(v), **about, "close": v.close} for name, v in found.items()}
        print_json({**result, "provenance": made_from(loaded.card).as_dict()})
        raise typer.Exit(int(wrong))
    which = (
        f"All {loaded.domain.entries:,} inputs"
        if sample is None
        else f"A RANDOM SAMPLE of {sample:,} (seed {seed}), not all, of the {loaded.domain.entries:,} inputs"
    )
    print(f"{which} of model {loaded.card.name}'s domain; against {what}")
    print(f"Trained on {loaded.card.origin}")
    _print(found, {} if engine else engines_left_out(loaded))
    raise typer.Exit(int(wrong))


def _print(found: "dict[str, Verified]", left_out: dict[str, str]) -> None:
    from l1scout.evaluate.verify import CLOSE_COUNTS, CLOSE_PT
    from l1scout.report.terminal_tables import plain_table

    head = ["engine", "output", "worst", "rms", "worst [counts]", "rms [counts]", "moved by core/10"]
    lines = []
    for name, v in found.items():
        for d in v.deviations:
            unit = "" if d.unit == "1" else f" {d.unit}"
            values = [f"{d.worst:.2g}{unit}", f"{d.rms:.2g}{unit}", f"{d.worst_counts:.2g}"]
            lines.append([name, d.output, *values, f"{d.rms_counts:.2g}", f"{100 * d.moved:.4f} %"])
    print_table(plain_table(head, lines))
    for name, why in left_out.items():
        print(f"{name}: left out: {why}")
    for name, v in found.items():
        limits = f"{CLOSE_COUNTS:g} counts of phi and eta and {100 * CLOSE_PT:g} % of pT"
        worst = f"recalibrated pT off by at most {100 * v.worst_relative_pt:.3g} %"
        print(f"{name}: {'within' if v.close else 'NOT within'} {limits}; {worst}")
        if v.inexact is not None:
            print(f"{name}: {v.inexact:,} entries differ from the quantised network")
        if v.overflows is not None:
            weights = "" if v.weight_overflows is None else f" and {v.weight_overflows:,} weights and biases"
            print(f"{name}: {v.overflows:,} activations{weights} did not fit into their words")
