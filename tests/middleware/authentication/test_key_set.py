"""The keys of an issuer: when they are fetched, and how long they are kept."""

from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.python.failure import Failure

from harmonygw.errors import TransportError
from harmonygw.middleware.authentication.key_set import (
    FRESH_SECS,
    GRACE_SECS,
    MAX_REASON,
    RETRY_SECS,
    UNKNOWN_KEY_SECS,
    KeySet,
)
from harmonygw.middleware.authentication.keys import VerificationKey


def parse(document: bytes) -> list[VerificationKey]:
    """Return keys of the identifiers in a document."""
    if document == b"<html>":
        raise ValueError("it is no set of keys")
    return [VerificationKey(b"", frozenset(), kid) for kid in document.decode().split()]


class Issuer:
    """A set of keys, and the server that it comes from, which takes its time."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.asked: list[Deferred[bytes]] = []
        self.fetches = 0
        self.set = KeySet("https://issuer/keys", self._bring, self.clock)

    def _fetch(self) -> "Deferred[bytes]":
        self.fetches += 1
        self.asked.append(Deferred())
        return self.asked[-1]

    async def _bring(self) -> list[VerificationKey]:
        return parse(await self._fetch())

    def wait(self, kid: str = "") -> list[Any]:
        """Return a list that what is found, or a failure, comes into."""
        found: list[Any] = []
        Deferred.fromCoroutine(self.set.keys(kid)).addCallback(lambda keys: [key.kid for key in keys]).addBoth(
            found.append
        )
        return found

    def answer(self, document: bytes | Exception) -> None:
        asked = self.asked.pop()
        if isinstance(document, bytes):
            asked.callback(document)
        else:
            asked.errback(document)

    def keys(self, kid: str = "") -> Any:
        """Return what is there without waiting; raises what it fails with."""
        (found,) = self.wait(kid)
        if isinstance(found, Failure):
            found.raiseException()
        return found


@pytest.fixture
def issuer() -> Issuer:
    """An issuer whose keys a and b have been fetched."""
    one = Issuer()
    one.set.start()
    one.answer(b"a b")
    return one


def test_keys_are_fetched_at_the_start_and_found_by_their_identifiers(issuer: Issuer) -> None:
    assert issuer.keys() == ["a", "b"]
    assert issuer.keys("b") == ["b"]
    issuer.clock.advance(FRESH_SECS - 1)
    assert issuer.keys("a") == ["a"]
    assert issuer.fetches == 1


def test_all_who_wait_wait_for_one_fetch_and_who_goes_does_not_break_it_off() -> None:
    issuer = Issuer()
    waiting = [Deferred.fromCoroutine(issuer.set.keys("a")) for _ in range(100)]
    assert issuer.fetches == 1
    found: list[Any] = []
    for one in waiting:
        one.addBoth(found.append)
    waiting[0].cancel()
    issuer.answer(b"a")
    assert [len(one) for one in found[1:]] == [1] * 99


def test_an_unknown_identifier_causes_one_fetch_in_a_while(issuer: Issuer) -> None:
    issuer.clock.advance(UNKNOWN_KEY_SECS - 1)
    assert issuer.keys("c") == []
    issuer.clock.advance(1)
    waiting = [issuer.wait("c"), issuer.wait("d")]
    assert (issuer.fetches, waiting) == (2, [[], []])
    assert issuer.keys("a") == ["a"]
    issuer.answer(b"b c")
    assert waiting == [[["c"]], [[]]]
    assert issuer.keys("c") == ["c"]
    assert issuer.keys("d") == issuer.keys("a") == []
    assert issuer.fetches == 2


def test_old_keys_are_used_while_new_ones_come(issuer: Issuer) -> None:
    issuer.clock.advance(FRESH_SECS)
    assert issuer.keys("a") == ["a"]
    assert issuer.keys() == ["a", "b"]
    assert issuer.fetches == 2
    assert issuer.wait("c") == []
    issuer.answer(b"c")
    assert issuer.keys() == ["c"]


def test_with_the_server_down_old_keys_are_used_for_a_grace_time_and_the_log_says_so_once(issuer: Issuer) -> None:
    with capturedLogs() as events:
        issuer.clock.advance(FRESH_SECS)
        assert issuer.keys("a") == ["a"]
        issuer.answer(TransportError("x" * (MAX_REASON + 1)))
        assert issuer.keys("a") == ["a"]
        assert issuer.keys("c") == []
        assert issuer.fetches == 2
        issuer.clock.advance(RETRY_SECS)
        issuer.keys("a")
        assert issuer.fetches == 3
        issuer.answer(b"<html>")
        issuer.clock.advance(GRACE_SECS - RETRY_SECS - 1)
        assert issuer.keys("a") == ["a"]
        issuer.answer(b"<html>")
        issuer.clock.advance(1)
        with pytest.raises(TransportError, match="are not to be had"):
            issuer.keys("a")
        issuer.clock.advance(RETRY_SECS)
        issuer.wait("a")
        issuer.answer(b"a")
        assert issuer.keys("a") == ["a"]
    lines = [formatEvent(event) for event in events]
    why = "x" * MAX_REASON
    assert lines == [
        f"https://issuer/keys: the keys cannot be fetched: {why}",
        "https://issuer/keys: the keys are fetched again",
    ]


def test_an_unknown_identifier_with_the_server_down_is_one_fetch_and_no_key(issuer: Issuer) -> None:
    issuer.clock.advance(UNKNOWN_KEY_SECS)
    found: list[Any] = []
    Deferred.fromCoroutine(issuer.set.keys("c")).addBoth(found.append)
    issuer.answer(TransportError("down"))
    assert found == [[]]
    assert issuer.keys("c") == []
    assert issuer.fetches == 2


def test_without_any_keys_the_server_is_asked_again_after_a_pause() -> None:
    issuer = Issuer()
    found: list[Any] = []
    Deferred.fromCoroutine(issuer.set.keys("a")).addBoth(found.append)
    issuer.answer(TransportError("down"))
    assert found[0].check(TransportError)
    issuer.clock.advance(RETRY_SECS - 1)
    with pytest.raises(TransportError):
        issuer.keys("a")
    assert issuer.fetches == 1
    issuer.clock.advance(1)
    issuer.wait("a")
    issuer.answer(b"a")
    assert (issuer.keys("a"), issuer.fetches) == (["a"], 2)


def test_at_the_end_what_is_being_fetched_is_broken_off(issuer: Issuer) -> None:
    issuer.set.stop()
    issuer.clock.advance(FRESH_SECS)
    issuer.keys("a")
    asked = issuer.asked[0]
    issuer.set.stop()
    assert asked.called
    assert issuer.clock.getDelayedCalls() == []
