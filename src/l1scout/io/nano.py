"""Nano files: L1-DPG nano, L1 scouting nano and NanoAOD."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1scout.errors import InputError
from l1scout.io import columns, root, runs
from l1scout.orbits import Events, OrbitBatch

MUON = {
    "recoPt": "Muon_pt",
    "recoEta": "Muon_eta",
    "recoPhi": "Muon_phi",
    "recoCharge": "Muon_charge",
    "recoId": "Muon_mediumId",
}
EXTRA = ("hwQual", "hwIso", "hwChargeValid", "tfMuonIndex", "hwDXY", "hwPtUnconstrained")
"""Columns that are there only as they are; the scale of ``ptUnconstrained`` depends on the era."""


def l1_names(named: Mapping[str, Any]) -> dict[str, str]:
    """Column to branch of the L1 muons, physics values under ``physical:``."""
    prefix = "L1Mu_" if {"L1Mu_pt", "L1Mu_hwPt"} & set(named) else "L1Muon_"
    names = {"hwCharge": prefix + "hwCharge", "bxInEvent": prefix + "bx"}
    names |= {name: prefix + name for name in EXTRA}
    for name, (hw, physical) in columns.NANO.items():
        names |= {name: prefix + hw} if prefix + hw in named else {f"physical:{name}": prefix + physical}
    if prefix + "hwQuality" in named:
        names["hwQual"] = prefix + "hwQuality"
    return names


def read_l1(
    named: Mapping[str, Any], start: int, stop: int, *, signed_charge: bool
) -> tuple[NDArray[np.int64], dict[str, NDArray[np.int16]]]:
    """Offsets and canonical hardware columns of the L1 muons of some entries."""
    offsets, read = root.objects(named, l1_names(named), start, stop)
    l1 = columns.hardware(read, signed_charge=signed_charge)
    for name in ("hwPt", "hwCharge"):
        if name not in l1:
            msg = f"L1 muons have no {name}: the branch L1Mu_{name} is missing"
            raise InputError(msg)
    return offsets, l1


def _rows(named: Mapping[str, Any], start: int, stop: int) -> dict[str, Any]:
    names = {"run": "run", "lumisection": "luminosityBlock"}
    return {k: root.scalar(named, n, start, stop).astype(np.int64) for k, n in names.items()}


def _crossings(
    named: Mapping[str, Any], start: int, stop: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Orbit and BX of triggered events, unknown in files that do not keep them."""
    names = "orbitNumber", "bunchCrossing"
    if not set(names) <= set(named):
        return columns.unknown_crossings(stop - start)
    orbit, bx = (root.scalar(named, name, start, stop) for name in names)
    return columns.crossings(orbit, bx)


def simulated(named: Mapping[str, Any], run: NDArray[np.int64]) -> bool | None:
    """Whether a nano file is simulation: it has generator branches, or its run numbers tell."""
    return runs.simulated(run, generated=bool({"genWeight", "nGenPart", "Generator_weight"} & set(named)))


def read_dpg(path: Path, rows: int) -> Iterator[Events]:
    """Read an L1-DPG nano file: L1 muons of BX -2..2 with the hardware's words, and offline muons."""
    with root.opened(path) as file, root.guarded(path):
        tree = file["Events"]
        named = root.branches(tree)
        for start, stop in root.chunks(tree.num_entries, rows):
            orbit, bx = _crossings(named, start, stop)
            offsets, l1 = read_l1(named, start, stop, signed_charge=False)
            ids = _rows(named, start, stop)
            batch = OrbitBatch(orbit, bx, offsets, l1, simulated=simulated(named, ids["run"]), **ids)
            offline = None
            if "Muon_pt" in named:
                reco_offsets, reco = root.objects(named, MUON, start, stop)
                offline = columns.offline(reco, batch, reco_offsets)
            yield Events(batch, offline, str(path))


def read_scouting(path: Path, rows: int) -> Iterator[Events]:
    """Read an L1 scouting nano file: one row a non-empty crossing.

    ``n_orbits`` of all rows together is the sum of ``nOrbits`` of the file's lumisections; the chunks
    share it in proportion to their rows, so that it adds up.
    """
    with root.opened(path) as file, root.guarded(path):
        tree = file["Events"]
        named = root.branches(tree)
        total = orbits_of_lumisections(file)
        entries = tree.num_entries
        told = 0
        for start, stop in root.chunks(entries, rows):
            offsets, l1 = read_l1(named, start, stop, signed_charge=True)
            ids = _rows(named, start, stop)
            share = None
            if total is not None:
                so_far = total if stop == entries else total * stop // entries
                share, told = so_far - told, so_far
            yield Events(
                OrbitBatch(
                    root.scalar(named, "orbitNumber", start, stop).astype(np.int64),
                    root.scalar(named, "bunchCrossing", start, stop).astype(np.int64),
                    offsets,
                    l1,
                    n_orbits=share,
                    simulated=simulated(named, ids["run"]),
                    **ids,
                ),
                source=str(path),
            )


def orbits_of_lumisections(file: Any) -> int | None:
    """Orbits that a scouting nano file stands for: the sum of its ``nOrbits``; None if it has none."""
    keys = {key.split(";")[0] for key in file.keys(recursive=False)}
    if "LuminosityBlocks" not in keys:
        return None
    tree = file["LuminosityBlocks"]
    named = root.branches(tree)
    if "nOrbits" not in named:
        return None
    return int(root.scalar(named, "nOrbits", 0, tree.num_entries).astype(np.int64).sum())


def read_nanoaod(path: Path, rows: int) -> Iterator[Events]:
    """Read a NanoAOD file: offline muons, and what it keeps of the L1 muons behind the HLT's.

    That is pT, charge and isolation only: the L1 columns are ``hwPt``, ``hwCharge`` and ``hwIso``,
    with no eta and no phi, and without the muons that the HLT did not use. Orbit and BX are unknown.
    """
    names = {"id": "TrigObj_id", "pt": "TrigObj_l1pt", "charge": "TrigObj_l1charge", "iso": "TrigObj_l1iso"}
    with root.opened(path) as file, root.guarded(path):
        tree = file["Events"]
        named = root.branches(tree)
        for start, stop in root.chunks(tree.num_entries, rows):
            orbit, bx = _crossings(named, start, stop)
            ids = _rows(named, start, stop)
            reco_offsets, reco = root.objects(named, MUON, start, stop)
            rest: dict[str, Any] = {"simulated": simulated(named, ids["run"]), **ids}
            l1 = OrbitBatch(orbit, bx, np.zeros(stop - start + 1, np.int64), {}, **rest)
            if set(names.values()) <= set(named):
                offsets, trigger = root.objects(named, names, start, stop)
                every = OrbitBatch(orbit, bx, offsets, trigger, **rest)
                seeds = every.select((np.abs(every["id"]) == 13) & (every["pt"] > 0), drop_empty=False)
                hw = {
                    "hwPt": columns.from_physical("hwPt", seeds["pt"]),
                    "hwCharge": (seeds["charge"] < 0).astype(np.int16),
                    "hwIso": columns.integers("hwIso", seeds["iso"]),
                }
                l1 = OrbitBatch(orbit, bx, seeds.offsets, hw, **rest)
            yield Events(l1, columns.offline(reco, l1, reco_offsets), str(path))
