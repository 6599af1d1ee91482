"""A DICOM file as it arrives (PS3.10 §7): who it is, before a byte of its data set is passed on.

The file meta information names the transfer syntax, and the leading attributes of the data set name the object.
"""

from typing import Final

from harmonygw.dicom.dataset.header_scan import HEADER_SCAN_LIMIT, HeaderScan
from harmonygw.dicom.dataset.part10 import PREAMBLE_LENGTH, FileMeta, read_file_meta
from harmonygw.errors import PeerError

Piece = bytes | memoryview
"""A run of bytes that nobody will change."""

_START_LENGTH: Final = PREAMBLE_LENGTH + 4
_META_BEGINS: Final = b"\x02\x00"
_GROWTH: Final = 8
"""The file meta information is looked at again when an eighth has been added to it: what is sent byte by byte then
costs no more than what is sent at once."""


class Part10Reading:
    """Reads the beginning of one file. Feed it until it is `identified`; `end` when the file ends before that.

    A file that begins with its file meta information, without preamble and prefix, is taken too: what follows is said
    as clearly. A bare data set is not, since its transfer syntax could only be guessed.
    """

    def __init__(self, *, limit: int = HEADER_SCAN_LIMIT) -> None:
        self._limit = limit
        self._gathered = bytearray()
        self._looked_at = 0
        self._meta: FileMeta | None = None
        self._scan: HeaderScan | None = None
        self.identified = False
        """Whether everything that identifies the object, and can be found, has been found."""

    @property
    def transfer_syntax_uid(self) -> str:
        """The transfer syntax of the data set; empty before the file meta information is whole."""
        return self._meta.transfer_syntax_uid if self._meta is not None else ""

    @property
    def values(self) -> dict[str, str]:
        """The leading attributes, as `HeaderScan.values`; of what has not been reached in its limit, none."""
        return self._scan.values if self._scan is not None else {}

    @property
    def identity(self) -> tuple[str, str]:
        """SOP class and instance UID as far as they are known, from the data set or the file meta information."""
        meta = self._meta
        if meta is None:
            return "", ""
        return (
            self.values.get("SOPClassUID") or meta.sop_class_uid,
            self.values.get("SOPInstanceUID") or meta.sop_instance_uid,
        )

    @property
    def data_set(self) -> list[Piece]:
        """What has come of the data set."""
        return self._scan.gathered if self._scan is not None else []

    def feed(self, piece: Piece) -> bool:
        """Read on; return whether the object is identified.

        Raises `BadRequest` when it is not a DICOM file or its file meta information is malformed or too long, and
        `PeerError` when its data set begins malformed.
        """
        if self._scan is not None:
            self.identified = self._scan.feed(piece)
            return self.identified
        self._gathered += piece
        size = len(self._gathered)
        if size - self._looked_at >= self._looked_at // _GROWTH:
            self._looked_at = size
            self._look(self._gathered)
        return self.identified

    def end(self) -> None:
        """Say that the file has ended; raises what `feed` raises, and `PeerError` when that cuts something short."""
        if self._scan is None:
            self._look(self._gathered)
        if self._scan is None:
            raise PeerError("the file is cut short within its file meta information", source=0)
        if not self.identified:
            self._scan.end()
            self.identified = True

    @property
    def claims_another_class(self) -> bool:
        """Whether the file meta information names another SOP class than the data set."""
        return self._differs("SOPClassUID", self._meta.sop_class_uid if self._meta is not None else "")

    @property
    def claims_another_instance(self) -> bool:
        """Whether the file meta information names another SOP instance than the data set."""
        return self._differs("SOPInstanceUID", self._meta.sop_instance_uid if self._meta is not None else "")

    def _differs(self, keyword: str, meta: str) -> bool:
        return bool(meta) and self.values.get(keyword, meta) not in ("", meta)

    def _look(self, data: bytes | bytearray) -> None:
        offset = 0
        if data.startswith(_META_BEGINS):
            data, offset = bytes(_START_LENGTH - 4) + b"DICM" + data, _START_LENGTH
        meta = read_file_meta(data)
        if meta is None:
            return
        self._meta = meta
        self._scan = HeaderScan(meta.transfer_syntax_uid, limit=self._limit)
        rest = bytes(self._gathered[meta.data_set_offset - offset :])
        self._gathered = bytearray()
        if rest:
            self.identified = self._scan.feed(rest)
