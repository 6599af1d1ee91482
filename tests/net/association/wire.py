"""What the tests in `test_protocol.py` and beside it share."""

from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from harmonygw.dicom.dimse.commands import CEchoRQ, CEchoRSP, Command
from harmonygw.dicom.upperlayer.negotiation import (
    AssociateAC,
    AssociateRQ,
    ContextResult,
    ProposedContext,
)
from harmonygw.dicom.upperlayer.pdus import encode_associate_ac, encode_associate_rq
from harmonygw.dicom.upperlayer.provider import UpperLayer
from harmonygw.errors import HarmonyError
from harmonygw.net.association.protocol import (
    AssociationProtocol,
    AssociationUser,
)
from tests.net.association.peers import (
    CT,
    IMPLICIT,
    SILENCE,
    message,
)
from tests.net.association.scripted_peer import Transport

ECHO = "1.2.840.10008.1.1"
RQ = AssociateRQ("ARCHIVE", "GATEWAY", (ProposedContext(1, ECHO, (IMPLICIT,)), ProposedContext(3, CT, (IMPLICIT,))))
AC = AssociateAC("ARCHIVE", "GATEWAY", (ContextResult(1, 0, IMPLICIT), ContextResult(3, 0, IMPLICIT)), 16384)
RQ_PDU, AC_PDU = encode_associate_rq(RQ), encode_associate_ac(AC)
ECHO_RQ = message(1, CEchoRQ(7, ECHO))
ECHO_RSP = message(1, CEchoRSP(7, ECHO, 0))
UNKNOWN_PDU = bytes.fromhex("0900 00000004 00000000")


class User(AssociationUser):
    """Notes what it is told, and may do something then."""

    def __init__(self) -> None:
        self.told: list[Any] = []
        self.on: dict[str, Callable[[], object]] = {}

    def note(self, what: str, *more: Any) -> None:
        self.told.append((what, *more) if more else what)
        self.on.get(what, lambda: None)()

    def associate_indication(self, request: AssociateRQ) -> None:
        self.note("indication")

    def established(self) -> None:
        self.note("established")

    def command_received(self, context_id: int, command: Command) -> None:
        self.note("command", context_id, command)

    def fragment_received(self, data: memoryview, is_last: bool) -> None:
        self.note("fragment", bytes(data), is_last)

    def read_ended(self) -> None:
        self.note("read ended")

    def release_indication(self) -> None:
        self.note("release")

    def closed(self, reason: HarmonyError | None) -> None:
        self.reason = reason
        self.note("closed")

    def disconnected(self) -> None:
        self.note("disconnected")


class Wire:
    """One protocol on a transport in memory."""

    def __init__(self, *, requestor: bool = True, transport: Any = None) -> None:
        self.clock = Clock()
        self.user = User()
        self.transport = transport or Transport()
        layer = UpperLayer(requestor=requestor, artim_timeout=30.0, association_timeout=30.0)
        self.protocol = AssociationProtocol(layer, self.user, self.clock, silence_timeout=SILENCE)
        if requestor:
            self.protocol.associate(RQ)
            self.user.on["indication"] = lambda: pytest.fail("nobody associates with a requestor")

    def established(self) -> "Wire":
        self.protocol.makeConnection(self.transport)
        self.protocol.dataReceived(AC_PDU)
        return self.forget()

    def accepted(self) -> "Wire":
        self.user.on["indication"] = lambda: self.protocol.accept(AC)
        self.protocol.makeConnection(self.transport)
        self.protocol.dataReceived(RQ_PDU)
        return self.forget()

    def forget(self) -> "Wire":
        self.transport.clear()
        self.user.told.clear()
        return self

    def receive(self, *pieces: bytes) -> None:
        self.protocol.dataReceived(b"".join(pieces))

    def lose(self, reason: Exception | None = None) -> None:
        self.protocol.connectionLost(Failure(reason or ConnectionDone()))

    @property
    def sent(self) -> bytes:
        sent: bytes = self.transport.value()
        self.transport.clear()
        return sent

    @property
    def told(self) -> list[Any]:
        return self.user.told

    def over(self) -> None:
        """Check that nothing is left when the connection is gone."""
        self.lose()
        assert self.told[-1] == "disconnected"
        assert self.told.count("closed") == self.told.count("disconnected") == 1
        assert self.clock.getDelayedCalls() == []
