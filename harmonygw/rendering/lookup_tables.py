"""Modality and VOI LUTs and palettes as the tables that data sets hold (PS3.3 §C.11.1, §C.11.2, §C.7.6.3.1.5)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from harmonygw.errors import NotAcceptable
from harmonygw.rendering.frame_attributes import FrameAttributes

MAX_ENTRIES: Final = 1 << 16
"""Entries of a table: a descriptor's 0, and the most that its 16 bits can say (PS3.3 §C.11.1.1.1)."""

_DISCRETE, _LINEAR, _INDIRECT = 0, 1, 2


@dataclass(frozen=True, slots=True)
class LookupTable:
    """A table: what is below its first value gets its first entry, what is beyond its end the last."""

    first: int
    """The value that the first entry is for."""
    bits: int
    """Significant bits of an entry, 1 to 16."""
    entries: NDArray[np.uint16]

    def apply(self, values: NDArray[np.float64]) -> NDArray[np.uint16]:
        """Map `values`, which are rounded to integers."""
        indices = np.clip(np.rint(values) - self.first, 0, len(self.entries) - 1)
        mapped: NDArray[np.uint16] = self.entries[indices.astype(np.intp)]
        return mapped


def lut_of(attributes: FrameAttributes, item: Dataset, *, lowest: float) -> LookupTable:
    """Return the table of an item of the Modality or VOI LUT Sequence.

    `lowest` is the least value that goes into it: the first mapped value is signed when that is negative, whatever VR
    it was written with. Raises `NotAcceptable` when there is no usable table.
    """
    descriptor = attributes.words(item, "LUTDescriptor")
    words = attributes.words(item, "LUTData")
    if len(descriptor) < 3 or not words:
        raise NotAcceptable("a Modality or VOI LUT of the object is incomplete")
    count, first, bits = descriptor[:3]
    count = count or MAX_ENTRIES
    entries = np.array(words, np.uint16)
    if bits == 8 and len(entries) < count <= 2 * len(entries):
        entries = np.frombuffer(entries.astype("<u2").tobytes(), np.uint8).astype(np.uint16)
    entries = entries[:count]
    # Where the descriptor promises fewer bits than the entries use, the entries are right.
    bits = max(min(bits, 16), int(entries.max()).bit_length(), 1)
    return LookupTable(_signed(first, negative=lowest < 0), bits, entries)


def palette_of(attributes: FrameAttributes, *, signed: bool) -> tuple[LookupTable, LookupTable, LookupTable]:
    """Return the tables of a PALETTE COLOR image, for red, green and blue, segmented ones expanded (§C.7.9.2).

    `signed` says whether the pixels are. Raises `NotAcceptable` when there is no usable palette.
    """
    red, green, blue = (_channel(attributes, name, signed=signed) for name in ("Red", "Green", "Blue"))
    return red, green, blue


def _channel(attributes: FrameAttributes, name: str, *, signed: bool) -> LookupTable:
    data_set = attributes.data_set
    descriptor = attributes.words(data_set, f"{name}PaletteColorLookupTableDescriptor")
    plain = attributes.octets(data_set, f"{name}PaletteColorLookupTableData")
    segmented = attributes.octets(data_set, f"Segmented{name}PaletteColorLookupTableData")
    if len(descriptor) < 3 or not (plain or segmented):
        raise NotAcceptable("a Palette Color Lookup Table of the object is incomplete")
    count, first, bits = descriptor[:3]
    count = count or MAX_ENTRIES
    # The descriptor's third value says nothing reliable of how entries are packed: their number does.
    packed = len(plain or segmented) < 2 * count if plain else bits == 8
    words = np.frombuffer(plain or segmented, np.uint8 if packed else np.dtype("<u2")).astype(np.uint16)
    entries = words[:count] if plain else _expand(words.tolist(), count, wide=not packed)
    if not len(entries):
        raise NotAcceptable("a Palette Color Lookup Table of the object is empty")
    # Eight significant bits in sixteen allocated ones are in the low byte, if nothing is in the high one.
    bits = 8 if packed or (bits == 8 and entries.max() < 256) else 16
    return LookupTable(_signed(first, negative=signed), bits, entries)


def _signed(first: int, *, negative: bool) -> int:
    return first - 65536 if negative and first >= 32768 else first


def _expand(words: Sequence[int], count: int, *, wide: bool) -> NDArray[np.uint16]:
    """Expand segments until `count` entries are there.

    Indirect segments repeat earlier ones and may not lead to another indirect one, so that what is expanded is bounded
    by `count` and the number of words.
    """
    entries: list[int] = []
    position = 0
    while position + 1 < len(words) and len(entries) < count:
        if words[position] == _INDIRECT:
            offset_words = words[position + 2 : position + (4 if wide else 6)]
            shift = 16 if wide else 8
            start = sum(word << shift * index for index, word in enumerate(offset_words))
            for _ in range(words[position + 1]):
                if start + 1 >= len(words) or words[start] == _INDIRECT or len(entries) >= count:
                    break
                start = _segment(words, start, entries)
            position += 4 if wide else 6
        else:
            position = _segment(words, position, entries)
    return np.array(entries[:count], np.uint16)


def _segment(words: Sequence[int], position: int, entries: list[int]) -> int:
    """Append what a discrete or linear segment stands for; return the position after it."""
    opcode, length = words[position : position + 2]
    if opcode == _DISCRETE:
        entries += words[position + 2 : position + 2 + length]
        return position + 2 + length
    if opcode == _LINEAR and position + 2 < len(words):
        begin = entries[-1] if entries else 0
        end = words[position + 2]
        entries += (round(begin + (end - begin) * (step + 1) / length) for step in range(length))
        return position + 3
    raise NotAcceptable("a Segmented Palette Color Lookup Table of the object is malformed")
