"""Conditional requests: which tags match, which replies get one, and what is left of a reply in its 304."""

from hashlib import sha256

import pytest

from harmonygw.exchange import Reply
from harmonygw.net.http.conditional import CACHE_CONTROL, MAX_TAGGED_BYTES, entity_tag, matches, not_modified, tagged
from harmonygw.streams import Body, Feed, Pieces

JSON = ("Content-Type", "application/dicom+json")


@pytest.mark.parametrize(
    ("if_none_match", "etag", "expected"),
    [
        ('"a"', '"a"', True),
        ('W/"a"', '"a"', True),
        ('"a"', 'W/"a"', True),
        ('W/"a"', 'W/"a"', True),
        ('"b"', '"a"', False),
        ('"b", "a"', '"a"', True),
        ('"b" ,W/"c",\t"a" ', '"a"', True),
        ('"x,y", "a"', '"a"', True),
        ('"a,b"', '"a"', False),
        (" * ", '"a"', True),
        ('"*"', '"a"', False),
        ("a", '"a"', False),
        ('"b" "a"', '"a"', False),
        ("", '"a"', False),
        ('w/"a"', '"a"', False),
    ],
)
def test_tags_are_compared_weakly_and_in_lists(if_none_match: str, etag: str, expected: bool) -> None:
    assert matches(if_none_match, etag) is expected


def test_a_tag_is_of_the_bytes_and_of_their_media_type() -> None:
    tag = entity_tag("application/json", [b"[", b"]"])
    assert tag == f'"{sha256(b"application/json[]").hexdigest()[:32]}"'
    assert entity_tag("application/json", [b"[]"]) == tag
    assert entity_tag("application/dicom+json", [b"[]"]) != tag
    assert entity_tag("application/json", [b"[ ]"]) != tag


@pytest.mark.parametrize("media_type", ["application/json", "application/dicom+json", "APPLICATION/JSON; a=b"])
def test_json_that_is_there_whole_gets_a_tag_and_is_not_kept_without_asking(media_type: str) -> None:
    got = tagged(Reply(headers=(("Content-Type", media_type),), body=Body.of(b"[]")))
    assert got.headers == (("Content-Type", media_type), ("ETag", entity_tag(media_type, [b"[]"])), CACHE_CONTROL)


def test_a_reply_keeps_its_own_cache_control() -> None:
    own = ("cache-control", "no-store")
    got = tagged(Reply(headers=(JSON, own), body=Body.of(b"[]")))
    assert got.headers == (JSON, own, ("ETag", entity_tag(JSON[1], [b"[]"])))


def streaming() -> Body:
    feed: Feed[Pieces] = Feed(limit=1)
    return Body(feed, length=2)


@pytest.mark.parametrize(
    "reply",
    [
        Reply(headers=(JSON,)),
        Reply(headers=(JSON,), body=streaming()),
        Reply(202, (JSON,), Body.of(b"{}")),
        Reply(headers=(("Content-Type", "application/jsonx"),), body=Body.of(b"[]")),
        Reply(headers=(("Content-Type", "text/html"),), body=Body.of(b"[]")),
        Reply(body=Body.of(b"[]")),
        Reply(headers=(JSON, ("etag", '"own"')), body=Body.of(b"[]")),
    ],
)
def test_any_other_reply_stays_as_it_is(reply: Reply) -> None:
    assert tagged(reply) is reply


@pytest.mark.parametrize(("size", "has_tag"), [(MAX_TAGGED_BYTES, True), (MAX_TAGGED_BYTES + 1, False)])
def test_no_more_is_hashed_than_the_bound_allows(size: int, has_tag: bool) -> None:
    reply = tagged(Reply(headers=(JSON,), body=Body.of(b"[" * size)))
    assert ("ETag" in dict(reply.headers)) is has_tag


HEADERS = (
    JSON,
    ("ETag", '"a"'),
    ("Content-Length", "2"),
    ("Content-Encoding", "gzip"),
    ("Content-Location", "http://h/x"),
    ("Cache-Control", "private, no-cache"),
    ("Vary", "Origin"),
    ("Warning", '299 harmonygw "less"'),
    ("Access-Control-Allow-Origin", "*"),
)


@pytest.mark.parametrize("status", [200, 206])
def test_a_304_keeps_what_a_cache_needs_and_the_body_to_be_given_up(status: int) -> None:
    body = streaming()
    got = not_modified(Reply(status, HEADERS, body), 'W/"a"')
    assert got.status == 304
    assert got.body is body
    assert [name for name, _ in got.headers] == [
        *("ETag", "Content-Location", "Cache-Control", "Vary", "Warning", "Access-Control-Allow-Origin")
    ]


@pytest.mark.parametrize(
    ("reply", "if_none_match"),
    [
        (Reply(headers=HEADERS), ""),
        (Reply(headers=HEADERS), '"b"'),
        (Reply(headers=(JSON,)), "*"),
        (Reply(404, HEADERS), "*"),
        (Reply(202, HEADERS), '"a"'),
    ],
)
def test_what_was_not_asked_for_or_is_another_goes_out(reply: Reply, if_none_match: str) -> None:
    assert not_modified(reply, if_none_match) is reply
