"""Jets clustered from the towers of the calorimeter trigger, and their corrections.

Both need the extra ``l1scout[jets]``. Corrections are those of a correctionlib JSON file.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from l1scout.core.orbit_batch import OrbitBatch
from l1scout.errors import InputError, printable
from l1scout.formats.stream import STREAMS

_INPUTS = {"JetEta": "eta", "JetPt": "pt", "JetPhi": "phi", "eta": "eta", "pt": "pt", "phi": "phi"}
"""What inputs of corrections are called, and the columns of jets that they are."""


def cluster_towers(towers: OrbitBatch, radius: float = 0.4, min_pt: float = 10.0) -> OrbitBatch:
    """Cluster jets from towers by the anti-kt algorithm, with massless towers and the E scheme.

    Parameters
    ----------
    towers : OrbitBatch
        Of the stream ``tower``.
    radius : float
        Of the jets, in eta and phi.
    min_pt : float
        Jets of less pT (GeV) are left out.

    Returns
    -------
    OrbitBatch
        Crossings with a jet: ``pt`` and ``mass`` (GeV), ``eta``, ``phi`` (rad), float32; ``constituents``,
        int32. The jets of a crossing are in order of falling pT.
    """
    import awkward as ak
    import fastjet
    import vector

    vector.register_awkward()
    physics = STREAMS["tower"].physics(towers.columns)
    some = (physics["pt"] > 0) & np.isfinite(physics["eta"])
    kept = towers.select(some)
    pt, eta, phi = (physics[name][some].astype(np.float64) for name in ("pt", "eta", "phi"))
    momenta = {
        "px": pt * np.cos(phi),
        "py": pt * np.sin(phi),
        "pz": pt * np.sinh(eta),
        "E": pt * np.cosh(eta),
    }
    names = ("pt", "eta", "phi", "mass", "constituents")
    if not len(kept):
        return replace(kept, columns={name: np.zeros(0, np.float32) for name in names})
    jagged = {name: ak.unflatten(values, kept.counts) for name, values in momenta.items()}
    sequence = fastjet.ClusterSequence(
        ak.zip(jagged, with_name="Momentum4D"), fastjet.JetDefinition(fastjet.antikt_algorithm, radius)
    )
    found = sequence.inclusive_jets(min_pt)
    jets = ak.zip({name: found[name] for name in momenta}, with_name="Momentum4D")
    number = ak.num(sequence.constituents(min_pt), axis=2)
    order = ak.argsort(jets.pt, ascending=False)
    jets, number = jets[order], number[order]
    columns: dict[str, Any] = {
        name: ak.to_numpy(ak.flatten(getattr(jets, name))).astype(np.float32) for name in names[:3]
    }
    energy, p = (ak.to_numpy(ak.flatten(values)).astype(np.float64) for values in (jets.E, jets.p))
    columns["mass"] = np.sqrt(np.maximum(energy**2 - p**2, 0)).astype(np.float32)
    columns["constituents"] = ak.to_numpy(ak.flatten(number)).astype(np.int32)
    offsets = np.r_[0, np.cumsum(ak.to_numpy(ak.num(jets.E)))].astype(np.int64)
    made = replace(kept, offsets=offsets, columns=columns)
    return made.select(np.ones(made.n_objects, np.bool_))


def correct_jets(jets: OrbitBatch, path: str | Path, name: str) -> OrbitBatch:
    """Return jets whose ``pt`` and ``mass`` are multiplied by a correction; ``correction`` is a new column.

    Parameters
    ----------
    jets : OrbitBatch
        As `cluster_towers` gives them.
    path : str or Path
        Correctionlib JSON file.
    name : str
        Of the correction in the file; its inputs are among JetPt, JetEta and JetPhi (or pt, eta, phi).

    Raises
    ------
    InputError
        If the file cannot be read, has no such correction, or it has other inputs.
    """
    import correctionlib

    try:
        corrections: Mapping[str, Any] = correctionlib.CorrectionSet.from_file(str(path))
    except Exception as error:  # correctionlib raises RuntimeError, ValueError and its own
        msg = f"{path}: not a correctionlib file ({printable(str(error), 120)})"
        raise InputError(msg) from error
    if name not in list(corrections):
        msg = f"{path}: no correction {name}; it has {', '.join(corrections)}"
        raise InputError(msg)
    inputs = [given.name for given in corrections[name].inputs]
    if unknown := [given for given in inputs if given not in _INPUTS]:
        msg = f"{path}: correction {name} needs {', '.join(unknown)}, which these jets do not have"
        raise InputError(msg)
    values = [np.asarray(jets[_INPUTS[given]], np.float64) for given in inputs]
    factor = np.asarray(corrections[name].evaluate(*values), np.float32)
    return jets.with_columns(pt=jets["pt"] * factor, mass=jets["mass"] * factor, correction=factor)
