"""Packets of small runs, for tests of what comes after the board."""

import io
import shutil
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

from front_end import BOARD_FORMATS, Keep
from l1scout.board.board import Board
from l1scout.board.repeat import RepeatedPackets
from l1scout.formats.packets import TRAILER_BYTES, Trailer
from l1scout.readout.segment_note import SegmentNote
from l1scout.readout.spool import Spool
from l1scout.readout.status import BoardStatus
from l1scout.readout.writer import Limits, SegmentWriter
from l1scout.simulate.live_board import simulated_packets
from l1scout.simulate.run import Running, simulate_run
from l1scout.simulate.write import Fibres
from l1scout.store.catalogue import Catalogue
from l1scout.store.catalogue_tables import ROW_SUM
from l1scout.store.compress import Method
from l1scout.store.compressor import Compressor


@cache
def small_packets(form: str = "run3", orbits: int = 24, occupancy: float = 0.002) -> bytes:
    return simulated_packets(BOARD_FORMATS[form], orbits, occupancy).getvalue()


def packets(form: str = "run3", orbits: int = 24, per: int = 3) -> list[bytes]:
    """Packets of a few orbits each."""
    sink = Keep()
    run = simulate_run(3, orbits, running=Running(occupancy=0.003), form=BOARD_FORMATS[form])
    Board(sink, BOARD_FORMATS[form], orbits_per_packet=per).run(Fibres(BOARD_FORMATS[form], 3).send(run))
    sink.bytes.seek(0)
    return [bytes(p) for p, _ in BOARD_FORMATS[form].split(sink.bytes)]


def dropping(sent: list[bytes], which: set[int], per: int = 3) -> list[bytes]:
    """Return the packets of a board that dropped some of them, as it counts."""
    kept, dropped = [], 0
    for k, packet in enumerate(sent):
        if k in which:
            dropped += per
        else:
            orbits = Trailer.decode(packet[-TRAILER_BYTES:]).orbits - dropped
            kept.append(packet[:-TRAILER_BYTES] + Trailer(0, dropped, orbits).encode())
    return kept


def repeated(form: str, first_orbit: int, orbits: int) -> bytes:
    """Return packets of a board that repeats a short run."""
    sink = Keep()
    source = RepeatedPackets(io.BytesIO(small_packets(form)), BOARD_FORMATS[form], first_orbit)
    source.run(sink, pace=0, orbits=orbits)
    return sink.bytes.getvalue()


def feed(writer: SegmentWriter, stream: bytes, form: str = "run3") -> None:
    """Give a stream of packets to a writer."""
    for packet in BOARD_FORMATS[form].split(io.BytesIO(stream)):
        writer.step(packet)


def ended_spool(folder: Path, run: int = 7) -> Spool:
    """Return a spool with five segments of a run that has ended."""
    spool = Spool(folder)
    writer = SegmentWriter(spool, run, 1, BOARD_FORMATS["run3"], Limits(orbits=5))
    feed(writer, b"".join(packets()))
    writer.finish()
    return spool


def whole_segment(folder: Path, run: int = 7) -> tuple[SegmentNote, bytes]:
    """Return the note and the bytes of a segment with all orbits of a run."""
    spool = Spool(folder)
    writer = SegmentWriter(spool, run, 1, BOARD_FORMATS["run3"])
    feed(writer, b"".join(packets()))
    segment = writer.finish()
    return spool.note(segment), spool.path(segment).read_bytes()


def board_status(**values: object) -> BoardStatus:
    """Return the status of a board with some values, and others that do not matter."""
    counts = ("first_orbit", "packets", "bytes", "waiting", "buffer", "real_time_factor", "seconds")
    return BoardStatus(**{"readout": "connected", "source": 1, **dict.fromkeys(counts, 0), **values})


def stored_spool(spool: Spool, folder: Path, method: str = "") -> Path:
    """Put the segments of a spool and their notes into a store's folder and its catalogue, as they are."""
    folder.mkdir()
    catalogue = Catalogue(folder, create=True)
    for segment in spool.waiting():
        path = folder / segment.folder / segment.name
        path.parent.mkdir(exist_ok=True)
        shutil.copy(spool.path(segment), path)
        path.with_name(f"{path.name}.json").write_bytes(spool.note(segment).encode())
        catalogue.add(spool.note(segment), f"{segment.folder}/{segment.name}")
        if method:
            catalogue.compressed(
                segment, f"{segment.folder}/{segment.name}", method, segment.size, segment.crc32c
            )
    catalogue.close()
    return folder


def change_rows(catalogue: Catalogue, change: str) -> None:
    """Change segments in a catalogue as SQL says, with right checksums: as if the store had written that."""
    catalogue._base.execute(f"UPDATE segments SET {change}")
    catalogue._base.execute(f"UPDATE segments SET row_crc32c = {ROW_SUM}")


def compressed_store(spool: Spool, folder: Path, method: str = "zstd") -> Path:
    """Make a store's folder of a spool as a store leaves it, compressed."""
    stored_spool(spool, folder)
    catalogue = Catalogue(folder)
    compressor = Compressor(folder, catalogue, Method(method), 1, lambda *_, **__: None, ThreadPoolExecutor)
    while compressor.step() == 0:
        pass
    catalogue.close()
    return folder
