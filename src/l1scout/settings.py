"""All settings of the live chain: one TOML file, the environment over it, every value documented here.

A setting ``[readout] listen`` is ``L1SCOUT_READOUT_LISTEN`` in the environment.
"""

import difflib
import json
import os
import re
import stat
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from l1scout.access import Access, check_token, parse_addresses, parse_networks
from l1scout.errors import InputError

PREFIX = "L1SCOUT_"


class SettingsSection(BaseModel):
    """A table of the settings file."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, str_strip_whitespace=True, hide_input_in_errors=True
    )


class RunSection(SettingsSection):
    """The run."""

    number: int = Field(
        1, ge=0, lt=1 << 32, description="Run number; a run that has ended is not taken up again."
    )
    folder: Path = Field(
        Path("l1scout-run"), description="Where `l1scout run` keeps its socket, status files and logs."
    )


class BoardSection(SettingsSection):
    """The board that `l1scout run` starts; without a source, boards of other machines connect to readout."""

    packets: Path | None = Field(None, description="File of DMA packets to send, again and again.")
    simulate: int = Field(0, ge=0, description="Orbits to simulate and send, again and again; 0: none.")
    occupancy: float = Field(0.05, gt=0, lt=0.6, description="Of the simulation: part of the BX with a muon.")
    first_orbit: int = Field(0, ge=0, description="Number of the first orbit.")
    orbits: int = Field(0, ge=0, description="Stop after this number of orbits; 0: go on until stopped.")
    pace: float = Field(
        1.0, ge=0, description="Speed, times that of the LHC; 0: as fast as readout takes it."
    )
    buffer: int = Field(
        256, ge=1, description="Packets to hold when readout is slow, before orbits are dropped."
    )


class ReadoutSection(SettingsSection):
    """Packets in, segments out."""

    listen: str = Field("127.0.0.1:7401", description="host:port on which boards connect.")
    wire_format: str = Field("run3", description="Wire format of the packets: run2, run3...")
    source: int = Field(1, ge=0, lt=1 << 16, description="Source id in the files: 1 is the GMT.")
    data: Literal["real", "unknown"] = Field(
        "unknown", description="What orbits are that state nothing of themselves: real or unknown."
    )
    trusted_networks: str = Field(
        "",
        description="Networks whose boards may connect without TLS, such as 192.0.2.0/24; commas between. "
        "Boards of others need TLS and a certificate of access.client_authority.",
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
    segment_bytes: int = Field(
        256 << 20, ge=1 << 12, le=1 << 30, description="... or has this size in bytes."
    )
    segment_seconds: float = Field(10.0, gt=0, description="... or is so old, in s.")
    store: str = Field(
        "127.0.0.1:7402",
        description="host:port of the store; another after a comma is used while the first fails.",
    )
    failover_seconds: float = Field(
        10.0, ge=0, description="Go on to the next store when one has failed for so long, in s."
    )
    drain_seconds: float = Field(60.0, ge=0, description="When stopped, wait so long for the store, in s.")

    @field_validator("store")
    @classmethod
    def _addresses(cls, text: str) -> str:
        parse_addresses(text)
        return text

    @field_validator("trusted_networks")
    @classmethod
    def _networks(cls, text: str) -> str:
        parse_networks(text)
        return text


class StoreSection(SettingsSection):
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


class RecalibrateSection(SettingsSection):
    """A network's answer for every muon, beside the trigger's own values, in archives of the store."""

    model: Path | None = Field(
        None, description="Model directory; store.method must be parquet. Unset: no recalibration."
    )
    engine: str = Field("fused", description="Inference engine: what computes it, such as onnx or fused.")


class AccessSection(SettingsSection):
    """Who may connect to listeners that other machines can reach. Whatever is set is required."""

    token: str = Field(
        "",
        repr=False,
        description="Shared secret of readout and store, 16 characters or more, over TLS only; "
        "better in the environment.",
    )
    certificate: Path | None = Field(
        None, description="TLS: own certificate (PEM) of a listener, and of a client that is asked for one."
    )
    key: Path | None = Field(None, description="TLS: its key (PEM, no password).")
    authority: Path | None = Field(
        None, description="TLS of readout and boards: certificate to trust, of the other side or its issuer."
    )
    client_authority: Path | None = Field(
        None, description="TLS of store and readout: issuer of the certificates that clients must show."
    )

    @field_validator("token")
    @classmethod
    def _token(cls, token: str) -> str:
        check_token(token)
        return token

    @model_validator(mode="after")
    def _over_tls(self) -> "AccessSection":
        if self.token and not (self.certificate or self.authority):
            msg = (
                "access.token goes over TLS only, else whoever listens on the port first would get it: set "
                "access.certificate and access.key (store), access.authority (readout); or unset the token: "
                "on one machine none is needed"
            )
            raise ValueError(msg)
        return self

    @property
    def access(self) -> Access:
        """As listeners and clients take it."""
        return Access(self.token, self.certificate, self.key, self.authority, self.client_authority)


class Settings(BaseSettings):
    """All settings: those that are not given have their defaults (see `read_settings`)."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter="_",
        env_nested_max_split=1,
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
    )

    run: RunSection = RunSection()
    board: BoardSection = BoardSection()
    readout: ReadoutSection = ReadoutSection()
    store: StoreSection = StoreSection()
    recalibrate: RecalibrateSection = RecalibrateSection()
    access: AccessSection = AccessSection()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003
        init_settings: PydanticBaseSettingsSource,
        *_sources: PydanticBaseSettingsSource,
        **_named: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take values given in Python only: `read_settings` reads the file and the environment."""
        return (init_settings,)


Values = dict[str, Any]


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
    sources = {"--set": _given(over), "environment": _environment(environment)}
    if path is not None:
        sources[str(path)] = _file(path)
    merged: dict[str, Any] = {}
    for values in reversed(sources.values()):
        for section, table in values.items():
            known = merged.get(section)
            merged[section] = known | table if isinstance(known, dict) and isinstance(table, dict) else table
    try:
        return Settings(**merged)
    except ValidationError as error:
        raise InputError(_fault(error, sources)) from error


def _file(path: Path) -> Values:
    try:
        values = tomllib.loads(path.read_text("utf-8-sig"))
        mode = path.stat().st_mode
    except OSError as error:
        msg = f"{path}: {(error.strerror or 'cannot be read').lower()}"
        raise InputError(msg) from error
    except ValueError as error:
        msg = f"{path}: invalid TOML ({error})"
        raise InputError(msg) from error
    access = values.get("access")
    if isinstance(access, dict) and access.get("token") and mode & stat.S_IROTH:
        msg = f"{path}: everybody on this machine can read the token in it: chmod 600, or 640 for a group"
        raise InputError(msg)
    return values


def _environment(environment: Mapping[str, str]) -> Values:
    known = {_variable(section, name) for section, name, _ in each_setting()}
    ours = {name: value for name, value in environment.items() if name.startswith(PREFIX)}
    for name in ours:
        if name not in known:
            msg = f"environment: {name} is unknown{_nearest(name, known)}"
            raise InputError(msg)
    source = EnvSettingsSource(Settings)
    source.env_vars = {name.lower(): value for name, value in ours.items()}
    return source()


def _given(over: Iterable[str]) -> Values:
    values: Values = {}
    for text in over:
        name, equals, value = text.partition("=")
        section, dot, key = name.strip().partition(".")
        if not equals or not dot:
            shown = re.match(r"[a-z_.]{0,40}", name)  # nothing of a value, which may be a secret
            msg = f"--set {shown and shown[0]}: section.name=value expected, such as readout.wire_format=run2"
            raise InputError(msg)
        field = _section(section).model_fields.get(key) if section in Settings.model_fields else None
        if field is not None and not field.repr:
            msg = (
                f"--set {section}.{key}: everybody on this machine can read it on the command line; "
                f"put it in the environment ({_variable(section, key)}) or in the settings file"
            )
            raise InputError(msg)
        values.setdefault(section, {})[key] = value
    return values


def _variable(section: str, name: str) -> str:
    return f"{PREFIX}{section}_{name}".upper()


def _fault(error: ValidationError, sources: Mapping[str, Values]) -> str:
    """Describe the first fault: where the value was given, and the nearest known name if it is unknown."""
    fault = error.errors(include_url=False)[0]
    why = fault["msg"].removeprefix("Value error, ")
    section, *keys = map(str, fault["loc"])
    key = keys[0] if keys else ""
    given = (o for o, v in sources.items() if section in v and (not keys or key in v[section]))
    origin = next(given, "settings")
    if not keys:
        if fault["type"] == "extra_forbidden":
            return f"{origin}: [{section}] is unknown{_nearest(section, Settings.model_fields)}"
        if fault["type"] == "value_error":
            return f"{origin}: {why}"
        return f"{origin}: {section} is a table: [{section}]"
    if fault["type"] == "extra_forbidden":
        elsewhere = next((f"; did you mean {s}.{n}?" for s, n, _ in each_setting() if n == key), "")
        near = elsewhere or _nearest(key, _section(section).model_fields)
        return f"{origin}: {section}.{key} is unknown{near}"
    name = _variable(section, key) if origin == "environment" else f"{section}.{key}"
    if fault["type"] == "value_error":
        return f"{origin}: {name}: {why}"
    shown = f" = {str(fault['input'])[:40]!r}" if _section(section).model_fields[key].repr else ""
    return f"{origin}: {name}{shown}: {why.lower()}"


def each_setting() -> Iterator[tuple[str, str, FieldInfo]]:
    """Go through all settings: section, name, and what is known of it."""
    for section in Settings.model_fields:
        for name, field in _section(section).model_fields.items():
            yield section, name, field


def as_toml(settings: Settings | None = None) -> str:
    """Write settings, or the defaults, as a TOML file with comments.

    Those that are not set are commented out; so is the token, always.
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


def _section(name: str) -> type[SettingsSection]:
    return type(Settings.model_fields[name].default)


def _nearest(name: str, known: Any) -> str:
    near = difflib.get_close_matches(name, list(known), 1, 0.5)
    return (
        f"; did you mean {near[0]}?" if near else f"; known are {', '.join(known)}" if len(known) < 9 else ""
    )
