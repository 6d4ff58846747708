"""Kernels that read an orbit of a link, beside plain numpy."""

import zlib

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from l1scout.formats import lanes
from l1scout.jit import kernel
from l1scout.link.capture import Capture
from l1scout.link.frames import (
    COMMA,
    COMMA_K,
    CRCS,
    LATENCY_WORDS,
    PADDING,
    PADDING_K,
    PAYLOAD_WORDS,
    multiply,
    sparse_crc,
)
from l1scout.link.receive import CODE, CRC, GOOD, LENGTH, LinkReceiver

WORDS = st.integers(0, (1 << 32) - 1)
SEEDS = st.integers(0, 1 << 32)


@kernel
def look(words, at):
    """Return what the vectors find in 64 words."""
    found, more = lanes.paddings(words, np.uint64(at), np.uint32(PADDING))
    return found, more != 0, lanes.filled(words, np.uint64(at))


@kernel
def multiply_in_parts(a, b):
    return lanes._multiply_in_parts(a, b)


@given(st.lists(st.sampled_from((0, 0, 0, 1, 1 << 31, PADDING, COMMA)), min_size=70, max_size=70))
@example([0] * 70)
@example([PADDING] * 70)
def test_vectors_find_paddings_and_other_words(words):
    array = np.array(words, np.uint32)
    for at in (0, 1, 6):
        some = array[at : at + 64]
        found, more, filled = look(array, at)
        bits = [int("".join("01"[int(b)] for b in mask[::-1]), 2) for mask in (some == PADDING, some != 0)]
        assert [found, filled] == bits
        assert more == bool(((some != PADDING) & (some != 0)).any())


@given(WORDS, WORDS)
@example((1 << 32) - 1, (1 << 32) - 1)
def test_products_without_carries(a, b):
    """By the processor's instruction, where it has one, and by the way for all processors."""
    expected = 0
    for k in range(32):
        expected ^= (a << k) * (b >> k & 1)
    a, b = np.uint32(a), np.uint32(b)
    assert multiply(a, b) == multiply_in_parts(a, b) == expected


@settings(deadline=None)
@given(name=st.sampled_from(list(CRCS)), seed=SEEDS, fraction=st.sampled_from((0.0, 1e-4, 0.03, 1.0)))
def test_crc_of_the_words_that_are_not_0(name, seed, fraction):
    random = np.random.default_rng(seed)
    words = random.integers(0, 1 << 32, PAYLOAD_WORDS, dtype=np.uint32)
    words[random.random(PAYLOAD_WORDS) >= fraction] = 0
    places = random.permutation(np.flatnonzero(words)).astype(np.uint32)
    crc = CRCS[name]
    assert sparse_crc(places, words[places], crc.tables()) == crc.function()(words)


def framed(random, payload, crc, spoiled) -> Capture:
    """Put an orbit's payload on all links, with padding anywhere; spoil link 0."""
    links = []
    ends = []
    for link in range(8):
        data = np.r_[payload, np.uint32(crc)]
        pads = np.sort(random.choice(22000, random.integers(400, 600), replace=False))
        line, mask = np.full(22000, PADDING, np.uint32), np.full(22000, PADDING_K, np.uint8)
        inside = np.setdiff1d(np.arange(22000), pads)[: data.size]
        line[inside], mask[inside] = data, 0
        size = inside[-1] + 1 + random.integers(3)
        line, mask = line[:size], mask[:size]
        if link == 0:
            spoiled(random, line, mask)
        gap = np.full(LATENCY_WORDS, COMMA, np.uint32), np.full(LATENCY_WORDS, COMMA_K, np.uint8)
        tail = random.integers(1, 70)
        links.append((np.r_[gap[0], line, gap[0][:tail]], np.r_[gap[1], mask, gap[1][:tail]]))
        ends.append(links[-1][0].size)
    return Capture.of_links(0, links, np.array([[0, end] for end in ends]))


def leave(random, line, mask):
    """Spoil nothing."""


def flip_data(random, line, mask):
    at = random.choice(np.flatnonzero(mask == 0))
    line[at] ^= np.uint32(1) << np.uint32(random.integers(32))


def flip_padding(random, line, mask):
    line[random.choice(np.flatnonzero(mask))] ^= np.uint32(1)


def lose_flags(random, line, mask):
    mask[random.choice(np.flatnonzero(mask))] = 0


def move_flags(random, line, mask):
    """Take the flags from one padding word and give them to a data word: as many words look like padding."""
    lose_flags(random, line, mask)
    mask[random.choice(np.flatnonzero(mask == 0))] = PADDING_K


def other_flags(random, line, mask):
    mask[random.choice(np.flatnonzero(mask))] = 3


FAULTS = {
    leave: GOOD,
    flip_data: CRC,
    flip_padding: CODE,
    lose_flags: LENGTH,
    move_flags: CODE,
    other_flags: CODE,
}


@settings(deadline=None, max_examples=40)
@given(
    seed=SEEDS,
    kind=st.sampled_from(("nothing", "few", "like padding", "all")),
    fault=st.sampled_from(list(FAULTS)),
)
def test_an_orbit_as_plain_numpy_reads_it(seed, kind, fault):
    """Crossings, map and state; also of words that look like padding and are none."""
    random = np.random.default_rng(seed)
    payload = random.integers(0, 1 << 32, PAYLOAD_WORDS, dtype=np.uint32)
    if kind == "like padding":
        payload[random.random(PAYLOAD_WORDS) < 0.5] = PADDING
    payload[random.random(PAYLOAD_WORDS) >= {"nothing": 0, "all": 1}.get(kind, 0.02)] = 0
    capture = framed(random, payload, zlib.crc32(payload), fault)
    receiver = LinkReceiver()
    good = receiver.receive(capture, 0)
    assert receiver.states[1:].tolist() == [GOOD] * 7
    if fault is not move_flags or kind != "like padding":
        assert receiver.states[0] == FAULTS[fault]
    assert good == 254 + (receiver.states[0] == GOOD)
    busy = payload.reshape(-1, 6).any(axis=1)
    for link in range(1 - (good & 1), 8):
        found = np.unpackbits(receiver.busy[link].view(np.uint8), bitorder="little")
        np.testing.assert_array_equal(found[:3564], busy)
        assert not found[3564:].any()
        np.testing.assert_array_equal(receiver.crossings[link, : busy.sum()], payload.reshape(-1, 6)[busy])
