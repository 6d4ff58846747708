"""Data of some orbits: L1 objects, offline muons and where they come from."""

from dataclasses import dataclass, replace

from l1scout.core.orbit_batch import OrbitBatch, final_muons


def final_events(events: "Events") -> "Events":
    """Return events with their final muons only; rows stay where there are offline muons."""
    if "intermediate" not in events.l1.columns:
        return events
    if events.offline is None:
        return replace(events, l1=final_muons(events.l1))
    kept = events.l1.select(events.l1["intermediate"] == 0, drop_empty=False)
    columns = {n: c for n, c in kept.columns.items() if n != "intermediate"}
    return replace(events, l1=replace(kept, columns=columns))


@dataclass(frozen=True)
class Events:
    """L1 muons and, where there are any, offline muons of the same rows.

    Parameters
    ----------
    l1 : OrbitBatch
        Hardware columns ``hwPt``, ``hwEta``, ``hwPhi``, ``hwEtaAtVtx``, ``hwPhiAtVtx``, ``hwCharge``
        (0/1), ``hwQual``, ``tfMuonIndex``...; ``bxInEvent`` (-2..2) where a triggered event keeps
        several crossings.
    offline : OrbitBatch, optional
        ``recoPt`` (GeV), ``recoEta``, ``recoPhi`` (rad), ``recoCharge`` (-1/1), ``recoEtaSt2`` and
        ``recoPhiSt2`` (at the second muon station; NaN if it does not reach it; absent where the file
        does not hold them) and ``recoId`` (bool: passes the medium identification). Same rows as `l1`.
    source : str
        What it was read from, or how it was simulated.
    """

    l1: OrbitBatch
    offline: OrbitBatch | None = None
    source: str = ""
