"""Choose and make engines by name; `l1scout.deploy.engines` holds them."""

from pathlib import Path

from l1scout.deploy.engines import ENGINES
from l1scout.deploy.engines._base import Engine, EngineOptions, check_arrays
from l1scout.errors import InputError
from l1scout.model.directory import Model

__all__ = [
    "ENGINES",
    "Engine",
    "EngineOptions",
    "available_engines",
    "check_arrays",
    "create_engine",
    "default_engine",
    "engines_left_out",
]


def create_engine(name: str, model: Model, *, threads: int = 1, table: str | Path | None = None) -> Engine:
    """Make an engine by name.

    Parameters
    ----------
    name : str
        One of `ENGINES`, with settings after a colon if it has any: ``fixed:Q4.12,variable``.
    model : Model
    threads : int
        Processor threads that one call may use (onnx; the others use one).
    table : str or Path, optional
        File of the table engine; by default ``model.table`` in the model directory.

    Raises
    ------
    InputError
        If there is no engine of this name or it has no such settings, it cannot run this model, or it
        is not installed.
    """
    kind, _, settings = name.partition(":")
    engine = ENGINES.find(kind)
    if settings and not engine.settings:
        msg = f"engine {name}: {kind} takes no settings after a colon"
        raise InputError(msg)
    options = _options(table, settings, threads)
    why = _refusal(engine, model)
    if why:
        msg = f"{model.name}: {why}; engines that run it: {', '.join(available_engines(model, table))}"
        raise InputError(msg)
    return engine.create(model, options)


def default_engine(model: Model) -> str:
    """Return the name of the engine that runs a model unless another is named: its reference."""
    return next(n for n, e in ENGINES.items() if e.reference and isinstance(model.network, e.networks))


def available_engines(model: Model, table: str | Path | None = None) -> list[str]:
    """Return the engines that `l1scout verify` and `l1scout bench` use unasked, the reference first."""
    options, first = _options(table), default_engine(model)
    others = [
        name
        for name, engine in ENGINES.items()
        if name != first
        and engine.unasked
        and not _refusal(engine, model)
        and engine.available(model, options)
    ]
    return [first, *others]


def engines_left_out(model: Model) -> dict[str, str]:
    """Return the engines that would be used unasked, but cannot evaluate this model, and why."""
    options = EngineOptions()
    return {
        name: why
        for name, engine in ENGINES.items()
        if engine.unasked and isinstance(model.network, engine.networks) and engine.available(model, options)
        if (why := engine.refusal(model))
    }


def _refusal(engine: type[Engine], model: Model) -> str:
    if isinstance(model.network, engine.networks):
        return engine.refusal(model)
    if model.integers:
        return "is a firmware model, made of integers"
    return "has no integer network"


def _options(table: str | Path | None, settings: str = "", threads: int = 1) -> EngineOptions:
    return EngineOptions(settings, threads, None if table is None else Path(table))
