"""Kill -9 of board, readout and store at random moments, many times; then the account must balance.

    python validation/kills.py [--kills 50] [--stall 32]

Starts the chain as its tests do, kills one process after the other at random moments, starts each again,
holds the connection to the store for longer than both sides wait (30 s), and at the end asks: does every
stage balance, does every file read back, is nothing stored twice?
"""

import random
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from rich.progress import track

from chain import Chain
from l1scout.cli.script import Parser, positive, positive_float, run_script
from l1scout.formats.wire_formats.run3 import RUN3
from l1scout.simulate.live_board import simulated_packets


def main() -> int:
    """Run it; 1 if something does not fit."""
    parser = Parser(__doc__)
    parser.add_argument("--kills", type=positive, default=50, help="of each process")
    parser.add_argument(
        "--stall", type=positive_float, default=32.0, help="seconds without a byte to the store"
    )
    parser.add_argument("--pace", type=positive_float, default=0.3, help="times the LHC")
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    random.seed(asked.seed)
    with tempfile.TemporaryDirectory(prefix="l1scout-kills-") as name:
        folder = Path(name)
        (folder / "packets.dat").write_bytes(simulated_packets(RUN3, 100, 0.05).getvalue())
        chain = Chain(folder, folder / "packets.dat", board__pace=asked.pace)
        try:
            chain.begin()
            chain.wait("store", "segments", 2)
            victims = [n for n in ("source", "readout", "store") for _ in range(asked.kills)]
            random.shuffle(victims)
            for victim in track(victims, "kills"):
                time.sleep(random.uniform(0.0, 1.5))
                chain.kill(victim)
                time.sleep(random.uniform(0.0, 0.5))
                chain.start(victim)
            # all three up again, and something new from end to end
            chain.wait(f"board-{chain.boards - 1}", "delivered", 500)
            chain.wait("readout", "orbits", 500)
            chain.wait("store", "segments", 2)
            chain.to_store.stalled.set()
            time.sleep(asked.stall)
            chain.to_store.stalled.clear()
            chain.wait("readout", "sent", chain.status("readout")["sent"] + 2)
            chain.finish()
            stages = chain.account()
        finally:
            chain.close()
    for stage in stages:
        counted = ", ".join(f"{n} {k:,}" for n, k in stage.counted.items() if k)
        print(f"{stage.name:24} in {stage.into:>9,}  out {stage.out:>9,}  {counted}")
    wrong = [f"{s.name}: {w}" for s in stages for w in s.wrong]
    survived = f"{3 * asked.kills} kills and {asked.stall:g} s of silence"
    print("\n".join(wrong) or f"balances after {survived}; every file reads back right")
    return bool(wrong)


if __name__ == "__main__":
    run_script(main)
