"""The pixel data of an object re-encoded as the object passes: decoded, encoded, or both (PS3.5 §8 and §A.4).

Whoever feeds a `Transcoding` gets the object in Explicit VR Little Endian, and in it, in their places, the frames as
they were stored. Each has to be replaced by what `Transcoding.encoded` makes of the frame in the target's encoding: to
decode and encode is not done here. What the data set says of its pixels is changed with them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from struct import Struct
from typing import Final

from harmonygw.dicom.dataset.deflation import Inflation
from harmonygw.dicom.dataset.element_writer import ElementWriter
from harmonygw.dicom.dataset.elements import ITEM, SEQUENCE_DELIMITATION, UNDEFINED_LENGTH, malformed
from harmonygw.dicom.dataset.frame_cut import LONGEST_OFFSET_TABLE, EncapsulatedCut, NativeCut
from harmonygw.dicom.dataset.frames import MAX_FRAGMENTS
from harmonygw.dicom.dataset.json_encoding import to_json
from harmonygw.dicom.dataset.limits import DEFAULT_LIMITS, Limits
from harmonygw.dicom.dataset.pixels import DESCRIBING, PixelDescription, described
from harmonygw.dicom.dataset.tokens import LONGEST_WHOLE_VALUE, Piece, Tokenizer
from harmonygw.dicom.dataset.transfer_syntaxes import (
    EXPLICIT_VR_LITTLE_ENDIAN,
    LOSSLESS,
    LOSSY,
    NATIVE,
    TransferSyntax,
    describe,
)
from harmonygw.errors import NotAcceptable, PeerError

MAX_FRAME_BYTES: Final = 256 * 1024 * 1024
"""Bytes of one frame, stored or native. Default 256 MiB: 16,384 by 8,192 pixels of 16 bits, three times the largest
mammogram; a frame is held whole, and its decoder takes some times as much.
"""

LONGEST_VALUE: Final = UNDEFINED_LENGTH - 1
"""Bytes of native pixel data, and of a fragment: the most that a length of 32 bits can say of an even number."""

RLE_LOSSLESS: Final = "1.2.840.10008.1.2.5"

_JPEG_LOSSY: Final = frozenset(f"1.2.840.10008.1.2.4.{number}" for number in (*range(50, 57), *range(59, 65)))
_JPEG_2000: Final = frozenset(f"1.2.840.10008.1.2.4.{number}" for number in (*range(90, 94), *range(201, 204)))
_JPEG_XL: Final = frozenset(f"1.2.840.10008.1.2.4.{number}" for number in range(110, 113))
_TO_RGB: Final = {
    **dict.fromkeys(_JPEG_LOSSY, frozenset({"YBR_FULL", "YBR_FULL_422"})),
    **dict.fromkeys(_JPEG_2000, frozenset({"YBR_ICT", "YBR_RCT"})),
    **dict.fromkeys(_JPEG_XL, frozenset({"YBR_FULL", "YBR_FULL_422", "XYB"})),
}
"""Transfer syntax UID to the colours of which its decoders make RGB."""

_SUBSAMPLED: Final = frozenset({"YBR_FULL_422", "YBR_PARTIAL_422", "YBR_PARTIAL_420"})

_SAMPLES_PER_PIXEL: Final = 0x00280002
_PHOTOMETRIC_INTERPRETATION: Final = 0x00280004
_PLANAR_CONFIGURATION: Final = 0x00280006
_DESCRIBING: Final = frozenset(int(tag, 16) for tag in DESCRIBING)
_EXTENDED_OFFSETS: Final = 0x7FE00001
_EXTENDED_LENGTHS: Final = 0x7FE00002
_FLOATING_PIXEL_DATA: Final = frozenset({0x7FE00008, 0x7FE00009})
_PIXEL_DATA: Final = 0x7FE00010

_item_header = Struct("<HHL").pack
_short = Struct("<H").pack
_EMPTY_OFFSET_TABLE: Final = _item_header(ITEM >> 16, ITEM & 0xFFFF, 0)
_DELIMITER: Final = _item_header(SEQUENCE_DELIMITATION >> 16, SEQUENCE_DELIMITATION & 0xFFFF, 0)


@dataclass(frozen=True, slots=True)
class StoredFrame:
    """A frame as it was stored; what `Transcoding.encoded` returns goes where it is."""

    number: int
    """From 1."""
    data: bytes
    """In the encoding of the source; a native frame, whatever the source's byte ordering, in Little Endian."""
    pixels: PixelDescription
    """As the source's data set describes them."""


def decoded_photometric_interpretation(transfer_syntax_uid: str, stored: str, samples_per_pixel: int) -> str:
    """Return the Photometric Interpretation of pixels once they are decoded (PS3.5 §8.2).

    Decoders undo the colour transform of JPEG, JPEG 2000 and JPEG XL; the other schemes have none. Subsampled colours
    come out with one a pixel.
    """
    if samples_per_pixel == 3 and stored in _TO_RGB.get(transfer_syntax_uid, ()):
        return "RGB"
    return "YBR_FULL" if stored == "YBR_FULL_422" else stored


def decoded_pixels(transfer_syntax_uid: str, pixels: PixelDescription) -> PixelDescription:
    """Return the description of pixels once they are decoded: colour-by-pixel, and without a colour transform."""
    photometric_interpretation = decoded_photometric_interpretation(
        transfer_syntax_uid, pixels.photometric_interpretation, pixels.samples_per_pixel
    )
    return replace(pixels, photometric_interpretation=photometric_interpretation, planar_configuration=0)


class Transcoding:
    """Re-encodes the pixel data of one data set, without preamble and file meta information.

    The target is Explicit VR Little Endian, whose frames are native, or an encapsulated lossless transfer syntax; the
    source is native or encapsulated, one of the two encapsulated, and no video: else `NotAcceptable`. An object
    without pixel data is only rewritten. `limit` is in bytes of a frame.
    """

    def __init__(
        self, source_ts: str, target_ts: str, *, limits: Limits = DEFAULT_LIMITS, limit: int = MAX_FRAME_BYTES
    ) -> None:
        source, target = describe(source_ts), describe(target_ts)
        sources, targets = NATIVE | LOSSLESS | LOSSY, LOSSLESS | {EXPLICIT_VR_LITTLE_ENDIAN}
        changes = source_ts != target_ts and (source.encapsulated or target.encapsulated)
        if not changes or source_ts not in sources or target_ts not in targets:
            raise NotAcceptable(f"the pixels of an object in {source.name} are not made {target.name} here")
        self._source = source
        self._target = target
        self._inflation = Inflation(limits=limits) if source.deflated else None
        self._writer = _Rewriting(source, target, limit)
        self._tokenizer = self._writer.tokenizer = Tokenizer(source_ts, self._writer, limits=limits)
        self._packing: _Packing | None = None

    def feed(self, pieces: Sequence[Piece]) -> list[Piece | StoredFrame]:
        """Return what `pieces` make of the object, and the frames that are whole by now, each in its place.

        Raises `PeerError` when the object is malformed, its pixel data is not what it says, or a limit is exceeded;
        `NotAcceptable` when it has pixels that cannot be changed so: in frames beyond the limit, floating point, native
        with subsampled colours, encapsulated in a sequence.
        """
        for piece in pieces:
            if self._inflation is None:
                self._tokenizer.feed(piece)
            else:
                for inflated in self._inflation.feed(piece):
                    self._tokenizer.feed(inflated)
        return self._writer.taken()

    def finish(self) -> list[Piece | StoredFrame]:
        """Return what is left of the object, which is mostly nothing; raises `PeerError` when it was cut short."""
        if self._inflation is not None:
            self._inflation.finish()
        self._tokenizer.finish()
        return self._writer.taken()

    def encoded(self, frame: StoredFrame, data: Piece) -> list[Piece]:
        """Return what stands for a frame whose bytes in the target's encoding are `data`.

        To be called for each frame once, in their order, because native frames of 1 bit a sample share bytes. Raises
        `PeerError` when a native frame has not the length that its description says, and when a fragment is too long.
        """
        if self._target.encapsulated:
            padding = len(data) % 2
            if len(data) + padding > LONGEST_VALUE:
                raise PeerError(f"frame {frame.number} is too long for a fragment: {len(data)} bytes", source=0)
            header = _item_header(ITEM >> 16, ITEM & 0xFFFF, len(data) + padding)
            return [header, data, b"\0"] if padding else [header, data]
        pixels = decoded_pixels(self._source.uid, frame.pixels)
        if len(data) != pixels.frame_length:
            raise PeerError(
                f"frame {frame.number} has {len(data)} bytes when decoded, but should have {pixels.frame_length}",
                source=0,
            )
        if self._packing is None:
            self._packing = _Packing(pixels.frame_bits)
        packed = self._packing.feed(data)
        if frame.number < pixels.number_of_frames:
            return [packed] if packed else []
        rest = self._packing.finish()
        length = _native_length(pixels)
        return [part for part in (packed, rest, b"\0" * (length % 2)) if part]


class _Packing:
    """Puts native frames one behind the other, to the bit (PS3.5 §8.1.1)."""

    def __init__(self, frame_bits: int) -> None:
        self._frame_bits = frame_bits
        self._carried = 0
        self._carried_bits = 0

    def feed(self, frame: Piece) -> Piece:
        """Return the bytes that are whole by now."""
        if not self._frame_bits % 8:
            return frame
        bits = int.from_bytes(frame, "little") & ((1 << self._frame_bits) - 1)
        bits = bits << self._carried_bits | self._carried
        whole, self._carried_bits = divmod(self._carried_bits + self._frame_bits, 8)
        self._carried = bits >> whole * 8
        return (bits & ((1 << whole * 8) - 1)).to_bytes(whole, "little")

    def finish(self) -> bytes:
        """Return the last byte, unless it is whole."""
        return self._carried.to_bytes(1, "little") if self._carried_bits else b""


class _Rewriting(ElementWriter):
    """Writes the data set in Explicit VR, with frames in the place of pixel data."""

    tokenizer: Tokenizer

    def __init__(self, source: TransferSyntax, target: TransferSyntax, limit: int) -> None:
        super().__init__(explicit=True)
        self._source = source
        self._target = target
        self._limit = limit
        self._depth = 0
        self._rewritten: list[Piece | StoredFrame] = []
        self._describing: dict[int, tuple[str, bytes]] = {}
        self._planar_configuration_told = False
        self._tables = {_EXTENDED_OFFSETS: bytearray(), _EXTENDED_LENGTHS: bytearray()}
        self._pixels: PixelDescription
        self._has_pixels = False
        self._number = 0
        self._native: NativeCut
        self._fragments: EncapsulatedCut
        self._take: Callable[[memoryview], None] = super().value

    def taken(self) -> list[Piece | StoredFrame]:
        """Return what was written, and the frames, since the last call."""
        self._rewritten += self.take()
        rewritten, self._rewritten = self._rewritten, []
        return rewritten

    def element(self, tag: int, vr: str, value: memoryview) -> None:
        """Write an element, changed if it says something of the pixels."""
        if not self._depth and tag >= _SAMPLES_PER_PIXEL:
            self._before(tag)
            if tag in _DESCRIBING and len(value) <= LONGEST_WHOLE_VALUE:
                self._describing[tag] = vr, bytes(value)
                value = self._restated(tag, value)
            elif (value or tag in self._tables) and self._begin(tag, len(value)):
                self._take(value)
                return
        super().element(tag, vr, value)

    def begin_value(self, tag: int, vr: str, length: int) -> None:
        """Write the header of an element, unless frames are cut out of its value."""
        self._take = super().value
        if not self._depth:
            self._before(tag)
            if self._begin(tag, length):
                return
        super().begin_value(tag, vr, length)

    def value(self, piece: memoryview) -> None:
        """Write a piece of a value, or cut it."""
        self._take(piece)

    def begin_sequence(self, tag: int) -> None:
        """Write the header of a sequence."""
        if not self._depth:
            self._before(tag)
        self._depth += 1
        super().begin_sequence(tag)

    def end_sequence(self) -> None:
        """Write the delimiter of a sequence."""
        self._depth -= 1
        super().end_sequence()

    def encapsulated(self, tag: int, vr: str, offset: int) -> None:
        """Begin to cut frames out of fragments, and write the header of what they become."""
        if not self._source.encapsulated:
            super().encapsulated(tag, vr, offset)
        if self._depth or tag != _PIXEL_DATA:
            raise NotAcceptable("encapsulated pixel data in a sequence is not decoded here")
        self._before(tag)
        pixels = self._describe()
        decoded = decoded_pixels(self._source.uid, pixels)
        if self._target.encapsulated:
            self._begin_fragments()
        else:
            length = _native_length(decoded)
            if length > LONGEST_VALUE:
                raise PeerError(f"the decoded pixel data has {length} bytes, more than a value can have", source=0)
            super().begin_value(tag, "OB" if pixels.bits_allocated <= 8 else "OW", length + length % 2)
        self._fragments = EncapsulatedCut(
            pixels.number_of_frames,
            self._limit,
            one_fragment_each=self._source.uid == RLE_LOSSLESS,
            extended_offsets=self._tables[_EXTENDED_OFFSETS],
            extended_lengths=self._tables[_EXTENDED_LENGTHS],
        )

    def fragment(self, offset: int, length: int) -> None:
        """Take an item of encapsulated pixel data."""
        self._frames(self._fragments.begin(offset, length))

    def fragment_value(self, piece: memoryview) -> None:
        """Take a piece of it."""
        self._fragments.value(piece)

    def end_encapsulated(self) -> None:
        """Write the end of what it has become."""
        self._frames(self._fragments.finish())
        self._end_frames()

    def _before(self, tag: int) -> None:
        """Add Planar Configuration in its place when there are several samples, which must have one."""
        if tag < _PLANAR_CONFIGURATION or self._planar_configuration_told:
            return
        self._planar_configuration_told = True
        if tag > _PLANAR_CONFIGURATION and self._samples_per_pixel() > 1:
            super().element(_PLANAR_CONFIGURATION, "US", self._planar_configuration())

    def _restated(self, tag: int, value: memoryview) -> memoryview:
        """Return what an element says of the pixels as they will be."""
        if tag == _PHOTOMETRIC_INTERPRETATION and self._source.encapsulated:
            stored = bytes(value).decode("latin-1").strip(" \0")
            decoded = decoded_photometric_interpretation(self._source.uid, stored, self._samples_per_pixel())
            return value if decoded == stored else memoryview(decoded.encode() + b" " * (len(decoded) % 2))
        if tag == _PLANAR_CONFIGURATION and self._samples_per_pixel() > 1:
            return self._planar_configuration()
        return value

    def _planar_configuration(self) -> memoryview:
        """Return 0, colour-by-pixel, but 1 for RLE, which has a segment for each plane (PS3.5 §G.2)."""
        return memoryview(_short(int(self._target.uid == RLE_LOSSLESS)))

    def _samples_per_pixel(self) -> int:
        _vr, value = self._describing.get(_SAMPLES_PER_PIXEL, ("US", b"\1\0"))
        return int.from_bytes(value[:2], "little")

    def _begin(self, tag: int, length: int) -> bool:
        """Begin to take a value out of the data set; return whether it is one that goes."""
        if tag in self._tables:
            self._tables[tag] = bytearray()
            self._take = _forget
            if length <= LONGEST_OFFSET_TABLE:
                self._take = self._tables[tag].extend
            return True
        if tag == _PIXEL_DATA:
            if self._source.encapsulated:
                raise malformed(
                    "native pixel data in an encapsulated transfer syntax", tag, self.tokenizer.element_offset
                )
            self._begin_native(length)
            self._take = self._cut_native
            return True
        if tag in _FLOATING_PIXEL_DATA and self._target.encapsulated:
            raise NotAcceptable("floating point pixels are not encoded here")
        return False

    def _begin_native(self, length: int) -> None:
        pixels = self._describe()
        if pixels.photometric_interpretation in _SUBSAMPLED:
            raise NotAcceptable(f"native {pixels.photometric_interpretation} is not encoded here")
        needed = _native_length(pixels)
        if length < needed:
            raise PeerError(f"the pixel data is not whole: {length} bytes, its frames have {needed}", source=0)
        self._begin_fragments()
        self._native = NativeCut(pixels.frame_bits, pixels.number_of_frames)

    def _cut_native(self, piece: memoryview) -> None:
        for frame in self._native.feed(piece):
            self._frames([frame])
            if not self._native.left:
                self._end_frames()

    def _describe(self) -> PixelDescription:
        """Return what the data set says of its pixels, before they come."""
        if self._has_pixels:
            raise malformed("pixel data occurs twice", _PIXEL_DATA, self.tokenizer.element_offset)
        writer = ElementWriter(explicit=True)
        for tag, (vr, value) in sorted(self._describing.items()):
            writer.element(tag, vr, memoryview(value))
        pixels = described(to_json(b"".join(writer.take()), EXPLICIT_VR_LITTLE_ENDIAN))
        length = decoded_pixels(self._source.uid, pixels).frame_length
        if pixels.number_of_frames > MAX_FRAGMENTS:
            raise PeerError(f"{pixels.number_of_frames} frames exceed MAX_FRAGMENTS ({MAX_FRAGMENTS})", source=0)
        if length > self._limit:
            raise NotAcceptable(
                f"a frame of {length} bytes exceeds MAX_FRAME_BYTES ({self._limit} bytes): it can only be had as it is "
                "held, with transfer-syntax=*"
            )
        self._pixels, self._has_pixels = pixels, True
        return pixels

    def _begin_fragments(self) -> None:
        super().begin_value(_PIXEL_DATA, "OB", UNDEFINED_LENGTH)
        super().verbatim(memoryview(_EMPTY_OFFSET_TABLE))

    def _frames(self, frames: list[bytes]) -> None:
        for frame in frames:
            self._number += 1
            self._rewritten += self.take()
            self._rewritten.append(StoredFrame(self._number, frame, self._pixels))

    def _end_frames(self) -> None:
        if self._target.encapsulated:
            super().verbatim(memoryview(_DELIMITER))


def _native_length(pixels: PixelDescription) -> int:
    """Return the bytes of native pixel data, without padding."""
    return (pixels.frame_bits * pixels.number_of_frames + 7) // 8


def _forget(piece: memoryview) -> None:
    """Take a value that is of no use."""
