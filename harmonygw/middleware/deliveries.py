"""Deliveries to a URL, in their order, a few at a time: bounded, and never waited for."""
# mypy: allow-untyped-calls

from collections import deque
from typing import Any, Final

from twisted.internet.defer import CancelledError, Deferred, TimeoutError, succeed
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from harmonygw.net.http.fields import Fields

log = Logger(namespace="harmonygw.webhook")

MAX_WAITING: Final = 1000
"""Descriptions that wait to be sent. One more is dropped, and counted: a receiver that is away must not fill memory."""

MAX_AT_ONCE: Final = 4
"""Descriptions that are being sent, and connections that are kept."""

MAX_ANSWER_BYTES: Final = 65_536
"""Bytes of an answer that are read, so that its connection can be used again; nobody looks at them."""

DRAIN_SECS: Final = 2.0
"""Seconds that what is waiting has when the gateway stops."""

MAX_REASON: Final = 300
"""Characters of what went wrong that are logged."""

CONNECT_SECS: Final = 5.0
"""Seconds that a connection may take; the whole delivery has its own time."""


class Deliveries:
    """Sends JSON by POST. What fails is not sent again: who must know everything reads the audit."""

    def __init__(self, url: str, fields: Fields, *, timeout: float, name: str, reactor: Any, agent: Any = None) -> None:
        """`timeout` is in seconds, of one delivery with its answer."""
        self._url = url
        self._headers = {"Content-Type": "application/json", **dict(fields)}
        self._timeout = timeout
        self._name = name
        self._reactor = reactor
        self._agent = agent
        self._client: Any = None
        self._connections: Any = None
        self._waiting: deque[bytes] = deque()
        self._sending: set[Deferred[None]] = set()
        self._delivered = 0
        self._failed = 0
        self._dropped = 0
        self._in_a_row = 0
        self._stopping = False
        self._idle: Deferred[None] | None = None

    def start(self) -> None:
        """Begin to send."""
        from treq.client import HTTPClient  # late: what an embedder imports must not load a web client
        from twisted.web.client import Agent, HTTPConnectionPool

        if self._agent is None:
            self._connections = HTTPConnectionPool(self._reactor, persistent=True)
            self._connections.maxPersistentPerHost = MAX_AT_ONCE
            self._agent = Agent(self._reactor, connectTimeout=CONNECT_SECS, pool=self._connections)
        self._client = HTTPClient(self._agent)

    def stop(self) -> "Deferred[None]":
        """Send no more than what waits, within `DRAIN_SECS`; fires when that has ended."""
        self._stopping = True
        if not self._sending:
            return self._close(None)
        self._idle = Deferred()
        self._idle.addTimeout(DRAIN_SECS, self._reactor, lambda result, _: None)
        return self._idle.addCallback(self._close)

    def _close(self, _result: object) -> "Deferred[None]":
        self._dropped += len(self._waiting)
        self._waiting.clear()
        for sending in tuple(self._sending):
            sending.cancel()
        closed: Deferred[None] = succeed(None)
        return closed if self._connections is None else self._connections.closeCachedConnections()

    def state(self) -> dict[str, object]:
        """Describe how it goes."""
        return {
            "delivered": self._delivered,
            "failed": self._failed,
            "dropped": self._dropped,
            "waiting": len(self._waiting) + len(self._sending),
        }

    def send(self, payload: bytes) -> None:
        """Send a document when it is its turn."""
        if self._client is None or self._stopping:
            self._dropped += 1
        elif len(self._waiting) >= MAX_WAITING:
            self._dropped += 1
            self._troubled(f"more than {MAX_WAITING} descriptions are waiting")
        else:
            self._waiting.append(payload)
            self._go_on()

    def _go_on(self) -> None:
        while self._waiting and len(self._sending) < MAX_AT_ONCE:
            sending = Deferred.fromCoroutine(self._deliver(self._waiting.popleft()))
            self._sending.add(sending)
            sending.addTimeout(self._timeout, self._reactor)
            sending.addCallbacks(self._has_delivered, self._has_failed)
            sending.addBoth(self._ended, sending)

    def _ended(self, _result: object, sending: "Deferred[None]") -> None:
        self._sending.discard(sending)
        self._go_on()
        if not self._sending and self._idle is not None and not self._idle.called:
            self._idle.callback(None)

    async def _deliver(self, payload: bytes) -> None:
        response = await self._client.post(
            self._url, data=payload, headers=self._headers, allow_redirects=False, unbuffered=True
        )
        answer = _Ignoring()
        response.deliverBody(answer)
        await answer.ended
        if not 200 <= response.code < 300:
            raise _Refused(f"the answer was {response.code}")

    def _has_delivered(self, _result: object) -> None:
        self._delivered += 1
        if self._in_a_row:
            log.info("{name}: delivering again, after {count} failures", name=self._name, count=self._in_a_row)
            self._in_a_row = 0

    def _has_failed(self, failure: Failure) -> None:
        self._failed += 1
        if failure.check(TimeoutError):
            self._troubled(f"it took more than {self._timeout:g} seconds (timeout_secs)")
        elif not failure.check(CancelledError):
            self._troubled(failure.getErrorMessage()[:MAX_REASON])

    def _troubled(self, why: str) -> None:
        """Say so in the log, once until a delivery has succeeded."""
        if not self._in_a_row:
            log.warn("{name}: a description was not delivered: {why}", name=self._name, why=why)
        self._in_a_row += 1


class _Refused(Exception):
    """The receiver did not take it."""


class _Ignoring(Protocol):
    """Reads an answer to its end, unless that is far away or nobody waits for it any more."""

    def __init__(self) -> None:
        self.ended: Deferred[None] = Deferred(lambda _: self._leave())
        self._size = 0

    def dataReceived(self, data: bytes) -> None:
        """Count."""
        self._size += len(data)
        if self._size > MAX_ANSWER_BYTES:
            self._leave()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Be done, however it ended: the status has come."""
        if not self.ended.called:
            self.ended.callback(None)

    def _leave(self) -> None:
        if self.transport is not None:
            self.transport.loseConnection()
