"""Algorithms of one's own in Python: what firmware cannot do, decided in the same loop as a menu.

A file has functions such as::

    from l1scout.trigger.own_algorithms import own_algorithm

    @own_algorithm("Hard_after_soft", reach=1)
    def hard_after_soft(crossings):
        before, now = crossings.objects("muon", -1), crossings.objects("muon")
        return ak.any(before.pt < 5, axis=1) & ak.any(now.pt > 20, axis=1)

It gets many crossings at once and returns a flag for each.
"""

import runpy
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from l1scout.errors import InputError, printable
from l1scout.formats.stream import STREAMS
from l1scout.trigger.crossing_bits import Words, unpack
from l1scout.trigger.trigger_inputs import StreamObjects, TriggerInputs

if TYPE_CHECKING:
    import awkward as ak

MAX_REACH = 100


class OwnCrossings:
    """Crossings, as functions of one's own get them.

    Parameters
    ----------
    inputs : TriggerInputs
    words : mapping of str to ndarray of uint64
        What algorithms of the menu decide.
    reach : int
        Crossings before and after its own that an algorithm may look at.
    """

    def __init__(self, inputs: TriggerInputs, words: Mapping[str, Words], reach: int) -> None:
        self._inputs, self._words, self._reach = inputs, words, reach
        self._arrays: dict[str, ak.Array] = {}

    def __len__(self) -> int:
        """Return the number of crossings."""
        return self._inputs.crossings

    def objects(self, stream: str, offset: int = 0) -> "ak.Array":
        """Return the objects of a stream in each crossing, or in the crossing `offset` later.

        Parameters
        ----------
        stream : str
            ``muon``, ``jet``, ``egamma``, ``tau`` or ``etsum``.
        offset : int
            -`reach` to `reach`.

        Returns
        -------
        ak.Array
            A list per crossing. Objects have the stream's hardware columns and physics values (``pt``,
            ``eta``, ``phi``...); muons also ``charge`` (0 if not valid), and with a model ``ptRecal``,
            ``etaRecal``, ``phiRecal``, ``isRecal`` and ``ptRecalErr``, ``etaRecalErr``, ``phiRecalErr``;
            pT in GeV.

        Raises
        ------
        InputError
            If the data have no such stream, or the offset is beyond the reach that was declared.
        """
        import awkward as ak

        if abs(offset) > self._reach:
            msg = f"offset {offset} is beyond the reach of {self._reach} that the algorithm declares"
            raise InputError(msg)
        if stream not in self._arrays:
            if stream not in self._inputs.streams:
                msg = f"the data have no {printable(stream, 40)}, but {', '.join(self._inputs.streams)}"
                raise InputError(msg)
            self._arrays[stream] = _as_array(stream, self._inputs.streams[stream], len(self))
        array = self._arrays[stream]
        if not offset:
            return array
        empty = array[:0]
        nothing = ak.Array(ak.contents.ListOffsetArray(
            ak.index.Index64(np.zeros(abs(offset) + 1, np.int64)), ak.to_layout(ak.flatten(empty))
        ))  # fmt: skip
        kept = array[offset:] if offset > 0 else array[:offset]
        return ak.concatenate([kept, nothing] if offset > 0 else [nothing, kept])

    def decided(self, name: str) -> NDArray[np.bool_]:
        """Return in which crossings an algorithm of the menu fires (InputError if there is none)."""
        if name not in self._words:
            msg = f"no algorithm {printable(name, 60)} was emulated before this one"
            raise InputError(msg)
        return unpack(self._words[name], len(self))


def _as_array(stream: str, objects: StreamObjects, crossings: int) -> "ak.Array":
    import awkward as ak

    columns = dict(objects.columns)
    columns |= STREAMS[stream].physics(columns)
    if stream == "muon":
        columns |= {n: columns[f"{n}AtVtx"] for n in ("eta", "phi") if f"{n}AtVtx" in columns}
        if {"hwCharge", "hwChargeValid"} <= columns.keys():
            columns["charge"] = (columns["hwChargeValid"] == 1) * (1 - 2 * columns["hwCharge"])
    counts = np.zeros(crossings, np.int64)
    counts[objects.crossing] = np.diff(objects.offsets)
    return ak.unflatten(ak.zip(columns), counts)


Decide = Callable[[OwnCrossings], Any]


@dataclass(frozen=True)
class OwnAlgorithm:
    """An algorithm of one's own.

    Parameters
    ----------
    name : str
    function : callable
        Gets `OwnCrossings` and returns a flag per crossing.
    reach : int
        Crossings before and after its own at which it looks.
    """

    name: str
    function: Decide
    reach: int = 0

    def decide(self, inputs: TriggerInputs, words: Mapping[str, Words]) -> NDArray[np.bool_]:
        """Return a flag per crossing (InputError if the function fails or returns something else)."""
        if not inputs.crossings:
            return np.zeros(0, np.bool_)
        try:
            flags = np.asarray(self.function(OwnCrossings(inputs, words, self.reach)))
        except (Exception, SystemExit) as error:
            own = self.function.__code__.co_filename if hasattr(self.function, "__code__") else ""
            lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == own]
            where = f", line {lines[-1]} of {Path(own).name}" if lines else ""
            msg = f"algorithm {self.name}: {type(error).__name__}: {printable(str(error))}{where}"
            raise InputError(msg) from error
        if flags.shape != (inputs.crossings,) or flags.dtype != np.bool_:
            msg = f"algorithm {self.name} returned {flags.dtype} of shape {flags.shape}, not a bool for each "
            msg += f"of the {inputs.crossings} crossings"
            raise InputError(msg)
        return flags


def own_algorithm(name: str, *, reach: int = 0) -> Callable[[Decide], OwnAlgorithm]:
    """Make an algorithm of a function: ``@own_algorithm("NAME", reach=1)``.

    Parameters
    ----------
    name : str
    reach : int
        Crossings before and after its own at which it looks, 0 to 100.
    """
    if not 0 <= reach <= MAX_REACH:
        msg = f"algorithm {printable(name, 60)}: a reach of {reach} crossings is not within 0..{MAX_REACH}"
        raise InputError(msg)
    return lambda function: OwnAlgorithm(name, function, reach)


def read_own_algorithms(path: Path) -> tuple[OwnAlgorithm, ...]:
    """Run a Python file and return its algorithms, in its order.

    Raises
    ------
    InputError
        If it cannot be run, or has none.
    """
    try:
        names = runpy.run_path(str(path))
    except Exception as error:
        msg = f"{path}: cannot be run: {type(error).__name__}: {printable(str(error))}"
        raise InputError(msg) from error
    found = tuple(value for value in names.values() if isinstance(value, OwnAlgorithm))
    if not found:
        msg = f"{path}: has no function with @own_algorithm(NAME)"
        raise InputError(msg)
    return found
