"""Files of packets of different sources, such as those of several boards: read as one, by the orbit."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from l1scout.core.orbit_data import OrbitData, final_only
from l1scout.errors import InputError
from l1scout.formats.streams.muon import MUONS
from l1scout.io.input_file import InputFile
from l1scout.io.quality import ReadQuality
from l1scout.io.reader import ROWS, reader_of
from l1scout.io.readers.dma_packets import (
    READER,
    CountsOfSources,
    join_parts,
    packet_format,
    packet_sources,
    source_parts,
)

_MUONS_OF = MUONS.source_ids[0]


def are_of_one_run(paths: Sequence[Path]) -> bool:
    """Return whether files hold packets of different sources, so that they can be read as one.

    Packets of a source in two of the files may be of different times: these are read one after the other.
    """
    if len(paths) < 2:
        return False
    seen: set[int] = set()
    for path in paths:
        try:
            with InputFile(path) as file:
                form = packet_format(file) if reader_of(file).name == READER else None
                if form is None or not form.reports_empty_orbits:
                    return False
                sources = packet_sources(file)
        except InputError:  # whoever reads it says what is wrong
            return False
        if sources == [None] and tuple(form.streams) != (MUONS.name,):
            return False  # such as Phase-2 events
        own = {_MUONS_OF if source is None else source for source in sources}
        if not seen.isdisjoint(own):
            return False
        seen |= own
    return True


def read_as_one(
    paths: Sequence[Path], quality: ReadQuality, *, rows: int = ROWS, intermediate: bool = False
) -> Iterator[OrbitData]:
    """Read files of packets of different sources, joined by the orbit; see `are_of_one_run`.

    Raises
    ------
    InputError
        If a file is missing or damaged.
    """
    with ExitStack() as stack:
        parts: dict[int | None, Iterator[OrbitData]] = {}
        for path in paths:
            found: CountsOfSources = {}
            parts |= source_parts(stack.enter_context(InputFile(path)), rows, quality, found)
            quality.files += 1
        for data in join_parts(parts, f"{len(paths)} files of packets"):
            yield data if intermediate else final_only(data)
