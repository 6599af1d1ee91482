"""The `viewer` endpoint: a viewer for the browser, OHIF, as files from a folder, beside the DICOMweb service it asks.

Page and images have one origin, so that no CORS is needed. OHIF's build expects to stand at the root of its host; it
is served below any prefix, because wherever its files name that root the path of the viewer is put in on the way out.
`app-config.js` is made here. A path that names no file is a page of the application, which finds its way by itself.
"""

import re
from base64 import b64encode
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from email.utils import formatdate, mktime_tz, parsedate_tz
from hashlib import sha256
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit
from zlib import crc32

import orjson

from harmonygw.endpoints.http_exchanges import EndpointOverHTTP
from harmonygw.endpoints.http_exchanges.arrival import Arrival
from harmonygw.endpoints.http_exchanges.problems import Settled, unless_allowed
from harmonygw.errors import ConfigurationError, NotFound
from harmonygw.exchange import HTTPOrigin, Reply, Request
from harmonygw.pipeline import EndpointContext
from harmonygw.streams import Body, Pieces

PIECE_BYTES: Final = 64 * 1024
"""Bytes of a file that are read at a time: what is held of it, however slow the browser is."""

MAX_PAGE_BYTES: Final = 1024 * 1024
"""Bytes of `index.html`, which is held whole: OHIF's has 5 KB, and no page that loads an application has more."""

MAX_KNOWN_FILES: Final = 1024
"""Files of which it is remembered where they name the root; OHIF has 250. Beyond it, all are looked at anew."""

PAGE: Final = "index.html"
SETTINGS: Final = "app-config.js"

MEDIA_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".gif": "image/gif",
    ".html": "text/html; charset=utf-8",
    ".ico": "image/vnd.microsoft.icon",
    ".jpeg": "image/jpeg",
    ".jpg": "image/jpeg",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".jsonc": "application/json",
    ".map": "application/json",
    ".mjs": "text/javascript; charset=utf-8",
    ".mp4": "video/mp4",
    ".pdf": "application/pdf",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".ttf": "font/ttf",
    ".txt": "text/plain; charset=utf-8",
    ".wasm": "application/wasm",
    ".webapp": "application/manifest+json",
    ".webmanifest": "application/manifest+json",
    ".webp": "image/webp",
    ".woff": "font/woff",
    ".woff2": "font/woff2",
    ".xml": "application/xml",
}
"""The media types by suffix. The system's own table says `text/plain` for some of them here and there, and browsers
run neither scripts nor WebAssembly of another type than theirs."""

ROOTS: Final = {
    ".css": re.compile(rb"\burl\([\"']?(/)(?!/)"),
    ".js": re.compile(rb'\.p ?= ?"(/)"'),
    ".json": re.compile(rb'"(?:src|start_url|scope)" ?: ?"(/)(?!/)'),
    ".html": re.compile(rb'\b(?:(?:href|src|content)=|PUBLIC_URL ?= ?)["\'](/)(?!/)'),
}
"""Where a file of a viewer that was built for the root names it, by suffix: the slash that the path is put before. In
scripts it is what webpack and rspack call the public path."""

_BUILT_FOR: Final = re.compile(rb'PUBLIC_URL ?= ?["\']([^"\']*)["\']')
_INLINE_SCRIPT: Final = re.compile(rb"<script>(.*?)</script>", re.DOTALL)

ISOLATION: Final = (
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Embedder-Policy", "require-corp"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
)
"""What every file carries: the page shares its process with no other origin, and may share memory with its workers;
no other site learns of studies by a link."""

CONTENT_SECURITY_POLICY: Final = "; ".join(
    (
        "default-src 'self'",
        # WebAssembly decodes JPEG 2000 and JPEG-LS. What its workers evaluate is theirs: they do not see the page.
        "script-src 'self' 'wasm-unsafe-eval' {scripts}",
        "worker-src 'self' blob:",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "media-src 'self' blob:",
        "font-src 'self' data:",
        "connect-src 'self' data: blob:",
        "object-src 'self' blob:",
        "frame-src 'self' blob:",
        "frame-ancestors 'self'",
        "base-uri 'self'",
        "form-action 'self'",
    )
)
"""What the page may load and ask: its own origin. `{scripts}` are the hashes of the scripts that stand in the page."""

WORKER_POLICY: Final = "default-src 'self' data: blob: 'unsafe-eval'"
"""What a script may that runs as a worker, which is under its own file's policy: decode by WebAssembly, and ask us."""

DATA_SOURCE: Final[dict[str, Any]] = {
    "friendlyName": "harmonygw",
    "name": "harmonygw",
    "qidoSupportsIncludeField": True,
    "supportsFuzzyMatching": True,
    "supportsWildcard": True,
    "supportsReject": False,
    "imageRendering": "wadors",
    "thumbnailRendering": "thumbnail",
    "thumbnailRequestStrategy": "fetch",
    "enableStudyLazyLoad": True,
    "omitQuotationForMultipartRequest": True,
    "singlepart": "bulkdata,video",
    "bulkDataURI": {"enabled": True},
}
"""How OHIF asks this gateway; the three roots are added."""

CONFIGURATION: Final[dict[str, Any]] = {
    "extensions": [],
    "modes": [],
    "customizationService": {},
    "showStudyList": True,
    "maxNumberOfWebWorkers": 3,
    "showWarningMessageForCrossOrigin": False,
    "showCPUFallbackMessage": True,
    "showLoadingIndicator": True,
    "strictZSpacingForVolumeViewport": True,
    "groupEnabledModesFirst": True,
    "maxNumRequests": {"interaction": 100, "thumbnail": 5, "prefetch": 25},
    "defaultDataSourceName": "harmonygw",
}
"""OHIF's settings, but for the path and the data source."""


@dataclass(frozen=True, slots=True)
class _Found:
    """A file as it is served."""

    path: Path
    size: int
    version: str
    """Another one for another content."""
    changed: int
    """When it came to be here, in seconds since the epoch. A package's files keep the date of their packing."""
    places: tuple[int, ...]
    """Offsets of the slashes that the path is put before."""


class ViewerEndpoint(EndpointOverHTTP):
    """One viewer. Raises `ConfigurationError` when its folder has no `index.html`."""

    def __init__(self, context: EndpointContext) -> None:
        super().__init__(context, proceed=context.around(self.respond))
        options = context.settings.options
        self._prefix: str = options.path_prefix
        self._dicomweb_prefix: str = options.dicomweb_prefix
        self._root = Path(options.root).resolve()
        self._known: dict[Path, _Found] = {}
        self._page_path = self._root / PAGE
        if not self._page_path.is_file():
            sentence = f'options.root: there is no {PAGE} in "{options.root}"; `make viewer` gets OHIF'
            raise ConfigurationError((sentence,))
        if self._page_path.stat().st_size > MAX_PAGE_BYTES:
            raise ConfigurationError((f"options.root: its {PAGE} is larger than {MAX_PAGE_BYTES} bytes",))

    def settled(self, arrival: Arrival) -> Settled:
        """Return what is said to another method than GET and HEAD."""
        return unless_allowed(arrival.origin.method, ("GET",), "A viewer's files can only be read.")

    async def respond(self, request: Request) -> Reply:
        """Return a file, the settings, or the page; raises `NotFound`."""
        origin = request.origin
        if not isinstance(origin, HTTPOrigin):
            raise NotFound("A viewer is asked over HTTP.")
        mount = urlsplit(origin.base_url).path
        if origin.path == (SETTINGS,):
            return _whole(self._settings(mount).encode(), ".js")
        found = self._find(origin.path)
        if found is None or found.path == self._page_path:
            return self._page(mount)
        insert = mount.encode() if found.places else b""
        headers = (
            *_headers(found.path.suffix, f'"{found.version}-{crc32(insert):x}"'),
            *_policy_of(found),
            ("Last-Modified", formatdate(found.changed, usegmt=True)),
        )
        if _is_older(found.changed, origin):
            return Reply(304, headers)
        length = found.size + len(insert) * len(found.places)
        return Reply(200, headers, Body(_pieces(found, insert), length=length))

    def _page(self, mount: str) -> Reply:
        page = self._page_path.read_bytes()
        if self._is_movable(page):
            page = ROOTS[".html"].sub(lambda match: match[0][:-1] + mount.encode() + b"/", page)
        return _whole(page, ".html", _page_policy(page))

    def _settings(self, mount: str) -> str:
        """Return OHIF's settings: a script, because the origin is the browser's to know."""
        source = {
            "namespace": "@ohif/extension-default.dataSourcesModule.dicomweb",
            "sourceName": CONFIGURATION["defaultDataSourceName"],
            "configuration": DATA_SOURCE,
        }
        document = {"routerBasename": mount or "/", **CONFIGURATION, "dataSources": [source]}
        # Whatever stands before the viewer's own prefix, an application or a proxy, stands before the service's too.
        before = mount.removesuffix(self._prefix) if mount.endswith(self._prefix) else ""
        path = orjson.dumps(before + self._dicomweb_prefix).decode()
        return (
            f"window.config = {orjson.dumps(document, option=orjson.OPT_INDENT_2).decode()};\n"
            "{\n"
            f"  const root = window.location.origin + {path};\n"
            "  const roots = { qidoRoot: root, wadoRoot: root, wadoUriRoot: root };\n"
            "  Object.assign(window.config.dataSources[0].configuration, roots);\n"
            "}\n"
        )

    def _find(self, segments: tuple[str, ...]) -> _Found | None:
        """Return the file that a path names, None for a page of the application; raises `NotFound`."""
        missing = NotFound("There is no such file of the viewer.")
        if any(segment.startswith(".") or re.search(r"[/\\\x00-\x1f]", segment) for segment in segments):
            raise missing
        try:
            path = self._root.joinpath(*segments).resolve()
            if segments and path.is_relative_to(self._root) and path.is_file():
                return self._look_at(path)
        except OSError:  # a name that no file can have, or one that we may not see
            raise missing from None
        if segments and "." in segments[-1]:
            raise missing
        return None

    def _look_at(self, path: Path) -> _Found:
        status = path.stat()
        version = f"{status.st_ctime_ns:x}-{status.st_size:x}"
        known = self._known.get(path)
        if known is None or known.version != version:
            if len(self._known) >= MAX_KNOWN_FILES:
                self._known.clear()
            places = self._places(path) if status.st_size else ()
            known = _Found(path, status.st_size, version, int(status.st_ctime), places)
            self._known[path] = known
        return known

    def _places(self, path: Path) -> tuple[int, ...]:
        pattern = ROOTS.get(path.suffix)
        if pattern is None or not self._is_movable(self._page_path.read_bytes()):
            return ()
        with path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as content:
            return tuple(match.start(1) for match in pattern.finditer(content))

    def _is_movable(self, page: bytes) -> bool:
        """Whether the files were built for the root; what was built for another path must be served there."""
        built_for = _BUILT_FOR.search(page)
        return built_for is None or built_for[1] == b"/"


def _whole(content: bytes, suffix: str, *more: tuple[str, str]) -> Reply:
    headers = (*_headers(suffix, f'"{sha256(content).hexdigest()[:32]}"'), *more)
    return Reply(200, headers, Body.of(content))


def _headers(suffix: str, etag: str) -> tuple[tuple[str, str], ...]:
    media_type = MEDIA_TYPES.get(suffix.lower(), "application/octet-stream")
    return (("Content-Type", media_type), ("Cache-Control", "no-cache"), ("ETag", etag), *ISOLATION)


def _page_policy(page: bytes) -> tuple[str, str]:
    hashes = (b64encode(sha256(script).digest()).decode() for script in _INLINE_SCRIPT.findall(page))
    scripts = " ".join(f"'sha256-{one}'" for one in hashes)
    return ("Content-Security-Policy", CONTENT_SECURITY_POLICY.format(scripts=scripts))


def _policy_of(found: _Found) -> tuple[tuple[str, str], ...]:
    """Return the policy of another page, as that of a login, and of a script; what else there is runs nothing."""
    suffix = found.path.suffix.lower()
    if suffix in (".html", ".htm"):
        return (_page_policy(found.path.read_bytes() if found.size <= MAX_PAGE_BYTES else b""),)
    return (("Content-Security-Policy", WORKER_POLICY),) if suffix in (".js", ".mjs") else ()


def _is_older(changed: int, origin: HTTPOrigin) -> bool:
    """Whether a client that asks by date alone has this already (RFC 9110 §13.1.3)."""
    since = parsedate_tz(origin.headers.get("if-modified-since", ""))
    return since is not None and "if-none-match" not in origin.headers and changed <= mktime_tz(since)


async def _pieces(found: _Found, insert: bytes) -> AsyncGenerator[Pieces, None]:
    """Read a file a piece at a time, with `insert` before each of its places."""
    with found.path.open("rb") as file:
        for place in found.places:
            while file.tell() < place:
                piece = file.read(min(PIECE_BYTES, place - file.tell()))
                if not piece:
                    return  # it has become shorter; whoever sends it sees that
                yield (piece,)
            yield (insert,)
        while piece := file.read(PIECE_BYTES):
            yield (piece,)
