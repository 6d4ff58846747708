"""A coffea schema for L1 scouting nano files (TTree): pass it as ``schemaclass``.

It needs the extra ``l1scout[coffea]``.

>>> events = NanoEventsFactory.from_root(
...     {"nano.root": "Events"}, schemaclass=l1scout.ScoutingNanoSchema
... ).events()
>>> muons = at_vertex(events.L1Mu[ak.num(events.L1Mu) > 1])
>>> (muons[:, 0] + muons[:, 1]).mass
"""

from typing import Any, ClassVar

import awkward as ak
import numpy as np
from coffea.nanoevents import transforms
from coffea.nanoevents.schemas import NanoAODSchema

from l1scout.core.orbit_data import MUON
from l1scout.formats.stream import STREAMS
from l1scout.formats.streams.muon import MUON_MASS
from l1scout.io import columns

_MASSLESS = ("L1Jet", "L1EG", "L1Tau", "L1CaloTower")
_TABLES = {stream.nano.name: name for name, stream in STREAMS.items() if stream.nano is not None}


def _mass(table: str, value: float) -> tuple[Any, tuple[str, float]]:
    return transforms.full_like_from_offsets_form, (f"o{table}", value)


class ScoutingNanoSchema(NanoAODSchema):  # type: ignore[misc]  # coffea has no types
    """Rows are crossings, and collections are ``L1Mu``, ``L1Jet``, ``L1EG``, ``L1Tau``, ``L1CaloTower``...

    Muons are Lorentz vectors with the muon's mass and ``charge`` (-1, 1; 0 = not valid), jets, e/gamma, taus
    and towers are massless ones, sums have ``pt`` and ``phi``. Hardware columns that the file has are fields,
    and `hardware_columns` gives the others. Flags of selections are ``events.SelBx``. A crossing is known by
    run, lumisection, orbit and BX; `event_number` makes one number of the last two.
    """

    warn_missing_crossrefs = False
    event_ids: ClassVar[list[str]] = ["run", "luminosityBlock", "orbitNumber", "bunchCrossing"]
    mixins: ClassVar[dict[str, str]] = {
        "L1Mu": "PtEtaPhiMCandidate",
        **dict.fromkeys(_MASSLESS, "PtEtaPhiMCollection"),
        "L1EtSum": "MissingET",
    }
    all_cross_references: ClassVar[dict[str, str]] = {}
    nested_items: ClassVar[dict[str, Any]] = {}
    nested_index_items: ClassVar[dict[str, Any]] = {}
    special_items: ClassVar[dict[str, Any]] = {}
    rename_items: ClassVar[dict[str, str]] = {}
    alias_items: ClassVar[dict[str, str]] = {"L1Mu_charge": "L1Mu_hwCharge"}
    full_like_items: ClassVar[dict[str, Any]] = {
        "L1Mu_mass": _mass("L1Mu", MUON_MASS),
        **{f"{table}_mass": _mass(table, 0.0) for table in _MASSLESS},
    }


def event_number(events: Any) -> Any:
    """Return a number for each crossing of a run, 4096 x orbit + BX, where an event number is wanted."""
    return np.asarray(events.orbitNumber, np.int64) * 4096 + np.asarray(events.bunchCrossing, np.int64)


def at_vertex(muons: Any) -> Any:
    """Return muons with eta and phi at the vertex: those of CMS's tables are at the second station."""
    return ak.with_field(ak.with_field(muons, muons.etaAtVtx, "eta"), muons.phiAtVtx, "phi")


def hardware_columns(events: Any, table: str) -> ak.Array:
    """Return the hardware values of a table's objects, which physics values stand for where they are missing.

    Parameters
    ----------
    events : NanoEvents
        With `ScoutingNanoSchema`; all branches of the table are read.
    table : str
        Such as ``L1Mu``.

    Returns
    -------
    ak.Array
        A record for each object with the columns of the stream, such as ``hwPt``; ``hwCharge`` of muons is
        the bit (1 = negative), and ``hwChargeValid`` says whether it is known. Sums have one record per
        crossing.

    Raises
    ------
    KeyError
        If there is no such table.
    """
    objects = events[table]
    counts = ak.num(objects)
    offsets = np.r_[0, np.cumsum(ak.to_numpy(counts))].astype(np.int64)
    skipped = {"mass", "charge"}
    found = {name: ak.to_numpy(ak.flatten(objects[name])) for name in objects.fields if name not in skipped}
    if _TABLES[table] == MUON:
        names = {hw: name for name, (hw, _) in columns.NANO.items()}
        read = {
            names.get(name, name): values for name, values in found.items() if name.startswith(("hw", "tf"))
        }
        read |= {
            f"physical:{name}": found[physical]
            for name, (_, physical) in columns.NANO.items()
            if physical in found
        }
        if "ptUnconstrained" in found:
            read["physical:hwPtUnconstrained"] = found["ptUnconstrained"]
        made: dict[str, Any] = dict(columns.hardware(read, signed_charge=True))
    else:
        nano = STREAMS[_TABLES[table]].nano
        offsets, made = nano.columns(offsets, found) if nano is not None else (offsets, {})
    return ak.zip({name: ak.unflatten(np.asarray(v), np.diff(offsets)) for name, v in made.items()})
