"""``.raw`` files, as CMSSW and l1scout's readout write them, plain or compressed."""

from collections.abc import Iterator

from l1scout.core.orbit_data import OrbitData
from l1scout.formats.stream import STREAMS
from l1scout.io.input_file import InputFile
from l1scout.io.quality import ReadQuality
from l1scout.io.reader import READERS
from l1scout.io.stored import StoredContent, StoredReader, is_raw, read_raw


class RawReader(StoredReader):
    """Reads ``.raw`` files; see `l1scout.io.stored.read_raw`."""

    name, title = "raw", "CMSSW .raw"
    streams = tuple(STREAMS)
    counts_orbits = True

    def detect(self, file: InputFile) -> bool:
        """Return whether the content begins with the header of a ``.raw`` file."""
        return is_raw(file)

    def read_content(
        self, file: InputFile, rows: int, quality: ReadQuality, found: StoredContent
    ) -> Iterator[OrbitData]:
        """Read muons, and note what the file holds."""
        return read_raw(file, rows, quality, found)


READERS.register("raw")(RawReader())
