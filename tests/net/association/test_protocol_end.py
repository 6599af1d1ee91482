"""The seam between upper layer and transport: what arrives, what must be sent, and what the user is told."""

from collections.abc import Callable

import pytest

from harmonygw.dicom.dimse.commands import CCancelRQ, CEchoRQ, CEchoRSP
from harmonygw.errors import PeerError, TimedOut, TransportError
from harmonygw.net.association.protocol import (
    LINGER,
    PROGRESS_BYTES,
    RELEASE_TIMEOUT,
)
from tests.net.association.peers import (
    RELEASE_RP,
    RELEASE_RQ,
    SILENCE,
    a_abort,
    failure,
    header,
    message,
    p_data,
    pending,
    result,
    spawn,
)
from tests.net.association.wire import ECHO, ECHO_RQ, ECHO_RSP, RQ_PDU, UNKNOWN_PDU, Wire


@pytest.fixture
def requestor() -> Wire:
    return Wire().established()


@pytest.fixture
def acceptor() -> Wire:
    return Wire(requestor=False).accepted()


# The end


def test_an_abort_leaves_the_closing_to_the_peer_and_listens_for_it(requestor: Wire) -> None:
    requestor.protocol.valve.flow().pause()
    requestor.protocol.abort(TransportError("enough"))
    requestor.protocol.abort(TransportError("again"))
    assert requestor.sent == a_abort(0, 0)
    assert requestor.told == ["closed"]
    assert str(requestor.user.reason) == "enough"
    assert (requestor.transport.disconnecting, requestor.transport.paused) == (False, False)
    requestor.receive(ECHO_RQ, RELEASE_RQ)
    assert (requestor.sent, requestor.told) == (b"", ["closed"])
    requestor.receive(a_abort(0, 0))
    assert requestor.transport.disconnecting
    requestor.over()


def test_a_peer_that_neither_reads_nor_closes_is_reset_after_the_linger_time(requestor: Wire) -> None:
    requestor.protocol.abort(TransportError("enough"))
    requestor.clock.advance(LINGER - 0.1)
    assert not requestor.transport.aborted
    requestor.clock.advance(0.1)
    assert requestor.transport.aborted
    requestor.over()


def test_an_invalid_pdu_after_our_abort_is_answered_once_more_and_changes_nothing(requestor: Wire) -> None:
    requestor.protocol.abort(TransportError("enough"))
    requestor.receive(UNKNOWN_PDU)
    assert requestor.sent == a_abort(0, 0) + a_abort(2, 1)
    requestor.over()


@pytest.mark.parametrize(("source", "word"), [(0, "user"), (2, "provider")])
def test_an_abort_of_the_peer_closes_the_connection(requestor: Wire, source: int, word: str) -> None:
    requestor.receive(a_abort(source, 0))
    assert (requestor.sent, requestor.transport.disconnecting) == (b"", True)
    assert isinstance(requestor.user.reason, TransportError)
    assert f"service {word}" in requestor.user.reason.detail
    requestor.over()


def test_a_lost_connection_says_what_tls_said(requestor: Wire) -> None:
    requestor.lose(OSError("bad certificate"))
    assert isinstance(requestor.user.reason, TransportError)
    assert requestor.user.reason.log_detail == "bad certificate"
    requestor.over()


def test_a_release_of_ours_is_over_with_its_answer(requestor: Wire) -> None:
    requestor.protocol.release()
    requestor.protocol.release()
    assert requestor.sent == RELEASE_RQ
    assert requestor.told == []
    requestor.receive(RELEASE_RP)
    assert requestor.told == ["closed"]
    assert requestor.user.reason is None
    assert requestor.transport.disconnecting
    requestor.over()


def test_a_release_that_is_not_answered_becomes_an_abort(requestor: Wire) -> None:
    requestor.protocol.release()
    requestor.clock.advance(RELEASE_TIMEOUT)
    assert requestor.sent == RELEASE_RQ + a_abort(0, 0)
    assert isinstance(requestor.user.reason, TimedOut)
    requestor.over()


def test_a_release_before_there_is_an_association_is_an_abort() -> None:
    wire = Wire()
    wire.protocol.makeConnection(wire.transport)
    wire.protocol.release()
    assert wire.sent == RQ_PDU + a_abort(0, 0)
    wire.over()


@pytest.mark.parametrize("make", [lambda: Wire().established(), lambda: Wire(requestor=False).accepted()])
def test_a_release_of_the_peer_is_answered_and_orderly(make: Callable[[], Wire]) -> None:
    wire = make()
    wire.receive(RELEASE_RQ)
    assert wire.sent == RELEASE_RP
    assert wire.told == ["release", "closed"]
    assert wire.user.reason is None
    assert not wire.transport.disconnecting
    wire.over()


def test_in_a_release_collision_the_requestor_answers_first(requestor: Wire) -> None:
    requestor.protocol.release()
    requestor.receive(RELEASE_RQ)
    assert requestor.sent == RELEASE_RQ + RELEASE_RP
    assert requestor.told == ["release", "read ended"]
    requestor.receive(RELEASE_RP)
    assert (requestor.user.reason, requestor.transport.disconnecting) == (None, True)
    requestor.over()


def test_in_a_release_collision_the_acceptor_waits_for_the_answer(acceptor: Wire) -> None:
    acceptor.protocol.release()
    acceptor.receive(RELEASE_RQ)
    assert (acceptor.sent, acceptor.told) == (RELEASE_RQ, ["read ended"])
    acceptor.receive(RELEASE_RP)
    assert acceptor.sent == RELEASE_RP
    assert acceptor.user.reason is None
    acceptor.over()


def test_data_after_a_release_request_of_the_peer_is_aborted(acceptor: Wire) -> None:
    acceptor.receive(RELEASE_RQ, ECHO_RQ)
    assert acceptor.sent == a_abort(2, 2)
    assert acceptor.told == ["closed"]
    assert isinstance(acceptor.user.reason, PeerError)
    acceptor.over()


def test_a_release_crossed_by_data_still_takes_them(requestor: Wire) -> None:
    requestor.protocol.release()
    requestor.receive(ECHO_RQ)
    requestor.protocol.send(1, CEchoRSP(7, ECHO, 0))
    assert requestor.told[0] == ("command", 1, CEchoRQ(7, ECHO))
    assert requestor.sent == RELEASE_RQ
    requestor.over()


# Silence


def test_silence_while_an_answer_is_due_is_aborted(requestor: Wire) -> None:
    requestor.protocol.expect(True)
    requestor.clock.advance(SILENCE - 1)
    requestor.receive(ECHO_RQ)
    requestor.clock.advance(SILENCE - 1)
    assert not requestor.protocol.is_closed
    requestor.clock.advance(1)
    assert requestor.sent == a_abort(0, 0)
    assert isinstance(requestor.user.reason, TimedOut)
    assert "silence_timeout_secs" in requestor.user.reason.detail
    requestor.over()


def test_a_byte_now_and_then_is_no_sign_of_life() -> None:
    wire = Wire().established()
    wire.protocol.expect(True)
    trickle = p_data(1, bytes(PROGRESS_BYTES), is_command=True, is_last=False)
    for at in range(int(SILENCE) // 10):
        assert wire.sent == b""
        wire.receive(trickle[at : at + 1])
        wire.clock.advance(10.0)
    assert wire.sent == a_abort(0, 0)
    wire.over()


def test_enough_bytes_are_one_and_so_is_the_end_of_a_message() -> None:
    wire = Wire().established()
    wire.protocol.expect(True)
    wire.clock.advance(SILENCE - 1)
    large = p_data(1, bytes(2 * PROGRESS_BYTES), is_command=True, is_last=False)
    wire.receive(large[: PROGRESS_BYTES - 1])
    assert wire.protocol.last_heard == 0.0
    wire.receive(large[PROGRESS_BYTES - 1 : PROGRESS_BYTES])
    assert wire.protocol.last_heard == SILENCE - 1
    wire.receive(large[PROGRESS_BYTES:])
    wire.clock.advance(1.0)
    assert wire.sent == b""
    other = Wire().established()
    other.clock.advance(5.0)
    other.receive(ECHO_RSP[:-1])
    assert other.protocol.last_heard == 0.0
    other.receive(ECHO_RSP[-1:])
    assert other.protocol.last_heard == 5.0


def test_nobody_waits_when_nothing_is_due(requestor: Wire) -> None:
    requestor.protocol.expect(True)
    requestor.protocol.expect(False)
    requestor.clock.pump([SILENCE, SILENCE])
    assert not requestor.protocol.is_closed
    assert requestor.clock.getDelayedCalls() == []
    requestor.protocol.expect(True)
    requestor.clock.advance(SILENCE)
    assert requestor.protocol.is_closed
    requestor.over()


def test_an_answer_that_becomes_due_later_has_its_own_time(requestor: Wire) -> None:
    requestor.protocol.expect(True)
    requestor.protocol.expect(False)
    requestor.clock.advance(SILENCE - 1)
    requestor.protocol.expect(True)
    requestor.clock.pump([1, SILENCE - 2])
    assert not requestor.protocol.is_closed
    requestor.clock.advance(1)
    assert requestor.protocol.is_closed
    requestor.over()


def test_the_clock_stops_while_we_do_not_read(requestor: Wire) -> None:
    requestor.protocol.expect(True)
    flow = requestor.protocol.valve.flow()
    flow.pause()
    requestor.clock.pump([SILENCE] * 5)
    assert requestor.transport.paused
    flow.resume()
    requestor.clock.advance(SILENCE - 1)
    assert not requestor.transport.paused
    assert not requestor.protocol.is_closed
    requestor.clock.pump([1, SILENCE])
    assert requestor.protocol.is_closed
    requestor.over()


def test_the_clock_stops_while_the_peer_is_busy_elsewhere_for_us(requestor: Wire) -> None:
    busy = [True]
    requestor.protocol.expect(True, unless=lambda: busy[0])
    requestor.clock.pump([SILENCE] * 3)
    assert not requestor.protocol.is_closed
    busy[0] = False
    requestor.clock.advance(SILENCE)
    assert requestor.protocol.is_closed
    requestor.over()


# A peer that does not take what we send


def test_drained_waits_for_the_transport(requestor: Wire) -> None:
    requestor.protocol.pauseProducing()
    waits = spawn(requestor.protocol.drained())
    requestor.clock.advance(SILENCE - 1)
    assert pending(waits)
    requestor.protocol.resumeProducing()
    assert result(waits) is None
    assert result(spawn(requestor.protocol.drained())) is None
    assert requestor.clock.getDelayedCalls() == []
    requestor.over()


def test_a_peer_that_takes_nothing_is_aborted(requestor: Wire) -> None:
    requestor.protocol.pauseProducing()
    waits = spawn(requestor.protocol.drained())
    requestor.clock.advance(SILENCE)
    assert requestor.sent == a_abort(0, 0)
    assert failure(waits) is requestor.user.reason
    assert isinstance(requestor.user.reason, TimedOut)
    assert failure(spawn(requestor.protocol.drained())) is requestor.user.reason
    requestor.clock.advance(LINGER)
    assert requestor.transport.aborted
    requestor.over()


def test_waiting_for_the_transport_can_be_cancelled(requestor: Wire) -> None:
    requestor.protocol.pauseProducing()
    waits = spawn(requestor.protocol.drained())
    waits.addErrback(lambda _: None)
    waits.cancel()
    assert requestor.clock.getDelayedCalls() == []
    requestor.protocol.resumeProducing()
    assert not requestor.protocol.is_closed
    requestor.over()


def test_drained_says_when_the_peer_has_released(requestor: Wire) -> None:
    requestor.protocol.pauseProducing()
    waits = spawn(requestor.protocol.drained())
    requestor.receive(RELEASE_RQ)
    assert "released" in str(failure(waits))
    requestor.over()


def test_who_does_not_take_our_answers_is_not_read_from(acceptor: Wire) -> None:
    acceptor.user.on["command"] = lambda: acceptor.protocol.send(1, CEchoRSP(7, ECHO, 0))
    acceptor.receive(ECHO_RQ)
    acceptor.protocol.pauseProducing()
    assert not acceptor.transport.paused
    acceptor.receive(ECHO_RQ)
    assert acceptor.transport.paused
    acceptor.protocol.resumeProducing()
    assert not acceptor.transport.paused
    assert acceptor.sent == ECHO_RSP * 2
    acceptor.over()


def test_a_cancel_is_read_while_a_data_set_waits_to_be_sent(acceptor: Wire) -> None:
    acceptor.protocol.pauseProducing()
    acceptor.protocol.send_fragments(3, ((header(),),))
    assert not acceptor.transport.paused
    acceptor.receive(message(1, CCancelRQ(1)))
    assert acceptor.told[0] == ("command", 1, CCancelRQ(1))
    acceptor.protocol.stopProducing()
    acceptor.over()


def test_the_silence_of_who_does_not_take_our_answers_is_a_fault(acceptor: Wire) -> None:
    acceptor.protocol.expect(True)
    acceptor.protocol.pauseProducing()
    acceptor.protocol.send(1, CEchoRSP(7, ECHO, 0))
    acceptor.clock.advance(SILENCE)
    assert acceptor.protocol.is_closed
    acceptor.over()
