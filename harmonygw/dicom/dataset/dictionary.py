"""The data dictionary (PS3.6), public and private, as plain tables for the hot paths.

The tables are pydicom's; this module gives them the shape that reading a data set wants: integers in, a
string out, nothing raised. What pydicom does not know is UN.
"""

from collections.abc import Mapping
from difflib import get_close_matches
from functools import lru_cache
from types import MappingProxyType
from typing import Final

from pydicom.datadict import (  # type: ignore[attr-defined]
    DicomDictionary,
    RepeatersDictionary,
    mask_match,
    private_dictionaries,
)

UNKNOWN_VR: Final = "UN"
"""The VR of what no dictionary knows (PS3.5 §6.2.2)."""

MAX_KEYWORD_LENGTH: Final = 128
"""Characters of a misspelt keyword that are compared. Default 128, twice the longest keyword: comparing costs
time.
"""

BINARY_VRS: Final = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "UN"})
"""VRs whose value is InlineBinary or BulkDataURI in DICOM JSON, never Value (PS3.18 §F.2.2)."""

BULK_VRS: Final = BINARY_VRS | {
    *("DS", "FD", "FL", "IS", "LT", "SL", "SS", "ST", "SV"),
    *("UC", "UL", "UN", "US", "UT", "UV"),
}
"""VRs whose value may be given by BulkDataURI (PS3.18 §F.2.2)."""

CHARACTER_SET_VRS: Final = frozenset({"LO", "LT", "PN", "SH", "ST", "UC", "UT"})
"""VRs whose values are in the Specific Character Set (PS3.5 §6.1.2.3)."""

_NO_VR: Final = "NONE"

VR_BY_TAG: Final[Mapping[int, str]] = MappingProxyType(
    {tag: entry[0] for tag, entry in DicomDictionary.items() if entry[0] != _NO_VR}
)
"""Tag to VR of every attribute whose tag has no `xx` in it; the VR may be ambiguous, such as `US or SS`."""

_TAG_BY_KEYWORD: Final = {entry[4]: tag for tag, entry in DicomDictionary.items() if entry[4]}
_SPELLINGS: Final = {keyword.lower(): keyword for keyword in _TAG_BY_KEYWORD}

_KNOWN_AT_ONCE: Final = 4096


@lru_cache(_KNOWN_AT_ONCE)
def _repeating(tag: int) -> str | None:
    """Return the mask of a repeating group's attribute, such as `60xx3000` (PS3.5 §7.6)."""
    return mask_match(tag)


def is_private(tag: int) -> bool:
    """Whether the group is odd (PS3.5 §7.8)."""
    return bool(tag & 0x00010000)


def vr_of(tag: int) -> str:
    """Return the VR of a public attribute, `UN` when it is not in the dictionary.

    A group length (gggg,0000) is UL. Ambiguous ones are returned as the dictionary has them: see
    `resolve_vr`.
    """
    vr = VR_BY_TAG.get(tag)
    if vr is not None:
        return vr
    if not tag & 0xFFFF:
        return "UL"
    mask = None if is_private(tag) else _repeating(tag)
    return RepeatersDictionary[mask][0] if mask is not None else UNKNOWN_VR


def private_vr(tag: int, creator: str) -> str:
    """Return the VR of a private attribute whose block `creator` has reserved (PS3.5 §7.8.1), else `UN`.

    The elements (gggg,0010) to (gggg,00FF) are the private creators themselves: LO.
    """
    if 0x10 <= tag & 0xFFFF <= 0xFF:
        return "LO"
    return _known_private_vr(tag, creator) if creator in private_dictionaries else UNKNOWN_VR


@lru_cache(_KNOWN_AT_ONCE)
def _known_private_vr(tag: int, creator: str) -> str:
    entries = private_dictionaries[creator]
    group, element = f"{tag >> 16:04X}", f"{tag & 0xFFFF:04X}"
    for key in (group + element, f"{group}xx{element[2:]}", f"{group[:2]}xxxx{element[2:]}"):
        if key in entries:
            # One entry spells "OB or OW" with an underscore.
            return entries[key][0].replace("_", " or ")
    return UNKNOWN_VR


def keyword_of(tag: int) -> str:
    """Return the keyword of a public attribute, an empty string when there is none."""
    entry = DicomDictionary.get(tag)
    if entry is not None:
        return entry[4]
    mask = None if is_private(tag) else _repeating(tag)
    return RepeatersDictionary[mask][4] if mask is not None else ""


def has_one_value(tag: int) -> bool:
    """Whether an attribute with this tag, none of a repeating group, has a Value Multiplicity of 1."""
    entry = DicomDictionary.get(tag)
    return entry is not None and entry[1] == "1"


def tag_of(keyword: str) -> int | None:
    """Return the tag of a keyword, None when there is none or it names a repeating group's attribute."""
    return _TAG_BY_KEYWORD.get(keyword)


def nearest_keywords(text: str, n: int = 3) -> tuple[str, ...]:
    """Return up to `n` keywords that look like `text`, the likeliest first; letter case does not matter.

    It takes tens of milliseconds, the first time: it is for the message of an error, not for finding
    attributes.
    """
    return _nearest_keywords(text[:MAX_KEYWORD_LENGTH].lower(), n)


@lru_cache(256)
def _nearest_keywords(text: str, n: int) -> tuple[str, ...]:
    return tuple(_SPELLINGS[spelling] for spelling in get_close_matches(text, _SPELLINGS, n=n))


def resolve_vr(vr: str, *, pixel_representation: int | None = None, lut_entries: int | None = None) -> str:
    """Return the one VR that an ambiguous VR of the dictionary stands for; others are returned as they are.

    `US or SS` follows PixelRepresentation (0028,0103) of the data set or of the nearest one around it;
    without one it is US. `US or OW`, of LUTData, is US when the first value of LUTDescriptor (0028,3002) says
    that there is one entry (PS3.3 §C.11.1.1). `OB or OW` is OW, as it has to be in Implicit VR (PS3.5 §A.1),
    and so is `US or SS or OW`.
    """
    if vr == "US or SS":
        return "SS" if pixel_representation else "US"
    if vr == "US or OW":
        return "US" if lut_entries == 1 else "OW"
    return "OW" if " or " in vr else vr
