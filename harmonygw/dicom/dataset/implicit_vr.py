"""The VR of an element that does not say it: Implicit VR Little Endian (PS3.5 §7.1.3 and §A.1).

The dictionary knows most. A private element's VR depends on its private creator, seen earlier in the same item, and
that of a few public ones on the value of another element: `ImplicitVR` is told those values as they pass.
"""

from dataclasses import dataclass, field
from typing import Final

from harmonygw.dicom.dataset.dictionary import UNKNOWN_VR, VR_BY_TAG, is_private, private_vr, resolve_vr, vr_of

PIXEL_REPRESENTATION: Final = 0x00280103
_LUT_DESCRIPTOR: Final = 0x00283002

LONGEST_PRIVATE_CREATOR: Final = 64
"""Bytes of a private creator that are looked at: the most an LO may have in a single-byte character set."""

PUBLIC_VRS: Final = {
    tag: vr for tag, vr in VR_BY_TAG.items() if len(vr) == 2 and tag not in (PIXEL_REPRESENTATION, _LUT_DESCRIPTOR)
}
"""Tag to VR of the public elements that need no thought and decide about no other: look here first."""


@dataclass(slots=True)
class _Item:
    """What was seen in one item, or in the data set itself."""

    sequence_tag: int
    pixel_representation: int | None
    lut_entries: int | None = None
    private_group: int = 0
    creators: dict[int, str] = field(default_factory=dict)


class ImplicitVR:
    """Says the VR of each element of one data set, in the order of its bytes.

    Of private creators only those of the current group are kept, at most 240 an item.
    """

    def __init__(self) -> None:
        self._items = [_Item(0, None)]

    def enter_item(self, sequence_tag: int) -> None:
        """Begin an item: it inherits the Pixel Representation of what it is in."""
        outer = self._items[-1]
        self._items.append(_Item(sequence_tag, outer.pixel_representation))

    def leave_item(self) -> None:
        """End the innermost item."""
        self._items.pop()

    def resolve(self, tag: int) -> str:
        """Return the VR of any tag, those of `PUBLIC_VRS` included.

        US or SS is decided by the nearest Pixel Representation (PS3.3 §C.7.6.3.1), which a few such elements precede:
        their VR is UN then, since a guess could turn a sign. Without any Pixel Representation it is US. OB or OW
        is OW (PS3.5 §A.1). An unknown element is UN (PS3.5 §6.2.2).
        """
        if is_private(tag):
            return self._private(tag)
        vr = vr_of(tag)
        if len(vr) == 2:
            return vr
        item = self._items[-1]
        if vr == "US or SS" and item.pixel_representation is None and self._outermost(tag) < PIXEL_REPRESENTATION:
            return UNKNOWN_VR
        return resolve_vr(vr, pixel_representation=item.pixel_representation, lut_entries=item.lut_entries)

    def note(self, tag: int, value: memoryview) -> None:
        """Remember a value, in Little Endian, that decides about other elements; any other is ignored."""
        item = self._items[-1]
        if tag in (PIXEL_REPRESENTATION, _LUT_DESCRIPTOR):
            if len(value) >= 2:
                first = int.from_bytes(value[:2], "little")
                if tag == PIXEL_REPRESENTATION:
                    item.pixel_representation = first
                else:
                    item.lut_entries = first
        elif is_private(tag) and 0x10 <= tag & 0xFFFF <= 0xFF:
            group = tag >> 16
            if group != item.private_group:
                item.private_group = group
                item.creators = {}
            creator = bytes(value[:LONGEST_PRIVATE_CREATOR]).decode("ascii", "replace")
            item.creators[tag & 0xFF] = creator.strip(" \0")

    def _private(self, tag: int) -> str:
        block = tag >> 8 & 0xFF
        if not block:
            return private_vr(tag, "")
        item = self._items[-1]
        creator = item.creators.get(block) if tag >> 16 == item.private_group else None
        return UNKNOWN_VR if creator is None else resolve_vr(private_vr(tag, creator))

    def _outermost(self, tag: int) -> int:
        """Return the tag of the data set's own element that `tag` is in, or is."""
        return tag if len(self._items) == 1 else self._items[1].sequence_tag
