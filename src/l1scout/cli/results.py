"""Results of an analysis: a table on the screen; figures, tables, histograms and JSON in a directory."""

import io
import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from l1scout.analysis import Result
from l1scout.cli.output import json_text, print_json, print_table
from l1scout.core.provenance import Provenance
from l1scout.errors import InputError
from l1scout.files import complete_or_nothing
from l1scout.report.result_tables import rows_csv
from l1scout.report.terminal_tables import records_table

if TYPE_CHECKING:
    from hist import Hist
    from matplotlib.figure import Figure

FIGURE_FORMATS = ("png", "svg", "pdf")
_MEASURED = {"value", "error", "stat", "syst"}


def formats_of(text: str) -> list[str]:
    """Read the formats of figures (InputError if one is not known)."""
    formats = [part.strip() for part in text.split(",")]
    if not set(formats) <= set(FIGURE_FORMATS):
        msg = f"--figure-format {text}: one or more of {', '.join(FIGURE_FORMATS)} expected"
        raise InputError(msg)
    return formats


@dataclass(frozen=True)
class Output:
    """The result of an analysis, as it is written and printed.

    Parameters
    ----------
    name : str
        Of the analysis.
    found : mapping
        For JSON: the result, and what is known of the data.
    result : Result
    provenance : Provenance
        Is written into every file.
    """

    name: str
    found: Mapping[str, Any]
    result: Result
    provenance: Provenance

    @property
    def origin(self) -> str:
        """Where the data come from, in words."""
        from l1scout.analysis.figures.canvas import origin

        return origin(self.provenance.simulated)

    def as_dict(self) -> dict[str, Any]:
        """Return the result with its name, origin and provenance."""
        head = {"analysis": self.name, "origin": self.origin}
        return head | dict(self.found) | {"provenance": self.provenance.as_dict()}

    def write(self, folder: Path, formats: Sequence[str], bx: tuple[int, int] | None = None) -> None:
        """Write all files to a folder; figures against BX show those of a range (InputError)."""
        files = {f"{self.name}.json": json_text(self.as_dict()).encode() + b"\n"}
        if self.result.figure:
            drawn = self.result.figure()
            for ax in drawn.axes:
                if bx and ax.get_xlabel() == "BX":
                    ax.set_xlim(bx[0] - 0.5, bx[1] + 0.5)
            for number, form in enumerate(formats):
                files[f"{self.name}.{form}"] = draw(drawn, form, self.provenance, footer=not number)
        comment = self.provenance.csv_comment()
        for table, rows in self.result.tables.items():
            if rows:
                files[f"{self.name}-{table}.csv"] = (comment + rows_csv(rows)).encode()
        if self.result.histograms:
            files[f"{self.name}-histograms.json"] = uhi_json(self.result.histograms, self.provenance)
        for file, content in files.items():
            with complete_or_nothing(folder / file) as part:
                part.write_bytes(content)
        if self.result.histograms:
            with complete_or_nothing(folder / f"{self.name}-histograms.root") as part:
                write_root(part, self.result.histograms, self.provenance)

    def print_json(self) -> None:
        """Print the result for scripts."""
        print_json(self.as_dict())

    def print_text(self, folder: Path | None, shown: int) -> None:
        """Print the result for people: at most some rows of each table."""
        print(f"{self.name}: {self.origin}")
        scheme = self.provenance.scheme
        if scheme and scheme["name"]:
            print(f"filling scheme: {scheme['name']} ({scheme['chosen']})")
        for key, value in self.found.items():
            name = key.replace("_", " ")
            if isinstance(value, int | float | str):
                print(f"{name}: {value:,.6g}" if isinstance(value, float) else f"{name}: {value}")
            elif isinstance(value, dict) and value and set(value) <= _MEASURED:
                print(f"{name}: " + " ± ".join(f"{v:.5g}" for v in value.values()))
            elif isinstance(value, dict) and set(value) == {"value", "low", "high"}:
                interval = f"{value['low']:.5g} to {value['high']:.5g} at 68 % confidence"
                print(f"{name}: {value['value']:.5g}, {interval}")
        for table, rows in self.result.tables.items():
            if rows:
                print(f"\n{table.replace('_', ' ')}")
                print_table(records_table(rows[:shown]))
                if len(rows) > shown:
                    print(f"... {len(rows) - shown} more: --out or --json")
        if folder:
            print(f"\nWritten to {folder}")


def draw(figure: "Figure", form: str, provenance: Provenance, *, footer: bool = True) -> bytes:
    """Draw a figure with its provenance in the metadata and, shortened, at the foot."""
    from l1scout.analysis.figures.canvas import style

    record = provenance.as_json()
    about: dict[str, dict[str, Any]] = {
        "png": {"Software": f"l1scout {provenance.version}", "Description": record},
        "svg": {"Creator": f"l1scout {provenance.version}", "Description": record, "Date": None},
        "pdf": {"Creator": f"l1scout {provenance.version}", "Subject": record, "CreationDate": None},
    }
    out = io.BytesIO()
    with style(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing", UserWarning)  # of the name of a file
        if footer:
            text = provenance.footer()
            figure.supxlabel(text, x=0.005, ha="left", fontsize=7, color="#717581", parse_math=False)
        figure.savefig(out, format=form, dpi=150, metadata=about[form])
    return out.getvalue()


def uhi_json(histograms: "Mapping[str, Hist[Any]]", provenance: Provenance) -> bytes:
    """Write histograms as JSON of the Unified Histogram Interface: ``uhi.io.json`` reads it.

    Each histogram carries the provenance in its metadata.
    """
    import uhi.io.json
    from boost_histogram.serialization import to_uhi

    every = {}
    for name, histogram in histograms.items():
        every[name] = to_uhi(histogram)
        every[name].setdefault("metadata", {})
        every[name]["metadata"] |= {"provenance": provenance.as_json()}
    return json.dumps(every, default=uhi.io.json.default).encode() + b"\n"


def write_root(path: Path, histograms: "Mapping[str, Hist[Any]]", provenance: Provenance) -> None:
    """Write histograms to a ROOT file, with the provenance as the string ``l1scout_provenance``."""
    import uproot

    with uproot.recreate(path) as file:
        for name, histogram in histograms.items():
            file[name] = histogram
        file["l1scout_provenance"] = provenance.as_json()
