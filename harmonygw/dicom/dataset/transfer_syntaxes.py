"""What a transfer syntax UID says: how data elements are encoded, and what was done to the pixels.

The table holds the transfer syntaxes of PS3.5 §10 and PS3.6 Table A-1 in which composite objects are stored or sent.
Those of real-time video (1.2.840.10008.1.2.7) and of MIME and XML (1.2.840.10008.1.2.6) never label a data set.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import Final

IMPLICIT_VR_LITTLE_ENDIAN: Final = "1.2.840.10008.1.2"
EXPLICIT_VR_LITTLE_ENDIAN: Final = "1.2.840.10008.1.2.1"
DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN: Final = "1.2.840.10008.1.2.1.99"
EXPLICIT_VR_BIG_ENDIAN: Final = "1.2.840.10008.1.2.2"


class Compression(Enum):
    """What became of the pixels."""

    NONE = "none"
    """They are as they were acquired."""
    LOSSLESS = "lossless"
    """They can be had back bit for bit."""
    LOSSY = "lossy"
    """They may have been changed: the syntax allows it, whether or not this object's encoder made use of it."""
    VIDEO = "video"
    """They are a video stream, lossy in every profile there is."""
    UNKNOWN = "unknown"
    """Nothing is known: the UID is not in the table, or the pixels are elsewhere (JPIP)."""


@dataclass(frozen=True, slots=True)
class TransferSyntax:
    """One row of the table."""

    uid: str
    """The transfer syntax UID."""
    name: str
    """Its name in PS3.6 Table A-1; the UID itself when it is unknown."""
    explicit: bool = True
    """Whether each data element carries its VR (PS3.5 §7.1.2)."""
    little_endian: bool = True
    """The byte ordering (PS3.5 §7.3)."""
    deflated: bool = False
    """Whether the data set as a whole is deflated (PS3.5 §A.5)."""
    encapsulated: bool = False
    """Whether Pixel Data is a sequence of fragments (PS3.5 §A.4)."""
    compression: Compression = Compression.NONE
    """What became of the pixels."""

    @property
    def lossless(self) -> bool:
        """Whether the pixels are certain to be those that were acquired, or that were handed to the encoder."""
        return self.compression in (Compression.NONE, Compression.LOSSLESS)

    @property
    def lossy(self) -> bool:
        """Whether the pixels may differ from those that were handed to the encoder."""
        return self.compression in (Compression.LOSSY, Compression.VIDEO)

    @property
    def video(self) -> bool:
        """Whether Pixel Data is a video stream."""
        return self.compression is Compression.VIDEO


_LOSSLESS: Final = {
    "1.2.840.10008.1.2.1.98": "Encapsulated Uncompressed Explicit VR Little Endian",
    "1.2.840.10008.1.2.4.57": "JPEG Lossless, Non-Hierarchical (Process 14)",
    "1.2.840.10008.1.2.4.58": "JPEG Lossless, Non-Hierarchical (Process 15)",
    "1.2.840.10008.1.2.4.65": "JPEG Lossless, Hierarchical (Process 28)",
    "1.2.840.10008.1.2.4.66": "JPEG Lossless, Hierarchical (Process 29)",
    "1.2.840.10008.1.2.4.70": (
        "JPEG Lossless, Non-Hierarchical, First-Order Prediction (Process 14 [Selection Value 1])"
    ),
    "1.2.840.10008.1.2.4.80": "JPEG-LS Lossless Image Compression",
    "1.2.840.10008.1.2.4.90": "JPEG 2000 Image Compression (Lossless Only)",
    "1.2.840.10008.1.2.4.92": "JPEG 2000 Part 2 Multi-component Image Compression (Lossless Only)",
    "1.2.840.10008.1.2.4.110": "JPEG XL Lossless",
    "1.2.840.10008.1.2.4.201": "High-Throughput JPEG 2000 Image Compression (Lossless Only)",
    "1.2.840.10008.1.2.4.202": "High-Throughput JPEG 2000 with RPCL Options Image Compression (Lossless Only)",
    "1.2.840.10008.1.2.5": "RLE Lossless",
    "1.2.840.10008.1.2.8.1": "Deflated Image Frame Compression",
}

_LOSSY: Final = {
    "1.2.840.10008.1.2.4.50": "JPEG Baseline (Process 1)",
    "1.2.840.10008.1.2.4.51": "JPEG Extended (Process 2 and 4)",
    "1.2.840.10008.1.2.4.52": "JPEG Extended (Process 3 and 5)",
    "1.2.840.10008.1.2.4.53": "JPEG Spectral Selection, Non-Hierarchical (Process 6 and 8)",
    "1.2.840.10008.1.2.4.54": "JPEG Spectral Selection, Non-Hierarchical (Process 7 and 9)",
    "1.2.840.10008.1.2.4.55": "JPEG Full Progression, Non-Hierarchical (Process 10 and 12)",
    "1.2.840.10008.1.2.4.56": "JPEG Full Progression, Non-Hierarchical (Process 11 and 13)",
    "1.2.840.10008.1.2.4.59": "JPEG Extended, Hierarchical (Process 16 and 18)",
    "1.2.840.10008.1.2.4.60": "JPEG Extended, Hierarchical (Process 17 and 19)",
    "1.2.840.10008.1.2.4.61": "JPEG Spectral Selection, Hierarchical (Process 20 and 22)",
    "1.2.840.10008.1.2.4.62": "JPEG Spectral Selection, Hierarchical (Process 21 and 23)",
    "1.2.840.10008.1.2.4.63": "JPEG Full Progression, Hierarchical (Process 24 and 26)",
    "1.2.840.10008.1.2.4.64": "JPEG Full Progression, Hierarchical (Process 25 and 27)",
    "1.2.840.10008.1.2.4.81": "JPEG-LS Lossy (Near-Lossless) Image Compression",
    "1.2.840.10008.1.2.4.91": "JPEG 2000 Image Compression",
    "1.2.840.10008.1.2.4.93": "JPEG 2000 Part 2 Multi-component Image Compression",
    "1.2.840.10008.1.2.4.111": "JPEG XL JPEG Recompression",
    "1.2.840.10008.1.2.4.112": "JPEG XL",
    "1.2.840.10008.1.2.4.203": "High-Throughput JPEG 2000 Image Compression",
}

_VIDEO: Final = {
    "1.2.840.10008.1.2.4.100": "MPEG2 Main Profile / Main Level",
    "1.2.840.10008.1.2.4.100.1": "Fragmentable MPEG2 Main Profile / Main Level",
    "1.2.840.10008.1.2.4.101": "MPEG2 Main Profile / High Level",
    "1.2.840.10008.1.2.4.101.1": "Fragmentable MPEG2 Main Profile / High Level",
    "1.2.840.10008.1.2.4.102": "MPEG-4 AVC/H.264 High Profile / Level 4.1",
    "1.2.840.10008.1.2.4.102.1": "Fragmentable MPEG-4 AVC/H.264 High Profile / Level 4.1",
    "1.2.840.10008.1.2.4.103": "MPEG-4 AVC/H.264 BD-compatible High Profile / Level 4.1",
    "1.2.840.10008.1.2.4.103.1": "Fragmentable MPEG-4 AVC/H.264 BD-compatible High Profile / Level 4.1",
    "1.2.840.10008.1.2.4.104": "MPEG-4 AVC/H.264 High Profile / Level 4.2 For 2D Video",
    "1.2.840.10008.1.2.4.104.1": "Fragmentable MPEG-4 AVC/H.264 High Profile / Level 4.2 For 2D Video",
    "1.2.840.10008.1.2.4.105": "MPEG-4 AVC/H.264 High Profile / Level 4.2 For 3D Video",
    "1.2.840.10008.1.2.4.105.1": "Fragmentable MPEG-4 AVC/H.264 High Profile / Level 4.2 For 3D Video",
    "1.2.840.10008.1.2.4.106": "MPEG-4 AVC/H.264 Stereo High Profile / Level 4.2",
    "1.2.840.10008.1.2.4.106.1": "Fragmentable MPEG-4 AVC/H.264 Stereo High Profile / Level 4.2",
    "1.2.840.10008.1.2.4.107": "HEVC/H.265 Main Profile / Level 5.1",
    "1.2.840.10008.1.2.4.108": "HEVC/H.265 Main 10 Profile / Level 5.1",
}


def _rows() -> list[TransferSyntax]:
    rows = [
        TransferSyntax(IMPLICIT_VR_LITTLE_ENDIAN, "Implicit VR Little Endian", explicit=False),
        TransferSyntax(EXPLICIT_VR_LITTLE_ENDIAN, "Explicit VR Little Endian"),
        TransferSyntax(DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN, "Deflated Explicit VR Little Endian", deflated=True),
        TransferSyntax(EXPLICIT_VR_BIG_ENDIAN, "Explicit VR Big Endian", little_endian=False),
    ]
    for compression, names in (
        (Compression.LOSSLESS, _LOSSLESS),
        (Compression.LOSSY, _LOSSY),
        (Compression.VIDEO, _VIDEO),
    ):
        rows += [TransferSyntax(uid, names[uid], encapsulated=True, compression=compression) for uid in names]
    for uid, name, deflated in (
        ("1.2.840.10008.1.2.4.94", "JPIP Referenced", False),
        ("1.2.840.10008.1.2.4.95", "JPIP Referenced Deflate", True),
        ("1.2.840.10008.1.2.4.204", "JPIP HTJ2K Referenced", False),
        ("1.2.840.10008.1.2.4.205", "JPIP HTJ2K Referenced Deflate", True),
    ):
        rows.append(TransferSyntax(uid, name, deflated=deflated, compression=Compression.UNKNOWN))
    return rows


TRANSFER_SYNTAXES: Final[Mapping[str, TransferSyntax]] = MappingProxyType({row.uid: row for row in _rows()})
"""UID to row, for every transfer syntax known here."""

NATIVE: Final = frozenset(
    {
        EXPLICIT_VR_LITTLE_ENDIAN,
        IMPLICIT_VR_LITTLE_ENDIAN,
        EXPLICIT_VR_BIG_ENDIAN,
        DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
    }
)
"""Those with uncompressed pixels in the native format (PS3.5 §8.2), each of which can be made of each other."""

LOSSLESS: Final = frozenset(_LOSSLESS)
"""Encapsulated ones from which the pixels can be had back bit for bit."""

LOSSY: Final = frozenset(_LOSSY)
"""Encapsulated ones that may have changed the pixels, video aside."""

VIDEO: Final = frozenset(_VIDEO)
"""MPEG-2, MPEG-4 AVC and HEVC."""

FORBIDDEN_ON_THE_WEB: Final = frozenset({IMPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_BIG_ENDIAN})
"""Those that DICOM web services shall not use (PS3.18 §8.7.3)."""


def describe(uid: str) -> TransferSyntax:
    """Return the row of a transfer syntax UID.

    An unknown UID, private or newer than the table, is taken for encapsulated Explicit VR Little Endian of unknown
    compression: that is what PS3.5 §A.4 makes of every new one for images.
    """
    known = TRANSFER_SYNTAXES.get(uid)
    if known is not None:
        return known
    return TransferSyntax(uid, uid, encapsulated=True, compression=Compression.UNKNOWN)


def travelling(uid: str) -> str:
    """Return the transfer syntax of an object that goes out as it is held, which PS3.18 §8.7.3 forbids of two."""
    return EXPLICIT_VR_LITTLE_ENDIAN if uid in FORBIDDEN_ON_THE_WEB else uid
