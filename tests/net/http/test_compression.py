"""gzip: who gets it, what is compressed, that parts arrive as they come, and that a broken body has no end."""

import gzip
import random
import zlib
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock

from harmonygw.errors import Incomplete, PeerError
from harmonygw.exchange import Reply
from harmonygw.net.http.compression import (
    MIN_BYTES,
    PIECE_BYTES,
    GzipBody,
    accepts_gzip,
    compressed,
    compressible,
)
from harmonygw.streams import Body, Feed, Pieces
from tests.net.http.wire import GET, Source, Wire

JSON = ("Content-Type", "application/dicom+json")


@pytest.mark.parametrize(
    ("accept_encoding", "expected"),
    [
        ("", False),
        ("gzip", True),
        ("GZIP", True),
        ("x-gzip", True),
        ("deflate, gzip, br, zstd", True),
        ("gzip;q=0", False),
        ("gzip ; q=0.5", True),
        ("gzip;q=0.000, *", False),
        ("*", True),
        ("*;q=0", False),
        ("*;q=0, gzip", True),
        ("br", False),
        ("identity", False),
        ("identity;q=1, gzip;q=0.5", False),
        ("identity;q=0.5, gzip;q=1", True),
        ("identity, gzip", True),
        ("gzip;q=nonsense", False),
        ("gzip;q=nan", False),
        ("gzip;q=2", False),
        ("gzip;a=b", True),
        (",;,", False),
    ],
)
def test_gzip_goes_to_who_takes_it(accept_encoding: str, expected: bool) -> None:
    assert accepts_gzip(accept_encoding) is expected


@pytest.mark.parametrize(
    ("media_type", "expected"),
    [
        ("application/json", True),
        ("application/dicom+json", True),
        ("Application/DICOM+JSON; charset=x", True),
        ("application/problem+json", True),
        ("application/xml", True),
        ("application/dicom+xml", True),
        ("text/html; charset=utf-8", True),
        ("text/plain", True),
        ("multipart/related; type=application/dicom", False),
        ('multipart/related; type="application/dicom+xml"', False),
        ("application/dicom", False),
        ("application/octet-stream", False),
        ("application/zip", False),
        ("application/pdf", False),
        ("application/jsonx", False),
        ("image/jpeg", False),
        ("image/svg+xml", False),
        ("video/mp4", False),
        ("", False),
    ],
)
def test_text_is_compressed_and_nothing_else(media_type: str, expected: bool) -> None:
    assert compressible(media_type) is expected


def reply_of(*pieces: bytes, status: int = 200, headers: tuple[tuple[str, str], ...] = (JSON,)) -> Reply:
    return Reply(status, headers, Body.of(*pieces))


@pytest.mark.parametrize(("size", "expected"), [(MIN_BYTES - 1, False), (MIN_BYTES, True)])
def test_what_is_short_is_left_alone(size: int, expected: bool) -> None:
    reply = reply_of(b"x" * size)
    got = compressed(reply, "gzip", Clock())
    assert (got is not reply) is expected
    assert (("Content-Encoding", "gzip") in got.headers) is expected


@pytest.mark.parametrize(
    "reply",
    [
        reply_of(b"x" * MIN_BYTES, status=206),
        reply_of(status=204),
        reply_of(status=304),
        reply_of(b"x" * MIN_BYTES, headers=(("Content-Type", "multipart/related"),)),
        reply_of(b"x" * MIN_BYTES, headers=(JSON, ("content-encoding", "br"))),
    ],
)
def test_what_must_not_be_compressed_stays_as_it_is(reply: Reply) -> None:
    assert compressed(reply, "gzip", Clock()) is reply


def test_who_takes_no_gzip_gets_the_bytes_and_caches_are_told() -> None:
    reply = reply_of(b"x" * MIN_BYTES)
    got = compressed(reply, "br", Clock())
    assert got.headers == (JSON, ("Vary", "Accept-Encoding"))
    assert got.body is reply.body


@pytest.mark.parametrize("etag", ['"a"', 'W/"a"'])
def test_the_header_of_what_is_compressed(etag: str) -> None:
    headers = (JSON, ("ETag", etag), ("Content-Length", "5000"), ("Vary", "Origin"))
    got = compressed(reply_of(b"x" * 5000, headers=headers), "gzip", Clock())
    assert got.headers == (
        JSON,
        ("Vary", "Origin, Accept-Encoding"),
        ("Content-Encoding", "gzip"),
        ("ETag", 'W/"a"'),
    )
    assert got.body is not None
    assert got.body.length is None


def test_a_reply_to_head_without_a_body_has_the_header_of_one_with() -> None:
    got = compressed(Reply(headers=(JSON,)), "gzip", Clock())
    assert got.headers == (JSON, ("Vary", "Accept-Encoding"), ("Content-Encoding", "gzip"))
    assert got.body is None


# The bytes


def read(body: Body) -> "Deferred[Pieces]":
    return Deferred.fromCoroutine(body.__anext__())


def now(waiting: "Deferred[Any]") -> Any:
    """Return what a Deferred has fired with, or raise what it has failed with."""
    got: list[Any] = []
    waiting.addBoth(got.append)
    (result,) = got
    if hasattr(result, "raiseException"):
        result.raiseException()
    return result


def whole(body: Body, clock: Clock) -> tuple[bytes, list[int]]:
    """Return all of a body, and how many bytes each turn of the reactor brought."""
    received, turns = bytearray(), []
    while True:
        waiting = read(body)
        if not waiting.called:
            turns.append(len(received))
            clock.advance(0)
        try:
            for piece in now(waiting):
                received += piece
        except StopAsyncIteration:
            return bytes(received), turns


@pytest.mark.parametrize("size", [0, 1, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 10 * PIECE_BYTES + 5])
def test_what_was_compressed_is_the_same_again(size: int) -> None:
    data = random.Random(size).randbytes(size // 2).hex().encode().ljust(size, b" ")
    clock = Clock()
    received, turns = whole(GzipBody(Body.of(data[:7], data[7:]), clock), clock)
    assert gzip.decompress(received) == data
    assert len(turns) == size // PIECE_BYTES  # the reactor has its turn after each piece
    assert clock.getDelayedCalls() == []


def test_a_part_arrives_when_no_more_is_at_hand() -> None:
    source = Source()
    body = GzipBody(source.body, Clock())
    inflate = zlib.decompressobj(31)
    first = read(body)
    assert not first.called
    source.feed.put((b"[1", b",2"), 4)
    assert inflate.decompress(b"".join(now(first))) == b"[1,2"
    source.feed.put((b",3",), 2)
    source.feed.put((b",4",), 2)
    assert inflate.decompress(b"".join(now(read(body)))) == b",3,4"
    last = read(body)
    source.feed.put((b"]",), 1)
    assert inflate.decompress(b"".join(now(last))) == b"]"
    assert not inflate.eof
    source.feed.end()
    assert inflate.decompress(b"".join(now(read(body)))) == b""
    assert inflate.eof
    with pytest.raises(StopAsyncIteration):
        now(read(body))
    assert now(body.when_done()) is None
    assert now(source.body.when_done()) is None


def test_what_breaks_off_has_no_trailer() -> None:
    source = Source()
    body = GzipBody(source.body, Clock())
    source.feed.put((b"[1,2",), 4)
    received = b"".join(now(read(body)))
    source.feed.fail(PeerError("the association is gone"))
    with pytest.raises(PeerError):
        now(read(body))
    inflate = zlib.decompressobj(31)
    assert inflate.decompress(received) == b"[1,2"
    assert not inflate.eof
    with pytest.raises(EOFError):
        gzip.decompress(received)


def test_what_fails_before_its_first_byte_has_none() -> None:
    source = Source()
    source.feed.fail(PeerError("no"))
    with pytest.raises(PeerError):
        now(read(GzipBody(source.body, Clock())))


def test_a_failure_behind_what_is_at_hand_comes_before_it() -> None:
    async def pieces() -> Any:
        yield (b"[1,2",)
        raise PeerError("no")

    with pytest.raises(PeerError):
        now(read(GzipBody(Body(pieces()), Clock())))


@pytest.mark.parametrize("length", [3, 5])
def test_a_body_of_another_length_than_was_said_does_not_end(length: int) -> None:
    source = Source(length=length)
    source.feed.put((b"[1,2",), 4)
    source.feed.end()
    with pytest.raises(Incomplete, match=f"4 of {length} bytes"):
        now(read(GzipBody(source.body, Clock())))


def test_a_body_that_is_given_up_gives_the_plain_one_up() -> None:
    source = Source()
    body = GzipBody(source.body, Clock())
    source.feed.put((b"[1,2",), 4)
    assert now(read(body))
    reason = PeerError("over")
    assert now(Deferred.fromCoroutine(body.abort(reason))) is None
    assert len(source.aborted) == 1
    for one in (read(body), body.when_done()):
        with pytest.raises(PeerError, match="over"):
            now(one)
    with pytest.raises(CancelledError):  # which was waited for
        now(source.body.when_done())


def test_a_body_that_is_given_up_unread_passes_the_reason_on() -> None:
    source = Source()
    body = GzipBody(source.body, Clock())
    assert now(Deferred.fromCoroutine(body.abort(PeerError("over")))) is None
    with pytest.raises(PeerError, match="over"):
        now(source.body.when_done())


def test_a_generator_that_is_being_read_ahead_is_closed() -> None:
    closed: list[bool] = []

    async def pieces() -> Any:
        try:
            yield (b"[1,2",)
            await Deferred()
        finally:
            closed.append(True)

    body = GzipBody(Body(pieces()), Clock())
    assert now(read(body))
    assert closed == []
    assert now(Deferred.fromCoroutine(body.aclose())) is None
    assert closed == [True]


def test_a_reader_that_is_cancelled_cancels_the_plain_body() -> None:
    source = Source()
    waiting = read(GzipBody(source.body, Clock()))
    waiting.cancel()
    with pytest.raises(CancelledError):
        now(waiting)
    assert isinstance(source.aborted[0], CancelledError)


def test_one_read_ahead_is_all_that_is_taken_from_the_source() -> None:
    taken: list[int] = []

    async def pieces() -> Any:
        for number in range(4):
            taken.append(number)
            yield (b"x" * PIECE_BYTES,)

    body = GzipBody(Body(pieces()), Clock())
    assert now(read(body))
    assert taken == [0]


def test_on_the_wire_what_broke_off_ends_neither_as_gzip_nor_as_http() -> None:
    source = Source()

    async def answer(request: Any) -> Any:
        return await wire.reply(request, GzipBody(source.body, wire.clock))

    wire = Wire(answer)
    wire.receive(GET)
    source.feed.put((b'[{"a":1}',), 8)
    source.feed.fail(PeerError("gone"))
    _, _, sent = wire.sent.partition(b"\r\n\r\n")
    size, _, chunk = sent.partition(b"\r\n")
    inflate = zlib.decompressobj(31)
    assert inflate.decompress(chunk[: int(size, 16)]) == b'[{"a":1}'
    assert chunk[int(size, 16) :] == b"\r\n"
    assert not inflate.eof
    assert wire.transport.disconnected
    assert isinstance(wire.results[0].error, PeerError)


def feed_of(*pieces: bytes) -> Body:
    feed: Feed[Pieces] = Feed(limit=1)
    for piece in pieces:
        feed.put((piece,), len(piece))
    feed.end()
    return Body(feed)


def test_metadata_becomes_a_small_part_of_its_size() -> None:
    clock = Clock()
    one = b'{"00080018":{"vr":"UI","Value":["1.2.3.%d"]},"00100010":{"vr":"PN","Value":[{"Alphabetic":"A^B"}]}},'
    data = [one % number for number in range(1000)]
    received, _ = whole(GzipBody(feed_of(*data), clock), clock)
    assert gzip.decompress(received) == b"".join(data)
    assert len(received) * 10 < sum(map(len, data))
