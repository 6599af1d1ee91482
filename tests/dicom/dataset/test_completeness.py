import zlib

import pytest

from harmonygw.dicom.dataset.completeness import Completeness
from harmonygw.dicom.dataset.elements import inflate
from harmonygw.errors import PeerError
from tests.dicom.dataset.encoded import (
    BIG_ENDIAN,
    DEFLATED,
    EXPLICIT,
    IMPLICIT,
    JPEG_BASELINE,
    UNDEFINED,
    element,
    files,
    header,
    item,
    sequence,
    split,
)


def is_complete(data: bytes, syntax: str, size: int = 0) -> bool:
    completeness = Completeness(syntax)
    for piece in split(data, size) if data else ():
        completeness.feed([piece])
    try:
        completeness.finish()
    except PeerError:
        return False
    return True


def small(syntax: str) -> bytes:
    items = (item(element(0x00080100, "SH", b"code", syntax), syntax), item(b"", syntax, defined=True))
    return b"".join(
        (
            element(0x00080018, "UI", b"1.2.3.4\0", syntax),
            sequence(0x00081140, *items, syntax=syntax),
            element(0x00090010, "LO", b"MINE", syntax),
            element(0x7FE00010, "OW", bytes(5000), syntax),
        )
    )


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG_ENDIAN])
def test_what_is_cut_within_an_element_or_sequence_is_not_complete(syntax: str) -> None:
    data = small(syntax)
    first = len(element(0x00080018, "UI", b"1.2.3.4\0", syntax))
    pixels = len(data) - 5000 - len(header(0x7FE00010, "OW", 0, syntax))
    private = pixels - len(element(0x00090010, "LO", b"MINE", syntax))
    whole = {0, first, private, pixels, len(data)}
    for cut in (*range(pixels + 20), len(data) - 1, len(data)):
        assert is_complete(data[:cut], syntax) is (cut in whole), cut


def test_encapsulated_pixel_data_ends_with_its_delimiter() -> None:
    fragments = item(b"", defined=True) + item(bytes(6000), defined=True) + header(0xFFFEE0DD, "", 0)
    data = header(0x7FE00010, "OB", UNDEFINED) + fragments
    assert is_complete(data, JPEG_BASELINE)
    for cut in (1, 8, 9, len(data) - 8, len(data) - 9, 3000):
        assert not is_complete(data[:-cut], JPEG_BASELINE)


@pytest.mark.parametrize(("name", "syntax", "data"), files(), ids=lambda value: value if type(value) is str else "")
@pytest.mark.parametrize("size", [0, 1000])
def test_every_file_that_there_is_is_complete(name: str, syntax: str, data: bytes, size: int) -> None:
    assert is_complete(data, syntax, size)
    if syntax != DEFLATED:
        assert not is_complete(data[:-1], syntax, size)


def test_a_deflated_data_set_is_looked_into() -> None:
    deflater = zlib.compressobj(wbits=-15)
    deflated = deflater.compress(small(EXPLICIT)) + deflater.flush()
    assert inflate(deflated) == small(EXPLICIT)
    assert is_complete(deflated, DEFLATED, 10)
    assert not is_complete(deflated[:-3], DEFLATED)
    deflater = zlib.compressobj(wbits=-15)
    assert not is_complete(deflater.compress(small(EXPLICIT)[:-1]) + deflater.flush(), DEFLATED)


def test_what_is_malformed_on_the_way_is_not_judged() -> None:
    assert is_complete(header(0xFFFEE00D, "", 0) + bytes(5), EXPLICIT)
    assert is_complete(sequence(0x00081140, b"12345678"), EXPLICIT)
    assert is_complete(b"no deflated data set" * 10, DEFLATED, 20)
