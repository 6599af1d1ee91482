"""When what a spool has taken is on the disk itself, and a disk that does not keep it."""

import errno
import os
import threading
from pathlib import Path
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.task import Clock

from harmonygw.audit.spool import PROBE_SECS
from harmonygw.errors import Unrecorded
from tests.audit.spooled import MESSAGES, Failing, rest, segments, spooling, until


@ensureDeferred
async def test_messages_are_on_the_disk_a_moment_later_and_together(tmp_path: Path, sync: Failing) -> None:
    clock = Clock()
    synced = sync.sizes
    async with spooling(tmp_path, clock, sync_secs=0.5) as spool:
        synced.clear()
        for message in MESSAGES[:10]:
            spool.append(message)
        clock.advance(0.4)
        assert (synced, len(clock.getDelayedCalls())) == ([], 1)
        clock.advance(0.1)
        await until(lambda: synced)
        assert synced == [10 * 29]
        assert clock.getDelayedCalls() == []
        spool.append(MESSAGES[0])
        assert len(clock.getDelayedCalls()) == 1
    assert synced == [10 * 29, 11 * 29]
    assert clock.getDelayedCalls() == []


@ensureDeferred
async def test_a_slow_disk_is_not_asked_twice_at_a_time(tmp_path: Path, sync: Failing) -> None:
    clock = Clock()
    held = threading.Event()
    call = sync.call

    def slow(number: int) -> None:
        held.wait(5)
        call(number)

    async with spooling(tmp_path, clock) as spool:
        sync.sizes.clear()
        sync.call = slow
        spool.append(MESSAGES[0])
        clock.advance(0.2)
        spool.append(MESSAGES[1])
        clock.advance(0.2)
        assert len(clock.getDelayedCalls()) == 1
        held.set()
        assert spool._syncing is not None
        await spool._syncing
        clock.advance(0.2)
        await until(lambda: len(sync.sizes) > 1)
    assert sync.sizes[0] in {29, 58}
    assert sync.sizes[1:] == [58]


@ensureDeferred
async def test_segments_that_are_full_are_synced_too_and_closed(tmp_path: Path, sync: Failing) -> None:
    clock = Clock()
    async with spooling(tmp_path, clock) as spool:
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(20):
            spool.append(bytes(1 << 15))
        assert len(os.listdir("/proc/self/fd")) == before + 7
        clock.advance(0.2)
        await until(lambda: len(os.listdir("/proc/self/fd")) == before + 1)
        for _ in range(4):
            spool.append(bytes(1 << 15))
        assert len(await rest(spool, limit=1 << 20)) == 24


@ensureDeferred
async def test_with_zero_a_message_is_on_the_disk_when_it_has_been_taken(tmp_path: Path, sync: Failing) -> None:
    clock = Clock()
    synced = sync.sizes
    async with spooling(tmp_path, clock, sync_secs=0.0) as spool:
        synced.clear()
        spool.append(MESSAGES[0])
        assert synced[-1] == 29
        spool.append(MESSAGES[1])
        assert synced[-1] == 58
        assert clock.getDelayedCalls() == []
        sync.error = OSError(errno.EIO, "broken")
        with pytest.raises(Unrecorded):
            spool.append(MESSAGES[2])
        sync.error = None
        spool.append(MESSAGES[3])
        assert await rest(spool) == [*MESSAGES[:2], MESSAGES[3]]


@ensureDeferred
async def test_a_disk_that_does_not_keep_is_trouble_and_gets_nothing_more_into_that_segment(
    tmp_path: Path, sync: Failing, logged: Any
) -> None:
    clock = Clock()
    async with spooling(tmp_path, clock) as spool:
        spool.append(b"one")
        sync.error = OSError(errno.EIO, "broken")
        clock.advance(0.2)
        await until(lambda: spool.refusal)
        assert spool.refusal == "[Errno 5] broken"
        sync.error = None
        spool.append(b"two")
        clock.advance(PROBE_SECS)
        await until(lambda: spool.refusal == "")
        assert await rest(spool) == [b"one", b"two"]
        assert len(segments(tmp_path)) == 2
    assert len(logged()) == 2
