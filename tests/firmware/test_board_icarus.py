"""The board in Verilog by Icarus: another simulator, broken boards; what is told when tools are missing."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from front_end import Keep
from l1scout.board.board import Board
from l1scout.errors import InputError
from l1scout.firmware.rtl_board import RTL, VerilogBoard, parameters, sources
from l1scout.firmware.verilator import build_icarus, build_verilator, have_icarus, have_verilator, run_program
from l1scout.formats.records import LINKS
from l1scout.formats.wire_formats.run2 import RUN2
from l1scout.formats.wire_formats.run3 import RUN3
from l1scout.link.capture import Capture
from l1scout.link.frames import COMMA, COMMA_K, CRCS, ISO_HDLC, LINE_WORDS
from l1scout.link.transmit import LinkTiming, Transmitter, transmit
from l1scout.simulate.run import Running, simulate_run

HERE = Path(__file__).parent
ICARUS = pytest.mark.skipif(not have_icarus(), reason="needs Icarus Verilog: apt-get install iverilog")


def by_icarus(folder: Path, form=RUN3, crc=ISO_HDLC, rtl: Path = RTL, core: tuple[Path, ...] = ()):
    """Run one orbit on two links (that is quick) through both: bytes of Icarus's packets, of software's."""
    pieces = list(simulate_run(5, 1, form=form, running=Running(occupancy=0.1)))
    timing = [LinkTiming(90 - 20 * n, 26 + n) for n in range(LINKS)]
    idle = np.full(LINE_WORDS, COMMA, np.uint32), np.full(LINE_WORDS, COMMA_K, np.uint8)
    captures = [
        Capture.of_links(
            c.first_orbit, [c.link(n) if n % 4 == 0 else idle for n in range(LINKS)], c.ticks, True
        )
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
    Board(sink, form, crc=crc, ends=False).run(captures)
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


@pytest.mark.skipif(not (have_verilator() and have_icarus()), reason="needs Verilator and Icarus Verilog")
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
