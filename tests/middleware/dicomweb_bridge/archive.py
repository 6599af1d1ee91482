"""An archive in memory, as strict as PS3.4 lets a PACS be, and as lax as they are; and a bridge in front of it."""

from collections.abc import AsyncIterator, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType, SimpleNamespace
from typing import Any

import orjson
import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from harmonygw.config.middleware_options import DICOMwebBridgeOptions
from harmonygw.dicom.dataset.dictionary import keyword_of, tag_of, vr_of
from harmonygw.dicom.dataset.matching import Matcher
from harmonygw.dicom.web.attributes import EVERY_LEVEL, UNIQUE_KEYS, Level, level_of
from harmonygw.errors import HarmonyError, NotAcceptable, RejectedError
from harmonygw.exchange import HTTPOrigin, Reply, Request
from harmonygw.middleware.dicomweb_bridge import DICOMwebBridge
from harmonygw.operations import Find, Retrieve
from harmonygw.streams import Instance, Match

LEVELS = (Level.STUDY, Level.SERIES, Level.IMAGE)
BASE_URL = "https://pacs.example/dicomweb"
LITERAL = "The fuzzymatching parameter is not supported. Only literal matching has been performed."


def tag(keyword: str) -> str:
    number = tag_of(keyword)
    return keyword if number is None else f"{number:08X}"


def element(name: str, value: Any, vr: str = "") -> dict[str, Any]:
    """An element of the DICOM JSON model; None is no value."""
    vr = vr or vr_of(int(tag(name), 16))
    if value is None:
        return {"vr": vr}
    several = value if isinstance(value, list) else [value]
    return {"vr": vr, "Value": [{"Alphabetic": one} if vr == "PN" else one for one in several]}


def elements(**values: Any) -> Match:
    return {tag(name): element(name, value) for name, value in values.items()}


@dataclass
class Entity:
    """A study, series or instance, and what it holds."""

    attributes: Match
    children: list["Entity"] = field(default_factory=list)


def study(uid: str, *series: Entity, **attributes: Any) -> Entity:
    given = {"StudyDate": "20250102", "PatientID": f"P{uid}", "PatientName": f"Doe^{uid}", **attributes}
    return Entity(elements(StudyInstanceUID=uid, **given), list(series))


def series(uid: str, *instances: Entity, Modality: str = "CT", **attributes: Any) -> Entity:
    return Entity(elements(SeriesInstanceUID=uid, Modality=Modality, **attributes), list(instances))


def image(uid: str, **attributes: Any) -> Entity:
    return Entity(elements(SOPInstanceUID=uid, SOPClassUID="1.2.840.10008.5.1.4.1.1.2", **attributes))


class Archive:
    """What stands behind the bridge. `asked` tells which Finds it was asked, in order.

    It refuses keys above its level but the unique ones, all of which it wants, and keys below (PS3.4 §C.4.1.3.1),
    unless it is relational and the Find says so. It matches none of the keys in `ignores`, and leaves the
    attributes in `leaves_out` out of its answers. One query at a time, or the test fails.
    """

    def __init__(
        self,
        *studies: Entity,
        relational: bool = False,
        ignores: Sequence[str] = (),
        leaves_out: Sequence[str] = (),
        warnings: Sequence[str] = (),
        echoes_upper_keys: bool = True,
        refuses: Sequence[Level] = (),
    ) -> None:
        self.studies = list(studies)
        self.relational = relational
        self.ignores = {tag(one) for one in ignores}
        self.leaves_out = {tag(one) for one in leaves_out}
        self.warnings = list(warnings)
        self.echoes_upper_keys = echoes_upper_keys
        self.refuses = refuses
        self.adds: list[str] = []
        """Attributes in every answer, asked for or not."""
        self.asked: list[Find] = []
        self.retrieved: list[Retrieve] = []
        self.answers: list[Found] = []
        self.digest = ""
        """What it says of what it sends before it does."""
        self.instances: Any = None

    def proceed(self, request: Request) -> "Deferred[Reply]":
        return Deferred.fromCoroutine(self._respond(request))

    async def _respond(self, request: Request) -> Reply:
        operation = request.operation
        if isinstance(operation, Retrieve):
            self.retrieved.append(operation)
            return Reply(result=self.stream_of(operation), digest=self.digest)
        assert isinstance(operation, Find)
        assert not [one for one in self.answers if one.open], "a place is held while another query is asked"
        self.asked.append(operation)
        if operation.relational and not self.relational:
            self.asked[-1] = replace(operation, level=Level.PATIENT)  # marks a Find that was not carried out
            raise NotAcceptable("the archive has no relational queries")
        self._judge(operation)
        found = Found(
            self._matches(operation), [LITERAL, *self.warnings] if operation.fuzzy_matching else self.warnings
        )
        self.answers.append(found)
        return Reply(result=found)

    def stream_of(self, retrieve: Retrieve) -> Any:
        """The instances that a Retrieve is answered with."""
        return self.instances

    def _judge(self, find: Find) -> None:
        position = LEVELS.index(find.level)
        upper = {UNIQUE_KEYS[one] for one in LEVELS[:position]}
        if find.level in self.refuses:
            raise RejectedError("no such level here", status=0xA900)
        for name, key in find.keys.items():
            assert key["Value"], f"{name} is a key without value"
            assert name not in find.return_keys
            if len(key["Value"]) > 1 and key["vr"] != "UI":
                raise RejectedError(f"several values of {name} mean nothing", status=0xA900)
            if name in upper and len(key["Value"]) > 1 and not find.relational:
                raise RejectedError(f"{name} has to name one parent", status=0xA900)
        allowed = LEVELS[: position + 1] if find.relational else (find.level,)
        for name in {*find.keys, *find.return_keys} - upper:
            level = level_of(name)
            level = Level.STUDY if level is Level.PATIENT else level
            if level is not None and level not in allowed:
                raise RejectedError(f"{keyword_of(int(name, 16))} is no key at {find.level}", status=0xA900)
        if not find.relational and not upper <= set(find.keys):
            raise RejectedError("a unique key of a level above is missing", status=0xA900)

    def _matches(self, find: Find) -> list[Match]:
        upper = {UNIQUE_KEYS[one] for one in LEVELS[: LEVELS.index(find.level)]}
        matcher = Matcher({name: key for name, key in find.keys.items() if name not in self.ignores})
        matches = []
        for row in self._rows(LEVELS.index(find.level)):
            if matcher.matches(row):
                asked = {*find.keys, *find.return_keys, UNIQUE_KEYS[find.level]} - self.leaves_out
                asked.update(map(tag, self.adds))
                if not find.relational and not self.echoes_upper_keys:
                    asked -= upper
                vrs = {**find.return_keys, **find.keys}
                match = {name: dict(row.get(name) or {"vr": vrs[name]["vr"]}) for name in sorted(asked)}
                matches.append({**match, "00080052": element("QueryRetrieveLevel", find.level.value)})
        return matches

    def _rows(self, depth: int) -> Iterable[Match]:
        for study in self.studies:
            children = study.children
            counts = elements(
                ModalitiesInStudy=sorted({one.attributes["00080060"]["Value"][0] for one in children}) or None,
                NumberOfStudyRelatedSeries=len(children),
                NumberOfStudyRelatedInstances=sum(len(one.children) for one in children),
            )
            study_row = {**counts, **study.attributes}
            if depth == 0:
                yield study_row
                continue
            for series in children:
                count = elements(NumberOfSeriesRelatedInstances=len(series.children))
                series_row = {**_inherited(study_row), **count, **series.attributes}
                if depth == 1:
                    yield series_row
                    continue
                for image in series.children:
                    yield {**_inherited(series_row), **image.attributes}

    @property
    def log(self) -> list[str]:
        """The Finds in short: level and keys with values; `relational?` for one that was not carried out."""
        return [_in_short(find) for find in self.asked]

    @property
    def taken(self) -> list[int]:
        """How many matches of each Find were read."""
        return [answer.taken for answer in self.answers]

    @property
    def cancelled(self) -> list[bool]:
        """Which Finds were closed before their end."""
        return [answer.cancelled for answer in self.answers]


def _inherited(row: Match) -> Match:
    return {name: value for name, value in row.items() if name not in EVERY_LEVEL}


def _in_short(find: Find) -> str:
    if find.level is Level.PATIENT:
        return "relational?"
    keys = []
    for name, key in find.keys.items():
        values = "+".join(str(one["Alphabetic"] if isinstance(one, dict) else one) for one in key["Value"])
        keys.append(f"{keyword_of(int(name, 16)) or name}={values}")
    return " ".join((f"{find.level}{'*' if find.relational else ''}", *sorted(keys)))


class Found:
    """The matches of one Find."""

    def __init__(self, rows: Sequence[Match], warnings: Sequence[str]) -> None:
        self._rows = iter(rows)
        self._late_warnings = warnings
        self.warnings: list[str] = []
        self.taken = 0
        self.open = True
        self.cancelled = False

    def __aiter__(self) -> "Found":
        return self

    async def __anext__(self) -> Match:
        for row in self._rows:
            self.taken += 1
            return row
        self._close()
        raise StopAsyncIteration

    async def aclose(self) -> None:
        self.cancelled = self.open
        self._close()

    def _close(self) -> None:
        self.open = False
        self.warnings = list(self._late_warnings)


class Sent:
    """A stream of what a test wants to be sent, which ends in an error if it is one."""

    def __init__(self, *items: Any) -> None:
        self._items = iter(items)
        self.closed = False

    def __aiter__(self) -> "Sent":
        return self

    async def __anext__(self) -> Any:
        for item in self._items:
            if isinstance(item, BaseException):
                raise item
            return item
        raise StopAsyncIteration

    async def aclose(self) -> None:
        self.closed = True
        self._items = iter(())


def instance(data: Sequence[Any], transfer_syntax_uid: str, uid: str = "1.2.3.4", **others: str) -> Instance:
    """An instance whose data set comes as the groups of pieces in `data`, of study 1.2 and series 1.2.3."""
    return Instance(
        others.get("sop_class_uid", "1.2.840.10008.5.1.4.1.1.2"),
        uid,
        transfer_syntax_uid,
        Sent(*data),
        study_instance_uid="1.2",
        series_instance_uid="1.2.3",
        source_ae_title=others.get("source_ae_title", "PACS"),
        receiving_ae_title=others.get("receiving_ae_title", "GATEWAY"),
    )


def result_of(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """The result of what waits for nothing, or its exception."""
    results: list[Any] = []
    Deferred.fromCoroutine(coroutine).addBoth(results.append)
    (result,) = results
    if isinstance(result, Failure):
        result.raiseException()
    return result


async def gathered(stream: AsyncIterator[Sequence[bytes | memoryview]]) -> bytes:
    return b"".join([bytes(piece) async for pieces in stream for piece in pieces])


class Gateway:
    """A bridge in front of an archive, and a client's view of it."""

    def __init__(self, archive: Archive, **options: Any) -> None:
        self.archive = archive
        self.clock = Clock()
        self.bridge = DICOMwebBridge(
            SimpleNamespace(name="bridge", options=DICOMwebBridgeOptions(**options), reactor=self.clock)  # type: ignore[arg-type]
        )
        self.request: Request | None = None

    def reply(
        self,
        target: str,
        accept: str | None = None,
        *,
        method: str = "GET",
        client: str = "10.0.0.1",
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> Reply:
        """The reply to a request for `path?name=value&name=value`, neither of them encoded."""
        return result_of(self.exchange(target, accept, method=method, client=client, headers=headers))  # type: ignore[no-any-return]

    def exchange(
        self, target: str, accept: str | None, *, method: str, client: str, headers: Mapping[str, str]
    ) -> Coroutine[Any, Any, Reply]:
        """The exchange itself, which may have to wait."""
        path, _, query = target.partition("?")
        origin = HTTPOrigin(
            method,
            tuple(filter(None, path.split("/"))),
            tuple((name, value) for name, _, value in (pair.partition("=") for pair in query.split("&") if pair)),
            {**headers, **({} if accept is None else {"accept": accept})},
            BASE_URL,
        )
        self.request = Request(origin, client, "id")
        return self.bridge.intercept(self.request, self.archive.proceed)

    def search(self, target: str, **others: Any) -> list[Match]:
        """The matches of a Search."""
        return orjson.loads(body_of(self.reply(target, **others)))  # type: ignore[no-any-return]

    def uids(self, target: str, keyword: str = "StudyInstanceUID", **others: Any) -> list[str]:
        """One attribute's first values of the matches of a Search."""
        return [match[tag(keyword)]["Value"][0] for match in self.search(target, **others)]


def body_of(reply: Reply) -> bytes:
    assert reply.body is not None
    return result_of(gathered(reply.body))  # type: ignore[no-any-return]


def headers_of(reply: Reply) -> Mapping[str, str]:
    assert len({name for name, _ in reply.headers}) == len(reply.headers)
    return dict(reply.headers)


def warnings_of(reply: Reply) -> list[str]:
    return [value for name, value in reply.headers if name == "Warning"]


def read_until_error(reply: Reply) -> tuple[bytes, Exception]:
    """What of a body came before it broke off, and why it did."""
    received: list[bytes] = []
    body = reply.body
    assert body is not None

    async def read() -> None:
        async for pieces in body:
            received.extend(map(bytes, pieces))

    with pytest.raises(HarmonyError) as caught:
        result_of(read())
    return b"".join(received), caught.value
