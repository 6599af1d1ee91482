from contextlib import aclosing

import pytest
from twisted.internet.defer import Deferred

from harmonygw.errors import TransportError
from harmonygw.exchange import AssociationOrigin, Reply, Request
from harmonygw.middleware.dicomweb_bridge.checking import joined
from harmonygw.middleware.dicomweb_bridge.inquiry import Inquiry
from harmonygw.operations import ContestedMatch, Find, Level
from harmonygw.streams import Match
from tests.middleware.dicomweb_bridge.archive import Archive, Found, elements, result_of, study


def inquiry_of(archive: Archive) -> tuple[Inquiry, Request]:
    request = Request(AssociationOrigin("A", "B"), "10.0.0.1", "id", principal="doctor")
    return Inquiry(request, archive.proceed), request


async def first(inquiry: Inquiry, count: int) -> list[str]:
    found: list[str] = []
    async with aclosing(inquiry.matches(Find(Level.STUDY))) as matches:
        async for match in matches:
            found.append(match["0020000D"]["Value"][0])
            if len(found) == count:
                break
    return found


@pytest.mark.parametrize(("count", "cancelled"), [(1, True), (9, False)])
def test_a_query_is_closed_and_its_warnings_kept_however_far_it_is_read(count: int, cancelled: bool) -> None:
    archive = Archive(study("1"), study("2"), warnings=["one", "two", "one"])
    inquiry, _ = inquiry_of(archive)
    assert result_of(first(inquiry, count)) == ["1", "2"][:count]
    assert archive.cancelled == [cancelled]
    assert list(inquiry.warnings) == ["one", "two"]


def test_the_request_is_the_clients_with_another_operation() -> None:
    seen: list[Request] = []
    archive = Archive()
    _, request = inquiry_of(archive)

    def proceed(operation: Request) -> "Deferred[Reply]":
        seen.append(operation)
        return archive.proceed(operation)

    result_of(first(Inquiry(request, proceed), 1))
    assert (seen[0].principal, seen[0].record, seen[0].operation) == ("doctor", request.record, Find(Level.STUDY))


def test_a_failure_midway_is_raised_with_the_query_closed() -> None:
    archive = Archive(study("1"))
    inquiry, _ = inquiry_of(archive)

    async def fail() -> None:
        async with aclosing(inquiry.matches(Find(Level.STUDY))) as matches:
            async for _ in matches:
                raise TransportError("gone")

    with pytest.raises(TransportError):
        result_of(fail())
    assert archive.cancelled == [True]


def test_warnings_are_for_the_client_and_notes_for_the_operator() -> None:
    inquiry, request = inquiry_of(Archive())
    inquiry.warn("careful")
    inquiry.warn("careful")
    inquiry.note("look")
    assert (list(inquiry.warnings), request.record.notes) == (["careful"], ["look"])


async def below(parent: Match, *found: Match) -> tuple[list[Match], list[Request]]:
    """What of some matches belongs below a parent, and how they were asked for."""
    seen: list[Request] = []

    async def respond(request: Request) -> Reply:
        seen.append(request)
        return Reply(result=Found(found, ()))

    _, request = inquiry_of(Archive())
    inquiry = Inquiry(request, lambda one: Deferred.fromCoroutine(respond(one)))
    async with aclosing(inquiry.matches(Find(Level.SERIES), parent)) as matches:
        return [match async for match in matches], seen


ANN, BOB = elements(PatientID="P", IssuerOfPatientID="A"), elements(PatientID="P", IssuerOfPatientID="B")


def test_what_is_below_a_contested_match_is_asked_of_its_source_and_as_contested() -> None:
    [match], [asked] = result_of(below(ContestedMatch({**ANN, "0020000D": {}}, "NORTH"), elements(Modality="CT")))
    assert asked.attributes["source"] == "NORTH"
    assert isinstance(match, ContestedMatch)
    assert (match, match.source) == ({**ANN, **elements(Modality="CT")}, "NORTH")


def test_what_turns_out_to_be_contested_is_of_the_parents_patient_or_of_another() -> None:
    found = ContestedMatch(ANN, "NORTH"), ContestedMatch(BOB, "SOUTH"), elements(Modality="CT")
    matches, [asked] = result_of(below(BOB, *found))
    assert matches == [BOB, elements(Modality="CT")]
    assert "source" not in asked.attributes


def test_what_joins_a_contested_match_is_contested() -> None:
    for row, parent in ((ContestedMatch(ANN, "N"), {}), (dict(ANN), ContestedMatch({}, "N"))):
        found = joined(row, parent, elements(StudyInstanceUID="1"))
        assert isinstance(found, ContestedMatch)
        assert (found, found.source) == ({**ANN, **elements(StudyInstanceUID="1")}, "N")
    assert not isinstance(joined(dict(ANN), {}, {}), ContestedMatch)
