import orjson
import pytest
from twisted.internet.defer import Deferred, succeed
from zope.interface.verify import verifyObject

from harmonygw.dicom.web.resources import SEARCHES
from harmonygw.errors import BadRequest, ConfigurationError, NotAcceptable, NotFound
from harmonygw.exchange import AssociationOrigin, Reply, Request
from harmonygw.operations import Echo
from harmonygw.pipeline import IMiddleware
from tests.middleware.dicomweb_bridge.archive import BASE_URL, Archive, Gateway, body_of, headers_of, result_of, study


def test_the_bridge_is_a_middleware() -> None:
    verifyObject(IMiddleware, Gateway(Archive()).bridge)


@pytest.mark.parametrize(("option", "value"), [("partial", "report"), ("metadata_source", "without_bulk_data")])
def test_what_is_not_built_yet_is_refused_and_not_ignored(option: str, value: str) -> None:
    with pytest.raises(ConfigurationError, match=rf'middleware.bridge: {option} = "{value}" is not in this build yet'):
        Gateway(Archive(), **{option: value})


def test_every_problem_of_the_options_is_told() -> None:
    with pytest.raises(ConfigurationError) as caught:
        Gateway(Archive(), partial="report", metadata_source="without_bulk_data")
    assert len(caught.value.problems) == 2


def test_an_operation_that_began_on_an_association_passes() -> None:
    request = Request(AssociationOrigin("MODALITY", "GATEWAY"), "10.0.0.1", "id", operation=Echo())
    passed: list[Request] = []

    def proceed(operation: Request) -> "Deferred[Reply]":
        passed.append(operation)
        return succeed(Reply(status=299))

    reply = result_of(Gateway(Archive()).bridge.intercept(request, proceed))
    assert reply.status == 299
    assert passed == [request]


def test_the_record_names_the_transaction() -> None:
    gateway = Gateway(Archive(study("1")))
    gateway.search("studies")
    assert gateway.request is not None
    assert gateway.request.record.operation in {kind.value for kind in SEARCHES}
    assert gateway.archive.asked[0].level == "STUDY"


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [(None, "application/json"), ("application/vnd.sun.wadl+xml", "application/vnd.sun.wadl+xml")],
)
def test_the_prefix_describes_the_service(accept: str | None, media_type: str) -> None:
    reply = Gateway(Archive()).reply("", accept)
    assert headers_of(reply) == {"Content-Type": media_type}
    described = body_of(reply)
    if accept is None:
        assert orjson.loads(described)["base"] == BASE_URL
    else:
        assert described.startswith(b"<?xml")


def test_a_description_that_cannot_be_made_is_refused() -> None:
    with pytest.raises(NotAcceptable):
        Gateway(Archive()).reply("", "text/html")


def test_what_this_version_does_not_serve_is_named() -> None:
    with pytest.raises(NotFound, match="Store Instances is not served by this version"):
        Gateway(Archive()).reply("studies/1", method="POST")


def test_a_path_that_is_none_and_a_uid_that_is_none_are_refused() -> None:
    with pytest.raises(NotFound):
        Gateway(Archive()).reply("patients")
    with pytest.raises(BadRequest, match="StudyInstanceUID"):
        Gateway(Archive()).reply("studies/1 2/series")
