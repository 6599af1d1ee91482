"""The seam between upper layer and transport: what arrives, what must be sent, and what the user is told."""

from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from harmonygw.dicom.dimse.command_elements import AFFECTED_SOP_INSTANCE_UID, other_element
from harmonygw.dicom.dimse.commands import CCancelRQ, CEchoRQ, CEchoRSP, Command, encode_command
from harmonygw.dicom.upperlayer.negotiation import (
    AssociateAC,
    AssociateRJ,
    AssociateRQ,
    ContextResult,
    ProposedContext,
)
from harmonygw.dicom.upperlayer.pdus import encode_associate_ac, encode_associate_rj, encode_associate_rq
from harmonygw.dicom.upperlayer.provider import UpperLayer
from harmonygw.errors import HarmonyError, PeerError, RejectedError, TimedOut, TransportError
from harmonygw.net.association.protocol import (
    LINGER,
    READ_SIZE,
    RELEASE_TIMEOUT,
    AssociationProtocol,
    AssociationUser,
    describe_rejection,
)
from tests.net.association.peers import (
    CT,
    IMPLICIT,
    RELEASE_RP,
    RELEASE_RQ,
    SILENCE,
    Network,
    a_abort,
    failure,
    header,
    message,
    p_data,
    pending,
    result,
    spawn,
    store_rq,
)
from tests.net.association.scripted_peer import Transport

ECHO = "1.2.840.10008.1.1"
RQ = AssociateRQ("ARCHIVE", "GATEWAY", (ProposedContext(1, ECHO, (IMPLICIT,)), ProposedContext(3, CT, (IMPLICIT,))))
AC = AssociateAC("ARCHIVE", "GATEWAY", (ContextResult(1, 0, IMPLICIT), ContextResult(3, 0, IMPLICIT)), 16384)
RQ_PDU, AC_PDU = encode_associate_rq(RQ), encode_associate_ac(AC)
ECHO_RQ = message(1, CEchoRQ(7, ECHO))
ECHO_RSP = message(1, CEchoRSP(7, ECHO, 0))
UNKNOWN_PDU = bytes.fromhex("0900 00000004 00000000")


class User(AssociationUser):
    """Notes what it is told, and may do something then."""

    def __init__(self) -> None:
        self.told: list[Any] = []
        self.on: dict[str, Callable[[], object]] = {}

    def note(self, what: str, *more: Any) -> None:
        self.told.append((what, *more) if more else what)
        self.on.get(what, lambda: None)()

    def associate_indication(self, request: AssociateRQ) -> None:
        self.note("indication")

    def established(self) -> None:
        self.note("established")

    def command_received(self, context_id: int, command: Command) -> None:
        self.note("command", context_id, command)

    def fragment_received(self, data: memoryview, is_last: bool) -> None:
        self.note("fragment", bytes(data), is_last)

    def read_ended(self) -> None:
        self.note("read ended")

    def release_indication(self) -> None:
        self.note("release")

    def closed(self, reason: HarmonyError | None) -> None:
        self.reason = reason
        self.note("closed")

    def disconnected(self) -> None:
        self.note("disconnected")


class Wire:
    """One protocol on a transport in memory."""

    def __init__(self, *, requestor: bool = True, transport: Any = None) -> None:
        self.clock = Clock()
        self.user = User()
        self.transport = transport or Transport()
        layer = UpperLayer(requestor=requestor, artim_timeout=30.0, association_timeout=30.0)
        self.protocol = AssociationProtocol(layer, self.user, self.clock, silence_timeout=SILENCE)
        if requestor:
            self.protocol.associate(RQ)
            self.user.on["indication"] = lambda: pytest.fail("nobody associates with a requestor")

    def established(self) -> "Wire":
        self.protocol.makeConnection(self.transport)
        self.protocol.dataReceived(AC_PDU)
        return self.forget()

    def accepted(self) -> "Wire":
        self.user.on["indication"] = lambda: self.protocol.accept(AC)
        self.protocol.makeConnection(self.transport)
        self.protocol.dataReceived(RQ_PDU)
        return self.forget()

    def forget(self) -> "Wire":
        self.transport.clear()
        self.user.told.clear()
        return self

    def receive(self, *pieces: bytes) -> None:
        self.protocol.dataReceived(b"".join(pieces))

    def lose(self, reason: Exception | None = None) -> None:
        self.protocol.connectionLost(Failure(reason or ConnectionDone()))

    @property
    def sent(self) -> bytes:
        sent: bytes = self.transport.value()
        self.transport.clear()
        return sent

    @property
    def told(self) -> list[Any]:
        return self.user.told

    def over(self) -> None:
        """Check that nothing is left when the connection is gone."""
        self.lose()
        assert self.told[-1] == "disconnected"
        assert self.told.count("closed") == self.told.count("disconnected") == 1
        assert self.clock.getDelayedCalls() == []


@pytest.fixture
def requestor() -> Wire:
    return Wire().established()


@pytest.fixture
def acceptor() -> Wire:
    return Wire(requestor=False).accepted()


# Beginning


def test_an_association_is_requested_as_soon_as_there_is_a_connection() -> None:
    wire = Wire()
    wire.protocol.makeConnection(wire.transport)
    assert wire.sent == RQ_PDU
    assert wire.transport.bufferSize == READ_SIZE
    wire.receive(AC_PDU)
    assert wire.told == ["established", "read ended"]
    assert wire.protocol.acceptance == AC
    assert [one.abstract_syntax for one in wire.protocol.contexts.values()] == [ECHO, CT]
    assert wire.clock.getDelayedCalls() == []
    wire.over()


def test_a_transport_without_a_sockets_settings_will_do() -> None:
    wire = Wire(transport=StringTransport()).established()
    wire.receive(ECHO_RQ)
    assert wire.told[0] == ("command", 1, CEchoRQ(7, ECHO))
    wire.over()


def test_an_acceptor_answers_when_its_user_has_decided(acceptor: Wire) -> None:
    wire = Wire(requestor=False)
    wire.protocol.makeConnection(wire.transport)
    wire.receive(RQ_PDU)
    assert (wire.told, wire.sent) == (["indication", "read ended"], b"")
    wire.protocol.accept(AC)
    assert (wire.sent, wire.told[-1]) == (AC_PDU, "established")
    assert wire.protocol.request == RQ
    wire.over()


def test_a_rejection_of_ours_ends_it_and_leaves_the_closing_to_the_peer() -> None:
    wire = Wire(requestor=False)
    wire.protocol.makeConnection(wire.transport)
    wire.user.on["indication"] = lambda: wire.protocol.reject(AssociateRJ(1, 1, 7))
    wire.receive(RQ_PDU)
    assert wire.sent == encode_associate_rj(AssociateRJ(1, 1, 7))
    assert wire.told == ["indication", "closed"]
    assert isinstance(wire.user.reason, RejectedError)
    assert not wire.transport.disconnecting
    wire.over()


@pytest.mark.parametrize("decide", [lambda one: one.accept(AC), lambda one: one.reject(AssociateRJ(1, 1, 7))])
def test_a_decision_comes_too_late_when_the_peer_has_gone_in_the_same_read(decide: Any) -> None:
    wire = Wire(requestor=False)
    wire.protocol.makeConnection(wire.transport)
    wire.user.on["indication"] = lambda: decide(wire.protocol)
    wire.receive(RQ_PDU, a_abort(0, 0))
    assert wire.sent == b""
    assert wire.told == ["indication", "closed"]
    assert isinstance(wire.user.reason, TransportError)
    wire.over()


@pytest.mark.parametrize(
    ("answer", "sentence", "transient"),
    [
        (AssociateRJ(1, 1, 7), "permanently: called AE title not recognized", False),
        (AssociateRJ(2, 3, 2), "for now: local limit exceeded", True),
        (AssociateRJ(7, 3, 9), "with result 7: no reason given", False),
    ],
)
def test_a_rejection_says_why(answer: AssociateRJ, sentence: str, transient: bool) -> None:
    wire = Wire()
    wire.protocol.makeConnection(wire.transport)
    wire.receive(encode_associate_rj(answer))
    reason = wire.user.reason
    assert isinstance(reason, RejectedError)
    assert reason.detail == describe_rejection(answer) == f"the association was rejected {sentence}"
    assert reason.transient is transient
    assert (reason.result, reason.source, reason.reason) == (answer.result, answer.source, answer.reason)
    assert reason.log_detail == "calling GATEWAY, called ARCHIVE"
    assert wire.transport.disconnecting
    wire.over()


def test_an_answer_that_does_not_come_is_aborted_at_the_association_time_out() -> None:
    wire = Wire()
    wire.protocol.makeConnection(wire.transport)
    wire.clock.advance(29.9)
    assert not wire.protocol.is_closed
    wire.clock.advance(0.1)
    assert wire.sent == RQ_PDU + a_abort(0, 0)
    assert isinstance(wire.user.reason, TimedOut)
    assert "association_timeout_secs" in wire.user.reason.detail
    wire.over()


def test_a_connection_that_requests_nothing_is_closed_by_artim() -> None:
    wire = Wire(requestor=False)
    wire.protocol.makeConnection(wire.transport)
    wire.clock.advance(30.0)
    assert wire.sent == b""
    assert wire.transport.disconnecting
    assert isinstance(wire.user.reason, TimedOut)
    wire.over()


@pytest.mark.parametrize("first", [a_abort(0, 0), b""])
def test_who_goes_away_before_an_association_leaves_nothing(first: bytes) -> None:
    wire = Wire(requestor=False)
    wire.protocol.makeConnection(wire.transport)
    wire.receive(first)
    assert wire.transport.disconnecting is bool(first)
    wire.lose()
    assert isinstance(wire.user.reason, TransportError)
    assert wire.sent == b""
    assert wire.clock.getDelayedCalls() == []


def test_http_on_a_dicom_port_is_aborted() -> None:
    wire = Wire(requestor=False)
    wire.protocol.makeConnection(wire.transport)
    wire.receive(b"GET / HTTP/1.1\r\n\r\n")
    assert wire.sent == a_abort(0, 0)
    assert isinstance(wire.user.reason, PeerError)
    wire.over()


def test_giving_up_before_there_is_a_connection_drops_one_that_comes_late() -> None:
    wire = Wire()
    wire.protocol.abort(TransportError("never mind"))
    assert wire.told == ["closed", "disconnected"]
    wire.protocol.makeConnection(wire.transport)
    assert wire.transport.aborted
    wire.lose()
    assert wire.told == ["closed", "disconnected"]
    assert (wire.sent, wire.clock.getDelayedCalls()) == (b"", [])


def test_a_connection_that_has_not_begun_is_closed_without_a_word() -> None:
    wire = Wire(requestor=False)
    wire.protocol.makeConnection(wire.transport)
    wire.protocol.abort(TransportError("stopping"))
    assert (wire.sent, wire.transport.disconnecting) == (b"", True)
    wire.over()


# Messages


def test_a_message_is_sent_in_a_single_write(requestor: Wire) -> None:
    writes: list[bytes] = []
    requestor.transport.write = writes.append
    requestor.protocol.send(3, store_rq(), b"ab" * 10)
    assert writes == [message(3, store_rq(), b"ab" * 10)]
    requestor.over()


def test_a_fragment_is_cut_to_what_the_peer_takes(requestor: Wire) -> None:
    room = 16384 - 6
    requestor.protocol.send_fragment(3, b"a" * (room + 2), is_last=False)
    assert requestor.sent == p_data(3, b"a" * room, is_last=False) + p_data(3, b"aa", is_last=False)
    requestor.protocol.send_fragment(3, b"", is_last=True)
    assert requestor.sent == p_data(3, b"")
    requestor.over()


def test_what_one_read_brings_is_told_in_order(acceptor: Wire) -> None:
    acceptor.receive(ECHO_RQ, message(3, store_rq(), b"abcd")[:-2])
    assert acceptor.told == [
        ("command", 1, CEchoRQ(7, ECHO)),
        ("command", 3, store_rq()),
        ("fragment", b"ab", False),
        "read ended",
    ]
    acceptor.receive(b"cd")
    assert acceptor.told[-2:] == [("fragment", b"cd", True), "read ended"]
    acceptor.over()


def test_a_command_set_may_come_in_parts(acceptor: Wire) -> None:
    encoded = encode_command(CEchoRQ(7, ECHO))
    acceptor.receive(p_data(1, encoded[:20], is_command=True, is_last=False))
    acceptor.receive(p_data(1, encoded[20:], is_command=True))
    assert acceptor.told == ["read ended", ("command", 1, CEchoRQ(7, ECHO)), "read ended"]
    acceptor.over()


def test_nothing_is_told_of_a_read_after_its_user_has_aborted(acceptor: Wire) -> None:
    acceptor.user.on["command"] = lambda: acceptor.protocol.abort(TransportError("enough"))
    acceptor.receive(ECHO_RQ, ECHO_RQ)
    assert acceptor.told == [("command", 1, CEchoRQ(7, ECHO)), "closed"]
    acceptor.over()


def test_what_was_read_before_a_pause_is_delivered_all_the_same(acceptor: Wire) -> None:
    acceptor.user.on["fragment"] = acceptor.protocol.valve.flow().pause
    acceptor.receive(message(3, store_rq(), b"ab"), ECHO_RQ)
    assert acceptor.transport.paused
    assert acceptor.told[-2:] == [("command", 1, CEchoRQ(7, ECHO)), "read ended"]
    acceptor.receive(ECHO_RQ)  # what TLS had decrypted already
    assert acceptor.told[-2:] == [("command", 1, CEchoRQ(7, ECHO)), "read ended"]
    acceptor.over()


@pytest.mark.parametrize("end", [a_abort(0, 0), UNKNOWN_PDU])
def test_an_answer_comes_too_late_when_the_association_ended_in_the_same_read(acceptor: Wire, end: bytes) -> None:
    def answer() -> None:
        acceptor.protocol.send(1, CEchoRSP(7, ECHO, 0))
        acceptor.protocol.send_fragment(1, b"ab", is_last=True)

    acceptor.user.on["command"] = answer
    acceptor.receive(ECHO_RQ, end)
    assert acceptor.told == [("command", 1, CEchoRQ(7, ECHO)), "closed"]
    assert acceptor.sent == (b"" if end == a_abort(0, 0) else a_abort(2, 1))
    acceptor.over()


def test_an_answer_is_still_sent_when_the_peer_has_asked_to_release(acceptor: Wire) -> None:
    acceptor.user.on["command"] = lambda: acceptor.protocol.send(1, CEchoRSP(7, ECHO, 0))
    acceptor.receive(ECHO_RQ, RELEASE_RQ)
    assert acceptor.sent == ECHO_RSP + RELEASE_RP
    acceptor.over()


# The peer's errors, and ours


@pytest.mark.parametrize(
    ("pdu", "reason"),
    [
        (UNKNOWN_PDU, 1),
        (RQ_PDU, 2),
        (bytes.fromhex("0400 ffffffff"), 6),
        (p_data(1, b"ab")[:6] + bytes.fromhex("000000ff 01 03"), 6),
        (p_data(5, b"ab"), 6),
        (p_data(1, encode_command(CEchoRQ(7, ECHO))[:-1], is_command=True), 6),
        (p_data(3, b"ab"), 5),
        (message(3, store_rq()) + ECHO_RQ, 5),
    ],
    ids=[
        "unknown PDU",
        "A-ASSOCIATE-RQ",
        "4 GiB",
        "PDV overruns its PDU",
        "context that was not accepted",
        "command set cut short",
        "data set without a command",
        "message inside a message",
    ],
)
def test_the_peers_errors_are_aborted_with_source_and_reason(acceptor: Wire, pdu: bytes, reason: int) -> None:
    acceptor.receive(pdu)
    assert acceptor.sent == a_abort(2, reason)
    assert isinstance(acceptor.user.reason, PeerError)
    assert (acceptor.user.reason.source, acceptor.user.reason.reason) == (2, reason)
    acceptor.over()


@pytest.mark.parametrize("uid", ["../1.2.3", "1.2\0.3", "1." * 32 + "1"], ids=["path", "NUL", "65 characters"])
def test_a_hostile_uid_in_a_command_set_is_aborted(acceptor: Wire, uid: str) -> None:
    placeholder = other_element(AFFECTED_SOP_INSTANCE_UID, b"1.2.3.4\0")
    hostile = other_element(AFFECTED_SOP_INSTANCE_UID, uid.encode() + b"\0" * (len(uid) % 2))
    acceptor.receive(p_data(3, encode_command(store_rq()).replace(placeholder, hostile), is_command=True))
    assert acceptor.sent == a_abort(2, 6)
    assert "AffectedSOPInstanceUID" in str(acceptor.user.reason)
    acceptor.over()


def test_an_error_of_the_peer_that_its_user_finds_is_aborted_as_the_user_says(acceptor: Wire) -> None:
    def find_fault() -> None:
        raise PeerError("what nonsense", source=0, reason=0)

    acceptor.user.on["command"] = find_fault
    acceptor.receive(ECHO_RQ, ECHO_RQ)
    assert acceptor.sent == a_abort(0, 0)
    assert acceptor.told == [("command", 1, CEchoRQ(7, ECHO)), "closed"]
    acceptor.over()


def test_an_error_of_ours_aborts_the_association_and_is_logged(network: Network, acceptor: Wire) -> None:
    acceptor.user.on["read ended"] = lambda: 1 // 0
    acceptor.receive(ECHO_RQ)
    assert acceptor.sent == a_abort(0, 0)
    assert type(acceptor.user.reason) is HarmonyError
    assert "ZeroDivisionError" in network.errors.pop()
    acceptor.over()


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
    acceptor.protocol.send_fragment(3, header(), is_last=False)
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
