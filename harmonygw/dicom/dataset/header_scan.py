"""Who an object is: its leading attributes, read while it arrives and before its first byte is released.

`HeaderScan` walks over the data elements of the top level (PS3.5 §7.1) up to the first one behind
SeriesInstanceUID (0020,000E), keeps the few that identify the object, and steps over the others by their
length. A sequence of defined length is one step; one of undefined length is walked through to its delimiter,
and nothing that stands in it counts. What has been fed is held as it came, for whoever releases it.
"""

import zlib
from collections.abc import Mapping
from itertools import product
from string import ascii_uppercase
from struct import Struct
from struct import error as StructError
from typing import Final, NoReturn

from pydicom.valuerep import EXPLICIT_VR_LENGTH_16

from harmonygw.dicom.dataset.part10 import decode_uid
from harmonygw.dicom.dataset.transfer_syntaxes import describe
from harmonygw.errors import PeerError

Piece = bytes | memoryview
"""A run of bytes that nobody will change."""

Held = Piece | bytearray

HEADER_SCAN_LIMIT: Final = 65536
"""Bytes of a data set that a scan looks at. Default 64 KiB: SeriesInstanceUID mostly stands within the first
10; a few objects have a private block of some ten KiB before it."""

WHOLE_LIMIT: Final = 1 << 46
"""Bytes of a data set that a scan of all of it looks at. Default 64 TiB, more than there is: it steps over values."""

MAX_INFLATED: Final = 1 << 30
"""Bytes that a scan of all of a deflated data set inflates. Default 1 GiB, some seconds of a core; of what is longer
the end is not looked at."""

MAX_NESTING_DEPTH: Final = 32
"""Sequences of undefined length within each other, before SeriesInstanceUID. Default 32: what stands there
are references and codes, three or four deep."""

SMALL_PIECE: Final = 1024
"""Bytes of a piece below which it is joined with the one before: what is held must not cost many times its length."""

FEW_PIECES: Final = 8
"""Pieces that are held as they came, however small."""

_INFLATED_STEP: Final = 4096
"""Bytes that are inflated at a time: most headers need one or two steps."""

_UNDEFINED_LENGTH: Final = 0xFFFFFFFF
_ITEM: Final = 0xFFFEE000
_ITEM_DELIMITATION: Final = 0xFFFEE00D
_SEQUENCE_DELIMITATION: Final = 0xFFFEE0DD
_DELIMITER_GROUP: Final = 0xFFFE
_LAST: Final = 0x0020000E
_END: Final = 0xFFFFFFFF

KEYWORDS: Final = {
    0x00080005: "SpecificCharacterSet",
    0x00080016: "SOPClassUID",
    0x00080018: "SOPInstanceUID",
    0x00080020: "StudyDate",
    0x00080050: "AccessionNumber",
    0x00080060: "Modality",
    0x00100010: "PatientName",
    0x00100020: "PatientID",
    0x00100021: "IssuerOfPatientID",
    0x0020000D: "StudyInstanceUID",
    _LAST: "SeriesInstanceUID",
}
"""The leading attributes, by tag."""

_NOBODY_S_IDENTITY: Final = frozenset({0x00080050, 0x00100010})
"""What is told of an object and decides nothing: of two, the first counts."""

_LAST_GROUP: Final = 0x7FDF
"""What may be asked for beyond stands before the pixels, whose group is 7FE0."""


def _passed_over(keywords: Mapping[int, str], last: int) -> frozenset[int]:
    """Return the groups before the last in which nothing is asked for."""
    return frozenset(range(last >> 16)) - {tag >> 16 for tag in keywords}


_PASSED_OVER: Final = _passed_over(KEYWORDS, _LAST)


class _Encoding:
    """How the headers of elements are written (PS3.5 §7.1, §7.3).

    A header is read as four numbers of 16 bits; a VR is the number that its two letters make.
    """

    def __init__(self, order: str, *, explicit: bool) -> None:
        code = Struct(f"{order}H").unpack
        self.header = Struct(f"{order}HHHH").unpack_from
        self.length = Struct(f"{order}I").unpack_from
        self.explicit = explicit
        self.vrs = frozenset(code(bytes(pair))[0] for pair in product(ascii_uppercase.encode(), repeat=2))
        self.short_vrs = frozenset(code(vr.encode())[0] for vr in EXPLICIT_VR_LENGTH_16 if explicit)
        self.un = code(b"UN")[0]


_EXPLICIT_LITTLE_ENDIAN: Final = _Encoding("<", explicit=True)
_EXPLICIT_BIG_ENDIAN: Final = _Encoding(">", explicit=True)
_IMPLICIT_LITTLE_ENDIAN: Final = _Encoding("<", explicit=False)


class HeaderScan:
    """Finds the leading attributes of one data set, which may arrive in any pieces.

    Feed it until it is `done`; `end` when the data set ends before that. The result does not depend on the
    pieces. At most `limit` bytes are looked at, and `gathered` holds no more than those and the rest of the
    last piece.

    `also` are tags, up to group 7FDF, of further attributes that are looked for: their values are kept by their tags in
    upper-case hexadecimal, and the scan goes on until it is behind the last of them. None of these may occur twice.

    A `whole` data set is looked at to its end, for what stands out of order and would count with whoever reads on.
    `gathered` is then for the caller to empty.
    """

    def __init__(
        self,
        transfer_syntax_uid: str,
        *,
        limit: int = HEADER_SCAN_LIMIT,
        also: frozenset[int] = frozenset(),
        whole: bool = False,
    ) -> None:
        syntax = describe(transfer_syntax_uid)
        self._keywords: Mapping[int, str] = KEYWORDS
        self._last = _LAST
        self._passed_over = _PASSED_OVER
        if also:
            if max(also) >> 16 > _LAST_GROUP:
                raise ValueError("an attribute that stands behind the pixels is not looked for")
            self._keywords = {**{tag: f"{tag:08X}" for tag in also}, **KEYWORDS}
            self._last = max(_LAST, *also)
            self._passed_over = _passed_over(self._keywords, self._last)
        self._longest_value = limit
        if whole:
            self._last = _END
            limit = MAX_INFLATED if syntax.deflated else WHOLE_LIMIT
        self._unique = also | (KEYWORDS.keys() - _NOBODY_S_IDENTITY)
        self.values: dict[str, str] = {}
        """Keyword to value without padding, of the attributes found: SpecificCharacterSet, SOPClassUID,
        SOPInstanceUID, StudyDate, AccessionNumber, Modality, PatientName, PatientID, IssuerOfPatientID,
        StudyInstanceUID, SeriesInstanceUID. Decoded as Latin-1 whatever the character set, so that each byte can be
        told from each other."""
        self.raw: dict[str, bytes] = {}
        """The same as they stand in the data set, with their padding."""
        self.gathered: list[Piece] = []
        """What was fed, copied only where many pieces are small; of a deflated data set the deflated bytes."""
        self.done = False
        """Whether everything that could be found has been found."""
        self.truncated = False
        """Whether the scan is done because it reached its limit: what is missing may still follow."""
        self._limit = limit
        self._fed = 0
        self._inflater = zlib.decompressobj(-zlib.MAX_WBITS) if syntax.deflated else None
        self._inflated = 0
        self._encoding = _EXPLICIT_LITTLE_ENDIAN
        if not syntax.explicit:
            self._encoding = _IMPLICIT_LITTLE_ENDIAN
        elif not syntax.little_endian:
            self._encoding = _EXPLICIT_BIG_ENDIAN
        self._open: list[_Encoding] = []
        """What is open in a sequence of undefined length: by turns sequence and item, with their encoding."""
        self._offset = 0
        """Where in the data set the scan stands, in bytes."""
        self._skip = 0
        """Bytes to come that belong to a value nobody asked for."""
        self._held = bytearray()
        """The beginning of a header or value whose rest is to come."""

    def feed(self, data: Piece) -> bool:
        """Look at the next bytes of the data set; return whether the scan is done.

        Raises `PeerError`, naming tag and byte offset, when a header is malformed, sequences nest deeper than
        `MAX_NESTING_DEPTH`, an attribute that is asked for occurs twice or is a UID that cannot be one.
        """
        if self.done:
            raise RuntimeError("the scan is done: pass the data on")
        if not data:
            return False  # nothing must not add up to something in `gathered`
        if len(self.gathered) >= FEW_PIECES and len(data) < SMALL_PIECE > len(self.gathered[-1]):
            self.gathered[-1] = b"".join((self.gathered[-1], data))
        else:
            self.gathered.append(data)
        room = self._limit - self._fed
        self._fed += len(data)
        if len(data) > room:
            data = memoryview(data)[:room]
        if self._inflater is None:
            self._scan(data)
        else:
            self._inflate(self._inflater, data)
        self._check_limit()
        return self.done

    def end(self) -> None:
        """Say that the data set has ended; raises `PeerError` when that cuts something short."""
        if self.done:
            return
        inflating = self._inflater is not None and not self._inflater.eof
        if self._held or self._skip or self._open or inflating:
            raise PeerError(f"the data set is cut short after {self._offset + len(self._held)} bytes", source=0)
        self.done = True

    def _check_limit(self) -> None:
        if not self.done and max(self._fed, self._inflated) >= self._limit:
            self.done = self.truncated = True

    def _inflate(self, inflater: "zlib._Decompress", data: Piece) -> None:
        # What follows the end of the compressed stream is none of it, and zlib would hand it back for ever.
        while not self.done and not inflater.eof:
            step = min(_INFLATED_STEP, self._limit - self._inflated)
            if not step:
                return
            try:
                inflated = inflater.decompress(data, step)
            except zlib.error as error:
                raise PeerError(
                    f"the deflated data set is corrupt after {self._inflated} inflated bytes: {error}",
                    source=0,
                ) from error
            self._inflated += len(inflated)
            self._scan(inflated)
            data = inflater.unconsumed_tail
            if not data and len(inflated) < step:
                return

    def _scan(self, data: Piece) -> None:
        """Look at the next bytes of what is, or was, not deflated."""
        if self._skip:
            skipped = min(self._skip, len(data))
            self._skip -= skipped
            self._offset += skipped
            data = memoryview(data)[skipped:]
        if self._held:
            self._held += data
            read = self._walk(self._held)
            del self._held[:read]
        else:
            read = self._walk(data)
            if not self.done:
                self._held += data[read:]
        self._offset += read

    def _walk(self, data: Held) -> int:
        """Read the headers that are whole; return up to where `data` has been used."""
        position = 0
        while True:
            if self._open:
                position = self._walk_sequence(data, position)
                if self._open:
                    break
            position = self._walk_data_set(data, position)
            if not self._open:
                break
        size = len(data)
        if position <= size:
            return position
        self._skip = position - size
        return size

    def _walk_data_set(self, data: Held, position: int) -> int:
        """Read elements of the top level; return where the first one begins that is not used up."""
        encoding = self._encoding
        header, short_vrs, explicit = encoding.header, encoding.short_vrs, encoding.explicit
        keywords, passed_over, last = self._keywords, self._passed_over, self._last
        size = len(data)
        while True:
            try:
                group, element, vr, length = header(data, position)
            except StructError:
                break
            if group in passed_over and vr in short_vrs:
                position += 8 + length
                continue
            tag = group << 16 | element
            if tag > last:
                if group == _DELIMITER_GROUP:
                    self._malformed(tag, position, "it delimits nothing here")
                self.done = True
                break
            start = position + 8
            if not explicit:
                length = length << 16 | vr
            elif vr not in short_vrs:
                start += 4
                if start > size:
                    break
                length = self._long_length(encoding, data, tag, vr, position)
            if length == _UNDEFINED_LENGTH:
                self._begin_sequence(encoding, tag, vr, position)
                return start
            stop = start + length
            if tag in keywords:
                if stop > size:
                    if length > self._longest_value:
                        self._malformed(tag, position, f"it is longer than {self._longest_value} bytes")
                    break
                self._keep(tag, bytes(data[start:stop]), position)
            position = stop
        return position

    def _walk_sequence(self, data: Held, position: int) -> int:
        """Read what stands in a sequence of undefined length, up to its end; return how far that got."""
        size = len(data)
        while self._open and size - position >= 8:
            encoding = self._open[-1]
            group, element, vr, length = encoding.header(data, position)
            tag = group << 16 | element
            if len(self._open) % 2:
                (length,) = encoding.length(data, position + 4)
                if tag == _SEQUENCE_DELIMITATION:
                    self._open.pop()
                    length = 0
                elif tag != _ITEM:
                    self._malformed(tag, position, "it stands where an item should begin")
                elif length == _UNDEFINED_LENGTH:
                    self._open.append(encoding)
                    length = 0
                position += 8 + length
            elif tag == _ITEM_DELIMITATION:
                self._open.pop()
                position += 8
            elif group == _DELIMITER_GROUP:
                self._malformed(tag, position, "it delimits nothing here")
            else:
                start = position + 8
                if not encoding.explicit:
                    length = length << 16 | vr
                elif vr not in encoding.short_vrs:
                    start += 4
                    if start > size:
                        break
                    length = self._long_length(encoding, data, tag, vr, position)
                if length == _UNDEFINED_LENGTH:
                    self._begin_sequence(encoding, tag, vr, position)
                    length = 0
                position = start + length
        return position

    def _long_length(self, encoding: _Encoding, data: Held, tag: int, vr: int, position: int) -> int:
        """Return the length of 32 bits that follows such a VR and two reserved bytes."""
        if vr not in encoding.vrs:
            self._malformed(tag, position, f"it has no VR: {bytes(data[position + 4 : position + 6])!r}")
        length: int = encoding.length(data, position + 8)[0]
        return length

    def _begin_sequence(self, encoding: _Encoding, tag: int, vr: int, position: int) -> None:
        if tag in self._keywords:
            self._malformed(tag, position, "it has undefined length")
        if len(self._open) >= 2 * MAX_NESTING_DEPTH:
            self._malformed(tag, position, f"it is nested deeper than MAX_NESTING_DEPTH ({MAX_NESTING_DEPTH})")
        # An element of VR UN and undefined length is a sequence in Implicit VR Little Endian (PS3.5 §6.2.2).
        inner = _IMPLICIT_LITTLE_ENDIAN if encoding.explicit and vr == encoding.un else encoding
        self._open.append(inner)

    def _keep(self, tag: int, value: bytes, position: int) -> None:
        keyword = self._keywords[tag]
        if keyword in self.raw:
            if tag not in self._unique:
                return
            self._malformed(tag, position, "it occurs twice")
        self.raw[keyword] = value
        if not keyword.endswith("UID"):
            self.values[keyword] = value.strip(b"\0 ").decode("latin-1")
            return
        uid = decode_uid(value)
        if uid is None:
            if value.strip(b"\0 "):
                self._malformed(tag, position, "it is not a UID")
            uid = ""
        self.values[keyword] = uid

    def _malformed(self, tag: int, position: int, what: str) -> NoReturn:
        where = self._offset + position
        raise PeerError(f"({tag >> 16:04X},{tag & 0xFFFF:04X}) at byte {where} is malformed: {what}", source=0)
