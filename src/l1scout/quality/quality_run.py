"""Check all lumisections of data as they are read, and keep what was found."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from l1scout.analysis.common.live_time import Section
from l1scout.core.orbit_data import OrbitData
from l1scout.core.provenance import data_label
from l1scout.files import complete_or_nothing
from l1scout.quality.accumulators import RunHistograms
from l1scout.quality.histogram_file import SavedHistograms
from l1scout.quality.quality_flag import Golden, QualityFlag, alarms, golden, summary
from l1scout.quality.section_quality import SectionQuality

KEEP_SECTIONS = 64
"""Lumisections whose histograms are kept until they are checked."""


class QualityRun:
    """What was found in data.

    Parameters
    ----------
    false_alarms_per_day : float
    reference : SavedHistograms, optional
        See `SectionQuality`.

    Attributes
    ----------
    checked : list of Section
    flags : list of QualityFlag
    unchecked : int
        Lumisections that were no longer kept when their turn came: a piece of data had too many.
    """

    def __init__(self, false_alarms_per_day: float, reference: SavedHistograms | None = None) -> None:
        self.quality = SectionQuality(false_alarms_per_day, reference=reference)
        self.histograms = RunHistograms(KEEP_SECTIONS)
        self.checked: list[Section] = []
        self.flags: list[QualityFlag] = []

    def read(self, chunks: Iterable[OrbitData]) -> Iterator[OrbitData]:
        """Take in all data in order of time, and yield them; check each lumisection when it is complete."""
        for data in chunks:
            self.histograms.add(data)
            self._check(self.histograms.completed())
            yield data
        self._check(self.histograms.sections)

    def _check(self, sections: list[Section]) -> None:
        last = self.checked[-1] if self.checked else None
        for at in sections:
            if last is None or at > last:
                self.flags += self.quality.check_section(self.histograms, at)
                self.checked.append(at)

    @property
    def unchecked(self) -> int:
        """Lumisections that were seen and not checked."""
        seen = {at for stream in self.histograms.streams.values() for at in stream.live.sections}
        return len(seen - set(self.checked))

    @property
    def golden(self) -> Golden:
        """Lumisections without a flag."""
        return golden(self.checked, self.flags)

    def as_dict(self) -> dict[str, Any]:
        """Return the result for JSON."""
        return {
            "data": data_label(self.histograms.simulated),
            "checked_lumisections": len(self.checked),
            "unchecked_lumisections": self.unchecked,
            "tests": self.quality.tests,
            "false_alarms_per_day": self.quality.false_alarms_per_day,
            "alpha": self.quality.alpha,
            "alarms": summary(self.flags),
            "golden": self.golden,
        }

    def write(self, folder: Path) -> None:
        """Write ``golden.json`` and ``alarms.jsonl``, a line per alarm."""
        with complete_or_nothing(folder / "golden.json") as part:
            part.write_text(json.dumps(self.golden) + "\n", "utf-8")
        lines = "".join(json.dumps(flag.as_dict()) + "\n" for flag in alarms(self.flags))
        with complete_or_nothing(folder / "alarms.jsonl") as part:
            part.write_text(lines, "utf-8")
