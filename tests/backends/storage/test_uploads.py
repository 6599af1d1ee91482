import errno
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.defer import CancelledError, Deferred

from harmonygw.backends.storage import Storage
from harmonygw.backends.storage.plain_files import NO_LINKS
from harmonygw.errors import (
    BadRequest,
    Busy,
    Conflict,
    HarmonyError,
    Incomplete,
    MethodNotAllowed,
    NotFound,
    TooLarge,
    TransportError,
)
from harmonygw.exchange import HTTPOrigin, Reply, Request
from harmonygw.operations import Level
from harmonygw.streams import Body, Feed, Pieces
from tests.backends.storage.objects import ct, files_below, running, search, store, until

FORM = "multipart/form-data; boundary=XX"


def http(
    method: str,
    path: str = "",
    body: "bytes | Body | None" = None,
    *,
    query: Sequence[tuple[str, str]] = (),
    attributes: dict[str, Any] | None = None,
    **headers: str,
) -> Request:
    origin = HTTPOrigin(
        method,
        tuple(segment for segment in path.split("/") if segment),
        tuple(query),
        {name.replace("_", "-"): value for name, value in headers.items()},
        "http://gateway/files",
        Body.of(body) if isinstance(body, bytes) else body,
    )
    return Request(origin, "127.0.0.1", "id", attributes=attributes or {})


def form(*parts: tuple[str, bytes]) -> bytes:
    """A form; a part is what follows `form-data; `, and its content."""
    written = [b"--XX\r\nContent-Disposition: form-data; " + head.encode() + b"\r\n\r\n" + data for head, data in parts]
    return b"\r\n".join((*written, b"--XX--\r\n"))


async def upload(backend: Storage, *arguments: Any, **more: Any) -> dict[str, Any]:
    reply = await backend.respond(http("POST", *arguments, **more))
    assert reply.status == 201
    document: dict[str, Any] = json.loads(await content(reply))
    assert (document["operation"], document["success"]) == ("store", True)
    headers = dict(reply.headers)
    assert headers["Content-Type"] == "application/json"
    assert headers.get("Location") == document.get("url")
    return document


async def content(reply: Reply) -> bytes:
    assert reply.body is not None
    return b"".join([bytes(piece) async for pieces in reply.body for piece in pieces])


async def fails(backend: Storage, request: Request) -> HarmonyError:
    with pytest.raises(HarmonyError) as failed:
        await backend.respond(request)
    return failed.value


def slowly(*pieces: bytes, error: Exception | None = None) -> tuple[Body, Feed[Pieces], list[BaseException]]:
    """A body of which these pieces have arrived."""
    given_up: list[BaseException] = []
    feed: Feed[Pieces] = Feed(limit=1 << 30, on_abort=given_up.append)
    for piece in pieces:
        feed.put((piece,))
    return Body(feed), feed, given_up


# Writing


@ensureDeferred
async def test_a_body_becomes_a_file_that_is_read_back_by_its_name(tmp_path: Path) -> None:
    async with running(tmp_path) as backend:
        said = await upload(backend, "reports/scan 1.pdf", b"%PDF-1.7 ...")
        reply = await backend.respond(http("GET", "scan_1.pdf"))
        data = await content(reply)
        head = await backend.respond(http("HEAD", "scan_1.pdf"))
        assert head.body is not None
        await head.body.aclose()

    assert said == {
        "operation": "store",
        "success": True,
        "status": "stored",
        "file": "scan_1.pdf",
        "path": "scan_1.pdf",
        "size": 12,
        "url": "http://gateway/files/scan_1.pdf",
    }
    assert data == b"%PDF-1.7 ..."
    assert reply.status == head.status == 200
    assert (
        reply.headers
        == head.headers
        == (
            ("Content-Type", "application/pdf"),
            ("Content-Disposition", 'attachment; filename="scan_1.pdf"'),
            ("X-Content-Type-Options", "nosniff"),
        )
    )
    assert reply.body is not None
    assert reply.body.length == head.body.length == 12
    assert files_below(tmp_path) == ["scan_1.pdf"]


@pytest.mark.parametrize(
    ("path", "disposition", "name"),
    [
        ("a/b.bin", "", r"b\.bin"),
        ("b.bin", 'attachment; filename="c.bin"', r"c\.bin"),
        ("", "", "[0-9a-f-]{36}"),
        ("...", "", "[0-9a-f-]{36}"),
        ("", 'attachment; filename="../../etc/passwd"', "passwd"),
        ("", 'attachment; filename="C:\\\\temp\\\\x.txt"', r"x\.txt"),
        ("x" * 300 + ".json", "", "x{123}[.]json"),
        ("", 'attachment; filename=".htaccess"', "htaccess"),
        ("", 'attachment; filename="a\0\nb.txt"', r"a_b\.txt"),
    ],
)
@ensureDeferred
async def test_a_name_is_what_the_client_gave_and_stays_below_the_root(
    tmp_path: Path, path: str, disposition: str, name: str
) -> None:
    async with running(tmp_path / "root") as backend:
        said = await upload(backend, path, b"x", content_disposition=disposition)
    assert re.fullmatch(name, said["file"])
    assert files_below(tmp_path / "root") == [said["file"]]


@ensureDeferred
async def test_a_pattern_is_made_of_fields_attributes_query_and_headers(tmp_path: Path) -> None:
    pattern = "{PatientID}/{StudyInstanceUID}/{Modality}-{AccessionNumber}-{StudyID}/{timestamp}-{file}"
    async with running(tmp_path, write_pattern=pattern) as backend:
        said = await upload(
            backend,
            "x.bin",
            form(('name="PatientID"', b"../P1"), ('name="file"; filename="y.bin"', b"data")),
            query=[("PatientID", "other"), ("Modality", "CT"), ("Modality", "MR")],
            attributes={"StudyInstanceUID": "1.2", "PatientID": "another", "StudyID": {"no": "text"}},
            content_type=FORM,
            accessionnumber="A 1",
        )
    assert re.fullmatch(r"_P1/1\.2/CT-A_1-_/\d{8}T\d{6}\.\d{6}Z-y\.bin", said["file"])


@ensureDeferred
async def test_each_file_of_a_form_is_kept_whatever_pieces_it_comes_in(tmp_path: Path) -> None:
    files = {"a.txt": b"first\r\n--X", "b.txt": b"", "c.bin": os.urandom(600_000)}
    sent = form(*((f'name="file"; filename="{name}"', data) for name, data in files.items()), ('name="x"', b"1"))
    for size in (1, 7, 65_536):
        pieces = [sent[start : start + size] for start in range(0, len(sent) if size > 1 else 700, size)]
        rest = [sent[700:]] if size == 1 else []
        body, feed, _ = slowly(*pieces, *rest)
        feed.end()
        root = tmp_path / str(size)
        async with running(root) as backend:
            said = await upload(backend, "", body, content_type=FORM)
        assert [(one["file"], one["size"]) for one in said["files"]] == [
            (name, len(data)) for name, data in files.items()
        ]
        assert {name: (root / name).read_bytes() for name in files_below(root)} == files
        assert "file" not in said


@ensureDeferred
async def test_a_form_of_one_file_is_answered_as_a_body_is(tmp_path: Path) -> None:
    async with running(tmp_path) as backend:
        said = await upload(backend, "", form(('name="f"; filename="a.txt"', b"one")), content_type=FORM)
    assert said["files"] == [{"file": "a.txt", "path": "a.txt", "size": 3, "url": "http://gateway/files/a.txt"}]
    assert (said["file"], said["size"]) == ("a.txt", 3)


@ensureDeferred
async def test_names_that_collide_stand_beside_each_other(tmp_path: Path) -> None:
    async with running(tmp_path, write_pattern="{PatientID}/{file}") as backend:
        for data in (b"one", b"two"):
            await upload(backend, "x.txt", data, query=[("PatientID", "P1")])
        # A file lies where a folder would have to be.
        await upload(backend, "P2", b"three", query=[("PatientID", "P1")])
        (tmp_path / "P3").write_bytes(b"somebody's")
        said = await upload(backend, "x.txt", b"four", query=[("PatientID", "P3")])
    names = files_below(tmp_path)
    assert len(names) == 5
    assert {(tmp_path / name).read_bytes() for name in names} == {b"one", b"two", b"three", b"four", b"somebody's"}
    assert re.fullmatch(r"P3-[0-9a-f]{16}/x\.txt", said["file"])
    assert (tmp_path / "P1/x.txt").read_bytes() == b"one"


@ensureDeferred
async def test_put_writes_a_name_once_and_never_over_another_file(tmp_path: Path) -> None:
    async with running(tmp_path) as backend:
        reply = await backend.respond(http("PUT", "x.txt", b"one"))
        assert reply.status == 201
        assert isinstance(await fails(backend, http("PUT", "x.txt", b"two")), Conflict)
    assert {name: (tmp_path / name).read_bytes() for name in files_below(tmp_path)} == {"x.txt": b"one"}


@ensureDeferred
async def test_an_upload_is_no_instance_and_does_not_stand_in_the_way_of_one(tmp_path: Path) -> None:
    async with running(tmp_path) as backend:
        # By its hash, this instance would go into a folder of this name.
        await store(backend, ct())
        [name] = files_below(tmp_path)
        other = tmp_path / "other"
    async with running(other) as backend:
        await upload(backend, name.partition("/")[0], b"no folder")
        assert [result.status for result in await store(backend, ct())] == [0x0000]
        assert len(await search(backend, Level.IMAGE, SOPInstanceUID=("UI", None))) == 1
    assert len(files_below(other)) == 2


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("call", ["write", "fsync", "link"])
@ensureDeferred
async def test_a_disk_that_does_not_take_a_file_leaves_nothing_of_the_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, call: str
) -> None:
    real = getattr(os, call)

    def limited(*arguments: Any) -> Any:
        if call != "write" or len(arguments[1]) > 1:  # the reactor is woken up through a pipe, a byte at a time
            raise OSError(code, os.strerror(code))
        return real(*arguments)

    sent = form(('name="f"; filename="a.txt"', b"one"), ('name="f"; filename="b.txt"', b"two"))
    async with running(tmp_path, write_pattern="in/{file}") as backend:
        with monkeypatch.context() as patch:
            patch.setattr(os, call, limited)
            failure = await fails(backend, http("POST", "", sent, content_type=FORM))
        assert isinstance(failure, Busy)
        assert (failure.retry_after, files_below(tmp_path), (tmp_path / "in").exists()) == (60, [], False)
        await upload(backend, "", sent, content_type=FORM)
    assert files_below(tmp_path) == ["in/a.txt", "in/b.txt"]


@ensureDeferred
async def test_when_the_second_file_of_a_form_gets_no_name_the_first_one_loses_its(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link, linked = os.link, []

    def once(*arguments: Any) -> None:
        linked.append(arguments)
        if len(linked) > 1:
            raise OSError(errno.ENOSPC, "full")
        link(*arguments)

    monkeypatch.setattr(os, "link", once)
    sent = form(('name="f"; filename="a.txt"', b"one"), ('name="f"; filename="b.txt"', b"two"))
    async with running(tmp_path) as backend:
        assert isinstance(await fails(backend, http("POST", "", sent, content_type=FORM)), Busy)
    assert (len(linked), files_below(tmp_path)) == (2, [])


@pytest.mark.parametrize("code", sorted(NO_LINKS))
@ensureDeferred
async def test_a_file_system_without_links_has_uploads_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def refuse(*arguments: Any) -> None:
        raise OSError(code, "no links")

    monkeypatch.setattr(os, "link", refuse)
    async with running(tmp_path) as backend:
        await upload(backend, "x", b"one")
        await upload(backend, "x", b"two")
    assert {(tmp_path / name).read_bytes() for name in files_below(tmp_path)} == {b"one", b"two"}
    assert len(files_below(tmp_path)) == 2


@pytest.mark.parametrize(
    ("error", "raised"), [(TransportError("gone"), TransportError), (TooLarge("too long"), TooLarge)]
)
@pytest.mark.parametrize("content_type", ["application/octet-stream", FORM])
@ensureDeferred
async def test_an_upload_that_breaks_off_leaves_nothing(
    tmp_path: Path, error: Exception, raised: type[Exception], content_type: str
) -> None:
    begun = form(('name="f"; filename="a"', b"x" * 300_000), ('name="f"; filename="b"', b"y" * 300_000))[:-100]
    body, feed, _ = slowly(begun)
    async with running(tmp_path) as backend:
        replying = Deferred.fromCoroutine(backend.respond(http("POST", "x", body, content_type=content_type)))
        await until(lambda: len(files_below(tmp_path)) > (content_type == FORM))
        feed.fail(error)
        with pytest.raises(raised):
            await replying
        assert files_below(tmp_path) == []


@ensureDeferred
async def test_an_upload_whose_client_goes_away_leaves_nothing(tmp_path: Path) -> None:
    body, _, given_up = slowly(b"x" * 300_000)
    async with running(tmp_path) as backend:
        replying = Deferred.fromCoroutine(backend.respond(http("POST", "x", body)))
        await until(lambda: files_below(tmp_path) != [])
        replying.cancel()
        with pytest.raises(CancelledError):
            await replying
        await until(lambda: files_below(tmp_path) == [])
    assert len(given_up) == 1


@ensureDeferred
async def test_a_body_of_another_length_than_announced_is_no_file(tmp_path: Path) -> None:
    body, feed, _ = slowly(b"short")
    body.length = 6
    feed.end()
    async with running(tmp_path) as backend:
        assert isinstance(await fails(backend, http("POST", "x", body)), BadRequest)
        assert files_below(tmp_path) == []


@pytest.mark.parametrize(
    ("request_", "kind", "says"),
    [
        (http("POST", "x"), BadRequest, "no body"),
        (http("POST", "x", b"x", content_encoding="gzip"), BadRequest, "content-encoding"),
        (http("PUT", "x", b"x", content_range="bytes 0-0/2"), BadRequest, "content-range"),
        (http("DELETE", "x"), MethodNotAllowed, "GET"),
        (http("PATCH", "x", b"x"), MethodNotAllowed, "GET"),
        (http("POST", "", form(('name="x"', b"1")), content_type=FORM), BadRequest, "no file"),
        (http("POST", "", b"junk", content_type="multipart/form-data"), BadRequest, "boundary"),
        (
            http("POST", "", b"--XX\r\nContent-Type: text/plain\r\n\r\nx\r\n--XX--", content_type=FORM),
            BadRequest,
            "read",
        ),
        (http("POST", "", form(('name="f"; filename="a"', b"x"))[:-8], content_type=FORM), BadRequest, "whole"),
        (http("POST", "", b"--YY--\r\n", content_type=FORM), BadRequest, "whole"),
    ],
)
@ensureDeferred
async def test_what_cannot_be_stored_is_said_and_nothing_is_left(
    tmp_path: Path, request_: Request, kind: type[Exception], says: str
) -> None:
    async with running(tmp_path) as backend:
        failure = await fails(backend, request_)
        assert files_below(tmp_path) == []
    assert isinstance(failure, kind)
    assert says in failure.detail


@pytest.mark.parametrize(
    ("limit", "parts", "fits"),
    [
        ("MAX_PARTS", [('name="f"; filename="a"', b"x")] * 3, True),
        ("MAX_PARTS", [('name="f"; filename="a"', b"x")] * 4, False),
        ("MAX_FIELD_LENGTH", [('name="x"', b"123"), ('name="f"; filename="a"', b"xxxx")], True),
        ("MAX_FIELD_LENGTH", [('name="x"', b"1234"), ('name="f"; filename="a"', b"x")], False),
        ("MAX_FIELDS_LENGTH", [('name="x"', b"12"), ('name="f"; filename="a"', b"xxxx")], True),
        ("MAX_FIELDS_LENGTH", [('name="x"', b"1"), ('name="y"', b"2"), ('name="f"; filename="a"', b"x")], False),
    ],
)
@ensureDeferred
async def test_a_form_has_its_limits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, parts: list[tuple[str, bytes]], fits: bool
) -> None:
    monkeypatch.setattr(f"harmonygw.backends.storage.forms.{limit}", 3)
    async with running(tmp_path) as backend:
        if fits:
            await upload(backend, "", form(*parts), content_type=FORM)
        else:
            assert isinstance(await fails(backend, http("POST", "", form(*parts), content_type=FORM)), TooLarge)
            assert files_below(tmp_path) == []


@ensureDeferred
async def test_what_comes_after_a_form_is_not_read_as_one(tmp_path: Path) -> None:
    body, feed, _ = slowly(form(('name="f"; filename="a"', b"x")), b"\r\n", b"--XX junk")
    feed.end()
    async with running(tmp_path) as backend:
        assert (await upload(backend, "", body, content_type=FORM))["size"] == 1


# Reading


@pytest.mark.parametrize(
    "path",
    [
        "", "missing", "..", "../secret", "in/../../secret", ".harmonygw/index.sqlite3", "in", "fifo", "link", "a\0b",
        "x" * 300, "%2e%2e/secret", "loop", "in/a.txt/b", "folder-link/secret",
    ],
)  # fmt: skip
@ensureDeferred
async def test_a_name_that_no_file_below_the_root_has_is_not_found(tmp_path: Path, path: str) -> None:
    root = tmp_path / "root"
    (root / "in").mkdir(parents=True)
    (root / "in" / "a.txt").write_bytes(b"a")
    (tmp_path / "secret").write_bytes(b"secret")
    (root / "link").symlink_to(tmp_path / "secret")
    (root / "folder-link").symlink_to(tmp_path)
    (root / "loop").symlink_to(root / "loop")
    os.mkfifo(root / "fifo")
    async with running(root) as backend:
        assert isinstance(await fails(backend, http("GET", path)), NotFound)
        assert await content(await backend.respond(http("GET", "in/a.txt"))) == b"a"


@ensureDeferred
async def test_a_read_pattern_says_where_names_lead(tmp_path: Path) -> None:
    async with running(tmp_path, write_pattern="in/{file}.bin", read_pattern="in/{file}.bin") as backend:
        said = await upload(backend, "x", b"data")
        assert (said["file"], said["url"]) == ("in/x.bin", "http://gateway/files/x")
        assert await content(await backend.respond(http("GET", "x"))) == b"data"
    async with running(tmp_path, write_pattern="{PatientID}/{file}", read_pattern="{PatientID}/{file}") as backend:
        said = await upload(backend, "y", b"more", query=[("PatientID", "P1")])
        assert "url" not in said
        assert await content(await backend.respond(http("GET", "y", query=[("PatientID", "P1")]))) == b"more"
        assert isinstance(await fails(backend, http("GET", "y")), NotFound)


@ensureDeferred
async def test_what_runs_in_a_browser_is_given_as_bytes(tmp_path: Path) -> None:
    async with running(tmp_path) as backend:
        await upload(backend, "page.html", b"<script>")
        reply = await backend.respond(http("GET", "page.html"))
        await content(reply)
    assert dict(reply.headers)["Content-Type"] == "application/octet-stream"


@ensureDeferred
async def test_a_file_that_shrinks_while_it_is_read_never_looks_whole(tmp_path: Path) -> None:
    async with running(tmp_path) as backend:
        (tmp_path / "large").write_bytes(bytes(4_000_000))
        reply = await backend.respond(http("GET", "large"))
        os.truncate(tmp_path / "large", 1_000_000)
        with pytest.raises(Incomplete):
            await content(reply)


@ensureDeferred
async def test_a_reader_that_gives_up_leaves_no_descriptor(tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(bytes(4_000_000))
    async with running(tmp_path) as backend:
        before = len(os.listdir("/proc/self/fd"))
        reply = await backend.respond(http("GET", "large"))
        assert reply.body is not None
        await reply.body.__anext__()
        await reply.body.aclose()
        await until(lambda: len(os.listdir("/proc/self/fd")) <= before)


@ensureDeferred
async def test_a_file_that_may_not_be_read_is_not_said_to_be_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(root: Path, path: str) -> None:
        raise PermissionError(errno.EACCES, "no")

    async with running(tmp_path) as backend:
        monkeypatch.setattr("harmonygw.backends.storage.archive.PlainFile", refuse)
        assert isinstance(await fails(backend, http("GET", "x")), Busy)
