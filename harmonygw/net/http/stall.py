"""A stall timer: notices that a peer takes nothing of what was written to it.

Twisted says when its write buffer has emptied, which for a slow client may be minutes apart, with megabytes
in the kernel besides. So progress is measured where it happens: in the bytes that the peer's TCP has
acknowledged.
"""

import socket
import sys
from collections.abc import Callable
from typing import Final

from twisted.internet.interfaces import IDelayedCall, IReactorTime, ITransport
from twisted.internet.tcp import Connection

from harmonygw.net.http.limits import WRITE_PROGRESS_BYTES

_BYTES_ACKED: Final = slice(120, 128)
"""Where Linux has `tcpi_bytes_acked` in its `struct tcp_info` (tcp(7), since 4.1)."""


def connection_beneath(transport: object) -> Connection | None:
    """Return the TCP connection that carries `transport`, through TLS if need be; None when there is none."""
    while not isinstance(transport, Connection):
        transport = getattr(transport, "transport", None)
        if transport is None:
            return None
    return transport


def acknowledged(transport: object) -> int:
    """Return the number of bytes that the peer has acknowledged so far; 0 where the system does not tell."""
    connection = connection_beneath(transport)
    if connection is None or not connection.connected:
        return 0
    try:
        info = connection.getHandle().getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _BYTES_ACKED.stop)
    except (OSError, AttributeError):  # not TCP, or not Linux
        return 0
    return int.from_bytes(info[_BYTES_ACKED], sys.byteorder)


class StallTimer:
    """Calls `stalled` once the peer has acknowledged less than `WRITE_PROGRESS_BYTES` in `seconds`.

    It watches from `start()` until `stop()`.
    """

    def __init__(
        self, clock: IReactorTime, transport: ITransport | None, seconds: float, stalled: Callable[[], None]
    ) -> None:
        self._clock = clock
        self._transport = transport
        self._seconds = seconds
        self._stalled = stalled
        self._call: IDelayedCall | None = None
        self._mark = 0

    def start(self) -> None:
        """Begin to watch; without effect when watching already."""
        if self._call is None:
            self._mark = acknowledged(self._transport)
            self._call = self._clock.callLater(self._seconds, self._look)

    def stop(self) -> None:
        """Cease to watch; may be called when not watching."""
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _look(self) -> None:
        self._call = None
        if acknowledged(self._transport) - self._mark < WRITE_PROGRESS_BYTES:
            self._stalled()
        else:
            self.start()
