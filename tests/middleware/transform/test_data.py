"""The transform: bodies, identifiers and matches, what fails, and what passes as it is."""

from dataclasses import replace
from typing import Any

import orjson
import pytest
from twisted.internet.defer import CancelledError, Deferred

from harmonygw.errors import BadRequest, ConfigurationError, PeerError, TooLarge
from harmonygw.exchange import HTTPOrigin, Reply, Request
from harmonygw.middleware.json_extractor import JSONExtractor
from harmonygw.middleware.transform import Transform
from harmonygw.operations import Echo, Find, Level, Store
from harmonygw.pipeline import MIDDLEWARE, chain, load
from harmonygw.streams import Body
from tests.middleware.exchanges import (
    Pipeline,
    arrived,
    arriving,
    bytes_of,
    dimse,
    http,
    items_of,
    post,
    result_of,
)
from tests.middleware.transform.conftest import Written
from tests.service.parts import Found

RENAME = ("shift", {"data": {"name": "data.full_name", "*": "data.other.&"}})
IDENTITY = ("modify-overwrite-beta", {"data": {"seen": True}})
MATCH = {"00100020": {"vr": "LO", "Value": ["17"]}, "00080020": {"vr": "DA", "Value": ["20240115"]}}


def answer(document: Any, status: int = 200, content_type: str = "application/json", **headers: str) -> Any:
    raw = orjson.dumps(document)
    fields = {"Content-Type": content_type, "Content-Length": str(len(raw)), "ETag": '"old"'}
    fields.update({name.replace("_", "-"): value for name, value in headers.items()})
    return lambda request: Reply(status, tuple(fields.items()), arrived(raw, length=len(raw)), digest="d")


def origin_of(request: Request) -> HTTPOrigin:
    assert isinstance(request.origin, HTTPOrigin)
    return request.origin


def test_the_registry_has_it() -> None:
    assert load(MIDDLEWARE["transform"]) is Transform


class TestRequest:
    def test_its_body_is_another_with_the_fields_that_fit(self, written: Written) -> None:
        one = Pipeline(Transform(written(RENAME)))
        raw = b'{"name": "Doe", "id": 17}'
        headers = {"content-length": "25", "digest": "x", "transfer-encoding": "chunked", "accept": "y"}
        request = post(arrived(raw))
        request = replace(
            request, origin=replace(origin_of(request), headers={**origin_of(request).headers, **headers})
        )
        assert one.ask(request) == Reply()
        asked = origin_of(one.asked[0])
        assert one.body == b'{"full_name":"Doe","other":{"id":17}}'
        assert asked.headers == {"content-type": "application/json", "accept": "y", "content-length": "37"}
        assert asked.body is not None
        assert asked.body.length == 37

    def test_what_has_no_data_in_it_is_the_body_as_a_whole(self, written: Written) -> None:
        one = Pipeline(Transform(written(("shift", {"data": {"name": "full_name"}}))))
        one.ask(post(b'{"name": "Doe"}'))
        assert one.body == b'{"full_name":"Doe"}'

    def test_an_array_is_a_body_too(self, written: Written) -> None:
        one = Pipeline(Transform(written(("shift", {"data": {"*": {"a": "data[&1].b"}}}))))
        one.ask(post(b'[{"a": 1}, {"a": 2}]'))
        assert one.body == b'[{"b":1},{"b":2}]'

    def test_a_document_that_was_extracted_stays_what_the_body_is(self, written: Written) -> None:
        given = written(RENAME)
        steps = [JSONExtractor(given), Transform(given), Transform(given)]
        asked: list[Request] = []

        async def backend(request: Request) -> Reply:
            asked.append(request)
            return Reply()

        result_of(chain(steps, backend)(post(b'{"name": "Doe"}')))
        assert asked[0].attributes == {"json": {"other": {"full_name": "Doe"}}}
        assert bytes_of(origin_of(asked[0]).body) == b'{"other":{"full_name":"Doe"}}'

    def test_the_specification_sees_the_request(self, written: Written) -> None:
        one = Pipeline(Transform(written(("shift", {"context": {"request_details": {"*": "data.&"}}}))))
        request = post(b"{}", "find", "a b", cookie="s=1", authorization="a", accept="x")
        request = replace(
            request, origin=replace(origin_of(request), query=(("a", "1"), ("a", "2"))), attributes={"op": "find"}
        )
        one.ask(request)
        assert orjson.loads(one.body) == {
            "method": "POST",
            "uri": "/find/a%20b?a=1&a=2",
            "query_params": {"a": ["1", "2"]},
            "headers": {"content-type": "application/json", "accept": "x"},
            "metadata": {"op": "find"},
        }

    def test_metadata_in_its_context_become_the_request_s(self, written: Written) -> None:
        spec = (
            "default",
            {
                "context": {
                    "target_details": {"metadata": {"dimse_op": "find", "number": 1, "json": "x"}},
                    "request_details": {"metadata": {"query_level": "STUDY"}},
                }
            },
        )
        one = Pipeline(Transform(written(spec)))
        one.ask(replace(post(b"{}"), attributes={"json": {}, "kept": "y"}))
        assert one.asked[0].attributes == {"json": {}, "kept": "y", "dimse_op": "find", "query_level": "STUDY"}
        assert one.body == b"{}"

    @pytest.mark.parametrize(
        "request_",
        [
            http("GET", "find"),
            http("POST", "find", body=b"text", headers={"content-type": "text/plain"}),
            http("POST", "find", body=b"{}", operation=Echo()),
            dimse(Echo()),
            dimse(Store(instances=None)),  # type: ignore[arg-type]
        ],
    )
    def test_what_has_no_json_passes(self, written: Written, request_: Request) -> None:
        one = Pipeline(Transform(written(RENAME)))
        assert one.ask(request_) == Reply()
        assert one.asked == [request_]

    def test_an_empty_body_passes(self, written: Written) -> None:
        one = Pipeline(Transform(written(RENAME)))
        assert one.ask(post(arrived())) == Reply()
        assert one.body == b""

    @pytest.mark.parametrize(
        ("body", "headers", "error", "sentence"),
        [
            (b"{", {}, BadRequest, "The body of the request cannot be transformed: The body is no JSON: "),
            (
                b"[]",
                {},
                BadRequest,
                "The body of the request cannot be transformed: nothing in it is what",
            ),
            (b'{"a":1}', {"content_encoding": "gzip"}, BadRequest, "The body of the request is in the coding gzip"),
            (b'{"a":"' + b"x" * 99 + b'"}', {}, TooLarge, "The body of the request is larger than 100 bytes (proxy."),
        ],
    )
    def test_what_fails_fails_the_request_or_passes_with_a_note(
        self, written: Written, body: bytes, headers: dict[str, str], error: type, sentence: str
    ) -> None:
        limit = {"max_body_size": 100}
        strict = Pipeline(Transform(written(RENAME, proxy=limit)))
        raised = strict.ask(post(arrived(body), **headers))
        assert type(raised) is error
        assert str(raised).startswith(sentence)
        assert strict.asked == []

        lenient = Pipeline(Transform(written(RENAME, proxy=limit, fail_on_error=False)))
        request = post(arrived(body), **headers)
        assert lenient.ask(request) == Reply()
        assert lenient.body == body
        [note] = request.record.notes
        assert note.startswith(f"step has changed nothing: {sentence}")

    def test_a_result_that_is_too_large_is_refused(self, written: Written) -> None:
        spec = ("shift", {"data": {"a": ["data.a", "data.b"]}})
        one = Pipeline(Transform(written(spec, proxy={"max_body_size": 100})))
        error = one.ask(post(b'{"a": "' + b"x" * 60 + b'"}'))
        assert isinstance(error, BadRequest)
        assert "the result has more than 100 bytes" in str(error)

    def test_what_is_too_large_is_given_up(self, written: Written) -> None:
        body, feed = arriving(b'"' + b"x" * 100)
        Pipeline(Transform(written(RENAME, proxy={"max_body_size": 100}))).ask(post(body))
        assert feed.done


class TestQuery:
    FIND = Find(
        Level.STUDY,
        keys={"00100020": {"vr": "LO", "Value": ["17"]}},
        return_keys={"00080020": {"vr": "DA"}},
        limit=7,
    )

    def test_its_identifier_is_a_document(self, written: Written) -> None:
        spec = (
            "shift",
            {"data": {"00100020": "data.00100020", "00080020": "data.00080020", "#X-": "data.00080050.Value[]"}},
        )
        one = Pipeline(Transform(written(spec)))
        for request in (dimse(self.FIND), http("GET", "studies", operation=self.FIND)):
            one.ask(request)
            asked = one.asked[-1].operation
            assert asked == replace(
                self.FIND, keys={"00080050": {"Value": ["X-"], "vr": "SH"}, "00100020": {"vr": "LO", "Value": ["17"]}}
            )

    def test_the_specification_sees_who_asks_and_at_which_level(self, written: Written) -> None:
        names = dict.fromkeys(("calling_ae_title", "called_ae_title", "operation", "level"), "data.00080050.Value[]")
        one = Pipeline(Transform(written(("shift", {"context": {"request_details": names}}))))
        one.ask(dimse(self.FIND))
        asked = one.asked[0].operation
        assert isinstance(asked, Find)
        assert asked.keys["00080050"]["Value"] == ["CT1", "GATEWAY", "C-FIND", "STUDY"]

    def test_what_is_no_identifier_fails_or_passes(self, written: Written) -> None:
        spec = ("shift", {"data": {"00100020": {"Value": {"0": "data.PatientID"}}}})
        error = Pipeline(Transform(written(spec))).ask(dimse(self.FIND))
        assert isinstance(error, BadRequest)
        assert str(error) == (
            "The query cannot be transformed: the result is no data set: "
            '"PatientID" is no tag of eight hexadecimal digits.'
        )
        lenient = Pipeline(Transform(written(spec, fail_on_error=False)))
        request = dimse(self.FIND)
        lenient.ask(request)
        assert lenient.asked == [request]
        assert len(request.record.notes) == 1

    def test_each_match_is_a_document(self, written: Written) -> None:
        spec = ("modify-overwrite-beta", {"data": {"00100020": {"Value": {"[0]": "=concat('X',@(1,[0]))"}}}})
        one = Pipeline(
            Transform(written(spec, apply="right")), lambda request: Reply(result=Found(MATCH, MATCH), digest="d")
        )
        reply = one.ask(dimse(self.FIND))
        assert reply.digest == ""
        assert reply.result.warnings == []
        changed = {"00080020": MATCH["00080020"], "00100020": {"vr": "LO", "Value": ["X17"]}}
        assert items_of(reply.result) == [changed, changed]
        assert one.asked[0].operation == self.FIND

    def test_a_match_that_cannot_be_transformed_ends_them_or_passes(self, written: Written) -> None:
        spec = ("shift", {"data": {"00080020": "data.00080020"}})
        matches = Found(MATCH, {}, MATCH)
        reply = Pipeline(Transform(written(spec, apply="right")), lambda request: Reply(result=matches)).ask(
            dimse(self.FIND)
        )
        assert result_of(reply.result.__anext__()) == {"00080020": MATCH["00080020"]}
        error = result_of(reply.result.__anext__())
        assert isinstance(error, PeerError)
        assert str(error) == "A match cannot be transformed: nothing in it is what the specification looks for."
        assert matches.held == 0

        request = dimse(self.FIND)
        lenient = Transform(written(spec, apply="right", fail_on_error=False))
        reply = Pipeline(lenient, lambda request: Reply(result=Found(MATCH, {}))).ask(request)
        assert items_of(reply.result) == [{"00080020": MATCH["00080020"]}, {}]
        assert len(request.record.notes) == 1

    def test_matches_are_given_up_with_what_came_of_them(self, written: Written) -> None:
        matches = Found(MATCH, MATCH)
        reply = Pipeline(Transform(written(IDENTITY, apply="right")), lambda request: Reply(result=matches)).ask(
            dimse(self.FIND)
        )
        result_of(reply.result.aclose())
        assert matches.held == 0

    def test_other_results_pass(self, written: Written) -> None:
        reply = Reply(result=Found())
        assert Pipeline(Transform(written(IDENTITY, apply="both")), lambda request: reply).ask(dimse(Echo())) is reply


class TestReply:
    def test_its_body_is_another(self, written: Written) -> None:
        one = Pipeline(Transform(written(RENAME, apply="right")), answer({"name": "Doe"}))
        reply = one.ask(http("GET", "a"))
        assert reply.headers == (("Content-Type", "application/json"),)
        assert (bytes_of(reply.body), reply.body.length, reply.digest) == (b'{"full_name":"Doe"}', 19, "")

    def test_the_specification_sees_request_and_reply(self, written: Written) -> None:
        spec = ("shift", {"context": {"request_details": {"method": "data.method"}, "response_details": "data.reply"}})
        reply = Pipeline(
            Transform(written(spec, apply="right")), answer({}, 201, x_a="1", X_A="2", set_cookie="s")
        ).ask(http("PUT", "a"))
        assert orjson.loads(bytes_of(reply.body)) == {
            "method": "PUT",
            "reply": {
                "status": 201,
                "headers": {"content-type": "application/json", "content-length": "2", "etag": '"old"', "x-a": "1, 2"},
                "metadata": {},
            },
        }

    def test_the_backend_is_asked_for_plain_json(self, written: Written) -> None:
        one = Pipeline(Transform(written(RENAME, apply="both")), answer({"name": "x"}))
        one.ask(http("GET", "a", headers={"accept-encoding": "gzip", "accept": "x"}))
        assert origin_of(one.asked[0]).headers == {"accept": "x"}

    @pytest.mark.parametrize(
        "reply",
        [
            Reply(204),
            answer({"name": "x"}, 404)(None),
            answer({"name": "x"}, content_type="text/plain")(None),
            Reply(304, (("Content-Type", "application/json"),)),
        ],
    )
    def test_what_has_no_json_or_no_success_passes(self, written: Written, reply: Reply) -> None:
        assert Pipeline(Transform(written(RENAME, apply="right")), lambda request: reply).ask(http("GET", "a")) is reply

    def test_the_reply_to_head_loses_what_told_of_bytes(self, written: Written) -> None:
        headers = (("Content-Type", "application/json"), ("Content-Length", "99"))
        reply = Pipeline(Transform(written(RENAME, apply="right")), lambda request: Reply(200, headers, Body.of())).ask(
            http("HEAD", "a")
        )
        assert reply.headers == headers[:1]

    @pytest.mark.parametrize(
        ("body", "headers", "sentence"),
        [
            (b"{", {}, "The reply cannot be transformed: The body is no JSON: "),
            (b"[]", {}, "The reply cannot be transformed: nothing in it is what the specification looks for."),
            (b"{}", {"Content-Encoding": "br"}, "The reply is in the coding br, though plain JSON was asked for."),
            (b'"' + b"x" * 100 + b'"', {}, "The body of the reply is larger than 100 bytes (proxy."),
        ],
    )
    def test_what_fails_fails_the_exchange_or_passes_with_a_note(
        self, written: Written, body: bytes, headers: dict[str, str], sentence: str
    ) -> None:
        fields = tuple({"Content-Type": "application/json", **headers}.items())
        limit = {"max_body_size": 100}
        strict = Pipeline(
            Transform(written(RENAME, apply="right", proxy=limit)), lambda request: Reply(200, fields, arrived(body))
        )
        error = strict.ask(http("GET", "a"))
        assert isinstance(error, PeerError)
        assert str(error).startswith(sentence)

        lenient = Pipeline(
            Transform(written(RENAME, apply="right", proxy=limit, fail_on_error=False)),
            lambda request: Reply(200, fields, arrived(body)),
        )
        request = http("GET", "a")
        reply = lenient.ask(request)
        assert (reply.headers, bytes_of(reply.body)) == (fields, body)
        assert request.record.notes[0].startswith(f"step has changed nothing: {sentence}")

    def test_what_breaks_off_is_no_reply(self, written: Written) -> None:
        body, feed = arriving(b'{"name":')
        feed.fail(PeerError("gone"))
        fields = (("Content-Type", "application/json"),)
        one = Pipeline(
            Transform(written(RENAME, apply="right", fail_on_error=False)), lambda request: Reply(200, fields, body)
        )
        assert str(one.ask(http("GET", "a"))) == "gone"

    def test_a_client_that_goes_away_cancels_the_reading(self, written: Written) -> None:
        body, feed = arriving(b'{"name":')
        fields = (("Content-Type", "application/json"),)
        one = Pipeline(
            Transform(written(RENAME, apply="right", fail_on_error=False)), lambda request: Reply(200, fields, body)
        )
        waiting: Deferred[Any] = one.begin(http("GET", "a"))
        waiting.cancel()
        assert isinstance(result_of(waiting), CancelledError)
        assert feed.done


def test_left_and_right_are_asked_for(written: Written) -> None:
    for apply, request_body, reply_body in (
        ("left", b'{"full_name":"Doe"}', b'{"name":"Doe"}'),
        ("right", b'{"name":"Doe"}', b'{"full_name":"Doe"}'),
        ("both", b'{"full_name":"Doe"}', b'{"full_name":"Doe"}'),
    ):
        one = Pipeline(Transform(written(RENAME, apply=apply)), answer({"name": "Doe"}))
        reply = one.ask(post(b'{"name":"Doe"}'))
        assert (one.body, bytes_of(reply.body)) == (request_body, reply_body)


def test_its_target_is_the_data(written: Written) -> None:
    Transform(written(RENAME, transform_target="data"))
    with pytest.raises(
        ConfigurationError, match=r'^middleware\.step\.options\.transform_target: a transform has "data"'
    ):
        Transform(written(RENAME, transform_target="metadata"))
