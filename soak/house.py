"""What is soaked: the gateway in a process of its own, and what of it can be counted from outside."""

import json
import os
import signal
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench.processes import Process, free_port

AE_TITLE: Final = "HARMONYGW"

USER: Final = "doctor"
SPOOL_BYTES: Final = 2 * 1024 * 1024
"""Of the audit trail's spool: what would not leave it would soon be 503."""

PASSWORD: Final = "soaked"

IDLE_SECS: Final = 2
"""Seconds after which an idle association, or HTTP connection, is let go: none is left at the end."""

_CONFIGURATION: Final = """\
[proxy]
id = "soak"

[network.default.http]
bind_address = "127.0.0.1"
bind_port = {port}

[network.default.limits]
header_timeout_secs = 3
body_timeout_secs = 3
write_timeout_secs = 3
keepalive_timeout_secs = {idle}

[management]
enabled = true
network = "default"
authentication = "operator"

[authentications.operator]
method = "basic"
options = {{ username = "{user}", password = "{password}" }}

[audit]
enabled = true
transport = "file"
path = "{folder}/audit.log"
spool_path = "{folder}/audit"
max_spool_bytes = {spool}
fail_closed = true

[storage]
options = {{ path = "{folder}/storage" }}

[pipelines.web]
networks = ["default"]
endpoints = ["dicomweb", "scp"]
middleware = ["bridge"]
backends = ["pacs"]

[pipelines.cached]
networks = ["default"]
endpoints = ["cached_dicomweb"]
middleware = ["users", "guard", "bridge", "cache"]
backends = ["pacs"]

[middleware.users]
type = "basic_auth"
options = {{ username = "{user}", password = "{password}" }}

[middleware.guard]
type = "policies"
options = {{ policies = ["forbidden"] }}

[policies.forbidden]
rules = ["forbidden"]

[rules.forbidden]
type = "query_parameter"
options = {{ mode = "deny", parameters = [{{ name = "forbidden", value = "1" }}] }}

[authorizations.doctor]
principals = ["{user}"]
keys = {{ PatientID = {patients} }}
pipelines = ["cached"]

[pipelines.archive]
networks = ["default"]
endpoints = ["archive_dicomweb"]
middleware = ["bridge"]
backends = ["archive"]

[endpoints.dicomweb]
service = "dicomweb"
options = {{ path_prefix = "/web" }}

[endpoints.cached_dicomweb]
service = "dicomweb"
options = {{ path_prefix = "/cached" }}

[endpoints.archive_dicomweb]
service = "dicomweb"
options = {{ path_prefix = "/archive" }}

[endpoints.scp]
service = "dicom_scp"

[endpoints.scp.options]
local_aet = "{ae_title}"
bind_addr = "127.0.0.1"
port = {dicom_port}
enable_find = true
enable_get = true
enable_store = true

[middleware.bridge]
type = "dicomweb_bridge"

[middleware.cache]
type = "cache"
options = {{ path = "{folder}/cache", max_bytes = 20000000, revalidate_secs = 1 }}

[backends.archive]
service = "storage"

[backends.pacs]
service = "dicom_scu"
target_ref = "pacs"
timeout_secs = 2
max_retries = 1

[backends.pacs.options]
aet = "PACS"
local_aet = "{ae_title}"
idle_association_secs = {idle}
connect_timeout_secs = 1
association_timeout_secs = 1
silence_timeout_secs = 2
cancel_grace_secs = 0.5
queue_timeout_secs = 5

[targets.pacs]
connection.host = "127.0.0.1"
connection.port = {pacs_port}
connection.protocol = "dicom"
"""


@dataclass(frozen=True, slots=True)
class Count:
    """What a gateway had at a moment."""

    memory: float
    """Resident memory of the process and of its workers, MiB."""
    descriptors: tuple[str, ...]
    """What each open one is: a path, or its kind."""
    threads: int
    associations: int
    """Places that are taken in all pools."""
    waiting: int
    """Who waits for a place."""
    staged: int
    """Files that are being written, or were left."""
    unsent: int
    """Messages of the audit trail that have not been delivered."""
    spool: int
    """Bytes of their spool."""
    unrecorded: int
    """Messages of the audit trail that were lost."""

    def line(self) -> str:
        return (
            f"{self.memory:7.1f} MiB  {len(self.descriptors):4} descriptors  {self.threads:3} threads  "
            f"{self.associations:3} associations  {self.waiting:3} waiting  {self.staged:3} staged files  "
            f"{self.unsent:3} audit messages waiting  {self.spool:7} bytes of spool"
        )


class House:
    """The gateway. `with` starts it, and ends it."""

    def __init__(self, folder: Path, pacs_port: int, patients: Iterable[str]) -> None:
        """`patients` are those whom the user may see in the cached pipeline."""
        self.folder = folder
        self.port, self.dicom_port = free_port(), free_port()
        self._configuration = folder / "config.toml"
        self._text = _CONFIGURATION.format(
            port=self.port,
            dicom_port=self.dicom_port,
            pacs_port=pacs_port,
            folder=folder,
            idle=IDLE_SECS,
            ae_title=AE_TITLE,
            user=USER,
            spool=SPOOL_BYTES,
            password=PASSWORD,
            patients=json.dumps(list(patients)),
        )
        self._configuration.write_text(self._text)
        self.process: Process

    def __enter__(self) -> "House":
        self.process = Process(
            [sys.executable, "-m", "twisted", "harmonygw", "-c", str(self._configuration)], log=self.folder / "log"
        )
        self.process.wait_for_port(self.port)
        return self

    def __exit__(self, *_: object) -> None:
        self.process.end()

    def reload(self) -> None:
        """Tell it to read everything again."""
        os.kill(self.process.pid, signal.SIGHUP)

    def count(self, targets: dict[str, Any], audit: dict[str, Any]) -> Count:
        """Count what it has; `targets` and `audit` are what it says of them itself."""
        pid = self.process.pid
        process = Path(f"/proc/{pid}")
        workers = [one for one in Path("/proc").glob("[0-9]*") if _parent(one) == pid]
        return Count(
            memory=sum(map(_resident, [process, *workers])) / 2**20,
            descriptors=tuple(_open(process / "fd")),
            threads=len(list((process / "task").iterdir())),
            associations=sum(one.get("associations", 0) for one in targets.values()),
            waiting=sum(one.get("waiting", 0) for one in targets.values()),
            staged=sum(1 for one in self.folder.rglob("*") if one.suffix == ".part"),
            unsent=audit["waiting"],
            spool=sum(one.stat().st_size for one in (self.folder / "audit").rglob("*") if one.is_file()),
            unrecorded=audit["unrecorded"] + audit["lost"],
        )

    def audited(self) -> int:
        """Return how many messages of the audit trail have arrived."""
        with suppress(FileNotFoundError), (self.folder / "audit.log").open("rb") as file:
            return sum(1 for _ in file)
        return 0

    def failures(self) -> list[str]:
        """Return the lines of its log that tell of what nobody foresaw."""
        log = self.process.log.read_text(errors="replace")
        signs = ("Traceback", "nobody foresaw", "Unhandled", "internal error")
        return [line for line in log.splitlines() if any(one in line for one in signs)]


def _open(descriptors: Path) -> Iterator[str]:
    for one in descriptors.iterdir():
        with suppress(FileNotFoundError):
            yield str(one.readlink()).partition(":[")[0]


def _resident(process: Path) -> int:
    try:
        return int((process / "statm").read_text().split()[1]) * 4096
    except OSError:
        return 0


def _parent(process: Path) -> int:
    try:
        return int((process / "stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, IndexError):
        return 0
