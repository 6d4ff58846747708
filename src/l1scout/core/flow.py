"""How data flow: sources give items, stages turn items into others, sinks take them; one step at a time.

A process of the chain, a batch job and a test drive the same objects: a process calls `step` in a loop, a
test calls it as often as it likes.
"""

from collections.abc import Iterable
from typing import Protocol, TypeVar

Out = TypeVar("Out", covariant=True)
In = TypeVar("In", contravariant=True)


class Source(Protocol[Out]):
    """Gives items in order."""

    def step(self) -> Out | None:
        """Return the next item; None if there is none at this moment or any more (see `finished`)."""

    @property
    def finished(self) -> bool:
        """Whether no item will come any more."""


class Stage(Protocol[In, Out]):
    """Turns items into others."""

    def step(self, item: In) -> Iterable[Out]:
        """Take an item; return what can be given on now: none, one or several items."""

    def finish(self) -> Iterable[Out]:
        """Return what was held back when no item comes any more."""


class Sink(Protocol[In]):
    """Takes items."""

    def ready(self) -> bool:
        """Whether an item would be taken now; if not, the source waits, or drops and counts."""

    def step(self, item: In) -> None:
        """Take an item."""

    def finish(self) -> object:
        """Complete what was taken."""


class Worker(Protocol):
    """Does a task that never ends, such as sending what waits, one piece at a time."""

    def step(self) -> float:
        """Do the next piece, if there is one; return in how many seconds to look for another (0: at once)."""
