"""What is on a fibre: words of 32 bits with four K flags each, in orbits of fixed length.

The line runs at 10 Gb/s with 8b10b: 250 million words a second for 240 million of payload, six a
crossing. So an orbit has 22275 words of line time for 21384 of payload, and the 891 to spare are
its CRC word, padding words where the sender's buffer ran empty, and a gap of commas at the end.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from zlib_ng.zlib_ng import crc32  # ten times as fast as Python's own

from l1scout.formats.pattern import FRAMES_PER_BX
from l1scout.jit import kernel
from l1scout.lhc import BX_PER_ORBIT

COMMA = 0x505050BC
"""Idle word: K28.5 in the low byte."""
COMMA_K = 0b0001
PADDING = 0xF7F7F7F7
"""K23.7 four times: no data in this word."""
PADDING_K = 0b1111
PAYLOAD_WORDS = FRAMES_PER_BX * BX_PER_ORBIT
LINE_WORDS = PAYLOAD_WORDS * 25 // 24
"""Words of line time in an orbit: 250 MHz / 240 MHz of the payload's."""
MAX_SKEW_BX = 16
MAX_SKEW_WORDS = MAX_SKEW_BX * LINE_WORDS // BX_PER_ORBIT
LATENCY_WORDS = MAX_SKEW_WORDS + 4
"""An orbit's first word comes so long after the LHC's orbit signal on a link without skew: with any
skew, the end of the gap before it comes after the signal."""


@dataclass(frozen=True)
class Crc:
    """A CRC of 32 bits, by the parameters of the usual catalogues.

    The polynomial on CMS's links is in no public source that we found: it is a parameter here, and
    the default is Ethernet's.

    Parameters
    ----------
    name : str
    polynomial : int
        In normal notation, highest power first.
    start, end : int
        Value before the first byte; what the result is XORed with.
    reflected : bool
        Lowest bit of each byte first.
    """

    name: str = "CRC-32/ISO-HDLC"
    polynomial: int = 0x04C11DB7
    start: int = 0xFFFFFFFF
    end: int = 0xFFFFFFFF
    reflected: bool = True

    def function(self) -> Callable[[Any], int]:
        """Return what computes it from contiguous bytes: a fast library's, or our table-driven one."""
        if self == ISO_HDLC:
            return crc32
        table = np.array([_table_entry(i, self.polynomial, self.reflected) for i in range(256)], np.uint32)

        def crc(data: Any) -> int:
            done = _by_table(np.frombuffer(data, np.uint8), table, np.uint32(self.start), self.reflected)
            return int(done) ^ self.end

        return crc


ISO_HDLC = Crc()
CRCS = {
    c.name: c
    for c in (
        ISO_HDLC,
        Crc("CRC-32/BZIP2", 0x04C11DB7, 0xFFFFFFFF, 0xFFFFFFFF, reflected=False),
        Crc("CRC-32/MPEG-2", 0x04C11DB7, 0xFFFFFFFF, 0, reflected=False),
        Crc("CRC-32/ISCSI", 0x1EDC6F41, 0xFFFFFFFF, 0xFFFFFFFF, reflected=True),
    )
}


def _table_entry(byte: int, polynomial: int, reflected: bool) -> int:
    if reflected:
        polynomial, value = int(f"{polynomial:032b}"[::-1], 2), byte
        for _ in range(8):
            value = value >> 1 ^ (polynomial if value & 1 else 0)
        return value
    value = byte << 24
    for _ in range(8):
        value = (value << 1 ^ (polynomial if value >> 31 else 0)) & 0xFFFFFFFF
    return value


@kernel
def _by_table(data: Any, table: Any, value: Any, reflected: Any) -> Any:
    # numba makes 64 bits of an operation on 32: cut back at once
    for byte in data:
        if reflected:
            value = np.uint32(table[(value ^ byte) & np.uint32(0xFF)] ^ (value >> np.uint32(8)))
        else:
            value = np.uint32(
                table[((value >> np.uint32(24)) ^ byte) & np.uint32(0xFF)] ^ (value << np.uint32(8))
            )
    return value
