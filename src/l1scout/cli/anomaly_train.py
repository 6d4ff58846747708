"""``l1scout anomaly train``: a network that scores how unusual crossings are."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from l1scout.cli.anomaly_options import AnomalyFiles, StoredRun, StoreFolder
from l1scout.cli.output import AcceptDamaged, Json, print_json, print_line, progress, warn

if TYPE_CHECKING:
    from collections.abc import Iterator

    from l1scout.core.orbit_data import OrbitData
    from l1scout.model.anomaly_inputs import Level


def train(
    target: Annotated[Path, typer.Option("--out", help="Model directory to write.")],
    files: AnomalyFiles = None,
    level: Annotated[
        str, typer.Option(help="What it looks at: muon, or all (muons, jets, e/gamma, missing Et).")
    ] = "all",
    run: StoredRun = None,
    store: StoreFolder = None,
    simulate: Annotated[
        int | None, typer.Option(min=1, help="Train on this number of simulated orbits instead.")
    ] = None,
    like: Annotated[str, typer.Option(help="Year whose collisions are simulated: 2018 or 2024.")] = "2018",
    epochs: Annotated[int | None, typer.Option(min=1, help="By default 20.")] = None,
    crossings: Annotated[
        int, typer.Option(min=1000, help="Most crossings to hold in memory and train on.")
    ] = 2_000_000,
    seed: Annotated[
        int, typer.Option(min=0, max=2**32 - 1, help="Of the simulation and of the training.")
    ] = 1,
    accept_damaged: AcceptDamaged = False,
    json: Json = False,
) -> None:
    """Train a variational autoencoder on crossings, and write its encoder as a model directory.

    Its score says how unlike the training data a crossing is, and nothing about why. Files of several boards,
    as `l1scout simulate streams` writes them, are joined by the orbit.
    """
    from l1scout.cli.anomaly_options import anomaly_data
    from l1scout.cli.simulate import one_of
    from l1scout.errors import InputError
    from l1scout.io.quality import ReadQuality
    from l1scout.model.anomaly_inputs import PLACES
    from l1scout.training.anomaly_fit import EPOCHS, collect_crossings, fit_encoder, save_anomaly_model
    from l1scout.training.save_model import check_target

    one_of("--level", level, dict.fromkeys(map(str, PLACES), ""))
    if simulate and (files or run is not None):
        msg = "give either data (files, folders or --run), or --simulate"
        raise InputError(msg)
    chosen: Level = "muon" if level == "muon" else "all"
    check_target(target)
    quality = ReadQuality()
    with progress() as bar:
        reading = bar.add_task("crossings", total=None)

        def chunks() -> "Iterator[OrbitData]":
            data = _simulated(chosen, simulate, like, seed) if simulate else None
            for piece in data or anomaly_data(files, run, store, quality):
                yield piece
                bar.advance(reading, len(piece.main))

        sample = collect_crossings(chunks(), chosen, crossings)
        quality.check(allow_damaged=accept_damaged)
        task = bar.add_task("epochs", total=epochs or EPOCHS)
        trained = fit_encoder(
            sample,
            epochs=epochs or EPOCHS,
            seed=seed,
            on_epoch=lambda k, _loss: bar.update(task, completed=k),
        )
    warn(quality.warnings())
    card = save_anomaly_model(trained, target)
    if json:
        about = {"model": target, "name": card.name, "simulated": card.simulated, "sha256": card.sha256}
        print_json({**about, "training": card.training, **card.scores})
        return
    print_line(f"{sample.hardware.shape[1]:,} crossings of {sample.orbits:,} orbits")
    print_line(
        f"loss {card.training['loss']:.4g}, on validation crossings {card.training['validation_loss']:.4g}"
    )
    for fraction, score in card.scores["score_exceeded_by_fraction"].items():
        print_line(f"  {float(fraction):.2%} of validation crossings have a hwScore above {score:,}")
    print_line(f"Model {card.name}, trained on {card.origin}, is in {target}")


def _simulated(level: "Level", orbits: int, like: str, seed: int) -> "Iterator[OrbitData]":
    from l1scout.cli.simulate import one_of
    from l1scout.model.anomaly_inputs import PLACES
    from l1scout.simulate.activity import ACTIVITIES
    from l1scout.simulate.all_streams import simulate_streams

    one_of("--like", like, dict(ACTIVITIES))
    streams = [stream for stream, _, _ in PLACES[level]]
    yield from simulate_streams(seed, orbits, streams, activity=ACTIVITIES[like], chunk=20)
