"""Mappings to dataclasses, and everything that can be wrong with them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import pytest

from harmonygw.config.binding import INVALID, bind, suggestion
from harmonygw.config.constraints import AETitle, Alias, Between
from harmonygw.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class Inner:
    size: int = 1


@dataclass(frozen=True, slots=True)
class Sample:
    needed: str
    flag: bool = False
    seconds: Annotated[float, Between(1, 300)] = 30.0
    count: Annotated[int, Between(0, 10)] | None = None
    mode: Literal["auto", "get", "move"] = "auto"
    words: tuple[str, ...] = ()
    inner: Inner = field(default_factory=Inner)
    table: Mapping[str, Inner] = field(default_factory=dict)
    mixed: tuple[str | Inner, ...] = ()
    title: Annotated[AETitle, Alias("aet")] = "ME"
    anything: Any = None

    def __post_init__(self) -> None:
        if self.mode == "move" and self.count is None:
            raise ConfigurationError(
                ('"mode" move needs "count"', '"needed" is asked too much', "and nobody knows why")
            )


def bound(table: object) -> tuple[Any, list[str]]:
    found: list[str] = []
    result = bind(Sample, table, ("t",), lambda path, sentence: found.append(f"{'.'.join(map(str, path))}: {sentence}"))
    return result, found


def test_defaults_stand_in_for_what_is_not_given() -> None:
    assert bound({"needed": "x"}) == (Sample("x"), [])


def test_every_kind_of_value_is_taken() -> None:
    table = {
        "needed": "x",
        "flag": True,
        "seconds": 2,
        "count": 10,
        "mode": "get",
        "words": ["a", "b"],
        "inner": {"size": 3},
        "table": {"k": {"size": 4}},
        "mixed": ["a", {"size": 5}],
        "aet": "YOU",
        "anything": [1],
    }
    sample, found = bound(table)
    assert found == []
    assert sample == Sample(
        "x", True, 2.0, 10, "get", ("a", "b"), Inner(3), {"k": Inner(4)}, ("a", Inner(5)), "YOU", [1]
    )
    assert type(sample.seconds) is float


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("flag", 1, "t.flag: must be true or false, not a whole number"),
        ("count", True, "t.count: must be a whole number, not true or false"),
        ("count", 1.0, "t.count: must be a whole number, not a number"),
        ("count", 11, "t.count: must be 0 to 10, not 11"),
        ("count", -1, "t.count: must be 0 to 10, not -1"),
        ("seconds", True, "t.seconds: must be a number, not true or false"),
        ("seconds", "1", "t.seconds: must be a number, not text"),
        ("seconds", float("nan"), "t.seconds: must be a number, not nan"),
        ("seconds", float("inf"), "t.seconds: must be a number, not inf"),
        ("seconds", 10**400, "t.seconds: must be a number, not a whole number"),
        ("seconds", 0.5, "t.seconds: must be 1 to 300, not 0.5"),
        ("mode", "gett", 't.mode: must be one of "auto", "get", "move", not "gett"; did you mean "get"?'),
        ("mode", "zzz", 't.mode: must be one of "auto", "get", "move", not "zzz"'),
        ("mode", 1, "t.mode: must be text, not a whole number"),
        ("words", "a", "t.words: must be a list, not text"),
        ("words", ["a", 1], "t.words.1: must be text, not a whole number"),
        ("inner", [], "t.inner: must be a table, not a list"),
        ("inner", {"syze": 1}, 't.inner.syze: unknown key; did you mean "size"?'),
        ("table", 1, "t.table: must be a table, not a whole number"),
        ("table", {"k": {"size": "a"}}, "t.table.k.size: must be a whole number, not text"),
        ("mixed", [1], "t.mixed.0: must be text, not a whole number"),
        (
            "title",
            "",
            "t.title: '' is not an AE title: 1 to 16 printable ASCII characters without backslash (PS3.5 §6.2)",
        ),
        ("title", 5, "t.title: must be text, not a whole number"),
        (
            "zzz",
            1,
            (
                "t.zzz: unknown key; known: anything, count, flag, inner, mixed, mode, needed, seconds,"
                " table, title, words"
            ),
        ),
    ],
)
def test_a_wrong_value_is_one_problem(key: str, value: object, problem: str) -> None:
    assert bound({"needed": "x", key: value})[1] == [problem]


def test_a_missing_key_leaves_nothing_to_look_at() -> None:
    assert bound({"flag": 1}) == (
        INVALID,
        ['t: "needed" is missing', "t.flag: must be true or false, not a whole number"],
    )


def test_a_misspelt_key_is_not_missing_as_well() -> None:
    assert bound({"neded": "x"}) == (INVALID, ['t.neded: unknown key; did you mean "needed"?'])


def test_a_key_and_its_alias_exclude_each_other() -> None:
    assert bound({"needed": "x", "title": "A", "aet": "B"})[1] == ['t.aet: says the same as "title"; give one of them']


def test_what_a_class_says_of_its_keys_is_said_at_the_key() -> None:
    assert bound({"needed": "x", "mode": "move"}) == (
        INVALID,
        ['t.mode: move needs "count"', "t.needed: is asked too much", "t: and nobody knows why"],
    )


def test_a_key_that_is_wrong_by_itself_is_not_complained_of_twice() -> None:
    assert bound({"needed": "x", "mode": "move", "count": "many"})[1] == [
        "t.count: must be a whole number, not text",
        "t.needed: is asked too much",
        "t: and nobody knows why",
    ]


def test_only_tables_are_bound() -> None:
    assert bound("text") == (INVALID, ["t: must be a table, not text"])


def test_a_suggestion_ignores_case_and_may_have_nothing_to_offer() -> None:
    assert suggestion("PACS", ["pacs"]) == '; did you mean "pacs"?'
    assert suggestion("pasc", ["PACS"]) == '; did you mean "PACS"?'
    assert suggestion("x", []) == ""
