import zlib
from struct import pack

import pytest

from harmonygw.dicom.dataset import transcoding as module
from harmonygw.dicom.dataset.frames import MAX_FRAGMENTS
from harmonygw.dicom.dataset.limits import Limits
from harmonygw.dicom.dataset.pixels import PixelDescription
from harmonygw.dicom.dataset.transcoding import (
    StoredFrame,
    Transcoding,
    decoded_photometric_interpretation,
    decoded_pixels,
)
from harmonygw.errors import NotAcceptable, PeerError
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
from tests.dicom.dataset.pixel_files import JPEG_2000, JPEG_LS, MPEG2, RLE
from tests.dicom.dataset.transcoded import encapsulated, image, transcode

SOI = b"\xff\xd8\xff\xe0"


@pytest.mark.parametrize("size", [1, 7, 0])
def test_native_pixel_data_becomes_fragments(size: int) -> None:
    tail = element(0xFFFCFFFC, "OB", b"\0\0")
    for syntax in (EXPLICIT, IMPLICIT, BIG_ENDIAN):
        data = image(
            element(0x7FE00010, "OW", b"aaaabbbbcccc", syntax) + element(0xFFFCFFFC, "OB", b"\0\0", syntax),
            frames=3,
            syntax=syntax,
        )
        result, frames = transcode(data, syntax, JPEG_LS, lambda frame: frame.data[:3], size)
        assert result == image(encapsulated(b"aaa\0", b"bbb\0", b"ccc\0"), frames=3) + tail
        assert [frame.data for frame in frames] == [b"aaaa", b"bbbb", b"cccc"]


@pytest.mark.parametrize("size", [1, 7, 0])
def test_deflated_pixel_data_becomes_fragments(size: int) -> None:
    data = zlib.compress(image(element(0x7FE00010, "OW", b"aaaa")), wbits=-15)
    assert transcode(data, DEFLATED, RLE, size=size)[0] == image(encapsulated(b"aaaa"))
    with pytest.raises(PeerError, match="cut short"):
        transcode(data[:-3], DEFLATED, RLE, size=size)
    with pytest.raises(PeerError, match="MAX_INFLATED_BYTES"):
        transcode(data, DEFLATED, RLE, size=size, limits=Limits(max_inflated_bytes=9))


@pytest.mark.parametrize("size", [1, 7, 0])
def test_long_native_pixel_data_is_cut_as_it_comes(size: int) -> None:
    pixels = bytes(range(256)) * 40
    data = image(element(0x7FE00010, "OW", pixels + b"\0\0"), frames=5, rows=32, columns=64)
    result, frames = transcode(data, EXPLICIT, JPEG_LS, size=size)
    parts = [pixels[at : at + 2048] for at in range(0, 10240, 2048)]
    assert [frame.data for frame in frames] == parts
    assert result == image(encapsulated(*parts), frames=5, rows=32, columns=64)


@pytest.mark.parametrize(("bits", "vr"), [(8, "OB"), (16, "OW"), (32, "OW")])
@pytest.mark.parametrize("size", [1, 7, 0])
def test_fragments_become_native_pixel_data(size: int, bits: int, vr: str) -> None:
    tail = element(0xFFFCFFFC, "OB", b"\0\0")
    data = image(encapsulated(b"ab", b"cd"), bits=bits, frames=2, rows=1, columns=3) + tail
    length = 3 * bits // 8
    result, frames = transcode(data, RLE, EXPLICIT, lambda frame: frame.data[:1] * length, size)
    pixels = b"a" * length + b"c" * length
    assert result == image(element(0x7FE00010, vr, pixels), bits=bits, frames=2, rows=1, columns=3) + tail
    assert frames[0].pixels == PixelDescription(1, 3, bits, bits, bits - 1, number_of_frames=2)


def test_native_pixel_data_of_odd_length_is_padded() -> None:
    data = image(encapsulated(b"ab", b"cd", b"ef"), frames=3, rows=1, columns=3)
    result, _ = transcode(data, RLE, EXPLICIT, lambda frame: frame.data + b"x")
    assert result == image(element(0x7FE00010, "OB", b"abxcdxefx\0"), frames=3, rows=1, columns=3)


@pytest.mark.parametrize("size", [1, 7, 0])
@pytest.mark.parametrize(("rows", "columns", "frames"), [(3, 3, 3), (1, 1, 3), (1, 3, 8), (2, 4, 3), (3, 5, 1)])
def test_frames_of_single_bits_are_realigned_both_ways(rows: int, columns: int, frames: int, size: int) -> None:
    length = (rows * columns * frames + 7) // 8
    last = (1 << (rows * columns * frames - 1) % 8 + 1) - 1
    pixels = bytes((37 * at + 165) % 256 for at in range(length - 1)) + bytes([last & 0x5A])
    pixels += b"\0" * (length % 2)
    data = image(element(0x7FE00010, "OB", pixels), bits=1, rows=rows, columns=columns, frames=frames)
    result, stored = transcode(data, EXPLICIT, JPEG_2000, size=size)
    stream = int.from_bytes(pixels, "little")
    for number, frame in enumerate(stored):
        expected = stream >> number * rows * columns & (1 << rows * columns) - 1
        assert int.from_bytes(frame.data, "little") == expected
        assert len(frame.data) == (rows * columns + 7) // 8
    back, _ = transcode(result, JPEG_2000, EXPLICIT, lambda frame: frame.data[: frame.pixels.frame_length], size)
    assert back == data


def test_what_a_frame_is_decoded_to_must_have_its_length() -> None:
    data = image(encapsulated(b"ab"))
    with pytest.raises(PeerError, match="frame 1 has 2 bytes when decoded, but should have 4"):
        transcode(data, RLE, EXPLICIT)


def test_a_fragment_must_have_a_length_of_32_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    data = image(element(0x7FE00010, "OW", b"abcd"))
    monkeypatch.setattr(module, "LONGEST_VALUE", 4)
    assert transcode(data, EXPLICIT, RLE)[0] == image(encapsulated(b"abcd"))
    for length in (5, 6):
        with pytest.raises(PeerError, match=f"frame 1 is too long for a fragment: {length} bytes"):
            transcode(data, EXPLICIT, RLE, lambda frame, length=length: bytes(length))  # type: ignore[misc]


def test_native_pixel_data_must_have_a_length_of_32_bits() -> None:
    for frames, fine in ((65535, True), (65536, False)):
        data = image(encapsulated(SOI), rows=256, columns=256, frames=frames)
        transcoding = Transcoding(JPEG_BASELINE, EXPLICIT)
        if fine:
            transcoding.feed([data[:-20]])
        else:
            with pytest.raises(PeerError, match="the decoded pixel data has 4294967296 bytes, more than a value can"):
                transcoding.feed([data[:-20]])


@pytest.mark.parametrize(("frames", "fine"), [(MAX_FRAGMENTS, True), (MAX_FRAGMENTS + 1, False)])
def test_the_number_of_frames_has_a_limit(frames: int, fine: bool) -> None:
    head = image(frames=frames, rows=1, columns=1, bits=1) + header(0x7FE00010, "OB", frames // 8 + 1)
    transcoding = Transcoding(EXPLICIT, JPEG_LS)
    if fine:
        assert transcoding.feed([head])
    else:
        with pytest.raises(PeerError, match=r"1000001 frames exceed MAX_FRAGMENTS \(1000000\)"):
            transcoding.feed([head])


@pytest.mark.parametrize("source", [JPEG_BASELINE, EXPLICIT])
def test_a_frame_has_a_limit(source: str) -> None:
    pixels = element(0x7FE00010, "OB", b"abcd") if source == EXPLICIT else encapsulated(SOI)
    assert transcode(image(pixels), source, JPEG_LS, limit=4)
    with pytest.raises(NotAcceptable, match=r"a frame of 4 bytes exceeds MAX_FRAME_BYTES \(3 bytes\)"):
        transcode(image(pixels), source, JPEG_LS, limit=3)
    with pytest.raises(PeerError, match=r"a frame exceeds MAX_FRAME_BYTES \(4 bytes\)"):
        transcode(image(encapsulated(b"abcdef")), JPEG_BASELINE, JPEG_LS, limit=4)


@pytest.mark.parametrize("size", [1, 7, 0])
def test_the_extended_offset_table_is_used_and_goes(size: int) -> None:
    for filler in (0, 600):
        fragments = [b"abc\0", b"defg"] + [b"hi"] * filler
        offsets = [0, 12] + [24 + 10 * number for number in range(filler)]
        lengths = [3, 4] + [2] * filler
        tables = element(0x7FE00001, "OV", pack(f"<{len(offsets)}Q", *offsets)) + element(
            0x7FE00002, "OV", pack(f"<{len(offsets)}Q", *lengths)
        )
        data = image(tables + encapsulated(*fragments), frames=len(fragments))
        result, frames = transcode(data, RLE, JPEG_LS, size=size)
        assert result == image(encapsulated(*fragments), frames=len(fragments))
        assert frames[0].data == b"abc"
    empty = element(0x7FE00001, "OV", b"") + element(0x7FE00002, "OV", b"")
    assert transcode(image(empty + encapsulated(b"abcd")), RLE, JPEG_LS, size=size)[0] == image(encapsulated(b"abcd"))


def test_a_table_that_is_too_long_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    tables = element(0x7FE00001, "OV", pack("<2Q", 0, 12)) + element(0x7FE00002, "OV", pack("<2Q", 3, 4))
    data = image(tables + encapsulated(b"abc\0", b"defg"), frames=2)
    for longest, expected in ((16, b"abc"), (15, b"abc\0")):
        monkeypatch.setattr(module, "LONGEST_OFFSET_TABLE", longest)
        assert transcode(data, RLE, JPEG_LS)[1][0].data == expected


@pytest.mark.parametrize("size", [1, 0])
@pytest.mark.parametrize(
    ("source", "target", "before", "after"),
    [
        (JPEG_BASELINE, EXPLICIT, ("YBR_FULL_422", 0), ("RGB", 0)),
        (JPEG_BASELINE, EXPLICIT, ("YBR_FULL_422", None), ("RGB", 0)),
        (JPEG_BASELINE, RLE, ("YBR_FULL", 0), ("RGB", 1)),
        (JPEG_2000, EXPLICIT, ("YBR_RCT ", 0), ("RGB", 0)),
        (JPEG_2000, JPEG_LS, ("RGB ", 1), ("RGB ", 0)),
        (RLE, EXPLICIT, ("YBR_FULL", 1), ("YBR_FULL", 0)),
        (EXPLICIT, RLE, ("YBR_FULL", 0), ("YBR_FULL", 1)),
        (EXPLICIT, JPEG_2000, ("RGB ", 1), ("RGB ", 0)),
        (EXPLICIT, JPEG_2000, ("", 1), ("", 0)),
    ],
)
def test_what_the_data_set_says_of_its_colours_follows_its_pixels(
    source: str, target: str, before: tuple[str, int | None], after: tuple[str, int], size: int
) -> None:
    def of(interpretation: str, planar: int | None, pixel_data: bytes) -> bytes:
        if interpretation == "RGB" and before[0] != "RGB ":
            interpretation = "RGB "
        return image(pixel_data, samples=3, interpretation=interpretation, planar=planar, rows=1)

    pixels = element(0x7FE00010, "OB", b"abcdef")
    fragments = encapsulated(b"abcdef")
    data = of(*before, pixels if source == EXPLICIT else fragments)
    result, [frame] = transcode(data, source, target, size=size)
    assert result == of(*after, pixels if target == EXPLICIT else fragments)
    assert frame.pixels.photometric_interpretation == (before[0].strip() or "RGB")
    assert frame.pixels.planar_configuration == (before[1] or 0)


def test_planar_configuration_stands_in_its_place_whatever_follows() -> None:
    told = element(0x00280002, "US", b"\3\0")
    planar = element(0x00280006, "US", b"\1\0")
    for following in (
        sequence(0x00280008),
        element(0x00281201, "OW", bytes(9000)),
        element(0x00290010, "LO", b"ab"),
    ):
        for size in (1, 0):
            assert transcode(told + following, EXPLICIT, RLE, size=size)[0] == told + planar + following
    assert transcode(told, EXPLICIT, RLE)[0] == told


def test_a_single_sample_needs_no_planar_configuration_and_keeps_it() -> None:
    for planar in (None, 1):
        data = image(element(0x7FE00010, "OB", b"abcd"), samples=1, planar=planar)
        result, _ = transcode(data, EXPLICIT, JPEG_LS)
        assert result == image(encapsulated(b"abcd"), samples=1, planar=planar)


@pytest.mark.parametrize(
    ("uid", "stored", "samples", "decoded"),
    [
        ("1.2.840.10008.1.2.4.50", "YBR_FULL_422", 3, "RGB"),
        ("1.2.840.10008.1.2.4.51", "YBR_FULL", 3, "RGB"),
        ("1.2.840.10008.1.2.4.55", "YBR_FULL", 3, "RGB"),
        ("1.2.840.10008.1.2.4.50", "RGB", 3, "RGB"),
        ("1.2.840.10008.1.2.4.50", "MONOCHROME1", 1, "MONOCHROME1"),
        ("1.2.840.10008.1.2.4.50", "YBR_FULL", 1, "YBR_FULL"),
        ("1.2.840.10008.1.2.4.57", "YBR_FULL", 3, "YBR_FULL"),
        ("1.2.840.10008.1.2.4.70", "YBR_FULL", 3, "YBR_FULL"),
        ("1.2.840.10008.1.2.4.80", "YBR_FULL", 3, "YBR_FULL"),
        ("1.2.840.10008.1.2.4.90", "YBR_RCT", 3, "RGB"),
        ("1.2.840.10008.1.2.4.91", "YBR_ICT", 3, "RGB"),
        ("1.2.840.10008.1.2.4.91", "YBR_FULL", 3, "YBR_FULL"),
        ("1.2.840.10008.1.2.4.201", "YBR_RCT", 3, "RGB"),
        ("1.2.840.10008.1.2.4.203", "YBR_ICT", 3, "RGB"),
        ("1.2.840.10008.1.2.4.112", "XYB", 3, "RGB"),
        (RLE, "YBR_FULL", 3, "YBR_FULL"),
        (EXPLICIT, "YBR_FULL", 3, "YBR_FULL"),
    ],
)
def test_decoders_undo_the_colour_transform(uid: str, stored: str, samples: int, decoded: str) -> None:
    assert decoded_photometric_interpretation(uid, stored, samples) == decoded
    pixels = PixelDescription(1, 1, 8, 8, 7, samples, planar_configuration=1, photometric_interpretation=stored)
    assert decoded_pixels(uid, pixels) == PixelDescription(1, 1, 8, 8, 7, samples, photometric_interpretation=decoded)


def test_nested_native_pixel_data_stays_and_nested_fragments_are_refused() -> None:
    icon = sequence(0x00880200, item(image(element(0x7FE00010, "OW", b"icon"), samples=3, planar=1)))
    for source, pixels in ((RLE, encapsulated(b"abcd")), (EXPLICIT, element(0x7FE00010, "OW", b"abcd"))):
        result, [_frame] = transcode(icon + image(pixels), source, JPEG_LS)
        assert result == icon + image(encapsulated(b"abcd"))
    nested = sequence(0x00880200, item(image(encapsulated(b"icon"))))
    with pytest.raises(NotAcceptable, match="encapsulated pixel data in a sequence"):
        transcode(nested, RLE, EXPLICIT)
    other = sequence(0x00091010, item(b"ab", defined=True), vr="OB")
    with pytest.raises(NotAcceptable):
        transcode(other, RLE, EXPLICIT)


def test_an_object_without_pixel_data_is_rewritten() -> None:
    name = element(0x00100010, "PN", b"A^B ")
    assert transcode(name, RLE, EXPLICIT) == (name, [])
    empty = element(0x7FE00010, "OW", b"")
    assert transcode(name + empty, RLE, EXPLICIT) == (name + empty, [])


@pytest.mark.parametrize(
    ("source", "data", "message"),
    [
        (
            RLE,
            image(element(0x7FE00010, "OW", b"abcd")),
            r"native pixel data in an encapsulated .*\(7FE0,0010\) at byte 30",
        ),
        (EXPLICIT, image(encapsulated(b"abcd")), r"encapsulated OB in a native .*\(7FE0,0010\) at byte 30"),
        (EXPLICIT, image(element(0x7FE00010, "OW", b"ab")), "is not whole: 2 bytes, its frames have 4"),
        (EXPLICIT, image(element(0x7FE00010, "OW", b"abcd") * 2), "pixel data occurs twice"),
        (EXPLICIT, element(0x7FE00010, "OW", b"abcd"), "Rows is missing"),
        (RLE, encapsulated(b"abcd"), "Rows is missing"),
        (RLE, image(encapsulated(b"abcd"), frames=2), "cannot be told apart"),
        (RLE, image(encapsulated(b"abcd"))[:-4], "cut short"),
        (RLE, image(encapsulated(b"abcd"))[:-8], "ends within it"),
    ],
)
def test_what_is_not_what_it_says_is_refused(source: str, data: bytes, message: str) -> None:
    for size in (1, 0):
        with pytest.raises(PeerError, match=message):
            transcode(data, source, JPEG_LS, size=size)


def test_pixels_that_cannot_be_encoded_are_not_acceptable() -> None:
    for tag, vr in ((0x7FE00008, "OF"), (0x7FE00009, "OD")):
        for length in (16, 8000):
            with pytest.raises(NotAcceptable, match="floating point"):
                transcode(image(element(tag, vr, bytes(length))), EXPLICIT, JPEG_LS, size=1000)
        assert transcode(image(element(tag, vr, bytes(16))), RLE, EXPLICIT)[1] == []
    subsampled = image(element(0x7FE00010, "OB", bytes(8)), samples=3, interpretation="YBR_FULL_422")
    with pytest.raises(NotAcceptable, match="YBR_FULL_422"):
        transcode(subsampled, EXPLICIT, JPEG_LS)


@pytest.mark.parametrize(
    ("source", "target"),
    [
        (EXPLICIT, EXPLICIT),
        (IMPLICIT, EXPLICIT),
        (RLE, RLE),
        (RLE, IMPLICIT),
        (RLE, DEFLATED),
        (RLE, JPEG_BASELINE),
        (EXPLICIT, MPEG2),
        (MPEG2, EXPLICIT),
        ("1.2.3", EXPLICIT),
        (EXPLICIT, "1.2.3"),
    ],
)
def test_other_changes_are_not_acceptable(source: str, target: str) -> None:
    with pytest.raises(NotAcceptable, match="are not made"):
        Transcoding(source, target)


def test_a_value_too_long_to_describe_anything_is_passed_on() -> None:
    long_one = element(0x00280004, "CS", b"x" * 5000)
    for size in (1, 0):
        assert transcode(long_one, RLE, EXPLICIT, size=size)[0] == long_one


def test_hardly_more_than_a_frame_is_held() -> None:
    transcoding = Transcoding(EXPLICIT, JPEG_LS)
    transcoding.feed([image(rows=1000, columns=1000, frames=50), header(0x7FE00010, "OB", 50_000_000)])
    frames = 0
    for piece in split(bytes(50_000_000), 65536):
        frames += sum(isinstance(part, StoredFrame) for part in transcoding.feed([piece]))
    assert frames == 50
    assert transcoding.finish() == []


def outcome(data: bytes, source: str, target: str, size: int) -> object:
    try:
        return transcode(data, source, target, lambda frame: frame.data[:4].ljust(4), size)
    except (PeerError, NotAcceptable) as error:
        return type(error)


@pytest.mark.parametrize(("source", "target"), [(JPEG_BASELINE, EXPLICIT), (JPEG_BASELINE, RLE), (EXPLICIT, RLE)])
def test_whatever_arrives_is_transcoded_or_refused_alike_however_it_is_split(source: str, target: str) -> None:
    tables = element(0x7FE00001, "OV", pack("<2Q", 0, 24)) + element(0x7FE00002, "OV", pack("<2Q", 7, 4))
    pixels = element(0x7FE00010, "OB", b"abcdefgh")
    if source == JPEG_BASELINE:
        pixels = tables + encapsulated(SOI, b"abcd", SOI, table=pack("<2L", 0, 24))
    data = image(pixels, frames=2, samples=1, interpretation="YBR_FULL", planar=0)
    for place in range(1, len(data)):
        for value in (0x00, 0x07, 0x53, 0xE0, 0xFF):
            damaged = data[:place] + bytes([value]) + data[place + 1 :]
            assert outcome(damaged, source, target, 0) == outcome(damaged, source, target, 5)
        assert outcome(data[:place], source, target, 0) == outcome(data[:place], source, target, 5)


def test_the_stored_object_is_not_referred_to_by_frames() -> None:
    data = bytearray(image(element(0x7FE00010, "OB", b"abcd")))
    frames = [part for part in Transcoding(EXPLICIT, RLE).feed([memoryview(data)]) if isinstance(part, StoredFrame)]
    data[-4:] = b"xxxx"
    assert [frame.data for frame in frames] == [b"abcd"]


@pytest.mark.parametrize("size", [1000, 0])
def test_what_lies_in_sequences_stays(size: int) -> None:
    inner = image(element(0x7FE00010, "OW", bytes(9000)), samples=3, interpretation="YBR_FULL")
    data = sequence(0x00081140, item(inner + sequence(0x00081199, item(inner))))
    assert transcode(data, JPEG_BASELINE, RLE, size=size) == (data, [])
