"""A browser's form, or `curl -F`, as it arrives: multipart/form-data (RFC 7578), its fields and its files."""

from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass
from typing import Final

from multipart import (  # type: ignore[import-untyped]
    MultipartError,
    MultipartSegment,
    ParserLimitReached,
    PushMultipartParser,
    parse_options_header,
)

from harmonygw.errors import BadRequest, TooLarge
from harmonygw.streams import Body

FORM_DATA: Final = "multipart/form-data"

MAX_PARTS: Final = 1000
"""Parts of one form. Default 1,000: more files than anybody sends at once."""

MAX_FIELD_LENGTH: Final = 65_536
"""Bytes of one field that is no file. Default 64 KiB: what names a patient or a study is shorter."""

MAX_FIELDS_LENGTH: Final = 1_048_576
"""Bytes of all fields of a form, names included. Default 1 MiB: they are held in memory until the form has ended."""


@dataclass(frozen=True, slots=True)
class Field:
    """A field that is no file, whole."""

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class FileBegins:
    """A file begins; its content follows, piece by piece, and then `FileEnds`."""

    name: str
    """The name that its sender gave it, unchecked."""


@dataclass(frozen=True, slots=True)
class FileEnds:
    """The file that has begun is whole."""


Event = Field | FileBegins | FileEnds | bytes


def is_form(content_type: str) -> bool:
    """Whether a body of this Content-Type is a form."""
    return content_type.partition(";")[0].strip().lower() == FORM_DATA


async def events(body: Body, content_type: str) -> AsyncGenerator[Event, None]:
    """Yield what a form consists of, as it arrives.

    Raises `BadRequest` for what is no form, or ends before it is whole, `TooLarge` for more than the limits above,
    and what the body raises.
    """
    form = _Form(parse_options_header(content_type)[1].get("boundary", ""))
    async for pieces in body:
        for piece in pieces:
            if piece:
                for event in form.parse(bytes(piece)):
                    yield event
    form.end()


class _Form:
    def __init__(self, boundary: str) -> None:
        self._fields_length = 0
        self._segment: MultipartSegment | None = None
        self._value: bytearray | None = None
        try:
            self._parser = PushMultipartParser(boundary, max_segment_count=MAX_PARTS)
        except MultipartError as error:
            raise BadRequest(f"Content-Type: the boundary of the form is missing or wrong ({error})") from error

    def parse(self, data: bytes) -> Iterator[Event]:
        try:
            for event in self._parser.parse(data):
                if isinstance(event, MultipartSegment):
                    yield from self._begun(event)
                elif event is None:
                    yield from self._ended()
                elif self._value is None:
                    yield bytes(event)
                else:
                    self._gather(event)
        except ParserLimitReached as error:
            raise TooLarge(f"more than {MAX_PARTS} parts (MAX_PARTS), or a header of one that is too long") from error
        except MultipartError as error:
            raise BadRequest(f"the form cannot be read: {error}") from error

    def end(self) -> None:
        try:
            self._parser.close()
        except MultipartError as error:
            raise BadRequest(f"the form ends before it is whole: {error}") from error

    def _begun(self, segment: MultipartSegment) -> Iterator[Event]:
        self._segment = segment
        self._value = None
        if segment.filename is None:
            self._value = bytearray()
            self._count(len(segment.name or ""))
        else:
            yield FileBegins(segment.filename)

    def _gather(self, data: bytes | bytearray) -> None:
        if self._value is not None:
            self._value += data
            self._count(len(data))
            if len(self._value) > MAX_FIELD_LENGTH:
                raise TooLarge(f"a field of the form exceeds {MAX_FIELD_LENGTH} bytes (MAX_FIELD_LENGTH)")

    def _count(self, length: int) -> None:
        self._fields_length += length
        if self._fields_length > MAX_FIELDS_LENGTH:
            raise TooLarge(f"the fields of the form exceed {MAX_FIELDS_LENGTH} bytes (MAX_FIELDS_LENGTH)")

    def _ended(self) -> Iterator[Event]:
        if self._value is None:
            yield FileEnds()
        elif self._segment is not None:
            yield Field(self._segment.name or "", self._value.decode("utf-8", "replace"))
