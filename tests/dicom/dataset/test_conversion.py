import zlib
from collections.abc import Iterator

import pydicom
import pytest

from harmonygw.dicom.dataset.conversion import Conversion
from harmonygw.dicom.dataset.limits import Limits
from harmonygw.dicom.dataset.transfer_syntaxes import NATIVE
from harmonygw.errors import NotAcceptable, PeerError
from tests.dicom.dataset.encoded import (
    BIG_ENDIAN,
    DEFLATED,
    EXPLICIT,
    IMPLICIT,
    JPEG_BASELINE,
    PYDICOM_WARNS,
    UNDEFINED,
    element,
    files,
    header,
    item,
    read,
    sequence,
    split,
)

NATIVE_FILES = [pytest.param(uid, data, id=name) for name, uid, data in files() if uid in NATIVE]
MOST_PIECES = 4000
"""Larger files are not split as finely, to keep the tests fast."""

EXPLICIT_FILES = [pytest.param(data, id=name) for name, uid, data in files() if uid == EXPLICIT]


def convert(data: bytes, source: str, target: str, size: int = 0, limits: Limits = Limits()) -> bytes:  # noqa: B008
    conversion = Conversion(source, target, limits=limits)
    converted = [out for piece in split(data, size) for out in conversion.feed([piece])]
    converted += conversion.finish()
    assert all(converted)
    return b"".join(converted)


def inflated(data: bytes, uid: str) -> bytes:
    return zlib.decompressobj(-15).decompress(data) if uid == DEFLATED else data


def tags_of(data_set: pydicom.Dataset) -> list[pydicom.tag.BaseTag]:
    return [found.tag for found in data_set if found.tag.element]


def assert_equal(source: pydicom.Dataset, converted: pydicom.Dataset, *, swapped: bool = False) -> None:
    """Compare element by element; group lengths go, and pydicom leaves the words of OW as they are in the file."""
    tags = tags_of(source)
    assert tags_of(converted) == tags
    for tag in tags:
        before, after = source[tag], converted[tag]
        assert after.VR == before.VR
        if before.VR == "SQ":
            assert len(after.value) == len(before.value)
            for item_before, item_after in zip(before.value, after.value, strict=True):
                assert_equal(item_before, item_after, swapped=swapped)
        elif swapped and before.VR == "OW":
            assert after.value[0::2] == before.value[1::2]
            assert after.value[1::2] == before.value[0::2]
        else:
            assert repr(after.value) == repr(before.value)


@PYDICOM_WARNS
@pytest.mark.parametrize(("uid", "data"), NATIVE_FILES)
def test_pydicom_reads_the_same_from_explicit_vr_little_endian(uid: str, data: bytes) -> None:
    whole = convert(data, uid, EXPLICIT)
    source = read(inflated(data, uid), EXPLICIT if uid == DEFLATED else uid)
    assert_equal(source, read(whole, EXPLICIT), swapped=uid == BIG_ENDIAN)


@pytest.mark.parametrize("size", [1, 13, 4096])
@pytest.mark.parametrize(("uid", "data"), NATIVE_FILES)
def test_the_splitting_of_the_input_changes_nothing(uid: str, data: bytes, size: int) -> None:
    target = IMPLICIT if uid == EXPLICIT else EXPLICIT
    assert convert(data, uid, target, max(size, len(data) // MOST_PIECES)) == convert(data, uid, target)


@pytest.mark.parametrize("data", EXPLICIT_FILES)
def test_explicit_vr_comes_back_from_implicit_vr(data: bytes) -> None:
    there = convert(data, EXPLICIT, IMPLICIT)
    back = convert(there, IMPLICIT, EXPLICIT)
    assert convert(back, EXPLICIT, IMPLICIT) == there


@pytest.mark.parametrize("data", EXPLICIT_FILES)
def test_explicit_vr_comes_back_from_deflated(data: bytes) -> None:
    deflated = convert(data, EXPLICIT, DEFLATED, 4096)
    assert len(deflated) % 2 == 0
    assert convert(deflated, DEFLATED, EXPLICIT, 4096) == data


@pytest.mark.parametrize(("source", "target"), [(IMPLICIT, DEFLATED), (BIG_ENDIAN, DEFLATED), (BIG_ENDIAN, IMPLICIT)])
def test_other_ways_lead_to_the_same(source: str, target: str) -> None:
    data = sequence(0x00081140, item(element(0x00280010, "US", b"\1\2", source), source), syntax=source)
    converted = convert(data, source, target)
    assert convert(converted, target, EXPLICIT) == convert(data, source, EXPLICIT)


def test_deflated_becomes_implicit_vr_on_the_way() -> None:
    data = element(0x00080060, "CS", b"CT")
    assert convert(convert(data, EXPLICIT, DEFLATED), DEFLATED, IMPLICIT, 1) == element(0x00080060, "", b"CT", IMPLICIT)


@pytest.mark.parametrize("uid", [*sorted(NATIVE), JPEG_BASELINE, "1.2.3"])
def test_equal_transfer_syntaxes_pass_everything_through_untouched(uid: str) -> None:
    conversion = Conversion(uid, uid)
    pieces = [b"not a", memoryview(b"data set")]
    fed = conversion.feed(pieces)
    assert all(out is piece for out, piece in zip(fed, pieces, strict=True))
    assert conversion.finish() == []
    assert conversion.held == 0


@pytest.mark.parametrize(
    ("source", "target"),
    [(EXPLICIT, BIG_ENDIAN), (EXPLICIT, JPEG_BASELINE), (JPEG_BASELINE, EXPLICIT), ("1.2.3", EXPLICIT)],
)
def test_what_is_no_conversion_between_native_syntaxes_is_not_acceptable(source: str, target: str) -> None:
    with pytest.raises(NotAcceptable, match="is not converted to"):
        Conversion(source, target)


def test_headers_change_and_values_stay() -> None:
    implicit = (
        element(0x00080000, "", b"\4\0\0\0", IMPLICIT)
        + element(0x00080060, "", b"CT", IMPLICIT)
        + sequence(0x00081140, item(element(0x00081155, "", b"1.2", IMPLICIT), IMPLICIT), syntax=IMPLICIT, defined=True)
        + element(0x00091001, "", b"ab", IMPLICIT)
        + element(0x7FE00010, "", b"\1\2\3\4", IMPLICIT)
    )
    assert convert(implicit, IMPLICIT, EXPLICIT) == (
        element(0x00080060, "CS", b"CT")
        + sequence(0x00081140, item(element(0x00081155, "UI", b"1.2")))
        + element(0x00091001, "UN", b"ab")
        + element(0x7FE00010, "OW", b"\1\2\3\4")
    )


@pytest.mark.parametrize(("representation", "vr"), [(b"\0\0", "US"), (b"\1\0", "SS")])
def test_the_sign_of_a_pixel_value_follows_the_pixel_representation(representation: bytes, vr: str) -> None:
    implicit = element(0x00280103, "", representation, IMPLICIT) + sequence(
        0x00283000, item(element(0x00280106, "", b"\xff\xff", IMPLICIT), IMPLICIT), syntax=IMPLICIT
    )
    assert element(0x00280106, vr, b"\xff\xff") in convert(implicit, IMPLICIT, EXPLICIT)


def test_a_value_too_long_for_its_vr_becomes_un() -> None:
    implicit = element(0x30060050, "", b"1\\" * 40_000, IMPLICIT)
    assert convert(implicit, IMPLICIT, EXPLICIT, 1000) == element(0x30060050, "UN", b"1\\" * 40_000)


def test_un_of_undefined_length_becomes_a_sequence_in_the_target_encoding() -> None:
    data = (
        header(0x00091001, "UN", UNDEFINED, BIG_ENDIAN)
        + item(element(0x00280010, "", b"\1\2", IMPLICIT), IMPLICIT)
        + header(0xFFFEE0DD, "", 0)
    )
    assert convert(data, BIG_ENDIAN, EXPLICIT) == sequence(0x00091001, item(element(0x00280010, "US", b"\1\2")))


def test_encapsulated_pixel_data_in_a_native_syntax_is_refused() -> None:
    with pytest.raises(PeerError, match=r"encapsulated OB .* \(7FE0,0010\) at byte 0"):
        convert(sequence(0x7FE00010, item(b"ab", defined=True), vr="OB"), EXPLICIT, IMPLICIT)


def test_an_object_cut_short_is_refused() -> None:
    with pytest.raises(PeerError, match="cut short after 9 bytes"):
        convert(element(0x00080060, "", b"CT", IMPLICIT)[:-1], IMPLICIT, EXPLICIT)
    with pytest.raises(PeerError, match="cut short"):
        convert(convert(element(0x00080060, "CS", b"CT"), EXPLICIT, DEFLATED)[:4], DEFLATED, EXPLICIT)


def test_the_limits_hold() -> None:
    limits = Limits(max_nesting_depth=1, max_inflated_bytes=9)
    nested = sequence(0x00081140, item(sequence(0x00081140)))
    with pytest.raises(PeerError, match="MAX_NESTING_DEPTH"):
        convert(nested, EXPLICIT, IMPLICIT, limits=limits)
    with pytest.raises(PeerError, match="MAX_INFLATED_BYTES"):
        convert(convert(nested, EXPLICIT, DEFLATED), DEFLATED, EXPLICIT, limits=limits)


def large_object(syntax: str, block: bytes, blocks: int) -> Iterator[bytes]:
    yield header(0x7FE00010, "OW", len(block) * blocks, syntax)
    for _ in range(blocks):
        yield block


@pytest.mark.parametrize(("source", "target"), [(IMPLICIT, EXPLICIT), (EXPLICIT, IMPLICIT)])
def test_nothing_of_200_mb_of_pixel_data_is_held_or_copied(source: str, target: str) -> None:
    block = bytes(1_000_000)
    conversion = Conversion(source, target)
    size = 0
    for piece in large_object(source, block, 200):
        for out in conversion.feed([piece]):
            size += len(out)
            assert len(out) <= 12 or (isinstance(out, memoryview) and out.obj is block)
        assert conversion.held == 0
    assert conversion.finish() == []
    assert size == len(header(0x7FE00010, "OW", 0, target)) + 200_000_000


def test_big_endian_pixel_data_is_swapped_piece_by_piece() -> None:
    conversion = Conversion(BIG_ENDIAN, EXPLICIT)
    size = 0
    for piece in large_object(BIG_ENDIAN, b"\1\2\3" * 10_000 + b"\4", 100):
        fed = conversion.feed([piece])
        assert sum(map(len, fed)) <= len(piece) + 1
        size += sum(map(len, fed))
    assert size == 12 + 3_000_100
