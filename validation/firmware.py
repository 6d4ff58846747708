"""The whole way of a firmware model, with the time of each step: train, build, simulate, report.

    python validation/firmware.py FLOAT_MODEL DATA OUT [--muons 100000]

Prints what the commands print, and the seconds. Needs the extra ``firmware``, Verilator and Icarus.
"""

import subprocess
import sys
import time
from pathlib import Path

from l1scout.cli.script import Parser, positive, run_script


def main() -> None:
    """Run the commands one after the other; stop at the first that fails."""
    parser = Parser(__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--muons", type=positive, default=100_000)
    given = parser.parse_args()
    model, rtl = given.out / "fw", given.out / "rtl"
    float_model = ["--model", given.model, "--data", given.data]
    steps = {
        "train": ["train", *float_model, "--out", model],
        "build": ["build", model, "--out", rtl],
        "simulate": ["simulate", model, rtl, "--muons", given.muons, "--build", given.out / "programs"],
        "report": ["report", model, rtl, *float_model, "--out", given.out / "page"],
        "hls": ["hls", model, "--out", given.out / "hls"],
    }
    seconds = {}
    for name, words in steps.items():
        print(f"\n# l1scout firmware {name}", flush=True)
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "l1scout", "firmware", *map(str, words)], check=True)
        seconds[name] = time.perf_counter() - start
    print("\n" + ", ".join(f"{name} {s:.0f} s" for name, s in seconds.items()))
    print(f"all: {sum(seconds.values()) / 60:.1f} minutes")


if __name__ == "__main__":
    run_script(main)
