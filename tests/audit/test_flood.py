from twisted.internet.task import Clock

from harmonygw.audit.flood import MAX_MESSAGES, MAX_PEERS, OTHERS, PERIOD_SECS, Flood


def flood() -> tuple[Flood, Clock, list[tuple[str, str, int]]]:
    told: list[tuple[str, str, int]] = []
    clock = Clock()
    return Flood(clock, lambda *what: told.append(what)), clock, told


def test_the_first_ones_of_a_kind_and_a_peer_pass_and_the_rest_is_counted() -> None:
    one, clock, told = flood()
    assert [one.admits("a", "p") for _ in range(MAX_MESSAGES + 3)] == [True] * MAX_MESSAGES + [False] * 3
    assert one.admits("a", "q")
    assert one.admits("b", "p")
    clock.advance(PERIOD_SECS - 0.1)
    assert told == []
    clock.advance(0.1)
    assert told == [("a", "p", 3)]
    assert one.left_out == 3
    assert one.admits("a", "p")
    clock.advance(PERIOD_SECS)
    assert told == [("a", "p", 3)]


def test_peers_beyond_the_limit_are_one() -> None:
    one, clock, told = flood()
    for number in range(MAX_PEERS):
        assert one.admits("a", str(number))
    assert [one.admits("a", f"more {number}") for number in range(MAX_MESSAGES + 1)].count(True) == MAX_MESSAGES
    assert one.admits("a", "0")
    clock.advance(PERIOD_SECS)
    assert told == [("a", OTHERS, 1)]


def test_what_was_left_out_is_told_at_the_end() -> None:
    one, clock, told = flood()
    one.stop()
    for _ in range(MAX_MESSAGES + 1):
        one.admits("a", "p")
    one.stop()
    assert told == [("a", "p", 1)]
    assert clock.getDelayedCalls() == []
