import pytest

from harmonygw.dicom.web.ranges import MAX_DIGITS, ByteRange, Unsatisfiable, parse_range

ETAG = '"abc"'


@pytest.mark.parametrize(
    ("header", "first", "last"),
    [
        ("bytes=0-99", 0, 99),
        ("bytes=0-0", 0, 0),
        ("bytes=99-99", 99, 99),
        ("bytes=10-19", 10, 19),
        ("bytes=10-", 10, 99),
        ("bytes=0-", 0, 99),
        ("bytes=10-1000", 10, 99),
        ("bytes=-1", 99, 99),
        ("bytes=-100", 0, 99),
        ("bytes=-1000", 0, 99),
        (" Bytes= 5-6 ,", 5, 6),
        (f"bytes=0-{'9' * MAX_DIGITS}", 0, 99),
    ],
)
def test_one_range_is_cut_to_what_is_there(header: str, first: int, last: int) -> None:
    found = parse_range(header, 100)
    assert found == ByteRange(first, last, 100)
    assert found.length == last - first + 1
    assert found.content_range == f"bytes {first}-{last}/100"


@pytest.mark.parametrize(
    "header",
    [
        None,
        *("", "bytes", "bytes=", "bytes=-", "bytes=x-1", "bytes=1-x", "bytes=1 - 2", "bytes=9-1", "bytes:0-1", "0-1"),
        *("bytes=0-1,5-6", "bytes=0-1, -1", "items=0-1", "bytes=٠-٩", "bytes=--1", "bytes=1-2-3", "bytes=0x0-0x1"),
        f"bytes=0-{'9' * (MAX_DIGITS + 1)}",
    ],
)
def test_what_is_no_single_range_of_bytes_is_ignored(header: str | None) -> None:
    assert parse_range(header, 100) is None


@pytest.mark.parametrize(
    ("header", "length"),
    [("bytes=100-", 100), ("bytes=100-200", 100), ("bytes=-0", 100), ("bytes=0-", 0), ("bytes=-5", 0)],
)
def test_a_range_of_nothing_cannot_be_satisfied(header: str, length: int) -> None:
    found = parse_range(header, length)
    assert found == Unsatisfiable(length)
    assert found.content_range == f"bytes */{length}"


@pytest.mark.parametrize(
    ("if_range", "etag", "taken"),
    [
        (None, None, True),
        (None, ETAG, True),
        (ETAG, ETAG, True),
        (f" {ETAG} ", ETAG, True),
        ('"other"', ETAG, False),
        (ETAG, None, False),
        (f"W/{ETAG}", f"W/{ETAG}", False),
        (ETAG, f"W/{ETAG}", False),
        ("Fri, 27 Nov 2026 20:31:14 GMT", ETAG, False),
        ("", ETAG, False),
    ],
)
def test_a_range_is_taken_only_of_the_representation_that_the_client_has(
    if_range: str | None, etag: str | None, taken: bool
) -> None:
    found = parse_range("bytes=1-2", 10, if_range=if_range, etag=etag)
    assert found == (ByteRange(1, 2, 10) if taken else None)
