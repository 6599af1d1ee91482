"""STOW-RS through C-STORE: the gateway in front of another DICOM archive, both in this process, on real sockets."""

from pathlib import Path

import pytest
from orjson import dumps
from pytest_twisted import ensureDeferred

from tests.interop.embedded import AE_TITLE, embedded_pacs, encoded, image
from tests.interop.stow import JSON, MULTIPART, Archive, Module, file_of, head, model, multipart, on_disk, related

pytestmark = pytest.mark.interop

BACKEND = """
[backends.archive]
service = "dicom_scu"
[backends.archive.options]
host = "127.0.0.1"
port = {port}
aet = "{aet}"
local_aet = "HARMONYGW"
"""


def stored(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.dcm"))


@ensureDeferred
async def test_what_is_stored_is_with_the_pacs(tmp_path: Path) -> None:
    images = [image(number, PixelData=bytes(100_000)) for number in range(1, 21)]
    async with embedded_pacs(tmp_path / "pacs") as pacs:
        backend = BACKEND.format(port=pacs.port, aet=AE_TITLE)
        async with Archive(tmp_path, backend=backend) as gateway:
            status, _, content = await gateway.post(
                multipart(*map(file_of, images), file_of(image(99))[:-2]), MULTIPART, path="/studies/1.2", chunks=65_536
            )
            module = Module(content)
            assert (status, len(module.stored), module.failed) == (202, 20, {"1.2.3.99": 0xC000})
            back, data = await gateway.get(
                "/studies/1.2", 'multipart/related; type="application/dicom"; transfer-syntax=*'
            )
            assert back == 200
            assert all(encoded(one) in data for one in images)
        assert len(stored(tmp_path / "pacs")) == 20


@ensureDeferred
async def test_metadata_and_bulk_data_reach_the_pacs_as_one_object(tmp_path: Path) -> None:
    one = model(image())
    one["7FE00010"] = {"vr": "OW", "BulkDataURI": "pixels"}
    body = related(
        (b"[%b]" % dumps(one), {"Content-Type": "application/dicom+json"}),
        (bytes(400_000), {"Content-Type": "application/octet-stream", "Content-Location": "pixels"}),
    )
    async with embedded_pacs(tmp_path / "pacs") as pacs:
        async with Archive(tmp_path, backend=BACKEND.format(port=pacs.port, aet=AE_TITLE)) as gateway:
            status, _, content = await gateway.post(body, JSON)
            assert (status, Module(content).stored) == (200, ["1.2.3.1"])
        (file,) = stored(tmp_path / "pacs")
        assert file.stat().st_size > 400_000


@ensureDeferred
async def test_a_client_that_goes_away_in_an_instance_leaves_the_pacs_without_it(tmp_path: Path) -> None:
    body = multipart(*(file_of(image(number, PixelData=bytes(900_000))) for number in (1, 2)))
    async with embedded_pacs(tmp_path / "pacs") as pacs:
        async with Archive(tmp_path, backend=BACKEND.format(port=pacs.port, aet=AE_TITLE)) as gateway:
            client = await gateway.connect()
            client.transport.write(head(len(body)) + body[:1_500_000])
            await gateway.until(lambda: stored(tmp_path / "pacs"))
            client.transport.abortConnection()
            await gateway.until(lambda: gateway.exchanges)
            assert gateway.exchanges[0]["outcome"] == "client_gone"
            status, _, content = await gateway.post(multipart(file_of(image(3))), MULTIPART)
            assert (status, Module(content).stored) == (200, ["1.2.3.3"])
        assert len(stored(tmp_path / "pacs")) == 2
        await gateway.until(lambda: not list((tmp_path / "pacs").rglob("*.part")))


@ensureDeferred
async def test_a_body_that_stalls_in_an_instance_leaves_the_pacs_without_it(tmp_path: Path) -> None:
    body = multipart(*(file_of(image(number, PixelData=bytes(900_000))) for number in (1, 2)))
    async with embedded_pacs(tmp_path / "pacs") as pacs:
        backend = BACKEND.format(port=pacs.port, aet=AE_TITLE)
        async with Archive(tmp_path, limits="body_timeout_secs = 0.5", backend=backend) as gateway:
            client = await gateway.connect()
            client.transport.write(head(len(body)) + body[:1_500_000])
            reply = await client.reply()
            assert (reply.status, "1 instance had" in reply.problem["detail"]) == (408, True)
        assert len(stored(tmp_path / "pacs")) == 1
        await gateway.until(lambda: not list((tmp_path / "pacs").rglob("*.part")))


@ensureDeferred
async def test_a_pacs_that_cannot_be_reached_has_stored_nothing(tmp_path: Path) -> None:
    async with embedded_pacs(tmp_path / "pacs") as pacs:
        port = pacs.port
    async with Archive(tmp_path, backend=BACKEND.format(port=port, aet=AE_TITLE)) as gateway:
        status, _, content = await gateway.post(multipart(file_of(image())), MULTIPART)
        assert status in (409, 502)
        assert b"00081199" not in content
        assert on_disk(gateway) == {}
