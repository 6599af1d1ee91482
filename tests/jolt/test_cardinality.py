"""cardinality: one of an array, or an array of one; and sort."""

from copy import deepcopy
from typing import Any

import pytest

from tests.jolt.cases import faults, made


@pytest.mark.parametrize(
    ("spec", "document", "expected"),
    [
        ({"a": "ONE"}, {"a": [1, 2]}, {"a": 1}),
        ({"a": "ONE"}, {"a": []}, {"a": None}),
        ({"a": "ONE"}, {"a": 1}, {"a": 1}),
        ({"a": "MANY"}, {"a": 1}, {"a": [1]}),
        ({"a": "MANY"}, {"a": None}, {"a": []}),
        ({"a": "MANY"}, {"a": [1]}, {"a": [1]}),
        ({"a": "MANY"}, {"b": 1}, {"b": 1}),
        ({"*": "MANY", "b": "ONE"}, {"a": 1, "b": [2, 3]}, {"a": [1], "b": 2}),
        ({"a*": "MANY"}, {"ab": 1, "b": 2}, {"ab": [1], "b": 2}),
        ({"a": {"b": "ONE"}}, {"a": {"b": [1]}}, {"a": {"b": 1}}),
        ({"a": {"@": "ONE", "b": "MANY"}}, {"a": [{"b": 1}, 2]}, {"a": {"b": [1]}}),
        ({"a": {"@": "MANY", "*": {"b": "ONE"}}}, {"a": {"b": [1]}}, {"a": [{"b": 1}]}),
        ({"a": {"*": {"b": "ONE"}}}, {"a": [{"b": [1]}, {"b": [2]}]}, {"a": [{"b": 1}, {"b": 2}]}),
        ({"a": {"1": "MANY"}}, {"a": [1, 2]}, {"a": [1, [2]]}),
        ({"a": {"b": "ONE"}}, {"a": 1}, {"a": 1}),
        ({"@": "ONE"}, [{"a": 1}], {"a": 1}),
    ],
)
def test_how_many(spec: Any, document: Any, expected: Any) -> None:
    before = deepcopy(document)
    assert made("cardinality", spec, document) == expected
    assert document == before


@pytest.mark.parametrize(
    ("spec", "fault"),
    [
        (None, "[0].spec: a cardinality has an object"),
        ({}, '[0].spec: an empty object says neither "ONE" nor "MANY"'),
        ({"a": "TWO"}, '[0].spec.a: a cardinality is "ONE" or "MANY"'),
        ({"a": {"@": 1}}, '[0].spec.a.@: a cardinality is "ONE" or "MANY"'),
    ],
)
def test_what_is_wrong_is_found_with_its_place(spec: Any, fault: str) -> None:
    assert faults("cardinality", spec) == (fault,)


def test_a_specification_has_a_depth() -> None:
    spec: Any = "ONE"
    for _ in range(101):
        spec = {"a": spec}
    [fault] = faults("cardinality", spec)
    assert fault.endswith("the specification is nested deeper than 100")


def test_sort_puts_keys_in_order_and_leaves_arrays() -> None:
    document = {"b": [{"z": 1, "y": 2}, 3, 1], "a": 1, "~z": 2}
    before = deepcopy(document)
    result = made("sort", None, document)
    assert result == document
    assert (list(result), list(result["b"][0])) == (["~z", "a", "b"], ["y", "z"])
    assert list(document) == list(before)


def test_sort_needs_no_specification() -> None:
    assert faults("sort", {"a": 1}) == ("[0].spec: to sort needs no specification",)
