"""Retrieve Pixel Data, at the three levels; `test_framing` has its frames."""

from pathlib import Path
from typing import Any

import pydicom
import pytest

from harmonygw.errors import Incomplete, NotAcceptable, NotFound, PeerError, RangeNotSatisfiable
from harmonygw.operations import Level, Retrieve
from tests.dicom.dataset.encoded import EXPLICIT
from tests.middleware.dicomweb_bridge.archive import BASE_URL, body_of, headers_of, read_until_error, result_of
from tests.middleware.dicomweb_bridge.holding import (
    INSTANCE,
    JPEG_BASELINE,
    JPEG_LS,
    MPEG2,
    MPEG4,
    RLE,
    SERIES,
    Held,
    PixelGateway,
    bundled,
    encapsulated,
    held_file,
    native,
    parts_of,
)

PIXELS = f"{INSTANCE}/pixeldata"
AS_STORED = "multipart/related; type=application/octet-stream; transfer-syntax=*"
FOUR = bytes(range(16))


def four(**others: Any) -> Held:
    return Held(EXPLICIT, native(FOUR, 2, 2, frames=4), **others)


def compressed(**others: Any) -> Held:
    return Held(JPEG_LS, encapsulated([b"ab", b"cdef"], 2, 2, frames=2), **others)


def video(syntax: str = MPEG4) -> Held:
    return Held(syntax, encapsulated([b"\0\0\0\x18ft", b"ypmp42"], 2, 2, frames=50))


# One instance


@pytest.mark.parametrize("cached", [True, False])
@pytest.mark.parametrize("accept", [None, AS_STORED])
def test_native_pixel_data_is_one_part(tmp_path: Path, accept: str | None, cached: bool) -> None:
    ((headers, content),) = parts_of(PixelGateway(four(cached=cached), folder=tmp_path).reply(PIXELS, accept))
    assert headers == {
        "Content-Type": f"application/octet-stream; transfer-syntax={EXPLICIT}",
        "Content-Location": f"{BASE_URL}/{PIXELS}",
    }
    assert content == FOUR


def test_compressed_pixel_data_is_a_part_for_each_frame() -> None:
    assert parts_of(PixelGateway(compressed()).reply(PIXELS, AS_STORED)) == [
        (
            {
                "Content-Type": f"application/octet-stream; transfer-syntax={JPEG_LS}",
                "Content-Location": f"{BASE_URL}/{INSTANCE}/frames/{number}",
            },
            content,
        )
        for number, content in ((1, b"ab"), (2, b"cdef"))
    ]


def test_compressed_pixel_data_is_decoded_into_one_part() -> None:
    ((headers, content),) = parts_of(PixelGateway(held_file("SC_rgb_rle_2frame.dcm")).reply(PIXELS))
    assert headers["Content-Type"] == f"application/octet-stream; transfer-syntax={EXPLICIT}"
    assert content == pydicom.dcmread(bundled("SC_rgb_rle_2frame.dcm")).pixel_array.tobytes()


def test_native_pixel_data_is_encoded_a_part_for_each_frame() -> None:
    asking = PixelGateway(four())
    received = parts_of(asking.reply(PIXELS, 'multipart/related; type="image/dicom-rle"'))
    assert [headers["Content-Type"] for headers, _ in received] == [f"image/dicom-rle; transfer-syntax={RLE}"] * 4
    assert asking.workers.jobs == ["transcode"] * 4


@pytest.mark.parametrize(
    ("held", "accept", "content_type", "content"),
    [
        (four(), "application/octet-stream", f"application/octet-stream; transfer-syntax={EXPLICIT}", FOUR),
        (video(), "video/mp4", f"video/mp4; transfer-syntax={MPEG4}", b"\0\0\0\x18ftypmp42"),
        (video(MPEG2), "video/mpeg", f"video/mpeg; transfer-syntax={MPEG2}", b"\0\0\0\x18ftypmp42"),
        (
            Held(JPEG_BASELINE, encapsulated([b"ab"], 2, 2)),
            "image/jpeg",
            f"image/jpeg; transfer-syntax={JPEG_BASELINE}",
            b"ab",
        ),
    ],
)
@pytest.mark.parametrize("asked", [None, "bytes=1-", "bytes=0-1", "bytes=-1"])
def test_what_is_one_part_can_come_by_itself_and_by_ranges(
    held: Held, accept: str, content_type: str, content: bytes, asked: str | None
) -> None:
    reply = PixelGateway(held).reply(PIXELS, accept, headers={} if asked is None else {"range": asked})
    headers = headers_of(reply)
    assert (headers["Content-Type"], headers["Accept-Ranges"]) == (content_type, "bytes")
    assert not headers["ETag"].startswith("W/")
    if asked is None:
        assert (reply.status, body_of(reply)) == (200, content)
        return
    assert reply.status == 206
    start, _, end = headers["Content-Range"].removeprefix("bytes ").partition("/")[0].partition("-")
    assert body_of(reply) == content[int(start) : int(end) + 1]


@pytest.mark.parametrize("resource", ["pixeldata", "bulkdata/7FE00010"])
def test_a_video_is_played_from_its_url_alone(resource: str) -> None:
    asking = PixelGateway(video())
    reply = asking.reply(f"{INSTANCE}/{resource}?accept=video/mp4", "*/*", headers={"range": "bytes=4-7"})
    assert (reply.status, body_of(reply)) == (206, b"ftyp")
    assert headers_of(reply)["Content-Range"] == "bytes 4-7/12"
    again = asking.reply(
        f"{INSTANCE}/{resource}?accept=video/mp4",
        "*/*",
        headers={"range": "bytes=4-", "if-range": headers_of(reply)["ETag"]},
    )
    assert (again.status, body_of(again)) == (206, b"ftypmp42")
    with pytest.raises(RangeNotSatisfiable):
        asking.reply(f"{INSTANCE}/{resource}?accept=video/mp4", "*/*", headers={"range": "bytes=12-"})


def test_a_range_of_a_multipart_is_one_of_the_value_in_it() -> None:
    reply = PixelGateway(video()).reply(PIXELS, AS_STORED, headers={"range": "bytes=4-6"})
    assert reply.status == 206
    assert headers_of(reply)["Content-Range"] == "bytes 4-6/12"
    assert headers_of(reply)["ETag"].startswith('W/"')
    ((headers, content),) = parts_of(reply)
    assert headers["Content-Type"] == f"application/octet-stream; transfer-syntax={MPEG4}"
    assert content == b"fty"


def test_what_is_decoded_can_come_by_itself() -> None:
    reply = PixelGateway(held_file("SC_rgb_rle_2frame.dcm")).reply(PIXELS, "application/octet-stream")
    assert body_of(reply) == pydicom.dcmread(bundled("SC_rgb_rle_2frame.dcm")).pixel_array.tobytes()
    assert "Accept-Ranges" not in headers_of(reply)


def test_several_compressed_frames_come_in_a_multipart_only() -> None:
    asking = PixelGateway(compressed())
    with pytest.raises(NotAcceptable, match="2 frames"):
        asking.reply(PIXELS, "application/octet-stream; transfer-syntax=*")
    reply = asking.reply(PIXELS, "application/octet-stream; transfer-syntax=*, multipart/related;q=0.1")
    assert headers_of(reply)["Content-Type"].startswith("multipart/related")


def test_a_video_that_nothing_accepts_is_not_acceptable() -> None:
    with pytest.raises(NotAcceptable, match=r"transfer-syntax=\*"):
        PixelGateway(video()).reply(PIXELS, "image/jpeg")


def test_frames_that_cannot_be_told_apart_are_refused() -> None:
    held = Held(JPEG_LS, encapsulated([b"ab", b"cd", b"ef"], 2, 2, frames=2))
    received, error = read_until_error(PixelGateway(held).reply(PIXELS, AS_STORED))
    assert isinstance(error, PeerError)
    assert received == b""


def test_an_instance_without_pixels_has_no_pixel_data() -> None:
    with pytest.raises(NotFound):
        PixelGateway(held_file("rtplan.dcm")).reply(PIXELS)


# Series and studies


@pytest.mark.parametrize(
    ("target", "operation"),
    [
        ("studies/1.2", Retrieve(Level.STUDY, "1.2", random_access=True)),
        (SERIES, Retrieve(Level.SERIES, "1.2", "1.2.3", random_access=True)),
    ],
)
@pytest.mark.parametrize("cached", [True, False])
def test_every_instance_with_pixels_has_its_parts(
    tmp_path: Path, target: str, operation: Retrieve, cached: bool
) -> None:
    asking = PixelGateway(
        held_file("rtplan.dcm", uid="1.2.3.1", cached=cached),
        four(uid="1.2.3.2", cached=cached),
        compressed(uid="1.2.3.3", cached=cached),
        folder=tmp_path,
    )
    reply = asking.reply(f"{target}/pixeldata", AS_STORED)
    assert headers_of(reply)["Content-Type"].startswith('multipart/related; type="application/octet-stream"; ')
    found = [
        (headers["Content-Location"].removeprefix(f"{BASE_URL}/{SERIES}/instances/"), content)
        for headers, content in parts_of(reply)
    ]
    assert found == [("1.2.3.2/pixeldata", FOUR), ("1.2.3.3/frames/1", b"ab"), ("1.2.3.3/frames/2", b"cdef")]
    assert asking.archive.retrieved == [operation]
    assert asking.holding.streams[0].closed


def test_the_type_of_the_multipart_is_that_of_its_first_part() -> None:
    reply = PixelGateway(video()).reply(f"{SERIES}/pixeldata", "*/*")
    assert headers_of(reply)["Content-Type"].startswith('multipart/related; type="video/mp4"; ')
    ((headers, _),) = parts_of(reply)
    assert headers["Content-Type"] == f"video/mp4; transfer-syntax={MPEG4}"


@pytest.mark.parametrize("held", [[], [held_file("rtplan.dcm")]])
def test_a_series_without_pixels_is_not_found(held: list[Held]) -> None:
    asking = PixelGateway(*held)
    with pytest.raises(NotFound):
        asking.reply(f"{SERIES}/pixeldata")
    assert asking.holding.streams[0].closed


def test_a_series_whose_first_instance_cannot_be_made_acceptable_is_refused_before_the_first_byte() -> None:
    asking = PixelGateway(video(), four(uid="1.2.3.5"))
    with pytest.raises(NotAcceptable):
        asking.reply(f"{SERIES}/pixeldata", "image/jpeg, multipart/related; type=image/jls")
    assert asking.holding.streams[0].closed


def test_what_breaks_off_has_no_last_boundary() -> None:
    asking = PixelGateway(four(), Incomplete("one is missing"))
    reply = asking.reply(f"{SERIES}/pixeldata")
    received, error = read_until_error(reply)
    assert isinstance(error, Incomplete)
    assert FOUR in received
    assert received.count(headers_of(reply)["Content-Type"].rpartition("=")[2].encode()) == 1
    assert asking.holding.streams[0].closed


@pytest.mark.parametrize("read", [0, 1])
def test_a_body_that_is_given_up_gives_the_instances_up(read: int) -> None:
    asking = PixelGateway(four(), four(uid="1.2.3.5"))
    body = asking.reply(f"{SERIES}/pixeldata").body
    assert body is not None

    async def give_up() -> None:
        for _ in range(read):
            await body.__anext__()
        await body.aclose()

    assert not asking.holding.streams[0].closed
    result_of(give_up())
    assert asking.holding.streams[0].closed


@pytest.mark.parametrize("target", ["studies/1.2", SERIES, INSTANCE])
def test_head_asks_whether_it_is_there(target: str) -> None:
    asking = PixelGateway(four())
    reply = asking.reply(f"{target}/pixeldata", method="HEAD")
    assert headers_of(reply)["Content-Type"].startswith('multipart/related; type="application/octet-stream"; ')
    assert (reply.body, asking.archive.retrieved) == (None, [])
