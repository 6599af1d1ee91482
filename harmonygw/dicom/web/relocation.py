"""URLs of a DICOMweb service in its answers, replaced while the answers stream: bytes in, bytes out.

What is replaced, and nothing else: the beginning of a URL that is, or lies below, one of the old base URLs, in

- a BulkDataURI, and the value of Retrieve URL (0008,1190), of the DICOM JSON model (PS3.18 §F.2);
- the `uri` of a BulkData element, and the value of Retrieve URL, of the Native DICOM Model (PS3.19 §A.1);
- the Content-Location and Location of a part of a multipart, whose content is untouched unless it is one of these two.

Every other value is the data set's own, and stays as it is even when it looks like such a URL.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, Protocol

from harmonygw.dicom.web.media_types import DICOM_JSON, DICOM_XML, JSON, MULTIPART

Piece = bytes | memoryview
"""A run of bytes that nobody will change."""

MAX_CONTEXT: Final = 2048
"""Bytes before a URL by which it is told what it is the URL of. Documents that are written for people have up to some
hundred spaces there; what is further away is not seen."""

MAX_PADDING: Final = 256
"""Bytes of white space behind a delimiter (RFC 2046 §5.1.1 has it for gateways that add some)."""

MAX_PART_HEADER: Final = 16 * 1024
"""Bytes of a part's header. A longer one passes as it is, up to the next delimiter."""

MAX_BOUNDARY: Final = 70
"""Characters of a boundary (RFC 2046 §5.1.1)."""

_IDENTITIES: Final = (b"binary", b"8bit", b"7bit")
"""The content transfer encodings that leave the bytes as they are (RFC 2045 §6.2)."""

_SPACE: Final = b" \t\r\n"

_JSON_CONTEXTS: Final = (
    (b'"BulkDataURI"', b":"),
    (b'"00081190"', b":", b"{", b'"vr"', b":", b'"UR"', b",", b'"Value"', b":", b"["),
    (b'"00081190"', b":", b"{", b'"Value"', b":", b"["),
)
"""The words before a URL in the DICOM JSON model."""

_BULK_DATA: Final = re.compile(rb"<BulkData(?=\s)[^<>]*\suri=[\"']")
_VALUE: Final = re.compile(rb"<Value(?:\s[^<>]*)?>")
_RETRIEVE_URL: Final = re.compile(rb"<DicomAttribute(?=\s)[^<>]*\stag=[\"']00081190[\"'][^<>]*>")
"""The tags before a URL in the Native DICOM Model."""

_PARAMETER: Final = re.compile(r';\s*([\w.-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;"]+))')


class Relocation(Protocol):
    """Replaces URLs in one body."""

    def feed(self, data: Piece) -> list[Piece]:
        """Take the next bytes; return what is settled by now."""

    def finish(self) -> list[Piece]:
        """Return the rest: the body has ended."""


def relocation(content_type: str, old: Sequence[str], new: str, relocate: Callable[[str], str]) -> "Relocation | None":
    """Return what replaces the `old` base URLs by the `new` one in a body of a media type; None where there are none.

    `relocate` returns the new URL of a whole one, for the header of a part.
    """
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type == MULTIPART:
        boundary = _boundary(content_type)
        if not 0 < len(boundary) <= MAX_BOUNDARY or not boundary.isascii():
            return None
        return Parts(boundary.encode("ascii"), old, new, relocate)
    return _of_data_set(media_type, old, new)


def _of_data_set(media_type: str, old: Sequence[str], new: str) -> "Words | None":
    if media_type in (DICOM_JSON, JSON):
        return json_words(old, new)
    if media_type in (DICOM_XML, "application/xml", "text/xml"):
        return xml_words(old, new)
    return None


def _boundary(content_type: str) -> str:
    for found in _PARAMETER.finditer(content_type):
        if found[1].lower() == "boundary":
            return re.sub(r"\\(.)", r"\1", found[2]) if found[2] is not None else found[3]
    return ""


class Words:
    """Replaces URLs where what stands before them says whose they are.

    `spellings` are the old URLs, as they are written there, with the new ones; `context` tells by what stands before a
    URL, and `ends` are the bytes that may follow it. No more is held back than may be the beginning of a URL.
    """

    def __init__(self, spellings: Mapping[bytes, bytes], context: Callable[[bytes], bool], ends: bytes) -> None:
        self._spellings = spellings
        self._longest = max(map(len, spellings))
        self._context = context
        self._ends = ends
        self._held = b""
        self._passed = 0
        """Bytes at the beginning of what is held that have gone out already: context."""

    def feed(self, data: Piece) -> list[Piece]:
        """Take the next bytes; return what is settled by now."""
        self._held += data
        return self._settled(len(self._held) - self._longest)

    def finish(self) -> list[Piece]:
        """Return the rest."""
        return self._settled(len(self._held))

    def _settled(self, until: int) -> list[Piece]:
        """Let go what lies before `until`, and the whole of a URL that begins there."""
        held, position = self._held, self._passed
        if until <= position:
            return []
        view = memoryview(held)
        changed: list[Piece] = []
        for start, _, old in sorted(self._places(held, position, until)):
            end = start + len(old)
            if start >= position and self._may_end(held, end) and self._is_named(held, start):
                changed += (view[position:start], self._spellings[old])
                position = end
        if position < until:
            changed.append(view[position:until])
            position = until
        keep = max(0, position - MAX_CONTEXT)
        self._held = held[keep:]
        self._passed = position - keep
        return [part for part in changed if part]

    def _places(self, held: bytes, position: int, until: int) -> Iterator[tuple[int, int, bytes]]:
        """Yield where a URL may begin, how long it is (less is longer), and the URL."""
        for old in self._spellings:
            start = held.find(old, position)
            while 0 <= start < until:
                yield start, -len(old), old
                start = held.find(old, start + 1)

    def _may_end(self, held: bytes, end: int) -> bool:
        return end < len(held) and held[end] in self._ends

    def _is_named(self, held: bytes, start: int) -> bool:
        return self._context(held[max(0, start - MAX_CONTEXT) : start])


def json_words(old: Sequence[str], new: str) -> Words:
    """Return what replaces URLs in the DICOM JSON model; slashes may be escaped, and then stay so."""
    plain = {one.encode(): new.encode() for one in old}
    escaped = {one.replace(b"/", rb"\/"): ours.replace(b"/", rb"\/") for one, ours in plain.items()}
    return Words(plain | escaped, _is_named_in_json, b'/?#"\\')


def xml_words(old: Sequence[str], new: str) -> Words:
    """Return what replaces URLs in the Native DICOM Model."""
    return Words({_escaped(one): _escaped(new) for one in old}, _is_named_in_xml, b"/?#<\"'")


def _escaped(url: str) -> bytes:
    return url.encode().replace(b"&", b"&amp;")


def _is_named_in_json(before: bytes) -> bool:
    """Tell whether a string that begins behind `before` is a URL of the service."""
    return before.endswith(b'"') and any(_ends_with(before[:-1], words) for words in _JSON_CONTEXTS)


def _ends_with(before: bytes, words: Sequence[bytes]) -> bool:
    """Tell whether these are the last words, white space between them, and not within a string themselves."""
    for word in reversed(words):
        before = before.rstrip(_SPACE)
        if not before.endswith(word):
            return False
        before = before[: -len(word)]
    return bool(before) and not before.endswith(b"\\")


def _is_named_in_xml(before: bytes) -> bool:
    """Tell whether the attribute or the text that begins behind `before` is a URL of the service."""
    if before.endswith((b'uri="', b"uri='")):
        tag = before.rfind(b"<")
        return tag >= 0 and _BULK_DATA.fullmatch(before, tag) is not None
    for pattern in (_VALUE, _RETRIEVE_URL):
        before = before.rstrip(_SPACE)
        tag = before.rfind(b"<")
        # Without the look at its end a tag that has none would be gone through once for each of its attributes.
        if tag < 0 or not before.endswith(b">") or not pattern.fullmatch(before, tag):
            return False
        before = before[:tag]
    return True


class Parts:
    """Replaces URLs in the headers of the parts of a multipart (RFC 2046 §5.1), and in those that are JSON or XML.

    A delimiter is looked for where a line begins; what lies between two of them is passed on uncopied.
    """

    def __init__(self, boundary: bytes, old: Sequence[str], new: str, relocate: Callable[[str], str]) -> None:
        self._delimiter = b"\r\n--" + boundary
        self._old = old
        self._new = new
        self._relocate = relocate
        self._held: bytes = b"\r\n"  # as if the body stood below something: its first delimiter begins a line too
        self._invented = 2
        self._in_header = False
        self._words: Words | None = None

    def feed(self, data: Piece) -> list[Piece]:
        """Take the next bytes; return what is settled by now."""
        out: list[Piece] = []
        raw = self._held + data if self._held else bytes(data)
        self._held = b""
        position = 0
        while position < len(raw):
            position = (self._header if self._in_header else self._content)(raw, position, out)
        return out

    def finish(self) -> list[Piece]:
        """Return the rest: a delimiter without end, or a part without one; it passes as it came."""
        out: list[Piece] = []
        rest, self._held = self._held, b""
        self._pass(rest, 0, len(rest), out)
        self._end_part(out)
        return out

    def _content(self, raw: bytes, position: int, out: list[Piece]) -> int:
        """Pass content on up to the next delimiter; return where what comes after that begins."""
        at = raw.find(self._delimiter, position)
        if at < 0:
            at = len(raw) - _beginning_of(self._delimiter, raw[max(position, len(raw) - len(self._delimiter)) :])
            return self._hold(raw, position, at, out)
        end = at + len(self._delimiter)
        line_end = raw.find(b"\r\n", end, end + MAX_PADDING)
        if line_end < 0 and len(raw) - end < MAX_PADDING and not raw[end:].strip(b" \t\r"):
            return self._hold(raw, position, at, out)
        if line_end < 0 or raw[end:line_end].strip(b" \t"):
            # The last delimiter, which ends with "--", or content that looks like one.
            self._pass(raw, position, end, out)
            return end
        self._pass(raw, position, at, out)
        self._end_part(out)
        self._pass(raw, at, line_end, out)
        self._in_header = True
        return line_end

    def _header(self, raw: bytes, position: int, out: list[Piece]) -> int:
        """Pass a part's header on, with its URLs replaced; return where the blank line that ends it begins.

        That line's end may be the beginning of the next delimiter, when the part has no content.
        """
        end = raw.find(b"\r\n\r\n", position, position + MAX_PART_HEADER)
        if end < 0 and len(raw) - position < MAX_PART_HEADER:
            return self._hold(raw, position, position, out)
        self._in_header = False
        if end < 0:
            return position
        lines = raw[position + 2 : end].split(b"\r\n") if end > position else []
        fields = [(*line.partition(b":")[::2], line) for line in lines]
        values = {name.strip().lower(): value.strip() for name, value, _ in fields}
        media_type = values.get(b"content-type", b"").partition(b";")[0].strip().lower().decode("latin-1")
        plain = values.get(b"content-transfer-encoding", b"binary").lower() in _IDENTITIES
        self._words = _of_data_set(media_type, self._old, self._new) if plain else None
        for name, value, line in fields:
            key = name.strip().lower()
            if key in (b"content-location", b"location"):
                out.append(b"\r\n" + name + b": " + self._relocated(value.strip()))
            elif key != b"content-length" or self._words is None:
                out.append(b"\r\n" + line)
        out.append(b"\r\n")
        return end + 2

    def _relocated(self, url: bytes) -> bytes:
        try:
            return self._relocate(url.decode("ascii")).encode()
        except UnicodeDecodeError:
            return url

    def _hold(self, raw: bytes, position: int, until: int, out: list[Piece]) -> int:
        """Pass on what lies before `until`, and keep the rest until more has come."""
        self._pass(raw, position, until, out)
        self._held = raw[until:]
        return len(raw)

    def _end_part(self, out: list[Piece]) -> None:
        if self._words is not None:
            out += self._words.finish()
            self._words = None

    def _pass(self, raw: bytes, start: int, end: int, out: list[Piece]) -> None:
        """Pass bytes on, but for those that were put before the body."""
        skipped = min(self._invented, end - start)
        self._invented -= skipped
        start += skipped
        if start == end:
            return
        piece = memoryview(raw)[start:end]
        if self._words is None:
            out.append(piece)
        else:
            out += self._words.feed(piece)


def _beginning_of(delimiter: bytes, data: bytes) -> int:
    """Return how many bytes at the end of `data` may be the beginning of a delimiter."""
    at = data.find(b"\r")
    while at >= 0:
        if delimiter.startswith(data[at:]):
            return len(data) - at
        at = data.find(b"\r", at + 1)
    return 0
