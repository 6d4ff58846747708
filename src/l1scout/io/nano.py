"""What nano files have in common: L1-DPG nano, L1 scouting nano and NanoAOD, as TTree or RNTuple."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1scout.core.orbit_batch import OrbitBatch
from l1scout.core.orbit_data import MUON, OrbitData
from l1scout.errors import InputError
from l1scout.formats.stream import STREAMS
from l1scout.io import columns, root
from l1scout.io.conditions import Conditions, of_runs
from l1scout.io.guard import guarded
from l1scout.io.input_file import InputFile
from l1scout.io.nano_order import TIME, OrbitShares, spans, time_order
from l1scout.io.nano_tables import (
    mark_of,
    orbits_by_stream,
    orbits_of_lumisections,
    orbits_seen,
    read_selections,
    read_streams,
    stream_tables,
    take_rows,
    with_objects,
)
from l1scout.io.quality import ReadQuality
from l1scout.io.reader import FormatReader, NewColumns, Rewritten, origin
from l1scout.io.root_columns import add_branches

OFFLINE = {
    "recoPt": "Muon_pt",
    "recoEta": "Muon_eta",
    "recoPhi": "Muon_phi",
    "recoCharge": "Muon_charge",
    "recoId": "Muon_mediumId",
}
EXTRA = (
    *("hwQual", "hwIso", "hwChargeValid", "tfMuonIndex", "hwDXY", "hwPtUnconstrained"),
    *("shower", "second", "link"),
)
"""Columns that exist only as hardware values; ``ptUnconstrained`` has a scale of its own in each era."""
L1_MUON = ("L1Mu_pt", "L1Mu_hwPt", "L1Muon_pt", "L1Muon_hwPt")
"""Branches of which a nano file with L1 muons has at least one."""
EVENTS = "Events"
"""Name of the tree of a nano file."""
_GENERATED = {"genWeight", "nGenPart", "Generator_weight"}
"""Branches of which only simulation has any."""
_SCAN = 100_000
"""Entries that are read at a time to look at values of single branches."""


class Flavour(StrEnum):
    """The two kinds of nano file with L1 muons; they write ``hwCharge`` differently.

    ``dpg`` has the bit of the muon word (1 = negative), ``scouting`` the sign (-1, 1; 0 = not valid).
    """

    DPG = "dpg"
    SCOUTING = "scouting"


_ONLY_DPG = ("bx", "hwIso", "hwIsoSum", "hwChargeValid", "hwDEtaExtra", "hwDPhiExtra", "hwRank", "hwTag")
"""Members of L1 muons that scouting nano does not have."""
_MANY = 20
"""Charges 1 of which not all can be positive, but by a chance of 1e-6."""


@dataclass(frozen=True)
class Charges:
    """How often a branch of charges holds each value, in the part of a file that was looked at."""

    negative: int
    zero: int
    one: int

    @property
    def signed(self) -> bool | None:
        """Whether these are signs: yes if -1 occurs, no if 0 and many 1 do without any -1, else None."""
        if self.negative:
            return True
        return False if self.zero and self.one >= _MANY else None


def scan_charges(branch: Any, entries: int) -> Charges:
    """Count the charges of a branch until their meaning is clear, through the whole file if need be."""
    found = Charges(0, 0, 0)
    for start, stop in root.chunks(entries, _SCAN):
        _, values = root.flat(branch.name, branch.array(entry_start=start, entry_stop=stop, library="ak"))
        counts = (int(np.count_nonzero(values == value)) for value in (-1, 0, 1))
        found = Charges(
            *(a + b for a, b in zip((found.negative, found.zero, found.one), counts, strict=True))
        )
        if found.signed is not None:
            break
    return found


def flavour_of(file: InputFile) -> Flavour | None:
    """Return the flavour of a nano file: what the user says, or what its content tells; None if it is none.

    Raises
    ------
    InputError
        If the content does not tell, or the user names a flavour that there is not.
    """
    named = root.tree_branches(file, EVENTS) if file.is_root else {}
    if is_orbit_collection(named):
        return None
    if not set(named) & set(L1_MUON):
        return Flavour.SCOUTING if _holds_crossings(named) else None
    flavour = file.options.get("flavour")
    if flavour is None:
        with guarded(file.path):
            return file.once("flavour", lambda: _find_flavour(file, named))
    if flavour not in list(Flavour):
        msg = f"{file.path}: unknown flavour {flavour} of nano files: choose {' or '.join(Flavour)}"
        raise InputError(msg)
    return Flavour(flavour)


def is_orbit_collection(named: Mapping[str, Any]) -> bool:
    """Return whether a tree holds CMSSW's collections by orbit, by its branches."""
    return any("OrbitCollection" in name for name in named)


def _holds_crossings(named: Mapping[str, Any]) -> bool:
    """Return whether a nano file without L1 muons holds crossings with other objects, not events."""
    events = {"event", "Muon_pt"} & set(named)
    return set(TIME) <= set(named) and not events and bool(stream_tables(named))


def _find_flavour(file: InputFile, named: Mapping[str, Any]) -> Flavour:
    """Determine the flavour of a nano file with L1 muons from its charges and several of its branches.

    Raises
    ------
    InputError
        If they contradict each other, or nothing tells.
    """
    prefix = _prefix(named)
    if mark_of(file) is not None:
        return Flavour.SCOUTING
    if prefix + "hwCharge" not in named:
        msg = f"L1 muons have no hwCharge: the branch {prefix}hwCharge is missing"
        raise InputError(msg)
    charges = scan_charges(named[prefix + "hwCharge"], int(file.root[EVENTS].num_entries))
    dpg = [name for name in (*(prefix + member for member in _ONLY_DPG), "Muon_pt") if name in named]
    scouting = [name for name in named if name.startswith(("L1BMTFStub_", "SelBx_"))][:1]
    if orbits_of_lumisections(file) is not None:
        scouting.append("LuminosityBlocks.nOrbits")
    by_branches = None if bool(dpg) == bool(scouting) else Flavour.DPG if dpg else Flavour.SCOUTING
    by_charges = {True: Flavour.SCOUTING, False: Flavour.DPG, None: None}[charges.signed]
    said = {flavour for flavour in (by_branches, by_charges) if flavour}
    if len(said) == 1:
        return said.pop()
    if not (charges.zero or charges.one or charges.negative):  # no charge that could be mistaken
        return Flavour.SCOUTING if {"orbitNumber", "bunchCrossing"} <= set(named) else Flavour.DPG
    signs = (
        f"hwCharge is -1 in {charges.negative}, 0 in {charges.zero} and 1 in {charges.one} muons looked at"
    )
    others = f"branches of L1-DPG nano: {', '.join(dpg[:3]) or 'none'}; of scouting nano: "
    msg = (
        f"not clear whether hwCharge is a bit (1 = negative) or a sign: {signs}; {others}"
        f"{', '.join(scouting) or 'none'}; say which with --flavour dpg or --flavour scouting"
    )
    raise InputError(msg)


def _prefix(named: Mapping[str, Any]) -> str:
    return "L1Mu_" if {"L1Mu_pt", "L1Mu_hwPt"} & set(named) else "L1Muon_"


def l1_names(named: Mapping[str, Any], flavour: Flavour) -> dict[str, str]:
    """Map columns of L1 muons to branches, physics values under ``physical:``."""
    prefix = _prefix(named)
    names = {"hwCharge": prefix + "hwCharge", "bxInEvent": prefix + "bx"}
    names |= {name: prefix + name for name in EXTRA}
    for name, (hw, physical) in columns.NANO.items():
        names |= {name: prefix + hw} if prefix + hw in named else {f"physical:{name}": prefix + physical}
    if flavour is Flavour.SCOUTING and prefix + "hwPtUnconstrained" not in named:
        names["physical:hwPtUnconstrained"] = prefix + "ptUnconstrained"
    if prefix + "hwQuality" in named:
        names["hwQual"] = prefix + "hwQuality"
    return names


def read_l1(
    named: Mapping[str, Any], start: int, stop: int, *, flavour: Flavour
) -> tuple[NDArray[np.int64], dict[str, NDArray[np.int16]]]:
    """Read offsets and canonical hardware columns of the L1 muons of some entries."""
    offsets, read = root.objects(named, l1_names(named, flavour), start, stop)
    l1 = columns.hardware(read, signed_charge=flavour is Flavour.SCOUTING)
    for name in ("hwPt", "hwCharge"):
        if name not in l1:
            msg = f"L1 muons have no {name}: the branch L1Mu_{name} is missing"
            raise InputError(msg)
    return offsets, l1


def read_identity(named: Mapping[str, Any], start: int, stop: int) -> dict[str, Any]:
    """Read run and lumisection, as far as a file has them, and tell whether it states to be simulation."""
    names = {"run": "run", "lumisection": "luminosityBlock"}
    ids = {k: root.scalar(named, n, start, stop).astype(np.int64) for k, n in names.items() if n in named}
    return {**ids, "simulated": simulated(named)}


def read_crossings(
    named: Mapping[str, Any], start: int, stop: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Read orbit and BX of triggered events, unknown in files that do not keep them."""
    names = "orbitNumber", "bunchCrossing"
    if not set(names) <= set(named):
        return columns.unknown_crossings(stop - start)
    orbit, bx = (root.scalar(named, name, start, stop) for name in names)
    return columns.crossings(orbit, bx)


def simulated(named: Mapping[str, Any]) -> bool | None:
    """Return True for a nano file with generator branches, which state that it is simulation; else None."""
    return True if set(named) & _GENERATED or any(n.startswith("GenPart_") for n in named) else None


class L1NanoReader(FormatReader):
    """Reads nano files with L1 muons, and their offline muons where they have any.

    An L1-DPG nano file has triggered events with the L1 muons of BX -2..2. A scouting nano file has one
    row for each crossing with an object, of any stream (`l1scout.io.nano_tables`); its rows are given in
    order of run, orbit and BX, whatever their order in the file. A chunk has whole orbits of one lumisection;
    ``n_orbits`` of all chunks of a lumisection together is its ``nOrbits``.
    """

    flavour: Flavour
    offline = True
    adds_columns = True
    options: Mapping[str, str] = {
        "flavour": "dpg or scouting: whether hwCharge is a bit or a sign, if the content does not tell"
    }

    def detect(self, file: InputFile) -> bool:
        """Return whether the file has L1 muons, with charges of this flavour."""
        return flavour_of(file) is self.flavour

    def read(self, file: InputFile, rows: int, quality: ReadQuality) -> Iterator[OrbitData]:
        """Read L1 and offline muons.

        Raises
        ------
        InputError
            If the file is damaged, a branch is missing, or a scouting nano file has a crossing twice or is
            too long to be put in order.
        """
        with guarded(file.path):
            named, entries = root.tree_branches(file, EVENTS), int(file.root[EVENTS].num_entries)
            if self.flavour is Flavour.SCOUTING:
                yield from _read_crossings(file, named, entries, rows, quality)
                return
            for start, stop in root.chunks(entries, rows):
                yield with_objects(_read_l1_nano(file, named, (start, stop), self.flavour))

    def describe(self, file: InputFile) -> dict[str, Any]:
        """Return what the muons are, and the trees."""
        return super().describe(file) | {"trees": root.describe_trees(file)}

    def conditions(self, file: InputFile) -> Conditions:
        """Return the conditions: era by run number, and whether it is simulation."""
        return conditions(file)

    def add_columns(self, file: InputFile, target: Path, new: NewColumns) -> Rewritten:
        """Add branches to ``Events``."""
        named = root.tree_branches(file, EVENTS)
        like = next((named[b] for b in L1_MUON if b in named), None)
        if like is None:
            msg = f"{file.path}: {self.title} without L1 muons, to which columns could be added"
            raise InputError(msg)
        read = partial(read_l1, named, flavour=self.flavour)
        return add_branches(file, self.title, EVENTS, like, read, target, new)


def conditions(file: InputFile) -> Conditions:
    """Return the conditions of a nano file: era by run number, and whether it is simulation."""
    return of_runs(root.distinct(file, EVENTS, "run").tolist(), simulated(root.tree_branches(file, EVENTS)))


def _read_crossings(
    file: InputFile, named: Mapping[str, Any], entries: int, rows: int, quality: ReadQuality
) -> Iterator[OrbitData]:
    """Read a scouting nano file in order of time, with the orbits that its lumisections state."""
    order = time_order(named, entries)
    whole = None if order is None else _read_l1_nano(file, named, (0, entries), Flavour.SCOUTING)
    stated = orbits_of_lumisections(file)
    shares = {}
    if stated is not None:
        seen, own = orbits_seen(file), orbits_by_stream(file)
        names = [name for name, stream in STREAMS.items() if stream.nano is not None]
        shares = {n: OrbitShares(own.get(n, stated), seen.get(n, {}), entries) for n in names}
    for span in spans(named, entries, rows, order):
        if whole is None or order is None:
            data = _read_l1_nano(file, named, span[:2], Flavour.SCOUTING)
        else:
            data = take_rows(whole, order[span.start : span.stop])
        streams = {n: shares[n].of(b, span) if n in shares else b for n, b in data.streams.items()}
        quality.bytes += file.size * (span.stop - span.start) // max(entries, 1)
        yield with_objects(replace(data, streams=streams))


def _read_l1_nano(
    file: InputFile,
    named: Mapping[str, Any],
    span: tuple[int, int],
    flavour: Flavour,
) -> OrbitData:
    """Read some entries in the order of the file."""
    if flavour is Flavour.SCOUTING:
        orbit, bx = (root.scalar(named, n, *span).astype(np.int64) for n in TIME[1:])
    else:
        orbit, bx = read_crossings(named, *span)
    mark = (mark_of(file) or {}) if flavour is Flavour.SCOUTING else {}
    rest = read_identity(named, *span)
    rest["simulated"] = mark.get("simulated", rest["simulated"])
    crossings = OrbitBatch(orbit, bx, np.zeros(orbit.size + 1, np.int64), {}, **rest)
    streams = {}
    if set(named) & set(L1_MUON):
        offsets, l1 = read_l1(named, *span, flavour=flavour)
        streams[MUON] = replace(crossings, offsets=offsets, columns=l1)
    flags = None
    if flavour is Flavour.SCOUTING:
        streams |= read_streams(named, crossings, *span)
        flags = read_selections(named, crossings, *span)
    offline = read_offline(named, crossings, *span) if "Muon_pt" in named else None
    return OrbitData(streams, offline, origin(file, mark), flags)


def read_offline(named: Mapping[str, Any], like: OrbitBatch, start: int, stop: int) -> OrbitBatch:
    """Read offline muons into the rows of `like`."""
    missing = [OFFLINE[n] for n in ("recoPt", "recoEta", "recoPhi", "recoCharge") if OFFLINE[n] not in named]
    if missing:
        msg = f"offline muons without {', '.join(missing)}"
        raise InputError(msg)
    offsets, reco = root.objects(named, OFFLINE, start, stop)
    return columns.offline(reco, like, offsets)
