"""What the tests of transcoding share: objects with pixels, and a caller whose codec is a function."""

from collections.abc import Callable
from struct import pack
from typing import Any

from harmonygw.dicom.dataset.tokens import Piece
from harmonygw.dicom.dataset.transcoding import StoredFrame, Transcoding
from tests.dicom.dataset.encoded import BIG_ENDIAN, EXPLICIT, element, item, sequence, split

Encode = Callable[[StoredFrame], bytes]


def same(frame: StoredFrame) -> bytes:
    return frame.data


def transcode(
    data: bytes, source: str, target: str, encode: Encode = same, size: int = 0, **options: Any
) -> tuple[bytes, list[StoredFrame]]:
    transcoding = Transcoding(source, target, **options)
    frames: list[StoredFrame] = []
    out: list[Piece] = []

    def take(parts: list[Piece | StoredFrame]) -> None:
        for part in parts:
            if isinstance(part, StoredFrame):
                frames.append(part)
                out.extend(transcoding.encoded(part, encode(part)))
            else:
                out.append(part)

    for piece in split(data, size):
        take(transcoding.feed([piece]))
    take(transcoding.finish())
    return b"".join(out), frames


def image(
    pixel_data: bytes = b"",
    *,
    frames: int | None = None,
    bits: int = 8,
    rows: int = 2,
    columns: int = 2,
    samples: int | None = None,
    interpretation: str = "",
    planar: int | None = None,
    syntax: str = EXPLICIT,
) -> bytes:
    order = ">" if syntax == BIG_ENDIAN else "<"

    def number(tag: int, value: int | None) -> bytes:
        return b"" if value is None else element(tag, "US", pack(order + "H", value), syntax)

    return (
        number(0x00280002, samples)
        + (element(0x00280004, "CS", interpretation.encode(), syntax) if interpretation else b"")
        + number(0x00280006, planar)
        + (element(0x00280008, "IS", f"{frames}".encode().rjust(2), syntax) if frames else b"")
        + number(0x00280010, rows)
        + number(0x00280011, columns)
        + number(0x00280100, bits)
        + pixel_data
    )


def encapsulated(*fragments: bytes, table: bytes = b"") -> bytes:
    return sequence(0x7FE00010, *(item(fragment, defined=True) for fragment in (table, *fragments)), vr="OB")
