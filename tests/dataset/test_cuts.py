"""Every cut on muons made to pass or fail it, and the counts that people read."""

import dataclasses

import numpy as np
import pytest

from l1scout.core.orbit_batch import OrbitBatch
from l1scout.core.orbit_data import OrbitData
from l1scout.dataset.cuts import CutFlow, MuonSelection, select_pairs
from l1scout.dataset.paper import paper_part
from l1scout.errors import InputError
from l1scout.simulate.kinds import HARD
from toy_muons import toy_events

L1 = {
    "hwPt": 20,
    "hwEta": 0,
    "hwPhi": 100,
    "hwEtaAtVtx": 1,
    "hwPhiAtVtx": 90,
    "hwCharge": 0,
    "hwQual": 12,
    "tfMuonIndex": 40,
    "bxInEvent": 0,
}
RECO = {
    "recoPt": 10.0,
    "recoEta": 0.01,
    "recoPhi": 1.0,
    "recoCharge": 1,
    "recoEtaSt2": 0.0,
    "recoPhiSt2": 100 * 2 * np.pi / 576,
    "recoId": True,
}


def one(l1=None, reco=None):
    """One event with one L1 and one offline muon, which match unless told otherwise."""
    row = OrbitBatch(np.array([5]), np.array([1]), np.array([0, 1]), {})
    left = {k: np.array([v]) for k, v in {**L1, **(l1 or {})}.items() if v is not None}
    right = {k: np.array([v]) for k, v in {**RECO, **(reco or {})}.items() if v is not None}
    return OrbitData.of_muons(row.with_columns(**left), row.with_columns(**right), "made by hand")


def n_pairs(events, selection=None):
    flow = CutFlow()
    columns = select_pairs(events, selection or MuonSelection(), flow)
    return columns["hwPt"].size, flow


def test_a_good_pair_is_kept_with_all_columns():
    columns = select_pairs(one(), MuonSelection(), CutFlow())
    assert {k: v.tolist() for k, v in columns.items()} == {
        **{k: [v] for k, v in L1.items() if k != "bxInEvent"},
        **{k: [RECO[k]] for k in ("recoPt", "recoEta", "recoPhi", "recoCharge")},
    }


@pytest.mark.parametrize(
    ("l1", "reco", "cut"),
    [
        ({"bxInEvent": -1}, {}, "central crossing"),
        ({"hwPt": 0}, {}, "a muon"),
        ({"hwPhi": 576}, {}, "a muon"),
        ({"hwPhiAtVtx": 1023}, {}, "a muon"),
        ({"hwChargeValid": 0}, {}, "valid charge"),
        ({"tfMuonIndex": 35}, {}, "tfMuonIndex 36-71 (BMTF)"),
        ({"tfMuonIndex": 72}, {}, "tfMuonIndex 36-71 (BMTF)"),
        ({"hwEta": 79}, {"recoEtaSt2": 0.86}, "|L1 eta"),
        ({"hwEta": -79}, {"recoEtaSt2": -0.86}, "|L1 eta"),
        ({}, {"recoEtaSt2": np.nan}, "reaches station 2"),
        ({}, {"recoPhiSt2": np.inf}, "reaches station 2"),
        ({}, {"recoId": False}, "identified"),
        ({}, {"recoPt": np.nan}, "finite"),
        ({}, {"recoPt": -1.0}, "finite"),
        ({}, {"recoCharge": 0}, "finite"),
        ({"hwPhi": 110}, {}, "matched"),
    ],
)
def test_each_cut_takes_its_muon_and_says_so(l1, reco, cut):
    n, flow = n_pairs(one(l1, reco))
    assert n == 0
    side = flow.offline if reco and not l1 else flow.l1
    first_zero = next(name for name, count in side.items() if not count)
    assert first_zero.startswith(cut)


@pytest.mark.parametrize(
    ("options", "kept", "cut"),
    [
        ({}, (1, 511), "0 <= L1 pT < 255.5 GeV"),
        ({"paper": True}, (6, 90), "2.5 <= L1 pT < 45 GeV"),
        ({"strict": True}, (7, 511), "2.5 < L1 pT < 255.5 GeV"),
        ({"paper": True, "strict": True}, (7, 90), "2.5 < L1 pT < 45 GeV"),
    ],
)
def test_both_ends_of_the_pt_range_are_kept_and_nothing_beyond(options, kept, cut):
    for hw_pt in range(1, 512):
        n, flow = n_pairs(one({"hwPt": hw_pt}), MuonSelection(**options))
        assert n == (kept[0] <= hw_pt <= kept[1])
        assert flow.l1[cut] == n


OMTF = {"tfMuonIndex": 20, "hwEta": 100, "hwEtaAtVtx": 100, "hwPhi": 300, "hwPhiAtVtx": 90}


def test_muons_outside_the_barrel_match_at_the_vertex():
    phi = 90 * 2 * np.pi / 576
    near = {"recoEta": 1.0875 + 0.2, "recoPhi": phi, "recoPhiSt2": np.nan}
    for finders, n in ((("omtf",), 1), (("bmtf", "omtf", "emtf"), 1), (("bmtf",), 0), (("emtf",), 0)):
        assert n_pairs(one(OMTF, near), MuonSelection(finders=finders))[0] == n
    far = {**near, "recoPhi": phi + 0.16}  # 0.26 away
    assert n_pairs(one(OMTF, far), MuonSelection(finders=("omtf",)))[0] == 0


def test_barrel_muons_choose_first_and_no_offline_muon_is_used_twice():
    both = {n: np.array([OMTF.get(n, v), v]) for n, v in L1.items()}
    row = OrbitBatch(np.array([5]), np.array([1]), np.array([0, 2]), both)
    phi = 90 * 2 * np.pi / 576
    reco = {n: np.array([v, v]) for n, v in RECO.items()} | {
        "recoEta": np.array([1.0875, 1.1]),  # at the vertex both are near the OMTF's muon
        "recoPhi": np.array([phi, phi]),
        "recoEtaSt2": np.array([0.0, 0.5]),  # at station 2 only the first is near the barrel's
        "recoPt": np.array([10.0, 20.0]),
    }
    offline = OrbitBatch(np.array([5]), np.array([1]), np.array([0, 2]), reco)
    flow = CutFlow()
    found = select_pairs(
        OrbitData.of_muons(row, offline, "by hand"), MuonSelection(finders=("bmtf", "omtf")), flow
    )
    assert found["tfMuonIndex"].tolist() == [20, 40]
    assert found["recoPt"].tolist() == [20.0, 10.0]
    assert flow.rows()[-2][0] == "matched, dR^2 < 0.01 at station 2, 0.0625 at the vertex outside the barrel"


def test_the_papers_part_of_a_data_set():
    columns = {
        "hwPt": np.array([5, 6, 90, 91, 20, 20, 20]),
        "tfMuonIndex": np.array([40, 36, 71, 40, 35, 72, 40]),
        "simKind": np.array([0, 0, 1, 0, 0, 0, HARD]),
    }
    assert paper_part(columns).tolist() == [False, True, True, False, False, False, False]
    del columns["simKind"]
    assert paper_part(columns).tolist() == [False, True, True, False, False, False, True]


def test_options_change_their_cut_only():
    assert n_pairs(one({"hwPt": 6}), MuonSelection(strict=True))[0] == 0
    assert n_pairs(one({"hwPt": 7}), MuonSelection(strict=True))[0] == 1
    outside = one({"hwEta": 79}, {"recoEtaSt2": 0.86})
    assert n_pairs(outside, MuonSelection(max_abs_eta=None))[0] == 1


def test_bx_in_event_is_not_needed():
    assert n_pairs(one({"bxInEvent": None}))[0] == 1


def test_counts_add_up_over_chunks_and_read_in_order():
    flow = CutFlow()
    for chunk in (one(), one({"hwPt": 91}), one({}, {"recoId": False})):
        select_pairs(chunk, MuonSelection(paper=True), flow)
    rows = flow.rows()
    assert rows[0] == ("all", 3, 3)
    assert rows[-1][1:] == (1, 1)
    assert [r[1] for r in rows if r[1] is not None] == sorted(
        (r[1] for r in rows if r[1] is not None), reverse=True
    )


def test_no_offline_muons_and_missing_columns_are_explained():
    with pytest.raises(InputError, match="no offline muons"):
        n_pairs(dataclasses.replace(one(), offline=None))
    with pytest.raises(InputError, match="L1 muons lack hwEta"):
        n_pairs(one({"hwEta": None}))
    with pytest.raises(InputError, match="offline muons lack recoId"):
        n_pairs(one({}, {"recoId": None}))


def test_nothing_is_lost_of_muons_that_all_match():
    n, flow = n_pairs(toy_events(2000), MuonSelection(max_abs_eta=None))
    assert n > 1900
    assert flow.l1["all"] == 2000
