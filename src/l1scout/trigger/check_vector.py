"""A menu against a test vector: bits set, equal and different for each algorithm."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from l1scout.trigger.emulator import emulate
from l1scout.trigger.limits import pair_cut
from l1scout.trigger.menu import Algorithm, Menu
from l1scout.trigger.vector_file import TestVector


@dataclass(frozen=True)
class AlgorithmCheck:
    """The comparison of one algorithm.

    Parameters
    ----------
    index : int
    name : str
    set_in_vector, set_by_emulator, equal, different : int
        Numbers of crossings.
    crossings : tuple of int
        Those that differ, ten at most, from 0.
    reason : str
        Why they differ although the emulator is right, where that is known.
    """

    index: int
    name: str
    set_in_vector: int
    set_by_emulator: int
    equal: int
    different: int
    crossings: tuple[int, ...]
    reason: str

    def as_dict(self) -> dict[str, Any]:
        """Return the comparison for JSON."""
        return dict(self.__dict__)


@dataclass(frozen=True)
class VectorCheck:
    """The comparison of a menu with a test vector.

    Parameters
    ----------
    algorithms : tuple of AlgorithmCheck
        Those that were emulated.
    skipped : dict of str to str
        Those that were not, and why.
    unused_bits : int
        Bits of the vector that no algorithm of the menu has, and which are set nevertheless.
    """

    algorithms: tuple[AlgorithmCheck, ...]
    skipped: dict[str, str]
    unused_bits: int

    @property
    def unexplained(self) -> tuple[AlgorithmCheck, ...]:
        """Algorithms that differ without a known reason."""
        return tuple(a for a in self.algorithms if a.different and not a.reason)


def check_vector(menu: Menu, vector: TestVector) -> VectorCheck:
    """Emulate a menu on the inputs of a test vector and compare all bits."""
    decisions = emulate(menu, vector.inputs)
    checks = []
    for algorithm in menu.algorithms:
        if algorithm.name not in decisions.bits:
            continue
        got, wanted = decisions.bits[algorithm.name], vector.algorithms[:, algorithm.index]
        wrong = np.flatnonzero(got != wanted)
        reason = _reason(menu, algorithm, vector) if wrong.size else ""
        checks.append(
            AlgorithmCheck(
                algorithm.index,
                algorithm.name,
                int(wanted.sum()),
                int(got.sum()),
                len(got) - wrong.size,
                wrong.size,
                tuple(wrong[:10].tolist()),
                reason,
            )
        )
    unused = int(np.count_nonzero(vector.algorithms & ~menu.own_bits))
    return VectorCheck(tuple(checks), dict(decisions.problems), unused)


EARLIER_LIMIT = {"L1Menu_Collisions2016_v8": (14000.0, 1400.0)}
"""Menus of which the vector was made with an earlier XML: the mass at which MASS_MIN ends, now and then."""


def _reason(menu: Menu, algorithm: Algorithm, vector: TestVector) -> str:
    """Explain why a right emulator differs from a vector; empty if that is not known."""
    if vector.independent and algorithm.offsets:
        offsets = " and ".join(f"{offset:+d}" for offset in algorithm.offsets)
        return f"looks at BX {offsets}, but lines of this vector are independent events"
    if menu.name in EARLIER_LIMIT:
        now, then = EARLIER_LIMIT[menu.name]
        earlier = _with_earlier_limit(algorithm, now, then)
        bits = emulate(replace(menu, algorithms=(earlier,)), vector.inputs).bits
        if np.array_equal(bits[algorithm.name], vector.algorithms[:, algorithm.index]):
            return f"equal if masses end at {then:g} GeV, as when the vector was made, not at {now:g}"
    return ""


def _with_earlier_limit(algorithm: Algorithm, now: float, then: float) -> Algorithm:
    """Return an algorithm with another upper limit of its masses."""
    old, new = (pair_cut("MASS", "", 0.0, limit, "").high for limit in (now, then))
    conditions = {
        text: replace(
            c, cuts=tuple(replace(x, high=new) if (x.type, x.high) == ("MASS", old) else x for x in c.cuts)
        )
        for text, c in algorithm.conditions.items()
    }
    return replace(algorithm, conditions=conditions)
