"""A menu as the emulator needs it: algorithms whose conditions are data, with limits as hardware integers."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from l1scout.errors import InputError, printable
from l1scout.trigger.expression import Expression

MAX_ALGORITHMS = 512
LAST_VETO_GRAMMAR = (0, 6)
"""Version of the grammar up to which overlap removal is a veto (`MenuCondition`), as in 2018."""


@dataclass(frozen=True)
class LegCut:
    """A cut on one object.

    Parameters
    ----------
    type : str
        ETA, PHI, INDEX, SLICE or UPT, with `low` and `high`; QLTY, ISO, IP, DISP or CHG, with `mask`; SCORE,
        with `low`. An object must pass, of each type that is given, at least one cut.
    name : str
    low, high : int
        Hardware values, both included. Of PHI, `low` may be above `high`: the window contains phi = 0 then.
    mask : int
        Bit k is set if the value k passes. Charge has the value of the hardware's bit: 1 is negative.
    """

    type: str
    name: str
    low: int = 0
    high: int = 0
    mask: int = 0


@dataclass(frozen=True)
class Leg:
    """What one object of a condition must fulfil, or a signal.

    Parameters
    ----------
    kind : str
        ``MU``, ``JET``, ``ETM``..., ``CICADA``; ``EXT`` for external signals; ``CENT``, ``MUS`` for flags.
    name : str
        As in the expression, with threshold and BX offset, such as ``MU4p5-1``; of a signal its own name.
    threshold : int
        Hardware value; of signals the number of their bit.
    equal : bool
        Whether the value must equal the threshold; otherwise it may be larger.
    offset : int
        Crossings that the object comes later, -2..2.
    cuts : tuple of LegCut
    """

    kind: str
    name: str
    threshold: int = 0
    equal: bool = False
    offset: int = 0
    cuts: tuple[LegCut, ...] = ()


@dataclass(frozen=True)
class PairCut:
    """A cut on several objects of a condition.

    Parameters
    ----------
    type : str
        CHGCOR, DETA, DPHI, DR, MASS, MASSUPT, ORMDETA, ORMDPHI or ORMDR.
    name : str
    low, high : int
        Both included. DETA, DPHI: 0.001 (rad). DR: 0.001, of the square of the distance. MASS, MASSUPT:
        0.1 GeV^2, of half the mass squared. CHGCOR: both 1 if charges must differ, 0 if they must be equal.
    """

    type: str
    name: str
    low: int
    high: int


@dataclass(frozen=True)
class MenuCondition:
    """A condition: a type, objects and cuts.

    Parameters
    ----------
    type : str
        Name of the condition's type (`l1scout.trigger.condition_type.CONDITIONS`).
    legs : tuple of Leg
    cuts : tuple of PairCut
    veto : bool
        Of overlap removal: whether every object of the last leg that passes must be away from the other
        objects (2018); otherwise one such object is enough (from 2021 on).
    """

    type: str
    legs: tuple[Leg, ...]
    cuts: tuple[PairCut, ...] = ()
    veto: bool = False

    def cuts_of(self, *types: str) -> tuple[PairCut, ...]:
        """Return the cuts of some types."""
        return tuple(cut for cut in self.cuts if cut.type in types)


@dataclass(frozen=True)
class Algorithm:
    """An algorithm of the menu.

    Parameters
    ----------
    index : int
        Bit of the Global Trigger, 0..511.
    name : str
    text : str
        The expression as the menu has it.
    expression : LogicExpression or ConditionText, optional
        None if it could not be parsed.
    conditions : mapping of str to MenuCondition
        By the text of each condition of the expression.
    module : int, optional
        The board that computes it.
    problem : str
        Why it cannot be emulated exactly; empty if it can.
    recalibrated : bool
        Whether it gets recalibrated muons; no menu of the trigger has such algorithms.
    """

    index: int
    name: str
    text: str
    expression: Expression | None
    conditions: Mapping[str, MenuCondition] = field(default_factory=dict)
    module: int | None = None
    problem: str = ""
    recalibrated: bool = False

    @property
    def offsets(self) -> tuple[int, ...]:
        """Crossings before (negative) and after its own at which it looks, in order."""
        legs = (leg for condition in self.conditions.values() for leg in condition.legs)
        return tuple(sorted({leg.offset for leg in legs if leg.offset}))


@dataclass(frozen=True)
class Menu:
    """A trigger menu.

    Parameters
    ----------
    name : str
    grammar : str
        Version of the grammar, such as ``0.6``; of a file that does not state it, the year's.
    algorithms : tuple of Algorithm
        In order of their index.
    source : str
        The file it was read from.
    signals : mapping of str to int
        Bit of each external signal, 0..255.
    signals_from : str
        The file that states them.
    """

    name: str
    grammar: str
    algorithms: tuple[Algorithm, ...]
    source: str
    signals: Mapping[str, int] = field(default_factory=dict)
    signals_from: str = ""

    @property
    def problems(self) -> dict[str, str]:
        """Algorithms that cannot be emulated exactly, with the reason."""
        return {a.name: a.problem for a in self.algorithms if a.problem}

    @property
    def own_bits(self) -> NDArray[np.bool_]:
        """Which of the 512 bits have an algorithm."""
        own = np.zeros(MAX_ALGORITHMS, np.bool_)
        own[[a.index for a in self.algorithms]] = True
        return own

    def of_board(self, module: int) -> "Menu":
        """Return the menu of one board of the Global Trigger (InputError if it has no algorithm)."""
        own = tuple(a for a in self.algorithms if a.module == module)
        if not own:
            there = sorted({a.module for a in self.algorithms if a.module is not None})
            msg = f"{self.source}: no algorithm is on board {module}; boards: {there or 'not stated'}"
            raise InputError(msg)
        return replace(self, algorithms=own)

    def select(self, name: str) -> Algorithm:
        """Return an algorithm by its name or index (InputError if there is none)."""
        for algorithm in self.algorithms:
            if name in (algorithm.name, str(algorithm.index)):
                return algorithm
        close = [a.name for a in self.algorithms if name.lower() in a.name.lower()][:5]
        hint = f"; there are {', '.join(close)}" if close else ""
        msg = f"{self.source}: no algorithm {printable(name)!r} among the {len(self.algorithms)}{hint}"
        raise InputError(msg)


def grammar_version(text: str) -> tuple[int, int]:
    """Return a version such as ``0.12`` as numbers, for comparison (InputError if it is none)."""
    parts = text.split(".")
    if len(parts) != 2 or not all(p.isascii() and p.isdigit() and len(p) < 5 for p in parts):
        msg = f"grammar version {printable(text)!r} is not of the form 0.12"
        raise InputError(msg)
    return int(parts[0]), int(parts[1])


def checked_algorithms(algorithms: list[Algorithm], source: str) -> tuple[Algorithm, ...]:
    """Return algorithms in order of their index.

    Raises
    ------
    InputError
        If there are none, or an index or name is not valid or occurs twice.
    """
    if not algorithms:
        msg = f"{source}: the menu has no algorithms"
        raise InputError(msg)
    for what in ("index", "name"):
        seen: set[object] = set()
        for algorithm in algorithms:
            value = getattr(algorithm, what)
            if value in seen:
                msg = f"{source}: two algorithms have the {what} {printable(str(value))}"
                raise InputError(msg)
            seen.add(value)
    for algorithm in algorithms:
        if not 0 <= algorithm.index < MAX_ALGORITHMS:
            msg = f"{source}: {printable(algorithm.name)} has index {algorithm.index}, outside 0..511"
            raise InputError(msg)
    return tuple(sorted(algorithms, key=lambda a: a.index))
