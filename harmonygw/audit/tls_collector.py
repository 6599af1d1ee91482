"""A collector that takes syslog messages over TLS (PS3.15 §A.6, RFC 5425).

Nobody acknowledges a message. What is known: the collector's system has acknowledged its bytes (TCP); and later the
collector has not ended, with which it would have thrown away what it had not read. At an orderly end its answer to our
close_notify tells that it has read everything (RFC 5425 §4.4).
"""

import fcntl
import socket
import termios
from collections import deque
from collections.abc import Sequence
from struct import unpack
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import wrapClientTLS
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHandshakeListener, IPushProducer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from harmonygw.audit.collector import Lost
from harmonygw.audit.syslog import framed
from harmonygw.config.audit import Audit
from harmonygw.errors import HarmonyError, TimedOut, TransportError
from harmonygw.net.connecting import connect, loss, target_endpoint
from harmonygw.net.tls import client_options

CONNECT_SECS: Final = 10.0
"""Seconds for the connection, and as many again for the handshake. Default 10 s, as to a PACS."""

CLOSE_SECS: Final = 2.0
"""Seconds that an orderly end may take. Default 2 s: who does not answer close_notify gets some messages twice."""

KEEPALIVE_SECS: Final = 30
"""Seconds without traffic after which the collector's system is asked whether it is there, and between four askings."""

USER_TIMEOUT_MS: Final = 30_000
"""Milliseconds in which its system has to acknowledge what was sent (TCP_USER_TIMEOUT, RFC 5482)."""


class TLSCollector:
    """One connection at a time."""

    batch_bytes: Final = 256 * 1024
    """Bytes that are read and sent together: sixteen TLS records."""

    settle_secs: Final = 5.0
    """Default 5 s: a collector that is slower to read than that, and is then killed, loses what it has not read."""

    def __init__(self, settings: Audit, reactor: Any) -> None:
        """Raises `ConfigurationError` when a certificate or key cannot be used."""
        self._settings = settings
        self._reactor = reactor
        self._connection: _Connection | None = None
        self._sent: deque[tuple[int, int]] = deque()  # bytes and messages written, added up, after each batch
        self._messages = 0
        self._bytes = 0
        self._looked_at = 0
        self._taken = 0
        self._options()
        self.name = f"tls {settings.host}:{settings.effective_port}"

    def _options(self) -> Any:
        wanted = self._settings
        return client_options(
            wanted.host,
            wanted.ca_path,
            wanted.cert_path,
            wanted.key_path,
            profile=wanted.tls_profile,
            protocols=(),
            check_hostname=wanted.check_hostname,
        )

    async def open(self, lost: Lost) -> None:
        """Connect, and shake hands; certificates are read anew. Raises `TransportError`, `TimedOut`, and
        `ConfigurationError` when a certificate or key cannot be used any more."""
        self._sent.clear()
        self._messages = self._bytes = self._looked_at = self._taken = 0
        wanted = self._settings
        endpoint = target_endpoint(self._reactor, wanted.host, wanted.effective_port, CONNECT_SECS)
        self._connection = connection = _Connection(lost)
        await connect(wrapClientTLS(self._options(), endpoint), connection)
        late = self._reactor.callLater(CONNECT_SECS, connection.abort, TimedOut("no TLS handshake in time"))
        try:
            await connection.ready
        finally:
            if late.active():
                late.cancel()

    async def send(self, messages: Sequence[bytes]) -> list[bytes]:
        """Send messages; raises `TransportError` when the connection is lost."""
        connection = self._connection
        if connection is None:
            raise TransportError("the connection was given up")
        data = framed(messages)
        self._bytes += len(data)
        self._messages += len(messages)
        self._sent.append((self._bytes, self._messages))
        await connection.write(data)
        return []

    def taken(self) -> int:
        """Return how many messages the collector's system has acknowledged.

        Bytes that are under way are counted as they are encrypted, which are more than those that were written: what is
        counted as acknowledged has been. What was written since the last look may not have been encrypted yet.
        """
        if self._connection is not None and self._connection.error is None:
            acknowledged = self._looked_at - unacknowledged(self._connection.transport)
            self._looked_at = self._bytes
            while self._sent and self._sent[0][0] <= acknowledged:
                self._taken = self._sent.popleft()[1]
        return self._taken

    async def close(self) -> bool:
        """Say that nothing more comes; whether the collector has answered that it has read everything."""
        connection = self._connection
        if connection is None or connection.error is not None:
            return False
        late = self._reactor.callLater(CLOSE_SECS, connection.abort, TimedOut("no close_notify in time"))
        try:
            return await connection.close()
        finally:
            if late.active():
                late.cancel()

    def abort(self) -> None:
        """End the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abort(TransportError("the connection was given up"))


def unacknowledged(transport: Any) -> int:
    """Return how many encrypted bytes of a TLS transport the other side's system has not acknowledged (tcp(7),
    SIOCOUTQ)."""
    tcp = transport.transport
    held = sum(map(len, transport._appSendBuffer)) + len(tcp.dataBuffer) - tcp.offset + tcp._tempDataLen
    (queued,) = unpack("i", fcntl.ioctl(tcp.socket.fileno(), termios.TIOCOUTQ, bytes(4)))
    return int(held + queued)


@implementer(IHandshakeListener, IPushProducer)
class _Connection(Protocol):
    def __init__(self, lost: Lost) -> None:
        self._lost = lost
        self._room: Deferred[None] | None = None
        self._ended: Deferred[bool] | None = None
        self.ready: Deferred[None] = Deferred()
        self.error: HarmonyError | None = None

    def connectionMade(self) -> None:
        tcp = self._transport.transport
        tcp.setTcpKeepAlive(True)
        for option, value in (
            (socket.TCP_KEEPIDLE, KEEPALIVE_SECS),
            (socket.TCP_KEEPINTVL, KEEPALIVE_SECS),
            (socket.TCP_KEEPCNT, 4),
            (socket.TCP_USER_TIMEOUT, USER_TIMEOUT_MS),
        ):
            tcp.socket.setsockopt(socket.IPPROTO_TCP, option, value)
        self._transport.registerProducer(self, True)

    @property
    def _transport(self) -> Any:
        return self.transport

    def handshakeCompleted(self) -> None:
        self.ready.callback(None)

    def dataReceived(self, data: bytes) -> None:
        """A collector has nothing to say (RFC 5425 §4.3)."""

    async def write(self, data: bytes) -> None:
        self._transport.write(data)
        if self._room is not None:
            await self._room
        if self.error is not None:
            raise self.error

    def pauseProducing(self) -> None:
        if self._room is None:
            self._room = Deferred()

    def resumeProducing(self) -> None:
        room, self._room = self._room, None
        if room is not None:
            room.callback(None)

    def stopProducing(self) -> None:
        """Hear that the connection is lost, as `connectionLost` does next."""

    async def close(self) -> bool:
        self._ended = Deferred()
        self._transport.unregisterProducer()
        self._transport.loseConnection()
        return await self._ended

    def abort(self, error: HarmonyError) -> None:
        if self.error is None:
            self.error = error
            if self.transport is not None:
                self._transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        aborted = self.error
        self.error = error = aborted or loss("the collector closed the connection", reason)
        if not self.ready.called:
            self.ready.errback(error)
        if self._ended is not None:
            self._ended.callback(aborted is None and reason.check(ConnectionDone) is not None)
        elif aborted is None:
            self._lost(error)
        self.resumeProducing()
