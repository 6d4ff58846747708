"""Matching against a plain oracle, and what a user would notice."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from l1scout.dataset.matching import match


def oracle(l1_eta, l1_phi, l1_offsets, reco_eta, reco_phi, reco_offsets, max_dr2):
    """Sort all near pairs of each row, take them from the nearest."""
    pairs = []
    l1_eta, l1_phi, reco_eta, reco_phi = (a.tolist() for a in (l1_eta, l1_phi, reco_eta, reco_phi))
    for row in range(len(l1_offsets) - 1):
        near = []
        for i in range(l1_offsets[row], l1_offsets[row + 1]):
            for j in range(reco_offsets[row], reco_offsets[row + 1]):
                dphi = l1_phi[i] - reco_phi[j]
                dphi -= 2 * np.pi * float(np.rint(dphi / (2 * np.pi)))
                deta = l1_eta[i] - reco_eta[j]
                dr2 = deta * deta + dphi * dphi
                if dr2 < max_dr2:
                    near.append((dr2, i, j))
        used_i, used_j = set(), set()
        for _, i, j in sorted(near):
            if i not in used_i and j not in used_j:
                pairs.append((i, j))
                used_i.add(i)
                used_j.add(j)
    return sorted(pairs)


# A coarse grid makes equal distances common, so that the order of ties is tested as well.
_eta = st.integers(-4, 4).map(lambda k: 0.03 * k) | st.floats(-0.2, 0.2) | st.just(np.nan)
_phi = (
    st.integers(-4, 4).map(lambda k: np.pi + 0.03 * k) | st.floats(-7, 7) | st.sampled_from([np.nan, np.inf])
)
_side = st.lists(st.lists(st.tuples(_eta, _phi), max_size=6), min_size=4, max_size=4)


def flat(rows):
    eta = [eta for row in rows for eta, _ in row]
    phi = [phi for row in rows for _, phi in row]
    return np.array(eta, float), np.array(phi, float), np.cumsum([0, *map(len, rows)])


@settings(deadline=None)  # the first call compiles
@given(_side, _side, st.sampled_from([0.01, 0.002, 0.0]))
def test_same_pairs_as_sorting_all_of_them(l1, reco, max_dr2):
    arguments = (*flat(l1), *flat(reco))
    i, j = match(*arguments, max_dr2)
    assert list(zip(i.tolist(), j.tolist(), strict=True)) == oracle(*arguments, max_dr2)


def test_the_nearest_pair_goes_first_and_each_muon_is_used_once():
    # L1 0 is nearest to offline 0, but L1 1 is nearer still: L1 0 has to take offline 1.
    i, j = match([0.0, 0.02], [0.0, 0.0], [0, 2], [0.03, 0.08], [0.0, 0.0], [0, 2])
    assert (i.tolist(), j.tolist()) == ([0, 1], [1, 0])


def test_phi_is_cyclic_and_rows_do_not_mix():
    i, j = match([0, 0], [3.13, 0.5], [0, 1, 2], [0, 0], [-3.13, 3.13], [0, 1, 2])
    assert (i.tolist(), j.tolist()) == ([0], [0])


def test_empty_samples():
    assert [k.size for k in match([], [], [0], [], [], [0])] == [0, 0]
    assert [k.size for k in match([], [], [0, 0], [0.1], [0.1], [0, 1])] == [0, 0]


@pytest.mark.parametrize(
    "arguments",
    [
        ([0], [0], [0, 1], [0], [0], [0, 1, 1]),
        ([0], [0, 1], [0, 1], [0], [0], [0, 1]),
        ([0], [0], [0, 2], [0], [0], [0, 1]),
        ([0], [0], [0, 1], [0], [0], [1, 1]),
        ([0, 0], [0, 0], [0, 3, 2], [0], [0], [0, 1, 1]),
    ],
)
def test_columns_and_offsets_must_agree(arguments):
    with pytest.raises(ValueError, match=r"rows of|shape|offsets"):
        match(*arguments)


def test_one_crowded_row_takes_no_square_of_memory():
    rng = np.random.default_rng(1)
    n = 2000
    eta, phi = rng.uniform(-1, 1, n), rng.uniform(-3, 3, n)
    i, j = match(eta, phi, [0, n], eta[::-1], phi[::-1], [0, n])
    assert np.array_equal(j, n - 1 - i)
    assert i.size == n


def test_a_million_rows():
    """Each muon is alone in its row with itself; a loop in Python would take minutes."""
    rng = np.random.default_rng(1)
    n = 1_000_000
    eta, phi = rng.uniform(-1, 1, n), rng.uniform(-3, 3, n)
    offsets = np.arange(n + 1)
    i, j = match(eta, phi, offsets, eta, phi, offsets)
    assert np.array_equal(i, np.arange(n))
    assert np.array_equal(j, i)
