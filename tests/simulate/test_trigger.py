"""Generator, stubs and track finder: distributions a physicist would check, and a plain twin."""

import numpy as np
import pytest

from l1scout.errors import InputError
from l1scout.formats.streams.muon import ETA_LSB, PHI_BINS, PHI_LSB
from l1scout.io.parquet import STUBS
from l1scout.simulate import bmtf, derive, generator, kinds, tables
from l1scout.simulate import stubs as dt
from l1scout.simulate.transport import transport


@pytest.fixture(scope="module")
def single():
    """Single muons, their stubs and their candidates."""
    random = np.random.default_rng(11)
    start = derive.single_muons(random, 40_000)
    crossings = transport(start, random)
    stubs = dt.stubs(crossings, random)
    return start, crossings, stubs, bmtf.assign(stubs, tables.own_bmtf(), random)


def test_decays_conserve_energy_and_momentum():
    """Parent mass from the muon's share and angle, and a massless neutrino with the rest."""
    drawn = generator.Generator().draw(np.random.default_rng(2), 50_000)
    s = drawn.start
    decay = drawn.kind == kinds.IN_FLIGHT
    p = (s.pt * np.cosh(s.eta))[decay]
    x = s.kink_fraction[decay]
    kink = np.hypot(s.kink_phi / np.cosh(s.eta), s.kink_theta)[decay]
    transverse = kink * x * p
    # invariant mass of muon and neutrino that share p and balance across it
    mass2 = (generator.MUON_MASS**2 + transverse**2) / x + transverse**2 / (1 - x)
    pion, kaon = (
        np.isclose(np.sqrt(mass2), m, rtol=1e-3) for m in (generator.PION_MASS, generator.KAON_MASS)
    )
    assert (pion | kaon).all()
    assert 0.3 < kaon.mean() < 0.7
    assert s.kink_radius[decay].max() <= 1.29
    assert (s.pt * s.kink_fraction).min() >= 2.59


def test_stubs_have_the_chambers_efficiency_and_resolution(single):
    _, crossings, stubs, _ = single
    along = crossings.z[:, 1] - dt.WHEEL_PITCH * np.round(crossings.z[:, 1] / dt.WHEEL_PITCH)
    seen = np.isfinite(along) & (np.abs(along) < dt.WHEEL_HALF)
    assert (stubs.quality[seen, 1] > 0).mean() == pytest.approx(0.94, abs=0.01)
    assert (stubs.theta[seen, 1] >= 0).mean() == pytest.approx(0.94, abs=0.01)
    assert not stubs.quality[~seen, 1].any()
    good = (stubs.quality[:, 1] == dt.CORRELATED) & stubs.clean[:, 1]
    off = stubs.phi[good, 1] * dt.STUB_PHI_LSB - crossings.phi[good, 1]
    assert np.std(off) == pytest.approx(0.30e-3, rel=0.1)
    assert not stubs.theta[:, 3].__ge__(0).any()  # MB4 measures no theta


def plain_assign(stubs, t, i):
    """Assign one particle's pT, pair, phi, charge and quality, in plain Python."""
    hit = [bool(q) for q in stubs.quality[i]]
    for m, (a, b) in enumerate(bmtf.PAIRS):
        ref = bmtf.REFERENCE[m]
        direction = int(stubs.bend[i, ref])
        step = int(stubs.phi[i, b if ref == a else a] - stubs.phi[i, ref])
        low, high = (int(v) for v in t.window[m, direction + 512])
        if not (hit[a] and hit[b] and low <= step <= high):
            continue
        bend = int(stubs.phi[i, b] - stubs.phi[i, a])
        table = t.low if abs(direction) >= t.limit[m] else t.high
        pt = int(table[m, min(max(bend, -2048), 2047) + 2048])
        if sum(hit) == 2 and abs(direction) < t.limit[m]:
            if stubs.quality[i, ref] == dt.CORRELATED:
                pt = min(pt, int(t.bend[m, direction + 512]))
            elif (a, b) == (0, 1) and stubs.quality[i, 1] == dt.CORRELATED:
                pt = min(pt, int(t.bend[6, stubs.bend[i, 1] + 512]))
        source = 1 if hit[1] else ref
        phi = int(np.floor(stubs.phi[i, source] * (dt.STUB_PHI_LSB / PHI_LSB)))
        if not hit[1]:
            phi += int(t.to_second[0 if ref == 0 else 1, direction + 512])
        return pt, m, phi % PHI_BINS, int(bend > 0), 12 if sum(hit) > 2 else 8
    return 0, -1, 0, 0, 0


def test_assignment_equals_its_plain_twin(single):
    stubs, t = single[2], tables.own_bmtf()
    found = bmtf.assign(stubs, t, np.random.default_rng(0), wrong_charge=0.0)
    names = ("hwPt", "pair", "hwPhi", "hwCharge", "hwQual")
    for i in range(3000):
        assert tuple(int(getattr(found, n)[i]) for n in names) == plain_assign(stubs, t, i)


def test_stub_columns_are_those_of_the_stubs(single):
    """Each bit and number, by numpy; all are 0 where there is no candidate."""
    stubs, found = single[2], single[3]
    here = found.hwPt > 0
    hit = stubs.quality > 0
    both = hit[:, 0] & hit[:, 1]
    wanted = {
        "stubStations": hit @ (1 << np.arange(4)),
        "stubPhiB1": np.where(hit[:, 0], stubs.bend[:, 0], 0),
        "stubPhiB2": np.where(hit[:, 1], stubs.bend[:, 1], 0),
        "stubBend12": np.where(both, stubs.phi[:, 1] - stubs.phi[:, 0], 0),
        "stubEtaFine": (hit & (stubs.theta >= 0)).any(axis=1),
    }
    assert tuple(wanted) == STUBS
    for name, values in wanted.items():
        assert np.array_equal(getattr(found, name), np.where(here, values, 0)), name
        assert np.unique(values[here]).size > 1


def test_most_hard_muons_get_at_least_their_pt(single):
    """The nominal tables are generous, the variant of 95 % more so."""
    start, _, stubs, found = single
    generous = bmtf.assign(stubs, tables.own_variants()[-1][0], np.random.default_rng(11))
    for low, high in ((10, 15), (15, 25), (25, 40)):
        here = (start.pt > low) & (start.pt < high)
        shares = []
        for candidates in (found, generous):
            seen = here & (candidates.hwPt > 0)
            shares.append((candidates.hwPt[seen] / 2 >= start.pt[seen]).mean())
        assert 0.65 < shares[0] < 0.8 < 0.88 < shares[1] < 0.97, (low, shares)


def test_candidates_point_where_the_muon_is(single):
    start, crossings, _, found = single
    hard = (found.hwPt > 0) & (start.pt > 8) & np.isfinite(crossings.phi[:, 1])
    dphi = np.mod(found.hwPhi * PHI_LSB - crossings.phi[:, 1] + np.pi, 2 * np.pi) - np.pi
    # half a step too low on average, since the hardware rounds down
    assert np.median(dphi[hard]) == pytest.approx(-PHI_LSB / 2, abs=6e-4)
    assert np.quantile(np.abs(dphi[hard]), 0.95) < 0.02
    deta = found.hwEta * ETA_LSB - np.arcsinh(crossings.z[:, 1] / 5.124)
    assert np.sqrt(np.mean(deta[hard] ** 2)) < 0.02
    wrong = (found.hwCharge == 1) != (start.charge < 0)
    assert wrong[hard & (start.pt < 30)].mean() < 0.02
    assert found.hwQual[hard].tolist().count(12) > 0.6 * hard.sum()


def test_no_stubs_no_candidate():
    shape = 3, 4
    empty = dt.Stubs(*(np.zeros(shape, np.int64) for _ in range(5)), np.ones(shape, np.bool_))
    assert not bmtf.assign(empty, tables.own_bmtf(), np.random.default_rng(0)).hwPt.any()


def test_own_tables_agree_with_the_official_ones(shared_data, single):
    """Where muons read them: a check, not an input."""
    official, own = tables.read_bmtf(shared_data / "bmtf-luts"), tables.own_bmtf()
    stubs = single[2]
    found = bmtf.assign(stubs, official, np.random.default_rng(0))
    for m, (a, b) in enumerate(bmtf.PAIRS[:4]):
        here = found.pair == m
        address = np.clip(stubs.phi[here, b] - stubs.phi[here, a], -2048, 2047) + 2048
        pt = official.high[m, address].astype(int)
        soft = pt < 20
        assert np.abs(own.high[m, address] - pt)[soft].max() <= 3, m
        assert np.abs(own.high[m, address] / pt - 1)[~soft].max() < 0.25, m
    assert np.abs(official.to_second[0, 512:712] - own.to_second[0, 512:712]).max() <= 1
    assert (own.limit == official.limit).all()


@pytest.mark.parametrize(
    "content", [b"", b"180\n1 2\n", b"180\n-2048 x\n", b"\xff\xfe\x00", b"180\n-2048 99999999\n"]
)
def test_bad_bmtf_tables_are_refused_by_name(tmp_path, content):
    (tmp_path / "pta12h.lut").write_bytes(content)
    with pytest.raises(InputError, match="pta12h"):
        tables.read_bmtf(tmp_path)


def test_shipped_tables_are_what_the_simulation_gives():
    fresh = derive.bmtf_tables(derive.singles(np.random.default_rng(1), 400_000), derive.Convention())
    own = tables.own_bmtf()
    for bend in (40, 80, 120, 200, 300):
        ours, again = (int(t.high[0, 2048 + bend]) for t in (own, fresh))
        assert again == pytest.approx(ours, rel=0.05, abs=1), bend
    assert np.abs(fresh.to_second - own.to_second)[:, 412:612].max() <= 1


def test_variants_are_whole_and_differ():
    variants = tables.own_variants()
    assert len(variants) == len(derive.VARIANTS)
    nominal = variants[0]
    assert np.array_equal(nominal[0].high, tables.own_bmtf().high)
    for track_finder, gmt in variants:
        for name, values in track_finder._asdict().items():
            assert values.shape == getattr(nominal[0], name).shape, name
        assert gmt.phi["B"].shape == gmt.eta["B"].shape == nominal[1].phi["B"].shape
    assert len({t.high.tobytes() + g.phi["B"].tobytes() for t, g in variants}) == len(variants)
