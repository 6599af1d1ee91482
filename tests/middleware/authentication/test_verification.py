"""Passwords: what is hashed, how much of it at once, and what is remembered."""

from typing import Any

import bcrypt
import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from harmonygw.errors import Busy
from harmonygw.middleware.authentication import verification
from harmonygw.middleware.authentication.hashes import MAX_PASSWORD_BYTES
from harmonygw.middleware.authentication.verification import (
    MAX_OF_ONE_ADDRESS,
    MAX_OF_ONE_NETWORK,
    MAX_REMEMBERED,
    MAX_VERIFICATIONS,
    REMEMBERED_SECS,
    Passwords,
)

USERS = {"ward": "hash of secret", "nurse": "hash of other"}


class Checking:
    """Passwords whose threads take until `finish`."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.begun: list[tuple[str, bytes, Deferred[bool]]] = []
        self.passwords = Passwords(self._run, self.clock)

    def _run(self, function: Any, hashed: str, secret: bytes) -> "Deferred[bool]":
        assert function is verification.verify
        self.begun.append((hashed, secret, Deferred()))
        return self.begun[-1][2]

    def check(
        self, username: str, password: str, users: dict[str, str] = USERS, peer: str = "192.0.2.1"
    ) -> "Deferred[bool]":
        return Deferred.fromCoroutine(self.passwords.check(users, username, password, peer))

    def finish(self) -> int:
        """Let everything end that was begun; return how many there were."""
        begun, self.begun = self.begun, []
        for hashed, secret, ended in begun:
            ended.callback(hashed == f"hash of {secret.decode()}")
        return len(begun)

    def answer(self, username: str, password: str, users: dict[str, str] = USERS) -> tuple[bool, int]:
        """Return the answer, and how many hashes it cost."""
        answered = self.check(username, password, users)
        hashed = self.finish()
        return settled(answered), hashed


def settled(deferred: "Deferred[bool]") -> Any:
    found: list[Any] = []
    deferred.addBoth(found.append)
    return found[0]


def test_a_right_password_is_hashed_once_in_a_while() -> None:
    checking = Checking()
    assert checking.answer("ward", "secret") == (True, 1)
    assert checking.answer("ward", "secret") == (True, 0)
    checking.clock.advance(REMEMBERED_SECS - 1)
    assert checking.answer("ward", "secret") == (True, 0)
    checking.clock.advance(1)
    assert checking.answer("ward", "secret") == (True, 1)


def test_a_wrong_password_and_an_unknown_user_cost_a_hash_every_time() -> None:
    checking = Checking()
    for _ in range(2):
        assert checking.answer("ward", "other") == (False, 1)
        assert checking.answer("nobody", "secret") == (False, 1)
        assert checking.answer("nobody", "other") == (False, 1)


def test_the_same_somebody_stands_for_an_unknown_user() -> None:
    checking = Checking()
    for _ in range(3):
        checking.check("nobody", "x")
    assert len(checking.begun) == 1
    first = checking.begun[0][0]
    checking.check("nobody", "y")
    assert checking.begun[1][0] == first
    assert first in USERS.values()


def test_a_changed_hash_is_hashed_anew_and_a_removed_user_is_out() -> None:
    checking = Checking()
    assert checking.answer("ward", "secret") == (True, 1)
    assert checking.answer("ward", "secret", {"ward": "hash of other"}) == (False, 1)
    assert checking.answer("ward", "secret", {"nurse": "hash of secret"}) == (False, 1)


def test_names_and_passwords_are_not_mixed_up() -> None:
    checking = Checking()
    users = {"a": "hash of bc", "ab": "hash of x"}
    assert checking.answer("a", "bc", users) == (True, 1)
    assert checking.answer("ab", "c", users) == (False, 1)


def test_what_is_remembered_has_neither_name_nor_password() -> None:
    checking = Checking()
    checking.answer("ward", "secret")
    (key,) = checking.passwords._remembered
    assert len(key) == 32
    assert b"ward" not in key


def test_the_oldest_is_forgotten() -> None:
    checking = Checking()
    users = {f"u{number}": "hash of x" for number in range(MAX_REMEMBERED + 1)}
    for username in users:
        assert checking.answer(username, "x", users) == (True, 1)
    assert checking.answer("u1", "x", users) == (True, 0)
    assert checking.answer("u0", "x", users) == (True, 1)


def test_who_asks_for_the_same_at_once_waits_for_one_hash() -> None:
    checking = Checking()
    asked = [checking.check("ward", "secret") for _ in range(100)]
    asked[0].addErrback(lambda _: None)
    asked[0].cancel()
    assert checking.finish() == 1
    assert all(settled(one) is True for one in asked[1:])


def test_so_many_are_checked_at_once_and_one_more_is_busy() -> None:
    checking = Checking()
    asked = [
        checking.check("ward", f"{number}", peer=f"192.0.2.{number // MAX_OF_ONE_ADDRESS}")
        for number in range(MAX_VERIFICATIONS)
    ]
    refused = settled(checking.check("ward", "one more", peer="198.51.100.1"))
    assert refused.check(Busy)
    for one in asked:
        one.addErrback(lambda _: None)
        one.cancel()
    assert settled(checking.check("ward", "clients that go free no thread", peer="198.51.100.1")).check(Busy)
    assert checking.finish() == MAX_VERIFICATIONS
    assert checking.answer("ward", "secret") == (True, 1)


def test_one_address_has_so_many_of_them_and_others_go_on() -> None:
    checking = Checking()
    for number in range(MAX_OF_ONE_ADDRESS):
        checking.check("ward", f"{number}")
    assert settled(checking.check("ward", "one more")).check(Busy)
    elsewhere = checking.check("ward", "secret", peer="198.51.100.1")
    assert checking.finish() == MAX_OF_ONE_ADDRESS + 1
    assert settled(elsewhere) is True
    assert checking.answer("nurse", "other") == (True, 1)
    assert not checking.passwords._at_work


def test_a_network_has_so_many_of_them_whatever_its_addresses() -> None:
    checking = Checking()
    for number in range(MAX_OF_ONE_NETWORK):
        checking.check("ward", f"{number}", peer=f"2001:db8::{number:x}")
    assert settled(checking.check("ward", "one more", peer="2001:db8::ffff")).check(Busy)
    assert MAX_OF_ONE_NETWORK < MAX_VERIFICATIONS
    elsewhere = checking.check("ward", "secret", peer="2001:db8:0:1::1")
    assert checking.finish() == MAX_OF_ONE_NETWORK + 1
    assert settled(elsewhere) is True
    assert not checking.passwords._at_work


def test_a_thread_that_fails_fails_its_request_alone() -> None:
    checking = Checking()
    asked = checking.check("ward", "secret")
    checking.begun.pop()[2].errback(MemoryError())
    assert settled(asked).check(MemoryError)
    assert checking.answer("ward", "secret") == (True, 1)


@pytest.mark.parametrize(("length", "hashes"), [(MAX_PASSWORD_BYTES, 1), (MAX_PASSWORD_BYTES + 1, 0)])
def test_a_password_is_so_long_at_most(length: int, hashes: int) -> None:
    assert Checking().answer("ward", "ä" + "x" * (length - 2)) == (False, hashes)


def test_a_real_hash_is_verified() -> None:
    users = {"ward": bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode()}
    from twisted.internet.defer import execute

    passwords = Passwords(execute, Clock())
    for password, right in (("secret", True), ("Secret", False)):
        assert settled(Deferred.fromCoroutine(passwords.check(users, "ward", password, "192.0.2.1"))) is right
