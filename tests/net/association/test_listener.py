from typing import Any

import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock

from harmonygw.dicom.dimse.commands import CEchoRQ, Command
from harmonygw.dicom.upperlayer.events import Aborted, AssociateRejected, ReleaseConfirm
from harmonygw.dicom.upperlayer.negotiation import (
    AssociateRJ,
    AssociateRQ,
    ContextResult,
    ProposedContext,
    SupportedContext,
)
from harmonygw.net.association.listener import (
    CALLED_AE_TITLE_NOT_RECOGNIZED,
    DRAIN_IDLE,
    LOCAL_LIMIT_EXCEEDED,
    MAX_PENDING,
    MAX_PENDING_PER_ADDRESS,
    Acceptance,
    Acceptor,
    AssociationFactory,
)
from tests.alerted import alerts
from tests.net.association.scripted_peer import ScriptedPeer

CT = "1.2.840.10008.5.1.4.1.1.2"
ECHO = "1.2.840.10008.1.1"
FIND = "1.2.840.10008.5.1.4.1.2.2.1"
IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
JPEG_2000 = "1.2.840.10008.1.2.4.90"

SUPPORTED = {
    ECHO: SupportedContext((EXPLICIT, IMPLICIT)),
    FIND: SupportedContext((EXPLICIT, IMPLICIT)),
    CT: SupportedContext((EXPLICIT, IMPLICIT, JPEG_2000), scp=True, scu=True),
}
VERIFICATION = ProposedContext(1, ECHO, (IMPLICIT,))


class Listener(Acceptor):
    """Notes what it is told, and may say that it is in use."""

    busy = False

    @property
    def in_use(self) -> bool:
        return self.busy

    def command_received(self, context_id: int, command: Command) -> None:
        self.last = command


class Site:
    """A listener on a clock."""

    def __init__(self, **acceptance: Any) -> None:
        self.clock = Clock()
        self.factory = AssociationFactory(Acceptance("ARCHIVE", SUPPORTED, **acceptance), Listener, self.clock)

    def connection(self, host: str = "10.0.0.7") -> ScriptedPeer | None:
        protocol = self.factory.buildProtocol(IPv4Address("TCP", host, 1234))
        return None if protocol is None else ScriptedPeer(protocol, self.clock)

    def peer(self, host: str = "10.0.0.7") -> ScriptedPeer:
        peer = self.connection(host)
        assert peer is not None
        return peer

    def associated(self) -> ScriptedPeer:
        peer = self.peer()
        assert peer.associate(VERIFICATION) is not None
        return peer

    @property
    def user(self) -> Any:
        [user] = self.factory.open
        return user


@pytest.fixture
def site() -> Site:
    return Site()


def test_our_order_of_transfer_syntaxes_decides(site: Site) -> None:
    answer = site.peer().associate(ProposedContext(1, FIND, (IMPLICIT, EXPLICIT)))
    assert answer is not None
    assert answer.contexts == (ContextResult(1, 0, EXPLICIT),)


def test_the_order_of_each_proposed_context_decides_where_the_requestor_ranks() -> None:
    answer = (
        Site(ranked_by_requestor=frozenset({CT}))
        .peer()
        .associate(
            ProposedContext(1, CT, ("1.2.3", JPEG_2000, IMPLICIT)),
            ProposedContext(3, CT, (IMPLICIT, JPEG_2000)),
            ProposedContext(5, FIND, (IMPLICIT, EXPLICIT)),
            ProposedContext(7, CT, ("1.2.3",)),
            ProposedContext(9, "1.2.4", (IMPLICIT,)),
        )
    )
    assert answer is not None
    assert answer.contexts == (
        ContextResult(1, 0, JPEG_2000),
        ContextResult(3, 0, IMPLICIT),
        ContextResult(5, 0, EXPLICIT),
        ContextResult(7, 4),
        ContextResult(9, 3),
    )


def test_roles_are_answered_once_for_each_sop_class(site: Site) -> None:
    answer = site.peer().associate(
        ProposedContext(1, CT, (EXPLICIT,), scu_role=False, scp_role=True),
        ProposedContext(3, CT, (IMPLICIT,), scu_role=False, scp_role=True),
        ProposedContext(5, FIND, (IMPLICIT,), scu_role=False, scp_role=True),
    )
    assert answer is not None
    assert answer.role_selections == {CT: (False, True)}
    assert [one.result for one in answer.contexts] == [0, 0, 1]


@pytest.mark.parametrize(("wanted", "answered"), [(b"\1", b"\1"), (b"\0", b"\0"), (b"\1\1\1", b"\1\0")])
def test_extended_negotiation_is_what_both_want(wanted: bytes, answered: bytes) -> None:
    site = Site(extended_negotiation={FIND: b"\1\0", CT: b"\1"})
    answer = site.peer().associate(
        ProposedContext(1, FIND, (IMPLICIT,)),
        ProposedContext(3, CT, ("1.2.3",)),
        extended_negotiation={FIND: wanted, CT: b"\1", ECHO: b"\1"},
    )
    assert answer is not None
    assert answer.extended_negotiation == {FIND: answered}


def test_who_is_refused_is_told_why() -> None:
    def refuse(request: AssociateRQ, peer: str) -> AssociateRJ | None:
        welcome = (request.called_ae_title, request.calling_ae_title, peer) == ("ARCHIVE", "VIEWER", "10.0.0.8")
        return None if welcome else CALLED_AE_TITLE_NOT_RECOGNIZED

    site = Site(refuse=refuse)
    refused = site.peer("10.0.0.7")
    with alerts() as raised:
        assert refused.associate(VERIFICATION) is None
    assert refused.saw == AssociateRejected(AssociateRJ(1, 1, 7))
    [alert] = raised
    assert (alert.kind, alert.peer) == ("association_rejected", "10.0.0.7")
    assert alert.sentence.endswith("the association was rejected permanently: called AE title not recognized")
    assert site.peer("10.0.0.8").associate(VERIFICATION) is not None


def test_who_speaks_no_dicom_is_told_of() -> None:
    site = Site()
    peer = site.peer("10.0.0.7")
    peer.connect()
    with alerts() as raised:
        peer.protocol.dataReceived(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    [alert] = raised
    assert (alert.kind, alert.peer) == ("hostile_bytes", "10.0.0.7")
    assert "an association with somebody at 10.0.0.7 is aborted: " in alert.sentence


@pytest.mark.parametrize("end", ["release", "abort", "disconnect"])
def test_a_place_beyond_the_limit_is_refused_until_one_is_free(end: str) -> None:
    site = Site(max_associations=2)
    first, _ = site.associated(), site.associated()
    third = site.peer()
    with alerts() as raised:
        assert third.associate(VERIFICATION) is None
    assert third.saw == AssociateRejected(LOCAL_LIMIT_EXCEEDED)
    assert raised == [], "nobody did wrong"
    getattr(first, end)()
    site.associated()
    assert len(site.factory.associations) == 2


def test_connections_beyond_all_limits_are_closed_without_a_word() -> None:
    site = Site(max_associations=1)
    peers = [site.peer(f"10.0.1.{n}") for n in range(1 + MAX_PENDING)]
    for peer in peers:
        peer.connect()
    assert site.connection() is None
    peers[0].disconnect()
    assert site.connection() is not None


def test_one_address_has_no_more_associations_than_its_limit() -> None:
    site = Site(max_associations=3, max_associations_per_address=2)
    first, _ = site.associated(), site.associated()
    third = site.peer()
    assert third.associate(VERIFICATION) is None
    assert third.saw == AssociateRejected(LOCAL_LIMIT_EXCEEDED)
    assert site.peer("10.0.0.8").associate(VERIFICATION) is not None
    assert site.peer("10.0.0.9").associate(VERIFICATION) is None
    first.release()
    site.associated()


def test_nor_more_connections_that_say_nothing_and_others_still_get_in() -> None:
    site = Site(max_associations=1, max_associations_per_address=1)
    peers = [site.peer() for _ in range(1 + MAX_PENDING_PER_ADDRESS)]
    for peer in peers:
        peer.connect()
    assert site.connection() is None
    assert site.peer("10.0.0.8").associate(VERIFICATION) is not None
    peers[0].disconnect()
    assert site.connection() is not None


def test_a_connection_that_requests_nothing_is_closed_after_the_association_timeout() -> None:
    site = Site(association_timeout=30.0)
    peer = site.peer()
    peer.connect()
    site.clock.advance(29.9)
    assert not peer.transport.disconnecting
    site.clock.advance(0.1)
    assert peer.transport.disconnecting
    peer.disconnect()
    assert site.factory.open == set()
    assert site.clock.getDelayedCalls() == []


def test_an_association_that_nobody_uses_is_aborted(site: Site) -> None:
    peer = site.associated()
    site.clock.advance(200.0)
    peer.send(CEchoRQ(1, ECHO))
    site.clock.advance(299.9)
    peer.pump()
    assert not isinstance(peer.saw, Aborted)
    site.clock.advance(0.2)
    peer.pump()
    assert isinstance(peer.saw, Aborted)
    assert (peer.saw.source, peer.saw.reason) == (0, 0)
    peer.disconnect()
    assert site.clock.getDelayedCalls() == []


def test_an_association_in_use_is_kept_and_has_its_whole_time_afterwards(site: Site) -> None:
    site.associated()
    user = site.user
    user.busy = True
    site.clock.pump([299.0] * 10)
    user.busy = False
    user.used()
    site.clock.advance(299.9)
    assert not user.protocol.is_closed
    site.clock.advance(1.0)
    assert user.protocol.is_closed


def test_an_association_whose_reading_is_paused_is_kept(site: Site) -> None:
    site.associated()
    site.user.protocol.valve.flow().pause()
    site.clock.pump([299.0] * 10)
    assert not site.user.protocol.is_closed


def test_draining_waits_for_those_that_are_used_and_aborts_the_others(site: Site) -> None:
    used, unused = site.associated(), site.associated()
    for user in site.factory.open:
        user.busy = user.protocol is used.protocol  # type: ignore[attr-defined]
    late = site.peer()
    drained = site.factory.drain()
    assert late.associate(VERIFICATION) is None
    assert late.saw == AssociateRejected(LOCAL_LIMIT_EXCEEDED)
    assert site.connection() is None
    site.clock.advance(DRAIN_IDLE - 0.1)
    assert not unused.protocol.is_closed
    site.clock.advance(0.1)
    assert unused.protocol.is_closed
    for peer in (late, unused):
        peer.disconnect()
    site.clock.advance(100.0)
    assert not drained.called
    used.release()
    assert isinstance(used.saw, ReleaseConfirm)
    used.disconnect()
    assert drained.called


def test_nothing_is_there_to_drain(site: Site) -> None:
    assert site.factory.drain().called
    assert site.factory.emptied().called


def test_who_is_only_waited_for_is_neither_hurried_nor_refused(site: Site) -> None:
    first = site.associated()
    emptied = site.factory.emptied()
    site.clock.pump([1.0] * 10)
    second = site.associated()
    assert not first.protocol.is_closed
    for peer in (first, second):
        assert not emptied.called
        peer.release()
        peer.disconnect()
    assert emptied.called


def test_stopping_aborts_what_is_open(site: Site) -> None:
    associated, connected = site.associated(), site.peer()
    connected.connect()
    site.factory.stop()
    associated.pump()
    assert isinstance(associated.saw, Aborted)
    assert connected.transport.disconnecting
    for peer in (associated, connected):
        peer.disconnect()
    assert (site.factory.open, site.factory.associations) == (set(), set())
    assert site.clock.getDelayedCalls() == []
