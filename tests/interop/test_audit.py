"""The audit trail of a whole gateway between real clients and an archive: over HTTP and DIMSE, with every message held
against the standard's schema, and nothing of a patient in the ordinary log."""

import http.client
from base64 import b64decode
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE
from pytest_twisted import ensureDeferred
from twisted.internet import reactor as _reactor
from twisted.internet.threads import deferToThread
from twisted.logger import LogEvent, globalLogPublisher

from harmonygw.config.loading import load
from harmonygw.journal import json_line, text_line
from harmonygw.service import Gateway, available
from tests.audit.parts import Kept, refused
from tests.dicom.audit.schema import event_of, objects_of, users_of
from tests.interop.dimse_house import until
from tests.interop.embedded import CT, EXPLICIT, embedded_pacs, image, part10
from tests.interop.embedded_objects import FIND, GET, MOVE, identifier
from tests.interop.processes import free_port
from tests.interop.test_embedded_pacs_pynetdicom import finds, gets, moves, pynetdicom_association, pynetdicom_storage

pytestmark = pytest.mark.interop

reactor: Any = _reactor

CONFIGURATION = """
[proxy]
id = "audited"
drain_timeout_secs = 0

[network.default.http]
bind_address = "127.0.0.1"
bind_port = {http}

[pipelines.web]
networks = ["default"]
endpoints = ["web"]
middleware = ["users", "guard", "bridge"{cache}]
backends = ["archive"]

[endpoints.web]
service = "dicomweb"
options = {{ path_prefix = "/dicom" }}

[pipelines.dimse]
networks = ["default"]
endpoints = ["scp"]
backends = ["archive"]

[endpoints.scp]
service = "dicom_scp"

[endpoints.scp.options]
local_aet = "EMBEDDED"
bind_addr = "127.0.0.1"
port = {scp}
require_called_aet = true
enable_find = true
enable_get = true
enable_move = true
enable_store = true

[middleware.users]
type = "basic_auth"
options = {{ username = "doctor", password = "secret" }}

[middleware.guard]
type = "policies"
options = {{ policies = ["nothing_forbidden"] }}

[policies.nothing_forbidden]
rules = ["forbidden"]

[rules.forbidden]
type = "query_parameter"
options = {{ mode = "deny", parameters = [{{ name = "forbidden", value = "1" }}] }}

[middleware.bridge]
type = "dicomweb_bridge"

[middleware.kept]
type = "cache"
options = {{ path = "cache" }}

[backends.archive]
service = "dicom_scu"

[backends.archive.options]
host = "127.0.0.1"
port = {pacs}
aet = "EMBEDDED"
local_aet = "GATEWAY"
"""

SECRETS = ("Doe", "Jane", "P1", "P-4711", "M\u00fcller", "M%C3%BCller", "secret")
"""What patients are called here, and what is asked for."""


class Audited(NamedTuple):
    gateway: Gateway
    delivery: Kept
    http: int
    scp: int
    log: list[bytes]

    async def ask(self, path: str, method: str = "GET", body: bytes = b"", **fields: str) -> tuple[int, bytes]:
        credentials = {"Authorization": "Basic ZG9jdG9yOnNlY3JldA=="}
        headers = {**credentials, **{name.replace("_", "-"): value for name, value in fields.items()}}

        def ask() -> tuple[int, bytes]:
            connection = http.client.HTTPConnection("127.0.0.1", self.http, timeout=10)
            connection.request(method, f"/dicom{path}", body or None, headers)
            reply = connection.getresponse()
            content = reply.read()
            connection.close()
            return reply.status, content

        result: tuple[int, bytes] = await deferToThread(ask)
        return result

    async def told(self, count: int) -> list[Any]:
        """Wait for so many messages, and take them."""
        await until(lambda: len(self.delivery.written) >= count)
        return self.delivery.take()


@asynccontextmanager
async def audited(folder: Path, cache: str = "", more: str = "") -> AsyncGenerator[Audited, None]:
    """Run the gateway in front of an archive with two CT images of Jane Doe."""
    delivery, log = Kept(), list[bytes]()

    def observe(event: LogEvent) -> None:
        log.extend((json_line(event), text_line(event)))

    (folder / "pacs").mkdir()
    async with embedded_pacs(folder / "pacs", destinations={}) as pacs:
        await pacs.keep(image(1), image(2))
        ports = {"http": free_port(), "scp": free_port(), "pacs": pacs.port}
        main = folder / "config.toml"
        main.write_text(CONFIGURATION.format(**ports, cache=cache) + more, encoding="utf-8")
        globalLogPublisher.addObserver(observe)
        gateway = Gateway(load(main, environ={}, available=available()), reactor, audit_repository=delivery)
        gateway.startService()
        try:
            await until(lambda: gateway.ready)
            yield Audited(gateway, delivery, ports["http"], ports["scp"], log)
        finally:
            await gateway.stopService()
            globalLogPublisher.removeObserver(observe)
    written = b"".join(log).decode()
    assert written
    for secret in SECRETS:
        assert secret not in written


def codes(messages: list[Any]) -> list[str]:
    """Return EventID, action and outcome of each message, as one word."""
    return [" ".join(event_of(one)) for one in messages]


def number_of(root: Any) -> list[str]:
    return [one.get("NumberOfInstances") for one in root.iterfind(".//SOPClass")]


def query_of(root: Any) -> bytes:
    return b64decode(root.findtext(".//ParticipantObjectQuery"))


@ensureDeferred
async def test_over_http(tmp_path: Path) -> None:
    async with audited(tmp_path) as house:
        [start] = await house.told(1)
        assert event_of(start) == ("110100", "E", "0")
        assert start.find("ActiveParticipant").get("AlternativeUserID") == "AETITLES=EMBEDDED;GATEWAY"

        status, _ = await house.ask("/studies?PatientName=M%C3%BCller&PatientID=P-4711")
        assert status in (200, 204)
        login, query = await house.told(2)
        assert (codes([login, query]), users_of(login)[0]) == (["110114 E 0", "110112 E 0"], "doctor")
        assert "Müller".encode() in query_of(query)
        assert b"P-4711" in query_of(query)
        assert users_of(query) == ["doctor", "audited", "archive"]

        status, content = await house.ask(
            "/studies/1.2", Accept='multipart/related; type="application/dicom"; transfer-syntax=*'
        )
        assert (status, content.count(b"DICM")) == (200, 2)
        begin, end = await house.told(2)
        assert codes([begin, end]) == ["110102 E 0", "110104 R 0"]
        for message in (begin, end):
            assert users_of(message) == ["audited", "doctor", "archive"]
            assert objects_of(message, "110180") == ["1.2"]
            assert objects_of(message, "2") == ["P1"]
            assert message.findtext("ParticipantObjectIdentification[2]/ParticipantObjectName") == "Doe^Jane"
        assert (number_of(begin), number_of(end)) == ([], ["2"])
        assert end.find(".//Accession").get("Number") == "A1"

        status, _ = await house.ask("/studies/1.2/series/1.2.3/metadata")
        assert status == 200
        [accessed] = await house.told(1)
        assert (codes([accessed]), objects_of(accessed, "2")) == (["110103 R 0"], ["P1"])

        status, _ = await house.ask("/studies/9.9.9", Accept='multipart/related; type="application/dicom"')
        assert status == 404
        [missed] = await house.told(1)
        assert (codes([missed]), objects_of(missed, "110180")) == (["110103 R 4"], ["9.9.9"])


@ensureDeferred
async def test_what_comes_from_the_cache_is_told_as_what_comes_from_the_archive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    async with audited(tmp_path, ', "kept"') as house:
        await house.told(1)
        for _ in range(2):
            status, content = await house.ask(
                "/studies/1.2", Accept='multipart/related; type="application/dicom"; transfer-syntax=*'
            )
            assert (status, content.count(b"DICM")) == (200, 2)
            begin, end = [one for one in await house.told(2) if event_of(one)[0] != "110114"][-2:]
            assert codes([begin, end]) == ["110102 E 0", "110104 R 0"]
            assert (objects_of(end, "2"), number_of(end)) == (["P1"], ["2"])
            assert end.findtext("ParticipantObjectIdentification[2]/ParticipantObjectName") == "Doe^Jane"
            house.delivery.take()
        for path in ("frames/1", "rendered", "metadata"):
            status, _ = await house.ask(f"/studies/1.2/series/1.2.3/instances/1.2.3.1/{path}")
            assert status == 200
            [accessed] = await house.told(1)
            assert codes([accessed]) == ["110103 R 0"]
            assert (objects_of(accessed, "110180"), objects_of(accessed, "2")) == (["1.2"], ["P1"])


@ensureDeferred
async def test_who_is_refused(tmp_path: Path) -> None:
    async with audited(tmp_path) as house:
        await house.told(1)
        status, _ = await house.ask("/studies", Authorization="Basic ZXZlOnNlY3JldA==")
        assert status == 401
        [failure] = await house.told(1)
        assert (codes([failure]), users_of(failure)) == (["110114 E 4"], ["eve", "audited"])
        status, _ = await house.ask("/studies?forbidden=1&PatientID=P-4711")
        assert status == 403
        login, alert = await house.told(2)
        assert codes([login, alert]) == ["110114 E 0", "110113 E 4"]
        assert users_of(alert) == ["audited", "doctor"]
        stranger = AE("STRANGER")
        stranger.add_requested_context(FIND, [EXPLICIT])
        association = await deferToThread(stranger.associate, "127.0.0.1", house.scp, ae_title="WRONG")
        assert association.is_rejected
        [rejection] = await house.told(1)
        assert (codes([rejection]), users_of(rejection)) == (["110113 E 4"], ["audited", "127.0.0.1"])
        state = house.gateway.describe()["audit"]
        assert (state["messages"], state["unrecorded"]) == (5, 0)


@ensureDeferred
async def test_a_store_over_http(tmp_path: Path) -> None:
    async with audited(tmp_path) as house:
        await house.told(1)
        data = part10(image(7, study="1.9", series="1.9.3"), tmp_path / "new.dcm").read_bytes()
        body = b"--b\r\nContent-Type: application/dicom\r\n\r\n" + data + b"\r\n--b--\r\n"
        kind = 'multipart/related; type="application/dicom"; boundary=b'
        status, _ = await house.ask("/studies", "POST", body, Content_Type=kind)
        assert status == 200
        begin, login, end = await house.told(3)
        assert codes([begin, login, end]) == ["110102 E 0", "110114 E 0", "110104 R 0"]
        assert users_of(end) == ["doctor", "audited", "archive"]
        assert (objects_of(end, "110180"), objects_of(end, "2"), number_of(end)) == (["1.9"], ["P1"], ["1"])


@ensureDeferred
async def test_over_dimse(tmp_path: Path) -> None:
    async with audited(tmp_path) as house:
        await house.told(1)
        query = identifier(level="STUDY", PatientID="P1", PatientName="", StudyInstanceUID="")
        rows = await deferToThread(finds, house.scp, FIND, query)
        assert len(rows) == 2
        [found] = await house.told(1)
        assert (codes([found]), users_of(found)) == (["110112 E 0"], ["PYNETDICOM", "audited", "archive"])
        assert b"P1" in query_of(found)

        wanted = identifier(level="STUDY", StudyInstanceUID="1.2")
        _, _, arrived = await deferToThread(gets, house.scp, GET, wanted, {CT: [EXPLICIT]})
        assert len(arrived) == 2
        begin, end = await house.told(2)
        assert codes([begin, end]) == ["110102 E 0", "110104 R 0"]
        assert users_of(end) == ["audited", "PYNETDICOM", "archive"]
        assert (objects_of(end, "2"), number_of(end)) == (["P1"], ["2"])

        def store(data_set: Dataset) -> int:
            with pynetdicom_association(house.scp, (CT, [EXPLICIT])) as association:
                return int(association.send_c_store(data_set).Status)

        sent = part10(image(8, study="1.8", series="1.8.3"), tmp_path / "sent.dcm")
        assert await deferToThread(store, sent) == 0
        begin, end = await house.told(2)
        assert codes([begin, end]) == ["110102 E 0", "110104 R 0"]
        assert users_of(end) == ["PYNETDICOM", "audited", "archive"]
        assert (objects_of(end, "110180"), number_of(end)) == (["1.8"], ["1"])

        def move() -> list[int]:
            with pynetdicom_association(house.scp, (MOVE, [EXPLICIT])) as association:
                return [status.Status for status, _ in association.send_c_move(wanted, "NOBODY", MOVE)]

        statuses = await deferToThread(move)
        assert statuses[-1] == 0xA801
        messages = await house.told(2)
        assert codes(messages) == ["110102 E 0", "110104 R 4"]
        assert users_of(messages[-1])[:2] == ["archive", "NOBODY"]


@ensureDeferred
async def test_what_a_move_destination_refuses_was_not_transferred(tmp_path: Path) -> None:
    def answer(event: Any) -> int:
        return 0xA700 if event.dataset.InstanceNumber == 2 else 0

    with pynetdicom_storage({CT: [EXPLICIT]}, answer) as port:
        known = f'[endpoints.scp.options.aet_table.WORKSTATION]\nhost = "127.0.0.1"\nport = {port}\n'
        async with audited(tmp_path, more=known) as house:
            await house.told(1)
            wanted = identifier(level="STUDY", StudyInstanceUID="1.2")
            responses = await deferToThread(moves, house.scp, wanted, "WORKSTATION")
            assert responses[-1][0].Status == 0xB000
            begin, whole, broken = await house.told(3)
            assert codes([begin, whole, broken]) == ["110102 E 0", "110104 R 0", "110104 R 8"]
            for message in (begin, whole, broken):
                assert users_of(message)[:3] == ["audited", "WORKSTATION", "PYNETDICOM"]
                assert objects_of(message, "2") == ["P1"]
            assert (number_of(whole), number_of(broken)) == (["1"], ["1"])


@ensureDeferred
async def test_nothing_is_given_out_that_cannot_be_recorded(tmp_path: Path) -> None:
    async with audited(tmp_path) as house:
        await house.told(1)
        house.gateway._trail._fail_closed = True  # type: ignore[union-attr]
        house.delivery.accepting = False
        status, content = await house.ask("/studies/1.2")
        assert (status, b"DICM" in content) == (503, False)
        house.delivery.accepting, house.delivery.error = True, refused()
        status, content = await house.ask("/studies/1.2", Accept='multipart/related; type="application/dicom"')
        assert (status, b"DICM" in content) == (503, False)
        house.delivery.error = None
        await house.ask("/studies/1.2")
        house.delivery.take()
        status, content = await house.ask("/studies/1.2", Accept='multipart/related; type="application/dicom"')
        assert (status, content.count(b"DICM")) == (200, 2)
