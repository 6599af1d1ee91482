"""Workers with real processes: what crashes, hangs or swells costs one job."""

import errno
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from pydicom.data import get_testdata_file
from pydicom.pixels import pixel_array
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, gatherResults

from harmonygw.errors import NotAcceptable, PeerError, RenderingFailed
from harmonygw.rendering.jobs import JOBS
from harmonygw.rendering.limits import WorkerLimits
from harmonygw.rendering.worker import MAX_OPEN_FILES
from harmonygw.rendering.workers import Workers
from tests.rendering.frames import frames_of, pixels_of, transfer_syntax_of

ODD = (
    "reverse",
    "hang",
    "crash",
    "breed",
    "open_files",
    "fill",
    "talk",
    "scribble",
    "inspect",
    "overflow",
    "need_numpy",
)
ODD_JOBS = {name: f"tests.rendering.odd_jobs:{name}" for name in ODD}


@asynccontextmanager
async def workers(jobs: Any = ODD_JOBS, **limits: Any) -> AsyncIterator[Workers]:
    pool = Workers(reactor, WorkerLimits(**({"processes": 1, "max_payload_bytes": 32 << 20} | limits)), jobs=jobs)
    pool.start()
    try:
        yield pool
    finally:
        await pool.stop()


async def well(pool: Workers) -> bool:
    """Whether the pool works."""
    return await pool.run("reverse", {"well": 1}, [b"abc", b"de"]) == ({"well": 1}, b"edcba")


def start(pool: Workers, job: str, **parameters: Any) -> "Deferred[Any]":
    return Deferred.fromCoroutine(pool.run(job, parameters, ()))


@ensureDeferred
async def test_a_frame_is_decoded() -> None:
    path = get_testdata_file("MR_small_jp2klossless.dcm", download=False)
    async with workers(JOBS, max_payload_bytes=1 << 29) as pool:
        parameters = {"transfer_syntax": transfer_syntax_of(path), "pixels": asdict(pixels_of(path))}
        result, data = await pool.run("decode", parameters, frames_of(path))
        assert data == pixel_array(path).tobytes()
        assert result == {"pixels": parameters["pixels"]}
        with pytest.raises(PeerError, match="not the JPEG 2000"):
            await pool.run("decode", parameters, [b"nothing of the kind"])


@ensureDeferred
@pytest.mark.parametrize("length", [0, 1, 256 << 10, (256 << 10) + 1, (16 << 20) + 1, 32 << 20])
async def test_frames_of_any_size_come_back(length: int) -> None:
    frame = (os.urandom(4099) * (length // 4099 + 1))[:length]
    async with workers() as pool:
        for _ in range(2):
            assert await pool.run("reverse", {}, [frame[: length // 2], frame[length // 2 :]]) == ({}, frame[::-1])


@ensureDeferred
async def test_a_segmentation_fault_costs_one_job() -> None:
    async with workers(processes=2) as pool:
        crashed, other = start(pool, "crash"), start(pool, "reverse")
        with pytest.raises(RenderingFailed, match="crashed over a frame"):
            await crashed
        assert await other == ({}, b"")
        assert await well(pool)


@ensureDeferred
async def test_a_process_that_is_killed_costs_one_job(tmp_path: Path) -> None:
    async with workers() as pool:
        result, _ = await pool.run("inspect", {"file": str(tmp_path / "file")}, ())
        hanging = start(pool, "hang")
        os.kill(result["pid"], signal.SIGKILL)
        with pytest.raises(RenderingFailed):
            await hanging
        assert await well(pool)
        assert pool.state()["restarts"] == 1


@ensureDeferred
async def test_a_job_that_hangs_is_ended() -> None:
    async with workers(job_timeout_secs=0.2) as pool:
        with pytest.raises(RenderingFailed, match="longer than job_timeout_secs"):
            await pool.run("hang", {}, ())
        assert await well(pool)


@ensureDeferred
@pytest.mark.parametrize("then", ["crash", "hang"])
async def test_what_a_process_has_started_ends_with_it(then: str) -> None:
    async with workers(job_timeout_secs=0.5) as pool:
        with pytest.raises(RenderingFailed):
            await pool.run("breed", {"then": then}, ())
        assert await well(pool)
        assert pool.state()["killed"] == 1


def test_a_worker_may_start_nothing() -> None:
    script = (
        "import os, sys; from harmonygw.rendering.worker import confine\n"
        "if os.getuid() == 0: os.setgid(65534); os.setuid(65534)\n"
        "confine(1 << 30)\n"
        "try:\n os.fork()\nexcept OSError as error: print(error.errno)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, timeout=30)
    assert done.stdout.split() == [str(errno.EAGAIN).encode()]


@ensureDeferred
async def test_a_worker_opens_no_more_files_than_it_may() -> None:
    async with workers() as pool:
        result, _ = await pool.run("open_files", {}, ())
        assert result["highest"] == MAX_OPEN_FILES - 1
        assert await well(pool)


def test_a_job_without_a_gateway_ends_its_process_too() -> None:
    script = (
        "import os; from harmonygw.rendering import wire; from harmonygw.rendering.memory import SharedMemory\n"
        "from harmonygw.rendering.worker import serve\n"
        "there, here = os.pipe()\n"
        "job = {'id': 1, 'job': 'tests.rendering.odd_jobs:hang', 'parameters': {}, 'lengths': []}\n"
        "os.write(here, wire.pack(job))\n"
        "memories = SharedMemory(1), SharedMemory(1)\n"
        "serve(there, 1, (memories[0].fd, memories[1].fd), 1, 0.1)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False, timeout=30)
    assert done.returncode == -signal.SIGALRM


@ensureDeferred
async def test_a_cancelled_job_that_hangs_is_ended() -> None:
    async with workers(cancel_grace_secs=0.1) as pool:
        assert await well(pool)
        hanging = start(pool, "hang")
        hanging.cancel()
        with pytest.raises(CancelledError):
            await hanging
        assert await well(pool)
        assert pool.state()["killed"] == 1


@ensureDeferred
async def test_memory_has_a_limit_and_a_job_that_wants_more_costs_no_process() -> None:
    async with workers(memory_limit_bytes=512 << 20) as pool:
        assert await pool.run("fill", {"bytes": 64 << 20}, ()) == ({"took": 64 << 20}, b"")
        with pytest.raises(RenderingFailed, match="more memory than a worker process may use"):
            await pool.run("fill", {"bytes": 512 << 20}, ())
        assert await well(pool)
        assert pool.state()["restarts"] == 0


@ensureDeferred
async def test_what_libraries_print_is_between_no_two_answers() -> None:
    async with workers() as pool:
        assert await pool.run("talk", {}, ()) == ({}, b"said")
        assert await well(pool)


@ensureDeferred
async def test_garbage_instead_of_an_answer_ends_the_process() -> None:
    async with workers() as pool:
        with pytest.raises(RenderingFailed, match="no proper answer"):
            await pool.run("scribble", {}, ())
        assert await well(pool)


@ensureDeferred
async def test_a_process_writes_no_file_knows_no_secret_and_does_not_mind_the_interrupt_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PACS_PASSWORD", "secret")
    async with workers() as pool:
        result, _ = await pool.run("inspect", {"file": str(tmp_path / "file")}, ())
        assert result["pid"] != os.getpid()
        assert result["written"] == 0
        assert (tmp_path / "file").stat().st_size == 0
        assert "PACS_PASSWORD" not in result["environment"]
        assert await well(pool)


@ensureDeferred
async def test_a_result_beyond_its_limit_fails() -> None:
    async with workers(max_payload_bytes=1 << 20) as pool:
        with pytest.raises(RenderingFailed, match="exceeds max_payload_bytes"):
            await pool.run("overflow", {"bytes": (1 << 20) + 1}, ())
        assert await well(pool)


@ensureDeferred
async def test_without_the_extra_the_client_is_told_how_it_is_installed() -> None:
    async with workers() as pool:
        with pytest.raises(NotAcceptable, match=r"pip install harmonygw\[pixels\]"):
            await pool.run("need_numpy", {}, ())


@ensureDeferred
async def test_many_jobs_come_back_to_whom_they_belong() -> None:
    async with workers(processes=2) as pool:
        jobs = [start(pool, "reverse", number=number) for number in range(200)]
        results = await gatherResults(jobs)
        assert [result["number"] for result, _ in results] == list(range(200))


@ensureDeferred
async def test_processes_end_with_the_pool(tmp_path: Path) -> None:
    async with workers() as pool:
        result, _ = await pool.run("inspect", {"file": str(tmp_path / "file")}, ())
    with pytest.raises(ProcessLookupError):
        os.kill(result["pid"], 0)
