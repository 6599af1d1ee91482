"""Composite Instance Retrieve Without Bulk Data (PS3.4 Annex Z) from an SCP that others wrote."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, JPEG2000Lossless
from pynetdicom import AE, evt
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    CompositeInstanceRetrieveWithoutBulkDataGet,
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
)
from pytest_twisted import ensureDeferred

from harmonygw.exchange import AssociationOrigin, Request
from harmonygw.operations import Level, Retrieve
from tests.backends.dicom_scu.backends import backend

pytestmark = pytest.mark.interop

STUDY = "1.2"


def image(series: str, number: int) -> Dataset:
    data_set = dcmread(str(get_testdata_file("CT_small.dcm", download=False)))
    data_set.PatientID, data_set.StudyInstanceUID, data_set.SeriesInstanceUID = "P1", STUDY, series
    data_set.SOPInstanceUID = data_set.file_meta.MediaStorageSOPInstanceUID = f"{series}.{number}"
    return data_set


@dataclass
class Archive:
    """A C-FIND and C-GET SCP on pynetdicom, and what it was asked."""

    images: list[Dataset]
    gets: list[tuple[str, Dataset]] = field(default_factory=list)

    def find(self, event: Any) -> Iterator[tuple[int, Dataset | None]]:
        wanted = event.identifier
        keyword = {"STUDY": "StudyInstanceUID", "SERIES": "SeriesInstanceUID", "IMAGE": "SOPInstanceUID"}
        seen = set()
        for one in self.matching(wanted):
            uid = one[keyword[wanted.QueryRetrieveLevel]].value
            if uid not in seen:
                seen.add(uid)
                row = Dataset()
                row.QueryRetrieveLevel = wanted.QueryRetrieveLevel
                for element in wanted:
                    if element.keyword in one:
                        row.add(one[element.tag])
                yield 0xFF00, row
        yield 0x0000, None

    def get(self, event: Any) -> Iterator[Any]:
        self.gets.append((str(event.request.AffectedSOPClassUID), event.identifier))
        matching = self.matching(event.identifier)
        yield len(matching)
        for one in matching:
            if event.request.AffectedSOPClassUID == CompositeInstanceRetrieveWithoutBulkDataGet:
                del one.PixelData
            yield 0xFF00, one

    def matching(self, wanted: Dataset) -> list[Dataset]:
        return [
            image(str(one.SeriesInstanceUID), int(one.SOPInstanceUID.rpartition(".")[2]))
            for one in self.images
            if all(
                not wanted.get(keyword) or one[keyword].value in _values(wanted[keyword].value)
                for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
            )
        ]


def _values(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value)


@contextmanager
def serving(archive: Archive, *, strips: bool) -> Iterator[int]:
    ae = AE("PACS")
    ae.add_supported_context(StudyRootQueryRetrieveInformationModelFind)
    ae.add_supported_context(StudyRootQueryRetrieveInformationModelGet)
    if strips:
        ae.add_supported_context(CompositeInstanceRetrieveWithoutBulkDataGet)
    ae.add_supported_context(CTImageStorage, [ExplicitVRLittleEndian, JPEG2000Lossless], scu_role=True, scp_role=True)
    server = ae.start_server(
        ("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_FIND, archive.find), (evt.EVT_C_GET, archive.get)]
    )
    assert server is not None
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()


async def retrieved(port: int, *operations: Retrieve) -> list[list[tuple[str, bool, bool]]]:
    """Of each operation its instances: the UID, whether it is said to lack bulk data, and whether it has pixels."""
    one = backend(port, silence_timeout_secs=5.0)
    try:
        found = []
        for operation in operations:
            request = Request(AssociationOrigin("VIEWER", "GATEWAY"), "127.0.0.1", "id", operation=operation)
            instances = []
            async for instance in (await one.respond(request)).result:
                data = b""
                async for pieces in instance.data_set:
                    data += b"".join(pieces)
                instances.append((instance.sop_instance_uid, instance.without_bulk_data, b"\xe0\x7f\x10\x00OW" in data))
            found.append(sorted(instances))
        return found
    finally:
        await one.stop()


IMAGES = [image(series, number) for series in ("1.2.3", "1.2.4") for number in (1, 2)]
UIDS = [str(one.SOPInstanceUID) for one in IMAGES]


@ensureDeferred
async def test_a_study_a_series_and_instances_come_without_bulk_data() -> None:
    archive = Archive(IMAGES)
    with serving(archive, strips=True) as port:
        study, series, instances, whole = await retrieved(
            port,
            Retrieve(Level.STUDY, STUDY, without_bulk_data=True),
            Retrieve(Level.SERIES, STUDY, "1.2.4", without_bulk_data=True),
            Retrieve(Level.IMAGE, STUDY, "1.2.3", ("1.2.3.2",), without_bulk_data=True),
            Retrieve(Level.IMAGE, STUDY, "1.2.3", ("1.2.3.2",)),
        )
    assert study == [(uid, True, False) for uid in UIDS]
    assert series == [(uid, True, False) for uid in UIDS[2:]]
    assert instances == [("1.2.3.2", True, False)]
    assert whole == [("1.2.3.2", False, True)]
    asked = [(sop_class, {element.keyword for element in identifier}) for sop_class, identifier in archive.gets]
    assert asked[:4] == [(CompositeInstanceRetrieveWithoutBulkDataGet, {"QueryRetrieveLevel", "SOPInstanceUID"})] * 4
    assert asked[4][0] == StudyRootQueryRetrieveInformationModelGet


@ensureDeferred
async def test_an_archive_without_it_sends_instances_whole() -> None:
    archive = Archive(IMAGES)
    with serving(archive, strips=False) as port:
        [study] = await retrieved(port, Retrieve(Level.STUDY, STUDY, without_bulk_data=True))
    assert study == [(uid, False, True) for uid in UIDS]
    assert [sop_class for sop_class, _ in archive.gets] == [StudyRootQueryRetrieveInformationModelGet]
