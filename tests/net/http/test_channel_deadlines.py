"""The deadlines of a connection from one request to the next."""

from harmonygw.net.http.limits import HTTPLimits
from tests.net.http.wire import GET, Wire


def test_a_busy_connection_has_one_timer_and_leaves_none_behind():
    wire = Wire(limits=HTTPLimits(keepalive_timeout_secs=60, header_timeout_secs=20))
    wire.receive(GET)
    timers = wire.clock.getDelayedCalls()
    assert len(timers) == 1
    for _ in range(10):
        wire.clock.advance(1)
        wire.receive(GET)
    assert wire.clock.getDelayedCalls() == timers
    wire.clock.advance(59)
    assert not wire.transport.disconnecting
    wire.clock.advance(1)
    assert wire.transport.disconnecting
    wire.lose()
    assert wire.clock.getDelayedCalls() == []


def test_a_later_header_that_comes_in_pieces_has_a_deadline_from_its_first_byte():
    wire = Wire(limits=HTTPLimits(header_timeout_secs=20))
    wire.receive(GET)
    wire.clock.advance(5)
    wire.receive(GET[:3])
    wire.clock.advance(10)
    wire.receive(GET[3:20])
    wire.clock.advance(9)
    assert not wire.transport.disconnecting
    sent = len(wire.sent)
    wire.clock.advance(1)
    assert wire.sent[sent:].startswith(b"HTTP/1.1 408 ")


def test_a_header_behind_another_request_in_one_read_has_its_deadline_too():
    wire = Wire(limits=HTTPLimits(header_timeout_secs=20))
    wire.receive(GET + GET + GET[:5])
    assert wire.sent.count(b"HTTP/1.1 200 ") == 2
    wire.clock.advance(20)
    assert wire.sent.count(b"HTTP/1.1 408 ") == 1
