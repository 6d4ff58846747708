"""The board's data path in Verilog: simulated clock by clock on link captures, beside the software board."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1scout.board.board import BoardCounters
from l1scout.board.suppress import BoardSelection
from l1scout.firmware.verilator import build_verilator, run_program
from l1scout.formats.block_format import BlockFormat
from l1scout.formats.packets import ORBITS_PER_PACKET
from l1scout.formats.records import LINKS
from l1scout.formats.wire_formats.run3 import RUN3
from l1scout.link.capture import Capture, write_capture
from l1scout.link.frames import ISO_HDLC, LINE_WORDS, Crc
from l1scout.link.receive import STATES, LinkCounters

RTL = Path(__file__).parent / "rtl"
MODULES = (
    *("crc32", "link_receiver", "suppressor", "orbit_buffer", "bx_finder"),
    *("link_counters", "orbit_account", "packet_framer", "scouting_board"),
)
OUTCOMES = ("idle", "lost", "dropped", "delivered")
CLOCK_MHZ = 250
"""One word of a link a clock: what the line gives, not what a synthesis has reached."""
_COLUMNS = (
    *("orbit", "outcome", "good", "signal", "first_word", "last_word"),
    *("decided", "first_row", "last_row", "rows"),
)


def sources(rtl: Path = RTL) -> list[Path]:
    """Verilog files of the data path; the top module is ``scouting_board``."""
    return [rtl / f"{name}.v" for name in MODULES]


def parameters(form: BlockFormat, crc: Crc) -> dict[str, int | str]:
    """Return the top module's parameters for a packet format and a CRC."""
    return {
        "RUN3": form.verilog,
        "CRC_POLYNOMIAL": f"32'h{crc.polynomial:08X}",
        "CRC_START": f"32'h{crc.start:08X}",
        "CRC_END": f"32'h{crc.end:08X}",
        "CRC_REFLECTED": int(crc.reflected),
    }


@dataclass(frozen=True)
class Simulation:
    """What the Verilog board made of a capture.

    Parameters
    ----------
    counters : BoardCounters
        Its own counters; bytes and packets as they came out.
    orbits : dict of ndarray of int64, shape (orbits,)
        ``orbit``, ``outcome`` (of `OUTCOMES`), ``good`` (links as bits) and clocks since the start:
        ``signal`` (orbit signal), ``first_word`` and ``last_word`` (payload and CRC, over the good links),
        ``decided``, ``first_row`` and ``last_row`` (of the packet, 32 bytes each), number of ``rows``.
    clocks : int
        Until the capture's end.
    two_buffers : int
        Clocks in which both orbit buffers were in use.
    """

    counters: BoardCounters
    orbits: dict[str, NDArray[np.int64]]
    clocks: int
    two_buffers: int

    def latency(self) -> dict[str, Any]:
        """Return how long the delivered orbits took; with none, the values are None.

        Returns
        -------
        dict
            ``spans``: clocks between steps, smallest, median and largest. ``slack``: clocks that the
            slowest orbit's buffer was free before it was needed again. ``rows_per_clock``: what the
            sink must take so that the fullest orbit is out within one. ``both_buffers_in_use``: part of
            the time.
        """
        o = self.orbits
        delivered = o["outcome"] == OUTCOMES.index("delivered")
        spans = {
            "first word to last word": o["last_word"] - o["first_word"],
            "last word to decision": o["decided"] - o["last_word"],
            "decision to first row": o["first_row"] - o["decided"],
            "first row to last row": o["last_row"] - o["first_row"],
            "first word to first row": o["first_row"] - o["first_word"],
            "first word to last row": o["last_row"] - o["first_word"],
            "orbit signal to last row": o["last_row"] - o["signal"],
            "rows": o["rows"],
        }
        some = {name: s[delivered] for name, s in spans.items()} if delivered.any() else {}
        return {
            "clock_mhz": CLOCK_MHZ,
            "orbit_clocks": LINE_WORDS,
            "spans": {n: [int(s.min()), int(np.median(s)), int(s.max())] for n, s in some.items()},
            # an orbit's buffer is lent again two orbits later
            "slack": 2 * LINE_WORDS - int(some["orbit signal to last row"].max()) if some else None,
            "rows_per_clock": int(o["rows"].max()) / LINE_WORDS if some else None,
            "both_buffers_in_use": self.two_buffers / self.clocks if self.clocks else None,
        }


@dataclass
class VerilogBoard:
    """A simulator of the board, built by Verilator for one format and one CRC.

    Parameters
    ----------
    build : Path
        Folder in which built programs are kept.
    form : BlockFormat
    crc : Crc
    optimise : str
        Of the C++ compiler.
    rtl : Path
        Folder with the sources.
    core : sequence of Path
        Sources of a module ``recalibrate`` through which every muon goes; without any, muons stay as
        they are.

    Raises
    ------
    InputError
        If Verilator is missing, or refuses the sources.
    """

    build: Path
    form: BlockFormat = RUN3
    crc: Crc = ISO_HDLC
    optimise: str = "-O1"
    rtl: Path = RTL
    core: Sequence[Path] = ()
    program: Path = field(init=False)

    def __post_init__(self) -> None:
        self.program = build_verilator(
            [*sources(self.rtl), *self.core],
            "scouting_board",
            self.rtl / "board_main.cpp",
            self.build,
            {**parameters(self.form, self.crc), "RECALIBRATE": int(bool(self.core))},
            optimise=self.optimise,
            strict=not self.core,
        )

    def run(
        self,
        pieces: Iterable[Capture],
        packets: Path,
        selection: BoardSelection | None = None,
        orbits_per_packet: int = ORBITS_PER_PACKET,
        busy: Iterable[int] = (),
        stall: tuple[int, int] = (0, 1),
        done: Callable[[int], object] = lambda _: None,
    ) -> Simulation:
        """Simulate captures to the end.

        Parameters
        ----------
        pieces : iterable of Capture
            Orbit numbers that do not follow each other end what is under way. All of one origin: the mark of
            simulated orbits is an input of the board that does not change while it runs.
        packets : Path
            File for the packets.
        selection : BoardSelection, optional
        orbits_per_packet : int
            1 to 127.
        busy : iterable of int
            The sink is not ready for a packet when it is asked for these times; the first is 1.
        stall : (int, int)
            (n, N): in n of N clock cycles the sink does not take a row.
        done : callable
            Is told the number of orbits sent so far.

        Raises
        ------
        InputError
            If the simulation fails.
        """
        chosen = selection or BoardSelection()
        arguments = [
            str(packets),
            _text(min(v, 512) for v in chosen.min_hw_pt),
            _text(min(v, 16) for v in chosen.min_quality),
            str(sum(1 << n for n, yes in enumerate(chosen.intermediate) if yes)),
            str(orbits_per_packet),
            _text(busy),
            _text(stall),
        ]
        told = run_program(self.program, _sent(pieces, done), arguments).decode()
        return _read(told)


def _text(values: Iterable[int]) -> str:
    return ",".join(str(v) for v in values)


def _sent(pieces: Iterable[Capture], done: Callable[[int], object]) -> Iterator[bytes]:
    orbits = 0
    for capture in pieces:
        stream = BytesIO()
        write_capture(stream, capture)
        yield stream.getvalue()
        orbits += capture.orbits
        done(orbits)


def _read(told: str) -> Simulation:
    rows, values = [], {}
    for line in told.splitlines():
        name, *numbers = line.split()
        if name == "orbit":
            rows.append([int(n) for n in numbers])
        else:
            values[name] = [int(n) for n in numbers]
    # lost orbits are told before those that are still being written
    table = np.array(sorted(rows, key=lambda r: r[3]), np.uint64).reshape(-1, len(_COLUMNS)).astype(np.int64)
    links = LinkCounters(
        np.array(values["commas"]),
        np.array(values["realigns"]),
        np.array(values["states"]).reshape(len(STATES), LINKS),
    )
    names = ("orbits", "delivered", "flagged", "idle", "lost", "dropped", "blocks", "packets", "bytes")
    counters = BoardCounters(**{n: values[n][0] for n in names}, links=links)
    columns = dict(zip(_COLUMNS, table.T, strict=True))
    return Simulation(counters, columns, values["clocks"][0], values["two_buffers"][0])
