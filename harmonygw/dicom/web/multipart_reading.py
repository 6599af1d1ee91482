"""Reading `multipart/related` bodies as they arrive (RFC 2046 §5.1, RFC 2387, PS3.18 §8.6.1.2).

The parser is the library's; what it wants of form data is left out. It keeps no more than a line of a part's header, or
what may be the beginning of a delimiter.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Final

from multipart import (  # type: ignore[import-untyped]
    _COMPLETE,
    MultipartError,
    ParserLimitReached,
    PushMultipartParser,
)

from harmonygw.errors import BadRequest

MAX_HEADER_LINE: Final = 4096
"""Bytes of a line of a part's header. Default 4 KiB: the longest there is names a URL, of 2,000 at most."""

MAX_HEADER_LINES: Final = 32
"""Lines of a part's header. Default 32: clients send three or four."""

MAX_BOUNDARY_LENGTH: Final = 200
"""Characters of a boundary. RFC 2046 §5.1.1 allows 70, and not every client has read it."""


_LINE_BREAK: Final = re.compile("[\r\n]").search


class PartHeader:
    """The header of a part, and how much of its content has been read."""

    __slots__ = ("bytes_received", "complete", "fields")

    def __init__(self, fields: Mapping[str, str]) -> None:
        self.fields = fields
        """Lower-case name to value; of a repeated one the first."""
        self.bytes_received = 0
        """Bytes of its content so far."""
        self.complete = False
        """Whether its content has ended with a delimiter."""

    @property
    def announced_length(self) -> int | None:
        """Bytes of its content as a Content-Length says, which no part needs; None without one."""
        length = self.fields.get("content-length")
        return None if length is None else int(length)


Event = PartHeader | bytes | None
"""The header of the next part; bytes of its content; None for its end, which is known when the next delimiter is."""


class MultipartReading:
    """Reads one body. It is `ended` with its closing delimiter; what follows that is passed over."""

    def __init__(self, boundary: str) -> None:
        """`boundary` is as the Content-Type header has it, without quotes.

        Raises `BadRequest` for one that cannot be.
        """
        if not 0 < len(boundary) <= MAX_BOUNDARY_LENGTH or not (boundary.isascii() and boundary.isprintable()):
            raise BadRequest(f"A boundary has 1 to {MAX_BOUNDARY_LENGTH} printable characters of ASCII.")
        self._parser = _Parser(
            boundary,
            max_header_size=MAX_HEADER_LINE,
            max_header_count=MAX_HEADER_LINES,
            header_charset="latin-1",
        )
        self.ended = False
        """Whether the closing delimiter has been read."""

    def feed(self, data: bytes) -> Iterator[Event]:
        """Read on. What is yielded has to be taken to its end before more is fed.

        Raises `BadRequest` when it is no multipart body, or a part's header exceeds a limit; then there is no way back.
        """
        if self.ended or not data:
            return
        try:
            yield from self._parser.parse(data)
        except ParserLimitReached as error:
            limits = f"MAX_HEADER_LINE ({MAX_HEADER_LINE} bytes), MAX_HEADER_LINES ({MAX_HEADER_LINES})"
            raise BadRequest(f"The header of a part is too long: {limits}.") from error
        except MultipartError as error:
            raise BadRequest(f"The multipart body is malformed: {error.args[0]}.") from error
        self.ended = self._parser.is_complete


class _Parser(PushMultipartParser):  # type: ignore[misc]
    """The library's parser, for parts that need no Content-Disposition.

    Overriding `_create_segment` is what its documentation has for this. `_segment_limit` and `_state` it does not name;
    tests hold both.
    """

    @property
    def is_complete(self) -> bool:
        """Whether the closing delimiter has been read."""
        return self._state is _COMPLETE

    def _create_segment(self, headerlist: list[tuple[str, str]]) -> PartHeader:
        self._segment_limit = -1  # a part that is not as long as it says is no reason to refuse those behind it
        fields: dict[str, str] = {}
        for name, value in headerlist:
            if _LINE_BREAK(f"{name}{value}"):
                # The library refuses it itself where it happens to stand at the beginning of a piece.
                raise MultipartError("Invalid line break in segment header")
            fields.setdefault(name.lower(), value.strip())
        return PartHeader(fields)
