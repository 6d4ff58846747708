"""Frames of one source, which are decoded when sources are joined: all of a stream's sources at once."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from l1scout.core.orbit_data import Origin
from l1scout.errors import InputError
from l1scout.formats.frame_table import FrameTable
from l1scout.formats.raw import FILE_HEADER, Frame, RawFile, split_raw
from l1scout.io.input_file import InputFile
from l1scout.io.quality import ReadQuality
from l1scout.io.reader import origin
from l1scout.io.stored import raw_header

FRAMES = 64
MAX_BYTES = 1 << 26
"""Frames of a part at most, and bytes from which on it is passed on."""


@dataclass(frozen=True)
class FramePart:
    """Some frames of a file.

    Parameters
    ----------
    table : FrameTable
    header : RawFile
        Of their file.
    origin : Origin
    """

    table: FrameTable
    header: RawFile
    origin: Origin

    @property
    def orbit(self) -> NDArray[np.int64]:
        """Orbit of each frame."""
        return self.table.orbit

    @property
    def size(self) -> int:
        """Bytes of all frames."""
        return int(self.table.size.sum())


def read_frame_parts(paths: Iterable[Path], source: int, quality: ReadQuality) -> Iterator[FramePart]:
    """Read the frames of a source in ``.raw`` files, one after the other, in constant memory.

    Frames of other sources are left out; damaged stretches are left out and counted.

    Raises
    ------
    InputError
        If a file is missing or not a ``.raw`` file.
    """
    for path in paths:
        with InputFile(path) as file, file.content() as content:
            header = raw_header(file)
            if header is None or len(content.read(FILE_HEADER.itemsize)) < FILE_HEADER.itemsize:
                msg = f"{path}: not a .raw file"
                raise InputError(msg)
            quality.files += 1
            held, size = list[Frame](), 0
            for part in split_raw(content, header):
                quality.bytes += len(part) if isinstance(part, bytes) else part.stop - part.start
                if isinstance(part, bytes) or part.source != source:
                    continue
                held.append(part)
                size += len(part.records)
                if len(held) == FRAMES or size >= MAX_BYTES:
                    yield FramePart(FrameTable.of(held), header, origin(file))
                    held, size = [], 0
            if held:
                yield FramePart(FrameTable.of(held), header, origin(file))
            quality.damage(header.corrupt, header.corrupt_bytes)
            quality.missing_orbits += header.missing_orbits
