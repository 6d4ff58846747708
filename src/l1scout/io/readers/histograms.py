"""ROOT files that hold histograms and nothing else."""

from typing import Any

import numpy as np

from l1scout.io import root
from l1scout.io.guard import guarded
from l1scout.io.input_file import InputFile
from l1scout.io.reader import READERS, FormatReader


class HistogramsReader(FormatReader):
    """Describes ROOT files of histograms."""

    name, title = "histograms", "ROOT histograms"
    streams = ()

    def detect(self, file: InputFile) -> bool:
        """Return whether all objects of a ROOT file are histograms."""
        kinds = root.classes(file).values() if file.is_root else ()
        return bool(kinds) and all(kind.startswith(("TH1", "TH2", "TH3", "TDirectory")) for kind in kinds)

    def describe(self, file: InputFile) -> dict[str, Any]:
        """Return name, bins and range of each histogram."""
        rows = []
        with guarded(file.path):
            for name, kind in file.root.classnames(recursive=True).items():
                if not kind.startswith("TH"):
                    continue
                values = file.root[name].values(flow=False)
                rows.append(
                    {
                        "name": name,
                        "class": kind,
                        "bins": " x ".join(map(str, values.shape)),
                        "filled": int(np.count_nonzero(values)),
                        "low": float(values.min()) if values.size else None,
                        "high": float(values.max()) if values.size else None,
                    }
                )
        return {"histograms": rows}


READERS.register("histograms")(HistogramsReader())
