"""Values of an instance on their way: ranges of its data set, all of them or what a Range header asks for."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from harmonygw.dicom.dataset.frames import Range
from harmonygw.dicom.web import multipart
from harmonygw.dicom.web.ranges import ByteRange, Unsatisfiable, parse_range
from harmonygw.errors import RangeNotSatisfiable
from harmonygw.exchange import HTTPOrigin, Reply
from harmonygw.middleware.dicomweb_bridge.access import Readable
from harmonygw.streams import Body, Pieces

Headers = tuple[tuple[str, str], ...]


async def value(readable: Readable, ranges: Sequence[Range]) -> AsyncGenerator[Pieces, None]:
    """Yield what lies in ranges of the data set, one after the other."""
    for offset, length in ranges:
        async with aclosing(readable.file.pieces(offset, length)) as pieces:
            async for some in pieces:
                yield some


async def by_itself(
    origin: HTTPOrigin, readable: Readable, ranges: Sequence[Range], media_type: str, etag: str, headers: Headers = ()
) -> Reply:
    """Answer with a value by itself: all of it, or the bytes that are asked for with 206 (RFC 9110 §14).

    Raises `RangeNotSatisfiable`, and `DamagedFile` when already the beginning is not what was written.
    """
    asked, part = asked_for(origin, ranges, etag)
    headers = (("Content-Type", media_type), ("ETag", etag), ("Accept-Ranges", "bytes"), *headers, *readable.headers)
    if part is not None:
        headers = (*headers, ("Content-Range", part.content_range))
    await verify(readable, asked)
    return Reply(206 if part is not None else 200, headers, Body(value(readable, asked), length=length_of(asked)))


async def as_one_part(
    origin: HTTPOrigin,
    readable: Readable,
    ranges: Sequence[Range],
    media_type: str,
    transfer_syntax_uid: str,
    location: str,
    etag: str,
    headers: Headers = (),
) -> Reply:
    """Answer with a value as the one part of a multipart, whose `etag` is weak.

    A range of a multipart would cut its boundaries: what a client means by a Range header is a range of the value in
    it, and that is what the part has then, with 206. Raises what `by_itself` does.
    """
    asked, part = asked_for(origin, ranges, etag)
    await verify(readable, asked)
    boundary = multipart.boundary()
    start = multipart.part_header(boundary, transfer_syntax_uid, location, True, media_type=media_type)
    end = multipart.closing(boundary)
    headers = (
        ("Content-Type", multipart.content_type(boundary, media_type)),
        ("ETag", etag),
        *((("Content-Range", part.content_range),) if part is not None else ()),
        *headers,
        *readable.headers,
    )
    body = Body(_between(start, value(readable, asked), end), length=len(start) + length_of(asked) + len(end))
    return Reply(206 if part is not None else 200, headers, body)


async def _between(start: bytes, pieces: AsyncGenerator[Pieces, None], end: bytes) -> AsyncGenerator[Pieces, None]:
    yield (start,)
    async with aclosing(pieces):
        async for some in pieces:
            yield some
    yield (end,)


def asked_for(origin: HTTPOrigin, ranges: Sequence[Range], etag: str) -> tuple[Sequence[Range], ByteRange | None]:
    """Return what a Range header asks for of a value, and how; all of it, and None, without one.

    Raises `RangeNotSatisfiable`.
    """
    length = length_of(ranges)
    part = parse_range(origin.headers.get("range"), length, if_range=origin.headers.get("if-range"), etag=etag)
    if isinstance(part, Unsatisfiable):
        raise RangeNotSatisfiable(f"The value has {length} bytes.", length=length)
    if isinstance(part, ByteRange):
        return cut(ranges, part.first, part.length), part
    return ranges, None


async def verify(readable: Readable, ranges: Sequence[Range]) -> None:
    """Read a byte, so that its block is compared with what was written while the archive can still be asked again."""
    if ranges:
        await readable.file.read((ranges[0][0], min(ranges[0][1], 1)))


def length_of(ranges: Sequence[Range]) -> int:
    """Return the bytes in ranges."""
    return sum(length for _, length in ranges)


def cut(ranges: Sequence[Range], first: int, length: int) -> list[Range]:
    """Return the part that begins at byte `first` of ranges that follow each other; they have so many bytes."""
    found: list[Range] = []
    for offset, size in ranges:
        taken = min(size - first, length)
        if taken > 0:
            found.append((offset + first, taken))
            length -= taken
        first = max(first - size, 0)
    return found
