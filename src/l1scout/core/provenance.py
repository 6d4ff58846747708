"""Record where a result comes from: program version, command, inputs, options, filling scheme and model.

Every file that l1scout writes carries this record: JSON under the key ``provenance``, CSV as a comment
line, Parquet and figures in their metadata, ROOT as a string object. It has no time stamp, so that equal
inputs give equal files.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from l1scout import __version__
from l1scout.errors import printable

KEY = "l1scout_provenance"
"""Of the record in Parquet metadata and ROOT files."""
CSV_PREFIX = "# provenance: "
DataLabel = Literal["simulated", "real", "unknown"]
"""What data are, as their source states it: nothing is inferred."""


def data_label(simulated: bool | None) -> DataLabel:
    """Return the label of data that are simulated (True), real (False) or do not say (None)."""
    return "unknown" if simulated is None else "simulated" if simulated else "real"


def is_simulated(label: DataLabel) -> bool | None:
    """Return whether data with a label are simulated; None where it is unknown."""
    return None if label == "unknown" else label == "simulated"


def joint_origin(simulated: Iterable[bool | None]) -> bool | None:
    """Return whether data put together are simulated: True if any are, False if none is, None if unknown."""
    origins = set(simulated)
    return True if True in origins else False if origins == {False} else None


def joint_label(labels: Iterable[DataLabel]) -> DataLabel:
    """Return the label of data put together; see `joint_origin`."""
    return data_label(joint_origin(map(is_simulated, labels)))


@dataclass(frozen=True)
class Provenance:
    """Where a result comes from.

    Parameters
    ----------
    command : str
        What was run, such as ``analyse luminosity``.
    simulated : bool or None
        Whether the inputs are simulated; None where they do not say.
    inputs : tuple of dict
        Name and size in bytes of each input file, or ``{"simulation": ..., "seed": ...}``.
    options : mapping
        Cuts and other options that influence the result; each key names its unit.
    scheme : mapping, optional
        Filling scheme: its name or file, number of colliding BX, and how it was chosen.
    model : mapping, optional
        Network that was applied: its name, hash and what it was trained on.
    version : str
        Of l1scout.
    """

    command: str
    simulated: bool | None = None
    inputs: tuple[Mapping[str, Any], ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    scheme: Mapping[str, Any] | None = None
    model: Mapping[str, Any] | None = None
    version: str = __version__

    def as_dict(self) -> dict[str, Any]:
        """Return the record with JSON types only; entries that do not apply are left out."""
        record: dict[str, Any] = {
            "program": "l1scout",
            "version": self.version,
            "command": self.command,
            "data": data_label(self.simulated),
        }
        record |= {"inputs": [dict(i) for i in self.inputs], "options": dict(self.options)}
        record |= {n: dict(v) for n in ("scheme", "model") if (v := getattr(self, n)) is not None}
        plain: dict[str, Any] = json.loads(json.dumps(record, default=str))
        return plain

    def as_json(self) -> str:
        """Return the record as one line of JSON."""
        return json.dumps(self.as_dict())

    def footer(self) -> str:
        """Return the record as one short line for the foot of a figure."""
        names = [str(i.get("file", f"simulation of {i.get('simulation', '?')}")) for i in self.inputs]
        inputs = ", ".join(names[:2]) + (f" and {len(names) - 2} more" if len(names) > 2 else "")
        parts = [f"l1scout {self.version}", self.command, inputs]
        parts += [f"{n}={v}" for n, v in self.options.items()]
        if self.scheme and self.scheme.get("name"):
            parts.append(f"scheme {self.scheme['name']}")
        if self.model and self.model.get("name"):
            parts.append(f"model {self.model['name']}")
        return printable(" | ".join(p for p in parts if p), 227)

    def csv_comment(self) -> str:
        """Return the comment line that precedes the header of a CSV file (``comment="#"`` in pandas)."""
        return f"{CSV_PREFIX}{self.as_json()}\n"


_running: Provenance | None = None
"""The command that runs, for whatever it writes; one process runs one."""
_NO_INFLUENCE = {"target", "out", "status", "json", "workers", "scheduler"}
"""Arguments of commands that do not change a result: outputs, and where it is computed."""


@contextmanager
def recording(command: str, arguments: Mapping[str, Any]) -> Iterator[None]:
    """State the command that runs, with its arguments: those that are existing files are its inputs."""
    global _running
    inputs: list[dict[str, Any]] = []
    options: dict[str, Any] = {}
    for name, value in arguments.items():
        values = value if isinstance(value, list | tuple) else [value]
        if value is None or value is False or name in _NO_INFLUENCE:
            continue
        if values and all(isinstance(v, Path) and v.exists() for v in values):
            inputs += file_inputs(values)
        else:
            plain = [printable(v.name) if isinstance(v, Path) else v for v in values]
            options[name] = plain if isinstance(value, list | tuple) else plain[0]
    before, _running = _running, Provenance(command, None, tuple(inputs), options)
    try:
        yield
    finally:
        _running = before


def current(**changes: Any) -> Provenance:
    """Return the record of the command that runs, with some fields changed, or of the library."""
    return replace(_running or Provenance("Python library"), **changes)


def stated(result: Mapping[str, Any]) -> bool | None:
    """Return whether a result says that its data are simulated; None where it does not.

    It says so as ``simulated`` (bool), or as ``data``: a label, or a record of a data set with ``simulated``.
    """
    data = result.get("data")
    said = result.get("simulated", data.get("simulated") if isinstance(data, Mapping) else data)
    return said if isinstance(said, bool) else {"simulated": True, "real": False}.get(str(said))


def recorded(result: Mapping[str, Any]) -> dict[str, Any]:
    """Return a result for JSON with its provenance, unless it has one; see `stated`."""
    record = current(simulated=stated(result))
    return {**result, "provenance": result.get("provenance") or record.as_dict()}


def file_inputs(paths: Iterable[str | Path]) -> tuple[dict[str, Any], ...]:
    """Describe input files by name and size in bytes; a file that does not exist has size None."""
    return tuple(
        {"file": printable(p.name), "bytes": p.stat().st_size if p.is_file() else None}
        for p in map(Path, paths)
    )
