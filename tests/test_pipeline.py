"""The chain: order, short circuits, failures and cancellation; the two-sided list; loading by dotted path."""

import gc
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import globalLogPublisher
from zope.interface import implementer
from zope.interface.verify import verifyClass

from harmonygw.errors import BadRequest, ConfigurationError, Denied, TransportError
from harmonygw.exchange import HTTPOrigin, Reply, Request, Restriction
from harmonygw.pipeline import (
    BACKENDS,
    ENDPOINTS,
    MIDDLEWARE,
    Context,
    EndpointContext,
    IForEveryRequest,
    IMiddleware,
    Proceed,
    TwoSided,
    chain,
    load,
)

REQUEST = Request(origin=HTTPOrigin("GET", ("studies",)), peer="192.0.2.1", correlation_id="c")


@pytest.fixture(autouse=True, scope="module")
def nothing_is_logged() -> Iterator[None]:
    """Every failed Deferred was seen by somebody: none is reported when it is collected."""
    events: list[Any] = []
    gc.collect()
    globalLogPublisher.addObserver(events.append)
    try:
        yield
        gc.collect()
    finally:
        globalLogPublisher.removeObserver(events.append)
    assert events == []


@implementer(IMiddleware)
class Step:
    """Writes what it sees to a diary, its name onto the request and onto the reply."""

    def __init__(self, name: str, diary: list[str]) -> None:
        self.name = name
        self.diary = diary

    async def intercept(self, request: Request, proceed: Proceed) -> Reply:
        self.diary.append(f"{self.name}>")
        try:
            reply = await proceed(replace(request, correlation_id=request.correlation_id + self.name))
        except CancelledError:
            self.diary.append(f"{self.name}-")
            raise
        except BadRequest:
            self.diary.append(f"{self.name}!")
            raise
        self.diary.append(f"<{self.name}")
        return replace(reply, headers=(*reply.headers, ("Via", self.name)))


@implementer(IMiddleware)
class Answers:
    """Never proceeds."""

    async def intercept(self, request: Request, proceed: Proceed) -> Reply:
        return Reply(status=204)


@implementer(IMiddleware)
class Refuses:
    async def intercept(self, request: Request, proceed: Proceed) -> Reply:
        raise Denied("no")


@implementer(IMiddleware)
class Mends:
    """Answers in the place of a backend that fails."""

    async def intercept(self, request: Request, proceed: Proceed) -> Reply:
        try:
            return await proceed(request)
        except BadRequest:
            return Reply(status=299)


@implementer(IMiddleware)
class AsksTwice:
    """Proceeds twice, as a search over several levels does."""

    async def intercept(self, request: Request, proceed: Proceed) -> Reply:
        first = await proceed(request)
        second = await proceed(request)
        return Reply(status=first.status + second.status)


class Archive:
    """A backend that notes the request it got, and answers, fails, or waits."""

    def __init__(self, diary: list[str]) -> None:
        self.diary = diary
        self.requests: list[Request] = []
        self.waiting: Deferred[Reply] | None = None

    async def answer(self, request: Request) -> Reply:
        self.diary.append("archive")
        self.requests.append(request)
        return Reply()

    async def fail(self, request: Request) -> Reply:
        raise BadRequest("no such study")

    async def wait(self, request: Request) -> Reply:
        self.waiting = Deferred()
        try:
            return await self.waiting
        finally:
            self.diary.append("archive-")


@pytest.fixture
def diary() -> list[str]:
    return []


@pytest.fixture
def archive(diary: list[str]) -> Archive:
    return Archive(diary)


@pytest.fixture
def steps(diary: list[str]) -> Callable[[str], list[Step]]:
    """Make steps by their one-letter names; one name is one step."""
    made: dict[str, Step] = {}
    return lambda names: [made.setdefault(name, Step(name, diary)) for name in names]


Steps = Callable[[str], list[Step]]


def outcome(deferred: "Deferred[Reply]") -> Reply | BaseException:
    """Return what a Deferred has fired with."""
    found: list[Any] = []
    deferred.addCallbacks(found.append, lambda failure: found.append(failure.value))
    assert len(found) == 1
    answer: Reply | BaseException = found[0]
    return answer


def reply_of(deferred: "Deferred[Reply]") -> Reply:
    reply = outcome(deferred)
    assert isinstance(reply, Reply)
    return reply


def via(reply: Reply) -> str:
    return "".join(value for _, value in reply.headers)


class TestChain:
    def test_without_middleware_it_is_the_backend(self, archive: Archive) -> None:
        assert outcome(chain([], archive.answer)(REQUEST)) == Reply()

    def test_the_first_of_the_list_is_outermost(self, steps: Steps, archive: Archive, diary: list[str]) -> None:
        reply = reply_of(chain(steps("abc"), archive.answer)(REQUEST))
        assert diary == ["a>", "b>", "c>", "archive", "<c", "<b", "<a"]
        assert archive.requests[0].correlation_id == "cabc"
        assert via(reply) == "cba"

    def test_a_step_that_does_not_proceed_short_circuits(
        self, steps: Steps, archive: Archive, diary: list[str]
    ) -> None:
        reply = reply_of(chain([*steps("a"), Answers(), *steps("b")], archive.answer)(REQUEST))
        assert reply.status == 204
        assert diary == ["a>", "<a"]

    def test_a_failure_passes_outwards_through_every_step(
        self, steps: Steps, archive: Archive, diary: list[str]
    ) -> None:
        assert isinstance(outcome(chain(steps("ab"), archive.fail)(REQUEST)), BadRequest)
        assert diary == ["a>", "b>", "b!", "a!"]

    def test_a_step_may_answer_in_the_place_of_a_failure(self, steps: Steps, archive: Archive) -> None:
        assert reply_of(chain([*steps("a"), Mends()], archive.fail)(REQUEST)).status == 299

    def test_a_step_may_proceed_more_than_once(self, archive: Archive) -> None:
        assert reply_of(chain([AsksTwice()], archive.answer)(REQUEST)).status == 400
        assert len(archive.requests) == 2

    def test_a_chain_serves_many_exchanges_at_once(self, archive: Archive) -> None:
        proceed = chain([], archive.wait)
        first = proceed(REQUEST)
        first_waiting = archive.waiting
        second = proceed(REQUEST)
        assert archive.waiting is not None
        archive.waiting.callback(Reply(status=202))
        assert reply_of(second).status == 202
        assert first_waiting is not None
        first_waiting.callback(Reply(status=201))
        assert reply_of(first).status == 201

    def test_the_backend_may_answer_with_a_deferred(self) -> None:
        answer: Deferred[Reply] = Deferred()
        exchange = chain([], lambda request: answer)(REQUEST)
        answer.callback(Reply(status=203))
        assert reply_of(exchange).status == 203

    def test_cancelling_the_outermost_cancels_the_backend_and_unwinds_inner_before_outer(
        self, steps: Steps, archive: Archive, diary: list[str]
    ) -> None:
        exchange = chain(steps("ab"), archive.wait)(REQUEST)
        exchange.cancel()
        assert isinstance(outcome(exchange), CancelledError)
        assert diary == ["a>", "b>", "archive-", "b-", "a-"]


class TestTwoSided:
    """Left runs as written on the way in, right as written on the way out."""

    @pytest.mark.parametrize(
        ("left", "right", "seen", "request_of_the_archive", "reply"),
        [
            ("", "", "archive", "c", ""),
            ("ab", "", "a> b> archive b- a-", "cab", ""),
            ("", "ab", "b> a> archive <a <b", "c", "ab"),
            ("a", "b", "a> b> archive <b a-", "ca", "b"),
            ("ab", "ba", "a> b> archive <b <a", "cab", "ba"),
            ("ab", "b", "a> b> archive <b a-", "cab", "b"),
            ("ab", "a", "a> b> archive b- <a", "cab", "a"),
            ("b", "ab", "b> a> archive <a <b", "cb", "ab"),
            ("ab", "ab", "b> a> b> archive b- <a <b", "cab", "ab"),
            ("aa", "a", "a> a> archive a- <a", "caa", "a"),
        ],
    )
    def test_order(
        self,
        steps: Steps,
        archive: Archive,
        diary: list[str],
        left: str,
        right: str,
        seen: str,
        request_of_the_archive: str,
        reply: str,
    ) -> None:
        exchange = chain([TwoSided(steps(left), steps(right))], archive.answer)(REQUEST)
        assert via(reply_of(exchange)) == reply
        assert " ".join(diary) == seen
        assert archive.requests[0].correlation_id == request_of_the_archive

    @pytest.mark.parametrize("side", ["left", "right", "both"])
    def test_what_refuses_a_request_refuses_it_on_either_side(self, archive: Archive, side: str) -> None:
        guard: list[Any] = [Refuses()]
        two_sided = TwoSided(guard if side != "right" else [], guard if side != "left" else [])
        assert isinstance(outcome(chain([two_sided], archive.answer)(REQUEST)), Denied)
        assert archive.requests == []

    def test_an_answer_from_the_left_is_the_reply(self, steps: Steps, archive: Archive, diary: list[str]) -> None:
        two_sided = TwoSided([*steps("a"), Answers()], steps("b"))
        assert reply_of(chain([two_sided], archive.answer)(REQUEST)).status == 204
        assert diary == ["a>", "a-"]

    @pytest.mark.parametrize(("left", "right"), [("a", ""), ("", "a"), ("a", "a")])
    def test_a_failure_passes_every_step(
        self, steps: Steps, archive: Archive, diary: list[str], left: str, right: str
    ) -> None:
        exchange = chain([TwoSided(steps(left), steps(right))], archive.fail)(REQUEST)
        assert isinstance(outcome(exchange), BadRequest)
        assert diary == ["a>", "a!"]

    @pytest.mark.parametrize(("left", "right"), [("ab", ""), ("", "ba"), ("ab", "ba"), ("a", "b")])
    def test_cancelling_unwinds_inner_before_outer(
        self, steps: Steps, archive: Archive, diary: list[str], left: str, right: str
    ) -> None:
        exchange = chain([TwoSided(steps(left), steps(right))], archive.wait)(REQUEST)
        exchange.cancel()
        assert isinstance(outcome(exchange), CancelledError)
        assert diary[-3:] == ["archive-", "b-", "a-"]

    def test_a_step_on_both_sides_may_proceed_more_than_once(self, archive: Archive) -> None:
        step = AsksTwice()
        assert reply_of(chain([TwoSided([step], [step])], archive.answer)(REQUEST)).status == 400

    def test_a_left_step_that_answers_its_own_cancellation_changes_nothing(self, archive: Archive) -> None:
        @implementer(IMiddleware)
        class Stubborn:
            async def intercept(self, request: Request, proceed: Proceed) -> Reply:
                try:
                    return await proceed(request)
                except CancelledError:
                    return Reply(status=500)

        assert reply_of(chain([TwoSided([Stubborn()], [])], archive.answer)(REQUEST)).status == 200


@implementer(IForEveryRequest)
class Watch(Step):
    """A step that is for every request."""


class TestSettled:
    """What the endpoint answers by itself."""

    def test_it_passes_every_step_but_those_for_every_request(
        self, steps: Steps, archive: Archive, diary: list[str]
    ) -> None:
        step, watch = steps("a")[0], Watch("w", diary)
        request = replace(REQUEST, settled=Reply(204))
        for middleware in ([step, watch, Answers()], [TwoSided([step, watch], [watch, step])]):
            diary.clear()
            reply = reply_of(chain(middleware, archive.answer)(request))
            assert (reply.status, via(reply)) == (204, "w")
            assert diary == ["w>", "<w"]
        assert archive.requests == []

    @pytest.mark.parametrize("side", ["left", "right"])
    def test_one_side_of_a_step_is_passed_or_seen_as_the_step_is(
        self, side: str, steps: Steps, archive: Archive, diary: list[str]
    ) -> None:
        both = [steps("a")[0], Watch("w", diary)]
        two_sided = TwoSided(both if side == "left" else [], both if side == "right" else [])
        reply = reply_of(chain([two_sided], archive.answer)(replace(REQUEST, settled=Reply(204))))
        assert reply.status == 204
        assert diary == (["w>", "w-"] if side == "left" else ["w>", "<w"])

    def test_a_refusal_is_raised_at_the_end(self, archive: Archive, diary: list[str]) -> None:
        error = BadRequest("no")
        exchange = chain([Watch("w", diary)], archive.answer)(replace(REQUEST, settled=error))
        assert outcome(exchange) is error
        assert diary == ["w>", "w!"]


class TestLoad:
    def test_a_third_party_names_a_class_by_its_dotted_path(self) -> None:
        assert load("harmonygw.errors:TransportError") is TransportError

    @pytest.mark.parametrize(
        ("dotted_path", "said"),
        [
            ("harmonygw.errors", "there is no ':Name' behind the module"),
            ("harmonygw.errors:Nothing", "has no attribute 'Nothing'"),
            ("hospital.rules:Mine", "No module named 'hospital'"),
            (":Mine", "Empty module name"),
        ],
    )
    def test_what_cannot_be_loaded_is_named(self, dotted_path: str, said: str) -> None:
        with pytest.raises(ConfigurationError) as caught:
            load(dotted_path)
        (problem,) = caught.value.problems
        assert problem.startswith(f"cannot load {dotted_path!r}")
        assert said in problem


def test_a_context_names_and_hands_out_its_options() -> None:
    settings: Any = SimpleNamespace(name="guard", options={"policies": ()})
    context = Context(settings, configuration=SimpleNamespace(), reactor=None)  # type: ignore[arg-type]
    assert context.name == "guard"
    assert context.options == {"policies": ()}


def test_an_endpoint_describes_nothing_unless_it_is_told_how() -> None:
    context = EndpointContext(None, chain([], Archive([]).answer), SimpleNamespace(), None)  # type: ignore[arg-type]
    assert context.describe() == {}


@pytest.mark.parametrize("registry", [BACKENDS, ENDPOINTS, MIDDLEWARE])
def test_the_registry_names_modules_of_this_package(registry: dict[str, str]) -> None:
    for dotted_path in registry.values():
        module, _, name = dotted_path.partition(":")
        assert module.startswith("harmonygw.")
        assert name.isidentifier()


def test_every_registered_middleware_intercepts() -> None:
    for dotted_path in MIDDLEWARE.values():
        assert verifyClass(IMiddleware, load(dotted_path))


def test_nothing_answers_what_somebody_should_have_been_held_to() -> None:
    """Whoever embeds a chain without what enforces restrictions learns that it is missing, and no patient's data."""
    asked: list[Request] = []

    async def last(request: Request) -> Reply:
        asked.append(request)
        return Reply()

    proceed = chain((), last)
    confined = replace(REQUEST, restrictions=(Restriction({"00100020": ("P1",)}, "scope patient/*.rs"),))
    failures: list[Any] = []
    proceed(confined).addErrback(failures.append)
    assert failures[0].check(Denied)
    assert failures[0].value.log_detail == "nobody has held it to scope patient/*.rs"
    assert asked == []
    proceed(replace(confined, restrictions=()))
    assert len(asked) == 1
