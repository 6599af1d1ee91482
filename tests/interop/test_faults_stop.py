"""SIGTERM under load: the gateway says so, accepts no more, lets exchanges end or breaks them off, and ends well."""

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pytest_twisted import ensureDeferred
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.protocol import Factory
from twisted.internet.threads import deferToThread

from tests.dicom.audit.schema import validated
from tests.interop.aftermath import Aftermath, until
from tests.interop.audited import instances_of, word
from tests.interop.connection import Asked, Connection
from tests.interop.held import study_of
from tests.interop.house import ANY_DICOM, CONFIGURATION, STUDY, TARGET, Client, Reply, reactor
from tests.interop.pacs import PACS
from tests.interop.processes import free_port, running, wait_until_ready

DRAIN_DELAY_SECS = 0.6
DRAIN_SECS = 3
BIG = 300_000
CLEAN = -signal.SIGTERM
"""How a process ends that is asked to and has done everything: systemd.service(5) calls that clean."""


AUDIT = """
[audit]
enabled = true
transport = "file"
path = "{folder}/audit.log"
spool_path = "{folder}/audit"
"""


def told(folder: Path) -> list[tuple[str, int]]:
    """What the audit trail has told, and of how many instances."""
    lines = (folder / "audit.log").read_bytes().splitlines()
    messages = [validated(line.partition(b"\xef\xbb\xbf")[2]) for line in lines]
    return [(word(one), instances_of(one)) for one in messages]


@contextmanager
def gateway(folder: Path, pacs: PACS, drain_secs: float) -> Iterator[tuple[int, "subprocess.Popen[bytes]"]]:
    """The gateway as a process of its own."""
    port = free_port()
    draining = f"drain_delay_secs = {DRAIN_DELAY_SECS}\ndrain_timeout_secs = {drain_secs}"
    text = CONFIGURATION.replace("HTTP_PORT", str(port)).replace("drain_timeout_secs = 0", draining)
    path = folder / "config.toml"
    audit = AUDIT.format(folder=folder)
    path.write_text(text + "silence_timeout_secs = 20\n" + TARGET.format(port=pacs.port) + audit, encoding="utf-8")
    twistd = str(Path(sys.executable).with_name("twistd"))
    arguments = [twistd, "-n", "--pidfile=", "harmonygw", "-c", str(path)]
    with running(arguments, port, log=folder / "log", cwd=Path(__file__).resolve().parents[2]) as process:
        yield port, process


async def ask(port: int, path: str, accept: str = "*/*") -> Client:
    client = Client()
    await TCP4ClientEndpoint(reactor, "127.0.0.1", port).connect(Factory.forProtocol(lambda: client))
    client.request(path, accept)
    return client


async def readiness(port: int) -> Reply:
    return await (await ask(port, "/readyz")).reply()


async def one_and_wait(connection: Connection, asked: Asked) -> None:
    """Send the first instance, and the others when told."""
    first, *others = connection.pacs.matching(asked)
    await connection.store(first)
    await connection.pacs.told()
    for held in others:
        await connection.store(held)
    connection.final(asked, completed=1 + len(others))


async def begun(pacs: PACS, port: int) -> Client:
    await deferToThread(wait_until_ready, f"http://127.0.0.1:{port}")
    client = await ask(port, STUDY, ANY_DICOM)
    await client.bytes_received(BIG)
    return client


@ensureDeferred
async def test_what_is_under_way_ends_and_nothing_new_is_taken(tmp_path: Path) -> None:
    aftermath = Aftermath()
    pacs = PACS(study_of(3, size=BIG), get=one_and_wait)
    aftermath.begin((pacs._listening,))
    with gateway(tmp_path, pacs, DRAIN_SECS) as (port, process):
        client = await begun(pacs, port)
        started = time.monotonic()
        process.send_signal(signal.SIGTERM)
        statuses = []
        while time.monotonic() - started < DRAIN_DELAY_SECS * 0.7:
            statuses.append((await readiness(port)).status)
        assert statuses[-1] == 503, "a load balancer sees it while it still listens"
        await until(lambda: not listens(port), lambda: "it still listens")
        assert time.monotonic() - started >= DRAIN_DELAY_SECS
        pacs.tell()
        reply = await client.reply()
        assert (reply.status, reply.whole, reply.content.count(b"DICM")) == (200, True, 3)
        assert await deferToThread(process.wait, 10) == CLEAN
        assert time.monotonic() - started < DRAIN_DELAY_SECS + DRAIN_SECS
        await pacs.quiet()
    await pacs.stop()
    assert told(tmp_path) == [("Application 0", 0), ("Begin 0", 0), ("Transferred 0", 3), ("Application 0", 0)]
    aftermath.stop()
    await aftermath.end()


@ensureDeferred
async def test_what_does_not_end_in_time_is_broken_off(tmp_path: Path) -> None:
    pacs = PACS(study_of(3, size=BIG), get=one_and_wait)
    with gateway(tmp_path, pacs, 0.5) as (port, process):
        client = await begun(pacs, port)
        started = time.monotonic()
        process.send_signal(signal.SIGTERM)
        reply = await client.reply()
        assert reply.is_broken_off
        assert DRAIN_DELAY_SECS + 0.5 <= time.monotonic() - started < 6
        assert await deferToThread(process.wait, 10) == CLEAN
        await pacs.quiet()
        assert any(one in pacs.seen for one in ("C-CANCEL-RQ", "A-ABORT 0 0"))
        assert "drain_timeout_secs" in (tmp_path / "log").read_text()
    await pacs.stop()
    start, begin, *transferred, end = told(tmp_path)
    assert (start, begin, end) == (("Application 0", 0), ("Begin 0", 0), ("Application 0", 0))
    assert transferred == [("Transferred 0", 1), ("Transferred 8", 0)]


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
