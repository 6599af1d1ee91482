"""metadata_transform: what is asked of the backend, and header fields of the reply."""

from dataclasses import replace
from typing import Any

import pytest

from harmonygw.errors import BadRequest, PeerError
from harmonygw.exchange import HTTPOrigin, Reply
from harmonygw.middleware.transform import MetadataTransform
from harmonygw.operations import Echo
from harmonygw.pipeline import MIDDLEWARE, load
from tests.middleware.exchanges import Pipeline, dimse, http
from tests.middleware.transform.conftest import Written

EVERYTHING = ("shift", {"*": "&"})
HEADERS = {"accept": "x", "host": "gateway", "cookie": "a/b=1"}


def request(**more: Any) -> Any:
    query = (("patient", "17"), ("a", "1"), ("a", "2"))
    return http("GET", "ImagingStudy", "a/b", query=query, headers=HEADERS, **more)


def test_the_registry_has_it() -> None:
    assert load(MIDDLEWARE["metadata_transform"]) is MetadataTransform


def test_what_stays_the_same_changes_nothing(written: Written) -> None:
    one = Pipeline(MetadataTransform(written(EVERYTHING)))
    asked = request(attributes={"m": "1", "json": {}})
    one.ask(asked)
    assert one.asked == [asked]


def test_parameters_of_the_query_become_metadata(written: Written) -> None:
    spec = ("shift", {"query_params": {"patient": {"0": "metadata.PatientID"}, "gone": {"0": "metadata.Gone"}}})
    one = Pipeline(MetadataTransform(written(spec, transform_target="target_details")))
    one.ask(request(attributes={"json": {}}))
    assert one.asked[0].attributes == {"json": {}, "PatientID": "17"}


def test_metadata_that_meet_at_one_place_all_count(written: Written) -> None:
    spec = ("shift", {"*": "&", "#find": "metadata.dimse_op", "#STUDY": "metadata.query_level"})
    one = Pipeline(MetadataTransform(written(spec)))
    one.ask(request(attributes={"PatientID": "17"}))
    assert one.asked[0].attributes == {"PatientID": "17", "dimse_op": "find", "query_level": "STUDY"}


def test_metadata_alone_are_a_document(written: Written) -> None:
    spec = ("default", {"webhook.hook": '{"a":1}', "number": 7, "json": "x", "kept": "no"})
    one = Pipeline(MetadataTransform(written(spec, transform_target="metadata")))
    one.ask(request(attributes={"json": {}, "kept": "yes"}))
    assert one.asked[0].attributes == {"json": {}, "kept": "yes", "webhook.hook": '{"a":1}'}


@pytest.mark.parametrize(
    ("spec", "changed"),
    [
        ({"method": "POST"}, {"method": "POST"}),
        ({"method": 7, "uri": 7, "query_params": 7, "headers": 7}, {}),
        ({"uri": "/x/y%2Fz?b=1&b=&c"}, {"path": ("x", "y/z"), "query": (("b", "1"), ("b", ""), ("c", ""))}),
        ({"query_params": {"a": "3"}}, {"query": (("patient", "17"), ("a", "3"))}),
        ({"query_params": {"a": ["4", 5, "6"]}}, {"query": (("patient", "17"), ("a", "4"), ("a", "6"))}),
        ({"query_params": {"a": []}}, {"query": (("patient", "17"),)}),
        ({"query_params": {"patient": ["17"]}}, {}),
        ({"headers": {"X-Ward": "4"}}, {"headers": {**HEADERS, "x-ward": "4"}}),
        ({"headers": {"Accept": "x", "Host": "evil", "Content-Length": "0", "X-A": 7}}, {}),
    ],
)
def test_what_is_different_is_changed(written: Written, spec: Any, changed: Any) -> None:
    one = Pipeline(MetadataTransform(written(("shift", {"gone": "x"}), ("default", spec))))
    asked = request()
    one.ask(asked)
    assert one.asked == [replace(asked, origin=replace(asked.origin, **changed))]


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ({"method": "GET /"}, "The request cannot be transformed: the method is none."),
        (
            {"headers": {"x-a": "1\r\nx-b: 2"}},
            'The request cannot be transformed: "x-a" is no header field, or its value',
        ),
        (
            {"headers": {"x a": "1"}},
            'The request cannot be transformed: "x a" is no header field, or its value is none.',
        ),
    ],
)
def test_what_cannot_be_asked_fails_or_passes(written: Written, spec: Any, sentence: str) -> None:
    step = written(("shift", {"#1": "metadata.made"}), ("default", spec))
    error = Pipeline(MetadataTransform(step)).ask(request())
    assert isinstance(error, BadRequest)
    assert str(error).startswith(sentence)
    step = written(("shift", {"#1": "metadata.made"}), ("default", spec), fail_on_error=False)
    lenient = Pipeline(MetadataTransform(step))
    asked = request()
    lenient.ask(asked)
    assert lenient.asked == [asked]
    assert asked.record.notes[0].startswith(f"step has changed nothing: {sentence}")


def test_what_finds_nothing_changes_nothing(written: Written) -> None:
    one = Pipeline(MetadataTransform(written(("shift", {"gone": "x"}))))
    one.ask(request())
    assert one.asked == [request()]


def test_what_makes_no_object_fails(written: Written) -> None:
    error = Pipeline(MetadataTransform(written(("shift", {"uri": ""})))).ask(request())
    assert str(error) == "The request cannot be transformed: the specification makes no object of it."


def test_an_association_has_metadata_and_titles(written: Written) -> None:
    spec = ("shift", {"calling_ae_title": "metadata.from", "operation": "metadata.what", "#POST": "method"})
    one = Pipeline(MetadataTransform(written(spec)))
    one.ask(dimse(Echo()))
    assert one.asked[0].attributes == {"from": "CT1", "what": "C-ECHO"}


class TestReply:
    REPLY = Reply(201, (("Content-Type", "text/plain"), ("X-Old", "1")))

    def test_header_fields_are_set(self, written: Written) -> None:
        spec = (
            "modify-overwrite-beta",
            {"headers": {"x-old": "@(2,metadata.ward)", "x-new": "2", "content-length": "7"}},
        )
        one = Pipeline(MetadataTransform(written(spec, apply="right")), lambda request: self.REPLY)
        reply = one.ask(request(attributes={"ward": "4"}))
        assert reply.headers == (("Content-Type", "text/plain"), ("x-old", "4"), ("x-new", "2"))
        assert one.asked == [request(attributes={"ward": "4"})]

    def test_what_stays_the_same_changes_nothing(self, written: Written) -> None:
        one = Pipeline(MetadataTransform(written(EVERYTHING, apply="both")), lambda request: self.REPLY)
        assert one.ask(request()) is self.REPLY

    def test_what_makes_no_object_fails_or_passes(self, written: Written) -> None:
        spec = ("shift", {"status": ""})
        error = Pipeline(MetadataTransform(written(spec, apply="right")), lambda request: self.REPLY).ask(request())
        assert isinstance(error, PeerError)
        lenient = Pipeline(
            MetadataTransform(written(spec, apply="right", fail_on_error=False)), lambda request: self.REPLY
        )
        assert lenient.ask(request()) is self.REPLY


def test_paths_are_quoted_for_the_specification(written: Written) -> None:
    one = Pipeline(MetadataTransform(written(("shift", {"uri": "metadata.uri"}))))
    one.ask(request())
    assert one.asked[0].attributes == {"uri": "/ImagingStudy/a%2Fb?patient=17&a=1&a=2"}
    assert isinstance(one.asked[0].origin, HTTPOrigin)
