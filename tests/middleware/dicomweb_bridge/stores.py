"""A Store transaction with an archive behind it that does what a test says, and a body that comes as a test says."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred

from harmonygw.config.middleware_options import DICOMwebBridgeOptions
from harmonygw.dicom.dataset.inline import BULK_THRESHOLD
from harmonygw.dicom.web.resources import parse
from harmonygw.errors import HarmonyError
from harmonygw.exchange import HTTPOrigin, Reply, Request
from harmonygw.middleware.dicomweb_bridge.access import Access
from harmonygw.middleware.dicomweb_bridge.storing import StoreTransaction
from harmonygw.operations import Store, StoreResult
from harmonygw.streams import Body, Feed, Instance, Pieces
from tests.interop.embedded import image
from tests.interop.stow import MULTIPART, Module, file_of, multipart

reactor: Any = _reactor

BASE_URL = "https://pacs.example/dicomweb"
Respond = Callable[[Store], AsyncGenerator[StoreResult, None]]


def files(count: int, size: int = 100) -> list[bytes]:
    return [file_of(image(number, PixelData=bytes(size))) for number in range(1, count + 1)]


@dataclass
class Archive:
    """Takes what it is given; answers with the statuses in `answers`, in order, 0 when there are no more.

    Instead of an answer it may raise, and `ends_after` so many it ends.
    """

    answers: list[int | HarmonyError] = field(default_factory=list)
    ends_after: int = 1_000_000_000
    down: HarmonyError | None = None
    taken: dict[str, bytes] = field(default_factory=dict)
    """What it has whole."""
    begun: list[str] = field(default_factory=list)

    async def respond(self, request: Request) -> Reply:
        if self.down is not None:
            raise self.down
        assert isinstance(request.operation, Store)
        return Reply(result=self.results(request.operation))

    async def results(self, store: Store) -> AsyncGenerator[StoreResult, None]:
        try:
            async for instance in store.instances:
                self.begun.append(instance.sop_instance_uid)
                yield await self.result(instance)
                if len(self.begun) == self.ends_after:
                    return
        finally:
            await store.instances.aclose()

    async def result(self, instance: Instance) -> StoreResult:
        answer = self.answers.pop(0) if self.answers else 0
        if isinstance(answer, HarmonyError):
            raise answer
        data = []
        try:
            async for pieces in instance.data_set:
                data += map(bytes, pieces)
        except HarmonyError:
            await instance.data_set.aclose()
            return StoreResult(instance.sop_class_uid, instance.sop_instance_uid, 0x0110)
        self.taken[instance.sop_instance_uid] = b"".join(data)
        return StoreResult(instance.sop_class_uid, instance.sop_instance_uid, answer)


@dataclass
class Bridge:
    transaction: StoreTransaction
    archive: Any
    request: Request | None = None

    def store(
        self, body: Body | bytes | None, content_type: str = MULTIPART, path: str = "studies", **headers: str
    ) -> "Deferred[Reply]":
        """The reply that is to come."""
        given = Body.of(body) if isinstance(body, bytes) else body
        origin = HTTPOrigin(
            "POST", tuple(path.split("/")), (), {"content-type": content_type, **headers}, BASE_URL, given
        )
        self.request = Request(origin, "10.0.0.1", "id")
        resource = parse(origin.path, method="POST")
        return Deferred.fromCoroutine(
            self.transaction.run(
                self.request, origin, resource, lambda request: Deferred.fromCoroutine(self.archive.respond(request))
            )
        )

    async def module(self, *args: Any, **kwargs: Any) -> tuple[int, Module]:
        """The status and the report."""
        reply = await self.store(*args, **kwargs)
        return reply.status, Module(await content_of(reply))


async def content_of(reply: Reply) -> bytes:
    assert reply.body is not None
    return b"".join([bytes(piece) async for pieces in reply.body for piece in pieces])


@asynccontextmanager
async def bridge(folder: Path, archive: Any = None, **options: Any) -> AsyncIterator[Bridge]:
    access = Access(reactor, folder=str(folder), bulk_threshold=BULK_THRESHOLD)
    access.start()
    try:
        yield Bridge(StoreTransaction(DICOMwebBridgeOptions(**options), access), archive or Archive())
    finally:
        await access.stop()


class Coming:
    """A body that comes bit by bit."""

    def __init__(self) -> None:
        self.feed: Feed[Pieces] = Feed(limit=1)
        self.body = Body(self.feed)

    def send(self, data: bytes) -> None:
        self.feed.put((data,), len(data))

    def end(self) -> None:
        self.feed.end()

    def fail(self, error: Exception) -> None:
        self.feed.fail(error)


__all__ = ["BASE_URL", "Archive", "Bridge", "Coming", "Module", "bridge", "content_of", "file_of", "files", "multipart"]
