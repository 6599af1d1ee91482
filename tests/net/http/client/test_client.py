"""Requests to one server: which are sent again, which wait, and which are refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError
from twisted.internet.error import ConnectionRefusedError, DNSLookupError, TimeoutError

from harmonygw.errors import BadRequest, Busy, TimedOut, TransportError
from harmonygw.net.circuit import FAILURES_TO_OPEN
from harmonygw.net.circuit import FIRST_BACKOFF as FIRST_PROBE
from harmonygw.net.http.client.client import Outgoing
from harmonygw.net.http.client.limits import FIRST_BACKOFF, LONGEST_BACKOFF, MAX_WAITING
from harmonygw.net.http.client.urls import BaseURL
from harmonygw.streams import Body
from tests.net.http.client.server import OK, Sent, Server
from tests.net.http.client.wire import Source


def answered(server: Server, link: int, sent: Sent) -> None:
    server.links[link].send()
    assert sent.read().data == b"ok"


# Connections


def test_a_connection_is_used_again_and_then_closed_when_it_rests() -> None:
    server = Server(idle_secs=30)
    answered(server, 0, server.ask())
    answered(server, 0, server.ask())
    assert server.links[0].received == b"GET /a HTTP/1.1\r\nHost: server\r\n\r\n" * 2
    assert server.client.state() == {
        "ready": True,
        "last_failure": "",
        "connections": 1,
        "idle_connections": 1,
        "requests_waiting": 0,
    }
    server.clock.advance(29.9)
    assert not server.links[0].transport.disconnecting
    server.clock.advance(0.1)
    assert server.links[0].transport.disconnecting
    server.links[0].close()
    assert server.client.state()["connections"] == 0
    assert server.clock.getDelayedCalls() == []


def test_what_cannot_be_repeated_goes_on_a_new_connection() -> None:
    server = Server()
    answered(server, 0, server.ask())
    for method, body in (("POST", None), ("PUT", Body.of(b"x")), ("GET", Body.of(b"x")), ("PATCH", None)):
        sent = server.ask(method, body)
        answered(server, len(server.links) - 1, sent)
    assert [link.received == b"GET /a HTTP/1.1\r\nHost: server\r\n\r\n" for link in server.links] == [True] + [
        False
    ] * 4


def test_connections_are_counted_and_requests_wait_in_their_order() -> None:
    server = Server(max_connections=2)
    first, second, third, fourth = (server.ask() for _ in range(4))
    assert (len(server.links), server.client.state()["requests_waiting"]) == (2, 2)
    answered(server, 1, second)
    assert server.links[1].received.count(b"GET") == 2
    answered(server, 1, third)
    server.links[0].reset()  # unanswered, and sent again behind those who wait
    answered(server, 1, fourth)
    server.clock.advance(FIRST_BACKOFF)
    answered(server, 1, first)
    assert first.notes == ["the server broke the connection before it had answered; tried again"]


def test_a_place_is_free_when_a_connection_is_gone() -> None:
    server = Server(max_connections=1)
    first, second = server.ask("POST"), server.ask("POST")
    server.links[0].reset()
    assert isinstance(first.failure, TransportError)
    answered(server, 1, second)


def test_a_new_connection_takes_the_place_of_one_that_rests() -> None:
    server = Server(max_connections=1)
    answered(server, 0, server.ask())
    sent = server.ask("POST")
    assert server.links[0].transport.disconnecting
    answered(server, 1, sent)


def test_waiting_has_an_end() -> None:
    server = Server(max_connections=1, queue_secs=30)
    server.ask()
    late, hurried = server.ask(), server.ask(deadline=5.0)
    server.clock.advance(4.9)
    assert hurried.failure is None
    server.clock.advance(0.1)
    assert isinstance(hurried.failure, Busy)
    server.clock.advance(24.9)
    assert late.failure is None
    server.clock.advance(0.1)
    assert isinstance(late.failure, Busy)
    assert "queue_timeout_secs" in late.failure.detail


def test_those_who_wait_are_counted() -> None:
    server = Server(max_connections=1)
    server.ask()
    waiting = [server.ask() for _ in range(MAX_WAITING)]
    assert waiting[-1].failure is None
    assert isinstance(server.ask().failure, Busy)
    waiting[0].running.cancel()
    assert isinstance(waiting[0].failure, CancelledError)
    assert server.ask().failure is None
    server.client.stop()


# Again


def test_a_connection_that_was_closed_while_it_rested_costs_nothing() -> None:
    server = Server(max_retries=0)
    answered(server, 0, server.ask())
    sent = server.ask()
    server.links[0].close()
    answered(server, 1, sent)
    assert sent.notes == []


def test_an_unanswered_request_is_sent_again_as_often_as_it_may_be() -> None:
    server = Server(max_retries=2)
    sent = server.ask()
    server.links[0].reset()
    assert server.attempts == 1
    server.clock.advance(FIRST_BACKOFF)
    server.links[1].reset()
    server.clock.advance(2 * FIRST_BACKOFF)
    assert sent.failure is None
    server.links[2].reset()
    assert isinstance(sent.failure, TransportError)
    assert server.attempts == 3


def test_waiting_between_two_tries_has_a_bound() -> None:
    server = Server(max_retries=10)
    sent = server.ask()
    for _ in range(10):
        server.links[-1].reset()
        server.clock.advance(LONGEST_BACKOFF)
    assert server.attempts == 11
    answered(server, 10, sent)


@pytest.mark.parametrize(("method", "body"), [("POST", None), ("PATCH", None), ("PUT", b"x"), ("GET", b"x")])
def test_what_is_not_idempotent_or_has_a_body_is_never_sent_twice(method: str, body: bytes | None) -> None:
    server = Server()
    sent = server.ask(method, None if body is None else Body.of(body))
    server.links[0].reset()
    assert isinstance(sent.failure, TransportError)
    assert server.attempts == 1


def test_an_answer_that_has_begun_is_not_asked_for_again() -> None:
    server = Server()
    sent = server.ask()
    server.links[0].send(b"HTTP/1.1 200")
    server.links[0].reset()
    assert isinstance(sent.failure, TransportError)
    assert server.attempts == 1


def test_a_time_out_is_not_asked_again() -> None:
    server = Server(answer_secs=30)
    sent = server.ask()
    server.clock.advance(30)
    assert isinstance(sent.failure, TimedOut)
    assert server.attempts == 1


def test_where_there_was_no_connection_any_request_is_sent_again_its_body_untouched() -> None:
    server = Server()
    server.refuses = [ConnectionRefusedError(), DNSLookupError()]
    source = Source()
    sent = server.ask("POST", source.body)
    source.put(b"x")
    server.clock.advance(FIRST_BACKOFF)
    server.clock.advance(2 * FIRST_BACKOFF)
    source.feed.end()
    answered(server, 0, sent)
    assert server.links[0].received.endswith(b"1\r\nx\r\n0\r\n\r\n")
    assert sent.notes == ["the connection was refused; tried again", "the host name was not found; tried again"]


def test_a_server_that_swallows_connections_is_given_up_at_the_time_out_without_another_try() -> None:
    server = Server()
    server.refuses = [TimeoutError()]
    sent = server.ask()
    assert isinstance(sent.failure, TimedOut)
    assert "connect_timeout_secs" in sent.failure.detail
    assert server.attempts == 1


def test_a_request_that_is_given_up_while_it_connects_frees_its_place() -> None:
    server = Server(max_connections=1)
    server.swallows = True
    sent, waiting = server.ask(), server.ask()
    sent.running.cancel()
    assert isinstance(sent.failure, CancelledError)
    assert server.attempts == 2
    waiting.running.cancel()
    assert server.client.state()["connections"] == 0


# The circuit


def test_a_server_that_is_away_is_left_alone_until_a_connection_is_a_sign_of_life() -> None:
    server = Server(max_retries=0)
    server.refuses = [ConnectionRefusedError() for _ in range(FAILURES_TO_OPEN + 1)]
    for _ in range(FAILURES_TO_OPEN):
        assert isinstance(server.ask().failure, TransportError)
    refused = server.ask()
    assert isinstance(refused.failure, Busy)
    assert server.attempts == FAILURES_TO_OPEN
    assert server.client.state()["ready"] is False
    assert server.client.state()["last_failure"] == "the connection was refused"
    server.clock.advance(FIRST_PROBE)
    assert server.client.state()["ready"] is False
    server.clock.advance(2 * FIRST_PROBE)
    assert server.client.state()["ready"] is True
    answered(server, 0, server.ask())


def test_a_circuit_that_opens_ends_the_tries_with_what_went_wrong() -> None:
    server = Server(max_retries=10)
    server.refuses = [ConnectionRefusedError() for _ in range(10)]
    sent = server.ask()
    server.clock.advance(FIRST_BACKOFF)
    server.clock.advance(2 * FIRST_BACKOFF)
    assert isinstance(sent.failure, TransportError)
    assert server.attempts == FAILURES_TO_OPEN
    server.client.stop()
    assert server.clock.getDelayedCalls() == []


# Giving up, and the end


def test_a_request_that_is_given_up_breaks_its_connection_off() -> None:
    server = Server()
    sent = server.ask()
    sent.running.cancel()
    assert isinstance(sent.failure, CancelledError)
    assert server.links[0].transport.aborted
    server.links[0].reset()
    assert server.client.state()["connections"] == 0


def test_stopping_ends_everything() -> None:
    server = Server(max_connections=2)
    answered(server, 0, server.ask())
    under_way = server.ask()
    server.swallows = True
    connecting, waiting = server.ask("POST"), server.ask()
    server.client.stop()
    assert isinstance(under_way.failure, TransportError)
    assert isinstance(connecting.failure, CancelledError)
    assert isinstance(waiting.failure, Busy)
    assert isinstance(server.ask().failure, Busy)
    for link in server.links:
        link.reset()
    assert server.client.state()["connections"] == 0
    assert server.clock.getDelayedCalls() == []


def test_a_connection_that_comes_home_after_the_end_is_closed() -> None:
    server = Server()
    sent = server.ask()
    server.client._pool._leased.clear()  # as if its abortion were on its way
    server.client.stop()
    server.links[0].send(OK)
    assert server.links[0].transport.disconnecting
    assert sent.failure is None


# What goes out


@pytest.mark.parametrize(
    ("method", "body", "framing"),
    [
        ("GET", None, b""),
        ("DELETE", None, b""),
        ("POST", None, b"Content-Length: 0\r\n"),
        ("POST", Body.of(), b"Content-Length: 0\r\n"),
        ("POST", Body.of(b"abc"), b"Content-Length: 3\r\n"),
        ("DELETE", Body.of(b"abc"), b"Content-Length: 3\r\n"),
        ("POST", Source().body, b"Transfer-Encoding: chunked\r\n"),
    ],
)
def test_a_body_is_framed_in_one_way(method: str, body: Body | None, framing: bytes) -> None:
    server = Server()
    server.ask(method, body)
    head = server.links[0].received.partition(b"\r\n\r\n")[0] + b"\r\n"
    assert head == method.encode() + b" /a HTTP/1.1\r\nHost: server\r\n" + framing


@pytest.mark.parametrize(
    ("target", "fields"),
    [
        (b"/a b", ()),
        (b"/a\r\nX: y", ()),
        (b"/a", ((b"A", b"b\r\nC: d"),)),
        (b"/a", ((b"A", b"b\0"),)),
        (b"/a", ((b"A b", b"c"),)),
        (b"/a", ((b"A:", b"c"),)),
    ],
)
def test_what_would_smuggle_is_refused_before_a_connection_is_made(
    target: bytes, fields: tuple[tuple[bytes, bytes], ...]
) -> None:
    server = Server()
    outgoing = Outgoing("GET", "http://server/a", target, ((b"Host", b"server"), *fields))
    assert isinstance(Sent(server, outgoing, None).failure, BadRequest)
    assert server.attempts == 0


def test_a_response_without_content_has_no_body() -> None:
    server = Server()
    sent = server.ask("HEAD")
    server.links[0].send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
    assert sent.answer is not None
    assert (sent.answer.status, sent.answer.body) == (200, None)
    assert server.client.state()["idle_connections"] == 1


TEXT = st.text(st.characters(exclude_categories=["Cs"]))


@given(
    st.lists(TEXT.filter(bool), max_size=3),
    st.lists(st.tuples(TEXT, TEXT), max_size=3),
)
def test_whatever_is_asked_goes_out_as_it_was_meant(segments: list[str], query: list[tuple[str, str]]) -> None:
    base = BaseURL.of("http://server/base")
    try:
        target = base.target(segments, query)
    except BadRequest:
        return
    server = Server()
    outgoing = Outgoing("GET", base.origin + target, target.encode(), ((b"Host", b"server"),))
    sent = Sent(server, outgoing, None)
    assert server.links[0].received == b"GET %b HTTP/1.1\r\nHost: server\r\n\r\n" % target.encode()
    answered(server, 0, sent)


def test_gzip_and_cookies_pass_through_treq_untouched() -> None:
    server = Server()
    sent = server.ask()
    server.links[0].send(
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nSet-Cookie: a=1; Path=/\r\nContent-Length: 3\r\n\r\n\x1f\x8b\x08"
    )
    assert sent.read().data == b"\x1f\x8b\x08"
    assert sent.answer is not None
    assert sent.answer.fields[:2] == ((b"Content-Encoding", b"gzip"), (b"Set-Cookie", b"a=1; Path=/"))
    server.ask()
    assert b"ookie" not in server.links[0].received
    assert b"ccept" not in server.links[0].received
