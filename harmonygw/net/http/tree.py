"""The top of a site: resources by path prefix, and an honest answer for every other path."""

from collections.abc import Callable, Mapping
from typing import Any

from twisted.web.resource import IResource, Resource
from zope.interface import implementer

from harmonygw.dicom.web.problems import CONTENT_TYPE, problem


@implementer(IResource)
class PrefixTree(Resource):
    """A root that hands each request to the resource with the longest prefix of its path."""

    def __init__(self) -> None:
        super().__init__()
        self._prefixes: dict[tuple[bytes, ...], IResource] = {}

    def put(self, path_prefix: str, resource: IResource) -> None:
        """Serve `resource` below `path_prefix`, which begins with a slash, or is empty for everything."""
        self._prefixes[tuple(part.encode() for part in path_prefix.split("/") if part)] = resource

    def getChild(self, path: bytes, request: Any) -> IResource:
        """Find the resource; what is left of the path is its `postpath`."""
        whole = (path, *request.postpath)
        for length in range(len(whole), -1, -1):
            found = self._prefixes.get(tuple(whole[:length]))
            if found is not None:
                request.prepath.extend(request.postpath[: max(0, length - 1)])
                del request.postpath[: max(0, length - 1)]
                if length == 0:
                    request.postpath.insert(0, request.prepath.pop())
                return found
        return Problem(404, "There is nothing at this path.")


@implementer(IResource)
class Problem(Resource):
    """A leaf that answers every method with one problem document."""

    isLeaf = True

    def __init__(self, status: int, detail: str) -> None:
        super().__init__()
        self._status = status
        self._detail = detail

    def render(self, request: Any) -> bytes:
        """Answer."""
        request.setResponseCode(self._status)
        request.setHeader(b"content-type", CONTENT_TYPE.encode())
        return b"" if request.method == b"HEAD" else problem(self._status, self._detail, "")


@implementer(IResource)
class Text(Resource):
    """A leaf that answers GET and HEAD with what a function returns: status, media type, body."""

    isLeaf = True

    def __init__(self, answer: Callable[[], tuple[int, str, bytes]]) -> None:
        super().__init__()
        self._answer = answer

    def render(self, request: Any) -> bytes:
        """Answer, or refuse any other method."""
        if request.method not in (b"GET", b"HEAD"):
            request.setHeader(b"allow", b"GET, HEAD")
            body: bytes = Problem(405, "The resource does not answer this method.").render(request)
            return body
        status, media_type, text = self._answer()
        request.setResponseCode(status)
        request.setHeader(b"content-type", media_type.encode())
        request.setHeader(b"cache-control", b"no-store")
        return b"" if request.method == b"HEAD" else text


@implementer(IResource)
class ToHTTPS(Resource):
    """Answers everything with 301 to the same URL over https (`force_https`)."""

    isLeaf = True

    def render(self, request: Any) -> bytes:
        """Redirect."""
        host = request.getRequestHostname()
        request.setResponseCode(301)
        request.setHeader(b"location", b"https://" + host + request.uri)
        return b""


def health(checks: Mapping[str, Callable[[], tuple[int, str, bytes]]]) -> PrefixTree:
    """Return a tree that answers `checks` by their paths."""
    tree = PrefixTree()
    for path, answer in checks.items():
        tree.put(path, Text(answer))
    return tree
