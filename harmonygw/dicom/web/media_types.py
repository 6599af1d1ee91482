"""Content negotiation: what the client accepts against what can be made (RFC 9110 §12.5.1, PS3.18 §8.7).

`parse_accept` reads a list of media ranges, leniently, since clients' headers are what they are. `select`
lays offers against it. The `negotiate_…` functions know the offers of one transaction each: here those that
send data sets, in `pixel_media_types` those that send pixels and other bulk data, in `rendered_media_types`
those that send what people look at.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache
from typing import Final, NamedTuple

from harmonygw.dicom.dataset.transfer_syntaxes import EXPLICIT_VR_LITTLE_ENDIAN, FORBIDDEN_ON_THE_WEB
from harmonygw.errors import NotAcceptable

DICOM: Final = "application/dicom"
DICOM_JSON: Final = "application/dicom+json"
DICOM_XML: Final = "application/dicom+xml"
JSON: Final = "application/json"
MULTIPART: Final = "multipart/related"
WADL: Final = "application/vnd.sun.wadl+xml"
ZIP: Final = "application/zip"

ANY_TRANSFER_SYNTAX: Final = "*"
MAX_MEDIA_RANGES: Final = 100
"""Media ranges read of one list. A viewer that names every transfer syntax has forty."""


@dataclass(frozen=True, slots=True)
class MediaRange:
    """One element of an Accept list."""

    media_type: str
    """Lower case, `type/subtype`; either may be `*`."""
    parameters: tuple[tuple[str, str], ...] = ()
    """Names in lower case, values without quotes, in the order sent; without `q`."""
    q: float = 1.0
    """Preference from 0 (never) to 1."""
    place: int = field(default=0, compare=False)
    """Its place in the list, from 0; what is preferred as much as another is preferred by it."""

    @property
    def part_type(self) -> str:
        """The media type that the parts of a multipart are to have, as `media_type`; empty when not said."""
        return next((_media_type(value) for name, value in self.parameters if name == "type"), "")

    @property
    def transfer_syntaxes(self) -> tuple[str, ...]:
        """The transfer syntax UIDs asked for, or `*`; several only if a client repeats the parameter."""
        return tuple(dict.fromkeys(value for name, value in self.parameters if name == "transfer-syntax"))


@dataclass(frozen=True, slots=True)
class Offer:
    """A representation that can be made: a media type, single or as the parts of a `multipart/related`."""

    media_type: str
    multipart: bool = False

    def __str__(self) -> str:
        return f'{MULTIPART}; type="{self.media_type}"' if self.multipart else self.media_type

    def specificity(self, media_range: MediaRange) -> int:
        """Return how closely the range names this offer: `EXACTLY`, by less and less down to 1, or 0 for not."""
        outer = MULTIPART if self.multipart else self.media_type
        if media_range.media_type != outer:
            return _wildcard(media_range.media_type, outer)
        if not self.multipart or media_range.part_type == self.media_type:
            return EXACTLY
        part = _wildcard(media_range.part_type or "*/*", self.media_type)
        return 2 + part if part else 0


EXACTLY: Final = 5
"""The specificity of a range that names an offer in full; below it are `type="image/*"`, `type="*/*"` or no type,
`image/*`, and `*/*`.
"""


class Selection(NamedTuple):
    """An offer that is accepted, and what accepts it: those that name it most closely first, then by q."""

    offer: Offer
    ranges: tuple[MediaRange, ...]


class RetrieveMedia(Enum):
    """How retrieved instances are sent."""

    MULTIPART = "multipart"
    SINGLE = "single"
    ZIP = "zip"


@dataclass(frozen=True, slots=True)
class RetrieveChoice:
    """What a Retrieve answers with."""

    media: RetrieveMedia
    transfer_syntaxes: tuple[str, ...]
    """Acceptable ones, the favourite first; `*`, always the last, for what the archive holds. Never empty."""
    by_default: bool = False
    """Whether the client named none, so that Explicit VR Little Endian is the standard's choice and not its own."""


MODEL_OFFERS: Final = (Offer(DICOM_JSON), Offer(JSON), Offer(DICOM_XML, multipart=True))
"""PS3.18 §8.7.3.2: data sets without their bulk data."""
ONE_MODEL_OFFERS: Final = (*MODEL_OFFERS, Offer(DICOM_XML))
"""What is one item by nature may be sent by itself (PS3.18 §10.4.4)."""
CAPABILITIES_OFFERS: Final = (Offer(JSON), Offer(WADL))
STORE_OFFERS: Final = (Offer(DICOM_JSON), Offer(JSON), Offer(DICOM_XML))
"""PS3.18 §10.5.3.2: the Store Instances Response Module."""
_RETRIEVE_MEDIA: Final = {
    Offer(DICOM, multipart=True): RetrieveMedia.MULTIPART,
    Offer(DICOM): RetrieveMedia.SINGLE,
    Offer(ZIP): RetrieveMedia.ZIP,
}
RETRIEVE_INSTANCE_OFFERS: Final = tuple(_RETRIEVE_MEDIA)
RETRIEVE_OFFERS: Final = tuple(offer for offer in RETRIEVE_INSTANCE_OFFERS if offer != Offer(DICOM))
"""PS3.18 §8.7.3: `application/dicom` by itself is for exactly one instance; a ZIP file holds any number."""

_MEDIA_TYPE: Final = re.compile(r"[^\s/;,\"]+/[^\s/;,\"]+").fullmatch

KNOWN_ACCEPTS: Final = 64
"""Accept headers whose reading is kept: each client sends a handful, the same with every request."""


@lru_cache(maxsize=KNOWN_ACCEPTS)
def parse_accept(text: str) -> tuple[MediaRange, ...]:
    """Return the media ranges of an Accept header or an `accept` query parameter, in the order sent.

    Read as clients write: parameter values with a slash need no quotes, parameters may stand within the
    quotes of `type`, `image/` means `image/*`, and a `+` that form decoding turned into a blank is put back. An
    element that is no media range is passed over; a malformed `q` counts as 1.
    """
    ranges: list[MediaRange] = []
    for element in _split(text, ","):
        if len(ranges) == MAX_MEDIA_RANGES:
            break
        media_type, *rest = _split(element, ";") or [""]
        media_type = _media_type(media_type)
        if not _MEDIA_TYPE(media_type):
            continue
        parameters = tuple(_parameters(rest))
        q = next((value for name, value in parameters if name == "q"), "1")
        ranges.append(
            MediaRange(
                media_type,
                tuple(pair for pair in parameters if pair[0] != "q"),
                min(float(q), 1.0) if re.fullmatch(r"[0-9]{1,3}(\.[0-9]{0,6})?", q) else 1.0,
                len(ranges),
            )
        )
    return tuple(ranges)


def parse_content_type(text: str) -> MediaRange | None:
    """Return the media type of a Content-Type header, read as leniently as `parse_accept` reads; None if it is none."""
    media_type, *rest = _split(text, ";") or [""]
    media_type = media_type.lower()
    if not _MEDIA_TYPE(media_type):
        return None
    return MediaRange(media_type, tuple(_parameters(rest)))


def select(accept_header: str | None, accept_params: Sequence[str], offers: Sequence[Offer]) -> list[Selection]:
    """Return the offers that the client accepts, its favourite first, the server's where it has none.

    The `accept` query parameters decide; the header is asked only if they accept nothing (PS3.18 §8.7.8.1).
    Neither of them: everything is accepted. The ranges that name an offer most closely weigh it (RFC 9110
    §12.5.1): a `q=0` there refuses what a wider range would accept. Raises NotAcceptable, listing the
    offers.
    """
    lists = [text for text in (", ".join(accept_params), accept_header or "") if text.strip()]
    for text in lists or ["*/*"]:
        ranges = parse_accept(text)
        ranked = [
            (-accepting[0].q, accepting[0].place, Selection(offer, accepting))
            for offer in offers
            if (accepting := _accepting(offer, ranges))
        ]
        if ranked:
            return [selection for *_, selection in sorted(ranked, key=lambda entry: entry[:2])]
    raise NotAcceptable(f"Nothing that the request accepts can be made; available here: {', '.join(map(str, offers))}.")


def _accepting(offer: Offer, ranges: Sequence[MediaRange]) -> tuple[MediaRange, ...]:
    naming = sorted(
        (one for one in ranges if offer.specificity(one)), key=lambda one: (-offer.specificity(one), -one.q)
    )
    if not naming or not naming[0].q:
        return ()
    return tuple(one for one in naming if one.q)


def accept_parameters(query: Sequence[tuple[str, str]]) -> list[str]:
    """Return the values of the `accept` query parameters among decoded names and values (PS3.18 §8.3.3.1)."""
    return [value for name, value in query if name == "accept"]


def negotiate_models(
    accept_header: str | None, accept_params: Sequence[str] = (), *, one_instance: bool = False
) -> Offer:
    """Return how the matches of a Search, or retrieved metadata, are sent: in JSON, or in XML.

    PS3.18 §10.6.3.3 and §10.4.3.3.2. `one_instance` says that the resource is the metadata of an instance, which
    may be XML by itself; otherwise XML is multipart. Raises NotAcceptable.
    """
    return select(accept_header, accept_params, ONE_MODEL_OFFERS if one_instance else MODEL_OFFERS)[0].offer


def negotiate_store(accept_header: str | None, accept_params: Sequence[str] = ()) -> str:
    """Return the media type of the answer to a Store, PS3.18 §10.5.3.2; raises NotAcceptable."""
    return select(accept_header, accept_params, STORE_OFFERS)[0].offer.media_type


def negotiate_capabilities(accept_header: str | None, accept_params: Sequence[str] = ()) -> str:
    """Return the media type of the capabilities description, PS3.18 §8.9; raises NotAcceptable."""
    return select(accept_header, accept_params, CAPABILITIES_OFFERS)[0].offer.media_type


def negotiate_retrieve(
    accept_header: str | None, accept_params: Sequence[str] = (), *, one_instance: bool
) -> RetrieveChoice:
    """Return how a Retrieve is answered, PS3.18 §8.7.3 and §10.4.3.3.1.

    `one_instance` says that the resource is an instance, which may be sent by itself. Without a transfer syntax the
    client means Explicit VR Little Endian (§8.7.3.4). Raises NotAcceptable, also when only transfer syntaxes are asked
    for that §8.7.3 forbids.
    """
    offers = RETRIEVE_INSTANCE_OFFERS if one_instance else RETRIEVE_OFFERS
    selections = select(accept_header, accept_params, offers)
    for offer, ranges in selections:
        asked = [uid for one in ranges for uid in one.transfer_syntaxes or (EXPLICIT_VR_LITTLE_ENDIAN,)]
        if ANY_TRANSFER_SYNTAX in asked:
            del asked[asked.index(ANY_TRANSFER_SYNTAX) + 1 :]
        if usable := tuple(filter(travels, dict.fromkeys(asked))):
            return RetrieveChoice(_RETRIEVE_MEDIA[offer], usable, not any(one.transfer_syntaxes for one in ranges))
    raise NotAcceptable(
        "None of the transfer syntaxes asked for can be sent; Implicit VR Little Endian and Explicit VR Big "
        f"Endian never are. Ask for {EXPLICIT_VR_LITTLE_ENDIAN}, another one, or * for what is held."
    )


def travels(transfer_syntax: str) -> bool:
    """Tell whether that may be asked for as a transfer syntax: a UID that §8.7.3 does not forbid, or `*`."""
    if transfer_syntax in FORBIDDEN_ON_THE_WEB:
        return False
    return transfer_syntax == ANY_TRANSFER_SYNTAX or bool(re.fullmatch("[0-9.]{1,64}", transfer_syntax))


def _media_type(text: str) -> str:
    """Return a media type in lower case; what is missing after the slash is taken for `*`."""
    media_type = text.lower().replace(" ", "+")
    return f"{media_type}*" if media_type.endswith("/") else media_type


def _wildcard(wildcard: str, media_type: str) -> int:
    """Return 2 when `image/*` stands for the media type, 1 when `*/*` does, else 0."""
    if wildcard == "*/*":
        return 1
    return 2 if wildcard == f"{media_type.partition('/')[0]}/*" else 0


def _split(text: str, separator: str) -> list[str]:
    """Split at a separator that is not within quotes; blanks around a part, and empty parts, are dropped."""
    return [part for piece in re.findall(_PIECES[separator], text) if (part := piece.strip())]


# A quote that is never closed reaches to the end: the pattern cannot fail, and so takes linear time.
_QUOTED = r'"(?:[^"\\]|\\.)*+\\?"?'
_PIECES = {separator: re.compile(rf'(?:{_QUOTED}|[^{separator}"])+') for separator in ",;"}


def _parameters(parts: Sequence[str]) -> Iterator[tuple[str, str]]:
    for part in parts:
        name, _, value = part.partition("=")
        name, value = name.strip().lower(), value.strip()
        if len(value) > 1 and value[0] == value[-1] == '"':
            value = re.sub(r"\\(.)", r"\1", value[1:-1])
        if name == "type" and ";" in value:
            value, *within = _split(value, ";") or [""]
            yield name, value
            yield from _parameters(within)
        else:
            yield name, value
