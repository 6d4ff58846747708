"""Bandwidth of decoding 64-bit muon words into columns, beside memcpy and a plain numpy decode.

    python benchmarks/decode.py [millions of words]

Rounds are interleaved, so that all see the same machine; the best of each counts. A decode reads 8
bytes a word and writes ten int16 columns, 20 bytes; ordinary stores read those 20 bytes first, so that
at best 16 / 48 = 0.33 of memcpy's bandwidth (which stores past the caches) can be reached, counted in
bytes of words. Memory is reused from round to round: first touches of pages are the kernel's work, and
are shown apart, for memcpy too.
"""

import time
from collections.abc import Callable

import numpy as np

from l1scout.cli.script import Parser, positive_float, run_script
from l1scout.formats.streams.muon import MUON_2018

ROUNDS = 25
TARGET = 0.25
NAMES = [f.name for f in MUON_2018.fields if f.name != "reserved"]


def plain_numpy(words: np.ndarray, out: np.ndarray) -> np.ndarray:
    """Decode as one would by hand: shift, mask, sign; a whole column at a time."""
    for k, name in enumerate(NAMES):
        f = MUON_2018[name]
        value = (words >> np.uint64(f.start)) & np.uint64((1 << f.width) - 1)
        sign = np.uint64(f.signed << (f.width - 1))
        out[k] = ((value ^ sign) - sign).astype(np.int64)
    return out


def main() -> int:
    """Print the table; exit status 1 if decoding is below the target."""
    parser = Parser(__doc__)
    parser.add_argument("millions", nargs="?", type=positive_float, default=4.0, help="millions of words")
    n = int(parser.parse_args().millions * 1e6)
    words = np.random.default_rng(1).integers(0, 1 << 63, n, dtype=np.uint64)
    copy, ours, plain = np.empty_like(words), np.empty((10, n), np.int16), np.empty((10, n), np.int16)
    works: dict[str, Callable[[], object]] = {
        "memcpy": lambda: np.copyto(copy, words),
        "l1scout decode": lambda: MUON_2018.decode(words, NAMES, out=ours),
        "plain numpy decode": lambda: plain_numpy(words, plain),
        "memcpy, new memory": words.copy,
        "l1scout decode, new memory": lambda: MUON_2018.decode(words, NAMES),
    }
    best = dict.fromkeys(works, float("inf"))
    for _ in range(ROUNDS):
        for name, work in works.items():
            start = time.perf_counter()
            work()
            best[name] = min(best[name], time.perf_counter() - start)
    if not np.array_equal(ours, plain):
        print("the two decodes differ")
        return 1
    print(f"{n} words of 64 bits into {len(NAMES)} int16 columns, one thread, best of {ROUNDS}")
    print(f"{'':28}{'Mwords/s':>10}{'GB/s read':>11}{'of memcpy':>11}{'GB/s moved':>12}")
    for name, t in best.items():
        peer = best["memcpy, new memory" if name.endswith("new memory") else "memcpy"]
        moved = words.nbytes * 2 if name.startswith("memcpy") else words.nbytes + ours.nbytes
        rates = f"{n / t / 1e6:10.0f}{words.nbytes / t / 1e9:11.2f}{peer / t:11.3f}{moved / t / 1e9:12.2f}"
        print(f"{name:28}{rates}")
    ratio = best["memcpy"] / best["l1scout decode"]
    verdict = "reaches" if ratio >= TARGET else "BELOW"
    print(f"decode / memcpy = {ratio:.3f} in bytes of words: {verdict} {TARGET}")
    print(f"decode / plain numpy = {best['plain numpy decode'] / best['l1scout decode']:.1f}")
    return 0 if ratio >= TARGET else 1


if __name__ == "__main__":
    run_script(main)
