"""The `management` endpoint: what runs here, as JSON; and the one thing that can be done by it, forgetting a study.

`info`, `pipelines`, `routes`, `targets`, `targets/<name>`, `middleware` and `middleware/<name>` below its prefix answer
GET and HEAD. What they say is what the gateway says of itself, which holds no secret. DELETE of
`middleware/<name>/studies/<StudyInstanceUID>` purges a study from a cache. As an endpoint of a pipeline it stands
behind that pipeline's middleware.
"""

from typing import Any, Final

import orjson

from harmonygw.dicom.web.resources import check_uid
from harmonygw.endpoints.http_exchanges import EndpointOverHTTP
from harmonygw.endpoints.http_exchanges.arrival import Arrival
from harmonygw.endpoints.http_exchanges.problems import Settled, unless_allowed
from harmonygw.errors import NotFound
from harmonygw.exchange import HTTPOrigin, Reply, Request
from harmonygw.pipeline import EndpointContext
from harmonygw.streams import Body

NOTHING: Final = "There is nothing at this path."


class ManagementEndpoint(EndpointOverHTTP):
    """The management API of the gateway that `context.describe` describes."""

    def __init__(self, context: EndpointContext) -> None:
        super().__init__(context, proceed=context.around(self.respond))
        self._describe = context.describe
        self._purge = context.purge

    def settled(self, arrival: Arrival) -> Settled:
        """Return what is said to another method than that of the path, and to a path at which there is nothing."""
        path = arrival.origin.path
        if not _names_study(path) and self._find(path) is None:
            return NotFound(NOTHING)
        allowed = ("DELETE",) if _names_study(path) else ("GET",)
        return unless_allowed(arrival.origin.method, allowed, "The resource does not answer this method.")

    async def respond(self, request: Request) -> Reply:
        """Return the part of the description that the path names, or do what DELETE asks for."""
        path = request.origin.path if isinstance(request.origin, HTTPOrigin) else ()
        request.record.operation = "management"
        if _names_study(path):
            check_uid(path[3], "StudyInstanceUID")
            if self._purge is None:
                raise NotFound(NOTHING)
            return _told({"removed_instances": await self._purge(path[1], path[3])})
        found = self._find(path)
        if found is None:
            raise NotFound(NOTHING)
        return _told(found)

    def _find(self, path: tuple[str, ...]) -> Any:
        description = self._describe()
        match path:
            case (part,):
                return description.get(part)
            case ("targets" | "middleware" as part, name):
                return description[part].get(name)
        return None


def _names_study(path: tuple[str, ...]) -> bool:
    return len(path) == 4 and (path[0], path[2]) == ("middleware", "studies")


def _told(document: Any) -> Reply:
    headers = (("Content-Type", "application/json"), ("Cache-Control", "no-store"))
    return Reply(headers=headers, body=Body.of(orjson.dumps(document, default=str)))
