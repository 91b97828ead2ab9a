import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetml.errors import InvalidParameter
from fleetml.pipeline.values import as_text, canonical_json, cast, digest, parse_parameter

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**50), 2**50)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.integers(-(2**53), 2**53))
def test_the_ir_writes_integers_as_doubles_and_they_come_back_as_integers(number):
    value = cast(float(number), "NUMBER_INTEGER")
    assert value == number
    assert type(value) is int


@given(json_values)
def test_a_cast_struct_equals_what_went_in_and_casting_again_changes_nothing(value):
    once = cast({"x": value}, "STRUCT")
    assert once == {"x": value}
    assert cast(json.loads(json.dumps(once)), "STRUCT") == once


def test_integers_inside_lists_stay_integers():
    assert json.dumps(cast([1.0, {"a": [2.0, 2.5]}], "LIST")) == '[1, {"a": [2, 2.5]}]'


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("5", "NUMBER_INTEGER"),
        (5.5, "NUMBER_INTEGER"),
        (True, "NUMBER_INTEGER"),
        (True, "NUMBER_DOUBLE"),
        (math.nan, "NUMBER_DOUBLE"),
        (10**400, "NUMBER_DOUBLE"),
        (1, "BOOLEAN"),
        (5, "STRING"),
        ({}, "LIST"),
        ([], "STRUCT"),
        ({1: 2}, "STRUCT"),
        ([math.inf], "LIST"),
        ([object()], "LIST"),
    ],
)
def test_nothing_else_is_converted(value, kind):
    with pytest.raises(InvalidParameter, match=r"parameter 'n' must"):
        cast(value, kind, "parameter 'n'")


@given(st.integers())
def test_integers_written_as_text_are_exact(number):
    assert parse_parameter(str(number), "NUMBER_INTEGER") == number


@given(json_values)
def test_structures_written_as_json_come_back(value):
    assert parse_parameter(json.dumps([value]), "LIST") == [value]


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("true", "BOOLEAN", True),
        ("False", "BOOLEAN", False),
        ("5", "STRING", "5"),
        ("1e-3", "NUMBER_DOUBLE", 0.001),
        ("2", "NUMBER_DOUBLE", 2.0),
    ],
)
def test_texts_are_read_by_the_declared_type(text, kind, value):
    assert parse_parameter(text, kind) == value


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("5.5", "NUMBER_INTEGER"),
        ("yes", "BOOLEAN"),
        ("nan", "NUMBER_DOUBLE"),
        ("{", "STRUCT"),
        ("[1]", "STRUCT"),
        ("", "NUMBER_INTEGER"),
    ],
)
def test_a_text_of_the_wrong_type_is_refused_with_what_was_expected(text, kind):
    with pytest.raises(InvalidParameter, match="must be"):
        parse_parameter(text, kind)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("x", "x"),
        (5, "5"),
        (5.0, "5"),
        (1.5, "1.5"),
        (1e-7, "0.0000001"),
        (True, "true"),
        ([1, "a"], '[1,"a"]'),
        ({"b": 1, "a": None}, '{"a":null,"b":1}'),
    ],
)
def test_values_in_texts_look_as_on_a_kfp_cluster(value, text):
    assert as_text(value) == text


def test_canonical_json_does_not_depend_on_the_order_of_keys():
    assert canonical_json({"b": 1, "a": "é"}) == '{"a":"é","b":1}'
    assert digest({"b": 1, "a": 2}) == digest({"a": 2, "b": 1}) != digest({"a": 1, "b": 2})
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json(math.nan)
