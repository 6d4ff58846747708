"""Pairs of muons on one core, within a crossing and across two: M muons/s beside awkward and numpy.

    python benchmarks/analysis.py [orbits]

Rounds are interleaved, so that all see the same machine; the best of each counts. Muons are simulated,
7 % of the colliding BX having one or more. The peers find the same pairs; the last rows show that
the time a muon does not grow with the number of muons.
"""

import time
from collections.abc import Callable

import awkward as ak
import numpy as np
from numpy.typing import NDArray

from l1scout.analysis.common.kernels import coincidences, neighbours, pairs
from l1scout.cli.script import Parser, positive, run_script
from l1scout.core.orbit_batch import concatenate
from l1scout.lhc import crossing
from l1scout.simulate.run import Running, simulate_run

ROUNDS = 7
REACH = 2
TARGET = 20e6


def awkward_pairs(offsets: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Find pairs within a row with awkward-array."""
    index = ak.Array(
        ak.contents.ListOffsetArray(ak.index.Index64(offsets), ak.contents.NumpyArray(np.arange(offsets[-1])))
    )
    first, second = ak.unzip(ak.combinations(index, 2))
    return ak.flatten(first).to_numpy(), ak.flatten(second).to_numpy()


def numpy_neighbours(at: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Find pairs 1 to `REACH` crossings apart with searchsorted."""
    begin, end = np.searchsorted(at, at - REACH), np.searchsorted(at, at)
    second = np.repeat(np.arange(at.size), end - begin)
    start = np.r_[0, np.cumsum(end - begin)[:-1]]
    return np.arange(second.size) - np.repeat(start - begin, end - begin), second


def main() -> int:
    """Print the table; exit status 1 if a target is missed or a peer differs."""
    parser = Parser(__doc__)
    parser.add_argument("orbits", nargs="?", type=positive, default=4000, help="orbits to simulate")
    orbits = parser.parse_args().orbits
    running = Running(intermediate=0)
    muons = concatenate([p.muons for p in simulate_run(1, orbits, running=running, chunk=200)])
    at = crossing(muons.orbit, muons.bx)[muons.row]
    kind = np.zeros(at.size, np.int64)
    few = int(np.searchsorted(muons.offsets, at.size // 8))
    works: dict[str, tuple[Callable[[], object], int]] = {
        "pairs in a crossing": (lambda: pairs(muons.offsets), at.size),
        "  awkward.combinations": (lambda: awkward_pairs(muons.offsets), at.size),
        "pairs 1 to 2 BX apart": (lambda: neighbours(at, 1, REACH), at.size),
        "  numpy.searchsorted": (lambda: numpy_neighbours(at), at.size),
        "coincidences within 10 BX": (lambda: coincidences(at, at, 10, kind, 1), at.size),
        "pairs, an eighth of the muons": (lambda: pairs(muons.offsets[: few + 1]), int(muons.offsets[few])),
        "1 to 2 BX, an eighth": (lambda: neighbours(at[: at.size // 8], 1, REACH), at.size // 8),
    }
    best = dict.fromkeys(works, float("inf"))
    for _ in range(ROUNDS):
        for name, (work, _) in works.items():
            start = time.perf_counter()
            work()
            best[name] = min(best[name], time.perf_counter() - start)
    rate = {name: n / best[name] for name, (_, n) in works.items()}
    print(f"{at.size / 1e6:.2f} M muons of {orbits} simulated orbits, one core, best of {ROUNDS}")
    peer = {"pairs in a crossing": "  awkward.combinations", "pairs 1 to 2 BX apart": "  numpy.searchsorted"}
    for name, r in rate.items():
        ratio = f"  {r / rate[peer[name]]:.1f} x {peer[name].strip()}" if name in peer else ""
        print(f"{name:32}{r / 1e6:8.1f} M muons/s{ratio}")
    same = all(
        np.array_equal(a, b) for a, b in zip(pairs(muons.offsets), awkward_pairs(muons.offsets), strict=True)
    )
    same &= all(
        np.array_equal(a, b) for a, b in zip(neighbours(at, 1, REACH), numpy_neighbours(at), strict=True)
    )
    if not same:
        print("the kernels and their peers differ")
        return 1
    missed = [name for name in peer if rate[name] < TARGET]
    print(
        f"below {TARGET / 1e6:.0f} M muons/s: {', '.join(missed)}"
        if missed
        else "both reach the 20 M muons/s asked for"
    )
    return int(bool(missed))


if __name__ == "__main__":
    run_script(main)
