import pytest

from harmonygw.dicom.web.store_media_types import TAKEN, PartKind, StoreForm, bulk_transfer_syntax, store_form
from harmonygw.errors import BadRequest, UnsupportedMediaType

EXPLICIT = "1.2.840.10008.1.2.1"
JPEG = "1.2.840.10008.1.2.4."


@pytest.mark.parametrize(
    ("content_type", "kind", "boundary"),
    [
        ('multipart/related; type="application/dicom"; boundary=abc', PartKind.INSTANCE, "abc"),
        ("multipart/related; type=application/dicom; boundary=abc", PartKind.INSTANCE, "abc"),
        ('Multipart/Related; BOUNDARY="a b;c,d"; Type="Application/DICOM"', PartKind.INSTANCE, "a b;c,d"),
        ('multipart/related; type="application/dicom+json"; boundary=abc', PartKind.JSON_METADATA, "abc"),
        ('multipart/related;type="application/dicom+xml";boundary=abc', PartKind.XML_METADATA, "abc"),
        ('multipart/related; type="application/dicom; transfer-syntax=1.2"; boundary=abc', PartKind.INSTANCE, "abc"),
        ("multipart/related; boundary=abc", None, "abc"),
        ("application/dicom", PartKind.INSTANCE, ""),
        ("application/DICOM; transfer-syntax=1.2.840.10008.1.2.1", PartKind.INSTANCE, ""),
        ("application/dicom+json; charset=utf-8", PartKind.JSON_METADATA, ""),
        ("application/json", PartKind.JSON_METADATA, ""),
        ("application/dicom+xml", PartKind.XML_METADATA, ""),
    ],
)
def test_the_form_of_a_request_is_read_as_clients_write_it(
    content_type: str, kind: PartKind | None, boundary: str
) -> None:
    assert store_form(content_type) == StoreForm(kind, boundary)


@pytest.mark.parametrize(
    ("content_type", "what"),
    [
        (None, "no Content-Type"),
        ("", "no Content-Type"),
        ("dicom", "no Content-Type"),
        ("application/pdf", "application/pdf is not taken"),
        ("multipart/form-data; boundary=abc", "multipart/form-data is not taken"),
        ('multipart/related; type="application/dicom"', "no boundary"),
        ('multipart/related; type="application/dicom"; boundary=""', "no boundary"),
        ('multipart/related; type="image/jpeg"; boundary=abc', "Parts of image/jpeg are not taken"),
    ],
)
def test_what_no_store_brings_is_refused_with_what_one_does(content_type: str | None, what: str) -> None:
    with pytest.raises(UnsupportedMediaType, match=what) as caught:
        store_form(content_type)
    assert all(taken in caught.value.detail for taken in TAKEN)


@pytest.mark.parametrize(
    ("root", "content_type", "kind"),
    [
        (PartKind.INSTANCE, "application/dicom", PartKind.INSTANCE),
        (PartKind.INSTANCE, "Application/DICOM; transfer-syntax=1.2", PartKind.INSTANCE),
        (PartKind.INSTANCE, None, PartKind.INSTANCE),
        (PartKind.INSTANCE, "application/octet-stream", PartKind.INSTANCE),
        (PartKind.INSTANCE, "text/plain", None),
        (PartKind.INSTANCE, "nonsense", None),
        (PartKind.INSTANCE, "application/dicom+json", PartKind.JSON_METADATA),
        (PartKind.JSON_METADATA, "application/octet-stream", PartKind.BULK_DATA),
        (PartKind.JSON_METADATA, "image/jpeg; transfer-syntax=1.2", PartKind.BULK_DATA),
        (PartKind.JSON_METADATA, None, PartKind.JSON_METADATA),
        (PartKind.XML_METADATA, "application/dicom+xml", PartKind.XML_METADATA),
        (None, "application/dicom", PartKind.INSTANCE),
        (None, "application/octet-stream", PartKind.BULK_DATA),
        (None, None, None),
    ],
)
def test_a_part_is_what_its_own_media_type_says(
    root: PartKind | None, content_type: str | None, kind: PartKind | None
) -> None:
    assert StoreForm(root, "b").kind_of(content_type) is kind


@pytest.mark.parametrize(
    ("content_type", "available", "syntax"),
    [
        (None, "", EXPLICIT),
        ("application/octet-stream", "", EXPLICIT),
        ("application/octet-stream", f"{JPEG}70", EXPLICIT),
        (f"application/octet-stream; transfer-syntax={JPEG}90", "", f"{JPEG}90"),
        ("image/jpeg", "", f"{JPEG}70"),
        ("image/jpeg", f"{JPEG}50", f"{JPEG}50"),
        ("image/jpeg", f"{JPEG}90", f"{JPEG}70"),
        (f'image/jpeg; transfer-syntax="{JPEG}51"', f"{JPEG}50", f"{JPEG}51"),
        ("image/jls", "", f"{JPEG}80"),
        ("image/jp2", "", f"{JPEG}90"),
        ("image/dicom-rle", "", "1.2.840.10008.1.2.5"),
        ("video/mp4", "", f"{JPEG}102"),
    ],
)
def test_pixel_data_is_in_the_transfer_syntax_of_its_media_type(
    content_type: str | None, available: str, syntax: str
) -> None:
    assert bulk_transfer_syntax(content_type, available) == syntax


@pytest.mark.parametrize(
    ("content_type", "what"),
    [
        ("image/png", "cannot be image/png"),
        ("nonsense", "cannot be nonsense"),
        (f"image/jpeg; transfer-syntax={JPEG}90", "image/jpeg cannot be in transfer syntax"),
        (
            "application/octet-stream; transfer-syntax=1.2.840.10008.1.2.2",
            "Explicit VR Little Endian, not Explicit VR Big Endian",
        ),
    ],
)
def test_what_pixel_data_cannot_be_is_refused(content_type: str, what: str) -> None:
    with pytest.raises(BadRequest, match=what):
        bulk_transfer_syntax(content_type)
