"""The `management` endpoint: what runs here, as JSON; and what can be done by it.

`info`, `pipelines`, `routes`, `targets`, `targets/<name>`, `middleware` and `middleware/<name>` below its prefix answer
GET and HEAD. What they say is what the gateway says of itself, which holds no secret. As an endpoint of a pipeline it
stands behind that pipeline's middleware.

DELETE of `middleware/<name>/studies/<StudyInstanceUID>` purges a study from a cache, and POST to `reload` has the
configuration read again. Both are for whoever has been authenticated, and not for the page of another site that a
browser has open: a POST has to be of a type that such a page cannot send unasked (Fetch, "CORS-safelisted
request-header"), a DELETE it cannot send unasked at all, and Sec-Fetch-Site must not say that it comes from one.
"""

import re
from typing import Any, Final

import orjson
from twisted.internet.defer import CancelledError

from harmonygw.dicom.web.resources import check_uid
from harmonygw.endpoints.http_exchanges import EndpointOverHTTP
from harmonygw.endpoints.http_exchanges.arrival import Arrival
from harmonygw.endpoints.http_exchanges.problems import Settled, unless_allowed
from harmonygw.errors import ConfigurationError, Denied, NotFound, NotReloaded, UnsupportedMediaType
from harmonygw.exchange import HTTPOrigin, Reply, Request
from harmonygw.pipeline import EndpointContext
from harmonygw.streams import Body

NOTHING: Final = "There is nothing at this path."

RELOAD: Final = ("reload",)
"""The path of a reload."""

_JSON: Final = re.compile(r"application/json\s*(?:;|$)", re.IGNORECASE)

_OURS: Final = frozenset({"", "same-origin", "none"})
"""Values of Sec-Fetch-Site (Fetch Metadata §2.3) of what no page of another site has asked; a program sends none."""


class ManagementEndpoint(EndpointOverHTTP):
    """The management API of the gateway that `context.describe` describes."""

    def __init__(self, context: EndpointContext) -> None:
        super().__init__(context, proceed=context.around(self.respond))
        self._describe = context.describe
        self._purge = context.purge
        self._reload = context.reload

    def settled(self, arrival: Arrival) -> Settled:
        """Return what is said to another method than that of the path, and to a path at which there is nothing."""
        path = arrival.origin.path
        allowed = self._allowed(path)
        if not allowed:
            return NotFound(NOTHING)
        return unless_allowed(arrival.origin.method, allowed, "The resource does not answer this method.")

    def _allowed(self, path: tuple[str, ...]) -> tuple[str, ...]:
        if path == RELOAD:
            return ("POST",) if self._reload is not None else ()
        if _names_study(path):
            return ("DELETE",)
        return () if self._find(path) is None else ("GET",)

    async def respond(self, request: Request) -> Reply:
        """Return the part of the description that the path names, or do what is asked for."""
        origin = request.origin
        path = origin.path if isinstance(origin, HTTPOrigin) else ()
        request.record.operation = "management"
        if isinstance(origin, HTTPOrigin) and (path == RELOAD or _names_study(path)):
            _check_asker(request, origin)
            return await (self._reloaded() if path == RELOAD else self._purged(path))
        found = self._find(path)
        if found is None:
            raise NotFound(NOTHING)
        return _told(found)

    async def _purged(self, path: tuple[str, ...]) -> Reply:
        check_uid(path[3], "StudyInstanceUID")
        if self._purge is None:
            raise NotFound(NOTHING)
        return _told({"removed_instances": await self._purge(path[1], path[3])})

    async def _reloaded(self) -> Reply:
        if self._reload is None:
            raise NotFound(NOTHING)
        try:
            return _told(await self._reload())
        except CancelledError:
            raise
        except ConfigurationError as error:
            refused = NotReloaded("The configuration is wrong; nothing has changed.", log_detail=str(error))
            refused.members["errors"] = list(error.problems)
            raise refused from error

    def _find(self, path: tuple[str, ...]) -> Any:
        description = self._describe()
        match path:
            case (part,):
                return description.get(part)
            case ("targets" | "middleware" as part, name):
                return description[part].get(name)
        return None


def _check_asker(request: Request, origin: HTTPOrigin) -> None:
    """Raise what is said to somebody who may not have anything done."""
    if request.principal is None:
        raise Denied("not authorized", log_detail="nothing is done for whom nobody has authenticated")
    if origin.headers.get("sec-fetch-site", "").lower() not in _OURS:
        raise Denied("not authorized", log_detail="a page of another site asks (Sec-Fetch-Site)")
    if origin.method == "POST" and not _JSON.match(origin.headers.get("content-type", "")):
        raise UnsupportedMediaType("What is done by POST has the type application/json.")


def _names_study(path: tuple[str, ...]) -> bool:
    return len(path) == 4 and (path[0], path[2]) == ("middleware", "studies")


def _told(document: Any) -> Reply:
    headers = (("Content-Type", "application/json"), ("Cache-Control", "no-store"))
    return Reply(headers=headers, body=Body.of(orjson.dumps(document, default=str)))
