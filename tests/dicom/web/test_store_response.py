from collections.abc import AsyncIterator, Sequence

import orjson
import pytest
from pydicom.dataset import Dataset

from harmonygw.dicom.dataset.xml_decoding import from_xml
from harmonygw.dicom.web.store_response import (
    SEPARATOR,
    Section,
    Sections,
    as_json,
    as_xml,
    failed_item,
    other_item,
    stored_item,
)

CT = "1.2.840.10008.5.1.4.1.1.2"
URL = "https://pacs.example/studies/1"


def sections(cut: int, **items: list[bytes]) -> Sections:
    """Sections whose items come in pieces of `cut` bytes."""

    def source(data: bytes) -> AsyncIterator[Sequence[bytes]]:
        async def pieces() -> AsyncIterator[Sequence[bytes]]:
            for at in range(0, len(data), cut):
                yield (data[at : at + cut],)

        return pieces()

    made = {Section[name]: SEPARATOR.join(some) for name, some in items.items()}
    return {section: lambda data=data: source(data) for section, data in made.items()}  # type: ignore[misc]


def written(module: AsyncIterator[Sequence[bytes | memoryview]]) -> bytes:
    found: list[bytes] = []

    async def read() -> None:
        async for pieces in module:
            found.extend(map(bytes, pieces))

    with pytest.raises(StopIteration):
        read().send(None)
    return b"".join(found)


ITEMS = {
    "STORED": [stored_item(CT, "1.1", f"{URL}/1"), stored_item(CT, "1.2", f"{URL}/2", 0xB000)],
    "FAILED": [failed_item(CT, "1.3", 0xA700)],
    "OTHER": [other_item(0xC000), other_item(0x0110)],
}
DOCUMENT = {
    "00081190": {"vr": "UR", "Value": [URL]},
    "00081198": {
        "vr": "SQ",
        "Value": [
            {
                "00081150": {"vr": "UI", "Value": [CT]},
                "00081155": {"vr": "UI", "Value": ["1.3"]},
                "00081197": {"vr": "US", "Value": [0xA700]},
            }
        ],
    },
    "00081199": {
        "vr": "SQ",
        "Value": [
            {
                "00081150": {"vr": "UI", "Value": [CT]},
                "00081155": {"vr": "UI", "Value": ["1.1"]},
                "00081190": {"vr": "UR", "Value": [f"{URL}/1"]},
            },
            {
                "00081150": {"vr": "UI", "Value": [CT]},
                "00081155": {"vr": "UI", "Value": ["1.2"]},
                "00081190": {"vr": "UR", "Value": [f"{URL}/2"]},
                "00081196": {"vr": "US", "Value": [0xB000]},
            },
        ],
    },
    "0008119A": {
        "vr": "SQ",
        "Value": [{"00081197": {"vr": "US", "Value": [0xC000]}}, {"00081197": {"vr": "US", "Value": [0x0110]}}],
    },
}


@pytest.mark.parametrize("cut", [1, 7, 100, 10_000])
def test_in_json_it_is_the_module_of_annex_i(cut: int) -> None:
    document = orjson.loads(written(as_json(URL, sections(cut, **ITEMS))))
    assert document == DOCUMENT
    assert list(document) == sorted(document)
    response = Dataset.from_json(document)
    assert [item.WarningReason for item in response.ReferencedSOPSequence if "WarningReason" in item] == [0xB000]
    assert response.FailedSOPSequence[0].FailureReason == 0xA700
    assert [item.FailureReason for item in response.OtherFailuresSequence] == [0xC000, 0x0110]


@pytest.mark.parametrize("cut", [1, 7, 100, 10_000])
def test_in_xml_it_says_the_same(cut: int) -> None:
    document = from_xml(written(as_xml(URL, sections(cut, **ITEMS))))
    numbers = {
        tag: {"vr": "SQ", "Value": [_with_texts(item) for item in element["Value"]]}
        if element["vr"] == "SQ"
        else element
        for tag, element in DOCUMENT.items()
    }
    assert document == numbers


def _with_texts(item: dict) -> dict:
    return {tag: {**element, "Value": [str(value) for value in element["Value"]]} for tag, element in item.items()}


def test_what_there_is_none_of_is_left_out_but_for_the_url() -> None:
    assert orjson.loads(written(as_json("", {}))) == {"00081190": {"vr": "UR"}}
    assert from_xml(written(as_xml("", {}))) == {"00081190": {"vr": "UR"}}


def test_what_a_uid_is_made_of_cannot_end_an_item() -> None:
    item = failed_item(CT, 'a",\n"b', 1)
    assert SEPARATOR not in item
    assert orjson.loads(item)["00081155"]["Value"] == ['a",\n"b']
