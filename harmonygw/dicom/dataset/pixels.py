"""What the Image Pixel module says of an instance's pixels (PS3.3 §C.7.6.3), as far as frames are cut and decoded."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from harmonygw.errors import PeerError

FLOAT_PIXEL_DATA: Final = "7FE00008"
DOUBLE_FLOAT_PIXEL_DATA: Final = "7FE00009"
PIXEL_DATA: Final = "7FE00010"
"""The three elements that pixels can be in, as the DICOM JSON model spells their tags; one data set has one of them."""

MOST_SAMPLES_PER_PIXEL: Final = 4
"""Samples of a pixel. The standard has 1, 3 and, retired, 4 (PS3.3 §C.7.6.3.1.1)."""

_SAMPLES_PER_PIXEL: Final = "00280002"
_PHOTOMETRIC_INTERPRETATION: Final = "00280004"
_PLANAR_CONFIGURATION: Final = "00280006"
_NUMBER_OF_FRAMES: Final = "00280008"
_ROWS: Final = "00280010"
_COLUMNS: Final = "00280011"
_BITS_ALLOCATED: Final = "00280100"
_BITS_STORED: Final = "00280101"
_HIGH_BIT: Final = "00280102"
_PIXEL_REPRESENTATION: Final = "00280103"

DESCRIBING: Final = frozenset(
    {
        *(_SAMPLES_PER_PIXEL, _PHOTOMETRIC_INTERPRETATION, _PLANAR_CONFIGURATION, _NUMBER_OF_FRAMES, _ROWS, _COLUMNS),
        *(_BITS_ALLOCATED, _BITS_STORED, _HIGH_BIT, _PIXEL_REPRESENTATION),
    }
)
"""The attributes of which `described` makes a description."""

_FLOATING_BITS: Final = {FLOAT_PIXEL_DATA: 32, DOUBLE_FLOAT_PIXEL_DATA: 64}
_ALLOCATIONS: Final = frozenset({1, *range(8, 65, 8)})
_COLOUR: Final = ("RGB", "YBR")
_MOST_ROWS: Final = 0xFFFF  # of VR US (PS3.5 §6.2), as Columns is; a data set may give them another VR
_MOST_FRAMES: Final = 0x7FFFFFFF  # of VR IS


@dataclass(frozen=True, slots=True)
class PixelDescription:
    """The pixels of one instance, as its data set describes them; its transfer syntax says how they are encoded."""

    rows: int
    columns: int
    bits_allocated: int
    """Bits of a sample in native pixel data: 1, or a multiple of 8; 32 and 64 for Float and Double Float Pixel Data."""
    bits_stored: int
    high_bit: int
    samples_per_pixel: int = 1
    pixel_representation: int = 0
    """0 for unsigned, 1 for two's complement."""
    planar_configuration: int = 0
    photometric_interpretation: str = "MONOCHROME2"
    number_of_frames: int = 1
    floating: bool = False
    """Whether it is Float or Double Float Pixel Data."""

    @property
    def frame_bits(self) -> int:
        """Bits of one native frame; frames of one bit a sample follow each other without padding (PS3.5 §8.1.1).

        YBR_FULL_422 has two samples a pixel when it is native (PS3.3 §C.7.6.3.1.2).
        """
        samples = 2 if self.photometric_interpretation == "YBR_FULL_422" else self.samples_per_pixel
        return self.rows * self.columns * samples * self.bits_allocated

    @property
    def frame_length(self) -> int:
        """Bytes that one native frame takes when it stands alone."""
        return (self.frame_bits + 7) // 8


def described(attributes: Mapping[str, Any], pixel_data: str = PIXEL_DATA) -> PixelDescription:
    """Return what the attributes of a data set, in the DICOM JSON model, say of the pixels in one of its elements.

    What is missing and need not be has its usual value: one frame; all bits allocated are stored, which is also taken
    for what cannot be; Samples per Pixel as the Photometric Interpretation has them. 0 frames are one, as pydicom has
    it. Raises `PeerError` when Rows, Columns or Bits Allocated are missing, and when a value makes no sense.
    """
    floating_bits = _FLOATING_BITS.get(pixel_data)
    rows = _number(attributes, _ROWS, "Rows", 0)
    columns = _number(attributes, _COLUMNS, "Columns", 0)
    bits_allocated = floating_bits or _number(attributes, _BITS_ALLOCATED, "Bits Allocated", 0)
    photometric_interpretation = _text(attributes, _PHOTOMETRIC_INTERPRETATION)
    samples = _number(
        attributes, _SAMPLES_PER_PIXEL, "Samples per Pixel", 3 if photometric_interpretation.startswith(_COLOUR) else 1
    )
    number_of_frames = _number(attributes, _NUMBER_OF_FRAMES, "Number of Frames", 1) or 1
    bits_stored = _number(attributes, _BITS_STORED, "Bits Stored", bits_allocated)
    if not 1 <= bits_stored <= bits_allocated:
        bits_stored = bits_allocated
    for name, value, sensible in (
        ("Rows", rows, 0 < rows <= _MOST_ROWS),
        ("Columns", columns, 0 < columns <= _MOST_ROWS),
        ("Bits Allocated", bits_allocated, bits_allocated in _ALLOCATIONS),
        ("Samples per Pixel", samples, 1 <= samples <= MOST_SAMPLES_PER_PIXEL),
        ("Number of Frames", number_of_frames, 0 < number_of_frames <= _MOST_FRAMES),
    ):
        if not sensible:
            raise PeerError(f"the pixels of the instance are not described: {name} is {value or 'missing'}", source=0)
    return PixelDescription(
        rows=rows,
        columns=columns,
        bits_allocated=bits_allocated,
        bits_stored=bits_stored,
        high_bit=_number(attributes, _HIGH_BIT, "High Bit", bits_stored - 1),
        samples_per_pixel=samples,
        pixel_representation=_number(attributes, _PIXEL_REPRESENTATION, "Pixel Representation", 0),
        planar_configuration=_number(attributes, _PLANAR_CONFIGURATION, "Planar Configuration", 0),
        photometric_interpretation=photometric_interpretation or ("MONOCHROME2" if samples == 1 else "RGB"),
        number_of_frames=number_of_frames,
        floating=floating_bits is not None,
    )


def _number(attributes: Mapping[str, Any], tag: str, name: str, default: int) -> int:
    value = _value(attributes, tag)
    if value is None:
        return default
    if not isinstance(value, int):
        raise PeerError(f"the pixels of the instance are not described: {name} is no number", source=0)
    return value


def _text(attributes: Mapping[str, Any], tag: str) -> str:
    value = _value(attributes, tag)
    return value if isinstance(value, str) else ""


def _value(attributes: Mapping[str, Any], tag: str) -> Any:
    values = attributes.get(tag, {}).get("Value")
    return values[0] if values else None
