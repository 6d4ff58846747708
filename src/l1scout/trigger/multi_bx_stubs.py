"""Select crossings whose stubs, with those of the crossings before them, may be of a slow heavy particle.

A particle of velocity beta reaches the stations of the barrel, 4 to 7 m from the beam, up to several BX after
the muons of its collision, and the outer ones later than the inner ones. A window has some crossings and ends
with a crossing that has a stub; it may begin in the orbit before. Conditions:

``simple``
    The window has enough stubs.
``wheel``
    The same, and two different BX of it have stubs whose wheels are at most one apart. Both are those of
    CMS's BMTFStubMultiBxSelector, which knows no windows across orbits.
``track``
    Stubs in enough different stations, each no earlier than that of the station further in, in wheels at most
    one and sectors at most `StubSelection.sectors` apart, with different BX; the last of them in the last
    crossing, so that a particle is found once.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1scout.errors import InputError
from l1scout.formats.streams.stub import SECTORS
from l1scout.jit import kernel

CONDITIONS = ("track", "wheel", "simple")
COLUMNS = ("station", "wheel", "sector")
"""Of stubs, which are needed."""
MAX_WINDOW, STATIONS = 16, 4
_WHEELS = 5
Times = NDArray[np.int64]


@dataclass(frozen=True)
class StubSelection:
    """What is selected.

    Parameters
    ----------
    condition : {"track", "wheel", "simple"}
    window : int
        BX of a window.
    min_stubs : int
        Stubs; of ``track``, stations.
    min_bx : int
        Different BX with these stubs, of ``track``.
    sectors : int
        How far apart the sectors of stubs of neighbouring stations may be, of ``track``: 0 to 6.

    Raises
    ------
    InputError
        If a number makes no sense.
    """

    condition: str = "track"
    window: int = 4
    min_stubs: int = 3
    min_bx: int = 2
    sectors: int = 1

    def __post_init__(self) -> None:
        most = STATIONS if self.condition == "track" else 10_000
        limits = {
            "window": (1, MAX_WINDOW),
            "min_stubs": (1, most),
            "sectors": (0, SECTORS // 2),
        }
        if self.condition not in CONDITIONS:
            msg = f"condition {self.condition} of stubs: choose one of {', '.join(CONDITIONS)}"
            raise InputError(msg)
        if self.condition == "track":
            limits["min_bx"] = (1, min(self.window, STATIONS))
        for name, (low, high) in limits.items():
            if not low <= getattr(self, name) <= high:
                msg = f"{name} of stubs in several BX must be {low} to {high}, not {getattr(self, name)}"
                raise InputError(msg)

    @classmethod
    def parse(cls, text: str) -> "StubSelection":
        """Read ``track,window=4,min_stubs=3``; what is not given has its default (InputError)."""
        condition, *settings = text.replace(" ", "").split(",")
        values: dict[str, int] = {}
        for setting in settings:
            name, _, number = setting.partition("=")
            known = ("window", "min_stubs", "min_bx", "sectors")
            if name not in known or not (number.isascii() and number.isdecimal()) or len(number) > 5:
                msg = f"{setting}: one of {', '.join(known)} with a whole number expected, such as window=4"
                raise InputError(msg)
            values[name] = int(number)
        return cls(condition, **values)

    def select(self, time: Times, columns: Mapping[str, NDArray[Any]]) -> Times:
        """Return the crossings with which a selected window ends, in order.

        Parameters
        ----------
        time : ndarray of int64
            Crossing of each stub (`l1scout.lhc.crossing`), never falling.
        columns : mapping of str to ndarray
            ``station`` (1..4), ``wheel`` (-2..2) and ``sector`` (0..11) of each; others are left out.
        """
        station, wheel, sector = (np.asarray(columns[name]).astype(np.int64) for name in COLUMNS)
        good = (
            (station >= 1) & (station <= STATIONS) & (np.abs(wheel) <= 2) & (sector >= 0) & (sector < SECTORS)
        )
        if self.condition == "track":
            # a chamber counts once in a crossing; inner stations first
            chamber = ((station - 1) * _WHEELS + wheel + 2) * SECTORS + sector
            key = np.sort((time * (STATIONS * _WHEELS * SECTORS) + chamber)[good])
            key = key[np.diff(key, prepend=-1) != 0]
            time, chamber = np.divmod(key, STATIONS * _WHEELS * SECTORS)
            rest, sector = np.divmod(chamber, SECTORS)
            station, wheel = np.divmod(rest, _WHEELS)
        else:
            time, station, wheel, sector = (x[good] for x in (time, station, wheel, sector))
        first = np.flatnonzero(np.diff(time, prepend=-1)) if time.size else np.zeros(0, np.int64)
        rows = np.r_[first, time.size]
        out = np.zeros(first.size, np.bool_)
        if self.condition == "track":
            numbers = self.window, self.min_stubs, self.min_bx, self.sectors
            _tracks(time, rows, station, wheel, sector, *numbers, out)
        else:
            _sums(time, rows, wheel, self.window, self.min_stubs, self.condition == "wheel", out)
        return time[first[out]]


@kernel
def _tracks(
    time: Any,
    rows: Any,
    station: Any,
    wheel: Any,
    sector: Any,
    window: Any,
    min_stubs: Any,
    min_bx: Any,
    sectors: Any,
    out: Any,
) -> None:
    # best[i, b]: most stations of a chain that ends with stub i and has b + 1 different BX
    best = np.zeros((0, STATIONS), np.int64)
    begin = 0
    for r in range(rows.size - 1):
        at = time[rows[r]]
        while time[begin] <= at - window:
            begin += 1
        n = rows[r + 1] - begin
        if n < min_stubs:
            continue
        if best.shape[0] < n:
            best = np.zeros((2 * n, STATIONS), np.int64)
        for i in range(n):
            a = begin + i
            best[i, 0] = 1
            for b in range(1, STATIONS):
                best[i, b] = 0
            for j in range(i):
                c = begin + j
                apart = abs(sector[a] - sector[c])
                apart = min(apart, SECTORS - apart)
                if station[c] >= station[a] or abs(wheel[a] - wheel[c]) > 1 or apart > sectors:
                    continue
                more = 1 if time[c] < time[a] else 0
                for b in range(STATIONS - more):
                    if best[j, b] and best[j, b] + 1 > best[i, b + more]:
                        best[i, b + more] = best[j, b] + 1
            if time[a] == at:
                for b in range(min_bx - 1, STATIONS):
                    if best[i, b] >= min_stubs:
                        out[r] = True


@kernel
def _sums(time: Any, rows: Any, wheel: Any, window: Any, min_stubs: Any, near: Any, out: Any) -> None:
    begin = 0
    for r in range(rows.size - 1):
        at = time[rows[r]]
        while time[rows[begin]] <= at - window:
            begin += 1
        if rows[r + 1] - rows[begin] < min_stubs:
            continue
        if not near:
            out[r] = True
            continue
        # wheels that had a stub in an earlier BX of the window, one bit each
        before = 0
        for k in range(begin, r + 1):
            own = 0
            for i in range(rows[k], rows[k + 1]):
                own |= 1 << (wheel[i] + 2)
            if own & (before | before << 1 | before >> 1):
                out[r] = True
            before |= own
