"""Instances in files: read by parts, and never other than what was written."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest
from pytest_twisted import ensureDeferred

from harmonygw.errors import Busy, NotAcceptable, PeerError
from harmonygw.files import DamagedFile, again
from tests.instance_files import DATA, opened, written
from tests.middleware.cache.archive import until


@ensureDeferred
async def test_a_read_beyond_the_end_is_damage_and_no_bytes(tmp_path: Path) -> None:
    async with opened() as disk:
        file = await written(tmp_path / "file", disk, trusted=True)
        for _ in range(2):
            with pytest.raises(DamagedFile):
                await file.read((len(DATA) - 1, 2))
            assert await file.read((len(DATA) - 1, 1)) == [DATA[-1:]]


@pytest.mark.parametrize("at", [0, 1 << 20, len(DATA) - 1])
@ensureDeferred
async def test_a_bit_that_decayed_is_told_from_its_block_and_from_none_else(tmp_path: Path, at: int) -> None:
    path = tmp_path / "file"
    damaged: list[str] = []
    async with opened() as disk:
        file = await written(path, disk)
        before = path.stat()
        with path.open("r+b") as output:
            output.seek(file.checks.data_offset + at)
            output.write(bytes([DATA[at] ^ 1]))
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        file.on_damage = lambda _: damaged.append("told")
        far = 0 if at else len(DATA) - 10
        assert await file.read((far, 10)) == [DATA[far : far + 10]]
        assert damaged == []
        with pytest.raises(DamagedFile) as caught:
            await file.read((at, 1))
        assert "has decayed" in caught.value.log_detail
        assert damaged == ["told"]


@ensureDeferred
async def test_an_open_file_that_somebody_touched_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "file"
    async with opened() as disk:
        file = await written(path, disk)
        assert await file.read((0, len(DATA))) == [DATA]
        assert disk.opened(file) is not None
        os.truncate(path, 1000)
        with pytest.raises(DamagedFile, match="damaged"):
            await file.read((0, 10))
        assert disk.opened(file) is None


@ensureDeferred
async def test_an_open_file_is_closed_when_its_owner_says_so(tmp_path: Path) -> None:
    async with opened() as disk:
        file = await written(tmp_path / "file", disk)
        await file.read((0, 10))
        file.close()
        assert disk.opened(file) is None
        assert await file.read((0, 10)) == [DATA[:10]]


@ensureDeferred
async def test_a_lack_of_descriptors_is_not_taken_for_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    damaged: list[str] = []

    def fail(*_: object) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    async with opened() as disk:
        file = await written(tmp_path / "file", disk)
        file.on_damage = lambda _: damaged.append("told")
        with monkeypatch.context() as patch:
            patch.setattr(os, "open", fail)
            with pytest.raises(Busy):
                await file.read((0, 1))
        assert damaged == []
        assert await file.read((0, 1)) == [DATA[:1]]


def test_an_exception_for_one_more_is_like_the_first() -> None:
    class Special(NotAcceptable):
        def __init__(self, detail: str, *, number: int) -> None:
            super().__init__(detail)
            self.number = number

    for error in (Special("no", number=3), OSError(5, "bad"), PeerError("odd", source=0, reason=1)):
        other = again(error)
        assert other is not error
        assert (type(other), other.args, vars(other)) == (type(error), error.args, vars(error))
        assert str(other) == str(error)


@ensureDeferred
async def test_a_file_that_was_set_aside_ends_with_who_reads_it(tmp_path: Path) -> None:
    path, aside = tmp_path / "file", tmp_path / "aside"
    async with opened() as disk:
        file = await written(path, disk)
        file.set_aside(aside)
        assert (path.exists(), aside.exists()) == (False, True)
        path.write_bytes(b"another")
        assert await file.read((0, len(DATA))) == [DATA]
        file.close()
        del file
        await until(lambda: not aside.exists())
        assert path.read_bytes() == b"another"


@ensureDeferred
async def test_who_opens_a_file_while_it_is_set_aside_finds_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    async with opened() as disk:
        file = await written(path, disk)
        real = os.open

        def late(name: Any, *rest: Any) -> int:
            if name == path and path.exists():
                file.set_aside(tmp_path / "aside")
            return real(name, *rest)

        monkeypatch.setattr(os, "open", late)
        assert await file.read((0, 10)) == [DATA[:10]]
        monkeypatch.setattr(os, "open", real)
        (tmp_path / "aside").unlink()
        file.close()
        with pytest.raises(DamagedFile):
            await file.read((0, 10))
