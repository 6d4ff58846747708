"""``l1scout anomaly score``: data with the anomaly score of each crossing as one more stream."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from l1scout.cli.anomaly_options import AnomalyFiles, StoredRun, StoreFolder
from l1scout.cli.engine_option import ENGINES_HELP
from l1scout.cli.output import AcceptDamaged, Json, print_json, print_line, progress, warn

if TYPE_CHECKING:
    from collections.abc import Iterator

    from l1scout.core.orbit_data import OrbitData


def score(
    files: AnomalyFiles = None,
    models: Annotated[
        list[Path] | None, typer.Option("--model", "-m", help="Anomaly model; several allowed.")
    ] = None,
    target: Annotated[
        Path | None, typer.Option("--out", help="File or folder to write: .root, .raw, a folder (Parquet)...")
    ] = None,
    to: Annotated[
        str | None, typer.Option(help="Format of OUT; by default that of its suffix, see `convert`.")
    ] = None,
    drop: Annotated[
        bool, typer.Option("--drop", help="Leave out what the format of OUT cannot hold.")
    ] = False,
    engine: Annotated[
        str | None, typer.Option(help=f"Inference engine: {ENGINES_HELP} By default onnx.")
    ] = None,
    run: StoredRun = None,
    store: StoreFolder = None,
    accept_damaged: AcceptDamaged = False,
    json: Json = False,
) -> None:
    """Score how unusual each crossing with an object is, and write the data with the scores as a stream.

    `l1scout analyse anomaly OUT` shows rates at thresholds, the spectrum and the crossings of highest score.
    """
    from l1scout.cli.anomaly_options import anomaly_data
    from l1scout.deploy.anomaly_score import AnomalyScorer
    from l1scout.errors import InputError
    from l1scout.io.format_writer import write_data
    from l1scout.io.quality import ReadQuality

    if not models or target is None:
        msg = "give --model, a directory that `l1scout anomaly train` wrote, and --out"
        raise InputError(msg)
    scorers = [AnomalyScorer.load(model, engine=engine) for model in models]
    quality = ReadQuality()
    with progress() as bar:
        task = bar.add_task("crossings", total=None)

        def scored() -> "Iterator[OrbitData]":
            for data in anomaly_data(files, run, store, quality, target):
                for scorer in scorers:
                    (data,) = scorer.step(data)
                yield data
                bar.update(task, completed=scorers[0].crossings)
            quality.check(allow_damaged=accept_damaged)

        written = write_data(scored(), target, to, drop=drop)
    warn(quality.warnings())
    about = [
        {"name": s.model.card.name, "sha256": s.model.sha256, "trained_on": s.model.card.origin}
        | {"model_id": s.model_id, "crossings": s.crossings}
        for s in scorers
    ]
    if json:
        print_json({"out": target, "simulated": written.simulated, "models": about, "lost": written.lost})
        return
    for one in about:
        print_line(f"{one['name']}, trained on {one['trained_on']}: {one['crossings']:,} crossings scored")
    print_line(f"{target}: {written.format}, {written.objects['anomaly']:,} scores")
    if written.lost:
        print_line(f"  left out: {', '.join(written.lost)}")
