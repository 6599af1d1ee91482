from collections.abc import Coroutine
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet import error
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from harmonygw.dicom.dimse.commands import CStoreRQ, CStoreRSP, encode_command
from harmonygw.dicom.upperlayer.events import Aborted, AssociateIndication, Event, ReleaseIndication
from harmonygw.dicom.upperlayer.negotiation import AssociateAC, AssociateRJ, ContextResult
from harmonygw.endpoints.dicom_scp import delivery
from harmonygw.endpoints.dicom_scp.delivery import Destination, DestinationAssociations
from harmonygw.errors import Incomplete, NotAcceptable, RejectedError, TransportError
from tests.endpoints.dicom_scp.scripted import CT, EXPLICIT, IMPLICIT, JPEG_2000, MR, instance
from tests.net.association.scripted_peer import Message, ScriptedPeer

BIG_ENDIAN = "1.2.840.10008.1.2.2"
WHERE = Destination(
    called_ae_title="DESTINATION",
    calling_ae_title="GATEWAY",
    originator_ae_title="VIEWER",
    originator_message_id=7,
    max_pdu_length=65_536,
)


class StorageSCP(ScriptedPeer):
    """Accepts the transfer syntaxes of its site, and stores."""

    def __init__(self, protocol: Any, site: "Site") -> None:
        super().__init__(protocol, site.clock, requestor=False)
        self._site = site
        self.proposed: list[tuple[str, str]] = []
        self.stored: list[Message] = []
        self.layer.connected(0.0)

    def happened(self, event: Event) -> None:
        if isinstance(event, ReleaseIndication):
            self.layer.release_response(0.0)
        if not isinstance(event, AssociateIndication):
            return
        rq = event.rq
        assert (rq.called_ae_title, rq.calling_ae_title) == ("DESTINATION", "GATEWAY")
        self.proposed = [(one.abstract_syntax, syntax) for one in rq.contexts for syntax in one.transfer_syntaxes]
        if self._site.rejects:
            self.layer.reject(AssociateRJ(1, 1, 7), 0.0)
            return
        results = [
            ContextResult(
                one.context_id, 0 if one.transfer_syntaxes[0] in self._site.known else 4, one.transfer_syntaxes[0]
            )
            for one in rq.contexts
        ]
        self.layer.accept(AssociateAC(rq.called_ae_title, rq.calling_ae_title, tuple(results)), 0.0)

    def message_ended(self, context_id: int, message: Message) -> None:
        command = message.command
        assert isinstance(command, CStoreRQ)
        self.stored.append(message)
        if self._site.answers:
            response = CStoreRSP(
                command.message_id, command.affected_sop_class_uid, command.affected_sop_instance_uid, 0
            )
            self.put(context_id, encode_command(response), is_command=True)


class Site:
    """A destination and the associations it has had."""

    def __init__(self, *known: str) -> None:
        self.known = known or (EXPLICIT, IMPLICIT, JPEG_2000)
        self.rejects = False
        self.answers = True
        self.refuses_connections = False
        self.clock = Clock()
        self.peers: list[StorageSCP] = []
        self.delivery = DestinationAssociations(WHERE, self.clock, self._endpoint)

    def _endpoint(self) -> Any:
        return SimpleNamespace(connect=self._connect)

    def _connect(self, factory: Any) -> "Deferred[Any]":
        if self.refuses_connections:
            return fail(error.ConnectionRefusedError())
        protocol = factory.buildProtocol(None)
        peer = StorageSCP(protocol, self)
        self.peers.append(peer)
        peer.connect()
        return succeed(protocol)

    def store(self, *arguments: Any, **more: Any) -> "Deferred[int]":
        return self.run(self.delivery.store(instance(*arguments, **more)))

    def run(self, coroutine: Coroutine[Any, Any, int]) -> "Deferred[int]":
        done: Deferred[int] = Deferred.fromCoroutine(coroutine)
        for _ in range(3):
            for peer in self.peers:
                peer.pump()
        return done


@pytest.fixture
def site() -> Site:
    return Site()


def result(done: "Deferred[int]") -> Any:
    got: list[Any] = []
    done.addBoth(got.append)
    [outcome] = got
    return outcome.value if isinstance(outcome, Failure) else outcome


def test_the_first_instance_decides_what_is_proposed_and_says_who_asked(site: Site) -> None:
    assert result(site.store(1, b"one")) == 0
    assert result(site.store(2, b"two!")) == 0
    [peer] = site.peers
    assert peer.proposed == [(CT, EXPLICIT), (CT, IMPLICIT)]
    assert peer.stored == [
        Message(CStoreRQ(1, CT, "1.2.3.1", 0, "VIEWER", 7), b"one\0"),
        Message(CStoreRQ(2, CT, "1.2.3.2", 0, "VIEWER", 7), b"two!"),
    ]
    assert site.delivery.size == 7


def test_an_instance_of_another_kind_ends_the_association_and_opens_one_for_both(site: Site) -> None:
    for number, (sop_class, syntax) in enumerate(((CT, EXPLICIT), (MR, JPEG_2000), (CT, EXPLICIT))):
        assert result(site.store(number, b"data", sop_class_uid=sop_class, syntax=syntax)) == 0
    first, second = site.peers
    assert second.proposed == [(CT, EXPLICIT), (CT, IMPLICIT), (MR, JPEG_2000)]
    assert isinstance(first.saw, ReleaseIndication)
    assert [len(first.stored), len(second.stored)] == [1, 2]


def test_no_more_contexts_are_proposed_than_an_association_has(site: Site) -> None:
    big_endian = bytes.fromhex("00080018 5549 0004") + b"1.2\0"
    for number in range(50):
        assert result(site.store(number, big_endian, sop_class_uid=f"1.2.{number}", syntax=BIG_ENDIAN)) == 0
    assert len(site.peers[-1].proposed) <= 128
    assert ("1.2.49", BIG_ENDIAN) in site.peers[-1].proposed
    assert ("1.2.0", BIG_ENDIAN) not in site.peers[-1].proposed


@pytest.mark.parametrize(
    ("known", "held", "sent"),
    [
        ((EXPLICIT, IMPLICIT), IMPLICIT, bytes.fromhex("08001800 04000000") + b"1.2\0"),
        ((EXPLICIT,), IMPLICIT, bytes.fromhex("08001800 5549 0400") + b"1.2\0"),
        ((IMPLICIT,), EXPLICIT, bytes.fromhex("08001800 04000000") + b"1.2\0"),
        ((JPEG_2000,), JPEG_2000, bytes.fromhex("08001800 5549 0400") + b"1.2\0"),
    ],
)
def test_an_instance_goes_as_it_is_or_in_a_native_syntax_that_was_accepted(
    known: tuple[str, ...], held: str, sent: bytes
) -> None:
    site = Site(*known)
    implicit = bytes.fromhex("08001800 04000000") + b"1.2\0"
    explicit = bytes.fromhex("08001800 5549 0400") + b"1.2\0"
    assert result(site.store(1, implicit if held == IMPLICIT else explicit, syntax=held)) == 0
    assert site.peers[0].stored[0].data == sent


def test_what_the_destination_does_not_take_fails_without_a_second_try(site: Site) -> None:
    site.known = (EXPLICIT,)
    for number in (1, 2):
        failure = result(site.store(number, syntax=JPEG_2000))
        assert isinstance(failure, NotAcceptable)
        assert "JPEG 2000" in failure.detail
    assert (len(site.peers), site.delivery.unreachable) == (1, False)


def test_an_instance_is_not_converted_to_big_endian() -> None:
    site = Site(BIG_ENDIAN)
    assert result(site.store(1, syntax=BIG_ENDIAN)) == 0
    assert isinstance(result(site.store(2, syntax=EXPLICIT)), NotAcceptable)


def test_nobody_is_there(site: Site) -> None:
    site.refuses_connections = True
    assert isinstance(result(site.store()), TransportError)
    assert site.delivery.unreachable


def test_a_destination_that_rejects_the_association_is_unreachable(site: Site) -> None:
    site.rejects = True
    assert isinstance(result(site.store()), RejectedError)
    assert site.delivery.unreachable


def test_a_lost_association_costs_one_instance_and_another_is_opened(site: Site) -> None:
    site.answers = False
    lost = site.store(1)
    site.peers[0].abort()
    assert isinstance(result(lost), TransportError)
    assert not site.delivery.unreachable
    site.answers = True
    assert result(site.store(2)) == 0
    assert len(site.peers) == 2


def test_an_instance_that_breaks_in_its_middle_costs_the_association_but_not_the_move(site: Site) -> None:
    failure = result(site.store(1, b"begun", b"half", error=Incomplete("damaged")))
    assert isinstance(failure, Incomplete)
    assert isinstance(site.peers[0].saw, Aborted)
    assert result(site.store(2)) == 0


def test_a_destination_that_does_not_answer_is_given_up(site: Site) -> None:
    site.answers = False
    waiting = site.store(1)
    site.clock.advance(delivery.RESPONSE_TIMEOUT - 1)
    assert not waiting.called
    site.clock.advance(1.0)
    assert "timeout_secs" in result(waiting).detail


def test_closing_amid_an_instance_aborts(site: Site) -> None:
    site.answers = False
    waiting = site.store(1)
    waiting.addErrback(lambda failure: failure.value)
    waiting.cancel()
    site.delivery.close()
    site.peers[0].pump()
    assert isinstance(site.peers[0].saw, Aborted)


def test_closing_releases_and_leaves_no_timer(site: Site) -> None:
    site.store(1)
    site.delivery.close()
    [peer] = site.peers
    peer.pump()
    assert isinstance(peer.saw, ReleaseIndication)
    peer.disconnect()
    assert site.clock.getDelayedCalls() == []
