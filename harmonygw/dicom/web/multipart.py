"""Writing `multipart/related` bodies (RFC 2387, PS3.18 §8.6.1.2): what stands between the parts' bytes."""

import secrets
from hashlib import blake2b
from itertools import count
from typing import Final

from harmonygw.errors import BadRequest

MAX_PART_HEADER_LENGTH: Final = 999
"""Bytes of a delimiter and a part's header; some clients look no further for the blank line."""

_BOUNDARY_BYTES = 20
"""160 bits, written as 40 characters: no object can hold the boundary by chance or by design."""

_SECRET = secrets.token_bytes(32)
_numbers = count()
"""What boundaries are made of: nobody can foretell one, and the system need not be asked for randomness each time."""


def boundary() -> str:
    """Return a new boundary of 40 characters, which need no quotes (RFC 2046 §5.1.1)."""
    return blake2b(next(_numbers).to_bytes(8), key=_SECRET, digest_size=_BOUNDARY_BYTES).hexdigest()


def content_type(boundary: str, media_type: str = "application/dicom") -> str:
    """Return the value of the Content-Type header of a body whose parts are of `media_type`."""
    return f'multipart/related; type="{media_type}"; boundary={boundary}'


def part_header(
    boundary: str,
    transfer_syntax: str,
    content_location: str,
    first: bool,
    *,
    media_type: str = "application/dicom",
) -> bytes:
    """Return what precedes a part's bytes: delimiter, header lines, blank line.

    The transfer syntax is not quoted, since clients do not strip quotes; an empty one is left out, as it has to be of
    what has none (renderings, XML). Frames always have one, the default too (PS3.18 §8.7.3.5.2): viewers tell by
    it how to read them. Content-Location is left out when it is empty, and when the header would exceed
    `MAX_PART_HEADER_LENGTH` with it. Raises BadRequest for a `content_location` that cannot stand in a header line,
    which a forged `X-Forwarded-Host` could bring about.
    """
    if not content_location.isascii() or not content_location.isprintable() or " " in content_location:
        raise BadRequest("The service's own URL, as the request gives it, has characters that no URL can have.")
    line_break = "" if first else "\r\n"
    syntax = f"; transfer-syntax={transfer_syntax}" if transfer_syntax else ""
    start = f"--{boundary}\r\nContent-Type: {media_type}{syntax}\r\n"
    location = f"Content-Location: {content_location}\r\n" if content_location else ""
    if len(start) + len(location) + 2 > MAX_PART_HEADER_LENGTH:
        location = ""
    return f"{line_break}{start}{location}\r\n".encode("ascii")


def closing(boundary: str) -> bytes:
    """Return what ends the body. Without it the body is incomplete, and every client can tell."""
    return f"\r\n--{boundary}--\r\n".encode("ascii")
