"""All faults at random in a running chain; then every orbit must be stored as it was, or counted.

    python validation/chaos.py [--minutes 10] [--pace 0.3] [--seed 1]
    python validation/chaos.py --kills 300

Board, readout and store run on this machine; the muons of every orbit are known. Processes are killed,
stopped and cut off, bits are flipped on the way and in files, the spool and the catalogue are lost, the disk
fills, unknown clients connect: each fault at a random moment. At the end the run is stopped, and the store is
compared with the truth, orbit by orbit: each is there once with its own muons, or is counted as lost. With
``--kills N`` there is nothing but N times kill -9 of board, readout and store in turn.
"""

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from chain import COMMAND, RUN, Chain
from l1scout.cli.script import Parser, positive, positive_float, run_script
from orbit_truth import Comparison, OrbitTruth, compare

LENGTH = 100
KILLED = ("source", "readout", "store")
DISK_BYTES = 3 << 30


class Chaos:
    """A chain and what can happen to it; each fault is over when its function returns.

    Parameters
    ----------
    chain : Chain
    seed : int
    only : str
        Faults whose name has this in it.
    """

    def __init__(self, chain: Chain, seed: int, only: str = "") -> None:
        self.chain, self.random, self._only = chain, random.Random(seed), only
        self.count: Counter[str] = Counter()

    def faults(self) -> dict[str, Callable[[], None]]:
        """Return the faults by name."""
        every = {
            **{f"kill -9 of {name}": lambda name=name: self.kill(name) for name in KILLED},
            **{f"{name} stopped for a while": lambda name=name: self.freeze(name) for name in KILLED},
            "kill -9 of a compression worker": self.kill_worker,
            "clean restart of the store": self.restart_store,
            "connection of the board cut": self.chain.to_readout.cut,
            "connection of the store cut": self.chain.to_store.cut,
            "connection of the store stalls": self.stall,
            "bit flipped on the way to the store": self.flip_on_the_way,
            "bit flipped in a segment of the spool": lambda: self.flip_in_spool("*.raw"),
            "bit flipped in a note of the spool": lambda: self.flip_in_spool("*.json"),
            "spool lost": self.lose_spool,
            "catalogue lost, made again from the files": self.lose_catalogue,
            "bit flipped in the catalogue, made again": self.damage_catalogue,
            "disk of the store full": self.fill_disk,
            "unknown clients": self.unknown_clients,
            "second store on the same folder": self.second_store,
        }
        return {name: hurt for name, hurt in every.items() if self._only in name}

    def pause(self, most: float) -> None:
        """Let the chain work for a random time."""
        time.sleep(self.random.uniform(0.0, most))

    def kill(self, name: str) -> None:
        """Kill a process, and start it again after a while."""
        self.chain.kill(name)
        self.pause(0.5)
        self.chain.start(name)

    def freeze(self, name: str) -> None:
        """Stop a process for a while."""
        self.chain.freeze(name)
        self.pause(2.0)
        self.chain.thaw(name)

    def kill_worker(self) -> None:
        """Kill a process that compresses."""
        with contextlib.suppress(psutil.NoSuchProcess):
            store = psutil.Process(self.chain.processes["store"].pid)
            workers = [p for p in store.children(recursive=True) if "spawn_main" in " ".join(p.cmdline())]
            if workers:
                self.random.choice(workers).kill()

    def restart_store(self) -> None:
        """End the store, and start it again after a while."""
        self.chain.stop("store")
        self.pause(0.5)
        self.chain.start("store")

    def stall(self) -> None:
        """Let nothing through to the store for a while."""
        self.chain.to_store.hold(after=self.random.randrange(1 << 20))
        self.pause(3.0)
        self.chain.to_store.release()

    def flip_on_the_way(self) -> None:
        """Flip a bit of what comes next to the store."""
        proxy = self.chain.to_store
        proxy.flip_at = proxy.passed + self.random.randrange(1 << 16)

    def flip_in_spool(self, pattern: str) -> None:
        """Flip a bit of a file that waits; the store is held so that one does."""
        self.chain.to_store.hold()
        self.pause(2.0)
        spool = Path(str(self.chain.settings["readout.spool"]))
        waiting = sorted(p for p in spool.glob(pattern) if (spool / p.name.removesuffix(".json")).exists())
        if waiting:
            self.flip(self.random.choice(waiting))
        self.chain.to_store.release()

    def flip(self, path: Path) -> None:
        """Flip a random bit of a file, in place."""
        with contextlib.suppress(FileNotFoundError), path.open("r+b") as file:
            at = self.random.randrange(max(path.stat().st_size, 1))
            file.seek(at)
            old = file.read(1)
            file.seek(at)
            file.write(bytes([old[0] ^ 1 << self.random.randrange(8)]) if old else b"")

    def lose_spool(self) -> None:
        """Kill readout and delete its spool, as when its machine is started again."""
        self.chain.kill("readout")
        shutil.rmtree(str(self.chain.settings["readout.spool"]), ignore_errors=True)
        self.pause(0.5)
        self.chain.start("readout")

    def lose_catalogue(self) -> None:
        """Delete the catalogue of a killed store, and make it again."""
        self.chain.kill("store")
        for path in (self.chain.folder / "store").glob("catalogue.sqlite*"):
            path.unlink()
        self.rebuild()

    def damage_catalogue(self) -> None:
        """Flip a bit of the catalogue of a killed store, and make it again."""
        self.chain.kill("store")
        self.flip(self.chain.folder / "store" / "catalogue.sqlite")
        self.rebuild()

    def rebuild(self) -> None:
        """Make the catalogue again from the files, and start the store."""
        command = [*COMMAND, "store", "--rebuild", *self.chain.over()]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        self.chain.start("store")

    def fill_disk(self) -> None:
        """Fill the store's disk, if it is a small one of its own; some seconds later there is room again."""
        store, ballast = self.chain.folder / "store", self.chain.folder / "store" / "ballast"
        if not store.is_mount():
            return
        with contextlib.suppress(OSError), ballast.open("wb") as file:
            while True:
                file.write(bytes(1 << 20))
        self.pause(3.0)
        ballast.unlink()

    def unknown_clients(self) -> None:
        """Connect, and send random bytes to the store."""
        for _ in range(20):
            port = self.random.choice((self.chain.readout_port, self.chain.store_port))
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1) as client:
                if port == self.chain.store_port:  # whoever may connect to readout is a board
                    client.sendall(self.random.randbytes(self.random.randrange(1000)))

    def second_store(self) -> None:
        """Start another store on the same folder, which must refuse it."""
        command = [*COMMAND, "store", *self.chain.over(**{"store.listen": "127.0.0.1:0"})]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.returncode == 2, done.stderr

    def one(self, name: str) -> None:
        """Let a fault happen, and count it."""
        self.faults()[name]()
        self.count[name] += 1


def finish(chain: Chain) -> int:
    """Bring all processes up, let new orbits through to the store, stop; return the orbits that passed."""
    for name in ("store", "readout", "source"):
        if chain.processes[name].poll() is not None:
            chain.start(name)
    chain.wait(f"board-{chain.boards - 1}", "delivered", 500)
    chain.wait_more("readout", "orbits", 500)
    chain.wait_more("store", "segments", 2)
    chain.finish()
    board = chain.board()
    return int(board["first_orbit"] + board["delivered"] + board["dropped"])


def kills(chaos: Chaos, times: int) -> None:
    """Kill one process after the other."""
    victims = [KILLED[k % len(KILLED)] for k in range(times)]
    chaos.random.shuffle(victims)
    for k, victim in enumerate(victims):
        chaos.pause(1.0)
        chaos.one(f"kill -9 of {victim}")
        if k % 20 == 19:
            print(f"{k + 1} kills", file=sys.stderr)


def everything(chaos: Chaos, minutes: float) -> None:
    """Let all faults happen at random; every one a first time, then as it comes."""
    end, told = time.monotonic() + 60 * minutes, time.monotonic()
    first = list(chaos.faults())
    chaos.random.shuffle(first)
    while time.monotonic() < end:
        chaos.pause(1.0)
        chaos.one(first.pop() if first else chaos.random.choice(list(chaos.faults())))
        if time.monotonic() > told + 30:
            told = time.monotonic()
            readout = chaos.chain.status("readout")
            print(f"{end - told:.0f} s left, orbit {readout.get('last_orbit', -1):,}", file=sys.stderr)


@contextlib.contextmanager
def small_disk(folder: Path):
    """Mount a RAM disk for the store, if this user may; it can be filled."""
    folder.mkdir()
    options = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES},mode=700", "tmpfs", str(folder)]
    mounted = os.geteuid() == 0 and subprocess.run(options, capture_output=True).returncode == 0
    try:
        yield
    finally:
        if mounted:
            subprocess.run(["umount", "-l", folder], check=True)


def report(chain: Chain, chaos: Chaos, found: Comparison, passed: int, seed: int) -> list[str]:
    """Print what happened and what became of the orbits; return what is wrong."""
    print(f"\nseed {seed}\n\n| fault | times |\n|---|---|")
    for name, n in sorted(chaos.count.items()):
        print(f"| {name} | {n} |")
    stages = chain.account()
    print("\n| stage | orbits in | out | counted |\n|---|---|---|---|")
    for stage in stages:
        counted = ", ".join(f"{n} {k:,}" for n, k in stage.counted.items() if k)
        print(f"| {stage.name} | {stage.into:,} | {stage.out:,} | {counted} |")
    wrong = [*found.wrong, *(f"{s.name}: {w}" for s in stages for w in s.wrong)]
    print(
        f"\n{passed:,} orbits passed: {found.stored:,} stored with their own muons, {found.counted:,} counted"
    )
    print("\n".join(wrong) or "every orbit is stored as it was, or counted")
    return wrong


def main() -> int:
    """Run it; 1 if an orbit is neither stored as it was nor counted."""
    parser = Parser(__doc__)
    parser.add_argument("--minutes", type=positive_float, default=10.0)
    parser.add_argument("--kills", type=positive, help="number of kill -9, and no other fault")
    parser.add_argument("--only", default="", help="faults whose name has this in it")
    parser.add_argument("--pace", type=positive_float, default=0.3, help="times the LHC's rate")
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    truth = OrbitTruth(asked.seed, LENGTH)
    with tempfile.TemporaryDirectory(prefix="l1scout-chaos-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        (folder / "packets.dat").write_bytes(truth.packets)
        with small_disk(folder / "store"):
            chain = Chain(
                folder,
                folder / "packets.dat",
                gated=False,
                forked=True,
                multiple=LENGTH,
                board__pace=asked.pace,
                readout__segment_orbits=2048,
                readout__segment_seconds=5,
            )
            chaos = Chaos(chain, asked.seed, asked.only)
            try:
                chain.start("store", "readout", "source")
                chain.wait("store", "segments", 1)
                kills(chaos, asked.kills) if asked.kills else everything(chaos, asked.minutes)
                passed = finish(chain)
                found = compare(truth, folder / "store", RUN, passed)
                wrong = report(chain, chaos, found, passed, asked.seed)
                if wrong:
                    print(chain.logs(), file=sys.stderr)
            finally:
                for process in chain.processes.values():
                    process.send_signal(signal.SIGCONT)
                chain.close()
    return bool(wrong)


if __name__ == "__main__":
    run_script(main)
