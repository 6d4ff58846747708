"""The table engine: the network's answer to every possible input, in one file.

An entry is 8 bytes: the three corrections as multiples of a power of two each, the finest that holds the
largest answer: phi and eta in int16, and pT, whose corrections grow with pT, in int32, of which 24 bits are
used. So an entry never lies in two cache lines, one load fetches it, and its value in float32 is exact. A
firmware model's answers are integers: they are the entries as they are. The file is a header of
`HEADER_BYTES` and the entries, in the order of `Domain`; it is mapped into memory, so that processes share
it.

Header, little-endian: magic (8 bytes), version (u32), CRC-32 of the entries (u32), CRC-32 of the header
with this field 0 (u32), length of the text (u32), text (JSON: `TableHeader`), zeros.
"""

import math
import mmap
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import FiniteFloat
from pydantic.dataclasses import dataclass

from l1scout.core.documents import CLOSED, parse_document, write_document
from l1scout.core.flow import Progress
from l1scout.deploy.engines import ENGINES
from l1scout.deploy.engines._base import Engine, EngineOptions, check_arrays, kernel_ready
from l1scout.deploy.engines.firmware import FirmwareEngine
from l1scout.deploy.engines.fused import FusedEngine
from l1scout.deploy.engines.onnx import OnnxEngine
from l1scout.errors import InputError
from l1scout.files import complete_or_nothing
from l1scout.jit import kernel, prefetch
from l1scout.model.directory import Model
from l1scout.model.domain import Domain
from l1scout.model.integers import STEPS, IntegerNetwork
from l1scout.model.network import Network
from l1scout.model.onnx_function import OnnxFunction

TABLE_FILE = "model.table"
"""Where the table of a model is, unless told otherwise: in the model directory."""
MAGIC = b"l1s\x00tbl\n"
VERSION = 2
HEADER_BYTES = 4096
MAX_ENTRIES = 1 << 27
"""1 GiB: a model with a larger domain is none of this trigger's."""
_FIXED = struct.Struct("<8sIIII")
_BLOCK = 1024
_FEW = 12
_ENTRY = np.dtype([("phi", "<i2"), ("eta", "<i2"), ("pt", "<i4")])
LARGEST = np.array([(1 << 15) - 1, (1 << 15) - 1, (1 << 23) - 1])
"""Of the multiples in an entry."""


@dataclass(frozen=True, config=CLOSED)
class TabulatedModel:
    """What a table belongs to: network, inputs (name, low, high, stride) and outputs (name, unit)."""

    sha256: str
    inputs: tuple[tuple[str, int, int, int], ...]
    outputs: tuple[tuple[str, str], ...]


@dataclass(frozen=True, config=CLOSED)
class TableHeader:
    """The text of a table's header; `steps` is what 1 is in its entries: rad, 1, GeV."""

    model: TabulatedModel
    steps: tuple[FiniteFloat, FiniteFloat, FiniteFloat]
    name: str
    simulated: bool | None = None
    format: Literal["l1scout table"] = "l1scout table"
    version: Literal[2] = 2


def quantise(values: NDArray[Any], steps: NDArray[np.float64]) -> NDArray[np.int32]:
    """Return corrections, shape (outputs, muons), as multiples of their steps, to the nearest."""
    return np.rint(values / steps[:, np.newaxis]).astype(np.int32)


def finest_steps(
    largest: NDArray[np.float64], multiples: float | NDArray[np.int64] = LARGEST
) -> NDArray[np.float64]:
    """Return the smallest powers of two that, taken `multiples` times, reach each largest value."""
    needed = np.where(largest > 0, largest, 1.0) / multiples  # an answer that is always 0 has any step
    return np.exp2(np.ceil(np.log2(needed)))


def build(model: Model, path: str | Path, *, progress: Progress = lambda _done, _of: None) -> None:
    """Evaluate a model at every possible input and write the table.

    It is evaluated in integers or in float64; a model without layers, by onnxruntime as it is.

    It appears under its name when it is complete.

    Parameters
    ----------
    model : Model
    path : str or Path
    progress : callable
        Told inputs done and inputs in all; each is done twice, first for the range of the answers.

    Raises
    ------
    InputError
        If the model cannot be made a table of, or the file cannot be written.
    """
    path, domain = Path(path), model.domain
    if len(model.card.outputs) != 3 or domain.entries > MAX_ENTRIES:
        msg = (
            f"{model.name}: {domain.entries} possible inputs, {len(model.card.outputs)} outputs: too many "
            f"for a table, which has {MAX_ENTRIES} and 3 at most; the engines onnx and fused need none"
        )
        raise InputError(msg)
    exact = _exact(model)
    largest = np.zeros(3)
    for where, hardware in domain.chunks():
        largest = np.maximum(largest, np.abs(exact(hardware)).max(axis=1))
        progress(where.stop, 2 * domain.entries)
    if not np.isfinite(largest).all():
        msg = f"{model.name}: its answers are not finite everywhere in its domain; train it again"
        raise InputError(msg)
    if model.integers and (largest > LARGEST).any():
        msg = f"{model.name}: its answers do not fit into entries of 16, 16 and 24 bits; train it again"
        raise InputError(msg)
    units = np.ones(3) if model.integers else finest_steps(largest)
    steps = STEPS if model.integers else units
    checksum = 0
    with complete_or_nothing(path) as part, part.open("wb") as file:
        file.write(bytes(HEADER_BYTES))
        for where, hardware in domain.chunks():
            entries = np.zeros(hardware.shape[1], _ENTRY)
            for name, row in zip(("phi", "eta", "pt"), quantise(exact(hardware), units), strict=True):
                entries[name] = row
            content = entries.tobytes()
            checksum = zlib.crc32(content, checksum)
            file.write(content)
            progress(domain.entries + where.stop, 2 * domain.entries)
        file.seek(0)
        file.write(_header(_describe(model, steps), checksum))
        file.flush()
        os.fsync(file.fileno())


def table_path(model: Model, options: EngineOptions) -> Path | None:
    """Return the file of a model's table, or None if none is named and the model has no directory."""
    return options.table or (model.directory / TABLE_FILE if model.directory else None)


def _exact(model: Model) -> Callable[[NDArray[np.int16]], NDArray[Any]]:
    """Return the most exact evaluation of a model that is available."""
    if model.integers:
        return FirmwareEngine(model.integers).integers
    return OnnxEngine(model).correct if model.no_layers else FusedEngine(model, np.float64).exact


@ENGINES.register("table")
class TableEngine(Engine):
    """A table at work.

    Every bit of the file is checked when it is opened: CRC-32 runs at memory speed.

    Parameters
    ----------
    model : Model
        The one that the table must have been made of.
    path : str or Path

    Attributes
    ----------
    entries : ndarray of int16, shape (entries, 4)
        phi, eta, and the low and the high half of pT, in `steps`; `integers` puts the halves together.
    steps : ndarray of float64, shape (3,)

    Raises
    ------
    InputError
        If it cannot be read, is not a table, is damaged, or is the table of another model.
    """

    networks = (Network, OnnxFunction, IntegerNetwork)
    unasked = True

    @classmethod
    def create(cls, model: Model, options: EngineOptions) -> "TableEngine":
        """Make the engine."""
        path = table_path(model, options)
        if path is None:
            msg = f"{model.name}: has no directory, so name the table's file"
            raise InputError(msg)
        return cls(model, path)

    @classmethod
    def available(cls, model: Model, options: EngineOptions) -> bool:
        """Whether there is a table."""
        path = table_path(model, options)
        return options.table is not None or (path is not None and path.exists())

    def __init__(self, model: Model, path: str | Path) -> None:
        self._map, header = _open(Path(path))
        if header.model != _model_of(model):
            msg = f"{path}: made of another model than {model.name}; `l1scout compile` makes it anew"
            raise InputError(msg)
        domain = model.domain
        self.steps = np.array(header.steps, np.float64)
        self.entries = np.frombuffer(self._map, "<i2", offset=HEADER_BYTES).reshape(domain.entries, 4)
        self._words = self.entries.view("<i8")[:, 0]
        self._place = _placing(domain)
        self._float_steps = self.steps.astype(np.float32)

    def integers(self, where: slice | NDArray[np.int64]) -> NDArray[np.int64]:
        """Return entries as multiples of `steps`, shape (3, entries)."""
        entries = np.ascontiguousarray(self.entries[where]).view(_ENTRY)[:, 0]
        return np.stack([entries[name].astype(np.int64) for name in ("phi", "eta", "pt")])

    def correct(self, hardware: NDArray[Any], out: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """Return corrections; see `Engine`. NaN outside the domain."""
        if (
            out is not None
            and kernel_ready(hardware, out)
            and _look_up(self._words, self._place, self._float_steps, hardware, out)
        ):
            return out
        hardware, out = check_arrays(hardware, int(self._place[0, -1]) + 1, 3, out)
        _look_up(self._words, self._place, self._float_steps, hardware, out)
        return out


def _placing(domain: Domain) -> NDArray[np.int32]:
    """Return for each input its row, lowest value, number of values and stride, shape (4, inputs).

    The last input is repeated with stride 0 to a multiple of four, as `_places` takes four at a time.
    """
    row = np.arange(-(-len(domain.names) // 4) * 4).clip(max=len(domain.names) - 1)
    values = np.array([row, *(np.array(v)[row] for v in (domain.low, domain.size, domain.stride))], np.int32)
    values[3, len(domain.names) :] = 0
    return values


def _model_of(model: Model) -> TabulatedModel:
    domain = model.domain
    inputs = zip(domain.names, domain.low, domain.high, domain.stride, strict=True)
    outputs = tuple((q.name, q.unit) for q in model.card.outputs)
    return TabulatedModel(model.sha256, tuple(inputs), outputs)


def _describe(model: Model, steps: NDArray[np.float64]) -> bytes:
    first, second, third = steps.tolist()
    header = TableHeader(_model_of(model), (first, second, third), model.card.name, model.card.simulated)
    return write_document(header)


def _header(text: bytes, checksum: int) -> bytes:
    def header(own: int) -> bytes:
        fixed = _FIXED.pack(MAGIC, VERSION, checksum, own, len(text))
        return (fixed + text).ljust(HEADER_BYTES, b"\0")

    return header(zlib.crc32(header(0)))


def _open(path: Path) -> tuple[mmap.mmap, TableHeader]:
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            start = file.read(HEADER_BYTES)
            if len(start) < HEADER_BYTES or not start.startswith(MAGIC):
                msg = f"{path}: not a table; `l1scout compile --engine table` makes one"
                raise InputError(msg)
            mapped = _map(file.fileno())
    except OSError as error:
        msg = f"{path}: cannot be read ({error.strerror}); `l1scout compile --engine table` makes it"
        raise InputError(msg) from error
    _, version, checksum, own, length = _FIXED.unpack_from(start)
    blank = start[:16] + bytes(4) + start[20:]
    if zlib.crc32(blank) != own:
        msg = f"{path}: its header is damaged (CRC-32 differs); `l1scout compile` makes it anew"
        raise InputError(msg)
    if version != VERSION:
        msg = f"{path}: table version {version}, but this program reads {VERSION}; compile it again"
        raise InputError(msg)
    text, hint = start[_FIXED.size : _FIXED.size + length], "compile it again"
    header = parse_document(text, TableHeader, f"{path}: its header", hint=hint)
    entries = math.prod(high - low + 1 for _, low, high, _ in header.model.inputs)
    if size != HEADER_BYTES + 8 * entries:
        msg = f"{path}: {size} bytes, not {HEADER_BYTES + 8 * entries}: cut short; compile it again"
        raise InputError(msg)
    if zlib.crc32(memoryview(mapped)[HEADER_BYTES:]) != checksum:
        msg = f"{path}: damaged (CRC-32 differs); `l1scout compile` makes it anew"
        raise InputError(msg)
    return mapped, header


def _map(descriptor: int) -> mmap.mmap:
    if not hasattr(mmap, "MAP_POPULATE"):  # macOS
        return mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ)
    # All pages at once: touching them one by one would cost more than the checksum.
    return mmap.mmap(descriptor, 0, flags=mmap.MAP_SHARED | mmap.MAP_POPULATE, prot=mmap.PROT_READ)


@kernel
def _look_up(
    words: NDArray[np.int64],
    place: NDArray[np.int32],
    steps: NDArray[np.float32],
    hardware: NDArray[np.int16],
    out: NDArray[np.float32],
) -> bool:
    """Answer, if the arrays fit together."""
    muons, inputs = hardware.shape[1], place.shape[1]
    if hardware.shape[0] != place[0, inputs - 1] + 1 or out.shape[0] != 3 or out.shape[1] != muons:
        return False
    if muons <= _FEW:
        for m in range(muons):
            _one(words, place, steps, hardware, out, m)
        return True
    at = np.empty(_BLOCK, np.int32)
    got = np.empty(_BLOCK, np.int64)
    # Short loops, one after the other: places (on vectors), asking for all entries of a block, taking
    # them, answers (on vectors). Without asking first it takes twice as long.
    for start in range(0, muons, _BLOCK):
        stop = min(start + _BLOCK, muons)
        bad = 0
        for k in range(0, inputs, 4):
            a, b = hardware[place[0, k], start:stop], hardware[place[0, k + 1], start:stop]
            c, d = hardware[place[0, k + 2], start:stop], hardware[place[0, k + 3], start:stop]
            bad += _places(place[1:, k : k + 4], a, b, c, d, at, k > 0)
        for m in range(stop - start):
            prefetch(words, np.intp(at[m]))
        for m in range(stop - start):
            got[m] = words[at[m]]
        x, y, z = out[0, start:stop], out[1, start:stop], out[2, start:stop]
        for m in range(stop - start):
            x[m] = np.float32(np.int16(got[m])) * steps[0]
            y[m] = np.float32(np.int16(got[m] >> 16)) * steps[1]
            z[m] = np.float32(np.int32(got[m] >> 32)) * steps[2]
        if bad:
            for m in range(start, stop):
                _one(words, place, steps, hardware, out, m)
    return True


@kernel
def _one(
    words: NDArray[np.int64],
    place: NDArray[np.int32],
    steps: NDArray[np.float32],
    hardware: NDArray[np.int16],
    out: NDArray[np.float32],
    m: int,
) -> None:
    at = 0
    for k in range(hardware.shape[0]):
        i = np.int32(hardware[k, m]) - place[1, k]
        if i < 0 or i >= place[2, k]:
            out[0, m] = out[1, m] = out[2, m] = np.nan
            return
        at += i * place[3, k]
    word = words[at]
    out[0, m] = np.float32(np.int16(word)) * steps[0]
    out[1, m] = np.float32(np.int16(word >> 16)) * steps[1]
    out[2, m] = np.float32(np.int32(word >> 32)) * steps[2]


@kernel
def _places(
    place: NDArray[np.int32],
    a: NDArray[np.int16],
    b: NDArray[np.int16],
    c: NDArray[np.int16],
    d: NDArray[np.int16],
    at: NDArray[np.int32],
    more: bool,
) -> int:
    """Fill in places by four inputs, 0 for those outside the domain; return how many those are.

    With `more` inputs than the first four, their places are added.
    """
    low0, low1, low2, low3 = place[0]
    size0, size1, size2, size3 = place[1]
    s0, s1, s2, s3 = place[2]
    bad = 0
    for m in range(a.size):
        i, j = np.int32(np.int32(a[m]) - low0), np.int32(np.int32(b[m]) - low1)
        k, q = np.int32(np.int32(c[m]) - low2), np.int32(np.int32(d[m]) - low3)
        inside = (
            (np.uint32(i) < np.uint32(size0))
            & (np.uint32(j) < np.uint32(size1))
            & (np.uint32(k) < np.uint32(size2))
            & (np.uint32(q) < np.uint32(size3))
        )
        one, two = np.int32(i * s0 + j * s1), np.int32(k * s2 + q * s3)
        where = np.int32(one + two)
        where = where if inside else np.int32(0)
        at[m] = np.int32(at[m] + where) if more else where
        bad += not inside
    return bad
