"""Looking at what passes without holding it up: bodies and streams go on as they come, and a bounded part is kept."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from harmonygw.streams import Body, Pieces, Stream

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Sample:
    """What was seen of a body."""

    data: bytes
    """Its beginning: the limit's bytes at most."""
    complete: bool
    """Whether that is all of it, to its end."""
    size: int | None
    """Bytes of the whole body, when they are known."""
    error: BaseException | None = None
    """What broke it off, if that was seen."""


class TappedBody(Body):
    """A body that is looked at while somebody else reads it; given up, it gives the other up."""

    def __init__(self, body: Body, limit: int, done: Callable[[Sample], None]) -> None:
        self._tap = _Tap(body, limit, done)
        super().__init__(self._tap, length=body.length)

    def finish(self) -> None:
        """Tell of what was seen, if nothing was told yet: nobody will read on."""
        self._tap.finish()

    async def abort(self, reason: BaseException) -> None:
        """Give both up."""
        await self._tap.abort(reason)
        await super().abort(reason)


def tapped(body: Body, limit: int, done: Callable[[Sample], None]) -> Body:
    """Return a body with the same bytes, of which `done` gets a sample: once, at its end or as soon as it is too long.

    What is here already is told at once, and stays what it is.
    """
    if body.whole is None:
        return TappedBody(body, limit, done)
    data = b"".join(body.whole)
    done(Sample(data[:limit], complete=len(data) <= limit, size=len(data)))
    return body


class _Tap:
    def __init__(self, body: Body, limit: int, done: Callable[[Sample], None]) -> None:
        self._body = body
        self._limit = limit
        self._done: Callable[[Sample], None] | None = done
        self._kept = bytearray()
        self._size = 0

    def __aiter__(self) -> "_Tap":
        return self

    async def __anext__(self) -> Pieces:
        try:
            pieces = await self._body.__anext__()
        except StopAsyncIteration:
            self._tell(complete=True)
            raise
        except BaseException as error:
            self._tell(error=error)
            raise
        if self._done is not None:
            for piece in pieces:
                self._kept += piece[: self._limit - len(self._kept)]
                self._size += len(piece)
            if self._size > self._limit:
                self._tell()
        return pieces

    async def aclose(self) -> None:
        await self._body.aclose()

    async def abort(self, reason: BaseException) -> None:
        self._tell(error=reason)
        await self._body.abort(reason)

    def finish(self) -> None:
        self._tell()

    def _tell(self, *, complete: bool = False, error: BaseException | None = None) -> None:
        done, self._done = self._done, None
        if done is not None:
            data = bytes(self._kept)
            self._kept.clear()
            done(Sample(data, complete=complete, size=self._size if complete else self._body.length, error=error))


class TappedStream(Generic[T]):
    """A stream that is looked at while somebody else reads it. What else it has, `warnings`, is the other's."""

    def __init__(
        self, stream: Stream[T], each: Callable[[T], None], done: Callable[[BaseException | None], None]
    ) -> None:
        self._stream = stream
        self._each = each
        self._done: Callable[[BaseException | None], None] | None = done

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def __aiter__(self) -> "TappedStream[T]":
        return self

    async def __anext__(self) -> T:
        try:
            item = await self._stream.__anext__()
        except StopAsyncIteration:
            self._tell(None)
            raise
        except BaseException as error:
            self._tell(error)
            raise
        self._each(item)
        return item

    async def aclose(self) -> None:
        """Give both up; a reader that has enough does so too."""
        self._tell(None)
        await self._stream.aclose()

    def _tell(self, error: BaseException | None) -> None:
        done, self._done = self._done, None
        if done is not None:
            done(error)
