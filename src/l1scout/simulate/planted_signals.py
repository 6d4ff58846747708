"""Toy signals planted in simulated crossings, to see which of them a score finds: no model of new physics.

An event adds objects to a crossing as the trigger might see them: smeared, in an acceptance, and some of them
missed. Sums of the calorimeter change with them. Numbers are made up.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1scout.core.joint_rows import joint_rows, on_rows
from l1scout.core.orbit_batch import OrbitBatch
from l1scout.core.orbit_data import MUON, OrbitData
from l1scout.formats.calo_objects import ET_LSB, MAX_OBJECTS, PHI_BINS
from l1scout.formats.stream import STREAMS
from l1scout.formats.streams.muon import TRACK_FINDERS
from l1scout.lhc import order_of_time

MAX_ETA = {MUON: 2.4, "jet": 4.7, "egamma": 2.9, "tau": 2.1}
LEAST_GEV = {MUON: 2.0, "jet": 4.0, "egamma": 2.0, "tau": 4.0}
RESOLUTION = {MUON: 0.2, "jet": 0.15, "egamma": 0.1, "tau": 0.15}
"""Relative, of a Gaussian."""
MUON_EFFICIENCY = 0.9
MAX_MUONS = 8
_TAU_SHARE = 0.9
_PROMPT_DXY = (0.86, 0.08, 0.04, 0.02)
"""Shares of the values of hwDXY of usual muons of the simulation."""
_DISPLACED_DXY = (0.1, 0.2, 0.3, 0.4)
_MAX_SUM = 4095
_FINDER_ETA = (("EMTF+", 1.24, 9.0), ("OMTF+", 0.83, 1.24), ("BMTF", -0.83, 0.83))


@dataclass(frozen=True)
class SignalObjects:
    """Objects of signal events.

    Parameters
    ----------
    event : ndarray of int64, shape (objects,)
    stream : ndarray of str, shape (objects,)
        ``muon``, ``jet`` or ``egamma``.
    pt, eta, phi : ndarray of float64, shape (objects,)
        GeV, 1, rad.
    dxy : ndarray of int64, shape (objects,)
        hwDXY of muons.
    """

    event: NDArray[np.int64]
    stream: NDArray[np.str_]
    pt: NDArray[np.float64]
    eta: NDArray[np.float64]
    phi: NDArray[np.float64]
    dxy: NDArray[np.int64]

    @classmethod
    def of(cls, stream: str, event: Any, pt: Any, eta: Any, phi: Any, dxy: Any = 0) -> "SignalObjects":
        """Make objects of one stream."""
        event = np.asarray(event, np.int64)
        dxy = np.broadcast_to(np.asarray(dxy, np.int64), event.shape)
        return cls(event, np.full(event.size, stream), pt, eta, phi, dxy)

    def __add__(self, other: "SignalObjects") -> "SignalObjects":
        """Return the objects of both, of the same events."""
        pairs = (
            (getattr(self, n), getattr(other, n)) for n in ("event", "stream", "pt", "eta", "phi", "dxy")
        )
        return SignalObjects(*(np.concatenate(pair) for pair in pairs))

    def select(self, keep: NDArray[np.bool_]) -> "SignalObjects":
        """Keep some of the objects."""
        return SignalObjects(
            self.event[keep], self.stream[keep], self.pt[keep], self.eta[keep], self.phi[keep], self.dxy[keep]
        )


def soft_unclustered(random: np.random.Generator, events: int) -> SignalObjects:
    """Draw some 25 soft deposits in each event: on average 3 GeV above the least energy of their kind."""
    parts = []
    for stream, mean in (("jet", 15), ("egamma", 10)):
        event = np.repeat(np.arange(events), random.poisson(mean, events))
        pt = LEAST_GEV[stream] + random.exponential(3.0, event.size)
        eta, phi = random.normal(0, 1.2, event.size), random.uniform(-np.pi, np.pi, event.size)
        parts.append(SignalObjects.of(stream, event, pt, eta, phi))
    return parts[0] + parts[1]


def high_multiplicity(random: np.random.Generator, events: int) -> SignalObjects:
    """Draw 8 jets of 50 GeV, a muon and an e/gamma object of 30 GeV in each event on average, all central."""
    parts = []
    for stream, mean, pt_mean in (("jet", 8, 50.0), ("egamma", 1, 30.0), (MUON, 1, 30.0)):
        event = np.repeat(np.arange(events), random.poisson(mean, events))
        pt = 10.0 + random.exponential(pt_mean - 10.0, event.size)
        eta, phi = random.normal(0, 1.0, event.size), random.uniform(-np.pi, np.pi, event.size)
        dxy = random.choice(4, event.size, p=_PROMPT_DXY) if stream == MUON else 0
        parts.append(SignalObjects.of(stream, event, pt, eta, phi, dxy))
    return parts[0] + parts[1] + parts[2]


def displaced_muons(random: np.random.Generator, events: int) -> SignalObjects:
    """Draw a pair of displaced muons of a particle of 5 GeV with a pT of 20 GeV on average."""
    made = two_body(random, events, 5.0, 20.0)
    return SignalObjects.of(MUON, *made, random.choice(4, 2 * events, p=_DISPLACED_DXY))


def dimuon_resonance(random: np.random.Generator, events: int) -> SignalObjects:
    """Draw a pair of muons of a particle of 30 GeV with a pT of 10 GeV on average."""
    made = two_body(random, events, 30.0, 10.0)
    return SignalObjects.of(MUON, *made, random.choice(4, 2 * events, p=_PROMPT_DXY))


def dijet_resonance(random: np.random.Generator, events: int) -> SignalObjects:
    """Draw a pair of jets of a particle of 150 GeV with a pT of 20 GeV on average."""
    return SignalObjects.of("jet", *two_body(random, events, 150.0, 20.0))


SIGNALS: Mapping[str, Callable[[np.random.Generator, int], SignalObjects]] = {
    "soft_unclustered": soft_unclustered,
    "displaced_muons": displaced_muons,
    "high_multiplicity": high_multiplicity,
    "dimuon_resonance": dimuon_resonance,
    "dijet_resonance": dijet_resonance,
}
"""Signals by name."""


def two_body(
    random: np.random.Generator, events: int, mass: float, mean_pt: float
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Draw isotropic decays of a particle into two massless ones.

    Returns
    -------
    event : ndarray of int64, shape (2 events,)
    pt, eta, phi : ndarray of float64, shape (2 events,)
        GeV, 1, rad.
    """
    pt, rapidity = random.exponential(mean_pt, events), random.normal(0, 1.0, events)
    turn = random.uniform(-np.pi, np.pi, events)
    cosine, angle = random.uniform(-1, 1, events), random.uniform(-np.pi, np.pi, events)
    sine = np.sqrt(1 - cosine**2)
    own = mass / 2 * np.stack([sine * np.cos(angle), sine * np.sin(angle), cosine])
    transverse = np.hypot(mass, pt)
    parent = np.stack([pt * np.cos(turn), pt * np.sin(turn), transverse * np.sinh(rapidity)])
    energy = transverse * np.cosh(rapidity)
    found = []
    for daughter in (own, -own):  # a boost of both from the parent's frame
        along = (parent * daughter).sum(axis=0)
        x, y, z = daughter + parent * (along / (mass * (energy + mass)) + 0.5)
        found.append((np.hypot(x, y), np.arcsinh(z / np.maximum(np.hypot(x, y), 1e-9)), np.arctan2(y, x)))
    pts, etas, phis = (np.concatenate(both) for both in zip(*found, strict=True))
    return np.tile(np.arange(events), 2), pts, etas, phis


def seen(random: np.random.Generator, objects: SignalObjects) -> SignalObjects:
    """Return objects as the trigger sees them: smeared, in its acceptance; some muons are missed."""
    spread = np.array([RESOLUTION[name] for name in objects.stream.tolist()])
    pt = objects.pt * np.maximum(random.normal(1, spread), 0.1)
    least, most = (np.array([table[n] for n in objects.stream.tolist()]) for table in (LEAST_GEV, MAX_ETA))
    missed = (objects.stream == MUON) & (random.random(pt.size) > MUON_EFFICIENCY)
    return replace(objects, pt=pt).select((pt > least) & (np.abs(objects.eta) < most) & ~missed)


def plant(data: OrbitData, signal: str, crossings: OrbitBatch, seed: int) -> OrbitData:
    """Return the objects of some crossings, with those of a signal event added in each.

    Parameters
    ----------
    data : OrbitData
        Simulated, with the streams ``muon``, ``jet``, ``egamma``, ``tau`` and ``etsum``, or some of them.
    signal : str
        Of `SIGNALS`.
    crossings : OrbitBatch
        Crossings of the data that have sums, in order of time: see `filled_crossings`.
    seed : int
        Of the events.
    """
    random = np.random.default_rng(seed)
    objects = seen(random, SIGNALS[signal](random, len(crossings)))
    made = {}
    for name, batch in data.streams.items():
        own = on_rows(_of_crossings(batch, crossings), crossings)
        if name == "etsum":
            made[name] = _with_sums(own, objects.select(objects.stream != MUON))
            continue
        chosen = objects.select(objects.stream == ("jet" if name == "tau" else name))
        if name == "tau":
            chosen = replace(chosen, pt=_TAU_SHARE * chosen.pt).select(np.abs(chosen.eta) < MAX_ETA["tau"])
        made[name] = _with_objects(name, own, chosen, random)
    return replace(data, streams=made)


def _of_crossings(batch: OrbitBatch, crossings: OrbitBatch) -> OrbitBatch:
    wanted = np.isin(order_of_time(batch.orbit, batch.bx), order_of_time(crossings.orbit, crossings.bx))
    return batch.take(np.flatnonzero(wanted), n_orbits=batch.n_orbits)


def _with_objects(
    name: str, batch: OrbitBatch, objects: SignalObjects, random: np.random.Generator
) -> OrbitBatch:
    """Add objects to the crossings of a stream; the hardest stay, as many as the trigger sends."""
    new = _hardware(name, objects, random)
    columns = {
        n: np.concatenate([c, new.get(n, np.zeros(objects.event.size)).astype(c.dtype)])
        for n, c in batch.columns.items()
    }
    row = np.concatenate([batch.row, objects.event])
    order = np.lexsort([-columns["hwPt"].astype(np.int64), row])
    row = row[order]
    place = np.arange(row.size) - np.searchsorted(row, row)
    kept = place < (MAX_MUONS if name == MUON else MAX_OBJECTS)
    offsets = np.searchsorted(row[kept], np.arange(len(batch) + 1))
    return replace(batch, offsets=offsets, columns={n: c[order][kept] for n, c in columns.items()})


def _hardware(name: str, objects: SignalObjects, random: np.random.Generator) -> dict[str, NDArray[Any]]:
    """Return the columns of new objects; those that are not named are 0."""
    fields = STREAMS[name].fields
    pt = fields["hwPt"].to_hardware(objects.pt)
    if name != MUON:
        eta, phi = fields["hwEta"].to_hardware(objects.eta), fields["hwPhi"].to_hardware(objects.phi)
        return {"hwPt": pt, "hwEta": eta, "hwPhi": phi}
    eta, phi = (
        fields[n].to_hardware(v) for n, v in (("hwEtaAtVtx", objects.eta), ("hwPhiAtVtx", objects.phi))
    )
    n = pt.size
    index = np.full(n, TRACK_FINDERS["EMTF-"].start)
    for finder, low, high in _FINDER_ETA:
        for side in (finder, finder.replace("+", "-")):
            signed = -objects.eta if side.endswith("-") else objects.eta
            index[(signed >= low) & (signed < high)] = TRACK_FINDERS[side].start
    return {
        "hwPt": pt, "hwEtaAtVtx": eta, "hwPhiAtVtx": phi, "hwEta": eta, "hwPhi": phi, "hwDXY": objects.dxy,
        "hwQual": np.full(n, 12), "hwIso": np.full(n, 3), "hwCharge": random.integers(0, 2, n),
        "hwChargeValid": np.ones(n), "tfMuonIndex": index, "hwPtUnconstrained": np.minimum(pt, 255),
    }  # fmt: skip


def _with_sums(batch: OrbitBatch, deposits: SignalObjects) -> OrbitBatch:
    """Add deposits to the sums of crossings: total and missing Et and Ht."""
    columns = {name: column.copy() for name, column in batch.columns.items()}
    n, steps = len(batch), deposits.pt / ET_LSB
    central, is_jet = np.abs(deposits.eta) < 3.0, deposits.stream == "jet"
    hard = is_jet & (deposits.pt > 30) & (np.abs(deposits.eta) < 2.4)
    for name, chosen in (("Et", central), ("Ht", hard)):
        total = columns[f"hwTotal{name}"] + np.bincount(deposits.event[chosen], steps[chosen], n)
        columns[f"hwTotal{name}"] = np.minimum(total, _MAX_SUM).astype(np.int16)
        for missing, taken in (
            (f"hwMiss{name}", chosen),
            (f"hwMiss{name}HF", is_jet if name == "Et" else hard),
        ):
            angle = columns[f"{missing}Phi"] * (2 * np.pi / PHI_BINS)
            x, y = (
                columns[missing] * turn(angle)
                - np.bincount(deposits.event[taken], steps[taken] * turn(deposits.phi[taken]), n)
                for turn in (np.cos, np.sin)
            )
            columns[missing] = np.minimum(np.hypot(x, y), _MAX_SUM).astype(np.int16)
            phi = np.rint(np.arctan2(y, x) / (2 * np.pi) * PHI_BINS).astype(np.int64) % PHI_BINS
            columns[f"{missing}Phi"] = np.where(columns[missing] > 0, phi, 0).astype(np.int16)
    return replace(batch, columns=columns)


def filled_crossings(data: OrbitData, every: int = 1) -> OrbitBatch:
    """Return one in `every` of the crossings with energy in the calorimeters, without objects."""
    sums = joint_rows([data.streams["etsum"]])
    return sums.take(np.arange(0, len(sums), every))
