"""The gateway as a DIMSE proxy: DCMTK's and pynetdicom's requestors in front, Orthanc behind."""

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import JPEG2000
from pynetdicom import evt
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from tests.interop.conftest import Tool
from tests.interop.dimse_house import PACS_BACKEND, dimse_house, until
from tests.interop.embedded import CT, EXPLICIT, IMPLICIT, image, part10
from tests.interop.embedded_objects import GET, PENDING, compressed_image, identifier
from tests.interop.processes import free_port, orthanc, running, send_files
from tests.interop.test_embedded_pacs_pynetdicom import pynetdicom_association

pytestmark = [pytest.mark.interop, pytest.mark.usefixtures("real_peers")]

SLICES = 12
PIXELS = 256 * 256 * 2


def _begun(coroutine: Any) -> "Deferred[Any]":
    return Deferred.fromCoroutine(coroutine)


class Archive(NamedTuple):
    """An Orthanc that holds a study of native slices and of an image in JPEG 2000, and what is in it."""

    port: int
    images: dict[str, Dataset]
    compressed: str

    @property
    def backend(self) -> str:
        return PACS_BACKEND.format(port=self.port, ae_title="ORTHANC")


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    folder = tmp_path_factory.mktemp("archive")
    with orthanc(folder) as port:
        images = [
            image(number, Rows=256, Columns=256, PixelData=bytes([number]) * PIXELS) for number in range(1, SLICES + 1)
        ]
        paths = [part10(one, folder / f"{one.SOPInstanceUID}.dcm") for one in images]
        compressed, syntax = compressed_image()
        paths.append(part10(compressed, folder / "compressed.dcm", syntax))
        send_files(paths, port, "ORTHANC")
        yield Archive(
            port, {str(one.SOPInstanceUID): one for one in [*images, compressed]}, str(compressed.SOPInstanceUID)
        )


def received(folder: Path) -> dict[str, Dataset]:
    return {str(one.SOPInstanceUID): one for one in map(dcmread, folder.iterdir())}


def folder_for(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


STUDY = ("-k", "QueryRetrieveLevel=STUDY", "-k", "StudyInstanceUID=1.2")


# C-ECHO and C-FIND


@ensureDeferred
async def test_an_echo_is_answered_whether_the_archive_is_there_or_not(tmp_path: Path, dcmtk: Tool) -> None:
    backend = PACS_BACKEND.format(port=free_port(), ae_title="NOBODY")
    async with dimse_house(tmp_path, backend) as house:
        code, said = await dcmtk("echoscu", "-v", "-aec", "GATEWAY", "127.0.0.1", house.port)
        assert (code, "Received Echo Response (Success)" in said) == (0, True), said
        _, said = await dcmtk("findscu", "-S", "-v", *STUDY, "127.0.0.1", house.port)
        assert "UnableToProcess" in said
    assert [(line["operation"], line["dimse_status"]) for line in house.exchanges] == [
        ("C-ECHO", "0000H"),
        ("C-FIND", "C000H"),
    ]


@pytest.mark.parametrize(
    ("model", "level", "keys", "found", "count"),
    [
        ("-P", "PATIENT", ["PatientName=DOE*", "PatientID"], ["[Doe^Jane]", "[P1]"], 1),
        ("-P", "STUDY", ["PatientID=P1", "StudyInstanceUID"], ["[1.2]"], 1),
        ("-P", "STUDY", ["PatientName=Doe^*", "StudyInstanceUID"], ["[1.2]"], 1),
        ("-S", "STUDY", ["StudyDate=20250101-20250131", "StudyInstanceUID", "PatientName"], ["[1.2]", "[Doe^Jane]"], 1),
        ("-S", "SERIES", ["StudyInstanceUID=1.2", "SeriesInstanceUID=1.2.3", "Modality"], ["[CT]", "[1.2.3]"], 1),
        (
            "-S",
            "IMAGE",
            ["StudyInstanceUID=1.2", "SeriesInstanceUID=1.2.3", "SOPInstanceUID"],
            ["[1.2.3.7]"],
            SLICES,
        ),
        ("-S", "IMAGE", ["StudyInstanceUID=1.2", "SeriesInstanceUID=1.2.3", "SOPInstanceUID=1.9"], [], 0),
    ],
)
@ensureDeferred
async def test_findscu_finds_at_every_level(
    tmp_path: Path, dcmtk: Tool, archive: Archive, model: str, level: str, keys: list[str], found: list[str], count: int
) -> None:
    arguments = [part for key in (f"QueryRetrieveLevel={level}", *keys) for part in ("-k", key)]
    async with dimse_house(tmp_path, archive.backend) as house:
        code, said = await dcmtk("findscu", model, "-v", *arguments, "127.0.0.1", house.port)
    assert code == 0, said
    said = said.replace("\0]", "]").replace(" ]", "]")
    assert all(value in said for value in found), said
    assert said.count("Find Response: ") == count, said
    assert house.exchanges[-1]["matches"] == count


# C-GET


@pytest.mark.parametrize("proposal", ["+xe", "+xi", "+x="])
@ensureDeferred
async def test_getscu_gets_a_study_whatever_native_syntax_it_takes(
    tmp_path: Path, dcmtk: Tool, archive: Archive, proposal: str
) -> None:
    out = folder_for(tmp_path)
    async with dimse_house(tmp_path, archive.backend) as house:
        code, said = await dcmtk("getscu", "-S", "-v", proposal, "-od", out, *STUDY, "127.0.0.1", house.port)
    got = received(out)
    natives = [uid for uid in archive.images if uid != archive.compressed]
    assert sorted(uid for uid in got if uid != archive.compressed) == sorted(natives), said
    assert all(got[uid].PixelData == archive.images[uid].PixelData for uid in natives)
    [line] = house.of("C-GET")
    if archive.compressed in got:
        assert (code, line["dimse_status"], line["instances"]) == (0, "0000H", SLICES + 1), said
    else:  # what no context carried is reported, and the rest has come
        assert (line["dimse_status"], line["instances"]) == ("B000H", SLICES), said


@pytest.mark.parametrize(
    ("model", "keys", "count"),
    [
        ("-P", ("QueryRetrieveLevel=PATIENT", "PatientID=P1"), SLICES),
        ("-P", ("QueryRetrieveLevel=STUDY", "PatientID=P1", "StudyInstanceUID=1.2"), SLICES),
        ("-P", ("QueryRetrieveLevel=STUDY", "PatientID=P2", "StudyInstanceUID=1.2"), 0),
        ("-S", ("QueryRetrieveLevel=SERIES", "StudyInstanceUID=1.2", "SeriesInstanceUID=1.2.3"), SLICES),
        ("-S", ("QueryRetrieveLevel=STUDY", "StudyInstanceUID=1.99"), 0),
        (
            "-S",
            (
                "QueryRetrieveLevel=IMAGE",
                "StudyInstanceUID=1.2",
                "SeriesInstanceUID=1.2.3",
                "SOPInstanceUID=1.2.3.2\\1.2.3.5",
            ),
            2,
        ),
    ],
)
@ensureDeferred
async def test_getscu_gets_at_every_level_of_both_models(
    tmp_path: Path, dcmtk: Tool, archive: Archive, model: str, keys: tuple[str, ...], count: int
) -> None:
    out = folder_for(tmp_path)
    arguments = [part for key in keys for part in ("-k", key)]
    async with dimse_house(tmp_path, archive.backend) as house:
        _, said = await dcmtk("getscu", model, "-v", "+xe", "-od", out, *arguments, "127.0.0.1", house.port)
    natives = [uid for uid in received(out) if uid != archive.compressed]
    assert len(natives) == count, said
    assert house.of("C-GET")[0]["dimse_status"] in (("0000H", "B000H") if count == SLICES else ("0000H",))


@ensureDeferred
async def test_getscu_that_takes_jpeg_2000_only_gets_what_is_held_so_and_is_told_of_the_rest(
    tmp_path: Path, dcmtk: Tool, archive: Archive
) -> None:
    out = folder_for(tmp_path)
    async with dimse_house(tmp_path, archive.backend) as house:

        def get() -> list[tuple[Any, Any]]:
            kept: list[Dataset] = []

            def keep(event: Any) -> int:
                kept.append(event.dataset)
                return 0

            with pynetdicom_association(
                house.port,
                (GET, [EXPLICIT]),
                get={str(archive.images[archive.compressed].SOPClassUID): [JPEG2000]},
                evt_handlers=[(evt.EVT_C_STORE, keep)],
            ) as association:
                answers = list(association.send_c_get(identifier("STUDY", StudyInstanceUID="1.2"), GET))
            assert [str(one.SOPInstanceUID) for one in kept] == [archive.compressed]
            return answers

        (*_, (final, listed)) = await deferToThread(get)
    assert list(out.iterdir()) == []
    assert (final.Status, final.NumberOfCompletedSuboperations, final.NumberOfFailedSuboperations) == (
        0xB000,
        1,
        SLICES,
    )
    assert len(listed.FailedSOPInstanceUIDList) == SLICES


@ensureDeferred
async def test_named_instances_are_got_and_what_there_is_not_is_named(tmp_path: Path, archive: Archive) -> None:
    async with dimse_house(tmp_path, archive.backend) as house:

        def get() -> Any:
            with pynetdicom_association(
                house.port, (GET, [EXPLICIT]), get={CT: [IMPLICIT]}, evt_handlers=[(evt.EVT_C_STORE, lambda event: 0)]
            ) as association:
                wanted = identifier(
                    "IMAGE",
                    StudyInstanceUID="1.2",
                    SeriesInstanceUID="1.2.3",
                    SOPInstanceUID=["1.2.3.1", "1.2.3.99", "1.2.3.2"],
                )
                return list(association.send_c_get(wanted, GET))[-1]

        final, listed = await deferToThread(get)
    assert (final.Status, final.NumberOfCompletedSuboperations, final.NumberOfFailedSuboperations) == (0xB000, 2, 1)
    assert listed.FailedSOPInstanceUIDList == "1.2.3.99"


# C-MOVE and C-STORE


@ensureDeferred
async def test_movescu_moves_a_study_to_a_third_application(tmp_path: Path, dcmtk: Tool, archive: Archive) -> None:
    out, port = folder_for(tmp_path), free_port()
    table = f'aet_table.THIRD = {{ host = "127.0.0.1", port = {port} }}\n'
    with running(["storescp", "-aet", "THIRD", "+xa", "-od", str(out), str(port)], port, log=tmp_path / "storescp.log"):
        async with dimse_house(tmp_path, f"{table}{archive.backend}") as house:
            code, said = await dcmtk("movescu", "-S", "-v", "-aem", "THIRD", *STUDY, "127.0.0.1", house.port)
            assert (code, "Received Final Move Response (Success)" in said) == (0, True), said
            _, said = await dcmtk("movescu", "-S", "-v", "-aem", "FOURTH", *STUDY, "127.0.0.1", house.port)
            assert "MoveDestinationUnknown" in said
    got = received(out)
    assert got.keys() == archive.images.keys()
    assert all(got[uid].PixelData == one.PixelData for uid, one in archive.images.items())
    assert house.of("C-MOVE")[0]["instances"] == SLICES + 1


@ensureDeferred
async def test_a_move_to_a_destination_that_is_not_there_fails(tmp_path: Path, dcmtk: Tool, archive: Archive) -> None:
    table = f'aet_table.THIRD = {{ host = "127.0.0.1", port = {free_port()} }}\n'
    async with dimse_house(tmp_path, f"{table}{archive.backend}") as house:
        _, said = await dcmtk("movescu", "-S", "-d", "-aem", "THIRD", *STUDY, "127.0.0.1", house.port)
    assert house.of("C-MOVE")[0]["dimse_status"] == "A702H"
    assert "UnableToPerformSubOperations" in said or "0xa702" in said.lower(), said


@ensureDeferred
async def test_storescu_stores_through_into_the_archive(tmp_path: Path, dcmtk: Tool) -> None:
    folder = tmp_path / "empty"
    folder.mkdir()
    files = [part10(image(number), tmp_path / f"{number}.dcm") for number in range(1, 6)]
    compressed, syntax = compressed_image()
    packed = part10(compressed, tmp_path / "compressed.dcm", syntax)
    with orthanc(folder) as port:
        async with dimse_house(tmp_path, PACS_BACKEND.format(port=port, ae_title="ORTHANC")) as house:
            code, said = await dcmtk("storescu", "-v", "127.0.0.1", house.port, *files)
            assert (code, said.count("Received Store Response (Success)")) == (0, 5), said
            code, said = await dcmtk("storescu", "-v", "-xw", "127.0.0.1", house.port, packed)
            assert (code, said.count("Received Store Response (Success)")) == (0, 1), said
            _, said = await dcmtk(
                "findscu", "-S", "-v", *STUDY, "-k", "NumberOfStudyRelatedInstances", "127.0.0.1", port
            )
    assert "[6 ]" in said or "[6]" in said, said
    assert [line["dimse_status"] for line in house.of("C-STORE")] == ["0000H"] * 6


# Faults


def pid_of(folder: Path) -> int:
    """The process id of the Orthanc that has its configuration in this folder."""
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if str(folder / "orthanc.json").encode() in (process / "cmdline").read_bytes().split(b"\0"):
                return int(process.name)
    raise AssertionError("no such Orthanc runs")


@ensureDeferred
async def test_an_archive_that_is_killed_amid_a_get_is_an_honest_failure(tmp_path: Path, dcmtk: Tool) -> None:
    out, folder = folder_for(tmp_path), tmp_path / "doomed"
    folder.mkdir()
    images = [image(number, Rows=2048, Columns=1024, PixelData=bytes(4 << 20)) for number in range(1, 41)]
    with orthanc(folder) as port:
        send_files([part10(one, folder / f"{one.SOPInstanceUID}.dcm") for one in images], port, "ORTHANC")
        async with dimse_house(tmp_path, PACS_BACKEND.format(port=port, ae_title="ORTHANC")) as house:
            getting = dcmtk("getscu", "-S", "-d", "-od", out, *STUDY, "127.0.0.1", house.port)
            running_get = _begun(getting)
            await until(lambda: len(list(out.iterdir())) > 3, seconds=20)
            os.kill(pid_of(folder), signal.SIGKILL)
            _, said = await running_get
            [line] = house.of("C-GET")
            assert line["outcome"] in ("failed", "aborted"), line
            assert "Final" not in said or "Success" not in said.rpartition("Final")[2], said[-2000:]
            for path in out.iterdir():
                assert len(dcmread(path).PixelData) == 4 << 20
            assert len(list(out.iterdir())) < 40
            await until(lambda: house.target["associations"] == house.target["idle"] == 0)


@ensureDeferred
async def test_an_association_that_is_aborted_amid_a_get_leaves_nothing(tmp_path: Path, archive: Archive) -> None:
    async with dimse_house(tmp_path, archive.backend) as house:

        def get() -> None:
            with pynetdicom_association(
                house.port, (GET, [EXPLICIT]), get={CT: [EXPLICIT]}, evt_handlers=[(evt.EVT_C_STORE, lambda event: 0)]
            ) as association:
                answers = association.send_c_get(identifier("STUDY", StudyInstanceUID="1.2"), GET)
                assert next(answers)[0].Status == PENDING
                association.abort()

        await deferToThread(get)
        await until(lambda: len(house.of("C-GET")) == 1)
        await until(lambda: house.target["associations"] == house.target["idle"])
    assert house.of("C-GET")[0]["outcome"] == "client_gone"
