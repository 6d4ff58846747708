"""The split must not leak, whatever order or file the muons come in."""

import numpy as np
import pytest

from l1scout.dataset.split import PARTS, fraction, part
from l1scout.errors import InputError
from toy_muons import toy_dataset


def test_parts_have_their_shares_and_no_muon_in_common():
    data = toy_dataset(20_000)
    masks = [part(data.columns, name) for name in PARTS]
    assert np.all(np.sum(masks, axis=0) == 1)
    shares = [m.mean() for m in masks]
    assert shares == pytest.approx([0.6, 0.2, 0.2], abs=0.015)


def test_copies_of_a_muon_never_straddle():
    data = toy_dataset(5000)
    rng = np.random.default_rng(0)
    again = data.select(rng.integers(0, 5000, 20_000))

    def rows(sample):
        return set(zip(*(sample[n].tolist() for n in sample.columns), strict=True))

    seen = [rows(again.part(name)) for name in PARTS]
    assert not seen[0] & seen[1]
    assert not seen[0] & seen[2]
    assert not seen[1] & seen[2]


def test_order_types_and_column_order_do_not_matter():
    data = toy_dataset(2000)
    u = fraction(data.columns)
    order = np.random.default_rng(0).permutation(2000)
    assert np.array_equal(fraction(data.select(order).columns), u[order])
    wide = {n: c.astype(np.float64 if c.dtype.kind == "f" else np.int64) for n, c in data.columns.items()}
    assert np.array_equal(fraction(dict(reversed(wide.items()))), u)


def test_any_value_changes_the_number():
    data = toy_dataset(50)
    u = fraction(data.columns)
    for name, column in data.columns.items():
        assert np.all(fraction({**data.columns, name: column + 1}) != u)


def test_numbers_are_uniform_and_a_salt_makes_them_independent():
    data = toy_dataset(20_000)
    u, other = fraction(data.columns), fraction(data.columns, "other")
    counts = np.histogram(u, 20, (0, 1))[0]
    assert np.sum((counts - 1000) ** 2 / 1000) < 50
    assert abs(np.corrcoef(u, other)[0, 1]) < 0.03
    assert u.min() >= 0
    assert u.max() < 1


def test_numbers_stay_the_same_between_versions():
    assert fraction({"hwPt": np.array([6])}) == pytest.approx([0.24533820584726318])


def test_the_sign_of_zero_does_not_matter():
    assert fraction({"recoEta": np.array([-0.0])}) == fraction({"recoEta": np.array([0.0])})


def test_an_empty_part_is_an_error():
    data = toy_dataset(1)
    empty = next(name for name in PARTS if not part(data.columns, name).any())
    with pytest.raises(InputError, match=f"falls into the {empty} part"):
        data.part(empty)
