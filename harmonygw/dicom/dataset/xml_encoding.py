"""The DICOM JSON model as an XML document of the Native DICOM Model (PS3.19 §A.1, PS3.18 §F.3).

Both say the same, so that what is known of a data set is found out once, in JSON. Where they differ:

- private attributes have the form gggg00ee and the name of their creator, not its block (Table A.1.5-2); where the
  creator is not in the data set, the tag is kept whole;
- a PN is taken apart into its components (PS3.5 §6.2.1.1); what follows the fifth stays with it;
- characters that XML cannot have, such as control characters, become U+FFFD.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

from harmonygw.dicom.dataset.character_sets import REPLACEMENT
from harmonygw.dicom.dataset.dictionary import keyword_of

NAMESPACE: Final = "http://dicom.nema.org/PS3.19/models/NativeDICOM"

START: Final = f'<?xml version="1.0" encoding="UTF-8"?>\n<NativeDicomModel xmlns="{NAMESPACE}" xml:space="preserve">'
"""What stands before the attributes of a document."""

END: Final = "</NativeDicomModel>"
"""What stands behind them."""

_NO_NAME: Final[Mapping[str, str]] = {}
COMPONENTS: Final = ("FamilyName", "GivenName", "MiddleName", "NamePrefix", "NameSuffix")
GROUPS: Final = ("Alphabetic", "Ideographic", "Phonetic")


def to_xml(metadata: Mapping[str, Any]) -> bytes:
    """Return the document of a data set that is in the DICOM JSON model (PS3.18 §F.2), in UTF-8.

    Its attributes are in the order of `metadata`. `metadata` is as `json_encoding.to_json` makes it: nothing of its
    structure is checked. Items can be nested as deep as memory allows.
    """
    return "".join((START, attributes_of(metadata), END)).encode()


def attributes_of(data_set: Mapping[str, Any]) -> str:
    """Return what stands for the attributes of a data set, or of an item, in a document."""
    written: list[str] = []
    nested = [_attributes(data_set, written)]
    while nested:
        item = next(nested[-1], None)
        if item is None:
            nested.pop()
        else:
            nested.append(_attributes(item, written))
    return "".join(written)


def _attributes(data_set: Mapping[str, Any], written: list[str]) -> Iterator[Mapping[str, Any]]:
    """Write the attributes of a data set, and yield each item where its own have to be written."""
    for tag, element in data_set.items():
        vr = element["vr"]
        creator = _creator(tag, data_set) if tag[3] in _ODD else None
        start = (_known_start if len(creator or "") <= _LONGEST_CREATOR else _start)(tag, vr, creator)
        values = element.get("Value")
        if values:
            if vr != "SQ" and vr != "PN":
                written.append(f"{start}>{_values(values)}</DicomAttribute>")
                continue
            written.append(f"{start}>")
            if vr == "SQ":
                for number, item in enumerate(values, 1):
                    written.append(f'<Item number="{number}">')
                    yield item
                    written.append("</Item>")
            else:
                written.extend(_person_name(number, value) for number, value in enumerate(values, 1))
            written.append("</DicomAttribute>")
        elif "InlineBinary" in element:
            written.append(f"{start}><InlineBinary>{element['InlineBinary']}</InlineBinary></DicomAttribute>")
        elif "BulkDataURI" in element:
            written.append(f'{start}><BulkData uri="{_quoted(element["BulkDataURI"])}"/></DicomAttribute>')
        else:
            written.append(f"{start}/>")


_ODD: Final = frozenset("13579BDF")


_LONGEST_CREATOR: Final = 64
"""Characters of a private creator, an LO (PS3.5 Table 6.2-1), whose attributes' start tags are kept."""


def _start(tag: str, vr: str, creator: str | None) -> str:
    """Return the beginning of an attribute's start tag."""
    if creator is not None:
        return f'<DicomAttribute tag="{tag[:4]}00{tag[6:]}" vr="{_quoted(vr)}" privateCreator="{_quoted(creator)}"'
    keyword = keyword_of(int(tag, 16))
    return f'<DicomAttribute tag="{tag}" vr="{_quoted(vr)}"' + (f' keyword="{keyword}"' if keyword else "")


_known_start = lru_cache(4096)(_start)


def _creator(tag: str, data_set: Mapping[str, Any]) -> str | None:
    """Return the private creator of a private attribute (PS3.5 §7.8.1); None for creators themselves."""
    creator = data_set.get(f"{tag[:4]}00{tag[4:6]}") if tag[4:6] != "00" else None
    values = creator.get("Value") if creator else None
    return str(values[0]) if values and values[0] else None


def _values(values: Sequence[Any]) -> str:
    if len(values) == 1:
        value = values[0]
        return f'<Value number="1">{_text(value) if isinstance(value, str) else "" if value is None else value}</Value>'
    return "".join(
        f'<Value number="{number}">{_text(value) if isinstance(value, str) else "" if value is None else value}</Value>'
        for number, value in enumerate(values, 1)
    )


def _person_name(number: int, value: Mapping[str, str] | None) -> str:
    """Return one value of a PN, whose component groups and components are left out where they are empty."""
    groups: list[str] = []
    for group in GROUPS:
        if name := (value or _NO_NAME).get(group):
            components = "".join(
                f"<{component}>{_text(part)}</{component}>"
                for component, part in zip(COMPONENTS, name.split("^", 4), strict=False)
                if part
            )
            groups.append(f"<{group}>{components}</{group}>")
    return f'<PersonName number="{number}">{"".join(groups)}</PersonName>'


_FORBIDDEN: Final = "\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff"
"""What no XML document can have, not even as a reference (XML 1.0 §2.2)."""

_IN_TEXT: Final = re.compile(f"[&<>\r{_FORBIDDEN}]")
_IN_QUOTES: Final = re.compile(f'[&<>"\t\n\r{_FORBIDDEN}]')
_REFERENCES: Final = {
    "&": "&amp;",
    "<": "&lt;",
    ">": "&gt;",
    '"': "&quot;",
    # A reader makes line feeds of carriage returns, and in an attribute blanks of all three, but not of references.
    "\t": "&#9;",
    "\n": "&#10;",
    "\r": "&#13;",
}


def _text(text: str) -> str:
    return _IN_TEXT.sub(_reference, text) if _IN_TEXT.search(text) else text


def _quoted(text: str) -> str:
    return _IN_QUOTES.sub(_reference, text)


def _reference(found: re.Match[str]) -> str:
    return _REFERENCES.get(found[0], REPLACEMENT)
