import socket
from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet.tcp import Connection
from twisted.internet.testing import StringTransport

from harmonygw.net.sending import MAX_BUFFERS, flush, send


class Wire:
    """A transport of Twisted's on one end of a pair of sockets; no reactor turns."""

    def __init__(self) -> None:
        here, self.there = socket.socketpair()
        here.setblocking(False)
        self.transport = Connection(here, None, self)
        self.transport.connected = True

    def addWriter(self, writer: Any) -> None:
        pass

    removeWriter = addWriter

    def arrived(self) -> bytes:
        self.there.setblocking(False)
        received = b""
        try:
            while data := self.there.recv(1 << 20):
                received += data
        except BlockingIOError:
            pass
        return received


@pytest.fixture
def wire() -> Iterator[Wire]:
    wire = Wire()
    yield wire
    wire.transport.socket.close()
    wire.there.close()


def test_pieces_leave_at_once(wire: Wire) -> None:
    assert send(wire.transport, (b"5\r\n", memoryview(b"hello"), b"\r\n")) == ()
    assert wire.arrived() == b"5\r\nhello\r\n"


def test_what_the_socket_does_not_take_is_left_from_the_byte_on_where_it_stopped(wire: Wire) -> None:
    pieces = [bytes([number]) * 300_000 for number in range(10)]
    left = send(wire.transport, pieces)
    sent = wire.arrived()
    assert sent
    assert left
    assert sent + b"".join(left) == b"".join(pieces)


def test_a_full_socket_leaves_everything(wire: Wire) -> None:
    while not send(wire.transport, (bytes(1 << 20),)):
        pass
    assert send(wire.transport, (b"more",)) == (b"more",)


def test_what_was_written_in_this_turn_goes_first_and_with_it(wire: Wire) -> None:
    wire.transport.write(b"a ")
    wire.transport.write(b"header ")
    assert send(wire.transport, (b"body",)) == ()
    assert wire.arrived() == b"a header body"
    flush(wire.transport)
    assert wire.arrived() == b""


def test_what_the_socket_does_not_take_of_it_stays_before_what_follows(wire: Wire) -> None:
    header = bytes(3_000_000)
    wire.transport.write(header)
    assert send(wire.transport, (b"body",)) == (b"body",)
    arrived = wire.arrived()
    assert arrived
    left = b"".join(wire.transport._tempDataBuffer)
    assert len(left) == wire.transport._tempDataLen
    assert len(arrived) + len(left) == len(header)


def test_bytes_that_a_socket_did_not_take_go_first(wire: Wire) -> None:
    wire.transport.dataBuffer = b"first "
    assert send(wire.transport, (b"second",)) == (b"second",)
    flush(wire.transport)
    assert wire.arrived() == b"first "
    assert send(wire.transport, (b"second",)) == ()
    assert wire.arrived() == b"second"


def test_as_many_buffers_as_linux_takes(wire: Wire) -> None:
    assert send(wire.transport, (b"x",) * MAX_BUFFERS) == ()
    assert wire.arrived() == b"x" * MAX_BUFFERS
    many = (b"x",) * (MAX_BUFFERS + 1)
    assert send(wire.transport, many) == many


def test_a_transport_that_closes_or_is_none_of_twisted_s_is_left_alone(wire: Wire) -> None:
    wire.transport.write(b"last")
    wire.transport.disconnecting = True
    flush(wire.transport)
    assert wire.arrived() == b""
    other = StringTransport()
    assert send(other, (b"x",)) == (b"x",)
    flush(other)
    assert other.value() == b""
