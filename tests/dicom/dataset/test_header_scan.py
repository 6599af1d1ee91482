"""Leading attributes: every encoding, every splitting, every way to be malformed."""

import zlib
from itertools import pairwise
from pathlib import Path
from struct import pack

import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.data import get_testdata_file
from pydicom.multival import MultiValue

from harmonygw.dicom.dataset import header_scan
from harmonygw.dicom.dataset.header_scan import (
    FEW_PIECES,
    HEADER_SCAN_LIMIT,
    MAX_NESTING_DEPTH,
    SMALL_PIECE,
    HeaderScan,
)
from harmonygw.dicom.dataset.part10 import read_file_meta
from harmonygw.errors import PeerError
from tests.corpus import CORPUS

IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
DEFLATED = "1.2.840.10008.1.2.1.99"
BIG_ENDIAN = "1.2.840.10008.1.2.2"
JPEG = "1.2.840.10008.1.2.4.50"
LONG_VRS = {"OB", "OW", "SQ", "UN", "UT", "ZZ"}
UNDEFINED = 0xFFFFFFFF


class Encoder:
    """Writes elements in one encoding."""

    def __init__(self, transfer_syntax_uid: str) -> None:
        self.uid = transfer_syntax_uid
        self.order = ">" if transfer_syntax_uid == BIG_ENDIAN else "<"
        self.explicit = transfer_syntax_uid != IMPLICIT

    def element(self, tag: int, vr: str, value: bytes = b"", length: int | None = None) -> bytes:
        length = len(value) if length is None else length
        start = pack(f"{self.order}HH", tag >> 16, tag & 0xFFFF)
        if not self.explicit:
            return start + pack(f"{self.order}I", length) + value
        if vr in LONG_VRS:
            return start + vr.encode() + pack(f"{self.order}HI", 0, length) + value
        return start + vr.encode() + pack(f"{self.order}H", length) + value

    def delimiter(self, tag: int, length: int = 0) -> bytes:
        return pack(f"{self.order}HHI", tag >> 16, tag & 0xFFFF, length)

    def item(self, content: bytes, *, defined: bool) -> bytes:
        if defined:
            return self.delimiter(0xFFFEE000, len(content)) + content
        return self.delimiter(0xFFFEE000, UNDEFINED) + content + self.delimiter(0xFFFEE00D)

    def sequence(self, tag: int, items: bytes, *, defined: bool, vr: str = "SQ") -> bytes:
        if defined:
            return self.element(tag, vr, items)
        return self.element(tag, vr, items, UNDEFINED) + self.delimiter(0xFFFEE0DD)


def identity(encoder: Encoder) -> dict[str, bytes]:
    return {
        "SpecificCharacterSet": encoder.element(0x00080005, "CS", b"ISO_IR 100"),
        "SOPClassUID": encoder.element(0x00080016, "UI", b"1.2.3\0"),
        "SOPInstanceUID": encoder.element(0x00080018, "UI", b"1.2.4 "),
        "StudyDate": encoder.element(0x00080020, "DA", b"20250102"),
        "AccessionNumber": encoder.element(0x00080050, "SH", b"A1"),
        "Modality": encoder.element(0x00080060, "CS", b"CT"),
        "PatientName": encoder.element(0x00100010, "PN", b"M\xfcller^Ida "),
        "PatientID": encoder.element(0x00100020, "LO", b" M\xfcller-7 "),
        "IssuerOfPatientID": encoder.element(0x00100021, "LO", b"HOSP"),
        "StudyInstanceUID": encoder.element(0x0020000D, "UI", b"1.2.5\0"),
        "SeriesInstanceUID": encoder.element(0x0020000E, "UI", b"1.2.6\0"),
    }


VALUES = {
    "SpecificCharacterSet": "ISO_IR 100",
    "SOPClassUID": "1.2.3",
    "SOPInstanceUID": "1.2.4",
    "StudyDate": "20250102",
    "AccessionNumber": "A1",
    "Modality": "CT",
    "PatientName": "M\xfcller^Ida",
    "PatientID": "M\xfcller-7",
    "IssuerOfPatientID": "HOSP",
    "StudyInstanceUID": "1.2.5",
    "SeriesInstanceUID": "1.2.6",
}


def rich(encoder: Encoder) -> bytes:
    """Return a data set with everything in it that could lead a scan astray."""
    decoy = encoder.element(0x0020000D, "UI", b"9.9.9\0") + encoder.element(0x00080060, "CS", b"XX")
    inner = encoder.sequence(0x00081199, encoder.item(decoy, defined=False), defined=False)
    items = encoder.item(decoy + inner, defined=False) + encoder.item(decoy, defined=True)
    elements = identity(encoder)
    parts = [
        elements["SpecificCharacterSet"],
        elements["SOPClassUID"],
        elements["SOPInstanceUID"],
        elements["StudyDate"],
        elements["AccessionNumber"],
        elements["Modality"],
        encoder.sequence(0x00081140, items, defined=False),
        encoder.sequence(0x00081150, items, defined=True),
        encoder.sequence(0x00081160, b"", defined=False),
        encoder.element(0x00090010, "LO", b"MAKER "),
        encoder.element(0x00091001, "OB", bytes(300)),
        encoder.element(0x00091002, "ZZ", decoy),
        encoder.element(0x00091003, "UT", decoy),
    ]
    if encoder.explicit:
        implicit = Encoder(IMPLICIT)
        unknown = implicit.item(implicit.element(0x0020000D, "UI", b"9.9.9\0"), defined=False)
        unknown += implicit.item(implicit.sequence(0x00091005, b"", defined=False), defined=False)
        unknown += implicit.delimiter(0xFFFEE0DD)
        parts.append(encoder.element(0x00091004, "UN", unknown, UNDEFINED))
    last = ("PatientName", "PatientID", "IssuerOfPatientID", "StudyInstanceUID", "SeriesInstanceUID")
    parts += [elements[keyword] for keyword in last]
    parts += [encoder.element(0x00200011, "IS", b"1 "), decoy * 5]
    return b"".join(parts)


def deflate(data: bytes) -> bytes:
    deflater = zlib.compressobj(wbits=-15)
    return deflater.compress(data) + deflater.flush()


def arrival(transfer_syntax_uid: str) -> bytes:
    data = rich(Encoder(transfer_syntax_uid))
    return deflate(data) if transfer_syntax_uid == DEFLATED else data


def scan(transfer_syntax_uid: str, data: bytes, size: int = 1 << 16, limit: int = HEADER_SCAN_LIMIT) -> HeaderScan:
    result = HeaderScan(transfer_syntax_uid, limit=limit)
    for offset in range(0, len(data), size):
        if result.feed(memoryview(data)[offset : offset + size]):
            return result
    result.end()
    return result


SYNTAXES = [IMPLICIT, EXPLICIT, DEFLATED, BIG_ENDIAN, JPEG, "1.2.3.unknown"]


@pytest.mark.parametrize("transfer_syntax_uid", SYNTAXES)
@pytest.mark.parametrize("size", [1, 2, 7, 64, 1 << 16])
def test_only_the_top_level_counts_in_every_encoding_and_splitting(transfer_syntax_uid: str, size: int) -> None:
    data = arrival(transfer_syntax_uid)
    result = scan(transfer_syntax_uid, data, size)
    assert (result.values, result.done, result.truncated) == (VALUES, True, False)
    assert result.raw["PatientID"] == b" M\xfcller-7 "
    assert data.startswith(b"".join(result.gathered))


@settings(deadline=None)
@given(st.lists(st.integers(0, 400), max_size=12), st.sampled_from(SYNTAXES))
def test_the_result_does_not_depend_on_the_pieces(cuts: list[int], transfer_syntax_uid: str) -> None:
    data, result = arrival(transfer_syntax_uid), HeaderScan(transfer_syntax_uid)
    edges = [0, *sorted(cuts), len(data)]
    for start, stop in pairwise(edges):
        if not result.done:
            result.feed(data[start:stop])
    assert result.values == VALUES


def test_pieces_are_held_and_not_copied() -> None:
    data = memoryview(arrival(EXPLICIT))
    result = HeaderScan(EXPLICIT)
    pieces = [data[:100], data[100:130], data[130:]]
    assert [result.feed(piece) for piece in pieces] == [False, False, True]
    assert all(held is piece for held, piece in zip(result.gathered, pieces, strict=True))


def test_many_small_pieces_are_joined() -> None:
    data = memoryview(arrival(EXPLICIT))
    result = HeaderScan(EXPLICIT)
    for at in range(len(data)):
        if result.feed(data[at : at + 1]):
            break
    assert b"".join(result.gathered) == data[: at + 1]
    assert len(result.gathered) == FEW_PIECES
    assert {len(piece) for piece in result.gathered[:-1]} == {1}
    assert len(result.gathered[-1]) < SMALL_PIECE + 1


def test_of_a_deflated_object_the_deflated_bytes_are_held_and_only_the_header_is_inflated() -> None:
    data = deflate(rich(Encoder(EXPLICIT)) + Encoder(EXPLICIT).element(0x7FE00010, "OB", bytes(10_000_000)))
    result = HeaderScan(DEFLATED)
    assert result.feed(data)
    assert result.gathered == [data]
    assert result.values == VALUES


def test_empty_pieces_are_not_held() -> None:
    result = HeaderScan(EXPLICIT)
    assert not any(result.feed(memoryview(b"")) for _ in range(10))
    assert result.gathered == []


def test_feeding_a_scan_that_is_done_is_refused() -> None:
    result = scan(EXPLICIT, arrival(EXPLICIT))
    with pytest.raises(RuntimeError, match="the scan is done"):
        result.feed(b"more")


@pytest.mark.parametrize("transfer_syntax_uid", [IMPLICIT, EXPLICIT, DEFLATED, BIG_ENDIAN])
def test_a_data_set_may_end_before_the_last_attribute(transfer_syntax_uid: str) -> None:
    data = identity(Encoder(transfer_syntax_uid))["StudyInstanceUID"]
    result = HeaderScan(transfer_syntax_uid)
    result.feed(deflate(data) if transfer_syntax_uid == DEFLATED else data)
    assert not result.done
    result.end()
    assert (result.done, result.truncated, result.values) == (True, False, {"StudyInstanceUID": "1.2.5"})
    result.end()


def test_the_order_of_elements_does_not_matter_up_to_the_first_behind_the_last() -> None:
    elements = list(identity(Encoder(EXPLICIT)).values())
    assert scan(EXPLICIT, b"".join(reversed(elements))).values == VALUES
    late = Encoder(EXPLICIT).element(0x00200010, "SH", b"1 ") + elements[-1]
    assert "SeriesInstanceUID" not in scan(EXPLICIT, b"".join(elements[:-1]) + late).values


def test_what_only_the_audit_trail_wants_may_occur_twice() -> None:
    encoder = Encoder(EXPLICIT)
    twice = [encoder.element(0x00080050, "SH", value) for value in (b"A1", b"A2")]
    twice += [encoder.element(0x00100010, "PN", value) for value in (b"Name^First ", b"Other^One ")]
    result = scan(EXPLICIT, b"".join(twice) + encoder.element(0x00200010, "SH", b"1 "))
    assert result.values == {"AccessionNumber": "A1", "PatientName": "Name^First"}


def test_an_empty_uid_is_an_empty_string() -> None:
    encoder = Encoder(EXPLICIT)
    data = encoder.element(0x0020000D, "UI") + encoder.element(0x0020000E, "UI", b"\0\0")
    assert scan(EXPLICIT, data).values == {"StudyInstanceUID": "", "SeriesInstanceUID": ""}


# Limits


@pytest.mark.parametrize("size", [1, 100, 1 << 20])
def test_the_scan_looks_as_far_as_its_limit_and_no_further(size: int) -> None:
    encoder = Encoder(EXPLICIT)
    wanted = identity(encoder)["StudyInstanceUID"] + identity(encoder)["SeriesInstanceUID"]
    data = encoder.element(0x00091001, "OB", bytes(1000)) + wanted + encoder.element(0x7FE00010, "OB", bytes(500))
    needed = 1012 + len(wanted) + 8
    found = scan(EXPLICIT, data, size, limit=needed)
    assert (found.values["StudyInstanceUID"], found.truncated) == ("1.2.5", False)
    short = scan(EXPLICIT, data, size, limit=1012 + len(wanted) - 1)
    assert (short.values, short.done, short.truncated) == ({"StudyInstanceUID": "1.2.5"}, True, True)
    none = scan(EXPLICIT, data, size, limit=1012)
    assert (none.values, none.truncated) == ({}, True)


def test_no_more_is_held_than_the_limit_and_the_rest_of_the_last_piece() -> None:
    result = HeaderScan(EXPLICIT)
    data = Encoder(EXPLICIT).element(0x00091001, "OB", b"", length=1 << 30)
    fed = 0
    while not result.done:
        result.feed(data + bytes(1000 - len(data)))
        data, fed = b"", fed + 1000
    assert HEADER_SCAN_LIMIT <= fed < HEADER_SCAN_LIMIT + 1000
    assert sum(map(len, result.gathered)) == fed
    assert result.truncated


def test_a_deflated_object_is_inflated_up_to_the_limit() -> None:
    encoder = Encoder(EXPLICIT)
    data = deflate(encoder.element(0x00091001, "OB", bytes(50_000_000)) + rich(encoder))
    result = scan(DEFLATED, data)
    assert (result.truncated, result.values) == (True, {})


def test_deflated_bytes_that_inflate_to_nothing_are_limited_too() -> None:
    result = HeaderScan(DEFLATED, limit=1000)
    while not result.feed(b"\0\0\0\xff\xff" * 20):
        assert sum(map(len, result.gathered)) < 1000
    assert result.truncated


def nested(encoder: Encoder, depth: int) -> bytes:
    data = b""
    for _ in range(depth):
        data = encoder.sequence(0x00081140, encoder.item(data, defined=False), defined=False)
    return data + identity(encoder)["StudyInstanceUID"] + encoder.element(0x00280002, "US", b"\0\0")


def test_sequences_nest_as_deep_as_the_limit_and_no_deeper() -> None:
    assert scan(EXPLICIT, nested(Encoder(EXPLICIT), MAX_NESTING_DEPTH)).values == {"StudyInstanceUID": "1.2.5"}
    with pytest.raises(PeerError, match=r"\(0008,1140\) at byte .*MAX_NESTING_DEPTH \(32\)"):
        scan(EXPLICIT, nested(Encoder(EXPLICIT), MAX_NESTING_DEPTH + 1))


def test_ten_thousand_levels_are_refused_and_not_followed() -> None:
    with pytest.raises(PeerError, match="MAX_NESTING_DEPTH"):
        scan(IMPLICIT, nested(Encoder(IMPLICIT), 10_000), limit=1 << 20)


# Malformed headers

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


# Files of other makers

SHIPPED = [
    "CT_small.dcm",
    "MR_small_implicit.dcm",
    "MR_small_bigendian.dcm",
    "image_dfl.dcm",
    "JPEG2000.dcm",
    "rtplan.dcm",
    "reportsi.dcm",
    "liver_1frame.dcm",
]
FILES = [Path(get_testdata_file(name, download=False)) for name in SHIPPED]
FILES += sorted(CORPUS.glob("wellformed/*")) if CORPUS is not None else []
FILES += sorted(CORPUS.glob("charset/*")) if CORPUS is not None else []


MISLABELLED = Path(get_testdata_file("SC_rgb_jpeg.dcm", download=False))
FILES = [
    path for path in FILES if path.read_bytes()[128:132] == b"DICM" and not path.name.endswith(f"__{MISLABELLED.name}")
]


def test_implicit_vr_under_an_explicit_transfer_syntax_is_refused() -> None:
    data = MISLABELLED.read_bytes()
    meta = read_file_meta(data)
    assert meta is not None
    with pytest.raises(PeerError, match=r"\(0008,0008\) at byte 0 .* no VR"):
        scan(meta.transfer_syntax_uid, data[meta.data_set_offset :])


@pytest.mark.parametrize("path", FILES, ids=[path.name for path in FILES])
def test_a_file_is_scanned_as_pydicom_reads_it(path: Path) -> None:
    beginning = path.read_bytes()[: 1 << 18]
    meta = read_file_meta(beginning)
    assert meta is not None
    raw = pydicom.dcmread(path, stop_before_pixels=True)
    name = raw.get_item("PatientName")  # its bytes, which nobody has decoded yet
    expected = {keyword: raw.get(keyword) for keyword in VALUES if keyword in raw}
    if name is not None:
        expected["PatientName"] = (name.value or b"").strip(b"\0 ").decode("latin-1")
    data = beginning[meta.data_set_offset :]
    for size in (1, 7, 1 << 16):
        result = scan(meta.transfer_syntax_uid, data, size)
        assert not result.truncated
        assert result.values == {keyword: as_text(value) for keyword, value in expected.items()}


def as_text(value: object) -> str:
    """Return a value of pydicom as it stands in the data set."""
    return "\\".join(value) if isinstance(value, MultiValue) else str(value or "")


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
