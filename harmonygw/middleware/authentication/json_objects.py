"""JSON objects from strangers, of which nothing can be read in two ways."""

import json
from typing import Any


def json_object(content: bytes) -> dict[str, Any]:
    """Return an object (RFC 8259); raises `ValueError` for anything else.

    A name that is there twice is refused at any depth (RFC 7519 §4 lets us choose), and so are NaN and Infinity,
    numbers of thousands of digits, and what is nested so deep that it cannot be read.
    """
    try:
        found = json.loads(content.decode(), object_pairs_hook=_object, parse_constant=_constant)
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error
    if not isinstance(found, dict):
        raise ValueError("it is no object")
    return found


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name is there twice")
    return found


def _constant(text: str) -> None:
    raise ValueError("NaN and Infinity are no JSON")
