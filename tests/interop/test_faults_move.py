"""A retrieval by C-MOVE fails: what is promised and does not arrive, and what arrives and was not asked for."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pytest_twisted import ensureDeferred

from harmonygw.dicom.dimse import statuses
from tests.interop.connection import Asked, Connection
from tests.interop.held import STUDY_FIND, STUDY_MOVE, Held, study_of
from tests.interop.house import CLIENT, ENDS, STUDY, House
from tests.interop.pacs import PACS, deliver
from tests.interop.processes import free_port

MOVES_ONLY = (STUDY_FIND, STUDY_MOVE)


def moving(folder: Path, pacs: PACS, **options: Any) -> House:
    """A gateway that may move, in front of a PACS that cannot do anything else."""
    pacs.models = MOVES_ONLY
    pacs.move_port = free_port()
    return House(folder, pacs, incoming_store_port=pacs.move_port, **options)


@ensureDeferred
async def test_without_c_get_the_gateway_moves_and_remembers_it(tmp_path: Path) -> None:
    pacs = PACS(study_of(3))
    async with moving(tmp_path, pacs) as house:
        for _ in range(2):
            reply = await house.retrieve()
            assert (reply.status, reply.whole, reply.content.count(b"DICM")) == (200, True, 3)
        assert house.target["retrieve"] == "C-MOVE"
        # One association for queries, one on which C-GET was not accepted, one for moves, one that delivers each.
        assert pacs.seen.count("A-ASSOCIATE-RQ") == 3
        assert pacs.seen.count("C-MOVE-RQ") == 2


@ensureDeferred
async def test_the_port_may_be_open_only_while_a_move_is_under_way(tmp_path: Path) -> None:
    pacs = PACS(study_of(1))
    async with moving(tmp_path, pacs, persistent_store_scp=False) as house:
        assert house.target["incoming_store_port"] is None
        for _ in range(2):
            assert (await house.retrieve()).whole
            await house.freed()
            assert house.target["incoming_store_port"] is None


@ensureDeferred
async def test_without_a_port_a_pacs_that_cannot_c_get_is_502(tmp_path: Path) -> None:
    pacs = PACS(study_of(1))
    pacs.models = MOVES_ONLY
    async with House(tmp_path, pacs) as house:
        house.recovers = False
        reply = await house.retrieve()
        assert reply.status == 502
        assert "(C-GET)" in reply.problem["detail"]


@ensureDeferred
async def test_success_without_any_instance_is_502_after_the_grace_time(tmp_path: Path) -> None:
    async def claims(connection: Connection, asked: Asked) -> None:
        connection.final(asked, completed=1)

    pacs = PACS(study_of(1), move=claims)
    async with moving(tmp_path, pacs) as house:
        reply = await house.retrieve()
        assert reply.status == 502
        assert "sent nothing of what it lists" in reply.problem["detail"]
        assert pacs.seen.count("C-MOVE-RQ") == 2
        await house.audited("Accessed 8", users=CLIENT[:2])


@ensureDeferred
async def test_an_instance_that_comes_shortly_after_the_final_response_counts(tmp_path: Path) -> None:
    async def final_first(connection: Connection, asked: Asked) -> None:
        connection.final(asked, completed=2)
        await deliver(connection, asked, connection.pacs.matching(asked))

    async with moving(tmp_path, PACS(study_of(2), move=final_first)) as house:
        reply = await house.retrieve()
        assert (reply.whole, reply.content.count(b"DICM")) == (True, 2)


@ensureDeferred
async def test_an_association_lost_amid_a_move_breaks_the_reply_off(tmp_path: Path) -> None:
    async def one_then_reset(connection: Connection, asked: Asked) -> None:
        await deliver(connection, asked, connection.pacs.held[:1])
        connection.reset()

    async with moving(tmp_path, PACS(study_of(2), move=one_then_reset)) as house:
        reply = await house.retrieve()
        assert reply.is_broken_off
        assert (await house.logged())["reason"].startswith("TransportError: ")
        await house.audited("Begin 0", "Transferred 0", "Transferred 8", users=ENDS, instances=1)


@pytest.mark.parametrize(
    ("held", "message_id", "kind"),
    [
        (Held(), 9999, "unsolicited_object"),
        (Held(study="9.9"), None, "unsolicited_object"),
        (Held(patient="P2"), None, "patients_differ"),
    ],
    ids=["of another move", "of another study", "of another patient"],
)
@ensureDeferred
async def test_what_the_move_did_not_ask_for_is_refused(
    tmp_path: Path, held: Held, message_id: int | None, kind: str
) -> None:
    answered: list[int] = []

    async def smuggle(connection: Connection, asked: Asked) -> None:
        answered.extend(await deliver(connection, asked, [held], message_id=message_id))
        if not connection.cancelled:
            connection.final(asked, completed=0)

    async def obey(connection: Connection) -> None:
        connection.final(pacs.asked[-1], statuses.CANCEL)

    pacs = PACS(study_of(1), move=smuggle, cancel=obey)
    async with moving(tmp_path, pacs) as house:
        reply = await house.retrieve()
        assert reply.status == 502
        assert b"DICM" not in reply.raw
        assert set(answered) == {statuses.NOT_AUTHORIZED}
        alerts = [f"Alert {kind} 8"] * pacs.seen.count("C-MOVE-RQ")
        await house.audited(*alerts, "Accessed 8", users=CLIENT[:2])


@ensureDeferred
async def test_what_comes_after_a_cancelled_move_is_refused(tmp_path: Path) -> None:
    answered: list[int] = []

    async def one_and_wait(connection: Connection, asked: Asked) -> None:
        await deliver(connection, asked, connection.pacs.held[:1])

    async def obey_late(connection: Connection) -> None:
        asked = pacs.asked[-1]
        connection.final(asked, statuses.CANCEL)
        answered.extend(await deliver(connection, asked, connection.pacs.held[1:]))
        pacs.happened("late")

    pacs = PACS(study_of(2), move=one_and_wait, cancel=obey_late)
    async with moving(tmp_path, pacs) as house:
        client = await house.connect()
        client.request(STUDY, 'multipart/related; type="application/dicom"; transfer-syntax=*')
        await client.bytes_received(1000)
        client.transport.abortConnection()
        await pacs.saw("late")
        assert answered == [statuses.NOT_AUTHORIZED]
        assert (await house.logged())["outcome"] == "client_gone"
        await house.audited("Begin 0", "Transferred 0", "Transferred 4", "Alert unsolicited_object 8", instances=1)


@ensureDeferred
async def test_what_nobody_asked_for_is_refused_at_any_time(tmp_path: Path) -> None:
    answered: list[int] = []

    async def unasked(connection: Connection, asked: Asked) -> None:
        move = replace(asked, command=_Destination(asked.command.message_id))
        answered.extend(await deliver(connection, move, connection.pacs.held, message_id=1))
        connection.found(asked)

    pacs = PACS(study_of(1), find=unasked)
    async with moving(tmp_path, pacs) as house:
        await house.ask("/dicom/studies?StudyInstanceUID=1.2")
        assert answered == [statuses.NOT_AUTHORIZED]
        await house.audited("Alert unsolicited_object 8", "Query 0", users=CLIENT)


class _Destination:
    """Enough of a C-MOVE-RQ to deliver to us without having been asked."""

    move_destination = "HARMONYGW"

    def __init__(self, message_id: int) -> None:
        self.message_id = message_id
