"""The search for scheduled procedure steps over HTTP (PS3.18 §14.4)."""

from types import SimpleNamespace
from typing import Any

import orjson
import pytest
from twisted.internet.defer import Deferred, succeed

from harmonygw.config.middleware_options import DICOMwebBridgeOptions
from harmonygw.dicom.web.worklist import identifier_keys
from harmonygw.errors import BadRequest, NotAcceptable, TooLarge
from harmonygw.exchange import HTTPOrigin, Reply, Request
from harmonygw.middleware.dicomweb_bridge import DICOMwebBridge
from harmonygw.middleware.dicomweb_bridge.searching import EXCEEDED, MAX_REACH
from harmonygw.operations import FindWorklist
from harmonygw.streams import Match
from tests.middleware.dicomweb_bridge.archive import LITERAL, body_of, headers_of, warnings_of

PATH = ("modality-scheduled-procedure-steps",)


class Steps:
    """The matches of a worklist."""

    def __init__(self, matches: list[Match], warnings: list[str]) -> None:
        self._matches = iter(matches)
        self.warnings = warnings
        self.read = 0
        self.closed = False

    def __aiter__(self) -> "Steps":
        return self

    async def __anext__(self) -> Match:
        for match in self._matches:
            self.read += 1
            return match
        raise StopAsyncIteration

    async def aclose(self) -> None:
        self.closed = True


def step(number: int) -> Match:
    return {
        "00400100": {"vr": "SQ", "Value": [{"00400009": {"vr": "SH", "Value": [f"S{number}"]}}]},
        "00100020": {"vr": "LO", "Value": [f"P{number}"]},
        "00080052": {"vr": "CS", "Value": ["STUDY"]},
    }


def told(number: int) -> Match:
    return {tag: step(number)[tag] for tag in ("00100020", "00400100")}


class Worklist:
    """A bridge in front of an archive with these steps."""

    def __init__(self, *numbers: int, warnings: tuple[str, ...] = (), **options: Any) -> None:
        self.steps = Steps([step(one) for one in numbers], list(warnings))
        self.asked: list[Any] = []
        context: Any = SimpleNamespace(options=DICOMwebBridgeOptions(**options), name="bridge", reactor=None)
        self.bridge = DICOMwebBridge(context)

    def proceed(self, request: Request) -> "Deferred[Reply]":
        self.asked.append(request.operation)
        return succeed(Reply(result=self.steps))

    def search(self, *pairs: tuple[str, str], accept: str = "*/*") -> Reply:
        origin = HTTPOrigin("GET", PATH, query=pairs, headers={"accept": accept})
        replies: list[Any] = []
        answered = Deferred.fromCoroutine(self.bridge.intercept(Request(origin, "127.0.0.1", "id"), self.proceed))
        answered.addBoth(replies.append)
        [reply] = replies
        if hasattr(reply, "raiseException"):
            reply.raiseException()
        assert isinstance(reply, Reply)
        return reply


def test_steps_come_in_the_worklists_order_and_without_a_level() -> None:
    worklist = Worklist(1, 2)
    reply = worklist.search(("ScheduledProcedureStepSequence.Modality", "CT"))
    assert headers_of(reply)["Content-Type"] == "application/dicom+json"
    assert orjson.loads(body_of(reply)) == [told(1), told(2)]
    keys = {"00400100": {"vr": "SQ", "Value": [{"00080060": {"vr": "CS", "Value": ["CT"]}}]}}
    assert worklist.asked == [FindWorklist(identifier_keys(keys, {}), limit=5001)]
    assert worklist.steps.closed


def test_a_page_is_read_from_the_first_match_and_no_further_than_it_ends() -> None:
    worklist = Worklist(*range(10))
    reply = worklist.search(("offset", "2"), ("limit", "3"))
    assert orjson.loads(body_of(reply)) == [told(2), told(3), told(4)]
    assert worklist.steps.read == 5
    assert orjson.loads(body_of(Worklist(1, 2).search(("offset", "2")))) == []
    assert orjson.loads(body_of(Worklist(1, 2).search(("limit", "0")))) == []


@pytest.mark.parametrize(("steps", "more"), [(3, True), (2, False)])
def test_a_page_that_the_server_has_cut_says_so(steps: int, more: bool) -> None:
    reply = Worklist(*range(steps), max_results=2).search()
    assert len(orjson.loads(body_of(reply))) == 2
    assert (EXCEEDED in " ".join(warnings_of(reply))) is more


def test_what_was_not_done_is_told() -> None:
    worklist = Worklist(1, warnings=("The archive did not match every optional key.",), unknown_keys="ignore")
    reply = worklist.search(("fuzzymatching", "true"), ("Colour", "red"))
    said = " ".join(warnings_of(reply))
    assert "Colour" in said
    assert LITERAL in said
    assert "did not match every optional key" in said


def test_xml_is_multipart_and_nothing_is_204() -> None:
    xml = 'multipart/related; type="application/dicom+xml"'
    assert b"<NativeDicomModel" in body_of(Worklist(1).search(accept=xml))
    assert Worklist().search(accept=xml).status == 204


def test_what_cannot_be_answered_is_refused_before_anything_is_asked() -> None:
    worklist = Worklist(1)
    with pytest.raises(BadRequest, match="Modalty"):
        worklist.search(("ScheduledProcedureStepSequence.Modalty", "CT"))
    with pytest.raises(NotAcceptable):
        worklist.search(accept="image/png")
    with pytest.raises(TooLarge, match="MAX_REACH"):
        worklist.search(("offset", str(MAX_REACH)), ("limit", "1"))
    assert worklist.asked == []
