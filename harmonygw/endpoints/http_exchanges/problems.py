"""What a client is told when an exchange fails: the status, and a problem document (RFC 9457)."""

from collections.abc import Collection
from typing import Any, Final

from harmonygw import errors
from harmonygw.dicom.web.problems import CONTENT_TYPE, problem
from harmonygw.exchange import Reply, Request
from harmonygw.streams import Body

STATUSES: Final[tuple[tuple[type[errors.HarmonyError], int], ...]] = (
    (errors.TooLarge, 413),
    (errors.UnsupportedMediaType, 415),
    (errors.AmbiguousCredentials, 400),
    (errors.BadRequest, 400),
    (errors.Unauthenticated, 401),
    (errors.NotFound, 404),
    (errors.MethodNotAllowed, 405),
    (errors.NotAcceptable, 406),
    (errors.Conflict, 409),
    (errors.RangeNotSatisfiable, 416),
    (errors.InsufficientScope, 403),
    (errors.NotReloaded, 422),
    (errors.Denied, 403),
    (errors.RateLimited, 429),
    (errors.Unrecorded, 503),
    (errors.Busy, 503),
    (errors.RequestTimedOut, 408),
    (errors.TimedOut, 504),
    (errors.RejectedError, 502),
    (errors.PeerError, 502),
    (errors.TransportError, 502),
    (errors.Incomplete, 502),
    (errors.RenderingFailed, 500),
    (errors.TooMuchWork, 500),
    (errors.Untransformable, 500),
    (errors.ConfigurationError, 500),
)
"""The HTTP status of each error, the first that fits: the only place where it is decided."""

UNFORESEEN: Final = "The gateway failed; its log has the details."
"""What the client is told of a failure that is ours."""


Settled = Reply | errors.HarmonyError | None
"""What an endpoint answers by itself; None for what its pipeline answers."""


def status_of(error: errors.HarmonyError) -> int:
    """Return the HTTP status of an error."""
    return next((status for kind, status in STATUSES if isinstance(error, kind)), 500)


def problem_of(error: errors.HarmonyError, request: Request) -> Reply:
    """Return the problem document of an error."""
    status = status_of(error)
    headers: list[tuple[str, str]] = []
    if isinstance(error, errors.Busy):
        headers.append(("Retry-After", str(error.retry_after)))
    elif isinstance(error, errors.Unauthenticated | errors.AmbiguousCredentials | errors.InsufficientScope):
        headers.append(("WWW-Authenticate", error.challenge))
    elif isinstance(error, errors.MethodNotAllowed):
        headers.append(("Allow", listed(error.allowed)))
    elif isinstance(error, errors.RangeNotSatisfiable) and error.length is not None:
        headers.append(("Content-Range", f"bytes */{error.length}"))
    extensions = dict(error.members)
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


def unforeseen(request: Request) -> Reply:
    """Return the problem document of an exception that is none of `errors`."""
    return _problem(500, UNFORESEEN, request, [])


def unless_allowed(method: str, allowed: tuple[str, ...], detail: str) -> Settled:
    """Return what is said to a method that is not among those allowed; None for one that is.

    HEAD goes with GET. OPTIONS that is not among them asks which there are.
    """
    if method in allowed or (method == "HEAD" and "GET" in allowed):
        return None
    if method == "OPTIONS":
        return Reply(204, (("Allow", listed(allowed)),))
    return errors.MethodNotAllowed(detail, allowed=allowed)


def listed(methods: Collection[str]) -> str:
    """Return the value of Allow (RFC 9110 §10.2.1): HEAD goes with GET, and OPTIONS with everything."""
    head = ("HEAD",) if "GET" in methods else ()
    return ", ".join(sorted({*methods, *head, "OPTIONS"}))


def _problem(status: int, detail: str, request: Request, headers: list[tuple[str, str]], **extensions: Any) -> Reply:
    document = problem(status, detail, request.correlation_id, **extensions)
    return Reply(status, (("Content-Type", CONTENT_TYPE), *headers), Body.of(document))
