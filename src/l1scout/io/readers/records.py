"""Files of zero-suppressed records without frames, plain or compressed."""

from collections.abc import Iterator

from l1scout.core.orbit_data import OrbitData
from l1scout.io.input_file import InputFile
from l1scout.io.quality import ReadQuality
from l1scout.io.reader import READERS
from l1scout.io.stored import StoredContent, StoredReader, read_records, records_of


class RecordsReader(StoredReader):
    """Reads bare records; see `l1scout.io.stored.read_records`."""

    name, title = "records", "zero-suppressed records"
    order = 1

    def detect(self, file: InputFile) -> bool:
        """Return whether the content begins with records."""
        return records_of(file) is not None

    def read_content(
        self, file: InputFile, rows: int, quality: ReadQuality, found: StoredContent
    ) -> Iterator[OrbitData]:
        """Read muons, and note what the file holds."""
        return read_records(file, rows, quality, found)


READERS.register("records")(RecordsReader())
