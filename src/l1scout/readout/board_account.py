"""Account of the orbits that the board sent, by its packets' trailers, against those that arrived.

A trailer counts all orbits that the board has sent and dropped since its start. Each orbit sent is stored,
corrupt or missed; `BoardAccount` finds out which from the counters of two trailers that `OrbitSequence`
believes. Orbit numbers and counters together show how long the board was idle (the gap), which is no loss.
Decision 18 says when a trailer is believed.
"""

from collections import Counter
from dataclasses import dataclass

from l1scout.formats.packets import MAX_ORBITS_PER_PACKET, Trailer

_ANY = 1 << 40
"""More orbits than may be in a stretch of bytes of unknown length."""


@dataclass(frozen=True, slots=True)
class PacketNumbers:
    """What the account needs to know of a packet.

    Parameters
    ----------
    orbits : int
        To be stored.
    passed : int
        Orbits by number from the last one stored to the last one of these.
    span : int
        Orbits by number from the first to the last one of these.
    damaged : bool
        Whether some of the packet cannot be read, or is not believed.
    """

    orbits: int
    passed: int
    span: int
    damaged: bool = False


class BoardAccount:
    """Account of the orbits that the board sent.

    The newest counters that are believed, and those before, say what was sent between; what is not stored of
    it is corrupt as far as damage since then explains it, else missed. Whatever happened to the trailers
    between is of no importance.

    Packets of Run 2 do not show empty orbits. There, orbits that are not seen are taken to be empty
    if the packet has other gaps, and missed if it has none.

    Parameters
    ----------
    orbits, dropped, gap, unaccounted : int
        Of the position where readout goes on, see `ReadoutPosition`.
    reports_empty : bool
        Whether packets show empty orbits.

    Attributes
    ----------
    orbits, dropped : int
        The board's counters as far as they are accounted for.
    gap : int
        Orbits by number that have passed, did not arrive and are not counted; negative where orbits are
        counted whose numbers could not be read.
    unaccounted : int
        Of these, orbits whose account was lost with a process that was killed.
    unseen : int
        Orbits that packets of the format may leave unseen at their end, because they are empty.
    """

    def __init__(self, orbits: int, dropped: int, gap: int, unaccounted: int, *, reports_empty: bool) -> None:
        self.orbits, self.dropped, self.gap, self.unaccounted = orbits, dropped, gap, unaccounted
        self._idle = gap
        """The gap when numbers and counters agreed last."""
        self._empty = not reports_empty
        self.unseen = 0 if reports_empty else MAX_ORBITS_PER_PACKET - 1
        self._explained = 0  # orbits that may be lost to damage since the last trailer
        self._rejected = 0  # of these, orbits that arrived and no trailer has counted yet
        self._has_trailers = False

    def explains(self, trailer: Trailer | None, packet: PacketNumbers) -> bool:
        """Return whether trailer and orbit numbers of a packet agree on all that was sent since the last."""
        if trailer is None:
            return packet.passed == packet.orbits or (self._empty and packet.passed <= MAX_ORBITS_PER_PACKET)
        sent, dropped = trailer.orbits - self.orbits, trailer.dropped - self.dropped
        if sent < packet.orbits or dropped < 0:
            return False
        in_line = (
            self._idle - self.unseen - self.unaccounted
            <= self.gap_after(trailer, packet.passed)
            <= self._idle
        )
        return in_line and (self._empty or packet.span - packet.orbits <= dropped)

    def gap_after(self, trailer: Trailer, passed: int) -> int:
        """Return the gap if counters are believed `passed` orbits by number after the last; see `gap`."""
        return self.gap + passed + self.orbits + self.dropped - trailer.orbits - trailer.dropped

    def shows_idle(self, trailer: Trailer, passed: int) -> bool:
        """Return whether the board must have been idle, if `passed` orbits have passed by number."""
        return self.gap_after(trailer, passed) > self._idle

    def goes_on(self, trailer: Trailer, packet: PacketNumbers) -> bool:
        """Return whether counters are those before plus the packet, whatever its numbers say."""
        return trailer.orbits - self.orbits == packet.orbits and trailer.dropped == self.dropped

    def is_possible(self, trailer: Trailer, packet: PacketNumbers) -> bool:
        """Return whether the board can have sent these orbits in the time that has passed by number."""
        sent, dropped = trailer.orbits - self.orbits, trailer.dropped - self.dropped
        if sent < packet.orbits or dropped < 0:
            return False
        damaged = MAX_ORBITS_PER_PACKET if packet.damaged else 0
        if packet.orbits:
            room = packet.passed + self.gap + damaged + self.unseen
        else:
            room = max(self.gap, 0) + self.unseen + self._explained
        return sent + dropped <= room

    def is_too_far(self, trailer: Trailer, packet: PacketNumbers) -> bool:
        """Return whether a board that was running since cannot have sent this, whatever was damaged.

        So it is where the note with the board's counters was lost, and they are taken for 0.
        """
        passed = trailer.orbits - self.orbits + trailer.dropped - self.dropped
        damaged = self._explained + MAX_ORBITS_PER_PACKET
        return passed > packet.passed + max(self.gap, 0) + damaged + self.unseen

    def has_gone_back(self, trailer: Trailer, packet: PacketNumbers) -> bool:
        """Return whether a counter is smaller than it can be, if the board has been running since."""
        return trailer.orbits - self.orbits < packet.orbits or trailer.dropped < self.dropped

    def damage(self, orbits: int | None = None) -> None:
        """Note damage since the last trailer; `orbits` is the largest number it can explain (None: any)."""
        self._explained += _ANY if orbits is None else orbits

    def believe(self, trailer: Trailer, packet: PacketNumbers) -> Counter[str]:
        """Take over the counters of a packet; return the counts of the orbits that this accounts for."""
        sent, dropped = trailer.orbits - self.orbits, trailer.dropped - self.dropped
        missing, counts = sent - packet.orbits, Counter(dropped=dropped)
        self.gap = self.gap_after(trailer, packet.passed)
        if self._empty and not self._explained:
            few = packet.span if packet.span > packet.orbits else 0
            empty = min(missing, MAX_ORBITS_PER_PACKET if few else 0)
            counts["orbits"], missing = empty, missing - empty
        self._attribute(counts, missing)
        if packet.orbits and not packet.damaged and not -self.unseen <= self.gap - self._idle <= 0:
            self._idle = self.gap
        self._settled(trailer)
        return counts

    def pass_over(self, trailer: Trailer | None, packet: PacketNumbers) -> Counter[str]:
        """Count the orbits of a packet whose counters are not believed, or that has none."""
        self.orbits += packet.orbits
        self.gap += packet.passed - packet.orbits
        if trailer is not None or self._has_trailers:
            return Counter()
        counts = Counter(corrupt=self._rejected)
        self._rejected = 0
        return counts

    def begin_again(self, trailer: Trailer, packet: PacketNumbers, corrupt: int) -> Counter[str]:
        """Take over counters that have begun again; the orbits between are missed.

        Parameters
        ----------
        trailer : Trailer
        packet : PacketNumbers
        corrupt : int
            Orbits at the end of the packet that cannot be read.
        """
        passed = packet.span if self._empty else packet.orbits
        between = max(self.unaccounted + packet.passed - passed, 0)
        dropped = trailer.dropped if trailer.dropped <= between else 0
        counts = Counter(dropped=dropped, missed=between - dropped, corrupt=corrupt)
        if not packet.orbits:
            counts["corrupt"] = min(trailer.orbits, self._explained)
        self.gap, self._idle = -counts["corrupt"], 0
        self._settled(trailer)
        return counts

    def begin_epoch(self) -> Counter[str]:
        """Begin with the counters of a board that has been started anew, at orbit 0 or later."""
        counts = self.finish()
        self.orbits = self.dropped = self.gap = self._idle = 0
        return counts

    def renumber(self, trailer: Trailer, passed: int) -> None:
        """Take note that the orbit numbers have begun again, and the counters have not.

        Parameters
        ----------
        trailer : Trailer
        passed : int
            Orbits by number from the beginning of the epoch to the end of the packet.
        """
        self.gap += self._idle - self.gap_after(trailer, passed)

    def reject(self, orbits: int) -> None:
        """Note orbits that arrived and are not believed: a later trailer counts them."""
        self._rejected += orbits
        self._explained += orbits

    def finish(self) -> Counter[str]:
        """Return the counts of orbits that no later trailer can account for any more."""
        counts = Counter(missed=self.unaccounted, corrupt=self._rejected)
        self.unaccounted = self._rejected = self._explained = 0
        return counts

    def _attribute(self, counts: Counter[str], missing: int) -> None:
        counts["corrupt"] = min(missing, self._explained)
        counts["missed"] = missing - counts["corrupt"]

    def _settled(self, trailer: Trailer) -> None:
        self.orbits, self.dropped = trailer.orbits, trailer.dropped
        self.unaccounted = self._explained = self._rejected = 0
        self._has_trailers = True
