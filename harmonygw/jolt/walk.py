"""The way from the top of a document to where a specification is at work: what `&`, `$`, `@` and `[#]` refer to."""

from typing import Any, NamedTuple


class Matched:
    """A key of a document that a key of the specification has matched."""

    __slots__ = ("captures", "children", "size")

    def __init__(self, captures: tuple[str, ...], size: int | None = None) -> None:
        self.captures = captures
        """The key, then what each `*` stood for."""
        self.children = 0
        """How many keys below it have been matched so far: `[#]`."""
        self.size = size
        """Elements that the array had before we made it longer; None unless it is an array's."""

    @property
    def key(self) -> str:
        """The key itself."""
        return self.captures[0]


class Place(NamedTuple):
    """A value on the way, under the key that led to it."""

    value: Any
    matched: Matched


Walk = list[Place]
"""From the top down; a reference counts from its end."""
