from collections.abc import Iterable
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harmonygw.dicom.web.multipart_reading import (
    MAX_BOUNDARY_LENGTH,
    MAX_HEADER_LINE,
    MAX_HEADER_LINES,
    MultipartReading,
    PartHeader,
)
from harmonygw.errors import BadRequest

B = "boundary"
TWO = (
    b"--boundary\r\nContent-Type: application/dicom\r\nCONTENT-location: /a\r\n\r\nfirst\r\n\r\n-\r\n"
    b"--boundary\r\n\r\nsecond\r\n--boundary--\r\n"
)
FIRST, SECOND = b"first\r\n\r\n-", b"second"


def read(reading: MultipartReading, pieces: Iterable[bytes]) -> list[tuple[PartHeader, bytes]]:
    """The parts that ended."""
    ended: list[tuple[PartHeader, bytes]] = []
    header, content = PartHeader({}), b""
    for piece in pieces:
        for event in reading.feed(piece):
            if isinstance(event, PartHeader):
                header, content = event, b""
            elif event is None:
                assert header.complete
                assert header.bytes_received == len(content)
                ended.append((header, content))
            else:
                assert event
                content += event
    return ended


def contents(body: bytes, boundary: str = B) -> list[bytes]:
    reading = MultipartReading(boundary)
    found = [content for _, content in read(reading, [body])]
    assert reading.ended
    return found


@pytest.mark.parametrize("cut", range(len(TWO) + 1))
def test_parts_are_the_same_wherever_the_reads_were_cut(cut: int) -> None:
    reading = MultipartReading(B)
    (first, content), (second, other) = read(reading, [TWO[:cut], TWO[cut:]])
    assert (dict(first.fields), content) == ({"content-type": "application/dicom", "content-location": "/a"}, FIRST)
    assert (dict(second.fields), other) == ({}, SECOND)
    assert reading.ended


def test_parts_are_the_same_when_each_byte_comes_alone() -> None:
    reading = MultipartReading(B)
    parts = read(reading, [TWO[at : at + 1] for at in range(len(TWO))])
    assert [content for _, content in parts] == [FIRST, SECOND]
    assert reading.ended


@pytest.mark.parametrize("cut", range(1, len(TWO) - len(b"--\r\n")))
def test_a_body_without_its_closing_delimiter_has_not_ended(cut: int) -> None:
    reading = MultipartReading(B)
    parts = read(reading, [TWO[:cut]])
    assert not reading.ended
    assert [content for _, content in parts] == [FIRST, SECOND][: len(parts)]


def test_preamble_and_epilogue_are_passed_over() -> None:
    body = b"This is a message\r\nof several parts.\r\n" + TWO + b"and so on\r\n--boundary\r\n\r\nno part\r\n"
    assert contents(body) == [FIRST, SECOND]
    reading = MultipartReading(B)
    assert len(read(reading, [body[at : at + 1] for at in range(len(body))])) == 2


def test_a_body_without_parts_has_none() -> None:
    assert contents(b"--boundary--") == []


@pytest.mark.parametrize(
    "content", [b"", b"\r\n", b"\r", b"--", b"\r\n--", b"\r\n--boundar", b"\r\n--bound\r\n--boundar\r"]
)
def test_what_resembles_a_delimiter_is_content(content: bytes) -> None:
    body = b"--boundary\r\n\r\n%b\r\n--boundary--" % content
    assert contents(body) == [content]
    reading = MultipartReading(B)
    ((_, found),) = read(reading, [body[at : at + 1] for at in range(len(body))])
    assert found == content


@given(
    st.lists(st.binary(max_size=60).filter(lambda content: b"\r\n--b" not in b"\r\n" + content), max_size=5),
    st.lists(st.integers(1, 40), min_size=1, max_size=30),
)
def test_whatever_the_parts_hold_they_come_out(parts: list[bytes], lengths: list[int]) -> None:
    body = b"".join(b"--b\r\nA: b\r\n\r\n%b\r\n" % part for part in parts) + b"--b--\r\n"
    pieces = []
    while body:
        length = lengths[len(pieces) % len(lengths)]
        pieces.append(body[:length])
        body = body[length:]
    reading = MultipartReading("b")
    assert [content for _, content in read(reading, pieces)] == parts
    assert reading.ended


@given(st.binary(max_size=300), st.integers(1, 50))
def test_whatever_comes_is_read_or_refused(body: bytes, length: int) -> None:
    reading = MultipartReading("b")
    with suppress(BadRequest):
        read(reading, [body[at : at + length] for at in range(0, len(body), length)])


@pytest.mark.parametrize(
    ("body", "what"),
    [
        (b"--boundary\nContent-Type: a/b\n\n", "Invalid line break"),
        (b"--boundary\r\nno colon\r\n\r\n", "Malformed segment header"),
        (b"--boundary\r\nContent-Length: many\r\n\r\n", "Content-Length"),
        (b"--boundary\r\n\r\ncontent\r\n--boundaryX\r\n\r\n", "bytes after boundary"),
        (b"preamble--boundary\r\n\r\n", "in front of first boundary"),
    ],
)
def test_what_is_no_multipart_body_is_refused(body: bytes, what: str) -> None:
    with pytest.raises(BadRequest, match=what):
        read(MultipartReading(B), [body])


def test_a_header_may_be_as_long_as_its_limits_and_no_longer() -> None:
    def body(lines: int, length: int) -> bytes:
        line = b"A: ".ljust(length, b"x")
        return b"--boundary\r\n%b\r\n\r\nx\r\n--boundary--" % b"\r\n".join([line] * lines)

    assert contents(body(MAX_HEADER_LINES, MAX_HEADER_LINE)) == [b"x"]
    for lines, length in ((MAX_HEADER_LINES + 1, 10), (1, MAX_HEADER_LINE + 1)):
        with pytest.raises(BadRequest, match="The header of a part is too long"):
            contents(body(lines, length))
    with pytest.raises(BadRequest, match="MAX_HEADER_LINE"):
        read(MultipartReading(B), [b"--boundary\r\nA: ", b"x" * (MAX_HEADER_LINE + 2)])


@pytest.mark.parametrize("boundary", ["", "x" * (MAX_BOUNDARY_LENGTH + 1), "a\nb", "ä", "a\x7f"])
def test_what_cannot_be_a_boundary_is_refused(boundary: str) -> None:
    with pytest.raises(BadRequest, match="boundary"):
        MultipartReading(boundary)


def test_a_boundary_may_be_long_and_have_any_printable_characters() -> None:
    for boundary in ("x" * MAX_BOUNDARY_LENGTH, "(a)+_,-./:=? 'b'"):
        assert contents(b"--%b\r\n\r\nx\r\n--%b--" % (boundary.encode(), boundary.encode()), boundary) == [b"x"]


def test_a_length_that_a_part_announces_is_told_and_not_enforced() -> None:
    reading = MultipartReading(B)
    body = b"--boundary\r\nContent-Length: 3\r\n\r\nabcd\r\n--boundary\r\n\r\nabc\r\n--boundary--"
    (first, content), (second, _) = read(reading, [body])
    assert (first.announced_length, content) == (3, b"abcd")
    assert second.announced_length is None


def test_a_repeated_header_field_counts_once_and_any_byte_can_stand_in_it() -> None:
    ((header, _),) = read(MultipartReading(B), [b"--boundary\r\nA: 1 \r\na: 2\r\nB: \xff\r\n\r\n\r\n--boundary--"])
    assert dict(header.fields) == {"a": "1", "b": "\xff"}


@pytest.mark.parametrize("size", [1, 7, 1000])
@pytest.mark.parametrize("field", [b"Content-Type: a\rb", b"Content-Type: a\nb", b"A\nB: c", b"Content-Type: a\r\r"])
def test_a_lone_line_break_in_a_header_is_refused_wherever_the_reads_were_cut(field: bytes, size: int) -> None:
    body = b"--boundary\r\n" + field + b"\r\n\r\nx\r\n--boundary--"
    with pytest.raises(BadRequest, match="malformed"):
        read(MultipartReading(B), (body[start : start + size] for start in range(0, len(body), size)))


def test_many_parts_leave_nothing_behind() -> None:
    reading = MultipartReading(B)
    part = b"--boundary\r\nContent-Type: application/dicom\r\n\r\nx\r\n"
    count = 0
    for _ in range(1000):
        count += sum(event is None for event in reading.feed(part * 10))
    count += sum(event is None for event in reading.feed(b"--boundary--"))
    assert (count, reading.ended) == (10_000, True)
    assert list(reading.feed(part)) == []
