"""The audit trail cannot be delivered, or not even be written: nothing of it is lost, or nothing is given out."""

import base64
import signal
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from pydicom.dataset import FileMetaDataset
from pynetdicom import AE
from pytest_twisted import ensureDeferred
from twisted.internet.threads import deferToThread
from twisted.logger import LogEvent, globalLogPublisher

from harmonygw.audit import delivery as delivery_module
from harmonygw.audit.spool import FULL
from harmonygw.dicom.dimse import statuses
from tests.certificates import identity
from tests.dicom.audit.schema import validated
from tests.interop import house as house_module
from tests.interop.audited import word
from tests.interop.dimse_house import until
from tests.interop.embedded import EXPLICIT, image
from tests.interop.embedded_objects import FIND, identifier
from tests.interop.held import CT, study_of
from tests.interop.house import CONFIGURATION, STUDY, House
from tests.interop.pacs import PACS
from tests.interop.processes import ROOT, free_port, wait_for_port, wait_until_ready
from tests.interop.test_audit_delivery import Collection, firsts
from tests.service.twistd import command

pytestmark = [pytest.mark.interop, pytest.mark.timeout(120)]

AUDIT = """
[audit]
enabled = true
transport = "syslog_tls"
host = "127.0.0.1"
port = {port}
ca_path = "{ca}"
spool_path = "{spool}"
"""

PROCESS = """
[proxy]
id = "killed"

[network.default.http]
bind_address = "127.0.0.1"
bind_port = {port}

[pipelines.web]
networks = ["default"]
endpoints = ["dicomweb"]
middleware = ["bridge"]
backends = ["archive"]

[endpoints.dicomweb]
service = "dicomweb"
options = {{ path_prefix = "/dicom" }}

[middleware.bridge]
type = "dicomweb_bridge"

[backends.archive]
service = "storage"
options = {{ root = "{folder}/archive" }}
"""

TIGHT = """
max_spool_bytes = 1048576
fail_closed = true

[management]
enabled = true
network = "default"

[pipelines.dimse]
networks = ["default"]
endpoints = ["scp"]
backends = ["pacs"]

[endpoints.scp]
service = "dicom_scp"
options = { local_aet = "GATEWAY", bind_addr = "127.0.0.1", port = SCP_PORT, enable_find = true, enable_store = true }
"""

LONG = "1.2," + ",".join(f"1.2.{number}" for number in range(1000, 1400))
"""A list of UIDs that a message holds twice: each takes 9 KB of the spool."""


@asynccontextmanager
async def collection(folder: Path) -> AsyncGenerator[tuple[Collection, str]]:
    """A collector that is away, and the authority that has signed its certificate."""
    authority = identity("authority", authority=True)
    ca, _ = authority.write(folder, "ca")
    one = Collection(folder, authority)
    try:
        yield one, ca
    finally:
        if one.listening is not None:
            one.stop()


def queries(messages: list[bytes]) -> list[str]:
    """The Patient IDs that were asked for, in the order in which that was told."""
    found = []
    for root in map(validated, messages):
        detail = root.find(".//ParticipantObjectDetail[@type='Query String']")
        if detail is not None:
            asked = urllib.parse.parse_qs(base64.b64decode(detail.get("value")).decode().partition("?")[2])
            found.append(asked["PatientID"][0])
    return found


class Gateway:
    """A process that is killed, and started again."""

    def __init__(self, folder: Path, more: str) -> None:
        self.port = free_port()
        self._folder = folder
        main = folder / "config.toml"
        main.write_text(PROCESS.format(port=self.port, folder=folder) + more)
        self._command = command("-n", "--pidfile=", "harmonygw", "-c", str(main))
        self.asked: list[str] = []
        self.process: subprocess.Popen[bytes]

    def start(self) -> None:
        with (self._folder / "log").open("ab") as log:
            self.process = subprocess.Popen(self._command, stdout=log, stderr=subprocess.STDOUT, cwd=ROOT)
        wait_for_port(self.port, self.process)
        wait_until_ready(f"http://127.0.0.1:{self.port}")

    def search(self, number: int) -> None:
        """Ask so many times; each answer has been recorded when another one has come after it."""
        for _ in range(number):
            patient = f"P{len(self.asked)}"
            self._ask(f"/dicom/studies?PatientID={patient}")
            self.asked.append(patient)
        self._ask("/healthz")

    def _ask(self, path: str) -> None:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as reply:
            reply.read()

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)


@ensureDeferred
async def test_of_a_gateway_that_is_killed_every_record_arrives_in_order_when_the_collector_is_back(
    tmp_path: Path,
) -> None:
    async with collection(tmp_path) as (collector, ca):
        gateway = Gateway(tmp_path, AUDIT.format(port=collector.port, ca=ca, spool=tmp_path / "spool"))
        for _ in range(2):
            await deferToThread(gateway.start)
            await deferToThread(gateway.search, 20)
            await deferToThread(gateway.kill)
        await deferToThread(gateway.start)
        try:
            await deferToThread(gateway.search, 10)
            assert collector.messages == []
            collector.start()
            await until(lambda: len(queries(firsts(collector.xml))) >= len(gateway.asked), 60)
        finally:
            await deferToThread(gateway.kill)
        told = firsts(collector.xml)
        assert queries(told) == gateway.asked == [f"P{number}" for number in range(50)]
        words = [word(validated(one)) for one in told]
        assert words == [*["Application 0", *["Query 0"] * 20] * 2, "Application 0", *["Query 0"] * 10]
        assert b"PatientID" not in (tmp_path / "log").read_bytes()


LIMITED = """
[middleware.guard]
type = "policies"
options = { policies = ["few"] }

[policies.few]
rules = ["few"]

[rules.few]
type = "rate_limit"
options = { max_requests = 2, window_seconds = 60 }
"""


@ensureDeferred
async def test_who_asks_too_often_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    guarded = CONFIGURATION.replace('middleware = ["bridge"]', 'middleware = ["guard", "bridge"]')
    monkeypatch.setattr(house_module, "CONFIGURATION", guarded)
    monkeypatch.setattr(House, "more", LIMITED)
    pacs = PACS(study_of(1))
    async with House(tmp_path, pacs) as house:
        house.recovers = False
        answers = [(await house.ask("/dicom/studies?PatientID=P1")).status for _ in range(2)]
        answers += [(await house.ask(STUDY)).status for _ in range(2)]
        assert answers == [200, 200, 429, 429]
        refused = "Alert rate_limited 4"
        await house.audited("Query 0", "Query 0", refused, refused, users=("faults", "127.0.0.1"))
        assert "C-GET-RQ" not in pacs.seen


class Tight(House):
    """A gateway that has to record what it gives out, in front of a collector that is away."""

    is_recorded = False

    def __init__(self, folder: Path, pacs: PACS, collector: Collection, ca: str) -> None:
        super().__init__(folder, pacs)
        self.scp_port = free_port()
        self.more = AUDIT.format(port=collector.port, ca=ca, spool=folder / "spool")
        self.more += TIGHT.replace("SCP_PORT", str(self.scp_port))

    async def status(self, path: str) -> int:
        return (await self.ask(path)).status

    @property
    def audit(self) -> dict[str, object]:
        state: dict[str, object] = self.gateway.describe()["audit"]
        return state

    def by_dimse(self) -> list[int]:
        """Ask by C-FIND, and store by C-STORE; return the statuses."""
        ae = AE("MODALITY")
        for uid in (FIND, CT):
            ae.add_requested_context(uid, [EXPLICIT])
        association = ae.associate("127.0.0.1", self.scp_port, ae_title="GATEWAY")
        assert association.is_established
        query = identifier(level="STUDY", StudyInstanceUID="1.2")
        found = [status.Status for status, _ in association.send_c_find(query, FIND)]
        data_set = image(1)
        data_set.file_meta = FileMetaDataset()
        data_set.file_meta.TransferSyntaxUID = EXPLICIT
        stored = association.send_c_store(data_set).Status
        association.release()
        return [found[-1], stored]


@ensureDeferred
async def test_with_a_full_spool_nothing_is_asked_or_given_out_until_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery_module, "LONGEST_BACKOFF", 0.2)
    pacs = PACS(study_of(2))
    said: list[str] = []

    def observe(event: LogEvent) -> None:
        if "the audit trail" in (event.get("log_format") or ""):
            said.append(event["log_format"])

    globalLogPublisher.addObserver(observe)
    async with collection(tmp_path) as (collector, ca), Tight(tmp_path, pacs, collector, ca) as house:
        await house.gateway.when_ready()
        answers = []
        while not answers or answers[-1] != 503:
            answers.append(await house.status(f"/dicom/studies?PatientID=P1&StudyInstanceUID={LONG}"))
            assert len(answers) < 500
        assert set(answers[:-1]) == {200}
        asked = list(pacs.seen)
        for path in ("/dicom/studies", STUDY, f"{STUDY}/metadata", f"{STUDY}/series/1.2.3/instances/1.2.3.4/rendered"):
            reply = await house.ask(path)
            assert (reply.status, reply.headers["retry-after"], b"DICM" in reply.raw) == (503, "30", False)
        assert await deferToThread(house.by_dimse) == [statuses.OUT_OF_RESOURCES] * 2
        assert (pacs.seen, pacs.received) == (asked, []), "no archive is asked"
        assert await house.status("/healthz") == 200
        state = (await house.ask("/admin/audit")).content
        assert b'"accepting":false' in state
        assert FULL.encode() in state
        assert [one for one in said if "refused" in one] == said[:1], "once, and not for each"
        collector.start()
        await until(lambda: bool(house.audit["accepting"]), 20)
        assert await house.status("/dicom/studies") == 200, "the first one is answered"
        await until(lambda: house.audit["waiting"] == 0, 20)
        assert house.audit["unrecorded"] == 0, "what was refused is told of too"
        collector.stop()
        collector.listening = None
    globalLogPublisher.removeObserver(observe)
    assert [one for one in said if "answered" in one] == said[-1:]
