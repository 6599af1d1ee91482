"""Failover: the next archive is asked while the one before cannot be reached, and never after its first word."""

from typing import Any

import pytest
from twisted.internet.defer import CancelledError

from harmonygw.errors import Busy, HarmonyError, NotFound, RejectedError, TimedOut, TransportError
from harmonygw.operations import Echo, Level, Retrieve
from tests.several.archives import (
    PACS,
    TIMEOUT,
    Hospital,
    find,
    image,
    read,
    result_of,
    series,
    study,
    table,
    warnings_of,
)

STUDY = Retrieve(Level.STUDY, "1")


def one(uid: str) -> Any:
    return study(uid, series(f"{uid}.1", image(f"{uid}.1.1"), image(f"{uid}.1.2")))


def mirrored() -> Hospital:
    return Hospital({"A": PACS(one("1")), "B": PACS(one("1"), one("2"))}, strategy="failover")


def test_the_first_answers_and_the_next_is_not_asked() -> None:
    hospital = mirrored()
    rows = hospital.search("studies")
    assert table(rows, "StudyInstanceUID", "RetrieveAETitle") == [("1", "A")]
    assert hospital.retrieved(STUDY) == ["1.1.1", "1.1.2"]
    hospital.respond(Echo())
    b = hospital.pacs["B"]
    assert (b.log, b.retrieved, b.echoes) == ([], [], 0)


@pytest.mark.parametrize("error", [TransportError("gone"), TimedOut("late"), Busy("circuit open")])
def test_the_next_answers_when_the_first_cannot_be_reached(error: HarmonyError) -> None:
    hospital = mirrored()
    hospital.pacs["A"].error = error
    assert table(hospital.search("studies"), "StudyInstanceUID", "RetrieveAETitle") == [("1", "B"), ("2", "B")]
    assert warnings_of(hospital.reply("studies?limit=1")) == ['299 harmonygw "A did not answer; B answered instead."']
    asked, [reply] = hospital.begin(STUDY)
    assert len(result_of(read(reply.result))) == 2
    assert asked.common_headers == [("Warning", '299 harmonygw "A did not answer; B answered instead."')]
    assert asked.record.notes == [f"A could not be reached: {error}", "B answered instead"]
    hospital.respond(Echo())
    assert hospital.pacs["B"].echoes == 1


def test_a_silent_first_is_given_up_when_its_time_is_over() -> None:
    hospital = mirrored()
    hospital.pacs["A"].silent = True
    _, replies = hospital.begin(find())
    hospital.clock.advance(TIMEOUT)
    [reply] = replies
    assert len(result_of(read(reply.result))) == 2


def test_a_retrieval_has_the_time_that_its_archive_takes() -> None:
    hospital = mirrored()
    hospital.pacs["A"].silent = True
    _, replies = hospital.begin(STUDY)
    hospital.clock.advance(100 * TIMEOUT)
    assert replies == []
    hospital.pacs["A"].waits[0].callback(None)
    assert len(result_of(read(replies[0].result))) == 2


def test_an_empty_answer_is_an_answer_and_so_is_a_refusal() -> None:
    hospital = mirrored()
    assert hospital.rows(find(StudyInstanceUID="2")) == []
    with pytest.raises(NotFound):
        hospital.respond(Retrieve(Level.STUDY, "2"))
    hospital.pacs["A"].error = RejectedError("no", status=0xA900)
    with pytest.raises(RejectedError):
        hospital.respond(find())
    assert hospital.pacs["B"].log == []


def test_after_the_first_match_or_instance_there_is_no_other() -> None:
    hospital = mirrored()
    a = hospital.pacs["A"]
    whole = a._matches

    def broken(query: Any) -> Any:
        yield whole(query)[0]
        raise TransportError("gone")

    a._matches = broken  # type: ignore[method-assign, assignment]
    with pytest.raises(TransportError):
        hospital.rows(find())
    a.breaks_after = 1
    stream = hospital.respond(STUDY).result
    with pytest.raises(HarmonyError, match="broken"):
        result_of(read(stream))
    assert (hospital.pacs["B"].log, hospital.pacs["B"].retrieved) == ([], [])


def test_before_it_there_is() -> None:
    hospital = mirrored()
    sent = hospital.pacs["A"]._sent

    async def gone(instances: Any) -> Any:
        raise TransportError("gone")
        yield sent

    hospital.pacs["A"]._sent = gone  # type: ignore[method-assign]
    assert len(hospital.retrieved(STUDY)) == 2
    assert len(hospital.pacs["B"].retrieved) == 1


def test_when_none_can_be_reached_the_first_says_why() -> None:
    hospital = mirrored()
    hospital.pacs["A"].error = TimedOut("late")
    hospital.pacs["B"].error = TransportError("gone")
    with pytest.raises(TimedOut):
        hospital.respond(find())


def test_cancelling_asks_no_further() -> None:
    hospital = mirrored()
    hospital.pacs["A"].silent = True
    for operation in (STUDY, find()):
        running = hospital._proceed(hospital.begin(operation)[0])
        results: list[Any] = []
        running.addBoth(results.append)
        running.cancel()
        assert results[0].check(CancelledError)
    assert (hospital.pacs["B"].log, hospital.pacs["B"].retrieved) == ([], [])


def test_an_answer_that_is_given_up_is_closed() -> None:
    hospital = mirrored()
    hospital.pacs["A"].error = TransportError("gone")
    matches = hospital.respond(find()).result
    result_of(matches.aclose())
    assert hospital.pacs["B"].cancelled == [True]
    empty = hospital.respond(find(StudyInstanceUID="9")).result
    assert result_of(read(empty)) == []
