"""URLs of one server: nothing that is asked leads elsewhere."""

from urllib.parse import parse_qsl, unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harmonygw.errors import BadRequest
from harmonygw.net.http.client.urls import BaseURL, below

BASE = BaseURL.of("http://pacs:8042/dicom-web")


@pytest.mark.parametrize(
    ("url", "origin", "authority", "path"),
    [
        ("http://pacs:8042/dicom-web", "http://pacs:8042", "pacs:8042", "/dicom-web"),
        ("http://pacs:80/a/b/", "http://pacs", "pacs", "/a/b"),
        ("https://pacs:443", "https://pacs", "pacs", ""),
        ("https://pacs:80", "https://pacs:80", "pacs:80", ""),
        ("http://[::1]:8042/x", "http://[::1]:8042", "[::1]:8042", "/x"),
        ("http://user:secret@pacs/x", "http://pacs", "pacs", "/x"),
        ("http://PACS/é/%20", "http://pacs", "pacs", "/%C3%A9/%20"),
        ("http://bücher.example/", "http://xn--bcher-kva.example", "xn--bcher-kva.example", ""),
    ],
)
def test_a_base_url_is_taken_apart(url: str, origin: str, authority: str, path: str) -> None:
    base = BaseURL.of(url)
    assert (base.origin, base.authority, base.path, str(base)) == (origin, authority, path, origin + path)


@pytest.mark.parametrize(
    ("segments", "query", "target"),
    [
        ((), (), "/dicom-web"),
        (("studies", "1.2"), (), "/dicom-web/studies/1.2"),
        (("studies", ""), (), "/dicom-web/studies/"),
        (
            ("a b", "50%", "ü", "%2e%2e", "x;y=z", "frames", "1,2"),
            (),
            "/dicom-web/a%20b/50%25/%C3%BC/%252e%252e/x;y=z/frames/1,2",
        ),
        ((), (("b", "1"), ("a", "2"), ("b", "")), "/dicom-web?b=1&a=2&b="),
        ((), (("a", "x&y=z#+ ü"), ("b=", "1,2*?/:@")), "/dicom-web?a=x%26y%3Dz%23%2B%20%C3%BC&b%3D=1,2*?/:@"),
        ((), (("a", "1;PatientName=*"),), "/dicom-web?a=1%3BPatientName%3D*"),
        ((), (("a", "x\r\nHost: evil\0\\"),), "/dicom-web?a=x%0D%0AHost:%20evil%00%5C"),
        (("...", "..a"), (), "/dicom-web/.../..a"),
    ],
)
def test_a_target_is_encoded_anew(segments: tuple[str, ...], query: tuple[tuple[str, str], ...], target: str) -> None:
    assert BASE.target(segments, query) == target


@pytest.mark.parametrize("segment", [".", "..", "..;", ".;a=b", "a/b", "../..", "a\\b", "\0", "a\r\nb", "\x7f", "a\nb"])
def test_a_segment_that_leads_elsewhere_is_refused(segment: str) -> None:
    with pytest.raises(BadRequest):
        BASE.target(("studies", segment), ())


def test_the_root_has_a_slash() -> None:
    assert BaseURL.of("http://pacs").target((), ()) == "/"
    assert BaseURL.of("http://pacs").target((), (("a", "b"),)) == "/?a=b"
    assert BaseURL.of("http://pacs").target(("a",), ()) == "/a"


@given(
    st.lists(st.text(min_size=1), max_size=4),
    st.lists(st.tuples(st.text(min_size=1), st.text()), max_size=4),
)
def test_a_target_means_what_was_asked_and_stays_below(segments: list[str], query: list[tuple[str, str]]) -> None:
    try:
        target = BASE.target(segments, query)
    except (BadRequest, UnicodeEncodeError):
        return
    assert target.isascii()
    assert target.isprintable()
    assert " " not in target
    parts = urlsplit("http://pacs" + target)
    assert [unquote(one) for one in parts.path.split("/")] == ["", "dicom-web", *segments]
    assert parse_qsl(parts.query, keep_blank_values=True) == query


@pytest.mark.parametrize(
    ("base", "url", "rest"),
    [
        ("http://a/b", "http://a/b", ""),
        ("http://a/b", "http://a/b/c", "/c"),
        ("http://a/b", "http://a/b?c", "?c"),
        ("http://a/b", "http://a/bc", None),
        ("http://a/b", "http://x/b", None),
        ("", "/c", "/c"),
        ("", "c", None),
    ],
)
def test_what_lies_below_a_base(base: str, url: str, rest: str | None) -> None:
    assert below(base, url) == rest
