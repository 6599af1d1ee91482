"""Runs of elements that need no thought: where one ends is all that is asked, many times in each object.

An element belongs to a run when its value is short, and neither a sequence nor pixel data nor private in Implicit VR.
"""

from collections.abc import Callable
from struct import Struct
from typing import Final

from harmonygw.dicom.dataset.elements import SHORT_FORM_VRS
from harmonygw.dicom.dataset.implicit_vr import PUBLIC_VRS

RunEnd = Callable[[memoryview, int, int, int], int]
"""Told bytes, where an element begins, where they end, and how long a value may be; returns where the run ends."""

_HEADER_LENGTH: Final = 8
_SHORT_FORM: Final = frozenset(vr.encode() for vr in SHORT_FORM_VRS)
_vr_and_length = Struct("<4x2sH").unpack_from
_tag_and_length = Struct("<LL").unpack_from

# Tags as Little Endian has them, element number first, so that the loop below has nothing to compute.
_PLAIN_TAGS: Final = frozenset(
    (tag & 0xFFFF) << 16 | tag >> 16 for tag, vr in PUBLIC_VRS.items() if vr.encode() in _SHORT_FORM
)


def explicit_run_end(view: memoryview, position: int, end: int, longest: int) -> int:
    """Find the end of a run in Explicit VR Little Endian: elements of 16-bit length."""
    last_header = end - _HEADER_LENGTH
    while position <= last_header:
        vr, length = _vr_and_length(view, position)
        following = position + _HEADER_LENGTH + length
        if vr not in _SHORT_FORM or length > longest or following > end:
            break
        position = following
    return position


def implicit_run_end(view: memoryview, position: int, end: int, longest: int) -> int:
    """Find the end of a run in Implicit VR Little Endian: public elements that decide about no other's VR."""
    last_header = end - _HEADER_LENGTH
    while position <= last_header:
        tag, length = _tag_and_length(view, position)
        following = position + _HEADER_LENGTH + length
        if tag not in _PLAIN_TAGS or length > longest or following > end:
            break
        position = following
    return position
