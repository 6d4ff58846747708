"""A layer below `os`: what a disk still holds after a power cut, and a kill before any chosen step."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any


class Killed(BaseException):
    """The process ended here, without a chance to tidy up."""


class Disk:
    """Follows what a program does to the files below a folder.

    After a power cut a file has the bytes that it had when it was last given to `os.fsync`, and a folder
    the names that it had when it was; what was never given is empty. Steps are calls of `os.fsync`,
    `os.replace` and `os.mkdir`.

    Parameters
    ----------
    folder : Path
        Itself taken to last.
    monkeypatch : pytest.MonkeyPatch
    kill_at : int
        Number of the step, from 1, before which the program is killed; 0: never. Can be changed.

    Attributes
    ----------
    steps : int
        Taken so far.
    seen : callable
        Called before each step.
    """

    def __init__(self, folder: Path, monkeypatch: Any, kill_at: int = 0) -> None:
        self._folder, self.kill_at = folder, kill_at
        self._bytes: dict[int, bytes] = {}
        self._names: dict[int, dict[str, tuple[int, bool]]] = {}
        self.steps = 0
        self.seen: Callable[[], None] = lambda: None
        for name in ("fsync", "replace", "mkdir"):
            monkeypatch.setattr(os, name, self._step(getattr(os, name)))

    def _step(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def step(*arguments: Any, **more: Any) -> Any:
            self.steps += 1
            self.seen()
            if self.steps == self.kill_at:
                raise Killed
            if real.__name__ == "fsync":
                self._keep(os.fstat(arguments[0]).st_ino)
            return real(*arguments, **more)

        return step

    def _keep(self, number: int) -> None:
        for path in (self._folder, *self._folder.rglob("*")):
            if path.stat().st_ino != number:
                continue
            if path.is_dir():
                entries = list(os.scandir(path))
                self._names[number] = {e.name: (e.inode(), e.is_dir()) for e in entries}
            else:
                self._bytes[number] = path.read_bytes()

    def holds(self, path: Path) -> bytes | None:
        """Return what the disk would have of a file after a power cut now; None if not even its name."""
        number = self._folder.stat().st_ino
        for part in path.relative_to(self._folder).parts:
            names = self._names.get(number, {})
            if part not in names:
                return None
            number = names[part][0]
        return self._bytes.get(number, b"")

    def restore(self, target: Path) -> Path:
        """Write all that the disk would have after a power cut now into a new folder, and return it."""
        self._restore(self._folder.stat().st_ino, target)
        return target

    def _restore(self, number: int, target: Path) -> None:
        target.mkdir()
        for name, (inside, is_folder) in self._names.get(number, {}).items():
            if is_folder:
                self._restore(inside, target / name)
            else:
                (target / name).write_bytes(self._bytes.get(inside, b""))
