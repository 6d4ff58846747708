"""The grammar of algorithms."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l1scout.errors import InputError
from l1scout.trigger.expression import (
    MAX_CHARACTERS,
    ConditionText,
    LogicExpression,
    ObjectText,
    conditions_of,
    parse_expression,
)


def test_a_function_with_cuts():
    found = parse_expression("comb{MU5[MU-QLTY_SNGL,MU-ETA_1p2], MU3-1}[CHGCOR_OS]")
    first = ObjectText("MU5", ("MU-QLTY_SNGL", "MU-ETA_1p2"))
    assert found == ConditionText("comb", (first, ObjectText("MU3-1")), ("CHGCOR_OS",))
    assert str(found) == "comb{MU5[MU-QLTY_SNGL, MU-ETA_1p2], MU3-1}[CHGCOR_OS]"


def test_logic_and_brackets():
    found = parse_expression("(NOT EXT_A.v0-2) AND (MU0 OR NOT (EG5 XOR EG6)) AND ETM50")
    single = {n: ConditionText("", (ObjectText(n),)) for n in ("EXT_A.v0-2", "MU0", "EG5", "EG6", "ETM50")}
    xor = LogicExpression("XOR", (single["EG5"], single["EG6"]))
    either = LogicExpression("OR", (single["MU0"], LogicExpression("NOT", (xor,))))
    assert found == LogicExpression(
        "AND", (LogicExpression("NOT", (single["EXT_A.v0-2"],)), either, single["ETM50"])
    )
    assert [str(c) for c in conditions_of(found)] == ["EXT_A.v0-2", "MU0", "EG5", "EG6", "ETM50"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("MU0 AND EG5 OR JET20", "OR on one level with AND: add brackets"),
        ("comb{MU0, MU0", "it ends"),
        ("comb{}", "'}' where a name is expected"),
        ("MU0 AND", "it ends"),
        ("", "it ends"),
        ("MU0)", "')' is not expected"),
        ("MU0 MU3", "'MU3' is not expected"),
        ("NOT", "it ends"),
        ("MU0[", "it ends"),
        ("(" * 100 + "MU0" + ")" * 100, "nested brackets"),
        ("NOT " * 100 + "MU0", "nested brackets"),
        ("A" * (MAX_CHARACTERS + 1), "longer than"),
    ],
)
def test_what_is_not_of_the_grammar_is_refused(text, why):
    with pytest.raises(InputError, match=re.escape(why)):
        parse_expression(text)


NAMES = st.sampled_from(["MU4p5", "EXT_B.v0+1", "EG.ge.60", "MBT0HFP1"])
OBJECTS = st.builds(ObjectText, NAMES, st.lists(st.sampled_from(["A-B", "C-D"]), max_size=2).map(tuple))
CONDITIONS = st.builds(ConditionText, st.just("comb"), st.lists(OBJECTS, min_size=1, max_size=3).map(tuple))
EXPRESSIONS = st.recursive(
    CONDITIONS,
    lambda below: (
        st.builds(LogicExpression, st.just("NOT"), st.tuples(below))
        | st.builds(LogicExpression, st.sampled_from(["AND", "OR", "XOR"]), st.tuples(below, below))
    ),
    max_leaves=6,
)


def written(expression):
    if isinstance(expression, ConditionText):
        return str(expression)
    if expression.operator == "NOT":
        return f"NOT ({written(expression.inputs[0])})"
    return f" {expression.operator} ".join(f"({written(part)})" for part in expression.inputs)


@given(EXPRESSIONS)
def test_what_is_written_is_parsed(expression):
    assert parse_expression(written(expression)) == expression


@given(st.text("MU05{}[](), ANDORNOT", max_size=40))
def test_any_text_is_parsed_or_refused(text):
    try:
        parse_expression(text)
    except InputError as error:
        assert "expression" in str(error)  # noqa: PT017
