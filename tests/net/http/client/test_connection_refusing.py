"""What a server says and is never taken for whole: what breaks off, is no HTTP, or is beyond a limit."""

import pytest

from harmonygw.errors import Incomplete, PeerError, TransportError
from harmonygw.net.http.client.connection import Unanswered
from harmonygw.net.http.client.limits import MAX_HEADER_BYTES, MAX_HEADER_FIELDS, MAX_INFORMATIONAL
from tests.net.http.client.wire import CHUNKED, OK, WHOLE, Wire

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
