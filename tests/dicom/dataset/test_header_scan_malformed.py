"""Leading attributes: every way to be malformed is refused, in any splitting alike."""

import zlib
from struct import pack

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harmonygw.errors import PeerError
from tests.dicom.dataset.encoded import BIG_ENDIAN, DEFLATED, EXPLICIT, IMPLICIT, UNDEFINED
from tests.dicom.dataset.scanned import Encoder, deflate, identity, scan

EXPLICIT_ENCODER = Encoder(EXPLICIT)
STUDY = identity(EXPLICIT_ENCODER)["StudyInstanceUID"]
OPEN_SEQUENCE = EXPLICIT_ENCODER.element(0x00081140, "SQ", b"", UNDEFINED)
OPEN_ITEM = OPEN_SEQUENCE + EXPLICIT_ENCODER.delimiter(0xFFFEE000, UNDEFINED)


@pytest.mark.parametrize("size", [1, 1 << 16])
@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (STUDY + STUDY, r"\(0020,000D\) at byte 14 .* twice"),
        (pack("<HHI", 8, 0x16, 8) + bytes(20), r"\(0008,0016\) at byte 0 .* no VR"),
        (OPEN_ITEM + pack("<HHI", 8, 0x16, 8) + bytes(20), r"\(0008,0016\) at byte 20 .* no VR"),
        (EXPLICIT_ENCODER.delimiter(0xFFFEE00D), r"\(FFFE,E00D\) at byte 0 .* delimits nothing"),
        (OPEN_SEQUENCE + STUDY, r"\(0020,000D\) at byte 12 .* an item should begin"),
        (OPEN_ITEM + EXPLICIT_ENCODER.delimiter(0xFFFEE0DD), r"\(FFFE,E0DD\) at byte 20 .* delimits nothing"),
        (EXPLICIT_ENCODER.element(0x0020000D, "UN", b"", UNDEFINED), r"\(0020,000D\) at byte 0 .* undefined length"),
        (EXPLICIT_ENCODER.element(0x0020000E, "UI", b"../../etc/passwd"), r"\(0020,000E\) at byte 0 .* not a UID"),
        (EXPLICIT_ENCODER.element(0x00080018, "UI", b"1" * 66), r"\(0008,0018\) at byte 0 .* not a UID"),
    ],
)
def test_a_malformed_header_is_refused_with_tag_and_offset(data: bytes, complaint: str, size: int) -> None:
    with pytest.raises(PeerError, match=complaint):
        scan(EXPLICIT, data, size)


@pytest.mark.parametrize(
    "data",
    [
        STUDY[:5],
        STUDY[:-1],
        OPEN_SEQUENCE[:10],
        OPEN_SEQUENCE,
        OPEN_ITEM + EXPLICIT_ENCODER.element(0x00091001, "OB", b"12")[:10],
        EXPLICIT_ENCODER.element(0x00091001, "OB", bytes(100))[:50],
    ],
)
@pytest.mark.parametrize("size", [1, 1 << 16])
def test_a_data_set_that_is_cut_short_is_refused_at_its_end(data: bytes, size: int) -> None:
    with pytest.raises(PeerError, match="cut short after"):
        scan(EXPLICIT, data, size)


def test_a_deflated_stream_that_is_cut_short_is_refused_at_its_end() -> None:
    deflater = zlib.compressobj(wbits=-15)
    data = deflater.compress(STUDY) + deflater.flush(zlib.Z_SYNC_FLUSH)
    with pytest.raises(PeerError, match="cut short after 14 bytes"):
        scan(DEFLATED, data)


@pytest.mark.parametrize("size", [1, 41, 1 << 16])
def test_what_follows_the_end_of_a_deflated_stream_is_passed_over(size: int) -> None:
    """It hung: of a stream that took two steps, zlib hands the rest back as not consumed, every time it is asked."""
    long = EXPLICIT_ENCODER.element(0x00091001, "OB", bytes(6000))
    result = scan(DEFLATED, deflate(long + STUDY) + b"\1\2\3" * 40, size)
    assert list(result.values) == ["StudyInstanceUID"]


def test_a_corrupt_deflated_stream_is_refused() -> None:
    with pytest.raises(PeerError, match="corrupt"):
        scan(DEFLATED, b"\xff" * 50)


@settings(deadline=None)
@given(st.binary(max_size=300), st.sampled_from([IMPLICIT, EXPLICIT, BIG_ENDIAN, DEFLATED]))
def test_whatever_arrives_is_scanned_or_refused_in_any_splitting_alike(data: bytes, transfer_syntax_uid: str) -> None:
    outcomes = []
    for size in (1, 300):
        try:
            outcomes.append(str(scan(transfer_syntax_uid, data, size).values))
        except PeerError as error:
            outcomes.append("" if "corrupt" in error.detail else error.detail)
    assert outcomes[0] == outcomes[1]
