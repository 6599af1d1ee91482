"""The gateway in a process of its own, with a pipeline to each PACS, and what can be seen of it from outside."""

import http.client
import json
import re
import socket
import sys
import time
from pathlib import Path
from types import TracebackType

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from bench.peers import Peers
from bench.processes import START_SECS, Process, free_port
from bench.wire import READ_SIZE

MAX_ASSOCIATIONS = 4
"""Of each target."""

BRIEF_IDLE_SECS = 0.5
"""Seconds after which a gateway that is asked to lets an association go: Orthanc keeps others waiting when five are
open, and dcmqrscp does not end before its associations have."""

AE_TITLE = "HARMONYGW"
"""Its AE title, called and calling."""

_CONTENT_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")

_CONFIGURATION = """\
[proxy]
id = "bench"

[network.default.http]
bind_address = "127.0.0.1"
bind_port = {port}

[management]
enabled = true
network = "default"
base_path = "admin"
authentication = "bench"

[authentications.bench]
method = "bearer"
options = {{ token = "bench" }}
"""

# Without page memory, every Search is a C-FIND.
_PIPELINE = """
[pipelines.{name}]
networks = ["default"]
endpoints = ["{name}_web"]
middleware = ["{name}_bridge"]
backends = ["{name}_pacs"]

[endpoints.{name}_web]
service = "dicomweb"
options = {{ path_prefix = "/{name}" }}

[middleware.{name}_bridge]
type = "dicomweb_bridge"
options = {{ page_memory_secs = 0 }}

[backends.{name}_pacs]
service = "dicom_scu"
target_ref = "{name}"

[backends.{name}_pacs.options]
aet = "{ae_title}"
local_aet = "{local_aet}"
max_associations = {max_associations}
idle_association_secs = {idle}

[targets.{name}]
connection.host = "127.0.0.1"
connection.port = {pacs_port}
connection.protocol = "dicom"

[pipelines.{name}_cached]
networks = ["default"]
endpoints = ["{name}_cached_web"]
middleware = ["{name}_bridge", "{name}_cache"]
backends = ["{name}_pacs"]

[endpoints.{name}_cached_web]
service = "dicomweb"
options = {{ path_prefix = "/cached/{name}" }}

[pipelines.{name}_dimse]
networks = ["default"]
endpoints = ["{name}_scp"]
backends = ["{name}_pacs"]

[endpoints.{name}_scp]
service = "dicom_scp"

[endpoints.{name}_scp.options]
local_aet = "{local_aet}"
bind_addr = "127.0.0.1"
port = {dicom_port}
enable_find = true
enable_get = true
enable_store = true
max_pdu = 131072

[middleware.{name}_cache]
type = "cache"
options = {{ path = "{folder}/cache-{name}-{port}" }}

[pipelines.{name}_guarded]
networks = ["default"]
endpoints = ["{name}_guarded_web"]
middleware = ["{name}_tokens", "{name}_policies", "{name}_bridge"]
backends = ["{name}_pacs"]

[endpoints.{name}_guarded_web]
service = "dicomweb"
options = {{ path_prefix = "/guarded/{name}" }}

[middleware.{name}_tokens]
type = "jwt_auth"

[middleware.{name}_tokens.options]
public_key_path = "{folder}/issuer.pem"
issuer = "https://issuer"
audience = "gateway"
scopes = "smart"

[middleware.{name}_policies]
type = "policies"
options = {{ policies = ["inside"] }}
"""

_POLICIES = """
[policies.inside]
rules = ["wards", "reading", "services", "viewers", "pace"]

[rules.wards]
type = "ip_allow"
options = { ip_addresses = ["10.0.0.0/8", "192.168.0.0/16", "127.0.0.0/8"] }

[rules.reading]
type = "method"
options = { mode = "allow", methods = ["GET"] }

[rules.services]
type = "path"
options = { mode = "allow", paths = ["/studies/{*path}", "/series", "/instances"] }

[rules.viewers]
type = "header"
options = { mode = "deny", headers = [{ name = "User-Agent", match_type = "contains", value = "crawler" }] }

[rules.pace]
type = "rate_limit"
options = { max_requests = 1000000, window_seconds = 60 }
"""
"""What stands before a guarded pipeline, behind the token: a rule of each kind that hospitals have."""


class Gateway:
    """A running gateway; its pipelines are `/orthanc`, `/dcmqrscp`, `/synthetic`, below `/cached` with a cache, and
    below `/guarded` with policies, and for who has the `token` alone.

    `dicom_ports` are those of a `dicom_scp` in front of each.
    """

    def __init__(self, peers: Peers, *, idle_association_secs: float = 30.0) -> None:
        self.port = free_port()
        self.dicom_ports = {name: free_port() for name in peers.addresses}
        configuration = peers.folder / f"gateway-{self.port}.toml"
        self.token = _token(peers.folder / "issuer.pem")
        """An RS256 JSON Web Token that is good for the guarded pipelines."""
        configuration.write_text(
            _CONFIGURATION.format(port=self.port)
            + _POLICIES
            + "".join(
                _PIPELINE.format(
                    name=name,
                    ae_title=title,
                    local_aet=AE_TITLE,
                    dicom_port=self.dicom_ports[name],
                    pacs_port=port,
                    max_associations=MAX_ASSOCIATIONS,
                    idle=idle_association_secs,
                    folder=peers.folder,
                    port=self.port,
                )
                for name, (title, port) in peers.addresses.items()
            )
        )
        self._process = Process(
            [sys.executable, "-m", "twisted", "harmonygw", "-c", str(configuration)],
            log=configuration.with_suffix(".log"),
        )

    def __enter__(self) -> "Gateway":
        self._process.wait_for_port(self.port)
        deadline = time.monotonic() + START_SECS
        while self.get("/readyz")[0] != 200:
            if time.monotonic() > deadline:
                raise RuntimeError("the gateway does not become ready")
            time.sleep(0.05)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.end()

    def get(self, path: str) -> tuple[int, bytes]:
        """Return status and body of a small reply."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def purge(self, name: str, study: str) -> None:
        """Let the cache of a pipeline forget a study."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            path = f"/admin/middleware/{name}_cache/studies/{study}"
            connection.request("DELETE", path, headers={"Authorization": "Bearer bench"})
            response = connection.getresponse()
            response.read()
            if response.status >= 300:
                raise RuntimeError(f"the cache was not purged: {response.status}")
        finally:
            connection.close()

    # Its memory, as Linux tells it

    def resident(self) -> int:
        """Return its resident memory in bytes."""
        return self._status("VmRSS")

    def resident_peak(self) -> int:
        """Return the most resident memory since `forget_peak`, in bytes."""
        return self._status("VmHWM")

    def descriptors(self) -> int:
        """Return how many descriptors it has open."""
        return len(list(Path(f"/proc/{self._process.pid}/fd").iterdir()))

    def forget_peak(self) -> None:
        """Begin to look for the peak anew (proc(5), `clear_refs`)."""
        Path(f"/proc/{self._process.pid}/clear_refs").write_text("5")

    def _status(self, field: str) -> int:
        for line in Path(f"/proc/{self._process.pid}/status").read_text().splitlines():
            if line.startswith(field + ":"):
                return int(line.split()[1]) * 1024
        raise RuntimeError(f"the system does not tell {field}")


class Search:
    """Searches on one connection that stays open, with as little of a client around them as can be."""

    def __init__(self, gateway: Gateway, path: str, token: str = "") -> None:
        self._connection = socket.create_connection(("127.0.0.1", gateway.port), timeout=60)
        self._connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._path = path
        fields = "Host: 127.0.0.1\r\nAccept: application/dicom+json\r\n"
        if token:
            fields += f"Authorization: Bearer {token}\r\n"
        self._request = f"GET {path} HTTP/1.1\r\n{fields}\r\n".encode()

    def seconds(self, matches: int) -> float:
        """Search, check the number of matches, and return the seconds until the last byte was there."""
        begun = time.perf_counter()
        self._connection.sendall(self._request)
        header, _, body = self._receive(b"").partition(b"\r\n\r\n")
        length = _CONTENT_LENGTH.search(header)
        while length is not None and len(body) < int(length[1]):
            body = self._receive(body)
        ended = time.perf_counter()
        found = json.loads(body)
        if not header.startswith(b"HTTP/1.1 200 ") or len(found) != matches:
            raise RuntimeError(f"{self._path} has {len(found)} matches, not {matches}: {header!r}")
        return ended - begun

    def close(self) -> None:
        self._connection.close()

    def _receive(self, before: bytes) -> bytes:
        data = self._connection.recv(READ_SIZE)
        if not data:
            raise ConnectionError("the gateway closed the connection")
        return before + data


def _token(path: Path) -> str:
    """Write a public key, and return a token that it is the key of."""
    key = rsa.generate_private_key(65537, 2048)
    path.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    claims = {"iss": "https://issuer", "aud": "gateway", "sub": "radiologist", "scope": "openid user/ImagingStudy.rs"}
    return jwt.encode({**claims, "exp": int(time.time()) + 86_400}, key, "RS256")
