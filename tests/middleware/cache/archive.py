"""An archive whose instances come when a test says so, and a cache in front of it with real files."""

from collections.abc import AsyncGenerator, Callable, Iterable
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.internet.threads import deferToThread

from harmonygw.config.middleware_options import CacheOptions
from harmonygw.dicom.dataset.json_decoding import from_json
from harmonygw.errors import HarmonyError, NotFound
from harmonygw.exchange import HTTPOrigin, Reply, Request
from harmonygw.middleware.cache import Cache
from harmonygw.operations import Find, InstanceStream, Level, Retrieve
from harmonygw.streams import Feed, Instance, Match, Pieces

reactor: Any = _reactor

STUDY, SERIES = "1.2", "1.2.3"
EXPLICIT = "1.2.840.10008.1.2.1"
CT = "1.2.840.10008.5.1.4.1.1.2"
MOST_SECS = 20.0
"""What anything may take on a machine that has other things to do."""


class Ticking(Clock):
    """A clock that tests wind, in the real reactor: threads answer in it."""

    def callFromThread(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        reactor.callFromThread(function, *args, **kwargs)

    def getThreadPool(self) -> Any:
        return reactor.getThreadPool()


async def turn() -> None:
    """Let the reactor turn once."""
    turned: Deferred[None] = Deferred()
    reactor.callLater(0, turned.callback, None)
    await turned


async def until(condition: Callable[[], Any]) -> None:
    """Let the reactor turn, and the threads run, until something holds."""
    deadline = reactor.seconds() + MOST_SECS
    while not condition():
        assert reactor.seconds() < deadline, "it never came true"
        await deferToThread(lambda: None)


async def settled() -> None:
    """Let everything come to rest that needs nothing but threads and turns."""
    for _ in range(30):
        await deferToThread(lambda: None)
        await turn()


@dataclass
class Item:
    """An instance that the archive holds."""

    uid: str
    series: str = SERIES
    study: str = STUDY
    size: int = 1000
    sop_class: str = CT
    more: dict[str, Any] = field(default_factory=dict)
    raw: bytes | None = None
    """The data set, when it is a special one."""

    def data_set(self) -> bytes:
        if self.raw is not None:
            return self.raw
        attributes = {
            "00080016": {"vr": "UI", "Value": [self.sop_class]},
            "00080018": {"vr": "UI", "Value": [self.uid]},
            "0020000D": {"vr": "UI", "Value": [self.study]},
            "0020000E": {"vr": "UI", "Value": [self.series]},
            **self.more,
        }
        seed = sha256(self.uid.encode()).digest()
        pixels = (seed * (self.size // len(seed) + 1))[: self.size]
        head = from_json(attributes, EXPLICIT)
        return head + b"\xe0\x7f\x10\x00OW\0\0" + self.size.to_bytes(4, "little") + pixels


def items(count: int, **others: Any) -> list[Item]:
    series = others.get("series", SERIES)
    return [Item(f"{series}.{number}", **others) for number in range(1, count + 1)]


class Found:
    """The matches of a Find."""

    def __init__(self, rows: Iterable[Match]) -> None:
        self._rows = iter(rows)
        self.warnings: list[str] = []

    def __aiter__(self) -> "Found":
        return self

    async def __anext__(self) -> Match:
        for row in self._rows:
            return row
        raise StopAsyncIteration

    async def aclose(self) -> None:
        self._rows = iter(())


@dataclass
class Archive:
    """What it holds, what it was asked, and what goes wrong with it.

    An instance whose UID is in `gates` begins when its gate is opened; one in `halfway` stops after its first half.
    """

    items: list[Item]
    patient: str = "P1"
    date: str = "20250102"
    counts: bool = True
    lists: bool = True
    """Whether it answers at the level IMAGE."""
    refuses: set[str | None] = field(default_factory=set)
    """Principals for which it has nothing."""
    down: HarmonyError | None = None
    """What every request gets."""
    sends: Callable[[list[Item]], list[Item]] = field(default=lambda found: found)
    """What it makes of what it should send."""
    fails: dict[str, Exception] = field(default_factory=dict)
    """Instances that break a retrieve off in their middle."""
    strips: bool = False
    """Whether it can leave bulk data out."""

    def __post_init__(self) -> None:
        self.asked: list[Request] = []
        self.retrieved: list[Retrieve] = []
        self.gates: dict[str, Deferred[None]] = {}
        self.halfway: dict[str, Deferred[None]] = {}
        self.answers: dict[Level, Deferred[None]] = {}
        """Finds of these levels wait for these."""
        self.open = 0
        self.sent: list[str] = []
        self.cancelled = 0

    @property
    def finds(self) -> list[Level]:
        return [one.operation.level for one in self.asked if isinstance(one.operation, Find)]

    def gate(self, uid: str) -> "Deferred[None]":
        return self.gates.setdefault(uid, Deferred())

    def let(self, *uids: str) -> None:
        """Open gates."""
        for uid in uids:
            self.gates.pop(uid).callback(None)

    def proceed(self, request: Request) -> "Deferred[Reply]":
        return Deferred.fromCoroutine(self._respond(request))

    async def _respond(self, request: Request) -> Reply:
        operation = request.operation
        self.asked.append(request)
        if isinstance(operation, Find):
            if operation.level in self.answers:
                await _shared(self.answers[operation.level])
        else:
            assert isinstance(operation, Retrieve)
            self.retrieved.append(operation)
        await turn()
        if self.down is not None:
            raise self.down
        if isinstance(operation, Find):
            return Reply(result=Found(self._rows(request, operation)))
        found = [] if request.principal in self.refuses else [one for one in self.items if _is_of(one, operation)]
        wanted = {uid: place for place, uid in enumerate(operation.sop_instance_uids)}
        found = self.sends(sorted(found, key=lambda one: wanted.get(one.uid, 0)))
        if not found:
            raise NotFound("The archive has nothing under these UIDs.")
        request.record.target = "PACS"
        return Reply(result=self._instances(found))

    def _rows(self, request: Request, find: Find) -> list[Match]:
        keys = {tag: element["Value"][0] for tag, element in find.keys.items()}
        if request.principal in self.refuses:
            return []
        if find.level is Level.IMAGE and not self.lists:
            raise NotFound("no such level here")
        rows: dict[str, Match] = {}
        for one in self.items:
            if keys["0020000D"] == one.study and keys.get("0020000E", one.series) == one.series:
                uid = {Level.STUDY: one.study, Level.SERIES: one.series, Level.IMAGE: one.uid}[find.level]
                rows.setdefault(uid, self._row(one, find.level))
        return list(rows.values())

    def _row(self, item: Item, level: Level) -> Match:
        study = [one for one in self.items if one.study == item.study]
        row: Match = {"0020000D": {"vr": "UI", "Value": [item.study]}}
        if level is Level.STUDY:
            row["00100020"] = {"vr": "LO", "Value": [self.patient]}
            row["00080020"] = {"vr": "DA", "Value": [self.date]}
            if self.counts:
                row["00201208"] = {"vr": "IS", "Value": [len(study)]}
                row["00201206"] = {"vr": "IS", "Value": [len({one.series for one in study})]}
        else:
            row["0020000E"] = {"vr": "UI", "Value": [item.series]}
        if level is Level.IMAGE:
            row["00080018"] = {"vr": "UI", "Value": [item.uid]}
        return row

    async def _instances(self, found: list[Item]) -> AsyncGenerator[Instance, None]:
        self.open += 1
        try:
            for one in found:
                if one.uid in self.gates:
                    await _shared(self.gates[one.uid])
                else:
                    await turn()
                self.sent.append(one.uid)
                yield replace(instance(one), data_set=self._pieces(one))
        except (CancelledError, GeneratorExit):
            self.cancelled += 1
            raise
        finally:
            self.open -= 1

    async def _pieces(self, item: Item) -> AsyncGenerator[Pieces, None]:
        data = item.data_set()
        middle = len(data) // 2
        yield (data[: middle // 2], data[middle // 2 : middle])
        if item.uid in self.halfway:
            await _shared(self.halfway[item.uid])
        if item.uid in self.fails:
            await turn()
            raise self.fails[item.uid]
        yield (memoryview(data)[middle:],)


def _shared(one: "Deferred[None]") -> "Deferred[None]":
    """A wait for a Deferred that others may wait for."""
    waiter: Deferred[None] = Deferred()

    def fire(result: Any) -> Any:
        if not waiter.called:
            waiter.callback(None)
        return result

    one.addBoth(fire)
    return waiter


def _is_of(item: Item, retrieve: Retrieve) -> bool:
    return (
        item.study == retrieve.study_instance_uid
        and retrieve.series_instance_uid in ("", item.series)
        and (not retrieve.sop_instance_uids or item.uid in retrieve.sop_instance_uids)
    )


def instance(item: Item, *pieces: Pieces) -> Instance:
    """An instance whose data set comes in these groups of pieces, or at once."""
    feed: Feed[Pieces] = Feed(limit=100)
    for one in pieces or ((item.data_set(),),):
        feed.put(one)
    feed.end()
    return Instance(
        item.sop_class,
        item.uid,
        EXPLICIT,
        feed,
        study_instance_uid=item.study,
        series_instance_uid=item.series,
        source_ae_title="PACS",
        receiving_ae_title="GATEWAY",
        leading={"PatientID": "P1"},
        default_character_set=("ISO_IR 100",),
    )


async def data_of(instance: Instance) -> bytes:
    """The bytes of an instance's data set."""
    return b"".join([bytes(piece) async for pieces in instance.data_set for piece in pieces])


async def all_of(stream: InstanceStream) -> dict[str, bytes]:
    """What comes in a stream, by UID, in its order."""
    try:
        return {one.sop_instance_uid: await data_of(one) async for one in stream}
    finally:
        await stream.aclose()


class House:
    """A cache in front of an archive."""

    def __init__(self, folder: Path, archive: Archive, **options: Any) -> None:
        self.archive = archive
        self.folder = folder / "cache"
        self.clock = Ticking()
        backend = SimpleNamespace(
            service="dicom_scu",
            called_ae_title=options.pop("aet", "PACS"),
            host="pacs",
            port=104,
            options=SimpleNamespace(),
        )
        pipeline = SimpleNamespace(backends=("pacs",), middleware_names=("bridge", "cache"))
        context: Any = SimpleNamespace(
            name="cache",
            options=CacheOptions(**{"path": str(self.folder), "write_behind_secs": 0.0, **options}),
            reactor=self.clock,
            configuration=SimpleNamespace(backends={"pacs": backend}, pipelines={"web": pipeline}),
        )
        self.context = context
        self.cache = Cache(context)

    async def __aenter__(self) -> "House":
        await self.cache.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.cache.stop()
        assert self.archive.open == 0, "a retrieve was left open"
        assert not list((self.folder / "incoming").iterdir()), "a temporary file was left"

    @property
    def files(self) -> list[Path]:
        return sorted(one for one in (self.folder / "objects").rglob("*") if one.is_file())

    @property
    def state(self) -> dict[str, Any]:
        return self.cache.state()

    async def rest(self) -> None:
        """Let everything come to rest, what a thread of the disk has been given too."""
        await settled()
        await until(self._is_idle)
        await settled()

    def _is_idle(self) -> bool:
        threads = self.cache._shelf.disk._pool._team.statistics()
        return not threads.busyWorkerCount and not threads.backloggedWorkCount

    def reply(self, retrieve: Retrieve, principal: str | None = None) -> "Deferred[Reply]":
        """Ask."""
        request = Request(HTTPOrigin("GET", ()), "10.0.0.1", "id", principal=principal, operation=retrieve)
        return Deferred.fromCoroutine(self.cache.intercept(request, self.archive.proceed))

    def ask(self, retrieve: Retrieve, principal: str | None = None) -> "Deferred[dict[str, bytes]]":
        """Ask, and read everything."""

        async def read() -> dict[str, bytes]:
            return await all_of((await self.reply(retrieve, principal)).result)

        return Deferred.fromCoroutine(read())

    async def filled(self, retrieve: Retrieve | None = None) -> None:
        """Have something in the cache."""
        await self.ask(retrieve or series())
        await until(lambda: not self.state["under_way"])


def series(uid: str = SERIES, **others: Any) -> Retrieve:
    return Retrieve(Level.SERIES, STUDY, uid, **others)


def study(**others: Any) -> Retrieve:
    return Retrieve(Level.STUDY, STUDY, **others)


def image(*uids: str, random_access: bool = True, **others: Any) -> Retrieve:
    return Retrieve(Level.IMAGE, STUDY, others.pop("of", SERIES), uids, random_access=random_access, **others)


def expected(*items: Item) -> dict[str, bytes]:
    return {one.uid: one.data_set() for one in items}
