"""The Global Trigger's algorithms, bit for bit: before prescales and masks."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from l1scout.trigger.condition_type import CONDITIONS
from l1scout.trigger.crossing_bits import Words, crossings_of, invert, pack_crossings, unpack
from l1scout.trigger.expression import ConditionText, Expression
from l1scout.trigger.menu import Algorithm, Menu, MenuCondition
from l1scout.trigger.menu_error import UnsupportedError
from l1scout.trigger.passing_objects import PassingObjects
from l1scout.trigger.trigger_inputs import TriggerInputs

_OPERATORS = {"AND": np.bitwise_and, "OR": np.bitwise_or, "XOR": np.bitwise_xor}


class Bits(Mapping[str, NDArray[np.bool_]]):
    """A flag per crossing of each algorithm, unpacked when it is asked for.

    Parameters
    ----------
    words : mapping of str to ndarray of uint64
    crossings : int
    """

    def __init__(self, words: Mapping[str, Words], crossings: int) -> None:
        self._words, self._crossings = words, crossings

    def __getitem__(self, name: str) -> NDArray[np.bool_]:
        """Return the flags of an algorithm: shape (crossings,)."""
        return unpack(self._words[name], self._crossings)

    def __iter__(self) -> Iterator[str]:
        """Go through the names of the algorithms, in order of the index."""
        return iter(self._words)

    def __len__(self) -> int:
        """Return the number of algorithms."""
        return len(self._words)


@dataclass(frozen=True)
class Decisions:
    """What a menu decides.

    Parameters
    ----------
    crossings : int
    words : mapping of str to ndarray of uint64
        A bit per crossing (`crossing_bits`), by the name of the algorithm, in order of the index.
    problems : mapping of str to str
        Algorithms that are not among them, and why.
    """

    crossings: int
    words: Mapping[str, Words]
    problems: Mapping[str, str]

    @property
    def bits(self) -> Bits:
        """A flag per crossing of each algorithm."""
        return Bits(self.words, self.crossings)

    def fired(self, name: str) -> NDArray[np.int64]:
        """Return the crossings in which an algorithm is fulfilled, in order."""
        return crossings_of(self.words[name])


def emulate(menu: Menu, inputs: TriggerInputs) -> Decisions:
    """Evaluate all algorithms of a menu that can be emulated exactly.

    Parameters
    ----------
    menu : Menu
    inputs : TriggerInputs
        Consecutive crossings: an algorithm that looks at the next crossing gets that of the next row, also
        from the last crossing of an orbit to the first of the next.
    """
    words: dict[str, Words] = {}
    problems = {}
    results: dict[MenuCondition, Words] = {}
    objects = PassingObjects(inputs)
    for algorithm in menu.algorithms:
        if algorithm.problem or algorithm.expression is None:
            problems[algorithm.name] = algorithm.problem
            continue
        try:
            words[algorithm.name] = _combine(algorithm.expression, algorithm, objects, results)
        except UnsupportedError as error:
            problems[algorithm.name] = str(error)
    return Decisions(inputs.crossings, words, problems)


def _combine(
    expression: Expression, algorithm: Algorithm, objects: PassingObjects, results: dict[MenuCondition, Words]
) -> Words:
    if isinstance(expression, ConditionText):
        condition = algorithm.conditions[str(expression)]
        if condition not in results:
            fired = CONDITIONS[condition.type].evaluate(condition, objects)
            results[condition] = pack_crossings(fired, objects.inputs.crossings)
        return results[condition]
    inputs = [_combine(part, algorithm, objects, results) for part in expression.inputs]
    if expression.operator == "NOT":
        return invert(inputs[0], objects.inputs.crossings)
    return np.asarray(_OPERATORS[expression.operator].reduce(inputs))
