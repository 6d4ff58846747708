"""The segments of all source ids that one board sends: a writer for each, as if it were alone."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from l1scout.core.provenance import DataLabel, joint_label
from l1scout.formats.wire_format import WireFormat
from l1scout.readout.totals import Totals
from l1scout.readout.writer import SegmentWriter


class SourceWriters:
    """Gives each packet to the writer of its source.

    Packets that state another source than those expected count as damaged bytes, as do stretches that are no
    packets: with the first source, whose account has all bytes that belong to none.

    Parameters
    ----------
    wire_format : WireFormat
    sources : sequence of int
        Source ids; packets of formats that do not state theirs are of the first.
    make : callable
        Makes the writer of a source.
    """

    def __init__(
        self, wire_format: WireFormat, sources: Sequence[int], make: Callable[[int], SegmentWriter]
    ) -> None:
        self._format, self._make = wire_format, make
        self._writers = {source: make(source) for source in sources}
        self._first = self._writers[sources[0]]

    def __iter__(self) -> Iterator[SegmentWriter]:
        return iter(self._writers.values())

    def make_anew(self, source: int) -> None:
        """Make the writer of a source again: where it goes on has changed."""
        self._writers[source] = self._make(source)
        self._first = next(iter(self))

    def step(self, item: tuple[memoryview, int]) -> None:
        """Take a packet and the number of bytes skipped before it."""
        packet, skipped = item
        source = self._format.source_of(packet)
        writer = self._first if source is None else self._writers.get(source)
        if writer is None:
            packet, skipped, writer = memoryview(b""), skipped + len(packet), self._first
        if skipped:
            for other in self:
                other.expect_damage()
            if writer is not self._first:
                self._first.step((memoryview(b""), skipped))
                skipped = 0
        writer.step((packet, skipped))

    def read_again(self) -> None:
        """Expect packets again from the beginning."""
        for writer in self:
            writer.read_again()

    def tick(self) -> None:
        """Close the segments whose time is over."""
        for writer in self:
            writer.tick()

    def finish(self) -> None:
        """End the run of every source that has not ended."""
        for writer in self:
            if not writer.position.ended:
                writer.finish()

    @property
    def ended(self) -> bool:
        """Whether the run of every source has ended."""
        return all(writer.position.ended for writer in self)

    @property
    def last_orbit(self) -> int:
        """Last orbit written of any source, counted over all epochs; -1 before the first."""
        return max(writer.position.absolute_orbit for writer in self)

    @property
    def data(self) -> DataLabel:
        """Whether the newest orbits are simulated, real or unknown."""
        return joint_label(writer.position.data for writer in self)

    @property
    def totals(self) -> Totals:
        """Return what all writers have seen since the start; counts of orbits are those of each source."""
        made, counts, objects = Totals(), Counter[str](), Counter[str]()
        for writer in self:
            for name, value in vars(writer.totals).items():
                if isinstance(value, int | float):
                    setattr(made, name, getattr(made, name) + value)
            counts.update(writer.totals.counts)
            objects.update(writer.totals.objects)
        made.counts, made.objects = counts, dict(objects)
        return made

    @property
    def alarms(self) -> list[str]:
        """What an operator must look at; of several sources, with the source."""
        one = len(self._writers) == 1
        return [
            text if one else f"source {source}: {text}"
            for source, writer in self._writers.items()
            for text in writer.alarms
        ]
