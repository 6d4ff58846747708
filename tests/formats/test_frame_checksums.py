"""The checksum of frames, from those of their payloads, is that of all their bytes."""

import itertools

import numpy as np
import pytest
from crc32c import crc32c

from l1scout.formats.frame_checksums import checksum_of_frames
from l1scout.formats.raw import HEAD_WORDS

CHECKSUM = 5


@pytest.mark.parametrize("sizes", [[], [0], [1], [4095, 4096, 4097, 20000], [*range(60)]])
def test_checksum_of_frames_is_that_of_all_bytes(sizes):
    rng = np.random.default_rng(len(sizes))
    bounds = np.cumsum([0, *(HEAD_WORDS + n for n in sizes)])
    words = rng.integers(0, 1 << 32, bounds[-1], np.uint32)
    for first, end in itertools.pairwise(bounds):
        words[first + CHECKSUM] = crc32c(words[first + HEAD_WORDS : end].tobytes())
    for before in (b"", b"header"):
        assert checksum_of_frames(words, bounds, crc32c(before)) == crc32c(before + words.tobytes())
