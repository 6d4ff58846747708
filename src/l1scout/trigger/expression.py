"""The grammar of algorithms: ``comb{MU3[MU-QLTY_DBLE], MU3} AND NOT EXT_BPTX_B1_VME-1``.

An expression joins conditions with AND, OR, XOR, NOT and round brackets. Operators of one level must be
equal: the menus never mix them without brackets, and no rule says which would bind first.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NoReturn

from l1scout.errors import InputError, printable

MAX_CHARACTERS, MAX_DEPTH = 20_000, 40
OPERATORS = ("AND", "OR", "XOR")
_TOKEN = re.compile(r"\s*([{}\[\](),]|[^\s{}\[\](),]+)")


@dataclass(frozen=True)
class ObjectText:
    """An object as an expression writes it: its name, such as ``MU4p5-1``, and the names of its cuts."""

    name: str
    cuts: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.name + (f"[{', '.join(self.cuts)}]" if self.cuts else "")


@dataclass(frozen=True)
class ConditionText:
    """A condition as an expression writes it.

    Parameters
    ----------
    function : str
        Such as ``comb`` or ``mass_inv``; empty for an object or a signal alone.
    objects : tuple of ObjectText
    cuts : tuple of str
        Names of the cuts behind the function's objects.
    """

    function: str
    objects: tuple[ObjectText, ...]
    cuts: tuple[str, ...] = ()

    def __str__(self) -> str:
        inside = ", ".join(map(str, self.objects))
        if not self.function:
            return inside
        return f"{self.function}{{{inside}}}" + (f"[{', '.join(self.cuts)}]" if self.cuts else "")


@dataclass(frozen=True)
class LogicExpression:
    """AND, OR, XOR or NOT of conditions and of other logic."""

    operator: str
    inputs: tuple["LogicExpression | ConditionText", ...]


Expression = LogicExpression | ConditionText


def conditions_of(expression: Expression) -> Iterator[ConditionText]:
    """Go through the conditions of an expression, in its order; some may come twice."""
    if isinstance(expression, ConditionText):
        yield expression
        return
    for part in expression.inputs:
        yield from conditions_of(part)


def parse_expression(text: str) -> Expression:
    """Parse an algorithm's expression.

    Raises
    ------
    InputError
        If it is not of the grammar, mixes operators without brackets, or is absurdly long or deep.
    """
    if len(text) > MAX_CHARACTERS:
        msg = f"an expression of {len(text)} characters is longer than the {MAX_CHARACTERS} that are accepted"
        raise InputError(msg)
    parser = _Parser(text)
    found = parser.logic(0)
    if parser.token:
        parser.refuse(f"{parser.token!r} is not expected")
    return found


def parse_condition(text: str) -> ConditionText:
    """Parse one condition (InputError if it is none, or logic of several)."""
    found = parse_expression(text)
    if not isinstance(found, ConditionText):
        msg = f"{printable(text)!r} is not a single condition"
        raise InputError(msg)
    return found


class _Parser:
    """Position in the tokens of an expression; `token` is the next one, empty at the end."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens: list[str] = [*_TOKEN.findall(text), ""]
        self._place = 0

    @property
    def token(self) -> str:
        return self._tokens[self._place]

    def refuse(self, why: str) -> NoReturn:
        before = " ".join(self._tokens[max(0, self._place - 3) : self._place])
        msg = f"expression {printable(self._text, 80)!r}: {printable(why)} after {printable(before, 60)!r}"
        raise InputError(msg)

    def take(self, expected: str = "") -> str:
        token = self.token
        if not token or (expected and token != expected):
            self.refuse(f"{token!r} where {expected or 'a name'!r} is expected" if token else "it ends")
        self._place += 1
        return token

    def name(self) -> str:
        if self.token in tuple("{}[](),") or self.token in (*OPERATORS, "NOT"):
            self.refuse(f"{self.token!r} where a name is expected" if self.token else "it ends")
        return self.take()

    def logic(self, depth: int) -> Expression:
        if depth > MAX_DEPTH:
            self.refuse(f"more than {MAX_DEPTH} nested brackets")
        inputs, operator = [self.term(depth)], self.token
        while self.token in OPERATORS:
            if self.token != operator:
                self.refuse(f"{self.token} on one level with {operator}: add brackets,")
            self.take()
            inputs.append(self.term(depth))
        return LogicExpression(operator, tuple(inputs)) if len(inputs) > 1 else inputs[0]

    def term(self, depth: int) -> Expression:
        if depth > MAX_DEPTH:
            self.refuse(f"more than {MAX_DEPTH} nested brackets")
        if self.token == "NOT":
            self.take()
            return LogicExpression("NOT", (self.term(depth + 1),))
        if self.token == "(":
            self.take()
            found = self.logic(depth + 1)
            self.take(")")
            return found
        return self.condition()

    def condition(self) -> ConditionText:
        name = self.name()
        if self.token != "{":
            return ConditionText("", (ObjectText(name, self.cuts()),))
        self.take()
        objects = [ObjectText(self.name(), self.cuts())]
        while self.token == ",":
            self.take()
            objects.append(ObjectText(self.name(), self.cuts()))
        self.take("}")
        return ConditionText(name, tuple(objects), self.cuts())

    def cuts(self) -> tuple[str, ...]:
        if self.token != "[":
            return ()
        self.take()
        names = [self.name()]
        while self.token == ",":
            self.take()
            names.append(self.name())
        self.take("]")
        return tuple(names)
