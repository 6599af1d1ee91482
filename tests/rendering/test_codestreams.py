import pytest

from harmonygw.errors import PeerError
from harmonygw.rendering.codestreams import Codestream, read_jpeg, read_jpeg_2000

END = b"\xff\xd9"


def segment(marker: int, body: bytes) -> bytes:
    return bytes((0xFF, marker)) + (len(body) + 2).to_bytes(2, "big") + body


def frame(marker: int = 0xC0, names: bytes = b"\1\2\3", precision: int = 8) -> bytes:
    components = b"".join(bytes((name, 0x11, 0)) for name in names)
    return segment(marker, bytes((precision, 0, 5, 1, 2, len(names))) + components)


JFIF = segment(0xE0, b"JFIF\0\1\2\0\0\1\0\1\0\0")
ADOBE_RGB = segment(0xEE, b"Adobe\0\x64\0\0\0\0\0")
ADOBE_YCC = segment(0xEE, b"Adobe\0\x64\0\0\0\0\1")
START = b"\xff\xd8"


def jpeg(*segments: bytes, end: bytes = END) -> bytes:
    return START + b"".join(segments) + segment(0xDA, b"scan") + end


def test_a_jpeg_says_its_size() -> None:
    expected = Codestream(rows=5, columns=258, samples=1, precision=12, process=0xC1)
    assert read_jpeg(jpeg(frame(0xC1, b"\1", 12))) == expected


@pytest.mark.parametrize("process", [0xC0, 0xC1, 0xC2, 0xC3, 0xF7])
def test_its_process_is_known(process: int) -> None:
    assert read_jpeg(jpeg(frame(process))).process == process


@pytest.mark.parametrize(
    ("segments", "transformed"),
    [
        ((frame(),), None),
        ((JFIF, frame()), True),
        ((ADOBE_RGB, frame()), False),
        ((ADOBE_YCC, frame()), True),
        ((JFIF, ADOBE_RGB, frame()), True),
        ((JFIF, frame(names=b"RGB")), False),
        ((frame(names=b"rgb"),), False),
        ((segment(0xE0, b"AVI1"), frame()), None),
        ((segment(0xEE, b"Adobe"), frame()), None),
        ((segment(0xEE, b"another, longer"), frame()), None),
    ],
)
def test_its_colour_space(segments: tuple[bytes, ...], transformed: bool | None) -> None:
    assert read_jpeg(jpeg(*segments)).transformed is transformed


def test_fill_bytes_and_markers_without_a_length_are_skipped() -> None:
    assert read_jpeg(jpeg(b"\xff\xff\xff\x01", b"\xff", frame())).rows == 5


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"", "not the JPEG"),
        (b"\xff\x4f\xff\x51", "not the JPEG"),
        (START, "no frame header"),
        (jpeg(), "no frame header"),
        (START + frame()[:6], "no frame header"),
        (START + b"junk" + frame(), "no frame header"),
        (jpeg(segment(0xC0, b"\x08\0")), "no frame header"),
        (jpeg(frame(0xC9)), "no frame header"),
        (jpeg(frame(), end=b""), "cut short"),
        (jpeg(segment(0xE1, b"a thumbnail" + END), frame(), end=b""), "cut short"),
    ],
)
def test_what_is_no_whole_jpeg_is_refused(data: bytes, complaint: str) -> None:
    with pytest.raises(PeerError, match=complaint):
        read_jpeg(data)


def siz(*components: bytes, size: tuple[int, ...] = (640, 480, 0, 0)) -> bytes:
    numbers = b"".join(number.to_bytes(4, "big") for number in (*size, 640, 480, 0, 0))
    body = b"\0\0" + numbers + len(components).to_bytes(2, "big") + b"".join(components)
    return b"\xff\x4f" + segment(0x51, body)


@pytest.mark.parametrize(
    ("component", "precision", "signed"),
    [(b"\x07\1\1", 8, False), (b"\x0b\1\1", 12, False), (b"\x8f\1\1", 16, True)],
)
def test_a_jpeg_2000_says_its_samples(component: bytes, precision: int, signed: bool) -> None:
    expected = Codestream(rows=480, columns=640, samples=1, precision=precision, signed=signed)
    assert read_jpeg_2000(siz(component)) == expected


def test_the_image_begins_at_its_offset() -> None:
    header = read_jpeg_2000(siz(*[b"\x07\1\1"] * 3, size=(650, 500, 10, 20)))
    assert (header.columns, header.rows, header.samples) == (640, 480, 3)


def test_a_jp2_file_has_its_codestream_after_some_boxes() -> None:
    assert read_jpeg_2000(bytes(85) + siz(b"\x07\1\1")).rows == 480


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"", "not the JPEG 2000"),
        (bytes(16384) + siz(b"\x07\1\1"), "not the JPEG 2000"),
        (siz(b"\x07\1\1")[:30], "not the JPEG 2000"),
        (siz(), "different"),
        (siz(b"\x07\1\1", b"\x0b\1\1"), "different"),
        (siz(b"\x07\2\2"), "different"),
        (siz(b"\x07\1\1", b"\x07\1\1")[:-3], "different"),
    ],
)
def test_what_is_no_jpeg_2000_is_refused(data: bytes, complaint: str) -> None:
    with pytest.raises(PeerError, match=complaint):
        read_jpeg_2000(data)
