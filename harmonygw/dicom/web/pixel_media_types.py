"""How frames, pixel data and other bulk data are sent: media types and transfer syntaxes (PS3.18 §8.7.3.3).

What a client accepts becomes a list of forms, its favourite first. Which of them can be made depends on how the object
is stored, and on the codecs: the caller takes the first one.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from harmonygw.dicom.dataset.transfer_syntaxes import EXPLICIT_VR_LITTLE_ENDIAN, LOSSY, NATIVE, VIDEO
from harmonygw.dicom.web.media_types import (
    ANY_TRANSFER_SYNTAX,
    EXACTLY,
    MediaRange,
    Offer,
    select,
    travels,
)
from harmonygw.errors import NotAcceptable

OCTET_STREAM: Final = "application/octet-stream"

_JPEG: Final = "1.2.840.10008.1.2.4."

_IMAGES: Final = {
    "image/jpeg": (f"{_JPEG}70", f"{_JPEG}50", f"{_JPEG}51", f"{_JPEG}57"),
    "image/dicom-rle": ("1.2.840.10008.1.2.5",),
    "image/jls": (f"{_JPEG}80", f"{_JPEG}81"),
    "image/jp2": (f"{_JPEG}90", f"{_JPEG}91"),
    "image/jpx": (f"{_JPEG}92", f"{_JPEG}93"),
    "image/jphc": (f"{_JPEG}201", f"{_JPEG}202", f"{_JPEG}203"),
    "image/jxl": (f"{_JPEG}110", f"{_JPEG}111", f"{_JPEG}112"),
    "application/x-deflate": ("1.2.840.10008.1.2.8.1",),
}
_VIDEOS: Final = {
    "video/mpeg": tuple(f"{_JPEG}{number}" for number in ("100", "100.1", "101", "101.1")),
    "video/mp4": tuple(
        f"{_JPEG}{number}"
        for number in ("102", "102.1", "103", "103.1", "104", "104.1", "105", "105.1", "106", "106.1", "107", "108")
    ),
}
"""PS3.18 Table 8.7.3-5: the media types of compressed frames, each with its transfer syntaxes, the default first."""

_OTHER_SPELLINGS: Final = {
    "image/x-dicom-rle": "image/dicom-rle",
    "image/x-jls": "image/jls",
    "video/mpeg2": "video/mpeg",
    "video/h265": "video/mp4",
}
"""Names that earlier editions had, and that clients still ask for. They are answered by the name that was asked for."""

TRANSFER_SYNTAXES_OF: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        **_IMAGES,
        **_VIDEOS,
        **{old: {**_IMAGES, **_VIDEOS}[new] for old, new in _OTHER_SPELLINGS.items()},
    }
)
"""Media type, in lower case, to the transfer syntaxes that it can have, the default first; octet-stream can have
any."""

MEDIA_TYPE_OF: Final[Mapping[str, str]] = MappingProxyType(
    {
        **dict.fromkeys((*NATIVE, "1.2.840.10008.1.2.1.98"), OCTET_STREAM),
        **{uid: media_type for media_type, uids in (*_IMAGES.items(), *_VIDEOS.items()) for uid in uids},
    }
)
"""Transfer syntax UID to the media type of its frames. Retired ones and those newer than the table are not in it: their
frames can only be an octet stream."""

_CHANGED_BY_ENCODING: Final = LOSSY | VIDEO


@dataclass(frozen=True, slots=True)
class FrameForm:
    """A form in which frames can be sent."""

    media_type: str
    """Of each part, or of the reply when it is not multipart; lower case, by the name that the client has for it."""
    multipart: bool
    transfer_syntax: str
    """A UID, or `*` for the frames as they are stored."""
    by_default: bool = False
    """Whether the client named no transfer syntax, so that this one is the standard's choice and not its own."""

    def outgoing(self, stored: str) -> str | None:
        """Return the transfer syntax in which frames go out in this form when they are stored in `stored`.

        None: not in this form. `stored` itself: as they are. Explicit VR Little Endian: as native frames in Little
        Endian, which those of the other native transfer syntaxes are already, Explicit VR Big Endian aside. Any
        other: they would have to be encoded, without loss. Whether there is a codec is not asked here.

        A client that named none takes what exists only lossy as it is (PS3.18 §8.7.3), if the media type fits. Frames
        as they are stored, of native objects, are said to be Explicit VR Little Endian: §8.7.3 forbids the others,
        and a frame has no VR.
        """
        if self.media_type != OCTET_STREAM:
            fits = stored in TRANSFER_SYNTAXES_OF[self.media_type]
            if self.transfer_syntax == ANY_TRANSFER_SYNTAX:
                return stored if fits else None
            if self.by_default and fits and stored in _CHANGED_BY_ENCODING:
                return stored
        elif self.transfer_syntax == ANY_TRANSFER_SYNTAX:
            return EXPLICIT_VR_LITTLE_ENDIAN if stored in NATIVE else stored
        if self.transfer_syntax != stored and self.transfer_syntax in _CHANGED_BY_ENCODING:
            return None
        return self.transfer_syntax


def negotiate_frames(
    accept_header: str | None, accept_params: Sequence[str] = (), *, one_part: bool
) -> tuple[FrameForm, ...]:
    """Return the forms in which a client takes frames, its favourite first; never empty.

    PS3.18 §8.7.3.3 and Tables 8.7.3-4 and 8.7.3-5. `one_part` says that exactly one frame is asked for, which may be
    sent by itself. Without a preference frames are an octet stream, decoded; what is compressed may follow as it
    is. Frames as stored in an octet stream (`transfer-syntax=*`), which the table does not have, are what every
    Cornerstone viewer asks for. Raises NotAcceptable.
    """
    return _negotiate(accept_header, accept_params, _FRAME_TYPES, one_part=one_part)


def negotiate_pixel_data(
    accept_header: str | None, accept_params: Sequence[str] = (), *, one_part: bool
) -> tuple[FrameForm, ...]:
    """Return the forms in which a client takes Pixel Data as a whole: those of frames, and video.

    PS3.18 §10.4.3.3.6. `one_part` says that the resource is one instance whose Pixel Data is one part. Raises
    NotAcceptable.
    """
    return _negotiate(accept_header, accept_params, (*_FRAME_TYPES, *_VIDEO_TYPES), one_part=one_part)


def negotiate_bulk_data(
    accept_header: str | None,
    accept_params: Sequence[str] = (),
    *,
    one_part: bool,
    own_type: str = OCTET_STREAM,
) -> tuple[Offer, ...]:
    """Return how a client takes bulk data that is no pixel data, its favourite first; never empty.

    PS3.18 §10.4.3.3.5. `one_part` says that one value is asked for, which may be sent by itself; `own_type` is what
    the data set says of it, such as MIMETypeOfEncapsulatedDocument (0042,0012), in lower case. Without a preference a
    value that has a type of its own is sent by itself, so that a browser can show it, and others in a
    multipart. Transfer syntaxes are not looked at: such a value has none. Raises NotAcceptable.
    """
    own = own_type if own_type != OCTET_STREAM else ""
    offers = [Offer(OCTET_STREAM, multipart=True)]
    if one_part:
        offers += [Offer(OCTET_STREAM)]
    if one_part and own:
        offers = [Offer(own), *offers, Offer(own, multipart=True)]
    return tuple(selection.offer for selection in select(accept_header, accept_params, offers))


BULK_DATA_OFFERS: Final = (Offer(OCTET_STREAM, multipart=True), Offer(OCTET_STREAM))
"""What is told of bulk data where nothing is known of it; a value's own media type is offered besides."""

_FRAME_TYPES: Final = (OCTET_STREAM, *_IMAGES)
_VIDEO_TYPES: Final = tuple(_VIDEOS)

FRAME_OFFERS: Final = tuple(Offer(media_type, multipart) for multipart in (True, False) for media_type in _FRAME_TYPES)
PIXEL_DATA_OFFERS: Final = (
    *FRAME_OFFERS,
    *(Offer(media_type, multipart) for multipart in (True, False) for media_type in _VIDEO_TYPES),
)


def _negotiate(
    accept_header: str | None, accept_params: Sequence[str], media_types: Sequence[str], *, one_part: bool
) -> tuple[FrameForm, ...]:
    old = tuple(old for old, new in _OTHER_SPELLINGS.items() if new in media_types)
    offers = [
        Offer(media_type, multipart)
        for multipart in ((True, False) if one_part else (True,))
        for media_type in (*media_types, *old)
    ]
    ranked: dict[tuple[Offer, str], tuple[tuple[float, int, int, int], FrameForm]] = {}
    for offer, ranges in select(accept_header, accept_params, offers):
        # The ranges that name the offer most closely come first: what they say of a form is not said again by others.
        for media_range in ranges:
            for order, form in enumerate(_forms(offer, media_range)):
                rank = (-media_range.q, media_range.place, order, offers.index(offer))
                ranked.setdefault((offer, form.transfer_syntax), (rank, form))
    if not ranked:
        raise NotAcceptable(
            "None of the media types that the request accepts can have the transfer syntax that it asks for with it. "
            f"Ask for {OCTET_STREAM} without one, or with transfer-syntax=* for what is held."
        )
    return tuple(form for _, form in sorted(ranked.values(), key=lambda entry: entry[0]))


def _forms(offer: Offer, media_range: MediaRange) -> Iterator[FrameForm]:
    """Yield the forms that a range accepts of an offer, in order of preference."""
    exact = offer.specificity(media_range) == EXACTLY
    if offer.media_type in _OTHER_SPELLINGS and not exact:
        return
    possible = TRANSFER_SYNTAXES_OF.get(offer.media_type)
    named = media_range.transfer_syntaxes
    if possible is None:
        for uid in named or (EXPLICIT_VR_LITTLE_ENDIAN,):
            if travels(uid) and (uid not in NATIVE or uid == EXPLICIT_VR_LITTLE_ENDIAN):
                yield FrameForm(offer.media_type, offer.multipart, uid, not named)
        return
    for uid in named:
        if uid == ANY_TRANSFER_SYNTAX or uid in possible:
            yield FrameForm(offer.media_type, offer.multipart, uid)
    if not named:
        # Who does not care which image type it is does not care for a transfer syntax either: nothing is encoded anew.
        default = (possible[0], ANY_TRANSFER_SYNTAX) if exact else (ANY_TRANSFER_SYNTAX, possible[0])
        for uid in default:
            yield FrameForm(offer.media_type, offer.multipart, uid, by_default=True)
