"""Alarms of the readout: orbits are lost, packets cannot be read, orbit numbers began again."""

import io
from collections import Counter

from l1scout.formats.packets import Found
from l1scout.formats.wire_format import WireFormat, recognise_format
from l1scout.readout.totals import Totals

_KEEP_S = 60.0
"""How long a loss is shown after it has happened."""
_DUPLICATES = 0.01
_UNREADABLE = 0.5
_KINDS = {
    "corrupt": "arrived damaged and are lost: check the link to the board",
    "missed": "were sent by the board and never arrived: check the connection to the board",
    "dropped": "were dropped by the board: readout or store is too slow for it",
}


class LossAlarms:
    """What an operator must look at, from the counts of a readout.

    Parameters
    ----------
    wire_format : WireFormat
    totals : Totals
        Counts since the start of the process, which the writer keeps up to date.
    """

    def __init__(self, wire_format: WireFormat, totals: Totals) -> None:
        self._format, self._totals = wire_format, totals
        self._looks_like: str | None = None
        self._seen: Counter[str] = Counter()
        self._grew: dict[str, float] = {}

    def unreadable(self, packet: memoryview, found: Found) -> None:
        """Look at the first packet of which nothing can be read: it may have another format."""
        if found.orbits or self._looks_like is not None:
            return
        known = recognise_format(io.BytesIO(packet))
        self._looks_like = "" if known is None or known is self._format else known.name

    def lines(self, now: float) -> list[str]:
        """Return the alarms at a time, in seconds: one line each."""
        counts, lines = self._totals.counts, []
        orbits = counts["orbits"] + counts["corrupt"] + counts["missed"]
        unreadable = counts["corrupt_bytes"] > _UNREADABLE * self._totals.bytes_in
        if unreadable:
            lines.append(self._wrong_format(orbits))
        for kind, text in _KINDS.items():
            if counts[kind] > self._seen[kind]:
                self._seen[kind], self._grew[kind] = counts[kind], now
            if unreadable and kind == "corrupt":
                continue
            if kind in self._grew and now - self._grew[kind] < _KEEP_S:
                lines.append(f"{counts[kind]:,} of {orbits + counts['dropped']:,} orbits {text}")
        if counts["duplicate"] > _DUPLICATES * max(orbits, 1):
            share = 100 * counts["duplicate"] / (orbits + counts["duplicate"])
            lines.append(
                f"{counts['duplicate']:,} orbits ({share:.0f} %) came again and were left out: does a second "
                "board, or the same one again, send as this source?"
            )
        if self._totals.discarded:
            lines.append(
                f"{self._totals.discarded:,} orbits given up at the end of the run: the spool was full"
            )
        if self._totals.epochs:
            lines.append(
                f"orbit numbers began again ({self._totals.epochs} times): a board was started again in "
                "mid-run, or its orbit number wrapped at 2^31; lumisections are counted on from there"
            )
        return lines

    def _wrong_format(self, orbits: int) -> str:
        counts = self._totals.counts
        what = f"{counts['corrupt_bytes']:,} of {self._totals.bytes_in:,} bytes"
        if counts["corrupt"]:
            what = f"{counts['corrupt']:,} of {orbits:,} orbits"
        hint = f" The packets look like {self._looks_like}." if self._looks_like else ""
        return f"{what} cannot be read: is readout.wire_format right ({self._format.name})?{hint}"
