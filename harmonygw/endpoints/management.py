"""The `management` endpoint: what runs here, as JSON; and the one thing that can be done by it, forgetting a study.

`info`, `pipelines`, `routes`, `targets`, `targets/<name>`, `middleware` and `middleware/<name>` below its prefix answer
GET and HEAD. What they say is what the gateway says of itself, which holds no secret. DELETE of
`middleware/<name>/studies/<StudyInstanceUID>` purges a study from a cache.
"""
# mypy: allow-untyped-calls

from typing import Any

import orjson
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.web.resource import IResource, Resource
from twisted.web.server import NOT_DONE_YET
from zope.interface import implementer

from harmonygw.dicom.web.resources import check_uid
from harmonygw.endpoints.dicomweb import UNFORESEEN, status_of
from harmonygw.errors import HarmonyError, NotFound
from harmonygw.net.http.tree import Problem, Text
from harmonygw.pipeline import EndpointContext

log = Logger()


@implementer(IResource)
class ManagementEndpoint(Resource):
    """The management API of the gateway that `context.describe` describes: a leaf for every path below its own."""

    isLeaf = True

    def __init__(self, context: EndpointContext) -> None:
        super().__init__()
        self._describe = context.describe
        self._purge = context.purge

    def resource(self) -> IResource:
        """Return the resource, to be put below any path of a site."""
        return self

    def render(self, request: Any) -> Any:
        """Answer with the part of the description that the path names, or do what DELETE asks for."""
        path = tuple(segment.decode("utf-8", "replace") for segment in request.postpath if segment)
        if len(path) == 4 and (path[0], path[2]) == ("middleware", "studies"):
            return self._forget(request, path[1], path[3])
        found = self._find(path)
        if found is None:
            return Problem(404, "There is nothing at this path.").render(request)
        document = orjson.dumps(found, default=str)
        return Text(lambda: (200, "application/json", document)).render(request)

    def _find(self, path: tuple[str, ...]) -> Any:
        description = self._describe()
        match path:
            case (part,):
                return description.get(part)
            case ("targets" | "middleware" as part, name):
                return description[part].get(name)
        return None

    def _forget(self, request: Any, middleware: str, study_instance_uid: str) -> Any:
        if request.method != b"DELETE":
            request.setHeader(b"allow", b"DELETE")
            return Problem(405, "The resource does not answer this method.").render(request)
        purging = Deferred.fromCoroutine(self._purged(request, middleware, study_instance_uid))
        request.notifyFinish().addErrback(lambda _: purging.cancel())
        purging.addErrback(lambda failure: failure.trap(CancelledError))
        return NOT_DONE_YET

    async def _purged(self, request: Any, middleware: str, study_instance_uid: str) -> None:
        try:
            check_uid(study_instance_uid, "StudyInstanceUID")
            if self._purge is None:
                raise NotFound("There is nothing at this path.")
            removed = await self._purge(middleware, study_instance_uid)
        except CancelledError:
            raise
        except HarmonyError as error:
            content = Problem(status_of(error), error.detail).render(request)
        except Exception:  # noqa: BLE001 - a third party's middleware may raise anything
            log.failure("a study could not be purged")
            content = Problem(500, UNFORESEEN).render(request)
        else:
            request.setHeader(b"content-type", b"application/json")
            request.setHeader(b"cache-control", b"no-store")
            content = orjson.dumps({"removed_instances": removed})
        request.setHeader(b"content-length", b"%d" % len(content))
        request.write(content)
        request.finish()
