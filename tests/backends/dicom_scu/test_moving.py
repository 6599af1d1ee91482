"""C-MOVE to somebody else, in front of a scripted PACS; and the service that a retrieval names."""

from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor as _reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater

from harmonygw.dicom.dimse import statuses
from harmonygw.dicom.dimse.commands import CMoveRSP
from harmonygw.errors import NotAcceptable, NotFound, RejectedError, TimedOut, TransportError
from harmonygw.net.association.destination import MESSAGE_IDS
from harmonygw.operations import Level, Move, MoveResult, Retrieve
from tests.backends.dicom_scu.backends import Running
from tests.interop.connection import Asked, Connection
from tests.interop.held import PATIENT_FIND, PATIENT_MOVE, STUDY_FIND, STUDY_GET, STUDY_MOVE, study_of
from tests.interop.pacs import PACS, drop, silence
from tests.interop.processes import free_port

reactor: Any = _reactor

STUDY = Move(Level.STUDY, "1.2", "ELSEWHERE")


def finally_(status: int = statuses.SUCCESS, **counts: int) -> Any:
    """A stage that sends this final response."""

    async def move(connection: Connection, asked: Asked) -> None:
        connection.final(asked, status, **counts)

    return move


def pending(connection: Connection, asked: Asked) -> None:
    command = asked.command
    rsp = CMoveRSP(command.message_id, command.affected_sop_class_uid, statuses.PENDING, remaining=2, completed=1)
    connection.send(asked.context_id, rsp)


async def moved(running: Running, move: Move = STUDY) -> Any:
    reply, _ = await running.ask(move)
    return reply.result


@pytest.mark.parametrize(
    ("move", "keys"),
    [
        (STUDY, {"00080052": "STUDY", "0020000D": "1.2"}),
        (
            Move(Level.SERIES, "1.2", "ELSEWHERE", "1.2.3"),
            {"00080052": "SERIES", "0020000D": "1.2", "0020000E": "1.2.3"},
        ),
        (
            Move(Level.IMAGE, "1.2", "ELSEWHERE", "1.2.3", ("1.2.3.4",), "P1"),
            {"00080052": "IMAGE", "0020000D": "1.2", "0020000E": "1.2.3", "00080018": "1.2.3.4"},
        ),
    ],
)
@ensureDeferred
async def test_the_archive_is_told_what_to_send_and_where_to(move: Move, keys: dict[str, str]) -> None:
    async with Running(PACS(move=finally_(completed=3, warning=1))) as running:
        reply, request = await running.ask(move)
        assert reply.result == MoveResult(3, 1)
        assert (request.record.dimse_status, request.record.instances, request.record.target) == (0, 3, "pacs")
        [asked] = running.pacs.asked
        assert asked.command.move_destination == "ELSEWHERE"
        assert {tag: one["Value"][0] for tag, one in asked.identifier.items()} == keys


@ensureDeferred
async def test_counts_that_are_not_told_are_not_known() -> None:
    async with Running(PACS(move=finally_())) as running:
        assert await moved(running) == MoveResult(None, None)


@ensureDeferred
async def test_no_sub_operation_at_all_is_not_found() -> None:
    async with Running(PACS(move=finally_(completed=0))) as running:
        with pytest.raises(NotFound, match="archive: the archive has nothing"):
            await moved(running)


@pytest.mark.parametrize(
    ("status", "counts"),
    [
        (statuses.SUB_OPERATIONS_WARNING, {"completed": 1, "failed": 2, "warning": 0}),
        (statuses.UNABLE_TO_PERFORM_SUB_OPERATIONS, {"completed": 0, "failed": 3}),
        (statuses.SUCCESS, {"completed": 2, "failed": 1}),
        (statuses.MOVE_DESTINATION_UNKNOWN, {}),
        (statuses.CANCEL, {"completed": 1}),
    ],
)
@ensureDeferred
async def test_what_was_not_all_sent_is_a_failure_with_its_counts(status: int, counts: dict[str, int]) -> None:
    async with Running(PACS(move=finally_(status, **counts))) as running:
        with pytest.raises(RejectedError, match=f"everything to ELSEWHERE: status {status:04X}H") as caught:
            await moved(running)
        assert caught.value.status == status
        assert caught.value.members == {**counts, "failed_sop_instance_uids": []}


@ensureDeferred
async def test_an_archive_without_c_move_is_rejected() -> None:
    pacs = PACS()
    pacs.models = (STUDY_FIND, STUDY_GET)
    async with Running(pacs) as running:
        with pytest.raises(RejectedError, match="C-MOVE"):
            await moved(running)


@ensureDeferred
async def test_a_silent_archive_is_timed_out() -> None:
    async with Running(PACS(move=silence)) as running:
        with pytest.raises(TimedOut, match="timeout_secs"):
            await moved(running)


@ensureDeferred
async def test_a_pending_response_is_an_answer() -> None:
    async def slow(connection: Connection, asked: Asked) -> None:
        pending(connection, asked)
        await deferLater(reactor, 1.1)  # longer than `timeout_secs`, which is for the first answer
        connection.final(asked, completed=1)

    async with Running(PACS(move=slow)) as running:
        assert await moved(running) == MoveResult(1, None)


@ensureDeferred
async def test_a_silence_after_it_has_its_own_time_out() -> None:
    async def stuck(connection: Connection, asked: Asked) -> None:
        pending(connection, asked)

    async with Running(PACS(move=stuck), silence_timeout_secs=0.2) as running:
        with pytest.raises(TimedOut, match="silence"):
            await moved(running)


@ensureDeferred
async def test_an_association_that_is_lost_before_any_answer_is_tried_once_more() -> None:
    async def drop_once(connection: Connection, asked: Asked) -> None:
        connection.pacs.move = finally_(completed=1)
        connection.reset()

    async with Running(PACS(move=drop_once)) as running:
        reply, request = await running.ask(STUDY)
        assert reply.result == MoveResult(1, None)
        assert any("tried once more" in note for note in request.record.notes)


@ensureDeferred
async def test_twice_is_a_failure_and_so_is_a_loss_after_an_answer() -> None:
    async with Running(PACS(move=drop)) as running:
        with pytest.raises(TransportError):
            await moved(running)
        assert running.pacs.seen.count("C-MOVE-RQ") == 2

    async def half(connection: Connection, asked: Asked) -> None:
        pending(connection, asked)
        await deferLater(reactor, 0.05)
        connection.reset()

    async with Running(PACS(move=half)) as running:
        with pytest.raises(TransportError):
            await moved(running)
        assert running.pacs.seen.count("C-MOVE-RQ") == 1


@ensureDeferred
async def test_who_gives_it_up_has_it_cancelled() -> None:
    async def stuck(connection: Connection, asked: Asked) -> None:
        await connection.pacs.saw("C-CANCEL-RQ")
        connection.final(asked, statuses.CANCEL, completed=1)

    taken = len(MESSAGE_IDS._taken)
    async with Running(PACS(move=stuck)) as running:
        moving = Deferred.fromCoroutine(moved(running))
        await running.pacs.saw("C-MOVE-RQ")
        moving.cancel()
        with pytest.raises(CancelledError):
            await moving
        await running.pacs.saw("C-CANCEL-RQ")
    assert len(MESSAGE_IDS._taken) == taken


@ensureDeferred
async def test_the_gateway_itself_is_not_somebody_else() -> None:
    async with Running(PACS(), local_aet="GATEWAY") as running:
        with pytest.raises(NotAcceptable, match="local_aet"):
            await moved(running, Move(Level.STUDY, "1.2", "GATEWAY"))
        assert running.pacs.seen == []


@ensureDeferred
async def test_in_patient_root_the_patient_is_named() -> None:
    pacs = PACS(move=finally_(completed=1))
    pacs.models = (PATIENT_FIND, PATIENT_MOVE)
    async with Running(pacs, information_model="patient") as running:
        with pytest.raises(NotAcceptable, match="names the patient"):
            await moved(running)
        assert await moved(running, Move(Level.STUDY, "1.2", "ELSEWHERE", patient_id="P1")) == MoveResult(1, None)
        assert running.pacs.asked[-1].identifier["00100020"]["Value"] == ["P1"]


# The service that a Retrieve names


def served(pacs: PACS) -> list[str]:
    return [one for one in pacs.seen if one in ("C-GET-RQ", "C-MOVE-RQ")]


async def retrieved(running: Running, service: Any) -> int:
    return len(await running.result(Retrieve(Level.STUDY, "1.2", service=service)))


@pytest.mark.parametrize("mode", ["auto", "get", "move"])
@ensureDeferred
async def test_a_service_that_is_named_is_used_whatever_the_configuration_prefers(mode: str) -> None:
    pacs = PACS(study_of(2))
    pacs.move_port = free_port()
    async with Running(pacs, dimse_retrieve_mode=mode, incoming_store_port=pacs.move_port) as running:
        before = running.backend.state()["retrieve"]
        assert await retrieved(running, "get") == 2
        assert await retrieved(running, "move") == 2
        assert served(pacs) == ["C-GET-RQ", "C-MOVE-RQ"]
        assert running.backend.state()["retrieve"] == before, "nothing is learnt from what was asked for"
        assert await retrieved(running, "") == 2
        assert served(pacs)[-1] == ("C-MOVE-RQ" if mode == "move" else "C-GET-RQ")


@ensureDeferred
async def test_a_get_that_the_archive_lacks_is_no_move() -> None:
    pacs = PACS(study_of(1))
    pacs.models = (STUDY_FIND, STUDY_MOVE)
    pacs.move_port = free_port()
    async with Running(pacs, incoming_store_port=pacs.move_port) as running:
        with pytest.raises(RejectedError, match="C-GET"):
            await retrieved(running, "get")
        assert served(pacs) == []


@ensureDeferred
async def test_a_move_to_the_gateway_needs_a_port() -> None:
    async with Running(PACS(study_of(1))) as running:
        with pytest.raises(NotAcceptable, match="incoming_store_port"):
            await retrieved(running, "move")
        assert served(running.pacs) == []
