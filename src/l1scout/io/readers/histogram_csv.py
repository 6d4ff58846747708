"""CSV files of a histogram: low edge, high edge and entries of each bin."""

from typing import Any

import numpy as np

from l1scout.io.guard import guarded
from l1scout.io.input_file import InputFile
from l1scout.io.reader import READERS, FormatReader

_LARGEST = 1 << 26


class HistogramCsvReader(FormatReader):
    """Describes CSV files of a histogram."""

    name, title = "histogram-csv", "histogram CSV"
    streams = ()

    def detect(self, file: InputFile) -> bool:
        """Return whether the first line names edges and entries."""
        names = file.lines[0].split(",") if file.is_text else []
        return len(names) == 3 and "_lo" in names[0] and "_hi" in names[1] and names[2] == "entries"

    def describe(self, file: InputFile) -> dict[str, Any]:
        """Return axis, number and range of the bins, and the sum of their entries."""
        with guarded(file.path, "not a histogram"):
            lines = file.text("not a histogram", largest=_LARGEST).splitlines()
            bins = np.array([line.split(",") for line in lines[1:] if line], np.float64).reshape(-1, 3)
        return {
            "axis": lines[0].split(",")[0].replace("_lo", ""),
            "bins": len(bins),
            "low": float(bins[:, 0].min(initial=np.inf)),
            "high": float(bins[:, 1].max(initial=-np.inf)),
            "entries": float(bins[:, 2].sum()),
        }


READERS.register("histogram-csv")(HistogramCsvReader())
