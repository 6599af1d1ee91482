"""What only a socket shows: the last bytes of an association arrive, and a full one holds its peer back."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from harmonygw.dicom.dimse.commands import encode_command
from harmonygw.dicom.upperlayer.negotiation import AssociateAC, ContextResult
from harmonygw.dicom.upperlayer.pdus import encode_associate_ac
from harmonygw.errors import TimedOut, TransportError
from harmonygw.net.association import protocol
from harmonygw.net.association.operations import Timing
from harmonygw.net.association.receiving import Admission
from harmonygw.net.association.requestor import Association
from tests.net.association.peers import GET, RQ, a_abort, header, p_data, store_rq

clock: Any = reactor
AC = AssociateAC(
    "ARCHIVE",
    "GATEWAY",
    tuple(ContextResult(one.context_id, 0, one.transfer_syntaxes[0]) for one in RQ.contexts),
    role_selections={RQ.contexts[-1].abstract_syntax: (False, True)},
)
ENDLESS = p_data(9, bytes(16_000), is_last=False) * 64


class Peer(Protocol):
    """Accepts an association, then sends an object that does not end, as fast as it is taken."""

    def __init__(self) -> None:
        self.received = b""
        self.sent = 0
        self.lost: Deferred[None] = Deferred()
        self._accepted = False

    def dataReceived(self, data: bytes) -> None:
        self.received += data
        if not self._accepted:
            self._accepted = True
            self.received = b""
            self.transport.write(encode_associate_ac(AC))
        elif a_abort(0, 0) not in self.received and not self.sent:
            self.transport.write(p_data(9, encode_command(store_rq()), is_command=True))
            self.transport.write(p_data(9, header(), is_last=False))
            self.transport.registerProducer(self, False)
        if self.received.endswith(a_abort(0, 0)):
            self.transport.unregisterProducer()
            self.transport.loseConnection()

    def resumeProducing(self) -> None:
        self.sent += len(ENDLESS)
        self.transport.write(ENDLESS)

    def stopProducing(self) -> None:
        pass

    def connectionLost(self, reason: Failure = protocol.protocol.connectionDone) -> None:
        self.lost.callback(None)


class Deaf(Peer):
    """Accepts an association, and then reads nothing."""

    def dataReceived(self, data: bytes) -> None:
        self.transport.write(encode_associate_ac(AC))
        self.transport.pauseProducing()


@asynccontextmanager
async def associated(make: Callable[[], Peer], **more: Any) -> AsyncIterator[tuple[Association, Peer]]:
    """Yield an association over a loopback socket, and its peer."""
    peer = make()
    port = clock.listenTCP(0, Factory.forProtocol(lambda: peer), interface="127.0.0.1")
    association = Association(
        clock=clock, timing=Timing(first_answer=10.0, cancel_grace=10.0), association_timeout=10.0, **more
    )
    try:
        await association.request(TCP4ClientEndpoint(clock, "127.0.0.1", port.getHost().port), RQ)
        yield association, peer
    finally:
        gone: Deferred[None] = Deferred()
        association.on_disconnect(lambda: gone.callback(None))
        association.abort()
        await gone
        peer.transport.abortConnection()
        await peer.lost
        await port.stopListening()


async def until(happened: Callable[[], bool]) -> None:
    for _ in range(500):
        if happened():
            return
        await deferLater(clock, 0.01)
    pytest.fail("it did not happen within 5 seconds")


@ensureDeferred
async def test_a_reader_that_does_not_read_holds_the_peer_back_and_an_abort_still_reaches_it() -> None:
    async with associated(Peer, silence_timeout=10.0) as (association, peer):
        operation = association.get(GET, {}, admit=lambda *_: Admission(operation.instances))
        instance = await anext(operation.instances)
        await until(lambda: association.protocol.valve.held)
        before = -1
        while before != peer.sent:  # what the kernel holds is bounded
            before = peer.sent
            await deferLater(clock, 0.05)
        association.abort(TransportError("enough"))
        await peer.lost
        assert peer.received.endswith(a_abort(0, 0))
        with pytest.raises(TransportError, match="enough"):
            await anext(instance.data_set)


@ensureDeferred
async def test_a_peer_that_neither_reads_nor_closes_is_reset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "LINGER", 0.1)
    async with associated(Deaf, silence_timeout=0.2) as (association, peer):
        outgoing = association.protocol.begin_message(9, store_rq())
        association.protocol.send_fragments(9, outgoing.feed((bytes(20_000_000),)))
        with pytest.raises(TimedOut, match="took nothing"):
            await association.protocol.drained()
        await until(lambda: association._disconnected)
        assert not peer.lost.called


@ensureDeferred
async def test_a_port_that_nobody_listens_on_refuses() -> None:
    port = clock.listenTCP(0, Factory(), interface="127.0.0.1")
    number = port.getHost().port
    await port.stopListening()
    association = Association(
        clock=clock, timing=Timing(first_answer=1.0, cancel_grace=1.0), silence_timeout=1.0, association_timeout=1.0
    )
    with pytest.raises(TransportError, match="refused"):
        await association.request(TCP4ClientEndpoint(clock, "127.0.0.1", number), RQ)
