"""log_dump: an entry a side, when there is what to tell, and never a wait."""

import json
from dataclasses import replace
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.task import Clock
from twisted.logger import LogLevel

from harmonygw import journal
from harmonygw.config.options import LogDumpOptions
from harmonygw.errors import NotFound, TransportError
from harmonygw.exchange import HTTPOrigin, Reply
from harmonygw.middleware.log_dump import LogDump
from harmonygw.operations import Echo, Find, Level, Retrieve, Store, StoreResult
from harmonygw.pipeline import MIDDLEWARE, load
from harmonygw.streams import Body, Feed, Instance
from tests.middleware.exchanges import (
    Pipeline,
    arrived,
    arriving,
    bytes_of,
    context,
    dimse,
    http,
    items_of,
    logged,
    post,
    result_of,
)
from tests.service.parts import Found

FIND = Find(Level.STUDY, {"00100020": {"vr": "LO", "Value": ["17"]}})
MATCH = {"00100020": {"vr": "LO", "Value": ["17"]}, "00080020": {"vr": "DA", "Value": ["20240115"]}}
SHOWN = {"00100020": {"vr": "LO", "Value": ["<redacted>"]}, "00080020": {"vr": "DA", "Value": ["20240115"]}}
JSON_REPLY = (("Content-Type", "application/json"),)


class Dumping(Pipeline):
    """A pipeline with a log_dump, and its entries."""

    def __init__(self, answer: Any = lambda request: Reply(), **options: Any) -> None:
        self.clock = Clock()
        super().__init__(LogDump(context(LogDumpOptions(**options), reactor=self.clock)), answer)
        self.entries: list[dict[str, Any]] = []

    def ask(self, request: Any) -> Any:
        with logged("harmonygw.dump") as events:
            answer = super().ask(request)
            self.look(events)
        return answer

    def look(self, events: list[dict[str, Any]]) -> None:
        self.entries += [entry(event) for event in events]

    def after(self, act: Any) -> Any:
        with logged("harmonygw.dump") as events:
            result = act()
            self.look(events)
        return result


def entry(event: dict[str, Any]) -> dict[str, Any]:
    fields = dict(event["dump"])
    for part in ("request", "response"):
        if part in fields:
            fields[part] = json.loads(fields[part])
    return fields


def stream(*items: Any) -> Any:
    feed: Feed[Any] = Feed(limit=len(items) + 1)
    for item in items:
        feed.put(item)
    feed.end()
    return feed


def instance(uid: str) -> Instance:
    return Instance("1.2.840.10008.5.1.4.1.1.2", uid, "1.2.840.10008.1.2.1", data_set=stream())


def test_the_registry_has_it() -> None:
    assert load(MIDDLEWARE["log_dump"]) is LogDump


def test_an_entry_for_each_side() -> None:
    one = Dumping(lambda request: Reply(200, JSON_REPLY, Body.of(b'{"a": 1}')), label="before_bridge")
    one.ask(http("GET", "a", headers={"cookie": "x"}))
    assert one.entries == [
        {
            "dump": "before_bridge",
            "side": "left",
            "correlation_id": "c1",
            "peer": "192.0.2.1",
            "principal": None,
            "request": {
                "method": "GET",
                "uri": "/a",
                "headers": {"cookie": "<redacted>"},
                "query_params": {},
                "metadata": {},
            },
        },
        {
            "dump": "before_bridge",
            "side": "right",
            "correlation_id": "c1",
            "peer": "192.0.2.1",
            "principal": None,
            "request": one.entries[0]["request"],
            "response": {
                "status": 200,
                "headers": {"content-type": "application/json"},
                "content": {"content_type": "application/json", "size": 8, "body": {"a": 1}},
            },
            "outcome": "complete",
            "duration_ms": 0.0,
        },
    ]


@pytest.mark.parametrize(("apply", "sides"), [("left", ["left"]), ("right", ["right"]), ("both", ["left", "right"])])
def test_the_sides_that_are_asked_for(apply: Any, sides: list[str]) -> None:
    one = Dumping(apply=apply)
    one.ask(http())
    assert [one_entry["side"] for one_entry in one.entries] == sides


def test_a_request_with_a_body_is_told_of_when_that_was_read() -> None:
    body, feed = arriving(b'{"PatientID":')
    one = Dumping(lambda request: Deferred(), apply="left")
    one.begin(post(body))
    feed.put((b'"17"}',))
    feed.end()
    assert one.entries == []
    assert one.after(lambda: one.body) == b'{"PatientID":"17"}'
    [told] = one.entries
    assert told["request"]["content"] == {
        "content_type": "application/json",
        "size": 18,
        "body": {"PatientID": "<redacted>"},
    }


@pytest.mark.parametrize("answer", [Reply(), NotFound("no")])
def test_a_request_whose_body_nobody_reads_is_told_of_with_the_answer(answer: Any) -> None:
    one = Dumping(lambda request: answer, apply="left")
    one.ask(post(arrived(b"{}")))
    [told] = one.entries
    assert told["request"]["content"] == {"content_type": "application/json", "truncated": True}


def test_one_that_stands_behind_another_leaves_its_body_alone() -> None:
    body, feed = arriving(b"[")
    outer, inner = (LogDump(context(LogDumpOptions(apply="left", label=label))) for label in ("outer", "inner"))

    async def bridge(request: Any) -> Reply:
        return await inner.intercept(replace(request, operation=Echo()), lambda _: succeed(Reply()))

    with logged("harmonygw.dump") as events:
        one = Pipeline(outer, lambda request: Deferred.fromCoroutine(bridge(request)).addCallback(lambda _: Deferred()))
        one.begin(post(body))
        feed.put((b"]",))
        feed.end()
        assert one.body == b"[]"
    told = {event["dump"]["dump"]: json.loads(event["dump"]["request"]) for event in events}
    assert told["outer"]["content"]["body"] == []


def test_what_cannot_be_told_harms_no_exchange(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(told: Any) -> None:
        raise ZeroDivisionError

    step = LogDump(context(LogDumpOptions()))
    monkeypatch.setattr(step._watching, "_tell", fail)
    with logged("harmonygw.watching") as events:
        assert Pipeline(step).ask(http()) == Reply()
    assert [event["correlation_id"] for event in events] == ["c1", "c1"]


def test_a_reply_is_told_of_as_soon_as_it_is_too_long() -> None:
    body, feed = arriving(b'[{"a":1},{"a":2}')
    one = Dumping(lambda request: Reply(200, JSON_REPLY, body), apply="right", max_bytes=12)
    reply = one.ask(http())
    one.clock.advance(0.5)
    assert one.after(lambda: result_of(reply.body.__anext__())) == (b'[{"a":1},{"a":2}',)
    [told] = one.entries
    assert told["response"]["content"] == {"content_type": "application/json", "truncated": True, "body": [{"a": 1}]}
    assert (told["outcome"], told["duration_ms"]) == ("complete", 500.0)
    feed.put((b"]",))
    feed.end()
    assert one.after(lambda: bytes_of(reply.body)) == b"]"
    assert len(one.entries) == 1


def test_a_reply_that_breaks_off_has_failed() -> None:
    body, feed = arriving(b"[")
    one = Dumping(lambda request: Reply(200, JSON_REPLY, body), apply="right")
    reply = one.ask(http())
    feed.fail(TransportError("the PACS is gone"))
    one.after(lambda: bytes_of(reply.body))
    [told] = one.entries
    assert (told["outcome"], told["error"]) == ("failed", "TransportError: the PACS is gone")


def test_the_reply_to_head_is_told_of_at_once() -> None:
    body = arrived(b"[]")
    one = Dumping(lambda request: Reply(200, JSON_REPLY, body), apply="right")
    assert one.ask(http("HEAD", "a")).body is body
    assert one.entries[0]["response"]["content"] == {"content_type": "application/json"}


@pytest.mark.parametrize(
    ("error", "told"),
    [(NotFound("no such study"), "NotFound: no such study"), (ZeroDivisionError("secret"), "internal")],
)
def test_an_exchange_that_fails_has_no_response(error: Exception, told: str) -> None:
    one = Dumping(lambda request: error, apply="right")
    assert one.ask(http()) is error
    assert one.entries[0]["response"] == {}
    assert (one.entries[0]["outcome"], one.entries[0]["error"]) == ("failed", told)


def test_an_exchange_that_is_cancelled_has_no_right_side() -> None:
    one = Dumping(lambda request: Deferred())
    waiting = one.begin(http())
    with logged("harmonygw.dump") as events:
        waiting.cancel()
    assert isinstance(result_of(waiting), CancelledError)
    assert events == []


class TestOperations:
    def test_a_query_and_its_matches(self) -> None:
        one = Dumping(lambda request: Reply(result=Found(MATCH, MATCH)))
        reply = one.ask(dimse(FIND))
        assert [told["side"] for told in one.entries] == ["left"]
        assert one.entries[0]["request"]["operation"]["identifier"] == {"00100020": SHOWN["00100020"]}
        assert reply.result.warnings == []
        assert one.after(lambda: items_of(reply.result)) == [MATCH, MATCH]
        assert one.entries[1]["response"] == {"matches": {"count": 2, "items": [SHOWN, SHOWN]}}

    def test_matches_that_are_too_much_are_counted(self) -> None:
        one = Dumping(lambda request: Reply(result=Found(MATCH, MATCH, {})), apply="right", max_bytes=150)
        reply = one.ask(dimse(FIND))
        one.after(lambda: items_of(reply.result))
        assert one.entries[0]["response"] == {"matches": {"count": 3, "items": [SHOWN], "truncated": True}}

    def test_matches_that_break_off_have_failed(self) -> None:
        matches: Feed[Any] = Feed(limit=9)
        one = Dumping(lambda request: Reply(result=matches), apply="right")
        reply = one.ask(dimse(FIND))
        matches.fail(TransportError("gone"))
        one.after(lambda: items_of(reply.result))
        assert one.entries[0]["response"] == {"matches": {"count": 0, "items": [], "truncated": True}}
        assert one.entries[0]["outcome"] == "failed"

    def test_the_instances_of_a_retrieval(self) -> None:
        one = Dumping(lambda request: Reply(result=stream(instance("1.4"))), apply="right")
        reply = one.ask(dimse(Retrieve(Level.STUDY, "1.2")))
        one.after(lambda: items_of(reply.result))
        assert one.entries[0]["response"]["instances"] == {
            "count": 1,
            "items": [
                {
                    "sop_class_uid": "1.2.840.10008.5.1.4.1.1.2",
                    "sop_instance_uid": "1.4",
                    "transfer_syntax_uid": "1.2.840.10008.1.2.1",
                }
            ],
        }

    def test_a_store(self) -> None:
        results = stream(StoreResult("1.2", "1.4", 0xA700, "full"))
        one = Dumping(lambda request: Reply(result=results))
        reply = one.ask(dimse(Store(stream(instance("1.4")))))
        assert one.entries == []
        operation = one.asked[0].operation
        assert isinstance(operation, Store)
        [passed] = one.after(lambda: items_of(operation.instances))
        assert passed.sop_instance_uid == "1.4"
        assert one.entries[0]["request"]["instances"]["count"] == 1
        one.after(lambda: items_of(reply.result))
        assert one.entries[1]["response"] == {
            "results": {"count": 1, "items": [{"sop_instance_uid": "1.4", "status": "A700H", "detail": "full"}]}
        }

    def test_a_result_of_another_kind_goes_by_unseen(self) -> None:
        result = object()
        reply = Reply(result=result)
        one = Dumping(lambda request: reply, apply="right")
        assert one.ask(dimse(Echo())) is reply
        assert one.entries[0]["response"] == {}

    def test_an_echo(self) -> None:
        one = Dumping()
        assert one.ask(dimse(Echo())) == Reply()
        assert [told["side"] for told in one.entries] == ["left", "right"]

    def test_a_request_that_was_bridged_has_no_body_of_its_own(self) -> None:
        request = http("GET", "a", body=arrived(b"x"), operation=FIND)
        one = Dumping(apply="left")
        one.ask(request)
        assert one.asked == [request]
        assert len(one.entries) == 1


class TestLine:
    @pytest.mark.parametrize(("pretty", "text"), [(True, '{\n  "method": "GET",'), (False, '{"method":"GET",')])
    def test_its_json_is_indented_or_not(self, pretty: bool, text: str) -> None:
        with logged("harmonygw.dump") as events:
            Dumping(pretty=pretty, apply="left").ask(http("GET", "a"))
        assert events[0]["dump"]["request"].startswith(text)
        assert events[0]["log_level"] is LogLevel.info

    def test_it_is_one_line_in_either_form(self) -> None:
        with logged("harmonygw.dump") as events:
            Dumping(apply="left").ask(http("GET", "a\nb"))
        line = journal.text_line(events[0]).decode()
        assert line.count("\n") == 1
        assert " dump=step side=left correlation_id=c1 peer=192.0.2.1 request=" in line
        document = json.loads(journal.json_line(events[0]))
        assert json.loads(document["request"])["uri"] == "/a\nb"
        assert (document["dump"], document["side"]) == ("step", "left")


def test_nothing_is_changed() -> None:
    request = http("GET", "a")
    reply = Reply(204)
    one = Dumping(lambda request: reply)
    assert one.ask(request) is reply
    assert one.asked == [request]
    assert isinstance(request.origin, HTTPOrigin)
