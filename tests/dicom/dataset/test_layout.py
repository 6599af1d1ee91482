import zlib
from pathlib import Path as FilePath
from struct import pack
from typing import Any

import orjson
import pytest

from harmonygw.dicom.dataset import layout as module
from harmonygw.dicom.dataset.frames import realign
from harmonygw.dicom.dataset.json_encoding import Path
from harmonygw.dicom.dataset.layout import MARKER, BulkValue, Layout, LayoutScan
from harmonygw.dicom.dataset.metadata_scan import MetadataScan
from harmonygw.dicom.dataset.transfer_syntaxes import travelling
from harmonygw.errors import NotFound, PeerError
from tests.dicom.dataset.encoded import (
    BIG_ENDIAN,
    DEFLATED,
    EXPLICIT,
    IMPLICIT,
    JPEG_BASELINE,
    element,
    header,
    item,
    sequence,
    split,
)
from tests.dicom.dataset.pixel_files import MPEG2, WITH_AN_ITEM_TOO_MANY, frames_by_pydicom, pixel_files

FILES = [pytest.param(uid, data, path, id=name) for name, uid, data, path in pixel_files()]
MOST_PIECES = 4000
AVAILABLE = "00083002"
PYDICOM_WARNS = pytest.mark.filterwarnings("ignore::UserWarning")
PREFIX = 'https://host/dicom-web/studies/1.2/series/3/instances/4/"bulk'
SOI = b"\xff\xd8\xff\xe0"


def lay_out(data: bytes, syntax: str = EXPLICIT, size: int = 0, **options: Any) -> Layout:
    scan = LayoutScan(syntax, **options)
    for piece in split(data, size):
        scan.feed([piece])
    return scan.finish()


def uri(path: Path) -> str:
    return f"{PREFIX}/{'/'.join(map(str, path))}"


def image(
    pixel_data: bytes, frames: int = 1, bits: int = 8, rows: int = 2, columns: int = 2, syntax: str = EXPLICIT
) -> bytes:
    order = ">" if syntax == BIG_ENDIAN else "<"
    return (
        element(0x00280008, "IS", f"{frames}".encode(), syntax)
        + element(0x00280010, "US", pack(order + "H", rows), syntax)
        + element(0x00280011, "US", pack(order + "H", columns), syntax)
        + element(0x00280100, "US", pack(order + "H", bits), syntax)
        + pixel_data
    )


def encapsulated(*fragments: bytes, table: bytes = b"", tag: int = 0x7FE00010) -> bytes:
    return sequence(tag, *(item(fragment, defined=True) for fragment in (table, *fragments)), vr="OB")


def frame(layout: Layout, data: bytes, number: int) -> bytes:
    assert layout.frames is not None
    stored = b"".join(data[offset : offset + length] for offset, length in layout.frames.locate(number))
    if layout.frames.encapsulated or layout.pixels is None:
        return stored
    return realign(stored, layout.frames.bit_offset(number), layout.pixels.frame_bits)


@PYDICOM_WARNS
@pytest.mark.parametrize(("uid", "data", "path"), FILES)
def test_the_frames_are_those_of_pydicom(uid: str, data: bytes, path: FilePath) -> None:
    layout = lay_out(data, uid, 4096)
    if not layout.random_access:
        assert layout.frames is None
        return
    if layout.pixels is None and (layout.frames is None or path.name.endswith("badVR.dcm")):
        return
    expected = frames_by_pydicom(path)
    assert layout.frames is not None
    assert expected is not None
    assert layout.frames.count == len(expected)
    if path.name.endswith(WITH_AN_ITEM_TOO_MANY):
        return
    for number, stored in enumerate(expected, 1):
        if len(stored) < (layout.pixels.frame_length if layout.pixels and not layout.frames.encapsulated else 0):
            with pytest.raises(PeerError, match="is not whole"):
                layout.frames.locate(number)
        else:
            assert frame(layout, data, number) == stored
    with pytest.raises(NotFound):
        layout.frames.locate(len(expected) + 1)


@pytest.mark.parametrize("size", [1, 7, 4096])
@pytest.mark.parametrize(("uid", "data", "path"), FILES)
def test_the_splitting_of_the_input_changes_nothing(uid: str, data: bytes, path: FilePath, size: int) -> None:
    assert lay_out(data, uid, max(size, len(data) // MOST_PIECES)).to_bytes() == lay_out(data, uid).to_bytes()


@pytest.mark.parametrize("threshold", [0, 64, 1024])
@pytest.mark.parametrize(("uid", "data", "path"), FILES)
def test_the_metadata_is_that_of_the_metadata_scan(uid: str, data: bytes, path: FilePath, threshold: int) -> None:
    scan = MetadataScan(uid, bulk_threshold=threshold)
    scan.feed([data])
    layout = lay_out(data, uid, bulk_threshold=threshold)
    expected = scan.finish(uri)
    expected[AVAILABLE] = {"vr": "UI", "Value": [travelling(uid)]}
    assert layout.metadata_for(PREFIX) == orjson.dumps(dict(sorted(expected.items())))
    assert layout.bulk_threshold == threshold


def referred(attributes: dict[str, Any], path: tuple[str, ...] = ()) -> dict[str, str]:
    found = {}
    for tag, attribute in attributes.items():
        if "BulkDataURI" in attribute:
            found["/".join((*path, tag))] = attribute["vr"]
        for index, content in enumerate(attribute.get("Value", ()) if attribute["vr"] == "SQ" else ()):
            found |= referred(content, (*path, tag, str(index)))
    return found


@pytest.mark.parametrize(("uid", "data", "path"), FILES)
def test_whatever_the_metadata_refers_to_is_located(uid: str, data: bytes, path: FilePath) -> None:
    layout = lay_out(data, uid, 4096, bulk_threshold=16)
    attributes = orjson.loads(layout.metadata)
    if not layout.random_access:
        assert layout.bulk == {}
        return
    assert {place: value.vr for place, value in layout.bulk.items()} == referred(attributes)
    # In line, the values are there to be compared.
    whole = MetadataScan(uid, bulk_threshold=65534)
    whole.feed([data])
    inline = whole.finish(lambda path: "")
    for place, value in layout.bulk.items():
        attribute = {"Value": [inline]}
        steps = place.split("/")
        for index, tag in zip((0, *map(int, steps[1::2])), steps[::2], strict=True):
            attribute = attribute["Value"][index][tag]  # type: ignore[assignment]
        if "InlineBinary" in attribute:
            assert orjson.dumps(attribute) == orjson.dumps(
                MetadataScanOf(value.vr, data[value.offset : value.offset + value.length]).attribute
            )


class MetadataScanOf:
    """The attribute that one binary value makes."""

    def __init__(self, vr: str, value: bytes) -> None:
        scan = MetadataScan(EXPLICIT, bulk_threshold=65534)
        scan.feed([element(0x00091010, vr, value)])
        (self.attribute,) = scan.finish(uri).values()


@pytest.mark.parametrize(("uid", "data", "path"), FILES)
def test_a_layout_comes_back_from_its_bytes(uid: str, data: bytes, path: FilePath) -> None:
    layout = lay_out(data, uid)
    encoded = layout.to_bytes()
    back = Layout.from_bytes(encoded)
    assert back.to_bytes() == encoded
    assert (back.metadata, back.pixels, back.pixels_problem) == (layout.metadata, layout.pixels, layout.pixels_problem)
    assert (back.bulk, back.head_length, back.random_access) == (layout.bulk, layout.head_length, layout.random_access)
    if layout.frames is not None:
        assert back.frames is not None
        assert back.frames.all_ranges() == layout.frames.all_ranges()


def test_bytes_that_are_no_layout_are_refused() -> None:
    encoded = lay_out(image(element(0x7FE00010, "OW", bytes(4)))).to_bytes()
    plain = zlib.decompress(encoded[1:])
    rest = orjson.dumps({"pixels": None})
    others = [
        b"",
        b"\1" + encoded[1:],
        encoded[:-1],
        b"\2garbage",
        b"\2" + zlib.compress(b""),
        b"\2" + zlib.compress(plain[:-1]),
        b"\2" + zlib.compress(pack("<LLL", 2, 0, 0) + b"[]"),
        b"\2" + zlib.compress(pack("<LLL", 2, 0, 0) + b"{]"),
        b"\2" + zlib.compress(pack("<LLL", len(rest), 0, 0) + rest),
    ]
    for other in others:
        with pytest.raises(ValueError, match=r"layout|character"):
            Layout.from_bytes(other)
    assert Layout.from_bytes(encoded).head_length == lay_out(image(element(0x7FE00010, "OW", bytes(4)))).head_length


def test_a_text_that_looks_like_a_reference_is_left_alone() -> None:
    text = f'"BulkDataURI":"{MARKER}/7FE00010"'
    layout = lay_out(element(0x00204000, "LT", text.encode()) + element(0x7FE00010, "OW", bytes(2)))
    shown = orjson.loads(layout.metadata_for("https://host"))
    assert shown["00204000"]["Value"] == [text]
    assert shown["7FE00010"]["BulkDataURI"] == "https://host/7FE00010"


@pytest.mark.parametrize("size", [1, 7, 0])
@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG_ENDIAN])
def test_the_head_ends_where_the_pixel_data_of_the_data_set_begins(syntax: str, size: int) -> None:
    icon = sequence(0x00880200, item(element(0x7FE00010, "OW", bytes(8), syntax), syntax), syntax=syntax)
    head = icon + image(b"", syntax=syntax)
    data = head + element(0x7FE00010, "OW", bytes(4), syntax) + element(0xFFFCFFFC, "OB", bytes(2), syntax)
    assert lay_out(data, syntax, size).head_length == len(head)
    assert lay_out(head, syntax, size).head_length == len(head)


@pytest.mark.parametrize("size", [1, 7, 0])
def test_the_icon_is_not_taken_for_the_pixels(size: int) -> None:
    icon = sequence(0x00880200, item(image(encapsulated(SOI + b"icon", SOI), frames=2)))
    data = icon + image(encapsulated(SOI + b"main"))
    layout = lay_out(data, JPEG_BASELINE, size)
    assert frame(layout, data, 1) == SOI + b"main"
    assert layout.head_length == len(icon) + len(image(b""))
    nested = layout.bulk["00880200/0/7FE00010"]
    assert nested.encapsulated
    assert data[nested.offset : nested.offset + nested.length] == encapsulated(SOI + b"icon", SOI)[12:-8]
    ranges = layout.ranges("00880200/0/7FE00010")
    assert ranges == nested.fragments
    assert [data[offset : offset + length] for offset, length in nested.fragments] == [SOI + b"icon", SOI]
    assert [data[offset : offset + length] for offset, length in layout.ranges("7FE00010") or ()] == [SOI + b"main"]
    assert layout.ranges("00090010") is None
    alone = lay_out(icon + image(b""), JPEG_BASELINE, size)
    assert (alone.pixels, alone.frames) == (None, None)
    assert alone.pixels_problem == "the instance has no pixel data"


def test_a_bulk_value_is_where_it_says() -> None:
    wave = element(0x54001010, "OW", b"\1\2" * 1000)
    before = sequence(0x54000100, item(b""), item(wave))
    layout = lay_out(before)
    at = before.index(b"\1\2\1\2")
    assert layout.bulk == {"54000100/1/54001010": BulkValue(at, 2000, "OW")}
    assert layout.ranges("54000100/1/54001010") == ((at, 2000),)


@pytest.mark.parametrize("size", [1, 100, 0])
def test_values_in_a_sequence_that_calls_itself_un_are_located(size: int) -> None:
    for syntax in (IMPLICIT, EXPLICIT):
        wave = element(0x54001010, "OW", b"\1\2" * 1000, syntax)
        deeper = element(0x00880200, "UN", item(element(0x7FE00010, "OW", b"\3\4" * 999, syntax), syntax))
        inner = item(wave, syntax) if syntax == IMPLICIT else item(wave + deeper + encapsulated(b"abcd"))
        data = sequence(0x00081140, item(b""), item(element(0x54000100, "UN", inner))) + element(
            0x00420011, "OB", b"x" * 2000
        )
        layout = lay_out(data, EXPLICIT, size)
        assert {place: value.vr for place, value in layout.bulk.items()} == referred(orjson.loads(layout.metadata))
        value = layout.bulk["00081140/1/54000100/0/54001010"]
        assert data[value.offset : value.offset + value.length] == b"\1\2" * 1000
        if syntax == EXPLICIT:
            value = layout.bulk["00081140/1/54000100/0/00880200/0/7FE00010"]
            assert data[value.offset : value.offset + value.length] == b"\3\4" * 999
            value = layout.bulk["00081140/1/54000100/0/7FE00010"]
            assert [data[offset : offset + length] for offset, length in value.fragments] == [b"abcd"]


@pytest.mark.parametrize("size", [1000, 0])
@pytest.mark.parametrize("damage", [b"abcdefgh", item(b"")[:-1], item(element(0x54001010, "OW", bytes(2000)))[:-10]])
def test_un_that_is_no_sequence_after_all_holds_nothing(damage: bytes, size: int) -> None:
    data = element(0x54000100, "UN", damage + bytes(6000))
    layout = lay_out(data, size=size)
    assert set(layout.bulk) == set(referred(orjson.loads(layout.metadata)))
    assert "54000100/0/54001010" not in layout.bulk


def test_values_in_un_are_located_up_to_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_HIDDEN_VALUES", 2)
    wave = element(0x54001010, "OW", bytes(2000))
    two = element(0x54000100, "UN", item(wave) * 2)
    assert len(lay_out(two).bulk) == 2
    assert len(lay_out(element(0x54000100, "UN", item(wave) * 3)).bulk) == 0
    assert len(lay_out(two + element(0x00880200, "UN", item(wave))).bulk) == 2


def test_un_is_looked_into_up_to_a_depth() -> None:
    value = element(0x54001010, "OW", bytes(2000))
    for depth in range(1, module.MAX_HIDDEN_DEPTH + 2):
        value = element(0x54000100, "UN", item(value))
        layout = lay_out(value)
        assert len(referred(orjson.loads(layout.metadata))) == 1
        assert len(layout.bulk) == (1 if depth <= module.MAX_HIDDEN_DEPTH else 0)


def test_of_an_element_that_occurs_twice_the_last_is_located() -> None:
    long_one, short_one = element(0x00420011, "OB", bytes(2000)), element(0x00420011, "OB", b"ab")
    assert lay_out(long_one + short_one).bulk == {}
    assert lay_out(short_one + long_one).bulk == {"00420011": BulkValue(len(short_one) + 12, 2000, "OB")}
    gone = sequence(0x00081140, item(long_one)) + element(0x00081140, "SQ", b"")
    assert lay_out(gone).bulk == {}
    first = image(element(0x7FE00010, "OW", b"abcd"))
    layout = lay_out(first + element(0x7FE00010, "OW", b"efgh"))
    assert frame(layout, first + element(0x7FE00010, "OW", b"efgh"), 1) == b"efgh"
    assert layout.head_length == len(image(b""))


@pytest.mark.parametrize("size", [1, 0])
def test_a_deflated_object_has_no_places(size: int) -> None:
    plain = image(element(0x7FE00010, "OW", b"abcd"))
    deflated = zlib.compress(plain, wbits=-15)
    layout = lay_out(deflated, DEFLATED, size)
    assert (layout.random_access, layout.frames, layout.bulk) == (False, None, {})
    assert layout.head_length == len(deflated)
    assert layout.pixels == lay_out(plain).pixels
    assert orjson.loads(layout.metadata) == orjson.loads(lay_out(plain).metadata) | {
        AVAILABLE: {"vr": "UI", "Value": [travelling(DEFLATED)]}
    }


def test_a_big_endian_object_has_no_places_either() -> None:
    layout = lay_out(image(element(0x7FE00010, "OW", b"abcd", BIG_ENDIAN), syntax=BIG_ENDIAN), BIG_ENDIAN)
    assert (layout.random_access, layout.frames, layout.bulk) == (False, None, {})
    assert layout.pixels is not None
    assert layout.pixels.rows == 2


def test_native_pixels_that_are_not_described_have_no_frames_but_a_place() -> None:
    layout = lay_out(element(0x7FE00010, "OW", b"abcd"))
    assert (layout.pixels, layout.frames) == (None, None)
    assert layout.pixels_problem == "the pixels of the instance are not described: Rows is missing"
    assert layout.bulk["7FE00010"] == BulkValue(12, 4, "OW")
    data = encapsulated(SOI + b"main")
    assert frame(lay_out(data, JPEG_BASELINE), data, 1) == SOI + b"main"


def test_floating_point_pixels_have_frames() -> None:
    for tag, vr, length in ((0x7FE00008, "OF", 4), (0x7FE00009, "OD", 8)):
        data = image(element(tag, vr, bytes(range(length * 4))), rows=1, bits=8)
        layout = lay_out(data)
        assert layout.pixels is not None
        assert (layout.pixels.floating, layout.pixels.bits_allocated) == (True, length * 8)
        assert frame(layout, data, 1) == bytes(range(length * 2))


def test_a_video_stream_is_one_frame() -> None:
    data = image(encapsulated(b"abcd", b"ef"), frames=90)
    layout = lay_out(data, MPEG2)
    assert layout.frames is not None
    assert layout.frames.count == 1
    assert frame(layout, data, 1) == b"abcdef"


@pytest.mark.parametrize("size", [1, 7, 0])
@pytest.mark.parametrize("filler", [0, 600])
def test_the_extended_offset_table_tells_the_frames(size: int, filler: int) -> None:
    fragments = [b"ab\0\0", b"cdef"] + [b"gh"] * filler
    offsets, at = [], 0
    for fragment in fragments:
        offsets.append(at)
        at += 8 + len(fragment)
    lengths = [3, 4] + [2] * filler
    tables = element(0x7FE00001, "OV", pack(f"<{len(offsets)}Q", *offsets)) + element(
        0x7FE00002, "OV", pack(f"<{len(lengths)}Q", *lengths)
    )
    data = image(tables + encapsulated(*fragments), frames=len(fragments))
    layout = lay_out(data, JPEG_BASELINE, size)
    assert frame(layout, data, 1) == b"ab\0"
    assert frame(layout, data, 2) == b"cdef"
    nested = sequence(0x00880200, item(tables)) + data
    assert frame(lay_out(nested, JPEG_BASELINE, size), nested, 1) == b"ab\0"


def test_a_table_that_is_too_long_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    tables = element(0x7FE00001, "OV", pack("<2Q", 0, 12)) + element(0x7FE00002, "OV", pack("<2Q", 3, 4))
    data = image(tables + encapsulated(b"ab\0\0", b"cdef"), frames=2)
    for longest, expected in ((16, b"ab\0"), (15, b"ab\0\0")):
        monkeypatch.setattr(module, "_LONGEST_TABLE", longest)
        assert frame(lay_out(data, JPEG_BASELINE), data, 1) == expected


def test_the_fragments_of_one_instance_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_FRAGMENTS", 3)
    icon = sequence(0x00880200, item(encapsulated(b"ab")))
    assert lay_out(icon + encapsulated(b"ab", b"cd"), JPEG_BASELINE)
    with pytest.raises(PeerError, match="MAX_FRAGMENTS"):
        lay_out(icon + encapsulated(b"ab", b"cd", b"ef"), JPEG_BASELINE)


def test_what_is_held_is_what_the_metadata_scan_holds() -> None:
    scan = LayoutScan(EXPLICIT)
    scan.feed([element(0x00080060, "CS", b"CT"), header(0x7FE00010, "OW", 1 << 20)])
    for piece in split(bytes(1 << 20), 4096):
        scan.feed([piece])
        assert scan.held == 22
    with pytest.raises(PeerError, match="MAX_METADATA_BYTES"):
        lay_out(element(0x00080060, "CS", b"CT"), limit=9)


def test_the_character_set_and_the_undecodable_are_those_of_the_caller() -> None:
    scan = LayoutScan(EXPLICIT)
    scan.feed([element(0x00100010, "PN", b"M\xfcller\xff ")])
    undecodable: list[str] = []
    layout = scan.finish(default_character_set=("ISO_IR 192",), on_undecodable=undecodable.append)
    assert orjson.loads(layout.metadata)["00100010"]["Value"][0]["Alphabetic"].startswith("M\ufffd")
    assert undecodable == ["00100010"]


def outcome(data: bytes, size: int) -> object:
    try:
        layout = lay_out(data, JPEG_BASELINE, size, bulk_threshold=6)
        located = []
        for number in range(1, 4):
            try:
                located.append(layout.frames.locate(number) if layout.frames is not None else None)
            except (NotFound, PeerError) as error:
                located.append(type(error))  # type: ignore[arg-type]
        for value in layout.bulk.values():
            assert value.offset + value.length <= len(data)
        for ranges in located:
            assert not isinstance(ranges, tuple) or all(at + length <= len(data) for at, length in ranges)
    except PeerError:
        return "refused"
    return layout.to_bytes(), located


def test_whatever_arrives_is_laid_out_or_refused_alike_however_it_is_split() -> None:
    wave = element(0x54001010, "OW", bytes(8))
    hidden = element(0x54000100, "UN", item(wave))
    table = pack("<3L", 0, 12, 24)
    tables = element(0x7FE00001, "OV", pack("<3Q", 0, 12, 24)) + element(0x7FE00002, "OV", pack("<3Q", 4, 3, 4))
    data = hidden + image(tables + encapsulated(SOI, SOI, SOI, table=table), frames=3)
    for place in range(1, len(data)):
        for value in (0x00, 0x07, 0x53, 0xE0, 0xFF):
            damaged = data[:place] + bytes([value]) + data[place + 1 :]
            assert outcome(damaged, 0) == outcome(damaged, 5)
        assert outcome(data[:place], 0) == outcome(data[:place], 5)
