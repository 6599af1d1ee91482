"""A file of users in the form of htpasswd: a line has a name, a colon, and the hash of a password."""

import os
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from harmonygw.errors import ConfigurationError
from harmonygw.middleware.authentication.hashes import problem_of

log = Logger(namespace="harmonygw.authentication")

MAX_FILE_BYTES: Final = 8 * 1024 * 1024
"""Bytes of a file of users. Default 8 MiB, which is 80,000 of them: it is held in memory."""

LOOK_SECS: Final = 1.0
"""Seconds between two looks at whether a file has changed. Default 1: who is struck off is out at once, as people
understand it."""

MAX_PROBLEMS: Final = 10
"""Lines of a file that a refusal names. Default 10: what is wrong with a thousand is wrong with the first."""

MAX_NAME_CHARACTERS: Final = 64
"""Characters of a user's name that a message has. Default 64."""


class Signature(NamedTuple):
    """What is different when a file is."""

    modified: int
    """Nanoseconds."""
    size: int
    """Bytes."""
    inode: int


def parse(text: str, place: str, *, may_be_empty: bool = False) -> Mapping[str, str]:
    """Return hashes by user name; raises `ConfigurationError`, which names lines and users, and never a hash.

    That there is no user at all is a problem too, unless it `may_be_empty`.
    """
    users: dict[str, str] = {}
    lines: dict[str, int] = {}
    problems: list[str] = []
    for number, line in enumerate(text.splitlines(), start=1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        name, colon, hashed = stripped.partition(":")
        # A third field, as in the files of some servers, is a note.
        hashed = hashed.partition(":")[0]
        at = f'{place}:{number}: user "{name[:MAX_NAME_CHARACTERS]}"'
        if not colon or not name:
            # What is before no colon may be a password.
            problems.append(f"{place}:{number}: there must be a name, a colon and a hash")
        elif name in users:
            problems.append(f"{at} is in line {lines[name]} already")
        elif problem := problem_of(hashed):
            problems.append(f"{at}: {problem}: make it anew with htpasswd -B")
        users[name], lines[name] = hashed, number
    if not users and not problems and not may_be_empty:
        problems.append(f"{place}: there is no user in it: make one with htpasswd -B -c")
    if problems:
        more = len(problems) - MAX_PROBLEMS
        raise ConfigurationError((*problems[:MAX_PROBLEMS], *((f"{place}: and {more} more",) if more > 0 else ())))
    return users


def signature(path: str) -> Signature | None:
    """Return the signature of a file, None when there is none to be seen. Blocks."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return Signature(found.st_mtime_ns, found.st_size, found.st_ino)


def read(path: str, *, may_be_empty: bool = False) -> Mapping[str, str]:
    """Return what a file has; raises `ConfigurationError`, as `parse`. Blocks."""
    try:
        with open(path, "rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
        text = content.decode()
    except OSError as error:
        raise ConfigurationError((f"{path}: cannot be read: {error.strerror}",)) from error
    except UnicodeDecodeError as error:
        raise ConfigurationError((f"{path}: is not UTF-8, at byte {error.start}",)) from error
    if len(content) > MAX_FILE_BYTES:
        raise ConfigurationError((f"{path}: is larger than {MAX_FILE_BYTES} bytes",))
    return parse(text, path, may_be_empty=may_be_empty)


class Users:
    """The users of a file, read again when it changes. A file that became unusable leaves those that there were.

    One that has no user at two looks in a row leaves nobody: the last one was struck off. At one look it may just be
    written.
    """

    def __init__(
        self, path: str, run: Callable[..., "Deferred[Any]"], clock: Any, *, may_be_absent: bool = False
    ) -> None:
        """Read the file; raises `ConfigurationError`. `run` calls a function in a thread.

        With `may_be_absent` a file that is not there has no users, and is read when it comes.
        """
        self._path = path
        self._run = run
        # Before reading: what is written meanwhile is read once more.
        self._seen = signature(path)
        self.hashes: Mapping[str, str] = {}
        if self._seen is None and may_be_absent:
            log.warn("the file of users {path} is not there", path=path)
        else:
            self.hashes = read(path)
        self._was_empty = False
        self._looking = LoopingCall(self._look)
        self._looking.clock = clock

    def start(self) -> None:
        """Begin to look for changes, every `LOOK_SECS`."""
        # It waits for one look before the next: a file system that hangs gets no second one.
        self._looking.start(LOOK_SECS, now=False)

    def stop(self) -> None:
        """Look no more."""
        if self._looking.running:
            self._looking.stop()

    async def _look(self) -> None:
        try:
            seen, found = await self._run(_changed, self._path, self._seen)
        except CancelledError:
            raise
        except Exception:  # noqa: BLE001 - whatever it is, it must not end the looking
            log.failure("{path}: whether it has changed cannot be seen", path=self._path)
            return
        was_empty, self._was_empty = self._was_empty, found == {}
        if self._was_empty and not was_empty:
            return
        self._seen = seen
        if isinstance(found, ConfigurationError):
            log.error("the users stay as they were: {problem}", problem=str(found))
        elif found is not None:
            self.hashes = found
            log.info("{path} has changed: {count} users", path=self._path, count=len(found))


def _changed(
    path: str, known: Signature | None
) -> tuple[Signature | None, "Mapping[str, str] | ConfigurationError | None"]:
    """Return the signature, and what has changed with it: the users, or why there are none; None for nothing."""
    now = signature(path)
    if now == known:
        return now, None
    try:
        return now, read(path, may_be_empty=True)
    except ConfigurationError as error:
        return now, error
