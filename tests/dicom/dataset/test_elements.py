"""Data elements in bytes: headers in each encoding, lengths, delimiters, and what real objects get wrong."""

import zlib
from struct import pack

import pytest

from harmonygw.dicom.dataset.elements import (
    EXPLICIT_VR_BIG_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    UNDEFINED_LENGTH,
    Element,
    Encoding,
    encoding_of,
    end_of_items,
    inflate,
    iterate,
)
from harmonygw.dicom.dataset.limits import INFLATION_ALLOWANCE, MAX_NESTING_DEPTH
from harmonygw.errors import PeerError

ITEM = bytes.fromhex("FEFF00E0")
ENDLESS = bytes.fromhex("FFFFFFFF")
ITEM_END = bytes.fromhex("FEFF0DE0 00000000")
SEQUENCE_END = bytes.fromhex("FEFFDDE0 00000000")


def short(tag: int, vr: bytes, value: bytes, order: str = "<") -> bytes:
    return pack(f"{order}HH2sH", tag >> 16, tag & 0xFFFF, vr, len(value)) + value


def long(tag: int, vr: bytes, value: bytes, order: str = "<", length: int | None = None) -> bytes:
    return pack(f"{order}HH2s2xL", tag >> 16, tag & 0xFFFF, vr, len(value) if length is None else length) + value


def implicit(tag: int, value: bytes, length: int | None = None) -> bytes:
    return pack("<HHL", tag >> 16, tag & 0xFFFF, len(value) if length is None else length) + value


def read(data: bytes, encoding: Encoding = EXPLICIT_VR_LITTLE_ENDIAN) -> list[Element]:
    return list(iterate(data, 0, len(data), encoding))


@pytest.mark.parametrize(
    ("uid", "encoding"),
    [
        ("1.2.840.10008.1.2", IMPLICIT_VR_LITTLE_ENDIAN),
        ("1.2.840.10008.1.2.1", EXPLICIT_VR_LITTLE_ENDIAN),
        ("1.2.840.10008.1.2.1.99", EXPLICIT_VR_LITTLE_ENDIAN),
        ("1.2.840.10008.1.2.2", EXPLICIT_VR_BIG_ENDIAN),
        ("1.2.840.10008.1.2.4.70", EXPLICIT_VR_LITTLE_ENDIAN),
        ("1.2.3.4", EXPLICIT_VR_LITTLE_ENDIAN),
    ],
)
def test_a_transfer_syntax_has_an_encoding(uid: str, encoding: Encoding) -> None:
    assert encoding_of(uid) is encoding


def test_elements_of_both_explicit_forms_are_found() -> None:
    data = short(0x00100020, b"LO", b"1234") + long(0x7FE00010, b"OW", b"\1\2")
    assert read(data) == [(0x00100020, "LO", 8, 4), (0x7FE00010, "OW", 24, 2)]


def test_elements_are_found_in_big_endian() -> None:
    data = short(0x00280010, b"US", b"\2\0", ">") + long(0x7FE00010, b"OW", b"\1\2", ">")
    assert read(data, EXPLICIT_VR_BIG_ENDIAN) == [(0x00280010, "US", 8, 2), (0x7FE00010, "OW", 22, 2)]


def test_implicit_elements_have_the_dictionary_s_vr() -> None:
    data = implicit(0x00080000, b"1234") + implicit(0x00100020, b"12") + implicit(0x00280106, b"12")
    data += implicit(0x00991001, b"")
    assert read(data, IMPLICIT_VR_LITTLE_ENDIAN) == [
        (0x00080000, "UL", 8, 4),
        (0x00100020, "LO", 20, 2),
        (0x00280106, "US or SS", 30, 2),
        (0x00991001, "UN", 40, 0),
    ]


@pytest.mark.parametrize("make", [bytes, bytearray, memoryview])
def test_any_buffer_can_be_read(make: type) -> None:
    data = make(short(0x00100020, b"LO", b"1234"))
    assert list(iterate(data, 0, len(data), EXPLICIT_VR_LITTLE_ENDIAN)) == [(0x00100020, "LO", 8, 4)]


@pytest.mark.parametrize("length", [0, UNDEFINED_LENGTH])
def test_what_follows_a_value_of_undefined_length_is_found(length: int) -> None:
    inner = long(0x00081140, b"SQ", ITEM + ENDLESS + ITEM_END + SEQUENCE_END, length=UNDEFINED_LENGTH)
    item = ITEM + pack("<L", length or len(inner)) + inner + (ITEM_END if length else b"")
    data = long(0x00081110, b"SQ", item + SEQUENCE_END, length=UNDEFINED_LENGTH)
    start = len(data)
    data += short(0x00100020, b"LO", b"12")
    assert read(data) == [(0x00081110, "SQ", 12, UNDEFINED_LENGTH), (0x00100020, "LO", start + 8, 2)]


def test_fragments_are_skipped_whatever_they_hold() -> None:
    fragments = ITEM + pack("<L", 0) + ITEM + pack("<L", 8) + SEQUENCE_END + SEQUENCE_END
    data = long(0x7FE00010, b"OB", fragments, length=UNDEFINED_LENGTH) + short(0xFFFCFFFC, b"LO", b"")
    assert [element.tag for element in read(data)] == [0x7FE00010, 0xFFFCFFFC]


@pytest.mark.parametrize(
    "inside",
    [implicit(0x00100020, b"12"), short(0x00100020, b"LO", b"12"), b""],
    ids=["implicit", "explicit", "empty"],
)
@pytest.mark.parametrize("encoding", [EXPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_BIG_ENDIAN])
def test_un_of_undefined_length_is_a_sequence_in_little_endian(inside: bytes, encoding: Encoding) -> None:
    order = "<" if encoding.little_endian else ">"
    items = ITEM + ENDLESS + inside + ITEM_END + SEQUENCE_END
    data = long(0x00091001, b"UN", items, order, UNDEFINED_LENGTH) + short(0x00100020, b"LO", b"12", order)
    assert [element.tag for element in read(data, encoding)] == [0x00091001, 0x00100020]


def test_a_private_sequence_is_skipped_in_implicit_vr() -> None:
    nested = implicit(0x00091002, ITEM + ENDLESS + ITEM_END + SEQUENCE_END, UNDEFINED_LENGTH)
    items = ITEM + ENDLESS + nested + ITEM_END + SEQUENCE_END
    data = implicit(0x00091001, items, UNDEFINED_LENGTH) + implicit(0x00100020, b"12")
    assert [element.tag for element in read(data, IMPLICIT_VR_LITTLE_ENDIAN)] == [0x00091001, 0x00100020]


@pytest.mark.parametrize("encoding", [EXPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_BIG_ENDIAN])
def test_items_in_implicit_vr_are_noticed_in_explicit_vr(encoding: Encoding) -> None:
    order = "<" if encoding.little_endian else ">"
    inside = pack(f"{order}HHL", 0x0010, 0x0020, 2) + b"12"
    of_item = encoding.of_item(inside, 0, len(inside))
    assert (of_item.explicit_vr, of_item.little_endian) == (False, encoding.little_endian)
    assert read(inside, of_item) == [(0x00100020, "LO", 8, 2)]


@pytest.mark.parametrize(
    ("data", "element"),
    [
        (short(0x00111001, b"ZZ", b"12"), (0x00111001, "UN", 8, 2)),
        (long(0x00111001, b"ZZ", b"12"), (0x00111001, "UN", 12, 2)),
        (short(0x00111001, b"??", b"12"), (0x00111001, "UN", 8, 2)),
        (short(0x00111001, b"ZZ", b""), (0x00111001, "UN", 8, 0)),
        (implicit(0x00100020, b"12"), (0x00100020, "LO", 8, 2)),
    ],
    ids=["unknown short", "unknown long", "question marks", "unknown empty", "none"],
)
def test_an_unknown_vr_is_un_and_a_missing_one_the_dictionary_s(
    data: bytes, element: tuple[int, str, int, int]
) -> None:
    assert read(data) == [element]


def test_an_unknown_vr_without_value_does_not_swallow_what_follows() -> None:
    data = short(0x00111001, b"ZZ", b"") + short(0x00100020, b"LO", b"12")
    assert [element.tag for element in read(data)] == [0x00111001, 0x00100020]


LO = short(0x00100020, b"LO", b"1234")


@pytest.mark.parametrize(
    ("data", "encoding", "detail"),
    [
        (LO[:5], EXPLICIT_VR_LITTLE_ENDIAN, "a header is cut short at byte 0 of 5"),
        (LO[:5], IMPLICIT_VR_LITTLE_ENDIAN, "a header is cut short at byte 0 of 5"),
        (LO[:-1], EXPLICIT_VR_LITTLE_ENDIAN, "4 bytes announced, 3 there, (0010,0020) at byte 0"),
        (LO + LO[:-1], EXPLICIT_VR_LITTLE_ENDIAN, "4 bytes announced, 3 there, (0010,0020) at byte 12"),
        (implicit(0x00100020, b"", 9), IMPLICIT_VR_LITTLE_ENDIAN, "9 bytes announced, 0 there, (0010,0020)"),
        (long(0x00080005, b"OB", b"")[:10], EXPLICIT_VR_LITTLE_ENDIAN, "cut short at byte 0 of 10"),
        (
            long(0x00100020, b"UT", b"", length=UNDEFINED_LENGTH),
            EXPLICIT_VR_LITTLE_ENDIAN,
            "undefined length with VR UT, (0010,0020) at byte 0",
        ),
        (
            implicit(0x00100020, b"", UNDEFINED_LENGTH),
            IMPLICIT_VR_LITTLE_ENDIAN,
            "undefined length with VR LO, (0010,0020) at byte 0",
        ),
        (ITEM_END, EXPLICIT_VR_LITTLE_ENDIAN, "a delimiter among data elements, (FFFE,E00D) at byte 0"),
        (SEQUENCE_END, IMPLICIT_VR_LITTLE_ENDIAN, "a delimiter among data elements, (FFFE,E0DD) at byte 0"),
    ],
)
def test_a_malformed_element_is_named_with_its_offset(data: bytes, encoding: Encoding, detail: str) -> None:
    with pytest.raises(PeerError) as raised:
        read(data, encoding)
    assert detail in raised.value.detail
    assert raised.value.source == 0


def test_a_value_may_not_reach_beyond_the_end_that_is_given() -> None:
    with pytest.raises(PeerError, match="4 bytes announced, 0 there"):
        list(iterate(LO, 0, 6, EXPLICIT_VR_LITTLE_ENDIAN))


@pytest.mark.parametrize(
    ("items", "detail"),
    [
        (b"", "the sequence does not end, (FFFE,E0DD) at byte 12"),
        (ITEM + pack("<L", 0), "the sequence does not end, (FFFE,E0DD) at byte 20"),
        (ITEM + ENDLESS, "the item does not end, (FFFE,E00D) at byte 20"),
        (ITEM + ENDLESS + LO, "the item does not end, (FFFE,E00D) at byte 32"),
        (implicit(0x00100020, b"12"), "an item was expected, (0010,0020) at byte 12"),
        (ITEM + pack("<L", 9), "9 bytes announced, 0 there, (FFFE,E000) at byte 12"),
        (ITEM_END[:4] + ENDLESS, "undefined length with VR of a delimiter, (FFFE,E00D) at byte 12"),
    ],
)
def test_a_sequence_that_goes_wrong_is_an_error(items: bytes, detail: str) -> None:
    with pytest.raises(PeerError) as raised:
        read(long(0x00081110, b"SQ", items, length=UNDEFINED_LENGTH))
    assert detail in raised.value.detail


def nested(depth: int) -> bytes:
    data = b""
    for _ in range(depth):
        data = long(0x00081110, b"SQ", ITEM + ENDLESS + data + ITEM_END + SEQUENCE_END, length=UNDEFINED_LENGTH)
    return data


def test_sequences_may_nest_as_deep_as_the_limit() -> None:
    assert len(read(nested(MAX_NESTING_DEPTH))) == 1


@pytest.mark.parametrize("depth", [MAX_NESTING_DEPTH + 1, 10_000])
def test_sequences_beyond_the_limit_are_refused_by_its_name(depth: int) -> None:
    one = long(0x00081110, b"SQ", b"", length=UNDEFINED_LENGTH) + ITEM + ENDLESS
    with pytest.raises(PeerError, match="MAX_NESTING_DEPTH"):
        read(one * depth)


def test_the_end_of_items_is_behind_their_delimiter() -> None:
    data = ITEM + pack("<L", 2) + b"ab" + SEQUENCE_END + b"more"
    assert end_of_items(data, 0, len(data), EXPLICIT_VR_LITTLE_ENDIAN) == len(data) - 4


def deflated(data: bytes) -> bytes:
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return deflater.compress(data) + deflater.flush()


@pytest.mark.parametrize("make", [bytes, bytearray, memoryview])
def test_a_deflated_data_set_is_inflated(make: type) -> None:
    assert inflate(make(deflated(LO) + b"\0")) == LO


def test_inflating_stops_at_the_limit() -> None:
    assert len(inflate(deflated(bytes(100)), 100)) == 100
    with pytest.raises(PeerError, match="MAX_INFLATED_BYTES"):
        inflate(deflated(bytes(101)), 100)


def test_what_inflates_a_thousandfold_is_refused_by_the_limit_s_name() -> None:
    with pytest.raises(PeerError, match="MAX_INFLATION_RATIO"):
        inflate(deflated(bytes(INFLATION_ALLOWANCE + 1)))


def test_what_cannot_be_inflated_is_refused() -> None:
    with pytest.raises(PeerError, match="cut short"):
        inflate(deflated(LO)[:-3])
