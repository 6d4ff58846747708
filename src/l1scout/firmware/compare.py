"""The Verilog board beside the software board, on the same captures."""

import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from l1scout.board.board import Board, BoardCounters
from l1scout.board.sinks import StreamSink
from l1scout.board.suppress import BoardSelection
from l1scout.files import complete_or_nothing
from l1scout.firmware.rtl_board import OUTCOMES, VerilogBoard
from l1scout.formats.block import ROWS
from l1scout.formats.block_format import BlockFormat
from l1scout.formats.packets import ORBITS_PER_PACKET, ROW_BYTES
from l1scout.formats.records import LINKS
from l1scout.link.capture import Capture

_32, _LOW = np.uint64(32), np.uint64(0xFFFFFFFF)


Words = Callable[[NDArray[np.uint64], NDArray[Any] | None], NDArray[np.uint64]]


class RecalibratedSink(StreamSink):
    """Writes packets in which every muon's word is that of its recalibrated muon.

    Parameters
    ----------
    stream : file
    form : BlockFormat
    recalibrate : callable
        Recalibrated words of 64-bit muons and, in Run 3, their hwEta (None where the words have it), as
        `l1scout.firmware.words` makes them.
    """

    def __init__(self, stream: BinaryIO, form: BlockFormat, recalibrate: Words) -> None:
        super().__init__(stream)
        self._form, self._recalibrate = form, recalibrate

    def step(self, packet: memoryview) -> None:
        """Write a packet."""
        changed = memoryview(bytearray(packet))
        form = self._form
        orbits = form.find_orbits(changed)
        for first, last in orbits.spans:
            blocks = orbits.rows[first:last].reshape(-1, ROWS, LINKS)
            for row, name in ((2, "hwEta1"), (4, "hwEta2")):  # f and s of the first and of the second muon
                words = blocks[:, row].astype(np.uint64) | blocks[:, row + 1].astype(np.uint64) << _32
                etas = form.extra.decode(blocks[:, form.bx_row].ravel())[name] if form.extra else None
                new = self._recalibrate(words.ravel(), etas).reshape(words.shape)
                blocks[:, row], blocks[:, row + 1] = new & _LOW, new >> _32
        super().step(changed)


def compare(
    board: VerilogBoard,
    pieces: Callable[[], Iterable[Capture]],
    target: Path | None = None,
    selection: BoardSelection | None = None,
    orbits_per_packet: int = ORBITS_PER_PACKET,
    done: Callable[[int], object] = lambda _: None,
    recalibrate: Words | None = None,
) -> dict[str, Any]:
    """Send captures through both boards.

    Parameters
    ----------
    board : VerilogBoard
    pieces : callable
        Gives the captures; is called twice.
    target : Path, optional
        File for the Verilog board's packets.
    selection : BoardSelection, optional
    orbits_per_packet : int
    done : callable
        Is told the number of orbits sent to the Verilog board so far.
    recalibrate : callable, optional
        What the core does that the Verilog board has: see `RecalibratedSink`.

    Returns
    -------
    dict
        ``identical``: packets and counters; ``difference``: where the packets differ first, or None;
        ``counters``: those of the Verilog board; ``different_counters``: (Verilog, software);
        ``latency``: see `Simulation.latency`; ``orbits``: a dict an orbit, times in clocks;
        ``seconds`` and ``orbits_per_s`` of the simulation; ``simulated`` is True.

    Raises
    ------
    InputError
        If the captures cannot be read, the packets not be written, or the simulation fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        own, software = Path(folder) / "verilog.dat", Path(folder) / "software.dat"
        start = time.perf_counter()
        made = board.run(pieces(), own, selection, orbits_per_packet, done=done)
        seconds = time.perf_counter() - start
        stream = software.open("wb")
        sink = RecalibratedSink(stream, board.form, recalibrate) if recalibrate else StreamSink(stream)
        expected = Board(sink, board.form, selection, board.crc, orbits_per_packet, ends=False).run(pieces())
        sink.finish()
        difference = where_different(own, software, board.form)
        if target:
            with complete_or_nothing(target) as part:
                shutil.copyfile(own, part)
    counters = different_counters(made.counters, expected)
    columns = {n: c.tolist() for n, c in made.orbits.items()}
    columns["outcome"] = [OUTCOMES[k] for k in columns["outcome"]]
    return {
        "simulated": True,
        "identical": difference is None and not counters,
        "difference": difference,
        "counters": made.counters.summary(),
        "different_counters": counters,
        "latency": made.latency(),
        "orbits": [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)],
        "seconds": seconds,
        "orbits_per_s": made.counters.orbits / seconds,
    }


def first_difference(one: Path, two: Path) -> int | None:
    """Return the first byte at which two files differ, the end of the shorter included; None if equal."""
    at = 0
    for a, b in _parts(one, two):
        both = min(a.size, b.size)
        apart = np.flatnonzero(a[:both] != b[:both])
        if apart.size or a.size != b.size:
            return at + int(apart[0] if apart.size else both)
        at += both
    return None


def where_different(own: Path, software: Path, form: BlockFormat) -> str | None:
    """Say where a file of packets differs first from the software's; None if it does not."""
    at = first_difference(own, software)
    if at is None:
        return None
    packet = begin = 0
    with software.open("rb") as stream:
        for part, skipped in form.split(stream):
            end = begin + skipped + len(part)
            if at < end:
                break
            begin, packet = end, packet + 1
    values = []
    for path in (own, software):
        with path.open("rb") as stream:
            stream.seek(at - at % 4)
            values.append(stream.read(4)[::-1].hex() or "the end")
    row, word = divmod(at - begin, ROW_BYTES)
    return (
        f"byte {at}: packet {packet}, row {row}, word {word // 4} is {values[0]} in Verilog, "
        f"{values[1]} in software"
    )


def different_counters(one: BoardCounters, two: BoardCounters) -> dict[str, tuple[Any, Any]]:
    """Return the counters that differ, with both values."""
    a, b = (asdict(c) for c in (one, two))
    a, b = (c | c.pop("links") for c in (a, b))
    return {n: (_plain(a[n]), _plain(b[n])) for n in a if not np.array_equal(a[n], b[n])}


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray) else value


def _parts(one: Path, two: Path, size: int = 1 << 24) -> Iterator[tuple[Any, Any]]:
    with one.open("rb") as a, two.open("rb") as b:
        while True:
            parts = np.frombuffer(a.read(size), np.uint8), np.frombuffer(b.read(size), np.uint8)
            if not parts[0].size and not parts[1].size:
                return
            yield parts
