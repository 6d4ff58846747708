"""What a cross-check of the Global Trigger found."""

from dataclasses import dataclass, field
from typing import Any

from l1scout.errors import printable
from l1scout.trigger.menu import Menu


@dataclass(frozen=True)
class Mismatch:
    """A crossing in which the recorded bit and the emulated one differ.

    Parameters
    ----------
    run, orbit, bx : int
    recorded : bool
        The bit that was recorded; the emulator has the other one.
    objects : tuple of dict
        Objects that the algorithm looks at, see `cross_check_inputs.objects_of`.
    """

    run: int
    orbit: int
    bx: int
    recorded: bool
    objects: tuple[dict[str, Any], ...]

    def as_dict(self) -> dict[str, Any]:
        """Return the mismatch for JSON."""
        return {**self.__dict__, "objects": list(self.objects)}


@dataclass
class CheckedAlgorithm:
    """The comparison of one algorithm.

    Parameters
    ----------
    index : int
    name : str
    module : int, optional
        The board that computes it.
    compared, recorded, emulated : int
        Crossings that were compared, and of these those in which the bit is set.
    only_recorded, only_emulated : int
        Crossings in which the bits differ.
    by_bx : dict of int to int
        Crossings in which they differ, by BX.
    examples : list of Mismatch
        The first of them.
    explanations : tuple of str
        Single faults of the firmware that make all bits equal.
    """

    index: int
    name: str
    module: int | None
    compared: int = 0
    recorded: int = 0
    emulated: int = 0
    only_recorded: int = 0
    only_emulated: int = 0
    by_bx: dict[int, int] = field(default_factory=dict)
    examples: list[Mismatch] = field(default_factory=list)
    explanations: tuple[str, ...] = ()

    @property
    def different(self) -> int:
        """Crossings in which the bits differ."""
        return self.only_recorded + self.only_emulated

    def as_dict(self) -> dict[str, Any]:
        """Return the comparison for JSON."""
        fields = {n: v for n, v in self.__dict__.items() if n not in ("examples", "by_bx")}
        by_bx = {str(bx): n for bx, n in sorted(self.by_bx.items())}
        return {**fields, "different_by_bx": by_bx, "examples": [e.as_dict() for e in self.examples]}


@dataclass(frozen=True)
class CrossCheck:
    """The comparison of a menu with recorded bits.

    Parameters
    ----------
    algorithms : tuple of CheckedAlgorithm
        Those that were compared.
    not_emulated : dict of str to str
        Those that were not, and why: they say nothing about the trigger.
    unknown_bits : dict of int to int
        Crossings with a recorded bit that no algorithm of the menu has, by its index.
    orbits : int
        That were compared.
    orbits_left_out : int
        In which not all streams were seen, or of which it is not known.
    menu_hashes : dict of str to int
        Recorded hashes of the menu, and the number of records with each.
    simulated : bool, optional
        Whether the data are simulated; None where nothing says so.
    events : int
        Triggered events that were compared.
    """

    algorithms: tuple[CheckedAlgorithm, ...]
    not_emulated: dict[str, str]
    unknown_bits: dict[int, int]
    orbits: int
    orbits_left_out: int
    menu_hashes: dict[str, int]
    simulated: bool | None
    events: int = 0

    @property
    def differing(self) -> tuple[CheckedAlgorithm, ...]:
        """Algorithms with a bit that differs."""
        return tuple(a for a in self.algorithms if a.different)

    @property
    def agrees(self) -> bool:
        """Whether every bit that was compared is equal, and no bit is set that the menu does not have."""
        return not self.differing and not self.unknown_bits


def summary(found: CrossCheck, menu: Menu) -> dict[str, Any]:
    """Return a comparison for JSON."""
    return {
        "menu": printable(menu.name),
        "simulated": found.simulated,
        "agrees": found.agrees,
        "events": found.events,
        "orbits": found.orbits,
        "orbits_left_out": found.orbits_left_out,
        "menu_hashes": found.menu_hashes,
        "algorithms": [a.as_dict() for a in found.algorithms],
        "not_emulated": found.not_emulated,
        "bits_without_algorithm": {str(k): n for k, n in found.unknown_bits.items()},
    }
