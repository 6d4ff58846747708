"""A menu and algorithms that are tried beside it, decided together at the crossings near objects."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from l1scout.errors import InputError
from l1scout.trigger.crossing_bits import Words, pack_flags, unpack
from l1scout.trigger.emulator import emulate
from l1scout.trigger.menu import Menu
from l1scout.trigger.menu_toml import read_menu_toml
from l1scout.trigger.nearby_crossings import NearbyDecisions, Objects, near_objects, reach_of
from l1scout.trigger.own_algorithms import OwnAlgorithm, read_own_algorithms
from l1scout.trigger.scales import KINDS
from l1scout.trigger.trigger_inputs import SLOTS, StreamObjects, TriggerInputs
from l1scout.trigger.xml_tree import read_bytes

_NOWHERE = np.zeros(0, np.int64)


@dataclass(frozen=True)
class Decider:
    """What is decided at each crossing.

    Parameters
    ----------
    menu : Menu, optional
    tried : Menu, optional
        Algorithms that are tried beside it.
    own : tuple of OwnAlgorithm
    """

    menu: Menu | None = None
    tried: Menu | None = None
    own: tuple[OwnAlgorithm, ...] = ()

    def __post_init__(self) -> None:
        double = {name for name in self.names if self.names.count(name) > 1}
        if double:
            msg = f"algorithms of the same name: {', '.join(sorted(double))}; rename one"
            raise InputError(msg)

    @property
    def names(self) -> tuple[str, ...]:
        """Algorithms of the menu, and behind them those that are tried."""
        menus = (self.menu, self.tried)
        found = [a.name for menu in menus if menu for a in menu.algorithms]
        return (*found, *(one.name for one in self.own))

    @property
    def n_menu(self) -> int:
        """Number of the menu's algorithms."""
        return len(self.menu.algorithms) if self.menu else 0

    @property
    def reach(self) -> int:
        """Crossings before and after its own at which any looks."""
        menus = (self.menu, self.tried)
        return max(0, *(reach_of(m) for m in menus if m), *(one.reach for one in self.own))

    @property
    def streams(self) -> frozenset[str]:
        """Streams at which any looks; all that the trigger has, if there are algorithms in Python."""
        if self.own:
            return frozenset(SLOTS)
        signals = {"MUS": "muon", "CENT": "etsum"}
        legs = (
            leg.kind
            for menu in (self.menu, self.tried)
            for a in (menu.algorithms if menu else ())
            for condition in a.conditions.values()
            for leg in condition.legs
        )
        names = {KINDS[kind].stream if kind in KINDS else signals.get(kind, "") for kind in legs}
        return frozenset(names & SLOTS.keys())

    def decide(self, objects: Objects) -> NearbyDecisions:
        """Decide at all crossings near objects."""
        time = near_objects(objects, self.reach)
        placed = {
            name: StreamObjects(np.searchsorted(time, s.crossing), s.offsets, s.columns)
            for name, s in objects.items()
        }
        words, problems = self._decide(TriggerInputs(len(time), placed))
        return NearbyDecisions(time, words, problems)

    def without_objects(self, objects: Objects) -> dict[str, bool]:
        """Return what is decided where there is nothing; of `objects` only streams and columns count."""
        nothing = {name: stream.only(_NOWHERE) for name, stream in objects.items()}
        rows = 2 * self.reach + 1
        words, _ = self._decide(TriggerInputs(rows, nothing))
        return {name: bool(unpack(w, rows)[self.reach]) for name, w in words.items()}

    def _decide(self, inputs: TriggerInputs) -> tuple[dict[str, Words], dict[str, str]]:
        words: dict[str, Words] = {}
        problems: dict[str, str] = {}
        for menu in (self.menu, self.tried):
            if menu:
                found = emulate(menu, inputs)
                words |= found.words
                problems |= found.problems
        for one in self.own:
            words[one.name] = pack_flags(one.decide(inputs, words))
        return words, problems


def read_tried(path: Path, menu: Menu | None) -> Decider:
    """Return a menu with the algorithms of a file of one's own: Python, or TOML in the short form.

    Raises
    ------
    InputError
        If it cannot be used.
    """
    if path.suffix == ".py":
        return Decider(menu, own=read_own_algorithms(path))
    signals = menu.signals if menu else None
    tried = read_menu_toml(read_bytes(path), path, signals, menu.signals_from if menu else "", cuts_of=menu)
    return Decider(menu, tried)
