"""One way to read muons, whatever the file."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from l1scout.core.orbit_data import OrbitData, final_only
from l1scout.errors import InputError
from l1scout.io import archive_events, edm, muon_csv, nano, ntuple, patterns, stored
from l1scout.io import dma_packets as packets
from l1scout.io.kinds import Kind, detect
from l1scout.io.quality import ReadQuality

ROWS = 100_000

_READERS: dict[Kind, Callable[..., Iterator[OrbitData]]] = {
    Kind.L1NTUPLE: ntuple.read_ntuple,
    Kind.DPG_NANO: partial(nano.read_l1_nano, flavour=nano.Flavour.DPG),
    Kind.SCOUTING_NANO: partial(nano.read_l1_nano, flavour=nano.Flavour.SCOUTING),
    Kind.NANOAOD: nano.read_nanoaod,
    Kind.ORBIT_COLLECTION: edm.read_edm,
    Kind.DIMUON_CSV: muon_csv.read_csv,
    Kind.PARQUET: archive_events.read_parquet,
    Kind.PATTERN: patterns.read_pattern,
    Kind.DMA_PACKETS: packets.read_dma,
    Kind.RAW: stored.read_stored,
    Kind.RECORDS: stored.read_stored,
}


_TAKES_QUALITY = (
    *(Kind.RAW, Kind.RECORDS, Kind.DMA_PACKETS, Kind.PARQUET, Kind.ORBIT_COLLECTION),
    Kind.DIMUON_CSV,
)
"""Formats whose readers leave out and count by themselves: orbits that were read before, electrons."""
_ONE_PER_ROW = (Kind.SCOUTING_NANO, Kind.L1NTUPLE, Kind.DPG_NANO, Kind.NANOAOD)
"""Formats of a row per crossing or event, which tell its orbit."""
_TRIGGERED = (Kind.L1NTUPLE, Kind.DPG_NANO, Kind.NANOAOD)


def read_events(
    path: str | Path,
    *,
    rows: int = ROWS,
    emulated: bool | None = None,
    intermediate: bool = False,
    kind: Kind | None = None,
    flavour: str | None = None,
    quality: ReadQuality | None = None,
) -> Iterator[OrbitData]:
    """Read the muons of a file of any format that has them, a chunk of rows at a time.

    Parameters
    ----------
    path : str or Path
    rows : int
        Rows a chunk: memory grows with it, not with the file. Of formats that count their orbits a
        chunk has whole orbits, at least one.
    emulated : bool, optional
        Of an L1Ntuple, take the emulator's muons rather than the hardware's; by default only if it has no
        others.
    intermediate : bool
        Give intermediate muons, too, and a column ``intermediate`` that tells them from final muons; by
        default final muons only.
    kind : Kind, optional
        Skip the detection.
    flavour : {"dpg", "scouting"}, optional
        Kind of a nano file with L1 muons, if its content does not tell whether hwCharge is a bit (L1-DPG
        nano) or a sign (scouting nano).
    quality : ReadQuality, optional
        Counts what is left out; the same one for several files recognises orbits that overlap.

    Yields
    ------
    OrbitData
        Rows whose file does not tell orbit and BX have orbit -1 and BX 1. Orbits and events that occur
        twice in the file are given once.

    Raises
    ------
    InputError
        If there is no such file, it is unknown, damaged, or holds no muons by its nature.
    """
    path = Path(path)
    kind = kind or detect(path, flavour=flavour)
    if rows < 1:
        msg = f"rows must be 1 or more, not {rows}"
        raise InputError(msg)
    if emulated and kind is not Kind.L1NTUPLE:
        msg = f"{path}: only an L1Ntuple has emulated muons, this is: {kind}"
        raise InputError(msg)
    if kind not in _READERS:
        msg = f"{path}: {kind}: holds no muons; `l1scout inspect` says what it holds"
        raise InputError(msg)
    quality = quality or ReadQuality()
    if kind in _TAKES_QUALITY:
        chunks = _READERS[kind](path, rows, quality)
    else:
        read = partial(ntuple.read_ntuple, emulated=emulated) if kind is Kind.L1NTUPLE else _READERS[kind]
        chunks = read(path, rows)
        if kind in _ONE_PER_ROW:
            chunks = quality.new_only(chunks, triggered=kind in _TRIGGERED)
    return chunks if intermediate else map(final_only, chunks)
