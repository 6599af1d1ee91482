"""An archive that holds objects, and says of them what it likes; and a principal who is confined in front of it."""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from struct import pack
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from harmonygw.confining.confinement import Confinement
from harmonygw.dicom.dataset.dictionary import vr_of
from harmonygw.exchange import HTTPOrigin, Reply, Request, Restriction
from harmonygw.operations import (
    Commitment,
    DataSet,
    Find,
    FindWorklist,
    Level,
    Move,
    MoveResult,
    Operation,
    RequestCommitment,
    Retrieve,
    Store,
    StoreResult,
)
from harmonygw.pipeline import Proceed
from harmonygw.streams import Feed, Instance, Match, Pieces
from tests.middleware.dicomweb_bridge.archive import (
    Archive,
    Entity,
    Found,
    Gateway,
    Sent,
    element,
    elements,
    image,
    result_of,
    series,
    study,
    tag,
)

__all__ = [
    "STUDIES",
    "Entity",
    "Gateway",
    "Keeper",
    "Lax",
    "Sent",
    "confined",
    "element",
    "elements",
    "encoded",
    "hospital",
    "image",
    "keys",
    "mixed",
    "object_of",
    "result_of",
    "rows_of",
    "sent",
    "series",
    "study",
    "tag",
]

EXPLICIT = "1.2.840.10008.1.2.1"
CT = "1.2.840.10008.5.1.4.1.1.2"
STUDIES = Find(Level.STUDY, {}, elements(StudyInstanceUID=None, PatientName=None))


def encoded(attributes: Match) -> bytes:
    """A data set in Explicit VR Little Endian, of short values; a value of bytes is written as it is."""
    data = b""
    for name, one in sorted(attributes.items()):
        vr = vr_of(int(name, 16))
        values = [value["Alphabetic"] if isinstance(value, dict) else value for value in one.get("Value", ())]
        value = values[0] if values and isinstance(values[0], bytes) else "\\".join(map(str, values)).encode()
        value += b" " * (len(value) % 2) if vr != "UI" else b"\0" * (len(value) % 2)
        data += pack("<HH2sH", int(name[:4], 16), int(name[4:], 16), vr.encode(), len(value)) + value
    return data


def object_of(attributes: Match, **others: Any) -> Instance:
    """An object whose data set comes in small pieces, with whatever an index says of it."""

    def text(keyword: str) -> str:
        return str(attributes.get(tag(keyword), {}).get("Value", [""])[0])

    data = encoded(attributes)
    feed: Feed[Pieces] = Feed(limit=1_000_000)
    for start in range(0, len(data), 50):
        feed.put(
            (data[start : start + 20], data[start + 20 : start + 50]) if start + 20 < len(data) else (data[start:],)
        )
    feed.end()
    return Instance(
        CT,
        text("SOPInstanceUID"),
        EXPLICIT,
        feed,
        study_instance_uid=text("StudyInstanceUID"),
        series_instance_uid=text("SeriesInstanceUID"),
        **others,
    )


class Keeper(Archive):
    """An archive with objects. `objects` says what stands in an object where that is not what the archive says of
    it: by SOP Instance UID, keyword to value, None for an attribute that is not there."""

    def __init__(self, *studies: Entity, **others: Any) -> None:
        super().__init__(*studies, **others)
        self.objects: dict[str, dict[str, Any]] = {}
        self.stored: list[Instance] = []
        self.moves: list[Move] = []
        self.worklist: list[Match] = []
        self.worklist_asked: list[DataSet] = []
        self.served: list[Operation | None] = []
        self.storing = 0
        self.error: Exception | None = None

    async def _respond(self, request: Request) -> Reply:
        assert not request.restrictions
        operation = request.operation
        self.served.append(operation)
        if self.error is not None:
            raise self.error
        match operation:
            case Store():
                return Reply(result=self._stored(operation))
            case Move():
                self.moves.append(operation)
                return Reply(result=MoveResult(1, None if operation.level is Level.IMAGE else 0))
            case FindWorklist():
                self.worklist_asked.append(operation.identifier)
                return Reply(result=Found(self.worklist, ["of the worklist"]))
            case RequestCommitment():
                return Reply(result=Commitment(()))
        if operation is None:
            return Reply(204)
        assert not self.storing, "a place is held while another operation begins"
        return await super()._respond(request)

    def stream_of(self, retrieve: Retrieve) -> Any:
        found = []
        for row in self._rows(2):
            given = [row[tag(name)]["Value"][0] for name in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")]
            wanted = (retrieve.study_instance_uid, retrieve.series_instance_uid)
            if given[: 1 + bool(wanted[1])] != list(filter(None, wanted)):
                continue
            if retrieve.sop_instance_uids and given[2] not in retrieve.sop_instance_uids:
                continue
            counts = {tag(name) for name in ("ModalitiesInStudy", "NumberOfStudyRelatedSeries")}
            counts |= {tag("NumberOfStudyRelatedInstances"), tag("NumberOfSeriesRelatedInstances")}
            own = {name: value for name, value in row.items() if name not in counts}
            for keyword, value in self.objects.get(given[2], {}).items():
                own.pop(tag(keyword), None)
                if value is not None:
                    own[tag(keyword)] = element(keyword, value)
            found.append(object_of(own))
        self.instances = Sent(*found)
        return self.instances

    async def _stored(self, store: Store) -> AsyncGenerator[StoreResult, None]:
        self.storing += 1
        async for instance in store.instances:
            self.stored.append(instance)
            assert b"".join([bytes(piece) async for pieces in instance.data_set for piece in pieces])
            yield StoreResult(instance.sop_class_uid, instance.sop_instance_uid, 0)
        self.storing -= 1


class Lax(Keeper):
    """An archive that gives everything of an instance, and little of a series."""

    def _judge(self, find: Find) -> None:
        pass

    def _matches(self, find: Find) -> list[Match]:
        self.leaves_out = {tag("InstitutionName")} if find.level is not Level.IMAGE else set()
        return super()._matches(find)


def hospital(**others: Any) -> Keeper:
    return Keeper(
        study("1", series("1.1", image("1.1.1")), PatientID="A", IssuerOfPatientID="east"),
        study("2", series("2.1", image("2.1.1")), PatientID="B", IssuerOfPatientID="west"),
        study("3", series("3.1", image("3.1.1")), PatientID="C"),
        **others,
    )


def mixed(**others: Any) -> Keeper:
    """One study with ultrasound and CT, one of each alone."""
    return Keeper(
        study(
            "1",
            series("1.1", image("1.1.1"), Modality="CT", InstitutionName="Main"),
            series("1.2", image("1.2.1"), image("1.2.2"), Modality="US", InstitutionName="St Elsewhere"),
        ),
        study("2", series("2.1", image("2.1.1"), Modality="CT", InstitutionName="St Elsewhere")),
        study("3", series("3.1", image("3.1.1"), Modality="US", InstitutionName="Main")),
        **others,
    )


class confined:
    """A principal who is confined to some values, in front of an archive."""

    def __init__(self, archive: Keeper, **keys: Sequence[str] | str) -> None:
        values = {tag(name): (some,) if isinstance(some, str) else tuple(some) for name, some in keys.items()}
        self.archive = archive
        self.clock = Clock()
        self.restrictions: tuple[Restriction, ...] = (Restriction(values, "a test"),)
        self.confinement = Confinement({}, self.clock)
        self.request: Request | None = None

    def asking(self, operation: Operation | None, **others: Any) -> Request:
        origin = others.pop("origin", HTTPOrigin("GET", ("studies",)))
        self.request = Request(origin, "192.0.2.1", "c1", operation=operation, restrictions=self.restrictions, **others)
        return self.request

    def proceed(self, request: Request) -> "Deferred[Reply]":
        """Continue an exchange that somebody else has begun, as if he were confined."""
        restricted = replace(request, restrictions=self.restrictions)
        return Deferred.fromCoroutine(self.confinement.intercept(restricted, self.archive.proceed))

    def reply(self, operation: Operation | None, proceed: Proceed | None = None, **others: Any) -> Reply:
        request = self.asking(operation, **others)
        found: Reply = result_of(self.confinement.intercept(request, proceed or self.archive.proceed))
        return found

    def rows(self, operation: Operation, **others: Any) -> list[Match]:
        return rows_of(self.reply(operation, **others))

    def uids(self, operation: Operation, keyword: str = "StudyInstanceUID", **others: Any) -> list[str]:
        return [row[tag(keyword)]["Value"][0] for row in self.rows(operation, **others)]

    def sent(self, operation: Operation, **others: Any) -> list[str]:
        return sent(self.reply(operation, **others))

    def gateway(self, **options: Any) -> Gateway:
        """A bridge in front of the principal's confinement."""
        return Gateway(self, **options)  # type: ignore[arg-type]


def rows_of(reply: Reply) -> list[Match]:
    async def read() -> list[Match]:
        return [row async for row in reply.result]

    return result_of(read())  # type: ignore[no-any-return]


def sent(reply: Reply) -> list[str]:
    """The instances of a Retrieve, each of which is read to its end."""

    async def read() -> list[str]:
        found = []
        async for instance in reply.result:
            data = b"".join([bytes(piece) async for pieces in instance.data_set for piece in pieces])
            assert instance.sop_instance_uid.encode() in data
            found.append(instance.sop_instance_uid)
        return found

    return result_of(read())  # type: ignore[no-any-return]


def keys(**values: Any) -> DataSet:
    """Matching keys."""
    return elements(**values)
