"""Anomaly scores of one model as data come: sources are joined by the orbit, thresholds counted."""

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from l1scout.analysis.common.live_time import Section
from l1scout.analysis.common.menu_tables import poisson_interval
from l1scout.analysis.common.top_crossings import TopCrossings
from l1scout.core.orbit_batch import OrbitBatch
from l1scout.core.orbit_data import OrbitData
from l1scout.deploy.anomaly_score import STREAM, AnomalyScorer, score_thresholds
from l1scout.errors import InputError
from l1scout.formats.stream import STREAMS
from l1scout.io.built_data import BuildAccount, DataBuilder
from l1scout.io.orbit_building import BuiltOrbits, Fragments, OrbitBuilder
from l1scout.lhc import ORBIT_FREQUENCY_HZ, lumisection
from l1scout.quality.histogram_definitions import EXCEEDED
from l1scout.quality.stream_histograms import StreamHistograms

TOP = 10
"""Crossings of highest score that are listed."""
MAX_JOINED_BYTES = 256 << 20
"""Of the orbits of a source that are held until the other sources have sent theirs."""
JOINED_ORBITS = 50
_NAME = re.compile(r"[^A-Za-z0-9_-]+")


@dataclass(frozen=True)
class ThresholdRate:
    """Rate of the crossings above a threshold.

    Parameters
    ----------
    hw_score : int
    fraction : float
        Of crossings for which the threshold was set.
    trained_hz : float
        Rate when the model was trained; NaN if it is not known.
    crossings : int
        Above it.
    rate_hz, error_hz : float
        With half the width of the interval of 68 %; NaN if no orbit was scored.
    """

    hw_score: int
    fraction: float
    trained_hz: float
    crossings: int
    rate_hz: float
    error_hz: float


class Complete(NamedTuple):
    """Orbits of which all streams of a model are known: joined, or parts to be joined."""

    content: OrbitData | BuiltOrbits
    orbits: int
    bytes: int


class Scored(NamedTuple):
    """Scores, a row and a score per crossing, and the data that they were made of."""

    scores: OrbitBatch
    data: OrbitData


class ModelScores:
    """Scores of one model, for one run after the other.

    Parameters
    ----------
    folder : Path
        Of the model; its name is that of the model on the page.

    Attributes
    ----------
    name, stream : str
        What the model is called, and its scores among the histograms: ``anomaly.`` and the name.
    scorer : AnomalyScorer
    thresholds : tuple of ScoreThreshold
        Rising.
    wanted, seen : set of str
        Streams that the model takes, and those that the data have had.

    Raises
    ------
    InputError
        If the folder is not an anomaly model, or the model takes a stream that no source sends.
    """

    def __init__(self, folder: Path) -> None:
        self.scorer = AnomalyScorer.load_fast(folder)
        self.thresholds = score_thresholds(self.scorer.model.card)
        self.name = _NAME.sub("-", folder.resolve().name)[:40].strip("-") or "model"
        self.stream = f"{STREAM}.{self.name}"
        self.wanted = {part.stream for part in self.scorer.inputs.objects}
        if other := sorted(n for n in self.wanted if n not in STREAMS or not STREAMS[n].source_ids):
            msg = f"{folder}: takes {', '.join(other)}, which no scouting source sends"
            raise InputError(msg)
        self.seen = set[str]()
        self._above = np.array([t.hw_score for t in self.thresholds], np.int64)
        self.begin()

    def begin(self) -> None:
        """Begin with a new run."""
        self.top, self.newest_top = TopCrossings(TOP), TopCrossings(TOP)
        self._newest: Section | None = None
        sources = {STREAMS[name].source_ids[-1]: name for name in sorted(self.wanted)}
        self._builder = OrbitBuilder(
            list(sources), max_bytes=MAX_JOINED_BYTES, at_least=JOINED_ORBITS if len(sources) > 1 else 1
        )
        self._joiner = DataBuilder(BuildAccount(counts=self._builder.counts), {}, "joined sources")
        self._sources = {name: source for source, name in sources.items()}

    def complete(self, data: OrbitData) -> list[Complete]:
        """Return the orbits of which all streams of the model are known with these data.

        Raises
        ------
        InputError
            If the data do not say which orbits were seen, and are to be joined with others.
        """
        here = self.wanted & data.streams.keys()
        self.seen |= here
        if here == self.wanted:
            return [Complete(data, data.main.n_orbits or 0, sum(_bytes(b) for b in data.streams.values()))]
        built: list[BuiltOrbits] = []
        for name in sorted(here):
            built += self._builder.step(_fragments(self._sources[name], name, data))
        return [Complete(group, group.orbit.size, _held(group)) for group in built]

    def finish(self) -> list[Complete]:
        """Return the orbits that waited for other sources."""
        built = self._builder.finish() if self._builder.held_bytes else []
        return [Complete(group, group.orbit.size, _held(group)) for group in built]

    def score(self, complete: Complete) -> Scored:
        """Return the scores of orbits.

        Raises
        ------
        InputError
            If the data lack a column, or do not count their orbits.
        """
        data = complete.content
        if isinstance(data, BuiltOrbits):
            data = self._joiner.join([data])
        scores = self.scorer(data)
        exceeded = np.searchsorted(self._above, scores["hwScore"]).astype(np.int32)
        known = bool(np.all(scores.lumisection > 0))
        number = scores.lumisection if known else lumisection(scores.orbit)
        return Scored(
            replace(scores, lumisection=number, columns={**scores.columns, EXCEEDED: exceeded}), data
        )

    def keep(self, scored: Scored) -> None:
        """Keep the crossings of highest score, of the run and of the newest lumisection."""
        scores, data = scored
        every = np.arange(scores.n_objects)
        self.top.add(scores, every, data)
        if not len(scores):
            return
        newest = Section(int(scores.run[-1]), int(scores.lumisection[-1]))
        if self._newest is None or newest > self._newest:
            self._newest, self.newest_top = newest, TopCrossings(TOP)
        self.newest_top.add(scores, every[scores.lumisection == newest.number], data)

    def rates(self, known: StreamHistograms | None, section: Section | None = None) -> list[ThresholdRate]:
        """Return the rates above the thresholds, of the run or of a lumisection."""
        orbits, counts = 0, np.zeros(1, np.int64)
        if known is not None and section in known.sections:
            orbits, counts = known.live.sections[section].orbits, known.sections[section][EXCEEDED]
        elif known is not None and section is None:
            orbits, counts = known.orbits, known.run([EXCEEDED])[EXCEEDED]
        rows = []
        for k, threshold in enumerate(self.thresholds, 1):
            n = int(counts[k:].sum())
            low, high = (float(end[0]) for end in poisson_interval(np.array([n])))
            hz = ORBIT_FREQUENCY_HZ / orbits if orbits else float("nan")
            rows.append(
                ThresholdRate(
                    threshold.hw_score,
                    threshold.fraction,
                    threshold.rate_hz,
                    n,
                    n * hz,
                    (high - low) / 2 * hz,
                )
            )
        return rows

    @property
    def missing(self) -> list[str]:
        """Streams that the model takes and no data have had."""
        return sorted(self.wanted - self.seen)

    def described(self) -> dict[str, Any]:
        """Return what the model is, for the page."""
        card = self.scorer.model.card
        return {
            "stream": self.stream,
            "name": self.name,
            "model": card.name,
            "model_id": self.scorer.model_id,
            "trained_on": card.origin,
            "simulated": card.simulated,
            "missing": self.missing,
        }


def _fragments(source: int, name: str, data: OrbitData) -> Fragments:
    """Return the orbits of one stream, to be joined with others (InputError if they are not known)."""
    batch = data.streams[name]
    seen = batch.orbits_seen()
    if seen is None:
        msg = f"{data.source}: does not state which orbits were seen: {name} cannot be joined with others"
        raise InputError(msg)
    return Fragments.of(source, seen, OrbitData({name: batch}, None, data.origin), _bytes(batch))


def _bytes(batch: OrbitBatch) -> int:
    return 40 * len(batch) + sum(column.nbytes for column in batch.columns.values())


def _held(group: BuiltOrbits) -> int:
    return sum(int(part.size.sum()) for parts in group.parts.values() for part in parts)
