"""Refuse files that are no packets of the readout's wire format, before a run is made of them."""

from io import BufferedIOBase
from pathlib import Path
from typing import cast

from l1scout.errors import InputError
from l1scout.formats.wire_format import WireFormat, recognise_format
from l1scout.io.input_file import InputFile
from l1scout.io.stored import is_raw, records_of


def check_packet_file(path: Path, wire_format: WireFormat) -> None:
    """Refuse a file that clearly holds something else; a damaged one is for the account.

    Raises
    ------
    InputError
        If it holds packets of another wire format, or orbits that were stored already.
    """
    if not path.is_file() or not path.stat().st_size:  # a pipe, say
        return
    with InputFile(path) as file:
        stream = cast(BufferedIOBase, file.stream())
        if wire_format.recognises(stream):
            return
        if file.compression or is_raw(file) or records_of(file):
            msg = (
                f"{path}: holds stored orbits, not packets; `l1scout inspect` says what, `analyse` reads them"
            )
            raise InputError(msg)
        other = recognise_format(stream)
        if other is not None:
            msg = f"{path}: packets of {other.name}, not {wire_format.name}: set readout.wire_format"
            raise InputError(msg)
