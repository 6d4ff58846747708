"""Pairs of L1 pT and offline muons in NanoAOD, which keeps L1 muons only behind trigger objects."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1scout.core.orbit_batch import OrbitBatch
from l1scout.dataset.matching import match
from l1scout.errors import InputError
from l1scout.io import nano, root
from l1scout.io.guard import guarded
from l1scout.io.input_file import InputFile

_BRANCHES = {"pt": "TrigObj_l1pt", "eta": "TrigObj_eta", "phi": "TrigObj_phi", "id": "TrigObj_id"}
_MUON = 13


def trigger_object_pairs(path: Path) -> dict[str, NDArray[Any]]:
    """Return the L1 pT of muons of the HLT beside the offline muon that is nearest at the vertex (dR < 0.1).

    Offline muons have the medium identification. Muons that the HLT did not keep are missing, and so
    are those without an L1 muon: the pairs are a selected sample.

    Returns
    -------
    dict of str to ndarray, shape (pairs,)
        recoPt (GeV) and recoEta of the offline muon, ratio: L1 pT over recoPt.

    Raises
    ------
    InputError
        If the file is damaged, or has no trigger objects or offline muons.
    """
    with InputFile(path) as file, guarded(path):
        named = root.tree_branches(file, nano.EVENTS)
        missing = [b for b in _BRANCHES.values() if b not in named]
        if missing:
            msg = f"no trigger objects: {', '.join(missing)} missing"
            raise InputError(msg)
        entries = int(file.root[nano.EVENTS].num_entries)
        offsets, read = root.objects(named, _BRANCHES, 0, entries)
        rows = OrbitBatch(np.arange(entries), np.ones(entries, np.int64), offsets, read)
        offline = nano.read_offline(named, rows, 0, entries)
    trigger = rows.select((np.abs(rows["id"]) == _MUON) & (rows["pt"] > 0), drop_empty=False)
    offline = offline.select(offline["recoId"].astype(np.bool_), drop_empty=False)
    i, j = match(
        *(trigger["eta"], trigger["phi"], trigger.offsets),
        *(offline["recoEta"], offline["recoPhi"], offline.offsets),
    )
    pt = offline["recoPt"][j]
    return {"recoPt": pt, "recoEta": offline["recoEta"][j], "ratio": trigger["pt"][i] / pt}
