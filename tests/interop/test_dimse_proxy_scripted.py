"""The gateway as a DIMSE proxy in front of a scripted PACS: many matches, cancels, the cache, policies, refusals."""

import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pynetdicom import evt
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from harmonygw.dicom.dimse import statuses
from harmonygw.errors import HarmonyError, TransportError
from harmonygw.streams import Feed, Instance, Pieces
from tests.interop.conftest import Tool
from tests.interop.connection import Asked, Connection
from tests.interop.dimse_house import PACS_BACKEND, DimseHouse, dimse_house, until
from tests.interop.embedded import CT, EXPLICIT, IMPLICIT, encoded, image, part10
from tests.interop.embedded_objects import CANCELLED, FIND, GET, PENDING, SUCCESS, identifier
from tests.interop.held import Held, study_of
from tests.interop.pacs import PACS
from tests.interop.processes import free_port
from tests.interop.test_embedded_pacs import our_association
from tests.interop.test_embedded_pacs_pynetdicom import pynetdicom_association

pytestmark = pytest.mark.interop

MATCHES = 5000

POLICY = """
[middleware.guard]
type = "policies"
options = { policies = ["guarded"] }

[policies.guarded]
name = "guarded"
rules = ["rule"]

[rules.rule]
"""

CACHE = """
[middleware.cache]
type = "cache"
options = { path = "FOLDER" }
"""


@asynccontextmanager
async def proxy(folder: Path, pacs: PACS, **more: Any) -> AsyncGenerator[DimseHouse, None]:
    """The gateway before a scripted PACS; both end."""
    backend = PACS_BACKEND.format(port=pacs.port, ae_title="PACS") + "cancel_grace_secs = 0.5\n"
    try:
        async with dimse_house(folder, backend, **more) as house:
            yield house
    finally:
        await pacs.stop()


def many(count: int = MATCHES) -> PACS:
    """A PACS with so many studies."""
    held = [Held(sop=f"1.{number}.3.4", series=f"1.{number}.3", study=f"1.{number}") for number in range(2, 2 + count)]
    pacs = PACS(held)
    rows = [one.row("STUDY", [one]) for one in held]

    async def find(connection: Connection, asked: Asked) -> None:
        for row in rows:
            connection.match(asked, row)
            await connection.drained()
            if connection.cancelled:
                connection.found(asked, statuses.CANCEL)
                return
        connection.found(asked)

    pacs.find = find
    return pacs


@ensureDeferred
async def test_thousands_of_matches_come_through(tmp_path: Path, dcmtk: Tool) -> None:
    pacs = many()
    async with proxy(tmp_path, pacs) as house:
        code, said = await dcmtk(
            "findscu", "-S", "-v", "-k", "QueryRetrieveLevel=STUDY", "-k", "StudyInstanceUID", "127.0.0.1", house.port
        )
    assert (code, said.count("Find Response: ")) == (0, MATCHES)
    assert "Received Final Find Response (Success)" in said
    assert house.of("C-FIND")[0]["matches"] == MATCHES


@ensureDeferred
async def test_a_query_that_findscu_cancels_is_cancelled_at_the_archive(tmp_path: Path, dcmtk: Tool) -> None:
    pacs = many()
    async with proxy(tmp_path, pacs) as house:
        _, said = await dcmtk(
            "findscu", "-S", "-v", "--cancel", 5, "-k", "QueryRetrieveLevel=STUDY", "-k", "StudyInstanceUID",
            "127.0.0.1", house.port,
        )  # fmt: skip
        assert "Cancel: MatchingTerminatedDueToCancelRequest" in said or "Cancel" in said.rpartition("Final")[2], said
        await pacs.saw("C-CANCEL-RQ")
        await until(lambda: house.target["associations"] == house.target["idle"])
    [line] = house.of("C-FIND")
    assert (line["dimse_status"], line["outcome"]) == ("FE00H", "client_gone")
    assert 5 <= line["matches"] < MATCHES


@ensureDeferred
async def test_a_get_that_is_cancelled_ends_at_the_archive_too(tmp_path: Path) -> None:
    pacs = PACS(study_of(30, size=300_000))
    async with proxy(tmp_path, pacs) as house:

        def get() -> tuple[Any, int]:
            with pynetdicom_association(
                house.port, (GET, [EXPLICIT]), get={CT: [EXPLICIT]}, evt_handlers=[(evt.EVT_C_STORE, lambda event: 0)]
            ) as association:
                came = 0
                final = None
                for status, _ in association.send_c_get(identifier("STUDY", StudyInstanceUID="1.2"), GET):
                    came += status.Status == PENDING
                    if came == 3:
                        association.send_c_cancel(1, query_model=GET)
                    final = status
                return final, came

        final, came = await deferToThread(get)
        await until(lambda: house.target["associations"] == house.target["idle"])
    assert final.Status == CANCELLED
    assert 3 <= came < 30
    assert final.NumberOfCompletedSuboperations == came
    assert final.NumberOfRemainingSuboperations == 30 - came


@ensureDeferred
async def test_an_association_that_is_aborted_amid_a_query_cancels_it(tmp_path: Path) -> None:
    pacs = many()
    async with proxy(tmp_path, pacs) as house:

        def find() -> None:
            with pynetdicom_association(house.port, (FIND, [EXPLICIT])) as association:
                answers = association.send_c_find(identifier("STUDY", StudyInstanceUID=""), FIND)
                assert next(answers)[0].Status == PENDING
                association.abort()

        await deferToThread(find)
        await until(lambda: len(house.of("C-FIND")) == 1)
        await until(lambda: house.target["associations"] == house.target["idle"])
    assert house.of("C-FIND")[0]["outcome"] == "client_gone"


async def got(house: DimseHouse, syntax: str = EXPLICIT) -> tuple[int, dict[str, int]]:
    """Get the study: the final status, and the length of each instance's pixels."""

    def get() -> tuple[int, dict[str, int]]:
        kept: dict[str, int] = {}

        def keep(event: Any) -> int:
            data_set: Dataset = event.dataset
            kept[str(data_set.SOPInstanceUID)] = len(data_set.PixelData)
            return 0

        with pynetdicom_association(
            house.port, (GET, [EXPLICIT]), get={CT: [syntax]}, evt_handlers=[(evt.EVT_C_STORE, keep)]
        ) as association:
            answers = list(association.send_c_get(identifier("STUDY", StudyInstanceUID="1.2"), GET))
        return answers[-1][0].Status, kept

    return await deferToThread(get)


@ensureDeferred
async def test_a_second_get_is_served_from_the_cache(tmp_path: Path) -> None:
    pacs = PACS(study_of(7, size=50_000))
    cache = CACHE.replace("FOLDER", str(tmp_path / "cache"))
    async with proxy(tmp_path, pacs, middleware='"cache"', more=cache) as house:
        first = await got(house)
        asked = pacs.seen.count("C-GET-RQ")
        # What is held in Explicit VR is converted for who takes Implicit VR only.
        second = await got(house, IMPLICIT)
    assert first == second == (SUCCESS, {one.sop: 50_000 for one in pacs.held})
    assert (asked, pacs.seen.count("C-GET-RQ")) == (1, 1)
    assert [line["target"] for line in house.of("C-GET")] == ["archive", "cache"]


@ensureDeferred
async def test_a_move_is_served_from_the_cache(tmp_path: Path, dcmtk: Tool) -> None:
    pacs = PACS(study_of(4))
    cache = CACHE.replace("FOLDER", str(tmp_path / "cache"))
    port, out = free_port(), tmp_path / "out"
    out.mkdir()
    backend = f'aet_table.MOVESCU = {{ host = "127.0.0.1", port = {port} }}\n'
    options = f"enable_get = true\nenable_move = true\n{backend}"
    async with proxy(tmp_path, pacs, middleware='"cache"', more=cache, options=options) as house:
        await got(house)
        code, said = await dcmtk(
            "movescu", "-S", "-v", "-od", out, "+P", port, "-k", "QueryRetrieveLevel=STUDY",
            "-k", "StudyInstanceUID=1.2", "127.0.0.1", house.port,
        )  # fmt: skip
    assert (code, len(list(out.iterdir()))) == (0, 4), said
    assert pacs.seen.count("C-GET-RQ") == 1


@pytest.mark.parametrize(
    ("rule", "refused"),
    [
        ('type = "ip_allow"\noptions = { ip_addresses = ["10.0.0.0/8"] }', ("C-ECHO", "C-FIND", "C-STORE")),
        ('type = "ip_deny"\noptions = { ip_addresses = ["127.0.0.1"] }', ("C-ECHO", "C-FIND", "C-STORE")),
        ('type = "method"\noptions = { methods = ["GET"], mode = "allow" }', ("C-STORE",)),
        ('type = "method"\noptions = { methods = ["POST"], mode = "deny" }', ("C-STORE",)),
        ('type = "path"\noptions = { paths = ["/studies"], mode = "allow" }', ("C-ECHO", "C-FIND", "C-STORE")),
        ('type = "deny_all"', ("C-ECHO", "C-FIND", "C-STORE")),
        ('type = "allow_all"', ()),
    ],
)
@ensureDeferred
async def test_a_policy_protects_the_archive_from_associations(
    tmp_path: Path, rule: str, refused: tuple[str, ...]
) -> None:
    pacs = PACS(study_of(1))
    async with proxy(tmp_path, pacs, middleware='"guard"', more=POLICY + rule) as house:

        def ask() -> dict[str, int]:
            with pynetdicom_association(
                house.port, (FIND, [EXPLICIT]), ("1.2.840.10008.1.1", [EXPLICIT]), (CT, [EXPLICIT])
            ) as association:
                data_set = image()
                data_set.file_meta = _meta(data_set)
                return {
                    "C-ECHO": association.send_c_echo().Status,
                    "C-FIND": list(association.send_c_find(identifier("STUDY", StudyInstanceUID="1.2"), FIND))[-1][
                        0
                    ].Status,
                    "C-STORE": association.send_c_store(data_set).Status,
                }

        answered = await deferToThread(ask)
    assert answered == {name: 0x0124 if name in refused else SUCCESS for name in ("C-ECHO", "C-FIND", "C-STORE")}
    assert ("A-ASSOCIATE-RQ" not in pacs.seen) is (len(refused) == 3)
    for line in house.exchanges:
        assert line["outcome"] == ("refused" if line["operation"] in refused else "complete")


def _meta(data_set: Dataset) -> Any:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = data_set.SOPClassUID, data_set.SOPInstanceUID
    meta.TransferSyntaxUID = EXPLICIT
    return meta


@ensureDeferred
async def test_what_is_not_enabled_is_not_negotiated(tmp_path: Path, dcmtk: Tool) -> None:
    pacs = PACS(study_of(1))
    async with proxy(tmp_path, pacs, options="enable_echo = false\nenable_find = true\n") as house:
        for tool, *arguments in (
            ("echoscu",),
            ("getscu", "-S", "-k", "QueryRetrieveLevel=STUDY", "-k", "StudyInstanceUID=1.2"),
            ("movescu", "-S", "-k", "QueryRetrieveLevel=STUDY", "-k", "StudyInstanceUID=1.2"),
        ):
            code, said = await dcmtk(tool, "-v", *arguments, "127.0.0.1", house.port)
            assert code != 0 or "No valid Presentation Context" in said, (tool, said)
        code, _ = await dcmtk("findscu", "-S", "-k", "QueryRetrieveLevel=STUDY", "127.0.0.1", house.port)
        assert code == 0
    assert [line["operation"] for line in house.exchanges] == ["C-FIND"]


@ensureDeferred
async def test_who_is_not_known_is_not_let_in(tmp_path: Path, dcmtk: Tool) -> None:
    options = """
require_known_aet = true
require_called_aet = true
aet_table.VIEWER = { host = "127.0.0.1", port = 104 }
aet_table.ELSEWHERE = { host = "10.1.1.1", port = 104 }
"""
    async with proxy(tmp_path, PACS(), options=options) as house:
        said = {}
        for calling, called in (
            ("VIEWER", "GATEWAY"),
            ("STRANGER", "GATEWAY"),
            ("ELSEWHERE", "GATEWAY"),
            ("VIEWER", "OTHER"),
        ):
            code, text = await dcmtk("echoscu", "-v", "-aet", calling, "-aec", called, "127.0.0.1", house.port)
            said[calling, called] = "ok" if code == 0 else text
    assert said["VIEWER", "GATEWAY"] == "ok"
    assert "Calling AE Title Not Recognized" in said["STRANGER", "GATEWAY"]
    assert "Calling AE Title Not Recognized" in said["ELSEWHERE", "GATEWAY"]
    assert "Called AE Title Not Recognized" in said["VIEWER", "OTHER"]


@ensureDeferred
async def test_an_instance_for_an_archive_that_is_not_there_is_kept_by_its_modality(
    tmp_path: Path, dcmtk: Tool
) -> None:
    pacs = PACS()
    await pacs.refuse_connections()
    file = part10(image(1), tmp_path / "1.dcm")
    async with proxy(tmp_path, pacs) as house:
        _, said = await dcmtk("storescu", "-v", "127.0.0.1", house.port, file)
    assert "Received Store Response" in said, said
    assert "Success" not in said
    [line] = house.of("C-STORE")
    assert (line["outcome"], line["instances"]) == ("failed", 0)
    assert line["dimse_status"] in ("0110H", "A700H")


@ensureDeferred
async def test_an_instance_that_breaks_off_is_never_stored(tmp_path: Path) -> None:
    pacs = PACS()
    whole = encoded(image(1, Rows=2048, Columns=1024, PixelData=bytes(4 << 20)))
    arriving: Feed[Pieces] = Feed(limit=1 << 30)
    for start in range(0, 2 << 20, 1 << 19):
        arriving.put((whole[start : start + (1 << 19)],))
    async with proxy(tmp_path, pacs) as house, our_association(house.port, (CT, EXPLICIT)) as association:
        storing = Deferred.fromCoroutine(association.store(Instance(CT, "1.2.3.1", EXPLICIT, arriving)))
        await pacs.saw("C-STORE-RQ")
        arriving.fail(TransportError("the modality was switched off"))
        with pytest.raises(HarmonyError):
            await storing
        await until(lambda: len(house.of("C-STORE")) == 1)
        await pacs.quiet()
        await until(lambda: house.target["associations"] == 0)
    assert pacs.received == []
    assert house.of("C-STORE")[0]["outcome"] == "client_gone"


@ensureDeferred
async def test_a_move_that_the_archive_breaks_off_says_what_came_and_that_the_rest_has_failed(
    tmp_path: Path, dcmtk: Tool
) -> None:
    pacs = PACS(study_of(5, size=100_000))

    async def break_off(connection: Connection, asked: Asked) -> None:
        for held in pacs.held[:2]:
            await connection.store(held)
        connection.reset()

    pacs.get = break_off
    port, out = free_port(), tmp_path / "out"
    out.mkdir()
    options = f'enable_move = true\naet_table.MOVESCU = {{ host = "127.0.0.1", port = {port} }}\n'
    async with proxy(tmp_path, pacs, options=options) as house:
        _, said = await dcmtk(
            "movescu", "-S", "-d", "-od", out, "+P", port, "-k", "QueryRetrieveLevel=STUDY",
            "-k", "StudyInstanceUID=1.2", "127.0.0.1", house.port,
        )  # fmt: skip
    [line] = house.of("C-MOVE")
    came = len(list(out.iterdir()))
    assert 1 <= came <= 2
    assert (line["dimse_status"], line["outcome"], line["instances"]) == ("C000H", "failed", came), line
    final = said.rpartition("Final Move Response")[2]
    assert re.search(rf"Completed Suboperations\s*: {came}\s", final), final
    assert re.search(rf"Failed Suboperations\s*: {5 - came}\s", final), final


@ensureDeferred
async def test_a_failure_status_of_the_archive_is_passed_on(tmp_path: Path) -> None:
    pacs = PACS(study_of(1))

    async def refuse(connection: Connection, asked: Asked) -> None:
        connection.found(asked, 0xA700)

    pacs.find = refuse
    async with proxy(tmp_path, pacs) as house:

        def find() -> int:
            with pynetdicom_association(house.port, (FIND, [EXPLICIT])) as association:
                [(status, _)] = association.send_c_find(identifier("STUDY", StudyInstanceUID="1.2"), FIND)
                answered: int = status.Status
                return answered

        assert await deferToThread(find) == 0xA700
