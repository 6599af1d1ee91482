"""Keys of the left side: patterns, and the meaning that an escape takes away."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harmonygw.jolt.keys import alternatives, bare, pattern, unescaped


@given(st.lists(st.text("ab-", max_size=3), min_size=2, max_size=4), st.text("ab-", max_size=12))
def test_a_pattern_takes_what_the_shortest_match_of_an_expression_takes(parts: list[str], key: str) -> None:
    found = re.fullmatch("(.+?)".join(map(re.escape, parts)), key)
    one = pattern("*".join(parts))
    assert one.taken(key) == (None if found is None else found.groups())


@pytest.mark.parametrize(
    ("text", "expected"),
    [("a|b", ["a", "b"]), (r"a\|b|c", [r"a\|b", "c"]), ("a", ["a"]), ("", [""]), ("|", ["|"]), ("a\\", ["a\\"])],
)
def test_alternatives(text: str, expected: list[str]) -> None:
    assert alternatives(text) == expected


def test_what_is_escaped_has_no_meaning() -> None:
    assert (bare(r"a\*b\\*"), unescaped(r"a\*b\\*")) == ("ab*", "a*b\\*")
