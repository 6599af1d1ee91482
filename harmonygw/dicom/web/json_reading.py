"""Reading what an origin server answers in DICOM JSON (PS3.18 Annex F): an array of data sets, as it arrives.

`ArrayReader` finds where one element ends and the next begins, which takes no more than counting braces outside of
strings; each element is then parsed by itself, whole and at once, by a library that bounds how deep it nests. So
nothing but one element is ever held, the first is there long before the last has been sent, and an array may be
endless without harm.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

import orjson

from harmonygw.dicom.dataset.dictionary import resolve_vr, vr_of
from harmonygw.dicom.dataset.elements import LONG_FORM_VRS, SHORT_FORM_VRS
from harmonygw.errors import BadRequest, TooLarge

MAX_ELEMENT_LENGTH: Final = 1 << 20
"""Bytes of one data set in the array. Default 1 MiB, what a match of a C-FIND may have; some kilobytes are usual."""

LONGEST_SHOWN: Final = 40
"""Bytes of what is wrong that an error message shows."""

_STRING: Final = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_UNBROKEN: Final = re.compile(rb'(?:[^"{}]++|%(s)b|\{(?:[^"{}]++|%(s)b)*+\})*+' % {b"s": _STRING}, re.DOTALL).match
"""All up to the next brace that is neither within a string nor one of a pair with none in between, or to a string that
is not there whole. Most attributes are such pairs, so that a match of a C-FIND takes a step or two."""
_IN_STRING: Final = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL).match
_BLANKS: Final = b" \t\r\n"
_QUOTE, _OPENING_BRACE = b'"{'
_THEN: Final = {ord("["): b"{]", ord(","): b"{", ord("{"): b",]", ord("]"): b""}
"""What may follow what, outside of elements."""
_TAG: Final = re.compile("[0-9A-Fa-f]{8}")
_TAG_LENGTH: Final = 8
"""Longer names are not looked at, nor kept."""
_VRS: Final = SHORT_FORM_VRS | LONG_FORM_VRS


class ArrayReader:
    """Takes a JSON array of objects in any pieces, and returns its elements."""

    def __init__(self, *, max_element_length: int = MAX_ELEMENT_LENGTH) -> None:
        self._max_element_length = max_element_length
        self._buffer = bytearray()
        self._at = 0
        """How far the buffer has been looked at."""
        self._depth = 0
        """Braces that are open, those of pairs passed over aside."""
        self._in_string = False
        self._expected = b"["
        """What may come next outside of an element."""

    def feed(self, data: bytes | memoryview) -> list[dict[str, Any]]:
        """Return the elements that are whole with these bytes.

        Raises `BadRequest` for what is no array of objects, and `TooLarge` for an element that exceeds
        `max_element_length`.
        """
        buffer = self._buffer
        buffer += data
        elements: list[dict[str, Any]] = []
        start = 0
        while True:
            if not self._depth:
                start = self._next_element()
                if start == len(buffer):
                    break
            if not self._next_brace():
                break
            self._depth += 1 if buffer[self._at] == _OPENING_BRACE else -1
            self._at += 1
            if not self._depth:
                elements.append(read_object(buffer[start : self._at]))
        if len(buffer) - start > self._max_element_length:
            raise TooLarge(f"an element of a JSON array exceeds {self._max_element_length} bytes (MAX_ELEMENT_LENGTH)")
        del buffer[:start]
        self._at -= start
        return elements

    def finish(self) -> None:
        """Say that there is no more; raises `BadRequest` unless the array has ended."""
        if self._expected or self._depth:
            raise BadRequest("the JSON array is cut short, or there is none")

    def _next_element(self) -> int:
        """Enter the next element and return where it begins, or where the buffer ends."""
        buffer = self._buffer
        for at in range(self._at, len(buffer)):
            byte = buffer[at]
            if byte in _BLANKS:
                continue
            if byte not in self._expected:
                raise BadRequest(f"this is no JSON array of objects: {bytes(buffer[at : at + LONGEST_SHOWN])!r}")
            self._expected = _THEN[byte]
            if byte == _OPENING_BRACE:
                self._depth, self._at = 1, at + 1
                return at
        self._at = len(buffer)
        return self._at

    def _next_brace(self) -> bool:
        """Go to the next brace that counts, and tell whether there is one yet."""
        buffer, at = self._buffer, self._at
        size = len(buffer)
        while at < size:
            pattern = _IN_STRING if self._in_string else _UNBROKEN
            at = pattern(buffer, at).end()  # type: ignore[union-attr]
            if at == size or (self._in_string and buffer[at] != _QUOTE):
                break  # maybe at a backslash whose character is still to come
            if buffer[at] != _QUOTE:
                self._at = at
                return True
            self._in_string = not self._in_string
            at += 1
        self._at = at
        return False


def read_object(data: bytes | bytearray) -> dict[str, Any]:
    """Return a JSON document that is one object; raises `BadRequest` for anything else."""
    try:
        element = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"the JSON is malformed: {error}") from None
    if not isinstance(element, dict):
        raise BadRequest("the JSON is not an object")
    return element


def read_data_set(element: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the attributes of a parsed data set as the DICOM JSON model wants them, and the tags of what is unusable.

    Keys that are no tags are left out. A VR that is missing is the dictionary's; a value that does not stand in an
    array is put into one. What has no usable VR or is given by reference (BulkDataURI) is left without value: one odd
    attribute must not hide a study.
    """
    data_set: dict[str, Any] = {}
    unusable: list[str] = []
    for name, attribute in element.items():
        tag = _tag(name) if len(name) == _TAG_LENGTH else ""
        if not tag:
            unusable.append(name)
            continue
        vr = attribute.get("vr") if isinstance(attribute, dict) else None
        known = isinstance(vr, str) and vr in _VRS
        if known and (len(attribute) == 1 or (len(attribute) == 2 and isinstance(attribute.get("Value"), list))):
            data_set[tag] = attribute
            continue
        read = data_set[tag] = {"vr": vr if known else resolve_vr(vr_of(int(tag, 16)))}
        if not isinstance(attribute, dict) or "BulkDataURI" in attribute or (vr is not None and not known):
            unusable.append(tag)
        elif "InlineBinary" in attribute:
            read["InlineBinary"] = attribute["InlineBinary"]
        elif attribute.get("Value") is not None:
            value = attribute["Value"]
            read["Value"] = value if isinstance(value, list) else [value]
    return data_set, tuple(unusable)


@lru_cache(maxsize=4096)
def _tag(name: str) -> str:
    """Return a tag in upper case, an empty string for a name that is none."""
    return name.upper() if _TAG.fullmatch(name) else ""
