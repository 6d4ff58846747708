"""Packets of scouting boards as files, of every registered wire format."""

from collections.abc import Iterator
from dataclasses import replace
from io import BufferedIOBase
from typing import Any, cast

import numpy as np

from l1scout.core.orbit_data import OrbitData
from l1scout.errors import InputError
from l1scout.formats.packets import Found as PacketCounts
from l1scout.formats.packets import PacketOrbits
from l1scout.formats.stream import STREAMS, add_counts
from l1scout.formats.wire_format import WireFormat, count_decoded, recognise_format
from l1scout.io.input_file import InputFile
from l1scout.io.quality import ReadQuality
from l1scout.io.reader import READERS, FormatReader, origin
from l1scout.io.seen import is_first, orbit_checksums
from l1scout.io.stored import split_orbits
from l1scout.lhc import lumisection


def packet_format(file: InputFile) -> WireFormat | None:
    """Return the wire format whose packets a file holds, by its content; None if it holds none."""
    if file.is_text or file.is_root or file.is_parquet or file.compression:
        return None
    stream = cast(BufferedIOBase, file.stream())
    return file.once("packet format", lambda: recognise_format(stream))


class DmaPacketsReader(FormatReader):
    """Reads packets; memory of a packet. The run is unknown.

    A chunk has whole orbits of one packet: about `rows` rows or fewer, unless a single orbit has more.
    ``n_orbits`` counts the empty ones where the wire format reports them. Where it does not, it is None, or,
    with `ReadQuality.count_occupied`, the number of orbits that have a block. Orbits that were read before
    are left out.
    """

    name, title = "dma-packets", "DMA packets"
    counts_orbits = True
    certain = False
    removes_duplicates = True

    def detect(self, file: InputFile) -> bool:
        """Return whether the file begins with a packet."""
        return packet_format(file) is not None

    def read(self, file: InputFile, rows: int, quality: ReadQuality) -> Iterator[OrbitData]:
        """Read objects."""
        return _read(file, rows, quality, PacketCounts())

    def describe(self, file: InputFile) -> dict[str, Any]:
        """Return what the packets hold.

        Returns
        -------
        dict
            ``form`` (name of the wire format); ``packets``, ``orbits`` and ``blocks`` that could be read;
            ``objects`` by kind; ``orbit`` and ``bx`` [first, last];
            ``flagged_orbits``; ``duplicate_orbits``, which are left out; ``repeated_orbits`` with the content
            of an earlier one; ``corrupt`` stretches and ``corrupt_bytes``; ``counters`` of the last trailer
            (None if it has none).
        """
        found, quality, objects = PacketCounts(), ReadQuality(), dict[str, int]()
        orbits: list[int] = []
        bx: list[int] = []
        for events in _read(file, 1 << 20, quality, found):
            ((name, batch),) = events.streams.items()
            quality.add(batch)
            add_counts(objects, STREAMS[name].counts(batch))
            if len(batch):
                orbits = _range([*orbits, int(batch.orbit.min()), int(batch.orbit.max())])
                bx = _range([*bx, int(batch.bx.min()), int(batch.bx.max())])
        form = packet_format(file)
        return {
            "form": form.name if form else None,
            "packets": found.packets,
            "orbits": found.orbits,
            "blocks": found.blocks,
            "objects": objects,
            "orbit": orbits,
            "bx": bx,
            "flagged_orbits": found.flagged,
            "duplicate_orbits": quality.duplicate_orbits,
            "repeated_orbits": quality.repeated_orbits,
            "corrupt": found.corrupt,
            "corrupt_bytes": found.corrupt_bytes,
            "counters": vars(found.trailer) if found.trailer else None,
        }


def _read(file: InputFile, rows: int, quality: ReadQuality, found: PacketCounts) -> Iterator[OrbitData]:
    form = packet_format(file)
    if form is None:
        msg = f"{file.path}: no DMA packets of a known wire format"
        raise InputError(msg)
    for packet, skipped in form.split(file.stream()):
        quality.bytes += len(packet) + skipped
        if skipped:
            found.add(PacketCounts(corrupt=1, corrupt_bytes=skipped))
            quality.damage(1, skipped)
        if not packet:
            continue
        orbits = form.find_orbits(packet)
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
    (name,) = form.streams
    part = decoded[name]
    flagged = np.union1d(part.flagged, orbits.flagged)
    now = replace(orbits.found, flagged=flagged.size)
    objects = count_decoded(decoded)
    now.add(PacketCounts(corrupt=part.corrupt, corrupt_bytes=part.corrupt_bytes, objects=objects))
    found.add(now)
    quality.damage(now.corrupt, now.corrupt_bytes)
    numbers = np.sort(orbits.orbit)
    new = quality.new_contents(numbers, orbit_checksums(part.objects, numbers))
    repeated = orbits.orbit[orbits.repeated]
    quality.marked_orbits += int(np.count_nonzero(np.isin(repeated, numbers[new])))
    batch = replace(part.objects, n_orbits=len(numbers))
    if not new.all():
        numbers = numbers[new]
        kept = np.flatnonzero(np.isin(batch.orbit, numbers))
        batch = batch.take(kept, n_orbits=len(numbers))
    batch = quality.flag(batch, np.intersect1d(flagged, numbers))
    if quality.skip_flagged:
        numbers = np.setdiff1d(numbers, flagged)
    batch = replace(batch, lumisection=lumisection(batch.orbit))
    for chunk in split_orbits(batch, numbers, rows):
        known = chunk.n_orbits if form.reports_empty_orbits or quality.count_occupied else None
        yield OrbitData({name: replace(chunk, n_orbits=known)}, None, origin(file))


def _range(values: list[int]) -> list[int]:
    return [min(values), max(values)]


READERS.register("dma-packets")(DmaPacketsReader())
