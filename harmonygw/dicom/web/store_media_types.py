"""What a Store request brings, as its Content-Type headers say (PS3.18 §10.5.2, §8.7.3)."""

from dataclasses import dataclass
from enum import Enum
from typing import Final

from harmonygw.dicom.dataset.transfer_syntaxes import EXPLICIT_VR_LITTLE_ENDIAN, describe
from harmonygw.dicom.web.media_types import (
    DICOM,
    DICOM_JSON,
    DICOM_XML,
    JSON,
    MULTIPART,
    MediaRange,
    parse_content_type,
)
from harmonygw.dicom.web.pixel_media_types import OCTET_STREAM, TRANSFER_SYNTAXES_OF
from harmonygw.errors import BadRequest, UnsupportedMediaType


class PartKind(Enum):
    """What a part holds."""

    INSTANCE = "instance"
    """A DICOM file (PS3.10)."""
    JSON_METADATA = "JSON metadata"
    """An array of data sets in the DICOM JSON model (PS3.18 Annex F)."""
    XML_METADATA = "XML metadata"
    """A data set in the Native DICOM Model (PS3.19 §A.1)."""
    BULK_DATA = "bulk data"
    """A value that metadata refers to, or a frame of one."""


_KINDS: Final = {
    DICOM: PartKind.INSTANCE,
    DICOM_JSON: PartKind.JSON_METADATA,
    JSON: PartKind.JSON_METADATA,
    DICOM_XML: PartKind.XML_METADATA,
}

TAKEN: Final = (
    f'{MULTIPART}; type="{DICOM}"',
    f'{MULTIPART}; type="{DICOM_JSON}"',
    f'{MULTIPART}; type="{DICOM_XML}"',
    *_KINDS,
)
"""The media types of requests."""


@dataclass(frozen=True, slots=True)
class StoreForm:
    """How a request is laid out."""

    kind: PartKind | None
    """What it holds; of a multipart its root part, None when the request does not say."""
    boundary: str = ""
    """Between the parts of a multipart; empty for a body that is one representation."""

    def kind_of(self, content_type: str | None) -> PartKind | None:
        """Return what a part holds, by its own Content-Type; None for nothing that belongs into a Store.

        A part without one holds what the request says. An octet stream among DICOM files is one: some clients know no
        media type for a file that ends in `.dcm`.
        """
        if content_type is None:
            return self.kind
        media = parse_content_type(content_type)
        if media is None:
            return None
        kind = _KINDS.get(media.media_type)
        if kind is not None:
            return kind
        if self.kind is PartKind.INSTANCE:
            return PartKind.INSTANCE if media.media_type == OCTET_STREAM else None
        return PartKind.BULK_DATA


def store_form(content_type: str | None) -> StoreForm:
    """Return how the request with this Content-Type is laid out.

    Quotes and letter case are the client's affair, and so is whether the `type` of a multipart is there (RFC 2387 §3.1
    wants it): its parts have their own. Raises `UnsupportedMediaType` for what is not in `TAKEN`, or has no boundary.
    """
    media = parse_content_type(content_type or "")
    if media is None:
        raise _unsupported("The request has no Content-Type")
    if media.media_type != MULTIPART:
        kind = _KINDS.get(media.media_type)
        if kind is None:
            raise _unsupported(f"{media.media_type} is not taken")
        return StoreForm(kind)
    boundary = next((value for name, value in media.parameters if name == "boundary"), "")
    if not boundary:
        raise _unsupported("The multipart media type has no boundary parameter")
    root = _KINDS.get(media.part_type)
    if media.part_type and root is None:
        raise _unsupported(f"Parts of {media.part_type} are not taken")
    return StoreForm(root, boundary)


def _unsupported(what: str) -> UnsupportedMediaType:
    return UnsupportedMediaType(f"{what}. A Store takes {', '.join(TAKEN)}.")


def bulk_transfer_syntax(content_type: str | None, available: str = "") -> str:
    """Return the transfer syntax of pixel data that comes as bulk data of this media type (PS3.18 §8.7.3.3).

    `available` is what its metadata gives as Available Transfer Syntax UID (0008,3002), which decides where the media
    type leaves it open. Without either it is the media type's default: Explicit VR Little Endian for an octet stream.

    Raises `BadRequest` for a media type that pixel data cannot have, or a transfer syntax that the media type cannot.
    """
    media = parse_content_type(content_type) if content_type is not None else MediaRange(OCTET_STREAM)
    media_type = media.media_type if media is not None else str(content_type)
    named = media.transfer_syntaxes if media is not None else ()
    if media_type == OCTET_STREAM:
        syntax = named[0] if named else EXPLICIT_VR_LITTLE_ENDIAN
        if syntax != EXPLICIT_VR_LITTLE_ENDIAN and not describe(syntax).encapsulated:
            raise BadRequest(
                f"pixel data as {OCTET_STREAM} is in Explicit VR Little Endian, not {describe(syntax).name}"
            )
        return syntax
    possible = TRANSFER_SYNTAXES_OF.get(media_type)
    if possible is None:
        raise BadRequest(f"pixel data cannot be {media_type}")
    if named and named[0] not in possible:
        raise BadRequest(f"{media_type} cannot be in transfer syntax {named[0]}")
    if named:
        return named[0]
    return available if available in possible else possible[0]
