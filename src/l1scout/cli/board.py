"""``l1scout board``: words from eight fibres in, DMA packets out."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from l1scout.cli.format_option import FORMATS_HELP
from l1scout.cli.output import Json, activity, err, out, print_json
from l1scout.cli.simulate import FAULTS, fault_rates, one_of, running
from l1scout.core.provenance import data_label
from l1scout.errors import InputError

if TYPE_CHECKING:
    from l1scout.board.board import Board
    from l1scout.link.capture import Capture


def board(
    target: Annotated[str, typer.Option("--out", help="File, - (standard output) or tcp://host:port.")],
    source: Annotated[
        Path | None, typer.Argument(help="Link capture, MP7 pattern, or packets to send again.")
    ] = None,
    orbits: Annotated[
        int | None,
        typer.Option("--simulate", min=1, help="Orbits to simulate instead of a source."),
    ] = None,
    form: Annotated[str, typer.Option("--format", help=FORMATS_HELP)] = "run3",
    min_hw_pt: Annotated[int, typer.Option(min=1, max=511, help="Smallest hwPt of a muon.")] = 1,
    min_quality: Annotated[int, typer.Option(min=0, max=15, help="Smallest hwQual of a muon.")] = 0,
    per_packet: Annotated[int, typer.Option("--orbits-per-packet", min=1, max=64)] = 20,
    crc: Annotated[str, typer.Option(help="CRC on the links.")] = "CRC-32/ISO-HDLC",
    pace: Annotated[str, typer.Option(help="full, or lhc: no faster than the LHC.")] = "full",
    drop: Annotated[
        bool | None, typer.Option("--drop/--wait", help="If the consumer is slow; --drop with --pace lhc.")
    ] = None,
    buffer: Annotated[int, typer.Option(min=1, max=1024, help="Packets to hold for a slow consumer.")] = 8,
    seed: Annotated[int, typer.Option(min=0, help="Of the simulation.")] = 1,
    scheme: Annotated[str, typer.Option(help="Filling scheme: 2018 or 2024.")] = "2018",
    occupancy: Annotated[float, typer.Option(help="Part of the BX with a muon.")] = 0.05,
    fault: Annotated[list[str] | None, typer.Option(help=FAULTS)] = None,
    json: Json = False,
) -> None:
    """Decode and align eight links, suppress empty crossings, and write DMA packets.

    A rate line is on standard error; a summary is printed at the end (on standard error if the
    packets go to standard output).
    """
    from l1scout.board.board import Board, line_rate
    from l1scout.board.sinks import BufferedSink, open_sink
    from l1scout.board.sources import captures, is_capture, paced, replay_packets
    from l1scout.board.suppress import INTERMEDIATE_LINKS, BoardSelection
    from l1scout.formats.block_format import board_format
    from l1scout.formats.records import LINKS
    from l1scout.io.input_file import InputFile
    from l1scout.io.readers.dma_packets import packet_format
    from l1scout.link.frames import CRCS
    from l1scout.simulate.run import simulate_run
    from l1scout.simulate.write import Fibres

    wire_format = board_format(form)
    one_of("--crc", crc, dict(CRCS))
    one_of("--pace", pace, {"full": 0, "lhc": 0})
    if (source is None) == (orbits is None):
        msg = "give either a source to read or --simulate with a number of orbits"
        raise InputError(msg)
    if source and fault:
        msg = "--fault is for --simulate: for a capture with faults, see l1scout simulate run"
        raise InputError(msg)
    live = pace == "lhc"
    packets = None
    if source and not is_capture(source):
        with InputFile(source) as file:
            packets = packet_format(file)
    pieces = None
    if packets is None:
        fibres = Fibres(wire_format, seed, CRCS[crc], fault_rates(fault or []))
        simulated = simulate_run(seed, orbits or 0, running=running(scheme, occupancy), form=wire_format)
        pieces = captures(source) if source else fibres.send(simulated)
        pieces = paced(pieces) if live else pieces
    sink = BufferedSink(open_sink(target), buffer, wait=not (live if drop is None else drop))
    start = time.perf_counter()
    try:
        if pieces is None and source and packets:
            result: dict[str, Any] = replay_packets(source, packets, sink, real_time=live)
        else:
            chosen = BoardSelection((min_hw_pt,) * LINKS, (min_quality,) * LINKS, INTERMEDIATE_LINKS)
            work = Board(sink, wire_format, chosen, CRCS[crc], per_packet)
            _run(work, pieces or iter(()), start)
            result = {"data": data_label(work.simulated), **work.counters.summary()}
            result |= line_rate(work.counters, time.perf_counter() - start)
        sink.finish()
    except BrokenPipeError:
        raise
    except OSError as error:
        msg = f"{target}: {(error.strerror or str(error)).lower()}"
        raise InputError(msg) from error
    result["seconds"] = time.perf_counter() - start
    if json and target != "-":
        print_json(result)
    else:
        console = err if target == "-" else out
        for name, value in result.items():
            if name != "links":
                console.print(f"{name.replace('_', ' ')}: {value:,.4g}" if isinstance(value, float) else
                              f"{name.replace('_', ' ')}: {value}")  # fmt: skip
        for name, values in result.get("links", {}).items():
            console.print(f"{name.replace('_', ' ')} by link: {values}")


def _run(work: "Board", pieces: "Iterator[Capture]", start: float) -> None:
    from l1scout.board.board import line_rate
    from l1scout.link.align import windows

    with activity("waiting for the first orbits") as line:
        for capture, orbits in windows(pieces):
            work.take(capture, orbits)
            c, rate = work.counters, line_rate(work.counters, time.perf_counter() - start)
            line.update(
                f"{c.orbits:,} orbits, {rate['million_bx_per_s']:.1f} M BX/s, {rate['gb_per_s']:.2f} GB/s, "
                f"{rate['real_time_factor']:.2f} x LHC; "
                f"{c.flagged} flagged, {c.lost} lost, {c.dropped} dropped"
            )
    work.close()
