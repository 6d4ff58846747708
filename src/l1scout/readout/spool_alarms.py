"""What an operator must look at in a readout: one line each, for its status."""

from collections import deque

from l1scout.readout.spool import Spool

_FILLED = 0.8
_DISK_BYTES = 1 << 22
_SPAN_S = 30.0
_MIN_SPAN_S = 1.0


class SpoolForecast:
    """How long the spool takes what comes, at the rate of the last half minute."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def seconds_left(self, now: float, spool: Spool) -> float | None:
        """Return in how many seconds the spool is full; None if it does not fill."""
        held = spool.held
        self._seen.append((now, held))
        while now - self._seen[0][0] > _SPAN_S:
            self._seen.popleft()
        began, before = self._seen[0]
        if held <= before or now - began < _MIN_SPAN_S:
            return None
        return spool.room() * (now - began) / (held - before)


def spool_alarms(spool: Spool) -> list[str]:
    """Return what is wrong with a spool."""
    alarms = []
    if spool.n_refused:
        alarms.append(
            f"{spool.n_refused} segments refused by the store, kept in {spool.folder}/refused: "
            "`l1scout readout --refused-as-source N` stores them under another source id"
        )
    if spool.bad:
        alarms.append(f"{spool.bad} damaged files kept in {spool.folder} (*.bad); what they held is counted")
    held, room = spool.held, spool.room()
    if held > _FILLED * (held + room):
        alarms.append(f"spool {100 * held / (held + room):.0f} % full: the store takes less than comes in")
    if (free := spool.disk_free()) < _DISK_BYTES:
        alarms.append(f"disk of the spool full ({free:,} bytes free): {spool.folder}")
    return alarms
