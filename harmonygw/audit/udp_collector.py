"""A collector that takes syslog messages as datagrams (PS3.15 §A.7, RFC 5426): one message each, none cut short.

Nothing says that one arrived. What is noticed is a machine that says it has nobody there, and a network that is none.
"""

import errno
import socket
from collections.abc import Sequence
from typing import Any, Final

from twisted.internet.error import CannotListenError, MessageLengthError
from twisted.internet.protocol import DatagramProtocol
from twisted.internet.task import deferLater

from harmonygw.audit.collector import Lost
from harmonygw.disk import Disk
from harmonygw.errors import HarmonyError, TransportError

PACE_SECS: Final = 0.02
"""Seconds between batches: 1.6 MB/s, which the receive buffer of a collector, 200 KiB by default, lives through."""

MOMENTARY: Final = frozenset({errno.EAGAIN, errno.ENOBUFS, errno.ENOMEM})
"""What is said by a system that has no room for a datagram just now."""


class UDPCollector:
    """Sends to a connected socket, whose refusals come back."""

    batch_bytes: Final = 32 * 1024
    """Bytes that are sent at once."""

    settle_secs: Final = 1.0
    """Default 1 s: in which a refusal (ICMP) has come back from anywhere."""

    def __init__(self, host: str, port: int, reactor: Any, disk: Disk) -> None:
        self._host = host
        self._port = port
        self._reactor = reactor
        self._disk = disk
        self._socket: _Socket | None = None
        self._taken = 0
        self.name = f"udp {host}:{port}"

    async def open(self, lost: Lost) -> None:
        """Find its address and get a socket; raises `TransportError`."""
        self._taken = 0
        try:
            found = await self._disk.run(socket.getaddrinfo, self._host, self._port, type=socket.SOCK_DGRAM)
            family, *_, address = found[0]
            self._socket = own = _Socket(lost)
            self._reactor.listenUDP(0, own, interface="::" if family == socket.AF_INET6 else "")
            own.port.connect(address[0], address[1])
        except (OSError, CannotListenError) as error:
            self.abort()
            raise TransportError("the collector's address was not found", log_detail=str(error)) from error

    async def send(self, messages: Sequence[bytes]) -> list[bytes]:
        """Send messages, at a pace that a collector can follow; raises `TransportError`."""
        unfit = []
        for message in messages:
            try:
                await self._send(message)
            except MessageLengthError:
                unfit.append(message)
            self._taken += 1
        await deferLater(self._reactor, PACE_SECS)
        return unfit

    async def _send(self, message: bytes) -> None:
        while True:
            if self._socket is None:
                raise TransportError("the socket was given up")
            if self._socket.error is not None:
                raise self._socket.error
            try:
                self._socket.port.write(message)
            except OSError as error:
                if error.errno not in MOMENTARY:
                    raise TransportError("the collector is not reached", log_detail=str(error)) from error
                await deferLater(self._reactor, PACE_SECS)
            else:
                return

    def taken(self) -> int:
        """Return how many have been sent."""
        return self._taken

    async def close(self) -> bool:
        """Let go of the socket; nobody knows what has arrived."""
        self.abort()
        return False

    def abort(self) -> None:
        """Let go of the socket."""
        own, self._socket = self._socket, None
        if own is not None:
            own.end()


class _Socket(DatagramProtocol):
    noisy = False

    def __init__(self, lost: Lost) -> None:
        self._lost = lost
        self.error: HarmonyError | None = None

    @property
    def port(self) -> Any:
        """The transport, as what connects and then needs no address."""
        return self.transport

    def connectionRefused(self) -> None:
        """Hear of a refusal at the next datagram."""
        if self.error is None:
            self.error = TransportError("the collector refuses datagrams")
            self._lost(self.error)

    def stopProtocol(self) -> None:
        """Hear of a refusal in between, with which epoll has Twisted close the socket."""
        self.connectionRefused()

    def end(self) -> None:
        if self.error is None:
            self.error = TransportError("the socket was given up")
            if self.transport is not None:
                self.port.stopListening()
