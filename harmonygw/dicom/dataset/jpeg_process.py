"""Which JPEG process a codestream is of, and so which transfer syntax: some clients say `image/jpeg`, and no more."""

from typing import Final

BEGINNING_LENGTH: Final = 65536
"""Bytes of a codestream that are looked at. Default 64 KiB: an ICC profile or a preview may stand before the frame."""

_BASELINE: Final = "1.2.840.10008.1.2.4.50"
_EXTENDED: Final = "1.2.840.10008.1.2.4.51"
_LOSSLESS: Final = "1.2.840.10008.1.2.4.57"
_LOSSLESS_FIRST_ORDER: Final = "1.2.840.10008.1.2.4.70"
_START_OF_SCAN: Final = 0xDA
_LOSSLESS_FRAME: Final = 0xC3
_DCT_FRAMES: Final = {0xC0: _BASELINE, 0xC1: _EXTENDED}
_WITHOUT_LENGTH: Final = frozenset((0x01, *range(0xD0, 0xD9)))


def jpeg_transfer_syntax(beginning: bytes) -> str:
    """Return the transfer syntax of a JPEG codestream (ITU-T T.81 Table B.1); "" when its beginning does not tell."""
    position = 2
    lossless = False
    while beginning.startswith(b"\xff\xd8") and position + 4 <= len(beginning) and beginning[position] == 0xFF:
        marker = beginning[position + 1]
        if marker == 0xFF or marker in _WITHOUT_LENGTH:
            position += 1 if marker == 0xFF else 2
            continue
        length = int.from_bytes(beginning[position + 2 : position + 4], "big")
        segment = beginning[position + 4 : position + 2 + length]
        if marker in _DCT_FRAMES:
            return _DCT_FRAMES[marker]
        lossless = lossless or marker == _LOSSLESS_FRAME
        if marker == _START_OF_SCAN:
            # Behind the components stands the predictor; .70 is the process with the first one (PS3.5 §10.3).
            first_order = len(segment) >= 4 and segment[-3] == 1
            return "" if not lossless else _LOSSLESS_FIRST_ORDER if first_order else _LOSSLESS
        position += 2 + length
    return ""
