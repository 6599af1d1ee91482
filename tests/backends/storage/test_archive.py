import fcntl
import multiprocessing
import os
import signal
import sqlite3
from pathlib import Path
from types import ModuleType

import pytest

from harmonygw.backends.storage.archive import OWN_FOLDER, Archive
from harmonygw.backends.storage.arrival import Arrival
from harmonygw.backends.storage.patterns import WritePattern
from harmonygw.backends.storage.search import files
from harmonygw.errors import ConfigurationError
from tests.backends.storage.objects import ct, data_set, encoded, files_below, study


def opened(root: Path, pattern: str = "") -> Archive:
    return Archive(root, WritePattern(pattern))


def arrived(archive: Archive, **attributes: object) -> Arrival:
    arrival = archive.receive(ct(**attributes))
    arrival.write((encoded(data_set(**attributes)),))
    return arrival


def keep(archive: Archive, **attributes: object) -> None:
    archive.keep(archive.receive(ct(**attributes)), (encoded(data_set(**attributes)),))


def contents(archive: Archive) -> dict[str, bytes]:
    """What a retrieval of the study delivers, by SOP Instance UID."""
    found = {}
    for stored in files(archive.index, study()):
        data = archive.read(stored, stored.transfer_syntax_uid)
        pieces = []
        while read := data.read():
            pieces += read
        data.close()
        found[stored.sop_instance_uid] = b"".join(pieces)
    return found


def in_a_process_that_is_killed(work: object, root: Path) -> None:
    """Run `work(root)` in a child, which it ends with SIGKILL."""
    child = multiprocessing.get_context("fork").Process(target=work, args=(root,))
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def killed_while_writing(root: Path) -> None:
    archive = opened(root)
    keep(archive)
    archive.receive(ct(SOPInstanceUID="1.5")).write((encoded(data_set(SOPInstanceUID="1.5"))[:100],))
    die()


def killed_before_the_transaction(root: Path) -> None:
    archive = opened(root)
    keep(archive)
    archive.index.add = lambda entry: die()  # type: ignore[method-assign, assignment, return-value]
    keep(archive, SOPInstanceUID="1.5")


def killed_before_the_move(root: Path) -> None:
    archive = opened(root)
    archive._move = lambda place: die()  # type: ignore[method-assign]
    keep(archive)


def killed_before_the_removal(root: Path) -> None:
    archive = opened(root)
    keep(archive)
    archive._remove = lambda place: die()  # type: ignore[method-assign]
    keep(archive, Rows=9)


@pytest.mark.parametrize(
    ("work", "rows", "left"),
    [
        (killed_while_writing, 2, 2),
        (killed_before_the_transaction, 2, 2),
        (killed_before_the_move, 2, 1),
        (killed_before_the_removal, 9, 2),
    ],
)
def test_after_a_kill_at_any_moment_whole_instances_are_served_and_nothing_else_is_left(
    tmp_path: Path, work: object, rows: int, left: int
) -> None:
    in_a_process_that_is_killed(work, tmp_path)
    assert len(files_below(tmp_path)) == left
    archive = opened(tmp_path)

    assert contents(archive) == {"1.2.3.4": encoded(data_set(Rows=rows))}
    assert len([name for name in files_below(tmp_path) if not name.startswith(OWN_FOLDER)]) == 1
    assert len(files_below(tmp_path)) == 1
    archive.close()
    assert list((tmp_path / OWN_FOLDER / "incoming").iterdir()) == []


def test_a_file_that_cannot_move_is_served_from_where_it_is_and_moved_at_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, target: Path) -> Path:
        raise OSError("no")

    archive = opened(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", refuse)
        keep(archive)
    [staged] = files_below(tmp_path)
    served = contents(archive)
    archive.close()
    again = opened(tmp_path)
    [moved] = files_below(tmp_path)

    assert staged.startswith(OWN_FOLDER)
    assert not moved.startswith(OWN_FOLDER)
    assert served == contents(again) == {"1.2.3.4": encoded(data_set())}
    again.close()


def test_a_replaced_file_that_cannot_be_removed_is_removed_at_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, missing_ok: bool = False) -> None:
        raise OSError("no")

    archive = opened(tmp_path)
    keep(archive)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", refuse)
        keep(archive, Rows=9)
    assert len(files_below(tmp_path)) == 2
    archive.close()
    opened(tmp_path).close()

    assert len(files_below(tmp_path)) == 1


def test_a_reader_that_has_begun_reads_the_replaced_file_to_its_end(tmp_path: Path) -> None:
    archive = opened(tmp_path)
    large = os.urandom(600_000)
    keep(archive, PixelData=large)
    [stored] = files(archive.index, study())
    data = archive.read(stored, stored.transfer_syntax_uid)
    first = b"".join(data.read())
    keep(archive)
    rest = b"".join(data.read()) + b"".join(data.read())
    data.close()
    archive.close()

    assert first + rest == encoded(data_set(PixelData=large))


def test_an_index_of_another_version_is_a_configuration_error_and_leaves_no_lock(tmp_path: Path) -> None:
    opened(tmp_path).close()
    index = sqlite3.connect(tmp_path / OWN_FOLDER / "index.sqlite3")
    index.execute("PRAGMA user_version = 2")
    index.close()
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(ConfigurationError, match="version 2; this build reads version 1"):
        opened(tmp_path)

    assert list((tmp_path / OWN_FOLDER / "incoming").iterdir()) == []
    assert len(os.listdir("/proc/self/fd")) == before


def test_an_index_that_is_no_database_is_a_configuration_error(tmp_path: Path) -> None:
    (tmp_path / OWN_FOLDER).mkdir()
    (tmp_path / OWN_FOLDER / "index.sqlite3").write_text("not a database, but long enough to be read as one" * 9)
    with pytest.raises(ConfigurationError, match="cannot open the index"):
        opened(tmp_path)


def test_a_discarded_arrival_may_be_discarded_again_and_leaves_nothing(tmp_path: Path) -> None:
    archive = opened(tmp_path)
    arrival = arrived(archive)
    arrival.discard()
    arrival.discard()
    archive.receive(ct()).discard()
    archive.close()

    assert files_below(tmp_path) == []


def test_discarding_what_was_kept_keeps_it(tmp_path: Path) -> None:
    archive = opened(tmp_path)
    arrival = arrived(archive)
    archive.keep(arrival, ())
    arrival.discard()

    assert contents(archive) == {"1.2.3.4": encoded(data_set())}
    archive.close()


@pytest.mark.parametrize(("module", "name"), [(os, "open"), (fcntl, "flock")])
def test_an_archive_that_is_left_while_another_starts_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: ModuleType, name: str
) -> None:
    leaving = opened(tmp_path)
    keep(leaving)
    kept = contents(leaving)
    (staging,) = (tmp_path / OWN_FOLDER / "incoming").iterdir()
    call, inode = getattr(module, name), staging.stat().st_ino

    def after_it_has_left(place: Path | int, *arguments: int) -> object:
        if os.stat(place).st_ino == inode:
            leaving.close()
        return call(place, *arguments)

    monkeypatch.setattr(module, name, after_it_has_left)
    started = opened(tmp_path)
    monkeypatch.undo()
    assert not staging.exists()
    assert contents(started) == kept
    started.close()
