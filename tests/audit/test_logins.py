import pytest
from twisted.internet.task import Clock

from harmonygw.audit import logins as logins_module
from harmonygw.audit.logins import SESSION_SECS, Logins


def test_who_goes_on_asking_has_logged_in_once() -> None:
    clock = Clock()
    logins = Logins(clock)
    assert logins.is_new("doctor", "192.0.2.1")
    for _ in range(3):
        clock.advance(SESSION_SECS - 1)
        assert not logins.is_new("doctor", "192.0.2.1")
    clock.advance(SESSION_SECS)
    assert logins.is_new("doctor", "192.0.2.1")
    assert logins.is_new("doctor", "192.0.2.2")
    assert logins.is_new("nurse", "192.0.2.1")


def test_who_was_quiet_longest_is_forgotten_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logins_module, "MAX_SESSIONS", 2)
    logins = Logins(Clock())
    assert [logins.is_new(one, "p") for one in "abacab"] == [True, True, False, True, False, True]
