from dataclasses import FrozenInstanceError, replace

import pytest

from harmonygw.exchange import MAX_NOTES, AssociationOrigin, HTTPOrigin, Record, Reply, Request
from harmonygw.operations import Echo

REQUEST = Request(origin=HTTPOrigin("GET", ("studies",)), peer="192.0.2.1", correlation_id="c")


def test_a_request_is_changed_by_making_another() -> None:
    with pytest.raises(FrozenInstanceError):
        REQUEST.peer = "192.0.2.2"  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        REQUEST.origin.path = ()  # type: ignore[union-attr,misc]


def test_a_header_field_has_a_value_for_each_time_it_was_sent() -> None:
    headers = {"accept": "text/html, */*", "x-site": "north, south", "x-empty": ""}
    origin = HTTPOrigin("GET", (), headers=headers, repeated={"x-site": ("north", "south")})
    assert origin.field_lines("accept") == ("text/html, */*",)
    assert origin.field_lines("x-site") == ("north", "south")
    assert origin.field_lines("x-empty") == ("",)
    assert origin.field_lines("x-other") == ()


def test_a_header_field_that_was_changed_since_has_the_value_it_has_now() -> None:
    origin = HTTPOrigin("GET", (), headers={"x-site": "north, south"}, repeated={"x-site": ("north", "south")})
    assert replace(origin, headers={"x-site": "east"}).field_lines("x-site") == ("east",)
    assert replace(origin, headers={}).field_lines("x-site") == ()


def test_the_bridge_s_operation_stands_beside_the_http_request() -> None:
    bridged = replace(REQUEST, operation=Echo())
    assert bridged.operation == Echo()
    assert bridged.origin is REQUEST.origin
    assert REQUEST.operation is None


def test_the_record_outlives_every_change_and_makes_no_difference() -> None:
    request = replace(REQUEST, record=Record())
    changed = replace(request, attributes={"seen": True})
    changed.record.instances = 3
    assert request.record.instances == 3
    assert replace(request, record=Record()) == request


def test_fields_for_every_reply_outlive_every_change_and_make_no_difference() -> None:
    request = replace(REQUEST, common_headers=[])
    replace(request, principal="anna").common_headers.append(("Vary", "Origin"))
    assert request.common_headers == [("Vary", "Origin")]
    assert request == replace(REQUEST, common_headers=[])


def test_each_request_has_a_record_of_its_own() -> None:
    other = Request(origin=AssociationOrigin("CT1", "GATEWAY"), peer="192.0.2.1", correlation_id="d")
    assert other.record is not REQUEST.record


@pytest.mark.parametrize(("principal", "client"), [(None, "192.0.2.1"), ("anna", "anna")])
def test_a_client_is_its_principal_or_its_address(principal: str | None, client: str) -> None:
    assert replace(REQUEST, principal=principal).client == client


def test_a_note_is_taken_once() -> None:
    record = Record()
    record.note("retried on a fresh association")
    record.note("retried on a fresh association")
    assert record.notes == ["retried on a fresh association"]


def test_a_record_keeps_so_many_notes_and_no_more() -> None:
    record = Record()
    for number in range(MAX_NOTES + 1):
        record.note(f"note {number}")
    assert len(record.notes) == MAX_NOTES == 20
    assert record.notes[-1] == "note 19"


def test_a_reply_is_a_success_without_content_unless_it_says_otherwise() -> None:
    assert Reply() == Reply(status=200, headers=(), body=None, result=None)
