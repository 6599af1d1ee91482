import orjson

from harmonygw.dicom.web.problems import CONTENT_TYPE, problem


def test_a_problem_has_the_members_of_rfc_9457_and_a_correlation_id() -> None:
    assert CONTENT_TYPE == "application/problem+json"
    assert orjson.loads(problem(404, "There is no such study.", "c1")) == {
        "type": "about:blank",
        "title": "Not Found",
        "status": 404,
        "detail": "There is no such study.",
        "correlation_id": "c1",
    }


def test_extensions_are_further_members_and_may_name_the_type() -> None:
    document = orjson.loads(problem(502, "d", "c1", type="urn:x", failed=["1.2", "1.3"]))
    assert document["failed"] == ["1.2", "1.3"]
    assert document["type"] == "urn:x"


def test_a_status_without_a_phrase_still_has_a_title() -> None:
    assert orjson.loads(problem(499, "d", "c1"))["title"] == "Error"


def test_a_detail_that_is_not_unicode_is_still_reported() -> None:
    assert orjson.loads(problem(400, "bad \udc80 byte é", "c1"))["detail"] == "bad ? byte é"
