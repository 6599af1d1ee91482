"""The matches of a C-FIND on their way out."""

import json
from typing import Any

import pytest
from pytest_twisted import ensureDeferred

from harmonygw.errors import RejectedError
from harmonygw.exchange import Reply
from harmonygw.middleware.dimse_over_http import answering
from harmonygw.middleware.dimse_over_http.answering import CUT, GATHERED_BYTES, found
from harmonygw.middleware.dimse_over_http.asking import Asked
from harmonygw.streams import Cancelled
from tests.middleware.dimse_over_http.objects import Found, content


def match(number: int, length: int = 1) -> dict[str, Any]:
    return {"0020000D": {"vr": "UI", "Value": [f"1.{number}"]}, "00081030": {"vr": "LO", "Value": ["x" * length]}}


def answer(matches: Found, **body: Any) -> Reply:
    return found(matches, Asked.of(body, "find"))


@pytest.mark.parametrize("count", [0, 1, 3])
@ensureDeferred
async def test_an_answer_is_json_with_its_success_last(count: int) -> None:
    matches = [match(number) for number in range(count)]
    told = await content(answer(Found(*matches)))
    assert json.loads(told) == {"operation": "C-FIND", "matches": matches, "count": count, "success": True}
    assert told.endswith(b'"success":true}')


@ensureDeferred
async def test_what_the_archive_did_not_do_is_told() -> None:
    told = json.loads(await content(answer(Found(match(1), warnings=("Not every key was matched.",)))))
    assert told["warnings"] == ["Not every key was matched."]


@ensureDeferred
async def test_a_limit_stops_the_query() -> None:
    matches = Found(*[match(number) for number in range(5)])
    told = json.loads(await content(answer(matches, limit=2)))
    assert (told["count"], told["success"]) == (2, True)
    assert "warnings" not in told
    assert (matches.read, matches.closed) == (2, True)


@ensureDeferred
async def test_what_goes_beyond_the_bound_is_cut_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answering, "MAX_MATCHES", 3)
    for number, warnings in ((3, []), (4, [CUT])):
        matches = Found(*[match(one) for one in range(number)])
        told = json.loads(await content(answer(matches)))
        assert (told["count"], told.get("warnings", [])) == (3, warnings)
        assert matches.closed


@ensureDeferred
async def test_many_matches_leave_together_before_all_are_there() -> None:
    length = GATHERED_BYTES // 4
    body = answer(Found(*[match(number, length) for number in range(6)])).body
    assert body is not None
    pieces = [b"".join(one) async for one in body]
    assert len(pieces) == 2
    assert len(json.loads(b"".join(pieces))["matches"]) == 6


@ensureDeferred
async def test_a_failure_before_the_first_bytes_is_still_told_by_its_status() -> None:
    body = answer(Found(match(1), error=RejectedError("the archive failed"))).body
    assert body is not None
    with pytest.raises(RejectedError):
        await body.__anext__()


@ensureDeferred
async def test_a_failure_after_them_leaves_the_document_without_an_end() -> None:
    many = [match(number, GATHERED_BYTES) for number in range(2)]
    body = answer(Found(*many, error=RejectedError("the archive failed"))).body
    assert body is not None
    sent = b"".join([*await body.__anext__(), *await body.__anext__()])
    with pytest.raises(RejectedError):
        await body.__anext__()
    with pytest.raises(json.JSONDecodeError):
        json.loads(sent)
    assert b"success" not in sent


@ensureDeferred
async def test_an_answer_that_is_given_up_unread_gives_the_query_up() -> None:
    matches = Found(match(1))
    body = answer(matches).body
    assert body is not None
    await body.abort(Cancelled("no more"))
    assert matches.closed
