"""MP7 pattern files: what boards are tested with; of these, the final muons that a GMT sends are read."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from l1scout.core.orbit_batch import OrbitBatch
from l1scout.core.orbit_data import MUON, OrbitData
from l1scout.errors import InputError
from l1scout.formats import pattern
from l1scout.formats.streams.muon import MUON_2018
from l1scout.io.guard import guarded
from l1scout.io.input_file import InputFile
from l1scout.io.quality import ReadQuality
from l1scout.io.reader import READERS, FormatReader, origin
from l1scout.lhc import orbit_and_bx


class PatternReader(FormatReader):
    """Reads the final muons (links 0-3) of a pattern; rows are its crossings from BX 1 of orbit 0.

    Patterns are test vectors, so their muons are simulated.
    """

    name, title = "pattern", "MP7 pattern file"
    removes_duplicates = True  # a pattern is no time of a run

    def detect(self, file: InputFile) -> bool:
        """Return whether the text begins as a pattern does."""
        return file.is_text and file.lines[0].startswith(("Board ", "Frame "))

    def read(self, file: InputFile, rows: int, quality: ReadQuality) -> Iterator[OrbitData]:  # noqa: ARG002
        """Read final muons (InputError if it carries none: patterns of a GMT's input do not)."""
        words = _pattern(file).final_muons()
        if words is None:
            msg = f"{file.path}: no final muons on links 0-3 (a pattern of a GMT's input?)"
            raise InputError(msg)
        for start in range(0, len(words), rows):
            part = words[start : start + rows]
            present = (part >> np.uint64(10)) & np.uint64(511) > 0
            crossing, _ = np.nonzero(present)
            columns = MUON_2018.decode(part[present])
            columns.pop("reserved")
            counts = np.bincount(crossing, minlength=len(part))
            orbit, bx = orbit_and_bx(np.arange(start, start + len(part)))
            muons = OrbitBatch(orbit, bx, np.r_[0, np.cumsum(counts)], columns, simulated=True)
            yield OrbitData({MUON: muons}, None, origin(file))

    def describe(self, file: InputFile) -> dict[str, Any]:
        """Return board, frames and links, and what the final muons are."""
        found = _pattern(file)
        busy = [link for k, link in enumerate(found.links) if found.data[:, k].any()]
        carries_muons = found.final_muons() is not None
        out: dict[str, Any] = {
            "board": found.board,
            "frames": len(found.data),
            "valid_frames": int(found.valid.any(axis=1).sum()),
            "crossings": len(found.crossings()),
            "links": len(found.links),
            "links_with_data": busy,
            "final_muon_links": "0-3" if carries_muons else "none (a GMT's input?)",
        }
        return out | super().describe(file) if carries_muons else out


def _pattern(file: InputFile) -> pattern.Pattern:
    def parse() -> pattern.Pattern:
        with guarded(file.path):
            return pattern.parse(file.text("not a pattern file", largest=pattern.MAX_BYTES, encoding="ascii"))

    return file.once("pattern", parse)


READERS.register("pattern")(PatternReader())
