"""Muon words: golden vectors, round trips, scales, and the kernel against plain numpy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from l1scout.formats.layout import Field, Layout
from l1scout.formats.streams.muon import (
    FIELDS,
    MUON_2018,
    MUON_RUN3,
    MUON_RUN3_EXTRA,
    TRACK_FINDERS,
    join,
    physical,
    split,
)

LAYOUTS = [MUON_2018, MUON_RUN3, MUON_RUN3_EXTRA]
layouts = pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)


def oracle(layout: Layout, words: np.ndarray) -> dict[str, np.ndarray]:
    """Cut the fields one by one, in 64-bit numpy arithmetic."""
    out = {}
    for f in layout.fields:
        value = (words.astype(np.uint64) >> np.uint64(f.start)).astype(np.int64) & ((1 << f.width) - 1)
        out[f.name] = np.where(f.signed & (value >> (f.width - 1) == 1), value - (1 << f.width), value)
    return out


def columns_of(layout: Layout) -> st.SearchStrategy[dict[str, np.ndarray]]:
    def of_length(n: int) -> st.SearchStrategy[dict[str, np.ndarray]]:
        fields = {
            f.name: st.lists(st.integers(f.low, f.high), min_size=n, max_size=n).map(np.array)
            for f in layout.fields
        }
        return st.fixed_dictionaries(fields)

    return st.integers(1, 5).flatmap(of_length)


@layouts
def test_encode_then_decode(layout):
    @settings(max_examples=100, deadline=None)
    @given(columns_of(layout))
    def check(columns):
        decoded = layout.decode(layout.encode(columns))
        for name, values in columns.items():
            np.testing.assert_array_equal(decoded[name], values)

    check()


@layouts
def test_every_value_of_every_field_survives(layout):
    for f in layout.fields:
        values = np.arange(f.low, f.high + 1)
        words = layout.encode({f.name: values})
        decoded = layout.decode(words)
        np.testing.assert_array_equal(decoded[f.name], values)
        assert not any(decoded[g.name].any() for g in layout.fields if g is not f)


@pytest.mark.parametrize("layout", [MUON_2018, MUON_RUN3], ids=lambda layout: layout.name)
def test_decode_then_encode(layout):
    @settings(max_examples=200, deadline=None)
    @given(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=9))
    def check(words):
        words = np.array(words, np.uint64)
        np.testing.assert_array_equal(layout.encode(layout.decode(words)), words)

    check()


def test_decode_then_encode_extra():
    """Three bits of the third word have no known meaning and are dropped."""
    rng = np.random.default_rng(0)
    words = rng.integers(0, 1 << 32, 1000).astype(np.uint32)
    used = sum(((1 << f.width) - 1) << f.start for f in MUON_RUN3_EXTRA.fields)
    again = MUON_RUN3_EXTRA.encode(MUON_RUN3_EXTRA.decode(words))
    np.testing.assert_array_equal(again, words & np.uint32(used))


@layouts
@pytest.mark.parametrize("n", [0, 1, 2047, 2048, 2049, 10_000])
def test_kernel_against_plain_numpy(layout, n):
    rng = np.random.default_rng(n)
    words = (
        rng.integers(0, 1 << layout.bits, n, dtype=np.uint64, endpoint=False)
        if layout.bits < 64
        else (rng.integers(0, 2**64 - 1, n, dtype=np.uint64, endpoint=True))
    )
    words = words.astype(layout.word)
    decoded = layout.decode(words)
    for name, values in oracle(layout, words).items():
        assert decoded[name].dtype == np.int16
        np.testing.assert_array_equal(decoded[name], values, err_msg=name)


def test_golden_vectors():
    """Words worked out by hand from the published bit positions."""
    f = 0x08D | (0x183 << 10) | (12 << 19) | (0x1FF << 23)
    s = 3 | (1 << 2) | (1 << 3) | (71 << 4) | (575 << 11) | (0x100 << 21) | (2 << 30)
    decoded = MUON_2018.decode(join(np.array([f], np.uint32), np.array([s], np.uint32)))
    assert {k: int(v[0]) for k, v in decoded.items()} == {
        "hwPhiAtVtx": 141,
        "hwPt": 387,
        "hwQual": 12,
        "hwEtaAtVtx": -1,
        "hwIso": 3,
        "hwCharge": 1,
        "hwChargeValid": 1,
        "tfMuonIndex": 71,
        "hwPhi": 575,
        "hwEta": -256,
        "reserved": 2,
    }
    run3 = MUON_RUN3.decode(np.array([f | (0x5A << 53) | (3 << 61)], np.uint64))
    assert (run3["hwPtUnconstrained"][0], run3["shower"][0], run3["hwDXY"][0]) == (0x5A, 1, 1)
    extra = MUON_RUN3_EXTRA.decode(np.array([1 | (0x1FE << 13) | (5 << 22) | (1 << 31)], np.uint32))
    assert {k: int(v[0]) for k, v in extra.items()} == {
        "second": 1,
        "hwEta1": -2,
        "hwEta2": 5,
        "intermediate": 1,
    }


def test_golden_word_of_the_public_pattern():
    """The first muon of the GMT's answer to the public JPsi pattern, an EMTF+ muon."""
    columns = MUON_2018.decode(np.array([0x0EC4683E_3B620C8D], np.uint64))
    assert int(columns["hwPhi"][0]) == (0x0EC4683E >> 11) & 0x3FF
    assert {n: int(columns[n][0]) for n in ("hwPhiAtVtx", "hwPt", "hwQual", "hwEtaAtVtx", "tfMuonIndex")} == {
        "hwPhiAtVtx": 141,
        "hwPt": 131,
        "hwQual": 12,
        "hwEtaAtVtx": 118,
        "tfMuonIndex": 3,
    }


def test_split_and_join_are_inverse():
    words = np.array([0x0123456789ABCDEF, 2**64 - 1, 0], np.uint64)
    f, s = split(words)
    assert (f.dtype, s.dtype, int(f[0]), int(s[0])) == (np.uint32, np.uint32, 0x89ABCDEF, 0x01234567)
    np.testing.assert_array_equal(join(f, s), words)


@layouts
def test_encode_names_what_does_not_fit(layout):
    for f in layout.fields:
        for bad in (f.low - 1, f.high + 1):
            values = np.full(3, f.low, np.int64)
            values[1] = bad
            with pytest.raises(ValueError, match=rf"{f.name}\[1\] = {bad} is outside {f.low}\.\.{f.high}"):
                layout.encode({f.name: values})


def test_encode_and_decode_refuse_the_wrong_kind():
    with pytest.raises(KeyError, match="hwNonsense"):
        MUON_2018.encode({"hwNonsense": [1]})
    with pytest.raises(TypeError, match="uint64"):
        MUON_2018.decode(np.zeros(3, np.uint32))
    with pytest.raises(TypeError, match="shape"):
        MUON_2018.decode(np.zeros((3, 3), np.uint64))
    with pytest.raises(TypeError, match="code"):
        FIELDS["hwQual"].to_physical([1])


def test_impossible_tables_are_refused():
    with pytest.raises(ValueError, match="overlaps"):
        Layout("bad", 32, (Field("a", 0, 8), Field("b", 7, 2)))
    with pytest.raises(ValueError, match="fit"):
        Layout("bad", 32, (Field("a", 30, 3),))


@pytest.mark.parametrize("name", [n for n, f in FIELDS.items() if f.scale is not None])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_scales_are_exact_both_ways(name, dtype):
    f = FIELDS[name]
    hw = np.arange(1 if f.zero_is_absent else f.low, f.period or f.high + 1)
    np.testing.assert_array_equal(f.to_hardware(f.to_physical(hw).astype(dtype)), hw)


def test_scales_have_the_published_values():
    pt, phi, eta = FIELDS["hwPt"], FIELDS["hwPhiAtVtx"], FIELDS["hwEtaAtVtx"]
    assert np.isnan(pt.to_physical(0))
    np.testing.assert_array_equal(pt.to_physical([1, 2, 511]), [0, 0.5, 255])
    np.testing.assert_array_equal(pt.to_hardware([0, 0.49, 0.5, 0.99, 1e9, np.inf]), [1, 1, 2, 2, 511, 511])
    np.testing.assert_allclose(
        phi.to_physical([0, 144, 287, 288, 575]) * 288 / np.pi, [0, 144, 287, -288, -1]
    )
    np.testing.assert_array_equal(phi.to_hardware([np.pi, -np.pi, 2 * np.pi, -1e-9]), [288, 288, 0, 0])
    np.testing.assert_allclose(eta.to_physical([-256, -1, 0, 255]), [-2.784, -0.010875, 0, 2.773125])
    assert eta.to_hardware([-9, 9, -np.inf]).tolist() == [-256, 255, -256]


def test_physical_has_the_names_of_nano_files():
    values = physical({"hwPt": np.array([3]), "hwEtaAtVtx": np.array([-8]), "hwQual": np.array([12])})
    assert {k: v.tolist() for k, v in values.items()} == {"pt": [1.0], "etaAtVtx": [np.float32(-0.087)]}
    assert all(v.dtype == np.float32 for v in values.values())


def test_track_finders_share_out_the_index():
    every = [k for r in TRACK_FINDERS.values() for k in r]
    assert sorted(every) == list(range(108))
    assert TRACK_FINDERS["BMTF"] == range(36, 72)
