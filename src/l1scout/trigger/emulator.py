"""The Global Trigger's algorithms, bit for bit: before prescales and masks."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l1scout.trigger.condition_type import CONDITIONS
from l1scout.trigger.expression import ConditionText, Expression
from l1scout.trigger.menu import Algorithm, Menu, MenuCondition
from l1scout.trigger.menu_error import UnsupportedError
from l1scout.trigger.passing_objects import PassingObjects
from l1scout.trigger.trigger_inputs import TriggerInputs

Bits = NDArray[np.bool_]
_OPERATORS: Mapping[str, Callable[..., Any]] = {
    "AND": np.logical_and.reduce,
    "OR": np.logical_or.reduce,
    "XOR": np.logical_xor.reduce,
    "NOT": lambda inputs: ~inputs[0],
}


@dataclass(frozen=True)
class Decisions:
    """What a menu decides.

    Parameters
    ----------
    bits : mapping of str to ndarray of bool, each of shape (crossings,)
        By the name of the algorithm, in order of the index.
    problems : mapping of str to str
        Algorithms that are not among them, and why.
    """

    bits: Mapping[str, Bits]
    problems: Mapping[str, str]


def emulate(menu: Menu, inputs: TriggerInputs) -> Decisions:
    """Evaluate all algorithms of a menu that can be emulated exactly.

    Parameters
    ----------
    menu : Menu
    inputs : TriggerInputs
        Consecutive crossings: an algorithm that looks at the next crossing gets that of the next row, also
        from the last crossing of an orbit to the first of the next.
    """
    bits: dict[str, Bits] = {}
    problems = {}
    results: dict[MenuCondition, Bits] = {}
    objects = PassingObjects(inputs)
    for algorithm in menu.algorithms:
        if algorithm.problem or algorithm.expression is None:
            problems[algorithm.name] = algorithm.problem
            continue
        try:
            bits[algorithm.name] = _combine(algorithm.expression, algorithm, objects, results)
        except UnsupportedError as error:
            problems[algorithm.name] = str(error)
    return Decisions(bits, problems)


def _combine(
    expression: Expression, algorithm: Algorithm, objects: PassingObjects, results: dict[MenuCondition, Bits]
) -> Bits:
    if isinstance(expression, ConditionText):
        condition = algorithm.conditions[str(expression)]
        if condition not in results:
            results[condition] = CONDITIONS[condition.type].evaluate(condition, objects)
        return results[condition]
    inputs = [_combine(part, algorithm, objects, results) for part in expression.inputs]
    return np.asarray(_OPERATORS[expression.operator](inputs))
