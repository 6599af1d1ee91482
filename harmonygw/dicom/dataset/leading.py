"""Leading attributes of an object as text, and text as leading attributes.

They stand as `HeaderScan` finds them: as Latin-1, a character for each byte, in the character set that the object
states. What is text already is encoded in UTF-8 for that, and its SpecificCharacterSet (0008,0005) says so.
"""

from collections.abc import Mapping
from typing import Any, Final

from harmonygw.dicom.dataset.character_sets import LONGEST_TERM, MAX_TERMS, character_set
from harmonygw.dicom.dataset.header_scan import KEYWORDS

CHARACTER_SET: Final = "ISO_IR 192"
_SPECIFIC_CHARACTER_SET: Final = "SpecificCharacterSet"
_GROUPS: Final = ("Alphabetic", "Ideographic", "Phonetic")


def text_of(leading: Mapping[str, str], keyword: str, vr: str, default_character_set: tuple[str, ...]) -> str:
    """Return a leading attribute as text, decoded by the object's own SpecificCharacterSet (0008,0005), or by
    `default_character_set` when it states none; empty when it is not there."""
    value = leading.get(keyword, "")
    if value.isascii() and "\x1b" not in value:
        return value
    stated = tuple(term[:LONGEST_TERM] for term in leading.get(_SPECIFIC_CHARACTER_SET, "").split("\\"))
    terms = stated[:MAX_TERMS] if any(stated) else default_character_set
    return character_set(terms).decode(value.encode("latin-1"), vr)


def leading_of_text(values: Mapping[str, str]) -> dict[str, str]:
    """Return leading attributes, by keyword, of which the values are text; those that are empty are left out."""
    encoded = {
        keyword: value.encode("utf-8", "replace").decode("latin-1") for keyword, value in values.items() if value
    }
    return {_SPECIFIC_CHARACTER_SET: CHARACTER_SET, **encoded}


def leading_of_model(data_set: Mapping[str, Any]) -> dict[str, str]:
    """Return the leading attributes of a data set in the DICOM JSON model (PS3.18 §F.2), its tags in upper case.

    What does not keep to the model is as if it were not there: whoever writes the data set refuses it.
    """
    values = {keyword: _text(data_set.get(f"{tag:08X}")) for tag, keyword in KEYWORDS.items()}
    del values[_SPECIFIC_CHARACTER_SET]
    return leading_of_text(values)


def _text(attribute: Any) -> str:
    """Return the values of an attribute as one text; of a person's name its component groups (PS3.5 §6.2.1)."""
    values = attribute.get("Value") if isinstance(attribute, Mapping) else None
    return "\\".join(map(_value, values)).strip("\0 ") if isinstance(values, list) else ""


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        groups = (value.get(name) for name in _GROUPS)
        return "=".join(group if isinstance(group, str) else "" for group in groups).rstrip("=")
    return str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
