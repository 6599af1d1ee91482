"""What goes out on a connection: the body of a request as it comes, and one that ends early or not at all."""

import pytest
from twisted.internet.defer import CancelledError

from harmonygw.errors import Incomplete, TimedOut, TransportError
from harmonygw.net.http.client.connection import Unanswered
from harmonygw.streams import Body
from tests.net.http.client.wire import CHUNKED, WHOLE, Source, Wire


@pytest.mark.parametrize(
    ("length", "expected"),
    [
        (10, b"Content-Length: 10\r\n\r\n0123456789"),
        (None, b"Transfer-Encoding: chunked\r\n\r\n5\r\n01234\r\n5\r\n56789\r\n0\r\n\r\n"),
    ],
)
def test_a_body_goes_out_as_it_comes(length: int | None, expected: bytes) -> None:
    wire = Wire(answer_secs=30)
    source = Source(length)
    asked = wire.post(source.body)
    source.put(b"01234")
    wire.clock.advance(1000)  # the client's slowness is not the server's
    source.put(b"56789")
    assert asked.failure is None
    source.feed.end()
    assert wire.sent == b"POST /a HTTP/1.1\r\nHost: server\r\n" + expected
    wire.clock.advance(29)
    wire.receive(WHOLE)
    assert asked.body().data == b"whole"
    assert wire.homecomings == ["idle"]


def test_an_empty_body_has_no_bytes() -> None:
    wire = Wire()
    wire.post(Body.of())
    assert wire.sent.endswith(b"Content-Length: 0\r\n\r\n")


def test_a_server_that_takes_nothing_holds_the_body_back_and_then_ends_it() -> None:
    wire = Wire(silence_secs=60)
    source = Source(limit=10)
    asked = wire.post(source.body)
    wire.transport.fill()
    source.put(b"a" * 10)
    before = wire.sent
    source.put(b"b" * 10)
    assert wire.sent == before
    wire.transport.empty()
    assert wire.sent.endswith(b"b" * 10 + b"\r\n")
    wire.transport.fill()
    wire.clock.advance(59.9)
    assert asked.failure is None
    wire.clock.advance(0.1)
    assert isinstance(asked.failure, TimedOut)
    assert wire.transport.aborted
    assert source.given_up


@pytest.mark.parametrize("length", [10, None])
def test_a_body_that_fails_breaks_the_request_off_without_its_end(length: int | None) -> None:
    wire = Wire()
    source = Source(length)
    asked = wire.post(source.body)
    source.put(b"01234")
    error = TransportError("the client has gone away")
    source.feed.fail(error)
    assert asked.failure is error
    assert wire.transport.aborted
    assert not wire.sent.endswith(b"0\r\n\r\n")


@pytest.mark.parametrize("data", [b"0123", b"012345"])
def test_a_body_that_is_not_as_long_as_announced_breaks_the_request_off(data: bytes) -> None:
    wire = Wire()
    source = Source(5)
    asked = wire.post(source.body)
    source.put(data)
    source.feed.end()
    assert isinstance(asked.failure, Incomplete)
    assert wire.transport.aborted
    assert len(wire.sent.partition(b"\r\n\r\n")[2]) < 5


def test_a_server_that_refuses_before_the_body_is_over_gets_no_more_of_it() -> None:
    wire = Wire()
    source = Source()
    asked = wire.post(source.body)
    source.put(b"01234")
    sent = wire.sent
    wire.receive(b"HTTP/1.1 413 Too Large\r\nContent-Length: 5\r\n\r\nwh")
    assert asked.status == 413
    assert source.given_up
    source.put(b"56789")
    assert wire.sent == sent
    body = asked.body()
    wire.receive(b"ole")
    assert (body.data, body.outcome) == (b"whole", "whole")
    assert wire.homecomings == []
    assert wire.transport.disconnecting


def test_a_server_that_accepts_before_the_body_is_over_gets_the_rest() -> None:
    wire = Wire()
    source = Source()
    asked = wire.post(source.body)
    wire.receive(CHUNKED + b"2\r\nwh\r\n")
    body = asked.body()
    source.put(b"56789")
    source.feed.end()
    assert wire.sent.endswith(b"5\r\n56789\r\n0\r\n\r\n")
    wire.receive(b"3\r\nole\r\n0\r\n\r\n")
    assert (body.data, body.outcome, wire.homecomings) == (b"whole", "whole", ["idle"])


def test_a_response_that_is_whole_before_the_body_is_over_ends_both() -> None:
    wire = Wire()
    source = Source()
    asked = wire.post(source.body)
    wire.receive(WHOLE)
    assert asked.body().outcome == "whole"
    assert source.given_up
    assert wire.homecomings == []
    assert not wire.sent.endswith(b"0\r\n\r\n")


def test_a_body_that_fails_after_the_answer_began_breaks_that_off() -> None:
    wire = Wire()
    source = Source()
    asked = wire.post(source.body)
    wire.receive(CHUNKED + b"2\r\nwh\r\n")
    body = asked.body()
    error = TransportError("the client has gone away")
    source.feed.fail(error)
    assert body.outcome is error
    assert wire.transport.aborted


def test_a_server_that_dies_while_the_body_is_sent_is_a_lost_connection() -> None:
    wire = Wire()
    source = Source()
    asked = wire.post(source.body)
    source.put(b"01234")
    wire.reset()
    assert isinstance(asked.failure, Unanswered)
    assert source.given_up


def test_a_request_that_is_given_up_while_its_body_is_sent_gives_the_body_up() -> None:
    wire = Wire()
    source = Source()
    asked = wire.post(source.body)
    asked.answer.cancel()
    assert isinstance(asked.failure, CancelledError)
    assert source.given_up
    assert wire.transport.aborted
    assert not wire.sent.endswith(b"0\r\n\r\n")
