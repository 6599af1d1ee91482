"""A data set's bytes as the DICOM JSON model (PS3.18 Annex F), in one pass.

`to_json` reads bytes and makes what `orjson` serialises: no object of a DICOM library lies between. Values
are what pydicom's `to_json_dict` gives, with these choices where the standard leaves one or pydicom's
output breaks it:

- padding goes as PS3.5 §6.2 says, so also leading spaces of AE, CS, DS, IS, LO and SH, in each of several values;
- empty values among others are null (§F.2.5), empty component groups of PN are left out (§F.2.2);
- IS and DS are numbers when JSON then shows the same number, else strings, whatever they say (§F.2.3);
- NaN and the infinities are the strings `NaN`, `Infinity` and `-Infinity`, for JSON has no such numbers;
- a number whose length does not fit its VR is shown as UN, so that nothing is lost and nothing fails;
- group lengths and group 0002 are left out, and encapsulated pixel data too unless it gets a BulkDataURI;
- what is InlineBinary is Little Endian, since JSON tells no transfer syntax;
- (0008,0005) keeps the terms of the source: it is not the encoding of the JSON (§F.2.2 note 3).

The model takes memory in proportion to the bytes, some forty times as much for empty elements: whoever gathers
the bytes limits them.
"""

from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from functools import lru_cache
from math import isfinite
from struct import Struct, unpack
from struct import error as StructError
from typing import Any, Final, NamedTuple

from harmonygw.dicom.dataset.byte_order import WORD_LENGTHS, swapped
from harmonygw.dicom.dataset.character_sets import (
    LONGEST_TERM,
    MAX_TERMS,
    REPLACEMENT,
    CharacterSet,
    character_set,
)
from harmonygw.dicom.dataset.dictionary import (
    BINARY_VRS,
    UNKNOWN_VR,
    VR_BY_TAG,
    is_private,
    private_vr,
    resolve_vr,
    vr_of,
)
from harmonygw.dicom.dataset.elements import (
    DELIMITER_VR,
    ITEM,
    ITEM_DELIMITATION,
    SEQUENCE_DELIMITATION,
    UNDEFINED_LENGTH,
    Buffer,
    Encoding,
    check_depth,
    encoding_of,
    end_of_items,
    malformed,
)
from harmonygw.dicom.dataset.inline import BULK_THRESHOLD, is_by_reference
from harmonygw.errors import PeerError

Path = tuple[str | int, ...]
"""Where an element is: the sequence tags and item indices (from 0) that lead there, and its own tag, as in
JSON."""

BulkData = Callable[[Path, str, int], str | None]
"""Told the path, VR and length in bytes of a value; returns its BulkDataURI, or None to have it inline."""

LONGEST_DECIMAL_STRING: Final = 64
"""Characters of a DS that is looked at as a number. Default 64, four times the legal; longer ones stay
strings."""

_LONGEST_INTEGER_STRING: Final = 12
_EXACT_DIGITS: Final = 15
_NONE_INLINE: Final = UNDEFINED_LENGTH - 1

_SPECIFIC_CHARACTER_SET: Final = 0x00080005
_FILE_META_GROUP: Final = 0x0002
_LUT_DESCRIPTORS: Final = frozenset({"00281101", "00281102", "00281103", "00283002"})

_KEYS: Final = {tag: f"{tag:08X}" for tag in VR_BY_TAG if tag & 0xFFFF and tag >> 16 != _FILE_META_GROUP}
"""Tag to JSON spelling of all public attributes that belong into a data set."""

_key_of = lru_cache(4096)("{:08X}".format)

_ESCAPE: Final = "\x1b"
_PADDING: Final = " \0"

Attributes = dict[str, Any]
Values = list[Any] | None


def to_json(
    data: Buffer,
    transfer_syntax_uid: str,
    *,
    default_character_set: tuple[str, ...] = ("ISO_IR 6",),
    bulk_data: BulkData | None = None,
    bulk_threshold: int = BULK_THRESHOLD,
    on_undecodable: Callable[[str], None] | None = None,
) -> Attributes:
    """Return the DICOM JSON model of a data set (PS3.18 §F.2), its attributes in ascending order.

    `data` is the data set without preamble and file meta information, inflated when the transfer syntax is
    deflated; anything but `bytes` is copied once. `default_character_set` holds where the data set has no
    value for (0008,0005). `bulk_data` is asked for the BulkDataURI of values that `is_by_reference`, opaque
    ones longer than `bulk_threshold` bytes, and of encapsulated pixel data. `on_undecodable` is called
    with the tag, eight hexadecimal digits, of a value that has bytes its character set does not define;
    they are U+FFFD in the result.

    Raises `PeerError`, naming tag and offset, when an element is malformed or a limit of `elements` is
    exceeded.
    """
    source = _Source(data if isinstance(data, bytes) else bytes(data), bulk_data, bulk_threshold, on_undecodable)
    data_set = _DataSet(source, None, (), encoding_of(transfer_syntax_uid), character_set(default_character_set))
    data_set.read(0, len(source.data), delimited=False)
    for owner, name, vr, value in source.ambiguous:
        owner.resolve(name, vr, value)
    return data_set.attributes


class _Source:
    """What is common to a data set and all items in it."""

    __slots__ = ("ambiguous", "bulk_data", "bulk_threshold", "data", "longest_inline", "on_undecodable")

    def __init__(
        self,
        data: bytes,
        bulk_data: BulkData | None,
        bulk_threshold: int,
        on_undecodable: Callable[[str], None] | None,
    ) -> None:
        self.data = data
        self.bulk_data = bulk_data
        self.bulk_threshold = bulk_threshold
        self.on_undecodable = on_undecodable
        # One comparison sends both what is long and what has undefined length out of the fast path.
        self.longest_inline = _NONE_INLINE if bulk_data is None else min(bulk_threshold, _NONE_INLINE)
        self.ambiguous: list[tuple[_DataSet, str, str, _Value]] = []


class _Value(NamedTuple):
    """Where a value lies, and how its words do."""

    start: int
    length: int
    little_endian: bool


class _DataSet:
    """A data set or an item: its attributes so far, and what is needed to read on."""

    __slots__ = ("attributes", "character_set", "depth", "encoding", "parent", "path", "source")

    def __init__(
        self, source: _Source, parent: "_DataSet | None", path: Path, encoding: Encoding, set_: CharacterSet
    ) -> None:
        self.source = source
        self.parent = parent
        self.path = path
        self.encoding = encoding
        self.character_set = set_
        self.depth: int = 0 if parent is None else parent.depth + 1
        self.attributes: Attributes = {}

    def read(self, offset: int, end: int, *, delimited: bool) -> int:
        """Read all elements up to the end, or to the item's delimiter, and return the offset behind it."""
        data = self.source.data
        header, key_of = self.encoding.header, _KEYS.get
        decoder_of = (_LITTLE_ENDIAN if self.encoding.little_endian else _BIG_ENDIAN).get
        longest_inline = self.source.longest_inline
        attributes = self.attributes
        last = -1
        in_order = True
        while offset < end:
            tag, vr, start, length = header(data, offset, end)
            name = key_of(tag)
            if name is None:
                if vr == DELIMITER_VR:
                    if tag == ITEM_DELIMITATION and delimited:
                        break
                    # Some writers end items of defined length with a delimiter as well.
                    if tag != ITEM_DELIMITATION or length or self.parent is None:
                        raise malformed("a delimiter among data elements", tag, offset)
                    offset = start
                    continue
                if not tag & 0xFFFF or tag >> 16 == _FILE_META_GROUP:
                    if length == UNDEFINED_LENGTH:
                        raise malformed("a sequence that belongs into no data set", tag, offset)
                    offset = start + length
                    continue
                name = _key_of(tag)
            if tag <= last:
                in_order = False
            last = tag
            decode = decoder_of(vr)
            if decode is None or length > longest_inline:
                offset = self._read_special(name, tag, vr, start, length, end)
            else:
                offset = start + length
                try:
                    values = decode(self, name, data[start:offset])
                except StructError:
                    attributes[name] = _binary(UNKNOWN_VR, data[start:offset], little_endian=True)
                else:
                    attributes[name] = {"vr": vr, "Value": values} if values else {"vr": vr}
            if tag == _SPECIFIC_CHARACTER_SET:
                self._adopt(attributes[name].get("Value", ()))
        else:
            start = end
            if delimited:
                raise malformed("the item does not end", ITEM_DELIMITATION, end)
        if not in_order:
            self.attributes = dict(sorted(attributes.items()))
        return start

    def resolve(self, name: str, vr: str, value: _Value) -> None:
        """Decode a value whose VR depends on others, now that all are known."""
        lut_descriptor = self.attributes.get("00283002", {}).get("Value", (None,))
        known_vr = resolve_vr(vr, pixel_representation=self._pixel_representation(), lut_entries=lut_descriptor[0])
        self.attributes[name] = self._attribute(name, known_vr, value)

    def text(self, name: str, vr: str, value: bytes) -> str:
        """Return a value that is not plain ASCII as text, and report what could not be decoded."""
        text = self.character_set.decode(value, vr)
        if REPLACEMENT in text and self.source.on_undecodable is not None:
            self.source.on_undecodable(name)
        return text

    def _read_special(self, name: str, tag: int, vr: str, start: int, length: int, end: int) -> int:
        """Read what has no decoder of its own or is long, and return the offset behind it."""
        known_vr = self._vr_of_unknown(tag) if vr == UNKNOWN_VR else vr
        if length == UNDEFINED_LENGTH:
            encoding = self.encoding.of_sequence(vr)
            if known_vr in ("OB", "OW", "OB or OW"):
                return self._skip_fragments(name, start, end, encoding)
            items, offset = self._items(name, start, end, encoding, delimited=True)
            self.attributes[name] = {"vr": "SQ", "Value": items} if items else {"vr": "SQ"}
            return offset
        if known_vr == "SQ":
            self.attributes[name] = self._sequence(name, vr, start, start + length)
            return start + length
        # What hides in UN is Little Endian in every transfer syntax (PS3.5 §6.2.2).
        value = _Value(start, length, self.encoding.little_endian or vr == UNKNOWN_VR)
        if known_vr in ("US or SS", "US or OW"):
            self.attributes[name] = {"vr": known_vr}
            self.source.ambiguous.append((self, name, known_vr, value))
        else:
            self.attributes[name] = self._attribute(name, resolve_vr(known_vr), value)
        return start + length

    def _attribute(self, name: str, vr: str, value: _Value) -> Attributes:
        """Return the attribute of a value that is no sequence, as URI, inline, or decoded."""
        start, length, little_endian = value
        source = self.source
        if source.bulk_data is not None and is_by_reference(vr, length, source.bulk_threshold):
            uri = source.bulk_data((*self.path, name), vr, length)
            if uri is not None:
                return {"vr": vr, "BulkDataURI": uri}
        data = source.data[start : start + length]
        if vr in BINARY_VRS:
            return _binary(vr, data, little_endian=little_endian)
        decoders = _LITTLE_ENDIAN if little_endian else _BIG_ENDIAN
        return _decoded(self, decoders[vr], name, vr, data)

    def _sequence(self, name: str, vr: str, start: int, end: int) -> Attributes:
        """Return a sequence of defined length; what only a dictionary calls one may turn out to be none."""
        try:
            items, _ = self._items(name, start, end, self.encoding.of_sequence(vr), delimited=False)
        except PeerError:
            if vr != UNKNOWN_VR:
                raise
            return _binary(UNKNOWN_VR, self.source.data[start:end], little_endian=True)
        return {"vr": "SQ", "Value": items} if items else {"vr": "SQ"}

    def _items(
        self, name: str, offset: int, end: int, encoding: Encoding, *, delimited: bool
    ) -> tuple[list[Attributes], int]:
        check_depth(self.depth + 1, offset)
        data = self.source.data
        items: list[Attributes] = []
        while offset < end:
            tag, _vr, start, length = encoding.item(data, offset, end)
            if tag == SEQUENCE_DELIMITATION:
                return items, start
            if tag != ITEM:
                raise malformed("an item was expected", tag, offset)
            item_end = end if length == UNDEFINED_LENGTH else start + length
            item = _DataSet(
                self.source,
                self,
                (*self.path, name, len(items)),
                encoding.of_item(data, start, item_end),
                self.character_set,
            )
            offset = item.read(start, item_end, delimited=length == UNDEFINED_LENGTH)
            items.append(item.attributes)
        if delimited:
            raise malformed("the sequence does not end", SEQUENCE_DELIMITATION, end)
        return items, offset

    def _skip_fragments(self, name: str, start: int, end: int, encoding: Encoding) -> int:
        """Leave encapsulated pixel data where it is (PS3.5 §A.4): JSON has but a URI for it."""
        offset = end_of_items(self.source.data, start, end, encoding)
        if self.source.bulk_data is not None:
            uri = self.source.bulk_data((*self.path, name), "OB", offset - start)
            if uri is not None:
                self.attributes[name] = {"vr": "OB", "BulkDataURI": uri}
        return offset

    def _adopt(self, terms: Sequence[Any]) -> None:
        """Decode what follows by the character set that the data set names, if it names one."""
        if terms and all(term is None or isinstance(term, str) for term in terms):
            self.character_set = character_set(tuple((term or "")[:LONGEST_TERM] for term in terms[:MAX_TERMS]))

    def _vr_of_unknown(self, tag: int) -> str:
        if not is_private(tag):
            return vr_of(tag)
        creator = self.attributes.get(f"{tag >> 16:04X}00{tag >> 8 & 0xFF:02X}", {}).get("Value", ("",))[0]
        return private_vr(tag, creator if isinstance(creator, str) else "")

    def _pixel_representation(self) -> int | None:
        """Return that of the nearest data set around the element (PS3.3 §C.7.6.3.1)."""
        data_set: _DataSet | None = self
        while data_set is not None:
            value = data_set.attributes.get("00280103", {}).get("Value")
            if value is not None:
                return int(value[0] == 1)
            data_set = data_set.parent
        return None


Decode = Callable[[_DataSet, str, bytes], Values]
"""Makes the array `Value` of a value's bytes; nothing when it is empty."""

Decoders = Mapping[str, Decode]


def _decoded(data_set: _DataSet, decode: Decode, name: str, vr: str, value: bytes) -> Attributes:
    try:
        values = decode(data_set, name, value)
    except StructError:
        return _binary(UNKNOWN_VR, value, little_endian=True)
    return {"vr": vr, "Value": values} if values else {"vr": vr}


def _binary(vr: str, value: Buffer, *, little_endian: bool) -> Attributes:
    if not value:
        return {"vr": vr}
    if not little_endian and vr in WORD_LENGTHS and len(value) % WORD_LENGTHS[vr] == 0:
        value = swapped(memoryview(value), WORD_LENGTHS[vr])
    return {"vr": vr, "InlineBinary": b64encode(value).decode("ascii")}


def _strings(vr: str, strip: Callable[[str, str], str], *, several: bool = True) -> Decode:
    """Text, in one value or several, without its padding.

    A value that is not ASCII is in the Specific Character Set, even of a VR that should not be: some writers
    think so.
    """

    def decode(data_set: _DataSet, name: str, value: bytes) -> Values:
        text = value.decode("ascii") if value.isascii() else _ESCAPE
        if _ESCAPE in text:
            text = data_set.text(name, vr, value)
        text = strip(text, _PADDING)
        if several and "\\" in text:
            return [strip(part, _PADDING) or None for part in text.split("\\")]
        return [text] if text else None

    return decode


def _person_name(data_set: _DataSet, name: str, value: bytes) -> Values:
    text = value.decode("ascii") if value.isascii() else _ESCAPE
    if _ESCAPE in text:
        text = data_set.text(name, "PN", value)
    text = text.rstrip(_PADDING)
    if "=" in text or "\\" in text:
        return [_component_groups(part.rstrip(_PADDING)) or None for part in text.split("\\")]
    return [{"Alphabetic": text}] if text else None


def _component_groups(text: str) -> dict[str, str]:
    groups = zip(("Alphabetic", "Ideographic", "Phonetic"), text.split("="), strict=False)
    return {name: group for name, group in groups if group}


def _number_strings(number: Callable[[str], int | float | str]) -> Decode:
    def decode(data_set: _DataSet, name: str, value: bytes) -> Values:
        text = (value.decode("ascii") if value.isascii() else data_set.text(name, "DS", value)).strip(_PADDING)
        if "\\" in text:
            return [number(part) if part else None for part in map(str.strip, text.split("\\"))]
        return [number(text)] if text else None

    return decode


def _integer(text: str) -> int | str:
    """Return the number; the text itself when it is none, or longer than an IS may be."""
    if len(text) > _LONGEST_INTEGER_STRING or text.strip("+-0123456789"):
        return text
    try:
        return int(text)
    except ValueError:
        return text


def _decimal(text: str) -> int | float | str:
    """Return the number when JSON shows the same one; the text itself when it would not, or is no number."""
    beyond_digits = text.strip("+-.0123456789")
    try:
        if not beyond_digits and len(text) <= _EXACT_DIGITS:
            return float(text) if "." in text else int(text)
        if beyond_digits.strip("eE+-.0123456789") or len(text) > LONGEST_DECIMAL_STRING:
            return text
        number = float(text)
        return number if isfinite(number) and Decimal(repr(number)) == Decimal(text) else text
    except ValueError:
        return text


def _attribute_tag(byte_order: str) -> Decode:
    def decode(data_set: _DataSet, name: str, value: bytes) -> Values:
        words = unpack(f"{byte_order}{len(value) // 4 * 2}H", value)
        return [f"{group:04X}{element:04X}" for group, element in zip(words[::2], words[1::2], strict=True)]

    return decode


def _numbers(byte_order: str, code: str) -> Decode:
    one = Struct(byte_order + code)
    length, unpack_one = one.size, one.unpack

    def decode(data_set: _DataSet, name: str, value: bytes) -> Values:
        if len(value) == length:
            return list(unpack_one(value))
        return list(unpack(f"{byte_order}{len(value) // length}{code}", value))

    return decode


def _signed_shorts(byte_order: str) -> Decode:
    """SS; the first value of a LUT Descriptor is unsigned even there (PS3.3 §C.11.1.1)."""
    numbers = _numbers(byte_order, "h")

    def decode(data_set: _DataSet, name: str, value: bytes) -> Values:
        values = numbers(data_set, name, value)
        if values and name in _LUT_DESCRIPTORS:
            values[0] &= 0xFFFF
        return values

    return decode


def _floats(byte_order: str, code: str) -> Decode:
    numbers = _numbers(byte_order, code)

    def decode(data_set: _DataSet, name: str, value: bytes) -> Values:
        values = numbers(data_set, name, value)
        if values and not all(map(isfinite, values)):
            return [_finite(number) for number in values]
        return values

    return decode


def _finite(number: float) -> float | str:
    if isfinite(number):
        return number
    return "NaN" if number != number else "Infinity" if number > 0 else "-Infinity"


def _decoders(byte_order: str) -> Decoders:
    return {
        **{vr: _strings(vr, str.strip) for vr in ("AE", "AS", "CS", "DA", "DT", "LO", "SH", "TM", "UI")},
        **{vr: _strings(vr, str.rstrip, several=False) for vr in ("LT", "ST", "UR", "UT")},
        "UC": _strings("UC", str.rstrip),
        "PN": _person_name,
        "IS": _number_strings(_integer),
        "DS": _number_strings(_decimal),
        "AT": _attribute_tag(byte_order),
        "SS": _signed_shorts(byte_order),
        **{vr: _floats(byte_order, code) for vr, code in (("FL", "f"), ("FD", "d"))},
        **{
            vr: _numbers(byte_order, code)
            for vr, code in (("US", "H"), ("UL", "L"), ("SL", "l"), ("UV", "Q"), ("SV", "q"))
        },
    }


_LITTLE_ENDIAN: Final = _decoders("<")
_BIG_ENDIAN: Final = _decoders(">")
