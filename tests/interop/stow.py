"""The whole gateway with an archive of its own, in this process; and clients that store into it."""

import gc
import json
import os
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.protocol import Factory
from twisted.internet.task import deferLater

from harmonygw.config.loading import load
from harmonygw.dicom.dataset.json_encoding import to_json
from harmonygw.dicom.dataset.part10 import file_header, read_file_meta
from harmonygw.service import Gateway, available
from tests.interop.aftermath import Aftermath, Audited
from tests.interop.embedded import EXPLICIT, encoded
from tests.interop.house import Client
from tests.interop.processes import free_port

reactor: Any = _reactor

CONFIGURATION = """
[proxy]
id = "storing"
drain_timeout_secs = 0

[network.default.http]
bind_address = "127.0.0.1"
bind_port = {port}

[network.default.limits]
{limits}

[pipelines.web]
networks = ["default"]
endpoints = ["dicomweb"]
middleware = {middleware}
backends = ["archive"]

[endpoints.dicomweb]
service = "dicomweb"
options = {{ path_prefix = "/dicom" }}

[middleware.bridge]
type = "dicomweb_bridge"
options = {{ spool_path = "{spool}"{options} }}

[middleware.cache]
type = "cache"
options = {{ path = "{cache}" }}

"""

STORAGE = """
[backends.archive]
service = "storage"
options = {{ root = "{root}" }}
"""


class Archive:
    """A running gateway in front of the `storage` backend, unless another one is given.

    Leaving it asserts that nothing is left: no file of a spool, no unfinished instance, no failure in the log.
    """

    def __init__(
        self, folder: Path, *, limits: str = "", options: str = "", cache: bool = False, backend: str = STORAGE
    ) -> None:
        self.port = free_port()
        self.root = folder / "archive"
        self.spool = folder / "spool"
        self.spool.mkdir()
        self.aftermath = Aftermath()
        main = folder / "config.toml"
        main.write_text(
            (CONFIGURATION + backend).format(
                port=self.port,
                limits=limits,
                options=f", {options}" if options else "",
                middleware='["bridge", "cache"]' if cache else '["bridge"]',
                spool=self.spool,
                root=self.root,
                cache=folder / "cache",
            )
        )
        self.gateway = Gateway(
            load(main, environ={}, available=available()), reactor, audit_repository=self.aftermath.audit
        )

    async def __aenter__(self) -> "Archive":
        self.aftermath.begin()
        self.gateway.startService()
        await self.gateway.when_ready()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            await self.until(lambda: not self.open_files())
        await self.gateway.stopService()
        self.aftermath.stop()
        if kind is None:
            await self.aftermath.end()
            assert list(self.spool.iterdir()) == []
            assert self.unfinished() == []

    @property
    def audited(self) -> Audited:
        """Assert what the audit trail tells: see `Aftermath.audited`."""
        return self.aftermath.audited

    @property
    def exchanges(self) -> list[dict[str, Any]]:
        """Those of this archive, and not of another one that runs beside it."""
        return [one for one in self.aftermath.exchanges if one.get("path", "").startswith("/studies")]

    def unfinished(self) -> list[Path]:
        """Files of the archive that hold no instance."""
        return [path for path in self.root.rglob("*") if path.is_file() and "incoming" in path.parts]

    def open_files(self) -> list[str]:
        """Temporary files of the spool that are open still, though they have no names."""
        found = []
        for one in os.listdir("/proc/self/fd"):
            try:
                target = os.readlink(f"/proc/self/fd/{one}")
            except OSError:
                continue
            if target.startswith(str(self.spool)):
                found.append(target)
        return found

    async def until(self, condition: Any) -> None:
        for _ in range(200):
            if condition():
                return
            gc.collect(0)
            await deferLater(reactor, 0.02)
        raise AssertionError("it never came about")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/dicom"

    async def connect(self) -> Client:
        factory = Factory.forProtocol(Client)
        factory.noisy = False
        client: Any = await TCP4ClientEndpoint(reactor, "127.0.0.1", self.port).connect(factory)
        return client  # type: ignore[no-any-return]

    async def post(
        self, body: bytes, content_type: str, *fields: str, path: str = "/studies", chunks: int = 0
    ) -> tuple[int, dict[str, str], bytes]:
        """Send a request at once; return the status, header and content of its answer."""
        client = await self.connect()
        framing = "Transfer-Encoding: chunked" if chunks else f"Content-Length: {len(body)}"
        head = (f"POST /dicom{path} HTTP/1.1", "Host: gateway", f"Content-Type: {content_type}", framing, *fields)
        client.transport.write("\r\n".join((*head, "Connection: close", "", "")).encode())
        if chunks:
            pieces = [body[start : start + chunks] for start in range(0, len(body), chunks)]
            client.transport.write(b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n")
        else:
            client.transport.write(body)
        reply = await client.reply()
        assert reply.whole
        return reply.status, reply.headers, reply.content

    async def get(self, path: str, accept: str = "*/*") -> tuple[int, bytes]:
        """Ask for a resource; return status and content."""
        client = await self.connect()
        client.request(f"/dicom{path}", accept)
        reply = await client.reply()
        return reply.status, reply.content


BOUNDARY = "a-boundary-of-thirty-characters"
JSON = f'multipart/related; type="application/dicom+json"; boundary={BOUNDARY}'
XML = f'multipart/related; type="application/dicom+xml"; boundary={BOUNDARY}'
MULTIPART = f'multipart/related; type="application/dicom"; boundary={BOUNDARY}'


def multipart(*parts: bytes, content_type: str = "application/dicom", boundary: str = BOUNDARY) -> bytes:
    """A body of parts that are all of one type."""
    return related(*((part, {"Content-Type": content_type}) for part in parts), boundary=boundary)


def related(*parts: tuple[bytes, dict[str, str]], boundary: str = BOUNDARY) -> bytes:
    """A body of parts with header fields of their own."""
    made = []
    for content, fields in parts:
        header = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        made.append(b"--%b\r\n%b\r\n%b\r\n" % (boundary.encode(), header.encode(), content))
    return b"".join(made) + b"--%b--\r\n" % boundary.encode()


def file_of(data_set: Dataset, transfer_syntax_uid: str = EXPLICIT) -> bytes:
    """A data set as a DICOM file."""
    return file_header(data_set.SOPClassUID, data_set.SOPInstanceUID, transfer_syntax_uid) + encoded(
        data_set, transfer_syntax_uid
    )


class Module:
    """The Store Instances Response Module of an answer."""

    def __init__(self, content: bytes | str) -> None:
        self.document: dict[str, Any] = json.loads(content)
        self.retrieve_url = self.document["00081190"].get("Value", [None])[0]
        self.stored = [_value(item, "00081155") for item in self._items("00081199")]
        self.urls = [_value(item, "00081190") for item in self._items("00081199")]
        self.failed = {_value(item, "00081155"): _value(item, "00081197") for item in self._items("00081198")}
        self.other = [_value(item, "00081197") for item in self._items("0008119A")]

    def _items(self, tag: str) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = self.document.get(tag, {"Value": []})["Value"]
        return items


def _value(item: dict[str, Any], tag: str) -> Any:
    (value,) = item[tag]["Value"]
    return value


async def wait(seconds: float) -> None:
    waited: Deferred[None] = deferLater(reactor, seconds)
    await waited


def on_disk(archive: Archive) -> dict[str, tuple[str, bytes]]:
    """SOP Instance UID to transfer syntax and data set of everything that the archive keeps."""
    found = {}
    for path in archive.root.rglob("*"):
        data = path.read_bytes() if path.is_file() and path.suffix == ".dcm" else b""
        meta = read_file_meta(data) if data else None
        if meta is not None:
            found[meta.sop_instance_uid] = (meta.transfer_syntax_uid, data[meta.data_set_offset :])
    return found


def head(body_bytes: int, *fields: str, content_type: str = MULTIPART) -> bytes:
    """The header of a Store, with a body of so many bytes."""
    lines = ("POST /dicom/studies HTTP/1.1", "Host: gateway", f"Content-Type: {content_type}")
    return "\r\n".join((*lines, f"Content-Length: {body_bytes}", *fields, "", "")).encode()


def model(data_set: Dataset) -> dict[str, Any]:
    """A data set in the DICOM JSON model, its bulk data inline."""
    return to_json(encoded(data_set), EXPLICIT, bulk_threshold=10**9)
