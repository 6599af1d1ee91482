"""The scanner against the corners of TOML, and against tomllib over generated texts."""

import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harmonygw.config.locating import KeyPath, dotted, locate

TRICKY = '''\
# [not.a.table] = 1
title = "a # b"                     # a comment = 2
[a]
b.c = 1
b."d e" = 2
"quoted \\"key\\"" = 3
'lit.eral' = 4
text = """
[fake]
x = 1
"quotes" and \\""" and two at the end"""""
raw = \'\'\'
[fake]
y = 'z' \'\'\'\'\'
when = 1979-05-27 07:32:00

[[a.list]]
n = 1
[a.list.sub]
m = [ # a comment, with ] in it
  "x",
  { k = "}", l = [1,
    2] },
]
[[a.list]]
n = 2
  [[a.list.deep]]
  p = { }
  [[a.list.deep]]
  p.q.r = true
[ z . "y" ]
empty = []
last = 'end'
'''


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("title",), 2),
        (("a",), 3),
        (("a", "b"), 4),
        (("a", "b", "c"), 4),
        (("a", "b", "d e"), 5),
        (("a", 'quoted "key"'), 6),
        (("a", "lit.eral"), 7),
        (("a", "text"), 8),
        (("a", "raw"), 12),
        (("a", "when"), 15),
        (("a", "list"), 17),
        (("a", "list", 0), 17),
        (("a", "list", 0, "n"), 18),
        (("a", "list", 0, "sub"), 19),
        (("a", "list", 0, "sub", "m"), 20),
        (("a", "list", 0, "sub", "m", 0), 21),
        (("a", "list", 0, "sub", "m", 1, "k"), 22),
        (("a", "list", 0, "sub", "m", 1, "l", 1), 23),
        (("a", "list", 1), 25),
        (("a", "list", 1, "n"), 26),
        (("a", "list", 1, "deep", 0, "p"), 28),
        (("a", "list", 1, "deep", 1, "p", "q", "r"), 30),
        (("z",), 31),
        (("z", "y", "empty"), 32),
        (("z", "y", "last"), 33),
    ],
)
def test_every_key_has_the_line_it_stands_on(path: KeyPath, line: int) -> None:
    assert locate(TRICKY)[path] == line


def test_what_only_looks_like_a_key_has_no_place() -> None:
    names = {step for path in locate(TRICKY) for step in path}
    assert not names & {"fake", "x", "not", "comment"}


def test_lines_are_counted_the_same_with_carriage_returns() -> None:
    assert locate(TRICKY.replace("\n", "\r\n")) == locate(TRICKY)


def paths(value: Any, path: KeyPath = ()) -> set[KeyPath]:
    steps = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return {path} | {inner for step, below in steps for inner in paths(below, (*path, step))}


def test_it_finds_the_same_keys_as_tomllib() -> None:
    assert {(), *locate(TRICKY)} == paths(tomllib.loads(TRICKY))


VALUES = st.recursive(
    st.one_of(
        st.integers(-9, 9).map(str),
        st.sampled_from(['"a#b"', "'[x]'", '"""\n[t]\n"quoted" """', "'''\nk = 1'''", "true", "07:32:00", '"\\"]}"']),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda found: "[" + ", # ]\n".join(found) + "\n]"),
        st.lists(inner, max_size=3).map(
            lambda found: "{" + ", ".join(f'k{number}."x y" = {one}' for number, one in enumerate(found)) + "}"
        ),
    ),
    max_leaves=8,
)


@given(st.lists(st.tuples(st.booleans(), VALUES), max_size=5))
def test_generated_texts_have_a_place_for_every_key(parts: list[tuple[bool, str]]) -> None:
    text = "".join(
        (f"[[list.of]]\nkey = {value}\n" if array else f"[table.t{number}]\n a . b = {value} # end\n")
        for number, (array, value) in enumerate(parts)
    )
    assert {(), *locate(text)} == paths(tomllib.loads(text))


@pytest.mark.parametrize(
    ("path", "written"),
    [((), ""), (("a", "b"), "a.b"), (("a", 0, "b"), "a[0].b"), (("a", "x y", 1), 'a."x y"[1]')],
)
def test_a_path_is_written_as_in_toml(path: KeyPath, written: str) -> None:
    assert dotted(path) == written
