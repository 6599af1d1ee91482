"""What codestreams say of themselves before they are decoded: size, samples, precision, colour.

Decoders believe a codestream, and allocate what it claims; so these few bytes are read first.
"""

from dataclasses import dataclass

from harmonygw.errors import PeerError

LOSSLESS_PROCESS = 0xC3
"""Start of frame of Process 14, JPEG Lossless (ITU-T T.81 Table B.1)."""

JPEG_LS_PROCESS = 0xF7
"""Start of frame of JPEG-LS (ITU-T T.87 §C.1.1)."""

_DCT_PROCESSES = (0xC0, 0xC1, 0xC2)
_WITHOUT_LENGTH = (0x01, *range(0xD0, 0xD9))
_START_OF_SCAN = 0xDA
_END = b"\xff\xd9"
"""End of image; nowhere else within the scans. Without it a decoder makes up what is missing, and says nothing."""
_RGB_COMPONENTS = (b"RGB", b"rgb")
_MAX_JP2_BOXES = 16384
"""Bytes in which the codestream of a JP2 file begins; its boxes before that have some hundred bytes."""


@dataclass(frozen=True, slots=True)
class Codestream:
    """One frame, as its own header describes it."""

    rows: int
    columns: int
    samples: int
    precision: int
    """Bits of a sample."""
    signed: bool = False
    process: int = 0
    """The JPEG marker that starts the frame, 0 for the others."""
    transformed: bool | None = None
    """Whether a JPEG says that it is YCbCr; None when it says nothing of it."""


def read_jpeg(data: bytes) -> Codestream:
    """Read the header of a JPEG or JPEG-LS codestream (ITU-T T.81 §B.1, T.87 Annex C).

    Its colour space is said, first of all, by components named R, G and B, then by a JFIF marker, then by Adobe's.

    Raises:
        PeerError: it is no JPEG, has no frame header, or has no end.
    """
    if not data.startswith(b"\xff\xd8"):
        raise PeerError("A frame is not the JPEG that its transfer syntax says it is.")
    jfif = False
    adobe: bool | None = None
    position = 2
    while position + 4 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker == 0xFF or marker in _WITHOUT_LENGTH:
            position += 1 if marker == 0xFF else 2
            continue
        length = int.from_bytes(data[position + 2 : position + 4], "big")
        segment = data[position + 4 : position + 2 + length]
        if marker == _START_OF_SCAN:
            break
        if marker == 0xE0 and segment.startswith(b"JFIF"):
            jfif = True
        elif marker == 0xEE and segment.startswith(b"Adobe") and len(segment) >= 12:
            adobe = segment[11] != 0
        elif marker in (*_DCT_PROCESSES, LOSSLESS_PROCESS, JPEG_LS_PROCESS) and len(segment) >= 6:
            if data.find(_END, position) < 0:
                raise PeerError("A frame's JPEG is cut short.")
            names = segment[6 : 6 + 3 * segment[5] : 3]
            return Codestream(
                rows=int.from_bytes(segment[1:3], "big"),
                columns=int.from_bytes(segment[3:5], "big"),
                samples=segment[5],
                precision=segment[0],
                process=marker,
                transformed=False if names in _RGB_COMPONENTS else True if jfif else adobe,
            )
        position += 2 + length
    raise PeerError("A frame's JPEG has no frame header of a process that is decoded here.")


def read_jpeg_2000(data: bytes) -> Codestream:
    """Read the SIZ segment of a JPEG 2000 codestream (ITU-T T.800 §A.5.1), also of one in a JP2 file.

    Raises:
        PeerError: it is no JPEG 2000, or its components differ in size or precision.
    """
    start = data.find(b"\xff\x4f\xff\x51", 0, _MAX_JP2_BOXES)
    segment = data[start + 6 : start + 42]
    if start < 0 or len(segment) < 36:
        raise PeerError("A frame is not the JPEG 2000 that its transfer syntax says it is.")
    width, height, left, top = (int.from_bytes(segment[at : at + 4], "big") for at in (2, 6, 10, 14))
    samples = int.from_bytes(segment[34:36], "big")
    components = data[start + 42 : start + 42 + 3 * samples]
    if not samples or components != (components[:1] + b"\1\1") * samples:
        raise PeerError("A frame's JPEG 2000 has components of different sizes or precisions.")
    return Codestream(
        rows=height - top,
        columns=width - left,
        samples=samples,
        precision=(components[0] & 0x7F) + 1,
        signed=bool(components[0] & 0x80),
    )
