"""Histograms of a run in a ROOT file: uproot, ROOT and hist read them, and so does the monitor."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1scout.core.provenance import Provenance, data_label
from l1scout.errors import InputError, printable
from l1scout.files import complete_or_nothing
from l1scout.formats.stream import STREAMS
from l1scout.quality.accumulators import RunHistograms
from l1scout.quality.histogram_definitions import definitions, stream_of
from l1scout.quality.stream_histograms import Counts

SUMMARY = "l1scout_histograms"
"""Name of the string that describes the file, in JSON."""
MAX_SECTION_BINS = 1 << 22
"""Bins of a histogram with an axis of lumisections; larger ones are not written by lumisection."""


class SavedHistograms:
    """Histograms of a run as a file has them.

    Parameters
    ----------
    runs : list of int
    data : str
        ``simulated``, ``real`` or ``unknown``.
    orbits : dict of str to int
        Orbits seen, by stream; 0 for triggered data.
    counts : dict of str to dict
        Counts by stream and histogram.
    trend : dict of str to dict
        By stream: see `l1scout.quality.stream_histograms.StreamHistograms.trend`.
    """

    def __init__(
        self,
        runs: list[int],
        data: str,
        orbits: dict[str, int],
        counts: dict[str, Counts],
        trend: dict[str, dict[str, NDArray[np.int64]]],
    ) -> None:
        self.runs, self.data, self.orbits, self.counts, self.trend = runs, data, orbits, counts, trend


def saved_file(name: Path, folder: Path | None) -> Path:
    """Return the file of a run that the monitor saved in a folder, if the name is a number; else the name."""
    is_run = folder is not None and str(name).isdecimal()
    return folder / f"run{int(str(name)):06d}.root" if folder is not None and is_run else name


def saved(histograms: RunHistograms) -> SavedHistograms:
    """Return the sums over the run."""
    return SavedHistograms(
        sorted({at.run for stream in histograms.streams.values() for at in stream.live.sections}),
        data_label(histograms.simulated),
        {name: stream.orbits for name, stream in histograms.streams.items()},
        {name: stream.run() for name, stream in histograms.streams.items()},
        {name: stream.trend() for name, stream in histograms.streams.items()},
    )


def write_histograms(path: Path, histograms: RunHistograms, provenance: Provenance) -> None:
    """Write the histograms of a run, and those of its lumisections that are kept.

    The file has ``STREAM/NAME`` for the run and ``sections/STREAM/NAME``, whose first axis is the place in
    the list of lumisections in the JSON string `SUMMARY`; and the provenance as the string
    ``l1scout_provenance``. It appears when it is complete.
    """
    import uproot
    from hist import Hist, axis, storage

    run = saved(histograms)
    sections = histograms.sections
    summary = {
        "version": 1,
        "runs": run.runs,
        "data": run.data,
        "orbits": run.orbits,
        "sections": [[at.run, at.number] for at in sections],
        "trend": {
            stream: {name: column.tolist() for name, column in trend.items()}
            for stream, trend in run.trend.items()
        },
    }
    with complete_or_nothing(path) as part, uproot.recreate(part) as file:
        for name, histogram in histograms.histograms().items():
            file[name] = histogram
        place = axis.Regular(max(len(sections), 1), 0, max(len(sections), 1), name="section", flow=False)
        for name, stream in histograms.streams.items():
            for definition in definitions(name):
                shape = (len(sections), *definition.shape)
                if not sections or len(shape) > 3 or np.prod(shape) > MAX_SECTION_BINS:
                    continue
                rows = np.zeros(shape)
                for k, section in enumerate(sections):
                    if section in stream.sections:
                        rows[k] = stream.sections[section][definition.name]
                if rows.any():
                    axes = [place, *(a.hist_axis() for a in definition.axes)]
                    made: Hist[Any] = Hist(*axes, storage=storage.Double(), name=definition.title)
                    made[...] = rows
                    file[f"sections/{name}/{definition.name}"] = made
        file[SUMMARY] = json.dumps(summary)
        file["l1scout_provenance"] = provenance.as_json()


def read_histograms(path: Path) -> SavedHistograms:
    """Read the sums over the run (InputError if the file is damaged, or has other contents)."""
    import uproot

    try:
        with uproot.open(path) as file:
            summary = json.loads(str(file[SUMMARY]))
            counts: dict[str, Counts] = {}
            for stream in summary["orbits"]:
                if stream_of(stream) not in STREAMS:
                    continue
                counts[stream] = {}
                for definition in definitions(stream):
                    values = np.asarray(file[f"{stream}/{definition.name}"].values())
                    if values.shape != definition.shape:
                        msg = f"{stream}/{definition.name} has other bins than this version of l1scout"
                        raise InputError(msg)
                    counts[stream][definition.name] = np.rint(values).astype(np.int64)
            trend = {
                stream: {name: np.array(column, np.int64) for name, column in columns.items()}
                for stream, columns in summary["trend"].items()
            }
            return SavedHistograms(
                [int(r) for r in summary["runs"]],
                str(summary["data"]),
                {name: int(n) for name, n in summary["orbits"].items()},
                counts,
                trend,
            )
    except InputError as error:
        msg = f"{path}: {error}; make it again from the data"
        raise InputError(msg) from error
    except Exception as error:  # uproot's: whatever a damaged file makes it raise
        why = printable(f"{type(error).__name__}: {error}", 120)
        msg = f"{path}: not a file of histograms of l1scout ({why})"
        raise InputError(msg) from error
