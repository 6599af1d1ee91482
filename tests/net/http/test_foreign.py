"""A request of somebody else's site, used as one of ours."""

from typing import Any

import pytest
from twisted.internet.error import ConnectionDone
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site

from harmonygw.errors import TooLarge
from harmonygw.net.http.foreign import PIECE_BYTES, ForeignRequest


class Kept(Resource):
    """A leaf that keeps its requests."""

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[ForeignRequest] = []

    def render(self, request: Any) -> int:
        self.requests.append(ForeignRequest(request))
        return NOT_DONE_YET


def arrived(body: bytes = b"") -> tuple[ForeignRequest, StringTransport, Any]:
    kept = Kept()
    channel: Any = Site(kept).buildProtocol(None)
    transport = StringTransport()
    channel.makeConnection(transport)
    channel.callLater = lambda *_: None
    channel.dataReceived(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    return kept.requests[0], transport, channel


async def collected(request: ForeignRequest) -> list[int]:
    assert request.body is not None
    return [len(piece) async for pieces in request.body for piece in pieces]


def test_what_is_not_said_is_the_requests_own() -> None:
    request, _, _ = arrived()
    assert (request.method, request.uri, request.isSecure()) == (b"POST", b"/", False)
    with pytest.raises(AttributeError):
        _ = request.nothing_of_the_kind


@pytest.mark.parametrize(("max_bytes", "fits"), [(0, True), (4, True), (3, False)])
def test_a_body_has_the_limit_that_it_is_given_before_it_is_read(max_bytes: int, fits: bool) -> None:
    request, _, _ = arrived(b"abcd")
    request.limit_body(max_bytes)
    with pytest.raises(StopIteration if fits else TooLarge):
        collected(request).send(None)


def test_a_body_comes_in_pieces() -> None:
    request, _, _ = arrived(b"x" * (PIECE_BYTES + 1))
    assert request.body is not None
    assert request.body.length == PIECE_BYTES + 1
    sizes = []
    try:
        collected(request).send(None)
    except StopIteration as end:
        sizes = end.value
    assert sizes == [PIECE_BYTES, 1]
    assert arrived()[0].body is None


@pytest.mark.parametrize(("is_anothers", "added"), [(False, True), (True, False)])
def test_a_browser_is_told_the_same_there_unless_a_web_server_has_answered(is_anothers: bool, added: bool) -> None:
    request, transport, _ = arrived()
    request.is_anothers = is_anothers
    request.begin()
    assert (b"\r\nX-Content-Type-Options: nosniff\r\n" in transport.value()) is added
    assert (b"\r\nContent-Security-Policy: default-src 'none'" in transport.value()) is added


def test_after_an_abort_nothing_is_sent_and_nothing_fails() -> None:
    request, transport, _ = arrived()
    request.abort()
    assert (request.aborted, request.disconnected, transport.disconnected) == (True, True, True)
    request.abort()
    request.registerProducer(object(), True)
    assert request.write_pieces((b"ab", b"c")) == 3
    request.finish()
    assert transport.value() == b""


def test_after_the_client_has_gone_nothing_fails() -> None:
    request, transport, channel = arrived()
    channel.connectionLost(Failure(ConnectionDone()))
    assert (request.disconnected, request.aborted, request.channel) == (True, False, None)
    request.abort()
    request.unregisterProducer()
    request.finish()
    assert (request.aborted, transport.value()) == (False, b"")


def test_an_abort_after_the_end_is_none() -> None:
    request, transport, _ = arrived()
    request.finish()
    request.abort()
    assert not request.aborted
    assert not transport.disconnected


def test_a_stream_without_a_transport_of_its_own_is_reset_by_its_channel() -> None:
    request, _, _ = arrived()
    resets: list[bool] = []
    request.channel.abortConnection = lambda: resets.append(True)
    request._request.transport = None  # as it is in HTTP/2, where many streams share one
    request.abort()
    assert resets == [True]
