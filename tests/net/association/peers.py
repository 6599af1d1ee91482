"""A network in memory: endpoints to connect to, scripted peers behind them, one clock, and nothing left at the end."""

from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractContextManager
from struct import pack
from types import TracebackType
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IProtocolFactory, IStreamClientEndpoint
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from twisted.python.failure import Failure
from zope.interface import implementer

from harmonygw.dicom.dimse.commands import Command, CStoreRQ, encode_command
from harmonygw.dicom.upperlayer.negotiation import (
    AssociateAC,
    AssociateRJ,
    AssociateRQ,
    ContextResult,
    ProposedContext,
)
from harmonygw.dicom.upperlayer.pdus import encode_associate_rj
from harmonygw.net.association.operations import Timing
from harmonygw.net.association.requestor import VERIFICATION, Association
from harmonygw.streams import Feed, Instance, Pieces, Stream
from tests.net.association.scripted_peer import ScriptedPeer

T = TypeVar("T")

CT = "1.2.840.10008.5.1.4.1.1.2"
MR = "1.2.840.10008.5.1.4.1.1.4"
FIND = "1.2.840.10008.5.1.4.1.2.2.1"
MOVE = "1.2.840.10008.5.1.4.1.2.2.2"
GET = "1.2.840.10008.5.1.4.1.2.2.3"
IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
JPEG_2000 = "1.2.840.10008.1.2.4.90"

RQ = AssociateRQ(
    "ARCHIVE",
    "GATEWAY",
    (
        ProposedContext(1, VERIFICATION, (IMPLICIT,)),
        ProposedContext(3, FIND, (IMPLICIT,)),
        ProposedContext(5, GET, (IMPLICIT,)),
        ProposedContext(7, MOVE, (IMPLICIT,)),
        ProposedContext(9, CT, (EXPLICIT,), scu_role=False, scp_role=True),
    ),
)
STORAGE_RQ = AssociateRQ(
    "ARCHIVE", "GATEWAY", (ProposedContext(1, CT, (EXPLICIT,)), ProposedContext(3, CT, (JPEG_2000,)))
)

RELEASE_RQ = bytes.fromhex("0500 00000004 00000000")
RELEASE_RP = bytes.fromhex("0600 00000004 00000000")
TIMING = Timing(first_answer=20.0, cancel_grace=2.0)
SILENCE = 60.0


def a_abort(source: int, reason: int) -> bytes:
    return bytes((7, 0, 0, 0, 0, 4, 0, 0, source, reason))


def p_data(context_id: int, data: bytes, *, is_command: bool = False, is_last: bool = True) -> bytes:
    """Return a P-DATA-TF PDU with one presentation data value."""
    control = is_command | is_last << 1
    return pack(">BxIIBB", 4, len(data) + 6, len(data) + 2, context_id, control) + data


def message(context_id: int, command: Command, data: bytes | None = None) -> bytes:
    """Return a message whose command set and data set take one PDU each."""
    encoded = p_data(context_id, encode_command(command), is_command=True)
    return encoded if data is None else encoded + p_data(context_id, data)


def element(tag: int, vr: str, value: bytes) -> bytes:
    """Return an element in Explicit VR Little Endian, of a VR with a length of 16 bits."""
    value += b"\0" * (len(value) % 2)
    return pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr.encode(), len(value)) + value


def pixels(size: int) -> bytes:
    """Return the Pixel Data element of an object, of which `size` bytes are pixels."""
    return pack("<HH2sxxI", 0x7FE0, 0x0010, b"OW", size) + b"\x5a" * size


def header(sop: str = "1.2.3.4", study: str = "1.2", series: str = "1.2.3") -> bytes:
    """Return the beginning of an object, as long as it takes to identify it; an empty UID is left out."""
    uids = ((0x00080016, CT), (0x00080018, sop), (0x0020000D, study), (0x0020000E, series))
    return b"".join(element(tag, "UI", uid.encode()) for tag, uid in uids if uid) + element(0x00200013, "IS", b"1 ")


def ct(sop: str = "1.2.3.4", study: str = "1.2", size: int = 100) -> bytes:
    """Return a whole data set."""
    return header(sop, study) + pixels(size)


def store_rq(sop: str = "1.2.3.4", message_id: int = 1, **more: Any) -> CStoreRQ:
    return CStoreRQ(message_id, CT, sop, **more)


def instance(data_set: Stream[Pieces], sop: str = "1.2.3.4", syntax: str = EXPLICIT) -> Instance:
    return Instance(CT, sop, syntax, data_set)


def feed_of(*reads: Pieces) -> Feed[Pieces]:
    """Return a data set that is here already."""
    feed: Feed[Pieces] = Feed(limit=1 << 30)
    for read in reads:
        feed.put(read)
    feed.end()
    return feed


class PACS(ScriptedPeer):
    """A peer that accepts, and then does what the script says."""

    def __init__(self, protocol: Any, clock: Clock) -> None:
        super().__init__(protocol, clock, requestor=False)
        self._looked = 0
        self.accepted = False
        self.gone = False

    @property
    def new(self) -> bytes:
        """Every byte that came since the last look."""
        self.pump()
        looked, self._looked = self._looked, len(self.sent)
        return self.sent[looked:]

    @property
    def rq(self) -> AssociateRQ:
        assert self.protocol.request is not None
        return self.protocol.request

    def connect(self) -> None:
        self.layer.connected(self._clock.seconds())
        super().connect()

    def accept(self, *, without: tuple[str, ...] = (), max_pdu_length: int = 16384, **more: Any) -> None:
        """Accept each proposed context in its first syntax, and each role, except the SOP classes in `without`."""
        results = tuple(
            ContextResult(one.context_id, 3)
            if one.abstract_syntax in without
            else ContextResult(one.context_id, 0, one.transfer_syntaxes[0])
            for one in self.rq.contexts
        )
        roles = {one.abstract_syntax: (bool(one.scu_role), True) for one in self.rq.contexts if one.scp_role}
        self.layer.accept(
            AssociateAC("ARCHIVE", "GATEWAY", results, max_pdu_length=max_pdu_length, role_selections=roles, **more),
            self._clock.seconds(),
        )
        self.accepted = True
        self.pump()
        self.take()
        _ = self.new

    def reject(self, result: int, source: int, reason: int) -> None:
        self.raw(encode_associate_rj(AssociateRJ(result, source, reason)))

    def raw(self, *pieces: bytes) -> None:
        """Send what the peer's own upper layer would not, or would not in one read."""
        self.protocol.dataReceived(b"".join(pieces))

    def disconnect(self, reason: Exception | None = None) -> None:
        if not self.gone:
            self.gone = True
            self.protocol.connectionLost(Failure(reason or ConnectionLost()))

    def command(self) -> Command:
        """Return the one command that came since the last time."""
        [came] = self.take()
        return came.command

    def commands(self) -> list[Command]:
        return [came.command for came in self.take()]


@implementer(IStreamClientEndpoint)
class Endpoint:
    """Where peers answer at once, unless it is told to fail, or to leave the connection in the air."""

    def __init__(self, clock: Clock, behaviour: Callable[[PACS], None] | None = PACS.accept) -> None:
        self._clock = clock
        self.behaviour = behaviour
        """What a peer does with the A-ASSOCIATE-RQ; None lets the script do it later."""
        self.failures: list[Exception] = []
        """Why the next connections are not made."""
        self.unanswered: list[tuple[IProtocolFactory, Deferred[Any]]] = []
        self.in_the_air = False
        self.attempts = 0
        self.peers: list[PACS] = []

    def connect(self, factory: IProtocolFactory) -> "Deferred[Any]":
        self.attempts += 1
        connected: Deferred[Any] = Deferred()
        if self.failures:
            connected.errback(self.failures.pop(0))
        elif self.in_the_air:
            self.unanswered.append((factory, connected))
        else:
            self.answer(factory, connected)
        return connected

    def answer(self, factory: IProtocolFactory, connected: "Deferred[Any]") -> None:
        peer = PACS(factory.buildProtocol(None), self._clock)
        self.peers.append(peer)
        peer.connect()
        connected.callback(peer.protocol)
        if self.behaviour is not None:
            self.behaviour(peer)


class Network(AbstractContextManager["Network"]):
    """The clock and the endpoint of one test. In the end no timer may be left, and no error in the log."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.endpoint = Endpoint(self.clock)
        self.errors: list[str] = []

    def __enter__(self) -> "Network":
        self._observer: ILogObserver = self._observe  # type: ignore[assignment]
        globalLogPublisher.addObserver(self._observer)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for peer in self.endpoint.peers:
            peer.disconnect()
        globalLogPublisher.removeObserver(self._observer)
        if error is None:
            assert self.clock.getDelayedCalls() == []
            assert self.errors == []

    def _observe(self, event: LogEvent) -> None:
        if "log_failure" in event:
            self.errors.append(repr(event["log_failure"].value))

    def association(self, **more: Any) -> Association:
        settings: dict[str, Any] = {"timing": TIMING, "silence_timeout": SILENCE, "association_timeout": 30.0}
        return Association(clock=self.clock, **(settings | more))

    def associate(self, rq: AssociateRQ = RQ, **more: Any) -> tuple[Association, PACS]:
        """Return an established association and its peer."""
        association = self.association(**more)
        result(spawn(association.request(self.endpoint, rq)))
        return association, self.endpoint.peers[-1]

    def pass_time(self, seconds: float) -> None:
        """Let time pass, in steps in which peers can answer."""
        for _ in range(round(seconds * 10)):
            self.clock.advance(0.1)


def spawn(coroutine: Awaitable[T]) -> "Deferred[T]":
    assert isinstance(coroutine, Coroutine)
    return Deferred.fromCoroutine(coroutine)


def result(deferred: "Deferred[T]") -> T:
    """Return what a Deferred has fired with; raises when it failed, or has not fired."""
    results: list[T] = []
    failures: list[Failure] = []

    def keep(value: T) -> T:
        results.append(value)
        return value

    deferred.addCallbacks(keep, failures.append)  # type: ignore[arg-type]
    if failures:
        failures[0].raiseException()
    assert results, "it has not fired"
    return results[0]


def failure(deferred: "Deferred[Any]") -> Any:
    """Return the exception that a Deferred has failed with."""
    failures: list[Failure] = []
    deferred.addErrback(failures.append)
    assert failures, "it has not failed"
    return failures[0].value


def pending(deferred: "Deferred[Any]") -> bool:
    return not deferred.called


def read(stream: Stream[T]) -> "Deferred[list[T]]":
    """Read a stream to its end."""

    async def everything() -> list[T]:
        return [item async for item in stream]

    return spawn(everything())


def content(reads: list[Pieces]) -> bytes:
    return b"".join(b"".join(pieces) for pieces in reads)
