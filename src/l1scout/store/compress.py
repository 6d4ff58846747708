"""Compress a stored segment, check what was written, and read it back."""

import bz2
import contextlib
import os
import tempfile
from dataclasses import dataclass
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
        What computes them; see `l1scout.deploy.engine.make`.
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


def compress(path: Path, crc: int, method: Method) -> Compressed:
    """Compress a file beside it, and read it back to see that it is right.

    What cannot be a Parquet archive (a segment without orbits) becomes a zstd file.

    Parameters
    ----------
    path : Path
    crc : int
        CRC32C that the file must have.
    method : Method

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
            return _archived(path, method)
        method = Method("zstd")
    data = path.read_bytes()
    if method.name == "zstd":
        packed = pa.Codec("zstd", compression_level=method.level).compress(data, asbytes=True)
    else:
        packed = bz2.compress(data, min(method.level, 9))
    out = path.with_name(path.name + SUFFIX[method.name])
    part = out.with_name(out.name + ".part")
    part.write_bytes(packed)
    if decompress(part, method.name, len(data)) != data:
        msg = f"{out}: reads back different; the disk or memory is faulty"
        raise OSError(msg)
    return _finished(part, out, method.name)


def _archived(path: Path, method: Method) -> Compressed:
    from l1scout.io import archive
    from l1scout.io.rewrite import add_columns

    out = path.with_name(path.name + SUFFIX["parquet"])
    part, plain = (out.with_name(out.name + end) for end in (".part", ".raw-columns"))
    try:
        with recording("store", {"segment": path}):
            if method.model is None:
                archive.to_parquet(path, part)
            else:
                recalibrate = _recalibrator(method.model, method.engine)
                # the coordinates at the second station as they are: a model may ask for them
                archive.to_parquet(path, plain, plain=True)
                made = current(model=model_record(recalibrate.card))
                add_columns(plain, part, lambda columns: recalibrate(columns).branches(), made=made)
        return _finished(part, out, "parquet")
    finally:
        plain.unlink(missing_ok=True)


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
        from l1scout.io import archive

        with tempfile.TemporaryDirectory() as folder:
            whole = Path(folder) / "segment"
            archive.to_raw(path, whole)
            return whole.read_bytes()
    packed = path.read_bytes()
    if method == "zstd":
        return bytes(pa.Codec("zstd").decompress(packed, size, asbytes=True))
    return bz2.decompress(packed) if method == "bzip2" else packed


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
