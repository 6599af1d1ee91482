"""DIMSE services over HTTP when the PACS, the client or the disk does not do as it should."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from pytest_twisted import ensureDeferred

from harmonygw.dicom.dataset.part10 import file_header
from harmonygw.dicom.dimse import statuses
from harmonygw.dicom.dimse.commands import CStoreRSP
from tests.interop.connection import Asked, Connection
from tests.interop.held import CT, EXPLICIT, Held, study_of
from tests.interop.house import CLIENT, ENDS, Client, House, Reply
from tests.interop.pacs import PACS, drop, silence
from tests.interop.processes import free_port

TABLES = """
[storage]
options.path = "FOLDER"

[pipelines.dimse]
networks = ["default"]
endpoints = ["dimse"]
backends = ["pacs"]

[endpoints.dimse]
service = "http"
options = { path_prefix = "/dimse" }
"""

STUDY = {"study_instance_uid": "1.2"}
FILE = file_header(CT, "1.2.3.4", EXPLICIT) + Held().data_set()


class DIMSEHouse(House):
    """With an `http` endpoint at `/dimse` beside the other. Leaving it asserts that no file is left."""

    keeps_files = False
    """Whether files are expected to be there until it stops."""

    def __init__(self, folder: Path, pacs: PACS, **options: Any) -> None:
        super().__init__(folder, pacs, **options)
        self.kept = folder / "kept"
        self.more = TABLES.replace("FOLDER", str(self.kept))

    async def __aenter__(self) -> "DIMSEHouse":
        await super().__aenter__()
        await self.gateway.when_ready()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if kind is None and not self.keeps_files:
            await self._until(lambda: not self.files())
        await super().__aexit__(kind, *rest)
        if kind is None:
            assert list(self.kept.iterdir()) == []

    def files(self) -> list[str]:
        return [name for _, _, names in os.walk(self.kept) for name in names]

    async def begin(self, path: str, body: bytes, content_type: str = "application/json") -> Client:
        client = await self.connect()
        head = (
            f"POST /dimse{path} HTTP/1.1\r\nHost: gateway\r\nContent-Type: {content_type}\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        client.transport.write(head.encode() + body)
        return client

    async def post(self, path: str, document: Any) -> Reply:
        return await (await self.begin(path, json.dumps(document).encode())).reply()

    async def store(self, content: bytes = FILE) -> Reply:
        return await (await self.begin("/store", content, "application/dicom")).reply()


def told(reply: Reply) -> dict[str, Any]:
    document: dict[str, Any] = reply.problem
    assert document["success"] is False
    assert len(document["correlation_id"]) == 32
    return document


@pytest.mark.parametrize("word", ["echo", "find", "get", "move"])
@ensureDeferred
async def test_a_pacs_that_is_down_is_502_and_named(tmp_path: Path, word: str) -> None:
    pacs = PACS(study_of(1))
    async with DIMSEHouse(tmp_path, pacs, incoming_store_port=free_port()) as house:
        await pacs.refuse_connections()
        reply = await house.post(f"/{word}", STUDY)
        document = told(reply)
        assert (reply.status, document["operation"], document["target"]) == (502, f"C-{word.upper()}", "pacs")
        assert "refused" in document["detail"]
        house.recovers = False


@ensureDeferred
async def test_a_store_to_a_pacs_that_is_down_says_that_nothing_was_stored(tmp_path: Path) -> None:
    pacs = PACS(study_of(1))
    async with DIMSEHouse(tmp_path, pacs) as house:
        await pacs.refuse_connections()
        reply = await house.store()
        document = told(reply)
        assert (reply.status, document["target"], "dimse_status" in document) == (502, "pacs", False)
        assert "refused" in document["detail"]
        house.recovers = False


@ensureDeferred
async def test_a_silent_pacs_is_504(tmp_path: Path) -> None:
    async with DIMSEHouse(tmp_path, PACS(study_of(1), find=silence)) as house:
        assert (await house.post("/find", {})).status == 504


@ensureDeferred
async def test_an_association_that_is_lost_amid_a_get_is_502_and_leaves_no_file(tmp_path: Path) -> None:
    async def one_then_reset(connection: Connection, asked: Asked) -> None:
        await connection.store(connection.pacs.held[0])
        connection.begin_object(connection.pacs.held[1])
        connection.reset()

    async with DIMSEHouse(tmp_path, PACS(study_of(3), get=one_then_reset)) as house:
        reply = await house.post("/get", STUDY)
        assert (reply.status, reply.whole, told(reply)["operation"]) == (502, True, "C-GET")
        assert (await house.logged())["outcome"] == "failed"
        await house.audited("Begin 0", "Transferred 8", users=ENDS, instances=0)


@ensureDeferred
async def test_a_partial_get_is_502_with_the_status_and_leaves_no_file(tmp_path: Path) -> None:
    async def all_but_one(connection: Connection, asked: Asked) -> None:
        for held in connection.pacs.matching(asked)[:-1]:
            await connection.store(held)
        connection.final(asked, statuses.SUB_OPERATIONS_WARNING, completed=2, failed=1)

    async with DIMSEHouse(tmp_path, PACS(study_of(3), get=all_but_one)) as house:
        reply = await house.post("/get", STUDY)
        assert (reply.status, told(reply)["dimse_status"]) == (502, "B000H")
        await house.audited("Begin 0", "Transferred 8", users=ENDS, instances=0)


@ensureDeferred
async def test_a_success_that_lacks_instances_is_none(tmp_path: Path) -> None:
    async def claims(connection: Connection, asked: Asked) -> None:
        await connection.store(connection.pacs.held[0])
        connection.final(asked, completed=3)

    async with DIMSEHouse(tmp_path, PACS(study_of(3), get=claims)) as house:
        assert (await house.post("/get", STUDY)).status == 502


@ensureDeferred
async def test_an_object_of_another_patient_is_502_and_kept_nowhere(tmp_path: Path) -> None:
    async def foreign(connection: Connection, asked: Asked) -> None:
        await connection.store(Held(patient="P2"))
        connection.final(asked, completed=1)

    async with DIMSEHouse(tmp_path, PACS(study_of(1), get=foreign)) as house:
        reply = await house.post("/get", STUDY)
        assert reply.status == 502
        assert "not asked for" in told(reply)["detail"]


@ensureDeferred
async def test_a_move_really_moves_and_its_port_is_the_gateways(tmp_path: Path) -> None:
    pacs = PACS(study_of(2))
    pacs.move_port = free_port()
    async with DIMSEHouse(tmp_path, pacs, incoming_store_port=pacs.move_port) as house:
        reply = await house.post("/move", STUDY)
        assert (reply.status, json.loads(reply.content)["file_count"]) == (200, 2)
        assert "C-GET-RQ" not in pacs.seen
        assert len(house.files()) == 2
        house.keeps_files = True


@ensureDeferred
async def test_a_client_that_goes_away_amid_a_get_has_it_cancelled_and_leaves_no_file(tmp_path: Path) -> None:
    async def stuck(connection: Connection, asked: Asked) -> None:
        await connection.store(connection.pacs.held[0])
        await connection.pacs.saw("C-CANCEL-RQ")
        connection.final(asked, statuses.CANCEL, completed=1)

    pacs = PACS(study_of(2), get=stuck)
    async with DIMSEHouse(tmp_path, pacs) as house:
        client = await house.begin("/get", json.dumps(STUDY).encode())
        await house._until(lambda: house.files() == ["000001.dcm"])
        client.transport.abortConnection()
        await pacs.saw("C-CANCEL-RQ")
        assert (await house.logged())["outcome"] == "client_gone"
        await house.audited("Begin 0", "Transferred 4", users=ENDS, instances=0)


@ensureDeferred
async def test_a_find_that_fails_after_it_was_begun_has_no_end(tmp_path: Path) -> None:
    async def many_then_reset(connection: Connection, asked: Asked) -> None:
        for number in range(100):
            connection.match(asked, {"0020000D": {"vr": "UI", "Value": ["1.2"]}, "00081030": text(number)})
            await connection.drained()
        connection.reset()

    def text(number: int) -> dict[str, Any]:
        return {"vr": "UT", "Value": ["x" * 2000 + str(number)]}

    async with DIMSEHouse(tmp_path, PACS(study_of(1), find=many_then_reset)) as house:
        reply = await house.post("/find", {})
        assert reply.status == 200
        assert not reply.whole
        assert reply.reset
        assert b"success" not in reply.content


@ensureDeferred
async def test_a_find_that_fails_at_once_says_with_which_status(tmp_path: Path) -> None:
    async def refuse(connection: Connection, asked: Asked) -> None:
        connection.found(asked, statuses.OUT_OF_RESOURCES)

    async with DIMSEHouse(tmp_path, PACS(study_of(1), find=refuse)) as house:
        reply = await house.post("/find", {})
        assert (reply.status, told(reply)["dimse_status"]) == (502, "A700H")


@ensureDeferred
async def test_an_archive_without_relational_queries_is_406_before_it_is_asked(tmp_path: Path) -> None:
    pacs = PACS(study_of(1))
    async with DIMSEHouse(tmp_path, pacs) as house:
        reply = await house.post("/find", {"level": "SERIES", "query": {"Modality": "CT"}})
        assert reply.status == 406
        assert "relational" in told(reply)["detail"]
        assert "C-FIND-RQ" not in pacs.seen


@ensureDeferred
async def test_a_failed_echo_says_with_which_status(tmp_path: Path) -> None:
    pacs = PACS(study_of(1))
    async with DIMSEHouse(tmp_path, pacs) as house:
        pacs.echo_status = statuses.NOT_AUTHORIZED
        reply = await house.post("/echo", {})
        assert (reply.status, told(reply)["dimse_status"]) == (502, "0124H")


@ensureDeferred
async def test_a_refused_store_is_502_with_its_status(tmp_path: Path) -> None:
    async def full(connection: Connection, asked: Asked, data: bytes) -> None:
        command = asked.command
        rsp = CStoreRSP(command.message_id, CT, command.affected_sop_instance_uid, 0xA700, error_comment="disk full")
        connection.send(asked.context_id, rsp)

    async with DIMSEHouse(tmp_path, PACS(study_of(1), stored=full)) as house:
        reply = await house.store()
        assert (reply.status, told(reply)["dimse_status"]) == (502, "A700H")
        assert "disk full" in told(reply)["detail"]
        await house.audited("Begin 0", "Transferred 8", users=CLIENT, instances=0)


@ensureDeferred
async def test_a_store_whose_response_is_lost_was_not_stored(tmp_path: Path) -> None:
    async def lost(connection: Connection, asked: Asked, data: bytes) -> None:
        await drop(connection)

    async with DIMSEHouse(tmp_path, PACS(study_of(1), stored=lost)) as house:
        assert (await house.store()).status == 502
        await house.audited("Begin 0", "Transferred 8", users=CLIENT, instances=0)


@ensureDeferred
async def test_a_client_that_goes_away_amid_a_store_stores_nothing(tmp_path: Path) -> None:
    pacs = PACS(study_of(1))
    async with DIMSEHouse(tmp_path, pacs) as house:
        client = await house.connect()
        head = (
            b"POST /dimse/store HTTP/1.1\r\nHost: g\r\nContent-Type: application/dicom\r\nContent-Length: 99999\r\n\r\n"
        )
        client.transport.write(head + FILE)
        await pacs.saw("C-STORE-RQ")
        client.transport.abortConnection()
        await house.logged()
        assert pacs.received == []


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"[" * 50_000, 400),
        (b'{"operation": {}}', 400),
        (b'{"operation": "C-FIND", "query": {"PatientID": {"a": [[[]]]}}}', 400),
        (b'{"operation": "C-FIND", "identifier": {"0020000D": {"vr": "ZZ", "Value": ["1"]}}}', 400),
        (b'{"operation": "C-FIND", "identifier": {"00100020": {"vr": "LO", "Value": [{}]}}}', 400),
        (
            b'{"operation": "C-FIND", "identifier": {"00100010": {"vr": "PN", "Value": [{"Alphabetic": "\\ud800"}]}}}',
            400,
        ),
        (b'{"operation": "C-GET", "study_instance_uid": "../../../etc/passwd"}', 400),
        (b'{"operation": "C-GET", "study_instance_uid": "1.2\\u0000"}', 400),
        (b'{"operation": "C-MOVE", "study_instance_uid": "1.2", "destination": "A\\nB"}', 400),
        (b"{}" + b" " * (1 << 20), 413),
    ],
)
@ensureDeferred
async def test_hostile_json_is_refused_and_the_pacs_hears_nothing_of_it(
    tmp_path: Path, body: bytes, status: int
) -> None:
    pacs = PACS(study_of(1))
    async with DIMSEHouse(tmp_path, pacs) as house:
        reply = await (await house.begin("", body)).reply()
        assert reply.status == status
        told(reply)
        assert not {"C-FIND-RQ", "C-GET-RQ", "C-MOVE-RQ"} & set(pacs.seen)
