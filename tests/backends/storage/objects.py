"""Small objects, and an archive to put them into, for the tests of this folder."""

from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from twisted.internet import reactor
from twisted.internet.defer import Deferred

from harmonygw.backends.storage import Storage
from harmonygw.backends.storage.attributes import tag_of
from harmonygw.exchange import AssociationOrigin, Reply, Request
from harmonygw.operations import Find, Level, Operation, Retrieve, Store, StoreResult
from harmonygw.streams import Feed, Instance, Match, Piece, Pieces

CT = str(CTImageStorage)
EXPLICIT = str(ExplicitVRLittleEndian)
IMPLICIT = str(ImplicitVRLittleEndian)
STORED = 0x0000


def data_set(**attributes: Any) -> Dataset:
    """A CT image of patient P1, study 1.2, series 1.2.3, instance 1.2.3.4, changed by `attributes`."""
    result = Dataset()
    for keyword, value in {
        "SOPClassUID": CT,
        "SOPInstanceUID": "1.2.3.4",
        "StudyDate": "20250102",
        "StudyTime": "101112",
        "AccessionNumber": "A1",
        "Modality": "CT",
        "PatientName": "Doe^Jane",
        "PatientID": "P1",
        "StudyInstanceUID": "1.2",
        "SeriesInstanceUID": "1.2.3",
        "SeriesNumber": 1,
        "InstanceNumber": 1,
        "Rows": 2,
        "Columns": 2,
        "BitsAllocated": 16,
        "PixelData": bytes(range(8)),
        **attributes,
    }.items():
        if value is not None:
            setattr(result, keyword, value)
    if "PixelData" in result:
        result["PixelData"].VR = "OW"
    return result


def encoded(content: Dataset, transfer_syntax_uid: str = EXPLICIT) -> bytes:
    """The bytes of a data set, in a little-endian transfer syntax that is not deflated."""
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, transfer_syntax_uid == IMPLICIT
    write_dataset(buffer, content)
    return buffer.getvalue()


def pieces_of(*groups: Sequence[Piece], error: Exception | None = None) -> Feed[Pieces]:
    """A data set that has arrived in these groups, and then ended, or failed with `error`."""
    feed: Feed[Pieces] = Feed(limit=1 << 30)
    for group in groups:
        feed.put(group)
    if error is None:
        feed.end()
        return feed
    return Failing(groups, error)  # type: ignore[return-value]


class Failing:
    """A stream that delivers some groups and then breaks."""

    def __init__(self, groups: Sequence[Sequence[Piece]], error: Exception) -> None:
        self._groups = list(groups)
        self._error = error

    def __aiter__(self) -> "Failing":
        return self

    async def __anext__(self) -> Sequence[Piece]:
        if self._groups:
            return self._groups.pop(0)
        raise self._error

    async def aclose(self) -> None:
        self._groups.clear()


def instance(content: Dataset, transfer_syntax_uid: str = EXPLICIT, **changes: Any) -> Instance:
    """An instance on its way, in one piece unless `changes` say otherwise."""
    values = {
        "sop_class_uid": str(content.SOPClassUID),
        "sop_instance_uid": str(content.SOPInstanceUID),
        "transfer_syntax_uid": transfer_syntax_uid,
        "source_ae_title": "MODALITY",
        **changes,
    }
    if "data_set" not in values:
        values["data_set"] = pieces_of((encoded(content, transfer_syntax_uid),))
    return Instance(**values)


def ct(**attributes: Any) -> Instance:
    """The CT image that `data_set` describes, on its way."""
    return instance(data_set(**attributes))


async def stream_of(instances: Iterable[Instance]) -> AsyncGenerator[Instance, None]:
    for one in instances:
        yield one


def storage(root: Path, *, samples: bool = False, write_pattern: str = "", read_pattern: str = "") -> Storage:
    options = SimpleNamespace(root=str(root), write_pattern=write_pattern, read_pattern=read_pattern, samples=samples)
    return Storage(SimpleNamespace(name="archive", options=options, reactor=reactor))  # type: ignore[arg-type]


class running:
    """A backend that is started, and stopped at the end."""

    def __init__(self, root: Path, **options: Any) -> None:
        self._backend = storage(root, **options)

    async def __aenter__(self) -> Storage:
        await self._backend.start()
        return self._backend

    async def __aexit__(self, *exception: object) -> None:
        await self._backend.stop()


async def until(condition: Callable[[], bool]) -> None:
    """Let the reactor turn until something has happened in a thread."""
    while not condition():
        turn: Deferred[None] = Deferred()
        reactor.callLater(0.001, turn.callback, None)  # type: ignore[attr-defined]
        await turn


def request(operation: Operation | None) -> Request:
    return Request(AssociationOrigin("VIEWER", "ARCHIVE"), "127.0.0.1", "id", operation=operation)


async def respond(backend: Storage, operation: Operation | None) -> Reply:
    return await backend.respond(request(operation))


async def store(backend: Storage, *instances: Instance) -> list[StoreResult]:
    reply = await respond(backend, Store(stream_of(instances)))
    return [result async for result in reply.result]


async def statuses(backend: Storage, *instances: Instance) -> list[int]:
    return [result.status for result in await store(backend, *instances)]


def keys(vr_by_keyword: dict[str, tuple[str, Any]]) -> dict[str, Any]:
    """Matching keys in the DICOM JSON model: keyword to VR and value, None for a universal one."""
    return {
        tag_of(keyword): {"vr": vr}
        if value is None
        else {"vr": vr, "Value": value if isinstance(value, list) else [value]}
        for keyword, (vr, value) in vr_by_keyword.items()
    }


async def search(backend: Storage, level: Level, **wanted: tuple[str, Any]) -> list[Match]:
    reply = await respond(backend, Find(level, keys(wanted)))
    return [match async for match in reply.result]


def values(matches: Iterable[Match], keyword: str) -> list[Any]:
    """The first value of an attribute in every match, None where there is none."""
    return [match[tag_of(keyword)].get("Value", [None])[0] for match in matches]


async def retrieve(backend: Storage, operation: Retrieve) -> list[tuple[Instance, bytes]]:
    reply = await respond(backend, operation)
    return [
        (one, b"".join([bytes(piece) async for pieces in one.data_set for piece in pieces]))
        async for one in reply.result
    ]


def study(uid: str = "1.2", **changes: Any) -> Retrieve:
    return Retrieve(Level.STUDY, uid, **changes)


def files_below(root: Path) -> list[str]:
    """The files of the archive, without its index and locks."""
    found = (path.relative_to(root) for path in root.rglob("*") if path.is_file())
    return sorted(str(path) for path in found if path.suffix in (".dcm", ".part") or path.parts[0] != ".harmonygw")


LARGE = data_set(PixelData=bytes(1_000_000))


def arriving_slowly(**options: Any) -> Feed[Pieces]:
    """A large data set of which 300,000 bytes have arrived."""
    feed: Feed[Pieces] = Feed(limit=1 << 30, **options)
    feed.put((encoded(LARGE)[:300_000],))
    return feed
