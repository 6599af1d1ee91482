"""Archives in memory that can fall silent, go away and come back; several of them as one; and a bridge in front."""

from collections.abc import AsyncGenerator, Mapping
from dataclasses import replace
from itertools import count
from types import SimpleNamespace
from typing import Any

import orjson
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from harmonygw.config.model import Pipeline, PipelineOptions
from harmonygw.errors import HarmonyError, NotFound
from harmonygw.exchange import SOURCE, AssociationOrigin, HTTPOrigin, Reply, Request
from harmonygw.operations import Echo, Find, Level, Retrieve, Store, StoreResult
from harmonygw.several import Several
from harmonygw.several.source import Source
from harmonygw.streams import Instance, Match
from tests.middleware.dicomweb_bridge.archive import (
    Archive,
    Entity,
    Gateway,
    Sent,
    body_of,
    element,
    elements,
    image,
    result_of,
    series,
    study,
    tag,
    warnings_of,
)

__all__ = [
    "PACS",
    "Entity",
    "Hospital",
    "body_of",
    "elements",
    "image",
    "named",
    "request",
    "result_of",
    "series",
    "study",
    "tag",
    "warnings_of",
]

_NUMBERS = count()

CT = "1.2.840.10008.5.1.4.1.1.2"
TIMEOUT = 5.0


class PACS(Archive):
    """An archive that is a backend: what it does is as a test says."""

    def __init__(self, *studies: Entity, **others: Any) -> None:
        super().__init__(*studies, **others)
        self.error: HarmonyError | None = None
        """What it fails with, whatever it is asked."""
        self.silent = False
        self.waits: list[Deferred[Any]] = []
        """Who waits for an answer while it is silent."""
        self.stored: list[str] = []
        self.ready = True
        self.breaks_after: int | None = None
        """Instances of a retrieval after which it fails."""
        self.unlisted: set[str] = set()
        """Studies that it has but does not find."""
        self.echoes = 0

    def state(self) -> dict[str, object]:
        return {"target": "pacs", "ready": self.ready}

    @property
    def relational_queries(self) -> bool:
        return self.relational

    async def respond(self, request: Request) -> Reply:
        if self.silent:
            waiting: Deferred[Any] = Deferred()
            self.waits.append(waiting)
            await waiting
        if self.error is not None:
            raise self.error
        match request.operation:
            case Retrieve() as retrieve:
                self.retrieved.append(retrieve)
                found = list(self.instances_of(retrieve))
                if not found:
                    raise NotFound("there is no such study")
                return Reply(result=self._sent(found))
            case Store() as store:
                return Reply(result=self._stored(store))
            case Echo():
                self.echoes += 1
                return Reply()
        return await self._respond(request)

    def instances_of(self, retrieve: Retrieve) -> list[Instance]:
        found = []
        for one in self.studies:
            study_uid = one.attributes[tag("StudyInstanceUID")]["Value"][0]
            for each in one.children:
                series_uid = each.attributes[tag("SeriesInstanceUID")]["Value"][0]
                for leaf in each.children:
                    uid = leaf.attributes[tag("SOPInstanceUID")]["Value"][0]
                    wanted = (
                        study_uid == retrieve.study_instance_uid
                        and retrieve.series_instance_uid in ("", series_uid)
                        and (not retrieve.sop_instance_uids or uid in retrieve.sop_instance_uids)
                    )
                    if wanted:
                        found.append(Instance(CT, uid, "1.2.840.10008.1.2.1", Sent(), study_uid, series_uid))
        return found

    async def _sent(self, instances: list[Instance]) -> AsyncGenerator[Instance, None]:
        for position, instance in enumerate(instances):
            if position == self.breaks_after:
                raise HarmonyError("broken")
            yield instance

    async def _stored(self, store: Store) -> AsyncGenerator[StoreResult, None]:
        async for instance in store.instances:
            self.stored.append(instance.sop_instance_uid)
            yield StoreResult(instance.sop_class_uid, instance.sop_instance_uid, 0)


def named(name: str, pacs: Any, issuer: str = "") -> Source:
    return Source(name.lower(), name, pacs, timeout_secs=TIMEOUT, issuer=issuer)


def request(operation: Any = None, source: str = "", origin: Any = None) -> Request:
    return Request(
        origin or HTTPOrigin("GET", ()),
        "192.0.2.1",
        str(next(_NUMBERS)),
        operation=operation,
        attributes={SOURCE: source} if source else {},
    )


class Hospital:
    """PACS by AE title, behind what makes them one, behind a bridge; the clock is theirs."""

    def __init__(self, archives: Mapping[str, PACS], bridge: Mapping[str, Any] | None = None, **options: Any) -> None:
        self.pacs = archives
        self.clock = Clock()
        self._exchange = 0
        options.setdefault("strategy", "federate")
        names = tuple(title.lower() for title in archives)
        pipeline = Pipeline(
            "web", "", (), (), (), (), (), names, options=PipelineOptions(**options), ae_titles=tuple(archives)
        )
        settings: Any = {name: SimpleNamespace(timeout_secs=TIMEOUT) for name in names}
        self.several = Several(pipeline, settings, {title.lower(): one for title, one in archives.items()}, self.clock)
        self.gateway = Gateway(SimpleNamespace(proceed=self._proceed_bridged), **(bridge or {}))  # type: ignore[arg-type]

    def _proceed(self, request: Request) -> "Deferred[Reply]":
        return Deferred.fromCoroutine(self.several.respond(request))

    def _proceed_bridged(self, request: Request) -> "Deferred[Reply]":
        return self._proceed(replace(request, correlation_id=f"bridged {self._exchange}"))

    # As an HTTP client sees it

    def search(self, target: str) -> list[Match]:
        rows: list[Match] = document(self.reply(target))
        return rows

    def reply(self, target: str, accept: str | None = None, method: str = "GET") -> Reply:
        self._exchange = next(_NUMBERS)
        return self.gateway.reply(target, accept, method=method)

    def exchange(self, target: str) -> list[Any]:
        """Ask; return where the reply will be."""
        self._exchange = next(_NUMBERS)
        replies: list[Any] = []
        exchange = self.gateway.exchange(target, None, method="GET", client="192.0.2.1", headers={})
        Deferred.fromCoroutine(exchange).addBoth(replies.append)
        return replies

    def warnings(self, target: str) -> list[str]:
        return warnings_of(self.reply(target))

    # As a DIMSE client, or a middleware, does

    def begin(self, operation: Any, source: str = "", origin: Any = None) -> tuple[Request, list[Any]]:
        """Ask; return the request, and where the reply will be."""
        asked = request(operation, source, origin)
        replies: list[Any] = []
        self._proceed(asked).addBoth(replies.append)
        return asked, replies

    def respond(self, operation: Any, source: str = "", origin: Any = None) -> Reply:
        asked = request(operation, source, origin)
        reply: Reply = result_of(self.several.respond(asked))
        return reply

    def rows(self, operation: Find, source: str = "", origin: Any = None) -> list[Match]:
        return result_of(read(self.respond(operation, source, origin).result))  # type: ignore[no-any-return]

    def retrieved(self, retrieve: Retrieve, source: str = "", origin: Any = None) -> list[str]:
        """Return the SOP Instance UIDs that come, in order."""
        instances = result_of(read(self.respond(retrieve, source, origin).result))
        return [one.sop_instance_uid for one in instances]

    def forget(self) -> None:
        """Let what is remembered become too old."""
        self.clock.advance(61)


async def read(stream: Any) -> list[Any]:
    return [item async for item in stream]


def find(level: Level = Level.STUDY, *asked: str, limit: int | None = None, **keys: Any) -> Find:
    """A query; keys and attributes by keyword."""
    return Find(
        level,
        {tag(name): element(name, value) for name, value in keys.items()},
        {tag(name): element(name, None) for name in asked},
        limit=limit,
    )


def scu(calling: str = "SCU", called: str = "GATEWAY") -> AssociationOrigin:
    return AssociationOrigin(calling, called)


def first(row: Match, keyword: str) -> Any:
    values = row.get(tag(keyword), {}).get("Value") or [None]
    return values[0]


def table(rows: list[Match], *keywords: str) -> list[tuple[Any, ...]]:
    """Attributes of rows, each by its first value."""
    return [tuple(first(row, keyword) for keyword in keywords) for row in rows]


def document(reply: Reply) -> Any:
    return orjson.loads(body_of(reply))
