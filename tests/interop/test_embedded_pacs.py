"""The embedded PACS against peers that others wrote, and against our own requestor, over loopback."""

import socket
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pynetdicom import AE, build_role, evt
from pynetdicom.association import Association as PynetdicomAssociation
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.threads import deferToThread

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

pytestmark = pytest.mark.interop

FIND = "1.2.840.10008.5.1.4.1.2.2.1"
MOVE = "1.2.840.10008.5.1.4.1.2.2.2"
GET = "1.2.840.10008.5.1.4.1.2.2.3"
PATIENT_FIND = "1.2.840.10008.5.1.4.1.2.1.1"
PATIENT_GET = "1.2.840.10008.5.1.4.1.2.1.3"

SUCCESS, PENDING, WARNING, CANCELLED = 0x0000, 0xFF00, 0xB000, 0xFE00
SUB_OPERATIONS_REFUSED, NOT_AUTHORIZED = 0xA702, 0x0124


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def identifier(level: str, **keys: Any) -> Dataset:
    data_set = Dataset()
    data_set.QueryRetrieveLevel = level
    for keyword, value in keys.items():
        setattr(data_set, keyword, value)
    return data_set


def compressed_image() -> tuple[Dataset, str]:
    """An image in JPEG 2000 that belongs to the same study as the others, and its transfer syntax."""
    data_set = dcmread(str(get_testdata_file("JPEG2000.dcm", download=False)))
    data_set.StudyInstanceUID, data_set.PatientID, data_set.SeriesNumber = "1.2", "P1", 9
    return data_set, str(data_set.file_meta.TransferSyntaxUID)


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


# pynetdicom


@contextmanager
def pynetdicom_association(
    port: int, *contexts: tuple[str, list[str]], get: dict[str, list[str]] | None = None, **more: Any
) -> Iterator[PynetdicomAssociation]:
    """An association of pynetdicom's AE; blocking, so for use in a thread. `get` are storage classes to receive."""
    ae = AE("PYNETDICOM")
    for uid, syntaxes in contexts:
        ae.add_requested_context(uid, syntaxes)
    for uid, syntaxes in (get or {}).items():
        ae.add_requested_context(uid, syntaxes)
    roles = [build_role(uid, scp_role=True) for uid in get or {}]
    association = ae.associate("127.0.0.1", port, ae_title=AE_TITLE, ext_neg=roles, **more)
    assert association.is_established
    try:
        yield association
    finally:
        association.release()


def finds(port: int, sop_class_uid: str, query: Dataset) -> list[tuple[int, Dataset | None]]:
    with pynetdicom_association(port, (sop_class_uid, [EXPLICIT, IMPLICIT])) as association:
        return [(status.Status, match) for status, match in association.send_c_find(query, sop_class_uid)]


def gets(
    port: int, sop_class_uid: str, query: Dataset, syntaxes: dict[str, list[str]]
) -> tuple[list[Any], list[Any], list[Dataset]]:
    """Return the responses, their identifiers, and what arrived."""
    arrived: list[Dataset] = []

    def store(event: Any) -> int:
        data_set = event.dataset
        data_set.file_meta = event.file_meta
        arrived.append(data_set)
        return 0

    with pynetdicom_association(
        port, (sop_class_uid, [EXPLICIT]), get=syntaxes, evt_handlers=[(evt.EVT_C_STORE, store)]
    ) as association:
        answers = list(association.send_c_get(query, sop_class_uid))
    return [status for status, _ in answers], [listed for _, listed in answers], arrived


@ensureDeferred
async def test_pynetdicom_echoes(tmp_path: Path) -> None:
    def echo(port: int) -> int:
        with pynetdicom_association(port, (VERIFICATION, [IMPLICIT])) as association:
            return int(association.send_c_echo().Status)

    async with embedded_pacs(tmp_path) as pacs:
        assert await deferToThread(echo, pacs.port) == SUCCESS


@pytest.mark.parametrize(
    ("sop_class_uid", "query", "found"),
    [
        (PATIENT_FIND, identifier("PATIENT", PatientID="", PatientName="Doe*"), {"PatientID": "P1"}),
        (FIND, identifier("STUDY", StudyInstanceUID="", PatientName=""), {"StudyInstanceUID": "1.2"}),
        (PATIENT_FIND, identifier("STUDY", PatientID="P1", StudyDate=""), {"StudyDate": "20250102"}),
        (FIND, identifier("SERIES", StudyInstanceUID="1.2", SeriesInstanceUID=""), {"SeriesInstanceUID": "1.2.3"}),
        (
            FIND,
            identifier("IMAGE", StudyInstanceUID="1.2", SeriesInstanceUID="1.2.3", SOPInstanceUID=""),
            {"SOPInstanceUID": "1.2.3.1"},
        ),
        (FIND, identifier("IMAGE", SOPInstanceUID="1.2.3.1", Rows=None), {"Rows": 2}),
    ],
)
@ensureDeferred
async def test_pynetdicom_finds_at_every_level(
    tmp_path: Path, sop_class_uid: str, query: Dataset, found: dict[str, Any]
) -> None:
    async with embedded_pacs(tmp_path) as pacs:
        await pacs.keep(image())
        (first, match), (last, nothing) = await deferToThread(finds, pacs.port, sop_class_uid, query)
    assert (first, last, nothing) == (PENDING, SUCCESS, None)
    assert match is not None
    assert {keyword: match.get(keyword) for keyword in found} == found
    assert (match.QueryRetrieveLevel, match.RetrieveAETitle) == (query.QueryRetrieveLevel, AE_TITLE)


@ensureDeferred
async def test_a_name_comes_in_the_character_set_of_the_request_or_in_utf_8(tmp_path: Path) -> None:
    name = "Müller^Jürgen=山田^太郎"
    kept = image(PatientName=name, SpecificCharacterSet="ISO_IR 192")
    latin = image(study="1.9", series="1.9.1", PatientName="Müller^Jürgen", SpecificCharacterSet="ISO_IR 100")
    async with embedded_pacs(tmp_path) as pacs:
        await pacs.keep(kept, latin)
        query = identifier("STUDY", StudyInstanceUID="", PatientName="", SpecificCharacterSet="ISO_IR 100")
        answers = await deferToThread(finds, pacs.port, FIND, query)
    matches = {match.StudyInstanceUID: match for _, match in answers if match is not None}
    assert (matches["1.2"].SpecificCharacterSet, str(matches["1.2"].PatientName)) == ("ISO_IR 192", name)
    assert (matches["1.9"].SpecificCharacterSet, str(matches["1.9"].PatientName)) == (
        "ISO_IR 100",
        "Müller^Jürgen",
    )


@ensureDeferred
async def test_pynetdicom_cancels_a_query(tmp_path: Path) -> None:
    def find_and_cancel(port: int) -> list[int]:
        with pynetdicom_association(port, (FIND, [EXPLICIT])) as association:
            query = identifier("IMAGE", SOPInstanceUID="")
            seen = []
            for status, _ in association.send_c_find(query, FIND, msg_id=7):
                if not seen:
                    association.send_c_cancel(7, query_model=FIND)
                seen.append(status.Status)
            return seen

    async with embedded_pacs(tmp_path) as pacs:
        await pacs.keep(*(image(number) for number in range(1, 51)))
        seen = await deferToThread(find_and_cancel, pacs.port)
    # The last response may have crossed the C-CANCEL-RQ.
    assert seen[-1] in (CANCELLED, SUCCESS)
    assert set(seen[:-1]) == {PENDING}


@pytest.mark.parametrize(
    ("sop_class_uid", "query", "uids"),
    [
        (PATIENT_GET, identifier("PATIENT", PatientID="P1"), ["1.2.3.1", "1.2.3.2", "1.2.4.1", "1.8.1.1"]),
        (GET, identifier("STUDY", StudyInstanceUID=["1.2", "1.8"]), ["1.2.3.1", "1.2.3.2", "1.2.4.1", "1.8.1.1"]),
        (GET, identifier("SERIES", StudyInstanceUID="1.2", SeriesInstanceUID="1.2.3"), ["1.2.3.1", "1.2.3.2"]),
        (
            GET,
            identifier("IMAGE", StudyInstanceUID="1.2", SeriesInstanceUID="1.2.3", SOPInstanceUID="1.2.3.2"),
            ["1.2.3.2"],
        ),
    ],
)
@ensureDeferred
async def test_pynetdicom_gets_at_every_level(
    tmp_path: Path, sop_class_uid: str, query: Dataset, uids: list[str]
) -> None:
    async with embedded_pacs(tmp_path) as pacs:
        await pacs.keep(
            image(1), image(2), image(1, series="1.2.4"), image(1, study="1.8", series="1.8.1"),
            image(1, study="1.7", series="1.7.1", PatientID="P2"),
        )  # fmt: skip
        responses, _, arrived = await deferToThread(gets, pacs.port, sop_class_uid, query, {CT: [EXPLICIT]})
    assert sorted(str(one.SOPInstanceUID) for one in arrived) == uids
    *pending, final = responses
    assert [one.Status for one in pending] == [PENDING] * len(uids)
    assert [one.NumberOfRemainingSuboperations for one in pending] == list(reversed(range(len(uids))))
    assert (final.Status, final.NumberOfCompletedSuboperations, final.NumberOfFailedSuboperations) == (
        SUCCESS,
        len(uids),
        0,
    )


@ensureDeferred
async def test_a_get_converts_between_native_syntaxes_and_lists_what_no_context_carries(tmp_path: Path) -> None:
    compressed, syntax = compressed_image()
    secondary = str(compressed.SOPClassUID)
    async with embedded_pacs(tmp_path) as pacs:
        await pacs.keep(image(1))
        await pacs.keep(compressed, transfer_syntax_uid=syntax)
        responses, listed, arrived = await deferToThread(
            gets,
            pacs.port,
            GET,
            identifier("STUDY", StudyInstanceUID="1.2"),
            {CT: [IMPLICIT], secondary: [EXPLICIT, IMPLICIT]},
        )
    [got] = arrived
    assert (got.SOPInstanceUID, got.file_meta.TransferSyntaxUID, got.PixelData) == (
        "1.2.3.1",
        IMPLICIT,
        bytes(range(8)),
    )
    assert (responses[-1].Status, responses[-1].NumberOfFailedSuboperations) == (WARNING, 1)
    assert listed[-1].FailedSOPInstanceUIDList == compressed.SOPInstanceUID


@ensureDeferred
async def test_a_get_without_role_selection_is_refused(tmp_path: Path) -> None:
    async with embedded_pacs(tmp_path) as pacs:
        await pacs.keep(image())
        responses, _, arrived = await deferToThread(
            gets, pacs.port, GET, identifier("STUDY", StudyInstanceUID="1.2"), {}
        )
    assert ([one.Status for one in responses], arrived) == ([SUB_OPERATIONS_REFUSED], [])


@ensureDeferred
async def test_a_get_of_nothing_succeeds_with_no_sub_operation(tmp_path: Path) -> None:
    async with embedded_pacs(tmp_path) as pacs:
        responses, _, arrived = await deferToThread(
            gets, pacs.port, GET, identifier("STUDY", StudyInstanceUID="1.99"), {CT: [EXPLICIT]}
        )
    assert ([one.Status for one in responses], arrived) == ([SUCCESS], [])


@contextmanager
def pynetdicom_storage(sop_classes: dict[str, list[str]], answer: Callable[[Any], int]) -> Iterator[int]:
    """A storage SCP of pynetdicom; yields its port."""
    ae = AE("DESTINATION")
    for uid, syntaxes in sop_classes.items():
        ae.add_supported_context(uid, syntaxes)
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, answer)])
    assert server is not None
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()


def moves(port: int, query: Dataset, destination: str) -> list[tuple[Any, Dataset | None]]:
    with pynetdicom_association(port, (MOVE, [EXPLICIT])) as association:
        return list(association.send_c_move(query, destination, MOVE, msg_id=9))


@ensureDeferred
async def test_a_move_opens_a_further_association_for_another_kind_of_object(tmp_path: Path) -> None:
    arrived = []
    associations = set()
    lock = threading.Lock()

    def store(event: Any) -> int:
        with lock:
            associations.add(event.assoc)
            request = event.request
            arrived.append(
                (
                    str(request.AffectedSOPInstanceUID),
                    str(event.context.transfer_syntax),
                    request.MoveOriginatorApplicationEntityTitle,
                    request.MoveOriginatorMessageID,
                )
            )
        return 0

    compressed, syntax = compressed_image()
    classes = {CT: [EXPLICIT, IMPLICIT], str(compressed.SOPClassUID): [syntax]}
    with pynetdicom_storage(classes, store) as destination:
        async with embedded_pacs(tmp_path, destinations={"DESTINATION": destination}) as pacs:
            await pacs.keep(image(1), image(2))
            await pacs.keep(compressed, transfer_syntax_uid=syntax)
            answers = await deferToThread(moves, pacs.port, identifier("STUDY", StudyInstanceUID="1.2"), "DESTINATION")
    final = answers[-1][0]
    assert (final.Status, final.NumberOfCompletedSuboperations) == (SUCCESS, 3)
    assert arrived == [
        ("1.2.3.1", EXPLICIT, "PYNETDICOM", 9),
        ("1.2.3.2", EXPLICIT, "PYNETDICOM", 9),
        (str(compressed.SOPInstanceUID), syntax, "PYNETDICOM", 9),
    ]
    assert len(associations) == 2


@ensureDeferred
async def test_a_move_counts_what_the_destination_refuses(tmp_path: Path) -> None:
    def refuse_the_second(event: Any) -> int:
        return 0xA700 if event.request.AffectedSOPInstanceUID == "1.2.3.2" else SUCCESS

    with pynetdicom_storage({CT: [EXPLICIT]}, refuse_the_second) as destination:
        async with embedded_pacs(tmp_path, destinations={"DESTINATION": destination}) as pacs:
            await pacs.keep(image(1), image(2), image(3))
            answers = await deferToThread(moves, pacs.port, identifier("STUDY", StudyInstanceUID="1.2"), "DESTINATION")
    final, listed = answers[-1]
    assert (final.Status, final.NumberOfCompletedSuboperations, final.NumberOfFailedSuboperations) == (WARNING, 2, 1)
    assert listed is not None
    assert listed.FailedSOPInstanceUIDList == "1.2.3.2"


@ensureDeferred
async def test_a_move_to_a_destination_that_is_down_fails(tmp_path: Path) -> None:
    async with embedded_pacs(tmp_path, destinations={"DESTINATION": free_port()}) as pacs:
        await pacs.keep(image(1), image(2))
        answers = await deferToThread(moves, pacs.port, identifier("STUDY", StudyInstanceUID="1.2"), "DESTINATION")
    assert [status.Status for status, _ in answers] == [SUB_OPERATIONS_REFUSED]


@ensureDeferred
async def test_pynetdicom_stores(tmp_path: Path) -> None:
    def store(port: int) -> list[int]:
        with pynetdicom_association(port, (CT, [EXPLICIT])) as association:
            data_sets = [image(1), image(2), image(2, StudyInstanceUID="1.2.2", PatientName="Changed")]
            for one in data_sets:
                one.file_meta = Dataset()
                one.file_meta.TransferSyntaxUID = EXPLICIT
            return [int(association.send_c_store(one).Status) for one in data_sets]

    async with embedded_pacs(tmp_path) as pacs:
        statuses = await deferToThread(store, pacs.port)
        answers = await deferToThread(
            finds, pacs.port, FIND, identifier("IMAGE", SOPInstanceUID="", StudyInstanceUID="")
        )
    assert statuses[:2] == [SUCCESS, SUCCESS]
    assert len(answers) == 3, (statuses, answers)


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
