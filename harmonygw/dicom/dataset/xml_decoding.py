"""The Native DICOM Model (PS3.19 §A.1) as the DICOM JSON model: metadata to be stored, from whoever sends it.

Both say the same, so that what comes after need know one of them. A document type declaration is refused: with it goes
every entity but XML's own five, and all that can be done with others. Elements of other names are passed over.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final
from xml.parsers import expat

from harmonygw.dicom.dataset.dictionary import BINARY_VRS
from harmonygw.dicom.dataset.limits import MAX_NESTING_DEPTH
from harmonygw.dicom.dataset.xml_encoding import COMPONENTS, GROUPS, NAMESPACE
from harmonygw.errors import BadRequest

_SEPARATOR: Final = " "
_TAG: Final = re.compile(r"[0-9A-Fa-f]{8}").fullmatch
_NAMESPACES: Final = frozenset({"", NAMESPACE})
"""Some writers leave the namespace out."""

_ELEMENTS_A_SEQUENCE: Final = 2
_MAX_ELEMENTS_DEEP: Final = _ELEMENTS_A_SEQUENCE * MAX_NESTING_DEPTH + 8
"""Elements within each other: an attribute and an item for each sequence, and a person name's component within all."""

_PRIVATE_BLOCKS: Final = range(0x10, 0x100)
_TEXT_ELEMENTS: Final = frozenset({"Value", "InlineBinary", *COMPONENTS})


def from_xml(document: bytes) -> dict[str, Any]:
    """Return the data set of a document, in the DICOM JSON model (PS3.18 §F.2).

    Numbers come as the strings that they are; whoever encodes them checks them. A private attribute of the form
    gggg00ee gets the block of its creator, a free one where the data set has no such creator. Raises `BadRequest`,
    saying where, for what is not a document of the model.
    """
    reading = _Reading()
    parser = expat.ParserCreate(namespace_separator=_SEPARATOR)
    parser.buffer_text = True
    parser.StartDoctypeDeclHandler = _refuse_doctype
    parser.StartElementHandler = reading.start
    parser.EndElementHandler = reading.end
    parser.CharacterDataHandler = reading.text
    try:
        parser.Parse(document, True)
    except expat.ExpatError as error:
        raise BadRequest(f"the XML is malformed: {error}") from None
    except (LookupError, ValueError):
        # Of the document's own encoding, which expat asks Python's codecs for.
        raise BadRequest("the XML is in an encoding that is not read here; UTF-8 is (line 1)") from None
    except BadRequest as error:
        where = f"line {parser.CurrentLineNumber}, column {parser.CurrentColumnNumber}"
        raise BadRequest(f"{error.detail} ({where})") from None
    return reading.data_set


def _refuse_doctype(*_: object) -> None:
    raise BadRequest("a document type declaration is not taken")


@dataclass(slots=True)
class _DataSet:
    """The document's, or that of an item."""

    attributes: dict[str, Any] = field(default_factory=dict)
    private: list[tuple[str, str, Any]] = field(default_factory=list)
    """Tag of the form gggg00ee, creator, and attribute, which wait for the creators of their data set."""


@dataclass(slots=True)
class _Attribute:
    tag: str
    vr: str
    creator: str
    values: dict[int, Any] = field(default_factory=dict)
    others: dict[str, str] = field(default_factory=dict)
    """InlineBinary or BulkDataURI."""


class _Reading:
    """Makes a data set of what the parser tells."""

    def __init__(self) -> None:
        self.data_set: dict[str, Any] = {}
        self._path: list[str] = []
        self._data_sets: list[_DataSet] = []
        self._attributes: list[_Attribute] = []
        self._text: list[str] = []
        self._number = 0
        self._name: dict[str, dict[str, str]] = {}
        self._passed_over = 0

    def start(self, name: str, attributes: dict[str, str]) -> None:
        namespace, _, local = name.rpartition(_SEPARATOR)
        if self._passed_over or namespace not in _NAMESPACES or not self._belongs(local):
            if not self._path:
                raise BadRequest(f"the document's element is NativeDicomModel, not {local[:64]}")
            self._passed_over += 1
            if self._passed_over > _MAX_ELEMENTS_DEEP:
                raise BadRequest(f"elements exceed {_MAX_ELEMENTS_DEEP} within each other")
            return
        self._path.append(local)
        if len(self._path) > _MAX_ELEMENTS_DEEP:
            raise BadRequest(f"sequences exceed MAX_NESTING_DEPTH ({MAX_NESTING_DEPTH})")
        self._text = []
        begin = self._BEGINNINGS.get(local)
        if begin is not None:
            begin(self, attributes)

    def end(self, name: str) -> None:
        if self._passed_over:
            self._passed_over -= 1
            return
        local = self._path.pop()
        finish = self._ENDS.get(local)
        if finish is not None:
            finish(self, "".join(self._text))
        elif local in COMPONENTS:
            self._name[self._path[-1]][local] = "".join(self._text)
        self._text = []

    def text(self, text: str) -> None:
        if not self._passed_over and self._path and self._path[-1] in _TEXT_ELEMENTS:
            self._text.append(text)

    def _belongs(self, local: str) -> bool:
        parent = self._path[-1] if self._path else ""
        return local in _CHILDREN.get(parent, ())

    # Beginnings

    def _begin_data_set(self, attributes: dict[str, str]) -> None:
        self._data_sets.append(_DataSet())

    def _begin_attribute(self, attributes: dict[str, str]) -> None:
        tag, vr = attributes.get("tag", ""), attributes.get("vr", "")
        if not _TAG(tag):
            raise BadRequest(f"{tag[:64]!r} is not a tag of eight hexadecimal digits")
        if not vr:
            raise BadRequest(f"({tag[:4]},{tag[4:]}) has no vr")
        self._attributes.append(_Attribute(tag.upper(), vr, attributes.get("privateCreator", "")))

    def _begin_value(self, attributes: dict[str, str]) -> None:
        attribute = self._attributes[-1]
        number = attributes.get("number", str(len(attribute.values) + 1))
        if not (number.isascii() and number.isdigit()) or len(number) > _LONGEST_NUMBER or not int(number):
            raise BadRequest(f"{number[:64]!r} is not a number of a value, which are counted from 1")
        self._number = int(number)
        if self._number in attribute.values:
            raise BadRequest(f"({attribute.tag[:4]},{attribute.tag[4:]}) has two values of number {self._number}")
        self._name = {}

    def _begin_item(self, attributes: dict[str, str]) -> None:
        self._begin_value(attributes)
        self._attributes[-1].values[self._number] = None
        self._begin_data_set(attributes)

    def _begin_bulk_data(self, attributes: dict[str, str]) -> None:
        uri = attributes.get("uri", "")
        if not uri:
            raise BadRequest("BulkData has no uri")
        self._attributes[-1].others["BulkDataURI"] = uri

    def _begin_group(self, attributes: dict[str, str]) -> None:
        self._name[self._path[-1]] = {}

    # Ends

    def _end_document(self, text: str) -> None:
        self.data_set = _settled(self._data_sets.pop())

    def _end_item(self, text: str) -> None:
        item = _settled(self._data_sets.pop())
        values = self._attributes[-1].values
        values[next(reversed(values))] = item  # `_number` may be that of an item within it

    def _end_value(self, text: str) -> None:
        self._attributes[-1].values[self._number] = text

    def _end_person_name(self, text: str) -> None:
        groups = {
            group: "^".join(components.get(component, "") for component in COMPONENTS).rstrip("^")
            for group, components in self._name.items()
        }
        self._attributes[-1].values[self._number] = {group: name for group, name in groups.items() if name} or None

    def _end_inline_binary(self, text: str) -> None:
        self._attributes[-1].others["InlineBinary"] = "".join(text.split())

    def _end_attribute(self, text: str) -> None:
        attribute = self._attributes.pop()
        made: dict[str, Any] = {"vr": attribute.vr, **attribute.others}
        if attribute.values:
            made["Value"] = _in_order(attribute)
        data_set = self._data_sets[-1]
        tag = attribute.tag
        if attribute.creator and int(tag[:4], 16) & 1 and tag[4:6] == "00":
            data_set.private.append((tag, attribute.creator, made))
            return
        if tag in data_set.attributes:
            raise BadRequest(f"({tag[:4]},{tag[4:]}) occurs twice")
        data_set.attributes[tag] = made

    _BEGINNINGS: Final[dict[str, Callable[["_Reading", dict[str, str]], None]]] = {
        "NativeDicomModel": _begin_data_set,
        "DicomAttribute": _begin_attribute,
        "Value": _begin_value,
        "PersonName": _begin_value,
        "Item": _begin_item,
        "BulkData": _begin_bulk_data,
        **dict.fromkeys(GROUPS, _begin_group),
    }
    _ENDS: Final[dict[str, Callable[["_Reading", str], None]]] = {
        "NativeDicomModel": _end_document,
        "DicomAttribute": _end_attribute,
        "Value": _end_value,
        "PersonName": _end_person_name,
        "Item": _end_item,
        "InlineBinary": _end_inline_binary,
    }


_LONGEST_NUMBER: Final = 9

_CHILDREN: Final = {
    "": ("NativeDicomModel",),
    "NativeDicomModel": ("DicomAttribute",),
    "Item": ("DicomAttribute",),
    "DicomAttribute": ("Value", "PersonName", "Item", "BulkData", "InlineBinary"),
    "PersonName": GROUPS,
    **dict.fromkeys(GROUPS, COMPONENTS),
}


def _in_order(attribute: _Attribute) -> list[Any]:
    """Return the values by their numbers; those between that are not there have no value."""
    last = max(attribute.values)
    if last > 2 * len(attribute.values) + _MISSING_VALUES:
        raise BadRequest(f"({attribute.tag[:4]},{attribute.tag[4:]}) has no values before number {last}")
    values = [attribute.values.get(number) for number in range(1, last + 1)]
    if attribute.vr in BINARY_VRS or attribute.vr == "SQ" or attribute.vr == "PN":
        return values
    return ["" if value is None and attribute.vr != "AT" else value for value in values]


_MISSING_VALUES: Final = 64
"""Values that may be missing, beside as many as there are: numbers cost a byte, and what they leave out costs eight."""


def _settled(data_set: _DataSet) -> dict[str, Any]:
    """Return the attributes of a data set, the private ones in the blocks of their creators (PS3.5 §7.8.1)."""
    attributes = data_set.attributes
    blocks: dict[tuple[str, str], int] = {}
    for tag, attribute in attributes.items():
        if int(tag[:4], 16) & 1 and tag[4:6] == "00" and int(tag[6:], 16) in _PRIVATE_BLOCKS:
            for creator in attribute.get("Value", ()):
                blocks.setdefault((tag[:4], str(creator).strip()), int(tag[6:], 16))
    for tag, creator, attribute in data_set.private:
        group = tag[:4]
        block = blocks.get((group, creator.strip()))
        if block is None:
            block = next((one for one in _PRIVATE_BLOCKS if f"{group}00{one:02X}" not in attributes), None)
            if block is None:
                raise BadRequest(f"group {group} has no block left for the private creator {creator[:64]!r}")
            blocks[group, creator.strip()] = block
            attributes[f"{group}00{block:02X}"] = {"vr": "LO", "Value": [creator]}
        placed = f"{group}{block:02X}{tag[6:]}"
        if placed in attributes:
            raise BadRequest(f"({group},{placed[4:]}) occurs twice")
        attributes[placed] = attribute
    return attributes
