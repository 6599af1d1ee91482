"""A retrieval fails: what the client sees is a problem document before the first object, and a reset after it."""

import struct
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pytest_twisted import ensureDeferred

from harmonygw.dicom.dimse import statuses
from harmonygw.dicom.dimse.commands import CGetRQ
from tests.interop.connection import Asked, Connection
from tests.interop.held import CT, Held, study_of
from tests.interop.house import ANY_DICOM, CLIENT, ENDS, STUDY, House, Reply
from tests.interop.pacs import PACS, abort, drop, silence

BY_USER = "A-ABORT 0 0"
UNRECOGNIZED_PDU = "A-ABORT 2 1"
INVALID_PARAMETER_VALUE = "A-ABORT 2 6"
BIG = 300_000
INSTANCE = f"{STUDY}/series/1.2.3/instances/1.2.3.4"

Stage = Callable[[Connection, Asked], Awaitable[None]]


def after_one(fault: Callable[[Connection], Any]) -> Stage:
    """Send the first instance, then misbehave."""

    async def stage(connection: Connection, asked: Asked) -> None:
        assert await connection.store(connection.pacs.held[0]) == statuses.SUCCESS
        await connection.pacs.told()
        fault(connection)

    return stage


def amid_one(fault: Callable[[Connection], Any]) -> Stage:
    """Send half of the first instance, then misbehave."""

    async def stage(connection: Connection, asked: Asked) -> None:
        connection.begin_object(connection.pacs.held[0])
        await connection.pacs.told()
        fault(connection)

    return stage


def nothing(connection: Connection) -> None:
    """Fall silent."""


async def break_off(house: House, path: str = STUDY, accept: str = ANY_DICOM) -> Reply:
    """Ask, and tell the PACS to misbehave once the first bytes have come."""
    client = await house.connect()
    client.request(path, accept)
    await client.bytes_received(400)
    house.pacs.tell()
    return await client.reply()


@ensureDeferred
async def test_a_good_study_is_whole(tmp_path: Path) -> None:
    pacs = PACS(study_of(3, size=BIG))
    async with House(tmp_path, pacs) as house:
        reply = await house.retrieve()
        assert (reply.status, reply.whole, reply.reset) == (200, True, False)
        assert reply.content.count(b"DICM") == 3
        assert not reply.is_broken_off
        logged = await house.logged()
        assert (logged["outcome"], logged["instances"], logged["dimse_status"]) == ("complete", 3, "0000H")
        assert logged["bytes"] == len(reply.content)
        await house.audited("Begin 0", "Transferred 0", users=ENDS, instances=3)


@pytest.mark.parametrize("fault", [drop, abort], ids=["reset", "A-ABORT"])
@ensureDeferred
async def test_an_association_lost_before_the_first_object_is_tried_once_more(tmp_path: Path, fault: Any) -> None:
    async def once(connection: Connection, asked: Asked) -> None:
        connection.pacs.behave()
        await fault(connection)

    pacs = PACS(study_of(2), get=once)
    async with House(tmp_path, pacs) as house:
        reply = await house.retrieve()
        assert (reply.status, reply.whole) == (200, True)
        assert pacs.seen.count("C-GET-RQ") == 2
        assert "tried once more" in (await house.logged())["notes"][0]
        await house.audited("Begin 0", "Transferred 0", users=ENDS, instances=2)


@pytest.mark.parametrize("fault", [drop, abort], ids=["reset", "A-ABORT"])
@ensureDeferred
async def test_an_association_lost_before_the_first_object_twice_is_502(tmp_path: Path, fault: Any) -> None:
    pacs = PACS(study_of(2), get=fault)
    async with House(tmp_path, pacs) as house:
        reply = await house.retrieve()
        assert reply.status == 502
        assert reply.problem["detail"].startswith("archive: ")
        assert pacs.seen.count("C-GET-RQ") == 2
        await house.audited("Accessed 8", users=CLIENT[:2])


LOSSES = {
    "reset between objects": after_one(Connection.reset),
    "closed between objects": after_one(Connection.close),
    "A-ABORT between objects": after_one(Connection.abort),
    "reset amid an object": amid_one(Connection.reset),
    "closed amid an object": amid_one(Connection.close),
    "A-ABORT amid an object": amid_one(Connection.abort),
}


@pytest.mark.parametrize("loss", LOSSES)
@ensureDeferred
async def test_an_association_lost_after_the_first_byte_breaks_the_reply_off(tmp_path: Path, loss: str) -> None:
    pacs = PACS(study_of(2, size=BIG), get=LOSSES[loss])
    async with House(tmp_path, pacs) as house:
        reply = await break_off(house)
        assert reply.status == 200
        assert reply.is_broken_off
        assert pacs.seen.count("C-GET-RQ") == 1
        logged = await house.logged()
        assert (logged["outcome"], logged["status"]) == ("aborted", 200)
        assert logged["reason"].startswith("TransportError: ")
        whole = ["Transferred 0"] * ("between" in loss)
        await house.audited("Begin 0", *whole, "Transferred 8", users=ENDS, instances=len(whole))


@ensureDeferred
async def test_an_instance_by_itself_is_broken_off_too(tmp_path: Path) -> None:
    async with House(tmp_path, PACS(study_of(1, size=BIG), get=amid_one(Connection.reset))) as house:
        reply = await break_off(house, INSTANCE, "application/dicom; transfer-syntax=*")
        assert (reply.status, reply.whole, reply.reset) == (200, False, True)
        await house.audited("Begin 0", "Transferred 8", users=ENDS, instances=0)


@ensureDeferred
async def test_metadata_is_broken_off_too(tmp_path: Path) -> None:
    async with House(tmp_path, PACS(study_of(2), get=after_one(Connection.reset))) as house:
        reply = await break_off(house, f"{STUDY}/metadata", "application/dicom+json")
        assert (reply.whole, reply.content.endswith(b"]")) == (False, False)
        await house.audited("Accessed 8", users=CLIENT[:2])


@ensureDeferred
async def test_silence_before_the_first_object_is_504_and_aborted(tmp_path: Path) -> None:
    pacs = PACS(study_of(1), get=silence)
    async with House(tmp_path, pacs) as house:
        reply = await house.retrieve()
        assert reply.status == 504
        assert "silence_timeout_secs" in reply.problem["detail"]
        await pacs.saw(BY_USER)
        assert pacs.seen.count("C-GET-RQ") == 1
        await house.audited("Accessed 8", users=CLIENT[:2])


@ensureDeferred
async def test_silence_amid_an_object_breaks_the_reply_off_and_aborts_the_association(tmp_path: Path) -> None:
    pacs = PACS(study_of(1, size=BIG), get=amid_one(nothing))
    async with House(tmp_path, pacs) as house:
        reply = await break_off(house)
        assert reply.is_broken_off
        await pacs.saw(BY_USER)
        assert "silence_timeout_secs" in (await house.logged())["reason"]
        await house.audited("Begin 0", "Transferred 8", users=ENDS, instances=0)


GARBAGE = {
    "a P-DATA-TF PDU of 4 GiB": (b"\x04\x00\xff\xff\xff\xff", INVALID_PARAMETER_VALUE),
    "a PDV that overruns its PDU": (b"\x04\x00\0\0\0\x08\0\0\0\xff\x03\x00\0\0", INVALID_PARAMETER_VALUE),
    "an unknown PDU type": (b"\x5a\x00\0\0\0\x04\0\0\0\0", UNRECOGNIZED_PDU),
    "an A-ASSOCIATE-RQ": (b"\x01\x00\0\0\0\x44" + bytes(68), "A-ABORT 2 2"),
}


@pytest.mark.parametrize("fault", GARBAGE)
@ensureDeferred
async def test_what_breaks_the_protocol_breaks_the_reply_off_and_aborts(tmp_path: Path, fault: str) -> None:
    data, answer = GARBAGE[fault]
    pacs = PACS(study_of(1, size=BIG), get=amid_one(lambda connection: connection.write(data)))
    async with House(tmp_path, pacs) as house:
        reply = await break_off(house)
        assert reply.is_broken_off
        await pacs.saw(answer)
        assert (await house.logged())["reason"].startswith("PeerError: ")
        await house.audited("Begin 0", "Alert hostile_bytes 8", "Transferred 8", users=ENDS, instances=0)


# Objects that were not asked for

WRONG = {
    "of another study": (STUDY, Held(study="9.9"), "another study"),
    "of another patient": (STUDY, Held(patient="P2"), "another patient"),
    "of no patient": (STUDY, Held(patient=""), "it has no PatientID"),
    "of another series": (INSTANCE, Held(series="9.9"), "another series"),
    "of another instance": (INSTANCE, Held(sop="9.9"), "another SOP instance"),
}


@pytest.mark.parametrize("wrong", WRONG)
@ensureDeferred
async def test_an_object_that_was_not_asked_for_is_refused_and_the_exchange_fails(tmp_path: Path, wrong: str) -> None:
    path, held, why = WRONG[wrong]
    answered: list[int | None] = []

    async def send_it(connection: Connection, asked: Asked) -> None:
        answered.append(await connection.store(held))
        connection.final(asked, statuses.CANCEL)

    pacs = PACS([Held()], get=send_it)
    async with House(tmp_path, pacs) as house:
        reply = await house.ask(path, ANY_DICOM)
        assert reply.status == 502
        assert f"not asked for: {why}" in reply.problem["detail"]
        assert b"DICM" not in reply.raw
        await house.freed()
        assert answered == [statuses.NOT_AUTHORIZED]
        assert "C-CANCEL-RQ" in pacs.seen
        assert "A-ABORT 0 0" not in pacs.seen
        assert held.sop in (await house.logged())["reason"]
        kind = "patients_differ" if "patient" in wrong else "unsolicited_object"
        await house.audited(f"Alert {kind} 8", "Accessed 8", users=CLIENT[:2])


@ensureDeferred
async def test_an_object_of_another_patient_after_the_first_breaks_the_reply_off(tmp_path: Path) -> None:
    async def second_is_wrong(connection: Connection, asked: Asked) -> None:
        first, second = connection.pacs.held
        await connection.store(first)
        await connection.store(replace(second, patient="P2"))
        connection.final(asked, statuses.CANCEL)

    pacs = PACS(study_of(2), get=second_is_wrong)
    async with House(tmp_path, pacs) as house:
        reply = await house.retrieve()
        assert reply.is_broken_off
        assert reply.content.count(b"DICM") == 1
        assert b"P2" not in reply.content
        assert "another patient" in (await house.logged())["reason"]
        await house.audited(
            "Begin 0", "Alert patients_differ 8", "Transferred 0", "Transferred 8", users=ENDS, instances=1
        )


@ensureDeferred
async def test_a_patient_id_beyond_ascii_in_any_character_set_is_the_same_patient(tmp_path: Path) -> None:
    held = [Held(sop="1.1", patient="Müller", character_set="ISO_IR 100"), Held(sop="1.2", patient="Müller")]
    async with House(tmp_path, PACS(held)) as house:
        assert (await house.retrieve()).whole


@ensureDeferred
async def test_a_study_uid_of_several_patients_is_409(tmp_path: Path) -> None:
    pacs = PACS([Held(), Held(sop="1.2.3.5", patient="P2")])
    async with House(tmp_path, pacs) as house:
        house.recovers = False
        reply = await house.retrieve()
        assert reply.status == 409
        assert "several patients" in reply.problem["detail"]
        assert "C-GET-RQ" not in pacs.seen
        await house.audited("Alert patients_differ 8", "Accessed 4", users=CLIENT[:2])


def element(tag: int, value: bytes) -> bytes:
    return struct.pack("<HHI", 0, tag, len(value)) + value


def c_store_rq(uid: bytes) -> bytes:
    """A C-STORE-RQ with an Affected SOP Instance UID that no encoder of ours would write."""
    numbers = (0x0100, 1), (0x0110, 1), (0x0700, 0), (0x0800, 1)
    elements = [element(tag, struct.pack("<H", value)) for tag, value in numbers]
    elements.insert(0, element(0x0002, CT.encode() + b"\0" * (len(CT) % 2)))
    content = b"".join((*elements, element(0x1000, uid)))
    return element(0x0000, struct.pack("<I", len(content))) + content


@pytest.mark.parametrize("uid", [b"../x", b"1.2\0.3", b"1" * 65, b"1/2 ", b"1.2\r\n"])
@ensureDeferred
async def test_a_uid_that_cannot_be_one_is_502_and_aborted(tmp_path: Path, uid: bytes) -> None:
    async def hostile(connection: Connection, asked: Asked) -> None:
        context_id = connection.context_for(Held())
        assert context_id is not None
        connection.send_pdvs(context_id, c_store_rq(uid), is_command=True)

    pacs = PACS(study_of(1), get=hostile)
    async with House(tmp_path, pacs) as house:
        reply = await house.retrieve()
        assert reply.status == 502
        await pacs.saw(INVALID_PARAMETER_VALUE)
        await house.audited("Alert hostile_bytes 8", "Accessed 8", users=CLIENT[:2])


@ensureDeferred
async def test_a_data_set_that_is_none_fails_the_exchange(tmp_path: Path) -> None:
    async def nonsense(connection: Connection, asked: Asked) -> None:
        context_id = connection.context_for(Held())
        assert context_id is not None
        connection.send_pdvs(context_id, c_store_rq(b"1.2.3.4\0"), is_command=True)
        connection.send_pdvs(context_id, b"\xff" * 1000, is_command=False)
        connection.final(asked)

    pacs = PACS(study_of(1), get=nonsense)
    async with House(tmp_path, pacs) as house:
        reply = await house.retrieve()
        assert reply.status == 502
        assert b"DICM" not in reply.raw
        await house.audited("Alert unsolicited_object 8", "Accessed 8", users=CLIENT[:2])


# Final statuses that do not mean what they say


@ensureDeferred
async def test_failed_sub_operations_are_asked_for_again_and_break_the_reply_off_when_they_fail(tmp_path: Path) -> None:
    async def fails_the_second(connection: Connection, asked: Asked) -> None:
        first, second = connection.pacs.held
        if asked.matches(first):
            await connection.store(first)
        failed = int(asked.matches(second))
        connection.final(asked, statuses.SUB_OPERATIONS_WARNING if failed else statuses.SUCCESS, failed=failed)

    pacs = PACS(study_of(2), get=fails_the_second)
    async with House(tmp_path, pacs) as house:
        reply = await house.retrieve()
        assert reply.is_broken_off
        assert reply.content.count(b"DICM") == 1
        first, again = (asked for asked in pacs.asked if isinstance(asked.command, CGetRQ))
        assert (first.level, again.level) == ("STUDY", "IMAGE")
        assert again.identifier["00080018"]["Value"] == ["1.2.3.5"]
        logged = await house.logged()
        assert "Incomplete: archive: 1 of 2 instances did not come" in logged["reason"]
        assert logged["dimse_status"] == "B000H"
        await house.audited("Begin 0", "Transferred 0", "Transferred 8", users=ENDS, instances=1)


@ensureDeferred
async def test_sub_operations_that_all_failed_are_502(tmp_path: Path) -> None:
    async def fails(connection: Connection, asked: Asked) -> None:
        connection.final(asked, statuses.UNABLE_TO_PERFORM_SUB_OPERATIONS, failed=1)

    async with House(tmp_path, PACS(study_of(1), get=fails)) as house:
        reply = await house.retrieve()
        assert reply.status == 502
        assert reply.problem["dimse_status"] == "A702H"
        await house.audited("Accessed 8", users=CLIENT[:2])


@ensureDeferred
async def test_success_with_too_few_instances_is_completed_by_asking_for_the_others(tmp_path: Path) -> None:
    async def one_at_a_time(connection: Connection, asked: Asked) -> None:
        await connection.store(connection.pacs.matching(asked)[0])
        connection.final(asked)

    pacs = PACS(study_of(2), get=one_at_a_time)
    async with House(tmp_path, pacs) as house:
        reply = await house.retrieve()
        assert (reply.whole, reply.content.count(b"DICM")) == (True, 2)
        assert "1 of 2 instances" in (await house.logged())["notes"][0]


@ensureDeferred
async def test_success_with_too_few_instances_for_ever_breaks_the_reply_off(tmp_path: Path) -> None:
    async def only_the_first(connection: Connection, asked: Asked) -> None:
        if asked.matches(connection.pacs.held[0]):
            await connection.store(connection.pacs.held[0])
        connection.final(asked)

    async with House(tmp_path, PACS(study_of(2), get=only_the_first)) as house:
        reply = await house.retrieve()
        assert reply.is_broken_off
        assert reply.content.count(b"DICM") == 1
        await house.audited("Begin 0", "Transferred 0", "Transferred 8", users=ENDS, instances=1)


@ensureDeferred
async def test_success_without_any_instance_is_502(tmp_path: Path) -> None:
    async def claims(connection: Connection, asked: Asked) -> None:
        connection.final(asked, completed=1)

    async with House(tmp_path, PACS(study_of(1), get=claims)) as house:
        reply = await house.retrieve()
        assert reply.status == 502
        assert "sent nothing of what it lists" in reply.problem["detail"]
        await house.audited("Accessed 8", users=CLIENT[:2])


@ensureDeferred
async def test_a_refusal_is_502_with_its_status(tmp_path: Path) -> None:
    async def refuse(connection: Connection, asked: Asked) -> None:
        connection.final(asked, statuses.OUT_OF_RESOURCES)

    pacs = PACS(study_of(1), get=refuse)
    async with House(tmp_path, pacs) as house:
        reply = await house.retrieve()
        assert (reply.status, reply.problem["dimse_status"]) == (502, "A700H")
        assert pacs.seen.count("C-GET-RQ") == 1
        await house.audited("Accessed 8", users=CLIENT[:2])
