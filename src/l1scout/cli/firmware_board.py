"""``l1scout firmware board``: the board's data path in Verilog, beside the software board."""

import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from l1scout.cli.format_option import FORMATS_HELP
from l1scout.cli.output import Json, activity, print_json, print_line, print_table, progress
from l1scout.cli.simulate import one_of
from l1scout.errors import InputError

if TYPE_CHECKING:
    from l1scout.firmware.compare import Words


def board(
    source: Annotated[Path | None, typer.Argument(help="Link capture or MP7 pattern.")] = None,
    target: Annotated[
        Path | None, typer.Option("--out", help="File for the Verilog board's packets.")
    ] = None,
    crowded: Annotated[
        int | None,
        typer.Option(min=1, help="Instead of a source: orbits with every BX full, the worst case."),
    ] = None,
    form: Annotated[str, typer.Option("--format", help=FORMATS_HELP)] = "run3",
    min_hw_pt: Annotated[int, typer.Option(min=1, max=511, help="Smallest hwPt of a muon.")] = 1,
    min_quality: Annotated[int, typer.Option(min=0, max=15, help="Smallest hwQual of a muon.")] = 0,
    per_packet: Annotated[int, typer.Option("--orbits-per-packet", min=1, max=64)] = 20,
    crc: Annotated[str, typer.Option(help="CRC on the links.")] = "CRC-32/ISO-HDLC",
    core: Annotated[
        Path | None, typer.Option(help="Folder of `firmware build`: every muon goes through this core.")
    ] = None,
    model: Annotated[Path | None, typer.Option("--model", "-m", help="Its firmware model.")] = None,
    build: Annotated[
        Path | None, typer.Option(help="Folder for the built simulator; your cache if not given.")
    ] = None,
    synthesis: Annotated[
        bool, typer.Option("--synthesise", help="Count LUTs, flip-flops and block RAM with Yosys instead.")
    ] = False,
    json: Json = False,
) -> None:
    """Simulate the board's Verilog clock by clock, and compare with the software board, bit for bit.

    Packets and counters of both must be the same: if not, exit status is 1 and the first difference is
    told. With --core and --model every muon's word is that of its recalibrated muon, in software by the
    integer network. Needs Verilator (apt-get install verilator g++ make); the simulator is built the first
    time. All is simulation: this design has never been on a board.
    """
    from l1scout.board.sources import captures, is_capture
    from l1scout.board.suppress import INTERMEDIATE_LINKS, BoardSelection
    from l1scout.firmware.compare import compare
    from l1scout.firmware.crowded import crowded_orbits
    from l1scout.firmware.rtl_board import VerilogBoard
    from l1scout.firmware.verilator import program_folder
    from l1scout.formats.block_format import board_format
    from l1scout.formats.records import LINKS
    from l1scout.link.frames import CRCS

    wire_format = board_format(form)
    one_of("--crc", crc, dict(CRCS))
    if synthesis + (source is not None) + (crowded is not None) != 1:
        msg = "give one of: a capture to read, --crowded with a number of orbits, --synthesise"
        raise InputError(msg)
    if (core is None) != (model is None) or (core and synthesis):
        msg = "--core and --model belong together, and not to --synthesise"
        raise InputError(msg)
    if synthesis:
        _synthesise(form, json)
        return
    if source:
        is_capture(source)  # before the simulator is built
    files, recalibrate = _core(core, model) if core and model else ((), None)
    start = time.perf_counter()
    with activity("building the simulator with Verilator: half a minute, the first time"):
        verilog = VerilogBoard(build or program_folder(), wire_format, CRCS[crc], core=files)
    built = time.perf_counter() - start
    pieces = (
        partial(captures, source)
        if source
        else partial(crowded_orbits, crowded or 0, verilog.form, verilog.crc)
    )
    chosen = BoardSelection((min_hw_pt,) * LINKS, (min_quality,) * LINKS, INTERMEDIATE_LINKS)
    with progress() as bars:
        task = bars.add_task("orbits", total=None)
        result = compare(
            verilog,
            pieces,
            target,
            chosen,
            per_packet,
            lambda n: bars.update(task, completed=n),
            recalibrate,
        )
    result["build_seconds"] = built
    if json:
        print_json(result)
    else:
        _show(result)
    if not result["identical"]:
        raise typer.Exit(1)


def _core(folder: Path, model: Path) -> "tuple[list[Path], Words]":
    from l1scout.firmware.build import expected, read_built
    from l1scout.model.directory import load_model

    loaded = load_model(model)
    return read_built(folder, loaded).sources, partial(expected, loaded)


def _synthesise(form: str, json: bool) -> None:
    from l1scout.firmware.rtl_board import sources
    from l1scout.firmware.yosys import synthesise
    from l1scout.formats.block_format import board_format

    with activity("Yosys: a few minutes"):
        result = synthesise(sources(), "scouting_board", {"RUN3": board_format(form).verilog})
    if json:
        print_json(result)
        return
    devices = result["parts"]
    table = Table("after synthesis", "used", *(f"of {name}" for name in devices))
    for name in ("luts", "memory_luts", "flip_flops", "carries", "block_rams", "ultra_rams", "dsps"):
        shares = (f"{100 * d[name]:.2f} %" if name in d else "" for d in devices.values())
        table.add_row(name.replace("_", " "), f"{result[name]:,}", *shares)
    table.add_row("inverters, most of them into luts", f"{result['cells'].get('INV', 0):,}")
    print_table(table)


def _show(result: dict[str, Any]) -> None:
    from l1scout.firmware.rtl_board import CLOCK_MHZ

    c, latency = result["counters"], result["latency"]
    table = Table("clocks of the delivered orbits", "smallest", "median", "largest", f"us at {CLOCK_MHZ} MHz")
    for name, values in latency["spans"].items():
        time_us = "" if name == "rows" else f"{values[2] / CLOCK_MHZ:.2f}"
        table.add_row(name, *(f"{v:,}" for v in values), time_us)
    print_table(table)
    if latency["spans"]:
        print_line(
            f"buffers: free again {latency['slack']:,} clocks before they are needed, both in use "
            f"{100 * latency['both_buffers_in_use']:.1f} % of the time; rows of 32 bytes a clock, of the "
            f"fullest orbit: {latency['rows_per_clock']:.3f}"
        )
    names = ("orbits", "delivered", "flagged", "idle", "lost", "dropped", "blocks", "packets", "bytes")
    print_line(", ".join(f"{c[n]:,} {n}" for n in names))
    print_line(
        f"simulated {result['orbits_per_s']:.1f} orbits/s in {result['seconds']:.1f} s; "
        f"simulator built or found in {result['build_seconds']:.1f} s"
    )
    for name, (own, software) in result["different_counters"].items():
        print_line(f"counter {name}: {own} in Verilog, {software} in software")
    if result["difference"]:
        print_line(f"packets differ at {result['difference']}")
    print_line("Verilog and software board: " + ("identical" if result["identical"] else "DIFFERENT"))
