"""What a skim selects: conditions in the short form, and algorithms of a menu by their names."""

from l1scout.errors import InputError, printable
from l1scout.trigger.expression import ConditionText, Expression, LogicExpression, parse_expression
from l1scout.trigger.menu import Algorithm, Menu, MenuCondition
from l1scout.trigger.short_form import menu_of, parse_algorithm, without_spaces

NAME = "skim"


def skim_menu(text: str, menu: Menu | None = None) -> Menu:
    """Return a menu with one algorithm, which is an expression.

    Parameters
    ----------
    text : str
        In the short form (`l1scout.trigger.short_form`): ``comb{MU5, MU3}[OS] AND NOT JET60``. With a menu,
        names of its algorithms stand for these: ``L1_SingleMu22 OR L1_DoubleMu_15_7``.
    menu : Menu, optional
        Whose algorithms, cuts and external signals are named.

    Raises
    ------
    InputError
        If it is not of the grammar, names an algorithm that the menu does not have, or cannot be emulated.
    """
    known = {a.name: a for a in menu.algorithms} if menu else {}
    conditions: dict[str, MenuCondition] = {}

    def resolved(part: Expression) -> Expression:
        if isinstance(part, LogicExpression):
            return LogicExpression(part.operator, tuple(map(resolved, part.inputs)))
        algorithm = _named(part, known, menu) or parse_algorithm(str(part), NAME, menu=menu)
        for own, condition in algorithm.conditions.items():
            if conditions.setdefault(own, condition) != condition:
                where = f"{algorithm.name} and elsewhere in {printable(text, 80)!r}"
                msg = f"{printable(own, 80)} means different things in {where}"
                raise InputError(msg)
        assert algorithm.expression is not None
        return algorithm.expression

    expression = resolved(parse_expression(without_spaces(text)))
    return menu_of([Algorithm(0, NAME, text, expression, conditions)])


def _named(part: ConditionText, known: dict[str, Algorithm], menu: Menu | None) -> Algorithm | None:
    """Return the algorithm of a menu that a part of an expression names; None if it names none.

    Raises
    ------
    InputError
        If there is none of this name, or it cannot be emulated.
    """
    name = part.objects[0].name
    if part.function or not name.startswith("L1_"):
        return None
    if name not in known:
        where = f"{menu.source} has no such algorithm" if menu else "name its menu with --menu"
        msg = f"{printable(name, 80)}: {where}"
        raise InputError(msg)
    if known[name].problem:
        msg = f"{name}: {known[name].problem}"
        raise InputError(msg)
    return known[name]
