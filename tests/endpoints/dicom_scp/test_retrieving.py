"""C-GET: what is sent, what is counted, and what is said at the end."""

from dataclasses import replace
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import capturedLogs

from harmonygw.dicom.dataset.json_encoding import to_json
from harmonygw.dicom.dimse.commands import CCancelRQ, CGetRSP, CStoreRQ, CStoreRSP
from harmonygw.dicom.dimse.statuses import Category
from harmonygw.dicom.upperlayer.events import Aborted
from harmonygw.endpoints.dicom_scp.identifiers import MAX_FAILED_UIDS, failed_list
from harmonygw.endpoints.dicom_scp.retrieving import MAX_NUMBER, Tally
from harmonygw.errors import Busy, Conflict, Incomplete, NotAcceptable, NotFound, TransportError
from harmonygw.operations import Find, Level, Operation, Retrieve
from harmonygw.streams import Feed, Instance
from tests.endpoints.dicom_scp.retrieving import COUNT, RQ, STUDY, answering, get, response, stored
from tests.endpoints.dicom_scp.scripted import (
    CT,
    EXPLICIT,
    IMPLICIT,
    JPEG_2000,
    MR,
    Script,
    identifier,
    instance,
    key,
    stream,
)
from tests.net.association.scripted_peer import Message


def test_a_get_sends_each_instance_and_counts() -> None:
    script = Script()
    script.pipeline.answer = answering(instance(1, b"one"), instance(2, b"tw", b"o!"))
    peer = script.getting((CT, EXPLICIT))
    with capturedLogs() as events:
        came = get(peer)
    assert came == [
        Message(CStoreRQ(1, CT, "1.2.3.1"), b"one\0"),
        Message(response(0xFF00, remaining=1, completed=1)),
        Message(CStoreRQ(2, CT, "1.2.3.2"), b"two!"),
        Message(response(0xFF00, remaining=0, completed=2)),
        Message(response(0x0000, completed=2)),
    ]
    count, retrieve = script.pipeline.operations
    assert count == Find(Level.STUDY, {"0020000D": key("UI", "1.2")}, {COUNT: key("IS")})
    assert retrieve == Retrieve(Level.STUDY, "1.2", transfer_syntaxes=(EXPLICIT,))
    [line] = [event["exchange"] for event in events if "exchange" in event]
    assert (line["operation"], line["outcome"], line["instances"], line["bytes"]) == ("C-GET", "complete", 2, 7)


@pytest.mark.parametrize(
    ("statuses", "final", "failed"),
    [
        ((0x0000, 0x0000), response(0x0000, completed=2), []),
        ((0xB000, 0x0000), response(0xB000, completed=1, warning=1), []),
        ((0xA700, 0x0000), response(0xB000, completed=1, failed=1, has_data_set=True), ["1.2.3.1"]),
        ((0xA700, 0xB007), response(0xB000, warning=1, failed=1, has_data_set=True), ["1.2.3.1"]),
        ((0xC000, 0xFF00), response(0xA702, failed=2, has_data_set=True), ["1.2.3.1", "1.2.3.2"]),
    ],
)
def test_the_final_status_says_what_became_of_the_sub_operations(
    statuses: tuple[int, int], final: CGetRSP, failed: list[str]
) -> None:
    script = Script()
    script.pipeline.answer = answering(instance(1), instance(2))
    last = get(script.getting((CT, EXPLICIT)), *statuses)[-1]
    assert last.command == final
    refused = script.pipeline.requests[-1].record.not_taken
    assert refused == ({("", CT): len(failed)} if failed else {})
    listed = to_json(last.data, EXPLICIT) if last.data is not None else {}
    assert listed.get("00080058", {}).get("Value", []) == failed


def test_what_no_context_carries_fails_and_the_rest_is_sent() -> None:
    script = Script()
    script.pipeline.answer = answering(
        instance(1, syntax=JPEG_2000), instance(2, sop_class_uid=MR), instance(3, b"three")
    )
    *_, sent, _pending, last = get(script.getting((CT, EXPLICIT)))
    assert sent == Message(CStoreRQ(1, CT, "1.2.3.3"), b"three\0")
    assert last.command == response(0xB000, completed=1, failed=2, has_data_set=True)
    assert to_json(last.data or b"", EXPLICIT) == {"00080058": key("UI", "1.2.3.1", "1.2.3.2")}


def test_a_native_instance_is_converted_to_the_native_syntax_that_was_accepted() -> None:
    script = Script()
    explicit = bytes.fromhex("08001800 5549 0400") + b"1.2\0"
    script.pipeline.answer = answering(instance(1, explicit[:6], explicit[6:]))
    [sent, *_] = get(script.getting((CT, IMPLICIT)))
    assert sent.data == bytes.fromhex("08001800 04000000") + b"1.2\0"


def test_what_was_accepted_is_asked_for_in_the_order_of_the_proposal() -> None:
    script = Script()
    script.pipeline.answer = answering()
    get(script.getting((CT, JPEG_2000), (MR, EXPLICIT), (CT, EXPLICIT)))
    assert script.pipeline.operations[-1].transfer_syntaxes == (JPEG_2000, EXPLICIT)


def test_an_instance_that_cannot_be_read_at_all_fails_alone() -> None:
    script = Script()
    script.pipeline.answer = answering(
        instance(1, error=Incomplete("damaged")), instance(2, b"two"), Instance(CT, "1.2.3.3", EXPLICIT, stream())
    )
    pending, sent, *_, last = get(script.getting((CT, EXPLICIT)))
    assert pending.command == response(0xFF00, remaining=2, failed=1)
    assert sent.data == b"two\0"
    assert last.command == response(0xB000, completed=1, failed=2, has_data_set=True)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (Incomplete("damaged"), "Incomplete: damaged"),
        (CancelledError(), "TransportError: the operation was given up"),
        (ZeroDivisionError("bug"), "internal error"),
    ],
)
def test_an_instance_that_breaks_in_its_middle_aborts_the_association(error: Exception, reason: str) -> None:
    script = Script()
    script.pipeline.answer = answering(instance(1, b"begun", b"half", error=error))
    peer = script.getting((CT, EXPLICIT))
    with capturedLogs() as events:
        peer.send(RQ, STUDY)
    assert isinstance(peer.saw, Aborted)
    [line] = [event["exchange"] for event in events if "exchange" in event]
    assert (line["outcome"], line["reason"]) == ("aborted", reason)
    assert script.endpoint.under_way == 0


def test_a_retrieval_that_breaks_between_instances_is_a_failure_with_its_counters() -> None:
    script = Script()
    feed: Feed[Instance] = Feed(limit=10)
    script.pipeline.answer = lambda operation: stream({COUNT: key("IS", 5)}) if isinstance(operation, Find) else feed
    peer = script.getting((CT, EXPLICIT))
    feed.put(instance(1))
    came = peer.send(RQ, STUDY)
    assert stored(peer, came) == [Message(response(0xFF00, remaining=4, completed=1))]
    feed.fail(TransportError("the archive is gone"))
    assert peer.take() == [Message(response(0xC000, completed=1, failed=4, error_comment="the archive is gone"))]


@pytest.mark.parametrize(
    ("error", "status", "comment"),
    [
        (Busy("full"), 0xA702, "full"),
        (Conflict("two patients"), 0xA900, "two patients"),
        (NotAcceptable("no syntax"), 0xA702, "no syntax"),
    ],
)
def test_a_refusal_of_the_pipeline_has_its_status(error: Exception, status: int, comment: str) -> None:
    script = Script()
    script.pipeline.answer = lambda operation: error
    assert get(script.getting((CT, EXPLICIT))) == [Message(response(status, error_comment=comment))]


def test_nothing_found_is_a_success_and_does_not_end_a_retrieval_of_several() -> None:
    script = Script()

    def answer(operation: Operation) -> Any:
        if isinstance(operation, Find):
            return stream({COUNT: key("IS", 1)})
        return (
            NotFound("none")
            if operation == Retrieve(Level.STUDY, "1.2", transfer_syntaxes=(EXPLICIT,))
            else stream(instance(1))
        )

    script.pipeline.answer = answer
    peer = script.getting((CT, EXPLICIT))
    assert get(peer) == [Message(response(0x0000))]
    two = identifier("STUDY", _0020000D=key("UI", "1.2", "1.3"))
    sent, pending, last = get(peer, query=two)
    assert isinstance(sent.command, CStoreRQ)
    # One row for two studies: how many instances there are is not known then.
    assert pending.command == response(0xFF00, completed=1)
    assert last.command == response(0x0000, completed=1)


INSTANCES = identifier(
    "IMAGE",
    _0020000D=key("UI", "1.2"),
    _0020000E=key("UI", "1.2.3"),
    _00080018=key("UI", "1.2.3.1", "1.2.3.2", "1.2.3.3"),
)


@pytest.mark.parametrize(
    ("came", "final", "missing"),
    [
        ((2,), response(0xB000, completed=1, failed=2, has_data_set=True), ["1.2.3.1", "1.2.3.3"]),
        ((), response(0xA702, failed=3, has_data_set=True), ["1.2.3.1", "1.2.3.2", "1.2.3.3"]),
    ],
)
def test_an_instance_that_was_named_and_does_not_come_has_failed(
    came: tuple[int, ...], final: CGetRSP, missing: list[str]
) -> None:
    script = Script()
    script.pipeline.answer = lambda operation: stream(*map(instance, came)) if came else NotFound("none")
    last = get(script.getting((CT, EXPLICIT)), query=INSTANCES)[-1]
    final = replace(final, error_comment=f"{len(missing)} of the instances asked for did not come")
    assert last == Message(final, failed_list(missing, EXPLICIT))


@pytest.mark.parametrize(
    ("count", "missing", "final"),
    [
        (3, ("1.2.3.8",), response(0xB000, completed=1, failed=2, has_data_set=True)),
        (3, (), response(0xB000, completed=1, failed=2)),
        (Busy("full"), ("1.2.3.8", "1.2.3.9"), response(0xB000, completed=1, failed=2, has_data_set=True)),
        (Busy("full"), (), response(0xB000, completed=1, failed=1)),
    ],
)
def test_what_an_archive_could_not_send_has_failed_and_the_rest_has_come(
    count: Any, missing: tuple[str, ...], final: CGetRSP
) -> None:
    script = Script()
    feed: Feed[Instance] = Feed(limit=10)
    script.pipeline.answer = lambda operation: (
        feed
        if isinstance(operation, Retrieve)
        else count
        if isinstance(count, Exception)
        else stream({COUNT: key("IS", count)})
    )
    peer = script.getting((CT, EXPLICIT))
    feed.put(instance(1))
    stored(peer, peer.send(RQ, STUDY))
    feed.fail(Incomplete("some did not come", missing=missing))
    [last] = peer.take()
    assert last.command == replace(final, error_comment="some did not come")
    assert last.data == (failed_list(list(missing), EXPLICIT) if missing else None)


def test_named_instances_that_an_archive_no_longer_sends_are_named_as_failed() -> None:
    script = Script()
    feed: Feed[Instance] = Feed(limit=10)
    script.pipeline.answer = lambda operation: feed
    peer = script.getting((CT, EXPLICIT))
    feed.put(instance(2))
    stored(peer, peer.send(RQ, INSTANCES))
    feed.fail(TransportError("the archive is gone"))
    assert peer.take() == [
        Message(
            response(0xC000, completed=1, failed=2, has_data_set=True, error_comment="the archive is gone"),
            failed_list(["1.2.3.1", "1.2.3.3"], EXPLICIT),
        )
    ]


def test_a_reply_with_a_warning_is_answered_with_its_sentence() -> None:
    script = Script()
    script.pipeline.headers = (("Warning", '110 - "Response is Stale"'),)
    script.pipeline.answer = answering(instance(1))
    with capturedLogs() as events:
        last = get(script.getting((CT, EXPLICIT)))[-1]
    assert last == Message(response(0x0000, completed=1, error_comment='110 - "Response is Stale"'))
    [line] = [event["exchange"] for event in events if "exchange" in event]
    assert line["notes"] == ['110 - "Response is Stale"']


@pytest.mark.parametrize("count", [Busy("full"), "x"])
def test_a_count_that_fails_only_leaves_the_remaining_ones_unsaid(count: Any) -> None:
    script = Script()
    script.pipeline.answer = answering(instance(1), count=count)
    _, pending, last = get(script.getting((CT, EXPLICIT)))
    assert pending.command == response(0xFF00, completed=1)
    assert last.command == response(0x0000, completed=1)


def test_a_series_is_counted_by_its_own_number_and_images_need_no_question() -> None:
    script = Script()
    script.pipeline.answer = lambda operation: stream()
    peer = script.getting((CT, EXPLICIT))
    get(peer, query=identifier("SERIES", _0020000D=key("UI", "1.2"), _0020000E=key("UI", "1.2.3")))
    get(
        peer,
        query=identifier(
            "IMAGE", _0020000D=key("UI", "1.2"), _0020000E=key("UI", "1.2.3"), _00080018=key("UI", "1", "2")
        ),
    )
    count, series, images = script.pipeline.operations
    assert count == Find(
        Level.SERIES, {"0020000D": key("UI", "1.2"), "0020000E": key("UI", "1.2.3")}, {"00201209": key("IS")}
    )
    assert series == Retrieve(Level.SERIES, "1.2", "1.2.3", transfer_syntaxes=(EXPLICIT,))
    assert images == Retrieve(Level.IMAGE, "1.2", "1.2.3", ("1", "2"), transfer_syntaxes=(EXPLICIT,))


def test_a_get_without_a_storage_class_as_scp_is_refused() -> None:
    script = Script()
    [last] = get(script.getting())
    assert last.command == response(
        0xA702, error_comment="no storage SOP class was negotiated with the SCP role (PS3.7 D.3"
    )
    assert script.pipeline.requests == []


def test_a_get_cancelled_amid_an_instance_ends_with_that_instance() -> None:
    script = Script()
    feed: Feed[Instance] = Feed(limit=10)
    script.pipeline.answer = lambda operation: stream({COUNT: key("IS", 3)}) if isinstance(operation, Find) else feed
    for number in (1, 2, 3):
        feed.put(instance(number))
    peer = script.getting((CT, EXPLICIT))
    came = peer.send(RQ, STUDY)
    assert peer.send(CCancelRQ(7)) == []
    later = stored(peer, came)
    assert later == [
        Message(response(0xFF00, remaining=2, completed=1)),
        Message(response(0xFE00, remaining=2, completed=1)),
    ]
    assert feed.done


def test_a_get_cancelled_between_instances_ends_at_once() -> None:
    script = Script()
    told: list[BaseException] = []
    feed: Feed[Instance] = Feed(limit=10, on_abort=told.append)
    script.pipeline.answer = lambda operation: stream({COUNT: key("IS", 3)}) if isinstance(operation, Find) else feed
    peer = script.getting((CT, EXPLICIT))
    peer.send(RQ, STUDY)
    assert peer.send(CCancelRQ(7)) == [Message(response(0xFE00, remaining=3))]
    assert len(told) == 1


def test_a_peer_that_does_not_answer_a_sub_operation_is_aborted() -> None:
    script = Script()
    script.pipeline.answer = answering(instance(1))
    peer = script.getting((CT, EXPLICIT))
    peer.send(RQ, STUDY)
    with capturedLogs() as events:
        script.clock.advance(59.0)
        assert script.endpoint.under_way == 1
        script.clock.advance(2.0)
    peer.pump()
    assert isinstance(peer.saw, Aborted)
    [line] = [event["exchange"] for event in events if "exchange" in event]
    assert line["outcome"] == "aborted"
    assert "silence_timeout_secs" in line["reason"]
    assert script.endpoint.under_way == 0


@pytest.mark.parametrize("message_id", [2, 7])
def test_a_response_to_nothing_aborts_the_association(message_id: int) -> None:
    script = Script()
    script.pipeline.answer = answering(instance(1))
    peer = script.getting((CT, EXPLICIT))
    peer.send(RQ, STUDY)
    peer.send(CStoreRSP(message_id, CT, "1.2.3.1", 0x0000), context_id=3)
    assert isinstance(peer.saw, Aborted)
    assert (peer.saw.source, peer.saw.reason) == (2, 2)


def test_a_peer_that_goes_amid_an_instance_cancels_the_pipeline() -> None:
    script = Script()
    told: list[BaseException] = []
    feed: Feed[Instance] = Feed(limit=10, on_abort=told.append)
    script.pipeline.answer = lambda operation: stream() if isinstance(operation, Find) else feed
    feed.put(instance(1))
    peer = script.getting((CT, EXPLICIT))
    peer.send(RQ, STUDY)
    peer.abort()
    assert (len(told), script.endpoint.under_way) == (1, 0)


def test_a_number_is_never_more_than_a_response_can_say() -> None:
    script = Script()
    pending: Deferred[Any] = Deferred()
    script.pipeline.answer = lambda operation: (
        stream({COUNT: key("IS", MAX_NUMBER + 1)}) if isinstance(operation, Find) else pending
    )
    peer = script.getting((CT, EXPLICIT))
    peer.send(RQ, STUDY)
    [last] = peer.send(CCancelRQ(7))
    assert last.command == response(0xFE00, remaining=MAX_NUMBER)


def test_more_instances_than_were_announced_leave_none_remaining() -> None:
    tally = Tally(expected=1)
    for uid in ("1", "2"):
        tally.count(uid, Category.SUCCESS)
    assert tally.remaining == 0


def test_no_more_failed_instances_are_remembered_than_a_response_lists() -> None:
    tally = Tally()
    for number in range(MAX_FAILED_UIDS + 1):
        tally.count(f"1.2.{number}", Category.FAILURE)
    assert (tally.failed, len(tally.failed_uids)) == (MAX_FAILED_UIDS + 1, MAX_FAILED_UIDS)


def test_an_instance_of_another_study_is_not_sent() -> None:
    script = Script()
    foreign = instance(1)
    foreign.study_instance_uid = "1.9"
    script.pipeline.answer = answering(foreign)
    assert get(script.getting((CT, EXPLICIT))) == [
        Message(response(0xC000, failed=1, error_comment="the archive sent an instance of another study"))
    ]
