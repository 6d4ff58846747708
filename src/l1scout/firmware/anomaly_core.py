"""Anomaly models in logic: the encoder in integers, its Verilog, and a comparison of both, bit for bit.

Weights of the trained encoder are rounded to few bits after the training, and widths are such that no input
can overflow them: the encoder has too many inputs for all of them to be tried. Squares and their sum follow
the core, in a module of our own (``rtl/anomaly``).
"""

import dataclasses
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1scout import __version__
from l1scout.deploy.anomaly_score import AnomalyScorer
from l1scout.deploy.engines.firmware import FirmwareEngine
from l1scout.errors import InputError
from l1scout.files import complete_folder
from l1scout.firmware.logic import Logic, trace
from l1scout.firmware.verilator import build_verilator, run_program
from l1scout.formats.streams.anomaly import STEPS_PER_UNIT
from l1scout.model.checksums import write_sums
from l1scout.model.directory import Model, network_file
from l1scout.model.integers import IntegerNetwork, Neurons, widths
from l1scout.model.network import NETWORK_FILE, Network
from l1scout.model.object_places import HIGH, LOW
from l1scout.training.save_model import check_target

CORE = "anomaly_core"
SOURCES = ("anomaly.v", f"{CORE}.v")
WEIGHT_BITS = 8
HIDDEN_FRACTION, MEAN_FRACTION = 4, 5
"""Bits below the point of hidden neurons and of means."""
SCORE_FRACTION = STEPS_PER_UNIT.bit_length() - 1
"""Bits of the score below the point."""
_EXTRA_EDGES = 4
"""Clock edges beside the core's stages: its input register, squares, sum, score."""
_WORD, _QUAD = 32, 64


def quantise_encoder(network: Network, weight_bits: int = WEIGHT_BITS) -> IntegerNetwork:
    """Return an encoder in integers.

    Parameters
    ----------
    network : Network
        Of an anomaly model: dense layers, all ReLU but the last.
    weight_bits : int
        Of the largest weight of a layer, its sign among them; others of the layer have the same point.

    Raises
    ------
    InputError
        If it has look-ups, gains or other activations.
    """
    kinds = [layer.activation for layer in network.layers]
    if network.look_ups or network.gains or kinds != ["relu"] * (len(kinds) - 1) + ["linear"]:
        msg = "only an encoder of dense layers, all ReLU but the last, becomes integers"
        raise InputError(msg)
    low, high = (np.full(len(network.inputs), end, np.int64) for end in (LOW, HIGH))
    made, lows, highs, fraction = [], [], [], 0
    for k, layer in enumerate(network.layers):
        hidden = k < len(network.layers) - 1
        largest = max(float(np.abs(layer.weights).max()), 2.0**-16)
        point = weight_bits - 1 - int(np.floor(np.log2(largest)) + 1)
        most = (1 << (weight_bits - 1)) - 1
        weights = np.clip(np.rint(layer.weights * 2.0**point), -most, most).astype(np.int64)
        wanted = HIDDEN_FRACTION if hidden else MEAN_FRACTION
        drop = max(fraction + point - wanted, 0)
        bias = np.rint(layer.bias * 2.0 ** (fraction + point)).astype(np.int64) + (1 << drop >> 1)
        plus, minus = np.maximum(weights, 0), np.minimum(weights, 0)
        low, high = (low @ plus + high @ minus + bias) >> drop, (high @ plus + low @ minus + bias) >> drop
        if hidden:
            low, high = np.maximum(low, 0), np.maximum(high, 0)
        lows.append(low)
        highs.append(high)
        n = bias.size
        made.append(Neurons(weights, bias, np.full(n, drop), np.full(n, 31)))
        fraction += point - drop
    if 2 * fraction < SCORE_FRACTION:
        msg = "weights of the encoder are too large for a score in sixteenths; train it again"
        raise InputError(msg)
    steps = np.full(made[-1].bias.size, 2.0**-fraction)
    network_made = IntegerNetwork(network.inputs, tuple(made), steps=steps)
    return network_made.with_bits(widths(network_made, lows, highs))


def save_anomaly_firmware(model: Model, directory: str | Path, weight_bits: int = WEIGHT_BITS) -> Model:
    """Write the integer form of an anomaly model as a model directory, and return it.

    Raises
    ------
    InputError
        If the directory holds something else or cannot be written, or the encoder cannot be made integers.
    """
    path = Path(directory)
    check_target(path)
    network = quantise_encoder(model.layers, weight_bits)
    layers = [layer.weights.shape for layer in network.layers]
    about = {"float_model": model.card.name, "float_network": model.sha256, "weight_bits": weight_bits}
    about |= {"layers": [list(shape) for shape in layers], "bits": [n.bits.tolist() for n in network.layers]}
    card = dataclasses.replace(model.card, firmware=about, onnx={}, network=network_file(network), scores={})
    with complete_folder(path) as part:
        (part / NETWORK_FILE).write_bytes(network.content)
        card.write(part)
        write_sums(part)
    return Model(card, network, str(path), path)


@dataclass(frozen=True)
class AnomalyBuild:
    """Verilog of an anomaly model.

    Parameters
    ----------
    folder : Path
    logic : Logic
    stages, latency : int
        Of the core's pipeline; clock edges from a crossing to its score, the one that takes it in included.
    """

    folder: Path
    logic: Logic
    stages: int
    latency: int

    @property
    def sources(self) -> list[Path]:
        """Verilog files."""
        return [self.folder / name for name in SOURCES]


def build_anomaly(
    model: Model, folder: str | Path, *, cutoff: float, compiler: str = "da4ml"
) -> AnomalyBuild:
    """Write Verilog of an anomaly model in integers; the folder appears when it is complete.

    Parameters
    ----------
    model : Model
        As `save_anomaly_firmware` returns it.
    folder : str or Path
    cutoff : float
        Largest number of adders between registers.
    compiler : str
        ``da4ml`` or ``alkaid``.

    Raises
    ------
    InputError
        If the model is not of integers, or the compiler is missing.
    """
    network, path = model.integers, Path(folder)
    if network is None:
        msg = f"{model.name}: not in integers; make it so first"
        raise InputError(msg)
    logic = trace(network, model.domain, compiler)
    written = logic.write(cutoff, CORE)
    with complete_folder(path) as part:
        (part / f"{CORE}.v").write_text(written.verilog, "utf-8")
        (part / "anomaly.v").write_text(_wrapper(model.sha256, network, logic, written.stages), "utf-8")
        (part / f"LICENSE.{compiler}").write_text(written.licence, "utf-8")
        write_sums(part)
    return AnomalyBuild(path, logic, written.stages, written.stages + _EXTRA_EDGES)


def _wrapper(sha256: str, network: IntegerNetwork, logic: Logic, stages: int) -> str:
    """Return the module round the core, for the widths of a model."""
    width, at, lines = max(logic.output_bits), 0, []
    signs = logic.output_signs
    width += 0 if all(signs) else 1
    for k, bits in enumerate(logic.output_bits):
        last = at + bits - 1
        fill = f"{width - bits}{{answer[{last}]}}" if signs[k] else f"{width - bits}{{1'b0}}"
        value = f"answer[{last}:{at}]"
        lines.append(f"  assign mean[{k}] = {f'{{{{{fill}}}, {value}}}' if bits < width else value};")
        at += bits
    fraction = -int(np.log2(network.answer_steps[0]))
    shift = 2 * fraction - SCORE_FRACTION
    asked = [f"in_data[{8 * k}+:{bits}]" for k, bits in enumerate(logic.input_bits) if bits]
    values = {
        "made": f"l1scout {__version__} of network {sha256}", "in_bits": 8 * len(network.inputs),
        "stages": stages, "means": len(logic.output_bits), "width": width, "shift": shift,
        "core_bits": sum(logic.input_bits), "answer_bits": sum(logic.output_bits),
        "asked": ", ".join(reversed(asked)), "assignments": "\n".join(lines),
    }  # fmt: skip
    text: str = resource("anomaly.v").read_text("utf-8")
    for name, put in values.items():
        text = text.replace(f"@{name}@", str(put))
    return text


def resource(name: str) -> Any:
    """Return a file of our own Verilog or C++."""
    return files("l1scout.firmware") / "rtl" / "anomaly" / name


def random_crossings(model: Model, crossings: int, seed: int = 1) -> NDArray[np.int16]:
    """Draw inputs over all of their range; in half of the crossings most places are empty, as in data."""
    random = np.random.default_rng(seed)
    hardware = random.integers(LOW, HIGH + 1, (len(model.card.inputs), crossings)).astype(np.int16)
    empty = random.random(hardware.shape) < np.where(np.arange(crossings) % 2, 0.8, 0.0)
    return np.where(empty, 0, hardware).astype(np.int16)


@dataclass(frozen=True)
class ComparedScores:
    """Crossings through a simulator, beside the integer engine.

    Parameters
    ----------
    crossings, mismatches : int
    latency : int
        Clock edges, the one that takes a crossing in included; -1 if it varied.
    """

    crossings: int
    mismatches: int
    latency: int


def simulate_anomaly(
    model: Model, built: AnomalyBuild, hardware: NDArray[np.int16], programs: Path, seed: int = 1
) -> ComparedScores:
    """Send crossings with random gaps through the Verilog in Verilator, and compare their scores.

    Parameters
    ----------
    model : Model
        In integers.
    built : AnomalyBuild
        Of it.
    hardware : ndarray of int16, shape (inputs, crossings)
    programs : Path
        Folder for the simulator, which is built once.
    seed : int
        Of the gaps.

    Raises
    ------
    InputError
        If Verilator is missing or refuses the Verilog.
    """
    assert model.integers
    wanted = AnomalyScorer(model, FirmwareEngine(model.integers)).scores(hardware)
    n = hardware.shape[1]
    lines = np.sort(np.random.default_rng(seed).choice(n + n // 4 + 1, n, replace=False))
    bits = 8 * len(hardware)
    size = 4 * -(-bits // _WORD) if bits > _QUAD else max(1, 1 << (-(-bits // 8) - 1).bit_length())
    given = np.zeros((n + n // 4 + 1, 8 + size), np.uint8)
    given[lines, 0] = 1
    given[lines, 8 : 8 + len(hardware)] = hardware.T.astype(np.int8).view(np.uint8)
    program = build_verilator(
        built.sources, "anomaly", Path(str(resource("anomaly_main.cpp"))), programs, optimise="-O0"
    )
    rows = np.frombuffer(run_program(program, given.tobytes()), np.uint32)
    rows = rows[: rows.size // 2 * 2].reshape(-1, 2)
    m = min(n, len(rows))
    wait = rows[:m, 0].astype(np.int64) - lines[:m]
    latency = int(wait[0]) + 1 if m and (wait == wait[0]).all() else -1
    return ComparedScores(n, int(np.count_nonzero(rows[:m, 1] != wanted[:m])) + abs(n - len(rows)), latency)
