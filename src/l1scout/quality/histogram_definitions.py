"""Which histograms each stream has: data, made from the fields of the stream's words.

Hardware values are integers, so that an axis is a look-up table from value to bin. A stream of another
package gets its histograms without a change here.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from l1scout.analysis.common.anomaly_counts import spectrum_edges
from l1scout.core.orbit_data import MUON
from l1scout.formats.layout import Field
from l1scout.formats.stream import STREAMS
from l1scout.formats.streams.anomaly import LEVELS, MAX_THRESHOLDS
from l1scout.formats.streams.muon import FIELDS, PHI_BINS, TRACK_FINDERS
from l1scout.lhc import BX_PER_ORBIT

if TYPE_CHECKING:
    from hist.axis import AxesMixin

MAX_BINS = 512
"""Of a spectrum; wider fields share bins."""
MAP_BINS = 96
"""Of eta and of phi in a map."""
MAX_CODES = 256
"""Of eta and of phi in a map, where they are numbers of rings or towers."""
MAX_SPECTRA = 16
"""Of a stream, besides those that all streams have."""
MULTIPLICITIES = 33
"""Bins of objects in a crossing; the last one has all larger numbers."""
REACH = 20
"""Largest distance, in BX, of crossings with an object that is counted."""
EXCEEDED = "exceeded"
"""Column of scores, and its histogram: how many of the model's thresholds a score is above."""


@dataclass(frozen=True)
class HistogramAxis:
    """An axis of a histogram: what it shows and its bins.

    Parameters
    ----------
    name : str
    label : str
        With the unit in brackets.
    edges : ndarray of float64, shape (bins + 1,)
    column : str
        Column of hardware values that `table` turns into bins; empty where bins are found otherwise.
    low : int
        Value that belongs to the first entry of `table`.
    table : ndarray of int16
        Bin of each value, from 0; -1 where a value is not counted, as are values outside the table.
    """

    name: str
    label: str
    edges: NDArray[np.float64]
    column: str = ""
    low: int = 0
    table: NDArray[np.int16] = field(default_factory=lambda: np.zeros(0, np.int16))

    @property
    def bins(self) -> int:
        """Number of bins."""
        return self.edges.size - 1

    @cached_property
    def is_regular(self) -> bool:
        """Whether all bins have the same width."""
        return bool(np.allclose(np.diff(self.edges), self.edges[1] - self.edges[0], rtol=1e-9))

    def hist_axis(self) -> "AxesMixin":
        """Return the axis as the library hist has it."""
        from hist import axis

        if self.is_regular:
            first, last = float(self.edges[0]), float(self.edges[-1])
            return axis.Regular(self.bins, first, last, name=self.name, label=self.label, flow=False)
        return axis.Variable(self.edges, name=self.name, label=self.label, flow=False)


@dataclass(frozen=True)
class HistogramDefinition:
    """A histogram of a stream.

    Parameters
    ----------
    name : str
        Within its stream.
    title : str
    axes : tuple of HistogramAxis
    counts : str
        What a count is, such as ``muons``.
    is_trend : bool
        Whether its bins, which are few, are kept by lumisection for all of a run: see
        `l1scout.quality.stream_histograms.StreamHistograms.trend`.
    """

    name: str
    title: str
    axes: tuple[HistogramAxis, ...]
    counts: str = "objects"
    is_trend: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """Bins of each axis."""
        return tuple(axis.bins for axis in self.axes)

    @property
    def is_filled_by_columns(self) -> bool:
        """Whether its bins follow from columns of the objects alone."""
        return all(axis.column for axis in self.axes)


def integer_axis(name: str, label: str, bins: int, column: str = "", first: int = 0) -> HistogramAxis:
    """Return an axis with a bin for each integer from `first` on."""
    edges = first + np.arange(bins + 1, dtype=np.float64)
    return HistogramAxis(name, label, edges, column, first, np.arange(bins, dtype=np.int16))


def field_axis(name: str, known: Field, max_bins: int = MAX_BINS) -> HistogramAxis:
    """Return the axis of a field, in physics units where it has a scale; bins are whole numbers of values.

    Values of a cyclic quantity beyond its period are not counted, and neither is 0 where it means "absent".
    """
    # columns of some streams count cyclic values from 1, so that the period itself is a value
    size = min(known.period + 1, known.high + 1) if known.period else known.high - known.low + 1
    span = known.period or size
    group = math.ceil(span / max_bins)
    value = np.arange(known.low, known.low + size)
    bins = math.ceil(size / group) if not known.period or group == 1 else math.ceil(span / group)
    table = ((value - known.low) // group).clip(max=bins - 1).astype(np.int16)
    if known.period and group > 1:
        table[-1] = -1 if size > span else table[-1]
    if known.zero_is_absent:
        table[-known.low] = -1
    edges = known.low + group * np.arange(bins + 1, dtype=np.float64)
    unit = f" [{known.unit}]" if known.unit else ""
    if known.scale is None:
        return HistogramAxis(name, known.name, edges, known.name, known.low, table)
    shift = 0.0 if known.floor or known.period or not known.signed else 0.5
    physical = known.scale * (edges - shift) + known.offset
    label = {"pt": "pT", "eta": "eta", "phi": "phi"}.get(name, name)
    return HistogramAxis(name, f"{label}{unit}", physical, known.name, known.low, table)


BX = integer_axis("bx", "BX", BX_PER_ORBIT + 1)
_BEYOND = (
    HistogramDefinition("bx", "Objects by BX", (BX,)),
    HistogramDefinition("occupied_bx", "Crossings with an object, by BX", (BX,), "crossings"),
    HistogramDefinition(
        "multiplicity",
        "Objects in a crossing",
        (integer_axis("multiplicity", f"objects ({MULTIPLICITIES - 1}: or more)", MULTIPLICITIES),),
        "crossings",
    ),
    HistogramDefinition(
        "next_crossing",
        "From a crossing with an object to the next one in the orbit",
        (integer_axis("distance", "distance [BX]", REACH, first=1),),
        "crossings",
    ),
)
"""Histograms of rows, which all streams have."""


def _short(name: str) -> str:
    return name[2].lower() + name[3:] if name.startswith("hw") else name


@cache
def generic_definitions(stream: str) -> tuple[HistogramDefinition, ...]:
    """Return the histograms that follow from a stream's fields: rows, a map, spectra of hardware values."""
    fields: Mapping[str, Field] = STREAMS[stream].fields
    columns = set(STREAMS[stream].empty().columns)
    known = {name: f for name, f in fields.items() if name in columns}
    found = list(_BEYOND)
    mapped: set[str] = set()
    eta, phi = known.get("hwEta"), known.get("hwPhi")
    if eta is not None and phi is not None and eta.signed:
        axes = tuple(
            field_axis(name, f, MAP_BINS if f.scale is not None else MAX_CODES)
            for name, f in (("eta", eta), ("phi", phi))
        )
        found.append(HistogramDefinition("eta_phi", "Objects by eta and phi", axes))
        mapped = {"hwEta", "hwPhi"}
    elif {"wheel", "sector", "station"} <= columns:
        sector = integer_axis("sector", "sector", 12, "sector")
        wheel = integer_axis("wheel", "wheel", 5, "wheel", -2)
        found.append(HistogramDefinition("wheel_sector", "Objects by wheel and sector", (wheel, sector)))
        station = integer_axis("station", "station", 4, "station", 1)
        found.append(HistogramDefinition("station", "Objects by station", (station,)))
    spectra = [name for name in known if name.startswith("hw") and name not in mapped]
    for name in spectra[:MAX_SPECTRA]:
        axis = field_axis(_short(name), known[name])
        found.append(HistogramDefinition(_short(name), axis.label, (axis,)))
    return tuple(found)


def _by_finder() -> HistogramAxis:
    table = np.full(128, -1, np.int16)
    for k, indices in enumerate(TRACK_FINDERS.values()):
        table[list(indices)] = k
    edges = np.arange(len(TRACK_FINDERS) + 1, dtype=np.float64)
    return HistogramAxis("track_finder", ", ".join(TRACK_FINDERS), edges, "tfMuonIndex", 0, table)


MASS_EDGES: NDArray[np.float64] = np.geomspace(0.25, 250.0, 301).astype(np.float64)
"""GeV; 2.3 % a bin."""
PT_BINS = 512
"""Of recalibrated pT: 0.5 GeV each, the last one has all larger values. They are those of hwPt, one later."""
SIGNS = ("opposite", "same")


def muon_definitions() -> tuple[HistogramDefinition, ...]:
    """Return the histograms of muons: final ones, with hwPt above 0; the map is at the second station."""
    eta = field_axis("eta", FIELDS["hwEta"], MAP_BINS // 3)
    phi = field_axis("phi", FIELDS["hwPhi"], PHI_BINS // 8)
    mass = HistogramAxis("mass", "dimuon mass [GeV]", MASS_EDGES)
    edges = 0.5 * np.arange(PT_BINS + 1, dtype=np.float64) - 0.5
    recalibrated = HistogramAxis("pt", "recalibrated pT [GeV]", edges)
    index = integer_axis("index", "tfMuonIndex", 108, "tfMuonIndex")
    made = [
        HistogramDefinition("pt", "pT of the trigger", (field_axis("pt", FIELDS["hwPt"]),), "muons"),
        HistogramDefinition("pt_recalibrated", "Recalibrated pT", (recalibrated,), "muons"),
        HistogramDefinition(
            "finder_eta_phi", "Muons by track finder, eta and phi", (_by_finder(), eta, phi), "muons"
        ),
        HistogramDefinition("quality", "Quality", (field_axis("quality", FIELDS["hwQual"]),), "muons"),
        HistogramDefinition("track_finder_index", "Muons by tfMuonIndex", (index,), "muons"),
        HistogramDefinition("charge", "Charge bit", (field_axis("charge", FIELDS["hwCharge"]),), "muons"),
    ]
    for kind, title in (("mass", "Dimuon mass"), ("mass_recalibrated", "Recalibrated dimuon mass")):
        for sign in SIGNS:
            name = f"{kind}_{sign}_sign"
            made.append(HistogramDefinition(name, f"{title}, {sign} sign", (mass,), "pairs"))
    return (*_BEYOND, *made)


def gt_definitions() -> tuple[HistogramDefinition, ...]:
    """Return the histograms of the Global Trigger's decisions: crossings, and algorithms that fired."""
    bits = integer_axis("algorithm", "algorithm", 512)
    fired = HistogramDefinition("algorithm", "Algorithms that fired", (bits,), "crossings")
    return (*_BEYOND, fired)


def anomaly_definitions() -> tuple[HistogramDefinition, ...]:
    """Return the histograms of anomaly scores: their spectrum in quarters of octaves, also by level.

    Where the monitor scores crossings, they have the number of the model's thresholds that are exceeded.
    """
    edges = spectrum_edges()
    table = np.repeat(np.arange(edges.size - 1, dtype=np.int16), np.diff(edges))
    label = "hwScore (sixteenths)"
    score = HistogramAxis("score", label, edges.astype(np.float64), "hwScore", 0, table)
    level = integer_axis(
        "level", f"level ({', '.join(f'{k}: {n}' for k, n in enumerate(LEVELS))})", 4, "level"
    )
    exceeded = integer_axis(EXCEEDED, "thresholds exceeded", MAX_THRESHOLDS + 1, EXCEEDED)
    return (
        *_BEYOND,
        HistogramDefinition("score", "Anomaly score", (score,), "scores"),
        HistogramDefinition("level_score", "Anomaly score by level", (level, score), "scores"),
        HistogramDefinition(EXCEEDED, "Thresholds exceeded", (exceeded,), "scores", is_trend=True),
    )


_OWN: Mapping[str, Any] = {
    MUON: muon_definitions,
    "gt": gt_definitions,
    "anomaly": anomaly_definitions,
}


def stream_of(name: str) -> str:
    """Return the stream whose histograms a name has: ``anomaly`` of ``anomaly.axo``, scores by the model axo.

    So the scores of each model have histograms of their own, and orbits in which they were made.
    """
    return name.partition(".")[0]


def definitions(name: str) -> tuple[HistogramDefinition, ...]:
    """Return the histograms of a stream, or of a part of it (`stream_of`)."""
    return _definitions(stream_of(name))


@cache
def _definitions(stream: str) -> tuple[HistogramDefinition, ...]:
    made: tuple[HistogramDefinition, ...] = _OWN[stream]() if stream in _OWN else generic_definitions(stream)
    return made
