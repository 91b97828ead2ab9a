import operator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetml.errors import InvalidPipeline
from fleetml.pipeline.conditions import parse


def read(name):
    return f"inputs.parameter_values['{name}']"


A, B = read("a"), read("b")


@st.composite
def expressions(draw, depth=3):
    """A condition and what it is worth for a = 3, b = 'x'."""
    if depth == 0 or draw(st.booleans()):
        symbol, compare = draw(
            st.sampled_from([("==", operator.eq), ("!=", operator.ne), (">", operator.gt), ("<=", operator.le)])
        )
        number = draw(st.integers(-5, 5))
        return f"int({A}) {symbol} {number}", compare(3, number)
    left, left_value = draw(expressions(depth=depth - 1))
    right, right_value = draw(expressions(depth=depth - 1))
    shape = draw(st.sampled_from(["and", "or", "not"]))
    if shape == "not":
        return f"!({left})", not left_value
    if shape == "and":
        return f"({left}) && ({right})", left_value and right_value
    return f"({left}) || ({right})", left_value or right_value


@given(expressions())
def test_the_operators_mean_what_they_say(case):
    expression, value = case
    condition = parse(expression)
    condition.check({"a": "NUMBER_INTEGER"})
    assert condition.evaluate({"a": 3}) is value


@given(st.text(alphabet=st.characters(exclude_characters="\\'\"", exclude_categories=["Cs"])))
def test_any_text_without_quotes_equals_itself_and_nothing_else(text):
    condition = parse(f"{A} == '{text}'")
    assert condition.evaluate({"a": text})
    assert not condition.evaluate({"a": text + "x"})


@pytest.mark.parametrize(
    ("expression", "values", "holds"),
    [
        (f"{A} == 'it's'", {"a": "it's"}, True),  # the compiler does not escape
        (f"{A} == 'it\\'s'", {"a": "it's"}, True),
        (f"{A} == \"say 'x'\"", {"a": "say 'x'"}, True),
        (f"{A} == 'a && b' && {B} == true", {"a": "a && b", "b": True}, True),
        (f"{A} == ''", {"a": ""}, True),
        (f"!(int({A}) > 5) && int({A}) == 5", {"a": 5}, True),
        (f"int({A}) == 1 || int({A}) == 2 && false", {"a": 1}, True),  # && binds tighter
        (f"double(int({A})) >= 2.5", {"a": 3}, True),
        (f"{A} > 1e-05", {"a": 0.001}, True),
        (f"{A} == -2.5", {"a": -2.5}, True),
        (f"string({A}) == '5'", {"a": 5.0}, True),
        (f"int({A}) == 3", {"a": "3"}, True),
        (f"{A}", {"a": False}, False),
        (f"{A} != {B}", {"a": "x", "b": "y"}, True),
    ],
)
def test_conditions_as_the_compiler_writes_them(expression, values, holds):
    assert parse(expression).evaluate(values) is holds


@pytest.mark.parametrize(
    "expression",
    ["", "a == 1", f"{A} =", f"({A} == 1", f"{A} == 1 1", f"{A} == 'x", f"{A} ? 1 : 2", f"int {A}", f"{A} == 'a\\qb'"],
)
def test_what_is_outside_the_grammar_is_refused(expression):
    with pytest.raises(InvalidPipeline, match="condition"):
        parse(expression)


def test_a_number_compared_with_a_text_is_refused_because_kfp_compiles_it_into_nonsense():
    with pytest.raises(InvalidPipeline, match="compares a number with a text"):
        parse("'int(inputs.parameter_values['pipelinechannel--n'])' == '5'")


@pytest.mark.parametrize(
    ("expression", "types"),
    [
        (f"{A} == 'x'", {"a": "NUMBER_INTEGER"}),
        (f"{A} == 1", {"a": "STRING"}),
        (f"{A} && true", {"a": "STRING"}),
        (f"int({A})", {"a": "NUMBER_INTEGER"}),
        (f"{A} == 1", {"a": "LIST"}),
        (f"!{A}", {"a": "NUMBER_DOUBLE"}),
    ],
)
def test_operands_that_do_not_fit_are_refused(expression, types):
    with pytest.raises(InvalidPipeline, match="condition"):
        parse(expression).check(types)


def test_an_undeclared_type_fits_everything():
    parse(f"{A} == 1 || {A}").check({"a": ""})


@pytest.mark.parametrize(
    ("expression", "values"), [(f"int({A}) == 1", {"a": "x"}), (f"{A} < 1", {"a": "x"}), (f"{A} == 1", {})]
)
def test_what_cannot_be_evaluated_says_why(expression, values):
    with pytest.raises(InvalidPipeline, match="cannot be evaluated"):
        parse(expression).evaluate(values)


def test_a_condition_reads_like_the_pipeline():
    condition = parse(f"int({read('pipelinechannel--gate-score')}) > 5 && {A} == 'x'")
    assert str(condition) == "int(gate-score) > 5 && a == 'x'"
    assert condition.names == ("pipelinechannel--gate-score", "a")
    assert condition.reading({"pipelinechannel--gate-score": 4, "a": "x"}) == "gate-score = 4, a = 'x'"
