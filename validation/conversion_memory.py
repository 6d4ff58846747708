"""Peak memory of writing and of reading formats of scouting data, of some orbits and of three times as many.

    python validation/conversion_memory.py [chunks] [format ...]

Each chunk has 20 orbits with 4000 crossings of muons, jets and towers (of other streams where the format
holds only these). The peak of a pass is taken after one of a third of the data has filled the buffers;
what it has grown by since is printed beside the size, as columns, of the added data. Allocators keep
some memory, and buffers of formats go up to some MiB, so only a growth with the data means something: compare
two numbers of chunks. Linux only.
"""

import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from l1scout.cli.script import Parser, positive, run_script
from l1scout.core.orbit_batch import final_muons
from l1scout.core.orbit_data import OrbitData
from l1scout.io.convert import read_inputs
from l1scout.io.format_writer import WRITERS, write_data
from l1scout.io.quality import ReadQuality
from stream_files import every, path_of

ORBITS, ROWS = 20, 4000
NAMES = {"records": ["muon"], "native64": ["puppi"], "native64-tkmuon": ["tkmuon"]}
NANO = {"hardware": True, "zstd": True}
OPTIONS = {"scouting-nano": NANO, "scouting-nano-rntuple": NANO}
MIB = 1 << 20


class Growth(NamedTuple):
    """Bytes of the data that were added, and by how much the peaks of writing and reading have grown."""

    data: int
    writing: int
    reading: int


def chunks(writer: str, number: int) -> Iterator[OrbitData]:
    """Yield data that a writer can hold: the same objects again and again, in later orbits."""
    names = NAMES.get(writer, ["muon", "jet", "tower"])
    data = every(1, names, rows=ROWS, orbits=ORBITS, first_orbit=0)
    if "muon" in data.streams:
        data = data.with_muons(final_muons(data.muons))
    for k in range(number):
        streams = {
            name: replace(batch, orbit=batch.orbit + ORBITS * k, first_orbit=ORBITS * k)
            for name, batch in data.streams.items()
        }
        yield replace(data, streams=streams)


def size_of(data: OrbitData) -> int:
    """Return the bytes of the columns of data."""
    return sum(column.nbytes for batch in data.streams.values() for column in batch.columns.values())


def peak(work: Callable[[], object]) -> int:
    """Return the most memory that the process has while it works, in bytes."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    work()
    line = next(x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith("VmHWM"))
    return 1024 * int(line.split()[1])


def read(target: Path) -> None:
    """Read a file, or a data set, as conversions do."""
    manifest = target / "_l1scout.json" if target.is_dir() else target
    for _ in read_inputs([manifest], ReadQuality(), rows=ROWS):
        pass


def growth(writer: str, number: int, folder: Path) -> Growth:
    """Measure a format; flat tables are not read."""
    peaks = []
    for n in (number // 3, number):
        path = folder / str(n)
        path.mkdir()
        target, options = path_of(path, writer), OPTIONS.get(writer, {})

        def write(n: int = n, target: Path = target, options: dict[str, bool] = options) -> None:
            write_data(chunks(writer, n), target, writer, drop=True, **options)

        written = peak(write)

        def read_back(target: Path = target) -> None:
            if writer != "flat-table":
                read(target)

        back = peak(read_back)
        peaks.append((written, back))
    added = (number - number // 3) * size_of(next(chunks(writer, 1)))
    return Growth(added, *(many - few for few, many in zip(*peaks, strict=True)))


def main() -> None:
    """Print the table."""
    parser = Parser(__doc__)
    parser.add_argument("chunks", nargs="?", type=positive, default=180)
    parser.add_argument("formats", nargs="*", default=list(WRITERS))
    given = parser.parse_args()
    print(f"{'MiB':24}{'data added':>12}{'writing':>12}{'reading':>12}")
    for name in given.formats:
        with tempfile.TemporaryDirectory() as folder:
            found = growth(WRITERS.find(name).name, given.chunks, Path(folder))
        print(f"{name:24}" + "".join(f"{n / MIB:12.1f}" for n in found), flush=True)


if __name__ == "__main__":
    run_script(main)
