"""Streams: asynchronous iteration with backpressure, abort and completion.

A `Feed` stands between a transport, which pushes what arrives, and one coroutine, which pulls. Nothing in it is
unbounded: at `limit` held cost the producer is paused, and resumed when half of it has been taken. A producer that
is paused may deliver what it had already read; that is all a feed ever holds beyond its limit.

The reader ends a stream by reading to its end, by `aclose()` or by `abort(reason)`; the producer by `end()` or
`fail(error)`. Whoever is first decides, and `when_done()` tells everyone else.
"""

from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Generic, Protocol, TypeVar

from twisted.internet.defer import CancelledError, Deferred, fail, succeed

from harmonygw.dicom.dataset.layout import Layout

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

Piece = bytes | memoryview
"""A run of bytes that nobody will change."""

Pieces = Sequence[Piece]
"""What one read of a socket brought, in order; not empty."""

Match = dict[str, Any]
"""One match of a C-FIND or Search, in the DICOM JSON model (PS3.18 F.2)."""


class Flow(Protocol):
    """What a feed slows down: a transport, or anything that can be paused."""

    def pause(self) -> None:
        """Stop delivering; may be called when already paused."""

    def resume(self) -> None:
        """Deliver again; may be called when not paused."""


class Stream(Protocol[T_co]):
    """An asynchronous iterator with one reader, that can be given up."""

    def __aiter__(self) -> AsyncIterator[T_co]:
        """Return the stream itself."""

    async def __anext__(self) -> T_co:
        """Return the next item; `StopAsyncIteration` at a clean end, the producer's error otherwise."""

    async def aclose(self) -> None:
        """Give the stream up: the producer is told, and nothing more is delivered."""


class Cancelled(Exception):
    """The reader gave a stream up before its end."""


async def following(stream: AsyncIterator[T]) -> T | None:
    """Return the next item of a stream, None at its end."""
    async for item in stream:  # not `anext` with a default, which Python 3.11 breaks when a tuple is awaited
        return item
    return None


class Begun(Generic[T]):
    """A stream whose first item is there, so that what prevents it fails the request and not the reply."""

    def __init__(self, first: T | None, rest: Stream[T]) -> None:
        self._first = first
        self._rest = rest

    @classmethod
    async def of(cls, stream: Stream[T]) -> "Begun[T]":
        """Wait for the first item, or the end; closes the stream when it raises."""
        try:
            return cls(await following(stream), stream)
        except BaseException:
            await stream.aclose()
            raise

    def __aiter__(self) -> "Begun[T]":
        return self

    async def __anext__(self) -> T:
        if self._first is not None:
            first, self._first = self._first, None
            return first
        return await self._rest.__anext__()

    async def aclose(self) -> None:
        """Give the rest up."""
        self._first = None
        await self._rest.aclose()


_END: Final = object()


class Feed(Generic[T]):
    """A bounded queue between one producer, which never waits, and one reader, which does."""

    def __init__(
        self,
        *,
        limit: int,
        flow: Flow | None = None,
        on_abort: Callable[[BaseException], None] | None = None,
    ) -> None:
        self._limit = limit
        self._flow = flow
        self._on_abort = on_abort
        self._items: deque[tuple[T, int]] = deque()
        self._held = 0
        self._paused = False
        self._waiter: Deferred[Any] | None = None
        self._done = False
        self._error: BaseException | None = None
        self._watchers: list[Deferred[None]] = []

    @property
    def done(self) -> bool:
        """Whether the producer has ended the feed, or the reader has given it up."""
        return self._done

    @property
    def held(self) -> int:
        """The cost of what waits for the reader."""
        return self._held

    def put(self, item: T, cost: int = 1) -> None:
        """Deliver an item; ignored once the feed is done."""
        if self._done:
            return
        if self._waiter is not None:
            waiter, self._waiter = self._waiter, None
            waiter.callback(item)
            return
        self._items.append((item, cost))
        self._held += cost
        if self._held >= self._limit and not self._paused and self._flow is not None:
            self._paused = True
            self._flow.pause()

    def end(self) -> None:
        """Say that everything was delivered; the reader still gets what waits for it."""
        if self._done:
            return
        self._finish(None)
        if self._waiter is not None:
            waiter, self._waiter = self._waiter, None
            waiter.callback(_END)

    def fail(self, error: BaseException) -> None:
        """Say that the rest will not come: what waits is dropped, and the reader gets `error`.

        The flow is not touched again: who fails a feed sees to the producer.
        """
        if self._done:
            return
        self._items.clear()
        self._held = 0
        self._paused = False
        self._finish(error)
        if self._waiter is not None:
            waiter, self._waiter = self._waiter, None
            waiter.errback(error)

    def abort(self, reason: BaseException) -> None:
        """Give the feed up from the reader's side; the producer's `on_abort` is called once with `reason`.

        After the producer has ended it, only what waits is dropped. Whoever reads on gets `reason`, never a clean
        end: what was cut short does not look whole.
        """
        dropped = bool(self._items)
        self._items.clear()
        self._held = 0
        if not self._done:
            self._finish(reason)
            if self._on_abort is not None:
                self._on_abort(reason)
        elif dropped:
            self._error = reason
        if self._waiter is not None:
            waiter, self._waiter = self._waiter, None
            waiter.errback(reason)
        self._let_flow()

    async def aclose(self) -> None:
        """Give the feed up without a reason of its own."""
        self.abort(Cancelled("the reader gave the stream up"))

    def when_done(self) -> "Deferred[None]":
        """Fire when the feed ends, with None, or with the failure or the abort's reason."""
        if self._done:
            return succeed(None) if self._error is None else fail(self._error)
        watcher: Deferred[None] = Deferred()
        self._watchers.append(watcher)
        return watcher

    def __aiter__(self) -> "Feed[T]":
        return self

    async def __anext__(self) -> T:
        if self._items:
            item, cost = self._items.popleft()
            self._held -= cost
            if self._paused and self._held * 2 <= self._limit:
                self._let_flow()
            return item
        if self._done:
            if self._error is not None:
                raise self._error
            raise StopAsyncIteration
        if self._waiter is not None:
            raise RuntimeError("a stream has one reader")
        self._waiter = Deferred(self._reader_cancelled)
        item_or_end = await self._waiter
        if item_or_end is _END:
            raise StopAsyncIteration
        return item_or_end  # type: ignore[no-any-return]

    def _reader_cancelled(self, waiter: "Deferred[Any]") -> None:
        self._waiter = None
        self.abort(CancelledError())

    def _let_flow(self) -> None:
        if self._paused and self._flow is not None:
            self._paused = False
            self._flow.resume()

    def _finish(self, error: BaseException | None) -> None:
        self._done = True
        self._error = error
        watchers, self._watchers = self._watchers, []
        for watcher in watchers:
            if error is None:
                watcher.callback(None)
            else:
                watcher.errback(error)


class Body:
    """The bytes of a reply or of a request: a stream of pieces, counted, with a completion that others hang on.

    `length` is the number of bytes when it is known beforehand, else None. `size` is what has passed so far.
    """

    def __init__(self, source: Stream[Pieces], *, length: int | None = None) -> None:
        self._source = source
        self.length = length
        self.size = 0
        self.whole: tuple[Piece, ...] | None = None
        """All of the bytes, when they were here from the beginning."""
        self._outcome: Feed[None] = Feed(limit=1)

    @classmethod
    def of(cls, *pieces: Piece) -> "Body":
        """Make a body of bytes that are already here."""
        feed: Feed[Pieces] = Feed(limit=1)
        if any(pieces):
            feed.put(tuple(piece for piece in pieces if piece))
        feed.end()
        body = cls(feed, length=sum(map(len, pieces)))
        body.whole = pieces
        return body

    def __aiter__(self) -> "Body":
        return self

    async def __anext__(self) -> Pieces:
        try:
            pieces = await self._source.__anext__()
        except StopAsyncIteration:
            self._outcome.end()
            await self._outcome.when_done()  # what was given up before does not end cleanly
            raise
        except BaseException as error:
            self._outcome.fail(error)
            raise
        for piece in pieces:
            self.size += len(piece)
        return pieces

    async def abort(self, reason: BaseException) -> None:
        """Give the body up: what made it is told, and `when_done()` fires with `reason`."""
        self._outcome.fail(reason)
        await self._source.aclose()

    async def aclose(self) -> None:
        """Give the body up without a reason of its own; harmless after its end."""
        await self.abort(Cancelled("the reader gave the body up"))

    def when_done(self) -> "Deferred[None]":
        """Fire when the last byte has been read, or with what prevented it."""
        return self._outcome.when_done()


class RandomAccess(Protocol):
    """An instance that lies whole somewhere, to be read by parts."""

    @property
    def layout(self) -> Layout | None:
        """Where what lies; None when the data set is malformed, and can only be had as it is."""

    @property
    def length(self) -> int:
        """Bytes of the data set."""

    @property
    def digest(self) -> str:
        """What tells this content from another."""

    async def read(self, *ranges: tuple[int, int]) -> list[bytes]:
        """Return ranges of the data set: each an offset in it, and a length."""

    async def views(self, *ranges: tuple[int, int]) -> Pieces:
        """Return the same one after the other, in as many pieces as they lie in, not copied where that can be."""

    def pieces(self, offset: int = 0, length: int | None = None) -> AsyncGenerator[Pieces, None]:
        """Yield a range of the data set, or all of it, a piece at a time."""


@dataclass(slots=True)
class Instance:
    """One composite SOP instance on its way: its identity, and its data set as it arrives.

    `data_set` is the encoded data set without preamble and file meta information, in `transfer_syntax_uid`.
    The study and series UIDs are those of the object itself, scanned before its first byte is released;
    `leading` holds the elements of that scan that matter for checks (keyword to value), as Latin-1: a character for
    each byte, in the object's own SpecificCharacterSet.
    """

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    data_set: Stream[Pieces]
    study_instance_uid: str = ""
    series_instance_uid: str = ""
    source_ae_title: str = ""
    """Of the application that sent it."""
    receiving_ae_title: str = ""
    """Ours, to which it was sent."""
    leading: Mapping[str, str] = field(default_factory=dict)
    default_character_set: tuple[str, ...] = ("ISO_IR 6",)
    """What stands for a Specific Character Set (0008,0005) that the object lacks, in its archive's experience."""
    without_bulk_data: bool = False
    """Whether the archive left bulk data out (PS3.4 §Z.1.3): then it is not the object that bears this SOP Instance
    UID, and nothing may keep or send it as such."""
    file: RandomAccess | None = None
    """The same where it lies whole, when the reader asked for that and whoever made the stream could."""


MatchStream = Stream[Match]
"""Matches in the order in which the archive sent them."""

InstanceStream = Stream[Instance]
"""Instances in the order in which the archive sends them.

The data set of one is read, or given up, before the next is asked for: taking the next instance discards what is
left of the one before.
"""
