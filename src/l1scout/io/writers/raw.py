"""CMSSW's ``.raw`` files, with the frames of every source of the streams."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from l1scout.core.orbit_data import OrbitData
from l1scout.errors import InputError
from l1scout.formats.marks import origin_mark
from l1scout.formats.raw import (
    FILE_HEADER,
    FRAME_WORDS,
    file_header,
    first_words,
    sum_frames,
)
from l1scout.formats.records import ORBIT_MASK
from l1scout.formats.stream import encode_source
from l1scout.io.format_writer import WRITERS, FormatWriter, WriteJob, other_parts, unknown_orbits
from l1scout.io.lumisection_parts import lumisection_parts
from l1scout.io.quality import covered_orbits
from l1scout.io.record_columns import as_recorded, lost_in_records, recorded_sources, recorded_streams
from l1scout.lhc import lumisection

_MAX_RUN = 1 << 32


class RawWriter(FormatWriter):
    """Writes ``.raw`` files of one run: for each orbit a frame of every source, empty ones too.

    Sources are those that `Stream.sources` names: objects of the calorimeter in the form of its DMA (source
    id 2), stubs in all twelve sources. Columns that the data do not have are 0, ``hwChargeValid`` is 1.
    """

    name, title, suffixes = "raw", "CMSSW .raw", (".raw",)

    def losses(self, data: OrbitData, options: Mapping[str, Any]) -> Iterator[str]:  # noqa: ARG002
        """Name columns that have no place in records, and orbits whose numbers are not known."""
        yield from lost_in_records(data)
        yield from unknown_orbits(OrbitData(recorded_streams(data)))
        yield from other_parts(data)

    def write(self, chunks: Iterator[OrbitData], target: Path, job: WriteJob) -> None:
        """Write a file; its header comes last, when its size is known."""
        with target.open("wb") as out:
            out.write(bytes(FILE_HEADER.itemsize))
            run, first, frames = _write_frames(chunks, out, job.run_number, target)
            size = out.tell()
            out.seek(0)
            out.write(file_header(run, first, frames, size))


def _write_frames(
    chunks: Iterable[OrbitData], out: BinaryIO, given: int | None, target: Path
) -> tuple[int, int, int]:
    """Write the frames of data; the run, the first lumisection and the number of frames."""
    run, first, frames = None, 1, 0
    for section in lumisection_parts(chunks):
        now = given if given is not None and section.run == 0 else section.run
        run, first = (now, section.lumisection) if run is None else (run, first)
        if now != run or not 0 <= now < _MAX_RUN:
            path = target.with_suffix("")
            msg = f"{path}: a .raw file holds one run, not {run} and {now}: write each by itself"
            raise InputError(msg)
        words, n = orbit_frames(section.data, run, target.with_suffix(""))
        out.write(words)
        frames += n
    return run or 0, first, frames


def orbit_frames(data: OrbitData, run: int, target: Path) -> tuple[bytes, int]:
    """Return the frames of data, orbit by orbit and source by source, and their number.

    Raises
    ------
    InputError
        If a value does not fit its field, or a crossing has more objects than a record can hold.
    """
    held = {name: as_recorded(name, batch) for name, batch in recorded_streams(data).items()}
    of_orbit: dict[int, list[NDArray[np.uint32]]] = {}
    mark = np.array([origin_mark(data.simulated)], np.uint32)
    for source, names in recorded_sources(held).items():
        orbits = np.unique(np.concatenate([covered_orbits(held[name]) for name in names]))
        try:
            words, crossings, starts = encode_source({name: held[name] for name in names}, source)
        except ValueError as error:
            msg = f"{target}: source id {source}: {error}"
            raise InputError(msg) from error
        bounds = (
            starts[np.searchsorted(crossings.orbit, orbits)],
            starts[np.searchsorted(crossings.orbit, orbits, "right")],
        )
        for orbit, low, high in zip(orbits.tolist(), *(b.tolist() for b in bounds), strict=True):
            frame = np.empty(FRAME_WORDS + high - low, np.uint32)
            block = int(lumisection(orbit))
            frame[:FRAME_WORDS] = [
                *(int(first_words(mark)[0]), run, block, orbit & ORBIT_MASK, 4 * (1 + high - low), 0),
                source,
            ]
            frame[FRAME_WORDS:] = words[low:high]
            sum_frames(frame, np.array([0, frame.size]))
            of_orbit.setdefault(orbit, []).append(frame)
    frames = [frame for orbit in sorted(of_orbit) for frame in of_orbit[orbit]]
    return b"".join(frame.tobytes() for frame in frames), len(frames)


WRITERS.register("raw")(RawWriter())
