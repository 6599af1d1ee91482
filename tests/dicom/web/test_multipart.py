import re
from email import message_from_bytes
from email.policy import HTTP

import pytest

from harmonygw.dicom.web.multipart import (
    MAX_PART_HEADER_LENGTH,
    boundary,
    closing,
    content_type,
    part_header,
)
from harmonygw.errors import BadRequest

LOCATION = "https://h/studies/1.2/series/1.3/instances/1.4"


def test_boundaries_are_long_random_and_need_no_quotes() -> None:
    boundaries = {boundary() for _ in range(100)}
    assert len(boundaries) == 100
    assert all(re.fullmatch("[0-9a-f]{40}", one) for one in boundaries)


def test_the_content_type_quotes_the_parts_type_only() -> None:
    assert content_type("b1") == 'multipart/related; type="application/dicom"; boundary=b1'
    assert content_type("b1", "image/jpeg") == 'multipart/related; type="image/jpeg"; boundary=b1'


def test_the_first_part_begins_with_the_delimiter_and_later_ones_with_a_line_break() -> None:
    header = (
        b"--b1\r\nContent-Type: application/dicom; transfer-syntax=1.2.840.10008.1.2.1\r\n"
        b"Content-Location: https://h/studies/1.2/series/1.3/instances/1.4\r\n\r\n"
    )
    assert part_header("b1", "1.2.840.10008.1.2.1", LOCATION, True) == header
    assert part_header("b1", "1.2.840.10008.1.2.1", LOCATION, False) == b"\r\n" + header


def test_parts_can_have_another_media_type() -> None:
    header = part_header("b1", "1.2", LOCATION, True, media_type="application/octet-stream")
    assert b"\r\nContent-Type: application/octet-stream; transfer-syntax=1.2\r\n" in header


def test_what_has_no_transfer_syntax_or_no_place_has_none_in_its_header() -> None:
    assert part_header("b1", "", LOCATION, True, media_type="image/jpeg") == (
        b"--b1\r\nContent-Type: image/jpeg\r\nContent-Location: https://h/studies/1.2/series/1.3/instances/1.4\r\n\r\n"
    )
    assert part_header("b1", "", "", False, media_type="application/dicom+xml") == (
        b"\r\n--b1\r\nContent-Type: application/dicom+xml\r\n\r\n"
    )


def test_frames_say_how_they_are_encoded_as_viewers_read_it() -> None:
    # Cornerstone splits the header of the part at ";" and "=", and its older versions unquote nothing.
    location = f"{LOCATION}/frames/3"
    header = part_header("b1", "1.2.840.10008.1.2.1", location, True, media_type="application/octet-stream")
    lines = header.decode().split("\r\n")
    assert lines[1:3] == [
        "Content-Type: application/octet-stream; transfer-syntax=1.2.840.10008.1.2.1",
        f"Content-Location: {location}",
    ]


def test_a_reader_gets_back_the_parts_that_were_written() -> None:
    mark = boundary()
    bodies = [b"\r\n--not\r\n\x00\x01", b"", b"--"]
    written = b"".join(
        part_header(mark, "1.2", f"{LOCATION}/{number}", number == 0) + body for number, body in enumerate(bodies)
    )
    head = f"Content-Type: {content_type(mark)}\r\n\r\n".encode()
    read = message_from_bytes(head + written + closing(mark), policy=HTTP.clone(cte_type="8bit"))
    assert not read.defects
    assert [part["Content-Location"] for part in read.iter_parts()] == [f"{LOCATION}/{n}" for n in range(3)]
    assert closing(mark) == f"\r\n--{mark}--\r\n".encode()


def test_the_location_is_left_out_when_the_header_would_be_too_long() -> None:
    room = MAX_PART_HEADER_LENGTH - len(part_header("b1", "1.2", "x", True)) + 1
    at_the_limit = part_header("b1", "1.2", "x" * room, True)
    assert len(at_the_limit) == MAX_PART_HEADER_LENGTH
    beyond = part_header("b1", "1.2", "x" * (room + 1), True)
    assert beyond == b"--b1\r\nContent-Type: application/dicom; transfer-syntax=1.2\r\n\r\n"


@pytest.mark.parametrize("location", ["https://h\r\nX-Evil: 1/", "https://é/", "https://h h/"])
def test_a_location_that_cannot_stand_in_a_header_is_refused(location: str) -> None:
    with pytest.raises(BadRequest):
        part_header("b1", "1.2", location, True)
