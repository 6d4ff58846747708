"""Kinds of objects that a user names: a stream with cuts on its columns, ``jet[pt>=30,hwQual==0]``."""

import operator
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1scout.core.orbit_batch import OrbitBatch, final_muons
from l1scout.errors import InputError, printable
from l1scout.formats.stream import STREAMS

_KIND = re.compile(r"([a-z]\w*)(?:\[([^\[\]]*)\])?\Z")
_CUT = re.compile(r"(abs\(\w+\)|\w+)(>=|<=|==|!=|>|<)(-?\d+(?:\.\d*)?)\Z")
_COMPARE = {
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    "<": operator.lt,
}


@dataclass(frozen=True)
class Cut:
    """A column, or its absolute value, compared with a number."""

    column: str
    absolute: bool
    comparison: str
    value: float

    def __call__(self, values: Mapping[str, NDArray[Any]]) -> NDArray[np.bool_]:
        """Return which objects pass."""
        column = values[self.column].astype(np.float64)
        passed = _COMPARE[self.comparison](np.abs(column) if self.absolute else column, self.value)
        return np.asarray(passed, np.bool_)


@dataclass(frozen=True)
class ChosenObjects:
    """A stream with cuts.

    Parameters
    ----------
    text : str
        As the user gave it.
    stream : str
    cuts : tuple of Cut
    """

    text: str
    stream: str
    cuts: tuple[Cut, ...] = ()

    @classmethod
    def parse(cls, text: str) -> "ChosenObjects":
        """Read a kind (InputError if it is none)."""
        match = _KIND.match(text.replace(" ", ""))
        if not match:
            msg = f"{printable(text, 80)}: not a stream with cuts, such as jet[pt>=30,abs(eta)<2.4]"
            raise InputError(msg)
        STREAMS.find(match[1])
        cuts = []
        for part in filter(None, (match[2] or "").split(",")):
            cut = _CUT.match(part)
            if not cut:
                shown = printable(text, 80), printable(part, 40)
                msg = f"{shown[0]}: {shown[1]} is not a cut such as pt>=30 or abs(eta)<2.4"
                raise InputError(msg)
            name = cut[1].removeprefix("abs(").removesuffix(")")
            cuts.append(Cut(name, name != cut[1], cut[2], float(cut[3])))
        return cls(text.replace(" ", ""), match[1], tuple(cuts))

    def choose(
        self, streams: Mapping[str, OrbitBatch]
    ) -> tuple[OrbitBatch, NDArray[np.bool_], dict[str, Any]]:
        """Return the stream's batch, which of its objects pass, and its columns with physics values.

        Of muons the final ones are taken.

        Raises
        ------
        InputError
            If data lack the stream, or a column that is cut on.
        """
        if self.stream not in streams:
            msg = f"no stream {self.stream} in these data, which have {', '.join(streams)}"
            raise InputError(msg)
        batch = final_muons(streams[self.stream])
        values: dict[str, Any] = dict(batch.columns)
        if not {cut.column for cut in self.cuts} <= values.keys():
            values |= self.physics(batch)
        keep = np.ones(batch.n_objects, np.bool_)
        if self.stream == "muon" and "hwPt" in values:
            keep &= values["hwPt"] > 0
        for cut in self.cuts:
            if cut.column in values:
                keep &= cut(values)
            elif batch.n_objects:
                msg = f"{self.text}: {self.stream}s have no {cut.column}, but {', '.join(values)}"
                raise InputError(msg)
        return batch, keep, values

    def physics(self, batch: OrbitBatch) -> dict[str, NDArray[Any]]:
        """Return physics values of a batch: pt, eta, phi... as far as the stream has them."""
        made = STREAMS[self.stream].physics(batch.columns)
        return {name: values for name, values in made.items() if name not in batch.columns}
