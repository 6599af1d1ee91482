"""The body of a request on its way to a server: written at the server's pace, and never ended when it has failed."""

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IConsumer, IPushProducer
from twisted.web.iweb import UNKNOWN_LENGTH, IBodyProducer
from zope.interface import implementer

from harmonygw.errors import Incomplete
from harmonygw.streams import Body


@implementer(IBodyProducer)
class BodyProducer:
    """A body as treq and every Twisted client take one; it is read as fast as the consumer takes it.

    The Deferred of `startProducing` fails with whatever the body raises, and with `Incomplete` when the body is not
    as long as it was announced.
    """

    def __init__(self, body: Body) -> None:
        self._body = body
        self.length: Any = UNKNOWN_LENGTH if body.length is None else body.length
        self._resumed: Deferred[None] | None = None  # there while the consumer holds us back
        self._writing: Deferred[None] | None = None

    def startProducing(self, consumer: IConsumer) -> "Deferred[None]":
        """Write the body to `consumer`; the Deferred fires at its end."""
        self._writing = Deferred.fromCoroutine(self._write(consumer))
        return self._writing

    async def _write(self, consumer: IConsumer) -> None:
        length = self._body.length
        try:
            async for pieces in self._body:
                if length is not None and self._body.size > length:
                    raise Incomplete(f"the request's body is longer than the {length} bytes it was announced with")
                consumer.write(b"".join(pieces))
                if self._resumed is not None:
                    await self._resumed
        except BaseException as error:
            await self._body.abort(error)
            raise
        if length is not None and self._body.size != length:
            raise Incomplete(f"the request's body ended after {self._body.size} of {length} bytes")

    def pauseProducing(self) -> None:
        """Hold the body back."""
        if self._resumed is None:
            self._resumed = Deferred()

    def resumeProducing(self) -> None:
        """Let the body go on."""
        if self._resumed is not None:
            resumed, self._resumed = self._resumed, None
            resumed.callback(None)

    def stopProducing(self) -> None:
        """Give the body up."""
        if self._writing is not None:
            self._writing.cancel()


@implementer(IPushProducer)
class Held:
    """What a transport holds back: a producer, and the watch over a server that takes nothing."""

    def __init__(self, producer: IBodyProducer, stall: Any) -> None:
        self._producer = producer
        self._stall = stall

    def pauseProducing(self) -> None:
        """Hold the body back; the server now has to take something."""
        self._stall.start()
        self._producer.pauseProducing()

    def resumeProducing(self) -> None:
        """Let the body go on."""
        self._stall.stop()
        self._producer.resumeProducing()

    def stopProducing(self) -> None:
        """Do nothing: the connection tells of its own end."""
