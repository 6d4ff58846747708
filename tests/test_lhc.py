"""LHC arithmetic: known numbers, and that time and (orbit, BX) are inverse."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from l1scout import lhc


def test_known_numbers():
    assert pytest.approx(11_245.5, abs=1) == lhc.ORBIT_FREQUENCY_HZ
    assert pytest.approx(23.31, abs=0.01) == lhc.LUMISECTION_S
    assert lhc.lumisection([0, 262_143, 262_144]).tolist() == [1, 1, 2]


def test_real_event_of_run_320040():
    """Orbits of the public L1Ntuple lie in lumisections as CMS counted them."""
    assert lhc.lumisection([160_173_851, 160_432_066]).tolist() == [612, 612]


def test_crossing_of_the_neighbouring_orbit():
    assert lhc.crossing(0, 1) == 0
    assert lhc.crossing(3, 0) == lhc.crossing(2, 3564)
    assert lhc.crossing(3, 3565) == lhc.crossing(4, 1)


@given(st.integers(0, 2**40), st.integers(1, 3564))
def test_inverse(orbit, bx):
    back_orbit, back_bx = lhc.orbit_and_bx(lhc.crossing(orbit, bx))
    assert (back_orbit, back_bx) == (orbit, bx)
    assert np.asarray(back_orbit).dtype == np.int64
