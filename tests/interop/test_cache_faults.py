"""The cache in the whole gateway: clients that go, a process that is killed, a disk that is full."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.logger import LogEvent, LogLevel, globalLogPublisher

from tests.interop import house as house_module
from tests.interop.connection import Asked, Connection
from tests.interop.held import Held, study_of
from tests.interop.house import ANY_DICOM, CONFIGURATION, STUDY, TARGET, House, Reply, reactor
from tests.interop.pacs import PACS
from tests.interop.processes import ROOT, free_port, wait_for_port, wait_until_ready

SERIES = f"{STUDY}/series/1.2.3"
HUGE = 512 * 1024 * 1024
MIB = 1024 * 1024
TMPFS_BYTES = 3 * MIB

CACHE = """
[middleware.cache]
type = "cache"
options = { path = "PATH", max_bytes = 100_000_000, revalidate_secs = 3600 }

[management]
enabled = true
network = "default"
authentication = "operator"

[authentications.operator]
method = "bearer"
options = { token = "let-me" }

[backends.pacs]
"""


def with_cache(folder: Path) -> str:
    text = CONFIGURATION.replace('middleware = ["bridge"]', 'middleware = ["bridge", "cache"]')
    return text.replace("[backends.pacs]\n", CACHE.lstrip().replace("PATH", str(folder)), 1)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache's folder of every house in this test."""
    monkeypatch.setattr(house_module, "CONFIGURATION", with_cache(tmp_path / "cache"))
    return tmp_path / "cache"


def files_in(folder: Path) -> list[Path]:
    return [one for one in (folder / "objects").rglob("*") if one.is_file()]


def cache_of(house: House) -> dict[str, Any]:
    described: dict[str, Any] = house.gateway.describe()["middleware"]["cache"]
    return described


async def until(condition: Any) -> None:
    deadline = reactor.seconds() + 5
    while not condition():
        assert reactor.seconds() < deadline
        turn: Deferred[None] = Deferred()
        reactor.callLater(0.002, turn.callback, None)
        await turn


def objects_in(content: bytes) -> list[bytes]:
    """What a multipart answer holds, each from its preamble on."""
    return sorted(part.split(b"\r\n--")[0] for part in content.split(b"\0" * 128 + b"DICM")[1:])


@ensureDeferred
async def test_a_hundred_clients_are_one_c_get_and_the_next_one_none(tmp_path: Path, folder: Path) -> None:
    pacs = PACS(study_of(3, size=300_000))
    async with House(tmp_path, pacs) as house:
        await house.gateway.when_ready()
        asked = [Deferred.fromCoroutine(house.retrieve()) for _ in range(100)]
        replies = [await one for one in asked]
        assert {(one.status, one.whole) for one in replies} == {(200, True)}
        wanted = objects_in(replies[0].content)
        assert len(wanted) == 3
        assert all(objects_in(one.content) == wanted for one in replies)
        await until(lambda: not cache_of(house)["under_way"])
        assert pacs.seen.count("C-GET-RQ") == 1
        again = await house.ask(SERIES, ANY_DICOM)
        assert objects_in(again.content) == wanted
        assert pacs.seen.count("C-GET-RQ") == 1
        assert (await house.logged(101))["target"] == "cache"


@ensureDeferred
async def test_the_last_client_that_goes_cancels_the_c_get_within_a_second(tmp_path: Path, folder: Path) -> None:
    pacs = PACS([Held(size=HUGE)])
    async with House(tmp_path, pacs) as house:
        await house.gateway.when_ready()
        clients = [await house.connect() for _ in range(3)]
        for one in clients:
            one.request(SERIES, ANY_DICOM)
        for one in clients:
            await one.bytes_received(100_000)
        for one in clients[:2]:
            one.transport.abortConnection()
        await house.logged(2)
        assert "C-CANCEL-RQ" not in pacs.seen
        gone = house.now
        clients[2].transport.abortConnection()
        await pacs.saw("C-CANCEL-RQ")
        assert pacs.times["C-CANCEL-RQ"] - gone < 1
        await house.freed()
        await until(lambda: not list((folder / "incoming").iterdir()))
        assert files_in(folder) == []
        pacs.held = study_of(1)


@ensureDeferred
async def test_an_association_lost_amid_an_object_breaks_every_client_off(tmp_path: Path, folder: Path) -> None:
    async def stage(connection: Connection, asked: Asked) -> None:
        await connection.store(connection.pacs.held[0])
        connection.begin_object(connection.pacs.held[1])
        await connection.pacs.told()
        connection.reset()

    pacs = PACS(study_of(2, size=300_000), get=stage)
    async with House(tmp_path, pacs) as house:
        await house.gateway.when_ready()
        clients = [await house.connect() for _ in range(3)]
        for one in clients:
            one.request(SERIES, ANY_DICOM)
        for one in clients:
            await one.bytes_received(300_400)
        pacs.tell()
        for one in clients:
            assert (await one.reply()).is_broken_off
        await until(lambda: not cache_of(house)["under_way"])
        await until(lambda: len(files_in(folder)) == 1)
        pacs.behave()
        reply = await house.ask(SERIES, ANY_DICOM)
        assert (reply.status, reply.whole, len(objects_in(reply.content))) == (200, True, 2)
        named = [one for one in pacs.asked if one.identifier.get("00080018", {}).get("Value")]
        assert named[-1].identifier["00080018"]["Value"] == ["1.2.3.5"], "only what is missing"


@ensureDeferred
async def test_a_study_is_purged_by_hand(tmp_path: Path, folder: Path) -> None:
    pacs = PACS(study_of(2))
    async with House(tmp_path, pacs) as house:
        await house.gateway.when_ready()
        await house.retrieve()
        await until(lambda: not cache_of(house)["under_way"])
        reply = await as_operator(house, "DELETE", "/admin/middleware/cache/studies/1.2")
        assert (reply.status, json.loads(reply.content)) == (200, {"removed_instances": 2})
        assert files_in(folder) == []
        reply = await as_operator(house, "GET", "/admin/middleware/cache")
        assert json.loads(reply.content)["bytes"] == 0
        assert (await as_operator(house, "DELETE", "/admin/middleware/bridge/studies/1.2")).status == 404
        assert (await house.ask("/admin/middleware/cache")).status == 401


async def as_operator(house: House, method: str, path: str) -> Reply:
    client = await house.connect()
    fields = "Host: gateway\r\nAuthorization: Bearer let-me\r\nConnection: close"
    client.transport.write(f"{method} {path} HTTP/1.1\r\n{fields}\r\n\r\n".encode())
    return await client.reply()


@contextmanager
def gateway(folder: Path, pacs_port: int, cache: Path) -> Iterator[tuple[str, "subprocess.Popen[bytes]"]]:
    """The gateway as a process of its own."""
    port = free_port()
    text = with_cache(cache).replace("HTTP_PORT", str(port)) + TARGET.format(port=pacs_port)
    path = folder / f"{port}.toml"
    path.write_text(text, encoding="utf-8")
    twistd = str(Path(sys.executable).with_name("twistd"))
    with (folder / f"{port}.log").open("wb") as output:
        process = subprocess.Popen(
            [twistd, "-n", "--pidfile=", "harmonygw", "-c", str(path)],
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            cwd=ROOT,
        )
        try:
            yield f"http://127.0.0.1:{port}", process
        finally:
            process.kill()
            process.wait()


def wait_until_up(url: str, process: "subprocess.Popen[bytes]") -> None:
    wait_for_port(int(url.rpartition(":")[2]), process)
    wait_until_ready(url)


def fetched(url: str) -> bytes:
    with urllib.request.urlopen(urllib.request.Request(url, headers={"Accept": ANY_DICOM}), timeout=30) as reply:
        content: bytes = reply.read()
    return content


def killed_amid(url: str, process: "subprocess.Popen[bytes]", cache: Path) -> None:
    """Kill the process with -9 as soon as it has written a part of an object."""
    reader = subprocess.Popen(
        [sys.executable, "-c", "import sys, urllib.request as u; u.urlopen(sys.argv[1]).read()", f"{url}{SERIES}"],
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 20
    while not any(one.stat().st_size > MIB for one in (cache / "incoming").glob("*.part")):
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    reader.wait()


@ensureDeferred
async def test_of_a_process_that_is_killed_amid_a_write_nothing_partial_is_served(tmp_path: Path) -> None:
    held = [Held(sop="1.2.3.4", size=300_000), Held(sop="1.2.3.5", size=64 * MIB)]
    pacs = PACS(held)

    async def stage(connection: Connection, asked: Asked) -> None:
        for one in connection.pacs.matching(asked):
            if one.size > MIB:
                connection.begin_object(one)
                await connection.pacs.told()
            else:
                await connection.store(one)

    pacs.get = stage
    cache = tmp_path / "cache"
    with gateway(tmp_path, pacs.port, cache) as (url, process):
        await deferToThread(wait_until_up, url, process)
        pacs.held = [held[0], Held(sop="1.2.3.5", size=64 * MIB)]
        begun = deferToThread(killed_amid, url, process, cache)
        await begun
        assert list((cache / "incoming").glob("*.part")), "it was killed amid a write"
    pacs.behave()
    with gateway(tmp_path, pacs.port, cache) as (url, process):
        await deferToThread(wait_until_up, url, process)
        assert list((cache / "incoming").iterdir()) == []
        content = await deferToThread(fetched, f"{url}{SERIES}")
        objects = objects_in(content)
        assert sorted(map(len, objects)) == sorted(len(one.data_set()) + len(head_of(one, objects)) for one in held)
        for one in held:
            assert any(found.endswith(one.data_set()) for found in objects)
        assert await deferToThread(fetched, f"{url}{SERIES}/instances/1.2.3.5")
    await pacs.stop()


def head_of(held: Held, objects: list[bytes]) -> bytes:
    """The file meta information of an object behind its preamble."""
    data = held.data_set()
    [found] = [one for one in objects if one.endswith(data)]
    return found[: -len(data)]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of three MiB; only root can have one."""
    path = tmp_path / "disk"
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={TMPFS_BYTES}", "tmpfs", str(path)]
    if os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a disk of a few MiB cannot be mounted here")
    yield path
    subprocess.run(["umount", "-l", str(path)], check=True)


@ensureDeferred
async def test_a_full_disk_is_done_without_and_said_once(
    tmp_path: Path, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = small_disk / "cache"
    monkeypatch.setattr(house_module, "CONFIGURATION", with_cache(cache))
    logged: list[str] = []

    def observe(event: LogEvent) -> None:
        if event.get("log_level") is LogLevel.error:
            logged.append(str(event["log_format"]))

    globalLogPublisher.addObserver(observe)
    pacs = PACS(study_of(6, size=MIB))
    async with House(tmp_path, pacs) as house:
        await house.gateway.when_ready()
        for _ in range(3):
            reply = await house.retrieve()
            assert (reply.status, reply.whole) == (200, True)
            objects = objects_in(reply.content)
            assert len(objects) == 6
            assert all(any(one.endswith(held.data_set()) for one in objects) for held in pacs.held)
        await until(lambda: cache_of(house)["open"] is False)
        assert logged == ["the cache fails and is left alone for {secs:g} s: {error}"]
        await until(lambda: not cache_of(house)["under_way"])
        await until(lambda: not list((cache / "incoming").iterdir()))
    globalLogPublisher.removeObserver(observe)
    # What is on the disk is whole, and the next start reads it or begins anew.
    monkeypatch.setattr(house_module, "CONFIGURATION", with_cache(cache).replace("100_000_000", "2_000_000"))
    pacs = PACS(study_of(1, size=1000))
    async with House(tmp_path, pacs) as house:
        await house.gateway.when_ready()
        assert (await house.retrieve()).whole
        await until(lambda: not cache_of(house)["under_way"])
        assert cache_of(house)["open"] is True


def test_objects_are_found_in_a_multipart() -> None:
    preamble = b"\0" * 128 + b"DICM"
    content = b"--b\r\nContent-Type: x\r\n\r\n" + preamble + b"one\r\n--b\r\n\r\n" + preamble + b"two\r\n--b--"
    assert objects_in(content) == [b"one", b"two"]
