"""``l1scout bench``: Table 3 of this machine, beside the published one."""

import platform
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from l1scout.cli.engine_option import Engines
from l1scout.cli.output import Json, print_json, print_table, progress, write_json
from l1scout.core.provenance import current
from l1scout.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from l1scout.model.directory import Model

MUONS = 1 << 20


def bench(
    model: Annotated[Path, typer.Option("--model", "-m", help="Model directory.")],
    data: Annotated[
        Path | None,
        typer.Option(help="Data set whose muons are used, in its order; by default simulated muons."),
    ] = None,
    engine: Engines = None,
    table: Annotated[Path | None, typer.Option(help="Table of the model, if not in its directory.")] = None,
    threads: Annotated[int, typer.Option(min=1, help="Threads that share the muons.")] = 1,
    rounds: Annotated[int, typer.Option(min=1, help="Repetitions of each measurement.")] = 15,
    target: Annotated[
        Path | None, typer.Option("--out", help="Directory for bench.json and bench.svg.")
    ] = None,
    json: Json = False,
) -> None:
    """Measure throughput and latency of the engines on muons as they arrive."""
    from l1scout.deploy.engine import available_engines, create_engine, default_engine, engines_left_out
    from l1scout.evaluate.bench import PUBLISHED, run
    from l1scout.model.card import model_record
    from l1scout.model.directory import load_model

    loaded = load_model(model)
    names = list(dict.fromkeys([default_engine(loaded), *(engine or available_engines(loaded, table))]))
    skipped = {} if engine else engines_left_out(loaded)
    hardware, origin, simulated = _muons(loaded, data)
    makers = {name: (lambda name=name: create_engine(name, loaded, table=table)) for name in names}
    with progress() as bar:
        task = bar.add_task("rounds", total=rounds)
        found = run(
            loaded,
            makers,
            hardware,
            threads=threads,
            rounds=rounds,
            progress=lambda n, of: bar.update(task, completed=n, total=of),
        )
    result = {
        "model": loaded.card.name,
        "muons": origin,
        "machine": f"{platform.system()} {platform.machine()}, {_processor()}",
        **asdict(found),
        "left_out": skipped,
        "published": [asdict(p) for p in PUBLISHED],
        "simulated": simulated,
        "provenance": current(simulated=simulated, model=model_record(loaded.card)).as_dict(),
    }
    if target:
        from l1scout.files import write_text
        from l1scout.report.bench_figure import bench_figure

        write_json(target / "bench.json", result)
        about = f"model {loaded.card.name}; muons: {origin}"
        write_text(target / "bench.svg", bench_figure(found, about, simulated))
    if json:
        print_json(result)
        return
    _print(result)


def _muons(model: "Model", data: Path | None) -> tuple["NDArray[np.int16]", str, bool | None]:
    from l1scout.evaluate.bench import muons_of, repeated, simulated

    if data is None:
        with progress() as bar:
            task = bar.add_task("simulated muons", total=MUONS)
            muons = simulated(model, MUONS, progress=lambda n, _of: bar.update(task, completed=n))
        return muons, "simulated, seed 1", True
    from l1scout.analysis.figures.canvas import origin
    from l1scout.dataset.matched import read_dataset

    known = read_dataset(data)
    muons = muons_of(model, known.columns)
    if not muons.size:
        msg = f"{data}: no muon in the domain of model {model.card.name}"
        raise InputError(msg)
    times = MUONS / muons.shape[1]
    about = f"{data.name} ({origin(known.simulated)}), in its order" + f", {times:.1f} times" * (times > 1)
    return repeated(muons, MUONS), about, known.simulated


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text("utf-8")
    except OSError:
        return platform.processor() or "processor not stated"
    names = [line.split(":", 1)[1].strip() for line in text.splitlines() if line.startswith("model name")]
    return f"{len(names)} x {names[0]}" if names else "processor not stated"


def _print(result: dict[str, Any]) -> None:
    from l1scout.report.terminal_tables import plain_table

    print(f"Model {result['model']} on {result['machine']}; muons: {result['muons']}\n")
    head = ["engine", "batch", "threads", "M/s best", "median", "/ onnx", "of floor", "floor is"]
    lines = []
    for r in result["throughput"]:
        rates = [
            f"{r['best']:.2f}",
            f"{r['median']:.2f}",
            f"{r['of_onnx']:.2f}",
            "" if r["of_floor"] is None else f"{100 * r['of_floor']:.0f} %",
        ]
        lines.append([r["engine"], str(r["batch"]), str(r["threads"]), *rates, r["floor"]])
    published = [(f"published: {p['device']}", p) for p in result["published"]]
    lines += [[name, "", "", f"> {p['millions']}", "", "", "", ""] for name, p in published]
    print_table(plain_table(head, lines))
    copy, arithmetic = result["copy"] / 1e9, result["arithmetic"] / 1e9
    print(f"\nFloors, one core, this run: memcpy {copy:.1f} GB/s, {arithmetic:.0f} G multiply-adds/s")
    head = ["engine", "call", "muons", "p50 ns", "p99 ns", "p99.9 ns", "opening ms", "memory MB"]
    lines = []
    for t in result["empty_calls"]:
        what = "empty Python function" if t["call"] == "correct" else "empty compiled function, bound"
        lines.append([what, "", "", *(f"{t[k]:.0f}" for k in ("p50", "p99", "p999")), "", ""])
    for t in result["latency"]:
        memory = result["memory"][t["engine"]]
        times = [f"{t[k]:.0f}" for k in ("p50", "p99", "p999")]
        opening = f"{1e3 * result['opening'][t['engine']]:.0f}"
        memory = "" if memory is None else f"{memory / 1e6:.0f}"
        lines.append([t["engine"], t["call"], str(t["muons"]), *times, opening, memory])
    lines += [
        [f"{name}, 1 / throughput", "", "", f"{p['latency_ns']:.0f}", *4 * [""]] for name, p in published
    ]
    for name, why in result["left_out"].items():
        print(f"engine {name} left out: {why}")
    print("\nOne call, in process" + f" (reading the clock: {result['clock_ns']:.0f} ns of it)")
    print_table(plain_table(head, lines))
    if result["peak_bytes"] is not None:
        print(f"Peak memory of this process: {result['peak_bytes'] / 1e6:.0f} MB, muons and engines included")
