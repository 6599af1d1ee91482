"""Storage commitment over HTTP (PS3.18 §13)."""

from typing import Any

import orjson
import pytest
from twisted.internet.defer import Deferred, fail, succeed

from harmonygw.dicom.dataset.references import Reference
from harmonygw.dicom.dataset.xml_encoding import to_xml
from harmonygw.dicom.web.commitment import write_response
from harmonygw.dicom.web.resources import parse
from harmonygw.errors import BadRequest, Conflict, HarmonyError, TooLarge
from harmonygw.exchange import HTTPOrigin, Reply, Request
from harmonygw.middleware.dicomweb_bridge import committing
from harmonygw.middleware.dicomweb_bridge.committing import commit
from harmonygw.operations import CheckCommitment, Commitment, RequestCommitment
from harmonygw.streams import Body
from tests.middleware.dicomweb_bridge.archive import body_of

CT = "1.2.840.10008.5.1.4.1.1.2"
REFERENCES = (Reference(CT, "1.1"), Reference(CT, "1.2"))
JSON = {"content-type": "application/dicom+json; charset=utf-8"}


class Asking:
    """A client, and an archive that answers with `commitment`."""

    def __init__(self, commitment: Commitment | HarmonyError) -> None:
        self.commitment = commitment
        self.operations: list[Any] = []

    def proceed(self, request: Request) -> "Deferred[Reply]":
        self.operations.append(request.operation)
        answer = self.commitment
        return fail(answer) if isinstance(answer, HarmonyError) else succeed(Reply(result=answer))

    def ask(self, method: str, payload: bytes | None = None, **headers: str) -> Reply:
        origin = HTTPOrigin(
            method,
            ("commitment-requests", "2.25.7"),
            headers={name.replace("_", "-"): value for name, value in headers.items()},
            body=None if payload is None else Body.of(payload),
        )
        request = Request(origin, "127.0.0.1", "id")
        replies: list[Any] = []
        answered = Deferred.fromCoroutine(commit(request, origin, parse(origin.path, method=method), self.proceed))
        answered.addBoth(replies.append)
        [reply] = replies
        if hasattr(reply, "raiseException"):
            reply.raiseException()
        assert isinstance(reply, Reply)
        return reply


def payload(references: tuple[Reference, ...] = REFERENCES) -> bytes:
    return orjson.dumps(write_response(references, {}))


DONE = Commitment(REFERENCES, {"1.2": 0x0112})
MODULE = write_response(REFERENCES, {"1.2": 0x0112})


def test_a_request_asks_for_each_instance_and_tells_what_became_of_it() -> None:
    asking = Asking(DONE)
    reply = asking.ask("POST", payload(), **{"content-type": "application/dicom+json"})
    assert asking.operations == [RequestCommitment("2.25.7", REFERENCES)]
    assert (reply.status, reply.headers) == (200, (("Content-Type", "application/dicom+json"),))
    assert orjson.loads(body_of(reply)) == MODULE


def test_the_payload_may_be_an_array_of_one_and_the_answer_xml() -> None:
    asking = Asking(DONE)
    listed = b"[" + payload() + b"]"
    reply = asking.ask("POST", listed, **{"content-type": "application/json", "accept": "application/dicom+xml"})
    assert reply.headers == (("Content-Type", "application/dicom+xml"),)
    assert body_of(reply) == to_xml(MODULE)


def test_while_the_archive_has_not_said_the_client_is_told_to_come_again() -> None:
    asking = Asking(Commitment(REFERENCES))
    reply = asking.ask("GET")
    assert asking.operations == [CheckCommitment("2.25.7")]
    assert (reply.status, reply.headers, reply.body) == (202, (("Retry-After", "30"),), None)


def test_what_the_archive_raises_is_raised() -> None:
    with pytest.raises(Conflict):
        Asking(Conflict("in use")).ask("POST", payload(), **JSON)


@pytest.mark.parametrize(
    ("body", "media_type", "said"),
    [
        (payload(), "text/plain", "Content-Type"),
        (payload(), "", "Content-Type"),
        (b"{", "application/dicom+json", "no JSON"),
        (None, "application/dicom+json", "no JSON"),
        (b"[]", "application/dicom+json", "not one data set"),
        (b"[{}, {}]", "application/dicom+json", "not one data set"),
        (b"{}", "application/dicom+json", "refers to no instance"),
    ],
)
def test_a_payload_that_cannot_be_understood_is_refused(body: bytes | None, media_type: str, said: str) -> None:
    asking = Asking(DONE)
    with pytest.raises(BadRequest, match=said):
        asking.ask("POST", body, **{"content-type": media_type})
    assert asking.operations == []


@pytest.mark.parametrize("beyond", [0, 1])
def test_a_payload_has_a_greatest_length(beyond: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(committing, "MAX_PAYLOAD_BYTES", len(payload()) - beyond)
    asking = Asking(DONE)
    if beyond:
        with pytest.raises(TooLarge, match="MAX_PAYLOAD_BYTES"):
            asking.ask("POST", payload(), **JSON)
    else:
        assert asking.ask("POST", payload(), **JSON).status == 200
