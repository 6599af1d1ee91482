"""Header fields of a reply, as pairs of name and value."""

from collections.abc import Iterable

Fields = tuple[tuple[str, str], ...]
"""Names, in the case in which they are sent, and values."""


def value_of(fields: Fields, name: str) -> str:
    """Return the value of the first field of a name, given in lower case; "" when there is none."""
    for one, value in fields:
        if one.lower() == name:
            return value
    return ""


def without(fields: Fields, names: Iterable[str]) -> Fields:
    """Return the fields but those of some names, given in lower case."""
    left_out = frozenset(names)
    return tuple(pair for pair in fields if pair[0].lower() not in left_out)


def with_vary(fields: Fields, name: str) -> Fields:
    """Return the fields with one Vary, which names what it has named and `name` (RFC 9110 §12.5.5)."""
    named = [one.strip() for field, value in fields if field.lower() == "vary" for one in value.split(",")]
    if name.lower() not in {one.lower() for one in named}:
        named.append(name)
    return (*without(fields, ("vary",)), ("Vary", ", ".join(named)))
