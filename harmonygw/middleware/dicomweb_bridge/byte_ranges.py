"""Values of an instance on their way: ranges of its data set, all of them or what a Range header asks for."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from harmonygw.dicom.dataset.frames import Range
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
    length = length_of(ranges)
    part = parse_range(origin.headers.get("range"), length, if_range=origin.headers.get("if-range"), etag=etag)
    if isinstance(part, Unsatisfiable):
        raise RangeNotSatisfiable(f"The value has {length} bytes.", length=length)
    headers = (("Content-Type", media_type), ("ETag", etag), ("Accept-Ranges", "bytes"), *headers, *readable.headers)
    status = 200
    if isinstance(part, ByteRange):
        ranges, length, status = cut(ranges, part.first, part.length), part.length, 206
        headers = (*headers, ("Content-Range", part.content_range))
    await verify(readable, ranges)
    return Reply(status, headers, Body(value(readable, ranges), length=length))


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
