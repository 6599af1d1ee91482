"""What a client is told: statuses, problem documents, and which methods there are."""

import json
from typing import Any

import pytest

from harmonygw import errors
from harmonygw.endpoints.http_exchanges.problems import STATUSES, problem_of, status_of, unforeseen, unless_allowed
from harmonygw.exchange import HTTPOrigin, Reply, Request


def request_of(**record: Any) -> Request:
    request = Request(HTTPOrigin("GET", ()), "192.0.2.1", "id-1")
    for name, value in record.items():
        setattr(request.record, name, value)
    return request


def document_of(reply: Reply) -> dict[str, Any]:
    assert reply.body is not None
    assert reply.body.whole is not None
    found: dict[str, Any] = json.loads(b"".join(reply.body.whole))
    assert found["status"] == reply.status
    return found


def test_every_error_has_a_status_of_its_own_row() -> None:
    kinds = {kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.HarmonyError)}
    assert kinds == {kind for kind, _ in STATUSES} | {errors.HarmonyError}
    assert status_of(errors.HarmonyError("what nobody made a class for")) == 500


def test_a_failure_behind_us_names_target_and_dimse_status() -> None:
    told = document_of(problem_of(errors.RejectedError("no"), request_of(target="pacs", dimse_status=0xA700)))
    assert (told["status"], told["target"], told["dimse_status"]) == (502, "pacs", "A700H")
    told = document_of(problem_of(errors.BadRequest("no"), request_of(target="pacs", dimse_status=0xA700)))
    assert not {"target", "dimse_status"} & set(told)


def test_members_of_an_error_stand_in_its_document() -> None:
    error = errors.RejectedError("three of them failed")
    error.members.update(operation="C-MOVE", success=False, failed=3)
    told = document_of(problem_of(error, request_of()))
    assert (told["operation"], told["success"], told["failed"]) == ("C-MOVE", False, 3)


def test_what_nobody_foresaw_tells_nothing() -> None:
    assert document_of(unforeseen(request_of()))["status"] == 500


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_head_goes_with_get(method: str) -> None:
    assert unless_allowed(method, ("GET", "POST"), "") is None


def test_head_goes_with_nothing_else() -> None:
    assert isinstance(unless_allowed("HEAD", ("POST",), "no"), errors.MethodNotAllowed)


def test_options_asks_which_methods_there_are() -> None:
    assert unless_allowed("OPTIONS", ("POST",), "") == Reply(204, (("Allow", "OPTIONS, POST"),))
    assert unless_allowed("OPTIONS", ("OPTIONS",), "") is None


def test_any_other_method_is_405_with_those_there_are() -> None:
    error = unless_allowed("PUT", ("GET",), "It can only be read.")
    assert isinstance(error, errors.MethodNotAllowed)
    reply = problem_of(error, request_of())
    assert (reply.status, dict(reply.headers)["Allow"]) == (405, "GET, HEAD, OPTIONS")
    assert document_of(reply)["detail"] == "It can only be read."


def test_a_refusal_asks_for_what_would_do() -> None:
    for error, status in (
        (errors.Unauthenticated("no", challenge="Basic"), 401),
        (errors.AmbiguousCredentials("no", challenge="Bearer"), 400),
        (errors.InsufficientScope("no", challenge='Bearer scope="a"'), 403),
    ):
        reply = problem_of(error, request_of())
        assert (reply.status, dict(reply.headers)["WWW-Authenticate"]) == (status, error.challenge)
    assert document_of(reply)["detail"] == "The request is not allowed."
