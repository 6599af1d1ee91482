"""The `dicomweb` endpoint: a Klein resource tree, one exchange a request, and the HTTP status of every error.

The tree is made of the table of transactions in `dicom/web/resources.py`; each of its leaves puts the request into
the pipeline and sends the reply as it comes. It can be mounted in anybody's `twisted.web` site: see `resource()`.
"""

from collections.abc import Iterable
from typing import Any
from urllib.parse import parse_qsl, unquote
from uuid import uuid4

from klein import Klein
from twisted.internet.defer import CancelledError
from twisted.logger import Logger
from twisted.web.resource import IResource
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from harmonygw import errors, journal
from harmonygw.dicom.web.problems import CONTENT_TYPE, problem
from harmonygw.dicom.web.resources import SERVED, TRANSACTIONS, Kind
from harmonygw.exchange import HTTPOrigin, Reply, Request
from harmonygw.journal import Ending
from harmonygw.net.http.request import StreamingRequest
from harmonygw.net.http.response import Sent, send
from harmonygw.pipeline import EndpointContext
from harmonygw.streams import Body

log = Logger()

STATUSES: tuple[tuple[type[errors.HarmonyError], int], ...] = (
    (errors.TooLarge, 413),
    (errors.BadRequest, 400),
    (errors.NotFound, 404),
    (errors.NotAcceptable, 406),
    (errors.Conflict, 409),
    (errors.Denied, 403),
    (errors.RateLimited, 429),
    (errors.Busy, 503),
    (errors.TimedOut, 504),
    (errors.RejectedError, 502),
    (errors.PeerError, 502),
    (errors.TransportError, 502),
    (errors.Incomplete, 502),
    (errors.ConfigurationError, 500),
)
"""The HTTP status of each error, the first that fits: the only place where it is decided."""


def status_of(error: errors.HarmonyError) -> int:
    """Return the HTTP status of an error."""
    return next((status for kind, status in STATUSES if isinstance(error, kind)), 500)


class DICOMwebEndpoint:
    """One DICOMweb service: requests in, replies out."""

    def __init__(self, context: EndpointContext) -> None:
        public_url = context.settings.options.public_url
        self._proceed = context.proceed
        self._reactor = context.reactor
        self._public_url = public_url.rstrip("/") if public_url else None
        self._write_timeout = context.write_timeout
        self.under_way = 0
        """Exchanges that have begun and not ended."""

    def resource(self) -> IResource:
        """Return the Klein resource; put it below any path of a site whose requests are `StreamingRequest`s."""
        app = Klein()
        methods: dict[str, list[str]] = {}
        for transaction in TRANSACTIONS:
            if transaction.kind in SERVED:
                allowed = methods.setdefault(transaction.path, [])
                allowed.append(transaction.method)
        for path, allowed in methods.items():
            if Kind.CAPABILITIES in {one.kind for one in TRANSACTIONS if one.path == path}:
                allowed.append("OPTIONS")
            app.route(_klein_rule(path), methods=allowed, strict_slashes=False)(self._leaf)
        app.handle_errors(HTTPException)(self._no_leaf)
        return app.resource()

    async def _leaf(self, http_request: StreamingRequest, **variables: str) -> None:
        await self._exchange(http_request)

    async def _no_leaf(self, http_request: StreamingRequest, failure: Any) -> None:
        error: HTTPException = failure.value
        headers: list[tuple[str, str]] = []
        detail = "There is no such resource in a DICOMweb service."
        if isinstance(error, MethodNotAllowed):
            headers.append(("Allow", ", ".join(sorted(error.valid_methods or ()))))
            detail = "The resource does not answer this method."
        await self._send_problem(http_request, error.code or 404, detail, uuid4().hex, headers)

    async def _exchange(self, http_request: StreamingRequest) -> None:
        started = self._reactor.seconds()
        request = self._request(http_request)
        self.under_way += 1
        status: int | None = None
        sent: Sent | None = None
        outcome, reason = "complete", ""
        try:
            try:
                reply: Reply = await self._proceed(request)
                status = reply.status
                sent = await self._send(http_request, reply.status, reply.headers, reply.body)
                if sent.error is not None:
                    outcome, reason = "aborted", describe(sent.error)
            except CancelledError:
                raise
            except errors.HarmonyError as error:
                status = status_of(error)
                outcome, reason = ("failed" if status >= 500 else "refused"), describe(error)
                sent = await self._send_error(http_request, request, error, status)
            except Exception:
                log.failure(
                    "an exchange failed in a way nobody foresaw", correlation_id=request.correlation_id
                )
                status, outcome, reason = 500, "failed", "internal error"
                sent = await self._send_problem(
                    http_request, 500, "The gateway failed; its log has the details.", request.correlation_id
                )
        except CancelledError:
            outcome = "client_gone"
        finally:
            self.under_way -= 1
            journal.write(
                request,
                Ending(
                    outcome=outcome,
                    status=status,
                    size=sent.bytes if sent is not None else 0,
                    started=started,
                    first_byte=sent.first_byte_at if sent is not None else None,
                    ended=self._reactor.seconds(),
                    reason=reason,
                ),
            )

    def _request(self, http_request: StreamingRequest) -> Request:
        path, _, query = http_request.uri.partition(b"?")
        below = len([segment for segment in _mounted_at(http_request).split("/") if segment])
        segments = [unquote(segment) for segment in path.decode("latin-1").split("/") if segment]
        client = http_request.getClientAddress()
        return Request(
            origin=HTTPOrigin(
                method=http_request.method.decode("latin-1").upper(),
                path=tuple(segments[below:]),
                query=tuple(parse_qsl(query.decode("latin-1"), keep_blank_values=True)),
                headers={
                    name.decode("latin-1").lower(): ", ".join(value.decode("latin-1") for value in values)
                    for name, values in http_request.requestHeaders.getAllRawHeaders()
                },
                base_url=self._base_url(http_request),
                body=http_request.body,
            ),
            peer=getattr(client, "host", ""),
            correlation_id=uuid4().hex,
        )

    def _base_url(self, http_request: StreamingRequest) -> str:
        if self._public_url is not None:
            return self._public_url
        scheme = "https" if http_request.isSecure() else "http"
        host = (http_request.getHeader("host") or "localhost").strip()
        return f"{scheme}://{host}{_mounted_at(http_request).rstrip('/')}"

    async def _send(
        self,
        http_request: StreamingRequest,
        status: int,
        headers: Iterable[tuple[str, str]],
        body: Body | bytes | None,
    ) -> Sent:
        return await send(
            http_request, status, headers, body, clock=self._reactor, write_timeout=self._write_timeout
        )

    async def _send_error(
        self, http_request: StreamingRequest, request: Request, error: errors.HarmonyError, status: int
    ) -> Sent:
        headers: list[tuple[str, str]] = []
        if isinstance(error, errors.Busy):
            headers.append(("Retry-After", str(error.retry_after)))
        extensions: dict[str, Any] = {}
        if request.record.dimse_status is not None and status >= 500:
            extensions["dimse_status"] = f"{request.record.dimse_status:04X}H"
        if request.record.target and status >= 500:
            extensions["target"] = request.record.target
        detail = "The request is not allowed." if isinstance(error, errors.Denied) else str(error)
        return await self._send_problem(
            http_request, status, detail, request.correlation_id, headers, **extensions
        )

    async def _send_problem(
        self,
        http_request: StreamingRequest,
        status: int,
        detail: str,
        correlation_id: str,
        headers: Iterable[tuple[str, str]] = (),
        **extensions: Any,
    ) -> Sent:
        document = problem(status, detail, correlation_id, **extensions)
        return await self._send(
            http_request, status, (("Content-Type", CONTENT_TYPE), *headers), Body.of(document)
        )


def describe(error: BaseException) -> str:
    """Return what the log says of an error: its kind, its sentence, and what only the operator may read."""
    if isinstance(error, errors.HarmonyError):
        more = f" ({error.log_detail})" if error.log_detail else ""
        return f"{type(error).__name__}: {error}{more}"
    return f"{type(error).__name__}: {error}"


def _klein_rule(path: str) -> str:
    """Return the Klein rule of a path template: `studies/{study}` is `/studies/<study>`."""
    segments = []
    for segment in path.split("/") if path else ():
        if segment == "{bulk_path}":
            segment = "<path:bulk_path>"
        elif segment.startswith("{"):
            segment = f"<{segment[1:-1]}>"
        segments.append(segment)
    return "/" + "/".join(segments)


def _mounted_at(http_request: StreamingRequest) -> str:
    """Return the path below which the Klein resource lies."""
    from klein.interfaces import IKleinRequest

    return str(IKleinRequest(http_request).mapper.script_name)
