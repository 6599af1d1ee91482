"""A record: one message in a file of the spool, so that what is torn or has decayed is told from what is whole.

A record is a mark that no UTF-8 holds, the length of the message, the CRC-32 of what follows, the time in milliseconds
since 1970, and the message; numbers are big-endian. Behind something that is no record the next mark is looked for.
"""

from struct import Struct
from typing import Final, NamedTuple
from zlib import crc32

from harmonygw.config.audit import MAX_MESSAGE_BYTES

MARK: Final = b"\xffHG\xfe"

_HEADER = Struct(">4sIIQ")
_TIME = Struct(">Q")

HEADER_LENGTH: Final = _HEADER.size

MAX_RECORD_BYTES: Final = HEADER_LENGTH + MAX_MESSAGE_BYTES


class Read(NamedTuple):
    """What a part of a file holds."""

    messages: list[bytes]
    ends: list[int]
    """Behind each message, as an offset in the part."""
    length: int
    """Bytes that have been understood; the rest is the beginning of a record."""
    damaged: int
    """Bytes among them that are no record."""


def encode(message: bytes, time: float) -> bytes:
    """Return the record of a message; `time` is in seconds since 1970."""
    stamp = _TIME.pack(round(time * 1000))
    return _HEADER.pack(MARK, len(message), crc32(message, crc32(stamp)), round(time * 1000)) + message


def time_of(header: bytes) -> float | None:
    """Return the time in seconds since 1970 that the header of a record tells, None when it is no header."""
    if len(header) < HEADER_LENGTH or not header.startswith(MARK):
        return None
    milliseconds: int = _HEADER.unpack_from(header)[3]
    return milliseconds / 1000


def read(part: bytes, *, to_the_end: bool) -> Read:
    """Take a part of a file apart; `to_the_end` when nothing will ever follow it."""
    messages: list[bytes] = []
    ends: list[int] = []
    at = damaged = 0
    while at < len(part):
        end = _end(part, at)
        if end > len(part) and not to_the_end:
            break
        if at < end <= len(part):
            messages.append(part[at + HEADER_LENGTH : end])
            ends.append(end)
        else:
            following = part.find(MARK, at + 1)
            # The end of what has been read may be the beginning of a mark.
            end = following if following > 0 else len(part) if to_the_end else max(at, len(part) - len(MARK) + 1)
            damaged += end - at
            if end == at:
                break
        at = end
    return Read(messages, ends, at, damaged)


def _end(part: bytes, at: int) -> int:
    """Return where the record at `at` ends, which may be beyond the part; `at` itself when it is none."""
    if len(part) - at < HEADER_LENGTH:
        return at + HEADER_LENGTH if MARK.startswith(part[at : at + len(MARK)]) else at
    mark, length, check, _ = _HEADER.unpack_from(part, at)
    if mark != MARK or length > MAX_MESSAGE_BYTES:
        return at
    end: int = at + HEADER_LENGTH + length
    if end <= len(part):
        body = memoryview(part)[at + HEADER_LENGTH : end]
        if crc32(body, crc32(part[at + HEADER_LENGTH - _TIME.size : at + HEADER_LENGTH])) != check:
            return at
    return end
