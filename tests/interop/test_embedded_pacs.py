"""The embedded PACS against peers that others wrote, and against our own requestor, over loopback."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.endpoints import TCP4ClientEndpoint

from harmonygw.dicom.upperlayer.negotiation import AssociateRQ, ProposedContext
from harmonygw.net.association.destination import MoveDestination, Unclaimed
from harmonygw.net.association.operations import Timing
from harmonygw.net.association.receiving import Admission
from harmonygw.net.association.requestor import VERIFICATION, Association
from harmonygw.streams import Feed, Instance
from tests.interop.conftest import Tool
from tests.interop.embedded import (
    AE_TITLE,
    CT,
    EXPLICIT,
    IMPLICIT,
    embedded_pacs,
    encoded,
    image,
    instance_of,
    part10,
)
from tests.interop.embedded_objects import FIND, GET, MOVE, NOT_AUTHORIZED, SUCCESS, free_port

pytestmark = pytest.mark.interop


# DCMTK


@ensureDeferred
async def test_echoscu_is_answered(tmp_path: Path, dcmtk: Tool) -> None:
    async with embedded_pacs(tmp_path) as pacs:
        code, said = await dcmtk("echoscu", "-v", "-aec", AE_TITLE, "127.0.0.1", pacs.port)
    assert (code, "Received Echo Response (Success)" in said) == (0, True), said


@pytest.mark.parametrize(
    ("model", "level", "keys", "found"),
    [
        ("-P", "PATIENT", ["PatientName", "PatientID=P*"], ["[Doe^Jane"]),
        ("-S", "STUDY", ["PatientName=Doe*", "StudyInstanceUID", "ModalitiesInStudy"], ["[1.2]", "[CT]"]),
        ("-P", "STUDY", ["PatientID=P1", "StudyDate=20250101-20250131"], ["[20250102]"]),
        ("-S", "SERIES", ["StudyInstanceUID=1.2", "SeriesInstanceUID", "Modality"], ["[1.2.3]", "[CT]"]),
        (
            "-S",
            "IMAGE",
            ["StudyInstanceUID=1.2", "SeriesInstanceUID=1.2.3", "SOPInstanceUID", "InstanceNumber=2"],
            ["[1.2.3.2]"],
        ),
    ],
)
@ensureDeferred
async def test_findscu_finds_at_every_level(
    tmp_path: Path, dcmtk: Tool, model: str, level: str, keys: list[str], found: list[str]
) -> None:
    async with embedded_pacs(tmp_path) as pacs:
        await pacs.keep(image(1), image(2))
        arguments = [part for key in (f"QueryRetrieveLevel={level}", *keys) for part in ("-k", key)]
        code, said = await dcmtk("findscu", model, "-v", *arguments, "127.0.0.1", pacs.port)
    assert code == 0, said
    assert all(value in said.replace("\0]", "]").replace(" ]", "]") for value in found), said
    assert said.count("Find Response: ") == 1, said


@ensureDeferred
async def test_getscu_gets_a_study_byte_for_byte(tmp_path: Path, dcmtk: Tool) -> None:
    out = tmp_path / "out"
    out.mkdir()
    images = [image(number) for number in range(1, 6)]
    async with embedded_pacs(tmp_path / "archive") as pacs:
        await pacs.keep(*images)
        code, said = await dcmtk(
            "getscu", "-S", "-v", "+xe", "-od", out, "-k", "QueryRetrieveLevel=STUDY", "-k", "StudyInstanceUID=1.2",
            "127.0.0.1", pacs.port,
        )  # fmt: skip
    assert code == 0, said
    got = sorted(map(str, (dcmread(path).SOPInstanceUID for path in out.iterdir())))
    assert got == [str(one.SOPInstanceUID) for one in images]
    assert all(dcmread(path).PixelData == bytes(range(8)) for path in out.iterdir())


@ensureDeferred
async def test_movescu_moves_a_series_to_itself(tmp_path: Path, dcmtk: Tool) -> None:
    out = tmp_path / "out"
    out.mkdir()
    port = free_port()
    async with embedded_pacs(tmp_path / "archive", destinations={"MOVESCU": port}) as pacs:
        await pacs.keep(image(1), image(2), image(1, series="1.2.4"))
        code, said = await dcmtk(
            "movescu", "-S", "-v", "-od", out, "+P", port, "-k", "QueryRetrieveLevel=SERIES",
            "-k", "StudyInstanceUID=1.2", "-k", "SeriesInstanceUID=1.2.3", "127.0.0.1", pacs.port,
        )  # fmt: skip
    assert code == 0, said
    assert "Received Final Move Response (Success)" in said
    assert sorted(str(dcmread(path).SOPInstanceUID) for path in out.iterdir()) == ["1.2.3.1", "1.2.3.2"]


@ensureDeferred
async def test_movescu_is_told_that_a_destination_is_unknown(tmp_path: Path, dcmtk: Tool) -> None:
    async with embedded_pacs(tmp_path) as pacs:
        await pacs.keep(image())
        _, said = await dcmtk(
            "movescu", "-S", "-v", "-aem", "NOBODY", "-k", "QueryRetrieveLevel=STUDY",
            "-k", "StudyInstanceUID=1.2", "127.0.0.1", pacs.port,
        )  # fmt: skip
    assert "MoveDestinationUnknown" in said


@ensureDeferred
async def test_storescu_stores_what_findscu_then_finds(tmp_path: Path, dcmtk: Tool) -> None:
    files = [part10(image(number), tmp_path / f"{number}.dcm") for number in (1, 2, 3)]
    async with embedded_pacs(tmp_path / "archive") as pacs:
        code, said = await dcmtk("storescu", "-v", "127.0.0.1", pacs.port, *files)
        assert (code, said.count("Received Store Response (Success)")) == (0, 3), said
        _, said = await dcmtk(
            "findscu", "-S", "-v", "-k", "QueryRetrieveLevel=STUDY", "-k", "NumberOfStudyRelatedInstances",
            "-k", "StudyInstanceUID=1.2", "127.0.0.1", pacs.port,
        )  # fmt: skip
    assert "[3 ]" in said


@ensureDeferred
async def test_storescu_sends_a_compressed_object_as_it_is(tmp_path: Path, dcmtk: Tool) -> None:
    path = get_testdata_file("JPEG2000.dcm", download=False)
    async with embedded_pacs(tmp_path / "archive") as pacs:
        code, said = await dcmtk("storescu", "-v", "-xw", "127.0.0.1", pacs.port, path)
        assert (code, "Received Store Response (Success)" in said) == (0, True), said
        [kept] = (tmp_path / "archive").rglob("*.dcm")
        assert dcmread(kept).file_meta.TransferSyntaxUID == dcmread(str(path)).file_meta.TransferSyntaxUID


@ensureDeferred
async def test_storescu_is_refused_at_the_negotiation_when_storage_is_not_enabled(tmp_path: Path, dcmtk: Tool) -> None:
    file = part10(image(), tmp_path / "1.dcm")
    async with embedded_pacs(tmp_path / "archive", enable_store=False, enable_get=False) as pacs:
        code, said = await dcmtk("storescu", "-v", "127.0.0.1", pacs.port, file)
    assert code != 0
    assert "No Acceptable Presentation Contexts" in said


# Our own requestor


@asynccontextmanager
async def our_association(
    port: int, *contexts: tuple[str, str], get: tuple[tuple[str, str], ...] = ()
) -> AsyncGenerator[Association, None]:
    """An association of ours, proposing SOP classes and syntaxes, and those of `get` as an SCP."""
    proposed = [(*one, None, None) for one in contexts] + [(*one, False, True) for one in get]
    association = Association(clock=reactor, timing=Timing(10.0, 2.0), silence_timeout=10.0, association_timeout=10.0)
    await association.request(
        TCP4ClientEndpoint(reactor, "127.0.0.1", port),
        AssociateRQ(
            AE_TITLE,
            "GATEWAY",
            tuple(
                ProposedContext(2 * index + 1, uid, (syntax,), scu, scp)
                for index, (uid, syntax, scu, scp) in enumerate(proposed)
            ),
        ),
    )
    try:
        yield association
    finally:
        association.release()


def key(vr: str, *values: str) -> dict[str, Any]:
    return {"vr": vr, "Value": list(values)} if values else {"vr": vr}


STUDY = {"00080052": key("CS", "STUDY"), "0020000D": key("UI", "1.2")}


async def bytes_of(instances: Feed[Instance]) -> dict[str, bytes]:
    return {
        one.sop_instance_uid: b"".join([bytes(piece) async for pieces in one.data_set for piece in pieces])
        async for one in instances
    }


@ensureDeferred
async def test_our_requestor_echoes_finds_and_stores(tmp_path: Path) -> None:
    async with (
        embedded_pacs(tmp_path) as pacs,
        our_association(pacs.port, (VERIFICATION, IMPLICIT), (FIND, EXPLICIT), (CT, IMPLICIT)) as association,
    ):
        assert await association.echo() == SUCCESS
        outcome = await association.store(instance_of(image(PatientName="Stored^Here"), IMPLICIT))
        operation = association.find(FIND, STUDY | {"00100010": key("PN"), "00080061": key("CS")})
        matches = [match async for match in operation.matches]
    assert outcome.status == SUCCESS
    assert matches == [
        {
            "00080005": key("CS", "ISO_IR 192"),
            "00080052": key("CS", "STUDY"),
            "00080054": key("AE", AE_TITLE),
            "00080061": key("CS", "CT"),
            "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Stored^Here"}]},
            "0020000D": key("UI", "1.2"),
        }
    ]
    assert operation.outcome is not None
    assert operation.outcome.status == SUCCESS


@ensureDeferred
async def test_our_requestor_gets_thirty_instances_of_half_a_megabyte(tmp_path: Path) -> None:
    images = [image(number, Rows=512, Columns=512, PixelData=bytes([number]) * 524_288) for number in range(1, 31)]
    async with embedded_pacs(tmp_path) as pacs:
        await pacs.keep(*images)
        async with our_association(pacs.port, (GET, EXPLICIT), get=((CT, EXPLICIT),)) as association:
            operation = association.get(GET, STUDY, admit=lambda command, instance: Admission(operation.instances))
            got = await bytes_of(operation.instances)
    assert got == {str(one.SOPInstanceUID): encoded(one) for one in images}
    assert operation.outcome is not None
    assert (operation.outcome.status, operation.outcome.completed, operation.outcome.failed) == (SUCCESS, 30, 0)


@ensureDeferred
async def test_our_move_comes_in_by_the_port_that_an_endpoint_shares(tmp_path: Path) -> None:
    images = [image(number) for number in range(1, 4)]
    unclaimed: list[Unclaimed] = []
    ours = MoveDestination("GATEWAY", reactor, on_unclaimed=unclaimed.append)
    async with (
        embedded_pacs(tmp_path / "gateway", our_moves=(ours,), enable_store=False) as gateway,
        embedded_pacs(tmp_path / "pacs", destinations={"GATEWAY": gateway.port}) as pacs,
        our_association(pacs.port, (MOVE, EXPLICIT)) as association,
        our_association(gateway.port, (CT, EXPLICIT)) as stranger,
    ):
        await pacs.keep(*images)
        move = ours.expect("1.2", lambda command, instance: Admission(move.instances), grace=5.0)
        move.begun(
            association.move(MOVE, STUDY, destination="GATEWAY", message_id=move.message_id, on_final=move.final)
        )
        got = await bytes_of(move.instances)
        outcome = move.outcome()
        refused = await stranger.store(instance_of(image(9)))
    assert got == {str(one.SOPInstanceUID): encoded(one) for one in images}
    assert outcome is not None
    assert (outcome.status, outcome.completed) == (SUCCESS, 3)
    assert (refused.status, [one.sop_instance_uid for one in unclaimed]) == (NOT_AUTHORIZED, ["1.2.3.9"])
