"""A simulated run on disk: link capture, truth, and how it was made."""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from l1scout.core.orbit_batch import muon_counts
from l1scout.core.provenance import KEY, current, recorded
from l1scout.errors import InputError
from l1scout.formats.block_format import BlockFormat
from l1scout.formats.wire_formats.run3 import RUN3
from l1scout.link.capture import Capture, write_capture
from l1scout.link.frames import ISO_HDLC, Crc
from l1scout.link.transmit import LinkTiming, Piece, Transmitter, random_timing, transmit
from l1scout.simulate.faults import FaultRates, Injector
from l1scout.simulate.run import Running


@dataclass
class Fibres:
    """Eight links with skew, padding and faults, all drawn from one seed.

    Parameters
    ----------
    form : BlockFormat
    seed : int
    crc : Crc
    rates : FaultRates
    """

    form: BlockFormat = RUN3
    seed: int = 1
    crc: Crc = ISO_HDLC
    rates: FaultRates = field(default_factory=FaultRates)

    def __post_init__(self) -> None:
        self.timing: tuple[LinkTiming, ...] = random_timing(np.random.default_rng([self.seed, 1]))
        self.faults = 0
        self._injector = Injector(self.rates, self.seed, tuple(t.skew for t in self.timing))

    def send(self, pieces: Iterable[Piece]) -> Iterator[Capture]:
        """Give the words that arrive, and count the faults in ``faults``."""
        sent = transmit(pieces, Transmitter(self.form, self.timing, self.crc))
        if self.rates == FaultRates():
            yield from sent
            return
        for capture in self._injector.damage(sent):
            self.faults += len(self._injector.touched)
            self._injector.touched.clear()
            yield capture


def write_run(
    target: Path,
    pieces: Iterable[Piece],
    fibres: Fibres,
    running: Running,
    done: Callable[[int], object] = lambda _: None,
) -> dict[str, Any]:
    """Write ``links.l1l``, ``truth.parquet`` (one row per muon) and ``run.json``, in the memory of one piece.

    Rows of the truth are the muons as sent: ``orbit`` and ``bx`` are those on the fibres. ``true_bx`` is the
    BX to which a muon belongs, ``bx_shift`` by how many BX it was seen late (negative: early), and
    ``origin`` 0 for collisions, 1 and 2 for the upper and lower leg of a cosmic muon, 3 for noise.

    Parameters
    ----------
    target : Path
        Directory; is made if it is not there.
    pieces : iterable of Piece
    fibres : Fibres
    running : Running
        For ``run.json``.
    done : callable
        Is told the number of orbits so far.

    Returns
    -------
    dict
        What is in ``run.json``.

    Raises
    ------
    InputError
        If the directory cannot be written.
    """
    try:
        target.mkdir(parents=True, exist_ok=True)
        truth = _Truth(target / "truth.parquet", done)
        with (target / "links.l1l").open("wb") as links:
            for capture in fibres.send(truth.keep(pieces)):
                write_capture(links, capture)
        truth.finish()
        result = {
            **truth.counts,
            "faults": fibres.faults,
            "simulated": True,
            "seed": fibres.seed,
            "format": fibres.form.name,
            "crc": asdict(fibres.crc),
            "conditions": asdict(running),
            "fault_rates": asdict(fibres.rates),
            "links": [asdict(t) for t in fibres.timing],
        }
        (target / "run.json").write_text(json.dumps(recorded(result), indent=1) + "\n")
    except OSError as error:
        msg = f"{error.filename or target}: {(error.strerror or 'cannot be written').lower()}"
        raise InputError(msg) from error
    return result


class _Truth:
    """Writes the muons that pass through it to a file, and counts them."""

    def __init__(self, path: Path, done: Callable[[int], object]) -> None:
        self._path, self._done = path, done
        self._writer: pq.ParquetWriter | None = None
        self._first_orbit = 0
        self.counts = {"orbits": 0, "final_muons": 0, "intermediate_muons": 0}

    def keep(self, pieces: Iterable[Piece]) -> Iterator[Piece]:
        """Write pieces, and pass them on."""
        for piece in pieces:
            table = _table(piece)
            if self._writer is None:
                self._writer, self._first_orbit = pq.ParquetWriter(self._path, table.schema), piece.first
            self._writer.write_table(table)
            self.counts["orbits"] += piece.stop - piece.first
            final, intermediate = muon_counts(piece.muons)
            self.counts["final_muons"] += final
            self.counts["intermediate_muons"] += intermediate or 0
            yield piece
            self._done(self.counts["orbits"])

    def finish(self) -> None:
        """Complete the file: state the orbits whose muons it holds, empty ones too."""
        if self._writer is not None:
            stated = {"first_orbit": self._first_orbit, "orbits": self.counts["orbits"]}
            self._writer.add_key_value_metadata({name: str(value) for name, value in stated.items()})
            self._writer.close()


def _table(piece: Piece) -> pa.Table:
    muons = piece.muons
    columns = {"orbit": muons.orbit[muons.row], "bx": muons.bx[muons.row].astype(np.int16), **muons.columns}
    made = current(simulated=True)
    said = {"content": "truth of a simulated run", "version": made.version, "simulated": True}
    return pa.table(columns).replace_schema_metadata({"l1scout": json.dumps(said), KEY: made.as_json()})
