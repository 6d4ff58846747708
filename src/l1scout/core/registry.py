"""Parts of one kind by name: readers, engines, streams... of l1scout and of other packages.

A part is one source file. It registers itself when it is imported::

    @ENGINES.register("table")
    class TableEngine: ...

l1scout's own parts are the modules of one package, each named after its part, so that names can be listed
without importing anything. Another package announces its parts as entry points of the group
``l1scout.engines`` (or ``l1scout.readers``, ``l1scout.streams``...): the entry point has the part's name, and
loading it gives the part. One that cannot be used is an `InputError` for those who name it, and left out with
a warning for everybody else.
"""

import ast
import pkgutil
import sys
import warnings
from collections.abc import Callable, ItemsView, Iterator, Mapping, ValuesView
from functools import cache, cached_property
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from inspect import cleandoc
from pathlib import Path
from typing import Any, Generic, TypeVar

from l1scout.errors import InputError, ScoutingWarning, printable

T = TypeVar("T")


class PartError(InputError):
    """A part of another package that cannot be used."""


class Registry(Mapping[str, T], Generic[T]):
    """Parts of one kind by name, imported when they are asked for.

    Names include those of parts that cannot be used; `values` and `items` leave these out, with a warning.

    Parameters
    ----------
    kind : str
        Plural noun such as "wire formats"; the entry points of other packages are those of the group
        ``l1scout.wire_formats``.
    package : str
        Whose modules hold l1scout's own parts; a part's module has its name, with ``_`` for ``-``. Modules
        whose names begin with ``_`` hold none, and neither do packages in it.
    base : callable
        Returns the class of which other packages' parts must be objects.
    classes : bool
        Whether they must be classes derived from it instead.
    """

    def __init__(
        self, kind: str, package: str, base: Callable[[], type] = lambda: object, *, classes: bool = False
    ) -> None:
        self.kind, self._package, self._base, self._classes = kind, package, base, classes
        self._parts: dict[str, T] = {}
        self._unusable: dict[str, PartError] = {}
        self._warnings: set[str] = set()

    def register(self, name: str) -> Callable[[Any], Any]:
        """Decorate a class or function, or call with an object, to make it a part.

        Raises
        ------
        ValueError
            If another part has this name.
        """

        def add(part: Any) -> Any:
            if name in self._parts and self._parts[name] is not part:
                msg = f"two {self.kind} are named {name}"
                raise ValueError(msg)
            self._parts[name] = part
            return part

        return add

    def __getitem__(self, name: str) -> T:
        """Return a part, imported now if need be.

        Raises
        ------
        KeyError
            If there is none of this name; see `find`.
        PartError
            If it is of another package, and cannot be used.
        """
        if name not in self._parts and name in self._modules:
            import_module(f"{self._package}.{name.replace('-', '_')}")
        if name not in self._parts:
            if name not in self._unusable:
                self._load(name)
            if name in self._unusable:
                raise self._unusable[name]
        return self._parts[name]

    def values(self) -> ValuesView[T]:
        """Return the parts that can be used, all of them imported; warn of the others."""
        return self._usable().values()

    def items(self) -> ItemsView[str, T]:
        """Return the names and parts that can be used, all of them imported; warn of the others."""
        return self._usable().items()

    def __iter__(self) -> Iterator[str]:
        """Go through all names, in alphabetical order, without importing a part."""
        return iter(sorted({*self._modules, *self._parts, *self._entry_points()}))

    def __len__(self) -> int:
        """Return the number of parts."""
        return sum(1 for _ in self)

    def __contains__(self, name: object) -> bool:
        """Whether there is a part of this name; nothing is imported."""
        return name in set(self)

    def find(self, name: str) -> T:
        """Return a part by a name that a user gave.

        Raises
        ------
        InputError
            If there is none, and the message lists those there are; or if it cannot be used.
        """
        self._warn_of_taken_names()
        if name not in self:
            msg = f"no {printable(name)!r} among the {self.kind}: choose one of {', '.join(self)}"
            raise InputError(msg)
        return self[name]

    def describe(self, name: str) -> str:
        """Return the description of a part, of which the first line is a summary; it is not imported.

        It is the docstring of the part's module, or, of a part that was registered otherwise, its own. Of a
        part that cannot be used it says why, as far as that is seen without importing it.
        """
        if name in self._modules:
            return _docstring(f"{self._package}.{name.replace('-', '_')}")
        if name in self._parts and name not in self._entry_points():
            return cleandoc(self._parts[name].__doc__ or "")
        try:
            return _docstring(self._point(name).module)
        except PartError as error:
            return str(error)
        except Exception as error:  # the other package's: whatever it raises
            return f"Cannot be used: {self._provider(name)}: {_reason(error)}."

    def package_of(self, name: str) -> str:
        """Return name and version of the package that a part is of, such as ``my-scouting 0.1``."""
        if name in self._modules:
            return "l1scout"
        if name in self._entry_points():
            return self._provider(name)
        part = self[name]
        return (part if isinstance(part, type) else type(part)).__module__.partition(".")[0]

    def _load(self, name: str) -> None:
        """Import a part of another package, and keep it, or the reason why it cannot be used."""
        try:
            point = self._point(name)
            try:
                part = point.load()
            except Exception as error:  # the other package's: whatever it raises
                raise PartError(self._refusal(point, _reason(error))) from error
            if why := self._fault(name, part):
                raise PartError(self._refusal(point, why))
            self.register(name)(part)
        except PartError as error:
            self._unusable[name] = error

    def _point(self, name: str) -> EntryPoint:
        """Return the entry point of a name (KeyError if there is none, PartError if there are several)."""
        points = self._entry_points()[name]
        if len({point.value for point in points}) > 1:
            packages = " and ".join(sorted(map(_package, points)))
            msg = f"{name} is the name of two {self.kind}, of {packages}: uninstall one of them"
            raise PartError(msg)
        return points[0]

    def _fault(self, name: str, part: Any) -> str:
        """Explain why something cannot be a part; empty if it can."""
        base = self._base()
        if self._classes:
            if not (isinstance(part, type) and issubclass(part, base)):
                return f"{printable(repr(part), 60)} is not a subclass of {base.__name__}"
            if missing := getattr(part, "__abstractmethods__", ()):
                return f"{part.__name__} does not define {', '.join(sorted(missing))}"
            return ""
        if isinstance(part, type) or not isinstance(part, base):
            return f"{printable(repr(part), 60)} is not an object of a class derived from {base.__name__}"
        called = getattr(part, "name", name)
        return "" if called == name else f"its name is {printable(str(called))!r}"

    def _refusal(self, point: EntryPoint, why: str) -> str:
        what = f"{point.name}, one of the {self.kind} of {_package(point)}"
        return f"{what}, cannot be used ({point.value}: {why}): repair or uninstall the package"

    def _usable(self) -> dict[str, T]:
        self._warn_of_taken_names()
        found = {}
        for name in self:
            try:
                found[name] = self[name]
            except PartError as error:
                self._warn_once(f"left out: {error}")
        return found

    def _warn_of_taken_names(self) -> None:
        points = self._entry_points()
        for name in set(self._modules).intersection(points):
            packages = " and ".join(sorted(map(_package, points[name])))
            self._warn_once(
                f"left out: {name}, one of the {self.kind} of {packages}: l1scout has its own of this name"
            )

    def _warn_once(self, text: str) -> None:
        if text not in self._warnings:
            self._warnings.add(text)
            warnings.warn(text, ScoutingWarning, stacklevel=2)

    def _provider(self, name: str) -> str:
        return " and ".join(sorted(map(_package, self._entry_points()[name])))

    @cached_property
    def _modules(self) -> list[str]:
        path = import_module(self._package).__path__
        names = [module.name for module in pkgutil.iter_modules(path) if not module.ispkg]
        return [name.replace("_", "-") for name in names if not name.startswith("_")]

    def _entry_points(self) -> Mapping[str, list[EntryPoint]]:
        return _entry_points(f"l1scout.{self.kind.replace(' ', '_')}", tuple(sys.path))


@cache
def _entry_points(group: str, path: tuple[str, ...]) -> Mapping[str, list[EntryPoint]]:
    """Return the entry points of a group by name, in the packages of a path, which are searched once."""
    del path
    found: dict[str, list[EntryPoint]] = {}
    for point in entry_points(group=group):
        found.setdefault(point.name, []).append(point)
    return found


def _package(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist else point.value


def _reason(error: Exception) -> str:
    return printable(f"{type(error).__name__}: {error}", 120)


def _docstring(module: str) -> str:
    """Return the docstring of a module that is not imported."""
    spec = find_spec(module)
    if spec is None:
        msg = f"No module named {module!r}"
        raise ModuleNotFoundError(msg)
    source = Path(spec.origin).read_text("utf-8") if spec.origin else ""
    return ast.get_docstring(ast.parse(source)) or ""
