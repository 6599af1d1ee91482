"""The Native DICOM Model out of DICOM JSON, read by an XML parser that knows nothing of how it was written."""

import time
from base64 import b64encode
from typing import Any
from xml.etree import ElementTree

import pytest

from harmonygw.dicom.dataset.dictionary import keyword_of
from harmonygw.dicom.dataset.json_encoding import to_json
from harmonygw.dicom.dataset.xml_encoding import _LONGEST_CREATOR, NAMESPACE, _known_start, to_xml
from tests.dicom.dataset.json_bytes import FILES, corpus_files, shipped, split

SPACE = "{http://www.w3.org/XML/1998/namespace}space"
COMPONENTS = ("FamilyName", "GivenName", "MiddleName", "NamePrefix", "NameSuffix")


def named(element: ElementTree.Element, name: str) -> list[ElementTree.Element]:
    return element.findall(f"{{{NAMESPACE}}}{name}")


def local(element: ElementTree.Element) -> str:
    return element.tag.removeprefix(f"{{{NAMESPACE}}}")


def read_value(vr: str, element: ElementTree.Element) -> Any:
    if local(element) == "Item":
        return read(element)
    if local(element) == "Value":
        assert len(element) == 0
        return element.text
    assert (local(element), vr) == ("PersonName", "PN")
    groups = {}
    for group in element:
        parts = {local(part): part.text or "" for part in group}
        assert set(parts) <= set(COMPONENTS)
        groups[local(group)] = "^".join(parts.get(name, "") for name in COMPONENTS).rstrip("^")
    return groups or None


def read(parent: ElementTree.Element) -> dict[str, Any]:
    """Return what a data set's attributes hold, by tag, and by creator and tag where they are private."""
    found: dict[str, Any] = {}
    for attribute in parent:
        assert local(attribute) == "DicomAttribute"
        assert set(attribute.keys()) <= {"tag", "vr", "keyword", "privateCreator"}
        tag, vr = str(attribute.get("tag")), str(attribute.get("vr"))
        creator = attribute.get("privateCreator")
        assert attribute.get("keyword") == (keyword_of(int(tag, 16)) or None)
        name = f"{creator} {tag}" if creator is not None else tag
        assert name not in found
        (binary, bulk) = (named(attribute, "InlineBinary"), named(attribute, "BulkData"))
        if binary:
            (one,) = attribute
            found[name] = (vr, "InlineBinary", one.text)
        elif bulk:
            (one,) = attribute
            found[name] = (vr, "BulkDataURI", one.get("uri"))
        else:
            assert [one.get("number") for one in attribute] == [str(n) for n in range(1, len(attribute) + 1)]
            found[name] = (vr, "Value", [read_value(vr, one) for one in attribute])
    return found


def expected_value(vr: str, value: Any) -> Any:
    if vr == "SQ":
        return expected(value)
    if vr == "PN":
        return {group: name.rstrip("^") for group, name in (value or {}).items()} or None
    return None if value is None else str(value)


def expected(metadata: dict[str, Any]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for tag, element in metadata.items():
        name, vr = tag, element["vr"]
        if int(tag[:4], 16) % 2 and int(tag[4:], 16) >= 0x1000:
            creator = metadata.get(f"{tag[:4]}00{tag[4:6]}", {}).get("Value")
            if creator:
                name = f"{creator[0]} {tag[:4]}00{tag[6:]}"
        for kind in ("InlineBinary", "BulkDataURI"):
            if kind in element:
                result[name] = (vr, kind, element[kind])
        if name not in result:
            result[name] = (vr, "Value", [expected_value(vr, value) for value in element.get("Value", [])])
    return result


def parsed(metadata: dict[str, Any]) -> dict[str, Any]:
    root = ElementTree.fromstring(to_xml(metadata))
    assert local(root) == "NativeDicomModel"
    return read(root)


def attribute(metadata: dict[str, Any]) -> str:
    """Return what is written within the root."""
    text = to_xml(metadata).decode()
    return text[text.index("preserve") + len('preserve">') : -len("</NativeDicomModel>")]


def test_a_document_is_utf_8_and_keeps_its_blanks() -> None:
    assert to_xml({}) == (
        b'<?xml version="1.0" encoding="UTF-8"?>\n'
        b'<NativeDicomModel xmlns="http://dicom.nema.org/PS3.19/models/NativeDICOM" xml:space="preserve">'
        b"</NativeDicomModel>"
    )
    text = to_xml({"00080080": {"vr": "LO", "Value": ["Krankenhaus  Süd"]}})
    assert "Krankenhaus  Süd".encode() in text
    assert ElementTree.fromstring(text).get(SPACE) == "preserve"


@pytest.mark.parametrize(
    ("metadata", "written"),
    [
        (
            {"00080008": {"vr": "CS", "Value": ["MPG", None, "XR3"]}},
            '<DicomAttribute tag="00080008" vr="CS" keyword="ImageType"><Value number="1">MPG</Value>'
            '<Value number="2"></Value><Value number="3">XR3</Value></DicomAttribute>',
        ),
        (
            {"00100020": {"vr": "LO"}},
            '<DicomAttribute tag="00100020" vr="LO" keyword="PatientID"/>',
        ),
        (
            {"00081140": {"vr": "SQ", "Value": []}},
            '<DicomAttribute tag="00081140" vr="SQ" keyword="ReferencedImageSequence"/>',
        ),
        (
            {"00280010": {"vr": "US", "Value": [512]}},
            '<DicomAttribute tag="00280010" vr="US" keyword="Rows"><Value number="1">512</Value></DicomAttribute>',
        ),
        (
            {"00280030": {"vr": "DS", "Value": [0.5, "0.40000000000000001"]}},
            '<DicomAttribute tag="00280030" vr="DS" keyword="PixelSpacing"><Value number="1">0.5</Value>'
            '<Value number="2">0.40000000000000001</Value></DicomAttribute>',
        ),
        (
            {"00280009": {"vr": "AT", "Value": ["00181063"]}},
            '<DicomAttribute tag="00280009" vr="AT" keyword="FrameIncrementPointer"><Value number="1">00181063</Value>'
            "</DicomAttribute>",
        ),
        (
            {"00100010": {"vr": "PN", "Value": [{"Alphabetic": "Yamada^Tarou", "Ideographic": "山田^太郎"}]}},
            '<DicomAttribute tag="00100010" vr="PN" keyword="PatientName"><PersonName number="1"><Alphabetic>'
            "<FamilyName>Yamada</FamilyName><GivenName>Tarou</GivenName></Alphabetic><Ideographic>"
            "<FamilyName>山田</FamilyName><GivenName>太郎</GivenName></Ideographic></PersonName></DicomAttribute>",
        ),
        (
            {"00081048": {"vr": "PN", "Value": [None, {"Phonetic": "^A^^Dr.^MD^x^y"}, {"Alphabetic": "^^"}]}},
            '<DicomAttribute tag="00081048" vr="PN" keyword="PhysiciansOfRecord"><PersonName number="1"></PersonName>'
            '<PersonName number="2"><Phonetic><GivenName>A</GivenName><NamePrefix>Dr.</NamePrefix>'
            "<NameSuffix>MD^x^y</NameSuffix></Phonetic></PersonName>"
            '<PersonName number="3"><Alphabetic></Alphabetic></PersonName></DicomAttribute>',
        ),
        (
            {"00081140": {"vr": "SQ", "Value": [{}, {"00081155": {"vr": "UI", "Value": ["1.2"]}}]}},
            '<DicomAttribute tag="00081140" vr="SQ" keyword="ReferencedImageSequence"><Item number="1"></Item>'
            '<Item number="2"><DicomAttribute tag="00081155" vr="UI" keyword="ReferencedSOPInstanceUID">'
            '<Value number="1">1.2</Value></DicomAttribute></Item></DicomAttribute>',
        ),
        (
            {"7FE00010": {"vr": "OW", "BulkDataURI": "https://h/a?b=1&c=%22"}},
            '<DicomAttribute tag="7FE00010" vr="OW" keyword="PixelData"><BulkData uri="https://h/a?b=1&amp;c=%22"/>'
            "</DicomAttribute>",
        ),
        (
            {"00420011": {"vr": "OB", "InlineBinary": "JVBERi0="}},
            '<DicomAttribute tag="00420011" vr="OB" keyword="EncapsulatedDocument"><InlineBinary>JVBERi0='
            "</InlineBinary></DicomAttribute>",
        ),
        ({"60003000": {"vr": "OW"}}, '<DicomAttribute tag="60003000" vr="OW" keyword="OverlayData"/>'),
        ({"00081199": {"vr": "SQ"}}, '<DicomAttribute tag="00081199" vr="SQ" keyword="ReferencedSOPSequence"/>'),
        ({"00010002": {"vr": "UN"}}, '<DicomAttribute tag="00010002" vr="UN"/>'),
    ],
)
def test_each_kind_of_value_has_its_element(metadata: dict[str, Any], written: str) -> None:
    assert attribute(metadata) == written
    assert parsed(metadata) == expected(metadata)


def test_private_attributes_name_their_creator_and_not_its_block() -> None:
    item = {"00091012": {"vr": "LO", "Value": ["whose?"]}}
    metadata = {
        "00090010": {"vr": "LO", "Value": ['A & "B"']},
        "00090011": {"vr": "LO", "Value": ["OTHER"]},
        "00090012": {"vr": "LO"},
        "00090013": {"vr": "LO", "Value": [None]},
        "00091001": {"vr": "SH", "Value": ["x"]},
        "000911FF": {"vr": "SQ", "Value": [item]},
        "00091201": {"vr": "SH", "Value": ["no creator"]},
        "00091301": {"vr": "SH", "Value": ["an empty one"]},
        "00091401": {"vr": "SH", "Value": ["none at all"]},
    }
    assert '<DicomAttribute tag="00090001" vr="SH" privateCreator="A &amp; &quot;B&quot;">' in attribute(metadata)
    found = parsed(metadata)
    assert list(found) == [
        *("00090010", "00090011", "00090012", "00090013", 'A & "B" 00090001', "OTHER 000900FF"),
        *("00091201", "00091301", "00091401"),
    ]
    # The blocks of an item are its own (PS3.5 §7.8.1).
    assert found["OTHER 000900FF"] == ("SQ", "Value", [{"00091012": ("LO", "Value", ["whose?"])}])


@pytest.mark.parametrize(("length", "kept"), [(_LONGEST_CREATOR, 1), (_LONGEST_CREATOR + 1, 0)])
def test_a_hostile_private_creator_does_not_stay_in_memory(length: int, kept: int) -> None:
    metadata = {"00110010": {"vr": "LO", "Value": ["x" * length]}, "00111001": {"vr": "LO", "Value": ["y"]}}
    _known_start.cache_clear()
    assert parsed(metadata) == expected(metadata)
    assert _known_start.cache_info().currsize == 1 + kept


def test_text_is_escaped_and_comes_back_as_it_was() -> None:
    value = "<b>&amp; ]]> \"'\t\n\r\nü 山 \U0001f600</b>"
    metadata = {
        "00104000": {"vr": "LT", "Value": [value]},
        "00100010": {"vr": "PN", "Value": [{"Alphabetic": "<A>&B^\rC"}]},
        "00090010": {"vr": "LO", "Value": ["a\tb\nc\rd"]},
        "00091001": {"vr": "UT", "BulkDataURI": 'http://h/"><x>'},
        "00081190": {"vr": '"><x', "Value": ["v"]},
    }
    found = parsed(metadata)
    assert found["00104000"] == ("LT", "Value", [value])
    assert found["00100010"] == ("PN", "Value", [{"Alphabetic": "<A>&B^\rC"}])
    assert found["a\tb\nc\rd 00090001"] == ("UT", "BulkDataURI", 'http://h/"><x>')
    assert found["00081190"] == ('"><x', "Value", ["v"])


def test_characters_that_xml_cannot_have_are_replaced() -> None:
    forbidden = [chr(code) for code in (*range(9), 11, 12, *range(14, 32), 0xD800, 0xDFFF, 0xFFFE, 0xFFFF)]
    metadata = {
        "00080080": {"vr": "LO", "Value": forbidden},
        "00090010": {"vr": "LO", "Value": ["\x00A\x1b"]},
        "00091001": {"vr": "LO", "Value": ["\x7f\x85"]},
    }
    found = parsed(metadata)
    assert found["00080080"] == ("LO", "Value", ["\ufffd"] * len(forbidden))
    assert found["\ufffdA\ufffd 00090001"] == ("LO", "Value", ["\x7f\x85"])


def test_items_can_be_nested_beyond_any_recursion_limit() -> None:
    depth = 20_000
    metadata: dict[str, Any] = {}
    for _ in range(depth):
        metadata = {"0040A730": {"vr": "SQ", "Value": [metadata]}}
    text = to_xml(metadata)
    assert text.count(b'<Item number="1">') == text.count(b"</Item></DicomAttribute>") == depth
    while metadata:  # or its end would be recursive
        metadata = metadata.pop("0040A730")["Value"].pop()


@pytest.mark.parametrize("name", FILES)
def test_files_say_the_same_in_xml_as_in_json(name: str) -> None:
    _, data, uid = split(shipped(name))
    metadata = to_json(data, uid, bulk_data=lambda path, vr, length: f"https://h/{'/'.join(map(str, path))}")
    assert parsed(metadata) == expected(metadata)


@pytest.mark.filterwarnings("ignore:Expected explicit VR")
def test_the_corpus_says_the_same_in_xml_as_in_json() -> None:
    for path in corpus_files():
        _, data, uid = split(path)
        metadata = to_json(data, uid, bulk_data=lambda *_: "https://h/bulk")
        assert parsed(metadata) == expected(metadata)


def test_much_binary_data_takes_no_more_than_linear_time() -> None:
    value = b64encode(bytes(4 << 20)).decode()
    began = time.process_time()
    text = to_xml({"7FE00010": {"vr": "OW", "InlineBinary": value}, "00104000": {"vr": "LT", "Value": ["<" * 500_000]}})
    assert time.process_time() - began < 2
    assert len(text) > len(value) + 4 * 500_000
