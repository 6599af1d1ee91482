"""shift: where each value goes. The examples are of a hospital's, the language is JOLT's."""

from copy import deepcopy
from typing import Any

import pytest

from harmonygw.jolt import Specification
from tests.jolt.cases import faults, made

PATIENT = {"id": "17", "name": {"family": "Doe", "given": ["Jane", "Q"]}, "sex": "F"}


@pytest.mark.parametrize(
    ("spec", "document", "expected"),
    [
        pytest.param({"id": "patient.id"}, PATIENT, {"patient": {"id": "17"}}, id="a value at a path"),
        pytest.param({"id": "id", "gone": "x"}, PATIENT, {"id": "17"}, id="what is not there goes nowhere"),
        pytest.param({"id": None}, PATIENT, None, id="null as a path writes nothing"),
        pytest.param({"id": ["a", "b.c"]}, PATIENT, {"a": "17", "b": {"c": "17"}}, id="a value at two paths"),
        pytest.param({"name": ""}, PATIENT, PATIENT["name"], id="an empty path is the top"),
        pytest.param({"x": "x"}, {"x": None}, {"x": None}, id="null is a value"),
        pytest.param({"x": "a.b"}, {"x": None}, {"a": {"b": None}}, id="null makes its place"),
        pytest.param({"id": "x", "sex": "x"}, PATIENT, {"x": ["17", "F"]}, id="two values at one place are an array"),
        pytest.param(
            {"a": "x", "b": "x", "c": "x"}, {"a": 1, "b": 2, "c": 3}, {"x": [1, 2, 3]}, id="three of them are too"
        ),
        pytest.param({"a": "x", "b": "x"}, {"a": [1], "b": 2}, {"x": [1, 2]}, id="an array is added to"),
        pytest.param({"a": "x", "b": "x.y"}, {"a": 1, "b": 2}, {"x": 1}, id="below a value nothing is written"),
        pytest.param({"a": "x", "b": "x.y"}, {"a": {"z": 1}, "b": 2}, {"x": {"z": 1, "y": 2}}, id="below an object"),
        # Arrays.
        pytest.param({"name": {"given": {"0": "first"}}}, PATIENT, {"first": "Jane"}, id="a place of an array"),
        pytest.param({"name": {"given": {"7": "x"}}}, PATIENT, None, id="a place behind an array's end"),
        pytest.param({"id": "list[]"}, PATIENT, {"list": ["17"]}, id="behind the last"),
        pytest.param({"id": "list[2].id"}, PATIENT, {"list": [None, None, {"id": "17"}]}, id="a place that is made"),
        pytest.param({"id": "grid[1][0]"}, PATIENT, {"grid": [None, ["17"]]}, id="an array in an array"),
        pytest.param({"id": "list.[0]"}, PATIENT, {"list": ["17"]}, id="a dot before a bracket is no step"),
        pytest.param(
            {"m": {"*": {"uid": "out[&1].id", "date": "out[&1].on"}}},
            {"m": [{"uid": "1.2", "date": "2024"}, {"uid": "1.3"}]},
            {"out": [{"id": "1.2", "on": "2024"}, {"id": "1.3"}]},
            id="the place of an array is kept",
        ),
        pytest.param(
            {"m": {"a*": "x[#1]"}},
            {"m": {"a1": 1, "b": 2, "a2": 3}},
            {"x": [1, 3]},
            id="the hash counts what has matched",
        ),
        pytest.param({"*": "x[&]"}, {"1": "b", "a": "c", "0": "a"}, {"x": ["a", "b"]}, id="no place, nothing written"),
        # Stars and references.
        pytest.param({"*": "tags.&"}, {"a": 1, "b": 2}, {"tags": {"a": 1, "b": 2}}, id="a star and its name"),
        pytest.param({"*": "&0"}, PATIENT, PATIENT, id="everything as it is"),
        pytest.param(
            {"tag-*": "&(0,1)"}, {"tag-a": 1, "a": 2, "tag-": 3}, {"a": 1}, id="a star is a character or more"
        ),
        pytest.param(
            {"*-*-x": "&(0,2).&(0,1)"}, {"a-b-x": 1, "a-b-c-x": 2}, {"b": {"a": 1}, "b-c": {"a": 2}}, id="two stars"
        ),
        pytest.param({"*.*": "&(0,1)"}, {"a.b": 1}, {"a": 1}, id="a dot is a character of a key"),
        pytest.param({"*1*2*3*": "&(0,4)"}, {"a1b2c3d": 1, "a1b2c3": 2}, {"d": 1}, id="four stars"),
        pytest.param({"*": {"*": "&1.&"}}, {"a": {"b": 1}}, {"a": {"b": 1}}, id="a level up"),
        pytest.param({"id|sex": "x"}, PATIENT, {"x": ["17", "F"]}, id="one key or the other"),
        pytest.param({"id": "pre-&-suf"}, PATIENT, {"pre-id-suf": "17"}, id="a name within a name"),
        pytest.param(
            {"id": "exact", "*d": "pattern", "*": "rest.&"},
            {"id": 1, "kid": 2, "x": 3},
            {"exact": 1, "pattern": 2, "rest": {"x": 3}},
            id="a name comes before a pattern, a pattern before a star",
        ),
        pytest.param(
            {"a": {"*": {"&0": "same.&1", "*": "other"}}},
            {"a": {"x": {"x": 1, "y": 2}}},
            {"same": {"x": 1}, "other": 2},
            id="a key that is the one above",
        ),
        pytest.param({"a": "x", "t-*": "y"}, {"t-b": 1, "a": 2, "c": 3}, {"x": 2, "y": 1}, id="names and patterns"),
        # Values that are keys, and keys that are values.
        pytest.param({"sex": {"F": {"#female": "sex"}}}, PATIENT, {"sex": "female"}, id="a value is a key"),
        pytest.param({"ok": {"true": {"#yes": "x"}}}, {"ok": True}, {"x": "yes"}, id="true is a key"),
        pytest.param({"n": {"7": {"#seven": "x"}}}, {"n": 7}, {"x": "seven"}, id="a number is a key"),
        pytest.param({"ok": {"true": "x", "*": "y"}}, {"ok": False}, {"y": None}, id="below a value there is null"),
        pytest.param({"*": {"$": "keys[]"}}, {"a": 1, "b": 2}, {"keys": ["a", "b"]}, id="keys as values"),
        pytest.param({"t-*": {"$(0,1)": "x"}}, {"t-a": 1}, {"x": "a"}, id="a star as a value"),
        pytest.param({"*": {"@": "values[]"}}, {"a": 1, "b": 2}, {"values": [1, 2]}, id="a value itself"),
        pytest.param({"#find": "op", "id": "id"}, PATIENT, {"op": "find", "id": "17"}, id="a constant"),
        pytest.param({"#(a b)": "x"}, {}, {"x": "a b"}, id="a constant in parentheses"),
        # Lookups.
        pytest.param(
            {"name": {"@(1,id)": "id", "family": "name"}}, PATIENT, {"id": "17", "name": "Doe"}, id="a value from above"
        ),
        pytest.param(
            {"*": {"v": "@(1,k)"}}, [{"k": "a", "v": 1}, {"k": "b", "v": 2}], {"a": 1, "b": 2}, id="a path of it"
        ),
        pytest.param(
            {"*": {"v": "@(1,k)"}}, [{"k": 3, "v": 1}, {"k": 1.5, "v": 2}], {"3": 1, "1": 2}, id="of a number"
        ),
        pytest.param({"*": {"v": "@(1,k)"}}, [{"k": {}, "v": 1}, {"v": 2}], None, id="no key, nothing written"),
        pytest.param(
            {"*": {"v": "x[@(1,k)]"}}, [{"k": 1, "v": "b"}, {"k": -1, "v": 0}], {"x": [None, "b"]}, id="a place"
        ),
        pytest.param({"name": {"@given[1]": "x"}}, PATIENT, {"x": "Q"}, id="a lookup without parentheses"),
        pytest.param({"@(0,name.given.0)": "x"}, PATIENT, {"x": "Jane"}, id="a place as a step"),
        pytest.param({"@name": {"family": "x"}}, PATIENT, {"x": "Doe"}, id="below a lookup"),
        pytest.param({"@gone": {"family": "x"}}, PATIENT, None, id="below what is not there"),
        pytest.param({"@name": {"*": "x.&"}}, {"name": {"a": 1}}, {"x": {"a": 1}}, id="a star below a lookup"),
        # Characters that mean nothing.
        pytest.param({r"\@type": r"\@t"}, {"@type": 1}, {"@t": 1}, id="escaped on both sides"),
        pytest.param({r"a\*": "x"}, {"a*": 1, "ab": 2}, {"x": 1}, id="an escaped star"),
        pytest.param({r"a\|b": "x"}, {"a|b": 1, "a": 2}, {"x": 1}, id="an escaped bar"),
        pytest.param({"a": r"x\.y"}, {"a": 1}, {"x.y": 1}, id="an escaped dot"),
        pytest.param({"a": r"x\[0\]"}, {"a": 1}, {"x[0]": 1}, id="escaped brackets"),
        pytest.param({"a": r"x\\y"}, {"a": 1}, {"x\\y": 1}, id="an escaped escape"),
        pytest.param({"(0010,0020)": "id"}, {"(0010,0020)": "17"}, {"id": "17"}, id="parentheses are characters"),
        pytest.param({"#http://a\\.b/c": "x"}, {}, {"x": "http://a.b/c"}, id="a constant with an escape"),
        # What is no object.
        pytest.param({"*": "x"}, [1, 2], {"x": [1, 2]}, id="an array as the document"),
        pytest.param({"*": "x"}, None, None, id="null as the document"),
        pytest.param({"a": {"b": "x"}}, {"a": None}, None, id="null has nothing below it"),
    ],
)
def test_what_goes_where(spec: Any, document: Any, expected: Any) -> None:
    before = deepcopy(document)
    assert made("shift", spec, document) == expected
    assert document == before


@pytest.mark.parametrize(
    ("spec", "fault"),
    [
        ("x", "[0].spec: a shift has an object"),
        ({"a": {}}, "[0].spec.a: an empty object says nothing of where a value goes"),
        ({"a": 1}, "[0].spec.a: a key has a path, a list of paths, an object or null"),
        ({"a": [1]}, "[0].spec.a: a key has a path, a list of paths, an object or null"),
        ({"a": {"@": {"b": "c"}}}, '[0].spec.a.@: "@" is a value: it has no object below it, only paths'),
        ({"a": "b.&3"}, '[0].spec.a: "&3" goes up 3 levels, but there are 2 above'),
        ({"a": "b.&(0,1)"}, '[0].spec.a: "&(0,1)" wants star 1, but the key it refers to has 0'),
        ({"a": {"$(9)": "b"}}, '[0].spec.a.$(9): "$(9)" goes up 9 levels, but there are 2 above'),
        ({"a": {"$x": "b"}}, '[0].spec.a.$x: "$x" is no reference such as "$1" or "$(1,2)"'),
        ({"a": {"#": "b"}}, '[0].spec.a.#: "#" is followed by the text that is written'),
        ({"a*&": "b"}, '[0].spec.a*&: a key cannot have "*" and "&"'),
        ({"a@b": "b"}, '[0].spec.a@b: "@" does not belong here; "\\@" is the character itself'),
        ({"a|b": "x", "b": "y"}, '[0].spec: "b" is there twice'),
        ({"a": "b.*"}, '[0].spec.a: "*" does not belong into a path; "\\*" is the character itself'),
        ({"a": "b[x]"}, '[0].spec.a: "[x]" is no place of an array: a number, "&", "#" or "@" and their levels'),
        ({"a": "b[#9]"}, '[0].spec.a: "[#9]" goes up 9 levels, but there are 2 above'),
        ({"a": "b[0"}, '[0].spec.a: "b[0" has no "]" at its end'),
        ({"a": "@(1,b"}, '[0].spec.a: "@(1,b" has no ")" at its end'),
        ({"a": "@(1,b[])"}, '[0].spec.a: "[]" does not belong into a path that is looked up'),
        ({"a": "x.@"}, '[0].spec.a: "@" alone does not belong here'),
        ({"@(1,b": "x"}, '[0].spec.@(1,b: "@(1,b" has no ")" at its end'),
        ({"@(1x,b)": "x"}, '[0].spec.@(1x,b): "@(1x,b)" has no number of levels before its ","'),
        ({"@(7,b)": "x"}, '[0].spec.@(7,b): "@(7,b)" goes up 7 levels, but there are 1 above'),
        ({"a": "x." * 101}, f'[0].spec.a: "{"x." * 20}…" has more than 100 steps'),
    ],
)
def test_what_is_wrong_is_found_with_its_place(spec: Any, fault: str) -> None:
    assert faults("shift", spec) == (fault,)


def test_a_specification_has_a_depth() -> None:
    spec: Any = "x"
    for _ in range(102):
        spec = {"a": spec}
    [fault] = faults("shift", spec)
    assert fault.endswith("the specification is nested deeper than 100")


def test_what_was_moved_whole_is_not_changed_by_what_is_written_beside_it() -> None:
    document = {"a": {"x": [1]}, "b": 2}
    spec = {"a": ["one", "two"], "b": ["one.y", "one.x"]}
    assert made("shift", spec, document) == {"one": {"x": [1, 2], "y": 2}, "two": {"x": [1]}}
    assert document == {"a": {"x": [1]}, "b": 2}


def test_a_specification_is_used_again() -> None:
    specification = Specification([{"operation": "shift", "spec": {"a": "x[#1]", "b": "x[#1]"}}])
    assert [specification.apply({"a": 1, "b": 2}) for _ in range(2)] == [{"x": [1, 2]}] * 2


@pytest.mark.parametrize(
    ("path", "document"),
    [
        ("@(1,a.@(1,b))", {"a": {}, "b": [], "x": 1}),  # no key in the lookup
        ("@(1,a.b)", {"a": 7, "x": 1}),  # nothing below a value
        ("@(1,a[0])", {"a": {"0": "k"}, "x": 1}),  # no array
        ("@(1,a[5])", {"a": ["k"], "x": 1}),  # behind its end
    ],
)
def test_a_lookup_that_leads_nowhere_writes_nothing(path: str, document: Any) -> None:
    assert made("shift", {"x": path}, document) is None
