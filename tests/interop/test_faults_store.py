"""The PACS fails in a Store: what it refuses, and what it never answers, is reported as not stored."""

import json
from pathlib import Path
from typing import Any

import pytest
from pytest_twisted import ensureDeferred

from harmonygw.dicom.dataset.part10 import file_header
from harmonygw.dicom.dimse import statuses
from harmonygw.dicom.dimse.commands import CStoreRSP
from tests.interop.connection import Asked, Connection
from tests.interop.held import EXPLICIT, Held, study_of
from tests.interop.house import CLIENT, House, Reply
from tests.interop.pacs import PACS, silence
from tests.interop.stow import MULTIPART, Module, multipart

UIDS = ["1.2.3.4", "1.2.3.5"]


async def store(house: House, *held: Held) -> Reply:
    """Store instances by one request."""
    body = multipart(*(file_header(one.sop_class, one.sop, EXPLICIT) + one.data_set() for one in held))
    client = await house.connect()
    head = (
        "POST /dicom/studies HTTP/1.1",
        "Host: gateway",
        f"Content-Type: {MULTIPART}",
        "Accept: application/dicom+json",
        f"Content-Length: {len(body)}",
        "Connection: close",
        "",
        "",
    )
    client.transport.write("\r\n".join(head).encode() + body)
    return await client.reply()


def answer(connection: Connection, asked: Asked, status: int) -> None:
    command = asked.command
    uids = (command.affected_sop_class_uid, command.affected_sop_instance_uid)
    connection.send(asked.context_id, CStoreRSP(command.message_id, *uids, status))


@ensureDeferred
async def test_what_the_pacs_refuses_is_202_with_its_reason_and_the_rest_is_stored(tmp_path: Path) -> None:
    async def refuse_the_second(connection: Connection, asked: Asked, data: bytes) -> None:
        second = asked.command.affected_sop_instance_uid == UIDS[1]
        answer(connection, asked, statuses.OUT_OF_RESOURCES if second else statuses.SUCCESS)

    pacs = PACS(study_of(2), stored=refuse_the_second)
    async with House(tmp_path, pacs) as house:
        reply = await store(house, *study_of(2))
        module = Module(reply.content)
        assert (reply.status, module.stored) == (202, UIDS[:1])
        assert module.failed == {UIDS[1]: 0xA700}
        logged = await house.logged()
        assert (logged["outcome"], logged["instances"]) == ("complete", 1)
        assert any("A700" in note for note in logged["notes"]), logged["notes"]
        await house.audited("Begin 0", "Transferred 0", "Transferred 8", users=CLIENT, instances=1)


@pytest.mark.parametrize("fault", [Connection.reset, Connection.abort], ids=["reset", "A-ABORT"])
@ensureDeferred
async def test_what_was_sent_and_never_answered_was_not_stored(tmp_path: Path, fault: Any) -> None:
    async def lose_the_second(connection: Connection, asked: Asked, data: bytes) -> None:
        if asked.command.affected_sop_instance_uid == UIDS[1]:
            fault(connection)
        else:
            answer(connection, asked, statuses.SUCCESS)

    pacs = PACS(study_of(2), stored=lose_the_second)
    async with House(tmp_path, pacs) as house:
        reply = await store(house, *study_of(2))
        module = Module(reply.content)
        assert (reply.status, module.stored, list(module.failed)) == (202, UIDS[:1], UIDS[1:])
        await house.audited("Begin 0", "Transferred 0", "Transferred 8", users=CLIENT, instances=1)


@ensureDeferred
async def test_a_pacs_that_never_answers_has_stored_nothing(tmp_path: Path) -> None:
    pacs = PACS(study_of(1), stored=silence)
    async with House(tmp_path, pacs) as house:
        reply = await store(house, *study_of(1))
        module = Module(reply.content)
        assert (reply.status, module.stored, list(module.failed)) == (409, [], UIDS[:1])
        await pacs.saw("A-ABORT 0 0")
        assert "silence_timeout_secs" in json.dumps((await house.logged())["notes"])
        await house.audited("Begin 0", "Transferred 4", users=CLIENT, instances=0)


@ensureDeferred
async def test_a_pacs_that_is_down_is_an_error_and_no_report(tmp_path: Path) -> None:
    pacs = PACS(study_of(1))
    async with House(tmp_path, pacs) as house:
        await pacs.refuse_connections()
        reply = await store(house, *study_of(1))
        assert (reply.status, reply.problem["target"]) == (502, "pacs")
        assert pacs.received == []
        await house.audited("Begin 0", "Transferred 8", users=CLIENT, instances=0)
