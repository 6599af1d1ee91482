"""HTTP requests that are no operations: a body becomes a file, and a file is read back by its name.

What is uploaded is a plain file whatever is in it: it does not become an instance of the archive. All files of one
request get their names at its end, or none of them does.
"""

import sqlite3
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Protocol, TypeVar
from urllib.parse import quote
from uuid import uuid4

import orjson
from multipart import content_disposition_unquote, parse_options_header  # type: ignore[import-untyped]
from twisted.logger import Logger

from harmonygw.backends.storage.archive import Archive
from harmonygw.backends.storage.arrival import StagedFile
from harmonygw.backends.storage.forms import Field, FileBegins, FileEnds, events, is_form
from harmonygw.backends.storage.patterns import ReadPattern, WritePattern, reduced_file_name
from harmonygw.backends.storage.plain_files import NO_SUCH_FILE, PlainFile
from harmonygw.errors import BadRequest, Busy, MethodNotAllowed, NotFound
from harmonygw.exchange import HTTPOrigin, Reply, Request
from harmonygw.streams import Body, Feed, Piece, Pieces

T = TypeVar("T")

log = Logger()

READING: Final = ("GET", "HEAD")
WRITING: Final = ("POST", "PUT")

FULL_DISK_RETRY_SECS: Final = 60
"""Seconds after which a client may try again what the disk did not take: somebody has to make room."""

WRITE_LENGTH: Final = 256 * 1024
"""Bytes that are gathered for one write. Default 256 KiB: less, and going to the thread costs more than writing."""

MEDIA_TYPES: Final[Mapping[str, str]] = {
    "dcm": "application/dicom",
    "gif": "image/gif",
    "jpeg": "image/jpeg",
    "jpg": "image/jpeg",
    "json": "application/json",
    "pdf": "application/pdf",
    "png": "image/png",
    "txt": "text/plain; charset=utf-8",
}
"""By extension, what a file is said to be; any other is application/octet-stream. None of them runs in a browser."""


class Threads(Protocol):
    """Who calls what blocks."""

    def in_thread(self, function: Callable[..., T], *args: Any, **kwargs: Any) -> Awaitable[T]:
        """Call it in a thread."""

    def clean_up(self, close: Callable[[], None]) -> Awaitable[None]:
        """Call what closes or removes something, in a thread as long as there is one."""

    def pieces(self, file: PlainFile) -> Feed[Pieces]:
        """Read a file ahead of its reader, and close it."""


@dataclass(frozen=True, slots=True)
class Taken:
    """A file that has arrived, and has no name of its own yet."""

    staged: StagedFile
    name: str
    """Reduced; empty when its sender gave none."""


class Uploads:
    """The files of one backend over HTTP."""

    def __init__(self, write_pattern: WritePattern, read_pattern: ReadPattern, threads: Threads) -> None:
        self._write_pattern = write_pattern
        self._read_pattern = read_pattern
        self._threads = threads

    async def respond(self, archive: Archive, request: Request, origin: HTTPOrigin) -> Reply:
        """Write the body of a POST or PUT to a file, or read one; raises what `errors` names."""
        request.record.operation = request.record.operation or f"file {origin.method}"
        if origin.method in READING:
            return await self._read(archive, request, origin)
        if origin.method not in WRITING:
            raise MethodNotAllowed("Files are read by GET and written by POST or PUT.", allowed=(*READING, *WRITING))
        if origin.body is None:
            raise BadRequest("There is nothing to store: the request has no body.")
        for name in ("content-encoding", "content-range"):
            if origin.headers.get(name, "identity") != "identity":
                raise BadRequest(f"A body with {name} is not taken: send the whole file as it is.")
        return await self._write(archive, request, origin, origin.body)

    # Writing

    async def _write(self, archive: Archive, request: Request, origin: HTTPOrigin, body: Body) -> Reply:
        content_type = origin.headers.get("content-type", "")
        form = is_form(content_type)
        taken: list[Taken] = []
        fields: dict[str, str] = {}
        try:
            if form:
                await self._take_form(archive, body, content_type, taken, fields)
            else:
                await self._take_body(archive, origin, body, taken)
            values = _Values(request, origin, fields)
            now = datetime.now(UTC)
            files = [
                (one.staged, self._write_pattern.path_of_file(one.name or str(uuid4()), values, now)) for one in taken
            ]
            exactly = origin.method == "PUT" and not form
            named = await self._threads.in_thread(archive.keep_files, files, exactly=exactly)
        except BaseException as error:
            await body.aclose()
            for one in taken:
                await self._threads.clean_up(one.staged.discard)
            if isinstance(error, OSError | sqlite3.Error):
                log.error("cannot store an upload: {error}", error=error)
                raise Busy(
                    "The file cannot be written now.", retry_after=FULL_DISK_RETRY_SECS, log_detail=str(error)
                ) from error
            raise
        return self._stored(origin, form, [(path, one.staged.size) for path, one in zip(named, taken, strict=True)])

    async def _take_body(self, archive: Archive, origin: HTTPOrigin, body: Body, taken: list[Taken]) -> None:
        disposition = origin.headers.get("content-disposition", "")
        given = parse_options_header(disposition, unquote=content_disposition_unquote)[1].get("filename", "")
        name = reduced_file_name(given) or reduced_file_name(origin.path[-1] if origin.path else "")
        writing = _Writing(archive.receive_file(), self._threads)
        taken.append(Taken(writing.staged, name))
        async for pieces in body:
            await writing.add(pieces)
        await writing.end()
        if body.length is not None and writing.staged.size != body.length:
            raise BadRequest(f"The body has {writing.staged.size} bytes instead of {body.length}.")

    async def _take_form(
        self, archive: Archive, body: Body, content_type: str, taken: list[Taken], fields: dict[str, str]
    ) -> None:
        writing: _Writing | None = None
        async for event in events(body, content_type):
            match event:
                case Field(name, value):
                    fields.setdefault(name, value)
                case FileBegins(name):
                    writing = _Writing(archive.receive_file(), self._threads)
                    taken.append(Taken(writing.staged, reduced_file_name(name)))
                case FileEnds():
                    if writing is not None:
                        await writing.end()
                case data:
                    if writing is not None:
                        await writing.add((data,))
        if not taken:
            raise BadRequest("There is nothing to store: the form has no file.")

    def _stored(self, origin: HTTPOrigin, form: bool, files: list[tuple[str, int]]) -> Reply:
        described = [{"file": path, "path": path, "size": size, **self._url(origin, path)} for path, size in files]
        document: dict[str, Any] = {"operation": "store", "success": True, "status": "stored"}
        if len(described) == 1:
            document.update(described[0])
        if form:
            document["files"] = described
        headers = [("Content-Type", "application/json")]
        if "url" in document:
            headers.append(("Location", document["url"]))
        return Reply(201, tuple(headers), Body.of(orjson.dumps(document)))

    def _url(self, origin: HTTPOrigin, path: str) -> dict[str, str]:
        name = self._read_pattern.name_of(path)
        return {} if name is None else {"url": f"{origin.base_url}/{quote(name)}"}

    # Reading

    async def _read(self, archive: Archive, request: Request, origin: HTTPOrigin) -> Reply:
        path = self._read_pattern.path(origin.path, _Values(request, origin, {}))
        if path is None:
            raise NotFound("There is no such file.")
        try:
            file = await self._threads.in_thread(archive.open_file, path)
        except OSError as error:
            if error.errno in NO_SUCH_FILE:
                raise NotFound("There is no such file.") from error
            raise Busy("The file cannot be read now.", log_detail=str(error)) from error
        name = path.rpartition("/")[2]
        headers = (
            ("Content-Type", MEDIA_TYPES.get(name.rpartition(".")[2].lower(), "application/octet-stream")),
            # Whoever may upload must not get a page of his into somebody's browser.
            ("Content-Disposition", f'attachment; filename="{name}"'),
            ("X-Content-Type-Options", "nosniff"),
        )
        return Reply(200, headers, Body(self._threads.pieces(file), length=file.size))


class _Writing:
    """A file that is written as it arrives, a good deal at a time."""

    def __init__(self, staged: StagedFile, threads: Threads) -> None:
        self.staged = staged
        self._threads = threads
        self._gathered: list[Piece] = []
        self._length = 0

    async def add(self, pieces: Pieces) -> None:
        self._gathered += pieces
        self._length += sum(map(len, pieces))
        if self._length >= WRITE_LENGTH:
            await self._write()

    async def end(self) -> None:
        """Bring the file to the disk; one of no bytes, too."""
        await self._write()
        await self._threads.in_thread(self.staged.sync)

    async def _write(self) -> None:
        gathered, self._gathered, self._length = self._gathered, [], 0
        await self._threads.in_thread(self.staged.write, gathered)


class _Values:
    """The values of a pattern's names: of a field of the form, of the middleware's attributes, the query, a header."""

    def __init__(self, request: Request, origin: HTTPOrigin, fields: Mapping[str, str]) -> None:
        self._places: tuple[Mapping[str, Any], ...] = (
            fields,
            request.attributes,
            dict(reversed(origin.query)),
        )
        self._headers = origin.headers

    def __call__(self, keyword: str) -> str:
        for place in self._places:
            value = place.get(keyword)
            if isinstance(value, str | int) and str(value):
                return str(value)
        return self._headers.get(keyword.lower(), "")
