"""PS3.10 §7.1: what stands before the data set of a DICOM file: preamble, prefix, file meta information.

The file meta information is always Explicit VR Little Endian, whatever the data set behind it is in. A UID is
checked here in both directions, because this is where one is turned into the bytes of an element and back.
"""

import re
from functools import lru_cache
from struct import Struct
from typing import Final, NamedTuple

from pydicom.valuerep import EXPLICIT_VR_LENGTH_32

from harmonygw.dicom.dataset.implementation import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from harmonygw.errors import BadRequest, TooLarge

Buffer = bytes | bytearray | memoryview

MAX_UID_LENGTH: Final = 64
"""Characters of a UID (PS3.5 §9.1)."""

MAX_AE_TITLE_LENGTH: Final = 16
"""Characters of an AE title (PS3.5 Table 6.2-1)."""

MAX_FILE_META_LENGTH: Final = 65536
"""Bytes of file meta information that are read. What we use takes 500; the rest leaves room for private
information (0002,0102), which nobody has yet been seen to fill with more."""

PREAMBLE_LENGTH: Final = 128
"""Bytes before the prefix."""

_PREFIX: Final = b"DICM"
_START: Final = bytes(PREAMBLE_LENGTH) + _PREFIX
_META_OFFSET: Final = len(_START)

_SHORT: Final = Struct("<HH2sH")
"""Group, element, VR and a length of 16 bits (PS3.5 Table 7.1-2)."""
_LONG: Final = Struct("<HH2s2xI")
"""The same for the VRs of Table 7.1-1, with two reserved bytes and a length of 32 bits."""
_LONG_VRS: Final = frozenset(vr.encode() for vr in EXPLICIT_VR_LENGTH_32)
_GROUP_LENGTH: Final = Struct("<HH2sHI")

# Visible ASCII without / \ * ? , " since a UID becomes a segment of a URL.
_UID_PATTERN: Final = re.compile(rb"(?!\.\Z)[!#-)+\-.0->@-\[\]-~]{1,64}\Z").match


class FileMeta(NamedTuple):
    """What a file says of its data set. A UID that it leaves out is empty; the transfer syntax never is."""

    transfer_syntax_uid: str
    sop_class_uid: str
    sop_instance_uid: str
    data_set_offset: int
    """Bytes from the start of the file to the first byte of the data set."""


def decode_uid(value: bytes) -> str | None:
    r"""Return a UID without its padding, or None when it cannot be one.

    Letters and the like occur in the wild and are let through. What the path of a request could not name is
    not: more than `MAX_UID_LENGTH` characters, spaces, control characters, bytes beyond ASCII, any of `/ \ *
    ? , "`, a single dot, two dots in a row.
    """
    value = value.rstrip(b"\0 ")
    if not _UID_PATTERN(value):
        return None
    uid = value.decode("ascii")
    return None if ".." in uid else uid


def encode_uid(uid: str) -> bytes:
    """Return a UID as the value of an element, padded with NUL (PS3.5 §9.1).

    Raises `BadRequest` for what `decode_uid` would not take.
    """
    value = uid.encode("ascii", "replace")
    if not _UID_PATTERN(value) or ".." in uid:
        raise BadRequest(f"{uid[:80]!r} is not a UID: it takes 1 to 64 characters of visible ASCII")
    return value + b"\0" if len(value) & 1 else value


def encode_ae_title(ae_title: str) -> bytes:
    """Return an AE title as the value of an element, padded with a space (PS3.5 Table 6.2-1).

    Raises `BadRequest` when it is empty, too long, or has a backslash or a character that is not printable
    ASCII.
    """
    if (
        not 1 <= len(ae_title) <= MAX_AE_TITLE_LENGTH
        or "\\" in ae_title
        or not (ae_title.isascii() and ae_title.isprintable())
    ):
        raise BadRequest(f"{ae_title[:40]!r} is not an AE title: it takes 1 to 16 characters of ASCII")
    value = ae_title.encode("ascii")
    return value + b" " if len(value) & 1 else value


def file_header(
    sop_class_uid: str,
    sop_instance_uid: str,
    transfer_syntax_uid: str,
    *,
    source_ae_title: str = "",
    sending_ae_title: str = "",
) -> bytes:
    """Return preamble, prefix and file meta information (PS3.10 Table 7.1-1) for a data set.

    `source_ae_title` is ours (0002,0016), `sending_ae_title` that of the archive the data set came from
    (0002,0017); an empty one is left out. Raises `BadRequest` for a UID or AE title that cannot be encoded.
    """
    before = _before_the_instance(sop_class_uid)
    instance = encode_uid(sop_instance_uid)
    after = _after_the_instance(transfer_syntax_uid, source_ae_title, sending_ae_title)
    return b"".join(
        (
            _START,
            _GROUP_LENGTH.pack(2, 0x0000, b"UL", 4, len(before) + 8 + len(instance) + len(after)),
            before,
            _SHORT.pack(2, 0x0003, b"UI", len(instance)),
            instance,
            after,
        )
    )


@lru_cache(maxsize=256)
def _before_the_instance(sop_class_uid: str) -> bytes:
    version = _LONG.pack(2, 0x0001, b"OB", 2) + b"\0\1"
    return version + _element(0x0002, b"UI", encode_uid(sop_class_uid))


@lru_cache(maxsize=256)
def _after_the_instance(transfer_syntax_uid: str, source_ae_title: str, sending_ae_title: str) -> bytes:
    version_name = IMPLEMENTATION_VERSION_NAME.encode("ascii")
    elements = [
        _element(0x0010, b"UI", encode_uid(transfer_syntax_uid)),
        _element(0x0012, b"UI", encode_uid(IMPLEMENTATION_CLASS_UID)),
        _element(0x0013, b"SH", version_name + b" " * (len(version_name) & 1)),
    ]
    if source_ae_title:
        elements.append(_element(0x0016, b"AE", encode_ae_title(source_ae_title)))
    if sending_ae_title:
        elements.append(_element(0x0017, b"AE", encode_ae_title(sending_ae_title)))
    return b"".join(elements)


def _element(element: int, vr: bytes, value: bytes) -> bytes:
    return _SHORT.pack(2, element, vr, len(value)) + value


def read_file_meta(data: Buffer) -> FileMeta | None:
    """Read the file meta information at the start of a file; None says that `data` does not hold all of it.

    A group length that is right ends it; one that is missing or wrong is tolerated, and the first element of
    another group ends it then. Raises `BadRequest` when this is not a DICOM file, when an element is
    malformed, or when the transfer syntax is missing, and `TooLarge` beyond `MAX_FILE_META_LENGTH`.
    """
    if len(data) < _META_OFFSET:
        return None
    if data[PREAMBLE_LENGTH:_META_OFFSET] != _PREFIX:
        raise BadRequest("this is not a DICOM file: there is no DICM after 128 bytes (PS3.10 §7.1)")
    values: dict[int, bytes] = {}
    offset = _META_OFFSET
    announced_end = 0
    while offset != announced_end:
        if len(data) < offset + _SHORT.size:
            return None
        group, element, vr, length = _SHORT.unpack_from(data, offset)
        if group != 0x0002:
            break
        value_offset = offset + _SHORT.size
        if vr in _LONG_VRS:
            value_offset = offset + _LONG.size
            if len(data) < value_offset:
                return None
            length = _LONG.unpack_from(data, offset)[3]
        elif not vr.isalpha():
            raise BadRequest(f"file meta information: (0002,{element:04X}) at byte {offset} has no VR")
        offset = value_offset + length
        if offset > _META_OFFSET + MAX_FILE_META_LENGTH:
            raise TooLarge(f"file meta information exceeds MAX_FILE_META_LENGTH ({MAX_FILE_META_LENGTH} bytes)")
        if len(data) < offset:
            return None
        values[element] = bytes(data[value_offset:offset])
        if element == 0x0000:
            announced_end = offset + int.from_bytes(values[element], "little")
    if not values.get(0x0010):
        raise BadRequest("file meta information: TransferSyntaxUID (0002,0010) is missing")
    return FileMeta(_uid(values, 0x0010), _uid(values, 0x0002), _uid(values, 0x0003), offset)


def _uid(values: dict[int, bytes], element: int) -> str:
    value = values.get(element, b"")
    uid = decode_uid(value) if value else ""
    if uid is None:
        raise BadRequest(f"file meta information: (0002,{element:04X}) is not a UID: {value[:80]!r}")
    return uid
