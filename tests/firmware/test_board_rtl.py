"""The board in Verilog against the board in Python: same packets, same counters, whatever the links do."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from front_end import Keep, make_run
from l1scout.board.board import Board
from l1scout.board.suppress import Selection
from l1scout.errors import InputError
from l1scout.firmware.board import OUTCOMES, RTL, Simulation, VerilogBoard, parameters, sources
from l1scout.firmware.compare import compare, different_counters, where_different
from l1scout.firmware.crowded import crowded_orbits
from l1scout.firmware.verilator import build_icarus, build_verilator, have_icarus, have_verilator, run_program
from l1scout.formats.block import LINKS, RUN2, RUN3
from l1scout.formats.packets import packet_orbits, split_packets
from l1scout.link.capture import Capture, splice
from l1scout.link.frames import COMMA, COMMA_K, CRCS, ISO_HDLC, LINE_WORDS, PADDING, PADDING_K
from l1scout.link.receive import STATES, UNLOCKED
from l1scout.link.transmit import LinkTiming, Transmitter, transmit
from l1scout.simulate.faults import FaultRates, Injector
from l1scout.simulate.run import Running, simulate_run

HERE = Path(__file__).parent
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
    board = Board(sink, verilog.form, selection, verilog.crc, per_packet)
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
    Selection,
    st.tuples(*[st.sampled_from((1, 2, 20, 511, 600))] * LINKS),
    st.tuples(*[st.sampled_from((0, 4, 12, 15, 99))] * LINKS),
    st.tuples(*[st.booleans()] * LINKS),
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
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
    _, captures, timing = RUNS[crowd]
    damaged = list(Injector(rates, seed, tuple(t.skew for t in timing)).damage(captures))
    if hole is not None:
        del damaged[hole]
    own = list(one_by_one(damaged))
    both(verilog, damaged, tmp_path, pieces=own, selection=selection, per_packet=per_packet, busy=tuple(busy))


RUNS = [
    make_run(orbits=5, chunk=2, running=Running(occupancy=o, cosmics=c)) for o, c in ((0.05, 0.05), (0.6, 30))
]


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
        for packet in found(stream):
            np.testing.assert_array_equal(packet.rows[1:], whole[packet.orbit[0]][1:])  # all but the header


def found(stream):
    return [packet_orbits(memoryview(bytes(p)), RUN3) for p, _ in split_packets(stream, RUN3) if len(p)]


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
    captures = [Capture.of_links(0, links, sent.ticks), after]
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
    )
    made = both(verilog, [one, nothing], tmp_path)
    assert made.counters.links.states[UNLOCKED].sum() >= 3 * LINKS


def test_a_wrong_polynomial_is_caught(verilog, tmp_path):
    crc = CRCS["CRC-32/ISCSI"]
    captures = list(crowded_orbits(1, crc=crc))
    made = verilog.run(captures, tmp_path / "packets.dat")
    expected = Board(Keep(), crc=crc).run(captures)
    assert different_counters(made.counters, expected)["delivered"] == (0, 1)


ICARUS = pytest.mark.skipif(not have_icarus(), reason="needs Icarus Verilog: apt-get install iverilog")


def by_icarus(folder: Path, form=RUN3, crc=ISO_HDLC, rtl: Path = RTL, core: tuple[Path, ...] = ()):
    """Run one orbit on two links (that is quick) through both: bytes of Icarus's packets, of software's."""
    pieces = list(simulate_run(5, 1, form=form, running=Running(occupancy=0.1)))
    timing = [LinkTiming(90 - 20 * n, 26 + n) for n in range(LINKS)]
    idle = np.full(LINE_WORDS, COMMA, np.uint32), np.full(LINE_WORDS, COMMA_K, np.uint8)
    captures = [
        Capture.of_links(c.first_orbit, [c.link(n) if n % 4 == 0 else idle for n in range(LINKS)], c.ticks)
        for c in transmit(pieces, Transmitter(form, timing, crc))
    ]
    with (folder / "clocks.hex").open("w") as file:
        for c, clocks in zip(captures, (LINE_WORDS, 250), strict=True):
            links = [c.link(n) for n in range(LINKS - 1, -1, -1)]
            for i in range(clocks):
                words = "".join(f"{w[i]:08x}" for w, _ in links)
                k = "".join(f"{m[i]:x}" for _, m in links)
                file.write(f"ff {k} {words} {int(i == 0)} {c.first_orbit:x}\n")
    given = {**parameters(form, crc), "RECALIBRATE": int(bool(core))}
    program = build_icarus([*sources(rtl), *core, HERE / "board_tb.v"], "board_tb", folder, given)
    rows = [line for line in run_program(program).decode().split() if len(line) == 64]
    sink = Keep()
    Board(sink, form, crc=crc).run(captures)
    assert len(sink.bytes.getvalue()) > 200 * 32
    return b"".join(bytes.fromhex(row)[::-1] for row in rows), sink.bytes.getvalue()


@ICARUS
def test_icarus_agrees_with_run_2_another_crc_and_a_core_in_the_path(tmp_path, monkeypatch):
    """Another simulator, four-valued: nothing depends on a register that was never set.

    Nor on how long a core takes.
    """
    monkeypatch.chdir(tmp_path)
    own, software = by_icarus(tmp_path, RUN2, CRCS["CRC-32/MPEG-2"], core=(HERE / "delay_core.v",))
    assert own == software


BROKEN = {
    "crc32.v": ("POLYNOMIAL[31 - bit_at]", "(POLYNOMIAL[31 - bit_at] ^ (bit_at == 9))"),
    "suppressor.v": ("32'd1 << bx[4:0]", "32'd1 << (bx[11:5] == 7'd60 ? bx[4:0] ^ 5'd1 : bx[4:0])"),
}


@ICARUS
@pytest.mark.parametrize("file", BROKEN)
def test_a_broken_board_is_caught(tmp_path, monkeypatch, file):
    monkeypatch.chdir(tmp_path)
    rtl = tmp_path / "rtl"
    shutil.copytree(RTL, rtl)
    right, wrong = BROKEN[file]
    text = (rtl / file).read_text()
    assert text.count(right) == 1
    (rtl / file).write_text(text.replace(right, wrong))
    own, software = by_icarus(tmp_path, rtl=rtl)
    assert own != software


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


def test_what_is_missing_or_refused_is_one_line(tmp_path, monkeypatch):
    bad = tmp_path / "bad.v"
    bad.write_text("module bad; nothing here; endmodule\n")
    with pytest.raises(InputError, match=r"verilator ended with status 1: %\w+.*bad\.v"):
        build_verilator([bad], "bad", bad, tmp_path)
    with pytest.raises(InputError, match=r"iverilog ended .*bad\.v"):
        build_icarus([bad], "bad", tmp_path)
    with pytest.raises(InputError, match=r"none\.v: no such file"):
        build_verilator([tmp_path / "none.v"], "none", bad, tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="apt-get install verilator"):
        VerilogBoard(tmp_path)
    with pytest.raises(InputError, match="apt-get install iverilog"):
        build_icarus([bad], "bad", tmp_path)
