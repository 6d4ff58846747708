"""Files of skims."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from l1scout.core.orbit_data import OrbitData
from l1scout.core.provenance import current
from l1scout.errors import InputError
from l1scout.io.nano_writer import NanoOptions, write_nano
from l1scout.trigger.skim import Skim


@dataclass(frozen=True)
class WrittenSkim:
    """What was written: title of the format, and what it could not hold."""

    format: str
    lost: tuple[str, ...] = ()


def write_skim(skim: Skim, chunks: Iterable[OrbitData], target: Path) -> WrittenSkim:
    """Write what a skim keeps of data as L1 scouting nano, with all hardware columns.

    Parameters
    ----------
    skim : Skim
    chunks : iterable of OrbitData
        In order of time.
    target : Path
        Ends in ``.root``.

    Raises
    ------
    InputError
        If the target is of another format, cannot be written, or nothing is kept.
    """
    if target.suffix != ".root":
        msg = f"{target}: skims are written as nano files: name it with .root"
        raise InputError(msg)
    write_nano(skim.apply(chunks), target, NanoOptions(hardware=True), made=current())
    return WrittenSkim("L1 scouting nano (TTree)")
