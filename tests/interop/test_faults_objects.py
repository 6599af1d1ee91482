"""What the PACS sends is hostile by its content: nesting without end, a little that inflates to much, odd UIDs."""

import json
import struct
import zlib
from pathlib import Path

import pytest
from pytest_twisted import ensureDeferred

from harmonygw.dicom.dimse.commands import CFindRSP, CStoreRQ
from tests.interop.connection import Asked, Connection
from tests.interop.held import CT, EXPLICIT, Held, study_of
from tests.interop.house import STUDY, House
from tests.interop.pacs import PACS

DEFLATED = "1.2.840.10008.1.2.1.99"
ITEM = struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)


def nested(group: int, depth: int = 10_000) -> bytes:
    """Sequences of undefined length in each other, without end."""
    return (struct.pack("<HH2sHI", group, 0x1115, b"SQ", 0, 0xFFFFFFFF) + ITEM) * depth


def send_object(connection: Connection, data: bytes, syntax: str = EXPLICIT) -> None:
    """Send a C-STORE-RQ with these bytes."""
    for context_id, context in connection.upper_layer.contexts.items():
        if (context.abstract_syntax, context.transfer_syntax) == (CT, syntax):
            connection.send(context_id, CStoreRQ(1, CT, "1.2.3.4"), data)


@ensureDeferred
async def test_a_match_nested_without_end_is_502_naming_the_limit(tmp_path: Path) -> None:
    async def row(connection: Connection, asked: Asked) -> None:
        rsp = CFindRSP(asked.command.message_id, asked.command.affected_sop_class_uid, 0xFF00, has_data_set=True)
        connection.send(asked.context_id, rsp, nested(0x0008))

    pacs = PACS(study_of(1), find=row)
    async with House(tmp_path, pacs) as house:
        reply = await house.ask("/dicom/studies?StudyInstanceUID=1.2")
        assert reply.status == 502
        assert "MAX_NESTING_DEPTH" in reply.problem["detail"]
        await pacs.saw("A-ABORT 0 0")


@pytest.mark.parametrize(("path", "group"), [("", 0x0008), ("/metadata", 0x0008), ("/metadata", 0x7FFF)])
@ensureDeferred
async def test_an_object_nested_without_end_is_502_naming_the_limit(tmp_path: Path, path: str, group: int) -> None:
    async def get(connection: Connection, asked: Asked) -> None:
        leading = b"" if group == 0x0008 else Held().data_set()
        send_object(connection, leading + nested(group))
        connection.final(asked)

    async with House(tmp_path, PACS(study_of(1), get=get)) as house:
        reply = await house.ask(STUDY + path)
        assert reply.status == 502
        assert "MAX_NESTING_DEPTH" in reply.problem["detail"]


@ensureDeferred
async def test_an_object_that_inflates_a_thousandfold_fails_naming_the_limit(tmp_path: Path) -> None:
    deflating = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    zeros = bytes(1 << 20)
    bomb = b"".join(
        (
            deflating.compress(Held(size=0xFFFFFFFE).header()),
            *(deflating.compress(zeros) for _ in range(200)),
            deflating.flush(),
        )
    )

    async def get(connection: Connection, asked: Asked) -> None:
        send_object(connection, bomb, DEFLATED)
        connection.final(asked)

    pacs = PACS(study_of(1), get=get)
    pacs.syntaxes = (DEFLATED, EXPLICIT)
    async with House(tmp_path, pacs) as house:
        reply = await house.ask(STUDY)
        assert not reply.whole or reply.status == 502
        assert len(reply.raw) < len(bomb) * 500
        assert "MAX_INFLATION_RATIO" in (await house.logged())["reason"]


@ensureDeferred
async def test_a_uid_in_a_match_cannot_climb_out_of_a_url(tmp_path: Path) -> None:
    async def row(connection: Connection, asked: Asked) -> None:
        connection.match(asked, {"0020000D": {"vr": "LO", "Value": ["../x"]}})
        connection.found(asked)

    async with House(tmp_path, PACS(study_of(1), find=row)) as house:
        reply = await house.ask("/dicom/studies?PatientID=P1")
        [match] = json.loads(reply.content)
        assert match["00081190"]["Value"] == ["http://gateway/dicom/studies/..%2Fx"]


@ensureDeferred
async def test_a_peer_that_vanished_without_a_word_frees_its_place(tmp_path: Path) -> None:
    async def vanish(connection: Connection, asked: Asked) -> None:
        connection.transport.pauseProducing()

    pacs = PACS(study_of(1), get=vanish)
    async with House(tmp_path, pacs) as house:
        assert (await house.retrieve()).status == 504
        await house.freed()
        for connection in pacs.connections:
            connection.transport.resumeProducing()
