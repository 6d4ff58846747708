"""Payloads of all streams from an enemy: a hundred thousand of each, changed and cut at random."""

from itertools import pairwise

import numba
import numpy as np
import pytest

import numpy_streams
from l1scout.formats import object_kernels, record_kernels
from l1scout.formats.payloads import Payloads
from l1scout.formats.stream import STREAMS, decode_streams, streams_of_sources
from random_streams import FORMS, batch_of

PAYLOADS, TOGETHER = 100_000, 5000
ABSURD = np.array([0, 1, 0xFF, 0x101, 3564, 3565, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF], np.uint32)


def good_payload(name, source):
    """A payload with some records of an orbit."""
    batch = batch_of(name, 3, np.random.default_rng(1), orbits=1, most=4 if name != "etsum" else 1, sector=5)
    return STREAMS[name].encode(batch, source)[0], batch.n_objects


def mutated(payload, number, random):
    """Payloads with up to four changed words each, of which most were cut; every third is as it was.

    Returns their words, one after the other, and where each begins.
    """
    words = np.tile(payload, (number, 1))
    for _ in range(4):
        row = np.flatnonzero((np.arange(number) % 3 > 0) & (random.random(number) < 0.6))
        place = random.integers(0, payload.size, row.size)
        kind = random.random(row.size)
        flipped = words[row, place] ^ (np.uint32(1) << random.integers(0, 32, row.size, np.uint32))
        any_word = random.integers(0, 2**32, row.size, np.uint32)
        absurd = random.choice(ABSURD, row.size)
        words[row, place] = np.where(kind < 0.5, flipped, np.where(kind < 0.75, absurd, any_word))
    sizes = random.integers(0, payload.size + 1, number)
    sizes[np.arange(number) % 3 < 2] = payload.size
    there = np.arange(payload.size) < sizes[:, None]
    return words[there], np.r_[0, np.cumsum(sizes)]


def check(batch, ends, bounds, name):
    assert np.all((bounds[:-1] <= ends) & (ends <= bounds[1:]))
    assert batch.n_objects <= bounds[-1]
    assert not len(batch) or (batch.bx.min() >= 0 and batch.bx.max() <= 3564)
    assert np.all(batch.counts > 0), name


@pytest.mark.parametrize(("name", "source"), FORMS)
def test_hundred_thousand_payloads(name, source):
    """Damage stays in its payload: every third one is whole, and gives all of its objects."""
    stream, random = STREAMS[name], np.random.default_rng(5)
    payload, objects = good_payload(name, source)
    for _ in range(PAYLOADS // TOGETHER):
        words, bounds = mutated(payload, TOGETHER, random)
        decoded, ends = stream.decode(words, bounds, np.full(TOGETHER, source))
        check(decoded.objects, ends, bounds, name)
        assert np.array_equal(ends[::3], bounds[1:][::3])
        assert decoded.objects.n_objects >= objects * ends[::3].size


@pytest.mark.parametrize(
    ("name", "source"), [f for f in FORMS if f[0] in ("jet", "tower", "stub") and f[1] != 2]
)
def test_numpy_reads_damage_alike(name, source):
    random = np.random.default_rng(6)
    words, bounds = mutated(good_payload(name, source)[0], 300, random)
    for first, end in pairwise(bounds.tolist()):
        part = words[first:end]
        decoded, ends = STREAMS[name].decode(part, np.array([0, part.size]), np.array([source]))
        if name == "stub":
            plain, stop = numpy_streams.decode_stubs(part, source - 10)
        elif name == "tower":
            plain, stop = numpy_streams.decode_counted(part, numpy_streams.TOWER, 0xFFFFFFFF, 5760)
            plain["hwPhi"] += 1
        else:
            plain, stop = numpy_streams.decode_counted(part, numpy_streams.JET, present=0x7FF)
        assert ends.tolist() == [stop]
        plain = numpy_streams.in_order(plain)
        for column, values in decoded.objects.columns.items():
            np.testing.assert_array_equal(values, plain[column], column)


def test_kernels_stay_inside_their_arrays(monkeypatch):
    """The same through kernels that check every index."""
    for module in (record_kernels, object_kernels):
        compiled = [n for n, found in vars(module).items() if hasattr(found, "py_func")]
        assert len(compiled) > 5
        for name in compiled:
            plain = getattr(module, name).py_func
            monkeypatch.setattr(module, name, numba.njit(boundscheck=True)(plain))
    random = np.random.default_rng(7)
    for name, source in [f for f in FORMS if f[1]]:
        words, bounds = mutated(good_payload(name, source)[0], 600, random)
        decoded, ends = STREAMS[name].decode(words, bounds, np.full(600, source))
        check(decoded.objects, ends, bounds, name)
    words, bounds = mutated(good_payload("jet", 2)[0], 600, random)
    found = decode_streams(streams_of_sources([2]), Payloads.of(words, bounds, np.full(600, 2)))
    for name, (decoded, ends) in found.items():
        check(decoded.objects, ends, bounds, name)
