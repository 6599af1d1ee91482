"""JSON bodies: media types, limits, and what is no JSON."""

from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred

from harmonygw.errors import BadRequest, TooLarge, TransportError, Untransformable
from harmonygw.middleware.json_bodies import (
    INLINE_BYTES,
    MAX_DEPTH,
    beginning,
    encoded,
    is_json,
    parsed,
    whole,
)
from harmonygw.streams import Body
from tests.middleware.exchanges import arrived, arriving, bytes_of, result_of


@pytest.mark.parametrize(
    ("content_type", "expected"),
    [
        ("application/json", True),
        ("Application/JSON; charset=utf-8", True),
        ("application/dicom+json", True),
        ("application/fhir+json;q=1", True),
        ("application/jsonp", False),
        ("text/json", False),
        ('multipart/related; type="application/json"', False),
        ("", False),
    ],
)
def test_media_types(content_type: str, expected: bool) -> None:
    assert is_json(content_type) is expected


class TestWhole:
    def test_all_reads_are_returned(self) -> None:
        assert result_of(whole(arrived(b"ab", b"cd"), 4)) == b"abcd"

    @pytest.mark.parametrize("length", [None, 3, 5])
    def test_one_byte_too_many_is_too_large(self, length: int | None) -> None:
        body, feed = arriving(b"abc", b"de", length=length)
        error = result_of(whole(body, 4))
        assert isinstance(error, TooLarge)
        assert str(error) == "The body of the request is larger than 4 bytes (proxy.content_limits.max_body_size)."
        assert feed.done
        assert result_of(body.when_done()) is error

    def test_what_breaks_off_is_no_body(self) -> None:
        body, feed = arriving(b"abc")
        feed.fail(TransportError("gone"))
        assert isinstance(result_of(whole(body, 10)), TransportError)


class TestBeginning:
    def test_a_body_within_the_limit_is_all_there(self) -> None:
        assert result_of(beginning(arrived(b"ab", b"cd"), 4)) == (b"abcd", None)

    def test_a_longer_one_is_as_it_was(self) -> None:
        data, rest = result_of(beginning(arrived(b"ab", b"cd", b"ef"), 3))
        assert data == b"abcd"
        assert bytes_of(rest) == b"abcdef"

    def test_one_that_says_it_is_longer_is_not_read(self) -> None:
        body = arrived(b"abcd", length=4)
        assert result_of(beginning(body, 3)) == (b"", body)
        assert bytes_of(body) == b"abcd"

    def test_given_up_it_gives_up_the_rest(self) -> None:
        body, feed = arriving(b"ab", b"cd")
        _, rest = result_of(beginning(body, 3))
        reason = TransportError("gone")
        result_of(rest.abort(reason))
        assert feed.done
        assert result_of(rest.when_done()) is reason


class TestParsing:
    @pytest.mark.parametrize(
        ("raw", "where"),
        [
            (b'{"a": 1,}', "line 1 column 8"),
            (b'{"a":\n 1 "b"}', "line 2 column 4"),
            (b"", "line 1 column 1"),
            (b"NaN", "line 1 column 1"),
            (b"1e999", "infinity"),
            (b'"\xff"', "line 1 column"),
            (b'"\\ud800"', "line 1 column"),
            (b"[" * 2000, ""),
        ],
    )
    def test_what_is_no_json_says_where(self, raw: bytes, where: str) -> None:
        error = result_of(parsed(raw, None))
        assert isinstance(error, BadRequest)
        assert str(error).startswith("The body is no JSON: ")
        assert where in str(error)

    def test_a_document_has_a_depth(self) -> None:
        deepest = b"[" * MAX_DEPTH + b"]" * MAX_DEPTH
        assert isinstance(result_of(parsed(deepest, None)), list)
        error = result_of(parsed(b'{"a":[' + deepest + b"]}", None))
        assert str(error) == "The body is nested deeper than 100 objects and arrays."

    def test_brackets_in_a_text_are_no_depth(self) -> None:
        assert result_of(parsed(b'"' + b"[" * 1000 + b'"', None)) == "[" * 1000

    @pytest_twisted.inlineCallbacks
    def test_a_large_document_is_parsed_in_a_thread(self) -> Any:
        raw = b'["' + b"x" * INLINE_BYTES + b'"]'
        parsing = Deferred.fromCoroutine(parsed(raw, reactor))
        assert not parsing.called
        assert (yield parsing) == ["x" * INLINE_BYTES]


class TestEncoding:
    def test_a_document_up_to_the_limit(self) -> None:
        assert encoded({"ä": 1}, 8) == '{"ä":1}'.encode()
        with pytest.raises(Untransformable, match=r"^the result has more than 7 bytes"):
            encoded({"ä": 1}, 7)

    def test_what_is_no_json(self) -> None:
        with pytest.raises(Untransformable, match=r"^the result is no JSON"):
            encoded({"a": 2**65}, 100)


def test_the_body_of_bytes_is_left_alone() -> None:
    assert result_of(whole(Body.of(b""), 0)) == b""
