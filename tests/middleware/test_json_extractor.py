"""The extractor: a parsed body for those behind, and the same bytes again."""

from typing import Any

import pytest

from harmonygw.config.options import JSONExtractorOptions
from harmonygw.errors import BadRequest, TooLarge
from harmonygw.exchange import Reply
from harmonygw.middleware.json_extractor import JSONExtractor
from harmonygw.operations import Echo
from harmonygw.pipeline import MIDDLEWARE, load
from tests.middleware.exchanges import Pipeline, arrived, context, dimse, http, post


@pytest.fixture
def pipeline() -> Pipeline:
    return Pipeline(JSONExtractor(context(JSONExtractorOptions(), max_body_size=20)))


def test_the_registry_has_it() -> None:
    assert load(MIDDLEWARE["json_extractor"]) is JSONExtractor


def test_the_document_is_an_attribute_and_the_body_the_same(pipeline: Pipeline) -> None:
    raw = b'{ "a": [1,\t2] }'
    assert pipeline.ask(post(arrived(raw[:5], raw[5:]))) == Reply()
    assert pipeline.asked[0].attributes == {"json": {"a": [1, 2]}}
    assert pipeline.body == raw


def test_null_is_a_document(pipeline: Pipeline) -> None:
    pipeline.ask(post(b"null"))
    assert pipeline.asked[0].attributes == {"json": None}


@pytest.mark.parametrize(
    "request_",
    [
        http("POST", "find", body=b"not json", headers={"content-type": "text/plain"}),
        http("POST", "find", body=b"not json"),
        http("GET", "find", headers={"content-type": "application/json"}),
        http(
            "POST", "find", body=b"\x1f\x8b", headers={"content-type": "application/json", "content-encoding": "gzip"}
        ),
        http("POST", "find", body=b"not json", operation=Echo(), headers={"content-type": "application/json"}),
        dimse(Echo()),
    ],
)
def test_what_has_no_json_passes(pipeline: Pipeline, request_: Any) -> None:
    assert pipeline.ask(request_) == Reply()
    assert pipeline.asked == [request_]


def test_an_empty_body_passes(pipeline: Pipeline) -> None:
    assert pipeline.ask(post(arrived())) == Reply()
    assert pipeline.asked[0].attributes == {}
    assert pipeline.body == b""


def test_what_is_no_json_is_refused(pipeline: Pipeline) -> None:
    error = pipeline.ask(post(b'{"a" 1}'))
    assert isinstance(error, BadRequest)
    assert "line 1 column 6" in str(error)
    assert pipeline.asked == []


def test_what_is_too_large_is_refused(pipeline: Pipeline) -> None:
    assert pipeline.ask(post(b'"' + b"x" * 18 + b'"')) == Reply()
    assert isinstance(pipeline.ask(post(b'"' + b"x" * 19 + b'"')), TooLarge)
