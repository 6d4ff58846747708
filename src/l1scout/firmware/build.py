"""A folder of Verilog from a firmware model: core, streaming wrapper, test bench, README."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic.dataclasses import dataclass as documented

from l1scout import __version__
from l1scout.core.documents import CLOSED, read_document, write_document
from l1scout.deploy.engines.firmware import FirmwareEngine
from l1scout.errors import InputError
from l1scout.files import complete_folder
from l1scout.firmware.logic import CORE, Logic, Written, trace
from l1scout.firmware.words import recalibrate_words
from l1scout.formats.recalibrated import RECALIBRATED
from l1scout.formats.streams.muon import ETA, FINDERS, MUON_2018, MUON_RUN3, PHI_BINS
from l1scout.model.card import Card, made_from
from l1scout.model.checksums import check_sums, write_sums
from l1scout.model.directory import Model
from l1scout.model.integers import IntegerNetwork
from l1scout.model.quantities import REFERENCES

ABOUT_FILE = "build.json"
SIMULATION_FILE = "simulation.json"
SOURCES = ("recalibrate.v", f"{CORE}.v")
BENCH = "recalibrate_tb.v"
VECTORS = "vectors.hex"
_OURS = ("recalibrate.v", BENCH)
_FIELDS = {f.name: f for f in MUON_2018.fields if f in MUON_RUN3.fields}
"""Fields that are at the same place in muon words of 2017/18 and Run 3."""
_KNOWN = (*_FIELDS, ETA.name)
"""What the module has: hwEta, which words of Run 3 lack, is an input of its own."""
_BEFORE_AND_AFTER = 3
"""Clock edges of the wrapper: the core's input register, subtraction, choice."""
_BASE_NS, _ADDER_NS = 1.0, 0.6
"""Rule of thumb for a register, its routing and each adder after it; nothing but place and route knows."""
_ANSWER_BITS = (15, 14, 15)
"""So that phi goes round at most twice, and the wrapper's 16 bits hold every difference."""
TAG_BITS = 48
_MAX_BYTES = 1 << 20


@documented(frozen=True, config=CLOSED)
class BuildRecord:
    """What ``build.json`` says of a folder: model, compiler, size, latency in clock edges, ports."""

    l1scout: str
    model: str
    network: str
    compiler: str
    cutoff: float
    stages: int
    latency: int
    initiation_interval: int
    estimated_luts: float
    core_register_bits: int
    tag_bits: int
    inputs: tuple[str, ...]
    input_bits: tuple[int, ...]
    output_bits: tuple[int, ...]
    provenance: Mapping[str, Any] | None = None
    format: Literal["l1scout firmware build"] = "l1scout firmware build"
    version: Literal[1] = 1


@dataclass(frozen=True)
class Built:
    """A folder that `build` wrote.

    Parameters
    ----------
    folder : Path
    about : dict
        Fields of its `BuildRecord`.
    """

    folder: Path
    about: dict[str, Any]

    @property
    def sources(self) -> list[Path]:
        """Verilog files of the wrapper and the core."""
        return [self.folder / name for name in SOURCES]

    @property
    def latency(self) -> int:
        """Clock edges from a muon's input to its output."""
        return int(self.about["latency"])


def cutoff_for(clock: float) -> int:
    """Adders in a row that a clock in MHz leaves time for, by the rule of thumb; 1 at least."""
    return max(1, int((1000 / clock - _BASE_NS) / _ADDER_NS))


def build(model: Model, folder: str | Path, *, cutoff: float, compiler: str = "da4ml") -> Built:
    """Write Verilog of a firmware model; the folder appears when it is complete.

    Parameters
    ----------
    model : Model
    folder : str or Path
        New, or one that this function wrote.
    cutoff : float
        Largest number of adders between registers.
    compiler : str
        ``da4ml`` or ``alkaid``.

    Raises
    ------
    InputError
        If the model is none of firmware, the compiler is missing, the folder holds something else, or the
        model needs what the two layouts of muon words do not have at one place.
    """
    network, path = network_of(model), Path(folder)
    unknown = [n for n in model.card.domain if n not in _KNOWN]
    if unknown:
        where = "which is not at one place of GMT muons of 2017/18 and Run 3; train a model of other inputs"
        msg = f"{model.name}: needs {', '.join(unknown)}, {where}"
        raise InputError(msg)
    if path.exists() and not (path / ABOUT_FILE).exists() and (not path.is_dir() or any(path.iterdir())):
        msg = f"{path}: exists and is no folder of `l1scout firmware build`; name another or remove it"
        raise InputError(msg)
    logic = trace(network, model.domain, compiler)
    if any(bits > most for bits, most in zip(logic.output_bits, _ANSWER_BITS, strict=True)):
        wide = f"{list(logic.output_bits)} bits, more than {list(_ANSWER_BITS)}"
        msg = f"{model.name}: its corrections of phi, eta and pT have {wide}; train it again"
        raise InputError(msg)
    written = logic.write(cutoff)
    record = _record(model, logic, written, cutoff)
    about = asdict(record)
    with complete_folder(path) as part:
        (part / f"{CORE}.v").write_text(written.verilog, "utf-8")
        (part / "recalibrate.vh").write_text(_header(model, logic, written), "utf-8")
        for name in _OURS:
            (part / name).write_text(resource(name).read_text("utf-8"), "utf-8")
        (part / f"LICENSE.{compiler}").write_text(written.licence, "utf-8")
        (part / VECTORS).write_text(vectors(*sample(model, 2000, 0)), "utf-8")
        (part / "README.md").write_text(_readme(about, model.card), "utf-8")
        (part / ABOUT_FILE).write_bytes(write_document(record, indent=1))
        write_sums(part)
    return Built(path, about)


def read_built(folder: str | Path, model: Model) -> Built:
    """Read a folder that `build` wrote, and refuse one that was made of another model or has changed.

    Raises
    ------
    InputError
    """
    path, hint = Path(folder), "`l1scout firmware build` makes it anew"
    record = read_document(path / ABOUT_FILE, BuildRecord, max_bytes=_MAX_BYTES, hint=hint)
    if record.network != model.sha256:
        msg = f"{path}: made of another model than {model.name}; {hint}"
        raise InputError(msg)
    check_sums(path, ABOUT_FILE, BENCH, "recalibrate.vh", *SOURCES)
    return Built(path, asdict(record))


def network_of(model: Model) -> IntegerNetwork:
    """Return a model's integer network; InputError if it is not a firmware model."""
    if model.integers is None:
        msg = f"{model.name}: not a firmware model; `l1scout firmware train` makes one of it"
        raise InputError(msg)
    return model.integers


def resource(name: str) -> Any:
    """Return a file of our own Verilog or C++."""
    return files("l1scout.firmware") / "rtl" / "recalibrate" / name


def sample(model: Model, muons: int, seed: int) -> tuple[NDArray[np.uint64], ...]:
    """Draw lines for a test: valid, tag, hwEta, muon and what must come of it; a line a clock, random gaps.

    Nine muons of ten are in the domain, most of them with a valid charge; the others are any 64 bits. The
    hwEta beside a word is another than that in it, as it is in Run 3.
    """
    rng = np.random.default_rng(seed)
    lines = muons + muons // 4
    valid = np.zeros(lines, np.uint64)
    valid[rng.choice(lines, muons, replace=False)] = 1
    words = rng.integers(0, 1 << 64, lines, np.uint64, endpoint=False)
    columns = {n: rng.integers(low, high + 1, lines) for n, (low, high) in model.card.domain.items()}
    indices = [i for name in model.card.finders for part in FINDERS[name] for i in part]
    columns["tfMuonIndex"] = rng.choice(indices, lines)
    columns["hwChargeValid"] = (rng.random(lines) < 0.95).astype(np.int64)
    etas = rng.integers(ETA.low, ETA.high + 1, lines)
    near = columns.pop(ETA.name, etas)
    inside = MUON_2018.encode(columns)
    mask = MUON_2018.encode(
        {n: np.array([-1 if MUON_2018[n].signed else MUON_2018[n].high]) for n in columns}
    )[0]
    chosen = rng.random(lines) < 0.9
    words = np.where(chosen, (words & ~mask) | inside, words)
    etas = np.where(chosen, near, etas)
    tags = rng.integers(0, 1 << TAG_BITS, lines, np.uint64)
    bits = etas.astype(np.uint64) & np.uint64((1 << ETA.width) - 1)
    return valid, tags, bits, words, expected(model, words, etas)


def expected(
    model: Model, words: NDArray[np.uint64], hw_eta: NDArray[Any] | None = None
) -> NDArray[np.uint64]:
    """Return what must come out for muon words: the integer engine's answers as words."""
    return recalibrate_words(words, FirmwareEngine(network_of(model)), model.card, hw_eta)


def vectors(
    valid: NDArray[np.uint64],
    tags: NDArray[np.uint64],
    etas: NDArray[np.uint64],
    words: NDArray[np.uint64],
    wanted: NDArray[np.uint64],
) -> str:
    """Write lines for the test bench: valid, tag, hwEta, muon and recalibrated muon in hexadecimal."""
    rows = zip(*(c.tolist() for c in (valid, tags, etas, words, wanted)), strict=True)
    return "".join(f"{v:x}{t:012x}{e:03x}{m:016x}{r:016x}\n" for v, t, e, m, r in rows)


def _header(model: Model, logic: Logic, written: Written) -> str:
    """Write what the wrapper includes: the core's ports, the reference of phi and eta, the card's domain."""
    card = model.card
    taken = [
        f"in_eta[0+:{bits}]" if q.name == ETA.name else f"in_muon[{_FIELDS[q.name].start}+:{bits}]"
        for q, bits in zip(card.inputs, logic.input_bits, strict=True)
        if bits
    ]
    width = sum(logic.input_bits)
    names = ("PHI", "ETA", "PT")
    return "\n".join(
        [
            f"// Made by l1scout {__version__} of network {model.sha256}.",
            f"localparam CORE_STAGES = {written.stages};",
            f"localparam STATION_2 = 1'b{int(card.reference == 'station 2')};",
            f"wire [{width - 1}:0] asked = {{{', '.join(reversed(taken))}}};",
            *(f"localparam OUT_{n} = {bits};" for n, bits in zip(names, logic.output_bits, strict=True)),
            *(f"localparam SIGN_{n} = 1'b{sign};" for n, sign in zip(names, logic.output_signs, strict=True)),
            "// Is a muon in the model's domain?",
            "function in_domain;",
            "  input [63:0] muon;",
            f"  input [{ETA.width - 1}:0] hw_eta;",
            f"  in_domain = {' && '.join(_conditions(card))};",
            "endfunction",
            "",
        ]
    )


def _conditions(card: Card) -> list[str]:
    """Write, in Verilog, what a muon fulfils that the network may be asked about: see `recalibrate_words`."""
    ranges = {REFERENCES[card.reference][0]: (0, PHI_BINS - 1), **card.domain}
    if "hwCharge" in card.domain:
        ranges["hwChargeValid"] = (1, 1)
    found = [_between(name, *ends) for name, ends in ranges.items()]
    indices = sorted((part.start, part.stop - 1) for name in card.finders for part in FINDERS[name])
    return [*found, f"({' || '.join(_between('tfMuonIndex', *ends) for ends in indices)})"]


def _between(name: str, low: int, high: int) -> str:
    """Write that a field of `muon`, or `hw_eta`, is in a range."""
    field = ETA if name == ETA.name else _FIELDS[name]
    word = "hw_eta" if field is ETA else f"muon[{field.start}+:{field.width}]"
    value, mark = (f"$signed({word})", "'sd") if field.signed else (word, "'d")
    if low > field.high or high < field.low:
        return "1'b0"
    ends = ((low, ">=", low > field.low), (high, "<=", high < field.high))
    parts = [
        f"{value} {sign} {'-' * (end < 0)}{field.width}{mark}{abs(end)}" for end, sign, asked in ends if asked
    ]
    return f"({' && '.join(parts)})" if parts else "1'b1"


def _record(model: Model, logic: Logic, written: Written, cutoff: float) -> BuildRecord:
    return BuildRecord(
        l1scout=__version__,
        model=model.card.name,
        network=model.sha256,
        compiler=logic.version,
        cutoff=cutoff,
        stages=written.stages,
        latency=written.stages + _BEFORE_AND_AFTER,
        initiation_interval=1,
        estimated_luts=logic.estimate,
        core_register_bits=written.register_bits,
        tag_bits=TAG_BITS,
        inputs=tuple(q.name for q in model.card.inputs),
        input_bits=logic.input_bits,
        output_bits=logic.output_bits,
        provenance=made_from(model.card).as_dict(),
    )


def _readme(about: dict[str, Any], card: Card) -> str:
    text: str = resource("README.md").read_text("utf-8")
    phi, eta = REFERENCES[card.reference]
    values = {**about, "inputs": ", ".join(about["inputs"]), "phi": phi, "eta": eta}
    for name, value in values.items():
        text = text.replace(f"@{name}@", str(value))
    return text.replace("@layout@", RECALIBRATED.markdown())
