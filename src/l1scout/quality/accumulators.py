"""Histograms of all streams by lumisection and run: an analysis whose pieces merge exactly."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from l1scout.analysis import Analysis, Needs, Result
from l1scout.analysis._analysis import NoOptions, Setup
from l1scout.analysis.common.live_time import Section
from l1scout.core.orbit_data import OrbitData
from l1scout.core.provenance import joint_origin
from l1scout.formats.stream import STREAMS
from l1scout.lhc import ORBIT_FREQUENCY_HZ
from l1scout.quality.histogram_definitions import HistogramDefinition, definitions, stream_of
from l1scout.quality.stream_histograms import Counts, StreamHistograms

if TYPE_CHECKING:
    from hist import Hist


class RunHistograms:
    """The state: histograms by stream; an `l1scout.analysis._analysis.AnalysisState` of `OrbitData`.

    Parameters
    ----------
    keep_sections : int, optional
        Lumisections whose histograms are kept apart, the newest ones; all if None. Memory is then bounded.

    Attributes
    ----------
    streams : dict of str to StreamHistograms
        Those that data had so far.
    """

    def __init__(self, keep_sections: int | None = None) -> None:
        self.keep_sections = keep_sections
        self.streams: dict[str, StreamHistograms] = {}

    def add(self, data: OrbitData, prescale: float = 1.0) -> None:
        """Take in data of whole orbits, in order of time."""
        del prescale
        for name, batch in data.streams.items():
            if stream_of(name) not in STREAMS:
                continue
            if name not in self.streams:
                self.streams[name] = StreamHistograms(name, self.keep_sections)
            self.streams[name].add(batch)

    def merge(self, other: "RunHistograms") -> None:
        """Add what follows in time."""
        for name, theirs in other.streams.items():
            if name not in self.streams:
                self.streams[name] = StreamHistograms(name, self.keep_sections)
            self.streams[name].merge(theirs)

    @property
    def simulated(self) -> bool | None:
        """Whether any data are simulated; None where none are, and some do not say."""
        return joint_origin({o for stream in self.streams.values() for o in stream.origins})

    @property
    def sections(self) -> list[Section]:
        """Lumisections whose histograms are kept, in order."""
        return sorted({section for stream in self.streams.values() for section in stream.sections})

    @property
    def orbits(self) -> int:
        """Orbits seen, of the stream that has most."""
        return max((stream.orbits for stream in self.streams.values()), default=0)

    def completed(self) -> list[Section]:
        """Return the kept lumisections of which nothing more is expected: all but the newest."""
        return self.sections[:-1]

    def section(self, section: Section) -> dict[str, Counts]:
        """Return the counts of a lumisection by stream (KeyError if it is not kept)."""
        found = {n: s.sections[section] for n, s in self.streams.items() if section in s.sections}
        if not found:
            raise KeyError(section)
        return found

    def histograms(self, section: Section | None = None) -> "dict[str, Hist[Any]]":
        """Return the histograms of the run, or of a lumisection, as ``stream/name``."""
        return {
            f"{stream}/{definition.name}": to_hist(definition, counts[definition.name])
            for stream, counts in self._counts(section)
            for definition in definitions(stream)
        }

    def _counts(self, section: Section | None) -> Iterator[tuple[str, Counts]]:
        if section is not None:
            yield from self.section(section).items()
            return
        for name, stream in self.streams.items():
            yield name, stream.run()


def to_hist(definition: HistogramDefinition, counts: Any) -> "Hist[Any]":
    """Return counts as a histogram of the library hist."""
    from hist import Hist, storage

    axes = [axis.hist_axis() for axis in definition.axes]
    made: Hist[Any] = Hist(*axes, storage=storage.Double(), label=definition.counts, name=definition.title)
    made[...] = counts
    return made


class HistogramAnalysis(Analysis[NoOptions]):
    """Histograms of all streams: takes any data, and gives histograms at any time."""

    needs = Needs("none", counted_orbits=False, streams=(), columns=(), shared=())

    def __init__(self, setup: Setup | None = None, keep_sections: int | None = None) -> None:
        self._keep_sections = keep_sections
        super().__init__(setup=setup)

    def start(self) -> RunHistograms:
        """Return an empty state."""
        return RunHistograms(self._keep_sections)

    def add(self, data: OrbitData) -> None:
        """Take in data of all streams that follow those before."""
        self.state.add(data)

    def result(self) -> Result:
        """Return the histograms of the run, and what is known of each lumisection."""
        state: RunHistograms = self.state
        tables = {}
        for name in state.streams:
            trend = {key: column.tolist() for key, column in state.streams[name].trend().items()}
            tables[name] = [dict(zip(trend, row, strict=True)) for row in zip(*trend.values(), strict=True)]
        seconds = state.orbits / ORBIT_FREQUENCY_HZ
        numbers = {"orbits": state.orbits, "live_s": seconds, "simulated": state.simulated}
        return Result(numbers, tables, histograms=state.histograms())
