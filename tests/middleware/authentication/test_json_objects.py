"""JSON objects that can be read in one way."""

import pytest

from harmonygw.middleware.authentication.json_objects import json_object


def test_an_object_is_returned() -> None:
    assert json_object('{"a": [1, {"b": "ä"}]}'.encode()) == {"a": [1, {"b": "ä"}]}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b'"a"',
        b"{",
        b"{}{}",
        b'{"a": 1, "a": 1}',
        b'{"a": {"b": 1, "b": 2}}',
        b'{"a": NaN}',
        b'{"a": -Infinity}',
        b'{"a": ' + b"9" * 5000 + b"}",
        b'{"a": ' + b"[" * 200_000,
        b'{"a": "\xff"}',
    ],
)
def test_anything_else_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError):
        json_object(content)
