import tracemalloc
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy
import pytest
from PIL import Image

from harmonygw.errors import BadRequest, Incomplete, NotAcceptable, NotFound, PeerError, RangeNotSatisfiable, TooLarge
from harmonygw.exchange import Reply
from harmonygw.middleware.dicomweb_bridge import rendering
from harmonygw.operations import Level, Retrieve
from tests.dicom.dataset.encoded import BIG_ENDIAN, DEFLATED, EXPLICIT, element
from tests.middleware.dicomweb_bridge.archive import (
    BASE_URL,
    body_of,
    headers_of,
    read_until_error,
    result_of,
    warnings_of,
)
from tests.middleware.dicomweb_bridge.holding import (
    INSTANCE,
    JPEG_LS,
    MPEG2,
    MPEG4,
    SERIES,
    Held,
    PixelGateway,
    encapsulated,
    headers_of_all,
    held_file,
    native,
    parts_of,
)

RENDERED = f"{INSTANCE}/rendered"
DOCUMENT = b"%PDF-1.4 " + bytes(2000) + b"%%EOF "
GREY = bytes(range(0, 256, 4))
"""Eight by eight."""
WINDOW = element(0x00281050, "DS", b"128 ") + element(0x00281051, "DS", b"256 ")


def grey(frames: int = 1, before: bytes = b"", **others: Any) -> Held:
    data = native(GREY * frames, 8, 8, frames=frames)
    at = data.index(b"\xe0\x7f")
    return Held(EXPLICIT, data[:at] + before + WINDOW + data[at:], **others)


def video(syntax: str = MPEG4) -> Held:
    return Held(syntax, encapsulated([b"\0\0\0\x18ft", b"ypmp42"], 2, 2, frames=50))


def pdf(value: bytes = DOCUMENT) -> Held:
    return Held(EXPLICIT, element(0x00420011, "OB", value) + element(0x00420012, "LO", b"application/pdf "))


def opened(data: bytes) -> Image.Image:
    image = Image.open(BytesIO(data))
    image.load()
    return image


def picture(reply: Reply) -> Any:
    return numpy.asarray(opened(body_of(reply)))


# Images


@pytest.mark.parametrize(
    ("accept", "media_type", "form"),
    [
        (None, "image/jpeg", "JPEG"),
        ("*/*", "image/jpeg", "JPEG"),
        ("image/*", "image/jpeg", "JPEG"),
        ("image/avif,image/png;q=0.9,*/*;q=0.8", "image/png", "PNG"),
        ("application/pdf, image/gif;q=0.5", "image/gif", "GIF"),
    ],
)
@pytest.mark.parametrize("cached", [True, False])
def test_an_image_is_rendered_in_the_form_that_is_accepted(
    tmp_path: Path, accept: str | None, media_type: str, form: str, cached: bool
) -> None:
    asking = PixelGateway(grey(cached=cached), folder=tmp_path)
    reply = asking.reply(RENDERED, accept)
    headers = headers_of(reply)
    assert (reply.status, headers["Content-Type"], headers["Cache-Control"]) == (
        200,
        media_type,
        "private, no-cache",
    )
    image = opened(body_of(reply))
    assert (image.format, image.size) == (form, (8, 8))
    assert asking.archive.retrieved == [Retrieve(Level.IMAGE, "1.2", "1.2.3", ("1.2.3.4",), random_access=True)]
    assert asking.workers.jobs == ["render"]


@pytest.mark.parametrize("syntax", [DEFLATED, BIG_ENDIAN])
def test_the_encoding_of_the_object_makes_no_difference(tmp_path: Path, syntax: str) -> None:
    name = {DEFLATED: "image_dfl.dcm", BIG_ENDIAN: "MR_small_bigendian.dcm"}[syntax]
    reply = PixelGateway(held_file(name), folder=tmp_path).reply(RENDERED, "image/png")
    assert picture(reply).std() > 10


def test_big_endian_pixels_look_as_little_endian_ones_do(tmp_path: Path) -> None:
    names = ("MR_small_bigendian.dcm", "MR_small.dcm")
    gateways = [PixelGateway(held_file(name), folder=tmp_path) for name in names]
    assert numpy.array_equal(*(picture(one.reply(RENDERED, "image/png")) for one in gateways))


def test_the_words_of_the_request_reach_the_picture() -> None:
    asking = PixelGateway(grey())
    plain = picture(asking.reply(RENDERED, "image/png"))
    assert plain.ravel().tolist() == list(GREY)
    cut = picture(asking.reply(f"{RENDERED}?viewport=2,4,1,2,2,4&window=128,256,linear", "image/png"))
    assert cut.tolist() == plain[2:6, 1:3].tolist()
    flipped = picture(asking.reply(f"{RENDERED}?viewport=2,4,1,2,-2,-4", "image/png"))
    assert flipped.tolist() == plain[2:6, 1:3][::-1, ::-1].tolist()
    windowed = picture(asking.reply(f"{RENDERED}?window=100,1,linear", "image/png"))
    assert set(windowed.ravel().tolist()) == {0, 255}
    coarse, fine = (body_of(asking.reply(f"{RENDERED}?quality={quality}")) for quality in (1, 100))
    assert len(coarse) < len(fine)
    annotated = PixelGateway(held_file("CT_small.dcm"))
    with_text, without = (
        picture(annotated.reply(f"{RENDERED}{query}", "image/png")) for query in ("?annotation=patient", "")
    )
    assert not numpy.array_equal(with_text, without)
    assert "icc_profile" in opened(body_of(asking.reply(f"{RENDERED}?iccprofile=srgb", "image/png"))).info


def test_a_gif_has_no_place_for_a_profile() -> None:
    asking = PixelGateway(grey())
    with pytest.raises(BadRequest, match="iccprofile"):
        asking.reply(f"{RENDERED}?iccprofile=yes", "image/gif")
    assert opened(body_of(asking.reply(f"{RENDERED}?iccprofile=no", "image/gif"))).format == "GIF"


@pytest.mark.parametrize(
    "query", ["viewport=0,1", "window=1,2", "quality=101", "iccprofile=x", "viewport=8,8,9,9", "annotation="]
)
def test_parameters_that_make_no_sense_are_refused(query: str) -> None:
    with pytest.raises(BadRequest):
        PixelGateway(grey()).reply(f"{RENDERED}?{query}")


@pytest.mark.parametrize("target", [RENDERED, f"{SERIES}/rendered"])
def test_an_annotation_that_is_not_known_is_warned_of(target: str) -> None:
    reply = PixelGateway(grey()).reply(f"{target}?annotation=patient,weather")
    assert warnings_of(reply) == ['299 harmonygw "Annotation weather is not known."']


# Frames


def distinct(frames: int) -> Held:
    """Frames of one shade each, told apart by it."""
    data = native(b"".join(bytes([number * 40]) * 64 for number in range(1, frames + 1)), 8, 8, frames=frames)
    at = data.index(b"\xe0\x7f")
    return Held(EXPLICIT, data[:at] + WINDOW + data[at:])


@pytest.mark.parametrize("number", [1, 2, 5])
def test_a_frame_is_rendered(number: int) -> None:
    shown = picture(PixelGateway(distinct(5)).reply(f"{INSTANCE}/frames/{number}/rendered", "image/png"))
    assert set(shown.ravel().tolist()) == {number * 40}


@pytest.mark.parametrize(("representative", "number"), [(None, 1), (3, 3), (5, 5), (6, 1), (0, 1)])
def test_the_representative_frame_stands_for_the_instance(representative: int | None, number: int) -> None:
    held = distinct(5)
    if representative is not None:
        at = held.data.index(b"\xe0\x7f")
        told = element(0x00286010, "US", representative.to_bytes(2, "little"))
        held = Held(EXPLICIT, held.data[:at] + told + held.data[at:])
    shown = picture(PixelGateway(held).reply(RENDERED, "image/png"))
    assert set(shown.ravel().tolist()) == {number * 40}


def test_several_frames_are_parts_in_the_order_asked() -> None:
    reply = PixelGateway(distinct(5)).reply(f"{INSTANCE}/frames/4,2,4/rendered", 'multipart/related; type="image/png"')
    assert headers_of(reply)["Content-Type"].startswith('multipart/related; type="image/png"; boundary=')
    received = parts_of(reply)
    assert [headers for headers, _ in received] == [
        {"Content-Type": "image/png", "Content-Location": f"{BASE_URL}/{INSTANCE}/frames/{number}/rendered"}
        for number in (4, 2, 4)
    ]
    assert [opened(content).getpixel((0, 0)) for _, content in received] == [160, 80, 160]


def test_an_instance_as_a_multipart_is_all_of_its_frames() -> None:
    received = parts_of(PixelGateway(distinct(3)).reply(RENDERED, 'multipart/related; type="image/png"'))
    assert [opened(content).getpixel((0, 0)) for _, content in received] == [40, 80, 120]
    assert received[2][0]["Content-Location"] == f"{BASE_URL}/{INSTANCE}/frames/3/rendered"


def test_an_instance_that_says_it_has_countless_frames_costs_what_is_there() -> None:
    asking = PixelGateway(Held(EXPLICIT, native(GREY, 8, 8, frames=300_000)))
    tracemalloc.start()
    try:
        reply = asking.reply(RENDERED, 'multipart/related; type="image/png"')
        content, error = read_until_error(reply)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert content.count(b"\x89PNG") == 1
    assert isinstance(error, PeerError)
    assert "frame 2 of 300000 is not whole" in str(error)
    assert peak < 5_000_000


def test_a_gif_is_an_animation_of_all_frames_up_to_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    asking = PixelGateway(distinct(5))
    assert opened(body_of(asking.reply(RENDERED, "image/gif"))).n_frames == 5  # type: ignore[attr-defined]
    monkeypatch.setattr(rendering, "MAX_ANIMATED_FRAMES", 3)
    assert opened(body_of(asking.reply(RENDERED, "image/gif"))).n_frames == 3  # type: ignore[attr-defined]
    ((headers, content),) = parts_of(
        asking.reply(f"{INSTANCE}/frames/2,3/rendered", "multipart/related; type=image/gif")
    )
    assert opened(content).n_frames == 2  # type: ignore[attr-defined]
    assert headers["Content-Location"] == f"{BASE_URL}/{RENDERED}"


@pytest.mark.parametrize("numbers", ["6", "0"])
def test_a_frame_that_is_not_there_is_not_found(numbers: str) -> None:
    with pytest.raises(NotFound):
        PixelGateway(distinct(5)).reply(f"{INSTANCE}/frames/{numbers}/rendered")


@pytest.mark.parametrize("held", [video(), pdf(), held_file("test-SR.dcm")])
def test_single_frames_of_what_is_no_image_are_not_rendered(held: Held) -> None:
    with pytest.raises(NotAcceptable, match="Single frames"):
        PixelGateway(held).reply(f"{INSTANCE}/frames/1/rendered")


# Documents, reports and video


@pytest.mark.parametrize("accept", [None, "application/pdf", "text/html,application/pdf;q=0.9,*/*;q=0.8"])
@pytest.mark.parametrize("value", [DOCUMENT, b"%PDF-1.4 short%%EOF "])
def test_an_encapsulated_document_is_the_document(accept: str | None, value: bytes) -> None:
    asking = PixelGateway(pdf(value))
    reply = asking.reply(RENDERED, accept)
    assert headers_of(reply)["Content-Type"] == "application/pdf"
    assert body_of(reply) == value
    assert asking.workers.jobs == []


def test_a_document_can_come_by_ranges() -> None:
    reply = PixelGateway(pdf()).reply(RENDERED, headers={"range": "bytes=0-3"})
    assert (reply.status, body_of(reply)) == (206, b"%PDF")
    ((headers, content),) = parts_of(PixelGateway(pdf()).reply(RENDERED, "multipart/related; type=application/pdf"))
    assert (headers["Content-Type"], content) == ("application/pdf", DOCUMENT)
    assert headers["Content-Location"] == f"{BASE_URL}/{RENDERED}"


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        (None, "text/html; charset=utf-8"),
        ("text/plain", "text/plain; charset=utf-8"),
        ("text/*", "text/html; charset=utf-8"),
    ],
)
def test_a_report_is_text(accept: str | None, content_type: str) -> None:
    reply = PixelGateway(held_file("test-SR.dcm")).reply(RENDERED, accept)
    assert headers_of(reply)["Content-Type"] == content_type
    assert (b"<html" in body_of(reply)) == content_type.startswith("text/html")


def test_a_report_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    held = held_file("test-SR.dcm")
    monkeypatch.setattr(rendering, "MAX_REPORT_BYTES", len(held.data))
    assert PixelGateway(held).reply(RENDERED).status == 200
    monkeypatch.setattr(rendering, "MAX_REPORT_BYTES", len(held.data) - 1)
    with pytest.raises(TooLarge, match="MAX_REPORT_BYTES"):
        PixelGateway(held).reply(RENDERED)


def test_a_video_is_the_video_and_can_come_by_ranges() -> None:
    asking = PixelGateway(video())
    reply = asking.reply(RENDERED, "video/*")
    assert headers_of(reply)["Content-Type"] == "video/mp4"
    assert body_of(reply) == b"\0\0\0\x18ftypmp42"
    part = asking.reply(RENDERED, "video/*", headers={"range": "bytes=4-7", "if-range": headers_of(reply)["ETag"]})
    assert (part.status, headers_of(part)["Content-Range"], body_of(part)) == (206, "bytes 4-7/12", b"ftyp")
    with pytest.raises(RangeNotSatisfiable):
        asking.reply(RENDERED, "video/*", headers={"range": "bytes=12-"})


@pytest.mark.parametrize(
    ("held", "accept"),
    [
        (video(MPEG2), None),
        (video(), "image/jpeg"),
        (pdf(), "image/jpeg"),
        (grey(), "application/pdf"),
        (held_file("test-SR.dcm"), "image/*"),
        (held_file("rtplan.dcm"), None),
        (held_file("waveform_ecg.dcm"), None),
    ],
)
def test_what_cannot_be_rendered_so_is_not_acceptable(held: Held, accept: str | None) -> None:
    with pytest.raises(NotAcceptable, match="can be rendered"):
        PixelGateway(held).reply(RENDERED, accept)


# What fails, and limits


def test_pixels_that_cannot_be_decoded_fail_the_request() -> None:
    with pytest.raises(PeerError):
        PixelGateway(Held(JPEG_LS, encapsulated([b"abcd"], 2, 2))).reply(RENDERED)
    with pytest.raises(PeerError, match="not whole"):
        PixelGateway(Held(EXPLICIT, native(b"ab", 2, 2))).reply(RENDERED)
    with pytest.raises(NotFound):
        PixelGateway().reply(RENDERED)


@pytest.mark.parametrize(
    ("limit", "kind", "room"), [("MAX_HEAD_BYTES", "before the pixels", 0), ("MAX_FRAMES_BYTES", "frames", 192)]
)
def test_what_goes_to_a_worker_has_limits(monkeypatch: pytest.MonkeyPatch, limit: str, kind: str, room: int) -> None:
    held = grey(3)
    assert held.file.layout is not None
    room = room or held.file.layout.head_length
    monkeypatch.setattr(rendering, limit, room)
    assert PixelGateway(held).reply(RENDERED, "image/gif").status == 200
    monkeypatch.setattr(rendering, limit, room - 1)
    with pytest.raises(TooLarge, match=kind):
        PixelGateway(held).reply(RENDERED, "image/gif")


# Entity tags


def test_tags_tell_pictures_apart() -> None:
    asking = PixelGateway(distinct(2))
    targets = [
        (RENDERED, None),
        (RENDERED, "image/png"),
        (RENDERED, "multipart/related; type=image/jpeg"),
        (f"{RENDERED}?quality=50", None),
        (f"{RENDERED}?window=1,2,linear", None),
        (f"{INSTANCE}/frames/1/rendered", None),
        (f"{INSTANCE}/frames/2/rendered", None),
    ]
    tags = [headers_of(asking.reply(target, accept))["ETag"] for target, accept in targets]
    assert len(set(tags)) == len(tags)
    assert tags == [headers_of(asking.reply(target, accept))["ETag"] for target, accept in targets]
    assert [tag.startswith("W/") for tag in tags] == [False, False, True, False, False, False, False]


# Series and studies


@pytest.mark.parametrize("target", ["studies/1.2", SERIES])
def test_all_that_can_be_rendered_are_parts(target: str) -> None:
    asking = PixelGateway(
        held_file("rtplan.dcm", uid="1.2.3.1"), distinct(2), pdf(), held_file("test-SR.dcm", uid="1.2.3.7")
    )
    reply = asking.reply(f"{target}/rendered", 'multipart/related; type="image/png", multipart/related; type=text/html')
    assert headers_of_all(reply)["Content-Type"].startswith('multipart/related; type="image/png"; boundary=')
    received = [
        (headers["Content-Type"], headers["Content-Location"].removeprefix(f"{BASE_URL}/{SERIES}/instances/"))
        for headers, _ in parts_of(reply)
    ]
    assert received == [
        ("image/png", "1.2.3.4/frames/1/rendered"),
        ("image/png", "1.2.3.4/frames/2/rendered"),
        ("text/html; charset=utf-8", "1.2.3.7/rendered"),
    ]
    assert asking.holding.streams[0].closed


@pytest.mark.parametrize(("held", "kind"), [([], NotFound), ([held_file("rtplan.dcm")], NotAcceptable)])
def test_a_series_of_which_nothing_can_be_rendered_is_refused_before_the_first_byte(
    held: list[Held], kind: type[Exception]
) -> None:
    asking = PixelGateway(*held)
    with pytest.raises(kind):
        asking.reply(f"{SERIES}/rendered")
    assert asking.holding.streams[0].closed


def test_a_series_that_breaks_off_has_no_last_boundary() -> None:
    asking = PixelGateway(grey(), Incomplete("one is missing"))
    reply = asking.reply(f"{SERIES}/rendered")
    received, error = read_until_error(reply)
    assert isinstance(error, Incomplete)
    assert received.count(headers_of(reply)["Content-Type"].rpartition("=")[2].encode()) == 1
    assert asking.holding.streams[0].closed


@pytest.mark.parametrize("read", [0, 1])
def test_a_body_that_is_given_up_gives_the_instances_up(read: int) -> None:
    asking = PixelGateway(grey(), grey(uid="1.2.3.5"))
    body = asking.reply(f"{SERIES}/rendered").body
    assert body is not None

    async def give_up() -> None:
        for _ in range(read):
            await body.__anext__()
        await body.aclose()

    result_of(give_up())
    assert asking.holding.streams[0].closed


@pytest.mark.parametrize(
    ("target", "accept", "content_type"),
    [
        (RENDERED, None, "image/jpeg"),
        (RENDERED, "image/png", "image/png"),
        (f"{SERIES}/rendered", None, 'multipart/related; type="image/jpeg"; boundary='),
    ],
)
def test_head_asks_whether_it_is_there(target: str, accept: str | None, content_type: str) -> None:
    asking = PixelGateway(grey())
    reply = asking.reply(target, accept, method="HEAD")
    assert headers_of(reply)["Content-Type"].startswith(content_type)
    assert (reply.body, asking.archive.retrieved) == (None, [])
    with pytest.raises(NotFound):
        PixelGateway().reply(target, accept, method="HEAD")
