"""A file of users: what it may say, and that it is read again."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import bcrypt
import pytest
from twisted.internet.defer import Deferred, execute, fail
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent

from harmonygw.errors import ConfigurationError
from harmonygw.middleware.authentication.users import LOOK_SECS, MAX_FILE_BYTES, MAX_PROBLEMS, Users, parse, read

HASHED = bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode()


def problems(text: str) -> tuple[str, ...]:
    with pytest.raises(ConfigurationError) as refused:
        parse(text, "users")
    return refused.value.problems


def test_lines_are_users_and_comments_and_empty_ones_are_not() -> None:
    text = f"# the ward\n\nward:{HASHED}\r\n  jörg:{HASHED}:a note  \n"
    assert parse(text, "users") == {"ward": HASHED, "jörg": HASHED}


def test_what_is_wrong_is_said_by_line_and_user_and_never_with_the_hash() -> None:
    text = f"ward:{HASHED}\nnurse:$apr1$abc$def\nsesame\n:{HASHED}\nward:{HASHED}\nold:letmein\n"
    taken = "bcrypt ($2y$, $2b$, $2a$) and argon2id are taken: make it anew with htpasswd -B"
    assert problems(text) == (
        f'users:2: user "nurse": MD5 ($apr1$) is too easy to guess; {taken}',
        "users:3: there must be a name, a colon and a hash",
        "users:4: there must be a name, a colon and a hash",
        'users:5: user "ward" is in line 1 already',
        f'users:6: user "old": there is a password in plain text, or a kind of hash that is not known; {taken}',
    )


def test_a_refusal_names_so_many_lines_and_counts_the_rest() -> None:
    assert len(problems("x\n" * MAX_PROBLEMS)) == MAX_PROBLEMS
    assert problems("x\n" * (MAX_PROBLEMS + 2))[MAX_PROBLEMS:] == ("users: and 2 more",)


@pytest.mark.parametrize("text", ["", "\n# nobody\n"])
def test_a_file_without_users_is_refused(text: str) -> None:
    assert problems(text) == ("users: there is no user in it: make one with htpasswd -B -c",)


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="users: cannot be read: No such file"):
        read(str(tmp_path / "users"))
    (tmp_path / "users").write_bytes(b"w\xff")
    with pytest.raises(ConfigurationError, match="users: is not UTF-8, at byte 1"):
        read(str(tmp_path / "users"))


def test_a_file_is_so_large_at_most(tmp_path: Path) -> None:
    file = tmp_path / "users"
    line = f"ward:{HASHED}\n"
    file.write_text(line + "#" * (MAX_FILE_BYTES - len(line)))
    assert list(read(str(file))) == ["ward"]
    file.write_text(line + "#" * (MAX_FILE_BYTES - len(line) + 1))
    with pytest.raises(ConfigurationError, match=f"is larger than {MAX_FILE_BYTES} bytes"):
        read(str(file))


class Watched:
    def __init__(self, folder: Path) -> None:
        self.file = folder / "users"
        self.write("ward")
        self.clock = Clock()
        self.looks = 0
        self.run: Callable[..., Deferred[Any]] = execute
        self.users = Users(str(self.file), self._counted, self.clock)
        self.users.start()

    def _counted(self, *arguments: Any) -> "Deferred[Any]":
        self.looks += 1
        return self.run(*arguments)

    def write(self, *names: str) -> None:
        self.file.write_text("".join(f"{name}:{HASHED}\n" for name in names))

    def look(self) -> list[str]:
        """Return what is logged."""
        with capturedLogs() as events:
            self.clock.advance(LOOK_SECS)
        return [formatEvent(event) or "" for event in events]


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    return Watched(tmp_path)


def test_a_change_is_seen_at_the_next_look(watched: Watched) -> None:
    watched.write("ward", "nurse")
    watched.clock.advance(LOOK_SECS / 2)
    assert (list(watched.users.hashes), watched.looks) == (["ward"], 0)
    watched.clock.advance(LOOK_SECS / 2)
    assert (list(watched.users.hashes), watched.looks) == (["ward", "nurse"], 1)
    assert watched.look() == []


def test_an_unusable_file_keeps_the_users_and_says_so_once(watched: Watched) -> None:
    watched.file.unlink()
    path = str(watched.file)
    assert watched.look() == [f"the users stay as they were: {path}: cannot be read: No such file or directory"]
    assert watched.look() == []
    watched.file.write_text("ward:letmein\n")
    (line,) = watched.look()
    assert line.startswith(f'the users stay as they were: {path}:1: user "ward": there is a password in plain text')
    assert watched.look() == []
    assert list(watched.users.hashes) == ["ward"]
    watched.write("nurse")
    assert watched.look() == [f"{path} has changed: 1 users"]
    assert list(watched.users.hashes) == ["nurse"]


def test_the_last_user_is_struck_off_at_the_second_look(watched: Watched) -> None:
    """At the first the file may just be written."""
    watched.write()
    assert watched.look() == []
    assert list(watched.users.hashes) == ["ward"]
    watched.write("ward", "nurse")
    watched.look()
    assert list(watched.users.hashes) == ["ward", "nurse"]
    watched.write()
    assert watched.look() == []
    assert watched.look() == [f"{watched.file} has changed: 0 users"]
    assert watched.users.hashes == {}
    assert watched.look() == []
    watched.write("ward")
    watched.look()
    assert list(watched.users.hashes) == ["ward"]


def test_a_file_that_may_be_absent_is_read_when_it_comes(tmp_path: Path) -> None:
    clock = Clock()
    path = tmp_path / "users"
    with capturedLogs() as events:
        users = Users(str(path), execute, clock, may_be_absent=True)
    assert [formatEvent(event) for event in events] == [f"the file of users {path} is not there"]
    assert users.hashes == {}
    users.start()
    path.write_text(f"ward:{HASHED}\n")
    clock.advance(LOOK_SECS)
    assert list(users.hashes) == ["ward"]
    users.stop()


def test_a_slow_look_is_waited_for_and_a_failed_one_is_not_the_last(watched: Watched) -> None:
    slow: Deferred[Any] = Deferred()
    watched.run = lambda *arguments: slow
    watched.clock.pump([LOOK_SECS] * 3)
    assert watched.looks == 1
    with capturedLogs() as events:
        slow.errback(OSError("gone"))
    assert ["cannot be seen" in (formatEvent(event) or "") for event in events] == [True]
    watched.run = lambda *arguments: fail(OSError("gone"))
    watched.look()
    watched.run = execute
    watched.write("nurse")
    watched.look()
    assert list(watched.users.hashes) == ["nurse"]


def test_after_the_end_nobody_looks(watched: Watched) -> None:
    watched.users.stop()
    watched.users.stop()
    assert watched.clock.getDelayedCalls() == []
