"""How renderings are sent: the media types that people's programs show (PS3.18 §8.7.4)."""

from collections.abc import Sequence
from typing import Final

from harmonygw.dicom.web.media_types import DICOM, Offer, select

JPEG: Final = "image/jpeg"
PNG: Final = "image/png"
GIF: Final = "image/gif"
MP4: Final = "video/mp4"
PDF: Final = "application/pdf"
HTML: Final = "text/html"
TEXT: Final = "text/plain"

_RENDERED: Final = (JPEG, PNG, GIF, MP4, PDF, HTML, TEXT)
"""PS3.18 Table 8.7.4-1, as far as it is made here; of those that fit an object the first is its default."""

MULTIPART_RENDERED_OFFERS: Final = tuple(Offer(media_type, multipart=True) for media_type in _RENDERED)
RENDERED_OFFERS: Final = (*map(Offer, _RENDERED), *MULTIPART_RENDERED_OFFERS)
THUMBNAIL_OFFERS: Final = (Offer(JPEG),)
"""A thumbnail is JPEG whatever is accepted: viewers ask for it with the header that they have for frames."""
URI_OFFERS: Final = (*map(Offer, _RENDERED), Offer(DICOM))


def negotiate_rendered(
    accept_header: str | None, accept_params: Sequence[str] = (), *, one_part: bool
) -> tuple[Offer, ...]:
    """Return the forms in which a client takes a rendering, its favourite first; never empty.

    Which of them can be made depends on the object: the caller takes the first one. `one_part` says that the
    resource is an instance or one frame, which may be sent by itself; others are multipart only (PS3.18 §10.4.4).
    Raises NotAcceptable.
    """
    offers = RENDERED_OFFERS if one_part else MULTIPART_RENDERED_OFFERS
    return tuple(selection.offer for selection in select(accept_header, accept_params, offers))


def negotiate_wado_uri(accept_header: str | None, content_types: Sequence[str] = ()) -> tuple[Offer, ...]:
    """Return the forms in which a client of the URI service takes an instance, its favourite first; never empty.

    PS3.18 §9.1.2.2. `content_types` are the values of `contentType`, which come before the header. Without a
    preference it is rendered (§9.3), as far as it can be; `application/dicom` comes last. Raises NotAcceptable.
    """
    return tuple(selection.offer for selection in select(accept_header, content_types, URI_OFFERS))
