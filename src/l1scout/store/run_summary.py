"""The summary of a run for the logbook: when, how much, what was lost, and with which settings."""

import tomllib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from l1scout.core.provenance import DataLabel, joint_label
from l1scout.errors import InputError
from l1scout.lhc import ORBIT_FREQUENCY_HZ
from l1scout.readout.object_counts import ObjectCounts, sum_counts
from l1scout.readout.segments import joint_data
from l1scout.settings import each_setting
from l1scout.store.account import LOSSES, StageAccount, account
from l1scout.store.catalogue import Catalogue
from l1scout.store.evidence import Evidence, collect_evidence
from l1scout.store.on_disk import list_folder, read_settings_file


@dataclass
class SourceSummary:
    """A run as one source has it.

    Parameters
    ----------
    source : int
    data : str
    wire_formats : list of str
    start_time, stop_time : float or None
        When its first and its last packet came; seconds since 1970, None if unknown.
    ended : bool
        Whether its last segment is there.
    lumisections : list of int
        First and last.
    orbits_sent, orbits : int
        By the board, and stored.
    lost : dict of str to int
        Orbits by the kind of the loss.
    duplicate : int
        Orbits that came twice.
    epochs : int
        How often the orbit number began, see `l1scout.readout.segments.Segment.epoch`.
    objects : dict of str to int
    files, files_deleted : int
        Segments, and those of which only verified copies elsewhere are left.
    bytes, stored_bytes : int
        As received and as stored.
    settings : dict of str to Any
        Of the readout, that differ from the defaults; empty if none are known.
    settings_known : bool
    wrong, alarms : list of str
    """

    source: int
    data: DataLabel
    wire_formats: list[str]
    start_time: float | None
    stop_time: float | None
    ended: bool
    lumisections: list[int]
    orbits_sent: int
    orbits: int
    lost: dict[str, int]
    duplicate: int
    epochs: int
    objects: ObjectCounts
    files: int
    files_deleted: int
    bytes: int
    stored_bytes: int
    settings: dict[str, Any] = field(default_factory=dict)
    settings_known: bool = False
    wrong: list[str] = field(default_factory=list)
    alarms: list[str] = field(default_factory=list)

    @property
    def lost_fraction(self) -> float:
        """Share of the orbits sent that are lost."""
        return sum(self.lost.values()) / self.orbits_sent if self.orbits_sent else 0.0

    @property
    def duration_s(self) -> float | None:
        """Time between first and last packet."""
        if self.start_time is None or self.stop_time is None:
            return None
        return max(self.stop_time - self.start_time, 0.0)

    @property
    def object_rates_hz(self) -> dict[str, float]:
        """Objects in a second of stored orbits."""
        live_s = self.orbits / ORBIT_FREQUENCY_HZ
        return {kind: n / live_s for kind, n in self.objects.items()} if live_s else {}

    def as_dict(self) -> dict[str, Any]:
        """Return all as JSON."""
        return {
            **vars(self),
            "start_time": _utc(self.start_time),
            "stop_time": _utc(self.stop_time),
            "duration_s": self.duration_s,
            "lost_fraction": self.lost_fraction,
            "object_rates_hz": self.object_rates_hz,
        }


def summarise_run(
    run: int, stores: Sequence[Path], *, spool: Path | None = None, boards: Path | None = None
) -> list[SourceSummary]:
    """Summarise a run, source by source; the parameters are those of `l1scout.store.account.account`.

    Raises
    ------
    InputError
        If nothing is known of the run, or a catalogue is missing or damaged.
    """
    evidence = collect_evidence(run, stores, spool, boards)
    stages = account(run, stores, spool=spool, boards=boards)
    texts = _settings_of(run, stores)
    found = []
    for source in evidence.sources:
        own = [s for s in stages if s.source == source]
        found.append(_summary(source, evidence.of_source(source), own, texts.get(source)))
    if not found:
        msg = f"run {run} is not in {', '.join(map(str, stores))} (see `l1scout runs`)"
        raise InputError(msg)
    return found


def _summary(source: int, own: Evidence, stages: list[StageAccount], text: str | None) -> SourceSummary:
    segments = [*(h.stored.segment for h in own.held), *own.waiting]
    counted: Counter[str] = Counter()
    for stage in stages:
        counted.update(stage.counted)
    began, ended = [s.began for s in segments if s.began], [s.ended for s in segments if s.ended]
    sections = [s.lumisection for s in segments]
    return SourceSummary(
        source,
        joint_data(segments),
        sorted({s.wire_format for s in segments}),
        min(began, default=None),
        max(ended, default=None),
        any(s.last for s in segments),
        [min(sections), max(sections)] if sections else [],
        stages[0].into,
        stages[-1].out,
        {kind: counted[kind] for kind in LOSSES},
        counted["duplicate"],
        max((s.epoch for s in segments), default=0) + 1,
        sum_counts(*(h.stored.segment.objects for h in own.held)),
        len(own.held),
        sum(h.stored.deleted is not None for h in own.held),
        sum(h.stored.segment.size for h in own.held),
        sum(h.stored.stored_size for h in own.held),
        changed_settings(text) if text is not None else {},
        text is not None,
        [f"{s.name}: {w}" for s in stages for w in s.wrong],
        [f"{s.name}: {a}" for s in stages for a in s.alarms],
    )


def _settings_of(run: int, stores: Sequence[Path]) -> dict[int, str]:
    """Return the newest settings of each source: the file in the run's folder, else the catalogue's."""
    found: dict[int, str] = {}
    for store in stores:
        catalogue = Catalogue(store)
        try:
            found |= catalogue.settings(run)
        finally:
            catalogue.close()
        for source, path in list_folder(store / f"run{run:06d}").settings.items():
            text = read_settings_file(path)
            found |= {source: text} if text is not None else {}
    return found


def changed_settings(text: str) -> dict[str, Any]:
    """Return the settings in a TOML text that differ from the defaults, by ``section.name``."""
    try:
        given = tomllib.loads(text)
    except ValueError:
        return {}
    defaults = {f"{section}.{name}": field.default for section, name, field in each_setting()}
    return {
        f"{section}.{name}": value
        for section, table in given.items()
        if isinstance(table, dict)
        for name, value in table.items()
        if _plain(value) != _plain(defaults.get(f"{section}.{name}"))
    }


def _plain(value: Any) -> Any:
    """Return a value as TOML gives it back."""
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    return str(value) if isinstance(value, Path) else value


def _utc(time: float | None) -> str | None:
    return None if time is None else datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def as_markdown(run: int, sources: Sequence[SourceSummary]) -> str:
    """Write the summary as Markdown, which a logbook takes as text."""
    label = joint_label(s.data for s in sources if s.orbits)
    lines = [f"# Run {run} ({label} data)"]
    for s in sources:
        lines += ["", f"## Source {s.source}", "", *(f"- {line}" for line in _lines(s))]
    wrong = [w for s in sources for w in s.wrong]
    lines += ["", "## Account", "", *(f"- **{w}**" for w in wrong)]
    lines += [f"- {a}" for s in sources for a in s.alarms]
    lines.append("- does not balance" if wrong else "- balances: every orbit is stored or counted")
    return "\n".join(lines)


def _lines(s: SourceSummary) -> list[str]:
    duration = "unknown duration" if s.duration_s is None else f"{s.duration_s:,.1f} s"
    lost = ", ".join(f"{kind} {n:,} ({n / max(s.orbits_sent, 1):.3%})" for kind, n in s.lost.items() if n)
    rates = s.object_rates_hz
    objects = ", ".join(
        f"{kind.replace('_', ' ')} {n:,} ({rates.get(kind, 0.0):,.0f} Hz)" for kind, n in s.objects.items()
    )
    given = ", ".join(f"{name} = {value}" for name, value in s.settings.items())
    noun = "segment" if s.files == 1 else "segments"
    files = f"{s.files:,} {noun}, {s.bytes / 1e6:,.1f} MB received, {s.stored_bytes / 1e6:,.1f} MB stored"
    first, last = s.lumisections or (0, 0)
    sections = f"lumisections {first} to {last}" if first < last else f"lumisection {first or 'unknown'}"
    return [
        f"start {_utc(s.start_time) or 'unknown'}, stop {_utc(s.stop_time) or 'unknown'}, {duration}"
        + ("" if s.ended else "; has not ended"),
        f"{s.data} data, wire format {', '.join(s.wire_formats) or 'unknown'}, {sections}",
        f"orbits: {s.orbits_sent:,} sent, {s.orbits:,} stored, {s.duplicate:,} duplicates",
        f"lost: {lost or 'none'}",
        *([f"the orbit number began {s.epochs} times"] if s.epochs > 1 else []),
        f"objects: {objects or 'none'}",
        files + (f", {s.files_deleted:,} deleted here after they were copied" if s.files_deleted else ""),
        "settings that differ from the defaults: "
        + ((given or "none") if s.settings_known else "unknown: the readout sent none"),
    ]
