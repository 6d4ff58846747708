"""A board that never ends: later and later orbits, counters as a board's, nothing else changed."""

import io

import numpy as np
import pytest

from front_end import BOARD_FORMATS, Keep, decode_muons
from l1scout.board.repeat import RepeatedPackets
from l1scout.errors import InputError
from l1scout.formats.packets import Trailer
from live_packets import small_packets


@pytest.mark.parametrize("form", BOARD_FORMATS.values(), ids=list(BOARD_FORMATS))
def test_the_same_muons_in_later_orbits(form):
    once, _ = decode_muons(io.BytesIO(small_packets(form.name)), form)
    sink = Keep()
    source = RepeatedPackets(io.BytesIO(small_packets(form.name)), form, 1000)
    source.run(sink, pace=0, orbits=3 * source.length)
    sink.bytes.seek(0)
    got, found = decode_muons(sink.bytes, form)
    first = once.objects.orbit.min() if form.name == "run2" else 0
    expected = np.concatenate([once.objects.orbit - first + 1000 + k * source.length for k in range(3)])
    np.testing.assert_array_equal(got.objects.orbit, expected)
    for name in once.objects.columns:
        np.testing.assert_array_equal(got.objects[name], np.tile(once.objects[name], 3))
    assert found.corrupt == 0
    assert (found.trailer.orbits, found.trailer.dropped) == (3 * source.length, 0)
    assert source.delivered == 3 * source.length


def test_drops_are_counted_in_the_trailers():
    sink = Keep(busy=(2, 3))
    source = RepeatedPackets(io.BytesIO(small_packets()), BOARD_FORMATS["run3"])
    source.run(sink, pace=0, orbits=96)
    sink.bytes.seek(0)
    trailers = [Trailer.decode(p[-32:]) for p, _ in BOARD_FORMATS["run3"].split(sink.bytes)]
    assert source.delivered + source.dropped == 96
    assert source.dropped == trailers[-1].dropped > 0
    assert trailers[0].dropped == 0
    assert trailers[-1].orbits == source.delivered


def test_pace_and_stop(monkeypatch):
    asked = []
    monkeypatch.setattr("time.sleep", lambda _: None)
    source = RepeatedPackets(io.BytesIO(small_packets()), BOARD_FORMATS["run3"])
    source.run(Keep(), pace=1e-9, going=lambda: asked.append(1) or len(asked) < 3)
    assert source.delivered == 0
    assert len(asked) == 3


def test_nothing_to_repeat():
    with pytest.raises(InputError, match="no packets to repeat"):
        RepeatedPackets(io.BytesIO(b"x" * 1000), BOARD_FORMATS["run3"])
