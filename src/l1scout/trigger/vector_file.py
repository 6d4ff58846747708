"""Test vectors of the Global Trigger: all objects, external signals and algorithm bits of an orbit as text.

A line is a crossing: its number, 8 muons (16 hex digits each), 12 e/gamma, 12 taus, 12 jets, 6 words of sums
and 6 of CICADA (8 digits each), 256 external signals (64 digits), 512 algorithm bits (128 digits, bit 0
last), and their OR. In 2016 there were 8 taus and 4 words of sums, and no CICADA.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1scout.errors import InputError, printable
from l1scout.formats.layout import Layout
from l1scout.formats.streams.egamma import EGAMMA
from l1scout.formats.streams.etsum import WORDS
from l1scout.formats.streams.jet import JET
from l1scout.formats.streams.muon import MUON_RUN3
from l1scout.formats.streams.tau import TAU
from l1scout.trigger.trigger_inputs import SLOTS, StreamObjects, TriggerInputs
from l1scout.trigger.xml_tree import read_bytes

ALGORITHMS, EXTERNAL = 512, 256
MAX_CROSSINGS = 40_000
"""More than ten orbits: files hold one."""


@dataclass(frozen=True)
class _Form:
    """Number of words of each kind in a line."""

    tau: int
    sums: int
    cicada: int

    @property
    def widths(self) -> tuple[int, ...]:
        words = 12 + self.tau + 12 + self.sums + self.cicada
        return (4, *[16] * 8, *[8] * words, EXTERNAL // 4, ALGORITHMS // 4, 1)


_FORMS = (_Form(12, 6, 6), _Form(8, 4, 0))


@dataclass(frozen=True)
class TestVector:
    """A test vector.

    Parameters
    ----------
    path : Path
    inputs : TriggerInputs
    algorithms : ndarray of bool, shape (crossings, 512)
    independent : bool
        Whether the lines are crossings of different times, as the name of the file says (``data``): they have
        no neighbours, then.
    """

    __test__ = False  # no test of pytest

    path: Path
    inputs: TriggerInputs
    algorithms: NDArray[np.bool_]
    independent: bool


def read_vector(path: Path) -> TestVector:
    """Read a test vector, compressed with gzip or not.

    Raises
    ------
    InputError
        If a line is not of the known form, which the message shows, or the file is empty, damaged or absurdly
        large.
    """
    rows = [line.split() for line in read_bytes(path).splitlines() if line.strip()]
    if not rows or len(rows) > MAX_CROSSINGS:
        msg = f"{path}: {len(rows)} lines, not the crossings of an orbit"
        raise InputError(msg)
    form = next((f for f in _FORMS if len(f.widths) == len(rows[0])), None)
    if form is None:
        numbers = " or ".join(str(len(f.widths)) for f in _FORMS)
        msg = f"{path}: line 1 has {len(rows[0])} fields, but a test vector has {numbers}"
        raise InputError(msg)
    for k, row in enumerate(rows):
        _check(row, form, path, k)
    columns = list(zip(*rows, strict=True))
    first, last = 9 + 12 + form.tau + 12, 9 + 12 + form.tau + 12 + form.sums
    sums = {
        n: c
        for k in range(form.sums)
        for n, c in _decode(WORDS[k], columns[first + k : first + k + 1], 1).items()
    }
    missing = {f.name for word in WORDS[form.sums :] for f in word.fields}
    sums |= {name: np.zeros((len(rows), 1), np.int16) for name in missing}
    sums["centrality"] = sums.pop("centralityLow") | (sums.pop("centralityHigh") << 4)
    streams = {
        "muon": _decode(MUON_RUN3, columns[1:9], SLOTS["muon"]),
        "egamma": _decode(EGAMMA, columns[9:21], SLOTS["egamma"]),
        "tau": _decode(TAU, columns[21 : 21 + form.tau], SLOTS["tau"]),
        "jet": _decode(JET, columns[21 + form.tau : 33 + form.tau], SLOTS["jet"]),
        "etsum": sums,
    }
    inputs = TriggerInputs(
        len(rows),
        {name: StreamObjects.of_slots(columns_) for name, columns_ in streams.items()},
        external=_bits(columns[-3], EXTERNAL),
        cicada=_score(columns[last : last + 4], len(rows)) if form.cicada else None,
        wrap=True,
    )
    independent = re.search(r"(?<![a-z])data(?![a-z])", path.name.lower()) is not None
    return TestVector(path, inputs, _bits(columns[-2], ALGORITHMS), independent)


def _check(row: list[bytes], form: _Form, path: Path, k: int) -> None:
    widths = form.widths
    if len(row) != len(widths):
        msg = f"{path}: line {k + 1} has {len(row)} of {len(widths)} fields: it may be cut short"
        raise InputError(msg)
    for place, (field, width) in enumerate(zip(row, widths, strict=True)):
        if len(field) != width or not re.fullmatch(rb"[0-9a-fA-F]+", field):
            shown = printable(field.decode("latin-1"), 40)
            msg = f"{path}: line {k + 1}, field {place + 1} is {shown!r}, not {width} hexadecimal digits"
            raise InputError(msg)
    if not row[0].isdigit() or int(row[0]) != k:
        msg = f"{path}: line {k + 1} has BX {printable(row[0].decode('latin-1'))}, not {k:04d}"
        raise InputError(msg)


def _words(columns: list[tuple[bytes, ...]], type_: np.dtype[Any]) -> NDArray[Any]:
    """Return words of several columns of a file: shape (lines, columns)."""
    big_endian = type_.newbyteorder(">")
    rows = b"".join(bytes.fromhex(b"".join(column).decode()) for column in columns)
    return np.frombuffer(rows, big_endian).reshape(len(columns), -1).T.astype(type_)


def _decode(layout: Layout, columns: list[tuple[bytes, ...]], slots: int) -> dict[str, NDArray[Any]]:
    words = _words(columns, layout.word)
    padded = np.zeros((len(words), slots), layout.word)
    padded[:, : words.shape[1]] = words
    return {name: values.reshape(padded.shape) for name, values in layout.decode(padded.ravel()).items()}


def _bits(column: tuple[bytes, ...], bits: int) -> NDArray[np.bool_]:
    """Return bits of numbers, the lowest first: shape (lines, bits)."""
    data = np.frombuffer(bytes.fromhex(b"".join(column).decode()), np.uint8).reshape(len(column), bits // 8)
    return np.unpackbits(data[:, ::-1], axis=1, bitorder="little").astype(np.bool_)


def _score(columns: list[tuple[bytes, ...]], lines: int) -> NDArray[np.int64]:
    """Return CICADA's score: a half byte in the highest bits of each of four words, the highest first."""
    score = np.zeros(lines, np.int64)
    for nibble in _words(columns, np.dtype("<u4")).T >> 28:
        score = (score << 4) | nibble
    return score
