"""L1Ntuple: L1 muons of triggered events and, where the file has them, offline muons."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1scout.core.orbit_batch import OrbitBatch
from l1scout.core.orbit_data import MUON, OrbitData
from l1scout.errors import InputError
from l1scout.io import columns, nano, root
from l1scout.io.conditions import Conditions, of_runs
from l1scout.io.guard import guarded
from l1scout.io.input_file import InputFile
from l1scout.io.quality import ReadQuality
from l1scout.io.reader import READERS, ROWS, FormatReader, NewColumns, Rewritten, origin
from l1scout.io.root_columns import add_branches

UPGRADE, EMULATED = "l1UpgradeTree/L1UpgradeTree", "l1UpgradeEmuTree/L1UpgradeTree"
"""Trees of the L1 muons that the hardware sent, and of those that the emulator made."""
EMULATED_NOTE = "(emulated L1 muons)"
"""End of `OrbitData.source` where the L1 muons are the emulator's."""
EVENT, MUON_RECO = "l1EventTree/L1EventTree", "l1MuonRecoTree/Muon2RecoTree"
_CODES = {
    "hwCharge": "muonChg",
    "hwQual": "muonQual",
    "hwIso": "muonIso",
    "tfMuonIndex": "muonTfMuonIdx",
    "hwDXY": "muonDxy",
    "bxInEvent": "muonBx",
}
_RECO = {
    "recoPt": "pt",
    "recoEta": "eta",
    "recoPhi": "phi",
    "recoCharge": "charge",
    "recoId": "isMediumMuon",
    "recoEtaSt2": "etaSt2",
    "recoPhiSt2": "phiSt2",
}


def _find_tree(file: InputFile, *, emulated: bool | None = None) -> str:
    """Return the name of the tree to take L1 muons from.

    Parameters
    ----------
    file : InputFile
    emulated : bool, optional
        Whether to take the emulator's muons; by default only where there are no others.

    Raises
    ------
    InputError
        If there is no such tree, or its charges are not signs.
    """
    names = root.classes(file)
    name = EMULATED if emulated or (emulated is None and UPGRADE not in names) else UPGRADE
    if name not in names:
        msg = f"L1Ntuple without {name}"
        raise InputError(msg)
    charge = root.tree_branches(file, name).get("muonChg")
    if charge is not None and nano.scan_charges(charge, int(file.root[name].num_entries)).signed is False:
        msg = f"{name}: muonChg holds 0 and 1 but never -1: it is not the sign that an L1Ntuple holds"
        raise InputError(msg)
    return name


def _read_l1(
    named: Mapping[str, Any], start: int, stop: int
) -> tuple[NDArray[np.int64], dict[str, NDArray[np.int16]]]:
    """Read offsets and canonical hardware columns; ``muonChg`` is the sign, so 1 becomes hwCharge 0."""
    names = dict(_CODES)
    for name, (hw, physical) in columns.NTUPLE.items():
        names |= {name: hw} if hw in named else {f"physical:{name}": physical}
    offsets, read = root.objects(named, names, start, stop)
    l1 = columns.hardware(read, signed_charge=True)
    for name, branch in (("hwPt", "muonIEt"), ("hwCharge", "muonChg")):
        if name not in l1:
            msg = f"L1 muons have no {name}: the branch {branch} is missing"
            raise InputError(msg)
    return offsets, l1


def _is_simulated(file: InputFile) -> bool | None:
    """Return True for a file with the tree of generated particles, which states simulation; else None."""
    return True if any(name.startswith("l1GeneratorTree") for name in root.classes(file)) else None


class L1NtupleReader(FormatReader):
    """Reads L1Ntuples; `OrbitData.source` says so if the L1 muons are the emulator's."""

    name, title = "l1ntuple", "L1Ntuple"
    offline = True
    triggered = True
    adds_columns = True
    options: Mapping[str, str] = {
        "emulated": "take the emulator's muons (l1UpgradeEmuTree); by default only if there are no others"
    }

    def detect(self, file: InputFile) -> bool:
        """Return whether the file has a tree of L1 muons."""
        return file.is_root and bool({UPGRADE, EMULATED} & set(root.classes(file)))

    def read(self, file: InputFile, rows: int, quality: ReadQuality) -> Iterator[OrbitData]:  # noqa: ARG002
        """Read L1 and offline muons (InputError if trees are missing, damaged or of different lengths)."""
        return self._read(file, rows, emulated=file.options.get("emulated"))

    def _read(self, file: InputFile, rows: int, *, emulated: bool | None) -> Iterator[OrbitData]:
        with guarded(file.path):
            wanted, names = _find_tree(file, emulated=emulated), root.classes(file)
            if EVENT not in names:
                msg = f"L1Ntuple without {EVENT}"
                raise InputError(msg)
            entries = {n: int(file.root[n].num_entries) for n in (wanted, EVENT, MUON_RECO) if n in names}
            for name, number in entries.items():
                if number != entries[wanted]:
                    msg = f"{file.path}: {name} has {number} events, {wanted} {entries[wanted]}"
                    raise InputError(msg)
            source = origin(file, note=EMULATED_NOTE if wanted == EMULATED else "")
            for start, stop in root.chunks(entries[wanted], rows):
                muons = _read_events(file, wanted, start, stop)
                offline = None
                if MUON_RECO in entries:
                    offsets, reco = root.objects(root.tree_branches(file, MUON_RECO), _RECO, start, stop)
                    offline = columns.offline(reco, muons, offsets)
                yield OrbitData({MUON: muons}, offline, source)

    def describe(self, file: InputFile) -> dict[str, Any]:
        """Return what the muons are, the hardware's or the emulator's, and the trees."""
        out, names = super().describe(file), root.classes(file)
        out["l1_muons_from"] = "hardware" if UPGRADE in names else "emulator"
        if EMULATED in names:
            chunks = ReadQuality().new_only(self._read(file, ROWS, emulated=True), triggered=self.triggered)
            out["emulated_l1_muons"] = sum(data.muons.n_objects for data in chunks)
        return out | {"trees": root.describe_trees(file)}

    def conditions(self, file: InputFile) -> Conditions:
        """Return the conditions: era by run number; those of an emulator are not known."""
        if EVENT not in root.classes(file):
            return Conditions()
        found = of_runs(root.distinct(file, EVENT, "run").tolist(), _is_simulated(file))
        emulated = UPGRADE not in root.classes(file)
        return replace(found, trigger=None, tables=None) if emulated else found

    def add_columns(self, file: InputFile, target: Path, new: NewColumns) -> Rewritten:
        """Add branches to the tree of L1 muons."""
        with guarded(file.path):
            tree = _find_tree(file)
            read = partial(_read_l1, root.tree_branches(file, tree))
        return add_branches(file, self.title, tree, None, read, target, new)


def _read_events(file: InputFile, tree: str, start: int, stop: int) -> OrbitBatch:
    """Read L1 muons of some events."""
    named = root.tree_branches(file, EVENT)
    event = {n: root.scalar(named, n, start, stop) for n in ("run", "lumi", "bx", "orbit")}
    orbit, bx = columns.crossings(event["orbit"], event["bx"])
    offsets, l1 = _read_l1(root.tree_branches(file, tree), start, stop)
    return OrbitBatch(
        orbit,
        bx,
        offsets,
        l1,
        run=event["run"].astype(np.int64),
        lumisection=event["lumi"].astype(np.int64),
        simulated=_is_simulated(file),
    )


READERS.register("l1ntuple")(L1NtupleReader())
