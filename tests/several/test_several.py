"""Several backends behind the interface of one: each alone by its name, an Echo, and what is said of them."""

import pytest

from harmonygw.errors import ConfigurationError, NotFound, TimedOut, TransportError
from harmonygw.exchange import Reply, Request
from harmonygw.operations import Echo
from harmonygw.pipeline import IBackend
from tests.several.archives import PACS, TIMEOUT, Hospital, find, request, result_of


def test_it_is_a_backend_that_starts_and_stops_nothing() -> None:
    several = Hospital({"A": PACS(), "B": PACS()}).several
    assert IBackend.providedBy(several)
    several.start()
    several.stop()


def test_it_is_ready_when_any_of_them_is() -> None:
    one = Hospital({"A": PACS(), "B": PACS()})
    one.pacs["A"].ready = False
    assert one.several.state() == {
        "target": "A, B",
        "ready": True,
        "strategy": "federate",
        "sources": {"A": False, "B": True},
        "studies_remembered": 0,
    }
    one.pacs["B"].ready = False
    assert one.several.state()["ready"] is False


def test_a_source_that_there_is_not_is_not_found_and_none_is_named() -> None:
    with pytest.raises(NotFound) as caught:
        Hospital({"APPLE": PACS(), "BIRCH": PACS()}).respond(find(), source="CEDAR")
    assert "APPLE" not in str(caught.value)


def test_a_request_without_an_operation_is_a_mistake_of_the_configuration() -> None:
    with pytest.raises(ConfigurationError):
        result_of(Hospital({"A": PACS(), "B": PACS()}).several.respond(request()))


def test_relational_queries_are_had_when_all_have_them() -> None:
    assert Hospital({"A": PACS(relational=True), "B": PACS(relational=True)}).several.relational_queries
    assert not Hospital({"A": PACS(relational=True), "B": PACS()}).several.relational_queries


def test_an_echo_asks_all_and_is_answered_when_any_of_them_answers() -> None:
    one = Hospital({"A": PACS(), "B": PACS(), "C": PACS()})
    one.pacs["A"].error = TransportError("gone")
    one.pacs["C"].silent = True
    asked, replies = one.begin(Echo())
    assert replies == []
    one.clock.advance(TIMEOUT)
    assert len(replies) == 1
    assert one.pacs["B"].echoes == 1
    assert asked.record.notes == [
        "A did not answer: gone",
        "C did not answer: C did not answer within 5 s (source_timeout_secs)",
    ]


def test_an_echo_that_none_answers_fails() -> None:
    one = Hospital({"A": PACS(), "B": PACS()})
    one.pacs["A"].error = TimedOut("late")
    one.pacs["B"].error = TransportError("gone")
    with pytest.raises(TimedOut):
        one.respond(Echo())


def test_a_configured_time_out_comes_before_the_backends() -> None:
    one = Hospital({"A": PACS(), "B": PACS()}, source_timeout_secs=0.5)
    assert [source.timeout_secs for source in one.several.sources] == [0.5, 0.5]


def test_what_no_strategy_speaks_of_is_for_who_instances_are_stored_to() -> None:
    class Other:
        pass

    asked: list[str] = []

    class Telling(PACS):
        async def respond(self, request: Request) -> Reply:
            asked.append(type(request.operation).__name__)
            return Reply()

    one = Hospital({"A": PACS(), "B": Telling()}, store_to="b")
    one.respond(Other())
    assert asked == ["Other"]
