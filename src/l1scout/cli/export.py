"""``l1scout export``: a model as an ONNX file."""

from pathlib import Path
from typing import Annotated

import typer

from l1scout.cli.output import Json, print_json, print_line


def export(
    model: Annotated[Path, typer.Argument(help="Model directory.")],
    target: Annotated[Path, typer.Option("--out", help="ONNX file to write.")],
    ramps: Annotated[
        bool,
        typer.Option(
            "--ramps",
            help="Write look-ups as a layer of ReLU hinges, for accelerators that know dense layers only "
            "(opset 9); by default as Gather nodes, which onnxruntime evaluates several times as fast.",
        ),
    ] = False,
    batch: Annotated[
        int | None, typer.Option(min=1, max=1 << 16, help="Fixed number of muons per call; by default any.")
    ] = None,
    json: Json = False,
) -> None:
    """Write a model as an ONNX file: the trigger's integers in, L1 minus offline in rad, 1 and GeV out.

    An anomaly model gives means of latent variables instead.
    """
    import hashlib

    from l1scout.files import complete_or_nothing
    from l1scout.model.card import made_from
    from l1scout.model.directory import load_model
    from l1scout.model.onnx_export import export_onnx

    loaded = load_model(model, anomaly=None)
    content = export_onnx(loaded.layers, loaded.card, ramps=ramps, batch=batch)
    with complete_or_nothing(target) as part:
        part.write_bytes(content)
    if json:
        about = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest(), "ramps": ramps}
        record = made_from(loaded.card).as_dict()
        print_json({"file": target, "model": loaded.card.name, **about, "provenance": record})
        return
    print_line(f"{target}: model {loaded.card.name}, trained on {loaded.card.origin}, {len(content):,} bytes")
