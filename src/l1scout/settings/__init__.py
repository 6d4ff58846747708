"""All settings of the live chain: one TOML file, the environment over it, every value documented here.

A setting ``[readout] listen`` is ``L1SCOUT_READOUT_LISTEN`` in the environment; for the source ``calo``,
``[sources.calo.readout] listen`` is ``L1SCOUT_SOURCES_CALO_READOUT_LISTEN``.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ValidationError, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from l1scout.errors import InputError
from l1scout.settings.given_values import (
    SOURCE_SECTIONS,
    Values,
    describe,
    file,
    nearest,
    options,
    put_over,
    toml_value,
    variables,
)
from l1scout.settings.setting_tables import (
    AccessSection,
    BoardSection,
    MonitorSection,
    ReadoutSection,
    RecalibrateSection,
    RunSection,
    SettingsSection,
    SourceName,
    SourceSection,
    StoreSection,
)


class Settings(BaseSettings):
    """All settings: those that are not given have their defaults (see `read_settings`)."""

    model_config = SettingsConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    run: RunSection = RunSection()
    board: BoardSection = BoardSection()
    readout: ReadoutSection = ReadoutSection()
    store: StoreSection = StoreSection()
    recalibrate: RecalibrateSection = RecalibrateSection()
    monitor: MonitorSection = MonitorSection()
    access: AccessSection = AccessSection()
    sources: dict[SourceName, SourceSection] = {}

    def of_source(self, name: str) -> "Settings":
        """Return the settings of one source, as if it were the only one.

        Without `sources`, there is one source without a name.

        Raises
        ------
        InputError
            If there is no source of this name.
        """
        if not name and not self.sources:
            return self
        if name not in self.sources:
            msg = f"no source {name!r}{nearest(name, self.sources)}"
            raise InputError(msg)
        own = self.sources[name]
        return self.model_copy(update={"board": own.board, "readout": own.readout, "sources": {}})

    @model_validator(mode="before")
    @classmethod
    def _inherit(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Give each source what is set in [board] and [readout], but not for it."""
        sources = values.get("sources")
        if not isinstance(sources, Mapping):
            return values
        return {**values, "sources": {n: _with_inherited(values, n, own) for n, own in sources.items()}}

    @model_validator(mode="after")
    def _sources_differ(self) -> Self:
        """Refuse two sources with one source id, address or spool."""
        for name in ("source", "listen", "spool", "metrics"):
            seen: dict[Any, str] = {}
            for source, own in self.sources.items():
                values = own.readout.sources if name == "source" else [getattr(own.readout, name)]
                for value in values:
                    if value not in (None, "") and value in seen:
                        msg = (
                            f"sources.{seen[value]}.readout.{name} and sources.{source}.readout.{name} are "
                            f"both {value}; give each its own"
                        )
                        raise ValueError(msg)
                    seen[value] = source
        return self

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


SECTIONS: dict[str, type[SettingsSection]] = {
    name: type(field.default) for name, field in Settings.model_fields.items() if name != "sources"
}
"""Tables of the settings file, but those of sources, by name."""


class SettingsError(InputError):
    """Settings that cannot be used.

    Parameters
    ----------
    faults : list of str
        One line each; the first is the text of the exception.
    """

    def __init__(self, faults: list[str]) -> None:
        super().__init__(faults[0])
        self.faults = faults


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
    SettingsError
        If a name is unknown (the nearest known one is given) or a value is not possible.
    InputError
        If the file cannot be read.
    """
    given = {"--set": options(over, SECTIONS), "environment": variables(environment, SECTIONS)}
    if path is not None:
        given[str(path)] = file(path)
    merged: Values = {}
    for values in reversed(given.values()):
        merged = put_over(merged, values)
    try:
        return Settings(**merged)
    except ValidationError as error:
        faults = [describe(fault, given, SECTIONS) for fault in error.errors(include_url=False)]
        raise SettingsError([f for f in dict.fromkeys(faults) if f] or faults) from error


def _with_inherited(values: Values, name: str, own: Any) -> Any:
    if not isinstance(own, Mapping):
        return own
    tables = dict(own)
    for section in SOURCE_SECTIONS:
        base, mine = values.get(section, {}), own.get(section, {})
        base = base.model_dump(exclude_unset=True) if isinstance(base, BaseModel) else base
        if isinstance(base, Mapping) and isinstance(mine, Mapping):
            spool = base.get("spool")
            own_spool = {"spool": Path(spool) / name} if isinstance(spool, str | Path) else {}
            tables[section] = {**base, **own_spool, **mine}
    return tables


def each_setting() -> Iterator[tuple[str, str, FieldInfo]]:
    """Go through all settings: section, name, and what is known of it."""
    for section, model in SECTIONS.items():
        for name, field in model.model_fields.items():
            yield section, name, field


def as_toml(settings: Settings | None = None) -> str:
    """Write settings, or the defaults, as a TOML file with comments.

    Those that are not set are commented out; so is the token, always.
    """
    settings, lines = settings or Settings(), [__doc__.split("\n", 1)[0], ""]
    lines[0] = f"# {lines[0]}"
    for section, model in SECTIONS.items():
        values = getattr(settings, section)
        lines += [f"# {(model.__doc__ or '').strip()}", f"[{section}]"]
        for name, field in model.model_fields.items():
            value = getattr(values, name)
            unset = value is None or not field.repr
            lines += [f"# {field.description}", f"#{name} =" if unset else f"{name} = {toml_value(value)}"]
        lines.append("")
    lines += [
        "# Several boards, each with its readout: set for each what is not as in [board] and [readout]."
    ]
    if not settings.sources:
        lines += ["#[sources.NAME.board]", "#[sources.NAME.readout]"]
    for source, own in settings.sources.items():
        for section in SOURCE_SECTIONS:
            lines.append(f"[sources.{source}.{section}]")
            for name, value in getattr(own, section):
                if value is not None and value != getattr(getattr(settings, section), name):
                    lines.append(f"{name} = {toml_value(value)}")
    return "\n".join([*lines, ""])
