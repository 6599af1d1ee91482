"""What clients accept of frames, pixel data and bulk data, as the real ones write it."""

import pytest

from harmonygw.dicom.dataset.transfer_syntaxes import LOSSLESS, LOSSY, VIDEO
from harmonygw.dicom.web.media_types import Offer
from harmonygw.dicom.web.pixel_media_types import (
    FRAME_OFFERS,
    MEDIA_TYPE_OF,
    PIXEL_DATA_OFFERS,
    TRANSFER_SYNTAXES_OF,
    FrameForm,
    negotiate_bulk_data,
    negotiate_frames,
    negotiate_pixel_data,
)
from harmonygw.errors import NotAcceptable

IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
DEFLATED = "1.2.840.10008.1.2.1.99"
UNCOMPRESSED = "1.2.840.10008.1.2.1.98"
BIG_ENDIAN = "1.2.840.10008.1.2.2"
BASELINE = "1.2.840.10008.1.2.4.50"
EXTENDED = "1.2.840.10008.1.2.4.51"
PROCESS_14 = "1.2.840.10008.1.2.4.57"
LOSSLESS_JPEG = "1.2.840.10008.1.2.4.70"
JPEG_LS = "1.2.840.10008.1.2.4.80"
NEAR_LOSSLESS = "1.2.840.10008.1.2.4.81"
JPEG_2000 = "1.2.840.10008.1.2.4.90"
LOSSY_2000 = "1.2.840.10008.1.2.4.91"
RPCL = "1.2.840.10008.1.2.4.202"
H264 = "1.2.840.10008.1.2.4.102"
RLE = "1.2.840.10008.1.2.5"
RETIRED = "1.2.840.10008.1.2.4.53"

OCTETS = "application/octet-stream"
CORNERSTONE = "multipart/related; type=application/octet-stream; transfer-syntax=*"
OHIF = f"{CORNERSTONE}; transfer-syntax=*"
CHROME_IMAGE = "image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8"

DECODED = FrameForm(OCTETS, True, EXPLICIT, by_default=True)
STORED = FrameForm(OCTETS, True, "*")


def image(media_type: str, transfer_syntax: str, *, multipart: bool = True, by_default: bool = False) -> FrameForm:
    return FrameForm(f"image/{media_type}", multipart, transfer_syntax, by_default)


def frames(header: str | None, *params: str, one_part: bool = True) -> tuple[FrameForm, ...]:
    return negotiate_frames(header, params, one_part=one_part)


@pytest.mark.parametrize(
    ("header", "forms"),
    [
        # Cornerstone, OHIF, and dicomweb-client for npm and for Python.
        (CORNERSTONE, (STORED,)),
        (OHIF, (STORED,)),
        ('multipart/related; type="application/octet-stream"', (DECODED,)),
        ("multipart/related;type=application/octet-stream", (DECODED,)),
        (
            f'Multipart/Related; Type="Application/Octet-Stream"; Transfer-Syntax="{EXPLICIT}"',
            (_ := FrameForm(OCTETS, True, EXPLICIT),),
        ),
        (f'multipart/related; type="application/octet-stream; transfer-syntax={EXPLICIT}"', (_,)),
        (f'multipart/related; type="application/octet-stream"; transfer-syntax={RLE}', (FrameForm(OCTETS, True, RLE),)),
        (
            f"multipart/related; type=application/octet-stream; transfer-syntax={RLE}; transfer-syntax=*",
            (FrameForm(OCTETS, True, RLE), STORED),
        ),
        (
            f'multipart/related; type="image/jpeg"; transfer-syntax={BASELINE}, '
            f'multipart/related; type="image/jp2"; transfer-syntax={LOSSY_2000}, '
            'multipart/related; type="application/octet-stream"',
            (image("jpeg", BASELINE), image("jp2", LOSSY_2000), DECODED),
        ),
        (
            'multipart/related; type="image/jpeg"',
            (image("jpeg", LOSSLESS_JPEG, by_default=True), image("jpeg", "*", by_default=True)),
        ),
        ('multipart/related; type="image/jpeg"; transfer-syntax=*', (image("jpeg", "*"),)),
        (f'multipart/related; type="image/x-jls"; transfer-syntax={JPEG_LS}', (image("x-jls", JPEG_LS),)),
        (f'multipart/related; type="image/x-dicom-rle"; transfer-syntax={RLE}', (image("x-dicom-rle", RLE),)),
        (f"multipart/related; type=image/jphc; transfer-syntax={RPCL}", (image("jphc", RPCL),)),
        # One frame by itself.
        ("application/octet-stream", (FrameForm(OCTETS, False, EXPLICIT, True),)),
        ("application/octet-stream; transfer-syntax=*", (FrameForm(OCTETS, False, "*"),)),
        (f"image/jpeg; transfer-syntax={BASELINE}", (image("jpeg", BASELINE, multipart=False),)),
        (
            "application/octet-stream; transfer-syntax=*;q=0.5, image/jls",
            (
                image("jls", JPEG_LS, multipart=False, by_default=True),
                image("jls", "*", multipart=False, by_default=True),
                FrameForm(OCTETS, False, "*"),
            ),
        ),
        # Preferences.
        (
            f"{CORNERSTONE};q=0.3, multipart/related; type=image/jp2; transfer-syntax={JPEG_2000};q=0.9",
            (image("jp2", JPEG_2000), STORED),
        ),
        (
            f"{CORNERSTONE}, multipart/related; type=image/jp2; transfer-syntax={JPEG_2000}, "
            f"multipart/related; type=application/octet-stream; transfer-syntax={RLE}",
            (STORED, image("jp2", JPEG_2000), FrameForm(OCTETS, True, RLE)),
        ),
        (f"{CORNERSTONE};q=0.1, {CORNERSTONE};q=0.2", (STORED,)),
        # What cannot be together is passed over.
        (f"multipart/related; type=image/jpeg; transfer-syntax={JPEG_2000}, {CORNERSTONE}", (STORED,)),
        (f"multipart/related; type=application/octet-stream; transfer-syntax={IMPLICIT}; transfer-syntax=*", (STORED,)),
    ],
)
def test_what_clients_ask_for_is_what_they_are_offered(header: str, forms: tuple[FrameForm, ...]) -> None:
    assert frames(header) == forms


@pytest.mark.parametrize("header", [None, "", "*/*", 'multipart/related; type="*/*"', "multipart/related"])
def test_without_a_preference_frames_are_decoded_or_as_they_are(header: str | None) -> None:
    forms = frames(header)
    assert forms[0] == DECODED
    multipart = [form for form in forms if form.multipart]
    as_stored = [form.media_type for form in multipart if form.transfer_syntax == "*"]
    assert as_stored == [media_type for media_type in dict.fromkeys(MEDIA_TYPE_OF.values()) if media_type in as_stored]
    assert set(as_stored) == {str(offer) for offer in FRAME_OFFERS if not offer.multipart} - {OCTETS}
    # Nothing is encoded anew as long as something else will do.
    encoded = [form.transfer_syntax not in ("*", EXPLICIT) for form in multipart]
    assert encoded == sorted(encoded)
    assert all(form.by_default for form in forms)
    assert all(form.multipart for form in frames(header, one_part=False))


def test_whoever_takes_any_image_gets_the_stored_one_before_another_is_made() -> None:
    for header, multipart in ((CHROME_IMAGE, False), ('multipart/related; type="image/*"', True), ("image/", False)):
        forms = frames(header)
        best = next(form for form in forms if form.outgoing(RPCL) == RPCL)
        assert forms.index(best) < next(i for i, form in enumerate(forms) if form.transfer_syntax == LOSSLESS_JPEG)
        assert (best.media_type, best.multipart) == ("image/jphc", multipart)
    assert frames(CHROME_IMAGE)[-1].media_type == "application/x-deflate"  # accepted as */*, with less weight
    assert all(form.media_type.startswith("image/") for form in frames('multipart/related; type="image/*"'))


def test_any_image_in_one_transfer_syntax_is_of_the_type_that_has_it() -> None:
    header = f'multipart/related; type="image/*"; transfer-syntax={JPEG_2000}'
    assert frames(header) == (image("jp2", JPEG_2000),)


def test_old_spellings_are_for_those_who_use_them() -> None:
    for header in (None, "*/*", "image/*", 'multipart/related; type="image/*"'):
        assert not {form.media_type for form in frames(header)} & {"image/x-jls", "image/x-dicom-rle"}
    assert {form.media_type for form in frames("image/x-jls, image/*")} > {"image/x-jls", "image/jls"}


def test_several_frames_are_multipart_only() -> None:
    assert frames(f"application/octet-stream, {CORNERSTONE}", one_part=False) == (STORED,)
    with pytest.raises(NotAcceptable, match="Nothing that the request accepts can be made"):
        frames("application/octet-stream", one_part=False)


def test_the_accept_parameter_comes_before_the_header() -> None:
    params = ("multipart/related; type=image/jls; transfer-syntax=*",)
    assert frames(CORNERSTONE, *params) == (image("jls", "*"),)
    assert frames(CORNERSTONE, "text/csv") == (STORED,)


@pytest.mark.parametrize(
    "header",
    [
        f"multipart/related; type=image/jpeg; transfer-syntax={JPEG_2000}",
        f"multipart/related; type=application/octet-stream; transfer-syntax={IMPLICIT}",
        f"application/octet-stream; transfer-syntax={BIG_ENDIAN}",
        f"application/octet-stream; transfer-syntax={DEFLATED}",
        "application/octet-stream; transfer-syntax=raw",
    ],
)
def test_a_media_type_with_none_of_its_transfer_syntaxes_is_refused(header: str) -> None:
    with pytest.raises(
        NotAcceptable, match=r"can have the transfer syntax.*or with transfer-syntax=\* for what is held"
    ):
        frames(header)


@pytest.mark.parametrize("header", ["video/mp4", "text/html", "application/dicom", "application/octet-stream;q=0"])
def test_frames_are_neither_video_nor_anything_else(header: str) -> None:
    with pytest.raises(NotAcceptable):
        frames(header)


@pytest.mark.parametrize(
    ("form", "stored", "outgoing"),
    [
        # Decoded, whatever it was.
        (DECODED, EXPLICIT, EXPLICIT),
        (DECODED, IMPLICIT, EXPLICIT),
        (DECODED, RLE, EXPLICIT),
        (DECODED, BASELINE, EXPLICIT),
        # As stored; two of the native syntaxes are forbidden, and frames are the same in all of them.
        (STORED, EXPLICIT, EXPLICIT),
        (STORED, IMPLICIT, EXPLICIT),
        (STORED, DEFLATED, EXPLICIT),
        (STORED, BIG_ENDIAN, EXPLICIT),
        (STORED, UNCOMPRESSED, UNCOMPRESSED),
        (STORED, BASELINE, BASELINE),
        (STORED, RETIRED, RETIRED),
        (STORED, "1.2.3", "1.2.3"),
        # In a named one: never encoded with loss.
        (FrameForm(OCTETS, True, RLE), RLE, RLE),
        (FrameForm(OCTETS, True, RLE), EXPLICIT, RLE),
        (FrameForm(OCTETS, True, BASELINE), BASELINE, BASELINE),
        (FrameForm(OCTETS, True, BASELINE), EXPLICIT, None),
        (image("jpeg", BASELINE), BASELINE, BASELINE),
        (image("jpeg", BASELINE), LOSSLESS_JPEG, None),
        (image("jpeg", LOSSLESS_JPEG), EXPLICIT, LOSSLESS_JPEG),
        (image("jpeg", LOSSLESS_JPEG), BASELINE, LOSSLESS_JPEG),
        # By the media type alone: its default, or what exists only lossy (PS3.18 §8.7.3).
        (image("jpeg", LOSSLESS_JPEG, by_default=True), EXPLICIT, LOSSLESS_JPEG),
        (image("jpeg", LOSSLESS_JPEG, by_default=True), PROCESS_14, LOSSLESS_JPEG),
        (image("jpeg", LOSSLESS_JPEG, by_default=True), EXTENDED, EXTENDED),
        (image("jpeg", LOSSLESS_JPEG, by_default=True), LOSSY_2000, LOSSLESS_JPEG),
        (image("x-jls", JPEG_LS, by_default=True), NEAR_LOSSLESS, NEAR_LOSSLESS),
        (image("jpeg", "*"), PROCESS_14, PROCESS_14),
        (image("jpeg", "*"), JPEG_2000, None),
        (image("jpeg", "*"), EXPLICIT, None),
        (FrameForm("video/mp4", True, H264, True), H264, H264),
        (FrameForm("video/mp4", True, H264, True), "1.2.840.10008.1.2.4.107", "1.2.840.10008.1.2.4.107"),
        (FrameForm("video/mp4", True, H264, True), "1.2.840.10008.1.2.4.100", None),
        (FrameForm("video/mp4", True, H264, True), EXPLICIT, None),
    ],
)
def test_a_form_says_in_which_transfer_syntax_stored_frames_go_out(
    form: FrameForm, stored: str, outgoing: str | None
) -> None:
    assert form.outgoing(stored) == outgoing


def test_pixel_data_can_be_video() -> None:
    assert negotiate_pixel_data(OHIF, one_part=False) == (STORED,)
    forms = negotiate_pixel_data("video/mp4", one_part=True)
    assert [form.outgoing(H264) for form in forms] == [H264, H264]
    assert not forms[0].multipart
    forms = negotiate_pixel_data('multipart/related; type="video/*"', one_part=False)
    assert [form.media_type for form in forms] == ["video/mpeg", "video/mp4", "video/mpeg", "video/mp4"]
    assert [form.transfer_syntax for form in forms][:2] == ["*", "*"]
    (form,) = negotiate_pixel_data(f"video/H265; transfer-syntax={H264}", one_part=True)
    assert (form.media_type, form.outgoing(H264)) == ("video/h265", H264)
    form = next(form for form in negotiate_pixel_data(None, one_part=False) if form.outgoing(H264) == H264)
    assert form == FrameForm("video/mp4", True, "*", by_default=True)


def test_every_syntax_of_the_table_has_its_media_type_and_the_other_way_about() -> None:
    for media_type, uids in TRANSFER_SYNTAXES_OF.items():
        names = {MEDIA_TYPE_OF[uid] for uid in uids}
        assert len(names) == 1
        assert TRANSFER_SYNTAXES_OF[names.pop()] == uids
        assert media_type == media_type.lower()
    retired = {f"1.2.840.10008.1.2.4.{number}" for number in (52, 53, 54, 55, 56, 58, 59, *range(60, 67))}
    assert (LOSSLESS | LOSSY | VIDEO) - retired == MEDIA_TYPE_OF.keys() - {IMPLICIT, EXPLICIT, DEFLATED, BIG_ENDIAN}
    defaults = {media_type: uids[0] for media_type, uids in TRANSFER_SYNTAXES_OF.items()}
    assert all(defaults[media_type] in LOSSLESS | VIDEO for media_type in defaults)
    assert (defaults["image/jpeg"], defaults["image/jphc"]) == (LOSSLESS_JPEG, "1.2.840.10008.1.2.4.201")
    assert {offer.media_type for offer in PIXEL_DATA_OFFERS} == {OCTETS, *MEDIA_TYPE_OF.values()}


@pytest.mark.parametrize(
    ("header", "own_type", "best"),
    [
        (None, OCTETS, Offer(OCTETS, True)),
        ("*/*", OCTETS, Offer(OCTETS, True)),
        ("*/*", "application/pdf", Offer("application/pdf")),
        ('multipart/related; type="*/*"', "application/pdf", Offer(OCTETS, True)),
        ('multipart/related; type="application/pdf"', "application/pdf", Offer("application/pdf", True)),
        (OHIF, "application/pdf", Offer(OCTETS, True)),
        ("application/octet-stream", "application/pdf", Offer(OCTETS)),
        ("application/pdf, */*;q=0.1", "application/pdf", Offer("application/pdf")),
        ("application/octet-stream; transfer-syntax=1.2.3", OCTETS, Offer(OCTETS)),
        ("video/*", "video/mp4", Offer("video/mp4")),
        ("text/html,application/xhtml+xml,*/*;q=0.8", "application/pdf", Offer("application/pdf")),
        ("application/octet-stream;q=0.2, multipart/related;q=0.1", OCTETS, Offer(OCTETS)),
    ],
)
def test_a_value_is_sent_as_octets_or_by_its_own_type(header: str | None, own_type: str, best: Offer) -> None:
    assert negotiate_bulk_data(header, one_part=True, own_type=own_type)[0] == best


def test_bulk_data_of_several_instances_is_multipart() -> None:
    assert negotiate_bulk_data(None, one_part=False, own_type="application/pdf") == (Offer(OCTETS, True),)
    for header in ("application/octet-stream", "application/pdf"):
        with pytest.raises(NotAcceptable):
            negotiate_bulk_data(header, one_part=False, own_type="application/pdf")
    assert negotiate_bulk_data("text/csv", (OCTETS,), one_part=True) == (Offer(OCTETS),)


def test_a_type_that_the_value_does_not_have_is_refused() -> None:
    with pytest.raises(NotAcceptable, match="application/octet-stream"):
        negotiate_bulk_data("application/pdf", one_part=True)
