"""The Store Instances Response Module (PS3.18 Annex I): what became of each instance, item by item.

Items are made as they are known and kept by whoever answers; a response of a million of them is written from where they
lie, and never exists as a whole.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from enum import Enum
from typing import Any, Final

import orjson

from harmonygw.dicom.dataset import xml_encoding
from harmonygw.dicom.dataset.dictionary import keyword_of

SEPARATOR: Final = b",\n"
"""What stands between two items: a line break is in none of them."""

_RETRIEVE_URL: Final = "00081190"


class Section(Enum):
    """The sequences of the module, in the order of their tags."""

    FAILED = "00081198"
    """Failed SOP Sequence."""
    STORED = "00081199"
    """Referenced SOP Sequence."""
    OTHER = "0008119A"
    """Other Failures Sequence: of what is no instance, or one without UIDs."""


def stored_item(sop_class_uid: str, sop_instance_uid: str, retrieve_url: str, warning: int | None = None) -> bytes:
    """Return an item of the Referenced SOP Sequence; `warning` is its Warning Reason."""
    item = {**_reference(sop_class_uid, sop_instance_uid), _RETRIEVE_URL: {"vr": "UR", "Value": [retrieve_url]}}
    if warning is not None:
        item["00081196"] = {"vr": "US", "Value": [warning]}
    return orjson.dumps(item)


def failed_item(sop_class_uid: str, sop_instance_uid: str, failure_reason: int) -> bytes:
    """Return an item of the Failed SOP Sequence."""
    return orjson.dumps(
        {**_reference(sop_class_uid, sop_instance_uid), "00081197": {"vr": "US", "Value": [failure_reason]}}
    )


def other_item(failure_reason: int) -> bytes:
    """Return an item of the Other Failures Sequence."""
    return b'{"00081197":{"vr":"US","Value":[%d]}}' % failure_reason


def _reference(sop_class_uid: str, sop_instance_uid: str) -> dict[str, Any]:
    return {
        "00081150": {"vr": "UI", "Value": [sop_class_uid]},
        "00081155": {"vr": "UI", "Value": [sop_instance_uid]},
    }


Sections = Mapping[Section, Callable[[], AsyncIterator[Sequence[bytes | memoryview]]]]
"""Where the items of each section that has any lie: `SEPARATOR` between two, in any pieces."""


async def as_json(retrieve_url: str, sections: Sections) -> AsyncGenerator[Sequence[bytes | memoryview], None]:
    """Yield the module in the DICOM JSON model (PS3.18 §F.2). An empty URL is no value: it has type 2."""
    url = {"vr": "UR", "Value": [retrieve_url]} if retrieve_url else {"vr": "UR"}
    yield (b'{"%b":%b' % (_RETRIEVE_URL.encode(), orjson.dumps(url)),)
    for section in Section:
        if section in sections:
            yield (b',"%b":{"vr":"SQ","Value":[' % section.value.encode(),)
            async for pieces in sections[section]():
                yield pieces
            yield (b"]}",)
    yield (b"}",)


async def as_xml(retrieve_url: str, sections: Sections) -> AsyncGenerator[Sequence[bytes | memoryview], None]:
    """Yield the module as a document of the Native DICOM Model (PS3.19 §A.1)."""
    url = {"vr": "UR", "Value": [retrieve_url]} if retrieve_url else {"vr": "UR"}
    yield (xml_encoding.START.encode(), xml_encoding.attributes_of({_RETRIEVE_URL: url}).encode())
    for section in Section:
        if section in sections:
            keyword = keyword_of(int(section.value, 16))
            yield (f'<DicomAttribute tag="{section.value}" vr="SQ" keyword="{keyword}">'.encode(),)
            number = 0
            async for items in _items(sections[section]()):
                written = []
                for item in items:
                    number += 1
                    attributes = xml_encoding.attributes_of(orjson.loads(item))
                    written.append(f'<Item number="{number}">{attributes}</Item>'.encode())
                yield written
            yield (b"</DicomAttribute>",)
    yield (xml_encoding.END.encode(),)


async def _items(pieces: AsyncIterator[Sequence[bytes | memoryview]]) -> AsyncGenerator[list[bytes], None]:
    """Yield the items that are whole by then."""
    rest = b""
    async for some in pieces:
        *whole, rest = b"".join((rest, *some)).split(SEPARATOR)
        if whole:
            yield whole
    yield [rest]
