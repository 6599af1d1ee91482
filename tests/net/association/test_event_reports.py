"""Reports of storage commitment, on an association that the archive opens."""

from typing import Any

import pytest
from twisted.internet.address import IPv4Address

from harmonygw.dicom.dataset.json_decoding import from_json
from harmonygw.dicom.dataset.references import Reference, item
from harmonygw.dicom.dimse.commands import NEventReportRQ, NEventReportRSP, encode_command
from harmonygw.dicom.dimse.commitment import STORAGE_COMMITMENT, STORAGE_COMMITMENT_INSTANCE, Report
from harmonygw.dicom.upperlayer.negotiation import ProposedContext, SupportedContext
from harmonygw.net.association import event_reports
from harmonygw.net.association.destination import MoveDestination, MoveStorageSCP
from harmonygw.net.association.event_reports import shared_by
from harmonygw.net.association.listener import Acceptance, AssociationFactory
from tests.net.association.peers import CT, EXPLICIT, SILENCE, Network, a_abort
from tests.net.association.scripted_peer import Message, ScriptedPeer

SUPPORTED = {STORAGE_COMMITMENT: SupportedContext((EXPLICIT,), scp=False, scu=True)}
RQ = NEventReportRQ(5, STORAGE_COMMITMENT, STORAGE_COMMITMENT_INSTANCE, 1)
INFORMATION = from_json(
    {
        "00081195": {"vr": "UI", "Value": ["2.25.7"]},
        "00081199": {"vr": "SQ", "Value": [item(Reference(CT, "1.1"))]},
    },
    EXPLICIT,
    character_set=(),
)


def rsp(status: int) -> list[Message]:
    return [Message(NEventReportRSP(5, STORAGE_COMMITMENT, STORAGE_COMMITMENT_INSTANCE, status, 1))]


class Reporting:
    """Our listener, and an archive that reports."""

    def __init__(self, network: Network) -> None:
        self.clock = network.clock
        self.reports: list[tuple[str, Report]] = []
        self.status = 0x0000
        destination = MoveDestination("GATEWAY", network.clock, on_unclaimed=lambda _: None)
        self.factory = AssociationFactory(
            Acceptance("GATEWAY", SUPPORTED, silence_timeout=SILENCE, idle_timeout=10_000.0),
            lambda factory, peer: MoveStorageSCP(factory, peer, destination, self.take),
            network.clock,
        )
        self.peers: list[ScriptedPeer] = []

    def take(self, calling_ae_title: str, report: Report) -> int:
        self.reports.append((calling_ae_title, report))
        return self.status

    def associate(self, **roles: Any) -> ScriptedPeer | None:
        protocol = self.factory.buildProtocol(IPv4Address("TCP", "10.0.0.9", 11112))
        assert protocol is not None
        peer = ScriptedPeer(protocol, self.clock)
        self.peers.append(peer)
        answer = peer.associate(ProposedContext(1, STORAGE_COMMITMENT, (EXPLICIT,), **roles), calling="ARCHIVE")
        assert answer is not None
        return peer if [one.result for one in answer.contexts] == [0] else None

    def archive(self) -> ScriptedPeer:
        peer = self.associate(scu_role=False, scp_role=True)
        assert peer is not None
        return peer


@pytest.fixture
def ours(network: Network) -> Any:
    reporting = Reporting(network)
    yield reporting
    for peer in reporting.peers:
        peer.disconnect()


def test_a_report_is_taken_from_whom_it_comes_and_answered(ours: Reporting) -> None:
    archive = ours.archive()
    assert archive.send(RQ, INFORMATION) == rsp(0x0000)
    assert ours.reports == [("ARCHIVE", Report("2.25.7", frozenset({"1.1"}), {}))]
    ours.status = 0x0115
    assert archive.send(RQ, INFORMATION) == rsp(0x0115)


def test_a_report_may_come_in_parts(ours: Reporting) -> None:
    archive = ours.archive()
    archive.put(1, encode_command(RQ), is_command=True)
    for offset in range(0, len(INFORMATION), 2):
        archive.put(1, INFORMATION[offset : offset + 2], is_last=offset + 2 >= len(INFORMATION))
    assert archive.take() == rsp(0x0000)


def test_who_does_not_say_that_he_is_the_provider_is_not_let_in(ours: Reporting) -> None:
    assert ours.associate() is None


def test_an_event_without_information_or_of_another_class_says_nothing(ours: Reporting) -> None:
    archive = ours.archive()
    bare = NEventReportRQ(5, STORAGE_COMMITMENT, STORAGE_COMMITMENT_INSTANCE, 1, False)
    assert archive.send(bare) == rsp(0x0114)
    other = NEventReportRQ(5, CT, STORAGE_COMMITMENT_INSTANCE, 1)
    assert archive.send(other, INFORMATION) == [Message(NEventReportRSP(5, CT, STORAGE_COMMITMENT_INSTANCE, 0x0118, 1))]
    assert ours.reports == []


@pytest.mark.parametrize("beyond", [0, 2])
def test_a_report_has_a_greatest_length(ours: Reporting, beyond: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_reports, "MAX_EVENT_LENGTH", len(INFORMATION) - beyond)
    archive = ours.archive()
    came = archive.send(RQ, INFORMATION)
    assert came == ([] if beyond else rsp(0x0000))
    assert archive.sent.endswith(a_abort(2, 6)) is bool(beyond)


def test_what_cannot_be_read_aborts_the_association(ours: Reporting) -> None:
    archive = ours.archive()
    assert archive.send(RQ, INFORMATION[:-1]) == []
    assert archive.protocol.is_closed
    assert ours.reports == []


def test_an_archive_that_falls_silent_amid_a_report_is_aborted(ours: Reporting) -> None:
    archive = ours.archive()
    archive.put(1, encode_command(RQ), is_command=True)
    archive.put(1, INFORMATION[:10], is_last=False)
    archive.pump()
    ours.clock.advance(SILENCE - 1)
    assert not archive.protocol.is_closed
    ours.clock.advance(2)
    assert archive.protocol.is_closed


def test_of_several_archives_the_one_that_was_asked_takes_the_report() -> None:
    class Transactions:
        def __init__(self, known: str, status: int) -> None:
            self.known, self.status = known, status

        def knows(self, transaction_uid: str) -> bool:
            return transaction_uid == self.known

        def take(self, peer_ae_title: str, report: Report) -> int:
            return self.status

    take = shared_by(lambda: (Transactions("2.25.1", 1), Transactions("2.25.2", 2)))
    assert take("ARCHIVE", Report("2.25.2", frozenset(), {})) == 2
    assert take("ARCHIVE", Report("2.25.3", frozenset(), {})) == 0x0115
