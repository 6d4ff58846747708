"""Frames of one source, which are decoded when sources are joined: all of a stream's sources at once."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from l1scout.core.orbit_data import Origin
from l1scout.errors import InputError
from l1scout.formats.frame_table import FrameTable, split_tables
from l1scout.formats.raw import FILE_HEADER, Frame, RawFile
from l1scout.io.input_file import InputFile
from l1scout.io.quality import ReadQuality
from l1scout.io.reader import origin
from l1scout.io.stored import raw_header

FRAMES = 64
MAX_BYTES = 1 << 26
"""Frames of a part at most, and bytes from which on those beside damage are passed on."""


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


def _tables(parts: Iterable[FrameTable | Frame | bytes], quality: ReadQuality) -> Iterator[FrameTable]:
    """Give frames as tables, and count the bytes that were read."""
    held, size = list[Frame](), 0
    for part in parts:
        if isinstance(part, FrameTable):
            quality.bytes += part.file_bytes
        else:
            quality.bytes += len(part) if isinstance(part, bytes) else part.stop - part.start
            if isinstance(part, Frame):
                held.append(part)
                size += len(part.records)
        if held and (isinstance(part, FrameTable) or len(held) == FRAMES or size >= MAX_BYTES):
            yield FrameTable.of(held)
            held, size = [], 0
        if isinstance(part, FrameTable):
            yield part
    if held:
        yield FrameTable.of(held)


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
            for table in _tables(split_tables(content, header), quality):
                own = table if np.all(table.source == source) else table.select(table.source == source)
                for first in range(0, own.orbit.size, FRAMES):
                    yield FramePart(own.select(slice(first, first + FRAMES)), header, origin(file))
            quality.damage(header.corrupt, header.corrupt_bytes)
            quality.missing_orbits += header.missing_orbits
