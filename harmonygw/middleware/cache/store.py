"""The cache on disk: files named by hash, and an index of them in SQLite. Everything here blocks.

A file is written below `incoming`, and renamed to its place when it is whole; its row is committed after that. So a row
without its file, or with another, is told by its checks, a file without a row is removed at the next start, and nothing
partial is ever found. What another configuration of the same folder cached, of another archive, is thrown away.
"""

import fcntl
import os
import shutil
import sqlite3
import time
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from threading import RLock
from typing import Any, Final, NamedTuple

import orjson

from harmonygw.dicom.dataset.layout import Layout
from harmonygw.disk import Descriptor, Disk
from harmonygw.errors import ConfigurationError
from harmonygw.files import Checks, InstanceFile
from harmonygw.middleware.cache.entries import Entry, Series
from harmonygw.streams import Instance
from harmonygw.writing import Recording

SCHEMA_VERSION: Final = 1
"""Of the tables and of what `Layout.to_bytes` writes; another one is thrown away."""

ASIDE: Final = ".aside"
"""The suffix of what was purged and is being read still: without a row, it is nobody else's."""

SeriesKey = tuple[str, str]
"""Study Instance UID and Series Instance UID."""

_TABLES: Final = """
CREATE TABLE IF NOT EXISTS archive (source TEXT NOT NULL, version INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS study (study_instance_uid TEXT PRIMARY KEY, said TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS series (
    id INTEGER PRIMARY KEY, study_instance_uid TEXT NOT NULL, series_instance_uid TEXT NOT NULL,
    complete INTEGER NOT NULL DEFAULT 0, used REAL NOT NULL,
    UNIQUE (study_instance_uid, series_instance_uid));
CREATE TABLE IF NOT EXISTS instance (
    id INTEGER PRIMARY KEY, series INTEGER NOT NULL REFERENCES series ON DELETE CASCADE,
    sop_instance_uid TEXT NOT NULL, sop_class_uid TEXT NOT NULL, transfer_syntax_uid TEXT NOT NULL,
    source_ae_title TEXT NOT NULL, receiving_ae_title TEXT NOT NULL, leading TEXT NOT NULL,
    character_set TEXT NOT NULL, name TEXT NOT NULL UNIQUE, data_offset INTEGER NOT NULL, length INTEGER NOT NULL,
    modified_ns INTEGER NOT NULL, blocks BLOB NOT NULL, layout BLOB, written REAL NOT NULL);
CREATE INDEX IF NOT EXISTS instance_of_series ON instance (series);
"""


class Kept(NamedTuple):
    """What became of a recording that is whole."""

    path: Path
    descriptor: Descriptor | None = None
    """Of a file that was not kept, and ends with whoever reads it."""
    evicted: tuple[SeriesKey, ...] = ()
    """What had to go for it."""


class Store:
    """An open cache. Any thread may call; one at a time goes on."""

    def __init__(self, root: Path, source: str, *, max_bytes: int, max_age_secs: float) -> None:
        self._root = root
        self._max_bytes = max_bytes
        self._max_age_secs = max_age_secs
        self._turn = RLock()
        self._sequence = 0
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = _lock(root)
        shutil.rmtree(root / "incoming", ignore_errors=True)
        for folder in ("incoming", "objects"):
            (root / folder).mkdir(exist_ok=True, mode=0o700)
        self._index = self._opened(source)
        self._sweep()
        self.bytes: int = self._index.execute("SELECT coalesce(sum(data_offset + length), 0) FROM instance").fetchone()[
            0
        ]

    def limit(self, *, max_bytes: int, max_age_secs: float) -> None:
        """Change the limits; what is too much goes when the next instance comes."""
        self._max_bytes = max_bytes
        self._max_age_secs = max_age_secs

    def close(self) -> None:
        """Close the index; nothing of it is in use any more, nor what was set aside."""
        with self._turn:
            for file in (self._root / "incoming").glob(f"*{ASIDE}"):
                file.unlink(missing_ok=True)
            self._index.close()
            del self._lock

    def _opened(self, source: str) -> sqlite3.Connection:
        try:
            index = self._connected()
            known = index.execute("SELECT source, version FROM archive").fetchone()
            sound = index.execute("PRAGMA quick_check(1)").fetchone() == ("ok",)
            if sound and known == (source, SCHEMA_VERSION):
                return index
            index.close()
        except sqlite3.DatabaseError:
            pass  # whatever it holds, it is no index of ours
        for file in self._root.glob("index.sqlite3*"):
            file.unlink()
        shutil.rmtree(self._root / "objects", ignore_errors=True)
        (self._root / "objects").mkdir(mode=0o700)
        index = self._connected()
        with index:
            index.execute("INSERT INTO archive VALUES (?, ?)", (source, SCHEMA_VERSION))
        return index

    def _sweep(self) -> None:
        """Remove what no row names: files whose process was killed before it could commit them."""
        for folder in (self._root / "objects").iterdir():
            rows = self._index.execute(
                "SELECT name FROM instance WHERE name >= ? AND name < ?", (folder.name, folder.name + "g")
            )
            known = {name for (name,) in rows}
            for file in folder.iterdir():
                if file.name not in known:
                    file.unlink()

    def _connected(self) -> sqlite3.Connection:
        index = sqlite3.connect(self._root / "index.sqlite3", check_same_thread=False, timeout=5.0)
        # A process that is killed loses nothing that way; a machine that is loses rows or files, which the checks tell.
        index.execute("PRAGMA journal_mode = WAL")
        index.execute("PRAGMA synchronous = NORMAL")
        index.execute("PRAGMA foreign_keys = ON")
        index.executescript(_TABLES)
        return index

    # Writing

    def incoming(self) -> Path:
        """Return a path for a file that is about to be written."""
        with self._turn:
            self._sequence += 1
            return self._root / "incoming" / f"{self._sequence:x}.part"

    def keep(
        self,
        recording: Recording,
        instance: Instance,
        layout: Layout | None,
        checks: Checks,
        in_use: Collection[SeriesKey],
        used: Mapping[SeriesKey, float],
    ) -> Kept:
        """Give a whole file its place and its row; one that finds no room is kept for its readers alone.

        Series that are in use do not make room. `used` is when some were used last, where the index does not know yet.
        What the disk or the index does not take is told by `recording.failure`. Raises `OSError` when the recording was
        given up.
        """
        if recording.volatile:
            return Kept(recording.path, recording.detach())
        name = _name(instance)
        path = self._path(name)
        evicted: list[SeriesKey] = []
        descriptor = recording.detach()
        with self._turn:
            try:
                if self._has_room(checks.size, in_use, used, evicted):
                    with self._index:
                        replaced = self._put(name, instance, checks, layout)
                        path.parent.mkdir(exist_ok=True, mode=0o700)
                        recording.path.rename(path)
                    self.bytes += checks.size - replaced
                    return Kept(path, evicted=tuple(evicted))
                recording.path.unlink()
            except (OSError, sqlite3.Error) as error:
                recording.failure = error.with_traceback(None)
                with suppress(OSError):
                    recording.path.unlink(missing_ok=True)
                    path.unlink(missing_ok=True)  # the index may hold what it replaced, and no row for it
        return Kept(recording.path, descriptor, tuple(evicted))

    def _put(self, name: str, instance: Instance, checks: Checks, layout: Layout | None) -> int:
        """Write a row, and return the size of the file that it replaces."""
        execute = self._index.execute
        now = time.time()
        [series] = execute(
            "INSERT INTO series (study_instance_uid, series_instance_uid, used) VALUES (?, ?, ?)"
            " ON CONFLICT DO UPDATE SET used = excluded.used RETURNING id",
            (instance.study_instance_uid, instance.series_instance_uid, now),
        ).fetchone()
        replaced = execute("DELETE FROM instance WHERE name = ? RETURNING data_offset + length", (name,)).fetchall()
        execute(
            "INSERT INTO instance VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                series,
                instance.sop_instance_uid,
                instance.sop_class_uid,
                instance.transfer_syntax_uid,
                instance.source_ae_title,
                instance.receiving_ae_title,
                orjson.dumps(dict(instance.leading)).decode(),
                "\\".join(instance.default_character_set),
                name,
                checks.data_offset,
                checks.length,
                checks.modified_ns,
                checks.blocks,
                None if layout is None else layout.to_bytes(),
                now,
            ),
        )
        return sum(size for (size,) in replaced)

    def complete(self, key: SeriesKey, count: int) -> None:
        """Note that a series is all there, if it still has so many instances."""
        self._change(
            "UPDATE series SET complete = 1 WHERE study_instance_uid = ? AND series_instance_uid = ?"
            " AND (SELECT count(*) FROM instance WHERE series = series.id) >= ?",
            (*key, count),
        )

    def used(self, times: Iterable[tuple[float, str, str]]) -> None:
        """Note when series were used last: seconds since the epoch, study, series."""
        with self._turn, self._index:
            self._index.executemany(
                "UPDATE series SET used = ? WHERE study_instance_uid = ? AND series_instance_uid = ?", list(times)
            )

    # Reading

    def load(self, key: SeriesKey, disk: Disk) -> Series:
        """Return what is here of a series; what is too old is removed first."""
        series = Series(*key, expires_in=self._max_age_secs)
        with self._turn:
            found = self._index.execute(
                "SELECT id, complete FROM series WHERE study_instance_uid = ? AND series_instance_uid = ?", key
            ).fetchone()
            if found is None:
                return series
            row, series.complete = found[0], bool(found[1])
            now = time.time()
            oldest = now - self._max_age_secs
            if self._delete("series = ? AND written < ?", (row, oldest)):
                series.complete = False
                self._change("UPDATE series SET complete = 0 WHERE id = ?", (row,))
            rows = self._index.execute(
                "SELECT sop_class_uid, sop_instance_uid, transfer_syntax_uid, source_ae_title, receiving_ae_title,"
                " leading, character_set, name, data_offset, length, modified_ns, blocks, layout, written"
                " FROM instance WHERE series = ? ORDER BY id",
                (row,),
            ).fetchall()
        series.expires_in = min((values[-1] for values in rows), default=now) - oldest
        for values in rows:
            try:
                entry = self._entry(key, values, disk)
            except (ValueError, TypeError, AttributeError):  # what only a damaged index holds
                self._delete("name = ?", (values[7],))
                self._change("UPDATE series SET complete = 0 WHERE id = ?", (row,))
                series.complete = False
            else:
                series.entries[entry.sop_instance_uid] = entry
        return series

    def _entry(self, key: SeriesKey, values: tuple[Any, ...], disk: Disk) -> Entry:
        sop_class, sop_instance, syntax, source, receiving, leading, character_set, name, *checks, layout, _ = values
        found = None if layout is None else Layout.from_bytes(layout)
        return Entry(
            *key,
            sop_class_uid=sop_class,
            sop_instance_uid=sop_instance,
            transfer_syntax_uid=syntax,
            source_ae_title=source,
            receiving_ae_title=receiving,
            leading=orjson.loads(leading),
            default_character_set=tuple(character_set.split("\\")),
            file=InstanceFile(self._path(name), Checks(*checks), found, disk),
        )

    def said(self, study_instance_uid: str) -> str | None:
        """Return what the archive said of a study when it was cached."""
        with self._turn:
            found = self._index.execute(
                "SELECT said FROM study WHERE study_instance_uid = ?", (study_instance_uid,)
            ).fetchone()
        return None if found is None else str(found[0])

    def note_said(self, study_instance_uid: str, said: str) -> None:
        """Note what the archive says of a study."""
        self._change("INSERT OR REPLACE INTO study VALUES (?, ?)", (study_instance_uid, said))

    # Removing

    def purge(
        self, study_instance_uid: str, being_read: Iterable[InstanceFile] = (), *, let_finish: bool = False
    ) -> int:
        """Remove a study; return how many instances it had.

        Of its files those that are being read stay for their readers when these may finish, and are counted no more.
        """
        with self._turn:
            for file in being_read:
                with suppress(OSError):
                    if let_finish:
                        file.set_aside(self.incoming().with_suffix(ASIDE))
                    else:
                        file.path.unlink(missing_ok=True)
            removed = self._delete(
                "series IN (SELECT id FROM series WHERE study_instance_uid = ?)", (study_instance_uid,)
            )
            with self._index:
                self._index.execute("DELETE FROM series WHERE study_instance_uid = ?", (study_instance_uid,))
                self._index.execute("DELETE FROM study WHERE study_instance_uid = ?", (study_instance_uid,))
        return removed

    def drop(self, key: SeriesKey, file: InstanceFile) -> None:
        """Remove one instance of a series, which is complete no more."""
        which = (file.path.name, file.checks.modified_ns)  # another may have come in its place
        with self._turn:
            if self._delete("name = ? AND modified_ns = ?", which):
                self._change(
                    "UPDATE series SET complete = 0 WHERE study_instance_uid = ? AND series_instance_uid = ?", key
                )

    def _has_room(
        self,
        size: int,
        in_use: Collection[SeriesKey],
        used: Mapping[SeriesKey, float],
        evicted: list[SeriesKey],
    ) -> bool:
        """Whether so many bytes find room, once the series have gone that were used longest ago; adds those."""
        if size > self._max_bytes or self.bytes + size <= self._max_bytes:
            return size <= self._max_bytes
        rows = self._index.execute("SELECT id, study_instance_uid, series_instance_uid, used FROM series").fetchall()
        for row, *uids, _ in sorted(rows, key=lambda one: used.get((one[1], one[2]), one[3])):
            key = (uids[0], uids[1])
            if key not in in_use:
                self._delete("series = ?", (row,))
                self._change("DELETE FROM series WHERE id = ?", (row,))
                evicted.append(key)
                if self.bytes + size <= self._max_bytes:
                    return True
        return False

    def _delete(self, where: str, values: tuple[Any, ...]) -> int:
        with self._index:
            rows = self._index.execute(
                f"DELETE FROM instance WHERE {where} RETURNING name, data_offset + length",
                values,
            ).fetchall()
        for name, size in rows:
            self.bytes -= size
            self._path(name).unlink(missing_ok=True)
        return len(rows)

    def _change(self, statement: str, values: tuple[Any, ...]) -> None:
        with self._turn, self._index:
            self._index.execute(statement, values)

    def _path(self, name: str) -> Path:
        return self._root / "objects" / name[:2] / name


def _name(instance: Instance) -> str:
    uids = (instance.study_instance_uid, instance.series_instance_uid, instance.sop_instance_uid)
    return sha256("\n".join(uids).encode()).hexdigest()


def _lock(root: Path) -> Descriptor:
    """Lock a folder until the descriptor is closed, if by our death."""
    descriptor = Descriptor(os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
    try:
        fcntl.flock(descriptor.number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise ConfigurationError(
            (f"the cache folder {root} is in use by another process; each needs its own",)
        ) from None
    return descriptor
