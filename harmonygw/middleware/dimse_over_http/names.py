"""Attributes as a JSON object names them, by keyword, by `snake_case` or by tag, and the values that it gives them."""

import re
from collections.abc import Mapping
from functools import cache
from typing import Any, Final

from harmonygw.dicom.dataset.dictionary import (
    UNKNOWN_VR,
    VR_BY_TAG,
    is_private,
    keyword_of,
    nearest_keywords,
    resolve_vr,
    tag_of,
    vr_of,
)
from harmonygw.dicom.web.key_values import key_values
from harmonygw.errors import BadRequest, TooLarge
from harmonygw.operations import DataSet

MAX_ATTRIBUTES: Final = 1000
"""Attributes of one identifier, those of its items among them: as many as a Search may have parameters."""

MAX_DEPTH: Final = 8
"""Sequences within one another. Keys of PS3.4 are nested two deep."""

MAX_SHOWN: Final = 64
"""Characters of a name that an error shows."""

FIRST_GROUP: Final = 0x0008
"""Of a data set: groups below it hold commands and file meta information (PS3.5 §7.1)."""

UNIVERSAL: Final = "*"
"""By itself it matches anything, whatever the VR; in an identifier no value does (PS3.4 §C.2.2.2.3)."""

_GROUPS: Final = ("Alphabetic", "Ideographic", "Phonetic")
_WORD: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def snake_case(keyword: str) -> str:
    """Return a keyword in small letters, its words parted by underscores: `StudyInstanceUID`, `study_instance_uid`."""
    return _WORD.sub("_", keyword).lower()


@cache
def _snake_cased() -> Mapping[str, int]:
    return {snake_case(keyword): tag for tag in VR_BY_TAG if (keyword := keyword_of(tag))}


def find_tag(name: str) -> int | None:
    """Return the tag of an attribute of a data set; None when `name` is none."""
    tag = int(name, 16) if re.fullmatch("[0-9A-Fa-f]{8}", name) else tag_of(name) or _snake_cased().get(name)
    if tag is None or not FIRST_GROUP <= tag >> 16 < 0xFFFE:
        return None
    return tag


class Identifier:
    """An identifier in the DICOM JSON model (PS3.18 §F.2) that grows by names and values."""

    def __init__(self) -> None:
        self.data_set: dict[str, Any] = {}
        self.names_returned = False
        """Whether any attribute was asked for by itself, not to be matched."""
        self._count = 0

    def add(self, name: str, value: Any) -> None:
        """Add an attribute.

        `value` is an attribute of the DICOM JSON model, or as people write it: text, a number, a list of these, an
        object with component groups, an object with the keys of a sequence's item; null or `""` asks for the attribute
        to be returned, and `"*"` matches anything. Raises `BadRequest` for what is no attribute, what its VR does not
        allow, and what is there already, and `TooLarge` beyond `MAX_ATTRIBUTES`.
        """
        self._add(self.data_set, name, value, 0)

    def _add(self, data_set: dict[str, Any], name: str, value: Any, depth: int) -> None:
        tag = find_tag(name)
        if tag is None:
            raise BadRequest(_unknown(name))
        self._count += 1
        if self._count > MAX_ATTRIBUTES:
            raise TooLarge(f"The identifier has more than {MAX_ATTRIBUTES} attributes (MAX_ATTRIBUTES).")
        key = f"{tag:08X}"
        if key in data_set:
            raise BadRequest(f"{_shown(name)} is given twice.")
        if isinstance(value, Mapping) and "vr" in value:
            data_set[key] = _element(name, value)
        else:
            data_set[key] = self._written(name, tag, value, depth)
        if len(data_set[key]) == 1 and value != UNIVERSAL:
            self.names_returned = True

    def _written(self, name: str, tag: int, value: Any, depth: int) -> DataSet:
        vr = resolve_vr(vr_of(tag))
        if is_private(tag) or vr == UNKNOWN_VR:
            raise BadRequest(f'{_shown(name)} is in no dictionary: give it with its "vr" and "Value".')
        if value is None or value in ("", UNIVERSAL, []):
            return {"vr": vr}
        if vr == "SQ":
            return self._sequence(name, value, depth)
        texts = [_text(name, one) for one in (value if isinstance(value, list) else [value])]
        values = key_values(_shown(name), vr, texts, several=True, empty_allowed=False)
        return {"vr": vr, "Value": values} if values else {"vr": vr}

    def _sequence(self, name: str, value: Any, depth: int) -> DataSet:
        items = value if isinstance(value, list) else [value]
        if len(items) != 1 or not isinstance(items[0], Mapping):
            raise BadRequest(f"{_shown(name)} is a sequence: it takes one object, with the keys of its item.")
        if depth == MAX_DEPTH:
            raise BadRequest(f"{_shown(name)} is nested deeper than {MAX_DEPTH} sequences (MAX_DEPTH).")
        item: dict[str, Any] = {}
        for inner, one in items[0].items():
            self._add(item, inner, one, depth + 1)
        return {"vr": "SQ", "Value": [item]}


def _element(name: str, element: Mapping[str, Any]) -> DataSet:
    """Return an attribute of the DICOM JSON model, without values when it has none; what they hold is checked later."""
    vr, values = element["vr"], element.get("Value")
    if not isinstance(vr, str):
        raise BadRequest(f'{_shown(name)}: "vr" is not a VR.')
    if "BulkDataURI" in element:
        raise BadRequest(f"{_shown(name)}: what a BulkDataURI points to cannot be matched.")
    if values is not None and not isinstance(values, list):
        raise BadRequest(f'{_shown(name)}: "Value" is a list (PS3.18 §F.2.2).')
    if "InlineBinary" in element:
        return {"vr": vr, "InlineBinary": element["InlineBinary"]}
    if not values or all(value is None or value == "" for value in values):
        return {"vr": vr}
    return {"vr": vr, "Value": values}


def _text(name: str, value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    if (
        isinstance(value, Mapping)
        and set(value) <= set(_GROUPS)
        and all(isinstance(one, str) for one in value.values())
    ):
        return "=".join(value.get(group, "") for group in _GROUPS).rstrip("=")
    raise BadRequest(f"{_shown(name)} takes text, a number, or a list of these.")


def _unknown(name: str) -> str:
    sentence = f"{_shown(name)} is neither an attribute nor a word of such a request"
    nearest = nearest_keywords(name.replace("_", ""), 3)
    return f"{sentence}; the nearest: {', '.join(nearest)}." if nearest else f"{sentence}."


def _shown(name: str) -> str:
    return repr(name[:MAX_SHOWN])
