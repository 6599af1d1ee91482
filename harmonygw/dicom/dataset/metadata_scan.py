"""The metadata of an instance, gathered while its bytes pass (PS3.18 §10.4.3.3.2 and Annex F).

Attributes follow the pixel data, so an object must be read to its end; but only what the DICOM JSON model shows is
kept. Pixel data and other long binary values are skipped as they stream by, wherever they are nested, and get a
BulkDataURI. What is kept is one data set, in Little Endian and with those values left empty; `to_json` then makes JSON
of it.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

from harmonygw.dicom.dataset.deflation import Inflation
from harmonygw.dicom.dataset.dictionary import BULK_VRS, UNKNOWN_VR, vr_of
from harmonygw.dicom.dataset.element_writer import LONGEST_SHORT_VALUE, ElementWriter
from harmonygw.dicom.dataset.inline import BULK_THRESHOLD, is_by_reference
from harmonygw.dicom.dataset.json_encoding import Path, to_json
from harmonygw.dicom.dataset.limits import DEFAULT_LIMITS, Limits
from harmonygw.dicom.dataset.tokens import Piece, Tokenizer
from harmonygw.dicom.dataset.transfer_syntaxes import EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN, describe
from harmonygw.errors import PeerError

MAX_METADATA_BYTES: Final = 16 * 1024 * 1024
"""Bytes of elements kept of one instance. Default 16 MiB: 10,000 frames with 1.6 KiB of functional groups each."""

REFERENCE_COST: Final = 256
"""Bytes that a value given by BulkDataURI counts as against the limit: about what remembering where it is takes."""

PIXEL_DATA: Final = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})
"""Float, Double Float and Pixel Data: given by BulkDataURI however short."""

_EMPTY: Final = memoryview(b"")
_NO_SEQUENCE: Final = {"vr": "SQ"}


class MetadataScan:
    """Reads one data set, without preamble and file meta information, and keeps its metadata.

    Values that `is_by_reference`, opaque ones longer than `bulk_threshold` bytes, are given by BulkDataURI, and so is
    pixel data. The threshold is at most 65,534, what every VR can say of its length. `limit` is in bytes of kept
    elements. `writer` is whoever wants to know more than this; its threshold has to be the same.
    """

    def __init__(
        self,
        transfer_syntax_uid: str,
        *,
        bulk_threshold: int = BULK_THRESHOLD,
        limit: int = MAX_METADATA_BYTES,
        limits: Limits = DEFAULT_LIMITS,
        writer: "MetadataWriter | None" = None,
    ) -> None:
        self._bulk_threshold = min(bulk_threshold, LONGEST_SHORT_VALUE)
        self._limit = limit
        syntax = describe(transfer_syntax_uid)
        if writer is None:
            writer = MetadataWriter(self._bulk_threshold, explicit=syntax.explicit)
        self._writer = writer
        self._tokenizer = Tokenizer(
            transfer_syntax_uid, self._writer, limits=limits, longest_verbatim=self._bulk_threshold
        )
        self._writer.tokenizer = self._tokenizer
        self._inflation = Inflation(limits=limits) if syntax.deflated else None
        self._kept_syntax = EXPLICIT_VR_LITTLE_ENDIAN if syntax.explicit else IMPLICIT_VR_LITTLE_ENDIAN
        self._kept = bytearray()

    @property
    def held(self) -> int:
        """Bytes that are kept."""
        return len(self._kept) + self._tokenizer.held

    def feed(self, pieces: Sequence[Piece]) -> None:
        """Read on; nothing of `pieces` is referred to afterwards.

        Raises `PeerError` when the object is malformed, or more than the limit would be kept.
        """
        for piece in pieces:
            if self._inflation is None:
                self._read(piece)
            else:
                for inflated in self._inflation.feed(piece):
                    self._read(inflated)

    def finish(
        self,
        bulk_data_uri: Callable[[Path], str],
        *,
        default_character_set: tuple[str, ...] = ("ISO_IR 6",),
        on_undecodable: Callable[[str], None] | None = None,
    ) -> dict[str, Any]:
        """Return the instance in the DICOM JSON model, without group 0002.

        `bulk_data_uri` makes the BulkDataURI of a value from where it is: the tags of the sequences and the indices of
        the items, from 0, that lead there, and its own tag, as in `("54000100", 0, "54001010")`. The other
        arguments are those of `to_json`. Raises `PeerError` when the object was cut short.
        """
        if self._inflation is not None:
            self._inflation.finish()
        self._tokenizer.finish()
        metadata = to_json(
            self._kept,
            self._kept_syntax,
            default_character_set=default_character_set,
            bulk_data=lambda path, _vr, _length: bulk_data_uri(path),
            bulk_threshold=self._bulk_threshold,
            on_undecodable=on_undecodable,
        )
        for path in self._writer.bulk:
            _refer(metadata, path, bulk_data_uri(path))
        return metadata

    def _read(self, piece: Piece) -> None:
        self._tokenizer.feed(piece)
        written = self._writer.take()
        if not written:
            return
        size = len(self._kept) + sum(map(len, written)) + REFERENCE_COST * len(self._writer.bulk)
        if size > self._limit:
            raise PeerError(f"the metadata of the object exceeds MAX_METADATA_BYTES ({self._limit} bytes)", source=0)
        for part in written:
            self._kept += part


class MetadataWriter(ElementWriter):
    """Writes what is kept, and remembers where values are that are not."""

    tokenizer: Tokenizer
    """Who tells it; set by whoever has made both."""

    def __init__(self, bulk_threshold: int, *, explicit: bool) -> None:
        super().__init__(explicit=explicit)
        self.bulk: list[Path] = []
        """Where values are given by reference, in the order of the data set."""
        self.bulk_threshold = bulk_threshold
        """Bytes of a value that is not."""
        self._sequences: list[str] = []
        self._items: list[int] = []
        self._skipping = False

    def element(self, tag: int, vr: str, value: memoryview) -> None:
        """Write an element, or what stands for it."""
        length = len(value)
        if self._is_by_reference(tag, vr, length):
            self.refer(tag, vr, length)
        else:
            super().element(tag, vr, value)

    def begin_value(self, tag: int, vr: str, length: int) -> None:
        """Write the header of an element, or what stands for it."""
        self._skipping = self._is_by_reference(tag, vr, length)
        if self._skipping:
            self.refer(tag, vr, length)
        else:
            super().begin_value(tag, vr, length)

    def value(self, piece: memoryview) -> None:
        """Write a piece of a value that is kept."""
        if not self._skipping:
            super().value(piece)

    def encapsulated(self, tag: int, vr: str, offset: int) -> None:
        """Write what stands for encapsulated pixel data, whose VR is OB (PS3.5 §A.4)."""
        self.refer(tag, "OB", 0)

    def begin_sequence(self, tag: int) -> None:
        """Write the header of a sequence."""
        self._sequences.append(f"{tag:08X}")
        self._items.append(-1)
        super().begin_sequence(tag)

    def begin_item(self) -> None:
        """Write the header of an item."""
        self._items[-1] += 1
        super().begin_item()

    def end_sequence(self) -> None:
        """Write the delimiter of a sequence."""
        self._sequences.pop()
        self._items.pop()
        super().end_sequence()

    def path(self, tag: int) -> Path:
        """Return where an element of the innermost item is."""
        path: list[str | int] = []
        for sequence, item in zip(self._sequences, self._items, strict=True):
            path += (sequence, item)
        return (*path, f"{tag:08X}")

    def _is_by_reference(self, tag: int, vr: str, length: int) -> bool:
        if tag in PIXEL_DATA:
            return length > 0 and vr in BULK_VRS
        # A known sequence in UN is no more free than in its own VR.
        return is_by_reference(vr, length, self.bulk_threshold) and (vr != UNKNOWN_VR or vr_of(tag) != "SQ")

    def refer(self, tag: int, vr: str, length: int) -> None:
        """Write what stands for a value of so many bytes, 0 of encapsulated pixel data, and note where it is."""
        self.bulk.append(self.path(tag))
        super().element(tag, vr, _EMPTY)


def _refer(metadata: dict[str, Any], path: Path, uri: str) -> None:
    """Put a BulkDataURI where an element has been left empty.

    Of an element that occurs more than once, which it must not, `to_json` shows the last. The others have no place.
    """
    attribute = attribute_at(metadata, path)
    if attribute is None or attribute.keys() != {"vr"}:
        return
    if attribute["vr"] not in BULK_VRS:
        attribute["vr"] = UNKNOWN_VR
    attribute["BulkDataURI"] = uri


def attribute_at(metadata: dict[str, Any], path: Path) -> dict[str, Any] | None:
    """Return the attribute at a path of the DICOM JSON model, None when there is none."""
    *sequences, name = path
    for tag, index in zip(sequences[::2], sequences[1::2], strict=True):
        sequence = metadata.get(str(tag), _NO_SEQUENCE)
        items = sequence.get("Value", ())
        if sequence["vr"] != "SQ" or len(items) <= int(index):
            return None
        metadata = items[index]
    return metadata.get(str(name))
