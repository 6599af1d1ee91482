"""Which values of metadata are given by BulkDataURI (PS3.18 §F.2.2), and which are where viewers read them.

What a threshold is for are values that only somebody decodes who has asked for them: palettes, overlays, waveforms,
private blocks. Text and numbers are read on the spot: viewers show the findings of a structured report from its
metadata, and follow no BulkDataURI there. They stay inline until they are really long.
"""

from typing import Final

from harmonygw.dicom.dataset.dictionary import BINARY_VRS, BULK_VRS

BULK_THRESHOLD: Final = 256
"""Bytes of an opaque value up to which it is inline. Default 256: the smallest palette has 512, and clients expect a
BulkDataURI for it; what is shorter is hardly longer than a URI.
"""

LONGEST_INLINE_NUMBERS: Final = 1024
"""Bytes of numbers up to which they are inline whatever the threshold. Default 1024: frame times and window widths
are, contours of some hundred points are not, of which one RT Structure Set has thousands.
"""

LONGEST_INLINE_TEXT: Final = 65534
"""Bytes of text up to which it is inline whatever the threshold. Default 65,534, what every VR can say of its length:
no report that a human being wrote is longer.
"""

_INLINE_WHATEVER: Final = {
    **dict.fromkeys(BULK_VRS - BINARY_VRS, LONGEST_INLINE_NUMBERS),
    **dict.fromkeys(("LT", "ST", "UC", "UT"), LONGEST_INLINE_TEXT),
}


def is_by_reference(vr: str, length: int, threshold: int) -> bool:
    """Whether a value of so many bytes is given by BulkDataURI, `threshold` bytes being inline of an opaque one."""
    return length > threshold and vr in BULK_VRS and length > _INLINE_WHATEVER.get(vr, threshold)
