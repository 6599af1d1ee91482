"""default: what is filled in, in which order, and what is left as it is."""

from copy import deepcopy
from typing import Any

import pytest

from harmonygw.errors import Untransformable
from harmonygw.jolt import Specification
from tests.jolt.cases import faults, made


@pytest.mark.parametrize(
    ("spec", "document", "expected"),
    [
        ({"a": 1, "b": 2}, {"a": 0}, {"a": 0, "b": 2}),
        ({"a": 1}, {"a": None}, {"a": 1}),
        ({"a": False}, {"a": True}, {"a": True}),
        ({"a": {"b": 1}}, {}, {"a": {"b": 1}}),
        ({"a": {"b": 1}}, {"a": {"c": 2}}, {"a": {"c": 2, "b": 1}}),
        ({"a": {"b": 1}}, {"a": 7}, {"a": 7}),
        ({"a": []}, {}, {"a": []}),
        ({"a": {}}, {}, {"a": {}}),
        ({"a": [1, 2]}, {"a": [7]}, {"a": [7]}),
        ({"*": 1}, {"a": None, "b": 2}, {"a": 1, "b": 2}),
        ({"*": {"x": 1}, "a": {"x": 2}}, {"a": {}, "b": {}}, {"a": {"x": 2}, "b": {"x": 1}}),
        ({"a|b": 1}, {"a": None, "c": None}, {"a": 1, "c": None}),
        ({"a|b|c": 3, "a|b": 2, "*": 1}, {"a": None, "c": None, "d": None}, {"a": 2, "c": 3, "d": 1}),
        # Arrays.
        ({"a[]": {"1": "x"}}, {}, {"a": [None, "x"]}),
        ({"a[]": {"1": "x"}}, {"a": ["y"]}, {"a": ["y", "x"]}),
        ({"a[]": {"*": {"x": 1}}}, {"a": [{}, {"x": 2}]}, {"a": [{"x": 1}, {"x": 2}]}),
        ({"a[]": {"0|1|7": {"x": 1}}}, {"a": [{}, {}, {}]}, {"a": [{"x": 1}, {"x": 1}, {}]}),
        ({"a[]": {"*": {"x": 1}}}, {"a": {"0": {}}}, {"a": {"0": {}}}),
        ({"a": {"*": {"x": 1}}}, {"a": [{}]}, {"a": [{}]}),
        ({"*": {"x": 1}}, [{}, {"x": 2}], [{"x": 1}, {"x": 2}]),
        ({"0": 1}, [], [1]),
        # An array of objects fills in those that are at the same places.
        (
            {"id": [{"system": "s", "value": "none"}, {"system": "t"}]},
            {"id": [{"value": "17"}]},
            {"id": [{"value": "17", "system": "s"}]},
        ),
        ({"id": [{"system": "s"}]}, {"id": ["17"]}, {"id": ["17"]}),
        (
            {"a": [{"b": {"c": 1}, "d": [{"e": 1}]}]},
            {"a": [{"b": {}, "d": [{}]}]},
            {"a": [{"b": {"c": 1}, "d": [{"e": 1}]}]},
        ),
        ({"a": [{"b": {"c": 1}, "d": [1]}]}, {"a": [{"b": 7, "d": 8}]}, {"a": [{"b": 7, "d": 8}]}),
        # What is no object.
        ({"a": 1}, None, {"a": 1}),
        ({"a": 1}, "text", "text"),
    ],
)
def test_what_is_filled_in(spec: Any, document: Any, expected: Any) -> None:
    before = deepcopy(document)
    assert made("default", spec, document) == expected
    assert document == before


def test_what_was_filled_in_is_not_shared() -> None:
    specification = Specification([{"operation": "default", "spec": {"a": {"b": []}}}])
    specification.apply({})["a"]["b"].append(1)
    assert specification.apply({}) == {"a": {"b": []}}


def test_the_defaults_of_an_object_are_none_of_an_array() -> None:
    with pytest.raises(Untransformable, match="the document is an array"):
        made("default", {"a": 1}, [])


@pytest.mark.parametrize(
    ("spec", "fault"),
    [
        (None, "[0].spec: a default has an object"),
        ({"a*": 1}, '[0].spec.a*: the "*" of a default stands alone'),
        ({"a[]": {"b": 1}}, "[0].spec.a[].b: the keys of an array are its places"),
    ],
)
def test_what_is_wrong_is_found_with_its_place(spec: Any, fault: str) -> None:
    assert faults("default", spec) == (fault,)


def test_a_specification_has_a_depth() -> None:
    spec: Any = "x"
    for _ in range(101):
        spec = {"a": spec}
    [fault] = faults("default", spec)
    assert fault.endswith("the specification is nested deeper than 100")
