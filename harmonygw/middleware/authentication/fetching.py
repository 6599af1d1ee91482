"""A small document from a URL of the configuration, or from where that leads."""
# mypy: allow-untyped-calls

from typing import Any, Final

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers

from harmonygw.errors import TransportError

FETCH_SECS: Final = 10.0
"""Seconds that a fetch may take. Default 10: who waits for it is a person at a viewer."""

CONNECT_SECS: Final = 5.0
"""Seconds that its connection may take. Default 5."""

MAX_DOCUMENT_BYTES: Final = 262_144
"""Bytes of the document. Default 256 KiB, which is 64 keys with their certificates."""


def fetch(url: str, reactor: Any, agent: Any = None) -> "Deferred[bytes]":
    """Return what a URL has; fails with `TransportError`, or `TimeoutError` after `FETCH_SECS`.

    No redirection is followed: the configuration, or an issuer's description of itself, says who is asked. `agent`
    sends in the place of one of our own.
    """
    return Deferred.fromCoroutine(_fetch(url, reactor, agent)).addTimeout(FETCH_SECS, reactor)


async def _fetch(url: str, reactor: Any, agent: Any) -> bytes:
    from treq.client import HTTPClient  # late: what an embedder imports must not load a web client
    from twisted.web.client import Agent

    client = HTTPClient(agent or Agent(reactor, connectTimeout=CONNECT_SECS))
    accept = Headers({"Accept": ["application/jwk-set+json, application/json"]})
    response = await client.get(url, headers=accept, allow_redirects=False, unbuffered=True)
    document = _Document()
    response.deliverBody(document)
    if response.code != 200:
        document.leave()
        raise TransportError(f"the answer was {response.code}")
    try:
        return await document.whole
    except CancelledError:
        document.leave()
        raise


class _Document(Protocol):
    """Gathers a body, unless it is too large or nobody wants it."""

    def __init__(self) -> None:
        self.whole: Deferred[bytes] = Deferred()
        self._content = bytearray()

    def dataReceived(self, data: bytes) -> None:
        """Gather."""
        self._content += data
        if len(self._content) > MAX_DOCUMENT_BYTES and not self.whole.called:
            self.whole.errback(TransportError(f"it is larger than {MAX_DOCUMENT_BYTES} bytes (MAX_DOCUMENT_BYTES)"))
            self.leave()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Hand over what has come, when that is all."""
        if self.whole.called:
            return
        if reason.check(ResponseDone, PotentialDataLoss):
            self.whole.callback(bytes(self._content))
        else:
            self.whole.errback(TransportError("the connection was lost in the middle of it"))

    def leave(self) -> None:
        """Read no more, and tell nobody."""
        if not self.whole.called:
            self.whole.addErrback(lambda _: None).cancel()
        if self.transport is not None:
            self.transport.loseConnection()
