"""The histograms of one stream, by lumisection and in all: filled batch by batch, merged exactly."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1scout.analysis.common.live_time import LiveTime, Section
from l1scout.analysis.common.pair_masses import invariant_mass
from l1scout.core.orbit_batch import OrbitBatch
from l1scout.core.orbit_data import MUON
from l1scout.formats.streams.gt import ALGORITHM_COLUMNS
from l1scout.formats.streams.muon import ETA_VTX, PHI_VTX, PT
from l1scout.quality.histogram_definitions import (
    MASS_EDGES,
    HistogramDefinition,
    definitions,
)
from l1scout.quality.histogram_kernels import COUNT, count_pt, count_rows, kept_pairs

Counts = dict[str, NDArray[np.int64]]
"""Contents of histograms by name."""
RECALIBRATED = ("ptRecal", "etaRecal", "phiRecal")
"""Columns that `l1scout.deploy.recalibration_stage` adds."""
TREND = ("run", "section", "orbits", "lost_orbits", "objects", "crossings")
"""What is known of each lumisection, however old: see `StreamHistograms.trend`."""
_AT_VERTEX = {"hwEta": "hwEtaAtVtx", "hwPhi": "hwPhiAtVtx"}
"""Columns of muons to take where data do not have those at the second station."""
_UNPACKED_BITS = 1 << 16
"""Rows of algorithm bits that are unpacked at a time."""


def empty_counts(stream: str) -> Counts:
    """Return histograms without counts."""
    return {d.name: np.zeros(d.shape, np.int64) for d in definitions(stream)}


@dataclass
class StreamHistograms:
    """Histograms of one stream.

    Parameters
    ----------
    stream : str
    keep_sections : int, optional
        Lumisections that are kept apart, the newest ones; all if None. The sum over the run has all of them.

    Attributes
    ----------
    live : LiveTime
        Orbits seen by lumisection: what counts are divided by.
    total : dict of str to ndarray of int64
        Counts of the run by histogram.
    sections : dict of Section to dict
        The same by lumisection, in the order in which they were first seen.
    forgotten : dict of Section to ndarray of int64
        What `trend` has of the histograms of lumisections that are in the total and no longer apart.
    """

    stream: str
    keep_sections: int | None = None
    live: LiveTime = field(default_factory=LiveTime)

    def __post_init__(self) -> None:
        self.total = empty_counts(self.stream)
        self.sections: dict[Section, Counts] = {}
        self.forgotten: dict[Section, NDArray[np.int64]] = {}
        self._trends = [d for d in definitions(self.stream) if d.is_trend]
        self.origins: set[bool | None] = set()
        self.counts_orbits = True

    def add(self, batch: OrbitBatch) -> None:
        """Take in a batch of whole orbits, in order of time.

        Triggered data, which do not say how many orbits were seen, are counted in the total only.
        """
        self.origins |= batch.origins
        if batch.n_orbits is None:
            self.counts_orbits = False
            fill(self.stream, batch, self.total)
            return
        for section, rows in self.live.add(batch):
            counts = self.sections.get(section)
            if counts is None:
                counts = self.sections[section] = empty_counts(self.stream)
                self._forget()
            fill(self.stream, rows, counts)

    def merge(self, other: "StreamHistograms") -> None:
        """Add what follows in time: the sum equals that of all data at once."""
        self.origins |= other.origins
        self.counts_orbits &= other.counts_orbits
        self.live.merge(other.live)
        _add(self.total, other.total)
        for section, summary in other.forgotten.items():
            self._note(section, summary)
        for section, counts in other.sections.items():
            mine = self.sections.setdefault(section, empty_counts(self.stream))
            _add(mine, counts)
        self._forget()

    def _forget(self) -> None:
        """Move the oldest lumisections into the total, if more are kept than wanted."""
        while self.keep_sections is not None and len(self.sections) > max(self.keep_sections, 1):
            oldest = next(iter(self.sections))
            counts = self.sections.pop(oldest)
            self._note(oldest, self._summary(counts))
            _add(self.total, counts)

    def _note(self, section: Section, summary: NDArray[np.int64]) -> None:
        self.forgotten[section] = self.forgotten.get(section, 0) + summary

    def _summary(self, counts: Counts) -> NDArray[np.int64]:
        """Return what is kept of the histograms of a lumisection for all of the run."""
        bins = [counts[d.name].ravel() for d in self._trends]
        return np.concatenate([[counts["bx"].sum(), counts["occupied_bx"].sum()], *bins])

    def trend(self) -> dict[str, NDArray[np.int64]]:
        """Return what happened in each lumisection, however old, in order.

        Returns
        -------
        dict of str to ndarray
            ``run``, ``section``, ``orbits`` seen and ``lost_orbits``, ``objects``, and ``crossings`` with an
            object; of a histogram with `HistogramDefinition.is_trend` its bins, ``exceeded_0`` being the
            first of ``exceeded``.
        """
        names = (*TREND, *(f"{d.name}_{k}" for d in self._trends for k in range(math.prod(d.shape))))
        none = np.zeros(len(names) - TREND.index("objects"), np.int64)
        seen, rows = self.live.sections, []
        for at in sorted(seen):
            known = self.forgotten.get(at, none)
            if at in self.sections:
                known = known + self._summary(self.sections[at])
            rows.append((at.run, at.number, seen[at].orbits, seen[at].lost, *known.tolist()))
        return dict(zip(names, np.array(rows, np.int64).reshape(-1, len(names)).T, strict=True))

    def run(self, names: Iterable[str] | None = None) -> Counts:
        """Return the counts of the whole run, of some histograms or of all."""
        chosen = tuple(self.total if names is None else names)
        made = {name: self.total[name].copy() for name in chosen}
        for counts in self.sections.values():
            for name, total in made.items():
                total += counts[name]
        return made

    @property
    def orbits(self) -> int:
        """Orbits seen."""
        return self.live.orbits


def _add(total: Counts, more: Mapping[str, NDArray[np.int64]]) -> None:
    for name, counts in more.items():
        total[name] += counts


def fill(stream: str, batch: OrbitBatch, into: Counts) -> None:
    """Count the objects of a batch.

    Of muons, final ones count whose hwPt is not 0. Recalibrated values are counted where the batch has them.
    """
    keep = _kept(stream, batch)
    orbit, bx, offsets = (np.ascontiguousarray(a, np.int64) for a in (batch.orbit, batch.bx, batch.offsets))
    pairs = count_rows(
        *(orbit, bx, offsets, keep),
        *(into[n] for n in ("bx", "occupied_bx", "multiplicity", "next_crossing")),
    )
    columns = batch.columns
    for definition in definitions(stream):
        if definition.is_filled_by_columns:
            _fill_by_columns(definition, columns, keep, into[definition.name])
    if stream == MUON:
        _fill_muons(columns, keep, offsets, pairs, into)
    elif stream == "gt":
        _fill_algorithms(columns, into["algorithm"])


def _kept(stream: str, batch: OrbitBatch) -> NDArray[np.bool_]:
    if stream != MUON:
        return np.ones(batch.n_objects, np.bool_)
    keep: NDArray[np.bool_] = batch["hwPt"] > 0
    if "intermediate" in batch.columns:
        keep &= batch["intermediate"] == 0
    return keep


def _fill_by_columns(
    definition: HistogramDefinition,
    columns: Mapping[str, NDArray[Any]],
    keep: NDArray[np.bool_],
    out: NDArray[np.int64],
) -> None:
    arguments: list[Any] = []
    for axis in definition.axes:
        name = axis.column if axis.column in columns else _AT_VERTEX.get(axis.column, axis.column)
        if name not in columns:
            return
        arguments += [_plain(columns[name]), axis.low, axis.table]
    COUNT[len(definition.axes)](*arguments, keep, out)


def _plain(column: NDArray[Any]) -> NDArray[Any]:
    """Return a column in one of few types, so that few kernels are compiled."""
    kind = np.int16 if column.dtype.kind in "iu" and column.dtype.itemsize <= 2 else np.int32
    if column.dtype == np.uint16:
        kind = np.int32
    return np.ascontiguousarray(column, kind)


def _fill_muons(
    columns: Mapping[str, NDArray[Any]],
    keep: NDArray[np.bool_],
    offsets: NDArray[np.int64],
    n_pairs: int,
    into: Counts,
) -> None:
    recalibrated = set(RECALIBRATED) <= columns.keys()
    if recalibrated:
        count_pt(np.ascontiguousarray(columns["ptRecal"], np.float32), keep, into["pt_recalibrated"])
    if not n_pairs or not {"hwEtaAtVtx", "hwPhiAtVtx", "hwCharge"} <= columns.keys():
        return
    pairs = np.empty((2, n_pairs), np.int64)
    kept_pairs(offsets, keep, pairs)
    if "hwChargeValid" in columns:
        valid = columns["hwChargeValid"] != 0
        pairs = pairs[:, valid[pairs[0]] & valid[pairs[1]]]
    same = columns["hwCharge"][pairs[0]] == columns["hwCharge"][pairs[1]]
    raw = [f.to_physical(columns[f.name][pairs]) for f in (PT, ETA_VTX, PHI_VTX)]
    values = {"mass": raw}
    if recalibrated:
        values["mass_recalibrated"] = [columns[n][pairs].astype(np.float64) for n in RECALIBRATED]
    for name, (pt, eta, phi) in values.items():
        mass = invariant_mass(*zip(pt, eta, phi, strict=True))
        for sign, chosen in (("opposite", ~same), ("same", same)):
            k = np.searchsorted(MASS_EDGES, mass[chosen], side="right") - 1
            into[f"{name}_{sign}_sign"] += np.bincount(
                k[(k >= 0) & (k < MASS_EDGES.size - 1)], minlength=MASS_EDGES.size - 1
            )


def _fill_algorithms(columns: Mapping[str, NDArray[Any]], out: NDArray[np.int64]) -> None:
    rows = np.stack([np.ascontiguousarray(columns[n], "<u4") for n in ALGORITHM_COLUMNS], axis=1)
    for start in range(0, len(rows), _UNPACKED_BITS):
        part = np.ascontiguousarray(rows[start : start + _UNPACKED_BITS]).view(np.uint8)
        out += np.unpackbits(part, axis=1, bitorder="little").sum(axis=0, dtype=np.int64)
