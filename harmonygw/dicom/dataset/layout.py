"""Where things lie in the bytes of an instance, and its metadata: found while the bytes pass, kept for random access.

`LayoutScan` is a `MetadataScan` that also notes positions; the `Layout` it gives is small, can be written down, and
answers for frames, bulk data and metadata without reading the object again.
"""

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from struct import Struct
from struct import error as StructError
from typing import Any, Final

import orjson

from harmonygw.dicom.dataset.dictionary import UNKNOWN_VR, vr_of
from harmonygw.dicom.dataset.element_writer import LONGEST_SHORT_VALUE
from harmonygw.dicom.dataset.elements import SEQUENCE_DELIMITATION, UNDEFINED_LENGTH
from harmonygw.dicom.dataset.frames import (
    MAX_FRAGMENTS,
    Fragments,
    FrameTable,
    NativeFrames,
    Range,
    frame_table_from_bytes,
)
from harmonygw.dicom.dataset.inline import BULK_THRESHOLD
from harmonygw.dicom.dataset.json_encoding import Path
from harmonygw.dicom.dataset.limits import DEFAULT_LIMITS, Limits
from harmonygw.dicom.dataset.metadata_scan import (
    MAX_METADATA_BYTES,
    PIXEL_DATA,
    MetadataScan,
    MetadataWriter,
    attribute_at,
)
from harmonygw.dicom.dataset.pixels import PixelDescription, described
from harmonygw.dicom.dataset.tokens import Piece, Tokenizer
from harmonygw.dicom.dataset.transfer_syntaxes import EXPLICIT_VR_LITTLE_ENDIAN, describe, travelling
from harmonygw.errors import PeerError

MARKER: Final = "bulkdata"
"""What every BulkDataURI in `Layout.metadata` begins with, in place of a URL; a slash and the path follow."""

_AVAILABLE_TRANSFER_SYNTAX_UID: Final = "00083002"
_ENCAPSULATED_PIXEL_DATA: Final = 0x7FE00010
_EXTENDED_OFFSETS: Final = 0x7FE00001
_EXTENDED_LENGTHS: Final = 0x7FE00002
_LONGEST_TABLE: Final = MAX_FRAGMENTS * 8

MAX_HIDDEN_VALUES: Final = 1000
"""Values in sequences of VR UN whose places are noted; beyond that the last sequence's are not. Default 1000: waveforms
and icons, and there are few such objects.
"""

MAX_HIDDEN_DEPTH: Final = 4
"""Sequences of VR UN within each other that are looked into. Default 4: each costs another reading of what is in it."""

# No JSON string can hold this: the quotation marks in it would be escaped.
_MARKED: Final = f'"BulkDataURI":"{MARKER}/'.encode()

_UN_HEADER: Final = Struct("<HH2sHL")
_DELIMITER: Final = Struct("<HHL").pack(SEQUENCE_DELIMITATION >> 16, SEQUENCE_DELIMITATION & 0xFFFF, 0)

_VERSION: Final = b"\2"
_LENGTHS: Final = Struct("<LLL")
_FASTEST: Final = 1


@dataclass(frozen=True, slots=True)
class BulkValue:
    """Where a value lies that is given by BulkDataURI."""

    offset: int
    """Bytes before the value; before the Basic Offset Table's item when it is encapsulated."""
    length: int
    """In bytes; of encapsulated pixel data up to the end of its last fragment."""
    vr: str
    """As the metadata has it."""
    encapsulated: bool = False
    """Whether it is pixel data in fragments (PS3.5 §A.4)."""
    fragments: tuple[Range, ...] = ()
    """Where the fragments lie, without the Basic Offset Table, when it is encapsulated and nested. Those of the data
    set's own pixel data are in `Layout.frames`."""


@dataclass(frozen=True, slots=True)
class Layout:
    """What is known of an instance whose data set lies somewhere in full. Offsets are from its first byte."""

    metadata: bytes
    """The instance in the DICOM JSON model (PS3.18 Annex F), every BulkDataURI as `MARKER` and path."""
    pixels: PixelDescription | None
    """What the data set says of its pixels; None when it has none or says too little."""
    pixels_problem: str
    """Why there is no description, a sentence for a client; empty when there is one."""
    frames: FrameTable | None
    """Where the frames lie; None without pixel data or random access, and for native pixels without a description."""
    bulk: Mapping[str, BulkValue]
    """Path as in the BulkDataURI, such as `54000100/0/54001010`, to where the value lies."""
    head_length: int
    """Bytes before the pixel data element of the data set itself; all of them when there is none."""
    bulk_threshold: int
    """Bytes of the longest opaque value that is not given by reference, pixel data aside."""
    random_access: bool
    """Whether the values lie in the bytes as they are, in Little Endian: else `frames` and `bulk` are empty, and a
    deflated data set is all head."""

    def metadata_for(self, url_prefix: str) -> bytes:
        """Return the metadata with URLs that begin so; a slash and the path follow."""
        return self.metadata.replace(_MARKED, b'"BulkDataURI":' + orjson.dumps(url_prefix)[:-1] + b"/")

    def ranges(self, path: str) -> tuple[Range, ...] | None:
        """Return the byte ranges that make up a bulk value, without item headers; None when there is no such value."""
        value = self.bulk.get(path)
        if value is None:
            return None
        if not value.encapsulated:
            return ((value.offset, value.length),)
        if path == f"{_ENCAPSULATED_PIXEL_DATA:08X}" and self.frames is not None:
            return self.frames.all_ranges()
        return value.fragments

    def to_bytes(self) -> bytes:
        """Return the layout for `from_bytes` on the same machine."""
        rest = {
            "pixels": None if self.pixels is None else asdict(self.pixels),
            "pixels_problem": self.pixels_problem,
            "bulk": {
                path: (value.offset, value.length, value.vr, value.encapsulated, value.fragments)
                for path, value in self.bulk.items()
            },
            "head_length": self.head_length,
            "bulk_threshold": self.bulk_threshold,
            "random_access": self.random_access,
        }
        encoded = orjson.dumps(rest)
        frames = self.frames.to_bytes() if self.frames is not None else b""
        lengths = _LENGTHS.pack(len(encoded), len(self.metadata), len(frames))
        return _VERSION + zlib.compress(b"".join((lengths, encoded, self.metadata, frames)), _FASTEST)

    @classmethod
    def from_bytes(cls, data: bytes) -> "Layout":
        """Return the layout of which `to_bytes` made `data`; raises `ValueError` for anything else."""
        if data[:1] != _VERSION:
            raise ValueError("a layout of another version, or none")
        try:
            plain = zlib.decompress(data[1:])
            rest_length, metadata_length, frames_length = _LENGTHS.unpack_from(plain)
            metadata_at = _LENGTHS.size + rest_length
            frames_at = metadata_at + metadata_length
            if len(plain) != frames_at + frames_length:
                raise ValueError("a layout that is cut short")
            rest = orjson.loads(plain[_LENGTHS.size : metadata_at])
            return cls(
                metadata=plain[metadata_at:frames_at],
                pixels=None if rest["pixels"] is None else PixelDescription(**rest.pop("pixels")),
                frames=frame_table_from_bytes(plain[frames_at:]) if frames_length else None,
                bulk={path: _bulk_value(*fields) for path, fields in rest.pop("bulk").items()},
                **{name: value for name, value in rest.items() if name != "pixels"},
            )
        except (zlib.error, StructError, TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"no layout: {error}") from error


def _bulk_value(offset: int, length: int, vr: str, encapsulated: bool, fragments: list[list[int]]) -> BulkValue:
    return BulkValue(offset, length, vr, encapsulated, tuple((start, size) for start, size in fragments))


class LayoutScan:
    """Reads one data set, without preamble and file meta information, as it passes.

    The parameters are those of `MetadataScan`, and so is what it makes of them.
    """

    def __init__(
        self,
        transfer_syntax_uid: str,
        *,
        bulk_threshold: int = BULK_THRESHOLD,
        limit: int = MAX_METADATA_BYTES,
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        syntax = describe(transfer_syntax_uid)
        self._transfer_syntax_uid = transfer_syntax_uid
        self._deflated = syntax.deflated
        self._random_access = syntax.little_endian and not syntax.deflated
        self._bulk_threshold = min(bulk_threshold, LONGEST_SHORT_VALUE)
        self._writer = _LayoutWriter(self._bulk_threshold, explicit=syntax.explicit)
        self._scan = MetadataScan(
            transfer_syntax_uid, bulk_threshold=bulk_threshold, limit=limit, limits=limits, writer=self._writer
        )
        self._length = 0

    @property
    def held(self) -> int:
        """Bytes of the data set that are kept."""
        return self._scan.held

    def feed(self, pieces: Sequence[Piece]) -> None:
        """Read on; nothing of `pieces` is referred to afterwards.

        Raises `PeerError` when the object is malformed, and when more than a limit would be kept.
        """
        for piece in pieces:
            self._length += len(piece)
        self._scan.feed(pieces)

    def finish(
        self,
        *,
        default_character_set: tuple[str, ...] = ("ISO_IR 6",),
        on_undecodable: Callable[[str], None] | None = None,
    ) -> Layout:
        """Return the layout; the arguments are those of `to_json`. Raises `PeerError` when the object was cut short.

        The metadata has AvailableTransferSyntaxUID (0008,3002) too: that in which the instance can be had here without
        a change of its pixels.
        """
        attributes = self._scan.finish(
            _marked, default_character_set=default_character_set, on_undecodable=on_undecodable
        )
        syntax = travelling(self._transfer_syntax_uid)
        attributes[_AVAILABLE_TRANSFER_SYNTAX_UID] = {"vr": "UI", "Value": [syntax]}
        writer = self._writer
        name = writer.pixel_data
        pixels, problem = None, "the instance has no pixel data"
        if name is not None:
            try:
                pixels, problem = described(attributes, name), ""
            except PeerError as error:
                problem = error.detail
        head_length = self._length
        if writer.head_length is not None and not self._deflated:
            head_length = writer.head_length
        return Layout(
            metadata=orjson.dumps(dict(sorted(attributes.items()))),
            pixels=pixels,
            pixels_problem=problem,
            frames=self._frames(pixels) if self._random_access else None,
            bulk=self._bulk(attributes) if self._random_access else {},
            head_length=head_length,
            bulk_threshold=self._bulk_threshold,
            random_access=self._random_access,
        )

    def _frames(self, pixels: PixelDescription | None) -> FrameTable | None:
        writer = self._writer
        if writer.pixel_data is None:
            return None
        place = writer.places[(writer.pixel_data,)]
        if place.fragments is not None:
            return place.fragments.frames(
                1 if pixels is None else pixels.number_of_frames,
                self._transfer_syntax_uid,
                extended_offsets=writer.tables[_EXTENDED_OFFSETS],
                extended_lengths=writer.tables[_EXTENDED_LENGTHS],
            )
        if pixels is None:
            return None
        return NativeFrames(place.offset, place.length, pixels.frame_bits, pixels.number_of_frames)

    def _bulk(self, attributes: dict[str, Any]) -> dict[str, BulkValue]:
        """Return the values to which the metadata does refer: of an element that occurs twice it has the last."""
        bulk = {}
        for path, place in (self._writer.hidden | self._writer.places).items():
            attribute = attribute_at(attributes, path)
            if attribute is None or "BulkDataURI" not in attribute:
                continue
            fragments = place.fragments.ranges() if place.fragments is not None and len(path) > 1 else ()
            bulk["/".join(map(str, path))] = BulkValue(
                place.offset, place.length, attribute["vr"], place.fragments is not None, fragments
            )
        return bulk


def _marked(path: Path) -> str:
    return "/".join((MARKER, *map(str, path)))


class _Place:
    """Where a value lies."""

    __slots__ = ("fragments", "length", "offset")

    def __init__(self, offset: int, length: int, fragments: Fragments | None) -> None:
        self.offset = offset
        self.length = length
        self.fragments = fragments


class _LayoutWriter(MetadataWriter):
    """Writes what is kept, and notes where lies what is not."""

    def __init__(self, bulk_threshold: int, *, explicit: bool, depth: int = 0) -> None:
        super().__init__(bulk_threshold, explicit=explicit)
        self.places: dict[Path, _Place] = {}
        """Where the values are that the writer itself gives by reference."""
        self.hidden: dict[Path, _Place] = {}
        """Where those are that it cannot see: in sequences that call themselves UN, which are kept whole."""
        self.tables = {_EXTENDED_OFFSETS: bytearray(), _EXTENDED_LENGTHS: bytearray()}
        """The Extended Offset Table and its lengths."""
        self.pixel_data: str | None = None
        """The tag of the data set's own pixel data, as in JSON."""
        self.head_length: int | None = None
        """Bytes before that element."""
        self._depth = depth
        self._fragments = Fragments()
        self._fragments_left = MAX_FRAGMENTS
        self._look: Callable[[memoryview], None] | None = None

    def element(self, tag: int, vr: str, value: memoryview) -> None:
        """Write an element, or what stands for it."""
        super().element(tag, vr, value)
        if tag in self.tables or vr == UNKNOWN_VR:
            self._begin_look(tag, vr, len(value))
            if self._look is not None:
                self._look(value)

    def begin_value(self, tag: int, vr: str, length: int) -> None:
        """Write the header of an element, or what stands for it."""
        super().begin_value(tag, vr, length)
        self._begin_look(tag, vr, length)

    def value(self, piece: memoryview) -> None:
        """Write a piece of a value that is kept."""
        super().value(piece)
        if self._look is not None:
            self._look(piece)

    def refer(self, tag: int, vr: str, length: int) -> None:
        """Write what stands for a value, and note where it is."""
        super().refer(tag, vr, length)
        path = self.bulk[-1]
        self.places[path] = _Place(self.tokenizer.value_offset, length, None)
        if len(path) == 1 and tag in PIXEL_DATA:
            self.pixel_data = str(path[0])
            if self.head_length is None:
                self.head_length = self.tokenizer.element_offset

    def encapsulated(self, tag: int, vr: str, offset: int) -> None:
        """Write what stands for encapsulated pixel data, and note where it is."""
        super().encapsulated(tag, vr, offset)
        self._fragments = Fragments(self._fragments_left)
        self._encapsulated = self.places[self.bulk[-1]]
        self._encapsulated.fragments = self._fragments

    def fragment(self, offset: int, length: int) -> None:
        """Note where an item of it lies."""
        self._fragments.begin(offset, length)
        self._encapsulated.length = offset + length - self._encapsulated.offset

    def fragment_value(self, piece: memoryview) -> None:
        """Look at what such an item says."""
        self._fragments.value(piece)

    def end_encapsulated(self) -> None:
        """Note that it has ended."""
        self._fragments.end()
        self._fragments_left -= len(self._fragments)

    def _begin_look(self, tag: int, vr: str, length: int) -> None:
        """Begin to read a value that says where others lie, if it is one."""
        self._look = None
        if tag in self.tables:
            if not self._sequences and length <= _LONGEST_TABLE:
                self.tables[tag] = bytearray()
                self._look = self.tables[tag].extend
        elif vr == UNKNOWN_VR and length and vr_of(tag) == "SQ" and self._depth < MAX_HIDDEN_DEPTH:
            self._look = _HiddenSequence(self, tag, length, self._depth + 1).feed


class _HiddenSequence:
    """Finds the values in a sequence that calls itself UN (PS3.5 §6.2.2), which JSON shows as the sequence it is."""

    def __init__(self, outer: _LayoutWriter, tag: int, length: int, depth: int) -> None:
        self._outer = outer
        self._path = outer.path(tag)[:-1]
        self._left = length
        self._writer = _LayoutWriter(outer.bulk_threshold, explicit=True, depth=depth)
        # Of undefined length it is read as the sequence that it is.
        header = _UN_HEADER.pack(tag >> 16, tag & 0xFFFF, UNKNOWN_VR.encode(), 0, UNDEFINED_LENGTH)
        self._tokenizer = self._writer.tokenizer = Tokenizer(
            EXPLICIT_VR_LITTLE_ENDIAN, self._writer, offset=outer.tokenizer.value_offset - len(header)
        )
        self._tokenizer.feed(header)
        self._whole = True

    def feed(self, piece: memoryview) -> None:
        """Read on; what turns out to be no sequence holds no values."""
        self._left -= len(piece)
        if not self._whole:
            return
        try:
            self._tokenizer.feed(piece)
            if not self._left:
                self._tokenizer.feed(_DELIMITER)
                self._tokenizer.finish()
        except PeerError:
            self._whole = False
            return
        self._writer.take()
        writer, outer = self._writer, self._outer
        if len(writer.hidden) + len(writer.bulk) + len(outer.hidden) > MAX_HIDDEN_VALUES:
            self._whole = False
        elif not self._left:
            found = writer.hidden | writer.places
            outer.hidden |= {(*self._path, *path): place for path, place in found.items()}
