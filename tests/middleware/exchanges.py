"""What the tests of middleware share: requests, bodies that come in reads, and steps built from their options."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher

from harmonygw.config.model import ContentLimits, Proxy
from harmonygw.exchange import AssociationOrigin, HTTPOrigin, Reply, Request
from harmonygw.operations import Operation
from harmonygw.pipeline import Context, chain
from harmonygw.streams import Body, Feed, Pieces

JSON = {"content-type": "application/json"}


def context(options: Any, *, name: str = "step", folder: Path = Path(), reactor: Any = None, **more: Any) -> Context:
    """Return what a middleware is built from; `more` is for the `proxy` table, and `authentication(s)`."""
    authentications = more.pop("authentications", {})
    limit = more.pop("max_body_size", 10_000)
    settings = SimpleNamespace(name=name, options=options, authentication=more.pop("authentication", None))
    proxy = Proxy(id="gateway", content_limits=ContentLimits(limit), **more)
    configuration: Any = SimpleNamespace(proxy=proxy, folder=folder, authentications=authentications)
    return Context(settings, configuration, Clock() if reactor is None else reactor)


def http(method: str = "GET", *path: str, body: Any = None, operation: Operation | None = None, **more: Any) -> Request:
    """Return a request by HTTP; `body` is a Body or bytes."""
    body = Body.of(body) if isinstance(body, bytes) else body
    attributes = more.pop("attributes", {})
    origin = HTTPOrigin(method, path or ("studies",), body=body, **more)
    return Request(origin, peer="192.0.2.1", correlation_id="c1", operation=operation, attributes=attributes)


def dimse(operation: Operation | None = None, **attributes: Any) -> Request:
    """Return a request by an association."""
    origin = AssociationOrigin("CT1", "GATEWAY")
    return Request(origin, peer="192.0.2.1", correlation_id="c1", operation=operation, attributes=attributes)


def post(body: Any, *path: str, **headers: str) -> Request:
    """Return a request with a JSON body."""
    fields = {**JSON, **{name.replace("_", "-"): value for name, value in headers.items()}}
    return http("POST", *(path or ("find",)), body=body, headers=fields)


def arriving(*reads: bytes, length: int | None = None) -> tuple[Body, Feed[Pieces]]:
    """Return a body of which some reads have come, and the feed that the rest may come by."""
    feed: Feed[Pieces] = Feed(limit=1_000_000)
    for read in reads:
        feed.put((read,))
    return Body(feed, length=length), feed


def arrived(*reads: bytes, length: int | None = None) -> Body:
    """Return a body that came in some reads."""
    body, feed = arriving(*reads, length=length)
    feed.end()
    return body


def result_of(coroutine: Any) -> Any:
    """Return what a coroutine or Deferred has come to: its result, or what it raised."""
    found: list[Any] = []
    deferred = coroutine if isinstance(coroutine, Deferred) else Deferred.fromCoroutine(coroutine)
    deferred.addErrback(lambda failure: failure.value).addCallback(found.append)
    assert found, "it waits"
    return found[0]


async def _read(body: Any) -> bytes:
    return b"".join([bytes(piece) async for pieces in body for piece in pieces])


def bytes_of(body: Body | None) -> Any:
    """Return all bytes of a body, or what it raised."""
    assert body is not None
    return result_of(_read(body))


async def _items(stream: Any) -> list[Any]:
    return [item async for item in stream]


def items_of(stream: Any) -> Any:
    """Return all items of a stream, or what it raised."""
    return result_of(_items(stream))


class Pipeline:
    """A step in front of a backend that remembers what it was asked."""

    def __init__(self, step: Any, answer: Callable[[Request], Any] = lambda request: Reply()) -> None:
        self.asked: list[Request] = []
        self._answer = answer
        self._proceed = chain([step], self._respond)

    async def _respond(self, request: Request) -> Reply:
        self.asked.append(request)
        answer = self._answer(request)
        if isinstance(answer, BaseException):
            raise answer
        if isinstance(answer, Deferred):
            answer = await answer
        reply: Reply = answer
        return reply

    def ask(self, request: Request) -> Any:
        """Return the reply, or what was raised."""
        return result_of(self._proceed(request))

    def begin(self, request: Request) -> "Deferred[Reply]":
        """Return the reply to come."""
        return self._proceed(request)

    @property
    def body(self) -> Any:
        """The bytes of the body that the backend got last."""
        origin = self.asked[-1].origin
        assert isinstance(origin, HTTPOrigin)
        return bytes_of(origin.body)


@contextmanager
def logged(namespace: str) -> Iterator[list[dict[str, Any]]]:
    """Collect the events of a namespace."""
    events: list[dict[str, Any]] = []

    def observe(event: dict[str, Any]) -> None:
        if event.get("log_namespace") == namespace:
            events.append(event)

    globalLogPublisher.addObserver(observe)
    try:
        yield events
    finally:
        globalLogPublisher.removeObserver(observe)
