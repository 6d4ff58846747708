"""The compact archive: what a ``.raw`` file holds, as Parquet."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from l1scout.core.orbit_data import OrbitData
from l1scout.io.archive import to_parquet
from l1scout.io.format_writer import WRITERS, FormatWriter, WriteJob
from l1scout.io.writers.raw import RawWriter


class ArchiveFileWriter(FormatWriter):
    """Writes an archive, by way of a ``.raw`` file beside it, which is removed."""

    name, title, suffixes = "archive", "compact archive (Parquet)", (".parquet",)
    options: ClassVar[Mapping[str, str]] = {
        "plain": "keep hwEta and hwPhi as columns: a third larger, for other readers",
    }

    def losses(self, data: OrbitData, options: Mapping[str, Any]) -> Iterator[str]:
        """Name what a ``.raw`` file cannot hold."""
        return RawWriter().losses(data, options)

    def write(self, chunks: Iterator[OrbitData], target: Path, job: WriteJob) -> None:
        """Write an archive."""
        stored = target.with_name(target.name + ".raw")
        try:
            RawWriter().write(chunks, stored, job)
            to_parquet(stored, target, plain=bool(job.options.get("plain")), made=job.made)
        finally:
            stored.unlink(missing_ok=True)


WRITERS.register("archive")(ArchiveFileWriter())
