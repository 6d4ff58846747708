"""The Kalman filter of Run 3: exact against plain Python, right about muons, labelled as what it is."""

import math

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from l1scout.cli.dataset import dataset
from l1scout.dataset.matched import read_dataset
from l1scout.errors import InputError
from l1scout.formats.streams.muon import ETA_LSB, MUON_RUN3, PHI_LSB
from l1scout.io.conditions import KALMAN, OFFICIAL, OWN, of_metadata, simulation
from l1scout.simulate import derive, finders, kalman, kalman_derive, kalman_tables
from l1scout.simulate import stubs as dt
from l1scout.simulate.chain import simulate_events
from l1scout.simulate.transport import transport

PAIRS = {3: 40, 5: 126, 6: 60, 9: 126, 10: 126, 12: 126}


@pytest.fixture(scope="module")
def single():
    """Single muons, their crossings, stubs and candidates."""
    random = np.random.default_rng(12)
    start = derive.single_muons(random, 40_000)
    crossings = transport(start, random)
    stubs = dt.stubs(crossings, random)
    return start, crossings, stubs, kalman.find(stubs, kalman_tables.own_kalman())


def wrap(value, bits):
    return (value + 2 ** (bits - 1)) % 2**bits - 2 ** (bits - 1)


def plain_track(stubs, t, i, pattern):
    """Fit one track in plain Python: rank and what goes into the word, or None."""
    stations = [s for s in (3, 2, 1, 0) if pattern >> s & 1]
    seed = stations[0]
    if any(stubs.quality[i, s] == 0 for s in stations):
        return None
    wheels = {0: (0,), 1: (1, 0), -1: (-1, 0), 2: (2, 1), -2: (-2, -1)}[int(stubs.wheel[i, seed])]
    turn = 2 * math.pi * 4096
    own = {s: math.floor(stubs.phi[i, s] / turn * 12 + 0.5) for s in stations}
    phi = {
        s: int(stubs.phi[i, s]) - math.floor(own[s] * turn / 12 + 0.5) + 2144 * (own[s] - own[seed])
        for s in stations
    }
    if any(abs(own[s] - own[seed]) > 1 or not -2033 < phi[s] < 2032 for s in stations):
        return None
    if any(stubs.wheel[i, s] not in wheels for s in stations):
        return None
    bend = {s: int(stubs.bend[i, s]) for s in stations}
    good = {s: int(stubs.quality[i, s] == dt.CORRELATED) for s in stations}
    k = int(t.initial[seed, abs(bend[seed])]) * (-1 if bend[seed] >= 0 else 1) if good[seed] else 0
    at, angle = phi[seed], 8 * bend[seed] if good[seed] else 0
    hits = 2**seed
    for s in range(seed - 1, -1, -1):
        (a, b), (c, d) = t.phi_step[s + 1].tolist(), t.bend_step[s + 1].tolist()
        at = wrap(at + wrap(a * k // 8192, 14) + wrap(b * angle // 8192, 13), 12)
        angle = wrap(wrap(c * k // 8192, 14) + wrap(d * angle // 16384, 14), 13)
        if s not in stations:
            continue
        off, size = wrap(phi[s] - at, 13), min(abs(k), 4095)
        if pattern in PAIRS:
            g = t.pair[s, seed, 2 * good[seed] + good[s], size // 8].tolist()
            turned = wrap(8 * bend[s] - angle, 14)
            k += wrap(g[0] * off // 16, 19) - wrap(g[1] * turned // 256, 17)
            angle += g[3] * turned // 4096 - wrap(g[2] * off // 256, 17)
        else:
            g = t.several[s, hits, size // 4].tolist()
            k, angle = k + g[0] * off // 8, angle - -(-g[1] * off // 32)
        if abs(k) >= 8191 or abs(angle) >= 4095:
            return None
        at, hits = phi[s], hits | 2**s
    track = wrap((at + angle) // 16, 10)
    spread = 0
    for s in stations:
        stub = wrap(phi[s] // 16 + bend[s] // 2, 10)
        spread += abs(wrap(stub - track, 11) + wrap(-int(t.turn[s]) * (k // 16) // 256, 9))
    spread = min(spread, 127)
    if pattern not in PAIRS and spread > 126 and abs(k) < 2500:
        return None
    rank = 60 if pattern == 12 else 160 + 20 * len(stations) - spread
    half = min(abs(k), 4095) // 2
    impact = wrap((-1 if k > 1 else 1) * int(t.offset[half]) - angle, 13)
    beam = k - int(t.loss[half]) * (1 if k >= 0 else -1)
    beam = wrap(beam + wrap(int(t.vertex[pattern, min(abs(beam), 2047) // 2]) * impact // 64, 14), 14)
    if pattern in PAIRS:
        s = seed if stubs.quality[i, seed] > stubs.quality[i, stations[1]] else stations[1]
        factor, constant, slope = t.direction[s].tolist()
        coarse = beam // 16
        far = abs((16 * bend[s] - factor * coarse) // 16) > 15 * (constant + slope * abs(coarse) // 32)
        if abs(coarse) < 34 and (far or spread > PAIRS[pattern]):
            beam = 8191
    second = phi[1] if 1 in stations else int((8192 * at + int(t.to_second[0]) * angle) / 8192)
    second = max(-4096, min(4095, second))
    return rank, {
        "hwPt": int(t.pt[min(abs(beam), 2047)]),
        "hwPtUnconstrained": int(t.pt[min(abs(k), 2047)]) // 2,
        "hwDXY": min(abs(impact) // 256, 3),
        "hwPhi": (48 * (own[seed] % 12) + 1467 * (second // 4) // 16384) % 576,
        "hwCharge": int(beam < 0),
        "hwQual": 12 + rank // 64,
        "pair": pattern,
        "sector": own[seed] % 12,
    }


def assert_equals_plain(stubs, found, tables, n):
    some = 0
    for i in range(n):
        tracks = [t for p in kalman.PATTERNS if (t := plain_track(stubs, tables, i, p))]
        best = max(tracks, key=lambda t: t[0])[1] if tracks else {"hwPt": 0, "pair": -1}
        some += bool(tracks)
        assert {name: int(getattr(found, name)[i]) for name in best} == best, i
    assert some > n // 2


def test_filter_equals_its_plain_twin(single):
    assert_equals_plain(single[2], single[3], kalman_tables.own_kalman(), 2000)


def test_filter_with_official_gains_equals_its_plain_twin(single, shared_data):
    tables = kalman_tables.read_gains(shared_data / "bmtf-luts" / "kalmanLUTs_v302.root")
    assert_equals_plain(single[2], kalman.find(single[2], tables), tables, 500)


def test_filter_wraps_like_the_hardware():
    """Stubs that no muon makes reach the ends of every register."""
    random = np.random.default_rng(5)
    n = 3000
    phi = random.integers(-3000, 3000, (n, 4)) + random.integers(-12, 13, (n, 1)) * 2144
    bend, quality = random.integers(-512, 512, (n, 4)), random.integers(0, 3, (n, 4))
    wheel, theta = random.integers(-2, 3, (n, 1)).repeat(4, 1), random.integers(-1, 7, (n, 4))
    stubs = dt.Stubs(phi, bend, quality, wheel, theta, np.ones((n, 4), np.bool_))
    tables = kalman_tables.own_kalman()
    found = kalman.find(stubs, tables)
    for i in range(n):
        tracks = [t for p in kalman.PATTERNS if (t := plain_track(stubs, tables, i, p))]
        best = max(tracks, key=lambda t: t[0])[1] if tracks else {"hwPt": 0, "pair": -1}
        assert {name: int(getattr(found, name)[i]) for name in best} == best, i


def test_our_way_to_gains_gives_the_official_ones_from_the_public_settings(shared_data):
    """Where muons are hard; the official ones were averaged over muons, which matters where they scatter."""
    path = shared_data / "bmtf-luts" / "kalmanLUTs_v302.root"
    official = kalman_tables.read_gains(path)
    ours = kalman_tables.tables(kalman_tables.PUBLISHED, *kalman_tables.gains(kalman_tables.PUBLISHED))
    for station, hits in ((2, 8), (1, 8), (1, 12), (1, 4), (0, 12), (0, 10), (0, 6), (0, 14)):
        assert ours.several[station, hits, 10] == pytest.approx(official.several[station, hits, 10], rel=0.15)
    for pattern in kalman.PATTERNS:
        assert ours.vertex[pattern, 50] == pytest.approx(official.vertex[pattern, 50], rel=0.2), pattern
    for pattern in PAIRS:
        outer, inner = (s for s in (3, 2, 1, 0) if pattern >> s & 1)
        assert ours.pair[inner, outer, 0, 6] == pytest.approx(official.pair[inner, outer, 0, 6], abs=15)


def test_muons_are_found_with_charge_and_at_least_their_pt(single):
    start, _, stubs, found = single
    for low, high in ((6, 10), (10, 15), (15, 25), (25, 40)):
        seen = (start.pt > low) & (start.pt < high) & ((stubs.quality > 0).sum(1) > 1)
        here = seen & (found.hwPt > 0)
        assert here.sum() > 0.97 * seen.sum()
        share = (found.hwPt[here] / 2 >= start.pt[here]).mean()
        assert (0.86 if high < 20 else 0.78) < share < 0.95, (low, high)
        assert ((found.hwCharge[here] == 1) == (start.charge[here] < 0)).mean() > 0.98
    # the constraint improves pT
    hard = (start.pt > 15) & (start.pt < 25) & (found.hwPt > 0)
    spread = [
        np.subtract(*np.quantile(np.abs(v[hard]) * start.pt[hard], (0.84, 0.16)))
        for v in (found.curvature.astype(float), found.curvatureAtMuon.astype(float))
    ]
    assert spread[0] < 0.6 * spread[1]


def test_muons_from_the_beam_have_no_impact_parameter(single):
    start, _, _, found = single
    hard = (start.pt > 10) & (found.hwPt > 0)
    impact = found.impact[hard] * start.charge[hard]
    assert abs(np.median(impact)) < 25
    assert (found.hwDXY[hard] == 0).mean() > 0.9


def test_kinked_muons_have_an_impact_parameter():
    random = np.random.default_rng(4)
    start = derive.single_muons(random, 20_000)
    start = start._replace(pt=np.full(20_000, 12.0), eta=start.eta * 0.8)
    kinked = start._replace(kink_radius=np.full(20_000, 1.0), kink_phi=np.full(20_000, 0.8))
    displaced, straight = (
        kalman.find(dt.stubs(transport(s, random), random), kalman_tables.own_kalman())
        for s in (kinked, start)
    )
    assert (displaced.hwDXY[displaced.hwPt > 0] > 0).mean() > 0.8
    assert (straight.hwDXY[straight.hwPt > 0] > 0).mean() < 0.2


def test_candidates_point_where_the_muon_is(single):
    start, crossings, _, found = single
    hard = (found.hwPt > 0) & (start.pt > 8) & np.isfinite(crossings.phi[:, 1])
    dphi = np.mod(found.hwPhi * PHI_LSB - crossings.phi[:, 1] + np.pi, 2 * np.pi) - np.pi
    assert np.median(dphi[hard]) == pytest.approx(-PHI_LSB / 2, abs=8e-4)
    assert np.quantile(np.abs(dphi[hard]), 0.95) < 0.02
    deta = found.hwEta * ETA_LSB - np.arcsinh(crossings.z[:, 1] / 5.124)
    assert np.sqrt(np.mean(deta[hard] ** 2)) < 0.03


def test_shipped_parameters_are_what_the_simulation_gives():
    fresh, own = kalman_derive.parameters(np.random.default_rng(1), 200_000), kalman_tables.own_parameters()
    for name in ("initial", "a_phi", "a_bend", "b_bend", "loss", "to_second", "turn"):
        assert getattr(fresh, name) == pytest.approx(getattr(own, name), rel=0.1, abs=0.002), name
    assert fresh.pt[200:2000:200] == pytest.approx(own.pt[200:2000:200], rel=0.05, abs=1)


def test_run3_events_are_labelled_repeatable_and_fit_into_words():
    one, two = (next(simulate_events(3, trigger="kbmtf", chunk=5000)) for _ in range(2))
    muons = one.muons
    assert muons.simulated
    assert muons["hwPt"].tobytes() == two.muons["hwPt"].tobytes()
    assert set(np.unique(muons["hwDXY"])) <= {0, 1, 2, 3}
    assert 4 <= muons["hwPtUnconstrained"].min() <= muons["hwPtUnconstrained"].max() <= 255
    assert muons["hwQual"].min() >= 12
    columns = {n: muons[n] for n in muons.columns if n.startswith(("hw", "tf")) and n != "hwEta"}
    decoded = MUON_RUN3.decode(MUON_RUN3.encode(columns))
    for name, column in columns.items():
        assert np.array_equal(decoded[name], column), name
    assert "hwDXY" not in next(simulate_events(3, chunk=1000)).muons.columns


def test_conditions_are_those_of_run3(tmp_path):
    made = simulation(trigger="kbmtf")
    assert (made.simulated, made.trigger, made.tables) == (True, KALMAN, OWN)
    assert "Run-3" in made.era
    gains = tmp_path / "gains.root"
    official = simulation(gmt_luts=tmp_path, trigger="kbmtf", kalman_gains=gains)
    assert official.tables == OFFICIAL


def test_tables_of_the_other_track_finder_are_refused(tmp_path):
    with pytest.raises(InputError, match="gains are for the trigger kbmtf"):
        finders.finder_tables(kalman_gains=tmp_path / "gains.root")
    with pytest.raises(InputError, match="the Kalman filter has gains"):
        finders.finder_tables("kbmtf", bmtf_luts=tmp_path)
    with pytest.raises(InputError, match="'kalman'"):
        finders.finder_tables("kalman")


@pytest.mark.parametrize("content", [None, b"", b"root", b"\xff" * 2000])
def test_bad_gains_are_refused_by_name(tmp_path, content):
    path = tmp_path / "gains.root"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"gains\.root"):
        finders.finder_tables("kbmtf", kalman_gains=path)


def test_file_without_gains_is_refused(shared_data):
    nano = shared_data / "real-cms" / "l1nano_run380963_2024_100ev.root"
    with pytest.raises(InputError, match="not a file of gains"):
        kalman_tables.read_gains(nano)


def test_command_makes_run3_data_sets(tmp_path):
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(dataset)
    path = tmp_path / "d.parquet"
    arguments = ["--out", str(path), "--pairs", "2000", "--seed", "3", "--trigger", "kbmtf"]
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    data = read_dataset(path)
    assert data["hwPt"].min() >= 8
    made = of_metadata(data.about)
    assert (made.trigger, made.simulated) == (KALMAN, True)
    assert "Run-3" in made.era
    with pytest.raises(InputError, match="kalman-gains"):
        CliRunner().invoke(app, [str(path), *arguments], catch_exceptions=False)
