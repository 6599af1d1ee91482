"""HTTP in and out of the DICOMweb endpoint: what reaches the pipeline, what is sent, and the line in the log."""

import re
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.task import deferLater
from twisted.logger import globalLogPublisher
from twisted.python.failure import Failure

from harmonygw import errors
from harmonygw.dicom.web.resources import TRANSACTIONS
from harmonygw.endpoints.dicomweb import STATUSES, status_of
from harmonygw.exchange import Reply, Request
from tests.endpoints.dicomweb_service import Respond, Service, answered
from tests.net.http.wire import Source


@pytest.fixture
def lines() -> Iterator[list[dict[str, Any]]]:
    """The lines that exchanges have written to the log."""
    found: list[dict[str, Any]] = []

    def observe(event: dict[str, Any]) -> None:
        if "exchange" in event:
            found.append(event["exchange"])

    globalLogPublisher.addObserver(observe)
    yield found
    globalLogPublisher.removeObserver(observe)


@pytest.fixture(autouse=True)
def failures() -> Iterator[list[str]]:
    """What is logged as failed without anybody having foreseen it; tests that expect it empty the list."""
    found: list[str] = []

    def observe(event: dict[str, Any]) -> None:
        if "log_failure" in event:
            found.append(event["log_format"].format(**event))

    globalLogPublisher.addObserver(observe)
    yield found
    globalLogPublisher.removeObserver(observe)
    assert found == []


# What reaches the pipeline


def test_a_request_arrives_with_everything_that_was_sent() -> None:
    service = Service()
    got = service.ask("/dicom/studies?PatientID=A+B&fuzzymatching=&x", "GET", "Accept: a/b", "Accept: c/d")
    assert (got.status, got.headers["content-type"], got.body) == (200, "application/dicom+json", b"[]")
    origin = service.origin
    assert (origin.method, origin.path, origin.base_url) == ("GET", ("studies",), "http://h/dicom")
    assert origin.query == (("PatientID", "A B"), ("fuzzymatching", ""), ("x", ""))
    assert origin.headers["accept"] == "a/b, c/d"
    assert origin.body is None
    request = service.requests[0]
    assert (request.peer, len(request.correlation_id)) == ("192.168.1.1", 32)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("StudyInstanceUID=1.2%5C1.3", (("StudyInstanceUID", "1.2\\1.3"),)),
        ("includefield=a&includefield=b%2Cc", (("includefield", "a"), ("includefield", "b,c"))),
        ("PatientName=%C3%84rger%5E*", (("PatientName", "Ärger^*"),)),
        ("a=%2B%26%3D;b=c", (("a", "+&=;b=c"),)),
        ("", ()),
    ],
)
def test_a_query_is_decoded(query: str, expected: tuple[tuple[str, str], ...]) -> None:
    service = Service()
    assert service.ask(f"/dicom/studies?{query}").status == 200
    assert service.origin.query == expected


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("studies/1.2.840", ("studies", "1.2.840")),
        ("studies/a%3Bb%20c%25%7E+d", ("studies", "a;b c%~+d")),
        ("studies/%C3%A4", ("studies", "ä")),
        ("studies/1/", ("studies", "1")),
        ("/studies//1/series", ("studies", "1", "series")),
        ("studies/1/series/2/instances/3/metadata", ("studies", "1", "series", "2", "instances", "3", "metadata")),
        (
            "studies/1/series/2/instances/3/bulkdata/a/b%2Fc",
            ("studies", "1", "series", "2", "instances", "3", "bulkdata", "a", "b/c"),
        ),
        ("studies/1%2Fseries", ("studies", "1/series")),
        ("", ()),
    ],
)
def test_a_path_is_decoded_segment_by_segment(path: str, expected: tuple[str, ...]) -> None:
    service = Service()
    assert service.ask(f"/dicom/{path}").status == 200
    assert service.origin.path == expected


def test_the_prefix_itself_needs_no_slash() -> None:
    service = Service()
    assert service.ask("/dicom").status == 200
    assert service.origin.path == ()


@pytest.mark.parametrize("target", ["/dicom/studies/%FF", "/dicom/studies?PatientName=%C4rger", "/dicom/no/%FF"])
def test_what_is_not_utf_8_is_a_bad_request(target: str, lines: list[dict[str, Any]]) -> None:
    service = Service()
    problem = service.ask(target).problem
    assert problem["status"] == 400
    assert "UTF-8" in problem["detail"]
    assert service.requests == []
    assert [(line["outcome"], line["status"]) for line in lines] == [("refused", 400)]
    assert lines[0]["correlation_id"] == problem["correlation_id"]


# Where the links in answers point to


@pytest.mark.parametrize("host", ["h", "h:8081", "gateway.example", "10.1.2.3:80", "[::1]:8081"])
def test_links_begin_with_the_host_that_was_asked(host: str) -> None:
    service = Service()
    assert service.ask("/dicom/studies", host=host).status == 200
    assert service.origin.base_url == f"http://{host}/dicom"


def test_a_host_that_is_none_is_refused_on_somebody_elses_site_too() -> None:
    for host in ("a b", "a@b", "a/b", "<script>", ""):
        service = Service(plain=True)
        assert service.ask("/dicom/studies", host=host).problem["status"] == 400
        assert service.requests == []


def test_a_public_url_needs_no_host() -> None:
    service = Service(public_url="https://gateway.example/imaging/dicom")
    assert service.ask("/dicom/studies", version="1.0", host="").status == 200
    assert service.origin.base_url == "https://gateway.example/imaging/dicom"


def test_a_prefix_may_be_long_or_empty() -> None:
    for prefix, base_url in (("/a/b/c", "http://h/a/b/c"), ("", "http://h")):
        service = Service(prefix=prefix)
        assert service.ask(f"{prefix}/studies/1").status == 200
        assert (service.origin.base_url, service.origin.path) == (base_url, ("studies", "1"))


GETS = sorted({transaction.path for transaction in TRANSACTIONS if transaction.method == "GET"})


def spelt(template: str, value: str) -> str:
    return "/dicom/" + re.sub(r"{\w+}", value, template)


@pytest.mark.parametrize("path", GETS)
def test_every_path_is_led_to_the_pipeline_the_second_time_too(path: str) -> None:
    service = Service()
    assert [service.ask(spelt(path, value)).status for value in ("1", "2", "2")] == [200] * 3
    assert ["/".join(request.origin.path) for request in service.requests] == [
        spelt(path, value).removeprefix("/dicom/") for value in ("1", "2", "2")
    ]


def test_what_klein_was_asked_before_it_is_not_asked_again_and_what_it_knows_is_finite() -> None:
    service = Service()
    for path in (*GETS, *GETS):
        service.ask(spelt(path, "1"))
    entrance: Any = service.site.resource.getChild(b"dicom", SimpleNamespace(postpath=[], prepath=[b"dicom"]))
    known = set(entrance.known)
    assert len(known) == len(GETS) - 1  # all but the path of bulk data, which may go on
    templates = [tuple(path.split("/")) if path else () for path in GETS if "{bulk_path}" not in path]
    assert known == {(len(template), *template[::2]) for template in templates}
    for path in ("studies%2F1", "studies/1%2Fseries", "studies/1/series/2/instances/3/bulkdata/4/5/6", "nothing"):
        service.ask(f"/dicom/{path}")
    service.ask("/dicom/studies", "HEAD")
    assert entrance.known == known


@pytest.mark.parametrize(
    ("path", "status"), [("studies/1/2", 404), ("studies/1%2F2", 404), ("studies/1%2Fseries", 200)]
)
def test_what_was_led_before_leads_no_other_path_with_it(path: str, status: int) -> None:
    service = Service()
    for known in GETS:
        service.ask(spelt(known, "1"))
    assert service.ask(f"/dicom/{path}").status == status


@pytest.mark.parametrize("method", ["DELETE", "PUT"])
def test_what_was_led_before_leads_no_other_method_with_it(method: str) -> None:
    service = Service()
    assert [service.ask("/dicom/studies/1", one).status for one in ("GET", method)] == [200, 405]


# What no route takes


@pytest.mark.parametrize("path", ["patients", "studies/1/2", "studies/1/series/2/frames", "x" * 100])
def test_an_unknown_path_is_a_problem_document_that_the_log_has(path: str, lines: list[dict[str, Any]]) -> None:
    service = Service()
    problem = service.ask(f"/dicom/{path}").problem
    assert (problem["status"], problem["detail"]) == (404, "There is no such resource in a DICOMweb service.")
    assert service.requests == []
    assert [line["correlation_id"] for line in lines] == [problem["correlation_id"]]
    assert lines[0]["path"] == f"/{path}"


@pytest.mark.parametrize(
    ("path", "method", "allow"),
    [
        ("studies", "DELETE", "GET, HEAD, OPTIONS, POST"),
        ("series", "POST", "GET, HEAD, OPTIONS"),
        ("studies/1", "PUT", "GET, HEAD, OPTIONS, POST"),
        ("", "POST", "GET, HEAD, OPTIONS"),
        ("studies/1/metadata", "PATCH", "GET, HEAD, OPTIONS"),
    ],
)
def test_a_method_that_a_resource_lacks_is_405_with_those_it_has(path: str, method: str, allow: str) -> None:
    service = Service()
    got = service.ask(f"/dicom/{path}", method)
    assert (got.problem["status"], got.headers["allow"]) == (405, allow)
    assert service.requests == []


def test_head_has_the_header_and_no_body() -> None:
    service = Service()
    got = service.ask("/dicom/studies", "HEAD")
    assert (got.status, got.headers["content-length"], got.body) == (200, "2", b"")
    assert service.origin.method == "HEAD"


def test_head_on_what_is_not_there_has_the_header_of_the_problem() -> None:
    got = Service().ask("/dicom/nothing", "HEAD")
    assert (got.status, got.headers["content-type"], got.body) == (404, "application/problem+json", b"")
    assert int(got.headers["content-length"]) > 0


def test_options_on_the_prefix_asks_for_the_capabilities() -> None:
    service = Service()
    got = service.ask("/dicom", "OPTIONS")
    assert (got.status, got.headers["allow"]) == (200, "GET, HEAD, OPTIONS")
    assert service.origin.method == "OPTIONS"


def test_options_anywhere_else_says_which_methods_there_are(lines: list[dict[str, Any]]) -> None:
    service = Service()
    got = service.ask("/dicom/studies/1", "OPTIONS")
    assert (got.status, got.headers["allow"], got.body) == (204, "GET, HEAD, OPTIONS, POST", b"")
    assert service.requests == []
    assert [(line["outcome"], line["status"]) for line in lines] == [("complete", 204)]
    assert service.ask("/dicom/nothing", "OPTIONS").status == 404


def test_options_of_the_server_as_a_whole_is_answered() -> None:
    got = Service().ask("*", "OPTIONS")
    assert (got.status, got.body) == (200, b"")


# What goes wrong


def raising(error: BaseException) -> Respond:
    async def respond(request: Request) -> Reply:
        request.record.target = "archive"
        request.record.operation = "Search for Studies"
        raise error

    return respond


@pytest.mark.parametrize(
    ("error", "status", "outcome"),
    [
        (errors.BadRequest("why"), 400, "refused"),
        (errors.TooLarge("why"), 413, "refused"),
        (errors.NotFound("why"), 404, "refused"),
        (errors.MethodNotAllowed("why", allowed=("POST",)), 405, "refused"),
        (errors.NotAcceptable("why"), 406, "refused"),
        (errors.Conflict("why"), 409, "refused"),
        (errors.RangeNotSatisfiable("why", length=100), 416, "refused"),
        (errors.RateLimited("why", retry_after=7), 429, "refused"),
        (errors.Busy("why", retry_after=3), 503, "failed"),
        (errors.TimedOut("why"), 504, "failed"),
        (errors.RejectedError("why"), 502, "failed"),
        (errors.PeerError("why"), 502, "failed"),
        (errors.TransportError("why"), 502, "failed"),
        (errors.Incomplete("why"), 502, "failed"),
        (errors.RenderingFailed("why"), 500, "failed"),
    ],
)
def test_an_error_becomes_its_status_and_a_line(
    error: errors.HarmonyError, status: int, outcome: str, lines: list[dict[str, Any]]
) -> None:
    error.log_detail = "10.0.0.1 said so"
    got = Service(raising(error)).ask("/dicom/studies")
    problem = got.problem
    assert (problem["status"], problem["detail"]) == (status, "why")
    assert got.headers.get("retry-after") == (str(error.retry_after) if isinstance(error, errors.Busy) else None)
    assert problem.get("target") == ("archive" if status >= 500 else None)
    (line,) = lines
    assert line["reason"] == f"{type(error).__name__}: why (10.0.0.1 said so)"
    assert (line["outcome"], line["status"], line["target"]) == (outcome, status, "archive")
    assert line["correlation_id"] == problem["correlation_id"]
    assert line["bytes"] == len(got.body)


def test_a_refusal_says_what_would_be_right() -> None:
    got = Service(raising(errors.MethodNotAllowed("why", allowed=("POST",)))).ask("/dicom/studies")
    assert got.headers["allow"] == "OPTIONS, POST"
    got = Service(raising(errors.RangeNotSatisfiable("why", length=100))).ask("/dicom/studies")
    assert got.headers["content-range"] == "bytes */100"
    got = Service(raising(errors.RangeNotSatisfiable("why"))).ask("/dicom/studies")
    assert "content-range" not in got.headers


def test_every_error_has_a_status_of_its_own_row() -> None:
    kinds = {kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.HarmonyError)}
    assert kinds == {kind for kind, _ in STATUSES} | {errors.HarmonyError}
    assert status_of(errors.HarmonyError("what nobody made a class for")) == 500


def test_a_refusal_does_not_say_why_to_the_client(lines: list[dict[str, Any]]) -> None:
    got = Service(raising(errors.Denied("rule wards says no", log_detail="rule wards"))).ask("/dicom/studies")
    assert (got.problem["status"], got.problem["detail"]) == (403, "The request is not allowed.")
    assert lines[0]["reason"] == "Denied: rule wards says no (rule wards)"


def test_a_dimse_status_stands_in_the_problem_document() -> None:
    async def respond(request: Request) -> Reply:
        request.record.dimse_status = 0xA700
        raise errors.RejectedError("archive: out of resources", status=0xA700)

    problem = Service(respond).ask("/dicom/studies").problem
    assert (problem["status"], problem["dimse_status"]) == (502, "A700H")


def test_what_nobody_foresaw_is_500_without_details_and_in_the_log(
    lines: list[dict[str, Any]], failures: list[str]
) -> None:
    problem = Service(raising(ZeroDivisionError("secret"))).ask("/dicom/studies").problem
    assert (problem["status"], problem["detail"]) == (500, "The gateway failed; its log has the details.")
    assert "secret" not in str(problem)
    assert (lines[0]["outcome"], lines[0]["reason"]) == ("failed", "internal error")
    assert failures == [f"an exchange failed in a way nobody foresaw ({problem['correlation_id']})"]
    failures.clear()


def test_a_fault_of_the_configuration_is_for_the_log_alone(lines: list[dict[str, Any]]) -> None:
    problem = Service(raising(errors.ConfigurationError(("backends.x: wrong",)))).ask("/dicom/studies").problem
    assert (problem["status"], problem["detail"]) == (500, "The gateway failed; its log has the details.")
    assert "backends.x" in lines[0]["reason"]


def test_a_result_that_nobody_made_a_reply_of_is_no_empty_200(lines: list[dict[str, Any]]) -> None:
    async def respond(request: Request) -> Reply:
        return Reply(result=object())

    assert Service(respond).ask("/dicom/studies").problem["status"] == 500
    assert "no middleware has made an HTTP reply" in lines[0]["reason"]


def test_an_error_before_the_first_byte_is_still_a_problem_document(lines: list[dict[str, Any]]) -> None:
    source = Source()
    source.feed.fail(errors.NotFound("nothing there"))

    async def respond(request: Request) -> Reply:
        return Reply(body=source.body)

    assert Service(respond).ask("/dicom/studies/1").problem["status"] == 404
    assert [line["status"] for line in lines] == [404]


# The line in the log


def test_a_line_has_bytes_and_times(lines: list[dict[str, Any]]) -> None:
    source = Source()

    async def respond(request: Request) -> Reply:
        await deferLater(service.clock, 1)
        return Reply(body=source.body)

    service = Service(respond)
    sent = service.send("/dicom/studies/1")
    assert service.endpoint.under_way == 1
    service.clock.advance(1)
    service.clock.advance(0.5)
    source.feed.put((b"abc", b"de"), 5)
    service.clock.advance(2)
    assert lines == []
    source.feed.end()
    assert answered(sent.transport.value()).body == b"abcde"
    (line,) = lines
    assert (line["outcome"], line["status"], line["bytes"]) == ("complete", 200, 5)
    assert (line["first_byte_ms"], line["duration_ms"]) == (1500, 3500)
    assert service.endpoint.under_way == 0


def test_a_reply_that_breaks_off_has_its_line_too(lines: list[dict[str, Any]]) -> None:
    source = Source()

    async def respond(request: Request) -> Reply:
        return Reply(body=source.body)

    sent = Service(respond).send("/dicom/studies/1")
    source.feed.put((b"abc",), 3)
    source.feed.fail(errors.PeerError("the association is gone"))
    (line,) = lines
    assert (line["outcome"], line["status"], line["bytes"]) == ("aborted", 200, 3)
    assert line["reason"] == "PeerError: the association is gone"
    assert line["first_byte_ms"] == 0
    assert sent.transport.disconnected
    assert not sent.transport.value().endswith(b"0\r\n\r\n")


def test_a_client_that_goes_away_cancels_the_pipeline(lines: list[dict[str, Any]]) -> None:
    cancelled: list[Request] = []

    async def respond(request: Request) -> Reply:
        try:
            return await Deferred()
        except CancelledError:
            cancelled.append(request)
            raise

    service = Service(respond)
    sent = service.send("/dicom/studies/1")
    sent.channel.connectionLost(Failure(ConnectionDone()))
    assert cancelled == service.requests
    (line,) = lines
    assert (line["outcome"], line["status"], line["bytes"], line["reason"]) == ("client_gone", None, 0, "")
    assert service.endpoint.under_way == 0


def test_a_client_that_goes_away_in_the_midst_gives_the_body_up(lines: list[dict[str, Any]]) -> None:
    source = Source()

    async def respond(request: Request) -> Reply:
        return Reply(body=source.body)

    sent = Service(respond).send("/dicom/studies/1")
    source.feed.put((b"abc",), 3)
    sent.channel.connectionLost(Failure(ConnectionLost()))
    assert source.aborted
    (line,) = lines
    assert (line["outcome"], line["status"], line["bytes"]) == ("client_gone", 200, 3)


@pytest.mark.parametrize("plain", [False, True])
def test_a_cancellation_of_ours_never_looks_like_a_reply(plain: bool, lines: list[dict[str, Any]]) -> None:
    sent = Service(raising(CancelledError()), plain=plain).send("/dicom/studies/1")
    assert sent.transport.value() == b""
    assert sent.transport.disconnected
    assert [(line["outcome"], line["status"]) for line in lines] == [("aborted", None)]


@pytest.mark.parametrize("plain", [False, True])
def test_stopping_breaks_off_what_is_under_way(plain: bool, lines: list[dict[str, Any]]) -> None:
    source = Source()

    async def respond(request: Request) -> Reply:
        return Reply(body=source.body)

    service = Service(respond, plain=plain)
    sent = service.send("/dicom/studies/1")
    source.feed.put((b"abc",), 3)
    drained = service.endpoint.drain()
    assert not drained.called
    service.endpoint.stop()
    assert drained.called
    assert sent.transport.disconnected
    assert not sent.transport.value().endswith(b"0\r\n\r\n")
    assert [(line["outcome"], line["bytes"]) for line in lines] == [("aborted", 3)]
    assert service.endpoint.drain().called
