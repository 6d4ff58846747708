"""Jets clustered from the towers of the calorimeter trigger, and their corrections.

Both need the extra ``l1scout[jets]``. Corrections are those of a correctionlib JSON file.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from l1scout.core.orbit_batch import OrbitBatch
from l1scout.core.orbit_data import OrbitData
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
        types = {"constituents": np.int32}
        return replace(kept, columns={name: np.zeros(0, types.get(name, np.float32)) for name in names})
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


class TowerJets:
    """Makes data with jets of data with towers.

    Parameters
    ----------
    radius, min_pt : float
        As for `cluster_towers`.
    corrections : Path, optional
        Correctionlib JSON file.
    correction : str, optional
        Of that file; not needed if it has only one.
    keep : sequence of str
        Other streams that stay.

    Attributes
    ----------
    correction : str or None
        Name of the correction that is applied.

    Raises
    ------
    InputError
        If a package of the extra ``jets`` is not installed, or the corrections cannot be used.
    """

    def __init__(
        self,
        radius: float = 0.4,
        min_pt: float = 10.0,
        corrections: Path | None = None,
        correction: str | None = None,
        keep: Sequence[str] = (),
    ) -> None:
        for package in ("fastjet", *(("correctionlib",) if corrections else ())):
            if find_spec(package) is None:
                msg = f"jets need the package {package}, which is not installed: install l1scout[jets]"
                raise InputError(msg)
        self._cluster = partial(cluster_towers, radius=radius, min_pt=min_pt)
        self._keep = tuple(keep)
        self._table = read_correction(corrections, correction) if corrections else None
        self.correction: str | None = self._table.name if self._table is not None else None

    def __call__(self, data: OrbitData) -> OrbitData:
        """Return data with jets and the streams that stay (InputError if they have no towers)."""
        missing = [name for name in ("tower", *self._keep) if name not in data.streams]
        if missing:
            have = ", ".join(data.streams)
            msg = f"{data.source or 'the data'}: no stream {', '.join(missing)}, but {have}"
            raise InputError(msg)
        made = self._cluster(data.streams["tower"])
        if self._table is not None:
            made = apply_correction(made, self._table)
        others = {name: data.streams[name] for name in self._keep if name != "jet"}
        return replace(data, streams={"jet": made, **others}, offline=None, selections=None)


def read_correction(path: str | Path, name: str | None = None) -> Any:
    """Return a correction of a correctionlib JSON file; without a name, the only one that it has.

    Its inputs are among JetPt, JetEta and JetPhi (or pt, eta, phi).

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
    every = list(corrections)
    if name is None and len(every) != 1:
        msg = f"{path}: has {len(every)} corrections: name one of {printable(', '.join(every), 300)}"
        raise InputError(msg)
    name = every[0] if name is None else name
    if name not in every:
        msg = f"{path}: no correction {name}; it has {', '.join(corrections)}"
        raise InputError(msg)
    inputs = [given.name for given in corrections[name].inputs]
    if unknown := [given for given in inputs if given not in _INPUTS]:
        msg = f"{path}: correction {name} needs {', '.join(unknown)}, which these jets do not have"
        raise InputError(msg)
    return corrections[name]


def apply_correction(jets: OrbitBatch, correction: Any) -> OrbitBatch:
    """Return jets whose ``pt`` and ``mass`` are multiplied; ``correction`` is a new column.

    Jets of a crossing are put in order of falling corrected pT.

    Raises
    ------
    InputError
        If a jet is outside the range of the correction.
    """
    values = [np.asarray(jets[_INPUTS[given.name]], np.float64) for given in correction.inputs]
    try:
        factor = np.asarray(correction.evaluate(*values), np.float32)
    except (RuntimeError, IndexError) as error:
        msg = f"correction {correction.name}: {printable(str(error), 120)}"
        raise InputError(msg) from error
    made = jets.with_columns(
        pt=jets["pt"] * factor,
        mass=jets["mass"] * factor,
        correction=np.broadcast_to(factor, jets["pt"].shape),
    )
    order = np.lexsort((-made["pt"], made.row))
    return replace(made, columns={name: column[order] for name, column in made.columns.items()})


def correct_jets(jets: OrbitBatch, path: str | Path, name: str) -> OrbitBatch:
    """Return jets with a correction of a file applied: see `read_correction` and `apply_correction`."""
    return apply_correction(jets, read_correction(path, name))
