"""CPU time of decoding calorimeter objects, stubs and towers, beside plain numpy and memcpy.

    python benchmarks/streams.py [orbits per call]

Calorimeter records are those of the DMA (59 words), in each crossing that collides: 2544 in 2018, 2340
in 2024. All their jets, e/gamma objects, taus and sums become columns. No measured occupancy of these
streams is public: we take Poisson numbers of objects (6 jets, 9 e/gamma objects, 9 taus, 12 at most)
and, as "full", 12 of each in all 3564 crossings. Stubs are of 12 sources: four in the crossings with a
muon (5 % of all in 2018, 7 % assumed in 2024), and as many single ones; "busy" has five times that.
Towers: 300 in each crossing that collides. Values are random over their whole range.

Rounds alternate, so that all see the same machine, and the best of each counts: wall-clock time of one
thread. On a busy machine look at the ratios. The exit status is 1 if the decodes differ or a target is
missed.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import numpy_streams
from l1scout.cli.script import Parser, positive, run_script
from l1scout.core.orbit_batch import OrbitBatch
from l1scout.formats.payloads import Payloads
from l1scout.formats.stream import STREAMS, decode_streams, encode_source, streams_of_sources
from l1scout.lhc import BX_PER_ORBIT, colliding
from random_streams import columns_of

ROUNDS = 40
TARGETS = {"calorimeter 2018": 0.25, "calorimeter 2024": 0.25, "stubs 2018": 0.1, "stubs 2024": 0.1}
"""ms per orbit; CMSSW's unpacker of the calorimeter's orbits takes 0.5 ms."""
MEANS = {"jet": 6, "egamma": 9, "tau": 9}
Words = tuple[np.ndarray, np.ndarray, np.ndarray]


def objects(name: str, orbit: int, bx: np.ndarray, counts: np.ndarray, random: Any) -> OrbitBatch:
    """Return random objects of some crossings."""
    kept = counts > 0
    columns = columns_of(name, int(counts.sum()), random)
    return OrbitBatch(np.full(kept.sum(), orbit), bx[kept], np.r_[0, np.cumsum(counts[kept])], columns)


def calorimeter(orbits: int, bx: np.ndarray, random: Any, *, full: bool) -> Words:
    """Return the records of orbits, and the payload of each."""
    parts = []
    for orbit in range(orbits):
        counts = {
            n: np.minimum(random.poisson(99 if full else mean, bx.size), 12) for n, mean in MEANS.items()
        }
        counts["etsum"] = np.ones(bx.size, np.int64)
        batches = {n: objects(n, orbit, bx, c, random) for n, c in counts.items()}
        parts.append(encode_source(batches, 2)[0])
    return payloads(parts, [2] * orbits)


def stubs(orbits: int, bx: np.ndarray, share: float, random: Any) -> Words:
    """Return the stubs of muons in a share of all crossings, and as many single ones, of 12 sources."""
    parts, sources, stream = [], [], STREAMS["stub"]
    muons = round(share * BX_PER_ORBIT)
    for orbit in range(orbits):
        hit = np.sort(np.r_[np.repeat(random.choice(bx, muons), 4), random.choice(bx, 4 * muons)])
        when, counts = np.unique(hit, return_counts=True)
        batch = objects("stub", orbit, when, counts, random)
        parts += [stream.encode(batch, source)[0] for source in stream.source_ids]
        sources += stream.source_ids
    return payloads(parts, sources)


def towers(orbits: int, bx: np.ndarray, random: Any) -> Words:
    """Return 300 towers in each crossing."""
    counts = np.full(bx.size, 300)
    parts = [STREAMS["tower"].encode(objects("tower", k, bx, counts, random))[0] for k in range(orbits)]
    return payloads(parts, [32] * orbits)


def payloads(parts: list[np.ndarray], sources: list[int]) -> Words:
    """Put payloads one after the other."""
    return np.concatenate(parts), np.cumsum([0, *(p.size for p in parts)]), np.array(sources)


def plain(words: np.ndarray, bounds: np.ndarray, sources: np.ndarray) -> dict[str, dict[str, np.ndarray]]:
    """Decode with plain numpy."""
    if sources[0] == 2:
        return numpy_streams.decode_dma(words)
    if sources[0] == 32:
        found, _ = numpy_streams.decode_counted(words, numpy_streams.TOWER, 0xFFFFFFFF, 5760)
        return {"tower": found | {"hwPhi": found["hwPhi"] + 1}}
    every = [
        numpy_streams.decode_stubs(words[bounds[k] : bounds[k + 1]], source - 10)[0]
        for k, source in enumerate(sources.tolist())
    ]
    return {"stub": numpy_streams.in_order({n: np.concatenate([c[n] for c in every]) for n in every[0]})}


def measure(case: str, given: Words, orbits: int) -> bool:
    """Print a row of the table; whether both decodes agree and the target is reached."""
    streams = streams_of_sources(given[2][:1].tolist())
    copy = np.empty_like(given[0])
    works: list[Callable[[], Any]] = [
        lambda: decode_streams(streams, Payloads.of(*given)),
        lambda: plain(*given),
        lambda: np.copyto(copy, given[0]),
    ]
    best = [float("inf")] * len(works)
    for _ in range(ROUNDS):
        for k, work in enumerate(works):
            begun = time.perf_counter()
            work()
            best[k] = min(best[k], time.perf_counter() - begun)
    ours, numpy, memcpy = (1e3 * t / orbits for t in best)
    found, wanted, number = decode_streams(streams, Payloads.of(*given)), plain(*given), 0
    for name, (decoded, _) in found.items():
        number += decoded.objects.n_objects
        for column, values in decoded.objects.columns.items():
            if not np.array_equal(values, wanted[name][column]):
                print(f"{case}: {name}.{column} differs from plain numpy")
                return False
    target = TARGETS.get(case)
    verdict = "" if target is None else f"{target:9.2f}  {'reached' if ours <= target else 'MISSED'}"
    size = given[0].nbytes / orbits / 1e3
    times = f"{ours:9.3f}{numpy:9.2f}{numpy / ours:9.1f}{memcpy:9.3f}{verdict}"
    print(f"{case:18}{size:9.0f}{number / orbits:10.0f}{times}")
    return target is None or ours <= target


def main() -> int:
    """Print the table; exit status 1 if a target is missed or the decodes differ."""
    parser = Parser(__doc__)
    parser.add_argument("orbits", nargs="?", type=positive, default=1, help="orbits per call")
    n, random = parser.parse_args().orbits, np.random.default_rng(1)
    every, good = np.arange(1, BX_PER_ORBIT + 1), True
    print(f"{n} orbits per call, one thread, best of {ROUNDS}; times in ms per orbit")
    print(f"{'':18}{'kB':>9}{'objects':>10}{'l1scout':>9}{'numpy':>9}{'ratio':>9}{'memcpy':>9}{'target':>9}")
    for year, share in (("2018", 0.05), ("2024", 0.07)):
        bx = np.sort(colliding(year))
        good &= measure(f"calorimeter {year}", calorimeter(n, bx, random, full=False), n)
        good &= measure(f"stubs {year}", stubs(n, bx, share, random), n)
        good &= measure(f"stubs {year} busy", stubs(n, bx, 5 * share, random), n)
    good &= measure("calorimeter full", calorimeter(n, every, random, full=True), n)
    good &= measure("towers 2018", towers(n, np.sort(colliding("2018")), random), n)
    return 0 if good else 1


if __name__ == "__main__":
    run_script(main)
