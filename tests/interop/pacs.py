"""A small PACS in the reactor of the tests, that does as it should until a test says otherwise.

What it does at each stage (`connect`, `associate`, `find`, `get`, `move`, `cancel`) is an attribute: a coroutine that
a test replaces by a faulty one, made of the words of `Connection`. What reaches it is kept in `seen`, in order, in
the standard's words: `C-GET-RQ`, `A-ABORT 2 6`, `closed`.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure

from harmonygw.dicom.dimse import statuses
from harmonygw.dicom.dimse.commands import (
    CStoreRSP,
)
from harmonygw.dicom.upperlayer.negotiation import (
    AssociateRQ,
    ProposedContext,
    SupportedContext,
)
from harmonygw.net.association.operations import Timing
from harmonygw.net.association.requestor import Association
from harmonygw.streams import Feed, Instance, Pieces
from tests.interop.connection import Asked, Connection
from tests.interop.held import (
    CT,
    EXPLICIT,
    IMPLICIT,
    MR,
    STUDY_FIND,
    STUDY_GET,
    STUDY_MOVE,
    UNIQUE_KEYS,
    VERIFICATION,
    WITHOUT_BULK_DATA_GET,
    Held,
)

reactor: Any = _reactor


class PACS(Factory):
    """The PACS: what it holds, and what it does."""

    noisy = False

    def __init__(self, held: Sequence[Held] = (), **stages: Any) -> None:
        self.held = list(held)
        self.relational = False
        self.identity_response: bytes | None = None
        self.obeys_cancel = True
        self.echo_status = statuses.SUCCESS
        self.syntaxes: tuple[str, ...] = (EXPLICIT, IMPLICIT)
        """The transfer syntaxes of the storage contexts that it accepts."""
        self.models: tuple[str, ...] = (STUDY_FIND, STUDY_MOVE, STUDY_GET)
        self.move_port = 0
        """Where it believes the destination of every C-MOVE to be."""
        self.connections: list[Connection] = []
        self.seen: list[str] = []
        self.times: dict[str, float] = {}
        """When each was seen last."""
        self.asked: list[Asked] = []
        self.received: list[str] = []
        """SOP Instance UIDs of what was stored."""
        self.failures: list[str] = []
        """Tracebacks of stages that failed by themselves."""
        self._waiting: list[tuple[str, int, Deferred[None]]] = []
        self._under_way: set[Deferred[Any]] = set()
        self.behave()
        for name, stage in stages.items():
            setattr(self, name, stage)
        self._told: Deferred[None] = Deferred()
        self._listening: Any = None
        self.port = 0
        self.listen()

    def behave(self) -> None:
        """Do as one should, from now on."""
        self.connect: Callable[[Connection], Awaitable[None]] = _do_nothing
        self.associate: Callable[[Connection], Awaitable[None]] = _accept
        self.find: Callable[[Connection, Asked], Awaitable[None]] = _find
        self.get: Callable[[Connection, Asked], Awaitable[None]] = _get
        self.move: Callable[[Connection, Asked], Awaitable[None]] = _move
        self.cancel: Callable[[Connection], Awaitable[None]] = _do_nothing
        self.stored: Callable[[Connection, Asked, bytes], Awaitable[None]] = _stored
        self.obeys_cancel = True

    # Life

    def buildProtocol(self, addr: object) -> Connection:
        return Connection(self)

    def listen(self) -> None:
        self._listening = reactor.listenTCP(self.port, self, interface="127.0.0.1")
        self.port = self._listening.getHost().port

    async def refuse_connections(self) -> None:
        listening, self._listening = self._listening, None
        if listening is not None:
            await listening.stopListening()

    async def stop(self) -> None:
        await self.refuse_connections()
        for stage in list(self._under_way):
            stage.cancel()
        for connection in list(self.connections):
            connection.reset()
        await self.quiet()
        assert not self.failures, self.failures[0]

    def do(self, connection: Connection, stage: Any) -> None:
        """Run a stage; what it raises once its association is over does not matter."""
        running: Deferred[Any] = Deferred.fromCoroutine(stage)
        self._under_way.add(running)

        def failed(failure: Failure) -> None:
            if not connection.gone and connection.upper_layer.may_send:
                self.failures.append(failure.getTraceback())

        running.addErrback(failed).addBoth(lambda _: self._under_way.discard(running))

    # Watching

    def happened(self, what: str) -> None:
        self.seen.append(what)
        self.times[what] = reactor.seconds()
        for one in [one for one in self._waiting if self.seen.count(one[0]) >= one[1]]:
            self._waiting.remove(one)
            one[2].callback(None)

    async def saw(self, what: str, times: int = 1) -> None:
        """Wait until something has happened so many times; five seconds at most."""
        if self.seen.count(what) < times:
            waiter: Deferred[None] = Deferred()
            self._waiting.append((what, times, waiter))
            await waiter.addTimeout(5, reactor)

    def tell(self) -> None:
        """Let the stage go on that waits to be told."""
        self._told.callback(None)

    async def told(self) -> None:
        """Wait to be told."""
        await self._told

    async def quiet(self) -> None:
        """Wait until nobody is connected."""
        while self.connections:
            await self.saw("closed", self.seen.count("closed") + 1)

    def identifiers(self) -> set[str]:
        """What identifies the patients of whom it holds something."""
        patients = {one.patient for one in self.held}
        return {name for patient in patients for name in (patient, f"Name^of {patient}")}

    def matching(self, asked: Asked) -> list[Held]:
        return [one for one in self.held if asked.matches(one)]


async def _do_nothing(connection: Connection) -> None:
    pass


async def silence(connection: Connection, *_: object) -> None:
    """Say nothing at all."""


async def drop(connection: Connection, *_: object) -> None:
    """Break the connection."""
    connection.reset()


async def abort(connection: Connection, *_: object) -> None:
    """Send A-ABORT."""
    connection.abort()


async def _accept(connection: Connection) -> None:
    pacs = connection.pacs
    supported = {uid: SupportedContext((EXPLICIT, IMPLICIT)) for uid in (*pacs.models, VERIFICATION)}
    supported.update({uid: SupportedContext(pacs.syntaxes, scp=True, scu=True) for uid in (CT, MR)})
    connection.accept(supported)


async def _find(connection: Connection, asked: Asked) -> None:
    rows: dict[str, dict[str, Any]] = {}
    for held in connection.pacs.matching(asked):
        row = held.row(asked.level, connection.pacs.held)
        rows.setdefault(str([row.get(tag) for tag in UNIQUE_KEYS.values()]), row)
    for row in rows.values():
        connection.match(asked, row)
        await connection.drained()
        if connection.cancelled:
            connection.found(asked, statuses.CANCEL)
            return
    connection.found(asked)


async def _get(connection: Connection, asked: Asked) -> None:
    results = []
    stripped = asked.command.affected_sop_class_uid == WITHOUT_BULK_DATA_GET
    for held in connection.pacs.matching(asked):
        results.append(await connection.store(replace(held, without_bulk_data=stripped)))
        if connection.cancelled and connection.pacs.obeys_cancel:
            connection.final(asked, statuses.CANCEL, completed=results.count(0))
            return
    failed = len(results) - results.count(0)
    status = statuses.SUB_OPERATIONS_WARNING if failed else statuses.SUCCESS
    connection.final(asked, status, completed=results.count(0), failed=failed)


async def _move(connection: Connection, asked: Asked) -> None:
    await deliver(connection, asked, connection.pacs.matching(asked))
    connection.final(asked, completed=len(connection.pacs.matching(asked)))


async def _stored(connection: Connection, asked: Asked, data: bytes) -> None:
    command = asked.command
    connection.pacs.received.append(command.affected_sop_instance_uid)
    connection.send(
        asked.context_id,
        CStoreRSP(command.message_id, command.affected_sop_class_uid, command.affected_sop_instance_uid, 0),
    )


async def deliver(
    connection: Connection, asked: Asked, instances: Sequence[Held], *, message_id: int | None = None
) -> list[int]:
    """Send instances to the destination of a C-MOVE, over an association of its own; return the statuses."""
    assert connection.rq is not None
    association = Association(
        clock=reactor, timing=Timing(first_answer=5, cancel_grace=1), silence_timeout=5, association_timeout=5
    )
    rq = AssociateRQ(asked.command.move_destination, "PACS", (ProposedContext(1, CT, (EXPLICIT,)),))
    await association.request(TCP4ClientEndpoint(reactor, "127.0.0.1", connection.pacs.move_port), rq)
    answered = []
    for held in instances:
        data: Feed[Pieces] = Feed(limit=1)
        data.put((held.data_set(),))
        data.end()
        outcome = await association.store(
            Instance(held.sop_class, held.sop, held.syntax, data),
            originator_ae_title=connection.rq.calling_ae_title,
            originator_message_id=asked.command.message_id if message_id is None else message_id,
        )
        answered.append(outcome.status)
    association.release()
    return answered
