"""Peak memory of the commands that go through data, with some orbits and with four times as many.

    python benchmarks/memory.py [--orbits 5000]

Each command runs as a process of its own; its peak is what the system has counted (`ru_maxrss`). The data
are simulated: a ``.raw`` file with muons in 5 % of the crossings, 6 kB an orbit. Commands that make or read
words of links, 0.7 MB an orbit, have a tenth of these orbits, those that need all streams, 0.7 MB too,
8 %. Commands on pairs of L1 and offline muons have ten of them for an orbit. Libraries and buffers do
not take the same at every size, so a command fails if it grows by more than a third of what its input has
grown by, and by more than 64 MB. The processes of the live chain are in `benchmarks/readout.py`. Exit status
1 if a command grows, or fails.
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from l1scout.cli.script import Parser, positive, run_script
from l1scout.core.orbit_data import OrbitData, Origin
from l1scout.io.format_writer import write_data
from l1scout.simulate.run import simulate_run

TIMES = 4
LINKS, STREAMS, PAIRS = 0.1, 0.08, 10
"""Orbits of links and of all streams, and pairs of muons, for an orbit of muons."""
SHARE, LEAST_MB = 1 / 3, 64
OWN = '[[algorithm]]\nname = "Pair"\nexpression = "comb{MU5, MU3}[OS]"\n'


class Case(NamedTuple):
    """A command; `{name}` in its words is a file, a folder or a number.

    Parameters
    ----------
    words : str
    reads : str
        Whose size is the input's: what is read, or, where nothing is, what is written.
    status : tuple of int
        Exit statuses of success.
    """

    words: str
    reads: str = "raw"
    status: tuple[int, ...] = (0,)


ANALYSES = ("luminosity", "occupancy", "filling", "firing", "cosmics", "masses", "livetime")
CASES = [
    *(Case(f"analyse {name} {{raw}}") for name in ANALYSES),
    Case("analyse correlations {raw} --objects muon"),
    Case("analyse menu {raw} --menu {own}"),
    Case("menu try {own} {raw}"),
    Case("quality {raw}", status=(0, 1)),
    Case("inspect {raw}"),
    Case("skim {raw} {skimmed} --when MU10 --window 2 --drop"),
    Case("convert {raw} {archive}"),
    Case("convert {archive} {back}", "archive"),
    Case("analyse occupancy {archive}", "archive"),
    Case("convert {raw} {nano} --zstd --hardware --drop"),
    Case("convert {nano} {set} --to parquet-dataset", "nano"),
    Case("analyse occupancy {nano}", "nano"),
    Case("analyse occupancy {set}", "set"),
    Case("convert {set} {flat} --to flat-table --drop", "set"),
    Case("simulate run --orbits {links_orbits} --out {links}", "links"),
    Case("board {links}/links.l1l --out {packets}", "links"),
    Case("analyse occupancy {packets}", "packets"),
    Case("simulate streams --orbits {streams_orbits} --pile-up 5 --out {boards}", "boards"),
    Case("convert {boards} {all} --to raw --drop", "boards"),
    Case("analyse correlations {all}", "all"),
    Case("analyse slow {all}", "all"),
    Case("convert {all} {streams} --to parquet-dataset --drop", "all"),
    Case("dataset --pairs {pairs} --out {pairs_file}", "pairs_file"),
    Case("train --data {pairs_file} --out {model} --epochs 1 --in-memory 0", "pairs_file"),
    Case("evaluate --data {pairs_file} --model {model} --out {page}", "pairs_file"),
    Case("recalibrate --model {model} {nano} {nano2}", "nano"),
]
SUFFIXES = {
    "raw": ".raw",
    "archive": ".parquet",
    "back": ".raw",
    "nano": ".root",
    "nano2": ".root",
    "own": ".toml",
}
SUFFIXES |= {
    "flat": ".parquet",
    "skimmed": ".raw",
    "packets": ".dat",
    "all": ".raw",
    "pairs_file": ".parquet",
}
SUFFIXES |= {"page": ".html"}


def prepare(folder: Path, orbits: int) -> dict[str, str]:
    """Write what is there before the commands, and return the names for their words."""
    names = {word for case in CASES for word in re.findall(r"{(\w+)}", case.words)}
    known = {name: str(folder / (name + SUFFIXES.get(name, ""))) for name in sorted(names)}
    known |= {"links_orbits": str(int(LINKS * orbits)), "streams_orbits": str(int(STREAMS * orbits))}
    known |= {"pairs": str(PAIRS * orbits)}
    pieces = simulate_run(1, orbits, chunk=100)
    made = (OrbitData({"muon": piece.muons}, None, Origin("simulated run")) for piece in pieces)
    write_data(made, known["raw"], "raw", drop=True)
    Path(known["own"]).write_text(OWN)
    return known


def peak_mb(words: list[str], status: tuple[int, ...]) -> float:
    """Run a command, and return its peak memory (ValueError if it fails)."""
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen([sys.executable, "-m", "l1scout", *words], stdout=said, stderr=said)
        _, code, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(code)
        if process.returncode not in status:
            said.seek(0)
            msg = f"exit status {process.returncode}: {said.read().decode(errors='replace')[-600:]}"
            raise ValueError(msg)
    return usage.ru_maxrss / 1024


def size_mb(path: Path) -> float:
    """Return the size of a file, or of all files in a folder."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(f.stat().st_size for f in files if f.is_file()) / 1e6


def main() -> int:
    """Print the table; exit status 1 if a command grows with its input, or fails."""
    parser = Parser(__doc__)
    parser.add_argument("--orbits", type=positive, default=5000, help="of muons, the smaller number")
    given = parser.parse_args()
    bad = 0
    print(f"{'MB':52}{'input':>8}{'peak':>7}{f'{TIMES} x':>8}{'peak':>7}{'growth':>8}", flush=True)
    with tempfile.TemporaryDirectory() as name:
        known = []
        for number in (given.orbits, TIMES * given.orbits):
            folder = Path(name) / str(number)
            folder.mkdir()
            known.append(prepare(folder, number))
        for case in CASES:
            try:
                peaks = [peak_mb(case.words.format(**k).split(), case.status) for k in known]
            except ValueError as error:
                print(f"{case.words:52} {error}", flush=True)
                bad += 1
                continue
            sizes = [size_mb(Path(k[case.reads])) for k in known]
            growth = peaks[1] - peaks[0]
            grows = growth > max(LEAST_MB, SHARE * (sizes[1] - sizes[0]))
            bad += grows
            print(
                f"{case.words:52}{sizes[0]:8.1f}{peaks[0]:7.0f}{sizes[1]:8.1f}{peaks[1]:7.0f}{growth:8.0f}"
                f"{'  GROWS' if grows else ''}",
                flush=True,
            )
    return int(bad > 0)


if __name__ == "__main__":
    run_script(main)
