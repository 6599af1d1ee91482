from typing import Any

import orjson
import pytest

from harmonygw.dicom.web.attributes import Level
from harmonygw.errors import (
    BadRequest,
    Busy,
    Denied,
    Incomplete,
    NotFound,
    PeerError,
    RejectedError,
    TransportError,
)
from harmonygw.exchange import Reply
from harmonygw.middleware.dicom_to_dicomweb.finding import MATCHES_A_PAGE, MAX_WARNINGS
from harmonygw.operations import Find
from harmonygw.streams import Body, Cancelled
from tests.middleware.dicom_to_dicomweb.server import (
    JSON,
    Server,
    Source,
    ask,
    gathered,
    reply,
    request,
    row,
    rows,
    run,
)

EXCEEDED = (
    *JSON,
    (
        "Warning",
        '299 server "The number of results exceeded the maximum supported by the server. '
        'Additional results can be requested."',
    ),
)
STUDIES = Find(Level.STUDY)


def uid(value: str) -> dict[str, Any]:
    return {"vr": "UI", "Value": [value]}


def found(*answers: Any, find: Find = STUDIES) -> list[Any]:
    return run(gathered(ask(Server(list(answers)), find)))


def studies(*matches: Any) -> list[str]:
    return [match["0020000D"]["Value"][0] for match in matches]


def test_matches_come_in_the_servers_order_page_by_page_until_one_is_empty() -> None:
    server = Server([rows(row("1"), row("2")), rows(row("3")), rows()])
    matches = ask(server, Find(Level.STUDY, {"00080061": {"vr": "CS", "Value": ["CT", "MR"]}}))
    assert studies(*run(gathered(matches))) == ["1", "2", "3"]
    assert server.lines == [
        f"GET /studies?ModalitiesInStudy=CT,MR&limit={MATCHES_A_PAGE}",
        f"GET /studies?ModalitiesInStudy=CT,MR&limit={MATCHES_A_PAGE}&offset=2",
        f"GET /studies?ModalitiesInStudy=CT,MR&limit={MATCHES_A_PAGE}&offset=3",
    ]
    assert {origin.headers["accept"] for origin in server.asked} == {"application/dicom+json"}


@pytest.mark.parametrize("nothing", [Reply(204), rows(), reply(b"[]", headers=(("content-type", "application/json"),))])
def test_no_match_is_an_answer(nothing: Reply) -> None:
    assert found(nothing) == []


def test_a_study_asked_for_by_its_uid_takes_one_request() -> None:
    server = Server([rows(row("1.2"))])
    matches = ask(server, Find(Level.STUDY, {"0020000D": uid("1.2")}))
    assert len(run(gathered(matches))) == 1
    assert len(server.asked) == 1


def test_a_server_that_knows_no_offset_is_read_once() -> None:
    page = (row("1"), row("2"))
    server = Server([rows(*page), rows(*page)])
    assert studies(*run(gathered(ask(server, STUDIES)))) == ["1", "2"]
    assert len(server.asked) == 2


def test_a_server_that_has_more_and_knows_no_offset_makes_the_find_fail() -> None:
    page = (row("1"), row("2"))
    matches = ask(Server([rows(*page, headers=EXCEEDED), rows(*page, headers=EXCEEDED)]), STUDIES)
    assert studies(run(anext(matches)), run(anext(matches))) == ["1", "2"]
    with pytest.raises(Incomplete):
        run(anext(matches))


def test_a_server_that_cuts_its_pages_short_is_asked_on_and_nobody_is_warned() -> None:
    server = Server([rows(row("1"), headers=EXCEEDED), rows(row("2"), status=206, headers=EXCEEDED), rows()])
    matches = ask(server, STUDIES)
    assert studies(*run(gathered(matches))) == ["1", "2"]
    assert matches.warnings == []


def test_a_match_that_an_archive_in_growth_moved_to_the_next_page_comes_once() -> None:
    assert studies(*found(rows(row("1"), row("2")), rows(row("2"), row("3")), rows())) == ["1", "2", "3"]
    assert studies(*found(rows(row("1"), row("2")), rows(row("2")))) == ["1", "2"]


def test_one_study_of_two_patients_is_two_matches() -> None:
    assert len(found(rows(row("1", T00100020="A"), row("1", T00100020="B")), rows())) == 2


def test_a_limit_is_passed_on() -> None:
    server = Server([rows(row("1")), rows()])
    run(gathered(ask(server, Find(Level.STUDY, limit=3))))
    assert server.lines == ["GET /studies?limit=3", "GET /studies?limit=3&offset=1"]


def test_many_uids_are_asked_for_in_several_requests() -> None:
    uids = {"vr": "UI", "Value": [f"1.{number}" for number in range(100)]}
    server = Server([rows(row("1.1")), rows(), rows(row("1.99")), rows()])
    assert studies(*run(gathered(ask(server, Find(Level.STUDY, {"0020000D": uids}))))) == ["1.1", "1.99"]
    assert [len(origin.query[0][1].split(",")) for origin in server.asked] == [60, 60, 40, 40]


def test_matches_have_the_uids_of_the_path_said_or_not() -> None:
    find = Find(Level.SERIES, {"0020000D": uid("1.2")})
    [match] = found(rows({"0020000E": uid("1.3")}), rows(), find=find)
    assert match["0020000D"] == uid("1.2")


def test_matches_of_another_study_than_was_asked_for_are_dropped() -> None:
    asked = request(Find(Level.SERIES, {"0020000D": uid("1.2")}))
    matches = ask(Server([rows(row("1.9", "1.3"), row("1.2", "1.4")), rows()]), None, asked)
    assert [match["0020000E"] for match in run(gathered(matches))] == [uid("1.4")]
    assert asked.record.notes == ["matches with other UIDs than were asked for were dropped"]


def test_a_match_without_its_uid_makes_the_find_fail() -> None:
    with pytest.raises(PeerError, match="SeriesInstanceUID"):
        found(rows(row("1.2")), find=Find(Level.SERIES))
    with pytest.raises(PeerError, match="StudyInstanceUID"):
        found(rows({"resourceType": "Bundle"}))


def test_an_odd_attribute_hides_no_match() -> None:
    asked = request(STUDIES)
    [match] = run(gathered(ask(Server([rows({**row("1"), "00080061": "CT"}), rows()]), None, asked)))
    assert match["00080061"] == {"vr": "CS"}
    assert asked.record.notes == ["values of 00080061 in matches cannot be used, and are left out"]


# Warnings and notes


def test_what_a_server_warns_of_is_passed_on_once() -> None:
    literal = (*JSON, ("Warning", '299 server "The fuzzymatching parameter is not supported."'))
    server = Server([rows(row("1"), headers=literal), rows(headers=literal)])
    matches = ask(server, Find(Level.STUDY, fuzzy_matching=True))
    run(gathered(matches))
    assert matches.warnings == ["The fuzzymatching parameter is not supported."]
    assert server.asked[0].query[0] == ("fuzzymatching", "true")


def test_warnings_without_end_are_not_kept() -> None:
    many = (*JSON, *(("Warning", f'299 server "{number}{"x" * 1000}"') for number in range(100)))
    matches = ask(Server([rows(headers=many)]), STUDIES)
    assert len(matches.warnings) == MAX_WARNINGS
    assert max(map(len, matches.warnings)) == 200


def test_a_key_that_no_url_can_carry_is_warned_of() -> None:
    matches = ask(Server([rows()]), Find(Level.STUDY, {"00091002": {"vr": "UN", "InlineBinary": "AAE="}}))
    assert matches.warnings == ["The key 00091002 was not matched: no URL can carry its value."]


def test_matches_are_counted() -> None:
    asked = request(STUDIES)
    run(gathered(ask(Server([rows(row("1"), row("2")), rows()]), None, asked)))
    assert asked.record.matches == 2


# What goes wrong


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (reply(b"{}", status=400), BadRequest),
        (reply(b"", status=401), Denied),
        (reply(b"", status=503, headers=(("Retry-After", "9"),)), Busy),
        (reply(b"", status=500), RejectedError),
        (reply(b"", status=302, headers=(("Location", "https://elsewhere/"),)), RejectedError),
        (reply(b"<html>Please sign in</html>", headers=(("Content-Type", "text/html"),)), PeerError),
        (reply(b"[]", headers=()), PeerError),
        (reply(b"[]", headers=(*JSON, ("Content-Encoding", "gzip"))), PeerError),
        (reply(b"<html>", headers=JSON), PeerError),
        (reply(b'{"0020000D":{}}'), PeerError),
        (reply(b'[{"0020000D":'), PeerError),
        (reply(b"[" + b'{"a":' * 100_000), PeerError),
        (reply(b'[{"a":"', *[b"x" * 65536] * 17), PeerError),
        (reply(TransportError("lost")), TransportError),
        (Reply(200, JSON), PeerError),
        (TransportError("refused"), TransportError),
    ],
)
def test_a_failure_before_the_first_match_fails_the_find_itself(answer: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        ask(Server([answer]), STUDIES)


def test_a_service_that_is_not_there_is_no_empty_archive() -> None:
    with pytest.raises(RejectedError) as caught:
        ask(Server([reply(b"", status=404)]), STUDIES)
    assert caught.value.log_detail == "no /studies below base_url"
    with pytest.raises(NotFound):
        ask(Server([reply(b"", status=404)]), Find(Level.SERIES, {"0020000D": uid("1.2")}))


def test_what_the_server_says_of_an_error_goes_into_the_log() -> None:
    problem = {"title": "Bad", "detail": "limit\ncannot be 500" + "x" * 500}
    with pytest.raises(BadRequest) as caught:
        ask(Server([reply(orjson.dumps(problem), status=400)]), STUDIES)
    assert caught.value.log_detail == ("limit cannot be 500" + "x" * 500)[:200]
    assert caught.value.detail == "the DICOMweb server does not understand the request (HTTP 400)"


@pytest.mark.parametrize(
    "body", [[b"x" * 10_000] * 1000, [b"[]"], [b'{"detail": 5}'], [b"{}"], [TransportError("lost")]]
)
def test_an_error_that_says_nothing_is_given_up(body: list[Any]) -> None:
    source = Source(*body)
    with pytest.raises(BadRequest) as caught:
        ask(Server([lambda _: Reply(400, JSON, Body(source))]), STUDIES)
    assert caught.value.log_detail == ""
    assert source.given_up
    assert source.left in (0, 999)


def test_an_array_without_end_flows_on_and_is_given_up_when_its_reader_is() -> None:
    page = b",".join(orjson.dumps(row(str(number))) for number in range(100))
    source = Source(b"[" + page, *[b"," + page] * 1000)
    matches = ask(Server([Reply(200, JSON, Body(source))]), STUDIES)

    async def some() -> None:
        for _ in range(150):
            await anext(matches)
        await matches.aclose()

    run(some())
    assert source.given_up
    assert source.left == 999
    with pytest.raises(Cancelled):
        run(gathered(matches))


def test_an_answer_that_breaks_off_has_no_clean_end() -> None:
    matches = ask(Server([reply(orjson.dumps([row("1")])[:-1], TransportError("lost"))]), STUDIES)

    for _ in range(2):
        with pytest.raises(TransportError):
            run(gathered(matches))


def test_an_invalid_identifier_asks_nothing() -> None:
    server = Server([])
    with pytest.raises(BadRequest):
        ask(server, Find(Level.SERIES, {"0020000D": uid("1/2")}))
    assert server.asked == []
