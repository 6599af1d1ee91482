from typing import Any

import orjson
import pytest
from twisted.internet.defer import CancelledError, Deferred

from harmonygw.dicom.dataset.part10 import read_file_meta
from harmonygw.errors import BadRequest, Busy, Denied, NotAcceptable, PeerError, TooLarge, TransportError
from harmonygw.exchange import Reply
from harmonygw.operations import Store, StoreResult
from harmonygw.streams import Instance
from tests.dicom.dataset.encoded import BIG_ENDIAN, DEFLATED, EXPLICIT, IMPLICIT
from tests.middleware.dicom_to_dicomweb.server import (
    CT,
    JSON,
    Server,
    Source,
    ask,
    data_set,
    gathered,
    json_reply,
    on_its_way,
    part10,
    reply,
    run,
    stream_of,
)

JPEG_LS = "1.2.840.10008.1.2.4.80"
DATA = data_set()


def item(uid: str = "1.2.3.4", **reasons: Any) -> dict[str, Any]:
    found = {"00081150": {"vr": "UI", "Value": [CT]}, "00081155": {"vr": "UI", "Value": [uid]}}
    tags = {"warning": "00081196", "failure": "00081197"}
    return found | {tags[name]: {"vr": "US", "Value": [reason]} for name, reason in reasons.items()}


def stored(*items: Any) -> dict[str, Any]:
    return {"00081199": {"vr": "SQ", "Value": list(items)}}


def failed(*items: Any) -> dict[str, Any]:
    return {"00081198": {"vr": "SQ", "Value": list(items)}}


def results(server: Server, *some: Instance | Exception) -> list[StoreResult]:
    return run(gathered(ask(server, Store(stream_of(*some)))))


def result(answer: Reply, **server: Any) -> StoreResult:
    [one] = results(Server([answer], **server), on_its_way(DATA))
    return one


def test_an_instance_is_sent_as_it_comes_in_a_request_of_its_own() -> None:
    server = Server([json_reply(stored(item()))])
    [one] = results(server, on_its_way(DATA[:50], DATA[50:80], DATA[80:]))
    assert one == StoreResult(CT, "1.2.3.4", 0)
    assert server.lines == ["POST /studies"]
    headers = server.asked[0].headers
    media_type, _, boundary = headers["content-type"].partition("; boundary=")
    assert media_type == 'multipart/related; type="application/dicom"'
    assert headers["accept"] == "application/dicom+json"
    head, tail = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n", f"\r\n--{boundary}--\r\n"
    assert server.sent == [head.encode() + part10() + tail.encode()]


def test_several_instances_are_stored_one_after_another() -> None:
    server = Server([json_reply(stored(item())), json_reply(failed(item("1.2.3.5", failure=0xA700)), status=409)])
    some = on_its_way(DATA), on_its_way(data_set("1.2.3.5"), uid="1.2.3.5")
    assert [one.status for one in results(server, *some)] == [0, 0xA700]


@pytest.mark.parametrize(
    ("syntax", "sent"),
    [(IMPLICIT, EXPLICIT), (BIG_ENDIAN, EXPLICIT), (EXPLICIT, EXPLICIT), (DEFLATED, DEFLATED), (JPEG_LS, JPEG_LS)],
)
def test_what_may_not_travel_on_the_web_is_converted(syntax: str, sent: str) -> None:
    server = Server([json_reply(stored(item()))])
    data = data_set(syntax=syntax) if syntax in (IMPLICIT, BIG_ENDIAN) else b"\xff" * 50
    results(server, on_its_way(data, syntax=syntax))
    file = server.sent[0].partition(b"\r\n\r\n")[2]
    meta = read_file_meta(file)
    assert meta is not None
    assert meta.transfer_syntax_uid == sent
    assert (DATA in file) == (syntax == IMPLICIT)


# What the server says


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (json_reply(stored(item())), 0),
        (json_reply(stored(item("1.9"), item())), 0),
        (json_reply(stored(item(warning=0xB000)), status=202), 0xB000),
        (json_reply(stored(item(warning=0xB007))), 0xB007),
        (json_reply(stored(item(warning=0x0110))), 0),
        (json_reply(stored(item(warning="B000"))), 0),
        (json_reply(failed(item(failure=0xA700)), status=202), 0xA700),
        (json_reply(failed(item(failure=0x0122)), status=409), 0x0122),
        (json_reply(failed(item(failure="272")), status=409), 0x0110),
        (json_reply(failed(item(failure=0)), status=409), 0x0110),
        (json_reply(failed(item(failure=99999)), status=409), 0x0110),
        (json_reply(failed(item()), status=409), 0x0110),
        (json_reply(failed(item(failure=0xA900)) | stored(item())), 0xA900),
        (json_reply({"0008119A": {"vr": "SQ", "Value": [{"00081197": {"vr": "US", "Value": [0xC000]}}]}}), 0xC000),
        (json_reply(failed(item("1.9", failure=0xA700)) | stored(item())), 0),
    ],
)
def test_what_becomes_of_an_instance_is_what_its_item_says(answer: Reply, status: int) -> None:
    one = result(answer)
    assert one.status == status
    assert bool(one.detail) == bool(status)


@pytest.mark.parametrize(
    "answer",
    [
        # What Orthanc answers when it has passed over the part, and what proxies answer for it.
        json_reply({"00081198": {"vr": "SQ"}, "00081199": {"vr": "SQ"}}),
        json_reply(stored(item("1.9"))),
        json_reply(stored(item()), status=409),
        json_reply({}),
        json_reply([]),
        json_reply({"00081199": [], "00081198": {"Value": [1, {"00081155": 5}]}}, status=202),
        json_reply({"00081199": {"Value": [{"00081155": {"Value": [None]}}]}}),
        reply(b"<html>Welcome</html>", headers=(("Content-Type", "text/html"),)),
        reply(b"", headers=()),
        reply(b"", status=409, headers=()),
        Reply(200),
        Reply(202, JSON),
        reply(b'{"00081199":', headers=JSON),
        reply(b'{"00081199":' * 100_000, headers=JSON),
        reply(orjson.dumps(stored(item()))[:-1], *[b" " * 65536] * 20, headers=JSON),
    ],
)
def test_an_instance_that_no_item_names_is_not_stored(answer: Reply) -> None:
    one = result(answer)
    assert one.status == 0x0110
    assert one.detail.startswith("the DICOMweb server")


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (reply(status=400), BadRequest),
        (reply(status=401), Denied),
        (reply(status=413), TooLarge),
        (reply(status=415), NotAcceptable),
        (reply(status=503), Busy),
        (TransportError("refused"), TransportError),
        (reply(TransportError("lost")), TransportError),
    ],
)
def test_what_says_nothing_of_the_instance_is_an_error(answer: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        result(answer)


def test_a_server_that_refuses_early_is_not_sent_the_rest() -> None:
    source = Source(DATA)
    instance = Instance(CT, "1.2.3.4", EXPLICIT, source)
    with pytest.raises(TooLarge):
        results(Server([reply(status=413)], reads=False), instance)
    assert source.left == 1
    assert source.given_up


def test_a_server_that_says_stored_before_it_can_know_is_not_believed() -> None:
    with pytest.raises(PeerError, match="before it had the instance"):
        result(json_reply(stored(item())), reads=False)


# What goes wrong on the way


def test_an_instance_that_breaks_off_leaves_its_request_without_end() -> None:
    server = Server([])
    with pytest.raises(TransportError, match="the modality went away"):
        results(server, on_its_way(DATA[:50], TransportError("the modality went away")))
    assert server.sent[0].endswith(DATA[:50])


def test_why_an_instance_broke_off_says_more_than_why_its_request_did() -> None:
    class Impatient(Server):
        async def _respond(self, request: Any) -> Reply:
            try:
                return await super()._respond(request)
            except TransportError as error:
                raise TransportError("the request could not be sent") from error

    with pytest.raises(TransportError, match="the modality went away"):
        results(Impatient([]), on_its_way(DATA[:50], TransportError("the modality went away")))


def test_a_malformed_instance_is_refused() -> None:
    with pytest.raises(PeerError):
        results(Server([]), on_its_way(b"\x08\0\x05\0\xff\xff\0\0", syntax=IMPLICIT))


def test_instances_that_cannot_be_had_end_the_results() -> None:
    with pytest.raises(TransportError):
        results(Server([]), TransportError("lost"))


def test_results_that_are_given_up_give_the_instances_up() -> None:
    source = Source(DATA)
    closed: list[str] = []

    async def instances() -> Any:
        try:
            yield Instance(CT, "1.2.3.4", EXPLICIT, source)
            yield on_its_way(DATA)
        finally:
            closed.append("closed")

    waiting: Deferred[Reply] = Deferred()
    server = Server([json_reply(stored(item()))])
    stream = ask(server, Store(instances()))
    assert run(anext(stream)).status == 0
    run(stream.aclose())
    assert closed == ["closed"]
    assert len(server.asked) == 1

    class Silent(Server):
        def proceed(self, request: Any) -> "Deferred[Reply]":
            return waiting

    running = Deferred.fromCoroutine(gathered(ask(Silent(), Store(instances()))))
    running.addErrback(lambda failure: failure.trap(CancelledError))
    running.cancel()
    assert source.given_up
    assert closed == ["closed"] * 2
