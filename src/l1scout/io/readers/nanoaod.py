"""NanoAOD: offline muons, and what it keeps of the L1 muons behind the HLT's."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from l1scout.core.orbit_batch import OrbitBatch
from l1scout.core.orbit_data import MUON, OrbitData
from l1scout.io import columns, nano, root
from l1scout.io.conditions import Conditions
from l1scout.io.guard import guarded
from l1scout.io.input_file import InputFile
from l1scout.io.quality import ReadQuality
from l1scout.io.reader import READERS, FormatReader, origin

_TRIGGER = {"id": "TrigObj_id", "pt": "TrigObj_l1pt", "charge": "TrigObj_l1charge", "iso": "TrigObj_l1iso"}


class NanoAodReader(FormatReader):
    """Reads NanoAOD files.

    Of the L1 muons they keep pT, charge and isolation only: the L1 columns are ``hwPt``, ``hwCharge``,
    ``hwChargeValid`` and ``hwIso``, with no eta and no phi, and without the muons that the HLT did not use.
    Orbit and BX are unknown, run and lumisection too if the file was reduced to its muons.
    """

    name, title = "nanoaod", "NanoAOD"
    offline = True
    triggered = True

    def detect(self, file: InputFile) -> bool:
        """Return whether the file has offline muons and no L1 muons."""
        named = root.tree_branches(file, nano.EVENTS) if file.is_root else {}
        l1 = set(named) & set(nano.L1_MUON) or nano.is_orbit_collection(named)
        return "Muon_pt" in named and not l1

    def read(self, file: InputFile, rows: int, quality: ReadQuality) -> Iterator[OrbitData]:  # noqa: ARG002
        """Read L1 and offline muons."""
        with guarded(file.path):
            named = root.tree_branches(file, nano.EVENTS)
            for start, stop in root.chunks(int(file.root[nano.EVENTS].num_entries), rows):
                orbit, bx = nano.read_crossings(named, start, stop)
                rest = nano.read_identity(named, start, stop)
                l1 = OrbitBatch(orbit, bx, np.zeros(stop - start + 1, np.int64), {}, **rest)
                if set(_TRIGGER.values()) <= set(named):
                    offsets, trigger = root.objects(named, _TRIGGER, start, stop)
                    every = OrbitBatch(orbit, bx, offsets, trigger, **rest)
                    seeds = every.select((np.abs(every["id"]) == 13) & (every["pt"] > 0), drop_empty=False)
                    read = {"physical:hwPt": seeds["pt"], "hwCharge": seeds["charge"], "hwIso": seeds["iso"]}
                    hardware = columns.hardware(read, signed_charge=True)
                    l1 = OrbitBatch(orbit, bx, seeds.offsets, hardware, **rest)
                yield OrbitData({MUON: l1}, nano.read_offline(named, l1, start, stop), origin(file))

    def describe(self, file: InputFile) -> dict[str, Any]:
        """Return what the muons are, and the trees."""
        return super().describe(file) | {"trees": root.describe_trees(file)}

    def conditions(self, file: InputFile) -> Conditions:
        """Return the conditions: era by run number, and whether it is simulation."""
        return nano.conditions(file)


READERS.register("nanoaod")(NanoAodReader())
