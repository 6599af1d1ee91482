"""Parts of a reply: the Range header of a request (RFC 9110 §14)."""

import re
from dataclasses import dataclass
from typing import Final

MAX_DIGITS: Final = 18
"""Digits of a position: more than any file has, and what 64 bits hold."""


@dataclass(frozen=True, slots=True)
class ByteRange:
    """The bytes that are asked for; the status is 206 (RFC 9110 §15.3.7)."""

    first: int
    """Position of the first byte, from 0."""
    last: int
    """Position of the last byte, which is in the range."""
    complete_length: int
    """Bytes of the whole."""

    @property
    def length(self) -> int:
        """Bytes in the range, at least one."""
        return self.last - self.first + 1

    @property
    def content_range(self) -> str:
        """The value of the Content-Range header, RFC 9110 §14.4."""
        return f"bytes {self.first}-{self.last}/{self.complete_length}"


@dataclass(frozen=True, slots=True)
class Unsatisfiable:
    """Nothing of what is asked for is there; the status is 416 (RFC 9110 §15.5.17)."""

    complete_length: int

    @property
    def content_range(self) -> str:
        """The value of the Content-Range header, RFC 9110 §14.4."""
        return f"bytes */{self.complete_length}"


def parse_range(
    header: str | None, complete_length: int, *, if_range: str | None = None, etag: str | None = None
) -> ByteRange | Unsatisfiable | None:
    """Return which bytes of a representation of `complete_length` a Range header asks for; None for all of them.

    All of them are sent, as RFC 9110 §14.2 allows, when there is no such header, when it is malformed or in another
    unit, when it asks for several ranges, and when `if_range`, the If-Range header, is not the strong `etag` of the
    representation (§13.1.5): a date is none.
    """
    if header is None:
        return None
    if if_range is not None and (etag is None or if_range.strip() != etag or etag.startswith("W/")):
        return None
    found = _ONE_RANGE.fullmatch(header)
    if found is None:
        return None
    start, end = found["first"], found["last"]
    if not start:
        if not end:
            return None
        # Of a suffix that is longer than the whole, the whole is the range.
        first, last = max(complete_length - int(end), 0), complete_length - 1
    else:
        first, last = int(start), int(end) if end else complete_length - 1
        if end and last < first:
            return None
        last = min(last, complete_length - 1)
    if first >= complete_length:
        return Unsatisfiable(complete_length)
    return ByteRange(first, last, complete_length)


_BLANKS: Final = "[ \t]*"
_ONE_RANGE: Final = re.compile(
    f"{_BLANKS}[bB][yY][tT][eE][sS]=[ \t,]*(?P<first>[0-9]{{0,{MAX_DIGITS}}})-(?P<last>[0-9]{{0,{MAX_DIGITS}}})[ \t,]*"
)
