import pytest

from harmonygw.dicom.web.media_types import Offer
from harmonygw.dicom.web.rendered_media_types import (
    MULTIPART_RENDERED_OFFERS,
    RENDERED_OFFERS,
    URI_OFFERS,
    negotiate_rendered,
    negotiate_wado_uri,
)
from harmonygw.errors import NotAcceptable

JPEG, PNG, GIF = Offer("image/jpeg"), Offer("image/png"), Offer("image/gif")
PDF, HTML, TEXT = Offer("application/pdf"), Offer("text/html"), Offer("text/plain")
MP4 = Offer("video/mp4")
FIREFOX_PAGE = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
FIREFOX_IMAGE = "image/avif,image/webp,image/png,image/svg+xml,image/*;q=0.8,*/*;q=0.5"
CHROME_IMAGE = "image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8"


@pytest.mark.parametrize("header", [None, "", "*/*"])
def test_without_a_preference_an_instance_is_a_jpeg_and_several_are_parts(header: str | None) -> None:
    assert negotiate_rendered(header, one_part=True) == RENDERED_OFFERS
    assert RENDERED_OFFERS[:7] == (JPEG, PNG, GIF, MP4, PDF, HTML, TEXT)
    assert negotiate_rendered(header, one_part=False) == MULTIPART_RENDERED_OFFERS
    assert MULTIPART_RENDERED_OFFERS[0] == Offer("image/jpeg", multipart=True)


@pytest.mark.parametrize(
    ("header", "forms"),
    [
        ("image/jpeg", (JPEG,)),
        ("image/png, image/jpeg", (PNG, JPEG)),
        ("image/png;q=0.5, image/jpeg", (JPEG, PNG)),
        ("image/*", (JPEG, PNG, GIF)),
        ("image/", (JPEG, PNG, GIF)),
        ("video/mp4", (MP4,)),
        ("application/pdf", (PDF,)),
        ("text/plain, text/*;q=0.5", (TEXT, HTML)),
        ("Image/PNG; transfer-syntax=1.2", (PNG,)),
        ('multipart/related; type="image/jpeg"', (Offer("image/jpeg", True),)),
        ("multipart/related; type=image/png, image/gif", (Offer("image/png", True), GIF)),
        ('multipart/related; type="text/*"', (Offer("text/html", True), Offer("text/plain", True))),
    ],
)
def test_renderings_of_one_part_are_ranked(header: str, forms: tuple[Offer, ...]) -> None:
    assert negotiate_rendered(header, one_part=True) == forms


@pytest.mark.parametrize(
    ("header", "first", "image"),
    [(FIREFOX_PAGE, HTML, JPEG), (FIREFOX_IMAGE, PNG, PNG), (CHROME_IMAGE, JPEG, JPEG)],
)
def test_browsers_get_what_they_can_show_of_every_object(header: str, first: Offer, image: Offer) -> None:
    forms = negotiate_rendered(header, one_part=True)
    assert forms[0] == first
    assert next(form for form in forms if form.media_type.startswith("image/")) == image
    assert {JPEG, MP4, PDF, HTML} <= set(forms)


def test_a_study_or_a_series_is_multipart_only() -> None:
    header = "image/jpeg, multipart/related; type=image/png"
    assert negotiate_rendered(header, one_part=False) == (Offer("image/png", True),)
    with pytest.raises(NotAcceptable, match="multipart/related"):
        negotiate_rendered("image/jpeg", one_part=False)


@pytest.mark.parametrize("header", ["text/rtf", "image/jp2", "application/dicom", "image/jpeg;q=0"])
def test_what_is_no_rendering_here_is_refused(header: str) -> None:
    with pytest.raises(NotAcceptable):
        negotiate_rendered(header, one_part=True)


def test_the_accept_parameter_comes_before_the_header() -> None:
    assert negotiate_rendered("image/png", ("image/jpeg",), one_part=True) == (JPEG,)
    assert negotiate_rendered("image/png", ("image/webp",), one_part=True) == (PNG,)


@pytest.mark.parametrize(
    ("header", "content_types", "first"),
    [
        (None, (), JPEG),
        ("*/*", (), JPEG),
        ("*/*", ("application/dicom",), Offer("application/dicom")),
        (CHROME_IMAGE, ("application/dicom; transfer-syntax=1.2",), Offer("application/dicom")),
        ("image/png", (), PNG),
        ("image/png", ("image/webp",), PNG),
        (None, ("image/jpeg,text/html",), JPEG),
        (None, ("text/plain", "image/png"), TEXT),
    ],
)
def test_the_uri_service_renders_unless_an_object_is_asked_for(
    header: str | None, content_types: tuple[str, ...], first: Offer
) -> None:
    assert negotiate_wado_uri(header, content_types)[0] == first


def test_the_uri_service_is_never_multipart() -> None:
    assert negotiate_wado_uri(None) == URI_OFFERS
    assert not any(offer.multipart for offer in URI_OFFERS)
    assert URI_OFFERS[-1] == Offer("application/dicom")
    with pytest.raises(NotAcceptable):
        negotiate_wado_uri('multipart/related; type="image/jpeg"', ("image/webp",))
