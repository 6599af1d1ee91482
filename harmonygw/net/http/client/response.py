"""The response to a request: its header as it came, and its body for one reader, at that reader's pace."""

from typing import Any, Final, Protocol

import h11
from twisted.internet.interfaces import IProtocol
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.http_headers import Headers
from twisted.web.iweb import UNKNOWN_LENGTH, IResponse
from zope.interface import implementer

from harmonygw.net.http.client.limits import WINDOW_BYTES
from harmonygw.streams import Feed, Pieces

WHOLE: Final = Failure._withoutTraceback(ResponseDone("the response is whole"))
"""Why a body ends that has come whole."""


class Carrier(Protocol):
    """The connection that brings a response."""

    def pause(self, response: "Response") -> None:
        """Read no more of it."""

    def resume(self, response: "Response") -> None:
        """Read on."""

    def give_up(self, response: "Response") -> None:
        """Break it off: nobody wants the rest."""


@implementer(IResponse)
class Response:
    """A response whose header has come.

    `headers`, which treq looks at, is empty: it would keep cookies and undo codings there, which are for who asked us.
    `fields` are the header fields, in their order and case.
    """

    version = (b"HTTP", 1, 1)
    request = None
    previousResponse = None

    def __init__(self, head: h11.Response, carrier: Carrier) -> None:
        self.code: int = head.status_code
        self.phrase: bytes = bytes(head.reason)
        self.fields: tuple[tuple[bytes, bytes], ...] = tuple(head.headers.raw_items())
        self.headers = Headers()
        self.length: Any = UNKNOWN_LENGTH
        """Bytes of the body as its header announces them; to HEAD, and with 204 and 304, there is none all the same."""
        self.ended_by_close = False
        """Whether only the end of the connection says where the body ends; known at its end."""
        values = {bytes(name): bytes(value) for name, value in head.headers}
        if b"transfer-encoding" not in values and b"content-length" in values:
            self.length = int(values[b"content-length"])
        self._carrier = carrier
        self._held: list[bytes] = []
        self._reader: IProtocol | None = None
        self._reason: Failure | None = None

    # What the connection tells

    def deliver(self, data: bytes) -> None:
        """Pass a part of the body on; before there is a reader it is kept: one read, at most."""
        if self._reader is None:
            self._held.append(data)
        elif self._reason is None:
            self._reader.dataReceived(data)

    def end(self, reason: Failure = WHOLE) -> None:
        """End the body; anything but `ResponseDone` says that it is not whole. Only the first time counts."""
        if self._reason is None:
            self._reason = reason
            if self._reader is not None:
                self._reader.connectionLost(reason)

    # What its reader asks for

    def deliverBody(self, protocol: IProtocol) -> None:
        """Let `protocol` have the body; raises `RuntimeError` the second time."""
        if self._reader is not None:
            raise RuntimeError("a response's body has one reader")
        self._reader = protocol
        protocol.makeConnection(self)  # type: ignore[arg-type]  # as much of a transport as a body's reader needs
        held, self._held = self._held, []
        for data in held:
            protocol.dataReceived(data)
        if self._reason is not None:
            protocol.connectionLost(self._reason)
        else:
            self._carrier.resume(self)

    def setPreviousResponse(self, response: IResponse) -> None:
        """Do nothing: no redirect is followed."""

    def pauseProducing(self) -> None:
        """Hold the body back."""
        if self._reason is None:
            self._carrier.pause(self)

    def resumeProducing(self) -> None:
        """Let the body go on."""
        if self._reason is None:
            self._carrier.resume(self)

    def abortConnection(self) -> None:
        """Give the body up."""
        if self._reason is None:
            self._carrier.give_up(self)


class Download(TwistedProtocol):
    """Reads a response's body into a feed, which holds the server back when it is full."""

    transport: Any

    def __init__(self) -> None:
        self.feed: Feed[Pieces] = Feed(limit=WINDOW_BYTES, flow=self, on_abort=self._given_up)

    def pause(self) -> None:
        """Hold the server back."""
        self.transport.pauseProducing()

    def resume(self) -> None:
        """Let it go on."""
        self.transport.resumeProducing()

    def dataReceived(self, data: bytes) -> None:
        """Put what has come into the feed."""
        self.feed.put((data,), len(data))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """End the feed, or fail it when the body is not whole."""
        if reason.check(ResponseDone):
            self.feed.end()
        else:
            self.feed.fail(reason.value)  # type: ignore[arg-type]  # a failure that is at hand has its exception

    def _given_up(self, reason: BaseException) -> None:
        self.transport.abortConnection()
