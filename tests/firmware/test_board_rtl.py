"""The board in Verilog against the board in Python: same packets, same counters, whatever the links do."""

import importlib.util
import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

import hand_made
from front_end import Keep, make_run, splice
from l1scout.board.board import Board, BoardCounters
from l1scout.board.suppress import BoardSelection
from l1scout.cli import make_app
from l1scout.firmware.build import build
from l1scout.firmware.compare import compare, different_counters, where_different
from l1scout.firmware.crowded import crowded_orbits
from l1scout.firmware.rtl_board import OUTCOMES, Simulation, VerilogBoard
from l1scout.firmware.verilator import have_verilator
from l1scout.formats.recalibrated import RECALIBRATED
from l1scout.formats.records import LINKS
from l1scout.formats.wire_formats.run3 import RUN3
from l1scout.link.capture import Capture, write_capture
from l1scout.link.frames import COMMA, COMMA_K, CRCS, LINE_WORDS, PADDING, PADDING_K
from l1scout.link.receive import STATES, UNLOCKED
from l1scout.link.transmit import LinkTiming, Transmitter, transmit
from l1scout.model.directory import load_model
from l1scout.simulate.faults import FaultRates, Injector
from l1scout.simulate.run import Running, simulate_run

FUZZ = settings(
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    phases=(Phase.explicit, Phase.reuse, Phase.generate),  # shrinking would simulate for minutes
)
pytestmark = pytest.mark.skipif(
    not have_verilator(), reason="needs Verilator: apt-get install verilator g++ make"
)


@pytest.fixture(scope="module")
def programs(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("programs")


@pytest.fixture(scope="module")
def verilog(programs) -> VerilogBoard:
    return VerilogBoard(programs)


def both(
    verilog: VerilogBoard, captures, folder: Path, *, pieces=None, selection=None, per_packet=20, busy=()
) -> Simulation:
    """Run both boards, the software's on other pieces if asked, and see that they agree in everything."""
    own, software = folder / "verilog.dat", folder / "software.dat"
    made = verilog.run(captures, own, selection, per_packet, busy)
    sink = Keep(tuple(busy))
    board = Board(sink, verilog.form, selection, verilog.crc, per_packet, ends=False)
    expected = board.run(pieces if pieces is not None else captures)
    software.write_bytes(sink.bytes.getvalue())
    assert where_different(own, software, verilog.form) is None
    assert different_counters(made.counters, expected) == {}
    return made


def one_by_one(captures):
    """Cut captures into pieces of an orbit: the rule that hardware can follow, see docs/firmware-board.md."""
    for c in captures:
        for n in range(c.orbits):
            low, high = c.ticks[:, n], c.ticks[:, n + 1]
            yield splice(c.first_orbit + n, ((c, low, high),), np.stack([low * 0, high - low], axis=1))


def join_all(captures) -> Capture:
    """Put captures that follow each other into one."""
    whole = captures[0]
    for c in captures[1:]:
        ticks = np.concatenate([whole.ticks, whole.ticks[:, -1:] + c.ticks[:, 1:]], axis=1)
        none = np.zeros(LINKS, np.int64)
        whole = splice(
            whole.first_orbit, ((whole, none, whole.ticks[:, -1]), (c, none, c.ticks[:, -1])), ticks
        )
    return whole


def test_a_nominal_run_and_its_clocks(verilog, tmp_path):
    _, captures, _ = make_run(orbits=12, chunk=12)
    made = both(verilog, captures, tmp_path, per_packet=4)
    assert (made.counters.delivered, made.counters.idle) == (12, 1)
    assert made.clocks == 13 * LINE_WORDS
    spans = made.latency()["spans"]
    assert spans["last word to decision"] == [3, 3, 3]
    assert spans["decision to first row"] == [120, 120, 120]
    assert 32 * made.orbits["rows"].sum() == made.counters.bytes
    assert np.diff(made.orbits["signal"]).tolist() == [LINE_WORDS] * 12


def test_the_whole_range_of_skew_and_padding(verilog, tmp_path):
    pieces = list(simulate_run(6, 5, chunk=4))
    timing = [LinkTiming(s, p, 3) for s, p in ((-100, 26), (100, 26), (0, 100), (-100, 22000), (100, 900))]
    timing += [LinkTiming(k, 26 + k, k) for k in range(3)]
    made = both(verilog, list(transmit(pieces, Transmitter(RUN3, timing))), tmp_path)
    assert (made.counters.delivered, made.counters.flagged) == (5, 0)


def test_every_crossing_full(verilog, tmp_path):
    """An orbit leaves within the time of one: no row is held up, no orbit dropped."""
    made = both(verilog, list(crowded_orbits(4)), tmp_path, per_packet=2)
    assert (made.counters.delivered, made.counters.dropped) == (4, 0)
    assert made.counters.blocks == 4 * 3564
    assert made.latency()["slack"] > 500
    assert made.latency()["spans"]["first row to last row"][2] <= 21403 + 2


@cache
def run_of(crowd):
    """Truth, captures and timing of five orbits with few muons, or with many."""
    occupancy, cosmics = ((0.05, 0.05), (0.6, 30))[crowd]
    return make_run(orbits=5, chunk=2, running=Running(occupancy=occupancy, cosmics=cosmics))


def rate(*values):
    return st.sampled_from((0.0, 0.0, *values))


FAULTS = st.builds(
    FaultRates,
    flips=rate(1e-7, 1e-6, 1e-5, 1e-3, 0.3),
    k_flips=rate(1e-7, 1e-6, 1e-5, 1e-3, 0.3),
    lost_words=rate(1e-7, 1e-6, 1e-5, 1e-3, 0.3),
    doubled_words=rate(1e-7, 1e-6, 1e-5, 1e-3, 0.3),
    stuck=rate(0.01, 0.1, 1.0),
    bad_crc=rate(0.01, 0.1, 1.0),
    dead=rate(0.01, 0.1, 0.5),
    skew_jumps=rate(0.01, 0.1, 1.0),
    dead_orbits=st.integers(1, 4),
)
SELECTIONS = st.builds(
    BoardSelection,
    st.tuples(*[st.sampled_from((1, 2, 20, 511, 600))] * LINKS),
    st.tuples(*[st.sampled_from((0, 4, 12, 15, 99))] * LINKS),
    st.tuples(*[st.booleans()] * LINKS),
)


@settings(FUZZ, max_examples=30)
@given(
    rates=FAULTS,
    seed=st.integers(0, 1 << 32),
    selection=SELECTIONS,
    per_packet=st.sampled_from((1, 2, 20)),
    busy=st.sets(st.integers(1, 5)),
    hole=st.sampled_from((None, None, 0, 1)),
    crowd=st.booleans(),
)
def test_any_mixture_of_faults(verilog, tmp_path, rates, seed, selection, per_packet, busy, hole, crowd):
    _, captures, timing = run_of(crowd)
    damaged = list(Injector(rates, seed, tuple(t.skew for t in timing)).damage(captures))
    if hole is not None:
        del damaged[hole]
    own = list(one_by_one(damaged))
    both(verilog, damaged, tmp_path, pieces=own, selection=selection, per_packet=per_packet, busy=tuple(busy))


EDGES = st.tuples(
    st.integers(0, LINKS - 1),
    st.integers(0, 5),  # orbit
    st.one_of(st.integers(0, 8), st.integers(198, 210), st.integers(0, 300)),  # words after its signal
    st.sampled_from(((COMMA, COMMA_K), (COMMA ^ 1 << 20, COMMA_K), (PADDING, PADDING_K), (0, 0), (5, 2))),
    st.integers(1, 3),  # words
)


@settings(FUZZ, max_examples=20)
@given(
    edits=st.lists(EDGES, max_size=40), late=st.lists(st.integers(2985, 2991), min_size=LINKS, max_size=LINKS)
)
def test_the_edges_of_the_window_and_of_what_is_overdue(verilog, tmp_path, edits, late):
    """Commas, padding, K words and data where an orbit may begin; ends about the last word that counts."""
    _, captures, _ = run_of(0)
    whole = join_all(captures)
    links = [whole.link(n) for n in range(LINKS)]
    for n, due in enumerate(late[: len(edits) % (LINKS + 1)]):
        words, mask = links[n]
        tick = int(whole.ticks[n, 3])
        end = tick + 204
        while mask[end - 1] == COMMA_K or mask[end - 1] == PADDING_K or mask[end] != COMMA_K:
            end -= 1  # the first comma after orbit 2
        more = tick + due - end
        links[n] = (
            np.insert(words, end - 500, np.full(more, PADDING, np.uint32))[: words.size],
            np.insert(mask, end - 500, np.full(more, PADDING_K, np.uint8))[: words.size],
        )
    for n, orbit, place, (word, k), count in edits:
        at = int(whole.ticks[n, orbit]) + place
        links[n][0][at : at + count], links[n][1][at : at + count] = word, k
    captures = list(one_by_one([Capture.of_links(whole.first_orbit, links, whole.ticks, whole.simulated)]))
    both(verilog, captures, tmp_path, per_packet=2)


def test_each_fault_alone_is_seen(verilog, tmp_path):
    _, captures, timing = make_run(orbits=8, chunk=8)
    skews = tuple(t.skew for t in timing)
    expected = {
        "flips": "crc", "k_flips": "code", "lost_words": "length", "doubled_words": "length",
        "stuck": "length", "bad_crc": "crc", "dead": "unlocked", "skew_jumps": "length",
    }  # fmt: skip
    for name, state in expected.items():
        value = 1e-5 if "flips" in name or "words" in name else 0.2
        damaged = list(Injector(FaultRates(**{name: value}, dead_orbits=2), 3, skews).damage(captures))
        made = both(verilog, damaged, tmp_path)
        assert made.counters.links.states[STATES.index(state)].sum() > 0, name
    assert made.counters.links.realigns.sum() > 0


def test_orbits_are_dropped_while_the_sink_is_not_ready(verilog, tmp_path):
    _, captures, _ = make_run(orbits=12)
    made = both(verilog, captures, tmp_path, per_packet=4, busy=(2, 3))
    assert (made.counters.dropped, made.counters.delivered) == (2, 10)
    assert made.orbits["orbit"][made.orbits["outcome"] == OUTCOMES.index("dropped")].tolist() == [1004, 1005]


def test_rows_held_up_cost_whole_orbits(verilog, tmp_path):
    """The sink takes a row in two: of full orbits one in two is dropped, and none is damaged."""
    captures = list(crowded_orbits(8))
    own = tmp_path / "verilog.dat"
    made = verilog.run(captures, own, stall=(1, 2), orbits_per_packet=1)
    c = made.counters
    assert (c.orbits, c.delivered + c.dropped + c.idle + c.lost) == (9, 9)
    assert c.delivered >= 3
    assert c.dropped >= 3
    sink = Keep()
    Board(sink, orbits_per_packet=1).run(captures)
    sink.bytes.seek(0)
    whole = {p.orbit[0]: p.rows for p in found(sink.bytes)}
    with own.open("rb") as stream:
        packets = found(stream)
        assert len(packets) == c.delivered
        for packet in packets:
            np.testing.assert_array_equal(packet.rows[1:], whole[packet.orbit[0]][1:])  # all but the header


def found(stream):
    return [RUN3.find_orbits(memoryview(bytes(p))) for p, _ in RUN3.split(stream) if len(p)]


def test_an_orbit_that_is_overdue(verilog, tmp_path):
    """The software's answer depends on where the capture is cut: hardware's is that of pieces of an orbit."""
    pieces = list(simulate_run(3, 3, chunk=3))
    sent, after = transmit(pieces, Transmitter(RUN3))
    links = [sent.link(n) for n in range(LINKS)]
    words, mask = links[0]
    flood = np.full(4000, PADDING, np.uint32), np.full(4000, PADDING_K, np.uint8)
    links[0] = (
        np.insert(words, 5000, flood[0])[: words.size],
        np.insert(mask, 5000, flood[1])[: words.size],
    )
    captures = [Capture.of_links(0, links, sent.ticks, sent.simulated), after]
    made = both(verilog, captures, tmp_path, pieces=list(one_by_one(captures)))
    assert made.orbits["good"][0] == 0xFE
    assert Board(Keep()).run(captures).flagged < made.counters.flagged


def test_signals_closer_than_a_window(verilog, tmp_path):
    """No words at all between two signals: nothing is there, on any link, and time goes on."""
    _, (one, two, *_), _ = make_run(orbits=6)
    nothing = Capture.of_links(
        two.first_orbit,
        [(np.zeros(0, np.uint32), np.zeros(0, np.uint8))] * LINKS,
        np.zeros((LINKS, 4), np.int64),
        two.simulated,
    )
    made = both(verilog, [one, nothing], tmp_path)
    assert made.counters.links.states[UNLOCKED].sum() >= 3 * LINKS


def test_a_wrong_polynomial_is_caught(verilog, tmp_path):
    crc = CRCS["CRC-32/ISCSI"]
    captures = list(crowded_orbits(1, crc=crc))
    made = verilog.run(captures, tmp_path / "packets.dat")
    expected = Board(Keep(), crc=crc).run(captures)
    assert different_counters(made.counters, expected)["delivered"] == (0, 1)


def test_the_first_difference_is_told(verilog, tmp_path):
    target = tmp_path / "packets.dat"
    result = compare(verilog, lambda: crowded_orbits(1), target)
    assert result["identical"]
    assert result["orbits"][0]["outcome"] == "delivered"
    data = bytearray(target.read_bytes())
    data[32 * 7 + 9] ^= 0x40
    target.with_suffix(".bad").write_bytes(data)
    told = where_different(target.with_suffix(".bad"), target, RUN3)
    assert told.startswith(f"byte {32 * 7 + 9}: packet 0, row 7, word 2 is ")
    target.with_suffix(".bad").write_bytes(data[:32])
    assert "the end in Verilog" in where_different(target.with_suffix(".bad"), target, RUN3)


def test_the_command(tmp_path, programs, monkeypatch):
    _, captures, _ = make_run(orbits=2)
    path, target = tmp_path / "links.l1l", tmp_path / "packets.dat"
    with path.open("wb") as stream:
        for capture in captures:
            write_capture(stream, capture)
    command = ["firmware", "board", str(path), "--build", str(programs), "--out", str(target)]
    done = CliRunner().invoke(make_app(), [*command, "--json"])
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout)
    assert (result["identical"], result["simulated"], result["counters"]["delivered"]) == (True, True, 2)
    assert result["provenance"]["data"] == "simulated"
    assert target.stat().st_size == result["counters"]["bytes"]
    assert "Verilog and software board: identical" in CliRunner().invoke(make_app(), command).stdout
    monkeypatch.setattr("l1scout.firmware.compare.Board.run", lambda self, pieces: BoardCounters())
    done = CliRunner().invoke(make_app(), command)
    assert done.exit_code == 1
    assert "counter orbits: 3 in Verilog, 0 in software" in done.stdout


@pytest.mark.long
@pytest.mark.skipif(importlib.util.find_spec("da4ml") is None, reason="no da4ml")
def test_a_built_core_in_the_path_recalibrates_every_muon(tmp_path, programs):
    """A network that looks up, of a domain so wide that simulated muons are in it; hwEta comes apart."""
    domain = {**hand_made.TINY, "hwPhiAtVtx": (0, 575), "hwPt": (6, 60), "hwEtaAtVtx": (-78, 78)}
    network = hand_made.integer_network(1, domain)
    made = hand_made.at_station(hand_made.firmware_model(network, domain))
    model = load_model(hand_made.firmware_directory(tmp_path / "fw", made))
    build(model, tmp_path / "rtl", cutoff=5)
    _, captures, _ = make_run(orbits=2)
    path, target = tmp_path / "links.l1l", tmp_path / "packets.dat"
    with path.open("wb") as stream:
        for capture in captures:
            write_capture(stream, capture)
    command = ["firmware", "board", path, "--build", programs, "--out", target, "--json"]
    core = ["--core", tmp_path / "rtl", "--model", tmp_path / "fw"]
    done = CliRunner().invoke(make_app(), [str(word) for word in [*command, *core]])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["identical"] is True
    with target.open("rb") as stream:
        rows = [RUN3.find_orbits(bytes(packet)) for packet, _ in RUN3.split(stream)]
    high = np.concatenate(
        [r.rows[a:b].reshape(-1, 6, 8)[:, row] for r in rows for a, b in r.spans for row in (3, 5)]
    )
    recalibrated = RECALIBRATED.decode(high.ravel().astype(np.uint64) << np.uint64(32))["isRecal"]
    muons = np.count_nonzero(high)
    assert muons > 100
    assert 50 < recalibrated.sum() < muons, "only muons of the domain are"
    for words in ([*command, *core[:2]], ["firmware", "board", "--synthesise", *core]):
        done = CliRunner().invoke(make_app(), [str(word) for word in words])
        assert "--core and --model belong together" in str(done.exception)
