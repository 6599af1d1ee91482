"""Which transfer syntaxes are decoded and encoded here, asked by the gateway's process without a codec in it."""

from typing import Final

from harmonygw.dicom.dataset.transfer_syntaxes import (
    DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
)

ENCAPSULATED_UNCOMPRESSED: Final = "1.2.840.10008.1.2.1.98"
DEFLATED_IMAGE_FRAME: Final = "1.2.840.10008.1.2.8.1"
RLE_LOSSLESS: Final = "1.2.840.10008.1.2.5"
JPEG_LS_LOSSLESS: Final = "1.2.840.10008.1.2.4.80"
JPEG_2000_LOSSLESS: Final = "1.2.840.10008.1.2.4.90"

NATIVE: Final = frozenset(
    (
        IMPLICIT_VR_LITTLE_ENDIAN,
        EXPLICIT_VR_LITTLE_ENDIAN,
        DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
        ENCAPSULATED_UNCOMPRESSED,
    )
)
"""The frame is there as it is. Explicit VR Big Endian, retired, is not: whether bytes are swapped hangs on a VR."""

JPEG: Final = frozenset(("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51"))
JPEG_LOSSLESS: Final = frozenset(("1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70"))
JPEG_LS: Final = frozenset((JPEG_LS_LOSSLESS, "1.2.840.10008.1.2.4.81"))
JPEG_2000: Final = frozenset(
    (
        JPEG_2000_LOSSLESS,
        "1.2.840.10008.1.2.4.91",
        "1.2.840.10008.1.2.4.92",
        "1.2.840.10008.1.2.4.93",
        "1.2.840.10008.1.2.4.201",
        "1.2.840.10008.1.2.4.202",
        "1.2.840.10008.1.2.4.203",
    )
)
"""With Part 2, whose frames are decoded when they use nothing of it, and High-Throughput JPEG 2000."""

JPEG_XL: Final = frozenset(("1.2.840.10008.1.2.4.110", "1.2.840.10008.1.2.4.111", "1.2.840.10008.1.2.4.112"))

DECODABLE: Final = NATIVE | {DEFLATED_IMAGE_FRAME, RLE_LOSSLESS} | JPEG | JPEG_LOSSLESS | JPEG_LS | JPEG_2000 | JPEG_XL
"""What `codecs.decode` takes."""

ENCODABLE: Final = frozenset((RLE_LOSSLESS, JPEG_LS_LOSSLESS, JPEG_2000_LOSSLESS))
"""What `codecs.encode` makes, without loss."""
