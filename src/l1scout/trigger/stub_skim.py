"""Skims of windows of stubs, as of slow heavy particles (`multi_bx_stubs`), across the ends of orbits."""

from collections.abc import Collection, Mapping
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from l1scout.core.orbit_data import OrbitData
from l1scout.errors import InputError
from l1scout.lhc import BX_PER_ORBIT, crossing
from l1scout.trigger.crossing_blocks import CrossingBlock
from l1scout.trigger.multi_bx_stubs import COLUMNS, StubSelection
from l1scout.trigger.skim import Skim

_STUB = "stub"


class StubSkim(Skim):
    """Keeps windows of crossings with stubs that are selected, with all streams.

    The flag is that of the crossing with which a window ends; all crossings of the window are kept.

    Parameters
    ----------
    selection : StubSelection
    window : int
        Further crossings before and after that are kept.
    name : str
        Of the flag.
    """

    streams: ClassVar[Collection[str]] = (_STUB,)
    shifts: ClassVar[Mapping[str, int]] = {_STUB: 0}

    def __init__(self, selection: StubSelection, window: int = 0, name: str = "SelBx_Skim") -> None:
        self._selection = selection
        self._begin(window, name, before=selection.window - 1)

    def _kept_events(self, data: OrbitData) -> OrbitData:
        """Refuse triggered events."""
        msg = f"{data.source}: holds triggered events: stubs of several crossings are sought in orbits"
        raise InputError(msg)

    def _selected(self, block: CrossingBlock) -> NDArray[np.int64]:
        """Return the crossings of a block with which selected windows end."""
        stubs = block.around[_STUB]
        time = np.concatenate([crossing(b.orbit, b.bx)[b.row] for b in stubs])
        missing = [name for b in stubs for name in COLUMNS if b.n_objects and name not in b.columns]
        if missing:
            msg = f"{block.data.source}: stubs have no {missing[0]}, which the selection needs"
            raise InputError(msg)
        names = COLUMNS if time.size else ()
        columns = {name: np.concatenate([b[name] for b in stubs if b.n_objects]) for name in names}
        found = self._selection.select(time, columns) if time.size else time
        own = np.unique(time[np.isin(time // BX_PER_ORBIT, block.seen)])
        begin = (own - (self._selection.window - 1)) // BX_PER_ORBIT
        self.counts.uncertain += int(np.count_nonzero(~np.isin(begin, block.known)))
        return found[np.isin(found // BX_PER_ORBIT, block.seen)]
