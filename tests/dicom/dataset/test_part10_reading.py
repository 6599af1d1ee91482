import pytest

from harmonygw.dicom.dataset.header_scan import HEADER_SCAN_LIMIT
from harmonygw.dicom.dataset.part10 import MAX_FILE_META_LENGTH, file_header
from harmonygw.dicom.dataset.part10_reading import Part10Reading
from harmonygw.errors import BadRequest, PeerError, TooLarge
from tests.dicom.dataset.encoded import BIG_ENDIAN, DEFLATED, EXPLICIT, IMPLICIT, element, files, header, split

CT = "1.2.840.10008.5.1.4.1.1.2"


def data_set(syntax: str = EXPLICIT, *, pixels: int = 100) -> bytes:
    return b"".join(
        (
            element(0x00080016, "UI", CT.encode() + b"\0", syntax),
            element(0x00080018, "UI", b"1.2.3.4\0", syntax),
            element(0x0020000D, "UI", b"1.2\0", syntax),
            element(0x0020000E, "UI", b"1.2.3\0", syntax),
            element(0x7FE00010, "OW", bytes(pixels), syntax),
        )
    )


def file(syntax: str = EXPLICIT, *, uid: str = "1.2.3.4", sop_class: str = CT) -> bytes:
    return file_header(sop_class, uid, syntax) + data_set(syntax)


def begun(data: bytes, size: int = 0) -> tuple[Part10Reading, bytes]:
    """What is read of a file that comes in pieces, and what of its data set comes out."""
    reading = Part10Reading()
    pieces = list(split(data, size)) if data else []
    while pieces and not reading.identified:
        reading.feed(pieces.pop(0))
    if not reading.identified:
        reading.end()
    return reading, b"".join([*map(bytes, reading.data_set), *map(bytes, pieces)])


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG_ENDIAN])
@pytest.mark.parametrize("size", [0, 1, 2, 13, 131, 132, 133, 400])
def test_a_file_is_identified_wherever_the_reads_were_cut(syntax: str, size: int) -> None:
    reading, content = begun(file(syntax), size)
    assert reading.transfer_syntax_uid == syntax
    assert reading.values["StudyInstanceUID"] == "1.2"
    assert reading.values["SeriesInstanceUID"] == "1.2.3"
    assert reading.identity == (CT, "1.2.3.4")
    assert content == data_set(syntax)


MISLABELLED = "pydicom__SC_rgb_jpeg.dcm"
"""Implicit VR in a transfer syntax that is Explicit: it is refused."""


@pytest.mark.parametrize(
    ("name", "syntax", "content"),
    [one for one in files() if one[0] != MISLABELLED],
    ids=lambda value: value if type(value) is str else "",
)
@pytest.mark.parametrize("size", [0, 100])
def test_every_file_that_there_is_comes_out_as_it_is(name: str, syntax: str, content: bytes, size: int) -> None:
    reading, passed = begun(file_header(CT, "1.2", syntax) + content, size)
    assert (reading.transfer_syntax_uid, passed) == (syntax, content)


def test_a_file_without_preamble_is_taken() -> None:
    for size in (0, 1, 50):
        reading, content = begun(file()[132:], size)
        assert (reading.identity, content) == ((CT, "1.2.3.4"), data_set())


def test_a_file_may_be_identified_by_its_end_only() -> None:
    small = file_header(CT, "1.2", EXPLICIT) + element(0x00080018, "UI", b"1.2\0")
    reading, content = begun(small, 1)
    assert (reading.identity, reading.values.get("StudyInstanceUID")) == ((CT, "1.2"), None)
    assert content == element(0x00080018, "UI", b"1.2\0")


def test_a_file_may_end_with_what_was_too_little_to_be_looked_at() -> None:
    syntax = element(0x00020010, "UI", EXPLICIT.encode() + b"\0")
    long = bytes(128) + b"DICM" + element(0x00020102, "OB", bytes(5000)) + syntax
    for content in (data_set(), data_set()[:-100]):
        reading, passed = begun(long[:-1] + long[-1:] + content, len(long) - 1)
        assert (reading.values["SeriesInstanceUID"], passed) == ("1.2.3", content)


def test_a_deflated_data_set_stays_deflated() -> None:
    import zlib

    deflater = zlib.compressobj(wbits=-15)
    deflated = deflater.compress(data_set()) + deflater.flush()
    reading, content = begun(file_header(CT, "1.2.3.4", DEFLATED) + deflated, 7)
    assert (reading.values["SeriesInstanceUID"], content) == ("1.2.3", deflated)


@pytest.mark.parametrize(
    ("said", "claims"),
    [({}, (False, False)), ({"uid": "1.2.3.5"}, (False, True)), ({"sop_class": "1.2"}, (True, False))],
)
def test_what_the_meta_information_says_otherwise_is_told(said: dict[str, str], claims: tuple[bool, bool]) -> None:
    reading, _ = begun(file(**said))
    assert (reading.claims_another_class, reading.claims_another_instance) == claims


def test_what_is_not_known_yet_is_no_contradiction() -> None:
    reading = Part10Reading()
    assert (reading.identity, reading.values, reading.data_set) == (("", ""), {}, [])
    assert (reading.claims_another_class, reading.claims_another_instance) == (False, False)
    assert reading.transfer_syntax_uid == ""
    reading.feed(file_header(CT, "1.2", EXPLICIT))
    assert (reading.claims_another_class, reading.claims_another_instance) == (False, False)
    assert reading.identity == (CT, "1.2")


def test_meta_information_without_uids_is_none() -> None:
    syntax = element(0x00020010, "UI", EXPLICIT.encode() + b"\0")
    reading, _ = begun(bytes(128) + b"DICM" + syntax + data_set())
    assert reading.identity == (CT, "1.2.3.4")
    assert (reading.claims_another_class, reading.claims_another_instance) == (False, False)


@pytest.mark.parametrize("length", [0, 1, 100, 131, 132, 150, len(file_header(CT, "1.2.3.4", EXPLICIT)) - 1])
def test_a_file_that_ends_before_its_data_set_is_refused(length: int) -> None:
    with pytest.raises(PeerError, match="cut short within its file meta information"):
        begun(file()[:length])


def test_a_file_that_ends_within_its_leading_attributes_is_refused() -> None:
    with pytest.raises(PeerError, match="the data set is cut short"):
        begun(file()[: len(file_header(CT, "1.2.3.4", EXPLICIT)) + 10])


def test_what_is_no_file_is_refused() -> None:
    with pytest.raises(BadRequest, match="not a DICOM file"):
        begun(b"%PDF" + bytes(200))
    with pytest.raises(BadRequest, match="not a DICOM file"):
        begun(data_set())


def test_meta_information_has_a_limit() -> None:
    long = element(0x00020102, "OB", bytes(MAX_FILE_META_LENGTH))
    with pytest.raises(TooLarge, match="MAX_FILE_META_LENGTH"):
        begun(bytes(128) + b"DICM" + long, 1000)


def test_a_data_set_that_begins_malformed_is_refused() -> None:
    with pytest.raises(PeerError, match="malformed"):
        begun(file_header(CT, "1.2", EXPLICIT) + header(0xFFFEE00D, "", 0) + bytes(8))


def test_what_is_not_reached_in_the_limit_is_missing() -> None:
    private = element(0x00090010, "OB", bytes(HEADER_SCAN_LIMIT))
    reading, content = begun(file_header(CT, "1.2", EXPLICIT) + private + data_set(), 5000)
    assert "StudyInstanceUID" not in reading.values
    assert content == private + data_set()


def test_many_small_pieces_cost_no_more_than_few_large_ones() -> None:
    looks = 0

    class Counting(Part10Reading):
        def _look(self, data: bytes | bytearray) -> None:
            nonlocal looks
            looks += 1
            super()._look(data)

    reading = Counting()
    for piece in split(bytes(128) + b"DICM" + element(0x00020102, "OB", bytes(50_000)), 1):
        reading.feed(piece)
    assert looks < 120
