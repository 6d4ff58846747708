"""The matrix of conversions: every source to every target, and what is lost on the way.

``python tests/conversion_matrix.py docs/convert.md`` writes it into the page.
"""

import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from conftest import Truth, write_edm
from front_end import Keep, make_run, through_board
from l1scout.core.orbit_batch import OrbitBatch, concatenate, final_muons
from l1scout.core.orbit_data import OrbitData
from l1scout.errors import InputError
from l1scout.io.convert import convert, read_inputs
from l1scout.io.format_writer import write_data
from l1scout.io.quality import ReadQuality
from stream_files import every

NOTHING = "nothing can be written"
BEGIN, END = "<!-- matrix: made by tests/conversion_matrix.py -->", "<!-- end of the matrix -->"
TARGETS = {
    "raw": ("x.raw", "raw", {}),
    "records": ("x.dat", "records", {}),
    "archive": ("x.parquet", "archive", {}),
    "nano": ("x.root", "scouting-nano", {}),
    "nano `--hardware`": ("h.root", "scouting-nano", {"hardware": True}),
    "RNTuple `--hardware`": ("r.root", "scouting-nano-rntuple", {"hardware": True}),
    "data set": ("set", "parquet-dataset", {}),
    "flat table": ("f.parquet", "flat-table", {}),
    "packets": ("x.packets", "packets", {}),
    "`native64`": ("x.native64", "native64", {}),
    "`native64-tkmuon`": ("x.native64mu", "native64-tkmuon", {}),
}
"""Title, name of the file, writer and options."""


@dataclass
class Conversion:
    source: str
    target: str
    lost: list[str]
    before: OrbitData
    after: OrbitData | None
    """None for flat tables, which are not read back, and where nothing can be written."""


def make_sources(folder: Path) -> dict[str, Path]:
    """Write a file of each format, with all that such files hold."""
    data = every(1)
    final = data.with_muons(final_muons(data.muons))
    muons, phase_2 = every(2, names=["muon"]), {"rows": 400, "orbits": 12}
    _, captures, _ = make_run(orbits=30, chunk=10)
    sink = Keep()
    through_board(captures, sink=sink)
    (folder / "packets.dat").write_bytes(sink.bytes.getvalue())
    writes = {
        "raw": ("raw", data, {}),
        "records": ("records", muons, {}),
        "archive": ("archive", data, {}),
        "nano": ("scouting-nano", final, {}),
        "nano `--hardware`": ("scouting-nano", final, {"hardware": True}),
        "RNTuple `--hardware`": ("scouting-nano-rntuple", final, {"hardware": True}),
        "data set": ("parquet-dataset", data, {}),
        "data set, Phase 2": ("parquet-dataset", every(3, names=["puppi", "tkmuon"], **phase_2), {}),
        "packets": ("packets", data, {}),
        "`native64`": ("native64", every(4, names=["puppi"], **phase_2), {}),
        "`native64-tkmuon`": ("native64-tkmuon", every(5, names=["tkmuon"], **phase_2), {}),
    }
    paths = {}
    for number, (name, (writer, given, options)) in enumerate(writes.items()):
        paths[name] = folder / f"source{number}"
        write_data([given], paths[name], writer, drop=True, **options)
    write_edm(folder / "orbits.root", Truth())
    return {**paths, "DMA packets": folder / "packets.dat", "OrbitCollection": folder / "orbits.root"}


def read(path: Path) -> OrbitData:
    """Read a file as `convert` does."""
    path = path / "_l1scout.json" if path.is_dir() else path
    chunks = list(read_inputs([path], ReadQuality()))
    names = chunks[0].streams
    return OrbitData({name: concatenate([chunk.streams[name] for chunk in chunks]) for name in names})


def conversions(folder: Path, sources: dict[str, Path]) -> list[Conversion]:
    """Convert every source to every target."""
    done = []
    for source, path in sources.items():
        before = read(path)
        for target, (name, writer, options) in TARGETS.items():
            try:
                found = convert([path], folder / name, writer, drop=True, **options)
            except InputError as error:
                if "the input has nothing else" not in str(error):
                    raise
                done.append(Conversion(source, target, [NOTHING], before, None))
                continue
            after = None if writer == "flat-table" else read(folder / name)
            done.append(Conversion(source, target, found.lost, before, after))
    return done


def check(conversion: Conversion) -> None:
    """Compare what came back with what was not said to be lost."""
    lost, after = set(conversion.lost), conversion.after
    if after is None:
        return
    for name, batch in conversion.before.streams.items():
        if f"stream {name}" in lost:
            assert name not in after.streams
            continue
        found = after.streams[name]
        if name == "muon" and "intermediate muons" in lost:
            batch = final_muons(batch)
        batch, found = (b.take(np.flatnonzero(b.counts), n_orbits=b.n_orbits) for b in (batch, found))
        if "run" in lost:
            found = replace(found, run=batch.run)
        if "lumisections that do not follow from the orbit" in lost:
            found = replace(found, lumisection=batch.lumisection)
        compare(batch, found, lost, name)


def compare(batch: OrbitBatch, found: OrbitBatch, lost: set[str], name: str) -> None:
    for part in ("run", "lumisection", "orbit", "bx", "offsets"):
        np.testing.assert_array_equal(getattr(found, part), getattr(batch, part), err_msg=part)
    for column in batch.columns:
        if not any(loss.startswith(f"{name}.{column}") for loss in lost) and column != "intermediate":
            np.testing.assert_array_equal(found[column], batch[column], err_msg=column)
    if "number of orbits" not in lost and not any(loss.startswith(f"orbits without {name}") for loss in lost):
        assert found.n_orbits == batch.n_orbits


def table(done: list[Conversion]) -> str:
    """Return the matrix in Markdown: numbers stand for what is lost, which is listed below."""
    losses: dict[str, int] = {}
    cells: dict[tuple[str, str], str] = {}
    for conversion in done:
        text = ", ".join(f"`{loss}`" if "." in loss else loss for loss in conversion.lost)
        if text == NOTHING:
            cells[conversion.source, conversion.target] = "-"
            continue
        if text:
            losses.setdefault(text, len(losses) + 1)
        cells[conversion.source, conversion.target] = f"({losses[text]})" if text else "all"
    lines = [f"| from | {' | '.join(TARGETS)} |", "|---" * (len(TARGETS) + 1) + "|"]
    lines += [
        f"| {source} | {' | '.join(cells[source, target] for target in TARGETS)} |"
        for source in dict.fromkeys(conversion.source for conversion in done)
    ]
    return "\n".join([*lines, "", *(f"{number}. {text}" for text, number in losses.items())])


def matrix_of(folder: Path) -> tuple[str, list[Conversion]]:
    """Make the matrix."""
    done = conversions(folder, make_sources(folder))
    return table(done), done


def in_page(page: Path, matrix: str) -> str:
    """Return a page with the matrix in its place."""
    before, _, rest = page.read_text("utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{matrix}\n{END}{after}"


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        made, _ = matrix_of(Path(scratch))
    Path(sys.argv[1]).write_text(in_page(Path(sys.argv[1]), made), "utf-8")
