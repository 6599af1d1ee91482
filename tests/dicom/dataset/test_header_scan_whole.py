"""Further attributes that are looked for, and data sets that are looked at to their end."""

import zlib

import pytest

from harmonygw.dicom.dataset import header_scan
from harmonygw.dicom.dataset.header_scan import HEADER_SCAN_LIMIT, HeaderScan
from harmonygw.errors import PeerError
from tests.dicom.dataset.encoded import BIG_ENDIAN, DEFLATED, EXPLICIT, IMPLICIT, UNDEFINED
from tests.dicom.dataset.scanned import VALUES, Encoder, identity

# Further attributes


@pytest.mark.parametrize("transfer_syntax_uid", [IMPLICIT, EXPLICIT, BIG_ENDIAN])
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_further_attributes_are_found_wherever_they_stand(transfer_syntax_uid: str, size: int) -> None:
    """By their tags, in any group; and the scan ends behind the last that is asked for, or the last of its own."""
    encoder = Encoder(transfer_syntax_uid)
    data = b"".join(
        (
            encoder.element(0x00080060, "CS", b"US"),
            encoder.element(0x00080080, "LO", b"St Elsewhere"),
            encoder.element(0x00180015, "CS", b"CHEST "),
            encoder.element(0x0020000E, "UI", b"1.2\0"),
            encoder.element(0x00321033, "LO", b"Ward"),
            encoder.element(0x00400001, "AE", b"X "),
        )
    )

    def scanned(*also: int) -> HeaderScan:
        scan = HeaderScan(transfer_syntax_uid, also=frozenset(also))
        for start in range(0, len(data), size):
            if scan.feed(data[start : start + size]):
                break
        else:
            scan.end()
        return scan

    own = {"Modality": "US", "SeriesInstanceUID": "1.2"}
    assert scanned().values == own
    assert scanned(0x00080080, 0x00180015, 0x00080060).values == {
        **own,
        "00080080": "St Elsewhere",
        "00180015": "CHEST",
    }
    assert scanned(0x00321033).values == {**own, "00321033": "Ward"}
    assert scanned(0x00321034).values == own
    if size == 1:
        assert sum(map(len, scanned(0x00080080).gathered)) < sum(map(len, scanned(0x00321033).gathered)) < len(data)


def test_a_further_attribute_that_occurs_twice_is_malformed() -> None:
    encoder = Encoder(EXPLICIT)
    scan = HeaderScan(EXPLICIT, also=frozenset({0x00080080}))
    with pytest.raises(PeerError, match=r"\(0008,0080\) at byte 10 is malformed: it occurs twice"):
        scan.feed(encoder.element(0x00080080, "LO", b"A ") * 2)
    scan = HeaderScan(EXPLICIT, also=frozenset({0x00080081}))
    with pytest.raises(PeerError, match="it has undefined length"):
        scan.feed(encoder.element(0x00080081, "UT", b"", UNDEFINED))


def test_nothing_is_looked_for_behind_the_pixels() -> None:
    assert not HeaderScan(EXPLICIT, also=frozenset({0x7FDFFFFF})).done
    with pytest.raises(ValueError, match="behind the pixels"):
        HeaderScan(EXPLICIT, also=frozenset({0x7FE00000}))


# A whole data set


@pytest.mark.parametrize("transfer_syntax_uid", [IMPLICIT, EXPLICIT, BIG_ENDIAN, DEFLATED])
@pytest.mark.parametrize("size", [1, 7, 1 << 16])
@pytest.mark.parametrize(("tag", "vr"), [(0x00100020, "LO"), (0x0020000D, "UI"), (0x00080050, "SH")])
def test_a_whole_data_set_is_looked_at_to_its_end(transfer_syntax_uid: str, size: int, tag: int, vr: str) -> None:
    encoder = Encoder(EXPLICIT if transfer_syntax_uid == DEFLATED else transfer_syntax_uid)
    data = b"".join(identity(encoder).values())
    data += encoder.sequence(0x00400275, encoder.item(encoder.element(tag, vr, b"1 "), defined=False), defined=False)
    data += encoder.element(0x7FE00010, "OW", bytes(70_000))
    repeated = data + encoder.element(tag, vr, b"1 ")

    def scanned(content: bytes) -> HeaderScan:
        if transfer_syntax_uid == DEFLATED:
            deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
            content = deflater.compress(content) + deflater.flush()
        scan = HeaderScan(transfer_syntax_uid, also=frozenset({0x00080050}), whole=True)
        for start in range(0, len(content), size):
            assert not scan.feed(content[start : start + size])
            scan.gathered.clear()
        scan.end()
        return scan

    assert {**scanned(data).values, "AccessionNumber": ""} == {**VALUES, "AccessionNumber": ""}
    with pytest.raises(PeerError, match="it occurs twice"):
        scanned(repeated)


def test_a_value_that_is_looked_for_is_not_gathered_without_bounds() -> None:
    encoder = Encoder(EXPLICIT)
    scan = HeaderScan(EXPLICIT, whole=True, also=frozenset({0x00204000}))
    with pytest.raises(PeerError, match="it is longer than 65536 bytes"):
        scan.feed(encoder.element(0x00204000, "UN", b"x", HEADER_SCAN_LIMIT + 2))
    assert not HeaderScan(EXPLICIT, whole=True).feed(encoder.element(0x00100020, "UN", b"x", HEADER_SCAN_LIMIT))


def test_a_whole_deflated_data_set_is_inflated_up_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    data = Encoder(EXPLICIT).element(0x7FE00010, "OW", bytes(50_000))
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    content = deflater.compress(data) + deflater.flush()
    for limit, truncated in ((len(data), True), (len(data) + 1, False)):
        monkeypatch.setattr(header_scan, "MAX_INFLATED", limit)
        scan = HeaderScan(DEFLATED, whole=True)
        scan.feed(content)
        assert scan.truncated is truncated
