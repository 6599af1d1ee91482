"""Whatever a configuration says, it is loaded, or every problem is told with file and line."""

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from harmonygw.config.loading import load
from harmonygw.config.model import Configuration
from harmonygw.errors import ConfigurationError
from harmonygw.service import available
from tests.config.test_loading import EXAMPLE_MAIN, EXAMPLE_PIPELINE

KeyPath = tuple[str, ...]

GOOD: dict[str, Any] = tomllib.loads(EXAMPLE_MAIN) | tomllib.loads(EXAMPLE_PIPELINE)


def leaves(table: dict[str, Any], above: KeyPath = ()) -> Iterator[tuple[KeyPath, Any]]:
    for key, value in table.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, (*above, key))
        else:
            yield (*above, key), value


def written(values: dict[KeyPath, Any]) -> str:
    """Write TOML, a dotted key a line; values of which nothing else is above."""
    return "".join(f"{'.'.join(map(json.dumps, path))} = {literal(value)}\n" for path, value in values.items())


def literal(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {literal(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(literal, value)) + "]"
    return json.dumps(value)


LEAVES = dict(leaves(GOOD))
TEXTS = st.one_of(
    st.text(st.characters(min_codepoint=32, max_codepoint=0xD7FF, exclude_characters="\x7f"), max_size=12),
    st.sampled_from(["", "${UNSET}", "${A:-b}", "web", "guard", "inside", "-1", "/", "..", "127.0.0.1", "dicom"]),
)
VALUES = st.recursive(
    st.one_of(st.booleans(), st.integers(-(2**40), 2**40), st.floats(-1e9, 1e9, allow_nan=False), TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXTS, inner, max_size=2)),
    max_leaves=5,
)
CHANGES = st.lists(
    st.tuples(
        st.sampled_from(sorted(LEAVES)),
        st.sampled_from(["replace", "drop", "rename", "add"]),
        VALUES,
        TEXTS.filter(lambda text: "." not in text),
    ),
    min_size=1,
    max_size=4,
)


def loaded(text: str) -> Configuration | tuple[str, ...]:
    with TemporaryDirectory() as folder:
        main = Path(folder) / "config.toml"
        main.write_text(text, encoding="utf-8")
        try:
            return load(main, environ={}, available=available())
        except ConfigurationError as error:
            problems = error.problems
    assert problems
    for problem in problems:
        assert re.match(rf"{re.escape(str(main))}(:\d+)?: ", problem), problem
    return problems


def test_what_is_changed_here_is_good_to_begin_with() -> None:
    assert isinstance(loaded(written(LEAVES)), Configuration)


@given(CHANGES)
def test_a_configuration_with_anything_changed_is_loaded_or_refused_by_file_and_line(
    changes: list[tuple[KeyPath, str, Any, str]],
) -> None:
    values = dict(LEAVES)
    for path, what, value, name in changes:
        if what in ("drop", "rename"):
            values.pop(path, None)
        if what == "replace":
            values[path] = value
        elif what in ("rename", "add"):
            values[(*path[:-1], name)] = value
    loaded(written(values))


@given(st.text(max_size=120))
def test_whatever_text_is_refused_by_file_and_line(text: str) -> None:
    try:
        main = text.encode()
    except UnicodeEncodeError:
        return
    assert not isinstance(loaded(main.decode().replace("\r", "")), Configuration)
