"""What the Global Trigger gets: objects, sums and signals of consecutive crossings."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1scout.trigger.menu_error import UnsupportedError
from l1scout.trigger.scales import KINDS

SLOTS = {kind.stream: kind.slots for kind in KINDS.values()}


@dataclass(frozen=True)
class TriggerInputs:
    """Inputs of consecutive crossings.

    Parameters
    ----------
    crossings : int
    streams : mapping of str to mapping of str to ndarray, each of shape (crossings, slots)
        Columns of each stream by its name, as in an `OrbitBatch`; places without an object hold 0 everywhere.
        Conditions on a stream that is missing cannot be evaluated.
    external : ndarray of bool, shape (crossings, 256), optional
        External signals by their bit; conditions on them cannot be evaluated without.
    cicada : ndarray of int, shape (crossings,), optional
        Score of the calorimeter's anomaly trigger.
    wrap : bool
        Whether the crossing after the last is the first, as in test vectors of one orbit. Otherwise crossings
        before the first and after the last are taken as empty: algorithms that look at other crossings are
        not reliable in the first and last two.
    """

    crossings: int
    streams: Mapping[str, Mapping[str, NDArray[Any]]]
    external: NDArray[np.bool_] | None = None
    cicada: NDArray[Any] | None = None
    wrap: bool = False
    _shifted: dict[tuple[str, str, int], NDArray[Any]] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        for stream, columns in self.streams.items():
            for name, values in columns.items():
                if values.shape != (self.crossings, SLOTS[stream]):
                    wanted = (self.crossings, SLOTS[stream])
                    msg = f"column {name} of {stream} has shape {values.shape}, not {wanted}"
                    raise ValueError(msg)
        for what, shape in (("external", (self.crossings, 256)), ("cicada", (self.crossings,))):
            given = getattr(self, what)
            if given is not None and given.shape != shape:
                msg = f"{what} has shape {given.shape}, not {shape}"
                raise ValueError(msg)

    def column(self, stream: str, name: str, offset: int) -> NDArray[Any]:
        """Return a column as it is `offset` crossings later.

        Raises
        ------
        UnsupportedError
            If there is no such stream, or it has no such column.
        """
        key = (stream, name, offset)
        if key not in self._shifted:
            if name not in self.streams.get(stream, {}):
                what = (
                    f"no column {name!r} of the stream {stream}" if stream in self.streams else f"no {stream}"
                )
                msg = f"the data have {what}"
                raise UnsupportedError(msg)
            self._shifted[key] = self.shift(self.streams[stream][name], offset)
        return self._shifted[key]

    def shift(self, values: NDArray[Any], offset: int) -> NDArray[Any]:
        """Return values so that row i holds what is `offset` crossings later."""
        if not offset:
            return values
        shifted = np.roll(values, -offset, axis=0)
        if not self.wrap:
            if offset > 0:
                shifted[-offset:] = 0
            else:
                shifted[:-offset] = 0
        return shifted
