from io import BytesIO
from typing import Any

import numpy
import pydicom
import pytest
from PIL import Image

from harmonygw.errors import BadRequest, NotAcceptable, NotFound
from harmonygw.exchange import Reply
from harmonygw.middleware.dicomweb_bridge.retrieving import BY_DEFAULT, asked_for
from harmonygw.operations import Level, Retrieve
from tests.dicom.dataset.encoded import EXPLICIT, IMPLICIT, element
from tests.middleware.dicomweb_bridge.archive import body_of, headers_of, warnings_of
from tests.middleware.dicomweb_bridge.holding import (
    JPEG_BASELINE,
    JPEG_LS,
    MPEG4,
    RLE,
    Held,
    PixelGateway,
    encapsulated,
    headers_of_all,
    held_file,
    native,
)

URI = "?requestType=WADO&studyUID=1.2&seriesUID=1.2.3&objectUID=1.2.3.4"
WINDOW = element(0x00281050, "DS", b"128 ") + element(0x00281051, "DS", b"256 ")
GREY = bytes(range(0, 256, 4))


def grey(*shades: int) -> Held:
    """Eight by eight: every fourth shade, or frames of one shade each."""
    value = b"".join(bytes([one]) * 64 for one in shades) or GREY
    data = native(value, 8, 8, frames=max(len(shades), 1))
    at = data.index(b"\xe0\x7f")
    return Held(EXPLICIT, data[:at] + WINDOW + data[at:])


def picture(reply: Reply) -> Any:
    return numpy.asarray(Image.open(BytesIO(body_of(reply))).convert("L"))


def test_an_image_is_a_jpeg_by_default() -> None:
    asking = PixelGateway(grey())
    reply = asking.reply(URI)
    assert headers_of(reply)["Content-Type"] == "image/jpeg"
    assert Image.open(BytesIO(body_of(reply))).size == (8, 8)
    assert asking.archive.retrieved == [Retrieve(Level.IMAGE, "1.2", "1.2.3", ("1.2.3.4",), random_access=True)]


@pytest.mark.parametrize(
    ("query", "accept", "media_type"),
    [
        ("&contentType=image/png", None, "image/png"),
        ("&contentType=image/png", "image/jpeg", "image/png"),
        ("&contentType=image/png,image/jpeg", "*/*", "image/png"),
        ("", "image/gif, image/png;q=0.1", "image/gif"),
        ("", "*/*", "image/jpeg"),
        ("&contentType=application/dicom", None, "application/dicom"),
        ("&contentType=application/dicom,image/jpeg", None, "application/dicom"),
        ("&contentType=image/jpeg,application/dicom", None, "image/jpeg"),
        ("&contentType=text/html,application/dicom", None, "application/dicom"),
        ("", "application/dicom", "application/dicom"),
    ],
)
def test_the_form_is_the_favourite_of_those_that_can_be_made(query: str, accept: str | None, media_type: str) -> None:
    assert headers_of(PixelGateway(grey()).reply(URI + query, accept))["Content-Type"] == media_type


@pytest.mark.parametrize(
    ("name", "content_type"),
    [("test-SR.dcm", "text/html; charset=utf-8"), ("rtplan.dcm", "application/dicom")],
)
def test_what_has_no_picture_comes_as_what_it_has(name: str, content_type: str) -> None:
    reply = PixelGateway(held_file(name)).reply(URI)
    assert headers_of(reply)["Content-Type"] == content_type
    if content_type == "application/dicom":
        assert pydicom.dcmread(BytesIO(body_of(reply))).Modality == "RTPLAN"


def test_what_has_no_picture_is_none_for_who_wants_one() -> None:
    with pytest.raises(NotAcceptable):
        PixelGateway(held_file("rtplan.dcm")).reply(f"{URI}&contentType=image/jpeg")
    with pytest.raises(NotAcceptable):
        PixelGateway(held_file("rtplan.dcm")).reply(URI, "audio/basic")


# Files


@pytest.mark.parametrize("syntax", [EXPLICIT, RLE, JPEG_LS, "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.1.99"])
def test_a_file_is_in_the_transfer_syntax_asked_for(syntax: str) -> None:
    reply = PixelGateway(grey()).reply(f"{URI}&contentType=application/dicom&transferSyntax={syntax}")
    named = "" if syntax == EXPLICIT else f"; transfer-syntax={syntax}"
    assert headers_of(reply)["Content-Type"] == f"application/dicom{named}"
    file = pydicom.dcmread(BytesIO(body_of(reply)))
    assert file.file_meta.TransferSyntaxUID == syntax
    if syntax != JPEG_LS:  # for which pydicom has no decoder of its own
        assert file.pixel_array.tobytes() == GREY


@pytest.mark.parametrize("syntax", [JPEG_BASELINE, MPEG4, JPEG_LS])
def test_any_transfer_syntax_is_the_one_that_is_held(syntax: str) -> None:
    data = encapsulated([b"abcd"], 2, 2)
    asking = PixelGateway(Held(syntax, data))
    reply = asking.reply(f"{URI}&contentType=application/dicom&transferSyntax=*")
    assert headers_of(reply)["Content-Type"] == f"application/dicom; transfer-syntax={syntax}"
    assert body_of(reply).endswith(data)
    assert asking.archive.retrieved[0].transfer_syntaxes == ("*",)


@pytest.mark.parametrize("syntax", [JPEG_BASELINE, MPEG4])
def test_the_lossy_stays_as_it_is_for_who_names_none(syntax: str) -> None:
    asking = PixelGateway(Held(syntax, encapsulated([b"abcd"], 2, 2)))
    reply = asking.reply(f"{URI}&contentType=application/dicom")
    assert headers_of(reply)["Content-Type"] == f"application/dicom; transfer-syntax={syntax}"
    (retrieved,) = asking.archive.retrieved
    assert retrieved.transfer_syntaxes == asked_for(BY_DEFAULT)


def test_the_native_is_explicit_for_who_names_none() -> None:
    asking = PixelGateway(Held(IMPLICIT, native(b"ab", 1, 2, syntax=IMPLICIT)))
    reply = asking.reply(f"{URI}&contentType=application/dicom")
    assert headers_of(reply)["Content-Type"] == "application/dicom"
    assert pydicom.dcmread(BytesIO(body_of(reply))).file_meta.TransferSyntaxUID == EXPLICIT


@pytest.mark.parametrize("syntax", [IMPLICIT, "1.2.840.10008.1.2.2", "x y"])
def test_what_may_not_be_on_the_web_is_refused(syntax: str) -> None:
    with pytest.raises(BadRequest, match="transferSyntax"):
        PixelGateway(grey()).reply(f"{URI}&contentType=application/dicom&transferSyntax={syntax}")


def test_a_transfer_syntax_that_cannot_be_made_is_not_acceptable() -> None:
    with pytest.raises(NotAcceptable):
        PixelGateway(grey()).reply(f"{URI}&contentType=application/dicom&transferSyntax={JPEG_BASELINE}")


# What the picture is to look like


def test_the_words_of_the_request_reach_the_picture() -> None:
    asking = PixelGateway(grey())
    png = f"{URI}&contentType=image/png"
    whole = picture(asking.reply(png))
    assert whole.ravel().tolist() == list(GREY)
    assert picture(asking.reply(f"{png}&region=0.25,0.5,0.75,1")).tolist() == whole[4:8, 2:6].tolist()
    assert set(picture(asking.reply(f"{png}&windowCenter=100&windowWidth=1")).ravel().tolist()) == {0, 255}
    assert picture(asking.reply(f"{png}&rows=4")).shape == (4, 4)
    assert picture(asking.reply(f"{png}&columns=16")).shape == (16, 16)
    assert picture(asking.reply(f"{png}&columns=4&rows=16")).shape == (4, 4)
    assert picture(asking.reply(f"{png}&rows=4&region=0,0,0.5,1")).shape == (4, 2)
    coarse, fine = (body_of(asking.reply(f"{URI}&imageQuality={quality}")) for quality in (1, 100))
    assert len(coarse) < len(fine)


def test_a_side_that_follows_from_the_other_ends_at_the_limit() -> None:
    wide = Held(EXPLICIT, native(bytes(64), 1, 64))
    assert picture(PixelGateway(wide).reply(f"{URI}&rows=8192&contentType=image/png")).shape == (128, 8192)


@pytest.mark.parametrize(("number", "shade"), [(None, 40), (1, 40), (3, 120)])
def test_a_frame_is_rendered(number: int | None, shade: int) -> None:
    query = "" if number is None else f"&frameNumber={number}"
    shown = picture(PixelGateway(grey(40, 80, 120)).reply(f"{URI}&contentType=image/png{query}"))
    assert set(shown.ravel().tolist()) == {shade}


def test_a_frame_that_is_not_there_is_not_found_and_files_have_all() -> None:
    with pytest.raises(NotFound):
        PixelGateway(grey(40, 80)).reply(f"{URI}&frameNumber=3")
    reply = PixelGateway(grey(40, 80)).reply(f"{URI}&frameNumber=2&contentType=application/dicom")
    assert pydicom.dcmread(BytesIO(body_of(reply))).NumberOfFrames == 2


def test_what_has_no_effect_is_warned_of() -> None:
    reply = PixelGateway(grey()).reply(f"{URI}&charset=UTF-8&presentationUID=1.2.5&annotation=weather")
    assert warnings_of(reply) == [
        '299 harmonygw "Annotation weather is not known."',
        '299 harmonygw "charset has no effect here."',
        '299 harmonygw "presentationUID has no effect here."',
    ]
    assert headers_of_all(reply)["Content-Type"] == "image/jpeg"


@pytest.mark.parametrize(
    "query",
    [
        "?requestType=WADO&studyUID=1.2&seriesUID=1.2.3",
        "?requestType=WADO&studyUID=1 2&seriesUID=1.2.3&objectUID=1",
        "?requestType=XDS&studyUID=1.2&seriesUID=1.2.3&objectUID=1",
        f"{URI}&frameNumber=0",
        f"{URI}&windowCenter=1",
        f"{URI}&region=0,0,2,2",
        f"{URI}&anonymize=yes",
        f"{URI}&rows=0",
    ],
)
def test_what_makes_no_sense_is_refused(query: str) -> None:
    with pytest.raises(BadRequest):
        PixelGateway(grey()).reply(query)


def test_names_are_read_in_any_case() -> None:
    query = "?REQUESTTYPE=wado&studyuid=1.2&SERIESUID=1.2.3&objectUid=1.2.3.4&contenttype=image/png"
    assert headers_of(PixelGateway(grey()).reply(query))["Content-Type"] == "image/png"


def test_head_asks_whether_it_is_there() -> None:
    asking = PixelGateway(grey())
    reply = asking.reply(f"{URI}&contentType=image/png", method="HEAD")
    assert headers_of(reply) == {"Content-Type": "image/png", "Cache-Control": "private, no-cache"}
    assert (reply.body, asking.archive.retrieved) == (None, [])
    with pytest.raises(NotFound):
        PixelGateway().reply(URI, method="HEAD")
