import zlib
from pathlib import Path
from typing import Any

import pydicom
import pytest

from harmonygw.dicom.web import multipart
from harmonygw.errors import BadRequest, NotAcceptable, NotFound, PeerError, RenderingFailed
from harmonygw.files import DamagedFile
from harmonygw.middleware.dicomweb_bridge import framing
from harmonygw.operations import Level, Retrieve
from tests.dicom.dataset.encoded import BIG_ENDIAN, DEFLATED, EXPLICIT, IMPLICIT, element
from tests.middleware.dicomweb_bridge.archive import BASE_URL, body_of, headers_of, read_until_error, result_of
from tests.middleware.dicomweb_bridge.holding import (
    INSTANCE,
    JPEG_2000,
    JPEG_BASELINE,
    JPEG_LS,
    MPEG4,
    RLE,
    Held,
    PixelGateway,
    bundled,
    encapsulated,
    held_file,
    native,
    next_of,
    parts_of,
    pixel_module,
)

FRAMES = f"{INSTANCE}/frames"
CORNERSTONE = "multipart/related; type=application/octet-stream; transfer-syntax=*"
SINGLE = "application/octet-stream"
FOUR = bytes(range(16))
NO_STORE = ("Cache-Control", "private, no-cache")


def four(**others: Any) -> Held:
    """Four frames of two by two."""
    return Held(EXPLICIT, native(FOUR, 2, 2, frames=4), **others)


def frame(number: int) -> bytes:
    return FOUR[number * 4 - 4 : number * 4]


# Frames as they are stored


def test_a_frame_comes_byte_for_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(multipart, "boundary", lambda: "b" * 40)
    reply = PixelGateway(four()).reply(f"{FRAMES}/3")
    content_type = f'multipart/related; type="application/octet-stream"; boundary={"b" * 40}'
    assert headers_of(reply)["Content-Type"] == content_type
    assert NO_STORE in reply.headers
    assert body_of(reply) == (
        b"--" + b"b" * 40 + b"\r\n"
        b"Content-Type: application/octet-stream; transfer-syntax=1.2.840.10008.1.2.1\r\n"
        b"Content-Location: " + f"{BASE_URL}/{FRAMES}/3".encode() + b"\r\n"
        b"\r\n" + frame(3) + b"\r\n--" + b"b" * 40 + b"--\r\n"
    )
    assert reply.body is not None
    assert reply.body.length == reply.body.size


@pytest.mark.parametrize("cached", [True, False])
@pytest.mark.parametrize("at_once", [10**6, 0])
@pytest.mark.parametrize("numbers", ["1", "4", "1,2,3,4", "4,2,3", "2,2", "1,4,1"])
def test_frames_come_in_the_order_of_the_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, numbers: str, at_once: int, cached: bool
) -> None:
    monkeypatch.setattr(framing, "AT_ONCE", at_once)
    asking = PixelGateway(four(cached=cached), folder=tmp_path)
    received = parts_of(asking.reply(f"{FRAMES}/{numbers}", CORNERSTONE))
    assert received == [
        (
            {
                "Content-Type": "application/octet-stream; transfer-syntax=1.2.840.10008.1.2.1",
                "Content-Location": f"{BASE_URL}/{FRAMES}/{number}",
            },
            frame(int(number)),
        )
        for number in numbers.split(",")
    ]
    assert asking.archive.retrieved == [Retrieve(Level.IMAGE, "1.2", "1.2.3", ("1.2.3.4",), random_access=True)]
    assert asking.workers.done == []


@pytest.mark.parametrize("at_once", [10**6, 0])
def test_one_frame_can_come_by_itself(monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    monkeypatch.setattr(framing, "AT_ONCE", at_once)
    reply = PixelGateway(four()).reply(f"{FRAMES}/2", SINGLE)
    assert headers_of(reply)["Content-Type"] == f"application/octet-stream; transfer-syntax={EXPLICIT}"
    assert body_of(reply) == frame(2)


def test_several_frames_cannot() -> None:
    with pytest.raises(NotAcceptable):
        PixelGateway(four()).reply(f"{FRAMES}/2,3", SINGLE)


@pytest.mark.parametrize(("length", "streams"), [(16, False), (15, True)])
def test_more_bytes_than_are_read_at_once_stream(monkeypatch: pytest.MonkeyPatch, length: int, streams: bool) -> None:
    monkeypatch.setattr(framing, "AT_ONCE", length)
    held = four()
    reply = PixelGateway(held).reply(f"{FRAMES}/1,2,3,4", CORNERSTONE)
    assert reply.body is not None
    assert (reply.body.whole is None) == streams
    assert sum(size for _, size in held.file.reads) == (1 if streams else 16)


def test_a_long_frame_is_read_a_piece_at_a_time() -> None:
    rows, columns = 2048, 1025
    length = rows * columns * 2
    assert length > framing.AT_ONCE
    held = Held(EXPLICIT, native(bytes(length), rows, columns, bits=16))
    reply = PixelGateway(held).reply(f"{FRAMES}/1", CORNERSTONE)
    got: list[Any] = []
    next_of(reply).addCallback(got.append)
    ((header, piece),) = got
    assert header.startswith(b"--")
    assert len(piece) == 4096
    assert len(body_of(reply)) > length - 4096


@pytest.mark.parametrize("syntax", [IMPLICIT, BIG_ENDIAN, DEFLATED])
@pytest.mark.parametrize("cached", [True, False])
def test_native_frames_are_little_endian_whatever_the_object_is(tmp_path: Path, syntax: str, cached: bool) -> None:
    words = b"".join(number.to_bytes(2, "big" if syntax == BIG_ENDIAN else "little") for number in range(8))
    data = native(words, 2, 2, bits=16, frames=2, syntax=EXPLICIT if syntax == DEFLATED else syntax)
    if syntax == DEFLATED:
        deflater = zlib.compressobj(wbits=-15)
        data = deflater.compress(data) + deflater.flush()
    asking = PixelGateway(Held(syntax, data, cached=cached), folder=tmp_path)
    ((headers, content),) = parts_of(asking.reply(f"{FRAMES}/2", CORNERSTONE))
    assert headers["Content-Type"].endswith(f"transfer-syntax={EXPLICIT}")
    assert content == b"\4\0\5\0\6\0\7\0"


@pytest.mark.parametrize("syntax", [JPEG_LS, "1.2.840.10008.1.2.4.58", "1.3.6.1.4.1.1"])
def test_compressed_frames_are_labelled_as_they_are_stored(syntax: str) -> None:
    held = Held(syntax, encapsulated([b"ab", b"cdef"], 2, 2, frames=2))
    received = parts_of(PixelGateway(held).reply(f"{FRAMES}/2,1", CORNERSTONE))
    assert [(headers["Content-Type"].partition("=")[2], content) for headers, content in received] == [
        (syntax, b"cdef"),
        (syntax, b"ab"),
    ]


def test_an_image_type_is_the_type_of_the_parts() -> None:
    held = Held(JPEG_BASELINE, encapsulated([b"\xff\xd8\xff\xe0"], 2, 2))
    reply = PixelGateway(held).reply(f"{FRAMES}/1", 'multipart/related; type="image/jpeg"')
    assert headers_of(reply)["Content-Type"].startswith('multipart/related; type="image/jpeg"; boundary=')
    ((headers, content),) = parts_of(reply)
    assert headers["Content-Type"] == f"image/jpeg; transfer-syntax={JPEG_BASELINE}"
    assert content == b"\xff\xd8\xff\xe0"


def test_frames_of_bits_begin_with_a_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    held = Held(EXPLICIT, native(bytes([0b10110101, 0b00011010]), 1, 5, bits=1, frames=3))
    for at_once in (100, 0):
        monkeypatch.setattr(framing, "AT_ONCE", at_once)
        received = parts_of(PixelGateway(held).reply(f"{FRAMES}/3,1", CORNERSTONE))
        assert [content for _, content in received] == [b"\x06", b"\x15"]


def test_floating_point_frames_are_frames() -> None:
    value = bytes(range(16))
    data = pixel_module(1, 2, frames=2, bits=32) + element(0x7FE00008, "OF", value)
    ((_, content),) = parts_of(PixelGateway(Held(EXPLICIT, data)).reply(f"{FRAMES}/2"))
    assert content == value[8:]


def test_a_video_is_one_frame() -> None:
    held = Held(MPEG4, encapsulated([b"ab", b"cd"], 2, 2, frames=50))
    ((headers, content),) = parts_of(PixelGateway(held).reply(f"{FRAMES}/1", CORNERSTONE))
    assert (headers["Content-Type"].partition("=")[2], content) == (MPEG4, b"abcd")
    with pytest.raises(NotFound):
        PixelGateway(held).reply(f"{FRAMES}/2", CORNERSTONE)


# Frames that are made


@pytest.mark.parametrize(
    ("name", "numbers"),
    [
        ("MR_small_jp2klossless.dcm", "1"),
        ("MR_small_RLE.dcm", "1"),
        ("SC_rgb_rle_2frame.dcm", "2,1"),
        ("rtdose_rle.dcm", "15,1,8,8"),
        ("SC_rgb_jpeg_dcmtk.dcm", "1"),
    ],
)
def test_frames_are_decoded_bit_for_bit(name: str, numbers: str) -> None:
    asking = PixelGateway(held_file(name))
    received = parts_of(asking.reply(f"{FRAMES}/{numbers}"))
    expected = pydicom.dcmread(bundled(name)).pixel_array
    for number, (headers, content) in zip(numbers.split(","), received, strict=True):
        assert headers["Content-Type"] == f"application/octet-stream; transfer-syntax={EXPLICIT}"
        assert headers["Content-Location"] == f"{BASE_URL}/{FRAMES}/{number}"
        assert content == (expected[int(number) - 1] if "," in numbers else expected).tobytes()
    assert set(asking.workers.jobs) == {"decode"}


@pytest.mark.parametrize(
    ("media_type", "syntax"), [("image/jls", JPEG_LS), ("image/jp2", JPEG_2000), ("image/dicom-rle", RLE)]
)
@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small_RLE.dcm"])
def test_frames_are_encoded_without_loss(name: str, media_type: str, syntax: str) -> None:
    reply = PixelGateway(held_file(name)).reply(f"{FRAMES}/1", media_type)
    assert headers_of(reply)["Content-Type"] == f"{media_type}; transfer-syntax={syntax}"
    encoded = body_of(reply)
    described = pydicom.dcmread(bundled(name))
    data = encapsulated([encoded], described.Rows, described.Columns, bits=16)
    # Pixel Representation is signed in both.
    data = data.replace(element(0x00280103, "US", b"\0\0"), element(0x00280103, "US", b"\1\0"))
    ((_, decoded),) = parts_of(PixelGateway(Held(syntax, data)).reply(f"{FRAMES}/1"))
    assert decoded == described.pixel_array.tobytes()


def test_a_frame_that_is_no_codestream_fails_the_request_before_the_first_byte() -> None:
    reply = PixelGateway(Held(JPEG_LS, encapsulated([b"abcd"], 2, 2))).reply(f"{FRAMES}/1")
    received, error = read_until_error(reply)
    assert received == b""
    assert isinstance(error, PeerError)


def test_a_worker_that_crashes_later_leaves_the_body_without_its_end() -> None:
    asking = PixelGateway(held_file("SC_rgb_rle_2frame.dcm"))
    asking.workers.held = []
    reply = asking.reply(f"{FRAMES}/1,2")
    first = next_of(reply)
    asking.workers.held[0].callback(None)
    asking.workers.held[1].errback(RenderingFailed("crashed"))
    assert first.called
    received, error = read_until_error(reply)
    assert isinstance(error, RenderingFailed)
    assert received == b""


def test_a_client_that_goes_cancels_what_is_made_for_it() -> None:
    asking = PixelGateway(held_file("SC_rgb_rle_2frame.dcm"))
    asking.workers.held = []
    waiting = next_of(asking.reply(f"{FRAMES}/1,2"))
    waiting.cancel()
    waiting.addErrback(lambda _: None)
    assert asking.workers.cancelled == 2


def test_a_body_that_is_not_read_makes_nothing() -> None:
    asking = PixelGateway(held_file("SC_rgb_rle_2frame.dcm"))
    reply = asking.reply(f"{FRAMES}/1,2")
    assert reply.body is not None
    result_of(reply.body.aclose())
    assert asking.workers.done == []


# Entity tags


def tag(held: Held, target: str = "1", accept: str | None = None) -> str:
    return headers_of(PixelGateway(held).reply(f"{FRAMES}/{target}", accept))["ETag"]


def test_a_representation_has_one_tag_and_another_one_another() -> None:
    assert tag(four()) == tag(four())
    assert tag(four()).startswith('W/"')
    assert not tag(four(), accept=SINGLE).startswith("W/")
    others = [
        tag(four()),
        tag(four(), "2"),
        tag(four(), "1,2"),
        tag(four(), "2,1"),
        tag(four(), "12"[:1] + ",1"),
        tag(four(), accept=SINGLE),
        tag(four(), accept="image/jls"),
        tag(four(), accept="image/x-jls"),
        tag(Held(EXPLICIT, native(FOUR[::-1], 2, 2, frames=4))),
    ]
    assert len(set(others)) == len(others)


def test_lists_that_differ_at_their_ends_only_have_tags_that_differ() -> None:
    many = ",".join(["1"] * 100)
    assert tag(four(), f"{many},2") != tag(four(), f"{many},3")
    assert len(tag(four(), many)) < 80


def test_a_tag_is_there_before_anything_is_read() -> None:
    held = held_file("MR_small_RLE.dcm")
    asking = PixelGateway(held)
    assert "ETag" in headers_of(asking.reply(f"{FRAMES}/1"))
    assert sum(size for _, size in held.file.reads) == 1
    assert asking.workers.done == []


# What there is not


@pytest.mark.parametrize(("numbers", "kind"), [("5", NotFound), ("1,5", NotFound), ("0", NotFound), ("x", BadRequest)])
@pytest.mark.parametrize("accept", [None, CORNERSTONE])
def test_a_frame_that_is_not_there_is_refused_with_the_others(
    numbers: str, kind: type[Exception], accept: str | None
) -> None:
    with pytest.raises(kind):
        PixelGateway(four()).reply(f"{FRAMES}/{numbers}", accept)


def test_an_instance_without_pixels_has_no_frames() -> None:
    with pytest.raises(NotFound, match="no frames"):
        PixelGateway(held_file("rtplan.dcm")).reply(f"{FRAMES}/1")


def test_an_instance_that_is_not_there_is_not_found() -> None:
    with pytest.raises(NotFound):
        PixelGateway().reply(f"{FRAMES}/1")


def test_a_malformed_object_is_the_archive_s_fault() -> None:
    with pytest.raises(PeerError, match="malformed"):
        PixelGateway(Held(EXPLICIT, native(FOUR, 2, 2)[:-3])).reply(f"{FRAMES}/1")


def test_what_nothing_decodes_is_not_acceptable() -> None:
    held = Held("1.2.840.10008.1.2.4.58", encapsulated([b"ab"], 2, 2))
    with pytest.raises(NotAcceptable, match=r"transfer-syntax=\*"):
        PixelGateway(held).reply(f"{FRAMES}/1")


# HEAD, and damage


@pytest.mark.parametrize(
    ("accept", "content_type"), [(None, "multipart/related; type="), (SINGLE, "application/octet-stream")]
)
def test_head_asks_whether_the_instance_is_there_and_moves_nothing(accept: str | None, content_type: str) -> None:
    asking = PixelGateway(four())
    reply = asking.reply(f"{FRAMES}/1", accept, method="HEAD")
    assert headers_of(reply)["Content-Type"].startswith(content_type)
    assert (reply.body, asking.archive.retrieved) == (None, [])
    with pytest.raises(NotFound):
        PixelGateway().reply(f"{FRAMES}/1", accept, method="HEAD")


@pytest.mark.parametrize("at_once", [100, 0])
@pytest.mark.parametrize("accept", [CORNERSTONE, "image/dicom-rle"])
def test_what_is_damaged_is_asked_for_again_once(monkeypatch: pytest.MonkeyPatch, at_once: int, accept: str) -> None:
    monkeypatch.setattr(framing, "AT_ONCE", at_once)
    damaged, whole = four(), four()
    damaged.file.damaged = True
    asking = PixelGateway(damaged)
    holding = asking.holding
    stream_of = holding.stream_of

    def repaired(retrieve: Retrieve) -> Any:
        stream = stream_of(retrieve)
        holding.held = (whole,)
        return stream

    monkeypatch.setattr(holding, "stream_of", repaired)
    assert body_of(asking.reply(f"{FRAMES}/1", accept))
    assert len(asking.archive.retrieved) == 2
    whole.file.damaged = True
    with pytest.raises(DamagedFile):
        asking.reply(f"{FRAMES}/1", accept)
    assert len(asking.archive.retrieved) == 4
