"""What the PACS sends is hostile by its content: nesting without end, a little that inflates to much, odd UIDs."""

import json
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest
from pytest_twisted import ensureDeferred

from harmonygw.dicom.dataset.json_decoding import from_json
from harmonygw.dicom.dimse.commands import CFindRSP, CStoreRQ
from tests.interop.connection import Asked, Connection
from tests.interop.held import CT, EXPLICIT, Held, study_of
from tests.interop.house import CLIENT, ENDS, PATIENT, STUDY, House
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
    async with House(tmp_path, pacs, **PATIENT) as house:
        reply = await house.ask("/dicom/studies?StudyInstanceUID=1.2")
        assert reply.status == 502
        assert "MAX_NESTING_DEPTH" in reply.problem["detail"]
        await pacs.saw("A-ABORT 0 0")
        await house.audited("Alert hostile_bytes 8", "Query 8", users=CLIENT)


@pytest.mark.parametrize(("path", "group"), [("", 0x0008), ("/metadata", 0x0008), ("/metadata", 0x7FFF)])
@ensureDeferred
async def test_an_object_nested_without_end_is_502_naming_the_limit(tmp_path: Path, path: str, group: int) -> None:
    async def get(connection: Connection, asked: Asked) -> None:
        leading = b"" if group == 0x0008 else Held().data_set()
        send_object(connection, leading + nested(group))
        connection.final(asked)

    async with House(tmp_path, PACS(study_of(1), get=get), **PATIENT) as house:
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
    async with House(tmp_path, pacs, **PATIENT) as house:
        reply = await house.ask(STUDY)
        assert not reply.whole or reply.status == 502
        assert len(reply.raw) < len(bomb) * 500
        assert "MAX_INFLATION_RATIO" in (await house.logged())["reason"]
        await house.audited("Begin 0", "Transferred 8", users=ENDS, instances=0)


@ensureDeferred
async def test_a_uid_in_a_match_cannot_climb_out_of_a_url(tmp_path: Path) -> None:
    async def row(connection: Connection, asked: Asked) -> None:
        connection.match(asked, {"0020000D": {"vr": "LO", "Value": ["../x"]}})
        connection.found(asked)

    async with House(tmp_path, PACS(study_of(1), find=row), **PATIENT) as house:
        reply = await house.ask("/dicom/studies?PatientID=P1")
        [match] = json.loads(reply.content)
        assert match["00081190"]["Value"] == ["http://gateway/dicom/studies/..%2Fx"]
        await house.audited("Query 0", users=CLIENT)


@ensureDeferred
async def test_a_peer_that_vanished_without_a_word_frees_its_place(tmp_path: Path) -> None:
    async def vanish(connection: Connection, asked: Asked) -> None:
        connection.transport.pauseProducing()

    pacs = PACS(study_of(1), get=vanish)
    async with House(tmp_path, pacs, **PATIENT) as house:
        assert (await house.retrieve()).status == 504
        await house.freed()
        for connection in pacs.connections:
            connection.transport.resumeProducing()
        await house.audited("Accessed 8", users=CLIENT[:2])


US = {"vr": "US"}


def pixels(rows: int = 10, columns: int = 10, frames: str = "1") -> dict[str, Any]:
    numbers = {"00280002": 1, "00280010": rows, "00280011": columns, "00280100": 16, "00280101": 16, "00280102": 15}
    described: dict[str, Any] = {tag: US | {"Value": [value]} for tag, value in numbers.items()}
    described["00280103"] = US | {"Value": [0]}
    described["00280004"] = {"vr": "CS", "Value": ["MONOCHROME2"]}
    described["00280008"] = {"vr": "IS", "Value": [frames]}
    return described


@pytest.mark.parametrize("path", ["/frames/2", "/rendered", "/frames/2147483647"])
@pytest.mark.parametrize(
    "more",
    [pixels(frames="2147483647"), pixels(65_535, 65_535), pixels(65_535, 65_535, "2147483647"), pixels(0, 0)],
    ids=["frames without end", "65535 by 65535", "both", "no pixel"],
)
@ensureDeferred
async def test_pixels_that_are_not_what_they_say_are_refused_at_once(
    tmp_path: Path, path: str, more: dict[str, Any]
) -> None:
    held = Held(size=200, more=more)
    async with House(tmp_path, PACS([held]), **PATIENT) as house:
        begun = house.now
        reply = await house.ask(f"{STUDY}/series/1.2.3/instances/1.2.3.4{path}")
        first_is_there = more == pixels(frames="2147483647") and path == "/rendered"
        assert reply.status in ((200,) if first_is_there else (404, 406, 502))
        assert house.now - begun < 5


def encapsulated(*items: tuple[int, bytes]) -> bytes:
    """An object whose pixel data are these items, each with the length that it announces."""
    head = Held(size=0xFFFFFFFF, more=pixels(frames="3")).header().replace(b"OW\0\0\xff\xff", b"OB\0\0\xff\xff")
    fragments = (struct.pack("<HHI", 0xFFFE, 0xE000, length) + data for length, data in items)
    return head + b"".join(fragments) + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)


RLE = "1.2.840.10008.1.2.5"
TABLE = struct.pack("<III", 0, 0xFFFFFFF0, 8)


@pytest.mark.parametrize(
    ("items", "detail"),
    [
        ([(0, b""), (0xFFFFFFFE, b"ab")], "announced"),
        ([(0, b"")] * 1_000_002, "MAX_FRAGMENTS"),
        ([(12, TABLE), (2, b"ab"), (2, b"ab")], "cannot be told apart"),
        ([(0x7FFFFFFF, b"")], "announced"),
    ],
    ids=["a fragment too long", "a million empty ones", "an offset table that lies", "a table too long"],
)
@ensureDeferred
async def test_encapsulated_pixels_that_lie_are_refused(
    tmp_path: Path, items: list[tuple[int, bytes]], detail: str
) -> None:
    lying = encapsulated(*items)

    async def get(connection: Connection, asked: Asked) -> None:
        send_object(connection, lying, RLE)
        connection.final(asked)

    pacs = PACS(study_of(1), get=get)
    pacs.syntaxes = (RLE, EXPLICIT)
    async with House(tmp_path, pacs, **PATIENT) as house:
        reply = await house.ask(f"{STUDY}/series/1.2.3/instances/1.2.3.4/frames/1", "*/*; transfer-syntax=*")
        assert reply.status == 502
        assert detail in reply.problem["detail"] or "malformed" in reply.problem["detail"]


@ensureDeferred
async def test_metadata_that_inflate_a_thousandfold_are_refused_naming_the_limit(tmp_path: Path) -> None:
    deflating = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    text = struct.pack("<HH2sHI", 0x0040, 0xA160, b"UT", 0, 200 << 20)
    head = Held(without_bulk_data=True).header()
    bomb = b"".join(
        (deflating.compress(head + text), *(deflating.compress(bytes(1 << 20)) for _ in range(200)), deflating.flush())
    )

    async def get(connection: Connection, asked: Asked) -> None:
        send_object(connection, bomb, DEFLATED)
        connection.final(asked)

    pacs = PACS(study_of(1), get=get)
    pacs.syntaxes = (DEFLATED, EXPLICIT)
    async with House(tmp_path, pacs, **PATIENT) as house:
        reply = await house.ask(STUDY + "/metadata")
        assert reply.status == 502
        assert "MAX_" in reply.problem["detail"]


@ensureDeferred
async def test_a_match_with_ever_changing_character_sets_costs_little(tmp_path: Path) -> None:
    async def row(connection: Connection, asked: Asked) -> None:
        sets = {"vr": "CS", "Value": ["", *["ISO 2022 IR 87", "ISO 2022 IR 149"] * 200]}
        escapes = "\x1b$B\x1b$)C" * 3000
        data = from_json({"00080005": sets, "0020000D": {"vr": "UI", "Value": ["1.2"]}}, EXPLICIT, character_set=())
        name = escapes.encode()
        data += struct.pack("<HH2sH", 0x0010, 0x0010, b"PN", len(name) & ~1) + name[: len(name) & ~1]
        rsp = CFindRSP(asked.command.message_id, asked.command.affected_sop_class_uid, 0xFF00, has_data_set=True)
        connection.send(asked.context_id, rsp, data)
        connection.found(asked)

    pacs = PACS(study_of(1), find=row)
    async with House(tmp_path, pacs, **PATIENT) as house:
        begun = house.now
        reply = await house.ask("/dicom/studies?PatientID=P1")
        assert reply.status in (200, 502)
        assert house.now - begun < 2
