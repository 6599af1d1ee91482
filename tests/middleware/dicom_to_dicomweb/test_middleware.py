from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.defer import succeed

from harmonygw.errors import Denied, NotAcceptable, NotFound
from harmonygw.exchange import HTTPOrigin, Reply, Request
from harmonygw.middleware.dicom_to_dicomweb import DicomToDICOMweb
from harmonygw.operations import Echo, Find, Level
from harmonygw.pipeline import MIDDLEWARE, load
from harmonygw.streams import Body
from tests.middleware.dicom_to_dicomweb.server import Server, Source, ask, reply, request, rows, run


def test_it_is_in_the_registry() -> None:
    assert load(MIDDLEWARE["dicom_to_dicomweb"]) is DicomToDICOMweb


def test_what_is_an_http_request_already_passes() -> None:
    asked = Request(HTTPOrigin("GET", ("studies",)), "192.0.2.1", "c")
    answer = Reply(418)
    passed: list[Request] = []

    def proceed(request: Request) -> Any:
        passed.append(request)
        return succeed(answer)

    middleware = DicomToDICOMweb(SimpleNamespace())  # type: ignore[arg-type]
    assert run(middleware.intercept(asked, proceed)) is answer
    assert passed == [asked]


@pytest.mark.parametrize("answer", [rows(), Reply(204), reply(b"x")])
def test_an_echo_is_a_search_for_what_there_is_not(answer: Reply) -> None:
    server = Server([answer])
    assert ask(server, Echo()) is None
    assert server.lines == ["GET /studies?StudyInstanceUID=2.25.268374950216643215987531806341652903814&limit=1"]


def test_an_echo_fails_when_the_service_is_not_there_or_lets_nobody_in() -> None:
    with pytest.raises(NotFound):
        ask(Server([reply(status=404)]), Echo())
    with pytest.raises(Denied):
        ask(Server([reply(status=401)]), Echo())


def test_a_request_keeps_what_it_is_of() -> None:
    asked = request(Echo())
    seen: list[Request] = []
    server = Server([rows()])

    def proceed(request: Request) -> Any:
        seen.append(request)
        return server.proceed(request)

    middleware = DicomToDICOMweb(SimpleNamespace())  # type: ignore[arg-type]
    run(middleware.intercept(asked, proceed))
    [one] = seen
    assert one.operation is None
    assert (one.peer, one.correlation_id, one.record) == (asked.peer, asked.correlation_id, asked.record)


def test_the_body_of_an_echo_is_given_up() -> None:
    source = Source(*[b"x"] * 5)
    ask(Server([Reply(200, (), Body(source))]), Echo())
    assert source.given_up
    assert source.left == 5


def test_patients_are_left_to_the_endpoint() -> None:
    with pytest.raises(NotAcceptable, match="no resource of patients"):
        ask(Server([]), Find(Level.PATIENT))


def test_what_has_no_translation_is_refused() -> None:
    class FindPrinter:
        pass

    with pytest.raises(NotAcceptable, match="FindPrinter"):
        ask(Server([]), FindPrinter())  # type: ignore[arg-type]
