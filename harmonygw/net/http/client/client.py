"""Requests to one server: sent again while nothing has come of them, and refused at once while it is away.

A request is sent again only before the first byte of its answer: when there was no connection, any; when the connection
was lost, one whose method is idempotent and that has no body (RFC 9110 §9.2.2). A connection that has been used may be
closed by the server just when we use it again: what could not be repeated goes on a new one.

treq is what sends; between it and the connections stands `_Exchange`. treq's own habits are those of a reader of
answers: it keeps cookies, asks for gzip and undoes it. A proxy must not.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import h11
import treq.client
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint
from twisted.internet.task import deferLater
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IBodyProducer
from zope.interface import implementer

from harmonygw.errors import BadRequest, TimedOut, TransportError
from harmonygw.net.circuit import Circuit
from harmonygw.net.connecting import connect
from harmonygw.net.http.client.connection import Connection, Unanswered
from harmonygw.net.http.client.limits import FIRST_BACKOFF, LONGEST_BACKOFF, ClientLimits
from harmonygw.net.http.client.pool import Pool
from harmonygw.net.http.client.response import Download, Response
from harmonygw.net.http.client.upload import BodyProducer
from harmonygw.streams import Body

IDEMPOTENT: Final = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
"""Methods of which two are as good as one (RFC 9110 §9.2.2)."""

WITHOUT_CONTENT: Final = frozenset({204, 304})
"""Statuses whose responses have no body (RFC 9110 §6.4.1)."""

CONTENT_EXPECTED: Final = frozenset({"POST", "PUT", "PATCH"})
"""Methods whose requests say so when they have no body (RFC 9110 §8.6)."""

RawFields = tuple[tuple[bytes, bytes], ...]
"""Header fields as they are on the wire, in their order and case."""

Note = Callable[[str], None]
"""Takes a sentence for the operator."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A request as it is to go out."""

    method: str
    url: str
    """Absolute; for what is below the server's own URL alone."""
    target: bytes
    """The same in origin form (RFC 9112 §3.2.1), which is what goes out."""
    fields: RawFields
    """The header, Host in it, without what frames the body."""
    body: Body | None = None

    @property
    def repeatable(self) -> bool:
        """Whether it may be sent twice."""
        return self.body is None and self.method in IDEMPOTENT

    def head(self) -> h11.Request:
        """Return it as h11 has it; raises `BadRequest` for what cannot stand in a header."""
        framing: RawFields = ()
        if self.body is not None and self.body.length is None:
            framing = ((b"Transfer-Encoding", b"chunked"),)
        elif self.body is not None or self.method in CONTENT_EXPECTED:
            length = 0 if self.body is None else self.body.length
            framing = ((b"Content-Length", b"%d" % (length or 0)),)
        try:
            return h11.Request(method=self.method, target=self.target, headers=[*self.fields, *framing])
        except h11.LocalProtocolError as error:
            raise BadRequest(f"The request cannot be passed on: {error}.") from error


@dataclass(frozen=True, slots=True)
class Answer:
    """A response as it has come in."""

    status: int
    fields: RawFields
    """The header, in its order and case."""
    body: Body | None
    """None where there is none by the rules: to HEAD, and with 204 and 304."""
    response: Response


class Client:
    """One server."""

    def __init__(self, endpoint: IStreamClientEndpoint, reactor: Any, limits: ClientLimits) -> None:
        self._endpoint = endpoint
        self._reactor = reactor
        self._clock: IReactorTime = reactor
        self._limits = limits
        self._pool = Pool(self._connect, reactor, limits)
        self.circuit = Circuit(reactor, self._look)

    async def send(self, outgoing: Outgoing, note: Note, deadline: float | None = None) -> Answer:
        """Send a request, and return its answer when the header of that is there.

        Raises `Busy` when there is no place by the deadline or the server is away, `TransportError`, `TimedOut`,
        `PeerError`, `BadRequest`, and what the body raises. Reading the answer's body raises `Incomplete` when it is
        not whole, `TimedOut` and `PeerError`.
        """
        exchange = _Exchange(self, outgoing, note, deadline)
        producer = None if outgoing.body is None else BodyProducer(outgoing.body)
        read = await treq.client.HTTPClient(exchange).request(
            outgoing.method,
            outgoing.url,
            data=producer,
            allow_redirects=False,
            unbuffered=True,
            reactor=self._reactor,
        )
        response = exchange.response
        download = Download()
        read.deliverBody(download)
        if outgoing.method == "HEAD" or response.code in WITHOUT_CONTENT:
            return Answer(response.code, response.fields, None, response)
        length = response.length if isinstance(response.length, int) else None
        return Answer(response.code, response.fields, Body(download.feed, length=length), response)

    def stop(self) -> None:
        """Break everything off."""
        self.circuit.stop()
        self._pool.stop()

    def state(self) -> dict[str, object]:
        """Describe the server, for management and readiness."""
        return {"ready": not self.circuit.is_open, "last_failure": self.circuit.last_failure, **self._pool.state()}

    # One request

    async def conduct(
        self, outgoing: Outgoing, producer: IBodyProducer | None, note: Note, deadline: float | None
    ) -> Response:
        """Send a request as often as it takes and is allowed; return the response when its header is there."""
        head = outgoing.head()
        self.circuit.check()
        retries = 0
        fresh = not outgoing.repeatable
        while True:
            try:
                connection = await self._pool.acquire(fresh=fresh, deadline=deadline)
            except TransportError as error:
                if retries >= self._limits.max_retries or self.circuit.is_open:
                    raise
                reason = error.detail
            else:
                used = connection.used
                try:
                    return await connection.request(head, producer)
                except Unanswered as error:
                    if not outgoing.repeatable or (retries >= self._limits.max_retries and not used):
                        raise
                    if used:
                        fresh = True
                        continue
                    reason = error.detail
            note(f"{reason}; tried again")
            await deferLater(self._clock, min(FIRST_BACKOFF * 2**retries, LONGEST_BACKOFF))
            retries += 1

    async def _connect(self) -> Connection:
        connection = Connection(self._clock, self._limits, self._pool)
        try:
            await connect(self._endpoint, connection)
            await connection.opened
        except (TransportError, TimedOut) as error:
            self.circuit.failed(error)
            raise
        self.circuit.succeeded()
        return connection

    async def _look(self) -> None:
        """See whether the server is there: a connection is a sign of life, and is kept for whoever comes."""
        self._pool.idle(await self._pool.acquire(fresh=True))


@implementer(IAgent)
class _Exchange:
    """What treq sends one request by: it has the header that was meant, and treq sees none of the response's."""

    def __init__(self, client: Client, outgoing: Outgoing, note: Note, deadline: float | None) -> None:
        self._client = client
        self._outgoing = outgoing
        self._note = note
        self._deadline = deadline
        self.response: Response

    def request(
        self, method: bytes, uri: bytes, headers: Headers | None = None, bodyProducer: IBodyProducer | None = None
    ) -> "Deferred[Any]":
        """Send it."""
        return Deferred.fromCoroutine(self._conduct(bodyProducer))

    async def _conduct(self, producer: IBodyProducer | None) -> Response:
        self.response = await self._client.conduct(self._outgoing, producer, self._note, self._deadline)
        return self.response
