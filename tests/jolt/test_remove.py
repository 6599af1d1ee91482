"""remove: what is left out."""

from copy import deepcopy
from typing import Any

import pytest

from tests.jolt.cases import faults, made


@pytest.mark.parametrize(
    ("spec", "document", "expected"),
    [
        ({"a": ""}, {"a": 1, "b": 2}, {"b": 2}),
        ({"gone": ""}, {"a": 1}, {"a": 1}),
        ({"a": {"b": ""}}, {"a": {"b": 1, "c": 2}}, {"a": {"c": 2}}),
        ({"a": {"b": ""}}, {"a": 1}, {"a": 1}),
        ({"_*": ""}, {"_a": 1, "a": 2, "_": 3}, {"a": 2, "_": 3}),
        ({"*-*-*": ""}, {"a-b-c": 1, "a-b": 2}, {"a-b": 2}),
        ({"*": {"x": ""}}, {"a": {"x": 1}, "b": {"x": 1, "y": 2}}, {"a": {}, "b": {"y": 2}}),
        ({"*": ""}, {"a": 1}, {}),
        ({"a|b": ""}, {"a": 1, "b": 2, "c": 3}, {"c": 3}),
        ({"a": {"*": {"x": ""}}}, {"a": [{"x": 1}, 2, {"y": 3}]}, {"a": [{}, 2, {"y": 3}]}),
        ({"a": {"0": "", "2": "", "9": ""}}, {"a": [1, 2, 3]}, {"a": [2]}),
        ({"a": {"*": ""}}, {"a": [1, 2]}, {"a": []}),
        ({"a": {"1*": ""}}, {"a": [1, 2]}, {"a": [1, 2]}),
        ({"0": {"x": ""}}, [{"x": 1}, {"x": 2}], [{}, {"x": 2}]),
        ({r"a\*": ""}, {"a*": 1, "ab": 2}, {"ab": 2}),
        ({"a": ""}, None, None),
    ],
)
def test_what_is_left_out(spec: Any, document: Any, expected: Any) -> None:
    before = deepcopy(document)
    assert made("remove", spec, document) == expected
    assert document == before


@pytest.mark.parametrize(
    ("spec", "fault"),
    [
        ([], "[0].spec: a removal has an object"),
        ({"a": "b"}, '[0].spec.a: what is removed has "", and what leads there an object'),
        ({"a": {"b": 1}}, '[0].spec.a.b: what is removed has "", and what leads there an object'),
    ],
)
def test_what_is_wrong_is_found_with_its_place(spec: Any, fault: str) -> None:
    assert faults("remove", spec) == (fault,)


def test_a_specification_has_a_depth() -> None:
    spec: Any = ""
    for _ in range(101):
        spec = {"a": spec}
    [fault] = faults("remove", spec)
    assert fault.endswith("the specification is nested deeper than 100")
