"""Files of packets of simulated boards, all of the same collisions."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

import numpy as np

import l1scout.trigger.simulate_decisions  # the stream gt  # noqa: F401
from l1scout.board.board import Board
from l1scout.board.sinks import StreamSink
from l1scout.errors import InputError
from l1scout.files import complete_folder
from l1scout.formats.packets import Trailer
from l1scout.formats.stream import streams_of_sources
from l1scout.formats.wire_formats.objects import encode_packet, payloads_of
from l1scout.formats.wire_formats.run3 import RUN3
from l1scout.link.transmit import Piece
from l1scout.simulate.activity import Activity
from l1scout.simulate.all_streams import of_streams
from l1scout.simulate.collisions import simulate_orbits, without_truth
from l1scout.simulate.write import Fibres


def write_board_files(
    target: Path,
    boards: Mapping[str, range | None],
    orbits: int,
    activity: Activity,
    seed: int = 1,
    done: Callable[[int], object] = lambda _: None,
) -> dict[str, int]:
    """Simulate orbits, and write what each board sends of them, in the memory of a few orbits.

    Parameters
    ----------
    target : Path
        Folder, which appears when it is complete; a file ``NAME.dat`` per board.
    boards : mapping of str to range or None
        By name, the source ids of a board that sends packets of the format `objects`; None for the board of
        muons, whose words go over eight fibres, and whose packets are of run3.
    orbits : int
    activity : Activity
    seed : int
    done : callable
        Is told the number of orbits so far.

    Returns
    -------
    dict
        Bytes of each file.

    Raises
    ------
    InputError
        If the folder exists and is not empty, or cannot be written.
    """
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        msg = f"{target}: exists already; name a new folder"
        raise InputError(msg)
    with complete_folder(target) as folder, ExitStack() as stack:
        files = {name: stack.enter_context((folder / f"{name}.dat").open("wb")) for name in boards}
        pieces = _pieces(files, boards, orbits, activity, seed, done)
        of_muons = [name for name, sources in boards.items() if sources is None]
        if of_muons:
            Board(StreamSink(files[of_muons[0]]), RUN3).run(Fibres(RUN3, seed).send(pieces))
        else:
            for _ in pieces:
                pass
        return {name: file.tell() for name, file in files.items()}


def _pieces(
    files: Mapping[str, BinaryIO],
    boards: Mapping[str, range | None],
    orbits: int,
    activity: Activity,
    seed: int,
    done: Callable[[int], object],
) -> Iterator[Piece]:
    """Write the packets of all boards but that of muons, and yield the muons."""
    for made in simulate_orbits(seed, orbits, activity=activity):
        numbers = np.arange(made.first, made.stop)
        for name, sources in boards.items():
            if sources is None:
                continue
            data = of_streams(made, [stream.name for stream in streams_of_sources(sources)])
            for source in sources:
                payloads = payloads_of(data.streams, source, numbers)
                files[name].write(encode_packet(source, payloads, Trailer(0, 0, made.stop)))
        yield Piece(without_truth(made.muons), made.first, made.stop)
        done(made.stop)
