"""The `management` endpoint: what runs here, as JSON, to be read and not changed.

`info`, `pipelines`, `routes`, `targets` and `targets/<name>` below its prefix answer GET and HEAD. What they say is
what the gateway says of itself, which holds no secret.
"""

from typing import Any

import orjson
from twisted.web.resource import IResource, Resource
from zope.interface import implementer

from harmonygw.net.http.tree import Problem, Text
from harmonygw.pipeline import EndpointContext


class ManagementEndpoint:
    """The read-only management API of the gateway that `context.describe` describes."""

    def __init__(self, context: EndpointContext) -> None:
        self._describe = context.describe

    def resource(self) -> IResource:
        """Return the resource, to be put below any path of a site."""
        return _Description(self)

    def find(self, path: tuple[str, ...]) -> Any:
        """Return the part of the description at a path; `KeyError` when there is none."""
        match path:
            case (part,):
                return self._describe()[part]
            case ("targets", name):
                return self._describe()["targets"][name]
        raise KeyError(path)


@implementer(IResource)
class _Description(Resource):
    """A leaf for every path below its own."""

    isLeaf = True

    def __init__(self, endpoint: ManagementEndpoint) -> None:
        super().__init__()
        self._endpoint = endpoint

    def render(self, request: Any) -> bytes:
        """Answer with the part of the description that the path names."""
        path = tuple(segment.decode("utf-8", "replace") for segment in request.postpath if segment)
        try:
            part = self._endpoint.find(path)
        except KeyError:
            return Problem(404, "There is nothing at this path.").render(request)
        document = orjson.dumps(part, default=str)
        return Text(lambda: (200, "application/json", document)).render(request)
