"""Sending in the turn in which there is something to send.

Twisted's transports gather what is written and send it in the reactor's next turn: a round of epoll for each read of
a stream, and for each response that somebody waits for. What stands here sends at once when the socket takes it,
and leaves to the transport what it does not take. Where the transport is not a plain TCP connection (TLS, a test's),
everything is left to it.
"""

from collections.abc import Sequence
from typing import Any

from twisted.internet.tcp import Connection

Buffer = bytes | bytearray | memoryview

MAX_BUFFERS = 1000
"""Buffers in one system call: Linux takes 1024 (IOV_MAX). A read of the smallest PDUs has more; it is joined."""


def flush(transport: Any) -> None:
    """Send what `transport` holds.

    Nothing is done while it closes: what its `doWrite` would then return belongs to the reactor.
    """
    if (
        isinstance(transport, Connection)
        and (transport._tempDataBuffer or transport.dataBuffer)
        and transport.connected
        and not transport.disconnecting
    ):
        transport.doWrite()


def send(transport: Any, pieces: Sequence[Buffer]) -> Sequence[Buffer]:
    """Send `pieces` in one system call, uncopied, and return what is left to be written to `transport`.

    What was written to the transport in this turn, a header, goes with them. All of them are left when it holds bytes
    that a socket did not take earlier, or cannot be sent to directly. An error of the socket leaves them too: the
    transport meets it again, and deals with it.
    """
    if (
        not isinstance(transport, Connection)
        or transport.dataBuffer
        or not transport.connected
        or transport.disconnecting
    ):
        return pieces
    before = transport._tempDataBuffer
    if len(before) + len(pieces) > MAX_BUFFERS:
        return pieces
    try:
        sent = transport.socket.sendmsg((*before, *pieces) if before else pieces)
    except OSError:
        return pieces
    if before:
        if sent < transport._tempDataLen:
            _forget(transport, sent)
            return pieces
        sent -= transport._tempDataLen
        _forget(transport, transport._tempDataLen)
    for index, piece in enumerate(pieces):
        if sent < len(piece):
            return (memoryview(piece)[sent:], *pieces[index + 1 :])
        sent -= len(piece)
    return ()


def _forget(transport: Any, sent: int) -> None:
    """Take bytes that have been sent out of what was written to a transport in this turn."""
    rest = b"".join(transport._tempDataBuffer)[sent:]
    transport._tempDataBuffer = [rest] if rest else []
    transport._tempDataLen = len(rest)
