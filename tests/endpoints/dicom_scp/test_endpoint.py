from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.testing import MemoryReactorClock
from twisted.protocols.tls import TLSMemoryBIOProtocol

from harmonygw.config.endpoint_options import AETableEntry, DicomSCPOptions
from harmonygw.config.model import ListeningAddress
from harmonygw.dicom.dimse.commands import CEchoRQ, CFindRQ
from harmonygw.dicom.upperlayer.events import Aborted, AssociateRejected
from harmonygw.dicom.upperlayer.negotiation import AssociateRJ, ProposedContext
from harmonygw.endpoints.dicom_scp import DicomSCPEndpoint
from harmonygw.errors import ConfigurationError
from harmonygw.net.association.destination import MoveDestination
from harmonygw.net.association.listener import BACKLOG
from harmonygw.net.ports import Ports
from harmonygw.pipeline import ENDPOINTS, load
from tests.certificates import identity
from tests.endpoints.dicom_scp.scripted import CT, EXPLICIT, FIND, GET, VERIFICATION, Script, identifier

ECHO = ProposedContext(1, VERIFICATION, (EXPLICIT,))


def test_the_registry_knows_the_endpoint() -> None:
    assert load(ENDPOINTS["dicom_scp"]) is DicomSCPEndpoint


def test_it_listens_once_on_every_address_with_room_for_many_connections() -> None:
    script = Script(addresses=(ListeningAddress("127.0.0.1", 11112), ListeningAddress("::1", 104)))
    script.endpoint.listen()
    assert [(port, backlog, host) for port, _, backlog, host in script.clock.tcpServers] == [
        (11112, BACKLOG, "127.0.0.1"),
        (104, BACKLOG, "::1"),
    ]
    assert [one.port for one in script.endpoint.addresses] == [11112, 104]


def test_with_a_certificate_it_speaks_nothing_but_tls(tmp_path: Path) -> None:
    cert, key = identity("gateway").write(tmp_path, "gateway")
    script = Script(cert_path=cert, key_path=key, addresses=(ListeningAddress("127.0.0.1", 2762),))
    script.endpoint.listen()
    ((port, factory, backlog, host),) = script.clock.tcpServers
    assert (port, backlog, host) == (2762, BACKLOG, "127.0.0.1")
    assert isinstance(factory.buildProtocol(None), TLSMemoryBIOProtocol)
    assert len(script.endpoint.certificates) == 1
    assert Script().endpoint.certificates == []


def test_a_port_that_is_taken_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def taken(*arguments: Any, **more: Any) -> None:
        raise CannotListenError("127.0.0.1", 11112, OSError(98, "in use"))

    monkeypatch.setattr(MemoryReactorClock, "listenTCP", taken)
    with pytest.raises(ConfigurationError, match=r"endpoints\.scp: cannot listen.*11112"):
        Script()


@pytest.mark.parametrize(
    ("options", "titles", "peer", "rejection"),
    [
        ({"require_called_aet": True}, {"called": "OTHER"}, "10.0.0.7", AssociateRJ(1, 1, 7)),
        ({"require_known_aet": True}, {"calling": "STRANGER"}, "10.0.0.7", AssociateRJ(1, 1, 3)),
        ({"require_known_aet": True}, {"calling": "VIEWER"}, "10.0.0.8", AssociateRJ(1, 1, 3)),
        ({"max_associations": 1}, {}, "10.0.0.7", AssociateRJ(2, 3, 2)),
    ],
)
def test_who_is_not_to_be_let_in_is_rejected(
    options: dict[str, Any], titles: dict[str, str], peer: str, rejection: AssociateRJ
) -> None:
    script = Script(aet_table={"VIEWER": AETableEntry("10.0.0.7", 104)}, **options)
    script.associate(ECHO, called="ARCHIVE", calling="VIEWER")
    refused = script.connect(peer)
    assert refused.associate(ECHO, **titles) is None
    assert refused.saw == AssociateRejected(rejection)


def test_what_is_not_enabled_is_not_accepted() -> None:
    peer = Script(enable_find=False, enable_get=False, enable_store=False, enable_echo=False).connect()
    answer = peer.associate(
        *(ProposedContext(index, uid, (EXPLICIT,)) for index, uid in ((1, FIND), (3, GET), (5, CT), (7, VERIFICATION)))
    )
    assert answer is not None
    assert [one.result for one in answer.contexts] == [3, 3, 3, 3]


def test_instances_of_our_own_moves_are_let_in_where_nothing_is_stored() -> None:
    destination = MoveDestination("GATEWAY", MemoryReactorClock(), on_unclaimed=print)
    script = Script(enable_store=False, enable_get=False, require_called_aet=True, destinations=[destination])
    answer = script.connect().associate(ProposedContext(1, CT, ("1.2.840.10008.1.2.4.90", EXPLICIT)), called="GATEWAY")
    assert answer is not None
    assert [(one.result, one.transfer_syntax) for one in answer.contexts] == [(0, "1.2.840.10008.1.2.4.90")]


@pytest.mark.parametrize(
    ("backend", "answered"),
    [
        (SimpleNamespace(relational_queries=True), b"\1"),
        (SimpleNamespace(relational_queries=None), b"\0"),
        (None, b"\0"),
    ],
)
def test_relational_queries_are_negotiated_for_a_backend_that_has_them(backend: Any, answered: bytes) -> None:
    answer = (
        Script(backend=backend)
        .connect()
        .associate(ProposedContext(1, FIND, (EXPLICIT,)), extended_negotiation={FIND: b"\1"})
    )
    assert answer is not None
    assert answer.extended_negotiation == {FIND: answered}


def test_draining_lets_an_exchange_end_and_stopping_does_not() -> None:
    script = Script()
    told: list[Any] = []
    script.pipeline.answer = lambda operation: Deferred(told.append)
    peer = script.asking(FIND)
    peer.send(CFindRQ(1, FIND), identifier())
    drained = Deferred.fromCoroutine(script.endpoint.drain())
    script.clock.advance(100.0)
    assert (drained.called, script.endpoint.under_way) == (False, 1)
    assert script.endpoint.addresses == ()
    stopped = Deferred.fromCoroutine(script.endpoint.stop())
    peer.pump()
    assert isinstance(peer.saw, Aborted)
    assert (len(told), stopped.called, script.endpoint.under_way) == (1, True, 0)
    peer.disconnect()
    assert drained.called
    assert script.clock.getDelayedCalls() == []


def test_it_can_be_stopped_before_it_started() -> None:
    script = Script()
    endpoint = DicomSCPEndpoint(script.endpoint._context)
    assert Deferred.fromCoroutine(endpoint.stop()).called
    assert Deferred.fromCoroutine(endpoint.drain()).called


def test_nothing_is_left_after_an_association() -> None:
    script = Script()
    peer = script.associate(ECHO)
    peer.send(CEchoRQ(1, VERIFICATION))
    peer.release()
    peer.disconnect()
    assert script.clock.getDelayedCalls() == []


def test_retiring_leaves_the_address_and_waits_for_those_who_are_there() -> None:
    script = Script()
    peer = script.asking(VERIFICATION)
    retired = Deferred.fromCoroutine(script.endpoint.retire())
    assert script.endpoint.addresses == ()
    script.clock.pump([1.0] * 5)
    [answer] = peer.send(CEchoRQ(1, VERIFICATION), context_id=1)
    assert answer.command.status == 0
    assert not retired.called
    peer.release()
    peer.disconnect()
    assert retired.called


def test_what_never_listened_has_nothing_to_retire_from() -> None:
    named = SimpleNamespace(name="scp", options=DicomSCPOptions(local_aet="GATEWAY"))
    context: Any = SimpleNamespace(settings=named, reactor=None)
    assert Deferred.fromCoroutine(DicomSCPEndpoint(context).retire()).called


def test_who_takes_its_address_has_the_next_association() -> None:
    ports = Ports(MemoryReactorClock())
    first, second = Script(ports=ports), Script(ports=ports)
    assert len(ports) == 1
    retired = Deferred.fromCoroutine(first.endpoint.retire())
    assert (retired.called, len(ports)) == (True, 1)
    assert [one.port for one in second.endpoint.addresses] == [11112]
