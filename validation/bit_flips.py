"""A million random bit flips in packets, segments, notes and stores: every orbit is as it was, or counted.

python validation/bit_flips.py [--flips 1000000] [--seed 1] [--processes 2]
"""

import multiprocessing
import sys
import tempfile
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from bit_flips import KINDS
from l1scout.cli.script import Parser, positive, run_script
from l1scout.readout.spool import default_folder

PARTS = {"packets": 0.1, "segments": 0.03, "stores": 0.07, "notes": 0.8}
"""Of the flips."""
_AT_ONCE = 5_000


def flip(job: tuple[str, int, int]) -> tuple[str, Counter[str], str]:
    """Do some flips in files on the RAM disk; return the kind, what was seen and what is wrong."""
    kind, flips, seed = job
    with tempfile.TemporaryDirectory(prefix="l1scout-flips-", dir=default_folder().parent) as folder:
        try:
            return kind, KINDS[kind](flips, seed, Path(folder)), ""
        except AssertionError as error:
            return kind, Counter(), f"{kind}, seed {seed}: {error or 'assertion'}"


def main() -> int:
    """Flip and print; 1 if an orbit is neither stored as it was nor counted."""
    parser = Parser(__doc__)
    parser.add_argument("--flips", type=positive, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=positive, default=2)
    asked = parser.parse_args()
    jobs = []
    for kind, part in PARTS.items():
        left = round(asked.flips * part)
        while left > 0:
            jobs.append((kind, min(left, _AT_ONCE), 1000 * asked.seed + len(jobs)))
            left -= _AT_ONCE
    seen, wrong = {kind: Counter[str]() for kind in PARTS}, list[str]()
    with multiprocessing.get_context("spawn").Pool(asked.processes) as pool:
        for kind, found, fault in pool.imap_unordered(flip, jobs):
            seen[kind] += found
            wrong += [fault] if fault else []
            print(f"{kind}: {seen[kind]['flips']:,} flips {fault}", file=sys.stderr)
    print(f"seed {asked.seed}\n\n| in | what | times |\n|---|---|---|")
    for kind, found in seen.items():
        for what, n in found.items():
            print(f"| {kind} | {what} | {n:,} |")
    print("\n" + ("\n".join(wrong) or "every orbit is stored as it was, or counted"))
    return bool(wrong)


if __name__ == "__main__":
    run_script(main)
