"""A whole PACS in this process: a `dicom_scp` endpoint in front of a `storage` backend, on a real socket."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from twisted.internet import reactor

from harmonygw.backends.storage import Storage
from harmonygw.config.endpoint_options import AETableEntry, DicomSCPOptions
from harmonygw.config.model import Endpoint, ListeningAddress
from harmonygw.endpoints.dicom_scp import DicomSCPEndpoint
from harmonygw.exchange import AssociationOrigin, Request
from harmonygw.journal import Ending
from harmonygw.net.association.destination import MoveDestination
from harmonygw.operations import Store
from harmonygw.pipeline import EndpointContext, chain
from harmonygw.streams import Feed, Instance, Pieces

AE_TITLE = "EMBEDDED"
CT = str(CTImageStorage)
EXPLICIT = str(ExplicitVRLittleEndian)
IMPLICIT = str(ImplicitVRLittleEndian)


@dataclass
class EmbeddedPACS:
    endpoint: DicomSCPEndpoint
    backend: Storage

    @property
    def port(self) -> int:
        return self.endpoint.addresses[0].port

    async def keep(self, *data_sets: Dataset, transfer_syntax_uid: str = EXPLICIT) -> None:
        """Store these in the archive, past the endpoint."""
        request = Request(
            AssociationOrigin("TEST", AE_TITLE),
            "127.0.0.1",
            "test",
            operation=Store(_on_their_way(data_sets, transfer_syntax_uid)),
        )
        reply = await self.backend.respond(request)
        statuses = [result.status async for result in reply.result]
        assert statuses == [0] * len(data_sets)


@asynccontextmanager
async def embedded_pacs(
    folder: Path,
    *,
    destinations: dict[str, int] | None = None,
    our_moves: tuple[MoveDestination, ...] = (),
    **options: Any,
) -> AsyncGenerator[EmbeddedPACS, None]:
    """A PACS with everything enabled; `destinations` are ports on this host by AE title.

    `our_moves` are C-MOVEs that this process requests, and whose instances may come to this port.
    """
    settings = DicomSCPOptions(
        local_aet=AE_TITLE,
        **{
            "enable_find": True,
            "enable_move": True,
            "enable_get": True,
            "enable_store": True,
            "aet_table": {name: AETableEntry("127.0.0.1", port) for name, port in (destinations or {}).items()},
            **options,
        },
    )
    storage_options = SimpleNamespace(root=str(folder), write_pattern="", read_pattern="", samples=False)
    backend = Storage(SimpleNamespace(name="archive", options=storage_options, reactor=reactor))  # type: ignore[arg-type]
    await backend.start()
    endpoint = DicomSCPEndpoint(
        EndpointContext(
            Endpoint("scp", "dicom_scp", settings, None, None, (ListeningAddress("127.0.0.1", 0),)),
            chain([], backend.respond),
            SimpleNamespace(),  # type: ignore[arg-type]
            reactor,
            backend=backend,
            destinations=lambda: our_moves,
            ended=_say_nothing,
        )
    )
    endpoint.start()
    try:
        yield EmbeddedPACS(endpoint, backend)
    finally:
        await endpoint.stop()
        await backend.stop()


def _say_nothing(request: Request, ending: Ending) -> None:
    """Keep the PACS's own exchanges out of a log that is the gateway's."""


def image(number: int = 1, *, series: str = "1.2.3", study: str = "1.2", **attributes: Any) -> Dataset:
    """CT image `number` of a series, with 8 bytes of pixels unless `attributes` say otherwise."""
    data_set = Dataset()
    for keyword, value in {
        "SOPClassUID": CT,
        "SOPInstanceUID": f"{series}.{number}",
        "StudyDate": "20250102",
        "StudyTime": "101112",
        "AccessionNumber": "A1",
        "Modality": "CT",
        "PatientName": "Doe^Jane",
        "PatientID": "P1",
        "StudyInstanceUID": study,
        "SeriesInstanceUID": series,
        "SeriesNumber": 1,
        "InstanceNumber": number,
        "Rows": 2,
        "Columns": 2,
        "BitsAllocated": 16,
        "PixelData": bytes(range(8)),
        **attributes,
    }.items():
        setattr(data_set, keyword, value)
    data_set["PixelData"].VR = "OW"
    return data_set


def encoded(data_set: Dataset, transfer_syntax_uid: str = EXPLICIT) -> bytes:
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, transfer_syntax_uid == IMPLICIT
    write_dataset(buffer, data_set)
    return buffer.getvalue()


def part10(data_set: Dataset, path: Path, transfer_syntax_uid: str = EXPLICIT) -> Path:
    """Write a file that DCMTK can send."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = data_set.SOPClassUID
    meta.MediaStorageSOPInstanceUID = data_set.SOPInstanceUID
    meta.TransferSyntaxUID = transfer_syntax_uid
    FileDataset(str(path), data_set, file_meta=meta, preamble=bytes(128)).save_as(path, enforce_file_format=True)
    return path


def instance_of(data_set: Dataset, transfer_syntax_uid: str = EXPLICIT) -> Instance:
    """The data set on its way, whole."""
    pieces: Feed[Pieces] = Feed(limit=1)
    pieces.put((encoded(data_set, transfer_syntax_uid),))
    pieces.end()
    return Instance(str(data_set.SOPClassUID), str(data_set.SOPInstanceUID), transfer_syntax_uid, pieces)


async def _on_their_way(data_sets: tuple[Dataset, ...], transfer_syntax_uid: str) -> AsyncGenerator[Instance, None]:
    for one in data_sets:
        yield instance_of(one, transfer_syntax_uid)
