"""N-ACTION, and the report that may follow on the same association."""

from typing import Any

import pytest

from harmonygw.dicom.dataset.json_decoding import from_json
from harmonygw.dicom.dataset.json_encoding import to_json
from harmonygw.dicom.dataset.references import Reference
from harmonygw.dicom.dimse.commands import NActionRQ, NActionRSP, NEventReportRQ, NEventReportRSP
from harmonygw.dicom.dimse.commitment import STORAGE_COMMITMENT, STORAGE_COMMITMENT_INSTANCE, Report, action_information
from harmonygw.dicom.upperlayer.negotiation import AssociateRQ, ProposedContext
from harmonygw.errors import NotAcceptable, PeerError, TimedOut, TransportError
from harmonygw.net.association.action import ActionOperation
from harmonygw.net.association.operations import Outcome
from harmonygw.net.association.requestor import Association
from tests.net.association.peers import CT, EXPLICIT, PACS, Network, a_abort, failure, result
from tests.net.association.scripted_peer import Message

RQ = AssociateRQ("ARCHIVE", "GATEWAY", (ProposedContext(1, STORAGE_COMMITMENT, (EXPLICIT,)),))
INFORMATION = action_information("2.25.7", (Reference(CT, "1.1"),))
EVENT = from_json({"00081195": {"vr": "UI", "Value": ["2.25.7"]}}, EXPLICIT, character_set=())
RSP = NActionRSP(1, STORAGE_COMMITMENT, STORAGE_COMMITMENT_INSTANCE, 0x0000, 1)
REPORT = NEventReportRQ(3, STORAGE_COMMITMENT, STORAGE_COMMITMENT_INSTANCE, 1)


class Asked:
    """An association on which safekeeping has been asked for."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.association: Association
        self.peer: PACS
        self.association, self.peer = network.associate(RQ)
        self.reports: list[tuple[str, Report]] = []
        self.operation: ActionOperation = self.association.action(
            STORAGE_COMMITMENT, STORAGE_COMMITMENT_INSTANCE, 1, INFORMATION, self.take
        )

    def take(self, peer: str, report: Report) -> int:
        self.reports.append((peer, report))
        return 0


@pytest.fixture
def asked(network: Network) -> Asked:
    return Asked(network)


def test_the_request_goes_out_and_its_response_is_the_outcome(asked: Asked) -> None:
    [came] = asked.peer.take()
    assert came.command == NActionRQ(1, STORAGE_COMMITMENT, STORAGE_COMMITMENT_INSTANCE, 1)
    assert to_json(came.data or b"", EXPLICIT) == INFORMATION
    asked.peer.send(NActionRSP(1, STORAGE_COMMITMENT, "", 0x0213, None, False, "full"))
    assert result(asked.operation.done) == Outcome(0x0213, error_comment="full")
    assert asked.association.busy
    asked.operation.finish()
    asked.operation.finish()
    assert not asked.association.busy


def test_a_report_on_the_same_association_is_taken_and_answered(asked: Asked) -> None:
    asked.peer.take()
    asked.peer.send(RSP)
    assert asked.peer.send(REPORT, EVENT) == [
        Message(NEventReportRSP(3, STORAGE_COMMITMENT, STORAGE_COMMITMENT_INSTANCE, 0, 1))
    ]
    assert asked.reports == [("ARCHIVE", Report("2.25.7", frozenset(), {}))]
    asked.operation.finish()


def test_the_peer_may_be_silent_once_it_has_answered(asked: Asked) -> None:
    asked.peer.send(RSP)
    asked.network.pass_time(100)
    assert not asked.association.is_closed
    asked.operation.finish()


def test_without_an_answer_the_association_is_aborted(asked: Asked) -> None:
    asked.network.pass_time(21)
    with pytest.raises(TimedOut, match="no answer to N-ACTION within 20 s"):
        result(asked.operation.done)
    assert asked.association.is_closed


@pytest.mark.parametrize("messages", [[(REPORT, EVENT)], [(RSP, None), (RSP, None)]])
def test_a_report_before_the_response_or_a_second_response_is_nonsense(asked: Asked, messages: list[Any]) -> None:
    for command, data in messages:
        asked.peer.send(command, data)
    assert asked.peer.new.endswith(a_abort(2, 2))
    if len(messages) == 1:
        assert isinstance(failure(asked.operation.done), PeerError)


def test_the_loss_of_the_association_fails_what_waits_and_nothing_else(asked: Asked) -> None:
    asked.peer.disconnect()
    assert isinstance(failure(asked.operation.done), TransportError)
    later = Asked(asked.network)
    later.peer.send(RSP)
    later.peer.disconnect()
    assert result(later.operation.done).status == 0
    assert later.operation.ended


def test_a_peer_without_the_service_is_not_asked(network: Network) -> None:
    network.endpoint.behaviour = lambda peer: peer.accept(without=(STORAGE_COMMITMENT,))
    with pytest.raises(NotAcceptable):
        Asked(network)
