"""One transport connection to the scripted PACS: what it takes in, and the words that its stages are made of."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol, connectionDone
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
from tests.interop.held import (
    UNIQUE_KEYS,
    VERIFICATION,
    Held,
)

if TYPE_CHECKING:
    from tests.interop.pacs import PACS

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
