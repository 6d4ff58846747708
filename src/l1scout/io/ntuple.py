"""L1Ntuple files: L1 muons of triggered events and, where the file has them, offline muons."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1scout.core.orbit_batch import OrbitBatch
from l1scout.core.orbit_data import OrbitData
from l1scout.errors import InputError
from l1scout.io import columns, nano, root, runs

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


def find_tree(file: Any, *, emulated: bool | None = None) -> str:
    """Return the name of the tree to take L1 muons from.

    Parameters
    ----------
    file : uproot file
    emulated : bool, optional
        Whether to take the emulator's muons; by default only where there are no others.

    Raises
    ------
    InputError
        If there is no such tree, or its charges are not signs.
    """
    keys = {key.split(";")[0] for key in file.keys(recursive=True)}
    name = EMULATED if emulated or (emulated is None and UPGRADE not in keys) else UPGRADE
    if name not in keys:
        msg = f"L1Ntuple without {name}"
        raise InputError(msg)
    tree = file[name]
    charge = root.branches(tree).get("muonChg")
    if charge is not None and nano.scan_charges(charge, int(tree.num_entries)).signed is False:
        msg = f"{name}: muonChg holds 0 and 1 but never -1: it is not the sign that an L1Ntuple holds"
        raise InputError(msg)
    return name


def read_l1(
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


def read_ntuple(path: Path, rows: int, *, emulated: bool | None = None) -> Iterator[OrbitData]:
    """Read an L1Ntuple; `OrbitData.source` says so if the L1 muons are the emulator's.

    Parameters
    ----------
    path : Path
    rows : int
        OrbitData in a chunk.
    emulated : bool, optional
        Take the emulator's muons (l1UpgradeEmuTree) rather than those that the hardware sent; by default
        only if the file has no others.

    Raises
    ------
    InputError
        If a tree is missing or damaged, or the trees do not have the same number of events.
    """
    with root.opened(path) as file, root.guarded(path):
        keys = {key.split(";")[0] for key in file.keys(recursive=True)}
        wanted = find_tree(file, emulated=emulated)
        if EVENT not in keys:
            msg = f"L1Ntuple without {EVENT}"
            raise InputError(msg)
        source = f"{path} {EMULATED_NOTE}" if wanted == EMULATED else str(path)
        trees = {name: file[name] for name in (wanted, EVENT, MUON_RECO) if name in keys}
        entries = trees[wanted].num_entries
        for name, tree in trees.items():
            if tree.num_entries != entries:
                msg = f"{path}: {name} has {tree.num_entries} events, {wanted} {entries}"
                raise InputError(msg)
        named = {name: root.branches(tree) for name, tree in trees.items()}
        generated = any(key.startswith("l1GeneratorTree") for key in keys)
        for start, stop in root.chunks(entries, rows):
            event = {
                name: root.scalar(named[EVENT], name, start, stop) for name in ("run", "lumi", "bx", "orbit")
            }
            orbit, bx = columns.crossings(event["orbit"], event["bx"])
            offsets, l1 = read_l1(named[wanted], start, stop)
            batch = OrbitBatch(
                orbit,
                bx,
                offsets,
                l1,
                run=event["run"].astype(np.int64),
                lumisection=event["lumi"].astype(np.int64),
                simulated=runs.simulated(event["run"].astype(np.int64), generated=generated),
            )
            offline = None
            if MUON_RECO in named:
                reco_offsets, reco = root.objects(named[MUON_RECO], _RECO, start, stop)
                offline = columns.offline(reco, batch, reco_offsets)
            yield OrbitData.of_muons(batch, offline, source)
