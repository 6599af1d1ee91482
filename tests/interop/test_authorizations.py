"""Two principals and an archive that holds what each may see, over HTTP and DIMSE: no door shows more than another."""

import base64
import json
import urllib.error
import urllib.request
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import bcrypt
import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE, build_role, evt
from pytest_twisted import ensureDeferred
from twisted.internet import reactor as _reactor
from twisted.internet.threads import deferToThread

from harmonygw.config.loading import load
from harmonygw.exchange import AssociationOrigin, Request
from harmonygw.operations import Store
from harmonygw.service import Gateway, available
from tests.interop.dimse_house import until
from tests.interop.embedded import CT, EXPLICIT, image, instance_of
from tests.interop.embedded_objects import FIND, GET, PATIENT_FIND, PENDING, free_port

reactor: Any = _reactor

pytestmark = pytest.mark.interop

CONFIGURATION = """
[proxy]
id = "confined"
drain_timeout_secs = 0
[network.default.http]
bind_address = "127.0.0.1"
bind_port = HTTP_PORT
[storage.options]
path = "FOLDER/received"

[pipelines.web]
networks = ["default"]
endpoints = ["web"]
middleware = ["users", "dicomweb_bridge", MORE]
backends = ["pacs"]
[endpoints.web]
service = "dicomweb"

[pipelines.plain]
networks = ["default"]
endpoints = ["plain"]
middleware = ["users"]
backends = ["pacs"]
[endpoints.plain]
service = "http"
options = { path_prefix = "/pacs" }

[pipelines.dimse]
networks = ["default"]
endpoints = ["scp"]
backends = ["archive"]
[endpoints.scp]
service = "dicom_scp"
[endpoints.scp.options]
local_aet = "RAW"
bind_addr = "127.0.0.1"
port = SCP_PORT
enable_find = true
enable_get = true
enable_store = true

[middleware.users]
type = "basic_auth"
options = { token_path = "FOLDER/users" }
[middleware.kept]
type = "cache"
options = { path = "FOLDER/cache" }

[backends.pacs]
service = "dicom_scu"
[backends.pacs.options]
host = "127.0.0.1"
port = SCP_PORT
aet = "RAW"
local_aet = "HARMONYGW"
[backends.archive]
service = "storage"
options = { root = "FOLDER/archive" }

[authorizations.gateway]
ae_titles = ["HARMONYGW"]
[authorizations.root]
principals = ["root"]
[authorizations.anna]
principals = ["anna"]
ae_titles = ["ANNA"]
keys = { InstitutionName = ["St Elsewhere"] }
[authorizations.ben]
principals = ["ben"]
ae_titles = ["BEN"]
keys = { PatientID = ["P2"] }
"""

ANY_DICOM = 'multipart/related; type="application/dicom"; transfer-syntax=*'

OBJECTS = (
    image(1, study="1.1", series="1.1.1", PatientID="P1", InstitutionName="Main"),
    image(1, study="1.1", series="1.1.2", PatientID="P1", InstitutionName="St Elsewhere", Modality="US"),
    image(1, study="1.2", series="1.2.1", PatientID="P2", InstitutionName="Main"),
    image(1, study="1.3", series="1.3.1", PatientID="P3", InstitutionName="Main"),
)

SEEN = {
    "root": {"1.1.1.1", "1.1.2.1", "1.2.1.1", "1.3.1.1"},
    "anna": {"1.1.2.1"},
    "ben": {"1.2.1.1"},
}
"""The instances that each may see."""


class Answer(NamedTuple):
    status: int
    content: bytes
    etag: str

    @property
    def rows(self) -> list[dict[str, Any]]:
        assert self.status in (200, 204), self.content
        rows: list[dict[str, Any]] = json.loads(self.content or b"[]")
        return rows


class Hospital(NamedTuple):
    gateway: Gateway
    port: int
    scp_port: int

    async def ask(self, who: str, path: str, accept: str = "*/*", **more: Any) -> Answer:
        answer: Answer = await deferToThread(self._ask, who, path, accept, **more)
        return answer

    def _ask(
        self, who: str, path: str, accept: str, *, method: str = "GET", etag: str = "", body: Any = None
    ) -> Answer:
        url = f"http://127.0.0.1:{self.port}{path}"
        headers = {"Accept": accept, "Authorization": "Basic " + base64.b64encode(f"{who}:{who}".encode()).decode()}
        if etag:
            headers["If-None-Match"] = etag
        if body is not None:
            headers["Content-Type"] = "application/json"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(url, data, headers, method="POST" if data else method)
        try:
            with urllib.request.urlopen(request, timeout=20) as reply:
                return Answer(reply.status, reply.read(), reply.headers.get("ETag", ""))
        except urllib.error.HTTPError as error:
            return Answer(error.code, error.read(), "")

    async def found(self, calling: str, level: str, *, model: str = FIND, **keys: str) -> tuple[int, list[Dataset]]:
        """What a C-FIND finds, and its final status."""

        def find() -> tuple[int, list[Dataset]]:
            ae = AE(calling)
            ae.add_requested_context(model, [EXPLICIT])
            association = ae.associate("127.0.0.1", self.scp_port, ae_title="RAW")
            identifier = Dataset()
            identifier.QueryRetrieveLevel = level
            for name, value in keys.items():
                setattr(identifier, name, value)
            answers = [(status.Status, row) for status, row in association.send_c_find(identifier, model)]
            association.release()
            return answers[-1][0], [row for status, row in answers if status == PENDING]

        found: tuple[int, list[Dataset]] = await deferToThread(find)
        return found

    async def got(self, calling: str, study: str) -> list[str]:
        """The instances that a C-GET of a study sends."""

        def get() -> list[str]:
            sent: list[str] = []

            def store(event: Any) -> int:
                sent.append(str(event.dataset.SOPInstanceUID))
                return 0

            ae = AE(calling)
            ae.add_requested_context(GET, [EXPLICIT])
            ae.add_requested_context(CT, [EXPLICIT])
            role = build_role(CT, scp_role=True)
            association = ae.associate(
                "127.0.0.1", self.scp_port, ae_title="RAW", ext_neg=[role], evt_handlers=[(evt.EVT_C_STORE, store)]
            )
            identifier = Dataset()
            identifier.QueryRetrieveLevel, identifier.StudyInstanceUID = "STUDY", study
            list(association.send_c_get(identifier, GET))
            association.release()
            return sent

        found: list[str] = await deferToThread(get)
        return found

    async def stored(self, calling: str, *objects: Dataset) -> list[int]:
        """The statuses of C-STOREs."""

        def store() -> list[int]:
            ae = AE(calling)
            ae.add_requested_context(CT, [EXPLICIT])
            association = ae.associate("127.0.0.1", self.scp_port, ae_title="RAW")
            for one in objects:
                one.file_meta.TransferSyntaxUID = EXPLICIT
            statuses = [association.send_c_store(one).Status for one in objects]
            association.release()
            return statuses

        found: list[int] = await deferToThread(store)
        return found


@asynccontextmanager
async def hospital(folder: Path, *more: str) -> AsyncGenerator[Hospital, None]:
    port, scp_port = free_port(), free_port()
    lines = [f"{who}:{bcrypt.hashpw(who.encode(), bcrypt.gensalt(4)).decode()}" for who in (*SEEN, "mallory")]
    (folder / "users").write_text("\n".join(lines) + "\n", encoding="utf-8")
    text = CONFIGURATION.replace("HTTP_PORT", str(port)).replace("SCP_PORT", str(scp_port))
    text = text.replace("FOLDER", str(folder)).replace("MORE", ", ".join(f'"{one}"' for one in more))
    main = folder / "config.toml"
    main.write_text(text, encoding="utf-8")
    gateway = Gateway(load(main, environ={}, available=available()), reactor)
    gateway.startService()
    try:
        await until(lambda: gateway.ready)

        async def coming() -> AsyncGenerator[Any, None]:
            for one in OBJECTS:
                yield instance_of(one)

        request = Request(AssociationOrigin("TEST", "RAW"), "127.0.0.1", "test", operation=Store(coming()))
        reply = await gateway._house.backends["archive"].respond(request)
        assert [result.status async for result in reply.result] == [0] * len(OBJECTS)
        yield Hospital(gateway, port, scp_port)
    finally:
        await gateway.stopService()


def uids(rows: list[dict[str, Any]], tag: str) -> set[str]:
    return {row[tag]["Value"][0] for row in rows}


def places(instances: set[str]) -> set[tuple[str, str, str]]:
    return {(uid[:3], uid[:5], uid) for uid in instances}


@pytest.mark.parametrize("more", [(), ("kept",)], ids=["", "cache"])
@ensureDeferred
async def test_over_dicomweb_each_sees_what_is_his(tmp_path: Path, more: tuple[str, ...]) -> None:
    async with hospital(tmp_path, *more) as pacs:
        # Who sees everything goes first, so that a cache holds all of it; and then each twice.
        for who in ("root", "anna", "ben", "anna", "ben"):
            seen = places(SEEN[who])
            answers = [
                await pacs.ask(who, f"/dicom/{path}") for path in ("studies", "series", "instances", "studies?limit=1")
            ]
            assert uids(answers[0].rows, "0020000D") == {study for study, _, _ in seen}
            assert uids(answers[1].rows, "0020000E") == {series for _, series, _ in seen}
            assert uids(answers[2].rows, "00080018") == {uid for _, _, uid in seen}
            assert len(answers[3].rows) == 1
            for study, series, uid in places(SEEN["root"]):
                shown = (study, series, uid) in seen
                path = f"/dicom/studies/{study}/series/{series}"
                whole = await pacs.ask(who, path, ANY_DICOM)
                assert (whole.status, uid.encode() in whole.content) == ((200, True) if shown else (404, False))
                for below in (
                    "metadata",
                    f"instances/{uid}",
                    f"instances/{uid}/frames/1",
                    f"instances/{uid}/bulkdata/7FE00010",
                ):
                    accept = ANY_DICOM if below == f"instances/{uid}" else "*/*"
                    for method in ("GET", "HEAD"):
                        answer = await pacs.ask(who, f"{path}/{below}", accept, method=method)
                        assert answer.status == (200 if shown else 404), (who, path, below, method)
                whole = await pacs.ask(who, f"/dicom/studies/{study}", ANY_DICOM)
                assert (uid.encode() in whole.content) is shown
        (row,) = (await pacs.ask("anna", "/dicom/studies?StudyInstanceUID=1.1")).rows
        told = {tag: row[tag]["Value"] for tag in ("00080061", "00201206", "00201208")}
        assert told == {"00080061": ["US"], "00201206": [1], "00201208": [1]}


@ensureDeferred
async def test_an_etag_confirms_nothing(tmp_path: Path) -> None:
    async with hospital(tmp_path, "kept") as pacs:
        path = "/dicom/studies/1.3/series/1.3.1/instances/1.3.1.1"
        await pacs.ask("root", path, ANY_DICOM)
        etag = (await pacs.ask("root", path, ANY_DICOM)).etag
        assert etag
        assert (await pacs.ask("root", path, ANY_DICOM, etag=etag)).status == 304
        for who in ("anna", "ben"):
            for said in (etag, "*"):
                hidden = await pacs.ask(who, path, ANY_DICOM, etag=said)
                absent = await pacs.ask(who, path.replace("1.3", "1.9"), ANY_DICOM, etag=said)
                assert hidden.status == absent.status == 404
                documents = [json.loads(one.content) for one in (hidden, absent)]
                assert documents[0]["detail"] == documents[1]["detail"]


@ensureDeferred
async def test_who_is_named_by_no_table_sees_nothing(tmp_path: Path) -> None:
    async with hospital(tmp_path, "kept") as pacs:
        for path in ("studies", "studies/1.1", "studies/1.1/metadata"):
            assert (await pacs.ask("mallory", f"/dicom/{path}")).status == 403
        assert (await pacs.found("MALLORY", "STUDY", StudyInstanceUID=""))[0] == 0x0124
        assert await pacs.got("MALLORY", "1.1") == []
        assert (
            await pacs.ask("mallory", "/pacs/find", body={"level": "STUDY", "query": {"PatientID": "*"}})
        ).status == 403


@ensureDeferred
async def test_over_dimse_each_sees_what_is_his(tmp_path: Path) -> None:
    async with hospital(tmp_path) as pacs:
        for who in ("anna", "ben"):
            calling, seen = who.upper(), places(SEEN[who])
            status, rows = await pacs.found(calling, "STUDY", StudyInstanceUID="", PatientID="*")
            assert (status, {row.StudyInstanceUID for row in rows}) == (0, {study for study, _, _ in seen})
            status, rows = await pacs.found(calling, "PATIENT", model=PATIENT_FIND, PatientID="*")
            assert (status, [row.PatientID for row in rows]) == (0, [{"anna": "P1", "ben": "P2"}[who]])
            for study in ("1.1", "1.2", "1.3", "1.9"):
                status, rows = await pacs.found(calling, "SERIES", StudyInstanceUID=study, SeriesInstanceUID="")
                assert (status, {row.SeriesInstanceUID for row in rows}) == (
                    0,
                    {s for one, s, _ in seen if one == study},
                )
                assert set(await pacs.got(calling, study)) == {uid for one, _, uid in seen if one == study}
            status, rows = await pacs.found(
                calling, "IMAGE", StudyInstanceUID="1.3", SeriesInstanceUID="1.3.1", SOPInstanceUID=""
            )
            assert (status, rows) == (0, [])
        mine = image(7, study="1.2", series="1.2.1", PatientID="P2")
        others = image(8, study="1.3", series="1.3.1", PatientID="P2"), image(9, study="1.9", PatientID="P1")
        for one in (mine, *others):
            one.ensure_file_meta()
        assert await pacs.stored("BEN", others[0], mine, others[1]) == [0x0124, 0, 0x0124]
        assert set(await pacs.got("BEN", "1.2")) == {"1.2.1.1", "1.2.1.7"}


@ensureDeferred
async def test_over_plain_http_each_sees_what_is_his(tmp_path: Path) -> None:
    async with hospital(tmp_path) as pacs:
        for who in ("anna", "ben"):
            seen = places(SEEN[who])
            query = {"level": "STUDY", "query": {"PatientID": "*", "StudyInstanceUID": ""}}
            answer = await pacs.ask(who, "/pacs/find", body=query)
            matches = json.loads(answer.content)["matches"]
            assert uids(matches, "0020000D") == {study for study, _, _ in seen}
            for study in ("1.1", "1.2", "1.3"):
                answer = await pacs.ask(who, "/pacs/get", body={"level": "STUDY", "query": {"StudyInstanceUID": study}})
                said = {uid for one, _, uid in seen if one == study}
                assert {uid for uid in SEEN["root"] if f'"{uid}"'.encode() in answer.content} == said, answer
