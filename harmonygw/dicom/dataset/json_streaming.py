"""A data set of the DICOM JSON model with bulk data that lies elsewhere, as bytes (PS3.18 §F.2.2, §10.5.2).

What comes out is the bytes between the bulk data, and where each piece of that lies: a data set with a gigabyte of
pixels is a few kilobytes here. Sequences have undefined length, so that none has to be known.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from struct import pack
from typing import Any, Final, NamedTuple

from harmonygw.dicom.dataset import character_sets
from harmonygw.dicom.dataset.dictionary import BULK_VRS, CHARACTER_SET_VRS, is_private, vr_of
from harmonygw.dicom.dataset.elements import (
    ITEM,
    ITEM_DELIMITATION,
    SEQUENCE_DELIMITATION,
    UNDEFINED_LENGTH,
    encoding_of,
    tag_name,
)
from harmonygw.dicom.dataset.json_decoding import DataSetWriter
from harmonygw.dicom.dataset.limits import MAX_NESTING_DEPTH
from harmonygw.dicom.dataset.transfer_syntaxes import EXPLICIT_VR_LITTLE_ENDIAN
from harmonygw.errors import BadRequest

LONGEST_VALUE: Final = 0xFFFFFFFE
"""Bytes of a value: the greatest even number of 32 bits that is no undefined length (PS3.5 §7.1.1)."""

PIXEL_DATA: Final = 0x7FE00010

CHARACTER_SET: Final = ("ISO_IR 192",)
"""Of all text that is written here: JSON and XML are in Unicode."""

_NOT_OF_THE_OBJECT: Final = frozenset({"00080056", "00081190", "00083002"})
"""What a Retrieve or Search adds to metadata: InstanceAvailability, RetrieveURL, AvailableTransferSyntaxUID."""


class Segment(NamedTuple):
    """A run of bytes where bulk data is kept."""

    offset: int
    length: int


Find = Callable[[str], Sequence[Segment]]
"""Returns where the value of a BulkDataURI lies: one segment, or of encapsulated pixel data each frame's in order. None
of them when there is no such value."""


def written(data_set: Mapping[str, Any], find: Find, *, encapsulated: bool = False) -> list[bytes | Segment]:
    """Return a data set in Explicit VR Little Endian, its elements in ascending order, and in UTF-8.

    With `encapsulated`, outermost Pixel Data that is given by BulkDataURI becomes a sequence of fragments, one a frame,
    with an empty Basic Offset Table (PS3.5 §A.4). Raises `BadRequest` as `from_json` does, for text with U+FFFD, for a
    VR that the attribute cannot have, and for a value that `find` does not find. It names the attribute and no value:
    those are the patient's, and the error goes to the log.
    """
    pieces: list[bytes | Segment] = []
    run: list[bytes] = []
    for piece in _Streaming(find, encapsulated=encapsulated).data_set(data_set):
        if isinstance(piece, bytes):
            run.append(piece)
            continue
        pieces += (b"".join(run), piece)
        run = []
    if run:
        pieces.append(b"".join(run))
    return pieces


def check_vr(tag: int, vr: str) -> None:
    """Raise `BadRequest` when a public attribute is given with a VR whose values are encoded in another way.

    Objects in the wild have SH for LO, or OB for OW, and stay as they are. Text where a number belongs is no such
    thing: whoever reads it in Implicit VR would read another value.
    """
    known = vr_of(tag)
    if is_private(tag) or known == "UN" or vr == "UN":
        return
    if not any(_KINDS.get(one, one) == _KINDS.get(vr, vr) for one in known.split(" or ")):
        raise BadRequest(f"{tag_name(tag)} has VR {known}, not {vr}")


_KINDS: Final = {
    **dict.fromkeys("AE AS CS DA DS DT IS LO LT PN SH ST TM UC UI UR UT".split(), "text"),  # noqa: SIM905
    **dict.fromkeys("OB OD OF OL OV OW".split(), "bytes"),  # noqa: SIM905
    "SS": "16 bits",
    "US": "16 bits",
    "SL": "32 bits",
    "UL": "32 bits",
    "SV": "64 bits",
    "UV": "64 bits",
}


class _Streaming:
    def __init__(self, find: Find, *, encapsulated: bool) -> None:
        self._find = find
        self._encapsulated = encapsulated
        self._writer = DataSetWriter(
            encoding_of(EXPLICIT_VR_LITTLE_ENDIAN), character_sets.character_set(CHARACTER_SET), decoded_only=True
        )

    def data_set(self, data_set: Mapping[str, Any]) -> Iterator[bytes | Segment]:
        kept = {key: attribute for key, attribute in data_set.items() if key not in _NOT_OF_THE_OBJECT}
        return self._elements(kept, 0)

    def _elements(self, data_set: Mapping[str, Any], depth: int) -> Iterator[bytes | Segment]:
        for tag, attribute in self._writer.attributes(data_set, outermost=not depth):
            vr = self._writer.vr_of(tag, attribute)
            check_vr(tag, vr)
            if "BulkDataURI" in attribute:
                yield from self._bulk(tag, vr, attribute, depth)
            elif vr == "SQ" and attribute.get("Value"):
                yield from self._sequence(tag, attribute["Value"], depth + 1)
            else:
                yield self._element(tag, vr, attribute, depth)

    def _element(self, tag: int, vr: str, attribute: Any, depth: int) -> bytes:
        try:
            return self._writer.element(tag, attribute, depth)
        except BadRequest as error:
            raise BadRequest(f"{tag_name(tag)} {vr}: its value cannot be encoded") from error

    def _sequence(self, tag: int, items: Any, depth: int) -> Iterator[bytes | Segment]:
        if depth > MAX_NESTING_DEPTH:
            raise BadRequest(f"sequences exceed MAX_NESTING_DEPTH ({MAX_NESTING_DEPTH})")
        if not isinstance(items, list) or not all(isinstance(item, Mapping) for item in items):
            raise BadRequest(f"{tag_name(tag)} SQ: an item is an object, in an array named Value")
        yield self._writer.header(tag, "SQ", UNDEFINED_LENGTH)
        for item in items:
            yield _item(ITEM, UNDEFINED_LENGTH)
            yield from self._elements(item, depth)
            yield _item(ITEM_DELIMITATION, 0)
        yield _item(SEQUENCE_DELIMITATION, 0)

    def _bulk(self, tag: int, vr: str, attribute: Mapping[str, Any], depth: int) -> Iterator[bytes | Segment]:
        uri = attribute["BulkDataURI"]
        if not isinstance(uri, str) or "Value" in attribute or "InlineBinary" in attribute:
            raise BadRequest(f"{tag_name(tag)} {vr}: a value is given once, and a BulkDataURI is a string")
        if vr not in BULK_VRS:
            raise BadRequest(f"{tag_name(tag)} {vr}: this VR has no bulk data (PS3.18 §F.2.2)")
        segments = self._find(uri)
        if not segments:
            raise BadRequest(f"{tag_name(tag)} {vr}: no part of the request has the Content-Location {uri[:200]!r}")
        if self._encapsulated and tag == PIXEL_DATA and not depth:
            yield from self._fragments(segments)
            return
        if len(segments) > 1:
            raise BadRequest(f"{tag_name(tag)} {vr}: {len(segments)} parts of the request are this value")
        length = segments[0].length
        padding = length & 1
        if length > LONGEST_VALUE:
            raise BadRequest(f"{tag_name(tag)} {vr}: {length} bytes are more than the {LONGEST_VALUE} of a value")
        try:
            yield self._writer.header(tag, vr, length + padding)
        except ValueError as error:
            raise BadRequest(f"{tag_name(tag)} {vr}: {error}") from None
        yield segments[0]
        if padding:
            yield b" " if vr in CHARACTER_SET_VRS or vr in ("DS", "IS") else b"\0"

    def _fragments(self, frames: Sequence[Segment]) -> Iterator[bytes | Segment]:
        yield self._writer.header(PIXEL_DATA, "OB", UNDEFINED_LENGTH) + _item(ITEM, 0)
        for frame in frames:
            padding = frame.length & 1
            if frame.length > LONGEST_VALUE:
                raise BadRequest(f"{tag_name(PIXEL_DATA)}: a fragment has at most {LONGEST_VALUE} bytes")
            yield _item(ITEM, frame.length + padding)
            yield frame
            if padding:
                yield b"\0"
        yield _item(SEQUENCE_DELIMITATION, 0)


def _item(tag: int, length: int) -> bytes:
    return pack("<HHL", tag >> 16, tag & 0xFFFF, length)
