"""Compress a stored segment, check what was written, and read it back."""

import bz2
import os
import tempfile
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
from crc32c import crc32c

from l1scout.core.provenance import DataLabel, Provenance, is_simulated
from l1scout.errors import InputError, ScoutingError
from l1scout.files import checksum, sync_folder
from l1scout.model.card import model_record
from l1scout.store.catalogue import Stored

if TYPE_CHECKING:
    from l1scout.deploy.recalibrate import Recalibrator

MAX_BYTES = 2 << 30
"""Of a segment whose note does not state its size."""
SUFFIX = {"zstd": ".zst", "bzip2": ".bz2", "parquet": ".parquet"}


class ChangedError(ScoutingError, OSError):
    """A file that is not what it was when it was stored."""


@dataclass(frozen=True)
class Method:
    """How segments are kept.

    Parameters
    ----------
    name : str
        ``zstd`` or ``bzip2``, which ``zstd -d`` and ``bunzip2`` open, or ``parquet``, the compact
        archive of `l1scout.io.archive`.
    level : int
        Of zstd (1..19) and bzip2 (1..9).
    model : Path, optional
        Model directory: archives get columns with the recalibrated values beside the trigger's own.
    engine : str
        What computes them; see `l1scout.deploy.engine.create_engine`.
    """

    name: str
    level: int = 3
    model: Path | None = None
    engine: str = "fused"

    @property
    def on_arrival(self) -> bool:
        """Whether segments are compressed before they are acknowledged: as they came, they are never kept.

        A model may take longer than a readout waits for its answer.
        """
        return self.name == "parquet" and self.model is None

    def check(self) -> None:
        """Load the model (InputError if it cannot be used, or if there is no column for its values)."""
        if self.model is not None:
            if self.name != "parquet":
                msg = f"recalibration needs columns: set store.method to parquet, not {self.name}"
                raise InputError(msg)
            _recalibrator(self.model, self.engine)

    def warnings(self, run: int, data: DataLabel) -> list[str]:
        """Describe how a run's muons differ from those that the model was trained on; one line each."""
        if self.model is None:
            return []
        from l1scout.io.conditions import differences, of_runs

        card = _recalibrator(self.model, self.engine).card
        muons = of_runs([run], is_simulated(data))
        return differences(muons, card.conditions, f"run {run}", card.name)


@dataclass(frozen=True)
class Compressed:
    """A compressed file: where, how, and its size and CRC32C."""

    path: Path
    method: str
    size: int
    crc32c: int


def compress(path: Path, crc: int, method: Method, data: DataLabel = "unknown") -> Compressed:
    """Compress a file beside it, and read it back to see that it is right.

    What cannot be a Parquet archive (a segment without orbits, or of other objects than muons) becomes a
    zstd file.

    Parameters
    ----------
    path : Path
    crc : int
        CRC32C that the file must have.
    method : Method
    data : str
        ``simulated``, ``real`` or ``unknown``: stated in an archive's provenance.

    Raises
    ------
    OSError
        If it cannot be written, or reads back different; `ChangedError` if its checksum is another.
    """
    made = compress_to(path, crc, method, data, path.name, path)
    out = made.path.with_suffix("")  # without .part
    made.path.replace(out)
    sync_folder(out.parent)
    return replace(made, path=out)


def compress_to(path: Path, crc: int, method: Method, data: DataLabel, name: str, target: Path) -> Compressed:
    """Compress a file to ``TARGET.SUFFIX.part``, read it back and synchronise it with the disk.

    Parameters
    ----------
    path, crc, method, data
        See `compress`.
    name : str
        Of the segment: stated in an archive's provenance.
    target : Path
        Path without the suffix of the method.

    Raises
    ------
    OSError
        See `compress`.
    """
    made = None
    if method.name == "parquet":
        part = _part(target, "parquet")
        made = _archived(path, crc, method, data, name, part)
        method = method if made else Method("zstd")
    if made is None:
        part = _part(target, method.name)
        _pack(path, crc, method, part)
        made = Compressed(part, method.name, *checksum(part))
    with made.path.open("rb") as file:
        os.fsync(file.fileno())
    return made


def _part(target: Path, method: str) -> Path:
    return target.with_name(f"{target.name}{SUFFIX[method]}.part")


def _pack(path: Path, crc: int, method: Method, part: Path) -> None:
    """Compress a file as a whole, and compare what is read back."""
    whole = path.read_bytes()
    if crc32c(whole) != crc:
        raise _changed(path)
    if method.name == "zstd":
        packed = pa.Codec("zstd", compression_level=method.level).compress(whole, asbytes=True)
    else:
        packed = bz2.compress(whole, min(method.level, 9))
    part.write_bytes(packed)
    if decompress(part, method.name, len(whole)) != whole:
        msg = f"{part}: reads back different; the disk or memory is faulty"
        raise OSError(msg)


def _changed(path: Path) -> ChangedError:
    return ChangedError(f"{path}: has changed since it was stored")


def _archived(
    path: Path, crc: int, method: Method, data: DataLabel, name: str, part: Path
) -> Compressed | None:
    """Archive a segment; None if it cannot be, or has hardly any muons."""
    from l1scout.io import archive

    size = path.stat().st_size
    made = Provenance("store", is_simulated(data), ({"file": name, "bytes": size},))
    recalibrate = _recalibrator(method.model, method.engine) if method.model else None
    compute = None
    if recalibrate is not None:
        made = replace(made, model=model_record(recalibrate.card))
        compute = lambda columns: recalibrate(columns).branches()  # noqa: E731
    try:
        done = archive.to_parquet(path, part, compute=compute, made=made)
    except InputError:
        return None
    if done.crc32c != crc:
        raise _changed(path)
    if 2 * done.verbatim > done.bytes_in:
        part.unlink()
        return None
    return Compressed(part, "parquet", *checksum(part))


@cache
def _recalibrator(model: Path, engine: str) -> "Recalibrator":
    from l1scout.deploy.recalibrate import Recalibrator

    return Recalibrator.load(model, engine=engine)


def decompress(path: Path, method: str, size: int) -> bytes:
    """Return the bytes of a compressed segment, of which the catalogue knows the size.

    Raises
    ------
    OSError, InputError
        If the file is damaged.
    """
    if method == "parquet":
        return _unarchived(path, size)
    packed = path.read_bytes()
    if method == "zstd":
        return bytes(pa.Codec("zstd").decompress(packed, size, asbytes=True))
    return bz2.BZ2Decompressor().decompress(packed, size + 1) if method == "bzip2" else packed


def decompress_unknown(path: Path, method: str) -> bytes:
    """Return the bytes of a compressed segment of which nothing is known (OSError, InputError)."""
    if method == "parquet":
        return _unarchived(path, MAX_BYTES)
    from l1scout.io.input_file import InputFile

    with InputFile(path) as file, file.content() as stream:
        data = stream.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        msg = f"{path}: larger than {MAX_BYTES} bytes when decompressed: not a segment"
        raise InputError(msg)
    return data


def _unarchived(path: Path, max_bytes: int) -> bytes:
    """Return the bytes of the segment in an archive (InputError if it states more than there may be)."""
    from l1scout.io import archive
    from l1scout.io.input_file import InputFile

    with tempfile.TemporaryDirectory() as folder, InputFile(path) as file:
        stated = archive.metadata(file)["bytes"]
        if stated > max_bytes:
            msg = f"{path}: archive of {stated} bytes, but the segment has at most {max_bytes}"
            raise InputError(msg)
        whole = Path(folder) / "segment"
        archive.to_raw(file, whole)
        return whole.read_bytes()


def content(folder: Path, stored: Stored) -> bytes:
    """Read a stored segment's own bytes.

    Raises
    ------
    OSError
        If it cannot be read; `ChangedError` if its checksum is not that of the catalogue.
    """
    path = folder / stored.file
    data = b""
    right = checksum(path) == (stored.stored_size, stored.stored_crc32c)
    if right:
        data = decompress(path, stored.method, stored.segment.size)
    if not right or crc32c(data) != stored.segment.crc32c:
        msg = f"{path}: has changed since it was stored"
        raise ChangedError(msg)
    return data
