"""Data of some orbits: the objects of each stream, offline muons, and where they come from."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from l1scout.core.orbit_batch import OrbitBatch, final_muons, joint_simulated
from l1scout.errors import InputError

MUON = "muon"
"""Name of the stream of the Global Muon Trigger's muons."""


@dataclass(frozen=True)
class Origin:
    """Where data come from, as their source states it; nothing is inferred.

    Parameters
    ----------
    source : str
        File or link that they were read from, or how they were simulated.
    seed : int, optional
        Of a simulation.
    version : str, optional
        Of the program that made them.
    """

    source: str = ""
    seed: int | None = None
    version: str | None = None


@dataclass(frozen=True)
class OrbitData:
    """Objects of one or more streams and, where there are any, offline muons.

    Parameters
    ----------
    streams : mapping of str to OrbitBatch
        By name of the stream. ``muon`` has hardware columns ``hwPt``, ``hwEta``, ``hwPhi``, ``hwEtaAtVtx``,
        ``hwPhiAtVtx``, ``hwCharge`` (0/1), ``hwQual``, ``tfMuonIndex``...; ``bxInEvent`` (-2..2) where a
        triggered event keeps several crossings.
    offline : OrbitBatch, optional
        ``recoPt`` (GeV), ``recoEta``, ``recoPhi`` (rad), ``recoCharge`` (-1/1), ``recoEtaSt2`` and
        ``recoPhiSt2`` (at the second muon station; NaN if it does not reach it; absent where the file
        does not hold them) and ``recoId`` (bool: passes the medium identification). Same rows as the muons.
    origin : Origin
    selections : OrbitBatch, optional
        Flags of crossings as CMS's online selections give them: a row with one object per crossing, and a
        column (bool) per selection, such as ``SelBx_DijetEt30``.
    """

    streams: Mapping[str, OrbitBatch]
    offline: OrbitBatch | None = None
    origin: Origin = field(default_factory=Origin)
    selections: OrbitBatch | None = None

    @classmethod
    def of_muons(cls, muons: OrbitBatch, offline: OrbitBatch | None = None, source: str = "") -> "OrbitData":
        """Make data of the muon stream alone."""
        return cls({MUON: muons}, offline, Origin(source))

    @property
    def muons(self) -> OrbitBatch:
        """Muons of the Global Muon Trigger.

        Raises
        ------
        InputError
            If the data are of other streams only.
        """
        if MUON not in self.streams:
            msg = f"{self.origin.source or 'the data'}: no muons, but {', '.join(self.streams) or 'nothing'}"
            raise InputError(msg)
        return self.streams[MUON]

    @property
    def main(self) -> OrbitBatch:
        """Muons, or another stream's objects if the data have no muons: whose rows and orbits are counted."""
        return self.streams[self._main_name]

    @property
    def _main_name(self) -> str:
        return MUON if MUON in self.streams else next(iter(self.streams))

    @property
    def source(self) -> str:
        """What the data were read from, or how they were simulated."""
        return self.origin.source

    @property
    def simulated(self) -> bool | None:
        """Whether the data are simulated; None where nothing says so."""
        return joint_simulated(self.streams.values())

    @property
    def origins(self) -> set[bool | None]:
        """Whether its streams are simulated, to be united with others for `joint_origin`."""
        return set[bool | None]().union(*(batch.origins for batch in self.streams.values()))

    def with_main(self, batch: OrbitBatch) -> "OrbitData":
        """Return these data with other objects of the stream that `main` gives."""
        return replace(self, streams={**self.streams, self._main_name: batch})

    def with_muons(self, muons: OrbitBatch) -> "OrbitData":
        """Return these data with other muons."""
        return replace(self, streams={**self.streams, MUON: muons})


def final_only(data: OrbitData) -> OrbitData:
    """Return data with their final muons only; rows stay where there are offline muons."""
    if MUON not in data.streams or "intermediate" not in data.muons.columns:
        return data
    if data.offline is None:
        return data.with_muons(final_muons(data.muons))
    kept = data.muons.select(data.muons["intermediate"] == 0, drop_empty=False)
    columns = {n: c for n, c in kept.columns.items() if n != "intermediate"}
    return data.with_muons(replace(kept, columns=columns))
