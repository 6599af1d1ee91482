"""DICOM JSON out of bytes: what pydicom makes of the same bytes, but for the differences that are listed here."""

from collections.abc import Callable, Iterator
from struct import pack
from typing import Any

import orjson
import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import config

from harmonygw.dicom.dataset.json_encoding import to_json
from harmonygw.dicom.dataset.limits import MAX_NESTING_DEPTH
from harmonygw.errors import PeerError
from tests.dicom.dataset.json_bytes import (
    BIG_ENDIAN,
    ENCODINGS,
    ENDLESS,
    EXPLICIT,
    IMPLICIT,
    ITEM,
    ITEM_END,
    SEQUENCE_END,
    endless_sequence,
    implicit,
    long,
    one,
    short,
)


@pytest.fixture
def quiet_pydicom() -> Iterator[None]:
    mode = config.settings.reading_validation_mode
    config.settings.reading_validation_mode = config.IGNORE
    yield
    config.settings.reading_validation_mode = mode


# Structure


def test_group_lengths_and_file_meta_information_are_left_out() -> None:
    data = short("00020000", b"UL", bytes(4)) + short("00020010", b"UI", b"1.2\0")
    data += short("00080000", b"UL", bytes(4)) + short("00090000", b"UL", bytes(4)) + short("00100020", b"LO", b"1")
    assert list(to_json(data, EXPLICIT)) == ["00100020"]


def test_attributes_are_in_order_whatever_the_bytes_are() -> None:
    data = short("00100020", b"LO", b"1") + endless_sequence("00081140", b"") + short("00080060", b"CS", b"MR")
    assert list(to_json(data, EXPLICIT)) == ["00080060", "00081140", "00100020"]


def test_of_two_elements_with_one_tag_the_last_counts() -> None:
    assert to_json(short("00100020", b"LO", b"1") + short("00100020", b"LO", b"2"), EXPLICIT) == {
        "00100020": {"vr": "LO", "Value": ["2"]}
    }


@pytest.mark.parametrize(
    ("data", "sequence"),
    [
        (long("00081140", b"SQ", b""), {"vr": "SQ"}),
        (long("00081140", b"SQ", SEQUENCE_END, 0xFFFFFFFF), {"vr": "SQ"}),
        (long("00081140", b"SQ", SEQUENCE_END), {"vr": "SQ"}),
        (long("00081140", b"SQ", ITEM + bytes(4)), {"vr": "SQ", "Value": [{}]}),
        (endless_sequence("00081140", b""), {"vr": "SQ", "Value": [{}]}),
        (
            long("00081140", b"SQ", ITEM + pack("<L", 18) + short("00080100", b"SH", b"ab") + ITEM_END),
            {"vr": "SQ", "Value": [{"00080100": {"vr": "SH", "Value": ["ab"]}}]},
        ),
    ],
    ids=["empty", "empty endless", "superfluous end", "empty item", "endless empty item", "superfluous item end"],
)
def test_sequences_and_items_may_be_empty_or_end_in_any_way(data: bytes, sequence: dict[str, Any]) -> None:
    assert to_json(data, EXPLICIT) == {"00081140": sequence}


@pytest.mark.parametrize("vr", [b"SQ", b"UN"])
@pytest.mark.parametrize("inside", [implicit("00080100", b"ab"), short("00080100", b"SH", b"ab")])
def test_items_may_be_implicit_in_an_explicit_data_set(vr: bytes, inside: bytes) -> None:
    expected = {"00081140": {"vr": "SQ", "Value": [{"00080100": {"vr": "SH", "Value": ["ab"]}}]}}
    assert to_json(endless_sequence("00081140", inside, vr), EXPLICIT) == expected
    assert to_json(long("00081140", vr, ITEM + pack("<L", 10) + inside), EXPLICIT) == expected


def test_un_is_what_the_dictionaries_know_and_little_endian_everywhere() -> None:
    def un(group: int, element: int, value: bytes) -> bytes:
        return pack(">HH2s2xL", group, element, b"UN", len(value)) + value

    data = un(0x0019, 0x0010, b"GEMS_ACQU_01") + un(0x0019, 0x1011, pack("<h", -2)) + un(0x0019, 0x10FE, b"\1\2")
    data += un(0x0028, 0x0010, pack("<H", 512)) + un(0x0028, 0x0103, pack("<H", 1)) + un(0x0028, 0x0106, pack("<h", -3))
    data += un(0x7FE0, 0x0010, b"\1\2")
    assert to_json(data, BIG_ENDIAN) == {
        "00190010": {"vr": "LO", "Value": ["GEMS_ACQU_01"]},
        "00191011": {"vr": "SS", "Value": [-2]},
        "001910FE": {"vr": "UN", "InlineBinary": "AQI="},
        "00280010": {"vr": "US", "Value": [512]},
        "00280103": {"vr": "US", "Value": [1]},
        "00280106": {"vr": "SS", "Value": [-3]},
        "7FE00010": {"vr": "OW", "InlineBinary": "AQI="},
    }


def test_un_that_does_not_fit_the_dictionary_s_vr_is_un() -> None:
    assert one("00280010", b"UN", b"abc") == {"vr": "UN", "InlineBinary": "YWJj"}


def test_a_private_creator_that_is_no_text_is_none() -> None:
    data = short("00190010", b"US", b"\1\0") + long("00191011", b"UN", b"\1\2")
    assert to_json(data, EXPLICIT)["00191011"] == {"vr": "UN", "InlineBinary": "AQI="}


def test_un_that_is_no_sequence_after_all_is_un() -> None:
    assert to_json(long("00081140", b"UN", b"none"), EXPLICIT) == {"00081140": {"vr": "UN", "InlineBinary": "bm9uZQ=="}}


def test_pixel_representation_is_that_of_the_nearest_data_set() -> None:
    item = implicit("00280106", b"\xff\xff")
    signed = implicit("00280103", b"\1\0") + item
    items = b"".join(ITEM + pack("<L", len(content)) + content for content in (item, signed))
    data = implicit("00081140", items) + implicit("00280103", b"\0\0") + item
    shown = to_json(data, IMPLICIT)
    assert [attribute["00280106"] for attribute in (*shown["00081140"]["Value"], shown)] == [
        {"vr": "US", "Value": [65535]},
        {"vr": "SS", "Value": [-1]},
        {"vr": "US", "Value": [65535]},
    ]


def test_without_pixel_representation_values_are_unsigned() -> None:
    assert to_json(implicit("00280106", b"\xff\xff"), IMPLICIT)["00280106"] == {"vr": "US", "Value": [65535]}


# Bulk data


def recording(uri: str | None) -> tuple[list[Any], Callable[..., str | None]]:
    asked: list[Any] = []

    def bulk_data(*about: Any) -> str | None:
        asked.append(about)
        return uri

    return asked, bulk_data


def test_long_values_of_the_vrs_that_may_be_bulk_get_their_uri() -> None:
    asked, bulk_data = recording("/bulk")
    item = (
        long("0040A160", b"UT", bytes(65535)) + long("00420011", b"OB", bytes(9)) + short("00720062", b"SH", bytes(9))
    )
    data = endless_sequence("00081140", item) + short("00283006", b"US", bytes(8)) + long("7FE00010", b"OW", bytes(10))
    shown = to_json(data, EXPLICIT, bulk_data=bulk_data, bulk_threshold=8)
    assert asked == [
        (("00081140", 0, "0040A160"), "UT", 65535),
        (("00081140", 0, "00420011"), "OB", 9),
        (("7FE00010",), "OW", 10),
    ]
    assert shown["00081140"]["Value"][0]["00420011"] == {"vr": "OB", "BulkDataURI": "/bulk"}
    assert shown["00283006"] == {"vr": "US", "Value": [0] * 4}
    assert shown["7FE00010"] == {"vr": "OW", "BulkDataURI": "/bulk"}


def test_an_ambiguous_vr_is_resolved_before_its_uri_is_asked_for() -> None:
    asked, bulk_data = recording("/bulk")
    data = implicit("00283002", pack("<3H", 256, 0, 16)) + implicit("00283006", bytes(512))
    shown = to_json(data, IMPLICIT, bulk_data=bulk_data, bulk_threshold=8)
    assert asked == [(("00283006",), "OW", 512)]
    assert shown["00283006"] == {"vr": "OW", "BulkDataURI": "/bulk"}


def test_a_long_value_without_uri_is_inline() -> None:
    _, bulk_data = recording(None)
    data = long("00420011", b"OB", bytes(3)) + long("00189004", b"UT", b"text")
    assert to_json(data, EXPLICIT, bulk_data=bulk_data, bulk_threshold=2) == {
        "00189004": {"vr": "UT", "Value": ["text"]},
        "00420011": {"vr": "OB", "InlineBinary": "AAAA"},
    }


FRAGMENTS = ITEM + bytes(4) + ITEM + pack("<L", 4) + b"\xff\xd8\xff\xd9" + SEQUENCE_END


@pytest.mark.parametrize("vr", [b"OB", b"OW", b"UN"])
@pytest.mark.parametrize(
    ("uri", "shown"), [("/pixels", {"7FE00010": {"vr": "OB", "BulkDataURI": "/pixels"}}), (None, {})]
)
def test_encapsulated_pixel_data_is_at_its_uri_or_nowhere(vr: bytes, uri: str | None, shown: dict[str, Any]) -> None:
    asked, bulk_data = recording(uri)
    data = long("7FE00010", vr, FRAGMENTS, 0xFFFFFFFF)
    assert to_json(data, EXPLICIT, bulk_data=bulk_data) == shown
    assert asked == [(("7FE00010",), "OB", len(FRAGMENTS))]
    assert to_json(data, EXPLICIT) == {}


# Malformed data sets


@pytest.mark.parametrize(
    ("data", "detail"),
    [
        (short("00100020", b"LO", b"1234")[:-1], "4 bytes announced, 3 there, (0010,0020) at byte 0"),
        (ITEM_END, "a delimiter among data elements, (FFFE,E00D) at byte 0"),
        (endless_sequence("00081140", SEQUENCE_END), "a delimiter among data elements, (FFFE,E0DD) at byte 20"),
        (
            long("00081140", b"SQ", ITEM + pack("<L", 8) + ITEM_END[:4] + b"\1\0\0\0"),
            "1 bytes announced, 0 there, (FFFE,E00D) at byte 20",
        ),
        (long("00081140", b"SQ", implicit("00100020", b"")), "an item was expected, (0010,0020) at byte 12"),
        (long("00081140", b"SQ", ITEM + ENDLESS, 0xFFFFFFFF), "the item does not end, (FFFE,E00D) at byte 20"),
        (long("00081140", b"SQ", b"", 0xFFFFFFFF), "the sequence does not end, (FFFE,E0DD) at byte 12"),
        (long("00080000", b"SQ", b"", 0xFFFFFFFF), "a sequence that belongs into no data set, (0008,0000)"),
    ],
)
def test_a_malformed_data_set_is_refused_with_tag_and_offset(data: bytes, detail: str) -> None:
    with pytest.raises(PeerError) as raised:
        to_json(data, EXPLICIT)
    assert detail in raised.value.detail


def test_sequences_may_nest_as_deep_as_the_limit_and_be_serialised() -> None:
    data = b""
    for _ in range(MAX_NESTING_DEPTH):
        data = endless_sequence("00081140", data)
    assert orjson.dumps(to_json(data, EXPLICIT)).count(b"00081140") == MAX_NESTING_DEPTH


@pytest.mark.parametrize("depth", [MAX_NESTING_DEPTH + 1, 10_000])
def test_sequences_beyond_the_limit_are_refused_by_its_name(depth: int) -> None:
    data = (long("00081140", b"SQ", b"", 0xFFFFFFFF) + ITEM + ENDLESS) * depth
    with pytest.raises(PeerError, match="MAX_NESTING_DEPTH"):
        to_json(data, EXPLICIT)


tags = st.sampled_from(
    [
        *("00080000", "00080005", "00081140", "00100010", "00190010", "00191011", "00280103", "00280106"),
        *("00283006", "7FE00010", "FFFEE000", "FFFEE00D", "FFFEE0DD"),
    ]
)
vrs = st.sampled_from([vr.encode() for vr in pydicom.valuerep.STANDARD_VR] + [b"??", b"ZZ", b"\0\0"])
lengths = st.one_of(st.none(), st.just(0xFFFFFFFF), st.integers(0, 64))
explicit_elements = st.builds(long, tags, vrs, st.binary(max_size=24), lengths)
short_elements = st.builds(short, tags, vrs, st.binary(max_size=24))
implicit_elements = st.builds(implicit, tags, st.binary(max_size=24), lengths)
hostile = st.lists(
    st.one_of(explicit_elements, short_elements, implicit_elements, st.sampled_from([ITEM_END, SEQUENCE_END])),
    max_size=8,
).map(b"".join)


@given(st.one_of(st.binary(max_size=64), hostile), st.sampled_from(ENCODINGS), st.booleans())
def test_any_bytes_become_json_or_a_peer_error(data: bytes, uid: str, bulk: bool) -> None:
    try:
        shown = to_json(data, uid, bulk_data=(lambda *_: "/uri") if bulk else None, bulk_threshold=4)
    except PeerError:
        return
    assert orjson.loads(orjson.dumps(shown)) == shown


@pytest.mark.parametrize("make", [bytearray, memoryview])
def test_any_buffer_can_be_read(make: type) -> None:
    assert to_json(make(short("00100020", b"LO", b"1")), EXPLICIT)["00100020"]["Value"] == ["1"]
