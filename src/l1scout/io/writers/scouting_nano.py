"""L1 scouting nano as TTree, as CMS writes it."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from l1scout.core.orbit_batch import OrbitBatch, final_muons
from l1scout.core.orbit_data import MUON, OrbitData
from l1scout.formats.nano_table import NanoTable
from l1scout.formats.stream import STREAMS
from l1scout.io.format_writer import WRITERS, FormatWriter, WriteJob, intermediate_muons, other_parts
from l1scout.io.nano_writer import NanoOptions, fill_nano


class ScoutingNanoWriter(FormatWriter):
    """Writes L1 scouting nano files; see `l1scout.io.nano_writer`."""

    name, title = "scouting-nano", "L1 scouting nano (TTree)"
    suffixes: ClassVar[tuple[str, ...]] = (".root",)
    keeps_empty_crossings = True
    options: ClassVar[Mapping[str, str]] = {
        "hardware": "write all hardware columns, also those for which CMS has no branch",
        "zstd": "compress by zstd, which is faster, rather than by CMS's ZLIB of level 9",
        "exact_phi": "write 2 pi / 144 x hw as phi of calorimeter objects, not CMSSW's 0.0435 x hw",
    }
    advice = "keep all columns with --hardware (hardware=True)"
    rntuple: ClassVar[bool] = False

    def losses(self, data: OrbitData, options: Mapping[str, Any]) -> Iterator[str]:
        """Name streams without a table, columns without a branch, and values that do not come back."""
        for name, batch in data.streams.items():
            table = STREAMS[name].nano
            if table is None:
                yield f"stream {name}"
                continue
            objects = final_muons(batch) if name == MUON else batch
            yield from (f"{name}.{column}" for column in _lost(table, objects, options))
            if batch.lost_orbits:
                yield f"number of lost orbits of {name}"
        yield from intermediate_muons(data)
        yield from other_parts(data, selections=True)

    def write(self, chunks: Iterator[OrbitData], target: Path, job: WriteJob) -> None:
        """Write a nano file."""
        options = NanoOptions(
            self.rntuple,
            bool(job.options.get("hardware")),
            bool(job.options.get("exact_phi")),
            bool(job.options.get("zstd")),
            job.empty_crossings,
        )
        fill_nano(map(_with_tables, chunks), target, options, job.made)


def _with_tables(data: OrbitData) -> OrbitData:
    held = {name: batch for name, batch in data.streams.items() if STREAMS[name].nano is not None}
    return OrbitData(held, None, data.origin, data.selections)


def _lost(table: NanoTable, objects: OrbitBatch, options: Mapping[str, Any]) -> list[str]:
    """Return the columns that a table does not hold, or not with all values."""
    columns = objects.columns
    lost = []
    if table.name == "L1Mu":
        unsigned = columns.get("hwChargeValid")
        if unsigned is not None and np.any((unsigned == 0) & (columns["hwCharge"] != 0)):
            lost.append("hwCharge where hwChargeValid is 0")
    if options.get("hardware") or not table.cms:
        return lost
    if table.name == "L1EtSum":
        return lost + _changed(table, objects, columns)
    quantities = {quantity.column for quantity in table.quantities.values()}
    held = quantities | set(table.hardware)
    if table.name == "L1Mu":
        held |= {"hwChargeValid", "intermediate"}  # the sign is 0 where it is not; only final muons are there
    missing = [name for name in columns if name not in held]
    return lost + missing + _changed(table, objects, [n for n in columns if n in quantities])


def _changed(table: NanoTable, objects: OrbitBatch, wanted: Iterable[str]) -> list[str]:
    """Return the columns whose values do not follow from the branches: codes that no detector sends."""
    _, back = table.columns(*table.branches(objects))
    return [name for name in wanted if name in back and np.any(back[name] != objects[name])]


WRITERS.register("scouting-nano")(ScoutingNanoWriter())
