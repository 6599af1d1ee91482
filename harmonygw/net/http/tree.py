"""The top of a site: resources by path prefix, and an honest answer for every other path."""
# mypy: allow-untyped-calls

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any
from urllib.parse import unquote_to_bytes
from uuid import uuid4

from twisted.logger import Logger
from twisted.web.resource import IResource, Resource, getChildForRequest
from zope.interface import implementer

from harmonygw.dicom.web.problems import CONTENT_TYPE, problem
from harmonygw.errors import ConfigurationError
from harmonygw.net.http.authority import authority

log = Logger()


@implementer(IResource)
class PrefixTree(Resource):
    """A root that hands each request to the resource with the longest prefix of its path.

    A path that a server behind one resource could take for one below the longer prefix of another, which may be guarded
    otherwise, leads nowhere: by empty segments, by the case of letters, by parameters of a segment (RFC 3986 §3.3), or
    by being decoded once more.
    """

    def __init__(self) -> None:
        super().__init__()
        self._prefixes: dict[tuple[bytes, ...], IResource] = {}
        self._alike: set[tuple[bytes, ...]] = set()
        """The prefixes as a server may read them that is not strict."""
        self._longest = 0

    def put(self, path_prefix: str, resource: IResource) -> None:
        """Serve `resource` below `path_prefix`, which begins with a slash, or is empty for everything.

        Raises `ConfigurationError` when something else is served there.
        """
        segments = tuple(segment.encode() for segment in path_prefix.split("/") if segment)
        if self._prefixes.setdefault(segments, resource) is not resource:
            raise ConfigurationError((f'path prefix "{path_prefix or "/"}" is taken',))
        self._alike.add(tuple(_loosely(segments)))
        self._longest = max(self._longest, len(segments))

    def getChild(self, path: bytes, request: Any) -> IResource:
        """Find the resource; what is left of the path is its `postpath`."""
        whole = (path, *request.postpath)
        for length in range(min(len(whole), self._longest), -1, -1):  # a path may have 8,000 segments
            found = self._prefixes.get(whole[:length])
            if found is not None:
                if self._leads_elsewhere(whole, length):
                    break
                # Twisted has moved the first segment to prepath already.
                request.prepath[-1:] = whole[:length]
                request.postpath[:] = whole[length:]
                return found
        return Problem(404, "There is nothing at this path.")

    def _leads_elsewhere(self, whole: tuple[bytes, ...], length: int) -> bool:
        """Whether a path has a longer prefix than that of `length` segments, to a server that is not strict."""
        loose = tuple(islice(_loosely(whole), self._longest))
        return any(loose[:longer] in self._alike for longer in range(length + 1, len(loose) + 1))

    def render(self, request: Any) -> Any:
        """Answer where the tree itself is mounted, without a slash behind it."""
        nothing = Problem(404, "There is nothing at this path.")
        return self._prefixes.get((), nothing).render(request)


def _loosely(segments: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the segments of a path as the least strict server reads them."""
    return filter(None, (unquote_to_bytes(segment).partition(b";")[0].lower() for segment in segments))


@implementer(IResource)
class Problem(Resource):
    """A leaf that answers every method with one problem document, whose correlation id is in the log."""

    isLeaf = True

    def __init__(self, status: int, detail: str) -> None:
        super().__init__()
        self._status = status
        self._detail = detail

    def render(self, request: Any) -> bytes:
        """Answer."""
        correlation_id = uuid4().hex
        log.info(
            "{status} for {method} {path} from {peer} ({correlation_id})",
            status=self._status,
            method=request.method.decode("latin-1"),
            path=request.path.decode("latin-1"),
            peer=getattr(request.getClientAddress(), "host", ""),
            correlation_id=correlation_id,
        )
        request.setResponseCode(self._status)
        request.setHeader(b"content-type", CONTENT_TYPE.encode())
        return b"" if request.method == b"HEAD" else problem(self._status, self._detail, correlation_id)


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
            return Problem(405, "The resource does not answer this method.").render(request)
        status, media_type, text = self._answer()
        request.setResponseCode(status)
        request.setHeader(b"content-type", media_type.encode())
        request.setHeader(b"cache-control", b"no-store")
        return b"" if request.method == b"HEAD" else text


@implementer(IResource)
class ToHTTPS(Resource):
    """Answers with 301 to the same URL over https, on its default port, what did not come over it (`force_https`)."""

    isLeaf = True

    def __init__(self, root: IResource) -> None:
        super().__init__()
        self._root = root

    def render(self, request: Any) -> Any:
        """Redirect; what does not say which host it wants is refused."""
        if request.isSecure():
            return getChildForRequest(self._root, request).render(request)
        host = authority(request)
        if not host:
            return Problem(400, "The Host header field is missing, or not a host and port.").render(request)
        name, colon, port = host.rpartition(":")
        request.setResponseCode(301)
        request.setHeader(
            b"location", b"https://" + (name if colon and port.isdigit() else host).encode() + request.uri
        )
        return b""
