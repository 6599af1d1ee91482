"""Patterns of paths: what each matches, and what is none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harmonygw.errors import ConfigurationError
from harmonygw.middleware.paths import PathPattern, is_ambiguous


def test_a_slash_within_a_segment_begins_no_segment() -> None:
    assert PathPattern.parse("/studies/{id}").matches(("studies", "1.2/series"))
    assert not PathPattern.parse("/studies/1.2/series").matches(("studies", "1.2/series"))


@pytest.mark.parametrize(
    "text", ["/{*rest}/studies", "/studies/a{id}", "/{}", "/{a b}", "/studies/{*rest", "/studies/*"]
)
def test_what_is_no_pattern_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"is not a path with \{id\} for a segment and a last \{\*path\}"):
        PathPattern.parse(text)


@pytest.mark.parametrize("text", ["/a%20b", "/studies/../x", "/.", "/a;b/{*rest}"])
def test_what_matches_no_path_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="matches nothing"):
        PathPattern.parse(text)


@given(st.lists(st.text(min_size=1).filter(lambda part: "/" not in part), max_size=4))
def test_a_path_without_braces_matches_itself_and_no_longer_one(path: list[str]) -> None:
    path = [part.replace("{", "").replace("}", "") or "x" for part in path]
    path = ["x" if part == "*" or is_ambiguous((part,)) else part for part in path]
    pattern = PathPattern.parse("/".join(path))
    assert pattern.matches(tuple(path))
    assert not pattern.matches((*path, "more"))


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ((), False),
        (("a", "..b"), False),
        (("1.2.840", "frames", "1,2"), False),
        (("Größe", "a b&c=d:e@f"), False),
        (("a", ".."), True),
        ((".",), True),
        (("admin;a=1", "x"), True),
        (("x", "..;", "admin"), True),
        (("%61dmin",), True),
        (("admin/x",), True),
        (("admin\\x",), True),
        (("admin\0",), True),
        (("admin\x7f",), True),
    ],
)
def test_what_servers_read_in_several_ways_is_ambiguous(path: tuple[str, ...], expected: bool) -> None:
    assert is_ambiguous(path) is expected
