"""A peer that means harm, byte by byte: what it is answered, that it is told in the log, and that nothing is left."""

import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.logger import capturedLogs
from twisted.python.failure import Failure

from harmonygw.dicom.upperlayer.items import MAX_REPEATED_ITEMS
from harmonygw.dicom.upperlayer.reader import MAX_ASSOCIATE_PDU_LENGTH, PDU_LENGTH_SLACK
from harmonygw.net.association.listener import DRAIN_IDLE
from tests.endpoints.dicom_scp.scripted import CT, EXPLICIT, FIND, Script
from tests.net.association import raw
from tests.net.association.peers import header
from tests.net.association.raw import VERIFICATION, command, context, item, pdu, pdv, uid, us
from tests.net.association.scripted_peer import Transport

AC, RJ, NOTHING = 2, 3, 0
BY_USER = "0700 00000004 00000000"
"""A-ABORT of AA-1: source 0, service user (PS3.8 Table 9-9)."""
UNRECOGNIZED, UNEXPECTED, PARAMETER, VALUE = (f"0700 00000004 000002{reason:02X}" for reason in (1, 2, 5, 6))
"""A-ABORTs of AA-8: source 2, service provider, and the reason of Table 9-26."""
MAX_PDU = 65_536
ROLE = raw.item(0x54, b"\0\x051.2.3\1\1")


class Attacker:
    """A connection on which bytes are said, and bytes are heard."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.protocol: Any = script.clock.tcpServers[0][1].buildProtocol(IPv4Address("TCP", "10.6.6.6", 1))
        self.transport = Transport()
        self.protocol.makeConnection(self.transport)

    def associated(self) -> "Attacker":
        contexts = context(1), context(3, FIND, EXPLICIT), context(5, CT, EXPLICIT)
        assert self.say(raw.associate(*contexts))[:1] == bytes((AC,))
        return self

    def say(self, *pieces: bytes) -> bytes:
        for piece in pieces:
            self.protocol.dataReceived(piece)
        heard: bytes = self.transport.value()
        self.transport.clear()
        return heard

    def leave(self) -> None:
        self.protocol.connectionLost(Failure(ConnectionDone()))


@pytest.fixture
def attacker() -> Iterator[Attacker]:
    script = Script()
    attacker = Attacker(script)
    yield attacker
    attacker.leave()
    assert script.endpoint.under_way == 0
    assert script.clock.getDelayedCalls() == []


def warnings(events: list[Any]) -> list[Any]:
    return [event["alert"] for event in events if "alert" in event]


def aborts(attacker: Attacker, answer: str, *said: bytes) -> None:
    with capturedLogs() as events:
        assert attacker.say(*said) == bytes.fromhex(answer)
        assert attacker.say(raw.echo()) == b""
    (told,) = warnings(events)
    assert (told.kind, told.peer) == ("hostile_bytes", "10.6.6.6")


@pytest.mark.parametrize(
    "said",
    [
        raw.associate(*(context(2 * n + 1) for n in range(128))),
        raw.associate(context(1, VERIFICATION, *(f"1.2.{n}" for n in range(127)), raw.IMPLICIT)),
        raw.associate(called=b"A" * 16, calling=b"B" * 16),
        raw.associate(user=item(0x50, item(0x99, bytes(65_000)))),
        raw.associate(user=raw.user_information(max_length=0)),
        raw.associate(user=raw.user_information(max_length=0xFFFFFFFF)),
        raw.associate(user=raw.user_information(*[ROLE] * MAX_REPEATED_ITEMS)),
        raw.associate(user=raw.user_information(item(0x56, b"\0\x051.2.3" + bytes(60_000)))),
        raw.associate(user=raw.user_information(item(0x58, b"\2\1\xea\x60" + bytes(60_002)))),
        raw.associate(user=raw.user_information(item(0x53, bytes(4)))),
        raw.associate(version=3),
        raw.associate(version=0xFFFF),
    ],
    ids=[
        "128 contexts",
        "128 syntaxes",
        "16 characters",
        "64 KB nobody knows",
        "no maximum",
        "4 GiB maximum",
        "roles of unknown classes",
        "giant extended negotiation",
        "giant identity",
        "unlimited operations",
        "version 3",
        "every version",
    ],
)
def test_what_is_odd_and_allowed_is_accepted(attacker: Attacker, said: bytes) -> None:
    assert attacker.say(said)[0] == AC
    assert attacker.say(raw.echo())[0] == 4


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        (raw.associate(version=0), "0300 00000004 00010202"),
        (raw.associate(version=2), "0300 00000004 00010202"),
        (raw.associate(application=item(0x10, b"1.2.3")), "0300 00000004 00010102"),
        (raw.associate(application=b""), "0300 00000004 00010102"),
    ],
    ids=["version 0", "version 2", "another context", "no context"],
)
def test_another_protocol_is_rejected(attacker: Attacker, said: bytes, answer: str) -> None:
    assert attacker.say(said) == bytes.fromhex(answer)


@pytest.mark.parametrize(
    "said",
    [
        raw.associate(*(context((2 * n + 1) % 256) for n in range(129))),
        raw.associate(*(context(n) for n in range(256))),
        raw.associate(item(0x99, b"")),
        raw.associate(context(2)),
        raw.associate(context(1), context(1)),
        raw.associate(context(1, VERIFICATION, *(f"1.2.{n}" for n in range(1000)))),
        raw.associate(item(0x20, b"\1\0\0\0" + item(0x30, b"1.2"))),
        raw.associate(called=b" " * 16),
        raw.associate(calling=bytes(16)),
        raw.associate(calling=b"A\nB".ljust(16)),
        raw.associate(calling=b"A\\B".ljust(16)),
        raw.associate(calling="ÄRZTE".encode("latin-1").ljust(16)),
        raw.associate(user=raw.user_information() * 2),
        raw.associate(user=raw.user_information(item(0x51, bytes(4)))),
        raw.associate(user=raw.user_information(max_length=1023)),
        raw.associate(user=raw.user_information(*[ROLE] * (MAX_REPEATED_ITEMS + 1))),
        raw.associate(item(0x20, b"\1\0\0\0" + item(0x30, b"1.2", 500))),
        raw.associate(user=b"\x50\0"),
        raw.associate(pdu_type=2),
        pdu(1, b"", MAX_ASSOCIATE_PDU_LENGTH + 1),
        pdu(1, b"", 67),
        pdu(1, b"", 0xFFFFFFFF),
        pdu(5, bytes(4)),
        pdu(9, bytes(4)),
        raw.echo(),
        b"GET / HTTP/1.1\r\n\r\n",
    ],
)
def test_what_cannot_begin_an_association_is_aborted_by_the_user(attacker: Attacker, said: bytes) -> None:
    aborts(attacker, BY_USER, said)


PENDING_FIND = command(3, uid(2, FIND.encode()), us(0x100, 0x20), us(0x110, 1), us(0x800, 1))
SOP_CLASS = uid(2, VERIFICATION.encode())
STORE = uid(2, CT.encode()), us(0x100, 1), us(0x110, 1), us(0x700, 0), us(0x800, 1)


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        (pdu(4, b"", 0), VALUE),
        (pdu(4, b"", MAX_PDU + PDU_LENGTH_SLACK + 1), VALUE),
        (pdu(4, b"", 0xFFFFFFFF), VALUE),
        (pdu(4, pdv(1, b"", 3, 0)), VALUE),
        (pdu(4, pdv(1, b"", 3, 1)), VALUE),
        (pdu(4, pdv(1, b"ab", 3, 100)), VALUE),
        (pdu(4, pdv(1, b"ab", 3, 0xFFFFFFFF)), VALUE),
        (pdu(4, pdv(1, b"ab", 1) + b"abc"), VALUE),
        (pdu(4, pdv(7, b"ab", 3)), VALUE),
        (pdu(5, bytes(5)), VALUE),
        (pdu(0x47, b""), UNRECOGNIZED),
        (raw.associate(), UNEXPECTED),
        (raw.associate(pdu_type=2), UNEXPECTED),
        (pdu(3, bytes(4)), UNEXPECTED),
        (pdu(6, bytes(4)), UNEXPECTED),
        (pdu(4, pdv(1, b"", 3)), VALUE),
        (pdu(4, pdv(1, bytes(16_385), 1)), VALUE),
        (pdu(4, pdv(1, b"ab", 2)), PARAMETER),
        (pdu(4, pdv(1, b"ab", 1) + pdv(3, b"ab", 1)), PARAMETER),
        (PENDING_FIND + raw.echo(), PARAMETER),
        (command(1, SOP_CLASS, us(0x110, 1), us(0x800, 0x101)), VALUE),
        (command(1, SOP_CLASS, us(0x100, 0x30), us(0x800, 0x101)), VALUE),
        (command(1, SOP_CLASS, us(0x100, 0x30), raw.element(0x110, bytes(4)), us(0x800, 0x101)), VALUE),
        (command(1, SOP_CLASS, us(0x100, 0x30), raw.element(0x110, b"", 0xFFFFFFFF)), VALUE),
        (command(3, uid(2, FIND.encode()), us(0x100, 0x20), us(0x110, 1), us(0x800, 0x101)), VALUE),
        (command(1, SOP_CLASS, us(0x100, 0x8030), us(0x120, 1), us(0x800, 0x101), us(0x900, 0)), UNEXPECTED),
        (command(5, SOP_CLASS, us(0x100, 0x8001), us(0x120, 1), us(0x800, 0x101), us(0x900, 0)), UNEXPECTED),
        (command(1, us(0x100, 0x7777), us(0x110, 1), us(0x800, 0x101)), UNEXPECTED),
        (command(5, *STORE, uid(0x1000, b"../../etc/passwd")), VALUE),
        (command(5, *STORE, uid(0x1000, b"1.2\x003")), VALUE),
        (command(5, *STORE, uid(0x1000, b"1." * 32 + b"1")), VALUE),
        (command(5, *STORE, uid(0x1000, b"")), VALUE),
    ],
)
def test_what_breaks_the_protocol_is_aborted_with_source_and_reason(
    attacker: Attacker, said: bytes, answer: str
) -> None:
    aborts(attacker.associated(), answer, said)


@pytest.mark.parametrize("more", [{"length": 0}, {"length": 1}, {"length": 0xFFFFFFFF}])
def test_a_group_length_that_lies_is_of_no_interest(attacker: Attacker, more: dict[str, int]) -> None:
    assert attacker.associated().say(raw.echo(**more))[0] == 4


def test_reserved_bits_are_not_looked_at(attacker: Attacker) -> None:
    assert attacker.associated().say(pdu(4, pdv(1, raw.echo()[12:], 0xFF)))[0] == 4


def test_the_longest_pdu_is_taken_and_not_waited_for(attacker: Attacker) -> None:
    attacker.associated()
    longest = MAX_PDU + PDU_LENGTH_SLACK
    assert attacker.say(PENDING_FIND, pdu(4, b"", longest), pdv(3, b"", 2, longest - 4), bytes(longest - 7)) == b""


@pytest.mark.parametrize("message_id", [0, 1, 65_535])
def test_a_message_id_may_come_again(attacker: Attacker, message_id: int) -> None:
    attacker.associated()
    assert attacker.say(raw.echo(message_id)) == attacker.say(raw.echo(message_id)) != b""


def test_a_data_set_where_there_should_be_none_comes_after_the_answer(attacker: Attacker) -> None:
    heard = attacker.associated().say(
        command(1, SOP_CLASS, us(0x100, 0x30), us(0x110, 1), us(0x800, 0)), pdu(4, pdv(1, b"ab", 2))
    )
    assert (heard[0], heard[-10:]) == (4, bytes.fromhex(PARAMETER))


def test_data_after_a_release_request_are_unexpected(attacker: Attacker) -> None:
    assert attacker.associated().say(pdu(5, bytes(4)) + raw.echo())[-10:] == bytes.fromhex(UNEXPECTED)


def test_an_abort_and_a_cancel_of_nothing_are_no_alert(attacker: Attacker) -> None:
    with capturedLogs() as events:
        assert attacker.associated().say(command(3, us(0x100, 0xFFF), us(0x120, 1), us(0x800, 0x101))) == b""
        assert attacker.say(pdu(7, b"\0\0\2\6")) == b""
    assert attacker.transport.disconnecting
    assert warnings(events) == []


@pytest.mark.parametrize("begun", [b"", b"\1", raw.associate()[:40]], ids=["nothing", "one byte", "half"])
def test_who_requests_no_association_is_closed_by_artim_whatever_trickles(attacker: Attacker, begun: bytes) -> None:
    attacker.say(begun)
    for at in range(29):
        attacker.say(raw.associate()[len(begun) + at :][:1])
        attacker.script.clock.advance(1.0)
    assert not attacker.transport.disconnecting
    attacker.script.clock.advance(1.0)
    assert attacker.transport.disconnecting


def test_who_has_requested_nothing_does_not_hold_up_the_end(attacker: Attacker) -> None:
    drained = Deferred.fromCoroutine(attacker.script.endpoint.drain())
    attacker.script.clock.advance(DRAIN_IDLE)
    assert attacker.transport.disconnecting
    attacker.leave()
    assert drained.called


@pytest.mark.parametrize("begun", [b"", raw.echo()[:20]], ids=["nothing", "half a command"])
def test_who_says_a_byte_now_and_then_is_not_kept(attacker: Attacker, begun: bytes) -> None:
    attacker.associated()
    trickle = pdu(4, pdv(1, bytes(1000), 1))
    attacker.say(begun)
    for at in range(29):
        assert attacker.say(trickle[at : at + 1] if not begun else raw.echo()[20 + at : 21 + at]) == b""
        attacker.script.clock.advance(10.0)
    attacker.script.clock.advance(10.0)
    assert attacker.say() == bytes.fromhex(BY_USER)


def test_half_an_identifier_and_silence_is_aborted(attacker: Attacker) -> None:
    attacker.associated().say(PENDING_FIND, pdu(4, pdv(3, bytes(2000), 0))[:100])
    for _ in range(6):
        attacker.say(b"\0")
        attacker.script.clock.advance(10.0)
    assert attacker.say() == bytes.fromhex(BY_USER)


@pytest.mark.parametrize("kind", ["identifier", "header", "pixels"])
def test_single_bytes_among_empty_values_hold_no_more_than_they_are(attacker: Attacker, kind: str) -> None:
    attacker.script.pipeline.answer = lambda operation: Deferred()
    attacker.associated()
    context_id = 3 if kind == "identifier" else 5
    attacker.say(PENDING_FIND if kind == "identifier" else command(5, *STORE, uid(0x1000, b"1.2.3")))
    begun = b"" if kind == "identifier" else header("1.2.3")[: -10 if kind == "header" else None]
    hostile = pdu(4, pdv(context_id, b"\0", 0)) + pdu(4, pdv(context_id, b"", 0) * 5000)
    attacker.say(pdu(4, pdv(context_id, begun, 0)), bytes(bytearray(hostile)))
    tracemalloc.start()
    try:
        for _ in range(7):
            assert attacker.say(bytes(bytearray(hostile))) == b""
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 3 * len(hostile)
