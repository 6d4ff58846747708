"""DMA packets of the scouting board as files: objects of packets that nothing was done to."""

from collections.abc import Iterator, Mapping
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
from l1scout.formats.packets import ORBITS_PER_PACKET, PacketOrbits
from l1scout.formats.packets import Found as PacketCounts
from l1scout.formats.stream import STREAMS, add_counts, streams_of_sources
from l1scout.formats.streams.muon import INTERMEDIATE, MUONS
from l1scout.formats.wire_format import WIRE_FORMATS, WireFormat, count_decoded, recognise_format
from l1scout.io.built_data import build_data
from l1scout.io.frame_parts import FramePart
from l1scout.io.input_file import InputFile
from l1scout.io.quality import ReadQuality
from l1scout.io.reader import READERS, FormatReader, origin
from l1scout.io.seen import is_first, orbit_checksums
from l1scout.io.stored import split_orbits
from l1scout.io.stream_counts import StreamCounts
from l1scout.lhc import lumisection

READER = "dma-packets"
CountsOfSources = dict[int | None, PacketCounts]
"""What the packets of each source hold; None is the source of packets that do not state theirs."""


def packet_format(file: InputFile) -> WireFormat | None:
    """Return the wire format whose packets a file holds, by its content; None if it holds none."""
    if file.is_text or file.is_root or file.is_parquet or file.compression:
        return None
    stream = cast(BufferedIOBase, file.stream())
    return file.once("packet format", lambda: recognise_format(stream))


def packet_sources(file: InputFile) -> list[int | None]:
    """Return the source ids of a file's packets, in the order of their first ones.

    It is ``[None]`` if packets do not state theirs; otherwise the whole file is looked through, once.
    """
    return file.once("packet sources", lambda: _packet_sources(file))


def _packet_sources(file: InputFile) -> list[int | None]:
    form, sources = _format(file), dict[int | None, None]()
    for packet, _ in form.split(file.stream()):
        source = form.source_of(packet) if packet else None
        if packet and source is None:
            return [None]
        if packet:
            sources[source] = None
    return list(sources) or [None]


def _format(file: InputFile) -> WireFormat:
    form = packet_format(file)
    if form is None:
        msg = f"{file.path}: no DMA packets of a known wire format"
        raise InputError(msg)
    return form


class DmaPacketsReader(FormatReader):
    """Reads DMA packets; memory of some packets. The run is unknown.

    A chunk has whole orbits of one packet: about `rows` rows or fewer, unless a single orbit has more.
    Packets of several sources are joined by the orbit (`l1scout.io.built_data`): a chunk has orbits of all of
    them, and a stream those in which all of its sources were seen. Sources without a known stream are left
    out.
    ``n_orbits`` counts the empty ones of Run 3. Packets of Run 2 do not tell them, and it is None, or, with
    `ReadQuality.count_occupied`, the number of orbits that have a block. Orbits that were read before are
    left out.
    """

    name, title = READER, "DMA packets"
    streams = tuple(dict.fromkeys(name for form in WIRE_FORMATS.values() for name in form.streams))
    counts_orbits = True
    order = 2
    removes_duplicates = True

    def detect(self, file: InputFile) -> bool:
        """Return whether the file begins with a packet."""
        return packet_format(file) is not None

    def read(self, file: InputFile, rows: int, quality: ReadQuality) -> Iterator[OrbitData]:
        """Read the objects of all streams."""
        return _read(file, rows, quality, {})

    def describe(self, file: InputFile) -> dict[str, Any]:
        """Return what the packets hold.

        Returns
        -------
        dict
            ``form``, the wire format; ``sources``, ids that the packets state; ``packets``, ``orbits`` (of
            several sources, those that any of them has) and ``blocks`` that could be read; ``streams``;
            ``final_muons`` and ``intermediate_muons``; ``occupancies``, see `StreamCounts.rows`; ``orbit``
            and ``bx`` [first, last];
            ``flagged_orbits``; ``duplicate_orbits``, which are left out; ``repeated_orbits`` with the content
            of an earlier one; ``maps_from_0``, packets whose map of the non-empty BX begins with BX 0;
            ``corrupt`` stretches and ``corrupt_bytes``; ``counters`` of the last trailer (None if it has
            none, or there are several sources); ``packets_of_sources``, a row for each of several sources.
        """
        quality, streams, occupancy = ReadQuality(), dict[str, int](), StreamCounts()
        found: CountsOfSources = {}
        orbits: list[int] = []
        bx: list[int] = []
        joined = 0
        origins: set[bool | None] = set()
        for data in _read(file, 1 << 20, quality, found):
            occupancy.add(final_only(data))
            joined += _covered(data)
            quality.add(data.main)
            origins |= data.origins
            for name, objects in data.streams.items():
                add_counts(streams, STREAMS[name].counts(objects))
                if len(objects):
                    orbits = _range([*orbits, int(objects.orbit.min()), int(objects.orbit.max())])
                    bx = _range([*bx, int(objects.bx.min()), int(objects.bx.max())])
        total, several = PacketCounts(), len(found) > 1
        for counts in found.values():
            total.add(counts)
        return {
            "form": _format(file).name,
            "data": {True: "simulated", False: "real", None: None}[joint_origin(origins)],
            "sources": sorted(source for source in found if source is not None) or None,
            "packets": total.packets,
            "orbits": joined if several else total.orbits,
            "blocks": total.blocks,
            "streams": streams,
            "final_muons": streams.get(MUON, 0),
            "intermediate_muons": streams.get(INTERMEDIATE, 0),
            "orbit": orbits,
            "bx": bx,
            "occupancies": occupancy.rows(),
            "flagged_orbits": total.flagged,
            "duplicate_orbits": quality.duplicate_orbits,
            "repeated_orbits": quality.repeated_orbits,
            "maps_from_0": total.maps_from_0,
            "corrupt": total.corrupt,
            "corrupt_bytes": total.corrupt_bytes,
            "counters": vars(total.trailer) if total.trailer and not several else None,
        } | ({"packets_of_sources": _source_rows(found)} if several else {})


def _covered(data: OrbitData) -> int:
    """Return the number of orbits that any stream of some data covers."""
    seen = [batch.orbits_seen() for batch in data.streams.values()]
    known = [orbits for orbits in seen if orbits is not None]
    return np.unique(np.concatenate(known)).size if known else 0


def _source_rows(found: CountsOfSources) -> list[dict[str, Any]]:
    rows = []
    for source, counts in sorted(found.items(), key=lambda item: item[0] or 0):
        streams = [stream.name for stream in streams_of_sources([source])] if source is not None else []
        row = {"source": source, "streams": ", ".join(streams) or "not known, left out"}
        row |= {name: getattr(counts, name) for name in ("packets", "orbits", "blocks", "corrupt")}
        if counts.trailer:
            row |= {"realigns": counts.trailer.realigns, "dropped": counts.trailer.dropped}
            row["sent_orbits"] = counts.trailer.orbits
        rows.append(row)
    return rows


def _read(file: InputFile, rows: int, quality: ReadQuality, found: CountsOfSources) -> Iterator[OrbitData]:
    """Read all sources of a file, several of them joined by the orbit."""
    parts = source_parts(file, rows, quality, found)
    return join_parts(parts, str(file.path)) if len(parts) > 1 else next(iter(parts.values()))


def source_parts(
    file: InputFile, rows: int, quality: ReadQuality, found: CountsOfSources
) -> dict[int | None, Iterator[OrbitData]]:
    """Return the data of each source of a file of packets, to be read; `found` is filled then.

    Raises
    ------
    InputError
        If no stream is known of any of its sources.
    """
    sources, parts = packet_sources(file), {}
    unknown = {source for source in sources if source is not None and not streams_of_sources([source])}
    for source in sorted(sources, key=unknown.__contains__):  # the first one counts damage: it must be read
        found[source] = PacketCounts()
        if source not in unknown:
            own = quality.of_source(source)
            parts[source] = _read_source(file, source, rows, (quality, own), found)
    if not parts:
        listed = ", ".join(map(str, sources))
        msg = f"{file.path}: no stream is known for its source ids {listed}"
        raise InputError(msg)
    return parts


def join_parts(parts: Mapping[int | None, Iterator[OrbitData]], name: str) -> Iterator[OrbitData]:
    """Join the data of sources by the orbit; those of packets that do not state theirs are muons.

    Packets do not state which orbits a source was to have, so a stream of a single source has lost none.
    """
    sources: dict[int, Iterator[OrbitData | FramePart]] = {
        MUONS.source_ids[0] if source is None else source: part for source, part in parts.items()
    }
    for data in build_data(sources, name=name, orbits=ORBITS_PER_PACKET):
        whole = {
            stream: replace(batch, lost_orbits=0)
            for stream, batch in data.streams.items()
            if len(sources.keys() & set(STREAMS[stream].source_ids)) < 2
        }
        yield replace(data, streams={**data.streams, **whole})


def _read_source(
    file: InputFile,
    source: int | None,
    rows: int,
    qualities: tuple[ReadQuality, ReadQuality],
    found: CountsOfSources,
) -> Iterator[OrbitData]:
    """Read the packets of one source; bytes and damage are counted for all, the rest for the source."""
    form, (quality, own), counts = _format(file), qualities, found[source]
    last = -1
    for packet, skipped in form.split(file.stream()):
        if skipped and source == next(iter(found)):  # all sources come by here, and it is damaged once
            quality.bytes += skipped
            counts.add(PacketCounts(corrupt=1, corrupt_bytes=skipped))
            quality.damage(1, skipped)
        if not packet or (source is not None and form.source_of(packet) != source):
            continue
        quality.bytes += len(packet)
        orbits = form.find_orbits(packet).following(last)
        last = int(orbits.orbit[-1]) if orbits.orbit.size else last
        once = is_first(orbits.orbit)
        own.duplicate_orbits += int(np.count_nonzero(~once))
        now, chunks = _new_orbits(file, orbits if once.all() else orbits.select(once), form, rows, own)
        counts.add(now)
        quality.damage(now.corrupt, now.corrupt_bytes)
        yield from chunks


def _new_orbits(
    file: InputFile,
    orbits: PacketOrbits,
    form: WireFormat,
    rows: int,
    quality: ReadQuality,
) -> tuple[PacketCounts, Iterator[OrbitData]]:
    """Return what a packet holds, and its orbits that were not read before."""
    decoded = form.decode(orbits)
    first = decoded[MUON] if MUON in decoded else next(iter(decoded.values()))
    flagged = np.unique(np.concatenate([orbits.flagged, *(part.flagged for part in decoded.values())]))
    corrupt = sum(part.corrupt for part in decoded.values())
    corrupt_bytes = sum(part.corrupt_bytes for part in decoded.values())
    now = replace(orbits.found, flagged=flagged.size)
    now.add(PacketCounts(corrupt=corrupt, corrupt_bytes=corrupt_bytes, objects=count_decoded(decoded)))
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
    made = (
        {
            n: b if counted else replace(b, n_orbits=None, first_orbit=None)
            for n, b in zip(chunks, part, strict=True)
        }
        for part in zip(*chunks.values(), strict=True)
    )
    return now, (OrbitData(streams, None, origin(file)) for streams in made)


def _of_orbits(batch: OrbitBatch, numbers: NDArray[np.int64] | None) -> OrbitBatch:
    """Return the rows of some orbits, or all of them, with their lumisections."""
    if numbers is not None:
        batch = batch.take(np.flatnonzero(np.isin(batch.orbit, numbers)))
    return replace(batch, lumisection=lumisection(batch.orbit))


def _range(values: list[int]) -> list[int]:
    return [min(values), max(values)]


READERS.register(READER)(DmaPacketsReader())
