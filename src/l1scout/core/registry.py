"""Parts of one kind by name: readers, engines, streams... of l1scout and of other packages.

A part is one source file. It registers itself when it is imported::

    @ENGINES.register("table")
    class TableEngine: ...

l1scout's own parts are the modules of one package, each named after its part, so that names can be listed
without importing anything. Another package announces its parts as entry points of the group
``l1scout.engines`` (or ``l1scout.readers``, ``l1scout.streams``...): the entry point has the part's name, and
loading it gives the part.
"""

import ast
import pkgutil
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from inspect import cleandoc
from pathlib import Path
from typing import Any, Generic, TypeVar

from l1scout.errors import InputError, printable

T = TypeVar("T")


class Registry(Mapping[str, T], Generic[T]):
    """Parts of one kind by name, imported when they are asked for.

    Parameters
    ----------
    kind : str
        Plural noun such as "engines"; other packages' entry points are those of the group ``l1scout.KIND``,
        with ``_`` for spaces.
    package : str
        Whose modules hold l1scout's own parts; a part's module has its name, with ``_`` for ``-``. Modules
        whose names begin with ``_`` hold none, and neither do packages in it.
    """

    def __init__(self, kind: str, package: str) -> None:
        self.kind, self._package = kind, package
        self._parts: dict[str, T] = {}

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
        """Return a part, imported now if need be (KeyError if there is none; see `find`).

        Raises
        ------
        InputError
            If the part of another package cannot be imported, or two packages have parts of this name.
        """
        if name not in self._parts and name in self._modules():
            import_module(f"{self._package}.{name.replace('-', '_')}")
        if name not in self._parts:
            self.register(name)(self._load(name))
        return self._parts[name]

    def _load(self, name: str) -> Any:
        """Import a part of another package."""
        found = {point.value: point for point in self._entry_points() if point.name == name}
        if not found:
            raise KeyError(name)
        what = f"{printable(name)!r} of the {self.kind}"
        if len(found) > 1:
            msg = f"{what} is in several packages ({', '.join(found)}): uninstall all but one"
            raise InputError(msg)
        (point,) = found.values()
        try:
            return point.load()
        except Exception as error:  # whatever the other package does when it is imported
            package = point.dist.name if point.dist else point.module
            reason = printable(f"{type(error).__name__}: {error}")
            msg = f"{what} cannot be imported ({reason}): repair or uninstall the package {package}"
            raise InputError(msg) from error

    def __iter__(self) -> Iterator[str]:
        """Go through all names, in alphabetical order, without importing a part."""
        return iter(sorted({*self._modules(), *self._parts, *(p.name for p in self._entry_points())}))

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
            If there is none; the message lists those there are.
        """
        if name not in self:
            msg = f"no {printable(name)!r} among the {self.kind}: choose one of {', '.join(self)}"
            raise InputError(msg)
        return self[name]

    def describe(self, name: str) -> str:
        """Return the description of a part, of which the first line is a summary; nothing is imported.

        It is the docstring of the part's module, or, of a part that was registered otherwise, its own.
        """
        module = f"{self._package}.{name.replace('-', '_')}" if name in self._modules() else ""
        if not module and name not in self._parts:
            module = next(point.module for point in self._entry_points() if point.name == name)
        if not module:
            return cleandoc(self._parts[name].__doc__ or "")
        try:
            spec = find_spec(module)
            source = Path(spec.origin).read_text("utf-8") if spec and spec.origin else ""
            return ast.get_docstring(ast.parse(source)) or ""
        except Exception:  # of another package, which may be broken: who asks for the part is told
            return ""

    def _modules(self) -> list[str]:
        path = import_module(self._package).__path__
        names = [module.name for module in pkgutil.iter_modules(path) if not module.ispkg]
        return [name.replace("_", "-") for name in names if not name.startswith("_")]

    def _entry_points(self) -> list[EntryPoint]:
        return _entry_points(f"l1scout.{self.kind.replace(' ', '_')}", tuple(sys.path))


@cache
def _entry_points(group: str, path: tuple[str, ...]) -> list[EntryPoint]:
    """Return the entry points of a group in the packages of a path, which are searched once."""
    del path
    return list(entry_points(group=group))
