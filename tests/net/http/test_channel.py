import pytest
from twisted.internet.defer import Deferred

from harmonygw.errors import BadRequest, TimedOut
from harmonygw.net.http.limits import (
    BODY_PROGRESS_BYTES,
    LINGER_BYTES,
    LINGER_SECS,
    MAX_HEADER_FIELDS,
    MAX_SHED,
    MAX_TARGET_BYTES,
    HTTPLimits,
)
from harmonygw.streams import Cancelled
from tests.alerted import alerts
from tests.net.http.wire import GET, Wire

REFUSED_TAIL = b"Connection: close\r\n\r\n"


def post(length: int, *fields: bytes) -> bytes:
    return b"\r\n".join((b"POST / HTTP/1.1", b"Host: a", b"Content-Length: %d" % length, *fields, b"", b""))


async def read_all(wire, request):
    parts = []
    async for pieces in request.body:
        parts += pieces
    return await wire.reply(request, b"".join(parts))


def reading_wire(limits=None):
    wire = Wire(limits=limits)
    wire.app.answer = lambda request: read_all(wire, request)
    return wire


def waiting_wire(limits=None):
    """An application that answers when the test fires `wire.go`."""
    wire = Wire(limits=limits)
    wire.go = Deferred()

    async def answer(request):
        await wire.go
        return await wire.reply(request, b"done")

    wire.app.answer = answer
    return wire


# What is refused


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET / HTTP/1.1\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n", 400),
        (b"GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a b\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a..b\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: " + b"a" * 64 + b"\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost:\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n 2\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n\t2\r\n", 400),
        (b"GET / HTTP/1.1\r\n Host: a\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\nContent-Length: 3\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n", 400),
        (b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 3\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nNo colon\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX : 1\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: 1\r\n" * MAX_HEADER_FIELDS, 400),
        (b"GET / HTTP/2.0\r\nHost: a\r\n", 400),
        (b"GET /\r\n", 400),
        (b"GET elsewhere HTTP/1.1\r\nHost: a\r\n", 400),
        (b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n", 400),
        (b"GET http://b/ HTTP/1.1\r\nHost: a\r\n", 400),
        (b"GET /" + b"x" * MAX_TARGET_BYTES + b" HTTP/1.1\r\nHost: a\r\n", 414),
    ],
)
def test_a_request_that_could_be_read_in_two_ways_is_refused_and_never_dispatched(head, status):
    wire = Wire()
    with alerts() as raised:
        wire.receive(head + b"\r\n" + b"abcGET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert [one.kind for one in raised] == ["hostile_bytes"] * (status == 400)
    header, _, problem = wire.sent.partition(b"\r\n\r\n")
    assert wire.status == status
    assert b"\r\nContent-Length: %d\r\nConnection: close" % len(problem) in header
    assert b"application/problem+json" in header
    assert wire.app.requests == []


@pytest.mark.parametrize(
    "head",
    [
        b"GET /" + b"x" * (MAX_TARGET_BYTES - 1) + b" HTTP/1.1\r\nHost: a\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: 1\r\n" * (MAX_HEADER_FIELDS - 1),
        b"GET / HTTP/1.1\r\nHost: pacs-1.example.org.:8080\r\n",
        b"GET / HTTP/1.1\r\nHost: [2001:db8::1]:80\r\n",
        b"GET / HTTP/1.1\r\nHost: my_host\r\n",
        b"GET / HTTP/1.0\r\n",
        b"\r\nGET / HTTP/1.1\r\nHost: a\r\n",
    ],
)
def test_what_is_unusual_but_right_is_served(head):
    wire = Wire()
    wire.receive(head + b"\r\n")
    assert wire.status == 200


@pytest.mark.parametrize(("target", "path"), [(b"HTTP://A/x?y=1", b"/x"), (b"http://a", b"/"), (b"http://a?q", b"/")])
def test_a_target_in_absolute_form_is_brought_into_origin_form(target, path):
    wire = Wire()
    wire.receive(b"GET " + target + b" HTTP/1.1\r\nHost: a\r\n\r\n")
    assert wire.request.path == path


def test_options_of_the_server_itself_are_answered():
    wire = Wire()
    wire.receive(b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n")
    assert wire.status == 200
    assert wire.app.requests == []


def test_a_header_of_the_limit_passes_and_one_byte_more_is_431():
    limits = HTTPLimits(max_header_bytes=200)
    padding = 200 - len(GET) - len(b"X: \r\n")
    for extra, status in ((0, 200), (1, 431)):
        wire = Wire(limits=limits)
        wire.receive(GET[:-2] + b"X: " + b"x" * (padding + extra) + b"\r\n\r\n")
        assert wire.status == status


@pytest.mark.parametrize("start", [b"", GET[:-2]])
def test_a_line_without_end_is_431_before_more_is_kept(start):
    wire = Wire(limits=HTTPLimits(max_header_bytes=100))
    wire.receive(start)
    wire.receive(b"x" * 102)
    assert wire.status == 431


def test_each_request_has_the_whole_header_limit():
    wire = Wire(limits=HTTPLimits(max_header_bytes=len(GET)))
    wire.receive(GET, GET, GET)
    assert wire.sent.count(b"200 OK") == 3


# Deadlines


def test_a_header_trickle_gets_408_at_the_deadline_and_is_closed():
    wire = Wire(limits=HTTPLimits(header_timeout_secs=20))
    for byte in b"GET / HTTP/1.1\r\nHos":
        wire.receive(bytes([byte]))
        wire.clock.advance(1)
    assert wire.sent == b""
    wire.clock.advance(1)
    assert wire.status == 408
    wire.clock.advance(LINGER_SECS)
    assert wire.transport.disconnecting


def test_a_connection_that_says_nothing_gets_408_at_the_deadline():
    wire = Wire(limits=HTTPLimits(header_timeout_secs=20))
    wire.clock.advance(20)
    assert wire.status == 408


def test_a_kept_connection_is_closed_in_silence_when_no_request_comes():
    wire = Wire(limits=HTTPLimits(keepalive_timeout_secs=60))
    wire.receive(GET)
    wire.transport.clear()
    wire.clock.advance(59)
    assert not wire.transport.disconnecting
    wire.clock.advance(1)
    assert wire.transport.disconnecting
    assert wire.sent == b""


@pytest.mark.parametrize("reads", [(GET, b"G"), (GET + b"G",)])
def test_a_later_request_has_the_header_deadline_from_its_first_byte(reads):
    wire = Wire(limits=HTTPLimits(header_timeout_secs=20, keepalive_timeout_secs=60))
    wire.receive(*reads)
    wire.transport.clear()
    wire.clock.advance(20)
    assert wire.status == 408


def test_there_is_no_deadline_while_a_request_is_served():
    wire = waiting_wire()
    wire.receive(GET)
    wire.clock.advance(100_000)
    wire.go.callback(None)
    assert wire.status == 200


def test_a_body_without_progress_raises_timed_out_where_it_is_read():
    wire = reading_wire(HTTPLimits(body_timeout_secs=30))
    wire.receive(post(10), b"12345")
    wire.clock.advance(30)
    (error,) = wire.results
    assert isinstance(error, TimedOut)
    assert "body_timeout_secs" in str(error)


def test_a_body_trickle_is_no_progress():
    wire = reading_wire(HTTPLimits(body_timeout_secs=30))
    wire.receive(post(BODY_PROGRESS_BYTES))
    for _ in range(30):
        wire.receive(b"x")
        wire.clock.advance(1)
    assert isinstance(wire.results[0], TimedOut)


def test_a_slow_body_with_progress_is_no_trickle():
    wire = reading_wire(HTTPLimits(body_timeout_secs=30))
    wire.receive(post(5 * BODY_PROGRESS_BYTES))
    for _ in range(5):
        wire.clock.advance(29)
        wire.receive(b"x" * BODY_PROGRESS_BYTES)
    assert wire.status == 200


def test_a_body_that_is_not_read_because_its_client_does_not_read_is_not_late():
    wire = reading_wire(HTTPLimits(body_timeout_secs=30))
    wire.receive(post(10), b"12345")
    wire.channel.pauseProducing()
    wire.clock.advance(30)
    assert wire.results == []
    wire.channel.resumeProducing()
    wire.receive(b"67890")
    assert wire.status == 200


def test_after_a_failed_body_the_reply_is_the_last_one():
    wire = Wire()

    async def answer(request):
        try:
            await read_all(wire, request)
        except TimedOut:
            return await wire.reply(request, None, status=408)

    wire.app.answer = answer
    wire.receive(post(10), b"12345")
    wire.clock.advance(30)
    assert wire.status == 408
    assert b"Connection: close" in wire.sent
    wire.receive(b"67890" + GET)
    wire.clock.advance(LINGER_SECS)
    assert wire.transport.disconnecting
    assert wire.sent.count(b"HTTP/1.1") == 1


def test_malformed_chunks_raise_bad_request_where_the_body_is_read():
    wire = reading_wire()
    wire.receive(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nnonsense\r\n")
    assert isinstance(wire.results[0], BadRequest)
    assert wire.sent == b""


def test_malformed_chunks_after_the_reply_close_the_connection():
    wire = Wire()
    wire.receive(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nnonsense\r\n")
    assert wire.status == 200
    assert wire.sent.count(b"HTTP/1.1") == 1
    assert wire.transport.disconnecting


# One request after another


def test_pipelined_requests_are_answered_in_order():
    wire = reading_wire()
    wire.receive(post(3) + b"one" + post(3) + b"two" + post(5) + b"th", b"ree")
    assert wire.sent.count(b"200 OK") == 3
    assert wire.sent.index(b"one") < wire.sent.index(b"two") < wire.sent.index(b"three")


def test_a_pipelined_request_waits_for_the_reply_before_it():
    wire = waiting_wire()
    wire.receive(GET + GET)
    assert len(wire.app.requests) == 1
    wire.go.callback(None)
    assert len(wire.app.requests) == 2


def test_reading_stops_when_too_much_is_pipelined():
    wire = waiting_wire()
    wire.receive(GET, b"x" * 20_000)
    assert wire.transport.producerState == "paused"


def test_a_reply_before_the_end_of_the_body_keeps_the_connection_when_the_rest_is_short():
    wire = Wire()
    wire.receive(post(10))
    assert wire.status == 200
    wire.receive(b"12345", b"67890" + GET)
    assert wire.sent.count(b"200 OK") == 2
    assert b"Connection: close" not in wire.sent


def test_a_reply_before_a_long_body_says_close_and_reads_no_more_than_the_bound():
    wire = Wire()
    wire.receive(post(LINGER_BYTES + 1))
    assert b"Connection: close" in wire.sent
    wire.receive(b"x" * LINGER_BYTES)
    assert not wire.transport.disconnecting
    wire.receive(b"x")
    assert wire.transport.disconnecting


def test_what_is_thrown_away_after_a_reply_is_neither_kept_nor_held_back():
    wire = Wire()
    wire.receive(post(LINGER_BYTES - 1000), b"x" * (LINGER_BYTES - 1001))
    assert wire.transport.producerState == "producing"
    assert wire.request._upload.held == 0
    wire.receive(b"x" + GET)
    assert wire.sent.count(b"200 OK") == 2


def test_who_still_reads_the_body_after_the_reply_is_told():
    wire = waiting_wire()
    wire.receive(post(10), b"12345")
    request = wire.request
    read = Deferred.fromCoroutine(read_all(wire, request))
    wire.go.callback(None)
    read.addErrback(lambda failure: failure.type)
    assert read.result is Cancelled


def test_a_reply_before_the_body_waits_for_it_no_longer_than_the_bound():
    wire = Wire()
    wire.receive(post(10), b"12345")
    wire.clock.advance(LINGER_SECS)
    assert wire.transport.disconnecting


def test_what_follows_a_refusal_is_read_no_further_than_the_bound():
    wire = Wire()
    wire.receive(b"nonsense\r\n", b"x" * (LINGER_BYTES - 1))
    assert not wire.transport.disconnecting
    wire.receive(b"xx")
    assert wire.transport.disconnecting


@pytest.mark.parametrize("head", [b"GET / HTTP/1.0\r\n\r\n", GET[:-2] + b"Connection: close\r\n\r\n"])
def test_a_connection_that_is_not_kept_is_closed_after_the_reply(head):
    wire = Wire()
    wire.receive(head)
    assert b"Connection: close" in wire.sent
    assert wire.transport.disconnecting


def test_a_closing_connection_whose_client_takes_nothing_is_reset():
    wire = Wire(limits=HTTPLimits(write_timeout_secs=60))
    wire.receive(b"GET / HTTP/1.0\r\n\r\n")
    wire.clock.advance(59)
    assert not wire.transport.disconnected
    wire.clock.advance(1)
    assert wire.transport.disconnected


# Reading and writing hold each other back


def test_a_full_window_stays_closed_when_the_write_buffer_empties():
    wire = waiting_wire()
    wire.receive(post(1_000_000), b"x" * 300_000)
    assert wire.transport.producerState == "paused"
    wire.channel.pauseProducing()
    wire.channel.resumeProducing()
    assert wire.transport.producerState == "paused"


def test_a_window_with_room_stays_closed_while_the_write_buffer_is_full():
    wire = waiting_wire()
    wire.receive(post(1_000_000), b"x" * 300_000)
    wire.channel.pauseProducing()
    next(iter(wire.request.body.__anext__().__await__()), None)
    assert wire.transport.producerState == "paused"
    wire.channel.resumeProducing()
    assert wire.transport.producerState == "producing"


def test_a_body_that_came_whole_in_one_read_leaves_the_connection_readable():
    wire = waiting_wire()
    wire.receive(post(300_000) + b"x" * 300_000)
    assert wire.transport.producerState == "producing"
    wire.channel.pauseProducing()
    wire.go.callback(None)
    wire.channel.resumeProducing()
    assert wire.transport.producerState == "producing"


# Places


def test_connections_over_the_limit_get_503_and_places_come_back():
    wire = Wire(limits=HTTPLimits(max_connections_per_address=2))
    second, _ = wire.connect()
    third, _ = wire.connect()
    assert third.value().startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
    assert b"\r\nRetry-After: 1\r\n" in third.value()
    assert (second.value(), len(wire.site.connections)) == (b"", 2)
    wire.lose()
    assert len(wire.site.connections) == 1
    fourth, _ = wire.connect()
    assert fourth.value() == b""


def test_refusals_are_bounded_too():
    wire = Wire(limits=HTTPLimits(max_connections=1))
    shed = [wire.connect() for _ in range(MAX_SHED)]
    assert all(transport.value() for transport, _ in shed)
    transport, _ = wire.connect()
    assert transport.value() == b""
    assert transport.disconnected


def test_a_lost_connection_leaves_no_timer():
    for reads in ((), (GET,), (post(10), b"123"), (b"nonsense\r\n",), (b"GET / HTTP/1.0\r\n\r\n",)):
        wire = Wire()
        wire.receive(*reads)
        wire.lose()
        assert wire.clock.getDelayedCalls() == []
        assert len(wire.site.connections) == 0


# The end of all


def test_idle_connections_close_at_once_when_draining_and_busy_ones_after_their_reply():
    wire = waiting_wire()
    wire.receive(GET)
    idle, idle_channel = wire.connect()
    drained = wire.site.connections.drain()
    assert idle.disconnecting
    assert not wire.transport.disconnecting
    wire.go.callback(None)
    assert b"Connection: close" in wire.sent
    assert wire.transport.disconnecting
    idle_channel.connectionLost(None)
    assert not drained.called
    wire.lose()
    assert drained.called


def test_a_request_whose_header_is_on_its_way_is_the_last_when_draining():
    wire = Wire()
    wire.receive(GET[:-2])
    wire.site.connections.drain()
    wire.receive(GET[-2:])
    assert wire.status == 200
    assert b"Connection: close" in wire.sent


def test_abort_resets_every_connection():
    wire = waiting_wire()
    wire.receive(GET)
    other, _ = wire.connect()
    wire.site.connections.abort()
    assert wire.transport.disconnected
    assert other.disconnected
