"""No wrong muon, ever: any mixture of faults against the truth."""

import io
from collections import defaultdict
from dataclasses import replace
from functools import cache
from types import FunctionType

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba.extending import is_jitted

from front_end import BOARD_FORMATS, Keep, decode_muons, make_run, rows, through_board
from l1scout.board.board import Board
from l1scout.formats.wire_formats.run3 import RUN3
from l1scout.link import frames, payload, receive
from l1scout.link.capture import Capture, read_capture, write_capture
from l1scout.simulate.faults import FaultRates, Injector, near, truncate


@cache
def run_in(name):
    """Truth, captures and timing of eight orbits in a wire format."""
    return make_run(BOARD_FORMATS[name], 8)


def rate(*values):
    return st.sampled_from((0.0, 0.0, *values))


FAULTS = st.builds(
    FaultRates,
    flips=rate(1e-7, 1e-6, 1e-5, 1e-3, 0.3),
    k_flips=rate(1e-7, 1e-6, 1e-5, 1e-3, 0.3),
    lost_words=rate(1e-7, 1e-6, 1e-5, 1e-3, 0.3),
    doubled_words=rate(1e-7, 1e-6, 1e-5, 1e-3, 0.3),
    stuck=rate(0.01, 0.1, 1.0),
    bad_crc=rate(0.01, 0.1, 1.0),
    dead=rate(0.01, 0.1, 0.5),
    skew_jumps=rate(0.01, 0.1, 1.0),
    dead_orbits=st.integers(1, 4),
)


@settings(max_examples=120, deadline=None)
@given(rates=FAULTS, seed=st.integers(0, 1 << 32), form=st.sampled_from(list(BOARD_FORMATS.values())))
def test_no_wrong_muon_ever(rates, seed, form):
    truth, captures, timing = run_in(form.name)
    faults = Injector(rates, seed, tuple(t.skew for t in timing))
    decoded, found, counters = through_board(faults.damage(captures), form)
    expected, got = defaultdict(list), defaultdict(list)
    for batch, into in ((truth, expected), (decoded.objects, got)):
        for muon in rows(batch, tuple(truth.columns)):
            into[muon[0]].append(muon)
    flagged, touched = set(decoded.flagged.tolist()), near(faults.touched)
    for orbit in got:
        if orbit in flagged:  # fewer muons, never others
            assert set(got[orbit]) <= set(expected[orbit])
        else:
            assert got[orbit] == expected[orbit]
    for orbit in expected:
        if orbit not in touched:
            assert orbit not in flagged
            assert got[orbit] == expected[orbit]
    assert counters.orbits == sum(c.orbits for c in captures)
    assert counters.orbits == counters.delivered + counters.lost + counters.idle + counters.dropped
    told = None if found.trailer is None else found.trailer.orbits
    assert told == (counters.delivered if counters.packets else None)
    if form is RUN3:
        assert found.orbits == counters.delivered
        assert len(flagged) == counters.flagged
        assert found.blocks == counters.blocks
    assert found.corrupt == 0


@settings(max_examples=150, deadline=None)
@given(
    form=st.sampled_from(list(BOARD_FORMATS.values())),
    rate=st.sampled_from((0.1, 0.5, 1.0)),
    step=st.sampled_from((1, 32, 192)),
    seed=st.integers(0, 1 << 32),
)
def test_truncated_packets_give_no_wrong_muon(form, rate, step, seed):
    """Cut anywhere, at rows, and at whole blocks; what Run 2 cannot see are whole blocks that are missing."""
    truth, captures, _ = run_in(form.name)
    sink = KeepPackets()
    counters = Board(sink, form, orbits_per_packet=1).run(captures)
    cut = [p[: len(p) // step * step] if len(p) % step else p for p in truncate(sink.packets, rate, seed)]
    decoded, found = decode_muons(io.BytesIO(b"".join(cut)), form)
    names = tuple(truth.columns)
    assert set(rows(decoded.objects, names)) <= set(rows(truth, names))
    if form is RUN3:
        assert found.orbits == counters.delivered or found.corrupt or len(cut[-1]) < len(sink.packets[-1])
        for orbit in set(decoded.objects.orbit.tolist()):
            inside, expected = decoded.objects.orbit == orbit, truth.orbit == orbit
            assert decoded.objects.bx[inside].tolist() == truth.bx[expected].tolist()


class KeepPackets(Keep):
    def __init__(self) -> None:
        super().__init__()
        self.packets: list[bytes] = []

    def step(self, packet: memoryview) -> None:
        self.packets.append(bytes(packet))


def test_a_link_is_back_within_two_orbits():
    _, captures, timing = make_run(RUN3, 20)
    skews = tuple(t.skew for t in timing)
    for rates in (FaultRates(dead=0.01, dead_orbits=3), FaultRates(skew_jumps=0.02)):
        faults = Injector(rates, 4, skews)
        decoded, _, counters = through_board(faults.damage(captures))
        hit = {(orbit, link) for orbit, link, _ in faults.touched}
        assert len(hit) >= 3
        # a jump or a loss costs the orbits in which it is, and at most one on either side
        assert counters.links.lost.sum() <= 3 * len(hit)
        assert set(decoded.flagged.tolist()) <= near(faults.touched)
        assert counters.links.realigns.sum() >= 1
        assert counters.lost == 0


def test_counters_name_the_fault():
    _, captures, timing = make_run(RUN3, 10)
    skews = tuple(t.skew for t in timing)
    expected = {"bad_crc": receive.CRC, "dead": receive.UNLOCKED, "lost_words": receive.LENGTH}
    for name, state in expected.items():
        rates = FaultRates(**{name: 1e-5 if name == "lost_words" else 0.1}, dead_orbits=1)
        faults = Injector(rates, 1, skews)
        _, _, counters = through_board(faults.damage(captures))
        states = counters.links.states
        assert states[state].sum() > 0, name
        assert states.sum(axis=0).tolist() == [counters.orbits] * 8
        if name == "bad_crc":  # one fault costs one link one orbit, and is counted there
            hit = [link for orbit, link, _ in faults.touched if orbit < 1010]
            assert states[state].tolist() == np.bincount(hit, minlength=8).tolist()
            assert states[[receive.UNLOCKED, receive.CODE, receive.LENGTH]].sum() == 0
    assert min(counters.links.summary()["commas"]) > 0


def test_rates_are_probabilities():
    for wrong in ({"flips": 1.5}, {"dead": -0.1}, {"dead_orbits": 0}):
        with pytest.raises(ValueError, match="probabilities"):
            FaultRates(**wrong)


def with_indices_checked(*modules):
    """Compile the kernels of modules, which call each other, anew: with a check of every index."""
    kernels = {}
    for module in modules:
        names = dict(vars(module))
        for name, value in vars(module).items():
            if is_jitted(value) and value.py_func.__module__ == module.__name__:
                function = FunctionType(value.py_func.__code__, names)
                kernels[name] = numba.njit(boundscheck=True, error_model="numpy")(function)
        names.update(kernels)
    return kernels


def test_receiver_stays_inside_its_memory():
    """Captures with rubbish for K flags and orbit signals, through a kernel that checks its indices."""
    checked = with_indices_checked(frames, payload, receive)["receive_orbit"]
    random = np.random.default_rng(7)
    receiver, other = receive.LinkReceiver(), receive.LinkReceiver()
    for case in range(300):
        sizes = random.integers(0, 30000, 8)
        counts = random.integers(0, 2000, 8)
        words = random.choice(np.array([0, 1, 0x505050BC, 0xF7F7F7F7], np.uint32), sizes.sum())
        k_at = random.integers(0, 1 << (32 if case % 3 else 15), counts.sum(), dtype=np.uint64).astype(
            np.uint32
        )
        if case % 2:
            k_at = np.sort(k_at)
        k_mask = random.choice(np.array([1, 15, 15, 15, 3], np.uint8), counts.sum())
        ticks = np.sort(random.integers(0, sizes[:, None] + 1, (8, 3)), axis=1)
        ticks[:, 0], ticks[:, 2] = 0, sizes
        c = Capture(0, words, np.r_[0, np.cumsum(sizes)], k_at, k_mask, np.r_[0, np.cumsum(counts)], ticks)
        for n in range(2):
            assert checked(c.line, c.first_orbit, n, other.arrays) == receiver.receive(c, n)
            assert receiver.states.tolist() == other.states.tolist()


@pytest.mark.parametrize("words", [1, 100, 203])
@pytest.mark.parametrize("seam", [False, True])
def test_two_orbit_signals_near_one_gap_give_no_muon_twice(words, seam):
    """The second one has no orbit, and counts as lost: within a piece of a capture, and where two meet."""
    truth, captures, _ = run_in("run3")
    pieces = list(captures)
    piece, at = (1, 1) if seam else (0, 2)
    ticks = pieces[piece].ticks
    pieces[piece] = replace(pieces[piece], ticks=np.insert(ticks, at, ticks[:, at - 1] + words, axis=1))
    for k in range(piece + 1, len(pieces)):
        pieces[k] = replace(pieces[k], first_orbit=pieces[k].first_orbit + 1)
    decoded, _, counters = through_board(pieces)
    second = pieces[piece].first_orbit + at
    assert rows(decoded.objects) == [(o + (o >= second), *m) for o, *m in rows(truth)]
    assert (counters.lost, counters.flagged) == (1, 0)


def test_a_k_flag_of_mask_0_is_a_data_word():
    truth, captures, _ = run_in("run3")
    c = captures[0]
    n = int(c.k_starts[1])
    data_words = np.setdiff1d(np.arange(2000, dtype=np.uint32), c.k_at[:n])[::100]
    at = np.sort(np.r_[c.k_at[:n], data_words])
    mask = np.where(np.isin(at, data_words), 0, 1).astype(np.uint8)
    mask[mask > 0] = c.k_mask[:n]
    stream = io.BytesIO()
    write_capture(stream, c)
    plain = stream.getvalue()
    head = bytearray(plain[:96])
    counts = np.diff(c.k_starts) + np.r_[at.size - n, np.zeros(7, np.int64)]
    head[32:96] = counts.astype("<i8").tobytes()
    k_at, k_mask = np.r_[at, c.k_at[n:]].astype("<u4"), np.r_[mask, c.k_mask[n:]]
    data = bytes(head) + c.ticks.astype("<i8").tobytes() + k_at.tobytes() + k_mask.tobytes()
    data += c.words.astype("<u4").tobytes()
    (back,) = read_capture(io.BytesIO(data), len(data), "capture")
    decoded, _, counters = through_board([back, *captures[1:]])
    assert rows(decoded.objects) == rows(truth)
    assert (counters.flagged, counters.lost) == (0, 0)
