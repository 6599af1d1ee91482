"""The gateway that may be exposed, as it is shipped: certificates, tokens, policies, audit, and who gets nowhere."""

import json
import subprocess
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import bcrypt
from pytest_twisted import ensureDeferred
from twisted.internet.threads import deferToThread

from tests.certificates import identity
from tests.interop.conftest import Tool, need
from tests.interop.processes import ROOT, free_port, running
from tests.interop.token_issuer import Issuer
from tests.service import twistd

SHIPPED = ROOT / "etc" / "hardened"
OPERATOR = ("-u", "operator:a long passphrase")


class Site:
    """The shipped configuration with files and ports of its own, in a process; an archive there is not."""

    def __init__(self, folder: Path, issuer: Issuer) -> None:
        self.folder = folder
        self.issuer = issuer
        self.viewers, self.operators, self.scp = free_port(), free_port(), free_port()
        self.authority = identity("authority", authority=True)
        self.authority.write(folder, "hospital-ca")
        identity("gateway", self.authority).write(folder, "chain")
        (folder / "chain.key").rename(folder / "key.pem")
        self.modality = identity("CT1", self.authority).write(folder, "ct1")
        hashed = bcrypt.hashpw(b"a long passphrase", bcrypt.gensalt(4)).decode()
        (folder / "operators").write_text(f"operator:{hashed}\n")
        self.environment = {"ISSUER": issuer.url, "PACS_HOST": "127.0.0.1", "AUDIT_HOST": "127.0.0.1"}
        changed = {
            "/etc/harmonygw": str(folder),
            "bind_port = 8443": f"bind_port = {self.viewers}",
            "bind_port = 8444": f"bind_port = {self.operators}",
            "\nport = 2762": f"\nport = {self.scp}",
            "connection.port = 2762": f"connection.port = {free_port()}",
            "drain_delay_secs = 5": "drain_delay_secs = 0",
        }
        for path in SHIPPED.rglob("*.toml"):
            text = path.read_text(encoding="utf-8")
            for old, new in changed.items():
                text = text.replace(old, new)
            here = folder / path.relative_to(SHIPPED)
            here.parent.mkdir(exist_ok=True)
            here.write_text(text, encoding="utf-8")

    async def curl(self, *arguments: str) -> tuple[int, Any]:
        """Ask; return the status, 0 when there was no answer, and the document."""
        command = ["curl", "-sS", "--max-time", "20", "--cacert", str(self.folder / "hospital-ca.pem")]
        command += ["-w", "\n%{http_code}", *arguments]
        done = await deferToThread(subprocess.run, command, capture_output=True, check=False)
        body, _, status = done.stdout.decode().rpartition("\n")
        return int(status or 0), json.loads(body) if body.startswith(("{", "[")) else body

    async def ready(self) -> None:
        """Wait until it is; curl tries again for as long as it says 503."""
        patience = ("--retry", "20", "--retry-delay", "1", "--fail")
        assert (await self.curl(*patience, f"https://127.0.0.1:{self.viewers}/readyz"))[0] == 200

    async def ask(self, token: str, path: str, *arguments: str) -> tuple[int, Any]:
        url = f"https://127.0.0.1:{self.viewers}/dicomweb{path}"
        return await self.curl("-H", f"Authorization: Bearer {token}", *arguments, url)

    async def operate(self, path: str, *arguments: str) -> tuple[int, Any]:
        return await self.curl(*arguments, f"http://127.0.0.1:{self.operators}/admin/{path}")


@asynccontextmanager
async def shipped(folder: Path) -> AsyncGenerator[Site, None]:
    """The gateway, ready; and the issuer of its tokens."""
    need("curl")
    issuer = Issuer()
    site = Site(folder, issuer)
    command = twistd.command("-n", "--pidfile=", "harmonygw", "-c", str(folder / "config.toml"))
    try:
        with running(command, site.viewers, log=folder / "log", cwd=folder, **site.environment):
            await site.ready()
            yield site
    finally:
        await issuer.stop()


@ensureDeferred
async def test_who_gets_in_and_who_does_not(tmp_path: Path) -> None:
    async with shipped(tmp_path) as site:
        status, _ = await site.curl(f"http://127.0.0.1:{site.viewers}/dicomweb/studies")
        assert status == 0, "in clear there is nobody"
        status, problem = await site.curl(f"https://127.0.0.1:{site.viewers}/dicomweb/studies")
        assert (status, problem["detail"]) == (401, "A bearer token is needed.")
        patients, searches = (site.issuer.token(one, aud="radiology-gateway") for one in ("patient/*.rs", "user/*.s"))
        assert (await site.ask(patients, "/studies"))[0] == 403, "no patient is named"
        assert (await site.ask(site.issuer.token("user/*.rs"), "/studies"))[0] == 401, "made for another service"
        assert (await site.ask(searches, "/studies/1.2"))[0] == 403
        assert (await site.ask(searches, "/studies", "-X", "DELETE"))[0] == 405
        stores = site.issuer.token("user/*.c", aud="radiology-gateway")
        assert (await site.ask(stores, "/studies", "--data-binary", "@/dev/null"))[0] == 403, "reading only"
        status, problem = await site.ask(searches, "/studies")
        assert (status, problem["target"]) == (502, "archive"), "past everything, to an archive that is not there"


@ensureDeferred
async def test_what_the_operator_sees_and_does(tmp_path: Path) -> None:
    async with shipped(tmp_path) as site:
        assert (await site.operate("audit"))[0] == 401
        status, audit = await site.operate("audit", *OPERATOR)
        assert (status, audit["accepting"], audit["fail_closed"]) == (200, True, True)
        assert audit["connected"] is False
        assert audit["waiting"] >= 2, "that it started, and that somebody did not get in"
        reload = ("-X", "POST", "-H", "Content-Type: application/json")
        assert (await site.operate("reload", *reload))[0] == 401
        status, done = await site.operate("reload", *reload, *OPERATOR)
        assert (status, done["changed"], done["needs_restart"]) == (200, {}, [])


@ensureDeferred
async def test_a_modality_is_known_by_certificate_and_title(tmp_path: Path, dcmtk: Tool) -> None:
    async with shipped(tmp_path) as site:
        chain, key = site.modality
        shows = ("+tls", key, chain, "+cf", site.folder / "hospital-ca.pem")
        for arguments, succeeds in (
            ((*shows, "-aet", "CT1"), True),
            ((*shows, "-aet", "SOMEBODY"), False),
            (("-aet", "CT1"), False),
        ):
            code, said = await dcmtk("echoscu", "-to", 5, *arguments, "-aec", "GATEWAY", "127.0.0.1", site.scp)
            assert (code == 0) == succeeds, said
