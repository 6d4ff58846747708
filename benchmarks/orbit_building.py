"""CPU time of orbit building: muons, 4 calorimeter sources and 12 of stubs, beside the decoding alone.

    python benchmarks/orbit_building.py [orbits]

The orbits are simulated as in 2018 (`l1scout.simulate.activity`: a toy) and repeated with later numbers.
To be joined and decoded alone, each source gives its payloads, 16 to 48 orbits at a time, differently from
source to source; a segment has all orbits of a source. Four things are timed, one thread, in turn, best of
several rounds:

- join: the numbers of all sources put together, with the account (`OrbitBuilder`): what a builder that passes
  payloads on would do;
- decode: the objects of all sources, without building;
- build: the frames of ``.raw`` segments joined, and decoded to one `OrbitData` per batch (`build_data`);
- read: the frames found in the bytes of segments, with their checksums: what comes before building.

The LHC has an orbit every 88.9 us. Orbits are independent, so two processes build twice as many. The memory
is the growth of the process's peak while many more orbits are built. The exit status is 1 if the objects that
are built are not those that went in.
"""

import resource
import time
from collections.abc import Iterable, Iterator, Mapping
from io import BytesIO

import numpy as np

from l1scout.cli.script import Parser, positive, run_script
from l1scout.core.orbit_batch import OrbitBatch
from l1scout.core.orbit_data import OrbitData, Origin
from l1scout.formats.frame_table import FrameTable, split_tables
from l1scout.formats.packets import Trailer
from l1scout.formats.raw import FILE_HEADER, read_header
from l1scout.formats.raw_segments import decode_payloads
from l1scout.formats.records import ORBIT_MASK
from l1scout.formats.stream import STREAMS, encode_source, streams_of_sources
from l1scout.formats.wire_formats.objects import OBJECT_PACKETS, encode_packet
from l1scout.io.built_data import ORBITS, BuildAccount, build_data
from l1scout.io.frame_parts import FRAMES, FramePart
from l1scout.io.input_file import HEAD
from l1scout.io.orbit_building import Fragments, OrbitBuilder
from l1scout.lhc import ORBIT_FREQUENCY_HZ
from l1scout.simulate.all_streams import simulate_streams

SOURCES = (1, *range(10, 22), *range(22, 26))
STREAM_NAMES = ("muon", "jet", "egamma", "etsum", "tau", "stub")
ROUNDS = 7
SIMULATED_MARK = 2
SEGMENTS: dict[int, bytes] = {}
PARTS: dict[int, list[FramePart]] = {}
SIMULATED = 16
Payload = tuple[np.ndarray, np.ndarray, np.ndarray]
Chunk = tuple[int, np.ndarray, np.ndarray, np.ndarray]


def payloads() -> dict[int, Payload]:
    """Return for each source the words of the simulated orbits, their bounds, and places of orbit words."""
    chunks = list(simulate_streams(1, SIMULATED, STREAM_NAMES))
    made = {}
    for source in SOURCES:
        words, bounds, places, at = [], [0], [], 0
        for data in chunks:
            part, rows, starts = encode_source(data.streams, source)
            name = streams_of_sources([source])[0].name
            filled = np.diff(starts) > 0  # stubs: crossings without any of this sector have no record
            places.append(at + starts[:-1][filled] + STREAMS[name].orbit_word(source))
            first = data.muons.first_orbit or 0
            ends = np.searchsorted(rows.orbit, np.arange(first, first + (data.muons.n_orbits or 0)), "right")
            bounds += (at + starts[ends]).tolist()
            words.append(part)
            at += part.size
        made[source] = np.concatenate(words), np.array(bounds), np.concatenate(places)
    return made


def chunks_of(
    source: int, payload: Payload, orbits: int
) -> Iterator[tuple[int, np.ndarray, np.ndarray, np.ndarray]]:
    """Yield first orbit, numbers, words and bounds of chunks: a pass or a few of the simulated orbits."""
    words, bounds, places = payload
    passes = 1 + source % 3
    for first in range(0, orbits, passes * SIMULATED):
        n = min(passes, (orbits - first) // SIMULATED)
        many = np.tile(words, n)
        for k in range(n):
            moved = many[k * words.size + places] + np.uint32(first + k * SIMULATED)
            many[k * words.size + places] = moved & np.uint32(ORBIT_MASK)
        edges = np.concatenate([[0], *(bounds[1:] + k * words.size for k in range(n))])
        yield first, np.arange(first, first + n * SIMULATED), many, edges


def decoded(source: int, number: np.ndarray, words: np.ndarray, bounds: np.ndarray) -> OrbitData:
    """Return the objects of a chunk."""
    parts = decode_payloads(streams_of_sources([source]), words, bounds, source)
    return OrbitData({name: part.objects.with_orbits(number) for name, part in parts.items()})


def join(prepared: Mapping[int, Iterable[Chunk]], orbits: int) -> None:
    """Put numbers together."""
    builder, seen = OrbitBuilder(SOURCES, at_least=ORBITS), 0
    left = {source: iter(chunks) for source, chunks in prepared.items()}
    while (source := builder.behind()) is not None:
        chunk = next(left[source], None)
        built = (
            builder.end(source)
            if chunk is None
            else builder.step(Fragments.of(source, chunk[1], chunk, 4 * chunk[2].size))
        )
        seen += sum(one.orbit.size for one in built)
    assert seen == builder.complete == orbits


def decode(prepared: Mapping[int, Iterable[Chunk]], orbits: int) -> None:
    """Decode the objects of all sources."""
    del orbits
    for source, chunks in prepared.items():
        for _, number, words, bounds in chunks:
            decoded(source, number, words, bounds)


def segment(source: int, chunks: Iterable[Chunk]) -> bytes:
    """Return chunks as a ``.raw`` file."""
    bodies, orbits = list[bytes](), 0
    for _, number, words, bounds in chunks:
        edges = zip(number.tolist(), bounds[:-1].tolist(), bounds[1:].tolist(), strict=True)
        packet = encode_packet(
            source, [(n, SIMULATED_MARK, words[a:b], 0) for n, a, b in edges], Trailer(0, 0, 0)
        )
        framed = OBJECT_PACKETS.frame(OBJECT_PACKETS.find_orbits(memoryview(packet)), 1, source)
        bodies.append(framed.words.tobytes())
        orbits += number.size
    size = sum(map(len, bodies)) + FILE_HEADER.itemsize
    return OBJECT_PACKETS.segment_header(1, 1, orbits, size) + b"".join(bodies)


def frames(data: bytes) -> list[FramePart]:
    """Find the frames of a ``.raw`` file, as `io.frame_parts.read_frame_parts` does."""
    header, file, parts = read_header(data[:HEAD]), BytesIO(data), list[FramePart]()
    assert header
    file.seek(FILE_HEADER.itemsize)
    for table in split_tables(file, header):
        assert isinstance(table, FrameTable)
        cuts = range(0, table.orbit.size, FRAMES)
        some = (table.select(slice(first, first + FRAMES)) for first in cuts)
        parts += [FramePart(one, header, Origin("benchmark")) for one in some]
    return parts


def read(prepared: Mapping[int, Iterable[Chunk]], orbits: int) -> None:
    """Find the frames of all segments."""
    del orbits
    for source in prepared:
        frames(SEGMENTS[source])


def _parts(source: int, chunks: Iterable[Chunk]) -> Iterator[FramePart]:
    """Return the frames of chunks, found before if they were."""
    if source in PARTS and isinstance(chunks, list):
        return iter(PARTS[source])
    return (part for chunk in chunks for part in frames(segment(source, [chunk])))


def build(prepared: Mapping[int, Iterable[Chunk]], orbits: int) -> dict[str, int]:
    """Decode and join; return the objects of each stream."""
    account, objects = BuildAccount(), dict.fromkeys(STREAM_NAMES, 0)
    sources = {source: _parts(source, chunks) for source, chunks in prepared.items()}
    for data in build_data(sources, account=account):
        for name, batch in data.streams.items():
            objects[name] += batch.n_objects
    assert account.complete == account.orbits == orbits
    return objects


def peak_mb() -> float:
    """Return the peak of the memory of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def expected(orbits: int) -> dict[str, int]:
    """Return the objects of each stream that go in."""
    total = dict.fromkeys(STREAM_NAMES, 0)
    for data in simulate_streams(1, SIMULATED, STREAM_NAMES):
        for name in STREAM_NAMES:
            batch: OrbitBatch = data.streams[name]
            total[name] += batch.n_objects * orbits // SIMULATED
    return total


def main() -> int:
    """Measure and print."""
    parser = Parser(__doc__)
    parser.add_argument("orbits", type=positive, nargs="?", default=480)
    orbits = parser.parse_args().orbits // SIMULATED * SIMULATED or SIMULATED
    payload = payloads()
    prepared = {s: list(chunks_of(s, payload[s], orbits)) for s in SOURCES}
    bytes_per_orbit = sum(4 * words.size for words, _, _ in payload.values()) / SIMULATED
    print(f"{orbits} orbits, {len(SOURCES)} sources, {bytes_per_orbit / 1e3:.0f} kB an orbit")
    for source, chunks in prepared.items():
        SEGMENTS[source] = segment(source, chunks)
        PARTS[source] = frames(SEGMENTS[source])
    best: dict[str, float] = {}
    for _ in range(ROUNDS):
        for what in (join, decode, build, read):
            start = time.process_time()
            what(prepared, orbits)
            best[what.__name__] = min(best.get(what.__name__, np.inf), time.process_time() - start)
    for name, seconds in best.items():
        per_orbit = seconds / orbits
        factor = 1 / (per_orbit * ORBIT_FREQUENCY_HZ)
        speed = f"{factor:6.2f} x LHC on one core, {2 * factor:.2f} on two"
        print(f"{name:7} {1e6 * per_orbit:7.1f} us an orbit: {speed}")
    before = peak_mb()
    lazily = {s: chunks_of(s, payload[s], 10 * orbits) for s in SOURCES}
    found = build(lazily, 10 * orbits)
    grown = peak_mb() - before
    print(f"memory: peak {before:.0f} MB, {grown:+.0f} MB after {10 * orbits} more orbits")
    same = found == expected(10 * orbits)
    print("objects: " + ("as they went in" if same else f"{found} instead of {expected(10 * orbits)}"))
    return 0 if same else 1


if __name__ == "__main__":
    run_script(main)
