"""The folder of a spool: who may have it, and that it has one process."""

import errno
import os
from pathlib import Path

import pytest
from pytest_twisted import ensureDeferred

from harmonygw.audit import folder as folder_module
from harmonygw.audit.folder import Folder, Position
from harmonygw.errors import ConfigurationError
from tests.audit.spooled import Failing, spooling


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
async def test_a_folder_that_cannot_be_written_to_is_refused(tmp_path: Path, write: Failing) -> None:
    write.error = OSError(errno.EROFS, "Read-only file system")
    with pytest.raises(ConfigurationError, match=r"audit\.spool_path: .*/spool: Read-only file system"):
        async with spooling(tmp_path):
            pass
    write.error = None
    async with spooling(tmp_path) as spool:
        assert sorted(path.name for path in (tmp_path / "spool").iterdir()) == ["delivered"]
        assert spool.is_empty


@ensureDeferred
async def test_a_folder_is_closed_with_its_lock(tmp_path: Path) -> None:
    first = Folder(tmp_path / "spool")
    first.close()
    second = Folder(tmp_path / "spool")
    assert second.recover() == (Position(1, 0), [])
    second.close()
