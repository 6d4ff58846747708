"""DMA packets of the scouting board as files: muons of packets that nothing was done to."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from l1scout.core.orbit_batch import muon_counts
from l1scout.core.orbit_data import MUON, OrbitData
from l1scout.errors import InputError
from l1scout.formats.block import RUN2, RUN3, BlockFormat
from l1scout.formats.decoded import Decoded, decode_blocks
from l1scout.formats.packets import TRAILER_BYTES, PacketOrbits, packet_orbits, split_packets
from l1scout.formats.packets import Found as PacketCounts
from l1scout.io.input_file import InputFile
from l1scout.io.quality import ReadQuality
from l1scout.io.reader import READERS, FormatReader, origin
from l1scout.io.seen import is_first, orbit_checksums
from l1scout.io.stored import split_orbits
from l1scout.lhc import lumisection


@dataclass(frozen=True)
class _FirstPacket:
    """The first packet of a file, parsed to tell the format: it is not parsed again."""

    form: BlockFormat
    orbits: PacketOrbits
    decoded: Decoded


def packet_format(file: InputFile) -> BlockFormat | None:
    """Return the format of the DMA packets that a file holds, by its content; None if it holds none.

    Run 3 if the first packet can be read as such; Run 2 if its length and the BX of its blocks fit.
    """
    if file.is_text or file.is_root or file.is_parquet or file.compression:
        return None
    first = file.once("first packet", lambda: _first_packet(file))
    return first.form if first else None


def _first_packet(file: InputFile) -> _FirstPacket | None:
    packet, skipped = next(split_packets(file.stream(), RUN3), (memoryview(b""), 0))
    if skipped or len(packet) < TRAILER_BYTES:
        return None
    for form in (RUN3, RUN2):
        orbits = packet_orbits(packet, form)
        if not orbits.orbit.size and (form is RUN3 or orbits.found.corrupt):
            continue
        decoded = decode_blocks(orbits.crossings(), form)
        if form is RUN3 or not decoded.corrupt:
            return _FirstPacket(form, orbits, decoded)
    return None


class DmaPacketsReader(FormatReader):
    """Reads DMA packets; memory of a packet. The run is unknown.

    A chunk has whole orbits of one packet: about `rows` rows or fewer, unless a single orbit has more.
    ``n_orbits`` counts the empty ones of Run 3. Packets of Run 2 do not tell them, and it is None, or, with
    `ReadQuality.count_occupied`, the number of orbits that have a block. Orbits that were read before are
    left out.
    """

    name, title = "dma-packets", "DMA packets"
    counts_orbits = True
    certain = False
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
            ``final_muons`` and ``intermediate_muons``; ``orbit`` and ``bx`` [first, last];
            ``flagged_orbits``; ``duplicate_orbits``, which are left out; ``repeated_orbits`` with the content
            of an earlier one; ``corrupt`` stretches and ``corrupt_bytes``; ``counters`` of the last trailer
            (None if it has none).
        """
        found, quality, muons = PacketCounts(), ReadQuality(), [0, 0]
        orbits: list[int] = []
        bx: list[int] = []
        for events in _read(file, 1 << 20, quality, found):
            batch = events.muons
            quality.add(batch)
            final, intermediate = muon_counts(batch)
            muons = [muons[0] + final, muons[1] + (intermediate or 0)]
            if len(batch):
                orbits = _range([*orbits, int(batch.orbit.min()), int(batch.orbit.max())])
                bx = _range([*bx, int(batch.bx.min()), int(batch.bx.max())])
        form = packet_format(file)
        return {
            "form": form.name if form else None,
            "packets": found.packets,
            "orbits": found.orbits,
            "blocks": found.blocks,
            "final_muons": muons[0],
            "intermediate_muons": muons[1],
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
        msg = f"{file.path}: no DMA packets of Run 2 or Run 3 there"
        raise InputError(msg)
    first: _FirstPacket | None = file.once("first packet", lambda: None)
    for packet, skipped in split_packets(file.stream(), form):
        quality.bytes += len(packet) + skipped
        if skipped:
            found.add(PacketCounts(corrupt=1, corrupt_bytes=skipped))
            quality.damage(1, skipped)
        if not packet:
            continue
        orbits = first.orbits if first else packet_orbits(packet, form)
        once = is_first(orbits.orbit)
        quality.duplicate_orbits += int(np.count_nonzero(~once))
        if first and once.all():
            part = first.decoded
        else:
            orbits = orbits.select(once)
            part = decode_blocks(orbits.crossings(), form)
        first = None
        yield from _new_orbits(file, (orbits, part), rows, quality, found, form)


def _new_orbits(
    file: InputFile,
    packet: tuple[PacketOrbits, Decoded],
    rows: int,
    quality: ReadQuality,
    found: PacketCounts,
    form: BlockFormat,
) -> Iterator[OrbitData]:
    """Yield the orbits of a packet that were not read before, and count what it holds."""
    orbits, part = packet
    flagged = np.union1d(part.flagged, orbits.flagged)
    now = replace(orbits.found, flagged=flagged.size)
    now.add(PacketCounts(corrupt=part.corrupt, corrupt_bytes=part.corrupt_bytes))
    found.add(now)
    quality.damage(now.corrupt, now.corrupt_bytes)
    numbers = np.sort(orbits.orbit)
    new = quality.new_contents(numbers, orbit_checksums(part.muons, numbers))
    if orbits.repeated.size:
        quality.marked_orbits += int(np.count_nonzero(np.isin(orbits.orbit[orbits.repeated], numbers[new])))
    muons = replace(part.muons, n_orbits=len(numbers))
    if not new.all():
        numbers = numbers[new]
        kept = np.flatnonzero(np.isin(muons.orbit, numbers))
        muons = muons.take(kept, n_orbits=len(numbers))
    muons = quality.flag(muons, np.intersect1d(flagged, numbers))
    if quality.skip_flagged:
        numbers = np.setdiff1d(numbers, flagged)
    muons = replace(muons, lumisection=lumisection(muons.orbit))
    for chunk in split_orbits(muons, numbers, rows):
        known = chunk.n_orbits if form is RUN3 or quality.count_occupied else None
        yield OrbitData({MUON: replace(chunk, n_orbits=known)}, None, origin(file))


def _range(values: list[int]) -> list[int]:
    return [min(values), max(values)]


READERS.register("dma-packets")(DmaPacketsReader())
