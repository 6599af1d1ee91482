"""modify: values made of values, and the three modes of writing them."""

from copy import deepcopy
from typing import Any

import pytest

from harmonygw.errors import Untransformable
from tests.jolt.cases import faults, made

OVERWRITE, DEFAULT, DEFINE = "modify-overwrite-beta", "modify-default-beta", "modify-define-beta"


@pytest.mark.parametrize(
    ("spec", "document", "expected"),
    [
        ({"a": "=toUpper"}, {"a": "x"}, {"a": "X"}),
        ({"a": "=toUpper"}, {}, {}),
        ({"a": "new"}, {"a": "old"}, {"a": "new"}),
        ({"a": 5}, {}, {"a": 5}),
        ({"a": {}}, {}, {"a": {}}),
        ({"a": []}, {}, {"a": []}),
        ({"a": {"b": "x"}}, {}, {"a": {"b": "x"}}),
        ({"a": {"b": "x"}}, {"a": None}, {"a": {"b": "x"}}),
        ({"a": {"b": "x"}}, {"a": 1}, {"a": 1}),
        ({"a": {"b": "x"}}, {"a": [1]}, {"a": [1]}),
        ({"a": {"*": "=toUpper"}}, {"a": {"b": "x"}}, {"a": {"b": "X"}}),
        ({"a": {"*": "=toUpper"}}, {"a": ["x", "y"]}, {"a": ["X", "Y"]}),
        ({"a": {"*": "=toUpper"}}, {}, {}),
        ({"a*": "=toUpper"}, {"ab": "x", "b": "y"}, {"ab": "X", "b": "y"}),
        ({"a|b": "=toUpper"}, {"a": "x", "b": "y"}, {"a": "X", "b": "Y"}),
        ({"a": {"[1]": "x"}}, {"a": [1]}, {"a": [1, "x"]}),
        ({"a": {"[1]": "x"}}, {}, {"a": [None, "x"]}),
        ({"a": {"[1]?": "x"}}, {"a": [1]}, {"a": [1]}),
        ({"a": {"[0]": {"b": "x"}}}, {}, {"a": [{"b": "x"}]}),
        ({"a": {"[0]": {"b": "x"}, "*": {"c": "y"}}}, {"a": [{}, {}]}, {"a": [{"b": "x", "c": "y"}, {"c": "y"}]}),
        ({"a": {"*": {"b": "x"}}}, {"a": [{}, None, 1]}, {"a": [{"b": "x"}, {"b": "x"}, 1]}),
        ({"a?": "x", "b?": "x"}, {"a": 1}, {"a": "x"}),
        ({"a?": {"b": "x"}, "c?": {"b": "x"}}, {"a": {}}, {"a": {"b": "x"}}),
        ({r"a\?": "x"}, {}, {"a?": "x"}),
        ({"~a": "x", "~b": "x", "_c": "x", "_d": "x"}, {"a": 1, "c": None}, {"a": 1, "b": "x", "c": None, "d": "x"}),
        # Lookups, alternatives and context.
        ({"a": "@(1,b)"}, {"b": [1]}, {"a": [1], "b": [1]}),
        ({"a": "@(1,gone)"}, {"a": 1}, {"a": 1}),
        ({"a": ["@(1,gone)", "@(1,b)", "last"]}, {"b": 2}, {"a": 2, "b": 2}),
        ({"a": ["@(1,gone)", None]}, {}, {"a": None}),
        ({"a": "^who.name"}, {}, {"a": "Jane"}),
        ({"a": "^who.gone"}, {}, {}),
        ({"a": {"b": "^who.@(2,key)"}}, {"key": "name"}, {"key": "name", "a": {"b": "Jane"}}),
        ({"a": "@(2,b)"}, {"b": 1}, {"a": 1, "b": 1}),
        # Calls.
        ({"n": "=concat(@(1,a),' ',@(1,b))"}, {"a": "J", "b": "D"}, {"a": "J", "b": "D", "n": "J D"}),
        ({"n": "=concat(a,1,1.5,true,null,@(1,gone))"}, {}, {"n": "a11.5true"}),
        ({"n": "=concat(',','(')"}, {}, {"n": ",("}),
        ({"n": "=concat('')"}, {}, {}),
        ({"n": "=size()"}, {}, {}),
        ({"n": "=toUpper(@(1,gone))"}, {"n": "x"}, {"n": "x"}),
        (
            {"d": "=concat(=substring(@(1,d),0,4),'-',substring(@(1,d),4,6))"},
            {"d": "20240115"},
            {"d": "2024-01"},
        ),
        ({"a": "=split('[.,]',@(1,a))"}, {"a": "1.2,3"}, {"a": ["1", "2", "3"]}),
        ({"a": "=split(@(1,s),@(1,a))"}, {"s": ".", "a": "1.2"}, {"s": ".", "a": ["1", "2"]}),
        ({"a": "=split(@(1,s),@(1,a))"}, {"s": "", "a": "1.2"}, {"s": "", "a": "1.2"}),
        ({"a": "=split"}, {"a": "1.2"}, {"a": "1.2"}),
        ({"a": "=split('(?=b)',@(1,a))"}, {"a": "bab"}, {"a": ["ba", "b"]}),
        # What is no object.
        ({"a": "x"}, [1], [1]),
        ({"*": "=toUpper"}, ["a"], ["A"]),
        ({"[0]": "x"}, [], ["x"]),
        ({"a": "x"}, None, None),
        ({"a": "x"}, "text", "text"),
    ],
)
def test_what_is_made(spec: Any, document: Any, expected: Any) -> None:
    before = deepcopy(document)
    assert made(OVERWRITE, spec, document, {"who": {"name": "Jane"}}) == expected
    assert document == before


@pytest.mark.parametrize(
    ("operation", "expected"),
    [
        (OVERWRITE, {"there": "x", "null": "x", "gone": "x", "list": ["x", "x", "x"]}),
        (DEFAULT, {"there": 1, "null": "x", "gone": "x", "list": [1, "x", "x"]}),
        (DEFINE, {"there": 1, "null": None, "gone": "x", "list": [1, None, "x"]}),
    ],
)
def test_the_mode_says_where_a_value_is_written(operation: str, expected: Any) -> None:
    spec = {"there": "x", "null": "x", "gone": "x", "list": {"[0]": "x", "[1]": "x", "[2]": "x"}}
    assert made(operation, spec, {"there": 1, "null": None, "list": [1, None]}) == expected


def test_the_sign_before_a_key_is_not_that_of_the_keys_below_it() -> None:
    assert made(DEFINE, {"+a": {"b": "x", "+c": "x"}}, {"a": {"b": 1, "c": 1}}) == {"a": {"b": 1, "c": "x"}}


def test_define_takes_an_array_as_it_comes_when_there_is_a_star() -> None:
    spec = {"list": {"[2]": "third", "*": "x"}}
    assert made(DEFINE, spec, {"list": [1]}) == {"list": [1, "x", "third"]}


def test_what_was_looked_up_is_a_copy() -> None:
    spec = {"a": "@(1,b)", "b": {"c": "x"}}
    assert made(OVERWRITE, spec, {"b": {}}) == {"a": {}, "b": {"c": "x"}}


def test_a_value_cannot_be_put_into_itself_for_ever() -> None:
    spec = {"a": {"b": "@(2,a)"}}
    document: Any = {}
    for _ in range(98):
        document = {"b": document}
    with pytest.raises(Untransformable, match="nested deeper than 100"):
        made(OVERWRITE, spec, {"a": document})


@pytest.mark.parametrize(
    ("spec", "fault"),
    [
        ("x", "[0].spec: a modification has an object"),
        ({"a": "=toUper"}, '[0].spec.a: there is no function "toUper"; did you mean "toUpper"?'),
        ({"a": "=x"}, '[0].spec.a: there is no function "x"'),
        ({"a": "=concat(a"}, '[0].spec.a: "=concat(a" is no call such as "=concat(@(1,a),\' \')"'),
        ({"a": "=concat('a)"}, '[0].spec.a: "(\'a)" has a quote or a parenthesis that nothing closes'),
        ({"a": "=concat(=x(1))"}, '[0].spec.a: there is no function "x"'),
        ({"a": "=split('[',@(1,a))"}, '[0].spec.a: "[" is no regular expression to split at: '),
        ({"a": "@(9,b)"}, '[0].spec.a: "@(9,b)" goes up 9 levels, but there are 2 above'),
        ({"a": "^b[]"}, '[0].spec.a: "[]" does not belong into a path that is looked up'),
        ({"[x]": 1}, '[0].spec.[x]: "[x]" is no place of an array such as "[0]"'),
        ({"[0]": 1, "a": 2}, "[0].spec: places of an array and keys of an object do not go together"),
        ({"&1": 1}, '[0].spec.&1: the keys of a modification are names, patterns and places, without "&"'),
        ({"@": 1}, '[0].spec.@: "@" does not belong here; "\\@" is the character itself'),
    ],
)
def test_what_is_wrong_is_found_with_its_place(spec: Any, fault: str) -> None:
    [found] = faults(OVERWRITE, spec)
    assert found.startswith(fault)


def test_a_specification_has_a_depth() -> None:
    spec: Any = "x"
    for _ in range(102):
        spec = {"a": spec}
    [fault] = faults(OVERWRITE, spec)
    assert fault.endswith("the specification is nested deeper than 100")


def test_calls_have_a_depth() -> None:
    [fault] = faults(OVERWRITE, {"a": "=concat(" * 102 + "a" + ")" * 102})
    assert "is no call" in fault
