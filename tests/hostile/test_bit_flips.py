"""Bits flipped at random; the million is in validation/bit_flips.py."""

import pytest

from bit_flips import KINDS

FLIPS = {"packets": 320, "segments": 300, "notes": 500, "stores": 100}


@pytest.mark.parametrize("kind", KINDS)
def test_every_orbit_is_stored_as_it_was_or_counted(kind, tmp_path):
    seen = KINDS[kind](FLIPS[kind], 1, tmp_path)
    assert seen["flips"] >= FLIPS[kind]
