"""The circuit: it opens after consecutive failures, and an answer of any kind closes it."""

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from harmonygw.errors import Busy, HarmonyError, NotAcceptable, RejectedError, TimedOut, TransportError
from harmonygw.net.circuit import (
    FAILURES_TO_OPEN,
    FIRST_BACKOFF,
    LONGEST_BACKOFF,
    Circuit,
)

REFUSED = TransportError("the connection was refused")


class Target:
    """Answers an Echo as it is told."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.circuit = Circuit(self.clock, self.echo)
        self.echoes: list[Deferred[None]] = []
        self.times: list[float] = []

    async def echo(self) -> None:
        self.times.append(self.clock.seconds())
        self.echoes.append(Deferred())
        await self.echoes[-1]

    def fail(self, times: int = FAILURES_TO_OPEN) -> None:
        for _ in range(times):
            self.circuit.failed(REFUSED)

    def answer(self, error: HarmonyError | None = None) -> None:
        if error is None:
            self.echoes[-1].callback(None)
        else:
            self.echoes[-1].errback(error)


@pytest.fixture
def target() -> Target:
    return Target()


def test_it_opens_at_the_last_of_consecutive_failures(target: Target) -> None:
    target.fail(FAILURES_TO_OPEN - 1)
    target.circuit.succeeded()
    target.fail(FAILURES_TO_OPEN - 1)
    target.circuit.check()
    assert not target.circuit.is_open
    target.fail(1)
    assert target.circuit.is_open
    with pytest.raises(Busy, match="the connection was refused") as refused:
        target.circuit.check()
    assert refused.value.retry_after == FIRST_BACKOFF
    target.clock.advance(FIRST_BACKOFF - 0.1)
    assert target.circuit.refusal().retry_after == 1
    target.circuit.stop()
    assert target.clock.getDelayedCalls() == []


def test_an_echo_closes_it(target: Target) -> None:
    target.fail()
    target.clock.advance(FIRST_BACKOFF)
    assert target.circuit.refusal().retry_after == 1
    assert target.circuit.is_open
    target.answer()
    assert not target.circuit.is_open
    assert target.circuit.last_failure == ""
    assert target.clock.getDelayedCalls() == []


@pytest.mark.parametrize("answer", [RejectedError("who are you?", result=1), NotAcceptable("no Verification")])
def test_an_answer_is_an_answer(target: Target, answer: HarmonyError) -> None:
    target.fail()
    target.clock.advance(FIRST_BACKOFF)
    target.answer(answer)
    assert not target.circuit.is_open


def test_the_time_between_echos_doubles_up_to_a_limit_and_begins_again(target: Target) -> None:
    target.fail()
    for _ in range(6):
        target.clock.advance(LONGEST_BACKOFF)
        target.answer(TimedOut("nothing came"))
    assert target.circuit.last_failure == "nothing came"
    exact = Target()
    exact.fail()
    for wait in (5.0, 10.0, 20.0, 40.0, 60.0, 60.0):
        exact.clock.advance(wait - 0.1)
        before = len(exact.times)
        exact.clock.advance(0.1)
        assert len(exact.times) == before + 1
        exact.answer(REFUSED)
    exact.clock.advance(60.0)
    exact.answer()
    exact.fail()
    assert exact.clock.getDelayedCalls()[0].getTime() == exact.clock.seconds() + FIRST_BACKOFF
    exact.circuit.stop()
    target.circuit.stop()


def test_a_limit_of_ours_says_nothing_of_the_target(target: Target) -> None:
    target.fail()
    target.clock.advance(FIRST_BACKOFF)
    target.answer(Busy("no place"))
    assert target.circuit.is_open
    assert target.circuit.last_failure == "the connection was refused"
    target.circuit.stop()


def test_a_success_elsewhere_closes_it_while_an_echo_is_under_way(target: Target) -> None:
    target.fail()
    target.clock.advance(FIRST_BACKOFF)
    target.circuit.succeeded()
    target.answer(REFUSED)
    assert not target.circuit.is_open
    assert target.clock.getDelayedCalls() == []


def test_an_outage_that_begins_while_an_echo_is_under_way_has_one_timer(target: Target) -> None:
    target.fail()
    target.clock.advance(FIRST_BACKOFF)
    target.circuit.succeeded()
    target.fail()
    target.answer(REFUSED)
    assert len(target.clock.getDelayedCalls()) == 1
    target.circuit.stop()


def test_stopping_ends_the_echo_under_way_and_asks_no_more(target: Target) -> None:
    target.fail()
    target.clock.advance(FIRST_BACKOFF)
    assert not target.echoes[-1].called
    target.circuit.stop()
    target.circuit.stop()
    assert target.echoes[-1].called
    target.fail()
    assert target.clock.getDelayedCalls() == []
