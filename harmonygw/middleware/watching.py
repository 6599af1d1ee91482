"""Telling of an exchange while it goes on: what `log_dump` and `webhook` have in common.

What is told of a side is told once: at once when there is no body and no stream in it, otherwise when that has ended or
is longer than is told of it. Nothing waits for that, and what passes is what came.
"""

from collections.abc import Callable
from dataclasses import replace
from time import time
from typing import Any

import orjson
from twisted.internet.defer import CancelledError
from twisted.logger import Logger

from harmonygw.errors import HarmonyError
from harmonygw.exchange import HTTPOrigin, Reply, Request
from harmonygw.middleware.describing import (
    MAX_ITEMS,
    content_type_of,
    described_content,
    described_instance,
    described_match,
    described_reply,
    described_request,
    described_result,
    is_query,
)
from harmonygw.middleware.redaction import Redaction
from harmonygw.middleware.tapping import Sample, TappedBody, TappedStream, tapped
from harmonygw.operations import Retrieve, Store
from harmonygw.pipeline import Proceed
from harmonygw.streams import Body

log = Logger(namespace="harmonygw.watching")

Tell = Callable[[dict[str, Any]], None]
"""Gets the description of one side: `side`, `request`, on the right `response`, and who it is."""


class Watching:
    """The two sides of a middleware that changes nothing, and tells of what passes."""

    def __init__(self, redaction: Redaction, apply: str, limit: int, clock: Any, tell: Tell) -> None:
        """`limit` is the number of bytes of a body, or of matches, that are told of."""
        self._redaction = redaction
        self._left = apply in ("left", "both")
        self._right = apply in ("right", "both")
        self._limit = limit
        self._clock = clock
        self._tell = tell

    async def intercept(self, request: Request, proceed: Proceed) -> Reply:
        """Proceed, and tell of both sides. An exchange that is cancelled has no right side."""
        started = self._clock.seconds()
        description = described_request(request, self._redaction)
        body: Body | None = None
        if self._left:
            request, body = self._of_request(request, dict(description))
        ending = None
        if self._right:
            ending = _Ending(self._tell_safely, self._clock, started, self._told("right", request, description))
        try:
            reply = await proceed(request)
        except CancelledError:
            raise
        except Exception as error:
            if ending is not None:
                ending.tell({}, error)
            raise
        finally:
            if isinstance(body, TappedBody):
                body.finish()  # who has answered, or refused, may never read it
        return reply if ending is None else self._of_reply(request, reply, ending)

    def _tell_safely(self, told: dict[str, Any]) -> None:
        """Tell; what goes wrong there is no business of the exchange."""
        try:
            self._tell(told)
        except Exception:  # noqa: BLE001 - whatever it is
            log.failure("an exchange could not be told of ({correlation_id})", correlation_id=told["correlation_id"])

    def _told(self, side: str, request: Request, description: dict[str, Any]) -> dict[str, Any]:
        return {
            "side": side,
            "time": round(time(), 3),
            "correlation_id": request.correlation_id,
            "peer": request.peer,
            "principal": request.principal,
            "request": description,
        }

    def _of_request(self, request: Request, description: dict[str, Any]) -> tuple[Request, Body | None]:
        """Return a request that is looked at, and its body if that is."""
        told = self._told("left", request, description)
        origin, operation = request.origin, request.operation
        if isinstance(operation, Store):
            passing = _Passing(MAX_ITEMS)

            def stored(error: BaseException | None) -> None:
                description["instances"] = passing.described(error)
                self._tell_safely(told)

            instances = TappedStream(
                operation.instances, lambda instance: passing.add(described_instance(instance)), stored
            )
            return replace(request, operation=replace(operation, instances=instances)), None
        if operation is None and isinstance(origin, HTTPOrigin) and origin.body is not None:
            kind = content_type_of(request)

            def read(sample: Sample) -> None:
                description["content"] = described_content(sample, *kind, self._redaction)
                self._tell_safely(told)

            body = tapped(origin.body, self._limit, read)
            return replace(request, origin=replace(origin, body=body)), body
        self._tell_safely(told)
        return request, None

    def _of_reply(self, request: Request, reply: Reply, ending: "_Ending") -> Reply:
        response = described_reply(request, reply, self._redaction)
        if reply.body is not None:
            kind = content_type_of(reply)

            def read(sample: Sample) -> None:
                response["content"] = described_content(sample, *kind, self._redaction)
                ending.tell(response, sample.error)

            if isinstance(request.origin, HTTPOrigin) and request.origin.method == "HEAD":
                read(Sample(b"", complete=True, size=None))
                return reply
            return replace(reply, body=tapped(reply.body, self._limit, read))
        name, describe, passing = self._stream_of(request)
        if reply.result is None or describe is None:
            ending.tell(response, None)
            return reply

        def ended(error: BaseException | None) -> None:
            response[name] = passing.described(error)
            ending.tell(response, error)

        return replace(reply, result=TappedStream(reply.result, lambda item: passing.add(describe(item)), ended))

    def _stream_of(self, request: Request) -> "tuple[str, Callable[[Any], dict[str, Any]] | None, _Passing]":
        """Return what the result of an operation is called, how one of it is described, and where these go."""
        if is_query(request.operation):
            matches = _Passing(MAX_ITEMS, self._limit)
            return "matches", lambda match: described_match(match, self._redaction), matches
        match request.operation:
            case Retrieve():
                return "instances", described_instance, _Passing(MAX_ITEMS)
            case Store():
                return "results", described_result, _Passing(MAX_ITEMS)
        return "", None, _Passing(0)


class _Passing:
    """What has passed in a stream: how many, and the first of them."""

    def __init__(self, most: int, limit: int | None = None) -> None:
        self._most = most
        self._left = limit
        self._first: list[dict[str, Any]] = []
        self._count = 0

    def add(self, item: dict[str, Any]) -> None:
        """Count one, and keep it as long as there is room."""
        self._count += 1
        if len(self._first) + 1 < self._count or self._count > self._most:
            return
        if self._left is not None:
            self._left -= len(orjson.dumps(item))
            if self._left < 0:
                return
        self._first.append(item)

    def described(self, error: BaseException | None) -> dict[str, Any]:
        """Return it as a document."""
        described: dict[str, Any] = {"count": self._count, "items": self._first}
        if len(self._first) < self._count or error is not None:
            described["truncated"] = True
        return described


class _Ending:
    """The right side, told of once."""

    def __init__(self, tell: Tell, clock: Any, started: float, told: dict[str, Any]) -> None:
        self._tell = tell
        self._clock = clock
        self._started = started
        self._told = told

    def tell(self, response: dict[str, Any], error: BaseException | None) -> None:
        """Tell of a reply, or of what there was instead of it, or of its rest."""
        self._told["response"] = response
        self._told["outcome"] = "complete" if error is None else "failed"
        if error is not None:
            self._told["error"] = f"{type(error).__name__}: {error}" if isinstance(error, HarmonyError) else "internal"
        self._told["duration_ms"] = round((self._clock.seconds() - self._started) * 1000, 1)
        self._tell(self._told)
