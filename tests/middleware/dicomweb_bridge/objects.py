"""A small object in every native transfer syntax."""

import zlib

from tests.dicom.dataset.encoded import BIG_ENDIAN, DEFLATED, EXPLICIT, element, item, sequence

UID = "1.2.3.4"
PIXELS = bytes(range(64)) * 32


def encoded(syntax: str = EXPLICIT, *, name: bytes = b"Doe^Jane", character_set: bytes = b"") -> bytes:
    """The data set; its pixels are 16-bit words."""
    if syntax == DEFLATED:
        deflater = zlib.compressobj(wbits=-15)
        return deflater.compress(encoded(name=name, character_set=character_set)) + deflater.flush()

    def words(value: bytes) -> bytes:
        if syntax != BIG_ENDIAN:
            return value
        return b"".join(value[at : at + 2][::-1] for at in range(0, len(value), 2))

    order = "big" if syntax == BIG_ENDIAN else "little"
    nested = item(element(0x00080100, "SH", b"T-A0", syntax), syntax)
    return b"".join(
        (
            element(0x00080005, "CS", character_set, syntax) if character_set else b"",
            element(0x00080016, "UI", b"1.2.840.10008.5.1.4.1.1.2\0", syntax),
            element(0x00080018, "UI", UID.encode() + b"\0", syntax),
            sequence(0x00082218, nested, syntax=syntax),
            element(0x00100010, "PN", name + b" " * (len(name) % 2), syntax),
            element(0x0020000D, "UI", b"1.2\0", syntax),
            element(0x0020000E, "UI", b"1.2.3\0", syntax),
            element(0x00280010, "US", (32).to_bytes(2, order), syntax),
            element(0x7FE00010, "OW", words(PIXELS), syntax),
        )
    )


def pieces(data: bytes, size: int = 100, each: int = 3) -> list[list[bytes]]:
    """The data in pieces of a size, so many a read."""
    cut = [data[at : at + size] for at in range(0, len(data), size)]
    return [cut[at : at + each] for at in range(0, len(cut), each)]
