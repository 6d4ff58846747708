"""DMA packets and link captures as files: told apart, and described."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from l1scout.core.orbit_batch import muon_counts
from l1scout.core.orbit_data import MUON, OrbitData
from l1scout.errors import InputError
from l1scout.formats.packets import Found
from l1scout.formats.wire_format import WireFormat, count_decoded, recognise_format
from l1scout.io.quality import ReadQuality
from l1scout.io.seen import is_first, orbit_checksums
from l1scout.io.stored import split_orbits
from l1scout.lhc import lumisection
from l1scout.link.capture import read_captures


def detect_packets(path: Path) -> WireFormat | None:
    """Return the wire format whose packets a file holds, by its content; None if it holds none."""
    with path.open("rb") as stream:
        return recognise_format(stream)


def read_dma(
    path: Path,
    rows: int,
    quality: ReadQuality | None = None,
    found: Found | None = None,
    *,
    count_empty: bool = False,
) -> Iterator[OrbitData]:
    """Read the muons of DMA packets; memory of a packet. The run is unknown.

    A chunk has whole orbits of one packet: about `rows` rows or fewer, unless a single orbit has more.
    ``n_orbits`` counts the empty ones of Run 3. Packets of Run 2 do not tell them, and it is None, or, with
    `count_empty`, the number of orbits that have a block. Orbits that were read before are left out.
    """
    quality, found = quality or ReadQuality(), found or Found()
    form = _form(path)
    with path.open("rb") as stream:
        for packet, skipped in form.split(stream):
            quality.bytes += len(packet) + skipped
            if skipped:
                found.add(Found(corrupt=1, corrupt_bytes=skipped))
                quality.damage(1, skipped)
            if not packet:
                continue
            orbits = form.find_orbits(packet)
            once = is_first(orbits.orbit)
            quality.duplicate_orbits += int(np.count_nonzero(~once))
            orbits = orbits.select(once)
            decoded = form.decode(orbits)
            part = decoded[MUON]
            flagged = np.union1d(part.flagged, orbits.flagged)
            now = replace(orbits.found, flagged=flagged.size)
            objects = count_decoded(decoded)
            now.add(Found(corrupt=part.corrupt, corrupt_bytes=part.corrupt_bytes, objects=objects))
            found.add(now)
            quality.damage(now.corrupt, now.corrupt_bytes)
            numbers = np.sort(orbits.orbit)
            new = quality.new_contents(numbers, orbit_checksums(part.objects, numbers))
            repeated = orbits.orbit[orbits.repeated]
            quality.marked_orbits += int(np.count_nonzero(np.isin(repeated, numbers[new])))
            muons = replace(part.objects, n_orbits=len(numbers))
            if not new.all():
                numbers = numbers[new]
                kept = np.flatnonzero(np.isin(muons.orbit, numbers))
                muons = muons.take(kept, n_orbits=len(numbers))
            muons = quality.flag(muons, np.intersect1d(flagged, numbers))
            if quality.skip_flagged:
                numbers = np.setdiff1d(numbers, flagged)
            muons = replace(muons, lumisection=lumisection(muons.orbit))
            for chunk in split_orbits(muons, numbers, rows):
                known = chunk.n_orbits if form.reports_empty_orbits or count_empty else None
                yield OrbitData.of_muons(replace(chunk, n_orbits=known), source=str(path))


def _form(path: Path) -> WireFormat:
    form = detect_packets(path)
    if form is None:
        msg = f"{path}: no DMA packets of Run 2 or Run 3 there"
        raise InputError(msg)
    return form


def describe_packets(path: Path) -> dict[str, Any]:
    """Return what a file of packets holds.

    Returns
    -------
    dict
        ``form`` ("run2" or "run3"); ``packets``, ``orbits`` and ``blocks`` that could be read;
        ``final_muons`` and ``intermediate_muons``; ``orbit`` and ``bx`` [first, last]; ``flagged_orbits``;
        ``duplicate_orbits``, which are left out; ``repeated_orbits`` with the content of an earlier one;
        ``corrupt`` stretches and ``corrupt_bytes``; ``counters`` of the last trailer (None if it has none).

    Raises
    ------
    InputError
        If there are no packets in it.
    """
    form = _form(path)
    found, quality, muons = Found(), ReadQuality(), [0, 0]
    orbits: list[int] = []
    bx: list[int] = []
    for events in read_dma(path, 1 << 20, quality, found):
        batch = events.muons
        quality.add(batch)
        final, intermediate = muon_counts(batch)
        muons = [muons[0] + final, muons[1] + (intermediate or 0)]
        if len(batch):
            orbits = _range([*orbits, int(batch.orbit.min()), int(batch.orbit.max())])
            bx = _range([*bx, int(batch.bx.min()), int(batch.bx.max())])
    return {
        "form": form.name,
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


def describe_capture(path: Path) -> dict[str, Any]:
    """Say what a link capture holds: pieces, orbits, and words and K words of each link (InputError)."""
    pieces, orbits, words, k_words = 0, [0, 0], np.zeros(8, np.int64), np.zeros(8, np.int64)
    for capture in read_captures(path):
        if not pieces:
            orbits[0] = capture.first_orbit
        orbits[1] = capture.first_orbit + capture.orbits - 1
        pieces += 1
        words += np.diff(capture.starts)
        k_words += np.diff(capture.k_starts)
    links = [{"link": n, "words": int(words[n]), "k_words": int(k_words[n])} for n in range(words.size)]
    return {"pieces": pieces, "orbit": orbits, "links": links}


def _range(values: list[int]) -> list[int]:
    return [min(values), max(values)]
