"""How data flow: a source gives items, stages turn them into others, and a sink takes them, step by step.

A process of the chain, a batch job and a test drive the same objects: a process calls `step` in a loop, a
test calls it as often as it likes. A source is any iterator: ``next`` is its step.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, TypeVar

Out = TypeVar("Out", covariant=True)
In = TypeVar("In", contravariant=True)
Given = TypeVar("Given")
Made = TypeVar("Made")
Progress = Callable[[int, int], object]
"""Told how much is done, and how much there is in all."""


class Stage(Protocol[In, Out]):
    """Turns items into others."""

    def step(self, item: In) -> Iterable[Out]:
        """Take an item; return what can be passed on now: none, one or several items."""

    def finish(self) -> Iterable[Out]:
        """Return what was held back, once all items were taken."""


class Sink(Protocol[In]):
    """Takes items."""

    def ready(self) -> bool:
        """Whether an item would be taken now; if not, the source waits, or drops and counts."""

    def step(self, item: In) -> None:
        """Take an item."""

    def finish(self) -> object:
        """Complete what was taken."""


def through(source: Iterable[Given], stage: Stage[Given, Made]) -> Iterator[Made]:
    """Pass all items of a source through a stage, and then what the stage held back."""
    for item in source:
        yield from stage.step(item)
    yield from stage.finish()
