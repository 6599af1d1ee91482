"""The `management` endpoint: what runs here, as JSON, to be read and not changed.

`info`, `pipelines`, `routes`, `targets` and `targets/<name>` below its prefix answer GET and HEAD. What they say is
what the gateway says of itself, which holds no secret.
"""
# mypy: allow-untyped-calls

from typing import Any

import orjson
from twisted.web.resource import IResource, Resource
from zope.interface import implementer

from harmonygw.net.http.tree import Problem, Text
from harmonygw.pipeline import EndpointContext


@implementer(IResource)
class ManagementEndpoint(Resource):
    """The management API of the gateway that `context.describe` describes: a leaf for every path below its own."""

    isLeaf = True

    def __init__(self, context: EndpointContext) -> None:
        super().__init__()
        self._describe = context.describe

    def resource(self) -> IResource:
        """Return the resource, to be put below any path of a site."""
        return self

    def render(self, request: Any) -> bytes:
        """Answer with the part of the description that the path names."""
        found = self._find(tuple(segment.decode("utf-8", "replace") for segment in request.postpath if segment))
        if found is None:
            return Problem(404, "There is nothing at this path.").render(request)
        document = orjson.dumps(found, default=str)
        return Text(lambda: (200, "application/json", document)).render(request)

    def _find(self, path: tuple[str, ...]) -> Any:
        description = self._describe()
        match path:
            case (part,):
                return description.get(part)
            case ("targets", name):
                return description["targets"].get(name)
        return None
