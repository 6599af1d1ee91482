"""What one connection may cost in one go: of the reactor's time, and of memory."""

from collections.abc import Iterator

import pytest
from twisted.internet.defer import Deferred

from harmonygw.errors import BadRequest
from harmonygw.net.http.limits import (
    FREE_CHUNKS,
    MIN_CHUNK_BYTES,
    MIN_PIECE_COST,
    REQUESTS_PER_TURN,
    WINDOW_BYTES,
    HTTPLimits,
)
from tests.net.http.test_channel import post, reading_wire, waiting_wire
from tests.net.http.wire import GET, Wire

CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


def chunks(size: int, count: int) -> bytes:
    return (b"%x\r\n%b\r\n" % (size, b"x" * size)) * count


@pytest.fixture
def wire() -> Iterator[Wire]:
    wire = Wire(limits=HTTPLimits(header_timeout_secs=20, keepalive_timeout_secs=60))
    yield wire
    wire.lose()
    assert wire.clock.getDelayedCalls() == []


def answered(wire: Wire) -> int:
    return wire.sent.count(b"HTTP/1.1 200 ")


def test_pipelined_requests_are_answered_some_at_a_time(wire: Wire) -> None:
    turns: list[int] = []
    wire.receive(GET * (2 * REQUESTS_PER_TURN + 1))
    while (turn := wire.channel._next_turn) is not None:
        turns.append(answered(wire))
        assert wire.transport.producerState == "paused"
        wire.clock.calls.remove(turn)
        turn.func()
    assert turns == [REQUESTS_PER_TURN, 2 * REQUESTS_PER_TURN]
    assert answered(wire) == 2 * REQUESTS_PER_TURN + 1
    assert wire.transport.producerState == "producing"


def test_as_many_as_one_turn_has_leave_the_connection_idle(wire: Wire) -> None:
    wire.receive(GET * REQUESTS_PER_TURN)
    assert answered(wire) == REQUESTS_PER_TURN
    wire.clock.advance(59)
    assert not wire.transport.disconnecting
    wire.clock.advance(1)
    assert wire.transport.disconnecting
    assert b" 408 " not in wire.sent


def test_what_arrives_meanwhile_waits_behind_it(wire: Wire) -> None:
    wire.receive(GET * (REQUESTS_PER_TURN + 1), GET)
    assert answered(wire) == REQUESTS_PER_TURN
    wire.clock.advance(0)
    assert answered(wire) == REQUESTS_PER_TURN + 2


def test_who_reads_no_answers_gets_no_more_of_them(wire: Wire) -> None:
    wire.receive(GET * (REQUESTS_PER_TURN + 1))
    wire.channel.pauseProducing()
    wire.clock.advance(0)
    assert answered(wire) == REQUESTS_PER_TURN
    assert wire.transport.producerState == "paused"
    wire.channel.resumeProducing()
    assert wire.transport.producerState == "paused"
    wire.clock.advance(0)
    assert answered(wire) == REQUESTS_PER_TURN + 1
    assert wire.transport.producerState == "producing"


def test_who_reads_no_answers_at_the_end_of_a_turn_is_not_asked_to_wait_twice(wire: Wire) -> None:
    requests: list[object] = []

    async def answer(request: object) -> object:
        requests.append(request)
        if len(requests) == REQUESTS_PER_TURN:
            wire.channel.pauseProducing()
        return await wire.reply(request, b"")  # type: ignore[arg-type]

    wire.app.answer = answer
    wire.receive(GET * (REQUESTS_PER_TURN + 1))
    wire.clock.advance(1)
    assert answered(wire) == REQUESTS_PER_TURN
    wire.channel.resumeProducing()
    wire.channel.resumeProducing()
    wire.clock.advance(0)
    assert answered(wire) == REQUESTS_PER_TURN + 1


def test_what_waits_is_dropped_when_the_connection_is_to_close(wire: Wire) -> None:
    wire.receive(GET * (REQUESTS_PER_TURN + 1))
    wire.site.connections.drain()
    assert wire.transport.disconnecting
    wire.clock.advance(0)
    assert answered(wire) == REQUESTS_PER_TURN


def test_who_goes_away_while_his_requests_wait_leaves_no_timer(wire: Wire) -> None:
    wire.receive(GET * (REQUESTS_PER_TURN + 1))
    assert len(wire.clock.getDelayedCalls()) == 2


def test_what_waits_has_the_header_deadline(wire: Wire) -> None:
    wire.receive(GET * (REQUESTS_PER_TURN + 1))
    wire.channel.pauseProducing()
    wire.clock.advance(20)
    assert wire.sent.count(b"HTTP/1.1 408 ") == 1


def test_chunks_are_large_enough_on_average() -> None:
    wire = reading_wire()
    wire.receive(CHUNKED, chunks(MIN_CHUNK_BYTES, 2 * FREE_CHUNKS) + b"0\r\n\r\n")
    assert wire.status == 200
    wire = reading_wire()
    wire.receive(CHUNKED, chunks(MIN_CHUNK_BYTES - 1, FREE_CHUNKS))
    assert wire.results == []
    wire.receive(chunks(MIN_CHUNK_BYTES - 1, 1))
    assert isinstance(wire.results[0], BadRequest)


def test_some_small_chunks_are_no_harm() -> None:
    wire = reading_wire()
    wire.receive(CHUNKED, chunks(1, FREE_CHUNKS) + b"0\r\n\r\n")
    assert wire.status == 200
    wire = reading_wire()
    wire.receive(CHUNKED, chunks(0x10000, 1) + chunks(1, 2 * FREE_CHUNKS) + b"0\r\n\r\n")
    assert wire.status == 200


def test_small_chunks_of_a_body_that_nobody_reads_end_the_connection_too() -> None:
    wire = Wire()
    wire.receive(CHUNKED, chunks(1, FREE_CHUNKS + 1))
    assert wire.status == 200
    assert wire.transport.disconnecting


def test_what_one_read_brings_is_one_piece() -> None:
    wire = waiting_wire()
    wire.receive(CHUNKED, chunks(MIN_CHUNK_BYTES, 100))
    read = Deferred.fromCoroutine(wire.request.body.__anext__())
    assert read.result == [b"x" * 100 * MIN_CHUNK_BYTES]


def test_a_window_of_single_bytes_is_full_sooner() -> None:
    wire = waiting_wire()
    wire.receive(post(1_000_000))
    for _ in range(WINDOW_BYTES // MIN_PIECE_COST - 1):
        wire.receive(b"x")
    assert wire.transport.producerState == "producing"
    wire.receive(b"x")
    assert wire.transport.producerState == "paused"
