"""Data elements as they lie in bytes (PS3.5 §7): headers, lengths, delimiters, and how deep they nest.

Nothing here looks at values, and nothing is copied. `Encoding.header` reads one header, and says where its
value lies; whoever calls it decides what to do with the value, and goes on behind it. Values of undefined
length end where their delimiter is: `end_of_items` finds it without recursion beyond `MAX_NESTING_DEPTH`.

What real objects get wrong, and what is made of it:

- a VR that no edition knows is UN; its header has the long form that PS3.5 §6.2 promises for new VRs when
  that fits, else the short form;
- in an explicit VR data set, an element without VR, or an item that begins with one, is read as Implicit VR;
- UN of undefined length is a sequence in Implicit VR Little Endian (PS3.5 §6.2.2), or in Explicit VR when it
  looks like that.

A length that reaches beyond what holds it is always an error.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from struct import Struct
from struct import error as StructError
from typing import Final, NamedTuple

from harmonygw.dicom.dataset.deflation import Inflation
from harmonygw.dicom.dataset.dictionary import UNKNOWN_VR, VR_BY_TAG, vr_of
from harmonygw.dicom.dataset.limits import MAX_NESTING_DEPTH, Limits
from harmonygw.dicom.dataset.transfer_syntaxes import describe
from harmonygw.errors import PeerError

Buffer = bytes | bytearray | memoryview
"""Bytes in memory, whatever holds them."""

UNDEFINED_LENGTH: Final = 0xFFFFFFFF
"""The length of a value that ends with a delimiter (PS3.5 §7.1.1)."""

ITEM: Final = 0xFFFEE000
ITEM_DELIMITATION: Final = 0xFFFEE00D
SEQUENCE_DELIMITATION: Final = 0xFFFEE0DD

DELIMITER_VR: Final = ""
"""What stands for the VR of items and delimiters, which have none (PS3.5 §7.5)."""

MAX_INFLATION: Final = 256 * 1024 * 1024
"""Bytes that `inflate` gives at most. Default 256 MiB: more belongs into a stream (`deflation.Inflation`)."""

SHORT_FORM_VRS: Final = frozenset(
    "AE AS AT CS DA DS DT FL FD IS LO LT PN SH SL SS ST TM UI UL US".split()  # noqa: SIM905
)
"""VRs whose explicit header has a 16-bit length (PS3.5 Table 7.1-2)."""

LONG_FORM_VRS: Final = frozenset("OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())  # noqa: SIM905
"""VRs whose explicit header has two reserved bytes and a 32-bit length (PS3.5 Table 7.1-1)."""

_SHORT_FORM: Final = {vr.encode(): vr for vr in SHORT_FORM_VRS}
_LONG_FORM: Final = {vr.encode(): vr for vr in LONG_FORM_VRS}
_HEADER_LENGTH: Final = 8
_LONG_HEADER_LENGTH: Final = 12
_DELIMITERS_BEGIN: Final = 0xFFFE0000

Header = tuple[int, str, int, int]
"""Tag, VR, offset of the value, and its length, which may be `UNDEFINED_LENGTH`."""

ReadHeader = Callable[[Buffer, int, int], Header]
"""Given a buffer, an offset and an end, reads the header there; it and its value have to lie before the end."""


class Element(NamedTuple):
    """Where one data element lies."""

    tag: int
    vr: str
    """As written; the dictionary's in Implicit VR, where it may be ambiguous; `UN` when neither is known."""
    value_offset: int
    length: int
    """In bytes, or `UNDEFINED_LENGTH`."""


@dataclass(frozen=True, slots=True)
class Encoding:
    """How the data elements of a data set are written: three of the four exist as transfer syntaxes."""

    explicit_vr: bool
    little_endian: bool
    header: ReadHeader
    """Reads a data element's header. Raises `PeerError` when it, or the value it announces, is cut short."""
    item: ReadHeader
    """Reads the header of an item or delimiter, the same way."""

    def of_item(self, data: Buffer, offset: int, end: int) -> "Encoding":
        """Return how the item is encoded whose data set lies between two offsets, as its first element shows.

        In Implicit VR nothing else occurs. In Explicit VR the first element may have no VR: Implicit VR then.
        """
        if not self.explicit_vr or end - offset < _HEADER_LENGTH:
            return self
        if _looks_like_vr(data[offset + 4 : offset + 6]):
            return self
        return IMPLICIT_VR_LITTLE_ENDIAN if self.little_endian else _IMPLICIT_VR_BIG_ENDIAN

    def of_sequence(self, vr: str) -> "Encoding":
        """Return how the items of a sequence are encoded: UN has its own way, which `of_item` looks into."""
        return EXPLICIT_VR_LITTLE_ENDIAN if vr == UNKNOWN_VR and self.explicit_vr else self


def encoding_of(transfer_syntax_uid: str) -> Encoding:
    """Return the encoding of a transfer syntax; a deflated data set is to be inflated first."""
    syntax = describe(transfer_syntax_uid)
    if not syntax.explicit:
        return IMPLICIT_VR_LITTLE_ENDIAN
    return EXPLICIT_VR_LITTLE_ENDIAN if syntax.little_endian else EXPLICIT_VR_BIG_ENDIAN


def tag_name(tag: int) -> str:
    """Return a tag as the standard writes it: `(0010,0020)`."""
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"


def malformed(what: str, tag: int, offset: int) -> PeerError:
    """Return the error that names what is wrong with which element, and where it begins."""
    return PeerError(f"malformed data set: {what}, {tag_name(tag)} at byte {offset}", source=0)


def iterate(data: Buffer, offset: int, end: int, encoding: Encoding) -> Iterator[Element]:
    """Yield the data elements between two offsets, without those inside of sequences.

    Raises `PeerError` when an element is malformed, naming its tag and offset, and for delimiters, which have
    no place among data elements.
    """
    while offset < end:
        tag, vr, start, length = encoding.header(data, offset, end)
        if vr == DELIMITER_VR:
            raise malformed("a delimiter among data elements", tag, offset)
        yield Element(tag, vr, start, length)
        if length == UNDEFINED_LENGTH:
            offset = end_of_items(data, start, end, encoding.of_sequence(vr))
        else:
            offset = start + length


def end_of_items(data: Buffer, offset: int, end: int, encoding: Encoding, depth: int = 1) -> int:
    """Return the offset behind the delimiter of a value of undefined length that begins at `offset`.

    It may be a sequence, or encapsulated pixel data (PS3.5 §A.4), whose fragments are items of defined
    length. `depth` counts the sequences around the items, their own included. Raises `PeerError` when the
    items are malformed, when the delimiter is missing, and when sequences nest deeper than
    `MAX_NESTING_DEPTH`.
    """
    check_depth(depth, offset)
    while offset < end:
        tag, _vr, start, length = encoding.item(data, offset, end)
        if tag == SEQUENCE_DELIMITATION:
            return start
        if tag != ITEM:
            raise malformed("an item was expected", tag, offset)
        if length == UNDEFINED_LENGTH:
            offset = _end_of_item(data, start, end, encoding.of_item(data, start, end), depth)
        else:
            offset = start + length
    raise malformed("the sequence does not end", SEQUENCE_DELIMITATION, end)


def check_depth(depth: int, offset: int) -> None:
    """Raise `PeerError` when `depth` sequences lie within one another, and that is more than is allowed."""
    if depth > MAX_NESTING_DEPTH:
        limit = f"MAX_NESTING_DEPTH ({MAX_NESTING_DEPTH})"
        raise PeerError(f"malformed data set: the sequences at byte {offset} exceed {limit}", source=0)


def inflate(data: Buffer, limit: int = MAX_INFLATION) -> bytes:
    """Return a deflated data set inflated (PS3.5 §A.5), at most `limit` bytes of it.

    Raises `PeerError` when it is corrupt, and when it exceeds `limit` or the ratio that `deflation` allows.
    """
    inflation = Inflation(limits=Limits(max_inflated_bytes=limit))
    inflated = b"".join(inflation.feed(memoryview(data)))
    inflation.finish()
    return inflated


def _end_of_item(data: Buffer, offset: int, end: int, encoding: Encoding, depth: int) -> int:
    while offset < end:
        tag, vr, start, length = encoding.header(data, offset, end)
        if tag == ITEM_DELIMITATION:
            return start
        if length == UNDEFINED_LENGTH:
            offset = end_of_items(data, start, end, encoding.of_sequence(vr), depth + 1)
        else:
            offset = start + length
    raise malformed("the item does not end", ITEM_DELIMITATION, end)


def _looks_like_vr(letters: Buffer) -> bool:
    return all(0x41 <= letter <= 0x5A for letter in letters) or letters == b"??"


def _checked(header: Header, offset: int, end: int) -> Header:
    """Refuse a header whose value reaches beyond the end, or has no end."""
    tag, vr, start, length = header
    if start <= end:
        if length <= end - start:
            return header
        if length == UNDEFINED_LENGTH:
            if vr in {"SQ", UNKNOWN_VR, "OB", "OW", "OB or OW"} or tag == ITEM:
                return header
            raise malformed(f"undefined length with VR {vr or 'of a delimiter'}", tag, offset)
    raise malformed(f"{length} bytes announced, {max(end - start, 0)} there", tag, offset)


def _cut_short(offset: int, end: int) -> PeerError:
    return PeerError(f"malformed data set: a header is cut short at byte {offset} of {end}", source=0)


def _explicit_header(byte_order: str) -> ReadHeader:
    unpack_short = Struct(byte_order + "HH2sH").unpack_from
    unpack_long = Struct(byte_order + "L").unpack_from
    short_form, long_form = _SHORT_FORM.get, _LONG_FORM.get

    def header(data: Buffer, offset: int, end: int) -> Header:
        try:
            group, element, letters, length = unpack_short(data, offset)
            tag = group << 16 | element
            if tag >= _DELIMITERS_BEGIN:
                (length,) = unpack_long(data, offset + 4)
                return _checked((tag, DELIMITER_VR, offset + 8, length), offset, end)
            vr = short_form(letters)
            start = offset + _HEADER_LENGTH
            if vr is None:
                vr = long_form(letters)
                if vr is None:
                    return _checked(unusual(data, offset, end, tag, letters, length), offset, end)
                start = offset + _LONG_HEADER_LENGTH
                (length,) = unpack_long(data, offset + _HEADER_LENGTH)
        except StructError:
            raise _cut_short(offset, end) from None
        if length > end - start:
            return _checked((tag, vr, start, length), offset, end)
        return tag, vr, start, length

    def unusual(data: Buffer, offset: int, end: int, tag: int, letters: bytes, length: int) -> Header:
        if not _looks_like_vr(letters):
            (length,) = unpack_long(data, offset + 4)
            return tag, vr_of(tag), offset + _HEADER_LENGTH, length
        start = offset + _LONG_HEADER_LENGTH
        if length == 0 and start <= end:
            (long_length,) = unpack_long(data, offset + _HEADER_LENGTH)
            if long_length <= end - start:
                return tag, UNKNOWN_VR, start, long_length
        return tag, UNKNOWN_VR, offset + _HEADER_LENGTH, length

    return header


def _implicit_header(byte_order: str) -> ReadHeader:
    unpack = Struct(byte_order + "HHL").unpack_from
    known_vr = VR_BY_TAG.get

    def header(data: Buffer, offset: int, end: int) -> Header:
        try:
            group, element, length = unpack(data, offset)
        except StructError:
            raise _cut_short(offset, end) from None
        tag = group << 16 | element
        vr = known_vr(tag)
        if vr is None:
            vr = vr_of(tag) if tag < _DELIMITERS_BEGIN else DELIMITER_VR
        start = offset + _HEADER_LENGTH
        if length > end - start:
            return _checked((tag, vr, start, length), offset, end)
        return tag, vr, start, length

    return header


def _encoding(*, explicit_vr: bool, little_endian: bool) -> Encoding:
    byte_order = "<" if little_endian else ">"
    implicit = _implicit_header(byte_order)
    return Encoding(explicit_vr, little_endian, _explicit_header(byte_order) if explicit_vr else implicit, implicit)


IMPLICIT_VR_LITTLE_ENDIAN: Final = _encoding(explicit_vr=False, little_endian=True)
"""PS3.5 §A.1, and inside of UN values (§6.2.2)."""

EXPLICIT_VR_LITTLE_ENDIAN: Final = _encoding(explicit_vr=True, little_endian=True)
"""PS3.5 §A.2, and all encapsulated transfer syntaxes (§A.4)."""

EXPLICIT_VR_BIG_ENDIAN: Final = _encoding(explicit_vr=True, little_endian=False)
"""Retired in 2006, still in archives (PS3.5-2016b §A.3)."""

_IMPLICIT_VR_BIG_ENDIAN: Final = _encoding(explicit_vr=False, little_endian=False)
