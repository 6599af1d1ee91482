"""Values as text and numbers."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harmonygw.jolt.texts import is_index, is_int, number_of, text_of, whole, wrapped


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "null"),
        (True, "true"),
        (False, "false"),
        (1, "1"),
        ("a", "a"),
        (0.0, "0.0"),
        (-0.0, "-0.0"),
        (1.0, "1.0"),
        (0.001, "0.001"),
        (0.0001, "1.0E-4"),
        (-1234567.5, "-1234567.5"),
        (1e7, "1.0E7"),
        (1.25e300, "1.25E300"),
        ([1, None, "a"], "[1, null, a]"),
        ({"a": 1, "b": [2]}, "{a=1, b=[2]}"),
    ],
)
def test_a_value_as_text(value: Any, expected: str) -> None:
    assert text_of(value) == expected


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_the_text_of_a_number_is_that_number(number: float) -> None:
    assert float(text_of(number)) == number


@pytest.mark.parametrize(
    ("text", "expected"),
    [("0", True), ("999999999", True), ("1000000000", False), ("-1", False), ("", False), ("²", False), ("1.0", False)],
)
def test_a_place_of_an_array(text: str, expected: bool) -> None:
    assert is_index(text) is expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1, 1),
        (1.5, 1.5),
        ("12", 12),
        ("+12", 12),
        ("-1.5e3", -1500.0),
        (" 1.5 ", 1.5),
        (".5", 0.5),
        ("1" * 25, float("1" * 25)),
        ("1e999", None),
        ("x", None),
        ("", None),
        (True, None),
        (None, None),
        ([], None),
    ],
)
def test_the_number_of_a_value(value: Any, expected: Any) -> None:
    assert number_of(value) == expected
    assert type(number_of(value)) is type(expected)


def test_whole_numbers_have_their_bits() -> None:
    assert [wrapped(2**31, 32), wrapped(-(2**31) - 1, 32), wrapped(5, 32)] == [-(2**31), 2**31 - 1, 5]
    assert [whole(1e300, 32), whole(-1e300, 32), whole(-1.9, 32), whole(2**32 + 1, 32)] == [2**31 - 1, -(2**31), -1, 1]
    assert [is_int(2**31 - 1), is_int(2**31), is_int(True), is_int(1.0)] == [True, False, False, False]
