"""Data of an analysis: files, a stored run, or a simulated run, as its options name them."""

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from l1scout.cli.analysis_options import Options
from l1scout.cli.live import load
from l1scout.cli.simulate import one_of, running
from l1scout.core.orbit_data import MUON, OrbitData
from l1scout.core.provenance import file_inputs
from l1scout.errors import InputError, printable
from l1scout.io.batches import read_batches
from l1scout.io.folder import expand
from l1scout.io.orbit_mask import OrbitMask, read_mask
from l1scout.io.quality import ReadQuality
from l1scout.io.readers.l1ntuple import EMULATED_NOTE
from l1scout.io.selection import DataSelection, Selector, parse_ranges, read_golden
from l1scout.lhc import FILLING_SCHEMES
from l1scout.simulate.all_streams import simulate_streams
from l1scout.simulate.run import simulate_run
from l1scout.store.losses import with_losses

if TYPE_CHECKING:
    from l1scout.store.stored_run import RunInStore

CHUNK = 100
"""Orbits simulated at a time."""


class AnalysisInput:
    """The data of an analysis, and notes about them.

    Parameters
    ----------
    options : Options
    simulated : iterable of OrbitData, optional
        Data that an analysis simulates itself.
    about : mapping
        Of these data, for the provenance.
    streams : sequence of str
        That are simulated, if the options ask for it; muons alone if there are none.

    Attributes
    ----------
    inputs : tuple of dict
        What was read, for the provenance.
    notes : list of str
        Warnings for the user, once all data were read.

    Raises
    ------
    InputError
        If the options name no data, or contradict each other.
    """

    def __init__(
        self,
        options: Options,
        simulated: Iterable[OrbitData] | None = None,
        about: Mapping[str, Any] | None = None,
        streams: Sequence[str] = (),
    ) -> None:
        self.options, self._simulated, self._streams = options, simulated, streams
        self._stored: RunInStore | None = None
        self.files: list[Path] = []
        self.notes: list[str] = []
        self.quality = ReadQuality()
        self.inputs: tuple[Mapping[str, Any], ...] = ()
        if options.condition and options.simulate is None:
            msg = "--condition needs --simulate"
            raise InputError(msg)
        given = (
            bool(options.files),
            options.run is not None,
            options.simulate is not None,
            simulated is not None,
        )
        if sum(given) != 1:
            msg = "give either files or folders to read, --run, or --simulate with a number of orbits"
            raise InputError(msg)
        self.selector = Selector(
            DataSelection(
                parse_ranges("--runs", options.runs) if options.runs else None,
                parse_ranges("--lumisections", options.lumisections) if options.lumisections else None,
                read_golden(options.golden) if options.golden else None,
            )
        )
        if about is not None:
            self.inputs = (about,)
            return
        if options.simulate is not None:
            one_of("--simulated-scheme", options.simulated_scheme, {**FILLING_SCHEMES, "none": ""})
            what = f"{options.simulate} orbits, scheme {options.simulated_scheme}"
            about = {"simulation": what, "occupancy": options.simulated_occupancy, "seed": options.seed}
            self.inputs = (about | ({"conditions": options.condition} if options.condition else {}),)
            return
        if options.run is not None:
            from l1scout.store.stored_run import stored_run

            folder = options.store or load(None, None).store.folder
            self._stored = stored_run(folder, options.run, options.source)
            self.files, self.notes = self._stored.files, self._stored.notes
        else:
            self.files, skipped = expand(options.files or ())
            self.notes = [f"skipped: {reason}" for reason in skipped]
        self.inputs = file_inputs(self.files)

    def __iter__(self) -> Iterator[OrbitData]:
        """Yield the selected muons in batches, in order of the files."""
        mask = OrbitMask({}) if self.options.masked_orbits is None else read_mask(self.options.masked_orbits)
        yield from self.selector.apply(mask.apply(self._all()))
        if self.options.masked_orbits is not None:
            self.notes.append(f"{mask.left_out:,} orbits are masked by {self.options.masked_orbits.name}")
        self.quality.check(allow_damaged=self.options.accept_damaged)
        self.notes += self.quality.warnings()
        s = self.selector
        if s.uncertain:
            self.notes.append(
                f"{s.uncertain} empty orbits lie in partly selected batches that do not state which "
                "orbits were seen: they were assigned in proportion"
            )

    def _read(self) -> Iterator[OrbitData]:
        """Read the files, or a run of a store."""
        if self._stored is not None:
            return self._stored.read(self.quality, flavour=self.options.flavour)
        return with_losses(read_batches(self.files, quality=self.quality, flavour=self.options.flavour))

    def _all(self) -> Iterator[OrbitData]:
        o = self.options
        if self._simulated is not None:
            yield from self._simulated
            return
        if o.simulate is None:
            emulated = set()
            for events in self._read():
                if events.source.endswith(EMULATED_NOTE):
                    emulated.add(events.source)
                yield events
            self.notes += sorted(emulated)
            return
        beam = o.simulated_scheme != "none"
        conditions = running(
            o.simulated_scheme if beam else "2018",
            o.simulated_occupancy if beam else 0.0,
            o.condition or (),
        )
        if set(self._streams) - {MUON}:
            yield from simulate_streams(o.seed, o.simulate, self._streams, running=conditions)
            return
        for piece in simulate_run(o.seed, o.simulate, running=conditions, chunk=CHUNK, origin=True):
            yield OrbitData.of_muons(piece.muons, source=f"l1scout simulation, seed {o.seed}")

    def warn(self) -> None:
        """Write the notes to standard error."""
        for note in self.notes:
            print(f"l1scout: {printable(note, 2000)}", file=sys.stderr)
