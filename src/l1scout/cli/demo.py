"""``l1scout demo``: from nothing to recalibrated muons and a report, in a few minutes."""

import time
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from l1scout.cli.dataset import HARD, PAIRS, collect_with_bar
from l1scout.cli.evaluate import print_results, provenance_of, write_results
from l1scout.cli.output import Json, err, print_json, print_table, progress, warn
from l1scout.cli.train import fit_with_bar

MODELS = ("B", "default")
CHOSEN = "default"
"""Model that recalibrates the file."""


def demo(
    target: Annotated[Path, typer.Option("--out", help="Directory for everything that is made.")] = Path(
        "demo"
    ),
    pairs: Annotated[int, typer.Option(min=1000, help="Matched pairs to simulate.")] = PAIRS,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Of each training; by default each recipe's.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Of simulation and training.")] = 1,
    muons: Annotated[
        Path | None, typer.Option(help="File of L1 muons to recalibrate; by default the simulated ones.")
    ] = None,
    json: Json = False,
) -> None:
    """Simulate muons, train the paper's model B and ours, compare them, recalibrate a file."""
    from l1scout.dataset.matched import read_dataset
    from l1scout.deploy.recalibrate import Recalibrator
    from l1scout.evaluate.evaluation import evaluate, name_models
    from l1scout.io import InputFile, conditions_of, detect
    from l1scout.io.conditions import differences, simulation
    from l1scout.io.rewrite import add_columns
    from l1scout.report.terminal_tables import cut_flow_table
    from l1scout.simulate.chain import simulate_events
    from l1scout.training.save_model import save

    start = time.perf_counter()
    simulated = target / "muons.parquet"
    if muons:
        detect(muons)
    err.print(f"[bold]1[/] Simulate {pairs:,} matched muons")
    chunks, made = simulate_events(seed, hard=HARD), simulation()
    flow = collect_with_bar(chunks, simulated, pairs, seed=seed, conditions=made, hard=HARD)
    if not json:
        print_table(cut_flow_table(flow))
    data = read_dataset(simulated)

    err.print(f"[bold]2[/] Train models {' and '.join(MODELS)}")
    for name in MODELS:
        save(fit_with_bar(data, name, epochs=epochs, seed=seed), target / f"model-{name}")

    err.print("[bold]3[/] Compare on the test part")
    models = name_models([Recalibrator.load(target / f"model-{name}") for name in MODELS])
    evaluation = evaluate(data, models)
    if not json:
        print_results(evaluation)
    note = (
        f"l1scout demo --pairs {pairs}{f' --epochs {epochs}' if epochs else ''} --seed {seed}: {pairs:,} "
        "simulated matched muons, of which three fifths train the models."
    )
    record = provenance_of(evaluation, models)
    page = write_results(evaluation, target, record, (note,))

    source = muons or simulated
    recalibrated = target / f"{source.stem}-recalibrated{source.suffix}"
    err.print(f"[bold]4[/] Recalibrate {escape(str(source))} with model {CHOSEN}")
    card = models[CHOSEN].card
    with InputFile(source) as file, progress() as bar:
        warnings = differences(conditions_of(file), card.conditions, str(source), card.name)
        warn(warnings)
        task = bar.add_task("rows", total=None)
        done = add_columns(
            file,
            recalibrated,
            lambda columns: models[CHOSEN](columns).branches(),
            progress=lambda rows, of: bar.update(task, completed=rows, total=of),
        )
    seconds = time.perf_counter() - start
    if json:
        written = {"report": page, "recalibrated": recalibrated, "seconds": seconds, "warnings": warnings}
        print_json({"provenance": record.as_dict(), **evaluation.as_dict(), **written})
        return
    print(
        f"\nReport         {page}"
        f"\nAll numbers    {target / 'metrics.json'}"
        f"\nModels         {', '.join(str(target / f'model-{name}') for name in MODELS)}"
        f"\nRecalibrated   {recalibrated} ({done.muons:,} muons, columns {', '.join(done.columns)})"
        f"\nDone in {seconds:.0f} s.",
    )
