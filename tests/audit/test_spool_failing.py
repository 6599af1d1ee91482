"""A spool whose disk fails: what was not written whole is refused, and the disk is tried until it is well."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.task import Clock

from harmonygw.audit import spool as spool_module
from harmonygw.audit.spool import PROBE_SECS
from harmonygw.errors import Unrecorded
from tests.audit.spooled import Failing, rest, segments, spooling, until


@ensureDeferred
async def test_a_disk_that_is_full_at_the_start_takes_nothing_and_gives_what_waits(
    tmp_path: Path, write: Failing
) -> None:
    async with spooling(tmp_path) as spool:
        spool.append(b"one")
    clock = Clock()
    write.short = 22
    async with spooling(tmp_path, clock) as spool:
        assert spool.refusal == "the disk is full"
        assert await rest(spool) == [b"one"]
        spool.deliver((await spool.read(spool.confirmed, 1000)).end, 1)
        write.short = 0
        clock.advance(PROBE_SECS)
        await until(lambda: spool.refusal == "")
        spool.append(b"two")
        assert await rest(spool) == [b"two"]


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO, None])
@ensureDeferred
async def test_a_message_that_was_not_written_whole_is_refused_and_the_next_one_is_not(
    tmp_path: Path, write: Failing, error: int | None, logged: Any
) -> None:
    clock = Clock()
    async with spooling(tmp_path, clock) as spool:
        spool.append(b"before")
        if error is None:
            write.short = 22
        else:
            write.error = OSError(error, os.strerror(error))
        for _ in range(2):
            with pytest.raises(Unrecorded) as refused:
                spool.append(b"lost")
        sentence = "the disk is full" if error is None else f"[Errno {error}] {os.strerror(error)}"
        assert refused.value.log_detail == spool.refusal == sentence
        write.short, write.error = 0, None
        spool.append(b"after")
        assert spool.refusal == sentence, "one that fits is no sign of health"
        clock.advance(PROBE_SECS)
        await until(lambda: spool.refusal == "")
        assert await rest(spool) == [b"before", b"after"]
        assert (spool.waiting, spool.damaged) == (2, 0)
        path = tmp_path / "spool"
        assert logged() == [
            f"audit: records cannot be written to {path}: {sentence}",
            f"audit: records are written to {path} again",
        ]
    async with spooling(tmp_path) as spool:
        assert await rest(spool) == [b"before", b"after"]


@ensureDeferred
async def test_half_a_record_that_cannot_be_taken_back_is_passed_over(
    tmp_path: Path, write: Failing, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    async with spooling(tmp_path, clock) as spool:
        spool.append(b"before")
        with monkeypatch.context() as patch:
            patch.setattr(spool_module.os, "ftruncate", Failing(os.ftruncate))
            spool_module.os.ftruncate.error = OSError(errno.EIO, "no")  # type: ignore[attr-defined]
            write.short = 22
            with pytest.raises(Unrecorded):
                spool.append(b"lost")
            write.short = 0
        spool.append(b"after")
        assert await rest(spool) == [b"before", b"after"]
    async with spooling(tmp_path) as spool:
        assert (await rest(spool), spool.waiting) == ([b"before", b"after"], 2)


@ensureDeferred
async def test_a_full_disk_gets_back_what_was_delivered_to_the_last_byte(tmp_path: Path, write: Failing) -> None:
    clock = Clock()
    async with spooling(tmp_path, clock) as spool:
        spool.append(b"one")
        spool.append(b"two")
        write.error = OSError(errno.ENOSPC, "full")
        with pytest.raises(Unrecorded):
            spool.append(b"lost")
        first = await spool.read(spool.confirmed, 1)
        spool.deliver(first.end, 1)
        assert len(segments(tmp_path)) == 1
        last = await spool.read(first.end, 1)
        spool.deliver(last.end, 1)
        await until(lambda: not segments(tmp_path))
        assert (spool.size, spool.oldest()) == (0, None)
        write.error = None
        spool.append(b"three")
        assert (await spool.read(last.end, 1000)).messages == [b"three"]
    async with spooling(tmp_path) as spool:
        assert await rest(spool) == [b"three"]


@pytest.mark.parametrize("sync_secs", [0.2, 0.0])
@ensureDeferred
async def test_a_disk_that_fails_for_long_is_left_no_empty_files(
    tmp_path: Path, write: Failing, sync: Failing, monkeypatch: pytest.MonkeyPatch, sync_secs: float
) -> None:
    async with spooling(tmp_path, Clock(), sync_secs=sync_secs) as spool:
        truncate = Failing(os.ftruncate)
        monkeypatch.setattr(spool_module.os, "ftruncate", truncate)
        for failing in (write, truncate, sync):
            failing.error = OSError(errno.EIO, "broken")
        if not sync_secs:
            write.error = None
        for _ in range(5):
            with pytest.raises(Unrecorded):
                spool.append(b"lost")
        assert segments(tmp_path) == []
        for failing in (write, truncate, sync):
            failing.error = None
        spool.append(b"kept")
        write.error = OSError(errno.ENOSPC, "full")
        for _ in range(5):
            with pytest.raises(Unrecorded):
                spool.append(b"lost")
        write.error = None
        spool.append(b"kept too")
        assert len(segments(tmp_path)) == 1
        assert await rest(spool) == [b"kept", b"kept too"]


@ensureDeferred
async def test_a_disk_is_tried_until_it_takes_something(
    tmp_path: Path, write: Failing, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    async with spooling(tmp_path, clock) as spool:
        write.error = OSError(errno.ENOSPC, "full")
        with pytest.raises(Unrecorded):
            spool.append(b"lost")
        for _ in range(2):
            clock.advance(PROBE_SECS - 0.1)
            assert clock.getDelayedCalls()
            clock.advance(0.1)
            assert clock.getDelayedCalls() == []
            await until(clock.getDelayedCalls)
            assert spool.refusal == "[Errno 28] full"
        write.error = None
        clock.advance(PROBE_SECS)
        await until(lambda: spool.refusal == "")
        assert clock.getDelayedCalls() == []


@ensureDeferred
async def test_a_disk_that_takes_the_next_message_is_probed_before_it_is_well(tmp_path: Path, write: Failing) -> None:
    clock = Clock()
    async with spooling(tmp_path, clock) as spool:
        write.error = OSError(errno.ENOSPC, "full")
        with pytest.raises(Unrecorded):
            spool.append(b"lost")
        write.error = None
        spool.append(b"kept")
        assert spool.refusal == "[Errno 28] full"
        clock.advance(0.5)
        clock.advance(PROBE_SECS)
        await until(lambda: spool.refusal == "")
        write.error = OSError(errno.ENOSPC, "full")
        with pytest.raises(Unrecorded):
            spool.append(b"lost")
        (probe,) = clock.getDelayedCalls()
        assert probe.getTime() == clock.seconds() + PROBE_SECS
