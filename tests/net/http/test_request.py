import json

import pytest
from twisted.internet.defer import Deferred
from twisted.logger import globalLogPublisher

from harmonygw.errors import TooLarge, TransportError
from harmonygw.net.http.limits import WINDOW_BYTES, HTTPLimits
from harmonygw.net.http.request import StreamingRequest
from tests.net.http.wire import GET, Wire

CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


def post(length: int, *fields: bytes) -> bytes:
    return b"\r\n".join((b"POST /p?q=1&q=2 HTTP/1.1", b"Host: a", b"Content-Length: %d" % length, *fields, b"", b""))


@pytest.fixture
def wire():
    """An application that leaves every request to the test."""

    async def answer(request: StreamingRequest) -> None:
        await Deferred()

    return Wire(answer)


@pytest.fixture
def failures():
    """The failures that were logged meanwhile."""
    logged = []

    def observe(event):
        if "log_failure" in event:
            logged.append(event["log_failure"])

    globalLogPublisher.addObserver(observe)
    yield logged
    globalLogPublisher.removeObserver(observe)


def reading(request):
    """Read a body to its end; the Deferred fires with its bytes."""

    async def read():
        return b"".join([bytes(piece) async for pieces in request.body for piece in pieces])

    return Deferred.fromCoroutine(read())


def test_a_request_is_there_when_its_header_is(wire):
    wire.receive(post(10, b"Cookie: c=d"))
    request = wire.request
    assert (request.method, request.path, request.uri) == (b"POST", b"/p", b"/p?q=1&q=2")
    assert request.args == {b"q": [b"1", b"2"]}
    assert request.getCookie(b"c") == b"d"
    assert request.body.length == 10


@pytest.mark.parametrize("head", [GET, post(0)])
def test_a_request_without_content_has_no_body(wire, head):
    wire.receive(head)
    assert wire.request.body is None


def test_the_body_comes_as_it_arrives(wire):
    wire.receive(post(6) + b"ab")
    read = reading(wire.request)
    wire.receive(b"cd", b"ef")
    assert read.result == b"abcdef"


def test_a_chunked_body_has_no_length_and_ends_with_its_last_chunk(wire):
    wire.receive(CHUNKED + b"2\r\nab\r\n")
    assert wire.request.body.length is None
    read = reading(wire.request)
    wire.receive(b"3\r\ncde\r\n0\r\n")
    assert not read.called
    wire.receive(b"\r\n")
    assert read.result == b"abcde"


def test_the_client_is_slowed_down_at_the_window_and_goes_on_at_half_of_it(wire):
    wire.receive(post(10 * WINDOW_BYTES))
    wire.receive(b"x" * (WINDOW_BYTES - 1))
    assert wire.transport.producerState == "producing"
    wire.receive(b"x")
    assert wire.transport.producerState == "paused"
    reading(wire.request)
    assert wire.transport.producerState == "producing"


def test_the_body_timer_rests_while_we_hold_the_client_back(wire):
    wire.receive(post(10 * WINDOW_BYTES), b"x" * WINDOW_BYTES)
    wire.clock.advance(100_000)
    read = reading(wire.request)
    assert not read.called
    wire.clock.advance(30)
    assert read.called
    read.addErrback(lambda _: None)


def test_a_body_of_the_limit_passes_and_one_byte_more_is_too_large():
    for size, result in ((10, b"x" * 10), (11, TooLarge)):
        wire = Wire(never, HTTPLimits(max_request_bytes=10))
        wire.receive(CHUNKED + b"%x\r\n" % size + b"x" * size + b"\r\n0\r\n\r\n")
        read = reading(wire.request)
        read.addErrback(lambda failure: failure.type)
        assert read.result == result


async def never(request):
    await Deferred()


def test_a_declared_length_over_the_limit_is_too_large_before_a_byte_arrives():
    wire = Wire(never, HTTPLimits(max_request_bytes=10))
    wire.receive(post(11))
    read = reading(wire.request)
    read.addErrback(lambda failure: str(failure.value))
    told = "the request's body is larger than 10 bytes (limits.max_request_bytes of the network, or else max_body_size)"
    assert read.result == told


@pytest.mark.parametrize("expect", [(), (b"Expect: 100-continue",)])
def test_a_body_that_is_too_large_is_not_invited_and_has_no_deadline(expect):
    wire = Wire(never, HTTPLimits(max_request_bytes=10))
    wire.receive(post(11, *expect))
    read = reading(wire.request)
    read.addErrback(lambda failure: failure.type)
    wire.clock.advance(100_000)
    assert (read.result, wire.sent) == (TooLarge, b"")
    assert not wire.transport.disconnecting


def test_an_endpoint_narrows_the_limit(wire):
    wire.receive(post(11))
    wire.request.limit_body(11)
    wire.request.limit_body(10)
    read = reading(wire.request)
    read.addErrback(lambda failure: failure.type)
    assert read.result is TooLarge


def test_limiting_a_body_that_is_not_there_is_harmless(wire):
    wire.receive(GET)
    wire.request.limit_body(10)
    assert wire.request.body is None


def test_a_client_that_goes_away_fails_the_body(wire):
    wire.receive(post(10), b"12345")
    read = reading(wire.request)
    wire.lose()
    read.addErrback(lambda failure: failure.type)
    assert read.result is TransportError


def test_a_body_that_arrived_whole_is_readable_after_the_client_went_away(wire):
    wire.receive(post(5), b"12345")
    wire.lose()
    assert reading(wire.request).result == b"12345"


def test_continue_is_sent_when_the_body_is_first_read(wire):
    wire.receive(post(3, b"Expect: 100-Continue"))
    assert wire.sent == b""
    wire.clock.advance(100_000)
    read = reading(wire.request)
    assert wire.sent == b"HTTP/1.1 100 Continue\r\n\r\n"
    wire.receive(b"abc")
    assert read.result == b"abc"
    assert wire.sent == b"HTTP/1.1 100 Continue\r\n\r\n"


def test_a_reply_without_reading_the_body_says_neither_continue_nor_keep():
    wire = Wire()
    wire.receive(post(3, b"Expect: 100-continue"))
    assert wire.status == 200
    assert b"Connection: close" in wire.sent


def test_http_1_0_knows_no_continue(wire):
    wire.receive(b"POST / HTTP/1.0\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n")
    reading(wire.request)
    assert wire.sent == b""


def test_a_body_that_was_given_up_is_read_no_further_until_the_reply(wire):
    wire.receive(post(100_000), b"x" * 10)
    Deferred.fromCoroutine(wire.request.body.aclose())
    assert wire.transport.producerState == "paused"
    wire.request.write(b"")
    wire.request.finish()
    assert wire.transport.producerState == "producing"


def test_giving_up_a_full_window_reads_no_further(wire):
    wire.receive(post(10 * WINDOW_BYTES), b"x" * WINDOW_BYTES)
    Deferred.fromCoroutine(wire.request.body.aclose())
    assert wire.transport.producerState == "paused"


def test_giving_up_after_the_client_went_away_is_harmless(wire):
    wire.receive(post(10))
    request = wire.request
    wire.lose()
    Deferred.fromCoroutine(request.body.aclose())
    request.body_given_up(ValueError())
    assert request.channel is None


def test_everything_is_harmless_after_the_client_went_away(wire):
    wire.receive(GET)
    request = wire.request
    wire.lose()
    request.registerProducer(object(), True)
    request.unregisterProducer()
    request.write(b"x")
    assert request.write_pieces((b"x",)) == 1
    request.finish()
    request.abort()
    assert (wire.sent, request.aborted) == (b"", False)


def test_bytes_of_a_body_that_was_given_up_are_dropped(wire):
    wire.receive(post(10), b"12345")
    request = wire.request
    Deferred.fromCoroutine(request.body.aclose())
    wire.receive(b"678")
    assert (request._upload.held, request._gathered) == (0, [])


def test_everything_is_harmless_after_an_abort(wire):
    wire.receive(GET)
    wire.request.abort()
    wire.request.abort()
    wire.request.write(b"x")
    wire.request.finish()
    assert wire.transport.disconnected
    assert wire.sent == b""


def test_a_resource_that_raises_gets_a_500_that_says_nothing_but_where_to_look(wire, failures):
    def broken(request):
        raise ValueError("secret")

    wire.app.render = broken
    wire.receive(GET)
    assert wire.status == 500
    document = json.loads(wire.sent.partition(b"\r\n\r\n")[2])
    assert document["detail"] == "The gateway failed; its log has the details."
    assert len(document["correlation_id"]) == 32
    assert b"secret" not in wire.sent
    assert [failure.type for failure in failures] == [ValueError]


def test_a_resource_that_raises_within_its_reply_resets_the_connection(wire, failures):
    def broken(request):
        request.write(b"half")
        raise ValueError("secret")

    wire.app.render = broken
    wire.receive(GET)
    assert wire.transport.disconnected
    assert not wire.sent.endswith(b"0\r\n\r\n")
    assert [failure.type for failure in failures] == [ValueError]


def test_the_query_is_there_by_name():
    wire = Wire(never)
    wire.receive(b"GET /?a=1&b=&a=%20 HTTP/1.1\r\nHost: a\r\n\r\n")
    assert wire.request.args == {b"a": [b"1", b" "], b"b": [b""]}
    wire.request.args[b"c"] = []
    assert b"c" in wire.request.args


def test_who_is_told_that_the_client_has_gone_is_told_before_the_body_fails(wire):
    """Or a reply would be made of the failure, on a connection that is closed already."""
    told = []

    async def answer(request):
        request.notifyFinish().addErrback(lambda _: told.append("gone"))
        try:
            await reading(request)
        except TransportError:
            told.append("failed")
            await wire.reply(request, b"too late")

    wire.app.answer = answer
    wire.receive(post(10), b"12345")
    wire.lose()
    assert told == ["gone"]
    assert wire.sent == b""
    assert wire.clock.getDelayedCalls() == []
