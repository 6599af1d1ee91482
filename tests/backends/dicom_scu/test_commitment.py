"""Storage commitment: transactions from request to report."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from harmonygw.backends.dicom_scu import commitment as module
from harmonygw.backends.dicom_scu.commitment import ANY_SCP, TRANSACTION_SECS, Commitments
from harmonygw.dicom.dataset.references import Reference
from harmonygw.dicom.dimse.commands import NActionRSP, NEventReportRQ, NEventReportRSP
from harmonygw.dicom.dimse.commitment import STORAGE_COMMITMENT, STORAGE_COMMITMENT_INSTANCE, Report
from harmonygw.dicom.upperlayer.negotiation import AssociateRQ, ProposedContext
from harmonygw.errors import Busy, Conflict, NotFound, RejectedError, TransportError
from harmonygw.exchange import AssociationOrigin, Request
from harmonygw.operations import CheckCommitment, Commitment, RequestCommitment
from tests.net.association.peers import CT, EXPLICIT, PACS, Network, failure, pending, result, spawn
from tests.net.association.test_action import EVENT

RQ = AssociateRQ("ARCHIVE", "GATEWAY", (ProposedContext(1, STORAGE_COMMITMENT, (EXPLICIT,)),))
REFERENCES = (Reference(CT, "1.1"), Reference(CT, "1.2"))
REQUEST = Request(AssociationOrigin("VIEWER", "GATEWAY"), "127.0.0.1", "id", principal="ward")
WAIT = 5.0
ACCEPTED = NActionRSP(1, STORAGE_COMMITMENT, STORAGE_COMMITMENT_INSTANCE, 0x0000, 1)


class Archive:
    """The transactions with one archive, and its ends of the associations on which it was asked."""

    def __init__(self, network: Network, called: str = "ARCHIVE") -> None:
        self.network = network
        self.commitments = Commitments(called, network.clock, wait=WAIT)
        self.peer: PACS

    def ask(self, uid: str = "2.25.7", references: tuple[Reference, ...] = REFERENCES) -> "Deferred[Commitment]":
        association, self.peer = self.network.associate(RQ)
        return spawn(self.commitments.request(REQUEST, RequestCommitment(uid, references), association))

    def take(self, peer: str = "ARCHIVE", **more: Any) -> int:
        return self.commitments.take(peer, Report("2.25.7", frozenset({"1.1"}), {"1.2": 0x0112}), **more)

    def check(self, uid: str = "2.25.7", principal: str | None = "ward") -> Commitment:
        return self.commitments.check(replace(REQUEST, principal=principal), CheckCommitment(uid))


@pytest.fixture
def network() -> Iterator[Network]:
    with Network() as network:
        yield network


def test_a_report_on_the_association_of_the_request_ends_the_wait(network: Network) -> None:
    archive = Archive(network)
    asked = archive.ask()
    archive.peer.send(ACCEPTED)
    assert (pending(asked), archive.commitments.pending) == (True, 1)
    [answer] = archive.peer.send(NEventReportRQ(1, STORAGE_COMMITMENT, STORAGE_COMMITMENT_INSTANCE, 2), EVENT)
    assert isinstance(answer.command, NEventReportRSP)
    assert answer.command.status == 0
    # What the report leaves out is not committed: it names every instance.
    assert result(asked) == Commitment(REFERENCES, {"1.1": 0x0110, "1.2": 0x0110})
    assert archive.commitments.pending == 0


def test_a_report_that_comes_later_is_found_by_a_check(network: Network) -> None:
    archive = Archive(network)
    asked = archive.ask()
    archive.peer.send(ACCEPTED)
    network.pass_time(WAIT + 0.2)
    assert result(asked) == Commitment(REFERENCES, None) == archive.check()
    assert archive.take() == 0x0000
    assert archive.check() == Commitment(REFERENCES, {"1.2": 0x0112})


def test_a_second_report_changes_nothing(network: Network) -> None:
    archive = Archive(network)
    asked = archive.ask()
    archive.peer.send(ACCEPTED)
    assert archive.take() == 0x0000
    assert archive.commitments.take("ARCHIVE", Report("2.25.7", frozenset({"1.1", "1.2"}), {})) == 0x0000
    assert result(asked) == Commitment(REFERENCES, {"1.2": 0x0112}) == archive.check()


@pytest.mark.parametrize(
    ("called", "calling", "status"),
    [("ARCHIVE", "ARCHIVE", 0x0000), ("ARCHIVE", "MALLORY", 0x0115), (ANY_SCP, "WHOEVER", 0x0000)],
)
def test_a_report_is_believed_from_whom_was_asked(network: Network, called: str, calling: str, status: int) -> None:
    archive = Archive(network, called)
    asked = archive.ask()
    archive.peer.send(ACCEPTED)
    assert archive.take(calling) == status
    assert pending(asked) is bool(status)
    network.pass_time(WAIT + 0.2)


def test_a_report_of_an_unknown_transaction_is_refused(network: Network) -> None:
    assert Archive(network).take() == 0x0115


def test_a_refusal_of_the_archive_is_a_failure_and_the_transaction_is_free_again(network: Network) -> None:
    archive = Archive(network)
    asked = archive.ask()
    archive.peer.send(NActionRSP(1, STORAGE_COMMITMENT, "", 0x0213, None, False, "full"))
    error = failure(asked)
    assert isinstance(error, RejectedError)
    assert (error.status, error.log_detail) == (0x0213, "full")
    assert not archive.commitments.knows("2.25.7")


def test_the_loss_of_the_association_before_the_answer_is_a_failure(network: Network) -> None:
    archive = Archive(network)
    asked = archive.ask()
    archive.peer.disconnect()
    assert isinstance(failure(asked), TransportError)
    with pytest.raises(NotFound):
        archive.check()


def test_a_client_that_goes_away_while_it_waits_finds_the_result_later(network: Network) -> None:
    archive = Archive(network)
    asked = archive.ask()
    archive.peer.send(ACCEPTED)
    asked.addErrback(lambda _: None)
    asked.cancel()
    assert archive.take() == 0x0000
    assert archive.check() == Commitment(REFERENCES, {"1.2": 0x0112})


def test_a_transaction_uid_is_used_once_and_known_to_its_principal_alone(network: Network) -> None:
    archive = Archive(network)
    asked = archive.ask()
    archive.peer.send(ACCEPTED)
    assert isinstance(failure(archive.ask()), Conflict)
    with pytest.raises(NotFound):
        archive.check(principal=None)
    with pytest.raises(NotFound):
        archive.check("2.25.8")
    network.pass_time(WAIT + 0.2)
    assert result(asked).failures is None


def test_a_transaction_is_forgotten_in_time(network: Network) -> None:
    archive = Archive(network)
    archive.ask()
    archive.peer.send(ACCEPTED)
    network.pass_time(WAIT + 0.2)
    network.clock.advance(TRANSACTION_SECS - WAIT - 1)
    assert archive.check().failures is None
    network.clock.advance(1)
    with pytest.raises(NotFound):
        archive.check()


@pytest.mark.parametrize(("limit", "value"), [("MAX_TRANSACTIONS", 1), ("MAX_REMEMBERED", 3)])
def test_beyond_the_limit_the_oldest_that_is_done_makes_room(
    network: Network, monkeypatch: pytest.MonkeyPatch, limit: str, value: int
) -> None:
    monkeypatch.setattr(module, limit, value)
    archive = Archive(network)
    asked = archive.ask()
    archive.peer.send(ACCEPTED)
    assert isinstance(failure(archive.ask("2.25.8")), Busy)
    assert archive.take() == 0x0000
    assert result(asked).failures == {"1.2": 0x0112}
    second = archive.ask("2.25.8")
    archive.peer.send(ACCEPTED)
    assert not archive.commitments.knows("2.25.7")
    network.pass_time(WAIT + 0.2)
    assert result(second).failures is None
