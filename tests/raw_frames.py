"""Frames of ``.raw`` files, made by hand."""

import struct

from crc32c import crc32c


def frame(orbit, source, words):
    """Return the frame of an orbit of run 380963, simulated, with the words of its records."""
    body = struct.pack("<I", source) + words.astype("<u4").tobytes()
    head = struct.pack("<HHIIIII", 6, 2 << 13, 380963, orbit // 2**18 + 1, orbit, len(body), crc32c(body))
    return head + body
