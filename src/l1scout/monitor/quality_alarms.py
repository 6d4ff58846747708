"""Alarms of data quality in the monitor: on the page, in the log and in a file of JSON lines."""

import json
from collections.abc import Callable
from pathlib import Path

from l1scout.analysis.common.live_time import Section
from l1scout.monitor.live_histograms import LiveHistograms
from l1scout.quality.accumulators import RunHistograms
from l1scout.quality.histogram_file import SavedHistograms
from l1scout.quality.quality_flag import QualityFlag, alarms
from l1scout.quality.section_quality import SectionQuality

FILE = "alarms.jsonl"
MAX_ALARMS = 200
"""On the page, the newest ones."""


class QualityAlarms:
    """Checks each lumisection that is complete, and raises alarms.

    Parameters
    ----------
    live : LiveHistograms
        Its alarms are extended; it calls this object for each lumisection.
    log : callable
        ``log(event, **values)``.
    folder : Path, optional
        Of the file of JSON lines.
    false_alarms_per_day : float
    reference : SavedHistograms, optional
        Of another run: see `SectionQuality`.

    Attributes
    ----------
    raised : list of str
        What is wrong in the newest lumisection.
    """

    def __init__(
        self,
        live: LiveHistograms,
        log: Callable[..., None],
        folder: Path | None,
        false_alarms_per_day: float = 1.0,
        reference: SavedHistograms | None = None,
    ) -> None:
        self._live, self._log, self._folder = live, log, folder
        self.quality = SectionQuality(false_alarms_per_day, reference=reference)
        self.raised: list[str] = []
        live.watchers.append(self)

    def __call__(self, histograms: RunHistograms, section: Section) -> None:
        """Check a lumisection; called while the histograms do not change."""
        flags = self.quality.check_section(histograms, section)
        self.raised = [flag.text for flag in flags]
        found = alarms(flags)
        for flag in found:
            self._live.alarms.append({"text": flag.text, "link": flag.link})
            self._log("data quality", level="warning", what=flag.text)
        del self._live.alarms[:-MAX_ALARMS]
        if found and self._folder is not None:
            self._write(self._folder / FILE, found)

    def _write(self, path: Path, found: list[QualityFlag]) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("a", encoding="utf-8") as file:
                file.writelines(json.dumps(flag.as_dict()) + "\n" for flag in found)
        except OSError as error:
            fault = f"{path}: alarms cannot be saved ({error.strerror or error})"
            if fault not in self._live.faults:
                self._live.faults.append(fault)
