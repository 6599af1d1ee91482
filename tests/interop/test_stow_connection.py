"""The connection that a Store comes over: it breaks off, stalls, goes on too long, waits to be invited, or goes on."""

import gc
import resource
from pathlib import Path

import orjson
import pytest
from pytest_twisted import ensureDeferred

from tests.interop.embedded import image
from tests.interop.stow import BOUNDARY, JSON, MULTIPART, Archive, file_of, head, multipart, on_disk, related, wait

pytestmark = pytest.mark.interop


@ensureDeferred
async def test_a_client_that_goes_away_leaves_nothing_unfinished(tmp_path: Path) -> None:
    body = multipart(*(file_of(image(number, PixelData=bytes(500_000))) for number in (1, 2)))
    async with Archive(tmp_path) as archive:
        client = await archive.connect()
        client.transport.write(head(len(body)) + body[:700_000])
        await archive.until(lambda: on_disk(archive))
        client.transport.abortConnection()
        await archive.until(lambda: archive.exchanges)
        assert archive.exchanges[0]["outcome"] == "client_gone"
        await archive.until(lambda: not archive.unfinished())
        assert list(on_disk(archive)) == ["1.2.3.1"]
        await archive.audited(
            "Begin 0", "Transferred 0", "Transferred 4", users=("127.0.0.1", "storing", "archive"), instances=1
        )


@pytest.mark.parametrize("json", [False, True])
@ensureDeferred
async def test_a_body_that_stalls_is_408_and_nothing_is_left(tmp_path: Path, json: bool) -> None:
    body = multipart(*(file_of(image(number, PixelData=bytes(500_000))) for number in (1, 2)))
    content_type = MULTIPART
    if json:
        body = related((b"[]", {"Content-Type": "application/dicom+json"}), (bytes(900_000), {"Content-Type": "a/b"}))
        content_type = JSON
    async with Archive(tmp_path, limits="body_timeout_secs = 0.4") as archive:
        client = await archive.connect()
        client.transport.write(head(len(body), content_type=content_type) + body[:700_000])
        if json:
            await archive.until(archive.open_files)
        reply = await client.reply()
        assert (reply.status, reply.headers["connection"]) == (408, "close")
        detail = reply.problem["detail"]
        assert "body_timeout_secs" in detail
        assert ("1 instance had been stored by then" in detail) is not json
        assert len(on_disk(archive)) == (0 if json else 1)
        await archive.audited(*(["Accessed 4"] if json else ["Begin 0", "Transferred 0", "Transferred 4"]))


@pytest.mark.parametrize("chunked", [False, True])
@ensureDeferred
async def test_a_body_over_the_limit_is_413_and_the_client_gets_to_see_it(tmp_path: Path, chunked: bool) -> None:
    body = multipart(*(file_of(image(number, PixelData=bytes(500_000))) for number in (1, 2, 3)))
    async with Archive(tmp_path, limits="max_request_bytes = 800000") as archive:
        client = await archive.connect()
        if chunked:
            client.transport.write(head(0).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked"))
            client.transport.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body))
        else:
            client.transport.write(head(len(body)) + body)
        reply = await client.reply()
        assert (reply.status, reply.headers["connection"], reply.whole) == (413, "close", True)
        assert "800000 bytes" in reply.problem["detail"]
        assert ("1 instance had been stored by then" in reply.problem["detail"]) is chunked
        assert list(on_disk(archive)) == (["1.2.3.1"] if chunked else [])
        await archive.audited(*(["Begin 0", "Transferred 0", "Transferred 4"] if chunked else ["Accessed 4"]))


@ensureDeferred
async def test_a_refusal_in_the_middle_of_a_body_is_seen(tmp_path: Path) -> None:
    async with Archive(tmp_path) as archive:
        client = await archive.connect()
        client.transport.write(head(5_000_000, content_type="image/png") + bytes(600_000))
        reply = await client.reply()
        assert (reply.status, reply.headers["connection"], reply.whole) == (415, "close", True)


@pytest.mark.parametrize(
    ("option", "parts"),
    [
        ("store_metadata_bytes", [(b" " * 2000, "application/dicom+json")]),
        ("store_bulk_bytes", [(b"[]", "application/dicom+json"), (bytes(2000), "application/octet-stream")]),
    ],
)
@ensureDeferred
async def test_what_has_to_wait_has_limits(tmp_path: Path, option: str, parts: list[tuple[bytes, str]]) -> None:
    body = related(*((content, {"Content-Type": media_type}) for content, media_type in parts))
    async with Archive(tmp_path, options=f"{option} = 1999") as archive:
        status, _, content = await archive.post(body, JSON)
        assert (status, option in orjson.loads(content)["detail"]) == (413, True)
    (tmp_path / "again").mkdir()
    async with Archive(tmp_path / "again", options=f"{option} = 2000") as archive:
        status, _, content = await archive.post(body, JSON)
        assert status in (400, 409)


@ensureDeferred
async def test_a_client_that_waits_is_invited_once_its_header_is_right(tmp_path: Path) -> None:
    body = multipart(file_of(image()))
    async with Archive(tmp_path) as archive:
        client = await archive.connect()
        client.transport.write(head(len(body), "Expect: 100-continue", "Connection: close"))
        await client.bytes_received(20)
        assert bytes(client.received) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.received.clear()
        client.transport.write(body)
        assert (await client.reply()).status == 200
        client = await archive.connect()
        client.transport.write(head(len(body), "Expect: 100-continue", content_type="image/png"))
        assert (await client.reply()).status == 415


@ensureDeferred
async def test_the_connection_serves_the_next_request_too(tmp_path: Path) -> None:
    body = multipart(file_of(image())) + b"an epilogue"
    async with Archive(tmp_path) as archive:
        client = await archive.connect()
        client.transport.write(head(len(body)) + body)
        client.transport.write(head(len(body), "Connection: close") + body)
        await client.ended
        assert bytes(client.received).count(b"HTTP/1.1 200 OK") == 2


@ensureDeferred
async def test_a_hundred_thousand_parts_do_not_grow_memory(tmp_path: Path) -> None:
    part = b"--%b\r\nContent-Type: application/dicom\r\n\r\nx\r\n" % BOUNDARY.encode()
    count = 100_000
    async with Archive(tmp_path) as archive:
        client = await archive.connect()
        client.transport.write(head(len(part) * count + len(BOUNDARY) + 4, "Connection: close"))
        gc.collect()
        before, most, spooled = resident(), 0, False
        for _ in range(count // 1000):
            client.transport.write(part * 1000)
            while client.transport.dataBuffer or client.transport._tempDataBuffer:
                await wait(0)  # what the client holds itself is not the gateway's
            most = max(most, resident() - before)
        client.transport.write(f"--{BOUNDARY}--".encode())
        while not client.received:
            await wait(0)
            most, spooled = max(most, resident() - before), spooled or bool(archive.open_files())
        assert spooled
        reply = await client.reply()
        assert (reply.status, reply.content.count(b'"Value":[49152]')) == (409, count)
        assert most < 16 * 1024 * 1024


def resident() -> int:
    with open("/proc/self/statm", encoding="ascii") as statm:
        return int(statm.read().split()[1]) * resource.getpagesize()
