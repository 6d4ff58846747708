"""Which of the orbits that arrive are believed: by their numbers, and by the board's trailers.

A packet whose orbit numbers and counters go on exactly from what is known is believed at once: that is the
normal case, and what the board drops and what is lost on the way shows in the counters as well. Any other
packet is held back until the next one has come, and is then judged by both:

- Within a packet, numbers that do not fit to most others are damaged.
- A step at the end of a packet (of one orbit, or of all) that the counters do not explain is believed if
  the next packet goes on from there. It is not if the next packet goes on from before the step.
- Counters that do not fit are believed if the next ones go on from them.
- A packet from before the last orbit is a repeat. If the next packet goes on from it as well, and the
  counters have begun anew, or go on while the numbers do not, a new epoch begins: the board or its orbit
  number was started again.

Orbits that are not believed count as corrupt.
"""

from collections import Counter
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from l1scout.formats.packets import MAX_ORBITS_PER_PACKET, PacketOrbits, Trailer
from l1scout.formats.records import ORBIT_MASK
from l1scout.formats.wire_format import WireFormat
from l1scout.readout.arrival import Ahead, Arrival, Judged
from l1scout.readout.board_account import BoardAccount, PacketNumbers
from l1scout.readout.orbit_numbers import (
    EPOCH_ORBITS,
    MAX_EPOCH,
    absolute,
    is_increasing,
    last_run,
    longest_chain,
    single_places,
)
from l1scout.readout.segment_note import ReadoutPosition

_REPEATS = 8
"""Packets in a row, each going on from the one before, that are no repeats any more."""


class OrbitSequence:
    """Judges the packets of one run and source, in the order in which they arrive.

    Parameters
    ----------
    position : ReadoutPosition
        Where to go on.
    wire_format : WireFormat

    Attributes
    ----------
    account : BoardAccount
    last : int
        Absolute number of the last orbit believed; see `orbit_numbers.EPOCH_ORBITS`.
    reads_again : bool
        Whether packets come again from the beginning, of a file: up to the last orbit they are repeats.
    """

    def __init__(self, position: ReadoutPosition, wire_format: WireFormat) -> None:
        self._format, self._period = wire_format, 1 << wire_format.orbit_bits
        self.account = BoardAccount(
            position.board_orbits,
            position.board_dropped,
            position.gap_orbits,
            position.unaccounted,
            reports_empty=wire_format.reports_empty_orbits,
        )
        self.last = position.absolute_orbit
        self._held: Arrival | None = None
        self._after_damage = False
        self._repeats = 0
        self._start = self.last
        self.reads_again = False

    @property
    def holds(self) -> bool:
        """Whether a packet with orbits waits for the next one."""
        return self._held is not None and len(self._held.orbits.orbit) > 0

    def damage(self) -> None:
        """Take note of bytes before the next packet that are none of any packet."""
        self._after_damage = True

    def take(self, arrival: Arrival) -> list[Judged]:
        """Take a packet; return what is decided by it, in order."""
        held, done = self._held, list[Judged]()
        if held is not None:
            if _is_same(held, arrival):
                return [
                    self._judged(_no_orbits(arrival.orbits), Counter(duplicate=arrival.orbits.orbit.size))
                ]
            self._held = None
            done.append(self._settle(held, arrival))
        if self._after_damage:
            self.account.damage()
            self._after_damage = False
        now = self._at_once(arrival)
        if now is None:
            self._held = arrival.copy()
        else:
            done.append(now)
        return done

    def settle(self) -> list[Judged]:
        """Decide without waiting any longer for the next packet."""
        held, self._held = self._held, None
        return [] if held is None else [self._settle(held, None)]

    def finish(self) -> list[Judged]:
        """Decide at the end of the run, and count what no later packet can account for."""
        done, counts = self.settle(), self.account.finish()
        empty = self._format.find_orbits(memoryview(bytearray()))
        return [*done, self._judged(empty, counts)]

    def _at_once(self, arrival: Arrival) -> Judged | None:
        """Return what is to be stored of a packet that leaves no doubt."""
        orbit = arrival.orbits.orbit
        if arrival.damaged or not orbit.size:
            return None
        number = self._numbers(arrival)
        first, end = int(number[0]), int(number[-1])
        if first <= self.last or not is_increasing(number):
            return None
        packet, trailer = PacketNumbers(orbit.size, end - self.last, end - first + 1), arrival.trailer
        if not self.account.explains(trailer, packet):
            return None
        self._repeats = 0
        if trailer is None:
            counts = self.account.pass_over(trailer, packet)
        else:
            counts = self.account.believe(trailer, packet)
        self.last = end
        return self._judged(_numbered(arrival.orbits, number), counts)

    def _settle(self, held: Arrival, following: Arrival | None) -> Judged:
        """Decide what to believe of a packet that was held back."""
        counts = Counter[str]()
        if held.damaged:
            self.account.damage(MAX_ORBITS_PER_PACKET)
        number = self._numbers(held)
        chain = longest_chain(number, self.last + 1)
        old = chain.any() and number[chain][-1] <= self.last
        if old and self._begins_epoch(held, number[chain], following):
            counts += self._begin_epoch(held, int(number[chain][-1]))
            number = self._numbers(held)
            chain, old = longest_chain(number, self.last + 1), False
        if old and not self._is_new(held.trailer):
            counts["duplicate"] += number.size
            return self._judged(_no_orbits(held.orbits), counts)
        self._repeats = 0
        repeated = chain & (number <= self.last) & (not old)
        ahead = self._ahead(following)
        keep = self._believed(held, number, chain & (number > self.last), ahead)
        rejected = number.size - int(keep.sum() + repeated.sum())
        self.account.reject(rejected)
        counts["duplicate"] += int(repeated.sum())
        kept = number[keep]
        end, span = (int(kept[-1]), int(kept[-1] - kept[0]) + 1) if kept.size else (self.last, 0)
        packet = PacketNumbers(kept.size, end - self.last, span, damaged=held.damaged or rejected > 0)
        counts += self._count(held, packet, ahead)
        self.last = end
        return self._judged(_numbered(held.orbits.select(keep), kept), counts)

    def _judged(self, orbits: PacketOrbits, counts: Counter[str]) -> Judged:
        account = self.account
        return Judged(
            orbits, counts, self.last, account.orbits, account.dropped, account.gap, account.unaccounted
        )

    def _numbers(self, held: Arrival) -> NDArray[np.int64]:
        """Return absolute orbits; those after the last one if the packet states none and fits there."""
        orbit, trailer = held.orbits.orbit, held.trailer
        if held.orbits.numbered:
            return absolute(orbit, self.last, self._period)
        packet = PacketNumbers(orbit.size, orbit.size, orbit.size)
        sure = trailer is not None and not held.damaged and self.account.goes_on(trailer, packet)
        if sure and (self.last + 1) % self._period:
            return np.arange(self.last + 1, self.last + 1 + orbit.size)
        return np.full(orbit.size, -1)

    def _is_new(self, trailer: Trailer | None) -> bool:
        """Return whether counters are later than those of the packets before."""
        account = self.account
        return trailer is not None and trailer.orbits > account.orbits and trailer.dropped >= account.dropped

    def _ahead(self, following: Arrival | None) -> Ahead:
        """Return what the next packet says, if it is not a repeat."""
        if following is None:
            return Ahead(None, np.zeros(0, np.int64), damaged=False, ends=True)
        number = self._numbers(following)
        number = number[longest_chain(number, self.last + 1)]
        return Ahead(following.trailer, number[number > self.last], following.damaged, ends=False)

    def _believed(
        self, held: Arrival, number: NDArray[np.int64], keep: NDArray[np.bool_], ahead: Ahead
    ) -> NDArray[np.bool_]:
        """Return which orbits of a packet are believed, of those that go together and are new."""
        places = np.flatnonzero(keep)
        if places.size and self._format.reports_empty_orbits:
            places = self._without_single(held, number, places)
        while places.size and (tail := self._doubtful(held, number, places)) < places.size:
            if self._is_confirmed(held.trailer, number[places], tail, ahead):
                break
            places = places[:tail]
        believed = np.zeros(number.size, np.bool_)
        believed[places] = True
        return believed

    def _without_single(
        self, held: Arrival, number: NDArray[np.int64], places: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """Leave out single orbits between steps that the counters do not explain."""
        dropped = held.trailer.dropped - self.account.dropped if held.trailer else 0
        if int(number[places[-1]] - number[places[0]]) + 1 - places.size <= dropped:
            return places
        single = single_places(number[places] - places, self.last + 1)
        single[0] &= number[places[0]] != self.last + 1
        return places if 2 * int(single.sum()) > places.size else places[~single]

    def _doubtful(self, held: Arrival, number: NDArray[np.int64], places: NDArray[np.int64]) -> int:
        """Return the place from which on orbits come after a step that the counters do not explain."""
        new, trailer = number[places], held.trailer
        passed = int(new[-1]) - self.last
        if self._format.reports_empty_orbits:
            packet = PacketNumbers(new.size, passed, int(new[-1] - new[0]) + 1)
            if new.size == number.size and not held.damaged and self.account.explains(trailer, packet):
                return int(new.size)
            tail = last_run(new - places)
            before = int(new[tail - 1]) if tail else self.last
            in_line = int(new[tail]) == before + 1 or (tail == 0 and int(new[0] - places[0]) == self.last + 1)
            return int(new.size) if in_line else tail
        before = int(new[-2]) if new.size > 1 else self.last
        if trailer is None:
            in_line = int(new[-1]) - before <= MAX_ORBITS_PER_PACKET
        else:
            in_line = not self.account.shows_idle(trailer, passed)
        return int(new.size) if in_line else int(new.size) - 1

    def _is_confirmed(self, trailer: Trailer | None, new: NDArray[np.int64], tail: int, ahead: Ahead) -> bool:
        """Return whether the orbits after a step at the end of a packet are believed, by the next packet."""
        end, account, then = int(new[-1]), self.account, ahead.trailer
        several = new.size - tail > 1
        if not self._format.reports_empty_orbits and new.size > 1:
            several = end - int(new[-2]) <= MAX_ORBITS_PER_PACKET
        if not ahead.number.size:
            nothing_known = (self.last + 1) % self._period == 0
            return several or nothing_known or trailer is None
        first, last = int(ahead.number[0]), int(ahead.number[-1])
        if first <= end + 1:
            return first == end + 1
        if trailer is None or then is None or not account.orbits < trailer.orbits < then.orbits:
            return several
        # the time in which the board was idle does not become less
        idle = account.gap_after(trailer, end - self.last)
        return account.gap_after(then, last - self.last) >= idle - account.unseen

    def _count(self, held: Arrival, packet: PacketNumbers, ahead: Ahead) -> Counter[str]:
        """Count what a packet's trailer states, if it is believed."""
        trailer, account, then = held.trailer, self.account, ahead.trailer
        if trailer is None:
            return account.pass_over(trailer, packet)
        sure = account.explains(trailer, packet) or account.goes_on(trailer, packet)
        if sure and packet.orbits and not packet.damaged:
            return account.believe(trailer, packet)
        back = account.has_gone_back(trailer, packet)
        if ahead.ends:
            if back and self._was_restarted(trailer, packet):
                return account.begin_again(trailer, packet, 0)
            # a packet without orbits says what was dropped since the last one: no number shows that time
            empty = not len(held.orbits.rows) and not held.damaged and trailer.orbits == account.orbits
            empty &= trailer.dropped - account.dropped <= ORBIT_MASK
            if not back and (empty or account.is_possible(trailer, packet)):
                return account.believe(trailer, packet)
            return account.pass_over(trailer, packet)
        end = self.last + packet.passed
        if then is None or not self._go_on(trailer, then, end, ahead, packet):
            return account.pass_over(trailer, packet)
        both = replace(packet, orbits=packet.orbits + ahead.number.size)
        if back and not account.has_gone_back(then, both):
            return account.pass_over(trailer, packet)  # the next counters go on from those before this packet
        if back or account.is_too_far(trailer, packet):  # a board started again, or not known from its start
            return account.begin_again(trailer, packet, _unread(trailer, then, end, ahead, packet))
        return account.believe(trailer, packet)

    def _was_restarted(self, trailer: Trailer, packet: PacketNumbers) -> bool:
        """Return whether the counters of the run's last packet can be those of a board started again."""
        between = self.account.unaccounted + packet.passed - packet.span
        few = packet.orbits <= trailer.orbits <= between + packet.span
        return few and packet.orbits > 0 and trailer.dropped <= between

    def _go_on(self, trailer: Trailer, then: Trailer, end: int, ahead: Ahead, packet: PacketNumbers) -> bool:
        """Return whether the counters of the next packet can follow these."""
        sent, dropped = then.orbits - trailer.orbits, then.dropped - trailer.dropped
        if sent < ahead.number.size or dropped < 0:
            return False
        if not ahead.number.size:
            return sent <= MAX_ORBITS_PER_PACKET
        damaged = MAX_ORBITS_PER_PACKET if packet.damaged or ahead.damaged else 0
        return sent + dropped <= int(ahead.number[-1]) - end + damaged + self.account.unseen

    def _begins_epoch(self, held: Arrival, old: NDArray[np.int64], following: Arrival | None) -> bool:
        """Return whether the orbit numbers have begun again with a packet of numbers that have been."""
        if self.reads_again and self.last == self._start:
            return False
        if following is None or self.last // EPOCH_ORBITS >= MAX_EPOCH:
            return False
        end = int(old[-1])
        number = self._numbers(following)
        number = number[longest_chain(number, end + 1)]
        if not number.size or int(number[0]) <= end or int(number[-1]) > self.last:
            return False
        self._repeats += 1
        if self._repeats >= _REPEATS:
            return True
        trailer, then, account = held.trailer, following.trailer, self.account
        ahead = Ahead(then, number, following.damaged, ends=False)
        packet = PacketNumbers(old.size, end - self.last, end - int(old[0]) + 1, damaged=held.damaged)
        if trailer is None or then is None or not self._go_on(trailer, then, end, ahead, packet):
            return False
        damaged = MAX_ORBITS_PER_PACKET if held.damaged or following.damaged else 0
        if then.orbits - trailer.orbits > max(number.size, damaged):
            return False
        if self._is_new(trailer):
            return True
        begins = trailer.orbits + trailer.dropped <= old.size + MAX_ORBITS_PER_PACKET
        return begins or account.shows_idle(trailer, packet.passed)

    def _begin_epoch(self, held: Arrival, end: int) -> Counter[str]:
        """Begin a new epoch with a packet that ends with an orbit, by its number in the old one."""
        base = (self.last + 1) // self._period * self._period
        counts, trailer = Counter[str](), held.trailer
        if trailer is not None and self._is_new(trailer):
            self.account.renumber(trailer, end - base + 1)
        else:
            counts = self.account.begin_epoch()
        self.last = base + self._period - 1
        return counts


def _unread(trailer: Trailer, then: Trailer, end: int, ahead: Ahead, packet: PacketNumbers) -> int:
    """Return the orbits at a packet's end that cannot be read, by numbers and counters of the next."""
    if not (packet.damaged and packet.orbits and ahead.number.size):
        return 0
    between = int(ahead.number[0]) - 1 - end
    sent = then.orbits - trailer.orbits - ahead.number.size
    return min(max(between - sent - (then.dropped - trailer.dropped), 0), MAX_ORBITS_PER_PACKET)


def _is_same(held: Arrival, arrival: Arrival) -> bool:
    """Return whether a packet has come twice."""
    one, two = held.orbits.orbit, arrival.orbits.orbit
    same = held.trailer == arrival.trailer and held.damaged == arrival.damaged
    return same and one.size > 0 and bool(np.array_equal(one, two))


def _numbered(orbits: PacketOrbits, number: NDArray[np.int64]) -> PacketOrbits:
    """Return orbits with absolute numbers."""
    if number is orbits.orbit:
        return orbits
    flagged = number[np.isin(orbits.orbit, orbits.flagged)]
    return replace(orbits, orbit=number, flagged=flagged)


def _no_orbits(orbits: PacketOrbits) -> PacketOrbits:
    return orbits.select(np.zeros(orbits.orbit.size, np.bool_))
