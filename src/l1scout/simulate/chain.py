"""The whole way of a simulated muon: generator, detector, stubs, track finder, GMT and offline track."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from l1scout import lhc
from l1scout.core.orbit_batch import OrbitBatch
from l1scout.core.orbit_data import OrbitData
from l1scout.errors import InputError
from l1scout.formats.streams.muon import BMTF_INDEX, ETA_LSB, PHI_LSB
from l1scout.io import read_events
from l1scout.io.parquet import STUBS
from l1scout.simulate.detector import MATERIAL_SCALE, step_table
from l1scout.simulate.finders import RUN3, FinderTables, Found, assign, finder_tables
from l1scout.simulate.generator import Generated, Generator, Spectrum
from l1scout.simulate.gmt import Extrapolation
from l1scout.simulate.kalman import KalmanCandidates
from l1scout.simulate.offline import Tracker, Tracks, reconstruct, to_second_station
from l1scout.simulate.randomisation import Randomisation, Setting
from l1scout.simulate.stubs import Chambers, stubs
from l1scout.simulate.tables import own_variants
from l1scout.simulate.transport import Start, transport

_Columns = TypeVar("_Columns", bound=tuple[Any, ...])
_MATCHED = 0.01


def simulate_events(
    seed: int,
    *,
    muons: Path | None = None,
    bmtf_luts: Path | None = None,
    gmt_luts: Path | None = None,
    trigger: str = "bmtf",
    kalman_gains: Path | None = None,
    spectrum: Spectrum | None = None,
    material: float = MATERIAL_SCALE,
    scattering: float = 1.0,
    alignment: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0),
    hard: float = 0.0,
    chambers: Chambers | None = None,
    randomise: Randomisation | None = None,
    chunk: int = 400_000,
) -> Iterator[OrbitData]:
    """Simulate events without end, or every event of a file of offline muons once.

    Parameters
    ----------
    seed : int
        Same seed, same events, bit for bit.
    muons : Path, optional
        File of offline muons (open-data dimuons), which take the place of the generator: real
        kinematics through the simulated detector and trigger. What was measured offline is taken
        as the truth.
    bmtf_luts, gmt_luts : Path, optional
        Directories of the official look-up tables; our own without them.
    trigger : str
        Barrel track finder: "bmtf", that of 2016-2018, or "kbmtf", the Kalman filter of Run 3.
    kalman_gains : Path, optional
        File of the official gains of the Kalman filter; our own without it.
    spectrum : Spectrum, optional
        Generator settings.
    material : float
        Scale of all thicknesses, of which the trigger's tables and the offline propagation know nothing.
    scattering : float
        Scale of the angles of multiple scattering; likewise.
    alignment : tuple of float
        Azimuth, in rad, by which MB1 to MB4 really stand elsewhere than the trigger believes.
    hard : float
        Share of the hard component among the offline muons, from 0 up to but not 1: muons flat in log pT, so
        that a network sees every hwPt. A choice for training; no spectrum of collisions.
    chambers : Chambers, optional
        Performance of the drift tubes.
    randomise : Randomisation, optional
        Draw detector, spectrum and, without official ones, tables anew for each of its blocks of particles.
        Not for a file of muons.
    chunk : int
        Particles generated at a time, besides the hard component; with `randomise`, its blocks.

    Yields
    ------
    OrbitData
        One generated muon a row (or the muons of one event), all identified offline: others could
        not be matched and are not tracked.

    Raises
    ------
    InputError
        If a table or the file of muons cannot be used, the hard component is no share, or a file of muons
        shall be randomised.
    """
    if not 0 <= hard < 1 or (muons and hard):
        msg = f"hard component {hard:g}: a share of simulated muons, from 0 up to but not 1; not for a file's"
        raise InputError(msg)
    finder, gmt = trigger_tables(bmtf_luts, gmt_luts, trigger, kalman_gains)
    random = np.random.default_rng(seed)
    source = f"l1scout simulation, seed {seed}"
    first = 0
    if muons:
        if randomise:
            msg = f"{muons}: muons of a file cannot be simulated with a randomised detector"
            raise InputError(msg)
        for events in read_events(muons):
            yield _with_simulated_l1(events, finder, gmt, random, f"{source}, muons of {muons.name}")
        return
    nominal = Setting(
        (finder, gmt),
        spectrum or Spectrum(),
        Tracker(),
        chambers or Chambers(),
        material,
        scattering,
        alignment,
    )
    own = trigger == "bmtf" and not (bmtf_luts or gmt_luts)
    variants = own_variants() if own and randomise else ()
    while True:
        s = randomise.draw(random, nominal, variants) if randomise else nominal
        size = randomise.block if randomise else chunk
        generator = Generator(s.spectrum)
        particles, tracks = _identified(generator.draw(random, size), random, s.tracker)
        if hard:
            more = generator.draw_hard(random, round(tracks.pt.size * hard / (1 - hard)))
            particles, tracks = _mixed((particles, tracks), _identified(more, random, s.tracker), random)
        candidates = _candidates(particles.start, s.tables[0], random, s)
        n = tracks.pt.size
        offsets = np.arange(n + 1)
        offline = OrbitBatch(
            *lhc.orbit_and_bx(np.arange(first, first + n)),
            offsets,
            _offline_columns(tracks) | {"simKind": particles.kind.astype(np.int8)},
            simulated=True,
        )
        yield OrbitData.of_muons(_l1(offline, offsets, candidates, s.tables[1]), offline, source)
        first += n


def trigger_tables(
    bmtf_luts: Path | None = None,
    gmt_luts: Path | None = None,
    trigger: str = "bmtf",
    kalman_gains: Path | None = None,
) -> tuple[FinderTables, Extrapolation]:
    """Tables of track finder and GMT: official ones from directories or files, or our own (InputError)."""
    return finder_tables(trigger, bmtf_luts, kalman_gains), Extrapolation.load(gmt_luts)


def pairs_through(
    particles: Generated,
    rows: tuple[NDArray[np.int64], NDArray[np.int64]],
    kind: NDArray[np.int64],
    tables: tuple[FinderTables, Extrapolation],
    random: np.random.Generator,
    source: str,
) -> OrbitData:
    """Send pairs of particles, two a row, through detector, trigger and reconstruction.

    Parameters
    ----------
    particles : Generated
    rows : tuple of ndarray
        Orbit and BX of each pair.
    kind : ndarray of int64
        Offline column of that name.
    tables : tuple
        As `trigger_tables` gives them.
    random : numpy.random.Generator
    source : str
    """
    tracks = reconstruct(particles, random)
    candidates = _candidates(particles.start, tables[0], random)
    offsets = np.arange(0, tracks.pt.size + 1, 2)
    columns = _offline_columns(tracks) | {"kind": kind.astype(np.int8)}
    offline = OrbitBatch(*rows, offsets, columns, simulated=True)
    return OrbitData.of_muons(_l1(offline, offsets, candidates, tables[1]), offline, source)


def candidates_and_tracks(
    particles: Generated, finder: FinderTables, random: np.random.Generator
) -> tuple[Found, Tracks]:
    """Regional candidates and the offline muons that match them at MB2: what GMT tables are made of."""
    particles, tracks = _identified(particles, random)
    candidates = _candidates(particles.start, finder, random)
    eta, phi = to_second_station(tracks.pt, tracks.eta, tracks.phi, tracks.charge)
    dphi = np.mod(candidates.hwPhi * PHI_LSB - phi + np.pi, 2 * np.pi) - np.pi
    near = (candidates.hwEta * ETA_LSB - eta) ** 2 + dphi**2 < _MATCHED
    keep = np.flatnonzero((candidates.hwPt > 0) & near)
    return _take(candidates, keep), _take(tracks, keep)


def _take(columns: _Columns, rows: NDArray[np.int64]) -> _Columns:
    return type(columns)(*(c[rows] for c in columns))


def _mixed(
    some: tuple[Generated, Tracks], others: tuple[Generated, Tracks], random: np.random.Generator
) -> tuple[Generated, Tracks]:
    """Put particles and their tracks together, in any order."""
    (one, tracks), (two, more) = some, others
    order = random.permutation(one.kind.size + two.kind.size)
    start = (np.concatenate(pair)[order] for pair in zip(one.start, two.start, strict=True))
    joined = (np.concatenate(pair)[order] for pair in zip(tracks, more, strict=True))
    return Generated(Start(*start), np.concatenate([one.kind, two.kind])[order]), Tracks(*joined)


def _identified(
    particles: Generated, random: np.random.Generator, tracker: Tracker | None = None
) -> tuple[Generated, Tracks]:
    tracks = reconstruct(particles, random, tracker)
    keep = np.flatnonzero(tracks.identified)
    return Generated(_take(particles.start, keep), particles.kind[keep]), _take(tracks, keep)


def _candidates(
    start: Start, finder: FinderTables, random: np.random.Generator, detector: Setting | None = None
) -> Found:
    if detector is None:
        return assign(stubs(transport(start, random), random), finder, random)
    at = transport(start, random, step_table(detector.material, scattering=detector.scattering))
    at = at._replace(phi=at.phi + np.array(detector.alignment))
    return assign(stubs(at, random, detector.chambers), finder, random)


def _offline_columns(tracks: Tracks) -> dict[str, NDArray[Any]]:
    eta, phi = to_second_station(tracks.pt, tracks.eta, tracks.phi, tracks.charge)
    return {
        "recoPt": tracks.pt.astype(np.float32),
        "recoEta": tracks.eta.astype(np.float32),
        "recoPhi": tracks.phi.astype(np.float32),
        "recoCharge": tracks.charge.astype(np.int8),
        "recoEtaSt2": eta.astype(np.float32),
        "recoPhiSt2": phi.astype(np.float32),
        "recoId": tracks.identified,
    }


def _l1(rows: OrbitBatch, offsets: NDArray[np.int64], found: Found, gmt: Extrapolation) -> OrbitBatch:
    """Make GMT muons of the candidates (one a particle; hwPt = 0: none), in the rows of `rows`."""
    keep = found.hwPt > 0
    names = ("hwPt", "hwPhi", "hwEta", "hwCharge", "hwQual", *STUBS, *(n for n in RUN3 if n in found._fields))
    columns: dict[str, NDArray[Any]] = {name: getattr(found, name)[keep] for name in names}
    # one of twelve processors of 30 degrees, whose first muon this is
    processor = (
        found.sector[keep] if isinstance(found, KalmanCandidates) else (columns["hwPhi"] + 24) // 48 % 12
    )
    columns["tfMuonIndex"] = (BMTF_INDEX.start + 3 * processor).astype(np.int16)
    columns["hwChargeValid"] = np.ones_like(columns["hwCharge"])
    columns["hwPhiAtVtx"], columns["hwEtaAtVtx"] = gmt.to_vertex(columns)
    return OrbitBatch(
        rows.orbit,
        rows.bx,
        np.r_[0, np.cumsum(keep)][offsets],
        columns,
        rows.run,
        rows.lumisection,
        simulated=True,
    )


def _with_simulated_l1(
    events: OrbitData, finder: FinderTables, gmt: Extrapolation, random: np.random.Generator, source: str
) -> OrbitData:
    """Give real offline muons the L1 muons that the simulated trigger makes of them."""
    real = events.offline
    if real is None:
        msg = f"{events.source}: no offline muons there to take the generator's place"
        raise InputError(msg)
    pt, eta, phi, charge = (real[f"reco{k}"].astype(np.float64) for k in ("Pt", "Eta", "Phi", "Charge"))
    zero, one = np.zeros_like(pt), np.ones_like(pt)
    start = Start(pt, phi, eta, random.normal(0, Spectrum().vertex_z, pt.size), charge, zero, one, zero, zero)
    candidates = _candidates(start, finder, random)
    tracks = Tracks(pt, eta, phi, charge, np.ones(pt.size, np.bool_))
    offline = OrbitBatch(
        real.orbit,
        real.bx,
        real.offsets,
        _offline_columns(tracks),
        real.run,
        real.lumisection,
        simulated=True,
    )
    return OrbitData.of_muons(_l1(offline, real.offsets, candidates, gmt), offline, source)
