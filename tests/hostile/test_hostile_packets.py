"""Packets and records from an enemy: cut at every byte, changed at random, absurd sizes."""

import sys
from pathlib import Path

import numba
import numpy as np
import pytest

sys.path.append(str(Path(__file__).parent))
import hostile_packets

from front_end import BOARD_FORMATS
from l1scout.formats import records
from l1scout.formats.wire_formats import run3


@pytest.mark.parametrize("form", BOARD_FORMATS.values(), ids=list(BOARD_FORMATS))
def test_cut_at_every_byte(form):
    data, rec = hostile_packets.seeds(form)
    for stop in range(len(data)):
        hostile_packets.check(data[:stop], rec[: min(stop, len(rec))], form, whole=stop % 16 == 0)


def test_hundred_thousand_changes():
    hostile_packets.run(100_000, 1, 50)


@pytest.mark.parametrize("form", BOARD_FORMATS.values(), ids=list(BOARD_FORMATS))
def test_kernels_stay_inside_their_arrays(form, monkeypatch):
    """The same through kernels that check every index."""
    for module, name in ((run3, "_find_orbits"), (records, "_find_records")):
        checked = numba.njit(boundscheck=True)(getattr(module, name).py_func)
        monkeypatch.setattr(module, name, checked)
    random = np.random.default_rng(5)
    data, rec = hostile_packets.seeds(form)
    for _ in range(1000):
        bad = hostile_packets.mutate(data, random), hostile_packets.mutate(rec, random)
        hostile_packets.check(*bad, form, whole=True)
