"""Prescales and masks of a menu, and the prescaler: from the bits of algorithms to the decision."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from l1scout.errors import InputError, printable
from l1scout.jit import kernel
from l1scout.lhc import BX_PER_ORBIT
from l1scout.trigger.crossing_bits import Words, invert, pack_crossings
from l1scout.trigger.emulator import Decisions
from l1scout.trigger.menu import MAX_ALGORITHMS, Menu

UNIT = 100
"""Steps of a prescale: the firmware has hundredths."""
_NAMED = 5
"""Algorithms that a note names."""
FIRMWARE_FACTORS = 1 << 24
"""Factors of the firmware have 24 bits; some files have larger ones."""


def factor_of(text: str) -> int | None:
    """Return a prescale in hundredths: 0 if off; None if it is not 0, or 1 to 9999999.99."""
    whole, point, decimals = text.strip().partition(".")
    digits = whole.isascii() and whole.isdigit() and len(whole) < 8
    if not digits or (point and not (decimals.isascii() and decimals.isdigit() and len(decimals) < 8)):
        return None
    if decimals[2:].strip("0"):
        return None
    factor = UNIT * int(whole) + int(decimals[:2].ljust(2, "0"))
    return factor if factor == 0 or factor >= UNIT else None


@dataclass(frozen=True)
class PrescaleTable:
    """Prescales of all algorithms in several columns, of which the operators choose one.

    Parameters
    ----------
    source : str
        The file it was read from.
    columns : tuple of str
    factors : mapping of int to tuple of int
        By index of the algorithm, a prescale per column in hundredths; 0 = off.
    names : mapping of int to str
        Names of the algorithms, where the file has them.
    active : str, optional
        The column that the file says is in use.
    comments : mapping of int to str
        Names of the algorithms in comments of the file, which nothing checks.
    """

    source: str
    columns: tuple[str, ...]
    factors: Mapping[int, tuple[int, ...]]
    names: Mapping[int, str]
    active: str | None = None
    comments: Mapping[int, str] = field(default_factory=dict)

    def notes(self, menu: Menu) -> list[str]:
        """Return what does not fit a menu, though the table can be used with it: one sentence each."""
        names = {**self.comments, **self.names}
        used = {index for index, factors in self.factors.items() if any(factors) or index in names}
        return _notes_of(self.source, "prescales", used, names, menu)

    def column(self, name: str | None) -> int:
        """Return the place of a column; of the one in use without a name (InputError if there is none)."""
        wanted = self.active if name is None else name
        if wanted in self.columns:
            return self.columns.index(wanted)
        what = (
            "does not say which column is in use"
            if wanted is None
            else f"has no column {printable(wanted, 40)}"
        )
        msg = f"{self.source}: {what}; it has {', '.join(self.columns)}"
        raise InputError(msg)

    def of_menu(self, menu: Menu, column: str | None) -> dict[str, int]:
        """Return the prescale of each algorithm of a menu, in hundredths.

        Raises
        ------
        InputError
            If an algorithm is missing, or has another name in the table: then it is of another menu.
        """
        place, found, missing = self.column(column), {}, []
        for algorithm in menu.algorithms:
            name = self.names.get(algorithm.index, algorithm.name)
            if name != algorithm.name:
                msg = f"{self.source}: algorithm {algorithm.index} is {printable(name, 60)}, but "
                msg += f"{algorithm.name} in the menu {printable(menu.name, 60)}: they are not of one menu"
                raise InputError(msg)
            if algorithm.index not in self.factors:
                missing.append(algorithm.name)
                continue
            found[algorithm.name] = self.factors[algorithm.index][place]
        if missing:
            msg = f"{self.source}: no prescale of {len(missing)} algorithms, such as {missing[0]}"
            raise InputError(msg)
        return found

    def too_large(self, menu: Menu, column: str | None) -> list[str]:
        """Return the algorithms whose factor has more bits than the firmware's."""
        return [name for name, factor in self.of_menu(menu, column).items() if factor >= FIRMWARE_FACTORS]


def _notes_of(source: str, what: str, used: set[int], names: Mapping[int, str], menu: Menu) -> list[str]:
    """Say which rows of a table are of algorithms that a menu has not, or has under other names."""
    of_menu = {a.index: a.name for a in menu.algorithms}
    other = [k for k in sorted(used) if k in of_menu and names.get(k, of_menu[k]) != of_menu[k]]
    lacking = [k for k in sorted(used) if k not in of_menu]
    found = []
    if other:
        k = other[0]
        found.append(
            f"{source}: {what} of {len(other)} algorithms with other names in the menu {menu.name}, such as "
            f"{k}, {printable(names[k], 60)} ({of_menu[k]} in the menu): they may be those of another menu"
        )
    if lacking:
        listed = ", ".join(f"{k} {printable(names.get(k, ''), 60)}".rstrip() for k in lacking[:_NAMED])
        more = f" and {len(lacking) - _NAMED} more" if len(lacking) > _NAMED else ""
        found.append(
            f"{source}: {what} of {len(lacking)} algorithms are not used, as the menu {menu.name} has none "
            f"of them: {listed}{more}"
        )
    return found


@dataclass(frozen=True)
class Masks:
    """Algorithms that take part in the decision, and those that veto it.

    Parameters
    ----------
    finor : mapping of int to bool
        By index: whether the algorithm counts for the decision; those that are missing do.
    veto : mapping of int to bool
        Whether it vetoes the decision; those that are missing do not.
    bx : mapping of int to ndarray of bool, each of shape (3564,)
        BX, from 1, in which an algorithm may fire; those that are missing may always.
    names : mapping of int to str
        Names of the algorithms in comments of the files.
    source : str
        The files they were read from.
    """

    finor: Mapping[int, bool]
    veto: Mapping[int, bool]
    bx: Mapping[int, NDArray[np.bool_]]
    names: Mapping[int, str] = field(default_factory=dict)
    source: str = "masks"

    def notes(self, menu: Menu) -> list[str]:
        """Return what does not fit a menu: masks state indices, and names in comments only."""
        used = {*self.names} | {index for of in (self.finor, self.veto) for index, on in of.items() if on}
        found = _notes_of(self.source, "masks", used, self.names, menu)
        without = [a.name for a in menu.algorithms if self.finor and a.index not in self.finor]
        if without:
            found.append(
                f"{self.source}: no mask of {len(without)} algorithms, such as {without[0]}: they count"
            )
        return found

    @classmethod
    def none(cls) -> "Masks":
        """Return masks that mask nothing."""
        return cls({}, {}, {})


class Prescaler:
    """The prescalers of a run: a counter for each algorithm, which goes on from batch to batch.

    At each bit a counter grows by 100. If it is as large as the factor then (the prescale times 100), the bit
    passes and the factor is taken off: of a prescale of 2.5 two in five bits pass. All counters are 0 at
    the start of a run.

    Parameters
    ----------
    menu : Menu
    table : PrescaleTable
    column : str, optional
        The one in use by default.
    masks : Masks, optional
    """

    def __init__(
        self, menu: Menu, table: PrescaleTable, column: str | None = None, masks: Masks | None = None
    ) -> None:
        self._menu, self._table = menu, table
        self._masks = masks or Masks.none()
        self._index = {a.name: a.index for a in menu.algorithms}
        self._counters = np.zeros(MAX_ALGORITHMS, np.int64)
        self.select(column)

    def select(self, column: str | None) -> None:
        """Take another column, as at the beginning of a lumisection; counters go on."""
        self.factors = self._table.of_menu(self._menu, column)

    def apply(self, decisions: Decisions, first_bx: int = 1) -> Decisions:
        """Return what passes the masks of BX and the prescales, of crossings that follow those before.

        Parameters
        ----------
        decisions : Decisions
        first_bx : int
            BX of the first crossing.
        """
        words: dict[str, Words] = {}
        for name in decisions.words:
            index, fired = self._index[name], decisions.fired(name)
            if index in self._masks.bx:
                fired = fired[self._masks.bx[index][(first_bx - 1 + fired) % BX_PER_ORBIT]]
            passed = np.zeros(len(fired), np.bool_)
            self._counters[index] = count_down(self._counters[index], self.factors[name], passed)
            words[name] = pack_crossings(fired[passed], decisions.crossings)
        return Decisions(decisions.crossings, words, decisions.problems)

    def decide(self, prescaled: Decisions) -> Words:
        """Return the decision of each crossing: the OR of all bits that are not masked, without a veto."""
        accept = pack_crossings(np.zeros(0, np.int64), prescaled.crossings)
        veto = accept.copy()
        for name, words in prescaled.words.items():
            if self._masks.finor.get(self._index[name], True):
                accept |= words
            if self._masks.veto.get(self._index[name], False):
                veto |= words
        return np.asarray(accept & invert(veto, prescaled.crossings))


@kernel
def count_down(counter: int, factor: int, passed: NDArray[np.bool_]) -> int:
    """Find which of some bits pass a prescaler, and return its counter after them.

    Parameters
    ----------
    counter : int
        Before the first bit.
    factor : int
        Prescale in hundredths; 0 = off: nothing passes, and the counter stays.
    passed : ndarray of bool, shape (bits,)
        Result.
    """
    if factor == 0:
        passed[:] = False
        return counter
    for k in range(len(passed)):
        counter += UNIT
        passed[k] = counter >= factor
        if passed[k]:
            counter -= factor
    return counter
