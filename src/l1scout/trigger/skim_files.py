"""Files of skims, in any format that can be written."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

from l1scout.core.orbit_data import OrbitData
from l1scout.errors import InputError
from l1scout.io.format_writer import WrittenFile, write_data, writer_of
from l1scout.trigger.skim import Skim


def write_skim(
    skim: Skim, chunks: Iterable[OrbitData], target: Path, name: str | None = None, *, drop: bool = False
) -> WrittenFile:
    """Write what a skim keeps of data.

    Nano files have all hardware columns. A format without flags of selections holds a skim without a window,
    in which every crossing is selected; of others, the flag would be lost.

    Parameters
    ----------
    skim : Skim
    chunks : iterable of OrbitData
        In order of time.
    target : Path
    name : str, optional
        Of the format; by default that of the target's suffix (`l1scout.io.format_writer.WRITERS`).
    drop : bool
        Leave out what the format cannot hold.

    Raises
    ------
    InputError
        If the format cannot hold all that is kept, or the target cannot be written.
    """
    writer = writer_of(target, name)
    options: dict[str, Any] = {"hardware": True} if "hardware" in writer.options else {}
    kept = skim.apply(chunks)
    first = next(kept, None)
    if first is None:
        msg = f"{target}: there is nothing to skim: the input has no data"
        raise InputError(msg)
    flagless = f"selection {skim.name}" in writer.losses(first, options)
    parts: Iterator[OrbitData] = chain([first], kept)
    if flagless and not skim.before:
        parts = _without_flag(parts, skim.name)
    return write_data(parts, target, name, drop=drop, **options)


def _without_flag(parts: Iterable[OrbitData], name: str) -> Iterator[OrbitData]:
    """Leave out the flag of a selection that every crossing has."""
    for part in parts:
        flags = part.selections
        columns = {n: v for n, v in flags.columns.items() if n != name} if flags else {}
        yield replace(part, selections=replace(flags, columns=columns) if flags and columns else None)
