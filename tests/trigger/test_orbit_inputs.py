"""Scouting data as inputs of the trigger: orbits follow each other, and nothing is left out silently."""

import numpy as np
import pytest

from l1scout.core.orbit_batch import OrbitBatch
from l1scout.core.orbit_data import OrbitData
from l1scout.errors import InputError
from l1scout.trigger.emulator import emulate
from l1scout.trigger.load_menu import load_menu
from l1scout.trigger.orbit_inputs import MAX_ORBITS, inputs_of_orbits
from menu_documents import algorithm, cut, menu_xml

MUONS = [  # orbit, BX, hwPt, hwPhiAtVtx, hwQual, intermediate
    (10, 1, 41, 5, 12, 0),
    (10, 3564, 7, 100, 12, 0),
    (10, 3564, 9, 101, 4, 0),
    (10, 3564, 99, 102, 12, 1),
    (11, 1, 21, 400, 12, 0),
    (11, 7, 60, 0, 8, 0),
    (12, 2, 60, 0, 12, 0),
]


@pytest.fixture
def data():
    table = np.array(MUONS)
    names = ("hwPt", "hwPhiAtVtx", "hwQual", "intermediate")
    columns = {name: table[:, 2 + k].astype(np.int16) for k, name in enumerate(names)}
    columns["hwEtaAtVtx"] = np.zeros(len(table), np.int16)
    return OrbitData.of_muons(OrbitBatch.from_objects(table[:, 0], table[:, 1], columns))


def fired(data, expression, cuts="", first=10, orbits=2, tmp_path=None):
    path = tmp_path / "menu.xml"
    path.write_text(menu_xml(algorithm(0, expression, cuts)))
    decisions = emulate(load_menu(path), inputs_of_orbits(data, first, orbits))
    assert decisions.problems == {}
    rows = np.flatnonzero(decisions.bits["L1_0"])
    return [(first + row // 3564, row % 3564 + 1) for row in rows.tolist()]


def test_crossings_are_found_where_the_muons_are(data, tmp_path):
    quality = cut("Q", "QLTY", data="12,13,14,15")
    assert fired(data, "MU3[Q]", quality, tmp_path=tmp_path) == [(10, 1), (10, 3564), (11, 1)]
    assert fired(data, "comb{MU0, MU0}", tmp_path=tmp_path) == [(10, 3564)]
    assert fired(data, "MU40", tmp_path=tmp_path) == []  # the intermediate muon does not count


def test_the_first_crossing_follows_the_last_of_the_orbit_before(data, tmp_path):
    far = cut("FAR", "DPHI", 2.618, 3.142)
    assert fired(data, "dist{MU3-1, MU10}[FAR]", far, tmp_path=tmp_path) == [(11, 1)]
    assert fired(data, "MU0 AND MU10+1", tmp_path=tmp_path) == [(10, 3564)]
    # what came before the first orbit is taken as empty
    assert fired(data, "MU0 AND NOT MU0-1", first=11, orbits=1, tmp_path=tmp_path) == [(11, 1), (11, 7)]
    assert fired(data, "MU0 AND NOT MU0-1", tmp_path=tmp_path) == [(10, 1), (10, 3564), (11, 7)]


def test_what_the_data_have_not_is_reported(data, tmp_path):
    path = tmp_path / "menu.xml"
    upt = cut("U", "UPT", 10, 255)
    texts = ("MU0[U]", "EXT_BPTX.v0", "MUS0", "CENT0", "CICADA[S]", "JET20")
    cuts = (upt, "", "", "", cut("S", "CSCORE", 5), "")
    path.write_text(
        menu_xml(*(algorithm(k, text, c) for k, (text, c) in enumerate(zip(texts, cuts, strict=True))))
    )
    problems = emulate(load_menu(path), inputs_of_orbits(data, 10, 1)).problems
    assert "no column 'hwPtUnconstrained'" in problems["L1_0"]
    assert "no external signals" in problems["L1_1"]
    assert "no shower bit" in problems["L1_2"]
    assert "no CICADA score" in problems["L1_4"]
    assert set(problems) == {f"L1_{k}" for k in range(6)}


def test_what_is_no_input_of_the_trigger_is_refused(data):
    for orbits in (0, MAX_ORBITS + 1, 1 << 60):
        with pytest.raises(InputError, match="at once"):
            inputs_of_orbits(data, 0, orbits)
    columns = {"hwPt": np.ones(9, np.int16)}
    crowded = OrbitBatch.from_objects(np.full(9, 3), np.full(9, 4), columns)
    with pytest.raises(InputError, match="orbit 3, BX 4 has more than the 8 objects"):
        inputs_of_orbits(OrbitData.of_muons(crowded), 0, 10)
    zero = OrbitBatch.from_objects([3], [0], {"hwPt": np.ones(1, np.int16)})
    with pytest.raises(InputError, match="BX 0 has no place"):
        inputs_of_orbits(OrbitData.of_muons(zero), 0, 10)
