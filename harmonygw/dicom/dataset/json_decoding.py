"""The DICOM JSON model (PS3.18 Annex F) as a data set's bytes: identifiers of requests, and metadata to be
stored.

What comes from a client is checked as far as bytes need it: types, ranges, characters, lengths. What PS3.5
§6.2 wants a VR to say is not: an archive that holds a DS of `1.9.10.0` may be asked for it by that value.
"""

import re
from base64 import b64decode
from collections.abc import Callable, Iterable, Mapping
from math import isfinite
from struct import Struct, pack
from struct import error as StructError
from typing import Any, Final, TypeVar

from harmonygw.dicom.dataset import character_sets
from harmonygw.dicom.dataset.byte_order import WORD_LENGTHS, swapped
from harmonygw.dicom.dataset.character_sets import CharacterSet
from harmonygw.dicom.dataset.dictionary import BINARY_VRS, CHARACTER_SET_VRS
from harmonygw.dicom.dataset.elements import (
    ITEM,
    LONG_FORM_VRS,
    SHORT_FORM_VRS,
    Encoding,
    encoding_of,
    tag_name,
)
from harmonygw.dicom.dataset.limits import MAX_NESTING_DEPTH
from harmonygw.dicom.dataset.transfer_syntaxes import EXPLICIT_VR_LITTLE_ENDIAN
from harmonygw.errors import BadRequest

LONGEST_SHORT_FORM: Final = 0xFFFE
"""Bytes of a value whose length has 16 bits: the greatest even number of them (PS3.5 §7.1.2)."""

LONGEST_DECIMAL_STRING: Final = 16
"""Characters of a DS (PS3.5 §6.2). A number that takes more is rounded to what fits; a string is not
touched."""

LONGEST_SHOWN_KEY: Final = 64
"""Characters of what is no tag that an error message shows. Default 64: enough to find it, not to fill a log."""

_SPECIFIC_CHARACTER_SET: Final = 0x00080005
_NO_DATA_SET_GROUPS: Final = (0x0000, 0xFFFE, 0xFFFF)
_FILE_META_GROUP: Final = 0x0002
_TAG: Final = re.compile(r"[0-9A-Fa-f]{8}")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b\x0e-\x1f\x7f]")
_COMPONENT_GROUPS: Final = ("Alphabetic", "Ideographic", "Phonetic")
_WHOLE_TEXTS: Final = frozenset({"LT", "ST", "UR", "UT"})
_VRS: Final = SHORT_FORM_VRS | LONG_FORM_VRS
_INTEGER_STRINGS: Final = range(-(1 << 31), 1 << 31)


def from_json(
    data_set: Mapping[str, Any],
    transfer_syntax_uid: str = EXPLICIT_VR_LITTLE_ENDIAN,
    *,
    character_set: tuple[str, ...] = ("ISO_IR 192",),
) -> bytes:
    """Return the bytes of a data set given in the DICOM JSON model, its elements in ascending order.

    Text is encoded in `character_set`, the terms of which become (0008,0005), whatever the model says there
    and in its items; without terms, or with ISO_IR 6 alone, text is ASCII and (0008,0005) is left out.
    Sequences and items have defined length. Group lengths and group 0002 are left out. A deflated transfer
    syntax is encoded, not deflated.

    Raises `BadRequest`, naming the tag, for whatever cannot be encoded: a key that is no tag, an unknown VR, a type or
    number that the VR has no place for, a character that the set lacks, a BulkDataURI (to be resolved before),
    sequences beyond `MAX_NESTING_DEPTH`. It does not show the value, which may be a patient's name.
    """
    writer = DataSetWriter(encoding_of(transfer_syntax_uid), character_sets.character_set(character_set))
    return writer.data_set(data_set)


class DataSetWriter:
    """Writes data sets in one encoding and one character set.

    With `decoded_only` text with U+FFFD is refused: it stands for what could not be decoded, where that was shown.
    """

    def __init__(self, encoding: Encoding, character_set: CharacterSet, *, decoded_only: bool = False) -> None:
        order = "<" if encoding.little_endian else ">"
        self._little_endian = encoding.little_endian
        self._explicit_vr = encoding.explicit_vr
        self._character_set = character_set
        self._decoded_only = decoded_only
        self._numbers = {vr: f"{order}{{}}{code}" for vr, code in _NUMBER_CODES.items()}
        self._implicit_header = Struct(f"{order}HHL").pack
        self._short_header = Struct(f"{order}HH2sH").pack
        self._long_header = Struct(f"{order}HH2s2xL").pack

    def data_set(self, data_set: Mapping[str, Any]) -> bytes:
        """Write the outermost data set."""
        return self._elements(data_set, outermost=True, depth=0)

    def attributes(self, data_set: Mapping[str, Any], *, outermost: bool) -> list[tuple[int, Any]]:
        """Return the attributes that are written, by ascending tag; the outermost data set says its character set.

        Raises `BadRequest` for a key that is no tag.
        """
        terms = self._character_set.terms if outermost else ()
        attributes: dict[int, Any] = {}
        for key, attribute in data_set.items():
            if not _TAG.fullmatch(key):
                raise BadRequest(f"{_shown(key)} is not a tag of eight hexadecimal digits")
            attributes[int(key, 16)] = attribute
        attributes.pop(_SPECIFIC_CHARACTER_SET, None)
        if terms:
            attributes[_SPECIFIC_CHARACTER_SET] = {"vr": "CS", "Value": list(terms)}
        return [(tag, attributes[tag]) for tag in sorted(attributes) if tag & 0xFFFF and tag >> 16 != _FILE_META_GROUP]

    def _elements(self, data_set: Mapping[str, Any], *, outermost: bool, depth: int) -> bytes:
        return b"".join(
            self.element(tag, attribute, depth) for tag, attribute in self.attributes(data_set, outermost=outermost)
        )

    def vr_of(self, tag: int, attribute: Any) -> str:
        """Return the VR of an attribute; raises `BadRequest` when it is none, or can be in no data set."""
        if not isinstance(attribute, Mapping) or tag >> 16 in _NO_DATA_SET_GROUPS:
            raise BadRequest(f"{tag_name(tag)} is not an attribute of a data set")
        vr = attribute.get("vr")
        if not isinstance(vr, str) or vr not in _VRS:
            raise BadRequest(f"{tag_name(tag)} has none of the VRs of PS3.5 §6.2")
        return vr

    def element(self, tag: int, attribute: Any, depth: int) -> bytes:
        """Return an element of a data set that lies within `depth` sequences; raises `BadRequest`."""
        vr = self.vr_of(tag, attribute)
        if len(attribute) == 1:
            return self.header(tag, vr, 0)
        try:
            value = self._value(vr, attribute, depth)
            if len(value) % 2:
                value += b"\0" if vr == "UI" or vr in BINARY_VRS else b" "
            return self.header(tag, vr, len(value)) + value
        except BadRequest as error:
            raise BadRequest(f"{tag_name(tag)} {vr}: {error.detail}") from None
        except (ValueError, TypeError, OverflowError, StructError) as error:
            # Without the value, and so no text of Python's: what is said here goes to the log.
            raise BadRequest(f"{tag_name(tag)} {vr}: {error}") from None

    def header(self, tag: int, vr: str, length: int) -> bytes:
        """Return the header of an element; raises `ValueError` when its VR has no room for the length."""
        if not self._explicit_vr:
            return self._implicit_header(tag >> 16, tag & 0xFFFF, length)
        if vr in LONG_FORM_VRS:
            return self._long_header(tag >> 16, tag & 0xFFFF, vr.encode(), length)
        if length > LONGEST_SHORT_FORM:
            raise ValueError(f"{length} bytes are more than the {LONGEST_SHORT_FORM} of this VR")
        return self._short_header(tag >> 16, tag & 0xFFFF, vr.encode(), length)

    def _value(self, vr: str, attribute: Mapping[str, Any], depth: int) -> bytes:
        if "BulkDataURI" in attribute:
            raise ValueError("a BulkDataURI stands for a value that has to be fetched first")
        if vr in BINARY_VRS:
            if "Value" in attribute:
                raise ValueError("a binary value is given as InlineBinary")
            return self._binary(vr, attribute.get("InlineBinary", ""))
        values = attribute.get("Value", [])
        if "InlineBinary" in attribute or not isinstance(values, list):
            raise ValueError("the value is given as an array named Value")
        if vr == "SQ":
            return b"".join(self._item(item, depth + 1) for item in values)
        if vr in self._numbers:
            convert = _float if vr in ("FL", "FD") else _integer
            return pack(self._numbers[vr].format(len(values)), *map(convert, values))
        if vr == "AT":
            return b"".join(self._attribute_tag(value) for value in values)
        return self._text(vr, values)

    def _item(self, item: Any, depth: int) -> bytes:
        if depth > MAX_NESTING_DEPTH:
            raise BadRequest(f"sequences exceed MAX_NESTING_DEPTH ({MAX_NESTING_DEPTH})")
        if not isinstance(item, Mapping):
            raise TypeError("an item is an object")
        content = self._elements(item, outermost=False, depth=depth)
        return self._implicit_header(ITEM >> 16, ITEM & 0xFFFF, len(content)) + content

    def _binary(self, vr: str, encoded: Any) -> bytes:
        # Annex F.4 once showed the string in an array, and some writers took it up.
        if isinstance(encoded, list) and len(encoded) == 1:
            (encoded,) = encoded
        value = b64decode(encoded, validate=True)
        if self._little_endian or vr not in WORD_LENGTHS:
            return value
        return bytes(swapped(value, WORD_LENGTHS[vr]))

    def _attribute_tag(self, value: Any) -> bytes:
        if not isinstance(value, str) or not _TAG.fullmatch(value):
            raise ValueError("a tag is a string of eight hexadecimal digits")
        tag = int(value, 16)
        return pack("<HH" if self._little_endian else ">HH", tag >> 16, tag & 0xFFFF)

    def _text(self, vr: str, values: list[Any]) -> bytes:
        if vr in _WHOLE_TEXTS and len(values) > 1:
            raise ValueError("this VR has one value")
        text_of = _TEXT_OF.get(vr, _string)
        texts = ["" if value is None else _checked(vr, text_of(value)) for value in values]
        if self._decoded_only and any(_REPLACEMENT in text for text in texts):
            raise ValueError("U+FFFD stands for what could not be decoded, and is no value")
        if vr in CHARACTER_SET_VRS:
            return b"\\".join(self._character_set.encode(text, vr) for text in texts)
        return "\\".join(texts).encode("ascii")


_REPLACEMENT: Final = "\N{REPLACEMENT CHARACTER}"


def _checked(vr: str, text: str) -> str:
    if "\\" in text and vr not in _WHOLE_TEXTS:
        raise ValueError("a backslash would make two values of it")
    control = _CONTROL.search(text)
    if control is not None:
        raise ValueError(f"the control character {control[0]!r} cannot be part of a value")
    return text


def _string(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("this VR takes strings")
    return value


def _number(value: Any) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError("this VR takes numbers")
    return value


_Number = TypeVar("_Number", int, float)


def _parsed(kind: Callable[[str], _Number], text: str) -> _Number:
    try:
        return kind(text)
    except ValueError:
        raise ValueError("this VR takes numbers") from None


def _float(value: Any) -> float:
    """Return a number, or what a string says: NaN and the infinities have no other form in JSON."""
    return _parsed(float, value) if isinstance(value, str) else float(_number(value))


def _integer(value: Any) -> int:
    """Return a number, or what a string says: SV and UV may have that form (PS3.18 §F.2.3)."""
    if isinstance(value, str):
        return _parsed(int, value)
    number = _number(value)
    if isinstance(number, float) and not number.is_integer():
        raise ValueError("this VR takes integers")
    return int(number)


def _integer_string(value: Any) -> str:
    if isinstance(value, str):
        return value
    integer = _integer(value)
    if integer not in _INTEGER_STRINGS:
        raise ValueError("an IS has 32 bits")
    return str(integer)


def _decimal_string(value: Any) -> str:
    """Return a number in as many digits as a DS has room for."""
    if isinstance(value, str):
        return value
    number = _number(value)
    texts: Iterable[str] = (str(number), *(f"{number:.{digits}g}" for digits in range(16, 0, -1)))
    if not isfinite(number):
        raise ValueError("a DS is finite")
    return next(text for text in texts if len(text) <= LONGEST_DECIMAL_STRING)


def _person_name(value: Any) -> str:
    """Return the component groups with `=` between them; some clients send them so in the first place."""
    if isinstance(value, str):
        return value
    if not isinstance(value, Mapping) or not set(value) <= set(_COMPONENT_GROUPS):
        raise ValueError(f"a person name is an object with {', '.join(_COMPONENT_GROUPS)}")
    groups = [_string(value.get(name, "")) for name in _COMPONENT_GROUPS]
    if any("=" in group for group in groups):
        raise ValueError("an equals sign would make two component groups of it")
    return "=".join(groups).rstrip("=")


def _shown(key: object) -> str:
    text = repr(key)
    return text if len(text) <= LONGEST_SHOWN_KEY else text[: LONGEST_SHOWN_KEY - 1] + "…"


_NUMBER_CODES: Final = dict(zip("FD FL SL SS SV UL US UV".split(), "dflhqLHQ", strict=True))  # noqa: SIM905
_TEXT_OF: Final[Mapping[str, Callable[[Any], str]]] = {
    "DS": _decimal_string,
    "IS": _integer_string,
    "PN": _person_name,
}
