import socket

import pytest
from twisted.internet.task import Clock
from twisted.internet.tcp import Connection

from harmonygw.net.http.limits import WRITE_PROGRESS_BYTES
from harmonygw.net.http.stall import StallTimer, acknowledged, connection_beneath


class Layer:
    """What TLS is to a connection."""

    def __init__(self, transport):
        self.transport = transport


class Pair:
    """A Twisted connection, and the plain socket at its other end."""

    def __init__(self):
        listener = socket.create_server(("127.0.0.1", 0))
        self.peer = socket.create_connection(listener.getsockname())
        ours, _ = listener.accept()
        listener.close()
        self.connection = Connection(ours, None, reactor=object())
        self.connection.connected = 1

    def send(self, data):
        self.connection.socket.sendall(data)
        self.peer.recv(len(data), socket.MSG_WAITALL)


@pytest.fixture
def pair():
    pair = Pair()
    yield pair
    pair.peer.close()
    pair.connection.socket.close()


def test_the_connection_is_found_beneath_tls(pair):
    assert connection_beneath(Layer(Layer(pair.connection))) is pair.connection
    assert connection_beneath(object()) is None


def test_what_the_peer_acknowledged_is_counted(pair):
    before = acknowledged(pair.connection)
    pair.send(b"x" * 1000)
    assert acknowledged(Layer(pair.connection)) == before + 1000


def test_without_a_connection_nothing_is_acknowledged(pair):
    assert acknowledged(object()) == 0
    pair.connection.connected = 0
    assert acknowledged(pair.connection) == 0


def test_a_socket_that_is_not_tcp_tells_nothing(pair):
    ours, other = socket.socketpair()
    connection = Connection(ours, None, reactor=object())
    connection.connected = 1
    assert acknowledged(connection) == 0
    ours.close()
    other.close()


def test_progress_restarts_the_timer_and_a_stall_ends_it(pair):
    clock, stalls = Clock(), []
    timer = StallTimer(clock, pair.connection, 10, lambda: stalls.append(clock.seconds()))
    timer.start()
    clock.advance(9)
    pair.send(b"x" * WRITE_PROGRESS_BYTES)
    clock.advance(1)
    assert stalls == []
    clock.advance(10)
    assert stalls == [20]
    assert clock.getDelayedCalls() == []


def test_a_byte_now_and_then_is_no_progress(pair):
    clock, stalls = Clock(), []
    StallTimer(clock, pair.connection, 10, lambda: stalls.append(clock.seconds())).start()
    for _ in range(10):
        clock.advance(1)
        pair.send(b"x" * ((WRITE_PROGRESS_BYTES - 1) // 10))
    assert stalls == [10]


def test_starting_twice_and_stopping_twice_is_harmless(pair):
    clock, stalls = Clock(), []
    timer = StallTimer(clock, pair.connection, 10, lambda: stalls.append(1))
    timer.start()
    clock.advance(5)
    timer.start()
    clock.advance(5)
    assert stalls == [1]
    timer.start()
    timer.stop()
    timer.stop()
    clock.advance(10)
    assert stalls == [1]
