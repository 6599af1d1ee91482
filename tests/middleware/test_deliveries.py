"""Deliveries: bounded, a few at a time, and said once when they fail."""

from collections.abc import Iterator
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.task import Clock, deferLater
from twisted.logger import formatEvent
from twisted.web.http_headers import Headers
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site

from harmonygw.middleware.deliveries import (
    DRAIN_SECS,
    MAX_ANSWER_BYTES,
    MAX_AT_ONCE,
    MAX_WAITING,
    Deliveries,
)
from tests.middleware.exchanges import logged, result_of


class Answer:
    """What an agent returns."""

    version = (b"HTTP", 1, 1)
    phrase = b""
    length = 0
    headers = Headers()
    request = None
    previousResponse = None

    def __init__(self, code: int, *, held: bool = False) -> None:
        self.code = code
        self.held = held
        self.left = False
        self.protocol: Any = None

    def deliverBody(self, protocol: Any) -> None:
        self.protocol = protocol
        protocol.makeConnection(self)
        protocol.dataReceived(b"ok")
        if not self.held:
            protocol.connectionLost(None)

    def loseConnection(self) -> None:
        self.left = True


class ScriptedAgent:
    """Remembers what it is to send, and answers when it is told to."""

    def __init__(self) -> None:
        self.requests: list[tuple[bytes, bytes, Headers]] = []
        self.waiting: list[Deferred[Any]] = []

    def request(self, method: bytes, uri: bytes, headers: Headers, bodyProducer: Any) -> "Deferred[Any]":
        self.requests.append((method, uri, headers))
        answer: Deferred[Any] = Deferred()
        self.waiting.append(answer)
        return answer

    def answer(self, answer: Any = None, *, first: int = 0) -> Any:
        answer = Answer(200) if answer is None else answer
        waiting = self.waiting.pop(first)
        if isinstance(answer, Exception):
            waiting.errback(answer)
        else:
            waiting.callback(answer)
        return answer


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def agent() -> ScriptedAgent:
    return ScriptedAgent()


@pytest.fixture
def deliveries(clock: Clock, agent: ScriptedAgent) -> Deliveries:
    one = Deliveries(
        "http://hook.example/in?x=1",
        {"Authorization": "Bearer t"},
        timeout=5,
        name="hook",
        reactor=clock,
        agent=agent,
    )
    one.start()
    return one


@pytest.fixture
def lines() -> Iterator[list[str]]:
    with logged("harmonygw.webhook") as events:
        yield Lines(events)


class Lines(list[str]):
    """The lines of events that are still coming."""

    def __init__(self, events: list[Any]) -> None:
        super().__init__()
        self._events = events

    def __eq__(self, other: object) -> bool:
        return [f"{event['log_level'].name}: {formatEvent(event)}" for event in self._events] == other

    __hash__ = None  # type: ignore[assignment]


def test_it_posts_json_with_who_we_are(deliveries: Deliveries, agent: ScriptedAgent) -> None:
    deliveries.send(b"{}")
    [(method, uri, headers)] = agent.requests
    assert (method, uri) == (b"POST", b"http://hook.example/in?x=1")
    assert headers.getRawHeaders("content-type") == ["application/json"]
    assert headers.getRawHeaders("authorization") == ["Bearer t"]
    assert deliveries.state() == {"delivered": 0, "failed": 0, "dropped": 0, "waiting": 1}
    agent.answer()
    assert deliveries.state() == {"delivered": 1, "failed": 0, "dropped": 0, "waiting": 0}


def test_a_few_are_sent_at_once_and_the_rest_waits(deliveries: Deliveries, agent: ScriptedAgent) -> None:
    for _ in range(MAX_AT_ONCE + 2):
        deliveries.send(b"{}")
    assert len(agent.requests) == MAX_AT_ONCE
    agent.answer()
    assert len(agent.requests) == MAX_AT_ONCE + 1
    while agent.waiting:
        agent.answer()
    assert deliveries.state() == {"delivered": MAX_AT_ONCE + 2, "failed": 0, "dropped": 0, "waiting": 0}


def test_one_too_many_is_dropped_and_counted(deliveries: Deliveries, lines: list[str]) -> None:
    for _ in range(MAX_AT_ONCE + MAX_WAITING):
        deliveries.send(b"{}")
    assert deliveries.state()["dropped"] == 0
    deliveries.send(b"{}")
    deliveries.send(b"{}")
    assert deliveries.state() == {"delivered": 0, "failed": 0, "dropped": 2, "waiting": MAX_AT_ONCE + MAX_WAITING}
    assert lines == ["warn: hook: a description was not delivered: more than 1000 descriptions are waiting"]


def test_failures_are_said_once_until_one_succeeds(
    deliveries: Deliveries, agent: ScriptedAgent, lines: list[str]
) -> None:
    for answer in (Answer(500), Answer(302), ConnectionRefusedError(), Answer(204), Answer(404)):
        deliveries.send(b"{}")
        agent.answer(answer)
    assert lines == [
        "warn: hook: a description was not delivered: the answer was 500",
        "info: hook: delivering again, after 3 failures",
        "warn: hook: a description was not delivered: the answer was 404",
    ]
    assert deliveries.state() == {"delivered": 1, "failed": 4, "dropped": 0, "waiting": 0}


def test_a_receiver_that_does_not_answer_is_left(
    deliveries: Deliveries, agent: ScriptedAgent, clock: Clock, lines: list[str]
) -> None:
    deliveries.send(b"{}")
    clock.advance(4.9)
    assert deliveries.state()["waiting"] == 1
    clock.advance(0.2)
    assert deliveries.state() == {"delivered": 0, "failed": 1, "dropped": 0, "waiting": 0}
    assert lines == ["warn: hook: a description was not delivered: it took more than 5 seconds (timeout_secs)"]
    assert clock.getDelayedCalls() == []


def test_an_answer_that_does_not_end_is_left(deliveries: Deliveries, agent: ScriptedAgent, clock: Clock) -> None:
    deliveries.send(b"{}")
    answer = agent.answer(Answer(200, held=True))
    clock.advance(5)
    assert answer.left
    answer.protocol.connectionLost(None)
    assert deliveries.state()["failed"] == 1


def test_an_answer_that_is_too_long_is_left(deliveries: Deliveries, agent: ScriptedAgent) -> None:
    deliveries.send(b"{}")
    answer = agent.answer(Answer(200, held=True))
    answer.protocol.dataReceived(b"x" * (MAX_ANSWER_BYTES - 2))
    assert not answer.left
    answer.protocol.dataReceived(b"x")
    assert answer.left
    answer.protocol.connectionLost(None)
    assert deliveries.state()["delivered"] == 1


class TestStopping:
    def test_what_waits_has_a_short_time(self, deliveries: Deliveries, agent: ScriptedAgent, clock: Clock) -> None:
        for _ in range(MAX_AT_ONCE + 1):
            deliveries.send(b"{}")
        stopped = deliveries.stop()
        deliveries.send(b"{}")
        assert deliveries.state()["dropped"] == 1
        while agent.waiting:
            assert not stopped.called
            agent.answer()
        assert result_of(stopped) is None
        assert deliveries.state() == {"delivered": MAX_AT_ONCE + 1, "failed": 0, "dropped": 1, "waiting": 0}
        assert clock.getDelayedCalls() == []

    def test_what_is_left_then_is_broken_off(
        self, deliveries: Deliveries, agent: ScriptedAgent, clock: Clock, lines: list[str]
    ) -> None:
        for _ in range(MAX_AT_ONCE + 3):
            deliveries.send(b"{}")
        stopped = deliveries.stop()
        clock.advance(DRAIN_SECS)
        assert result_of(stopped) is None
        assert deliveries.state() == {"delivered": 0, "failed": MAX_AT_ONCE, "dropped": 3, "waiting": 0}
        assert lines == []
        assert clock.getDelayedCalls() == []

    def test_nothing_to_do_is_done(self, deliveries: Deliveries) -> None:
        assert result_of(deliveries.stop()) is None


def test_what_has_not_started_drops(clock: Clock) -> None:
    one = Deliveries("http://hook.example", {}, timeout=5, name="hook", reactor=clock)
    one.send(b"{}")
    assert one.state()["dropped"] == 1


class Hook(Resource):
    """A receiver."""

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.bodies: list[bytes] = []
        self.silent = False

    def render_POST(self, request: Any) -> Any:
        self.bodies.append(request.content.read())
        return NOT_DONE_YET if self.silent else b"ok"


@pytest_twisted.inlineCallbacks
def test_over_a_socket_with_a_client_of_its_own() -> Any:
    hook = Hook()
    port = reactor.listenTCP(0, Site(hook), interface="127.0.0.1")  # type: ignore[attr-defined]
    one = Deliveries(f"http://127.0.0.1:{port.getHost().port}/x", {}, timeout=5, name="hook", reactor=reactor)
    one.start()
    for number in range(10):
        one.send(b'{"n":%d}' % number)
    while one.state()["waiting"]:
        yield deferLater(reactor, 0.01)  # type: ignore[arg-type]
    assert sorted(hook.bodies) == [b'{"n":%d}' % number for number in range(10)]
    assert one.state()["delivered"] == 10
    yield one.stop()
    yield port.stopListening()
