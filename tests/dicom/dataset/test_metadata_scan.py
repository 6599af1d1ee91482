import zlib
from typing import Any

import pytest

from harmonygw.dicom.dataset.inline import BULK_THRESHOLD
from harmonygw.dicom.dataset.json_encoding import Path, to_json
from harmonygw.dicom.dataset.limits import Limits
from harmonygw.dicom.dataset.metadata_scan import REFERENCE_COST, MetadataScan
from harmonygw.errors import PeerError
from tests.dicom.dataset.encoded import (
    BIG_ENDIAN,
    DEFLATED,
    EXPLICIT,
    IMPLICIT,
    JPEG_BASELINE,
    PYDICOM_WARNS,
    element,
    files,
    item,
    read,
    sequence,
    split,
)

FILES = [pytest.param(uid, data, id=name) for name, uid, data in files()]
MOST_PIECES = 4000
"""Larger files are not split as finely, to keep the tests fast."""

PIXEL_DATA = "7FE00010"
AFTER_PIXEL_DATA = element(0xFFFCFFFC, "OB", b"\0\0")


def uri(path: Path) -> str:
    return "/".join(map(str, path))


def scan(data: bytes, syntax: str = EXPLICIT, size: int = 0, **options: Any) -> dict[str, Any]:
    scanning = MetadataScan(syntax, **options)
    for piece in split(data, size):
        scanning.feed([piece])
    return scanning.finish(uri)


def inflated(data: bytes, uid: str) -> bytes:
    return zlib.decompressobj(-15).decompress(data) if uid == DEFLATED else data


def comparable(data_set: dict[str, Any]) -> dict[str, Any]:
    """Take out what DICOM JSON leaves to choice: empty values, padding, what is long enough for a reference.

    pydicom measures that by the base64 text; and it writes group lengths, which it should not.
    """
    shown: dict[str, Any] = {}
    for tag, attribute in data_set.items():
        values = attribute.get("Value") or [""]
        binary = attribute.get("InlineBinary", "")
        if attribute["vr"] == "SQ":
            values = [comparable(content) for content in attribute.get("Value", ())]
        elif "BulkDataURI" in attribute or len(binary) > BULK_THRESHOLD or attribute["vr"] == "UT":
            values, binary = [], ""
        elif attribute["vr"] not in ("PN", "IS", "DS"):
            values = [value.strip(" \0") if isinstance(value, str) else value or "" for value in values]
        shown[tag] = (str(attribute["vr"]), values, binary)
    shown.pop(PIXEL_DATA, None)
    return {tag: shown[tag] for tag in sorted(shown) if not tag.endswith("0000")}


@PYDICOM_WARNS
@pytest.mark.parametrize(("uid", "data"), FILES)
def test_the_json_is_that_of_pydicom(uid: str, data: bytes) -> None:
    plain = inflated(data, uid)
    expected = read(plain, uid).to_json_dict(BULK_THRESHOLD, lambda _element: "elsewhere")
    scanned = scan(data, uid)
    assert (PIXEL_DATA in scanned) == (PIXEL_DATA in expected)
    assert comparable(scanned) == comparable(expected)


@pytest.mark.parametrize("size", [1, 13, 4096])
@pytest.mark.parametrize(("uid", "data"), FILES)
def test_the_json_is_that_of_the_object_as_a_whole(uid: str, data: bytes, size: int) -> None:
    expected = to_json(inflated(data, uid), uid, bulk_data=lambda path, _vr, _length: uri(path))
    scanned = scan(data, uid, max(size, len(data) // MOST_PIECES))
    assert list(scanned) == list(expected)
    for tag in scanned.keys() - {PIXEL_DATA}:
        assert scanned[tag] == expected[tag]


@pytest.mark.parametrize("size", [1, 100, 0])
@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG_ENDIAN])
def test_pixel_data_is_given_by_reference_however_short(syntax: str, size: int) -> None:
    for length in (2, 1024, 8000):
        data = element(0x00280010, "US", b"\2\2", syntax) + element(0x7FE00010, "OW", bytes(length), syntax)
        assert scan(data, syntax, size) == {
            "00280010": {"vr": "US", "Value": [0x0202]},
            PIXEL_DATA: {"vr": "OW", "BulkDataURI": PIXEL_DATA},
        }


def test_float_pixel_data_is_given_by_reference() -> None:
    data = element(0x7FE00008, "OF", bytes(4)) + element(0x7FE00009, "OD", bytes(8))
    assert scan(data) == {
        "7FE00008": {"vr": "OF", "BulkDataURI": "7FE00008"},
        "7FE00009": {"vr": "OD", "BulkDataURI": "7FE00009"},
    }


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG_ENDIAN])
def test_what_has_no_length_has_no_uri(syntax: str) -> None:
    data = element(0x7FE00010, "OW", b"", syntax)
    assert scan(data, syntax, bulk_threshold=0) == {PIXEL_DATA: {"vr": "OW"}}


@pytest.mark.parametrize("size", [1, 100, 0])
def test_encapsulated_pixel_data_is_skipped_and_what_follows_is_not(size: int) -> None:
    data = sequence(0x7FE00010, item(b"", defined=True), item(bytes(9000), defined=True), vr="OB") + AFTER_PIXEL_DATA
    assert scan(data, JPEG_BASELINE, size) == {
        PIXEL_DATA: {"vr": "OB", "BulkDataURI": PIXEL_DATA},
        "FFFCFFFC": {"vr": "OB", "InlineBinary": "AAA="},
    }


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG_ENDIAN])
@pytest.mark.parametrize("defined", [False, True])
def test_a_nested_value_is_referred_to_by_its_path(syntax: str, defined: bool) -> None:
    wave = element(0x54001010, "OW", bytes(2000), syntax)
    deep = sequence(0x00081140, item(wave, syntax, defined=defined), syntax=syntax, defined=defined)
    data = sequence(0x54000100, item(b"", syntax), item(deep + wave, syntax), syntax=syntax, defined=defined)
    assert scan(data, syntax, 100) == {
        "54000100": {
            "vr": "SQ",
            "Value": [
                {},
                {
                    "00081140": {
                        "vr": "SQ",
                        "Value": [{"54001010": {"vr": "OW", "BulkDataURI": "54000100/1/00081140/0/54001010"}}],
                    },
                    "54001010": {"vr": "OW", "BulkDataURI": "54000100/1/54001010"},
                },
            ],
        }
    }


@pytest.mark.parametrize(
    ("vr", "longest"),
    [("OB", 256), ("OW", 256), ("UN", 256), ("DS", 1024), ("FD", 1024), ("US", 1024), ("SV", 1024), ("UT", 65528)],
)
@pytest.mark.parametrize("size", [999, 0])
def test_only_what_is_longer_than_its_kind_allows_is_given_by_reference(vr: str, longest: int, size: int) -> None:
    (at,) = scan(element(0x00099910, vr, b"8" * longest), size=size).values()
    (beyond,) = scan(element(0x00099910, vr, b"8" * (longest + 8)), size=size).values()
    assert "BulkDataURI" not in at
    assert beyond == {"vr": vr, "BulkDataURI": "00099910"}


@pytest.mark.parametrize("vr", ["LO", "UI", "PN", "UR", "AT"])
@pytest.mark.parametrize("size", [999, 0])
def test_other_vrs_are_never_given_by_reference(vr: str, size: int) -> None:
    (shown,) = scan(element(0x00099910, vr, b"8" * 6000), size=size).values()
    assert shown["vr"] == vr
    assert "BulkDataURI" not in shown


def test_a_value_too_long_for_its_vr_keeps_it_whatever_the_threshold() -> None:
    data = element(0x30060050, "", b"1\\" * 40_000, IMPLICIT)
    assert scan(data, IMPLICIT, bulk_threshold=1 << 20) == {"30060050": {"vr": "DS", "BulkDataURI": "30060050"}}


def test_a_known_sequence_in_un_is_shown_and_what_is_long_in_it_referred_to() -> None:
    inner = item(element(0x7FE00010, "", bytes(2000), IMPLICIT), IMPLICIT)
    assert scan(element(0x00880200, "UN", inner)) == {
        "00880200": {
            "vr": "SQ",
            "Value": [{PIXEL_DATA: {"vr": "OW", "BulkDataURI": "00880200/0/7FE00010"}}],
        }
    }


def test_a_long_un_whose_vr_may_not_be_given_by_reference_stays_un() -> None:
    assert scan(element(0x00080060, "UN", b"8" * 1026)) == {"00080060": {"vr": "UN", "BulkDataURI": "00080060"}}


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG_ENDIAN])
def test_group_0002_and_group_lengths_are_left_out(syntax: str) -> None:
    data = (
        element(0x00020010, "UI", b"1.2\0", syntax)
        + element(0x00080000, "UL", bytes(4), syntax)
        + element(0x00080060, "CS", b"CT", syntax)
    )
    assert scan(data, syntax) == {"00080060": {"vr": "CS", "Value": ["CT"]}}


def test_the_character_set_and_the_undecodable_are_those_of_the_caller() -> None:
    scanning = MetadataScan(EXPLICIT)
    scanning.feed([element(0x00100010, "PN", b"M\xfcller\xff ")])
    undecodable: list[str] = []
    shown = scanning.finish(uri, default_character_set=("ISO_IR 192",), on_undecodable=undecodable.append)
    assert shown["00100010"]["Value"][0]["Alphabetic"].startswith("M\ufffd")
    assert undecodable == ["00100010"]


def test_what_is_kept_is_limited() -> None:
    kept = element(0x00080060, "CS", b"CT") + element(0x00104000, "LT", bytes(80))
    assert scan(kept, limit=len(kept))
    for size in (1, 0):
        with pytest.raises(PeerError, match=rf"MAX_METADATA_BYTES \({len(kept) - 1} bytes\)"):
            scan(kept, size=size, limit=len(kept) - 1)


def test_references_count_against_the_limit() -> None:
    data = sequence(0x00880200, *[item(element(0x7FE00010, "OW", b"ab"))] * 4)
    enough = 12 + 8 + 4 * (8 + 12 + 8 + REFERENCE_COST)
    assert scan(data, limit=enough)
    with pytest.raises(PeerError, match="MAX_METADATA_BYTES"):
        scan(data, limit=enough - 1)


def test_a_long_value_that_has_to_be_kept_is_refused_before_it_is_whole() -> None:
    scanning = MetadataScan(EXPLICIT, limit=10_000)
    pieces = list(split(element(0x00082111, "UR", bytes(100_000)), 4096))
    scanning.feed(pieces[:2])
    with pytest.raises(PeerError, match="MAX_METADATA_BYTES"):
        scanning.feed(pieces[2:])
    assert scanning.held <= 10_000


def test_nothing_is_held_of_what_is_skipped() -> None:
    scanning = MetadataScan(EXPLICIT)
    pixels = element(0x7FE00010, "OW", bytes(50_000_000))
    for piece in split(pixels, 65_536):
        scanning.feed([piece])
        assert scanning.held <= 12
    assert scanning.finish(uri) == {PIXEL_DATA: {"vr": "OW", "BulkDataURI": PIXEL_DATA}}


def test_the_limits_hold() -> None:
    limits = Limits(max_nesting_depth=1, max_inflated_bytes=9)
    with pytest.raises(PeerError, match="MAX_NESTING_DEPTH"):
        scan(sequence(0x00081140, item(sequence(0x00081140))), limits=limits)
    with pytest.raises(PeerError, match="MAX_INFLATED_BYTES"):
        scan(zlib.compress(bytes(100), wbits=-15), DEFLATED, limits=limits)


@pytest.mark.parametrize("cut", [1, 5])
def test_an_object_cut_short_is_refused(cut: int) -> None:
    data = element(0x00080060, "CS", b"CT")
    with pytest.raises(PeerError, match="cut short"):
        scan(data[:-cut])
    with pytest.raises(PeerError, match="cut short"):
        scan(zlib.compress(data, wbits=-15)[:-cut], DEFLATED)


def test_of_an_element_that_occurs_twice_the_last_is_shown() -> None:
    long_one, short_one = element(0x00420011, "OB", bytes(2000)), element(0x00420011, "OB", b"ab")
    assert scan(long_one + short_one) == {"00420011": {"vr": "OB", "InlineBinary": "YWI="}}
    assert scan(short_one + long_one) == {"00420011": {"vr": "OB", "BulkDataURI": "00420011"}}
    holding_it = sequence(0x00081140, item(long_one))
    for last in (sequence(0x00081140), sequence(0x00081140, item(b"")), element(0x00081140, "LO", b"text")):
        (shown,) = scan(holding_it + last).values()
        assert "BulkDataURI" not in str(shown)


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG_ENDIAN])
def test_whatever_arrives_is_shown_or_refused_alike_however_it_is_split(syntax: str) -> None:
    wave = element(0x54001010, "OW", bytes(8), syntax)
    deep = sequence(0x00081140, item(wave, syntax, defined=True), syntax=syntax)
    name = element(0x00100010, "PN", b"A^B ", syntax)
    data = name + sequence(0x54000100, item(deep + wave, syntax), syntax=syntax, defined=True) + name
    for place in range(len(data)):
        for value in (0x00, 0x07, 0x53, 0xE0, 0xFF):
            damaged = data[:place] + bytes([value]) + data[place + 1 :]
            assert outcome(damaged, syntax, 0) == outcome(damaged, syntax, 5)


def outcome(data: bytes, syntax: str, size: int) -> object:
    try:
        return scan(data, syntax, size, bulk_threshold=6)
    except PeerError:
        return "refused"
