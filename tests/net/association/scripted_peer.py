"""The other end of an association in memory: what it sends is a script, what it got is a list of messages."""

from typing import Any, NamedTuple

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import ITCPTransport
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from zope.interface import implementer

from harmonygw.dicom.dimse.commands import Command, encode_command
from harmonygw.dicom.dimse.messages import CommandReceived, DataSetFragment, MessageReader, pdvs
from harmonygw.dicom.upperlayer.events import Event, Fragment
from harmonygw.dicom.upperlayer.negotiation import AssociateAC, AssociateRQ, ProposedContext
from harmonygw.dicom.upperlayer.provider import AssociateConfirm, UpperLayer
from harmonygw.net.association.protocol import AssociationProtocol


@implementer(ITCPTransport)
class Transport(StringTransport):
    """A transport with a socket's settings, which says how it was closed."""

    aborted = False
    paused = False

    def setTcpNoDelay(self, enabled: bool) -> None:
        pass

    def setTcpKeepAlive(self, enabled: bool) -> None:
        pass

    def abortConnection(self) -> None:
        self.aborted = True
        self.disconnecting = True

    def pauseProducing(self) -> None:
        self.paused = True

    def resumeProducing(self) -> None:
        self.paused = False


class Message(NamedTuple):
    """A message that came."""

    command: Command
    data: bytes | None = None


class ScriptedPeer:
    """Speaks the upper layer correctly, and DIMSE as the script wants."""

    def __init__(self, protocol: AssociationProtocol, clock: Clock, *, requestor: bool = True) -> None:
        self.layer = UpperLayer(requestor=requestor)
        self.protocol = protocol
        self.transport = Transport()
        self.events: list[Event] = []
        self.messages: list[Message] = []
        self.sent = b""
        """Every byte that came from the other side."""
        self._clock = clock
        self._reader = MessageReader()

    def associate(
        self, *contexts: ProposedContext, called: str = "ARCHIVE", calling: str = "VIEWER", **more: Any
    ) -> AssociateAC | None:
        """Request an association; return the A-ASSOCIATE-AC, or None when it is not accepted."""
        self.layer.associate(AssociateRQ(called, calling, contexts, **more), 0.0)
        self.layer.connected(0.0)
        self.connect()
        return next((one.ac for one in self.events if isinstance(one, AssociateConfirm)), None)

    def connect(self) -> None:
        """Make the connection, and say nothing on it."""
        self.protocol.makeConnection(self.transport)
        self.pump()

    def pump(self) -> None:
        """Carry bytes to and fro until neither side has more to say."""
        while True:
            arrived = self.transport.value()
            self.transport.clear()
            self.sent += arrived
            for event in self.layer.receive(arrived, self._clock.seconds()):
                self._take(event)
            leaving = b"".join(self.layer.take())
            if leaving and not self.transport.disconnecting:
                self.protocol.dataReceived(leaving)
            elif not arrived:
                return

    def send(self, command: Command, data_set: bytes | None = None, *, context_id: int = 1) -> list[Message]:
        """Send a message and return what came back."""
        self.put(context_id, encode_command(command), is_command=True)
        if data_set is not None:
            self.put(context_id, data_set)
        self.pump()
        return self.take()

    def put(self, context_id: int, data: bytes, *, is_command: bool = False, is_last: bool = True) -> None:
        """Queue a command set, or a part of a data set, until `pump`."""
        length = self.layer.max_send_length
        fragments = list(pdvs(context_id, data, is_command=is_command, max_length=length))
        if not is_last:
            fragments = [one._replace(is_last=False) for one in fragments]
        self.layer.send(fragments, self._clock.seconds())

    def take(self) -> list[Message]:
        """Return the messages that came since the last time."""
        self.pump()
        messages, self.messages = self.messages, []
        return messages

    def release(self) -> None:
        self.layer.release(self._clock.seconds())
        self.pump()

    def abort(self) -> None:
        self.layer.abort(self._clock.seconds())
        self.pump()

    def disconnect(self) -> None:
        self.protocol.connectionLost(Failure(ConnectionDone()))

    @property
    def saw(self) -> Event:
        """The last event of the upper layer that was no data."""
        return self.events[-1]

    # What a peer with a will of its own overrides

    def happened(self, event: Event) -> None:
        """Act on an event of the upper layer."""

    def message_ended(self, context_id: int, message: Message) -> None:
        """Act on a whole message."""

    def _take(self, event: Event) -> None:
        if not isinstance(event, Fragment):
            self.events.append(event)
            self.happened(event)
            return
        message = self._reader.feed(event.context_id, event.is_command, event.is_last, event.data)
        if isinstance(message, CommandReceived):
            self.messages.append(Message(message.command, b"" if message.command.has_data_set else None))
            whole = not message.command.has_data_set
        elif isinstance(message, DataSetFragment):
            command, data = self.messages[-1]
            self.messages[-1] = Message(command, (data or b"") + bytes(message.data))
            whole = message.is_last
        else:
            return
        if whole:
            self.message_ended(event.context_id, self.messages[-1])
