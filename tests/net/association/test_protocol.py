"""The seam between upper layer and transport: what arrives, what must be sent, and what the user is told."""

from typing import Any

import pytest
from twisted.internet.testing import StringTransport

from harmonygw.dicom.dimse.command_elements import AFFECTED_SOP_INSTANCE_UID, other_element
from harmonygw.dicom.dimse.commands import CEchoRQ, CEchoRSP, encode_command
from harmonygw.dicom.upperlayer.negotiation import (
    AssociateRJ,
)
from harmonygw.dicom.upperlayer.pdus import encode_associate_rj
from harmonygw.errors import HarmonyError, PeerError, RejectedError, TimedOut, TransportError
from harmonygw.net.association.protocol import (
    READ_SIZE,
)
from harmonygw.net.association.rejections import describe_rejection
from tests.net.association.peers import (
    CT,
    RELEASE_RP,
    RELEASE_RQ,
    Network,
    a_abort,
    message,
    p_data,
    store_rq,
)
from tests.net.association.wire import AC, AC_PDU, ECHO, ECHO_RQ, ECHO_RSP, RQ, RQ_PDU, UNKNOWN_PDU, Wire


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


def test_fragments_of_a_data_set_are_cut_to_what_the_peer_takes_and_sent_in_a_single_write(requestor: Wire) -> None:
    writes: list[bytes] = []
    requestor.transport.write = writes.append
    room = 16384 - 6
    outgoing = requestor.protocol.begin_message(3, store_rq())
    assert writes == []
    requestor.protocol.send_fragments(3, outgoing.feed((b"a" * room, b"b" * (room + 2))))
    full = p_data(3, b"a" * room, is_last=False) + p_data(3, b"b" * room, is_last=False)
    assert writes == [p_data(3, encode_command(store_rq()), is_command=True) + full]
    requestor.protocol.send_fragments(3, ())
    requestor.protocol.send_fragments(3, (outgoing.finish(),), is_last=True)
    assert writes[1:] == [p_data(3, b"bb")]
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
        acceptor.protocol.begin_message(1, store_rq())
        acceptor.protocol.send_fragments(1, ((b"ab",),), is_last=True)

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
