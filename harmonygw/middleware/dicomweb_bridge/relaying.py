"""The body of a retrieval: what is made of an `InstanceStream`, and gives it up when it is given up."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from hashlib import sha256
from typing import Any, Generic, Protocol, TypeVar

from harmonygw.dicom.web import multipart
from harmonygw.exchange import Reply
from harmonygw.streams import Pieces

T = TypeVar("T")


class Closing(Protocol):
    """What can be given up."""

    async def aclose(self) -> Any:
        """Give it up."""


class Relay(Generic[T]):
    """What is made of a source. A generator alone, given up before its first item, would never tell its source."""

    def __init__(self, source: Closing, made: AsyncGenerator[T, None]) -> None:
        self._source = source
        self._made = made

    def __aiter__(self) -> "Relay[T]":
        return self

    async def __anext__(self) -> T:
        return await self._made.__anext__()

    async def aclose(self) -> None:
        """Give the source up, and what was made of it."""
        async with aclosing(self._source):
            await self._made.aclose()


def entity_tag(reply: Reply, *representation: object, weak: bool) -> tuple[tuple[str, str], ...]:
    """Return the ETag field of what is made of a reply's content, when that is known before it is read.

    `representation` is what makes the bytes differ for the same content; a multipart, whose boundary differs each time,
    has a weak one (RFC 9110 §8.8.3).
    """
    if not reply.digest:
        return ()
    told = sha256(repr(representation).encode()).hexdigest()[:16]
    return (("ETag", f'{"W/" if weak else ""}"{reply.digest}-{told}"'),)


async def closed(parts: AsyncGenerator[Pieces, None], boundary: str) -> AsyncGenerator[Pieces, None]:
    """Yield the parts of a multipart, and what ends it."""
    async with aclosing(parts):
        async for pieces in parts:
            yield pieces
    yield (multipart.closing(boundary),)


async def led_by(first: T, rest: Relay[T]) -> AsyncGenerator[T, None]:
    """Yield what was taken out of a stream, and what follows in it.

    Whoever reads on with `anext(rest, None)` is broken off by CPython 3.11 where a Deferred brings a tuple.
    """
    yield first
    async for one in rest:
        yield one
