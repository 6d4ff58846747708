"""The crossings of highest score, and what was in them."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from l1scout.core.orbit_batch import OrbitBatch, final_muons
from l1scout.core.orbit_data import MUON, OrbitData
from l1scout.formats.stream import STREAMS
from l1scout.lhc import order_of_time

LISTED = ("muon", "egamma", "tau", "jet", "etsum")
"""Streams of which a crossing's objects are described."""
_DESCRIBED = 3
"""Objects of a stream that are described."""


class TopCrossing(NamedTuple):
    """A crossing of high score; sorted, the highest comes first, then the earliest."""

    minus_score: int
    run: int
    orbit: int
    bx: int
    lumisection: int
    objects: str


class TopCrossings:
    """The crossings of highest score among those that were added.

    Parameters
    ----------
    most : int
        That are kept.
    """

    def __init__(self, most: int) -> None:
        self._most, self._tops = most, list[TopCrossing]()

    def add(self, batch: OrbitBatch, chosen: NDArray[np.int64], objects: OrbitData | None = None) -> None:
        """Take in some scores of a batch of the stream ``anomaly``, and the objects of their crossings."""
        tops, scores = self._tops, batch["hwScore"][chosen]
        if len(tops) == self._most and tops:
            above = scores > -tops[-1].minus_score
            chosen, scores = chosen[above], scores[above]
        highest = chosen[np.argsort(-scores.astype(np.int64), kind="stable")[: self._most]]
        for k in highest.tolist():
            row = int(batch.row[k])
            at = (int(batch.run[row]), int(batch.orbit[row]), int(batch.bx[row]), int(batch.lumisection[row]))
            text = described(objects, at[1], at[2]) if objects else ""
            tops.append(TopCrossing(-int(batch["hwScore"][k]), *at, text))
        self._cut()

    def merge(self, other: "TopCrossings") -> None:
        """Add those of other crossings."""
        self._tops += other._tops
        self._cut()

    def _cut(self) -> None:
        self._tops.sort()
        del self._tops[self._most :]

    def rows(self) -> list[dict[str, Any]]:
        """Return a row per crossing, the highest score first."""
        return [
            {n: getattr(top, n) for n in ("run", "lumisection", "orbit", "bx")}
            | {"hw_score": -top.minus_score, "objects": top.objects}
            for top in self._tops
        ]


def described(data: OrbitData, orbit: int, bx: int) -> str:
    """Describe the hardest objects of a crossing: pT (GeV), eta and phi (rad)."""
    parts = []
    for name in LISTED:
        if name not in data.streams:
            continue
        batch = final_muons(data.streams[name]) if name == MUON else data.streams[name]
        row = int(np.searchsorted(order_of_time(batch.orbit, batch.bx), order_of_time(orbit, bx)))
        if row < len(batch) and batch.orbit[row] == orbit and batch.bx[row] == bx:
            span = slice(int(batch.offsets[row]), int(batch.offsets[row + 1]))
            parts += _of_stream(name, {n: c[span] for n, c in batch.columns.items() if c.dtype.kind in "iu"})
    return "; ".join(parts)


def _of_stream(name: str, columns: dict[str, NDArray[Any]]) -> list[str]:
    values = STREAMS[name].physics(columns)
    if name == "etsum":
        return (
            [f"missing Et {values['missEt'][0]:.1f}"] if "missEt" in values and values["missEt"].size else []
        )
    if "pt" not in values or not values["pt"].size:
        return []
    eta, phi = (values.get(f"{n}AtVtx", values.get(n)) for n in ("eta", "phi"))
    hardest = np.argsort(-np.nan_to_num(values["pt"]), kind="stable")[:_DESCRIBED]
    found = [
        f"{values['pt'][k]:.1f} ({eta[k]:.2f}, {phi[k]:.2f})"
        for k in hardest.tolist()
        if eta is not None and phi is not None
    ]
    more = values["pt"].size - len(found)
    return [f"{name} {', '.join(found)}" + (f" and {more} more" if more > 0 else "")]
