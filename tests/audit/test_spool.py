"""The spool: what it has taken is there, in order, whatever ended the process; what it cannot keep it refuses."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.task import Clock

from harmonygw.audit import records
from harmonygw.audit.folder import Position
from harmonygw.audit.spool import FULL, Spool
from harmonygw.disk import Disk
from harmonygw.errors import Unrecorded
from tests.audit.spooled import MESSAGES, audit, rest, segments, spooling

ROOT = Path(__file__).parents[2]


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
