"""The embedded PACS against peers that others wrote, and against our own requestor, over loopback."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE, build_role, evt
from pynetdicom.association import Association as PynetdicomAssociation
from pytest_twisted import ensureDeferred
from twisted.internet.threads import deferToThread

from harmonygw.net.association.requestor import VERIFICATION
from tests.interop.embedded import (
    AE_TITLE,
    CT,
    EXPLICIT,
    IMPLICIT,
    embedded_pacs,
    image,
)
from tests.interop.embedded_objects import (
    CANCELLED,
    FIND,
    GET,
    MOVE,
    PATIENT_FIND,
    PATIENT_GET,
    PENDING,
    SUB_OPERATIONS_REFUSED,
    SUCCESS,
    WARNING,
    compressed_image,
    free_port,
    identifier,
)

pytestmark = pytest.mark.interop


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
