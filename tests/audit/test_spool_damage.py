"""What a spool finds that it did not leave so: half a record, decay, segments and a note that somebody took."""

import os
from pathlib import Path
from typing import Any

import pytest
from pytest_twisted import ensureDeferred

from harmonygw.audit import records
from harmonygw.audit.folder import Position
from harmonygw.errors import Unrecorded
from tests.audit.spooled import MESSAGES, rest, segments, spooling


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
