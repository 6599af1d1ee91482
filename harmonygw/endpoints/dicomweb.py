"""The `dicomweb` endpoint: HTTP requests below a path prefix become exchanges, and replies go out as they come.

Klein's routes say which paths and methods there are; what a request means is for the pipeline to say. What no route
takes goes down the pipeline too, as settled, past all middleware but that for every request. The resource can be
mounted in anybody's `twisted.web` site: see `resource()`.
"""
# mypy: allow-untyped-calls

from collections.abc import Collection
from dataclasses import dataclass, replace
from secrets import token_hex
from typing import Any, Final
from urllib.parse import parse_qsl, quote, unquote_to_bytes

from klein import Klein
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.logger import Logger
from twisted.web.resource import IResource, Resource
from twisted.web.server import NOT_DONE_YET
from werkzeug.exceptions import HTTPException, MethodNotAllowed
from zope.interface import implementer

from harmonygw import errors, journal
from harmonygw.dicom.web.problems import CONTENT_TYPE, problem
from harmonygw.dicom.web.resources import SERVED, TRANSACTIONS, Kind
from harmonygw.exchange import HTTPOrigin, Reply, Request
from harmonygw.net.http.authority import authority
from harmonygw.net.http.compression import compressed
from harmonygw.net.http.conditional import not_modified, tagged
from harmonygw.net.http.foreign import ForeignRequest
from harmonygw.net.http.request import StreamingRequest
from harmonygw.net.http.response import Sent, send
from harmonygw.pipeline import EndpointContext
from harmonygw.streams import Body

log = Logger()

STATUSES: Final[tuple[tuple[type[errors.HarmonyError], int], ...]] = (
    (errors.TooLarge, 413),
    (errors.UnsupportedMediaType, 415),
    (errors.BadRequest, 400),
    (errors.NotFound, 404),
    (errors.MethodNotAllowed, 405),
    (errors.NotAcceptable, 406),
    (errors.Conflict, 409),
    (errors.RangeNotSatisfiable, 416),
    (errors.Denied, 403),
    (errors.RateLimited, 429),
    (errors.Busy, 503),
    (errors.RequestTimedOut, 408),
    (errors.TimedOut, 504),
    (errors.RejectedError, 502),
    (errors.PeerError, 502),
    (errors.TransportError, 502),
    (errors.Incomplete, 502),
    (errors.RenderingFailed, 500),
    (errors.ConfigurationError, 500),
)
"""The HTTP status of each error, the first that fits: the only place where it is decided."""

UNFORESEEN: Final = "The gateway failed; its log has the details."
"""What the client is told of a failure that is ours."""


def status_of(error: errors.HarmonyError) -> int:
    """Return the HTTP status of an error."""
    return next((status for kind, status in STATUSES if isinstance(error, kind)), 500)


@dataclass(frozen=True, slots=True)
class Arrival:
    """A request that has arrived."""

    client: Any
    """How to reply: a `StreamingRequest`, or what makes one of somebody else's."""
    request: Request
    """What goes into the pipeline."""
    origin: HTTPOrigin
    """The request's own."""


class DICOMwebEndpoint:
    """One DICOMweb service: requests in, replies out."""

    def __init__(self, context: EndpointContext) -> None:
        self._proceed = context.proceed
        self._clock = context.reactor
        self._public_url: str | None = context.settings.options.public_url
        self._write_timeout = context.write_timeout
        self._running: set[Deferred[None]] = set()
        self._drained: list[Deferred[None]] = []

    def resource(self) -> IResource:
        """Return the resource, to be put below any path of a `twisted.web` site.

        In an `HTTPSite` it has our limits, and bodies stream in; elsewhere those of that site hold.
        """
        app = Klein()
        app.url_map.redirect_defaults = False  # no rule has defaults: werkzeug would look through all of them each time
        entrance = _Entrance(self, app.resource())
        routes = _routes()

        def route(http_request: Any, **variables: str) -> IResource:
            if http_request.method == b"OPTIONS" and not (arrival := _arrival_of(http_request)).origin.path:
                arrival.request.common_headers.append(("Allow", _listed(routes[""])))
            if "bulk_path" not in variables and (shape := _shape_of(http_request)):
                entrance.known.add(shape)
            return entrance.passing_on

        def no_route(request: Any, failure: Any) -> Any:
            return _Leaf(self, _settled(request.method, failure.value))

        for path, methods in routes.items():
            app.route(_klein_rule(path), methods=methods, strict_slashes=False)(route)
        app.handle_errors(HTTPException)(no_route)
        return entrance

    @property
    def under_way(self) -> int:
        """Exchanges that have begun and not ended."""
        return len(self._running)

    def drain(self) -> "Deferred[None]":
        """Fire as soon as no exchange is under way."""
        if not self._running:
            return succeed(None)
        drained: Deferred[None] = Deferred()
        self._drained.append(drained)
        return drained

    def stop(self) -> None:
        """Break off every exchange that is under way."""
        for running in tuple(self._running):
            running.cancel()

    # What the resources below use

    def arrived(self, http_request: Any, host: str) -> "Arrival":
        """Return what an HTTP request asks `host`; what is not UTF-8 in it comes out as U+FFFD."""
        query = _query_of(http_request)
        client = http_request if isinstance(http_request, StreamingRequest) else ForeignRequest(http_request)
        origin = HTTPOrigin(
            method=http_request.method.decode("latin-1").upper(),
            path=tuple(segment.decode("utf-8", "replace") for segment in http_request.postpath),
            query=tuple(parse_qsl(query.decode("utf-8", "replace"), keep_blank_values=True)) if query else (),
            headers={
                name.decode("latin-1").lower(): b", ".join(values).decode("latin-1")
                for name, values in http_request.requestHeaders.getAllRawHeaders()
            },
            base_url=self._public_url or _base_url(http_request, host),
            body=client.body,
        )
        peer = getattr(http_request.getClientAddress(), "host", "")
        return Arrival(client, Request(origin, peer, correlation_id=token_hex(16)), origin)

    def fault_of(self, http_request: Any, host: str) -> str:
        """Say what of an HTTP request to `host` cannot be understood; "" if nothing."""
        query = _query_of(http_request)
        if b"%" in query:
            query = unquote_to_bytes(query)
        try:
            for part in (*http_request.postpath, query):
                part.decode()
        except UnicodeDecodeError:
            return "The path and the query must be UTF-8, once they are percent-decoded."
        if self._public_url is None and not host:
            return "The Host header field is missing, or not a host and port."
        return ""

    def begin(self, arrival: "Arrival", settled: "Reply | errors.HarmonyError | None") -> None:
        """Let the pipeline reply to a request; when the client goes away, that is cancelled."""
        if settled is not None:
            arrival = replace(arrival, request=replace(arrival.request, settled=settled))
        running = Deferred.fromCoroutine(self._conduct(arrival))
        self._running.add(running)
        arrival.client.notifyFinish().addErrback(lambda _: running.cancel())
        running.addBoth(self._ended, running)

    def _ended(self, result: Any, running: "Deferred[None]") -> Any:
        self._running.remove(running)
        if not self._running:
            watchers, self._drained = self._drained, []
            for watcher in watchers:
                watcher.callback(None)
        return result

    # One exchange

    async def _conduct(self, arrival: Arrival) -> None:
        """Reply to a request, and write its line in the log."""
        client, request = arrival.client, arrival.request
        started = self._clock.seconds()
        sent: Sent | None = None
        try:
            sent, outcome, reason = await self._reply(arrival)
        except CancelledError:
            gone = client.disconnected and not client.aborted
            outcome, reason = ("client_gone", "") if gone else ("aborted", "the exchange was cancelled")
            client.abort()  # never leave behind what could be taken for a reply
        journal.write(
            request,
            journal.Ending(
                outcome=outcome,
                status=client.code if client.startedWriting else None,
                size=client.sentLength,
                started=started,
                first_byte=sent.first_byte_at if sent is not None else None,
                ended=self._clock.seconds(),
                reason=reason,
            ),
        )

    async def _reply(self, arrival: Arrival) -> tuple[Sent, str, str]:
        """Send a reply; return how that went, the outcome of the exchange, and the reason for it."""
        request, reason = arrival.request, ""
        try:
            reply = await self._proceed(request)
            if reply.body is None and reply.result is not None:
                raise errors.ConfigurationError(("no middleware has made an HTTP reply of the operation's result",))
            if arrival.origin.method in ("GET", "HEAD"):
                reply = tagged(reply)
            sent, status = await self._send(arrival, reply)
        except CancelledError:
            raise
        except errors.HarmonyError as error:
            reason = journal.describe(error)
            sent, status = await self._send(arrival, _problem_of(error, request))
        except Exception:  # noqa: BLE001 - whatever it was, the client is told that it was ours
            reason = "internal error"
            log.failure(
                "an exchange failed in a way nobody foresaw ({correlation_id})", correlation_id=request.correlation_id
            )
            sent, status = await self._send(arrival, _problem(500, UNFORESEEN, request))
        if sent.error is not None:
            return sent, "aborted", journal.describe(sent.error)
        return sent, _outcome(status), reason

    async def _send(self, arrival: Arrival, reply: Reply) -> tuple[Sent, int]:
        """Send a reply in the form that the client asks for; return how that went, and the status."""
        wanted = arrival.origin.headers
        if arrival.request.common_headers:
            reply = replace(reply, headers=(*reply.headers, *arrival.request.common_headers))
        reply = compressed(reply, wanted.get("accept-encoding", ""), self._clock)
        if arrival.origin.method in ("GET", "HEAD"):
            reply = not_modified(reply, wanted.get("if-none-match", ""))
        sent = await send(
            arrival.client,
            reply.status,
            reply.headers,
            reply.body,
            clock=self._clock,
            write_timeout=self._write_timeout,
        )
        return sent, reply.status


@implementer(IResource)
class _Entrance(Resource):
    """Takes in every request below the prefix, and answers itself what Klein would answer in its own words."""

    isLeaf = True

    def __init__(self, endpoint: DICOMwebEndpoint, routes: IResource) -> None:
        super().__init__()
        self._endpoint = endpoint
        self._routes = routes
        self.passing_on = _Leaf(endpoint)
        self.known: set[Shape] = set()
        """The shapes of paths whose GET Klein has led to `passing_on`; as finite as the table of routes."""

    def render(self, http_request: Any) -> Any:
        """Let Klein find the route, unless the request makes no sense."""
        endpoint = self._endpoint
        http_request.postpath = [segment for segment in http_request.postpath if segment]
        host = authority(http_request)
        http_request.harmonygw_arrival = endpoint.arrived(http_request, host)
        fault = endpoint.fault_of(http_request, host)
        if fault:
            return _Leaf(endpoint, errors.BadRequest(fault)).render(http_request)
        # Klein takes a tenth of what a frame costs, and would lead this request where it led others of this shape.
        if _shape_of(http_request) in self.known:
            return self.passing_on.render(http_request)
        http_request.postpath = http_request.postpath or [b""]  # no segment at all is not Klein's root
        return self._routes.render(http_request)


@implementer(IResource)
class _Leaf(Resource):
    """Where a route ends: an exchange begins, which ends the HTTP request. Klein leaves such a resource alone."""

    isLeaf = True

    def __init__(self, endpoint: DICOMwebEndpoint, settled: "Reply | errors.HarmonyError | None" = None) -> None:
        super().__init__()
        self._endpoint = endpoint
        self._settled = settled

    def render(self, http_request: Any) -> int:
        """Begin."""
        self._endpoint.begin(_arrival_of(http_request), self._settled)
        return NOT_DONE_YET


def _arrival_of(http_request: Any) -> Arrival:
    """Return what the entrance left for the end of the route; as a component it would be found ten times as slowly."""
    arrival: Arrival = http_request.harmonygw_arrival
    return arrival


def _problem_of(error: errors.HarmonyError, request: Request) -> Reply:
    status = status_of(error)
    headers: list[tuple[str, str]] = []
    if isinstance(error, errors.Busy):
        headers.append(("Retry-After", str(error.retry_after)))
    elif isinstance(error, errors.MethodNotAllowed):
        headers.append(("Allow", _listed(error.allowed)))
    elif isinstance(error, errors.RangeNotSatisfiable) and error.length is not None:
        headers.append(("Content-Range", f"bytes */{error.length}"))
    extensions: dict[str, str] = {}
    if status >= 500:
        record = request.record
        if record.target:
            extensions["target"] = record.target
        if record.dimse_status is not None:
            extensions["dimse_status"] = f"{record.dimse_status:04X}H"
    if status == 500 and not isinstance(error, errors.RenderingFailed):
        detail = UNFORESEEN
    elif isinstance(error, errors.Denied):
        detail = "The request is not allowed."
    else:
        detail = str(error)
    return _problem(status, detail, request, headers, **extensions)


def _problem(
    status: int, detail: str, request: Request, headers: "list[tuple[str, str]] | None" = None, **extensions: str
) -> Reply:
    document = problem(status, detail, request.correlation_id, **extensions)
    return Reply(status, (("Content-Type", CONTENT_TYPE), *(headers or ())), Body.of(document))


def _outcome(status: int) -> str:
    """Return the journal's word for a reply that went out whole."""
    if status >= 500:
        return "failed"
    if status >= 400:
        return "refused"
    return "not_modified" if status == 304 else "complete"


def _settled(method: bytes, error: HTTPException) -> Reply | errors.HarmonyError:
    """Return what is said to a request that no route takes; OPTIONS asks which methods there are."""
    if not isinstance(error, MethodNotAllowed):
        return errors.NotFound("There is no such resource in a DICOMweb service.")
    allowed = tuple(error.valid_methods or ())
    if method == b"OPTIONS":
        return Reply(204, (("Allow", _listed(allowed)),))
    return errors.MethodNotAllowed("The resource does not answer this method.", allowed=allowed)


def _listed(methods: Collection[str]) -> str:
    """Return the value of Allow (RFC 9110 §10.2.1): HEAD goes with GET, and OPTIONS with everything."""
    head = ("HEAD",) if "GET" in methods else ()
    return ", ".join(sorted({*methods, *head, "OPTIONS"}))


def _routes() -> dict[str, list[str]]:
    """Return the methods that this build serves, of every path that it serves."""
    routes: dict[str, list[str]] = {}
    for transaction in TRANSACTIONS:
        if transaction.kind in SERVED:
            methods = routes.setdefault(transaction.path, [])
            methods.append(transaction.method)
            if transaction.kind is Kind.CAPABILITIES:
                methods.append("OPTIONS")
    return routes


Shape = tuple[int | str, ...]
"""What tells which route a path takes: how many segments it has, and those that a template spells out."""


def _shape_of(http_request: Any) -> Shape:
    """Return the shape of a GET's path; () where Klein is to be asked each time.

    In every template but that of bulk data each second segment is a variable, and all others are spelt out. An encoded
    slash is a plain one to Klein.
    """
    if http_request.method != b"GET" or b"%" in http_request.path:
        return ()
    path = _arrival_of(http_request).origin.path
    return (len(path), *path[::2])


def _klein_rule(path: str) -> str:
    """Return the Klein rule of a path template: `studies/{study}` is `/studies/<study_>`."""
    segments = []
    for segment in path.split("/") if path else ():
        if segment == "{bulk_path}":
            segment = "<path:bulk_path>"
        elif segment.startswith("{"):
            segment = f"<{segment[1:-1]}_>"  # "instance" alone is a parameter of Klein's own
        segments.append(segment)
    return "/" + "/".join(segments)


def _query_of(http_request: Any) -> bytes:
    uri: bytes = http_request.uri
    return uri.partition(b"?")[2]


def _base_url(http_request: Any, host: str) -> str:
    scheme = "https" if http_request.isSecure() else "http"
    mounted_at = "".join(["/" + quote(segment, safe="") for segment in http_request.prepath if segment])
    return f"{scheme}://{host}{mounted_at}"
