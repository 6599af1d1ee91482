from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs

from harmonygw.dicom.dataset.json_decoding import from_json
from harmonygw.dicom.dataset.json_encoding import to_json
from harmonygw.dicom.dimse.commands import CCancelRQ, CFindRQ, CFindRSP, encode_command
from harmonygw.dicom.upperlayer.negotiation import ProposedContext
from harmonygw.errors import Busy, Denied, NotAcceptable, NotFound, RejectedError, TransportError
from harmonygw.exchange import AssociationOrigin
from harmonygw.operations import Find, FindWorklist, Level
from harmonygw.streams import Feed, Match
from tests.endpoints.dicom_scp.scripted import (
    AE_TITLE,
    CT,
    EXPLICIT,
    FIND,
    GET,
    IMPLICIT,
    PATIENT_FIND,
    Script,
    identifier,
    key,
    stream,
)
from tests.net.association.scripted_peer import Message

WORKLIST = "1.2.840.10008.5.1.4.31"
NAME, STUDY = "00100010", "0020000D"
RQ = CFindRQ(7, FIND)
QUERY = identifier("STUDY", _0020000D=key("UI"), _00100010=key("PN", {"Alphabetic": "Doe*"}))


def row(uid: str) -> Match:
    return {STUDY: key("UI", uid), NAME: key("PN", {"Alphabetic": "Doe^Jane"})}


def final(status: int, comment: str = "") -> Message:
    return Message(CFindRSP(7, FIND, status, False, comment))


def exchanges(events: list[Any]) -> list[dict[str, Any]]:
    return [event["exchange"] for event in events if "exchange" in event]


def test_a_query_goes_into_the_pipeline_and_its_matches_come_as_pending_responses() -> None:
    script = Script()
    script.pipeline.answer = lambda operation: stream(row("1.2"), row("1.3"))
    with capturedLogs() as events:
        first, second, last = script.asking(FIND).send(RQ, QUERY)
    assert first.command == second.command == CFindRSP(7, FIND, 0xFF00, True)
    assert to_json(second.data or b"", EXPLICIT) == {
        "00080052": key("CS", "STUDY"),
        "00080054": key("AE", AE_TITLE),
        NAME: key("PN", {"Alphabetic": "Doe^Jane"}),
        STUDY: key("UI", "1.3"),
    }
    assert last == final(0x0000)
    [request] = script.pipeline.requests
    assert request.operation == Find(Level.STUDY, {NAME: key("PN", {"Alphabetic": "Doe*"})}, {STUDY: key("UI")})
    assert (request.origin, request.peer) == (AssociationOrigin("VIEWER", "ARCHIVE"), "10.0.0.7")
    [line] = exchanges(events)
    assert (line["operation"], line["outcome"], line["matches"]) == ("C-FIND", "complete", 2)
    assert (line["dimse_status"], line["calling_ae_title"], line["correlation_id"]) == (
        "0000H",
        "VIEWER",
        request.correlation_id,
    )
    assert line["bytes"] == len(first.data or b"") + len(second.data or b"")
    assert script.endpoint.under_way == 0


def test_an_identifier_may_come_in_many_fragments_and_in_implicit_vr() -> None:
    script = Script()
    script.pipeline.answer = lambda operation: stream()
    peer = script.asking(PATIENT_FIND, IMPLICIT)
    query = identifier("PATIENT", IMPLICIT, _00100020=key("LO", "P1"))
    command = CFindRQ(7, PATIENT_FIND)
    peer.put(1, encode_command(command), is_command=True)
    for offset in range(0, len(query), 2):
        peer.put(1, query[offset : offset + 2], is_last=offset + 2 >= len(query))
    assert peer.take() == [Message(CFindRSP(7, PATIENT_FIND, 0x0000, False))]
    assert script.pipeline.operations == [Find(Level.PATIENT, {"00100020": key("LO", "P1")})]


@pytest.mark.parametrize(
    ("error", "status", "comment", "outcome"),
    [
        (NotFound("nothing"), 0x0000, "", "complete"),
        (Denied("rule wards"), 0x0124, "not authorized", "refused"),
        (Busy("the queue is full"), 0xA700, "the queue is full", "failed"),
        (TransportError("no route", log_detail="10.1.1.1"), 0xC000, "no route", "failed"),
        (RejectedError("refused", status=0xA701), 0xA701, "refused", "failed"),
        (ZeroDivisionError("bug"), 0xC000, "internal error", "failed"),
    ],
)
def test_a_failure_has_its_status_and_the_association_lives(
    error: Exception, status: int, comment: str, outcome: str
) -> None:
    script = Script()
    script.pipeline.answer = lambda operation: error
    peer = script.asking(FIND)
    with capturedLogs() as events:
        assert peer.send(RQ, QUERY) == [final(status, comment)]
    [line] = exchanges(events)
    assert (line["outcome"], line["dimse_status"]) == (outcome, f"{status:04X}H")
    script.pipeline.answer = lambda operation: stream()
    assert peer.send(RQ, QUERY) == [final(0x0000)]


def test_a_failure_after_some_matches_is_the_final_response() -> None:
    script = Script()
    feed: Feed[Match] = Feed(limit=10)
    script.pipeline.answer = lambda operation: feed
    peer = script.asking(FIND)
    feed.put(row("1.2"))
    assert [one.command.status for one in peer.send(RQ, QUERY)] == [0xFF00]  # type: ignore[union-attr]
    feed.fail(TransportError("the archive is gone"))
    assert peer.take() == [final(0xC000, "the archive is gone")]


def test_an_identifier_that_asks_for_no_level_is_refused_without_a_question() -> None:
    script = Script()
    [answer] = script.asking(FIND).send(RQ, identifier("VISIT"))
    assert answer.command.status == 0xA900  # type: ignore[union-attr]
    assert script.pipeline.requests == []


def test_a_query_on_the_context_of_another_service_is_refused() -> None:
    script = Script()
    [answer] = script.asking(GET).send(CFindRQ(7, GET), QUERY)
    assert answer.command == CFindRSP(7, GET, 0x0122, False, "the presentation context is of another service")
    assert script.pipeline.requests == []


def test_a_context_on_which_we_are_no_scp_is_of_no_service() -> None:
    script = Script()
    peer = script.associate(ProposedContext(1, CT, (EXPLICIT,), scu_role=False, scp_role=True))
    [answer] = peer.send(CFindRQ(7, CT), QUERY)
    assert answer.command.status == 0x0122  # type: ignore[union-attr]


def test_a_cancelled_query_ends_with_fe00_and_the_archive_is_told() -> None:
    script = Script()
    aborted: list[BaseException] = []
    feed: Feed[Match] = Feed(limit=10, on_abort=aborted.append)
    script.pipeline.answer = lambda operation: feed
    peer = script.asking(FIND)
    feed.put(row("1.2"))
    peer.send(RQ, QUERY)
    assert script.endpoint.under_way == 1
    assert peer.send(CCancelRQ(6)) == []
    with capturedLogs() as events:
        assert peer.send(CCancelRQ(7)) == [final(0xFE00)]
    assert len(aborted) == 1
    [line] = exchanges(events)
    assert (line["outcome"], line["reason"], line["matches"]) == ("client_gone", "C-CANCEL-RQ", 1)
    assert peer.send(CCancelRQ(7)) == []


def test_a_query_can_be_cancelled_while_the_pipeline_has_not_answered() -> None:
    script = Script()
    told: list[Any] = []
    script.pipeline.answer = lambda operation: Deferred(told.append)
    peer = script.asking(FIND)
    peer.send(RQ, QUERY)
    assert peer.send(CCancelRQ(7)) == [final(0xFE00)]
    assert len(told) == 1


@pytest.mark.parametrize("end", ["abort", "release", "disconnect"])
def test_a_peer_that_goes_cancels_the_pipeline(end: str) -> None:
    script = Script()
    told: list[Any] = []
    script.pipeline.answer = lambda operation: Deferred(told.append)
    peer = script.asking(FIND)
    peer.send(RQ, QUERY)
    with capturedLogs() as events:
        getattr(peer, end)()
    [line] = exchanges(events)
    assert (line["outcome"], line["dimse_status"]) == ("client_gone", None)
    assert (len(told), script.endpoint.under_way, peer.take()) == (1, 0, [])


def test_a_result_that_is_given_up_elsewhere_is_a_failure() -> None:
    script = Script()
    pending: Deferred[Any] = Deferred()
    script.pipeline.answer = lambda operation: pending
    peer = script.asking(FIND)
    peer.send(RQ, QUERY)
    pending.cancel()
    assert peer.take() == [final(0xC000, "the operation was given up")]


def test_a_peer_that_does_not_read_is_not_sent_more_and_aborted_in_the_end() -> None:
    script = Script()
    aborted: list[BaseException] = []
    feed: Feed[Match] = Feed(limit=1000, on_abort=aborted.append)
    for number in range(500):
        feed.put(row(f"1.2.{number}"))
    script.pipeline.answer = lambda operation: feed
    peer = script.asking(FIND)
    peer.protocol.pauseProducing()
    peer.send(RQ, QUERY)
    assert feed.held == 499
    peer.protocol.resumeProducing()
    assert feed.held == 0
    feed.put(row("1.3"))
    peer.protocol.pauseProducing()
    feed.put(row("1.4"))
    assert len(peer.take()) == 501
    feed.put(row("1.5"))
    with capturedLogs() as events:
        script.clock.advance(61.0)
    assert len(aborted) == 1
    [line] = exchanges(events)
    assert (line["outcome"], line["dimse_status"]) == ("aborted", None)
    assert script.endpoint.under_way == 0


def study(patient_id: str, uid: str, *, issuer: str = "", name: str = "Doe^Jane") -> dict[str, Any]:
    return {
        "00100010": key("PN", {"Alphabetic": name}),
        "00100020": key("LO", *([patient_id] if patient_id else [])),
        "00100021": key("LO", *([issuer] if issuer else [])),
        "0020000D": key("UI", uid),
    }


PATIENTS = identifier("PATIENT", _00100010=key("PN", {"Alphabetic": "D*"}), _00100020=key("LO"), _00201200=key("IS"))


def test_patients_of_an_archive_without_that_level_are_those_of_its_studies() -> None:
    script = Script()
    rows = [
        study("P1", "1.2"), study("P1", "1.3"), study("P1", "1.4", issuer="B"), study("P2", "1.5"),
        study("", "1.6", name="Doe^A"), study("", "1.7", name="Doe^A"), study("", "1.8", name="Doe^B"),
    ]  # fmt: skip
    script.pipeline.answer = lambda operation: (
        NotAcceptable("no PATIENT level") if operation.level is Level.PATIENT else stream(*rows)
    )
    answers = script.asking(PATIENT_FIND).send(CFindRQ(7, PATIENT_FIND), PATIENTS)
    found = [to_json(one.data, EXPLICIT) for one in answers if one.data is not None]
    assert [one["00100020"].get("Value") for one in found] == [["P1"], ["P1"], ["P2"], None, None]
    assert all(one["00080052"] == key("CS", "PATIENT") and "0020000D" not in one for one in found)
    assert all(one["00201200"] == key("IS") for one in found)
    assert script.pipeline.operations[1] == Find(
        Level.STUDY,
        {"00100010": key("PN", {"Alphabetic": "D*"})},
        {"00100020": key("LO"), "00100021": key("LO")},
    )


def test_a_query_of_another_level_that_an_archive_cannot_answer_is_refused() -> None:
    script = Script()
    script.pipeline.answer = lambda operation: NotAcceptable("no relational queries")
    [last] = script.asking(PATIENT_FIND).send(CFindRQ(7, PATIENT_FIND), identifier("STUDY"))
    assert last.command == CFindRSP(7, PATIENT_FIND, 0xA900, False, "no relational queries")
    assert len(script.pipeline.requests) == 1


@pytest.mark.parametrize(("patients", "status"), [(2, 0x0000), (3, 0xA700)])
def test_more_patients_than_can_be_told_apart_fail_the_query(
    monkeypatch: pytest.MonkeyPatch, patients: int, status: int
) -> None:
    monkeypatch.setattr("harmonygw.endpoints.dicom_scp.patients.MAX_PATIENTS", 2)
    script = Script()
    rows = [study(f"P{number}", f"1.{number}") for number in range(patients)]
    script.pipeline.answer = lambda operation: (
        NotAcceptable("no PATIENT level") if operation.level is Level.PATIENT else stream(*rows)
    )
    last = script.asking(PATIENT_FIND).send(CFindRQ(7, PATIENT_FIND), PATIENTS)[-1]
    assert last.command.status == status  # type: ignore[union-attr]


def test_what_an_archive_warns_of_is_said_with_the_success() -> None:
    script = Script()

    class Warned(Feed[Any]):
        warnings = ("archive b did not answer",)

    found = Warned(limit=1)
    found.end()
    script.pipeline.answer = lambda operation: found
    [last] = script.asking(FIND).send(CFindRQ(7, FIND), identifier())
    assert last.command == CFindRSP(7, FIND, 0x0000, False, "archive b did not answer")


def test_a_worklist_query_has_no_level_and_its_steps_come_as_they_are() -> None:
    script = Script(enable_worklist=True)
    step = {"00400100": key("SQ", {"00080060": key("CS", "CT")}), "00100020": key("LO", "P1")}
    script.pipeline.answer = lambda operation: stream(step)
    query = {"00400100": key("SQ", {"00080060": key("CS", "CT")}), "00100020": key("LO")}
    data = from_json(query, EXPLICIT, character_set=())
    match, last = script.asking(WORKLIST).send(CFindRQ(7, WORKLIST), data)
    assert to_json(match.data or b"", EXPLICIT) == step
    assert last == Message(CFindRSP(7, WORKLIST, 0x0000, False))
    assert script.pipeline.operations == [FindWorklist(query)]


def test_the_worklist_is_offered_when_it_is_enabled_only() -> None:
    answer = Script().connect().associate(ProposedContext(1, WORKLIST, (EXPLICIT,)))
    assert answer is not None
    assert [one.result for one in answer.contexts] == [3]
