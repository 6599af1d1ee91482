"""Thumbnails; `test_rendering` has pictures of other sizes."""

from io import BytesIO
from typing import Any

import numpy
import pytest
from PIL import Image

from harmonygw.errors import BadRequest, Busy, NotAcceptable, NotFound, PeerError, RenderingFailed, TooLarge
from harmonygw.exchange import Reply
from tests.dicom.dataset.encoded import EXPLICIT, element
from tests.middleware.dicomweb_bridge.archive import body_of, headers_of
from tests.middleware.dicomweb_bridge.holding import (
    INSTANCE,
    JPEG_LS,
    MPEG4,
    SERIES,
    Held,
    PixelGateway,
    encapsulated,
    held_file,
    native,
)

OCTETS = "multipart/related; type=application/octet-stream; transfer-syntax=*"
WINDOW = element(0x00281050, "DS", b"128 ") + element(0x00281051, "DS", b"256 ")


def shades(*shades: int, uid: str = "1.2.3.4", before: bytes = b"") -> Held:
    data = native(b"".join(bytes([one]) * 64 for one in shades), 8, 8, frames=len(shades))
    at = data.index(b"\xe0\x7f")
    return Held(EXPLICIT, before + data[:at] + WINDOW + data[at:], uid)


def shade(reply: Reply) -> int:
    image = Image.open(BytesIO(body_of(reply)))
    assert image.format == "JPEG"
    return round(float(numpy.asarray(image.convert("L")).mean()))


def is_icon(asking: PixelGateway, reply: Reply, kind: str) -> bool:
    assert shade(reply) >= 0
    job, parameters, _ = asking.workers.done[-1]
    return (job, parameters["kind"]) == ("icon", kind)


@pytest.mark.parametrize("accept", [None, OCTETS, "application/octet-stream", "image/png", "text/html"])
@pytest.mark.parametrize("level", ["studies/1.2", SERIES, INSTANCE, f"{INSTANCE}/frames/1"])
def test_a_thumbnail_is_a_jpeg_whatever_is_accepted(accept: str | None, level: str) -> None:
    reply = PixelGateway(shades(80)).reply(f"{level}/thumbnail", accept)
    assert headers_of(reply)["Content-Type"] == "image/jpeg"
    assert headers_of(reply)["Cache-Control"] == "private, no-cache"
    assert abs(shade(reply) - 80) < 3


def test_the_middle_instance_stands_for_a_series_and_the_frame_for_itself() -> None:
    asking = PixelGateway(*(shades(number * 50, uid=f"1.2.3.{number}") for number in range(1, 4)))
    assert abs(shade(asking.reply(f"{SERIES}/thumbnail")) - 100) < 3
    frames = PixelGateway(shades(50, 100, 150))
    assert abs(shade(frames.reply(f"{INSTANCE}/frames/3/thumbnail")) - 150) < 3
    assert abs(shade(frames.reply(f"{INSTANCE}/frames/2,3/thumbnail")) - 100) < 3
    assert abs(shade(frames.reply(f"{INSTANCE}/thumbnail")) - 50) < 3


def test_the_viewport_is_the_largest_size() -> None:
    asking = PixelGateway(shades(80))
    assert Image.open(BytesIO(body_of(asking.reply(f"{INSTANCE}/thumbnail?viewport=4,3")))).size == (3, 3)
    assert Image.open(BytesIO(body_of(asking.reply(f"{INSTANCE}/thumbnail")))).size == (8, 8)
    for viewport in ("0,1", "1,1,0,0,1,1", "x"):
        with pytest.raises(BadRequest):
            asking.reply(f"{INSTANCE}/thumbnail?viewport={viewport}")


def test_no_word_gets_into_a_thumbnail() -> None:
    asking = PixelGateway(held_file("CT_small.dcm"))
    plain = body_of(asking.reply(f"{INSTANCE}/thumbnail"))
    assert body_of(asking.reply(f"{INSTANCE}/thumbnail?annotation=patient")) == plain


def test_what_has_names_burned_in_is_an_icon() -> None:
    burned = shades(80, before=element(0x00280301, "CS", b"YES "))
    asking = PixelGateway(burned)
    assert abs(shade(asking.reply(f"{INSTANCE}/thumbnail")) - 80) > 3


@pytest.mark.parametrize(
    ("held", "kind"),
    [
        (held_file("rtplan.dcm"), "other"),
        (held_file("test-SR.dcm"), "document"),
        (held_file("waveform_ecg.dcm"), "waveform"),
        (Held(MPEG4, encapsulated([b"ab"], 2, 2)), "video"),
        (Held(EXPLICIT, element(0x00420012, "LO", b"application/pdf ")), "document"),
    ],
)
def test_what_has_no_picture_is_an_icon(held: Held, kind: str) -> None:
    asking = PixelGateway(held)
    reply = asking.reply(f"{INSTANCE}/thumbnail?viewport=32,32")
    assert is_icon(asking, reply, kind)
    assert "ETag" in headers_of(reply)


@pytest.mark.parametrize(
    "failure",
    [
        RenderingFailed("crashed"),
        PeerError("no codestream"),
        NotAcceptable("without the extra"),
        TooLarge("too many pixels"),
    ],
)
def test_a_picture_that_fails_is_an_icon_for_now(failure: Any) -> None:
    asking = PixelGateway(shades(80))
    asking.workers.failure = failure
    reply = asking.reply(f"{INSTANCE}/thumbnail")
    assert is_icon(asking, reply, "image")
    assert "ETag" not in headers_of(reply)
    assert asking.request is not None
    assert asking.request.record.notes == [f"an icon stands for a thumbnail: {failure.detail}"]


def test_pixels_that_are_not_whole_are_an_icon_too() -> None:
    for held in (Held(EXPLICIT, native(b"ab", 2, 2)), Held(JPEG_LS, encapsulated([b"ab", b"cd"], 2, 2, frames=3))):
        asking = PixelGateway(held)
        assert is_icon(asking, asking.reply(f"{INSTANCE}/thumbnail"), "image")


def test_workers_that_are_busy_are_no_reason_for_an_icon() -> None:
    asking = PixelGateway(shades(80))
    asking.workers.failure = Busy("later", retry_after=3)
    with pytest.raises(Busy):
        asking.reply(f"{INSTANCE}/thumbnail")


@pytest.mark.parametrize(
    "target", ["studies/9", "studies/1.2/series/9", f"{SERIES}/instances/9", f"{INSTANCE}/frames/2"]
)
def test_what_is_not_there_is_not_found(target: str) -> None:
    with pytest.raises(NotFound):
        PixelGateway(shades(80)).reply(f"{target}/thumbnail")


def test_tags_tell_thumbnails_apart() -> None:
    asking = PixelGateway(shades(80, 100))
    targets = [
        f"{INSTANCE}/thumbnail",
        f"{INSTANCE}/thumbnail?viewport=4,4",
        f"{INSTANCE}/thumbnail?viewport=5,5",
        f"{INSTANCE}/frames/2/thumbnail",
    ]
    tags = [headers_of(asking.reply(target))["ETag"] for target in targets]
    assert len(set(tags)) == 4
    assert tags == [headers_of(asking.reply(target))["ETag"] for target in targets]
    assert not any(tag.startswith("W/") for tag in tags)


@pytest.mark.parametrize("level", ["studies/1.2", SERIES, INSTANCE])
def test_head_asks_whether_it_is_there(level: str) -> None:
    asking = PixelGateway(shades(80))
    reply = asking.reply(f"{level}/thumbnail", OCTETS, method="HEAD")
    assert headers_of(reply) == {"Content-Type": "image/jpeg", "Cache-Control": "private, no-cache"}
    assert (reply.body, asking.archive.retrieved) == (None, [])
