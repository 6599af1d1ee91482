from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs

from harmonygw.dicom.dataset.json_decoding import from_json
from harmonygw.dicom.dimse.commands import (
    CEchoRQ,
    CEchoRSP,
    CFindRQ,
    CFindRSP,
    NEventReportRQ,
    NEventReportRSP,
    encode_command,
)
from harmonygw.dicom.dimse.commitment import STORAGE_COMMITMENT, STORAGE_COMMITMENT_INSTANCE, Report
from harmonygw.dicom.upperlayer.events import Aborted
from harmonygw.dicom.upperlayer.negotiation import ProposedContext
from harmonygw.errors import Denied, RateLimited, TransportError
from harmonygw.exchange import AssociationOrigin, Reply, Request
from harmonygw.operations import Echo
from harmonygw.pipeline import Proceed
from tests.endpoints.dicom_scp.scripted import (
    AE_TITLE,
    EXPLICIT,
    FIND,
    PATIENT_FIND,
    VERIFICATION,
    Script,
    identifier,
    key,
    stream,
)
from tests.net.association.scripted_peer import Message, ScriptedPeer


def refused_for(peer: ScriptedPeer) -> tuple[int, int]:
    peer.pump()
    assert isinstance(peer.saw, Aborted)
    return peer.saw.source, peer.saw.reason


def test_an_echo_is_answered_by_the_endpoint_itself() -> None:
    script = Script()
    with capturedLogs() as events:
        assert script.asking(VERIFICATION).send(CEchoRQ(3, VERIFICATION)) == [
            Message(CEchoRSP(3, VERIFICATION, 0x0000))
        ]
    assert script.pipeline.requests == []
    [line] = [event["exchange"] for event in events if "exchange" in event]
    assert (line["operation"], line["outcome"], line["peer"]) == ("C-ECHO", "complete", "10.0.0.7")


class Refusing:
    """Middleware that raises an error; it remembers what it was asked."""

    def __init__(self, error: Exception) -> None:
        self._error = error
        self.asked: list[Any] = []

    async def intercept(self, request: Request, proceed: Proceed) -> Reply:
        self.asked.append((request.origin, request.operation))
        raise self._error


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (Denied("rule wards"), 0x0124),
        (RateLimited("too many"), 0x0213),
        (TransportError("gone"), 0x0110),
        (ZeroDivisionError("bug"), 0x0110),
    ],
)
def test_middleware_may_refuse_an_echo(error: Exception, status: int) -> None:
    middleware = Refusing(error)
    script = Script(middleware=[middleware])  # type: ignore[list-item]
    assert script.asking(VERIFICATION).send(CEchoRQ(3, VERIFICATION)) == [Message(CEchoRSP(3, VERIFICATION, status))]
    assert middleware.asked == [(AssociationOrigin("VIEWER", AE_TITLE), Echo())]


def test_an_echo_on_the_context_of_another_service_is_refused() -> None:
    assert Script().asking(FIND).send(CEchoRQ(3, FIND)) == [Message(CEchoRSP(3, FIND, 0x0122))]


def test_a_request_for_another_sop_class_than_its_contexts_is_refused() -> None:
    script = Script()
    [answer] = script.asking(FIND).send(CFindRQ(3, PATIENT_FIND), identifier())
    assert answer.command == CFindRSP(3, PATIENT_FIND, 0x0122, False, "the presentation context is of another service")
    assert script.pipeline.requests == []


def test_a_request_before_the_last_was_answered_aborts_the_association() -> None:
    script = Script()
    told: list[Any] = []
    script.pipeline.answer = lambda operation: Deferred(told.append)
    peer = script.asking(FIND)
    peer.send(CFindRQ(1, FIND), identifier())
    peer.send(CFindRQ(2, FIND), identifier())
    assert refused_for(peer) == (2, 2)
    assert (len(told), script.endpoint.under_way) == (1, 0)


def test_a_message_of_a_service_that_was_not_negotiated_aborts_the_association() -> None:
    peer = Script().asking(FIND)
    command = bytes.fromhex("0000 0001 0200 0000 1001 0000 1001 0200 0000 0100 0000 0008 0200 0000 0101")
    peer.put(1, command, is_command=True)
    assert refused_for(peer) == (2, 2)


@pytest.mark.parametrize(("length", "aborted"), [(32768, False), (32770, True)])
def test_an_identifier_has_a_greatest_length(length: int, aborted: bool) -> None:
    script = Script(max_identifier_bytes=32768)
    script.pipeline.answer = lambda operation: stream()
    peer = script.asking(FIND)
    query = identifier()
    padding = length - len(query) - 12
    query += bytes.fromhex("E07F1000 4F420000") + padding.to_bytes(4, "little") + bytes(padding)
    assert len(query) == length
    peer.put(1, encode_command(CFindRQ(1, FIND)), is_command=True)
    peer.put(1, query)
    assert len(peer.take()) == (0 if aborted else 1)
    assert peer.protocol.is_closed is aborted
    if aborted:
        assert refused_for(peer) == (2, 6)


def test_a_peer_that_falls_silent_amid_an_identifier_is_aborted() -> None:
    script = Script()
    peer = script.asking(FIND)
    peer.put(1, encode_command(CFindRQ(1, FIND)), is_command=True)
    peer.put(1, identifier()[:10], is_last=False)
    peer.pump()
    script.clock.advance(59.0)
    assert not peer.protocol.is_closed
    script.clock.advance(2.0)
    assert refused_for(peer) == (0, 0)


def test_an_association_that_waits_for_the_archive_is_not_idle() -> None:
    script = Script()
    pending: Deferred[Any] = Deferred()
    script.pipeline.answer = lambda operation: pending
    peer = script.asking(FIND)
    peer.send(CFindRQ(1, FIND), identifier())
    script.clock.pump([100.0] * 10)
    pending.callback(stream())
    assert len(peer.take()) == 1
    script.clock.advance(299.0)
    assert not peer.protocol.is_closed
    script.clock.advance(2.0)
    assert refused_for(peer) == (0, 0)


class Transactions:
    """The storage commitments of one archive."""

    def __init__(self) -> None:
        self.reports: list[tuple[str, Report]] = []

    def knows(self, transaction_uid: str) -> bool:
        return transaction_uid == "2.25.7"

    def take(self, peer_ae_title: str, report: Report) -> int:
        self.reports.append((peer_ae_title, report))
        return 0x0000


def test_a_report_of_a_storage_commitment_goes_to_who_asked_for_it() -> None:
    transactions = Transactions()
    script = Script(commitments=(transactions,))
    context = ProposedContext(1, STORAGE_COMMITMENT, (EXPLICIT,), scu_role=False, scp_role=True)
    peer = script.associate(context, calling="PACS")
    event = NEventReportRQ(5, STORAGE_COMMITMENT, STORAGE_COMMITMENT_INSTANCE, 1)
    for transaction, status in (("2.25.7", 0x0000), ("2.25.8", 0x0115)):
        information = from_json({"00081195": key("UI", transaction)}, EXPLICIT, character_set=())
        assert peer.send(event, information) == [
            Message(NEventReportRSP(5, STORAGE_COMMITMENT, STORAGE_COMMITMENT_INSTANCE, status, 1))
        ]
    assert transactions.reports == [("PACS", Report("2.25.7", frozenset(), {}))]
    assert peer.send(NEventReportRQ(7, STORAGE_COMMITMENT, STORAGE_COMMITMENT_INSTANCE, 1, False))[0].command == (
        NEventReportRSP(7, STORAGE_COMMITMENT, STORAGE_COMMITMENT_INSTANCE, 0x0114, 1)
    )


def test_reports_are_taken_only_where_something_was_asked_and_from_a_provider() -> None:
    as_provider = ProposedContext(1, STORAGE_COMMITMENT, (EXPLICIT,), scu_role=False, scp_role=True)
    as_user = ProposedContext(1, STORAGE_COMMITMENT, (EXPLICIT,))
    for script, context in ((Script(), as_provider), (Script(commitments=(Transactions(),)), as_user)):
        answer = script.connect().associate(context)
        assert answer is not None
        assert [one.result for one in answer.contexts] != [0]
