"""The load: clients that behave and clients that do not, in front of a PACS that mostly does.

Each kind asks again and again, some at once. An answer is whole and right, or an honest refusal, or broken off so that
nobody can take it for whole; anything else is a surprise, and fails the soak.
"""

import json
from base64 import b64encode
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from random import Random
from typing import Any, Final

from twisted.internet import reactor as _reactor
from twisted.internet.defer import CancelledError, Deferred, DeferredList
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.utils import getProcessValue

from harmonygw.dicom.dataset.part10 import file_header
from soak.house import AE_TITLE, PASSWORD, USER, House
from tests.interop.connection import Asked, Connection
from tests.interop.held import Held
from tests.interop.house import ANY_DICOM, Client, Reply
from tests.interop.pacs import PACS, abort, drop, silence

reactor: Any = _reactor

STUDIES: Final = 8
INSTANCES: Final = 5
"""Of each study."""

FAULT_SECS: Final = (0.3, 2.5)
"""How long a fault of the PACS lasts."""
HEALTH_SECS: Final = (2.0, 8.0)
"""How long it behaves in between: long enough for a circuit that has opened to close."""
PAUSE_SECS: Final = (0.0, 0.3)
"""How long a client rests before it asks again."""

RELOAD_SECS: Final = (5.0, 10.0)
"""How long an operator rests before the next reload."""

HIDDEN: Final = "P3"
"""The patient whom nobody may see in the cached pipeline."""

CREDENTIALS: Final = "Basic " + b64encode(f"{USER}:{PASSWORD}".encode()).decode()

REFUSALS: Final = frozenset({404, 408, 502, 503, 504})
"""What may be answered while the PACS misbehaves: 404 when it said that there is no such study."""


def held() -> list[Held]:
    """Return what the PACS holds: some studies, of which one has objects of some megabytes."""
    return [
        Held(
            sop=f"1.2.{study}.3.{number}",
            series=f"1.2.{study}.3",
            study=f"1.2.{study}",
            patient=held_patient(study),
            size=3_000_000 if study == STUDIES else 100_000,
        )
        for study in range(1, STUDIES + 1)
        for number in range(1, INSTANCES + 1)
    ]


def held_patient(study: int) -> str:
    """Return whose a study is."""
    return f"P{study}"


class Load:
    """Everything that goes on, until it is told to end."""

    def __init__(self, house: House, pacs: PACS, random: Random) -> None:
        self.surprises: list[str] = []
        self.counts: Counter[str] = Counter()
        self._house = house
        self._pacs = pacs
        self._random = random
        self._ending = False
        self._running: list[Deferred[None]] = []
        self._file = house.folder / "instance.dcm"
        self._file.write_bytes(_part10(Held(sop="1.9.3.4", series="1.9.3", study="1.9", patient="P9")))

    def begin(self) -> None:
        """Let every kind of client in, each as often as hospitals would."""
        kinds: Sequence[tuple[Callable[[], Awaitable[None]], int]] = (
            (self._search, 3),
            (self._study, 4),
            (self._cached, 4),
            (self._store, 2),
            (self._intrude, 1),
            (self._reload, 1),
            (self._leave, 2),
            (self._modality, 1),
            (self._trickle, 2),
            (self._garbage, 2),
            (self._never_read, 1),
            (self._trouble, 1),
        )
        for kind, number in kinds:
            self._running.extend(Deferred.fromCoroutine(self._again(kind)) for _ in range(number))

    async def end(self) -> None:
        """Let what is under way end, and begin nothing any more."""
        self._ending = True
        await DeferredList(self._running, consumeErrors=True)
        self._pacs.behave()
        if self._pacs._listening is None:
            self._pacs.listen()

    async def ask(self, path: str, accept: str = "*/*", *, credentials: bool = False, method: str = "GET") -> Reply:
        """Ask, and wait for the end of the connection, which is not kept."""
        client = await self._connect()
        lines = [f"{method} {path} HTTP/1.1", "Host: gateway", f"Accept: {accept}", "Connection: close"]
        lines += [f"Authorization: {CREDENTIALS}"] if credentials else []
        lines += ["Content-Type: application/json", "Content-Length: 0"] if method == "POST" else []
        client.transport.write("\r\n".join((*lines, "", "")).encode())
        return await client.reply()

    # The clients

    async def _again(self, kind: Callable[[], Awaitable[None]]) -> None:
        name = kind.__name__.strip("_")
        while not self._ending:
            try:
                await kind()
            except CancelledError:
                raise
            except Exception as error:  # noqa: BLE001 - whatever a client runs into is told, and it goes on
                self.surprises.append(f"{name}: {type(error).__name__}: {error}")
            self.counts[name] += 1
            await self._sleep(PAUSE_SECS)

    async def _search(self) -> None:
        study = self._random.randint(1, STUDIES)
        reply = await self.ask(f"/web/studies?StudyInstanceUID=1.2.{study}", "application/dicom+json")
        if reply.status == 200 and reply.whole:
            found = [one["0020000D"]["Value"] for one in json.loads(reply.content)]
            self._expect(found in ([], [[f"1.2.{study}"]]), f"a Search for 1.2.{study} found {found}")
        else:
            self._refused(reply, "a Search")

    async def _study(self) -> None:
        await self._retrieve("web", self._random.randint(1, STUDIES))

    async def _cached(self) -> None:
        study = self._random.randint(1, STUDIES)
        if self._random.random() < 0.5:
            await self._retrieve("cached", study)
            return
        reply = await self.ask(f"/cached/studies/1.2.{study}/metadata", "application/dicom+json", credentials=True)
        if held_patient(study) == HIDDEN:
            self._expect(reply.status in REFUSALS, f"metadata of whom nobody may see were answered {reply.status}")
        elif reply.status == 200 and reply.whole:
            uids = {one["00080018"]["Value"][0] for one in json.loads(reply.content)}
            self._expect(uids == _instances(study), f"the metadata of 1.2.{study} are of {sorted(uids)}")
        else:
            self._refused(reply, "metadata")

    async def _retrieve(self, prefix: str, study: int) -> None:
        reply = await self.ask(f"/{prefix}/studies/1.2.{study}", ANY_DICOM, credentials=prefix == "cached")
        if prefix == "cached" and held_patient(study) == HIDDEN:
            self._expect(reply.status in REFUSALS, f"a study that nobody may see was answered {reply.status}")
        elif reply.status == 200 and reply.whole:
            count = reply.content.count(b"DICM")
            self._expect(count == INSTANCES, f"study 1.2.{study} came whole with {count} instances")
            self.counts["whole studies"] += 1
        else:
            self._refused(reply, "a Retrieve")

    async def _intrude(self) -> None:
        """Ask without credentials, or for what a policy forbids; or the management interface."""
        path, credentials, status = self._random.choice(
            (
                ("/cached/studies/1.2.1", False, 401),
                ("/cached/studies?forbidden=1", True, 403),
                ("/admin/targets", False, 401),
            )
        )
        reply = await self.ask(path, credentials=credentials)
        self._expect(reply.status == status, f"{path} was answered {reply.status}, and not {status}")

    async def _reload(self) -> None:
        """Have the configuration read again, as an operator does."""
        reply = await self.ask("/admin/reload", credentials=True, method="POST")
        self._expect(reply.status == 200, f"a reload was answered {reply.status}")
        await self._sleep(RELOAD_SECS)

    async def _store(self) -> None:
        """Store into the archive, and take it out again."""
        study = f"1.8.{self._random.randint(1, 20)}"
        instances = [Held(sop=f"{study}.3.{number}", series=f"{study}.3", study=study) for number in (1, 2, 3)]
        body = b"".join(b"\r\n--cut\r\nContent-Type: application/dicom\r\n\r\n" + _part10(one) for one in instances)
        body += b"\r\n--cut--\r\n"
        client = await self._connect()
        client.transport.write(
            b"POST /archive/studies HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n"
            b'Content-Type: multipart/related; type="application/dicom"; boundary=cut\r\n'
            + b"Content-Length: %d\r\n\r\n" % len(body)
            + body
        )
        reply = await client.reply()
        self._expect(reply.status == 200, f"a Store was answered {reply.status}")
        reply = await self.ask(f"/archive/studies/{study}", ANY_DICOM)
        count = reply.content.count(b"DICM")
        self._expect(reply.whole and count == len(instances), f"{count} instances of {study} were kept")

    async def _modality(self) -> None:
        """Ask by DIMSE."""
        where = ("-aec", AE_TITLE, "127.0.0.1", str(self._house.dicom_port))
        tools: tuple[tuple[str, ...], ...] = (
            ("findscu", "-S", "-k", "QueryRetrieveLevel=STUDY", "-k", "StudyInstanceUID=1.2.1", *where),
            ("storescu", "-R", *where, str(self._file)),
            ("echoscu", *where),
        )
        tool, *arguments = self._random.choice(tools)
        status = await getProcessValue(f"/usr/bin/{tool}", arguments)
        self.counts[f"{tool} {'succeeded' if status == 0 else 'failed'}"] += 1

    # The clients that do not behave

    async def _leave(self) -> None:
        """Leave in the middle of a study."""
        client = await self._connect()
        client.request(f"/web/studies/1.2.{STUDIES}", ANY_DICOM)
        await self._sleep((0.0, 0.2))
        client.transport.abortConnection()
        await client.ended

    async def _trickle(self) -> None:
        """Send a header, or a body, that never ends."""
        client = await self._connect()
        client.transport.write(
            self._random.choice(
                (
                    b"GET /web/studies HTTP/1.1\r\nHost: ",
                    b"POST /archive/studies HTTP/1.1\r\nHost: gateway\r\nContent-Length: 1000000\r\n"
                    b'Content-Type: multipart/related; type="application/dicom"; boundary=cut\r\n\r\n--cut\r\n',
                )
            )
        )
        await client.ended.addTimeout(20, reactor)

    async def _garbage(self) -> None:
        """Send bytes without sense to either port."""
        port = self._random.choice((self._house.port, self._house.dicom_port))
        client = await self._connect(port)
        client.transport.write(self._random.randbytes(self._random.randint(1, 2000)))
        await self._sleep((0.0, 0.2))
        client.transport.loseConnection()
        await client.ended.addTimeout(20, reactor)

    async def _never_read(self) -> None:
        """Ask for much, and read nothing of it."""
        client = await self._connect()
        client.request(f"/web/studies/1.2.{STUDIES}", ANY_DICOM)
        client.transport.pauseProducing()
        await self._sleep((3.5, 5.0))
        client.transport.abortConnection()

    # The PACS, and who runs the gateway

    async def _trouble(self) -> None:
        """Let the PACS misbehave for a while, or have the configuration read again; then all is well for a while."""
        pacs = self._pacs
        faults: Sequence[Callable[[], None]] = (
            lambda: setattr(pacs, "get", silence),
            lambda: setattr(pacs, "get", _drop_after_one),
            lambda: setattr(pacs, "get", _abort_amid_one),
            lambda: setattr(pacs, "find", drop),
            lambda: setattr(pacs, "find", silence),
            lambda: setattr(pacs, "associate", silence),
            lambda: setattr(pacs, "associate", abort),
            lambda: setattr(pacs, "obeys_cancel", False),
            self._reset_all,
            self._house.reload,
        )
        if self._random.random() < 0.1:
            await pacs.refuse_connections()
            await self._sleep(FAULT_SECS)
            pacs.listen()
        else:
            self._random.choice(faults)()
            await self._sleep(FAULT_SECS)
            pacs.behave()
        await self._sleep(HEALTH_SECS)

    def _reset_all(self) -> None:
        for one in list(self._pacs.connections):
            one.reset()

    # What they use

    async def _connect(self, port: int = 0) -> Client:
        client = Client()
        factory: Any = Factory.forProtocol(_given(client))
        factory.noisy = False
        await TCP4ClientEndpoint(reactor, "127.0.0.1", port or self._house.port).connect(factory)
        return client

    async def _sleep(self, between: tuple[float, float]) -> None:
        waiting: Deferred[None] = Deferred()
        reactor.callLater(self._random.uniform(*between), waiting.callback, None)
        await waiting

    def _refused(self, reply: Reply, what: str) -> None:
        """Hold what is not a whole 200 to what may be."""
        if reply.status == 200:
            self._expect(reply.is_broken_off, f"{what} is not whole, and could be taken for it")
            self.counts["broken off"] += 1
        else:
            self._expect(reply.status in REFUSALS, f"{what} was answered {reply.status}")
            self.counts[f"answered {reply.status}"] += 1

    def _expect(self, holds: bool, otherwise: str) -> None:
        if not holds:
            self.surprises.append(otherwise)


def _given(client: Client) -> Callable[[], Protocol]:
    return lambda: client


def _instances(study: int) -> set[str]:
    return {f"1.2.{study}.3.{number}" for number in range(1, INSTANCES + 1)}


def _part10(instance: Held) -> bytes:
    return file_header(instance.sop_class, instance.sop, instance.syntax) + instance.data_set()


async def _drop_after_one(connection: Connection, asked: Asked) -> None:
    await connection.store(connection.pacs.matching(asked)[0])
    connection.reset()


async def _abort_amid_one(connection: Connection, asked: Asked) -> None:
    connection.begin_object(connection.pacs.matching(asked)[0])
    connection.abort()
