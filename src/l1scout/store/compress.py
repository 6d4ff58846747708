"""Compress a stored segment, check what was written, and read it back."""

import bz2
import contextlib
import os
import tempfile
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
from crc32c import crc32c

from l1scout.core.provenance import DataLabel, current, is_simulated, recording
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

    What cannot be a Parquet archive (a segment without orbits) becomes a zstd file.

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
    if checksum(path)[1] != crc:
        msg = f"{path}: has changed since it was stored"
        raise ChangedError(msg)
    if method.name == "parquet":
        with contextlib.suppress(InputError):
            return _archived(path, method, data)
        method = Method("zstd")
    whole = path.read_bytes()
    if method.name == "zstd":
        packed = pa.Codec("zstd", compression_level=method.level).compress(whole, asbytes=True)
    else:
        packed = bz2.compress(whole, min(method.level, 9))
    out = path.with_name(path.name + SUFFIX[method.name])
    part = out.with_name(out.name + ".part")
    part.write_bytes(packed)
    if decompress(part, method.name, len(whole)) != whole:
        msg = f"{out}: reads back different; the disk or memory is faulty"
        raise OSError(msg)
    return _finished(part, out, method.name)


def _archived(path: Path, method: Method, data: DataLabel) -> Compressed:
    from l1scout.io import archive

    out = path.with_name(path.name + SUFFIX["parquet"])
    part = out.with_name(out.name + ".part")
    with recording("store", {"segment": path}):
        made = current(simulated=is_simulated(data))
        if method.model is None:
            archive.to_parquet(path, part, made=made)
        else:
            recalibrate = _recalibrator(method.model, method.engine)
            made = replace(made, model=model_record(recalibrate.card))
            archive.to_parquet(path, part, compute=lambda c: recalibrate(c).branches(), made=made)
    return _finished(part, out, "parquet")


def _finished(part: Path, out: Path, method: str) -> Compressed:
    size, crc = checksum(part)
    with part.open("rb") as file:
        os.fsync(file.fileno())
    part.replace(out)
    sync_folder(out.parent)
    return Compressed(out, method, size, crc)


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
