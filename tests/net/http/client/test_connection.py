"""One connection with a server: what goes out, what comes in, and what is never taken for whole."""

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred
from twisted.web.iweb import UNKNOWN_LENGTH

from harmonygw.errors import HarmonyError, Incomplete, PeerError, TimedOut, TransportError
from harmonygw.net.http.client.connection import Unanswered
from harmonygw.net.http.client.limits import (
    MAX_EVENTS,
    MAX_HEADER_BYTES,
    MAX_HEADER_FIELDS,
    MAX_INFORMATIONAL,
    WINDOW_BYTES,
)
from harmonygw.streams import Body
from tests.net.http.client.wire import GET_BYTES, Source, Wire

OK = b"HTTP/1.1 200 OK\r\n"
WHOLE = OK + b"Content-Length: 5\r\n\r\nwhole"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


# A response that is whole


@pytest.mark.parametrize(
    "response",
    [
        WHOLE,
        CHUNKED + b"2\r\nwh\r\n3;ext=1\r\nole\r\n0\r\nTrailer: dropped\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" + WHOLE,
        b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + WHOLE,
        OK + b"Content-Length: 5, 5\r\n\r\nwhole",
    ],
)
def test_a_whole_response_is_read_and_the_connection_used_again(response: bytes) -> None:
    wire = Wire()
    asked = wire.get()
    assert wire.sent == GET_BYTES
    wire.receive(*(bytes((one,)) for one in response))
    read = asked.body()
    assert (asked.status, read.data, read.outcome) == (200, b"whole", "whole")
    assert wire.homecomings == ["idle"]
    assert wire.connection.used
    again = wire.get()
    wire.receive(WHOLE)
    assert (again.body().data, wire.sent) == (b"whole", GET_BYTES * 2)


@given(st.lists(st.integers(0, len(CHUNKED) + 40), max_size=6))
def test_reads_may_be_cut_anywhere(cuts: list[int]) -> None:
    data = CHUNKED + b"5\r\nwhole\r\n10\r\n0123456789abcdef\r\n0\r\n\r\n"
    wire = Wire()
    asked = wire.get()
    places = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    wire.receive(*(data[start:end] for start, end in pairwise(places) if start < end))
    read = asked.body()
    assert (read.data, read.outcome) == (b"whole0123456789abcdef", "whole")


@pytest.mark.parametrize(
    ("method", "response"),
    [
        ("HEAD", OK + b"Content-Length: 700\r\n\r\n"),
        ("HEAD", CHUNKED),
        ("GET", b"HTTP/1.1 204 No Content\r\n\r\n"),
        ("GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 700\r\n\r\n"),
        ("GET", OK + b"Content-Length: 0\r\n\r\n"),
    ],
)
def test_a_response_without_body_has_ended_with_its_header(method: str, response: bytes) -> None:
    wire = Wire()
    asked = wire.get(method)
    wire.receive(response)
    read = asked.body()
    assert (read.data, read.outcome, wire.homecomings) == (b"", "whole", ["idle"])


def test_the_header_keeps_order_and_case_and_treq_sees_none_of_it() -> None:
    wire = Wire()
    asked = wire.get()
    wire.receive(OK + b'Set-Cookie: a=1\r\nETag: "x"\r\nset-cookie: b=2\r\nContent-Length: 3\r\n\r\n')
    response = asked.response
    assert response is not None
    assert response.fields == (
        (b"Set-Cookie", b"a=1"),
        (b"ETag", b'"x"'),
        (b"set-cookie", b"b=2"),
        (b"Content-Length", b"3"),
    )
    assert list(response.headers.getAllRawHeaders()) == []
    assert response.length == 3


def test_a_length_and_a_coding_together_leave_the_length_unknown() -> None:
    wire = Wire()
    asked = wire.get()
    wire.receive(OK + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nwhole\r\n0\r\n\r\n")
    assert asked.response is not None
    assert asked.response.length is UNKNOWN_LENGTH
    assert asked.body().data == b"whole"


# When a connection is not used again


@pytest.mark.parametrize(
    "response",
    [
        WHOLE.replace(b"\r\n\r\n", b"\r\nConnection: Close\r\n\r\n"),
        WHOLE.replace(b"HTTP/1.1", b"HTTP/1.0"),
        WHOLE + b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
        WHOLE + b"\r\nx",
    ],
)
def test_a_connection_whose_server_closes_or_says_too_much_is_not_used_again(response: bytes) -> None:
    wire = Wire()
    asked = wire.get()
    wire.receive(response)
    assert asked.body().data == b"whole"
    assert wire.homecomings == []
    assert wire.transport.disconnecting


def test_what_comes_unasked_ends_the_connection() -> None:
    wire = Wire()
    asked = wire.get()
    wire.receive(WHOLE)
    asked.body()
    wire.receive(b"HTTP/1.1 408 Request Timeout\r\n\r\n")
    assert wire.transport.aborted


def test_a_server_that_does_not_close_is_not_waited_for() -> None:
    wire = Wire(connect_secs=10)
    wire.connection.close()
    wire.clock.advance(9.9)
    assert not wire.transport.aborted
    wire.clock.advance(0.1)
    assert wire.transport.aborted
    wire.end()
    assert wire.clock.getDelayedCalls() == []
    assert wire.homecomings == ["closed"]


def test_chunks_of_a_byte_hold_nobody_up() -> None:
    wire = Wire()
    asked = wire.get()
    wire.receive(CHUNKED)
    read = asked.body()
    chunks = MAX_EVENTS * 3 + 7
    wire.receive(b"1\r\nx\r\n" * chunks)
    assert len(read.data) == MAX_EVENTS
    assert wire.transport.paused
    assert asked.response is not None
    asked.response.pauseProducing()
    asked.response.resumeProducing()
    assert wire.transport.paused
    wire.clock.advance(0)  # turn after turn, until all is taken apart
    assert (len(read.data), wire.transport.paused) == (chunks, False)
    wire.receive(b"0\r\n\r\n")
    assert (read.outcome, wire.homecomings) == ("whole", ["idle"])


def test_chunks_that_were_not_yet_taken_apart_go_with_the_connection() -> None:
    for how in ("end", "reset"):
        wire = Wire()
        asked = wire.get()
        wire.receive(CHUNKED)
        read = asked.body()
        wire.receive(b"1\r\nx\r\n" * MAX_EVENTS * 2 + b"0\r\n\r\n")
        getattr(wire, how)()
        assert (read.outcome == "whole") is (how == "end")
        assert isinstance(read.outcome, str | Incomplete)
        assert wire.clock.getDelayedCalls() == []
    wire = Wire()
    asked = wire.get()
    wire.receive(CHUNKED)
    asked.body()
    wire.receive(b"1\r\nx\r\n" * MAX_EVENTS * 2)
    asked.download.feed.abort(HarmonyError("enough"))
    assert wire.transport.aborted
    assert not [call for call in wire.clock.getDelayedCalls() if call.getTime() == 0]


def test_a_reader_who_waits_is_not_read_on_for() -> None:
    wire = Wire()
    asked = wire.get()
    wire.receive(CHUNKED)
    asked.body()
    wire.receive(b"1\r\nx\r\n" * (MAX_EVENTS + 1))
    assert asked.response is not None
    asked.response.pauseProducing()
    wire.clock.advance(0)
    assert wire.transport.paused
    asked.response.resumeProducing()
    assert not wire.transport.paused


# A response that is not whole


@pytest.mark.parametrize(
    ("response", "read"),
    [
        (OK + b"Content-Length: 6\r\n\r\nwhole", b"whole"),
        (CHUNKED + b"5\r\nwhole\r\n", b"whole"),
        (CHUNKED + b"5\r\nwhole\r\n0\r\n", b"whole"),
        (CHUNKED + b"6\r\nwhole", b"whole"),
    ],
)
@pytest.mark.parametrize("how", ["end", "reset"])
def test_a_body_that_breaks_off_is_incomplete(response: bytes, read: bytes, how: str) -> None:
    wire = Wire()
    asked = wire.get()
    wire.receive(response)
    body = asked.body()
    assert (body.data, body.outcome) == (read, None)
    getattr(wire, how)()
    assert isinstance(body.outcome, Incomplete)
    assert wire.homecomings == ["closed"]
    assert wire.clock.getDelayedCalls() == []


def test_a_body_that_breaks_off_before_it_is_read_is_incomplete() -> None:
    wire = Wire()
    asked = wire.get()
    wire.receive(OK + b"Content-Length: 6\r\n\r\nwhole")
    wire.reset()
    assert isinstance(asked.body().outcome, Incomplete)


def test_a_body_without_length_ends_with_a_clean_close_alone() -> None:
    for how, whole in (("end", True), ("reset", False)):
        wire = Wire()
        asked = wire.get()
        wire.receive(OK + b"\r\nwhole")
        body = asked.body()
        getattr(wire, how)()
        assert body.data == b"whole"
        assert (body.outcome == "whole") is whole
        assert asked.response is not None
        assert asked.response.ended_by_close is whole
        assert isinstance(body.outcome, str | Incomplete)


@pytest.mark.parametrize(
    "response",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/1.1 +20 OK\r\n\r\n",
        b"HTTP/1.1 600 Hm\r\n\r\n",
        b"HTTP/2.0 200 OK\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
        OK + b"No-Colon\r\n\r\n",
        OK + b"Space : 1\r\n\r\n",
        OK + b"A: b\x01c\r\n\r\n",
        OK + b"A: b\x7f\r\n\r\n",
        OK + b"A: b\0c\r\n\r\n",
        OK + b"A: b\rX: c\r\n\r\n",
        OK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nwhole",
        OK + b"Content-Length: -5\r\n\r\n",
        OK + b"Content-Length: +5\r\n\r\n",
        OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n",
        OK + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ],
)
def test_what_is_not_http_is_the_servers_mistake(response: bytes) -> None:
    wire = Wire()
    asked = wire.get()
    wire.receive(response)
    assert isinstance(asked.failure, PeerError)
    assert wire.transport.aborted
    assert wire.clock.getDelayedCalls() == [] or not wire.connection._deadline.running


@pytest.mark.parametrize("chunk", [b"xyz\r\n", b"-1\r\n", b"5\r\nwholeX\r\n"])
def test_chunks_that_are_none_break_the_body_off(chunk: bytes) -> None:
    wire = Wire()
    asked = wire.get()
    wire.receive(CHUNKED)
    body = asked.body()
    wire.receive(chunk)
    assert isinstance(body.outcome, PeerError)
    assert wire.transport.aborted


def test_a_connection_that_ends_before_the_answer_is_unanswered_and_after_its_first_byte_not() -> None:
    for first, kind in ((b"", Unanswered), (b"H", TransportError)):
        for how in ("end", "reset"):
            wire = Wire()
            asked = wire.get()
            if first:
                wire.receive(first)
            getattr(wire, how)()
            assert type(asked.failure) is kind


# Limits


def header(size: int) -> bytes:
    return OK + b"A: " + b"x" * (size - 5 - len(b"Content-Length: 0\r\n")) + b"\r\nContent-Length: 0\r\n\r\n"


def test_a_header_at_its_limit_is_taken_and_one_beyond_is_not() -> None:
    for more, taken in ((0, True), (1, False)):
        wire = Wire()
        asked = wire.get()
        wire.receive(header(MAX_HEADER_BYTES + more))
        assert (asked.response is not None) is taken
        assert taken or isinstance(asked.failure, PeerError)


def test_a_header_without_end_is_refused() -> None:
    wire = Wire()
    asked = wire.get()
    wire.receive(OK)
    for _ in range(MAX_HEADER_BYTES // 1000 + 1):
        if asked.failure is None:
            wire.receive(b"A: " + b"x" * 995 + b"\r\n")
    assert isinstance(asked.failure, PeerError)


def test_header_fields_are_counted() -> None:
    for more, taken in ((0, True), (1, False)):
        wire = Wire()
        asked = wire.get()
        wire.receive(OK + b"A: b\r\n" * (MAX_HEADER_FIELDS - 1 + more) + b"Content-Length: 0\r\n\r\n")
        assert (asked.response is not None) is taken


def test_informational_responses_are_counted() -> None:
    for more, taken in ((0, True), (1, False)):
        wire = Wire()
        asked = wire.get()
        wire.receive(b"HTTP/1.1 102 Processing\r\n\r\n" * (MAX_INFORMATIONAL + more), WHOLE)
        assert (asked.response is not None) is taken


# Time


def test_an_answer_has_its_time_whatever_trickles() -> None:
    wire = Wire(answer_secs=30)
    asked = wire.get()
    for byte in OK:
        wire.clock.advance(1)
        wire.receive(bytes((byte,)))
    wire.clock.advance(30 - len(OK) - 0.1)
    assert asked.failure is None
    wire.clock.advance(0.1)
    assert isinstance(asked.failure, TimedOut)
    assert "timeout_secs" in asked.failure.detail
    assert wire.transport.aborted


def test_silence_counts_while_we_are_ready_to_read_and_not_while_we_are_not() -> None:
    wire = Wire(silence_secs=60)
    asked = wire.get()
    wire.receive(OK + b"Content-Length: 1000000\r\n\r\n")
    wire.clock.advance(1000)  # nobody reads
    assert wire.transport.paused
    assert asked.response is not None
    asked.response.deliverBody(asked.download)
    assert not wire.transport.paused
    wire.clock.advance(59)
    wire.receive(b"x" * WINDOW_BYTES)
    assert wire.transport.paused
    wire.clock.advance(1000)
    data = asked.download.feed
    taken: list[Any] = []

    async def take() -> None:
        taken.append(await data.__anext__())

    Deferred.fromCoroutine(take())
    assert len(taken) == 1
    assert not wire.transport.paused
    wire.clock.advance(59.9)
    assert not wire.transport.aborted
    wire.clock.advance(0.1)
    assert wire.transport.aborted
    failures: list[Any] = []
    data.when_done().addErrback(lambda failure: failures.append(failure.value))
    assert isinstance(failures[0], TimedOut)


# The body of a request


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


# Giving up


def test_a_request_that_is_given_up_is_broken_off() -> None:
    wire = Wire()
    asked = wire.get()
    asked.answer.cancel()
    assert isinstance(asked.failure, CancelledError)
    assert wire.transport.aborted


def test_a_request_that_is_given_up_while_its_body_is_sent_gives_the_body_up() -> None:
    wire = Wire()
    source = Source()
    asked = wire.post(source.body)
    asked.answer.cancel()
    assert isinstance(asked.failure, CancelledError)
    assert source.given_up
    assert wire.transport.aborted
    assert not wire.sent.endswith(b"0\r\n\r\n")


def test_a_body_that_is_given_up_breaks_the_connection_off() -> None:
    wire = Wire()
    asked = wire.get()
    wire.receive(OK + b"Content-Length: 6\r\n\r\nwhole")
    asked.body()
    asked.download.feed.abort(HarmonyError("enough"))
    assert wire.transport.aborted


def test_a_response_that_has_ended_touches_the_connection_no_more() -> None:
    wire = Wire()
    asked = wire.get()
    wire.receive(WHOLE)
    response = asked.response
    assert response is not None
    asked.body()
    again = wire.get()
    response.pauseProducing()
    response.resumeProducing()
    response.abortConnection()
    assert again.failure is None
    assert not wire.transport.aborted
    with pytest.raises(RuntimeError, match="one reader"):
        response.deliverBody(asked.download)
    response.setPreviousResponse(response)
