"""Which words of a pattern are muons: those whose hwPt is not 0, whatever else they hold."""

import numpy as np

from l1scout.formats import pattern
from l1scout.formats.streams.muon import split
from l1scout.io import read_events

PT = 0x0007FC00
"""Bits 10 to 18 of a muon's first word."""


def read(path, words):
    """Write 64-bit words to the muon slots of a pattern, eight a crossing, and read it."""
    words = np.array(words, np.uint64).reshape(-1, 2, 4)
    data = np.zeros((len(words), 6, 4), np.uint32)
    data[:, 2::2], data[:, 3::2] = split(words)
    data = data.reshape(-1, 4)
    channels = tuple(f"q00c{k}" for k in range(4))
    pattern.write(pattern.Pattern("test", channels, (0, 1, 2, 3), np.ones(data.shape, bool), data), path)
    (events,) = read_events(path)
    return events.muons


def test_each_bit_of_hw_pt_makes_a_muon(tmp_path):
    bits = [1 << k for k in range(9)]
    l1 = read(tmp_path / "pattern.txt", [pt << 10 for pt in bits] + [0] * 7)
    assert l1["hwPt"].tolist() == bits
    assert l1.counts.tolist() == [8, 1]


def test_no_other_bit_makes_a_muon(tmp_path):
    """A word with all bits set but those of hwPt, and one with each of the other bits alone."""
    others = [1 << k for k in range(64) if not PT >> k & 1]
    words = [0xFFFFFFFF_FFFFFFFF ^ PT, *others, 0x00000000_00000400]
    l1 = read(tmp_path / "pattern.txt", words + [0] * (-len(words) % 8))
    assert l1["hwPt"].tolist() == [1]
    assert l1.counts.tolist() == [0] * 7 + [1]
