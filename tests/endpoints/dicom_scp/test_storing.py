from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import capturedLogs

from harmonygw.dicom.dataset.json_decoding import from_json
from harmonygw.dicom.dimse.commands import CStoreRQ, CStoreRSP, encode_command
from harmonygw.dicom.upperlayer.events import Aborted
from harmonygw.dicom.upperlayer.negotiation import ProposedContext
from harmonygw.errors import BadRequest, Busy, Denied
from harmonygw.net.association.destination import MoveDestination, Unclaimed
from harmonygw.net.association.receiving import Admission
from harmonygw.operations import Store, StoreResult
from harmonygw.streams import Feed, Instance
from tests.alerted import alerts
from tests.endpoints.dicom_scp.scripted import AE_TITLE, CT, EXPLICIT, Script, key, stream
from tests.net.association.scripted_peer import Message, ScriptedPeer

UID = "1.2.3.4"
RQ = CStoreRQ(7, CT, UID)
OBJECT = from_json(
    {
        "00080016": key("UI", CT),
        "00080018": key("UI", UID),
        "0020000D": key("UI", "1.2"),
        "0020000E": key("UI", "1.2.3"),
        "7FE00010": {"vr": "OB", "InlineBinary": "AAAA" * 30_000},
    },
    character_set=(),
)


class Archive:
    """Takes instances, and answers each with the next of its statuses."""

    def __init__(self, *statuses: int) -> None:
        self._statuses = list(statuses)
        self.instances: list[Instance] = []
        self.received: list[bytes] = []
        self.broken: list[BaseException] = []

    def __call__(self, operation: Any) -> Feed[StoreResult]:
        assert isinstance(operation, Store)
        results: Feed[StoreResult] = Feed(limit=10, on_abort=lambda reason: self.reading.cancel())
        self.reading = Deferred.fromCoroutine(self._read(operation, results))
        self.reading.addErrback(lambda failure: self.broken.append(failure.value) or results.fail(failure.value))
        return results

    async def _read(self, operation: Store, results: Feed[StoreResult]) -> None:
        async for instance in operation.instances:
            self.instances.append(instance)
            pieces = [bytes(piece) async for some in instance.data_set for piece in some]
            self.received.append(b"".join(pieces))
            results.put(StoreResult(instance.sop_class_uid, instance.sop_instance_uid, self._statuses.pop(0), "why"))
        results.end()


def response(status: int, comment: str = "", *, message_id: int = 7) -> list[Message]:
    return [Message(CStoreRSP(message_id, CT, UID, status, comment))]


def lines(events: list[Any]) -> list[dict[str, Any]]:
    return [event["exchange"] for event in events if "exchange" in event]


@pytest.mark.parametrize("status", [0x0000, 0xB000, 0xA700])
def test_an_instance_goes_into_the_pipeline_and_its_result_is_the_response(status: int) -> None:
    script = Script()
    script.pipeline.answer = archive = Archive(status)
    with capturedLogs() as events:
        assert script.asking(CT).send(RQ, OBJECT) == response(status)
    [instance] = archive.instances
    assert archive.received == [OBJECT]
    assert (instance.sop_class_uid, instance.sop_instance_uid, instance.transfer_syntax_uid) == (CT, UID, EXPLICIT)
    assert (instance.study_instance_uid, instance.series_instance_uid) == ("1.2", "1.2.3")
    assert (instance.source_ae_title, instance.receiving_ae_title) == ("VIEWER", AE_TITLE)
    [line] = lines(events)
    assert (line["operation"], line["dimse_status"], line["bytes"]) == ("C-STORE", f"{status:04X}H", len(OBJECT))
    assert (line["outcome"], line["instances"]) == (("failed", 0) if status == 0xA700 else ("complete", 1))


def test_instances_follow_each_other_on_one_association() -> None:
    script = Script()
    script.pipeline.answer = archive = Archive(0, 0)
    peer = script.asking(CT)
    for message_id in (1, 2):
        assert peer.send(CStoreRQ(message_id, CT, UID), OBJECT) == response(0, message_id=message_id)
    assert archive.received == [OBJECT, OBJECT]
    assert (script.endpoint.under_way, peer.protocol.valve.held) == (0, False)


@pytest.mark.parametrize(
    ("error", "status", "outcome"),
    [
        (Denied("rule wards"), 0x0124, "refused"),
        (Busy("full"), 0xA700, "failed"),
        (BadRequest("no"), 0xC000, "failed"),
        (ZeroDivisionError("bug"), 0x0110, "failed"),
    ],
)
def test_a_refusal_is_answered_when_the_instance_has_arrived_whole(error: Exception, status: int, outcome: str) -> None:
    script = Script()
    script.pipeline.answer = lambda operation: error
    peer = script.asking(CT)
    peer.put(1, encode_command(RQ), is_command=True)
    with capturedLogs() as events:
        peer.put(1, OBJECT[:200], is_last=False)
        assert peer.take() == []
    [line] = lines(events)
    assert (line["outcome"], line["dimse_status"]) == (outcome, f"{status:04X}H")
    peer.put(1, OBJECT[200:])
    assert peer.take() == response(status)
    assert not peer.protocol.valve.held


def test_an_archive_that_says_nothing_has_failed() -> None:
    script = Script()
    script.pipeline.answer = lambda operation: stream()
    assert script.asking(CT).send(RQ, OBJECT) == response(0x0110)


def test_a_slow_archive_slows_the_peer_down() -> None:
    script = Script()
    pending: Deferred[Any] = Deferred()
    script.pipeline.answer = lambda operation: pending
    peer = script.asking(CT)
    peer.put(1, encode_command(RQ), is_command=True)
    big = OBJECT[:-90_000] + bytes(420_000)
    peer.put(1, big[:400_000], is_last=False)
    peer.pump()
    assert peer.protocol.valve.held
    script.clock.advance(100.0)
    assert not peer.protocol.is_closed
    archive = Archive(0)
    pending.callback(archive(script.pipeline.operations[0]))
    assert not peer.protocol.valve.held
    peer.put(1, big[400_000:])
    assert peer.take() == response(0x0000)
    assert archive.received == [big]


@pytest.mark.parametrize("end", ["abort", "release", "disconnect"])
def test_a_peer_that_goes_amid_an_instance_cancels_the_storage(end: str) -> None:
    script = Script()
    script.pipeline.answer = archive = Archive(0)
    peer = script.asking(CT)
    peer.put(1, encode_command(RQ), is_command=True)
    peer.put(1, OBJECT[:200], is_last=False)
    peer.pump()
    assert script.endpoint.under_way == 1
    with capturedLogs() as events:
        getattr(peer, end)()
    [line] = lines(events)
    assert (line["outcome"], line["dimse_status"]) == ("client_gone", None)
    assert script.endpoint.under_way == 0
    assert archive.received == []
    assert [type(one) for one in archive.broken] == [CancelledError]


def test_a_peer_that_falls_silent_amid_an_instance_is_aborted() -> None:
    script = Script()
    script.pipeline.answer = Archive(0)
    peer = script.asking(CT)
    peer.put(1, encode_command(RQ), is_command=True)
    peer.put(1, OBJECT[:200], is_last=False)
    peer.pump()
    script.clock.advance(59.0)
    assert not peer.protocol.is_closed
    script.clock.advance(2.0)
    peer.pump()
    assert isinstance(peer.saw, Aborted)


def test_an_instance_on_a_context_of_another_class_or_role_is_refused() -> None:
    script = Script()
    peer = script.associate(
        ProposedContext(1, CT, (EXPLICIT,), scu_role=False, scp_role=True),
        ProposedContext(3, "1.2.840.10008.5.1.4.1.1.4", (EXPLICIT,)),
    )
    assert peer.send(RQ, OBJECT) == response(0x0122, "the role was not negotiated")
    assert peer.send(RQ, OBJECT, context_id=3) == response(0x0122, "the SOP class is not the presentation context's")
    assert script.pipeline.requests == []


def test_an_instance_is_refused_where_a_get_was_negotiated_and_storage_is_not_enabled() -> None:
    script = Script(enable_store=False)
    with alerts() as raised:
        peer = script.getting((CT, EXPLICIT))
        assert peer.send(RQ, OBJECT, context_id=3) == response(0x0124, "storage is not enabled")
    assert [one.kind for one in raised] == ["unsolicited_object"]


class OurMoves:
    """A C-MOVE of ours under way, and what came of it."""

    def __init__(self, script_clock: Any = None) -> None:
        self.unclaimed: list[Unclaimed] = []
        self.destination = MoveDestination("GATEWAY", script_clock, on_unclaimed=self.unclaimed.append)
        self.move = self.destination.expect("1.2", lambda command, instance: Admission(self.move.instances), grace=5.0)
        self.rq = CStoreRQ(7, CT, UID, 0, "GATEWAY", self.move.message_id)


@pytest.mark.parametrize("enable_store", [True, False])
def test_an_instance_that_a_move_of_ours_asked_for_goes_to_that_move(enable_store: bool) -> None:
    ours = OurMoves()
    script = Script(destinations=[ours.destination], enable_store=enable_store)
    with capturedLogs() as events:
        assert script.asking(CT).send(ours.rq, OBJECT) == response(0x0000)
    assert (ours.move.instances.held, script.pipeline.requests, lines(events)) == (1, [], [])


def test_without_an_originator_it_goes_to_the_archive_if_there_is_one_and_else_to_the_move_of_its_study() -> None:
    ours = OurMoves()
    script = Script(destinations=[ours.destination])
    script.pipeline.answer = archive = Archive(0)
    assert script.asking(CT).send(RQ, OBJECT) == response(0x0000)
    assert (len(archive.received), ours.move.instances.held) == (1, 0)
    assert Script(destinations=[ours.destination], enable_store=False).asking(CT).send(RQ, OBJECT) == response(0)
    assert ours.move.instances.held == 1


def test_what_nobody_asked_for_is_refused_where_nothing_is_stored() -> None:
    ours = OurMoves()
    script = Script(destinations=[ours.destination], enable_store=False)
    stranger = CStoreRQ(7, CT, UID, 0, "SOMEBODY", 4711)
    assert script.asking(CT).send(stranger, OBJECT) == response(0x0124, "nobody asked for this object")
    assert [one.sop_instance_uid for one in ours.unclaimed] == [UID]


def test_the_move_learns_that_its_object_will_not_come_whole() -> None:
    ours = OurMoves()
    script = Script(destinations=[ours.destination], enable_store=False)
    peer: ScriptedPeer = script.asking(CT)
    peer.put(1, encode_command(ours.rq), is_command=True)
    peer.put(1, OBJECT[:200], is_last=False)
    peer.pump()
    peer.abort()
    first = Deferred.fromCoroutine(_first(ours.move.instances))
    assert first.called
    errors: list[Any] = []
    first.addErrback(errors.append)
    assert "lost while an instance arrived" in str(errors[0].value)


async def _first(instances: Feed[Instance]) -> bytes:
    instance = await anext(instances)
    return b"".join([bytes(piece) async for pieces in instance.data_set for piece in pieces])


@pytest.mark.parametrize("most", [len(OBJECT), len(OBJECT) - 1, 20])
def test_an_instance_beyond_the_limit_is_refused_for_want_of_resources(most: int) -> None:
    script = Script(max_object_bytes=most)
    script.pipeline.answer = archive = Archive(0x0000, 0x0000)
    peer = script.asking(CT)
    [answer] = peer.send(RQ, OBJECT)
    assert isinstance(answer.command, CStoreRSP)
    if most == len(OBJECT):
        assert answer.command.status == 0x0000
        assert archive.received == [OBJECT]
    else:
        assert answer.command.status == 0xA700
        assert archive.received == []
    small = OBJECT[: OBJECT.index(bytes.fromhex("E07F1000"))]
    [answer] = peer.send(CStoreRQ(8, CT, UID), small)
    assert isinstance(answer.command, CStoreRSP)
    assert answer.command.status == (0xA700 if most == 20 else 0x0000)
