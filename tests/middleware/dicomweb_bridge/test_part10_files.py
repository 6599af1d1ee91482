"""Whole objects in the transfer syntax that is asked for: every source that is read into every target that is made."""

import io
from collections.abc import Sequence
from typing import Any

import imagecodecs
import numpy
import pydicom
import pytest
from pydicom.dataset import FileDataset
from twisted.internet.defer import Deferred

from harmonygw.errors import NotAcceptable, PeerError, RenderingFailed
from harmonygw.middleware.dicomweb_bridge.part10_files import Files
from tests.dicom.dataset.encoded import BIG_ENDIAN, DEFLATED, EXPLICIT, IMPLICIT
from tests.middleware.dicomweb_bridge.archive import Sent, body_of, instance, read_until_error, result_of
from tests.middleware.dicomweb_bridge.holding import (
    INSTANCE,
    JPEG_2000,
    JPEG_BASELINE,
    JPEG_LOSSLESS,
    JPEG_LS,
    MPEG4,
    RLE,
    SERIES,
    Held,
    InProcess,
    PixelGateway,
    bundled,
    encapsulated,
    held_file,
    native,
    parts_of,
)

LOSSLESS_SOURCES = (
    "MR_small_implicit.dcm",
    "CT_small.dcm",
    "MR_small_bigendian.dcm",
    "image_dfl.dcm",
    "MR_small_RLE.dcm",
    "MR_small_jp2klossless.dcm",
    "SC_rgb_small_odd.dcm",
    "SC_rgb_small_odd_big_endian.dcm",
    "SC_rgb_rle_2frame.dcm",
    "SC_rgb_rle_16bit_2frame.dcm",
    "examples_palette.dcm",
    "liver_1frame.dcm",
    "rtdose.dcm",
)
"""Of which pydicom has the very pixels: implicit and explicit, big endian, deflated, RLE, JPEG 2000; grey, colour,
several frames, 1, 8, 16 and 32 bits, an odd number of bytes, a palette."""

TARGETS = (EXPLICIT, DEFLATED, JPEG_2000, JPEG_LS, RLE)


def asked(syntax: str) -> str:
    return f'multipart/related; type="application/dicom"; transfer-syntax={syntax}'


def retrieved(held: Held, accept: str | None) -> tuple[FileDataset, dict[str, str], bytes]:
    ((headers, content),) = parts_of(PixelGateway(held).reply(SERIES, accept))
    return pydicom.dcmread(io.BytesIO(content)), headers, content


def expected(name: str) -> Any:
    return pydicom.dcmread(bundled(name))


def elements(data_set: Any, *, but: Sequence[int] = ()) -> dict[int, Any]:
    return {one.tag: one.value for one in data_set if one.tag not in but and one.tag.group != 2 and one.tag.element}


def pixels(data_set: Any) -> Any:
    return numpy.asarray(data_set.pixel_array)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", LOSSLESS_SOURCES)
@pytest.mark.parametrize("syntax", TARGETS)
def test_every_source_becomes_every_target_bit_for_bit(name: str, syntax: str) -> None:
    held, original = held_file(name), expected(name)
    if (original.BitsAllocated == 32 and syntax in (JPEG_2000, JPEG_LS)) or (
        original.BitsAllocated == 1 and syntax not in (EXPLICIT, DEFLATED)
    ):
        _, error = read_until_error(PixelGateway(held).reply(SERIES, asked(syntax)))
        assert isinstance(error, NotAcceptable)
        return
    received, headers, content = retrieved(held, asked(syntax))
    assert headers["Content-Type"] == f"application/dicom; transfer-syntax={syntax}"
    meta = received.file_meta
    assert (meta.TransferSyntaxUID, meta.MediaStorageSOPInstanceUID) == (syntax, "1.2.3.4")
    assert meta.FileMetaInformationGroupLength == meta_length(content)
    if syntax == JPEG_LS or (syntax == JPEG_2000 and original.SamplesPerPixel * original.BitsAllocated > 24):
        # pydicom alone decodes neither: the gateway does it again, and DCMTK in tests/interop.
        received, _, _ = retrieved(Held(syntax, content[144 + meta.FileMetaInformationGroupLength :]), None)
    assert numpy.array_equal(pixels(received), pixels(original))
    assert received.PhotometricInterpretation == original.PhotometricInterpretation
    changed = (0x7FE00010, 0x00280006, 0xFFFCFFFC)
    assert elements(received, but=changed) == elements(original, but=changed)


def meta_length(content: bytes) -> int:
    """Where the data set begins, behind the group length's element; group 2 is Explicit VR in any file."""
    at = 144
    while content[at : at + 2] == b"\2\0":
        long_form = content[at + 4 : at + 6] in (b"OB", b"UN", b"OW", b"SQ", b"UT")
        length_at, size = (at + 8, 4) if long_form else (at + 6, 2)
        at = length_at + size + int.from_bytes(content[length_at : length_at + size], "little")
    return at - 144


HTJ2K = "1.2.840.10008.1.2.4.201"


@pytest.mark.parametrize("source", [JPEG_LS, JPEG_LOSSLESS, HTJ2K])
@pytest.mark.parametrize("syntax", [EXPLICIT, JPEG_2000, RLE])
def test_what_pydicom_does_not_encode_is_decoded_too(source: str, syntax: str) -> None:
    image = numpy.arange(32 * 40, dtype="<u2").reshape(32, 40) * 51
    encode = {
        JPEG_LS: imagecodecs.jpegls_encode,
        JPEG_LOSSLESS: lambda array: imagecodecs.jpeg8_encode(array, lossless=True, bitspersample=16),
        HTJ2K: lambda array: imagecodecs.htj2k_encode(array, reversible=True),
    }[source]
    fragments = [bytes(encode(array)) for array in (image, image[::-1].copy())]
    fragments = [one + b"\0" * (len(one) % 2) for one in fragments]
    held = Held(source, encapsulated(fragments, 32, 40, frames=2, bits=16))
    received, _, _ = retrieved(held, asked(syntax))
    assert numpy.array_equal(pixels(received), [image, image[::-1]])


@pytest.mark.parametrize(
    ("name", "stored", "photometric"),
    [
        ("SC_rgb_jpeg_dcmtk.dcm", "YBR_FULL", "RGB"),
        ("SC_rgb_dcmtk_+eb+cy+np.dcm", "YBR_FULL_422", "RGB"),
        ("JPEG2000.dcm", "MONOCHROME2", "MONOCHROME2"),
        ("examples_jpeg2k.dcm", "YBR_RCT", "RGB"),
        ("examples_ybr_color.dcm", "YBR_FULL_422", "RGB"),
    ],
)
@pytest.mark.parametrize("syntax", [EXPLICIT, JPEG_2000, RLE])
def test_decoded_colours_are_named_as_they_are(name: str, stored: str, photometric: str, syntax: str) -> None:
    original = expected(name)
    assert original.PhotometricInterpretation == stored
    if syntax == original.file_meta.TransferSyntaxUID:
        return
    received, _, _ = retrieved(held_file(name), asked(syntax))
    assert received.PhotometricInterpretation == photometric
    reference = pixels(original).astype(int)
    assert numpy.abs(pixels(received).astype(int) - reference).max() <= 2


LOSSY = ("SC_rgb_jpeg_dcmtk.dcm", "JPEG2000.dcm", "JPGExtended.dcm")


@pytest.mark.parametrize("name", LOSSY)
def test_what_is_said_of_a_lossy_compression_stays(name: str) -> None:
    original = expected(name)
    received, _, _ = retrieved(held_file(name), asked(EXPLICIT))
    told = {one.tag for one in original if 0x00282110 <= one.tag <= 0x00282114}
    assert told == {one.tag for one in received if 0x00282110 <= one.tag <= 0x00282114}
    assert all(received[tag].value == original[tag].value for tag in told)


def test_the_lossy_is_decoded_for_who_names_it_and_stays_for_who_does_not() -> None:
    received, headers, content = retrieved(held_file("SC_rgb_jpeg_dcmtk.dcm"), None)
    assert headers["Content-Type"].endswith(JPEG_BASELINE)
    assert content.endswith(held_file("SC_rgb_jpeg_dcmtk.dcm").data)
    assert received.PhotometricInterpretation == "YBR_FULL"


def test_planar_colours_become_colour_by_pixel() -> None:
    value = bytes(range(24))
    data = native(value, 2, 2, samples=3, photometric="RGB", frames=2)
    planar = data.replace(b"\x28\0\6\0US\2\0\0\0", b"\x28\0\6\0US\2\0\1\0")
    assert planar != data
    received, _, _ = retrieved(Held(EXPLICIT, planar), asked(JPEG_2000))
    assert received.PlanarConfiguration == 0
    assert numpy.array_equal(pixels(received), numpy.frombuffer(value, "u1").reshape(2, 3, 2, 2).transpose(0, 2, 3, 1))


@pytest.mark.parametrize("size", [1, 100, 10**6])
@pytest.mark.parametrize("syntax", [EXPLICIT, JPEG_LS, DEFLATED])
def test_it_does_not_matter_in_what_pieces_an_object_comes(size: int, syntax: str) -> None:
    held = held_file("MR_small_RLE.dcm")
    if size == 1:
        held.data = held_file("SC_rgb_rle_2frame.dcm").data
    pieces = [[held.data[at : at + size]] for at in range(0, len(held.data), size)]
    asking = PixelGateway(held)
    asking.holding.stream_of = lambda retrieve: Sent(instance(pieces, RLE))  # type: ignore[method-assign]
    ((_, content),) = parts_of(asking.reply(SERIES, asked(syntax)))
    ((_, whole),) = parts_of(PixelGateway(Held(RLE, held.data)).reply(SERIES, asked(syntax)))
    assert pydicom.dcmread(io.BytesIO(content)) == pydicom.dcmread(io.BytesIO(whole))


def test_an_object_without_pixels_is_only_rewritten() -> None:
    received, headers, _ = retrieved(held_file("rtplan.dcm"), asked(JPEG_2000))
    assert headers["Content-Type"].endswith(JPEG_2000)
    assert elements(received) == elements(expected("rtplan.dcm"))


# What cannot be made


@pytest.mark.parametrize(
    ("held", "accept", "kind"),
    [
        (Held("1.2.840.10008.1.2.4.58", encapsulated([b"ab"], 2, 2)), None, NotAcceptable),
        (Held(MPEG4, encapsulated([b"ab"], 2, 2)), asked(EXPLICIT), NotAcceptable),
        (Held(JPEG_LOSSLESS, encapsulated([b"ab"], 2, 2)), None, PeerError),
        (Held(JPEG_LS, encapsulated([b"ab", b"cd"], 2, 2)[:-4]), None, PeerError),
        (held_file("SC_ybr_full_422_uncompressed.dcm"), asked(JPEG_2000), NotAcceptable),
        (Held(RLE, encapsulated([b"ab"], 65535, 65535)), None, NotAcceptable),
        (held_file("CT_small.dcm"), asked(JPEG_BASELINE), NotAcceptable),
    ],
)
def test_what_cannot_be_made_is_refused_before_the_first_byte(
    held: Held, accept: str | None, kind: type[Exception]
) -> None:
    asking = PixelGateway(held)
    received, error = read_until_error(asking.reply(SERIES, accept))
    assert (received, type(error)) == (b"", kind)
    assert asking.holding.streams[0].closed


def test_a_frame_that_fails_later_breaks_the_object_off() -> None:
    asking = PixelGateway(held_file("SC_rgb_rle_2frame.dcm"))
    asking.workers.held = []
    reply = asking.reply(SERIES, asked(EXPLICIT))
    errors: list[Any] = []

    async def read() -> None:
        assert reply.body is not None
        async for _ in reply.body:
            pass

    reading = Deferred.fromCoroutine(read())
    reading.addErrback(lambda failure: errors.append(failure.value))
    asking.workers.held[0].callback(None)
    asking.workers.held[1].errback(RenderingFailed("crashed"))
    assert [type(error) for error in errors] == [RenderingFailed]
    assert asking.holding.streams[0].closed


def test_a_client_that_goes_cancels_the_frame_that_is_made() -> None:
    asking = PixelGateway(held_file("SC_rgb_rle_2frame.dcm"))
    asking.workers.held = []
    body = asking.reply(SERIES, asked(EXPLICIT)).body
    assert body is not None
    waiting = Deferred.fromCoroutine(body.__anext__())
    waiting.cancel()
    waiting.addErrback(lambda _: None)
    assert asking.workers.cancelled == 1
    result_of(body.aclose())
    assert asking.holding.streams[0].closed


def test_turns_go_round_among_clients() -> None:
    clients: list[str] = []

    class Noting(InProcess):
        async def run(self, job: str, parameters: Any, payload: Any, *, client: str = "") -> Any:
            clients.append(client)
            return await super().run(job, parameters, payload)

    held = held_file("MR_small_RLE.dcm")

    async def gathered() -> int:
        files = Files(Noting(None, None))  # type: ignore[arg-type]
        return sum([len(piece) async for some in files.file(held.instance(), EXPLICIT, "somebody") for piece in some])

    assert result_of(gathered()) > len(held.data)
    assert clients == ["somebody"]


@pytest.mark.parametrize("syntax", [IMPLICIT, BIG_ENDIAN, EXPLICIT])
def test_an_instance_by_itself_says_in_which_syntax_it_is(syntax: str) -> None:
    data = native(b"\1\0\2\0\3\0\4\0", 2, 2, bits=16, syntax=syntax)
    reply = PixelGateway(Held(syntax, data)).reply(INSTANCE, f"application/dicom; transfer-syntax={RLE}")
    assert dict(reply.headers)["Content-Type"] == f"application/dicom; transfer-syntax={RLE}"
    received = pydicom.dcmread(io.BytesIO(body_of(reply)))
    assert received.file_meta.TransferSyntaxUID == RLE
    assert pixels(received).ravel().tolist() == ([1, 2, 3, 4] if syntax != BIG_ENDIAN else [256, 512, 768, 1024])
