"""A small PACS in the reactor of the tests, that does as it should until a test says otherwise.

What it does at each stage (`connect`, `associate`, `find`, `get`, `move`, `cancel`) is an attribute: a coroutine that
a test replaces by a faulty one, made of the words of `Connection`. What reaches it is kept in `seen`, in order, in
the standard's words: `C-GET-RQ`, `A-ABORT 2 6`, `closed`.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure

from harmonygw.dicom.dataset.json_decoding import from_json
from harmonygw.dicom.dataset.json_encoding import to_json
from harmonygw.dicom.dimse import statuses
from harmonygw.dicom.dimse.commands import (
    CCancelRQ,
    CEchoRQ,
    CEchoRSP,
    CFindRQ,
    CFindRSP,
    CGetRQ,
    CGetRSP,
    CMoveRQ,
    CMoveRSP,
    Command,
    CStoreRQ,
    CStoreRSP,
    encode_command,
)
from harmonygw.dicom.dimse.messages import CommandReceived, DataSetFragment, MessageReader, pdvs
from harmonygw.dicom.upperlayer.negotiation import (
    AssociateAC,
    AssociateRJ,
    AssociateRQ,
    ProposedContext,
    SupportedContext,
    negotiate,
)
from harmonygw.dicom.upperlayer.provider import (
    Aborted,
    AssociateIndication,
    Fragment,
    ReleaseConfirm,
    ReleaseIndication,
    UpperLayer,
)
from harmonygw.net.association.operations import Timing
from harmonygw.net.association.requestor import Association
from harmonygw.streams import Feed, Instance, Pieces
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
    Held,
)

reactor: Any = _reactor


@dataclass
class Asked:
    """A request: its command, the context it came on, and its identifier."""

    context_id: int
    command: Any
    identifier: dict[str, Any]

    @property
    def level(self) -> str:
        return str(self.identifier["00080052"]["Value"][0])

    def matches(self, held: Held) -> bool:
        for level, value in zip(UNIQUE_KEYS, (held.patient, held.study, held.series, held.sop), strict=True):
            wanted = self.identifier.get(UNIQUE_KEYS[level], {}).get("Value", ())
            if wanted and value not in wanted:
                return False
        return True


class Connection(Protocol):
    """One transport connection to the PACS, and the association on it."""

    transport: Any

    def __init__(self, pacs: "PACS") -> None:
        self.pacs = pacs
        self.upper_layer = UpperLayer(requestor=False)
        self.reader = MessageReader()
        self.rq: AssociateRQ | None = None
        self.raw = bytearray()
        """Every byte that came, for tests that look at them."""
        self.sent = 0
        """Bytes of objects that were given to the transport."""
        self.cancelled = False
        self._asked: Asked | None = None
        self._identifier = bytearray()
        self._response: Deferred[CStoreRSP] | None = None
        self._drained: Deferred[None] | None = None
        self._message_id = 0
        self.gone = False

    # What a scripted stage may do

    def write(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.transport.write(data)

    def reset(self) -> None:
        """Break the connection without a word."""
        self.transport.abortConnection()

    def close(self) -> None:
        """Close the connection without a word, after what was written."""
        self.transport.unregisterProducer()
        self.transport.loseConnection()

    def abort(self, source: int = 0, reason: int = 0) -> None:
        """Send A-ABORT."""
        self.upper_layer.abort(reactor.seconds(), source, reason)
        self.flush()
        self.close()

    def reject(self, result: int, source: int, reason: int) -> None:
        """Send A-ASSOCIATE-RJ."""
        self.upper_layer.reject(AssociateRJ(result, source, reason), reactor.seconds())
        self.flush()

    def accept(self, supported: dict[str, SupportedContext]) -> None:
        """Send A-ASSOCIATE-AC."""
        assert self.rq is not None
        results, roles = negotiate(self.rq, supported)
        relational = dict.fromkeys(self.rq.extended_negotiation, b"\x01") if self.pacs.relational else {}
        self.upper_layer.accept(
            AssociateAC(
                self.rq.called_ae_title,
                self.rq.calling_ae_title,
                results,
                role_selections=roles,
                extended_negotiation=relational,
                user_identity_response=self.pacs.identity_response,
            ),
            reactor.seconds(),
        )
        self.flush()

    def send(self, context_id: int, command: Command, data_set: bytes | None = None) -> None:
        """Send a message."""
        self.send_pdvs(context_id, encode_command(command), is_command=True)
        if data_set is not None:
            self.send_pdvs(context_id, data_set, is_command=False)

    def send_pdvs(self, context_id: int, data: bytes, *, is_command: bool, is_last: bool = True) -> None:
        """Send fragments, of which the last may not be the last of its message."""
        fragments = pdvs(context_id, data, is_command=is_command, max_length=self.upper_layer.max_send_length)
        marked = (one._replace(is_last=one.is_last and is_last) for one in fragments)
        self.upper_layer.send(marked, reactor.seconds())
        self.flush()

    def context_for(self, held: Held) -> int | None:
        """The presentation context that carries an instance."""
        for context_id, one in self.upper_layer.contexts.items():
            if (one.abstract_syntax, one.transfer_syntax, one.as_scu) == (held.sop_class, held.syntax, True):
                return context_id
        return None

    def begin_object(self, held: Held, *, sop: str | None = None, share: float = 0.5) -> None:
        """Send a C-STORE-RQ and a part of its data set."""
        context_id = self.context_for(held)
        assert context_id is not None
        data_set = held.data_set()
        self.send(context_id, self._store_rq(held.sop_class, sop or held.sop))
        self.send_pdvs(context_id, data_set[: int(len(data_set) * share) & ~1], is_command=False, is_last=False)

    async def store(self, held: Held) -> int | None:
        """Send an instance; return the status of the C-STORE-RSP, None when no context carries it."""
        context_id = self.context_for(held)
        if context_id is None:
            return None
        self.send(context_id, self._store_rq(held.sop_class, held.sop))
        for chunk in held.chunks():
            self.send_pdvs(context_id, chunk, is_command=False, is_last=False)
            self.sent += len(chunk)
            if self._drained is not None:
                await self._drained
            if self.gone or (self.cancelled and self.pacs.obeys_cancel):
                break
        self.send_pdvs(context_id, b"", is_command=False)
        self._response = Deferred()
        return (await self._response).status

    def final(self, asked: Asked, status: int = statuses.SUCCESS, **counts: int) -> None:
        """Send the final C-GET-RSP or C-MOVE-RSP."""
        kind = CGetRSP if isinstance(asked.command, CGetRQ) else CMoveRSP
        self.send(
            asked.context_id,
            kind(asked.command.message_id, asked.command.affected_sop_class_uid, status, **counts),  # type: ignore[arg-type]
        )

    def match(self, asked: Asked, row: dict[str, Any], status: int = statuses.PENDING) -> None:
        """Send a pending C-FIND-RSP."""
        row = {**row, "00080052": {"vr": "CS", "Value": [asked.level]}}
        syntax = self.upper_layer.contexts[asked.context_id].transfer_syntax
        rsp = CFindRSP(asked.command.message_id, asked.command.affected_sop_class_uid, status, has_data_set=True)
        self.send(asked.context_id, rsp, from_json(row, syntax))

    def found(self, asked: Asked, status: int = statuses.SUCCESS) -> None:
        """Send the final C-FIND-RSP."""
        rsp = CFindRSP(asked.command.message_id, asked.command.affected_sop_class_uid, status, has_data_set=False)
        self.send(asked.context_id, rsp)

    async def drained(self) -> None:
        """Wait until the transport takes more."""
        if self._drained is not None:
            await self._drained

    # Twisted

    def connectionMade(self) -> None:
        self.transport.setTcpNoDelay(True)
        self.transport.registerProducer(self, True)
        self.pacs.connections.append(self)
        self.pacs.happened("connected")
        self.upper_layer.connected(reactor.seconds())
        self.pacs.do(self, self.pacs.connect(self))

    def dataReceived(self, data: bytes) -> None:
        self.raw += data
        for event in self.upper_layer.receive(data, reactor.seconds()):
            if isinstance(event, Fragment):
                message = self.reader.feed(*event)
                if isinstance(message, CommandReceived):
                    self._command(message.context_id, message.command)
                elif isinstance(message, DataSetFragment):
                    self._fragment(message)
            elif isinstance(event, AssociateIndication):
                self.rq = event.rq
                self.pacs.happened("A-ASSOCIATE-RQ")
                self.pacs.do(self, self.pacs.associate(self))
            elif isinstance(event, ReleaseIndication):
                self.pacs.happened("A-RELEASE-RQ")
                if self.upper_layer.may_send:  # unless the same read brought an A-ABORT too
                    self.upper_layer.release_response(reactor.seconds())
            elif isinstance(event, Aborted):
                self.pacs.happened(f"A-ABORT {event.source} {event.reason}")
            elif isinstance(event, ReleaseConfirm):
                pass
        if not self.gone:
            self.flush()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.gone = True
        self.resumeProducing()
        self.pacs.connections.remove(self)
        self.pacs.happened("closed")

    def pauseProducing(self) -> None:
        self._drained = self._drained or Deferred()

    def resumeProducing(self) -> None:
        drained, self._drained = self._drained, None
        if drained is not None:
            drained.callback(None)

    def stopProducing(self) -> None:
        pass

    def flush(self) -> None:
        pieces = self.upper_layer.take()
        if pieces and not self.gone:
            self.write(b"".join(pieces))
        if self.upper_layer.close_transport:
            self.close()

    # What arrives

    def _command(self, context_id: int, command: Command) -> None:
        name = type(command).__name__
        self.pacs.happened(f"C-{name[1:-2].upper()}-{name[-2:] if name.endswith('RQ') else 'RSP'}")
        if isinstance(command, CFindRQ | CGetRQ | CMoveRQ):
            self._asked = Asked(context_id, command, {})
        elif isinstance(command, CCancelRQ):
            self.cancelled = True
            self.pacs.do(self, self.pacs.cancel(self))
        elif isinstance(command, CEchoRQ):
            self.send(context_id, CEchoRSP(command.message_id, VERIFICATION, self.pacs.echo_status))
        elif isinstance(command, CStoreRSP) and self._response is not None:
            self._response.callback(command)
        elif isinstance(command, CStoreRQ):
            self._asked = Asked(context_id, command, {})

    def _fragment(self, fragment: DataSetFragment) -> None:
        self._identifier += fragment.data
        if not fragment.is_last or self._asked is None:
            return
        asked, data, self._identifier = self._asked, bytes(self._identifier), bytearray()
        if isinstance(asked.command, CStoreRQ):
            self.pacs.do(self, self.pacs.stored(self, asked, data))
            return
        asked.identifier = to_json(data, self.upper_layer.contexts[fragment.context_id].transfer_syntax)
        self.pacs.asked.append(asked)
        stage = {CFindRQ: self.pacs.find, CGetRQ: self.pacs.get, CMoveRQ: self.pacs.move}[type(asked.command)]
        self.cancelled = False
        self.pacs.do(self, stage(self, asked))

    def _store_rq(self, sop_class: str, sop: str) -> CStoreRQ:
        self._message_id += 1
        return CStoreRQ(self._message_id, sop_class, sop)


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
    rows = {}
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
    for held in connection.pacs.matching(asked):
        results.append(await connection.store(held))
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
