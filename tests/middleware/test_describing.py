"""What is told of an exchange."""

from dataclasses import dataclass
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harmonygw.config.options import LogDumpOptions
from harmonygw.exchange import Reply
from harmonygw.middleware.describing import (
    completed,
    content_type_of,
    described_content,
    described_reply,
    described_request,
)
from harmonygw.middleware.redaction import Redaction
from harmonygw.middleware.tapping import Sample
from harmonygw.operations import Echo, Find, Level, Retrieve
from tests.middleware.exchanges import dimse, http

REDACTION = Redaction(LogDumpOptions(), ())
OPEN = Redaction(LogDumpOptions(show_patient_identifiers=True), ())


def content(data: bytes, *described: Any, **more: Any) -> Any:
    sample = Sample(data, **{"complete": True, "size": len(data), **more})
    return described_content(sample, *(described or ("application/json", "", REDACTION)))


def test_a_request_by_http() -> None:
    request = http(
        "GET",
        "studies",
        query=(("PatientID", "17"), ("limit", "1"), ("limit", "2")),
        headers={"authorization": "x", "accept": "y"},
        attributes={"dimse_op": "find", "json": {}},
    )
    assert described_request(request, REDACTION) == {
        "method": "GET",
        "uri": "/studies?PatientID=<redacted>&limit=1&limit=2",
        "headers": {"authorization": "<redacted>", "accept": "y"},
        "query_params": {"PatientID": ["<redacted>"], "limit": ["1", "2"]},
        "metadata": {"dimse_op": "find"},
    }


def test_operations() -> None:
    find = Find(Level.STUDY, {"00100020": {"vr": "LO", "Value": ["17"]}}, {"00080020": {"vr": "DA"}})
    assert described_request(dimse(find), REDACTION) == {
        "calling_ae_title": "CT1",
        "called_ae_title": "GATEWAY",
        "metadata": {},
        "operation": {
            "type": "Find",
            "level": "STUDY",
            "identifier": {"00080020": {"vr": "DA"}, "00100020": {"vr": "LO", "Value": ["<redacted>"]}},
        },
    }
    retrieve = Retrieve(Level.IMAGE, "1.2", "1.3", ("1.4",))
    assert described_request(dimse(retrieve), REDACTION)["operation"] == {
        "type": "Retrieve",
        "level": "IMAGE",
        "study_instance_uid": "1.2",
        "series_instance_uid": "1.3",
        "sop_instance_uids": ["1.4"],
    }
    assert described_request(dimse(Echo()), REDACTION)["operation"] == {"type": "Echo"}


def test_an_operation_that_nobody_has_thought_of() -> None:
    @dataclass(frozen=True)
    class FindSomething:
        identifier: Any

    operation: Any = FindSomething({"00100020": {"vr": "LO", "Value": ["17"]}})
    assert described_request(dimse(operation), REDACTION)["operation"] == {
        "type": "FindSomething",
        "identifier": {"00100020": {"vr": "LO", "Value": ["<redacted>"]}},
    }


def test_a_reply() -> None:
    reply = Reply(201, (("Set-Cookie", "a"), ("X-A", "1")))
    assert described_reply(http(), reply, REDACTION) == {
        "status": 201,
        "headers": {"set-cookie": "<redacted>", "x-a": "1"},
    }
    assert described_reply(dimse(), reply, REDACTION) == {}


def test_media_types() -> None:
    assert content_type_of(Reply(headers=(("Content-Type", "a"), ("Content-Encoding", "b")))) == ("a", "b")
    assert content_type_of(http(headers={"content-type": "a"})) == ("a", "")
    assert content_type_of(dimse()) == ("", "")


class TestContent:
    def test_json_is_redacted(self) -> None:
        assert content(b'{"PatientID": "17", "a": 1}') == {
            "content_type": "application/json",
            "size": 27,
            "body": {"PatientID": "<redacted>", "a": 1},
        }

    def test_of_json_that_is_too_long_there_is_what_was_whole(self) -> None:
        assert content(b'[{"a": 1, "b": [1, 2', complete=False, size=None) == {
            "content_type": "application/json",
            "truncated": True,
            "body": [{"a": 1, "b": [1]}],
        }

    @pytest.mark.parametrize(("data", "complete"), [(b"{", True), (b'{"a"', False)])
    def test_what_is_no_json_is_said_to_be_none(self, data: bytes, complete: bool) -> None:
        described = content(data, complete=complete)
        assert described["malformed"] is True
        assert "body" not in described

    @pytest.mark.parametrize(
        ("content_type", "coding", "redaction", "shown"),
        [
            ("text/plain", "", OPEN, True),
            ("application/dicom+xml", "", OPEN, True),
            ("text/plain", "", REDACTION, False),
            ("application/dicom", "", OPEN, False),
            ("application/x-www-form-urlencoded", "", OPEN, False),
            ("application/json", "gzip", OPEN, False),
        ],
    )
    def test_other_text_is_shown_with_patients_only(
        self, content_type: str, coding: str, redaction: Redaction, shown: bool
    ) -> None:
        described = content(b"a\xff", content_type, coding, redaction)
        assert described == {"content_type": content_type, "size": 2, **({"body": "a\ufffd"} if shown else {})}

    def test_nothing_is_no_body(self) -> None:
        assert content(b"") == {"content_type": "application/json", "size": 0}


DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers(0, 99) | st.text('a,[]{}"\\', max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text('a,"', max_size=3), inner, max_size=3),
    max_leaves=12,
)


@given(DOCUMENTS, st.data())
def test_every_beginning_that_has_a_comma_can_be_completed(document: Any, data: Any) -> None:
    raw = orjson.dumps(document)
    cut = raw[: data.draw(st.integers(0, len(raw)))]
    whole = completed(cut)
    if whole:
        assert isinstance(orjson.loads(whole), list | dict)
    assert cut.startswith(whole.rstrip(b"]}"))
