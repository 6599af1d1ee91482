"""Syslog messages: every byte of a header, and what a message can do to it."""

import pytest

from harmonygw.audit.syslog import NOTICE, WARNING, Sender, framed, header_field

SENDER = Sender(10, "gateway.hospital.local", "4711")
TIME = 1_767_323_045.678  # 2026-01-02T03:04:05.678Z


def test_a_message_is_a_header_without_structured_data_a_mark_and_the_xml() -> None:
    assert SENDER.message("<A n='Müller'/>".encode(), NOTICE, TIME) == (
        b"<85>1 2026-01-02T03:04:05.678Z gateway.hospital.local harmonygw 4711 DICOM+RFC3881 - "
        b"\xef\xbb\xbf<A n='M\xc3\xbcller'/>"
    )


def test_the_priority_is_of_facility_and_severity() -> None:
    assert SENDER.message(b"", WARNING, TIME).startswith(b"<84>1 ")
    assert Sender(0, "h", "1").message(b"", 7, TIME).startswith(b"<7>1 ")
    assert Sender(23, "h", "1").message(b"", 7, TIME).startswith(b"<191>1 ")


def test_a_whole_second_has_its_milliseconds() -> None:
    assert b" 1970-01-01T00:00:00.000Z " in SENDER.message(b"", NOTICE, 0.0)


def test_a_message_is_one_line_and_marked_once() -> None:
    message = SENDER.message(b"\xef\xbb\xbf<?xml version='1.0'?>\r\n<A>\n\n<B/></A>\n", NOTICE, TIME)
    assert message.endswith(b" - \xef\xbb\xbf<?xml version='1.0'?> <A> <B/></A>")
    assert message.count(b"\xef\xbb\xbf") == 1


@pytest.mark.parametrize(
    ("text", "limit", "field"),
    [
        ("gateway", 255, "gateway"),
        ("", 255, "-"),
        ("ward 7\n<13>", 255, "ward_7_<13>"),
        ("Röntgen", 255, "R_ntgen"),
        ("!~\x7f\x20", 255, "!~__"),
        ("x" * 256, 255, "x" * 255),
    ],
)
def test_a_header_field_is_printable_and_has_an_end(text: str, limit: int, field: str) -> None:
    assert header_field(text, limit) == field


def test_names_that_are_no_fields_leave_the_header_whole() -> None:
    message = Sender(10, "a b" * 100, "", "n" * 49).message(b"<A/>", NOTICE, TIME)
    fields = message.split(b" ")
    assert fields[2] == (b"a_b" * 100)[:255]
    assert fields[3:7] == [b"n" * 48, b"-", b"DICOM+RFC3881", b"-"]


def test_the_overhead_is_what_stands_around_the_xml() -> None:
    assert len(SENDER.message(b"x" * 100, NOTICE, TIME)) == 100 + SENDER.overhead


def test_over_tls_each_message_follows_its_length() -> None:
    assert framed([b"<85>1 a", "ü".encode(), b""]) == b"7 <85>1 a2 \xc3\xbc0 "
    assert framed([]) == b""
