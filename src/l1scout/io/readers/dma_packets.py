"""DMA packets of the scouting board as files: muons of packets that nothing was done to."""

from collections.abc import Iterator
from dataclasses import replace
from io import BufferedIOBase
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from l1scout.core.orbit_batch import OrbitBatch
from l1scout.core.orbit_data import MUON, OrbitData, final_only
from l1scout.core.provenance import joint_origin
from l1scout.errors import InputError
from l1scout.formats.marks import stated_origin
from l1scout.formats.packets import Found as PacketCounts
from l1scout.formats.packets import PacketOrbits
from l1scout.formats.stream import STREAMS, add_counts
from l1scout.formats.streams.muon import INTERMEDIATE
from l1scout.formats.wire_format import WIRE_FORMATS, WireFormat, count_decoded, recognise_format
from l1scout.io.input_file import InputFile
from l1scout.io.quality import ReadQuality
from l1scout.io.reader import READERS, FormatReader, origin
from l1scout.io.seen import is_first, orbit_checksums
from l1scout.io.stored import split_orbits
from l1scout.io.stream_counts import StreamCounts
from l1scout.lhc import lumisection


def packet_format(file: InputFile) -> WireFormat | None:
    """Return the wire format whose packets a file holds, by its content; None if it holds none."""
    if file.is_text or file.is_root or file.is_parquet or file.compression:
        return None
    stream = cast(BufferedIOBase, file.stream())
    return file.once("packet format", lambda: recognise_format(stream))


class DmaPacketsReader(FormatReader):
    """Reads DMA packets; memory of a packet. The run is unknown.

    A chunk has whole orbits of one packet: about `rows` rows or fewer, unless a single orbit has more.
    ``n_orbits`` counts the empty ones of Run 3. Packets of Run 2 do not tell them, and it is None, or, with
    `ReadQuality.count_occupied`, the number of orbits that have a block. Orbits that were read before are
    left out.
    """

    name, title = "dma-packets", "DMA packets"
    streams = tuple(dict.fromkeys(name for form in WIRE_FORMATS.values() for name in form.streams))
    counts_orbits = True
    order = 2
    removes_duplicates = True

    def detect(self, file: InputFile) -> bool:
        """Return whether the file begins with a packet."""
        return packet_format(file) is not None

    def read(self, file: InputFile, rows: int, quality: ReadQuality) -> Iterator[OrbitData]:
        """Read muons."""
        return _read(file, rows, quality, PacketCounts())

    def describe(self, file: InputFile) -> dict[str, Any]:
        """Return what the packets hold.

        Returns
        -------
        dict
            ``form`` ("run2" or "run3"); ``packets``, ``orbits`` and ``blocks`` that could be read;
            ``final_muons`` and ``intermediate_muons``; ``occupancies``, see `StreamCounts.rows`; ``orbit``
            and ``bx`` [first, last];
            ``flagged_orbits``; ``duplicate_orbits``, which are left out; ``repeated_orbits`` with the content
            of an earlier one; ``maps_from_0``, packets whose map of the non-empty BX begins with BX 0;
            ``corrupt`` stretches and ``corrupt_bytes``; ``counters`` of the last trailer (None if it has
            none).
        """
        found, quality, streams = PacketCounts(), ReadQuality(), dict[str, int]()
        occupancy = StreamCounts()
        orbits: list[int] = []
        bx: list[int] = []
        origins: set[bool | None] = set()
        for data in _read(file, 1 << 20, quality, found):
            batch = data.main
            occupancy.add(final_only(data))
            for name, objects in data.streams.items():
                add_counts(streams, STREAMS[name].counts(objects))
            quality.add(batch)
            origins |= data.origins
            if len(batch):
                orbits = _range([*orbits, int(batch.orbit.min()), int(batch.orbit.max())])
                bx = _range([*bx, int(batch.bx.min()), int(batch.bx.max())])
        form = packet_format(file)
        return {
            "form": form.name if form else None,
            "data": {True: "simulated", False: "real", None: None}[joint_origin(origins)],
            "packets": found.packets,
            "orbits": found.orbits,
            "blocks": found.blocks,
            "streams": streams,
            "final_muons": streams.get(MUON, 0),
            "intermediate_muons": streams.get(INTERMEDIATE, 0),
            "orbit": orbits,
            "bx": bx,
            "occupancies": occupancy.rows(),
            "flagged_orbits": found.flagged,
            "duplicate_orbits": quality.duplicate_orbits,
            "repeated_orbits": quality.repeated_orbits,
            "maps_from_0": found.maps_from_0,
            "corrupt": found.corrupt,
            "corrupt_bytes": found.corrupt_bytes,
            "counters": vars(found.trailer) if found.trailer else None,
        }


def _read(file: InputFile, rows: int, quality: ReadQuality, found: PacketCounts) -> Iterator[OrbitData]:
    form = packet_format(file)
    if form is None:
        msg = f"{file.path}: no DMA packets of a known wire format"
        raise InputError(msg)
    last = -1
    for packet, skipped in form.split(file.stream()):
        quality.bytes += len(packet) + skipped
        if skipped:
            found.add(PacketCounts(corrupt=1, corrupt_bytes=skipped))
            quality.damage(1, skipped)
        if not packet:
            continue
        orbits = form.find_orbits(packet).following(last)
        last = int(orbits.orbit[-1]) if orbits.orbit.size else last
        once = is_first(orbits.orbit)
        quality.duplicate_orbits += int(np.count_nonzero(~once))
        yield from _new_orbits(
            file, orbits if once.all() else orbits.select(once), form, rows, quality, found
        )


def _new_orbits(
    file: InputFile,
    orbits: PacketOrbits,
    form: WireFormat,
    rows: int,
    quality: ReadQuality,
    found: PacketCounts,
) -> Iterator[OrbitData]:
    """Yield the orbits of a packet that were not read before, and count what it holds."""
    decoded = form.decode(orbits)
    first = decoded[MUON] if MUON in decoded else next(iter(decoded.values()))
    flagged = np.unique(np.concatenate([orbits.flagged, *(part.flagged for part in decoded.values())]))
    corrupt = sum(part.corrupt for part in decoded.values())
    corrupt_bytes = sum(part.corrupt_bytes for part in decoded.values())
    now = replace(orbits.found, flagged=flagged.size)
    now.add(PacketCounts(corrupt=corrupt, corrupt_bytes=corrupt_bytes, objects=count_decoded(decoded)))
    found.add(now)
    quality.damage(now.corrupt, now.corrupt_bytes)
    numbers = np.sort(orbits.orbit)
    new = quality.new_contents(numbers, orbit_checksums(first.objects, numbers))
    repeated = orbits.orbit[orbits.repeated]
    quality.marked_orbits += int(np.count_nonzero(np.isin(repeated, numbers[new])))
    simulated = stated_origin(orbits.marks)
    numbers = numbers[new]
    here = np.intersect1d(flagged, numbers)
    quality.flagged_orbits += here.size
    if quality.skip_flagged:
        numbers = np.setdiff1d(numbers, here)
    every = len(numbers) == len(orbits.orbit)
    rows = rows if len(decoded) == 1 else orbits.blocks + 1  # several streams are not cut at different orbits
    chunks = {
        name: split_orbits(
            _of_orbits(replace(part.objects, simulated=simulated), None if every else numbers), numbers, rows
        )
        for name, part in decoded.items()
    }
    counted = form.reports_empty_orbits or quality.count_occupied
    for batches in zip(*chunks.values(), strict=True):
        known = [batch if counted else replace(batch, n_orbits=None, first_orbit=None) for batch in batches]
        yield OrbitData(dict(zip(chunks, known, strict=True)), None, origin(file))


def _of_orbits(batch: OrbitBatch, numbers: NDArray[np.int64] | None) -> OrbitBatch:
    """Return the rows of some orbits, or all of them, with their lumisections."""
    if numbers is not None:
        batch = batch.take(np.flatnonzero(np.isin(batch.orbit, numbers)))
    return replace(batch, lumisection=lumisection(batch.orbit))


def _range(values: list[int]) -> list[int]:
    return [min(values), max(values)]


READERS.register("dma-packets")(DmaPacketsReader())
