"""CPU time of the main conversions of all streams, each beside a library of the field in the same run.

    python benchmarks/convert.py [crossings] [rounds]

The sample is a ``.raw`` file of muons, jets, e/gamma objects, taus, sums, towers, stubs and decisions of
the Global Trigger: the same number of crossings of each, with one to four objects (one sum), random over
the whole range of their fields, which is the worst case for compression. Rates are of the bytes of the
``.raw`` file, and of its objects. The peers: `pyarrow` writes (or reads) the same columns as one Parquet
file per stream; `uproot` writes (or reads) the same branches with the same compression; `cp` copies the
bytes. Where a peer writes, it
has the columns in memory and need not read them from anywhere; nor does any peer keep which orbits were seen.

Times are of the processor, all threads; rounds alternate, and the best of each counts. On a busy machine look
at the ratios. The exit status is 1 if a conversion has lost an object.
"""

import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import awkward as ak
import pyarrow as pa
import pyarrow.parquet as pq
import uproot

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from l1scout.cli.script import Parser, positive, run_script
from l1scout.core.orbit_batch import OrbitBatch, final_muons
from l1scout.io.convert import convert
from l1scout.io.format_writer import write_data
from stream_files import every

NANO = {"hardware": True, "zstd": True}


class Case(NamedTuple):
    """A conversion, and what its peer does."""

    title: str
    source: Path
    target: Path
    options: dict[str, Any]
    peer: str
    work: Callable[[], object]


def write_parquet(batches: Mapping[str, OrbitBatch], folder: Path) -> None:
    """Write a table of objects for each stream, as data sets have them."""
    folder.mkdir(exist_ok=True)
    for name, batch in batches.items():
        rows = {"orbit": batch.orbit[batch.row], "bx": batch.bx[batch.row].astype("int16")}
        pq.write_table(pa.table(rows | dict(batch.columns)), folder / f"{name}.parquet", compression="zstd")


def read_all(path: Path) -> list[Any]:
    """Read all tables of a data set."""
    return [pq.read_table(file, partitioning=None) for file in path.rglob("*.parquet")]


def write_root(batches: Mapping[str, OrbitBatch], path: Path, *, rntuple: bool = False) -> None:
    """Write the objects of each stream as lists by crossing, a tree (or an RNTuple) each."""
    with uproot.recreate(path, compression=uproot.ZSTD(5)) as file:
        for name, batch in batches.items():
            columns = {n: ak.unflatten(c, batch.counts) for n, c in batch.columns.items()}
            rows = {"orbitNumber": batch.orbit, "bunchCrossing": batch.bx}
            if rntuple:
                file.mkrntuple(name, ak.zip({**rows, **columns}, depth_limit=1))
            else:
                file[name] = {**rows, name: ak.zip(columns)}


def read_root(path: Path) -> object:
    """Read all branches."""
    with uproot.open(path) as file:
        return file["Events"].arrays()


def cases(folder: Path, batches: Mapping[str, OrbitBatch]) -> list[Case]:
    """Return the conversions, in an order in which their sources are made."""
    raw, data_set, nano = folder / "s.raw", folder / "set", folder / "nano.root"
    rntuple, packets, archive = folder / "rntuple.root", folder / "x.packets", folder / "a.parquet"

    def copy() -> object:
        return shutil.copyfile(raw, folder / "copy")

    return [
        Case(".raw to data set", raw, data_set, {}, "pyarrow writes",
             lambda: write_parquet(batches, folder / "peer")),
        Case("data set to .raw", data_set, folder / "b.raw", {}, "pyarrow reads", lambda: read_all(data_set)),
        Case(".raw to nano, TTree", raw, nano, NANO, "uproot writes",
             lambda: write_root(batches, folder / "peer.root")),
        Case(".raw to nano, RNTuple", raw, rntuple, NANO | {"name": "scouting-nano-rntuple"}, "uproot writes",
             lambda: write_root(batches, folder / "peer2.root", rntuple=True)),
        Case("nano to data set", nano, folder / "set2", {}, "uproot reads", lambda: read_root(nano)),
        Case(".raw to packets", raw, packets, {"drop": True}, "cp", copy),
        Case("packets to data set", packets, folder / "set3", {}, "pyarrow writes",
             lambda: write_parquet(batches, folder / "peer")),
        Case(".raw to archive", raw, archive, {}, "cp", copy),
    ]  # fmt: skip


def seconds(work: Callable[[], object]) -> float:
    """Return the CPU time of some work."""
    begun = time.process_time()
    work()
    return time.process_time() - begun


def main() -> int:
    """Print the table; exit status 1 if objects were lost."""
    parser = Parser(__doc__)
    parser.add_argument("crossings", nargs="?", type=positive, default=50_000, help="of each stream")
    parser.add_argument("rounds", nargs="?", type=positive, default=3)
    given = parser.parse_args()
    data = every(1, rows=given.crossings, orbits=max(given.crossings // 1000, 20))
    data = data.with_muons(final_muons(data.muons))
    objects, good = sum(batch.n_objects for batch in data.streams.values()), True
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_data([data], folder / "s.raw")
        size = (folder / "s.raw").stat().st_size
        print(f".raw file of {size / 1e6:.1f} MB, {objects:,} objects; best of {given.rounds}, CPU time")
        print(f"{'':24}{'MB/s':>8}{'Mobj/s':>8}{'CPU s':>8}  {'peer':16}{'CPU s':>8}{'ours/peer':>11}")
        for case in cases(folder, data.streams):
            ours, peers = [], []
            for _ in range(given.rounds):
                done: Any = None

                def work(case: Case = case) -> None:
                    nonlocal done
                    done = convert([case.source], case.target, **case.options)

                ours.append(seconds(work))
                peers.append(seconds(case.work))
            kept = sum(done.objects.values())
            whole = done.copied is not None or kept == objects
            good &= whole
            best, peer = min(ours), max(min(peers), 1e-9)
            print(
                f"{case.title:24}{size / 1e6 / best:8.1f}{objects / 1e6 / best:8.2f}{best:8.2f}"
                f"  {case.peer:16}{peer:8.2f}{best / peer:11.1f}{'' if whole else '  LOST'}",
                flush=True,
            )
    return 0 if good else 1


if __name__ == "__main__":
    run_script(main)
