"""All settings of the live chain: one TOML file, the environment over it, every value documented here.

A setting ``[readout] listen`` is ``L1SCOUT_READOUT_LISTEN`` in the environment.
"""

import difflib
import json
import os
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo

from l1scout.errors import InputError
from l1scout.wire import Access

PREFIX = "L1SCOUT_"


class Section(BaseModel):
    """A table of the settings file."""

    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True)


class RunSection(Section):
    """The run."""

    number: int = Field(
        1, ge=0, lt=1 << 32, description="Run number; a run that has ended is not taken up again."
    )
    folder: Path = Field(
        Path("l1scout-run"), description="Where `l1scout run` keeps its socket, status files and logs."
    )


class BoardSection(Section):
    """The board that `l1scout run` starts; without a source, boards of other machines connect to readout."""

    packets: Path | None = Field(None, description="File of DMA packets to send, again and again.")
    simulate: int = Field(0, ge=0, description="Orbits to simulate and send, again and again; 0: none.")
    occupancy: float = Field(0.05, gt=0, lt=0.6, description="Of the simulation: part of the BX with a muon.")
    orbits: int = Field(0, ge=0, description="Stop after so many orbits; 0: go on until stopped.")
    pace: float = Field(
        1.0, ge=0, description="Speed, times that of the LHC; 0: as fast as readout takes it."
    )
    buffer: int = Field(
        256, ge=1, description="Packets to hold when readout is slow, before orbits are dropped."
    )


class ReadoutSection(Section):
    """Packets in, segments out."""

    listen: str = Field("127.0.0.1:7401", description="host:port on which boards connect.")
    form: str = Field("run3", description="Wire format of the packets: run2, run3...")
    source: int = Field(1, ge=0, lt=1 << 16, description="Source id in the files: 1 is the GMT.")
    handshake: bool = Field(
        True, description="Boards show the token first, as l1scout's do; false: for hardware, loopback only."
    )
    spool: Path | None = Field(
        None, description="Folder of segments that wait; by default on the RAM disk if it has 1 GiB free."
    )
    spool_bytes: int = Field(
        4 << 30, ge=0, description="Bytes to spool at most; then boards are slowed. 0: no limit."
    )
    segment_orbits: int = Field(
        8192, ge=1, description="A segment ends where the orbit is a multiple of this; 8192 are 0.73 s."
    )
    segment_bytes: int = Field(256 << 20, ge=1 << 12, le=1 << 30, description="... or has so many bytes.")
    segment_seconds: float = Field(10.0, gt=0, description="... or is so old, in s.")
    store: str = Field("127.0.0.1:7402", description="host:port of the store.")
    drain_seconds: float = Field(60.0, ge=0, description="When stopped, wait so long for the store, in s.")


class StoreSection(Section):
    """Segments in, compressed files and their catalogue out."""

    listen: str = Field("127.0.0.1:7402", description="host:port on which readouts connect.")
    folder: Path = Field(Path("l1scout-store"), description="Folder of the data and the catalogue.")
    method: Literal["zstd", "bzip2", "parquet", "none"] = Field(
        "zstd", description="Compression; parquet: the compact archive, a row a muon."
    )
    level: int = Field(3, ge=1, le=19, description="Compression level: zstd 1 to 19, bzip2 1 to 9.")
    workers: int = Field(1, ge=1, le=64, description="Processes that compress.")
    reserve_bytes: int = Field(
        1 << 28, ge=0, description="Take no segment if fewer bytes would be free on the disk."
    )
    max_segment_bytes: int = Field(2 << 30, ge=1 << 12, description="Refuse segments of more bytes.")
    connections: int = Field(16, ge=1, description="Readouts connected at the same time.")


class RecalibrateSection(Section):
    """A network's answer for every muon, beside the trigger's own values, in archives of the store."""

    model: Path | None = Field(
        None, description="Model directory; store.method must be parquet. Unset: no recalibration."
    )
    engine: Literal["onnx", "fused", "table", "fixed"] = Field("fused", description="What computes it.")


class AccessSection(Section):
    """Who may connect to listeners that other machines can reach."""

    token: str = Field(
        "", repr=False, description="Shared secret, 16 characters or more; better in the environment."
    )
    certificate: Path | None = Field(None, description="TLS of listeners: certificate (PEM).")
    key: Path | None = Field(None, description="TLS of listeners: its key (PEM).")
    authority: Path | None = Field(None, description="TLS of senders: certificate to trust (PEM).")

    @property
    def access(self) -> Access:
        """As the wire takes it."""
        return Access(self.token, self.certificate, self.key, self.authority)


class Settings(Section):
    """Everything."""

    run: RunSection = RunSection()
    board: BoardSection = BoardSection()
    readout: ReadoutSection = ReadoutSection()
    store: StoreSection = StoreSection()
    recalibrate: RecalibrateSection = RecalibrateSection()
    access: AccessSection = AccessSection()


def read_settings(
    path: Path | None = None, environment: Mapping[str, str] = os.environ, over: Iterable[str] = ()
) -> Settings:
    """Read the settings.

    Parameters
    ----------
    path : Path, optional
        TOML file; without it, defaults and environment.
    environment : mapping of str to str
    over : iterable of str
        ``section.name=value``, over both.

    Raises
    ------
    InputError
        If the file cannot be read, a name is unknown (the nearest known one is given) or a value is
        not possible.
    """
    said: dict[str, dict[str, Any]] = {}
    origin: dict[tuple[str, str], str] = {}
    if path is not None:
        try:
            said = tomllib.loads(path.read_text("utf-8-sig"))
        except OSError as error:
            msg = f"{path}: {(error.strerror or 'cannot be read').lower()}"
            raise InputError(msg) from error
        except ValueError as error:
            msg = f"{path}: no TOML ({error})"
            raise InputError(msg) from error
        _check(said, str(path))
    named = {f"{PREFIX}{s}_{n}".upper(): (s, n) for s, n, _ in each_setting()}
    for name, value in environment.items():
        if name.startswith(PREFIX):
            if name not in named:
                msg = f"environment: {name} is unknown{_nearest(name, named)}"
                raise InputError(msg)
            section, key = named[name]
            said.setdefault(section, {})[key] = value
            origin[section, key] = f"environment: {name}"
    for text in over:
        name, equals, value = text.partition("=")
        section, dot, key = name.strip().partition(".")
        if not equals or not dot:
            msg = f"{text}: section.name=value expected, such as readout.form=run2"
            raise InputError(msg)
        _check({section: {key: value}}, "--set")
        said.setdefault(section, {})[key] = value
        origin[section, key] = f"--set: {section}.{key}"
    try:
        return Settings.model_validate(said)
    except ValidationError as error:
        first = error.errors()[0]
        section, key = map(str, first["loc"][:2])
        where = origin.get((section, key), f"{path}: {section}.{key}")
        msg = f"{where} = {str(first['input'])[:40]!r}: {first['msg'].lower()}"
        raise InputError(msg) from error


def each_setting() -> Iterator[tuple[str, str, FieldInfo]]:
    """Go through all settings: section, name, and what is known of it."""
    for section in Settings.model_fields:
        for name, field in _section(section).model_fields.items():
            yield section, name, field


def as_toml(settings: Settings | None = None) -> str:
    """Write settings, or the defaults, as a TOML file with comments.

    Those that are not set are commented out, and the token is, always.
    """
    settings, lines = settings or Settings(), [__doc__.split("\n", 1)[0], ""]
    lines[0] = f"# {lines[0]}"
    for section in Settings.model_fields:
        values = getattr(settings, section)
        lines += [f"# {(_section(section).__doc__ or '').strip()}", f"[{section}]"]
        for name, field in _section(section).model_fields.items():
            value = getattr(values, name)
            unset = value is None or not field.repr
            lines += [f"# {field.description}", f"#{name} =" if unset else f"{name} = {_toml(value)}"]
        lines.append("")
    return "\n".join(lines)


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")


def _section(name: str) -> type[Section]:
    return type(Settings.model_fields[name].default)


def _check(said: Mapping[str, Any], origin: str) -> None:
    for section, values in said.items():
        if section not in Settings.model_fields:
            msg = f"{origin}: [{section}] is unknown{_nearest(section, Settings.model_fields)}"
            raise InputError(msg)
        if not isinstance(values, dict):
            msg = f"{origin}: {section} is a table: [{section}]"
            raise InputError(msg)
        names = _section(section).model_fields
        for name in values:
            if name not in names:
                elsewhere = next((f"; did you mean {s}.{n}?" for s, n, _ in each_setting() if n == name), "")
                near = elsewhere or _nearest(name, names)
                msg = f"{origin}: {section}.{name} is unknown{near}"
                raise InputError(msg)


def _nearest(name: str, known: Any) -> str:
    near = difflib.get_close_matches(name, list(known), 1, 0.5)
    return (
        f"; did you mean {near[0]}?" if near else f"; known are {', '.join(known)}" if len(known) < 9 else ""
    )
