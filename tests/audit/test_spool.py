"""The spool: what it has taken is there, in order, whatever ended the process; what it cannot keep it refuses."""

import errno
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.task import Clock, deferLater
from twisted.logger import LogEvent, globalLogPublisher

from harmonygw.audit import folder as folder_module
from harmonygw.audit import records
from harmonygw.audit import spool as spool_module
from harmonygw.audit.folder import Folder, Position
from harmonygw.audit.spool import FULL, PROBE_SECS, Spool
from harmonygw.config.audit import Audit
from harmonygw.disk import Disk
from harmonygw.errors import ConfigurationError, Unrecorded

ROOT = Path(__file__).parents[2]


def audit(folder: Path, **more: Any) -> Audit:
    return Audit(spool_path=str(folder / "spool"), **{"max_spool_bytes": 1 << 20, **more})


@asynccontextmanager
async def spooling(folder: Path, clock: Any = reactor, now: Callable[[], float] | None = None, **more: Any) -> Any:
    """A spool that is open, on a disk of its own."""
    disk = Disk(reactor, threads=2, name="test")
    disk.start()
    spool = Spool(audit(folder, **more), clock, disk, now=now or (lambda: 1.0))
    try:
        await spool.start()
        yield spool
        await spool.stop()
    finally:
        await disk.stop()


async def rest(spool: Spool, limit: int = 1000, after: Position | None = None) -> list[bytes]:
    """Read everything from what has been delivered on."""
    found: list[bytes] = []
    at = after or spool.confirmed
    while (batch := await spool.read(at, limit)).messages:
        found += batch.messages
        at = batch.end
    return found


@pytest.fixture
def logged() -> Any:
    events: list[LogEvent] = []

    def observe(event: LogEvent) -> None:
        if event.get("log_namespace") == "harmonygw.audit":
            events.append(event)

    globalLogPublisher.addObserver(observe)
    yield lambda: [event["log_format"].format(**event) for event in events]
    globalLogPublisher.removeObserver(observe)


def segments(folder: Path) -> list[Path]:
    return sorted((folder / "spool").glob("*.segment"))


MESSAGES = [b"message %d" % number for number in range(500)]


@ensureDeferred
async def test_messages_are_read_in_order_in_parts(tmp_path: Path) -> None:
    async with spooling(tmp_path) as spool:
        assert await rest(spool) == []
        for message in MESSAGES:
            spool.append(message)
        assert await rest(spool, limit=1) == MESSAGES
        assert await rest(spool, limit=100) == MESSAGES
        assert await rest(spool) == MESSAGES
        assert spool.waiting == 500
        assert not spool.is_empty


@ensureDeferred
async def test_a_message_longer_than_a_part_is_read_whole(tmp_path: Path) -> None:
    async with spooling(tmp_path, max_message_bytes=1 << 17) as spool:
        messages = [b"a", b"b" * (1 << 17), b"c"]
        for message in messages:
            spool.append(message)
        assert await rest(spool, limit=64) == messages


@ensureDeferred
async def test_files_and_folder_are_for_their_user_alone(tmp_path: Path) -> None:
    async with spooling(tmp_path) as spool:
        spool.append(b"x")
        assert (tmp_path / "spool").stat().st_mode & 0o777 == 0o700
        modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "spool").iterdir()}
        assert modes == {"000000000001.segment": 0o600, "delivered": 0o600}


@ensureDeferred
async def test_what_was_delivered_does_not_come_again_after_a_restart_and_the_rest_does(tmp_path: Path) -> None:
    async with spooling(tmp_path) as spool:
        for message in MESSAGES[:5]:
            spool.append(message)
        batch = await spool.read(spool.confirmed, 2 * (records.HEADER_LENGTH + len(MESSAGES[0])))
        assert batch.messages == MESSAGES[:2]
        spool.deliver(batch.end, 2)
    for _ in range(2):
        async with spooling(tmp_path) as spool:
            assert spool.waiting == 3
            assert await rest(spool) == MESSAGES[2:5]
    async with spooling(tmp_path) as spool:
        spool.append(b"new")
        assert await rest(spool) == [*MESSAGES[2:5], b"new"]
        assert [path.name for path in segments(tmp_path)] == ["000000000001.segment", "000000000002.segment"]
        everything = await spool.read(Position(2, 0), 1000)
        spool.deliver(everything.end, 4)
        assert spool.is_empty
    async with spooling(tmp_path) as spool:
        assert await rest(spool) == []
        assert len(segments(tmp_path)) == 1
        spool.append(b"newer")
        assert await rest(spool) == [b"newer"]


@ensureDeferred
async def test_a_number_is_never_used_again(tmp_path: Path) -> None:
    async with spooling(tmp_path) as spool:
        spool.append(b"one")
        spool.deliver((await spool.read(spool.confirmed, 1000)).end, 1)
    segments(tmp_path)[0].unlink()
    async with spooling(tmp_path) as spool:
        spool.append(b"2")
        assert [path.name for path in segments(tmp_path)] == ["000000000002.segment"]
    async with spooling(tmp_path) as spool:
        assert await rest(spool) == [b"2"]


@ensureDeferred
async def test_what_is_delivered_makes_room_by_segments(tmp_path: Path) -> None:
    async with spooling(tmp_path) as spool:
        size = 1 << 15
        assert (1 << 20) // (size + records.HEADER_LENGTH) == 31
        for _ in range(31):
            spool.append(bytes(size))
        with pytest.raises(Unrecorded) as full:
            spool.append(bytes(size))
        assert (full.value.detail, full.value.log_detail) == ("the audit trail takes no record", FULL)
        assert spool.size == 31 * (size + records.HEADER_LENGTH) <= 1 << 20
        assert spool.refusal == FULL
        assert spool.waiting == 31
        assert len(segments(tmp_path)) == 11, "three of that length in an eighth of 1 MiB"
        batch = await spool.read(spool.confirmed, 3 * (size + records.HEADER_LENGTH))
        spool.deliver(batch.end, 3)
        assert spool.refusal == FULL, "the segment is not behind us"
        batch = await spool.read(batch.end, size + records.HEADER_LENGTH)
        spool.deliver(batch.end, 1)
        assert spool.refusal == ""
        spool.append(b"again")
        assert (await rest(spool, limit=1 << 20))[-1] == b"again"
        assert len(segments(tmp_path)) == 10
    assert sum(path.stat().st_size for path in segments(tmp_path)) <= 1 << 20


@ensureDeferred
async def test_that_it_is_full_and_that_it_is_not_any_more_is_said_once(tmp_path: Path, logged: Any) -> None:
    async with spooling(tmp_path) as spool:
        for _ in range(35):
            try:
                spool.append(bytes(1 << 15))
            except Unrecorded:
                continue
        spool.settle((await spool.read(Position(11, 0), 1 << 20)).end)
        assert spool.is_empty
    path = tmp_path / "spool"
    assert logged() == [
        f"audit: {path} is full: records are lost (max_spool_bytes)",
        f"audit: there is room in {path} again",
    ]


@ensureDeferred
async def test_the_limit_holds_over_a_restart(tmp_path: Path) -> None:
    async with spooling(tmp_path) as spool:
        for _ in range(31):
            spool.append(bytes(1 << 15))
    async with spooling(tmp_path) as spool:
        assert spool.size == 31 * ((1 << 15) + records.HEADER_LENGTH)
        with pytest.raises(Unrecorded):
            spool.append(bytes(1 << 15))
        spool.append(b"short")


@pytest.mark.parametrize("cut", [1, 3, 19, 20, 25])
@ensureDeferred
async def test_a_record_that_was_not_written_whole_is_cut_off(tmp_path: Path, cut: int, logged: Any) -> None:
    async with spooling(tmp_path) as spool:
        for message in MESSAGES[:3]:
            spool.append(message)
    (path,) = segments(tmp_path)
    whole = path.stat().st_size
    with path.open("ab") as file:
        file.write(records.encode(MESSAGES[3], 1.0)[:cut])
    async with spooling(tmp_path) as spool:
        assert spool.waiting == 3
        spool.append(b"next")
        assert await rest(spool) == [*MESSAGES[:3], b"next"]
        assert spool.damaged == 0
    assert path.stat().st_size == whole
    assert logged() == [f"audit: the end of {path} was no whole record; cut off: {cut} bytes"]


@ensureDeferred
async def test_what_has_decayed_is_told_of_once_and_what_follows_is_read(tmp_path: Path, logged: Any) -> None:
    async with spooling(tmp_path) as spool:
        for message in MESSAGES[:5]:
            spool.append(message)
        (path,) = segments(tmp_path)
        with path.open("r+b") as file:
            file.seek(2 * 29 + 25)
            file.write(b"\x00")
        assert await rest(spool, limit=40) == [*MESSAGES[:2], *MESSAGES[3:5]]
        assert await rest(spool) == [*MESSAGES[:2], *MESSAGES[3:5]]
        assert spool.damaged == 1
        assert logged() == [f"audit: 29 bytes of {path} are damaged: records are lost"]
        spool.settle((await spool.read(Position(1, 5 * 29), 100)).end)
        assert spool.is_empty


@pytest.mark.parametrize("how", ["removed", "truncated", "truncated later"])
@ensureDeferred
async def test_a_segment_that_somebody_took_does_not_hold_up_the_rest(tmp_path: Path, how: str) -> None:
    async with spooling(tmp_path) as spool:
        for message in MESSAGES[:3]:
            spool.append(message)
    async with spooling(tmp_path) as spool:
        spool.append(b"next")
        first = segments(tmp_path)[0]
        if how == "removed":
            first.unlink()
        elif how == "truncated":
            os.truncate(first, 30)
        after = Position(1, 58) if how == "truncated later" else None
        if after:
            os.truncate(first, 30)
        assert await rest(spool, after=after) == ([MESSAGES[0], b"next"] if how == "truncated" else [b"next"])
        assert spool.damaged >= 1
        spool.settle((await spool.read(Position(2, 24), 100)).end)
        assert (spool.waiting, spool.is_empty) == (0, True)


@pytest.mark.parametrize("note", [b"", b"\x00" * 20, b"\xff" * 20, b"short"])
@ensureDeferred
async def test_without_its_note_everything_that_is_there_comes_again(tmp_path: Path, note: bytes) -> None:
    async with spooling(tmp_path) as spool:
        for message in MESSAGES[:3]:
            spool.append(message)
        spool.deliver((await spool.read(spool.confirmed, 29)).end, 1)
    (tmp_path / "spool" / "delivered").write_bytes(note)
    async with spooling(tmp_path) as spool:
        assert spool.waiting == 3
        assert await rest(spool) == MESSAGES[:3]


@ensureDeferred
async def test_a_note_beyond_a_segment_that_lost_power_hides_nothing_that_is_new(tmp_path: Path) -> None:
    async with spooling(tmp_path) as spool:
        for message in MESSAGES[:3]:
            spool.append(message)
        spool.deliver((await spool.read(spool.confirmed, 1000)).end, 3)
    os.truncate(segments(tmp_path)[0], 29)
    async with spooling(tmp_path) as spool:
        assert spool.is_empty
        spool.append(b"new")
        assert await rest(spool) == [b"new"]


@ensureDeferred
async def test_what_was_delivered_whole_and_is_still_there_is_removed(tmp_path: Path) -> None:
    async with spooling(tmp_path) as spool:
        spool.append(b"one")
    async with spooling(tmp_path) as spool:
        spool.append(b"two")
        spool.deliver((await spool.read(Position(2, 0), 1000)).end, 2)
    (tmp_path / "spool" / "000000000001.segment").write_bytes(records.encode(b"one", 1.0))
    async with spooling(tmp_path) as spool:
        assert await rest(spool) == []
        assert [path.name for path in segments(tmp_path)] == ["000000000002.segment"]


@ensureDeferred
async def test_it_tells_since_when_the_first_message_waits(tmp_path: Path) -> None:
    times = iter([10.0, 20.5, 30.0])
    async with spooling(tmp_path, now=lambda: next(times)) as spool:
        assert spool.oldest() is None
        for message in MESSAGES[:2]:
            spool.append(message)
        assert spool.oldest() == 10.0
        spool.deliver((await spool.read(spool.confirmed, 29)).end, 1)
        assert spool.oldest() == 20.5
    async with spooling(tmp_path, now=lambda: next(times)) as spool:
        assert spool.oldest() == 20.5
        spool.append(b"third")
        spool.deliver(Position(1, 58), 1)
        assert spool.oldest() == 30.0
        segments(tmp_path)[1].unlink()
        assert spool.oldest() is None


# Who may have it


@ensureDeferred
async def test_a_folder_has_one_process(tmp_path: Path) -> None:
    async with spooling(tmp_path):
        with pytest.raises(ConfigurationError, match="is in use by another process; each needs its own"):
            async with spooling(tmp_path):
                pass
    async with spooling(tmp_path) as spool:
        spool.append(b"free")


@ensureDeferred
async def test_a_folder_that_others_may_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "spool").mkdir(mode=0o750)
    with pytest.raises(ConfigurationError, match=r"is open to others than its user.*\(chmod 700\)"):
        async with spooling(tmp_path):
            pass


@ensureDeferred
async def test_a_folder_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "spool").mkdir(mode=0o700)
    monkeypatch.setattr(folder_module.os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(ConfigurationError, match="belongs to another user"):
        async with spooling(tmp_path):
            pass


@ensureDeferred
async def test_a_folder_that_cannot_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "spool").write_bytes(b"")
    with pytest.raises(ConfigurationError, match=r"audit\.spool_path: .*: File exists"):
        async with spooling(tmp_path):
            pass


@ensureDeferred
async def test_a_folder_that_cannot_be_written_to_is_refused(tmp_path: Path, write: "Failing") -> None:
    write.error = OSError(errno.EROFS, "Read-only file system")
    with pytest.raises(ConfigurationError, match=r"audit\.spool_path: .*/spool: Read-only file system"):
        async with spooling(tmp_path):
            pass
    write.error = None
    async with spooling(tmp_path) as spool:
        assert sorted(path.name for path in (tmp_path / "spool").iterdir()) == ["delivered"]
        assert spool.is_empty


@ensureDeferred
async def test_a_disk_that_is_full_at_the_start_takes_nothing_and_gives_what_waits(
    tmp_path: Path, write: "Failing"
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


# A disk that fails


class Failing:
    """Stands for a system call: fails or does half while it is told to."""

    def __init__(self, call: Callable[..., Any]) -> None:
        self.call = call
        self.error: OSError | None = None
        self.short = 0
        self.sizes: list[int] = []
        """Of the segments that it was called for."""

    def __call__(self, number: int, *arguments: Any) -> Any:
        if arguments and arguments[0] == b"x":
            return self.call(number, *arguments)  # a byte wakes the reactor up
        if self.short:
            self.call(number, arguments[0][: self.short])
            return self.short
        if self.error is not None:
            raise self.error
        if os.readlink(f"/proc/self/fd/{number}").endswith(".segment"):
            self.sizes.append(os.fstat(number).st_size)
        return self.call(number, *arguments)


@pytest.fixture
def write(monkeypatch: pytest.MonkeyPatch) -> Failing:
    failing = Failing(os.write)
    monkeypatch.setattr(spool_module.os, "write", failing)
    return failing


@pytest.fixture
def sync(monkeypatch: pytest.MonkeyPatch) -> Failing:
    failing = Failing(os.fdatasync)
    monkeypatch.setattr(spool_module.os, "fdatasync", failing)
    return failing


async def until(condition: Callable[[], Any]) -> None:
    for _ in range(500):
        if condition():
            return
        await deferLater(reactor, 0.01)
    raise AssertionError("it did not become so")


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
async def test_nothing_is_taken_before_the_start_or_after_the_stop(tmp_path: Path) -> None:
    async with spooling(tmp_path) as spool:
        spool.append(b"one")
    for closed in (spool, Spool(audit(tmp_path), Clock(), Disk(reactor, threads=1, name="test"))):
        assert closed.refusal == "the spool is not open"
        with pytest.raises(Unrecorded) as refused:
            closed.append(b"x")
        assert refused.value.log_detail == "the spool is not open"
        assert closed.oldest() is None
        closed.deliver(Position(9, 0), 1)
        await closed.set_aside(b"x")
        await closed.stop()
    async with spooling(tmp_path) as spool:
        assert await rest(spool) == [b"one"]


# The disk itself


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


@ensureDeferred
async def test_a_disk_that_cannot_be_read_is_not_damage(tmp_path: Path) -> None:
    async with spooling(tmp_path) as spool:
        spool.append(b"one")
        (path,) = segments(tmp_path)
        path.rename(tmp_path / "aside")
        path.symlink_to(path)
        with pytest.raises(Unrecorded, match="cannot be read"):
            await rest(spool)
        path.unlink()
        (tmp_path / "aside").rename(path)
        assert (await rest(spool), spool.damaged) == ([b"one"], 0)


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


@ensureDeferred
async def test_what_nobody_takes_is_set_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logged: Any) -> None:
    async with spooling(tmp_path) as spool:
        await spool.set_aside(b"<85>1 long")
        await spool.set_aside(b"<85>1 longer")
        path = tmp_path / "spool" / "set-aside"
        assert path.read_bytes() == b"<85>1 long\n<85>1 longer\n"
        assert path.stat().st_mode & 0o777 == 0o600
        assert (spool.aside, spool.damaged) == (2, 0)
        os.truncate(path, 1 << 20)
        await spool.set_aside(b"<85>1 last")
        assert (spool.aside, spool.damaged) == (2, 1)
        assert logged()[-1] == "audit: a record of 10 bytes is lost: the file of what was set aside is full"


# The death of the process

WRITER = """
import sys
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from harmonygw.audit.spool import Spool
from harmonygw.config.audit import Audit
from harmonygw.disk import Disk

async def main():
    disk = Disk(reactor, threads=2, name="audit")
    disk.start()
    spool = Spool(Audit(spool_path=sys.argv[1]), reactor, disk)
    await spool.start()
    number = int(sys.argv[2])
    def some():
        nonlocal number
        for _ in range(100):
            spool.append(b"message %d " % number + bytes(number % 997))
            sys.stdout.write(f"{number}\\n")
            sys.stdout.flush()
            number += 1
        reactor.callLater(0, some)
    some()

Deferred.fromCoroutine(main()).addErrback(lambda failure: (failure.printTraceback(), reactor.stop()))
reactor.run()
"""


@ensureDeferred
async def test_a_killed_process_loses_nothing_that_it_has_taken(tmp_path: Path) -> None:
    taken = 0
    for _ in range(4):
        command = [sys.executable, "-c", WRITER, str(tmp_path / "spool"), str(taken)]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            for _ in range(1500):
                assert writer.stdout.readline()
            writer.send_signal(signal.SIGKILL)
            told = writer.stdout.read().splitlines(keepends=True)
        assert writer.returncode == -signal.SIGKILL
        taken += 1500 + sum(line.endswith(b"\n") for line in told)
        async with spooling(tmp_path, max_spool_bytes=1 << 30) as spool:
            found = await rest(spool, limit=1 << 18)
            # One more may have been written whose number was not told any more.
            assert len(found) in {taken, taken + 1}
            assert found == [b"message %d " % number + bytes(number % 997) for number in range(len(found))]
            taken = len(found)


@ensureDeferred
async def test_a_folder_is_closed_with_its_lock(tmp_path: Path) -> None:
    first = Folder(tmp_path / "spool")
    first.close()
    second = Folder(tmp_path / "spool")
    assert second.recover() == (Position(1, 0), [])
    second.close()
