import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.web.server import NOT_DONE_YET

from harmonygw.errors import Incomplete, PeerError, TimedOut
from harmonygw.net.http.response import Sent, send
from harmonygw.streams import Body, Cancelled
from tests.net.http.wire import GET, Source, Wire, is_cancelled

HEAD = GET.replace(b"GET", b"HEAD")
OLD = b"GET / HTTP/1.0\r\n\r\n"


@pytest.fixture
def source():
    return Source()


@pytest.fixture
def wire(source):
    """An application that answers with what the test feeds."""
    wire = Wire()
    wire.clock.advance(5)
    wire.app.answer = lambda request: wire.reply(request, source.body)
    return wire


def content(wire):
    return wire.sent.partition(b"\r\n\r\n")[2]


def header(wire):
    return wire.sent.partition(b"\r\n\r\n")[0].lower()


def test_nothing_is_written_before_the_first_bytes(wire, source):
    wire.receive(GET)
    assert wire.sent == b""
    wire.clock.advance(2)
    source.feed.put((b"ab", memoryview(b"cd")))
    assert header(wire).endswith(b"transfer-encoding: chunked")
    assert content(wire) == b"4\r\nabcd\r\n"
    source.feed.put((b"e",))
    source.feed.end()
    assert content(wire) == b"4\r\nabcd\r\n1\r\ne\r\n0\r\n\r\n"
    assert wire.results == [Sent(bytes=5, first_byte_at=7.0)]


def test_a_read_without_bytes_is_no_last_chunk(wire, source):
    wire.receive(GET)
    source.feed.put((b"", memoryview(b"")))
    assert content(wire) == b""
    source.feed.put((b"a",))
    assert content(wire) == b"1\r\na\r\n"


def test_an_empty_body_of_unknown_length_is_a_last_chunk(wire, source):
    source.feed.end()
    wire.receive(GET)
    assert content(wire) == b"0\r\n\r\n"


@pytest.mark.parametrize("body", [b"abc", Body.of(b"a", b"bc")])
def test_a_body_of_known_length_is_not_chunked(body):
    wire = Wire()
    wire.app.answer = lambda request: wire.reply(request, body)
    wire.receive(GET)
    assert b"content-length: 3" in header(wire)
    assert content(wire) == b"abc"


@pytest.mark.parametrize("body", [b"", None])
def test_a_reply_without_content_says_so(body):
    wire = Wire()
    wire.app.answer = lambda request: wire.reply(request, body, status=429)
    wire.receive(GET)
    assert wire.sent.startswith(b"HTTP/1.1 429 Too Many Requests\r\n")
    assert b"content-length: 0" in header(wire)


def test_headers_are_sent_as_given_and_repeated_ones_stay_two():
    wire = Wire()
    headers = [("Warning", '299 - "a"'), ("Warning", '299 - "b"'), ("Content-Type", "x/y")]
    wire.app.answer = lambda request: send(request, 200, headers, b"", clock=wire.clock, write_timeout=1)
    wire.receive(GET)
    assert b'warning: 299 - "a"\r\nwarning: 299 - "b"' in header(wire)
    assert b"content-type: x/y" in header(wire)


def test_a_content_length_that_is_given_stands_alone_for_head():
    wire = Wire()
    headers = [("Content-Length", "12345")]
    wire.app.answer = lambda request: send(request, 200, headers, None, clock=wire.clock, write_timeout=1)
    wire.receive(HEAD)
    assert header(wire).count(b"content-length") == 1
    assert (b"content-length: 12345" in header(wire), content(wire)) == (True, b"")


def test_head_gets_the_header_and_the_body_is_given_up_unread(wire, source):
    source.body.length = 77
    wire.receive(HEAD)
    assert b"content-length: 77" in header(wire)
    assert (content(wire), wire.results) == (b"", [Sent(0, 5.0)])
    assert [type(reason) for reason in source.aborted] == [Cancelled]


@pytest.mark.parametrize("status", [204, 304])
def test_a_status_without_content_has_neither_length_nor_body(status):
    wire = Wire()
    wire.app.answer = lambda request: wire.reply(request, b"abc", status=status)
    wire.receive(GET)
    assert b"content-length" not in header(wire)
    assert b"transfer-encoding" not in header(wire)
    assert content(wire) == b""


def test_towards_http_1_0_the_close_ends_the_body(wire, source):
    wire.receive(OLD)
    source.feed.put((b"abc",))
    assert not wire.transport.disconnecting
    source.feed.end()
    assert content(wire) == b"abc"
    assert (wire.transport.disconnecting, wire.transport.disconnected) == (True, False)


def hold_on(wire, answer):
    """Let the application leave the Deferred of its coroutine to the test."""

    def render(request):
        wire.results.append(Deferred.fromCoroutine(answer(request)))
        return NOT_DONE_YET

    wire.app.render = render


# What fails


def test_a_failure_before_the_first_byte_is_raised_with_nothing_written(wire, source):
    wire.receive(GET)
    source.feed.fail(PeerError("broken"))
    assert isinstance(wire.results[0], PeerError)
    assert wire.sent == b""
    assert not wire.transport.disconnected


@pytest.mark.parametrize("head", [GET, OLD])
def test_a_failure_after_the_first_byte_resets_and_never_looks_complete(wire, source, head):
    wire.receive(head)
    source.feed.put((b"abc",))
    sent = wire.sent
    error = PeerError("broken")
    source.feed.fail(error)
    assert wire.sent == sent
    assert b"0\r\n\r\n" not in sent
    assert wire.transport.disconnected
    assert wire.results == [Sent(3, 5.0, error)]
    assert source.body.when_done().result.value is error


@pytest.mark.parametrize("body", [b"ab", b"abcd"])
def test_a_body_of_another_length_than_announced_resets(body, wire, source):
    source.body.length = 3
    source.feed.put((b"a",))
    wire.receive(GET)
    source.feed.put((body[1:],))
    source.feed.end()
    assert wire.transport.disconnected
    assert len(content(wire)) < 3
    assert isinstance(wire.results[0].error, Incomplete)


def test_a_body_that_is_too_long_from_the_start_is_raised_with_nothing_written(wire, source):
    source.body.length = 1
    source.feed.put((b"ab",))
    wire.receive(GET)
    assert isinstance(wire.results[0], Incomplete)
    assert wire.sent == b""


# Whoever goes away


def test_a_client_that_goes_before_the_first_byte_ends_the_body(wire, source):
    wire.receive(GET)
    wire.lose()
    assert is_cancelled(wire.results[0])
    assert len(source.aborted) == 1
    assert wire.sent == b""


def test_a_client_that_goes_within_the_body_ends_it_and_nothing_is_written_after(wire, source):
    wire.receive(GET)
    source.feed.put((b"abc",))
    sent = wire.sent
    wire.lose()
    source.feed.put((b"def",))
    assert is_cancelled(wire.results[0])
    assert len(source.aborted) == 1
    assert wire.sent == sent
    assert wire.clock.getDelayedCalls() == []


def test_a_client_that_goes_while_it_holds_us_back_ends_the_body(wire, source):
    wire.receive(GET)
    wire.channel.pauseProducing()
    source.feed.put((b"abc",))
    wire.channel.pauseProducing()
    wire.channel.stopProducing()
    wire.lose()
    assert is_cancelled(wire.results[0])
    assert len(source.aborted) == 1
    assert wire.clock.getDelayedCalls() == []


def test_a_client_that_goes_ends_the_body_even_when_nobody_cancels(source):
    wire = Wire()
    hold_on(wire, lambda request: wire.reply(request, source.body))
    wire.receive(GET)
    source.feed.put((b"abc",))
    wire.lose()
    wire.results[0].addErrback(lambda failure: failure.type)
    assert wire.results[0].result is CancelledError
    assert len(source.aborted) == 1


def test_a_reply_to_a_client_that_has_gone_ends_the_body(source):
    wire = Wire()
    go = Deferred()

    async def answer(request):
        await go
        return await wire.reply(request, source.body)

    hold_on(wire, answer)
    wire.receive(GET)
    wire.lose()
    source.feed.put((b"abc",))
    go.callback(None)
    wire.results[0].addErrback(lambda failure: failure.type)
    assert wire.results[0].result is CancelledError
    assert source.body.when_done().addErrback(lambda _: None).called


def test_a_cancelled_reply_that_has_begun_is_reset(source):
    wire = Wire()
    hold_on(wire, lambda request: wire.reply(request, source.body))
    wire.receive(GET)
    source.feed.put((b"abc",))
    wire.results[0].cancel()
    wire.results[0].addErrback(lambda failure: failure.type)
    assert wire.results[0].result is CancelledError
    assert wire.transport.disconnected


def test_a_cancelled_reply_that_has_not_begun_can_still_be_answered(source):
    wire = Wire()
    hold_on(wire, lambda request: wire.reply(request, source.body))
    wire.receive(GET)
    wire.results[0].cancel()
    wire.results[0].addErrback(lambda failure: None)
    Deferred.fromCoroutine(wire.reply(wire.channel.requests[0], b"late", 504))
    assert wire.status == 504


# The client's pace


def held_back(wire, source):
    """Begin a reply and let the transport hold it back."""
    wire.receive(GET)
    source.feed.put((b"a",))
    wire.channel.pauseProducing()
    wire.channel.pauseProducing()
    source.feed.put((b"b",))
    source.feed.put((b"c",))


def test_a_body_is_not_read_while_the_client_holds_us_back(wire, source):
    held_back(wire, source)
    assert content(wire) == b"1\r\na\r\n1\r\nb\r\n"
    assert source.feed.held == 1
    wire.channel.resumeProducing()
    assert content(wire).endswith(b"1\r\nc\r\n")
    assert source.feed.held == 0


def test_a_reply_is_not_over_while_the_client_holds_us_back(wire, source):
    held_back(wire, source)
    source.feed.end()
    wire.channel.resumeProducing()
    assert content(wire).endswith(b"0\r\n\r\n")
    assert wire.results == [Sent(3, 5.0)]


def test_a_client_that_takes_nothing_is_reset_and_the_body_ended(wire, source):
    held_back(wire, source)
    wire.clock.advance(59)
    assert not wire.transport.disconnected
    wire.clock.advance(1)
    assert wire.transport.disconnected
    (sent,) = wire.results
    assert isinstance(sent.error, TimedOut)
    assert "write_timeout_secs" in str(sent.error)
    assert len(source.aborted) == 1
    assert source.body.when_done().result.value is sent.error


def test_a_client_that_takes_nothing_while_the_body_is_awaited_is_reset_too(wire, source):
    wire.receive(GET)
    source.feed.put((b"a",))
    wire.channel.pauseProducing()
    wire.clock.advance(60)
    assert wire.transport.disconnected
    assert isinstance(wire.results[0].error, TimedOut)


def test_the_stall_timer_rests_when_the_client_reads(wire, source):
    held_back(wire, source)
    wire.channel.resumeProducing()
    wire.channel.resumeProducing()
    wire.clock.advance(100_000)
    assert not wire.transport.disconnected
    assert wire.clock.getDelayedCalls() == []


@pytest.fixture
def writes(wire):
    """What the transport is given, write by write."""
    written = []
    wire.transport.write = written.append
    wire.transport.writeSequence = lambda pieces: written.append(b"".join(pieces))
    return written


def test_the_header_leaves_with_the_first_bytes(wire, writes):
    source = Source(4)
    wire.app.answer = lambda request: wire.reply(request, source.body)
    wire.receive(GET)
    source.feed.put((b"ab",))
    source.feed.put((b"cd",))
    source.feed.end()
    first, second = writes
    assert first.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"\r\ncontent-length: 4\r\n" in first.lower()
    assert first.endswith(b"\r\n\r\nab")
    assert second == b"cd"


@pytest.mark.parametrize(("request_line", "status"), [(GET, 204), (HEAD, 200), (GET, 304)])
def test_a_header_without_a_body_leaves_at_the_end_of_the_reply(wire, writes, request_line, status):
    wire.app.answer = lambda request: wire.reply(request, None, status)
    wire.receive(request_line)
    (header,) = writes
    assert header.startswith(b"HTTP/1.1 %d " % status)
    assert header.endswith(b"\r\n\r\n")


def test_a_header_that_a_resource_writes_by_itself_does_not_wait(wire, writes):
    async def answer(request):
        request.setHeader(b"content-length", b"6")
        request.write(b"")
        written = [len(writes)]
        request.write(b"abc")
        written.append(len(writes))
        request.channel.writeSequence((b"d", b"ef"))
        request.finish()
        return written

    wire.app.answer = answer
    wire.receive(GET)
    assert wire.results == [[1, 2]]
    assert writes[0].endswith(b"\r\n\r\n")
    assert writes[1:] == [b"abc", b"def"]


def test_a_header_leaves_with_what_a_resource_writes(wire, writes):
    async def answer(request):
        request.write(b"abc")
        request.finish()

    wire.app.answer = answer
    wire.receive(GET)
    first, last = writes
    assert first.endswith(b"\r\n\r\n3\r\nabc\r\n")
    assert last == b"0\r\n\r\n"
