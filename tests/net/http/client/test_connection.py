"""One connection with a server: what comes in and in what time, and when it is used again."""

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred
from twisted.web.iweb import UNKNOWN_LENGTH

from harmonygw.errors import HarmonyError, Incomplete, TimedOut
from harmonygw.net.http.client.limits import MAX_EVENTS, WINDOW_BYTES
from tests.net.http.client.wire import CHUNKED, GET_BYTES, OK, WHOLE, Wire

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


# Chunks, and who reads them


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


# Giving up


def test_a_request_that_is_given_up_is_broken_off() -> None:
    wire = Wire()
    asked = wire.get()
    asked.answer.cancel()
    assert isinstance(asked.failure, CancelledError)
    assert wire.transport.aborted


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
