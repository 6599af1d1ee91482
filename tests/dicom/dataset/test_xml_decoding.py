import re
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harmonygw.dicom.dataset.json_encoding import to_json
from harmonygw.dicom.dataset.json_streaming import Segment, written
from harmonygw.dicom.dataset.limits import MAX_NESTING_DEPTH
from harmonygw.dicom.dataset.xml_decoding import from_xml
from harmonygw.dicom.dataset.xml_encoding import END, START, to_xml
from harmonygw.errors import BadRequest
from tests.dicom.dataset.encoded import DEFLATED, files


def document(content: str) -> bytes:
    return (START + content + END).encode()


def attributes(content: str) -> dict[str, Any]:
    return from_xml(document(content))


def as_xml_has_it(model: dict[str, Any]) -> dict[str, Any]:
    """The same without the delimiters of a person's last components, when those are empty; and numbers as text, which
    is not rounded to the sixteen characters of a DS."""
    for element in model.values():
        values = element.get("Value", [])
        if element["vr"] == "SQ":
            element["Value"] = [as_xml_has_it(item) for item in values]
        elif element["vr"] == "PN" and values:
            stripped = [{group: text.rstrip("^") for group, text in (one or {}).items()} for one in values]
            element["Value"] = [one if any(one.values()) else None for one in stripped]
        elif element["vr"] == "DS" and values:
            element["Value"] = [one if one is None else str(one) for one in values]
    return model


FULL = {
    "00080005": {"vr": "CS", "Value": ["ISO_IR 192"]},
    "00080008": {"vr": "CS", "Value": ["ORIGINAL", "PRIMARY"]},
    "00081115": {
        "vr": "SQ",
        "Value": [
            {"0020000E": {"vr": "UI", "Value": ["1.2"]}, "00081199": {"vr": "SQ", "Value": [{}, {}]}},
            {"00090010": {"vr": "LO", "Value": ["ME"]}, "00091001": {"vr": "UN", "InlineBinary": "AAE="}},
        ],
    },
    "00090010": {"vr": "LO", "Value": ["MINE"]},
    "00090011": {"vr": "LO", "Value": ["YOURS"]},
    "00091102": {"vr": "LO", "Value": [" a & <b> "]},
    "00100010": {"vr": "PN", "Value": [{"Alphabetic": "A^B^^Dr", "Ideographic": "x^y", "Phonetic": "z"}, None]},
    "00100030": {"vr": "DA"},
    "00280010": {"vr": "US", "Value": ["512"]},
    "00204000": {"vr": "LT", "Value": ["line\r\nline\ttab"]},
    "00209165": {"vr": "AT", "Value": ["00209057"]},
    "7FE00010": {"vr": "OW", "BulkDataURI": "http://a/b?c=1&d=2"},
}


def test_what_was_written_is_read_again() -> None:
    assert from_xml(to_xml(FULL)) == FULL


@pytest.mark.parametrize(
    ("name", "syntax", "data"),
    [one for one in files() if one[1] != DEFLATED],
    ids=lambda value: value if type(value) is str else "",
)
def test_every_object_means_the_same_in_xml(name: str, syntax: str, data: bytes) -> None:
    model = to_json(data, syntax, bulk_data=lambda *_: "http://a", bulk_threshold=100)

    def find(uri: str) -> list[Segment]:
        return [Segment(0, 8)] if uri == "http://a" else []

    expected = written(as_xml_has_it(model), find, encapsulated=True)
    assert written(from_xml(to_xml(model)), find, encapsulated=True) == expected


@given(st.text())
def test_text_is_read_as_it_was_written(text: str) -> None:
    written = to_xml({"00081030": {"vr": "LO", "Value": [text]}})
    (value,) = from_xml(written)["00081030"]["Value"]
    shown = re.sub("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]", "\ufffd", text)
    assert value == shown


@given(st.text(alphabet='<>/="& aDNVTItagrvnumbe10\n', max_size=200))
def test_whatever_comes_is_read_or_refused(content: str) -> None:
    with suppress(BadRequest):
        attributes(content)


def test_values_are_in_the_order_of_their_numbers() -> None:
    values = '<Value number="3">c</Value><Value number="1">a</Value>'
    assert attributes(f'<DicomAttribute tag="00080008" vr="CS">{values}</DicomAttribute>') == {
        "00080008": {"vr": "CS", "Value": ["a", "", "c"]}
    }
    items = '<Item number="2"><DicomAttribute tag="00080100" vr="SH"/></Item><Item number="1"/>'
    assert attributes(f'<DicomAttribute tag="00081140" vr="SQ">{items}</DicomAttribute>') == {
        "00081140": {"vr": "SQ", "Value": [{}, {"00080100": {"vr": "SH"}}]}
    }
    plain = "<Value>a</Value><Value>b</Value>"
    assert attributes(f'<DicomAttribute tag="00080008" vr="CS">{plain}</DicomAttribute>')["00080008"]["Value"] == [
        *("a", "b")
    ]


def test_a_private_attribute_comes_into_the_block_of_its_creator() -> None:
    private = (
        '<DicomAttribute tag="00090001" vr="LO" privateCreator="MINE"><Value number="1">x</Value></DicomAttribute>'
    )
    other = private.replace("MINE", "OTHER")
    creator = '<DicomAttribute tag="00090020" vr="LO"><Value number="1">MINE</Value></DicomAttribute>'
    assert attributes(private + creator + other) == {
        "00090020": {"vr": "LO", "Value": ["MINE"]},
        "00092001": {"vr": "LO", "Value": ["x"]},
        "00090010": {"vr": "LO", "Value": ["OTHER"]},
        "00091001": {"vr": "LO", "Value": ["x"]},
    }
    with pytest.raises(BadRequest, match=r"\(0009,1001\) occurs twice"):
        attributes(private + private)


def test_a_private_attribute_with_its_whole_tag_stays_where_it_is() -> None:
    whole = '<DicomAttribute tag="00091001" vr="LO" privateCreator="MINE"/>'
    assert attributes(whole) == {"00091001": {"vr": "LO"}}


def test_private_blocks_come_to_an_end() -> None:
    private = "".join(f'<DicomAttribute tag="00090001" vr="LO" privateCreator="C{n}"/>' for n in range(0xF0))
    assert len(attributes(private)) == 2 * 0xF0
    with pytest.raises(BadRequest, match="group 0009 has no block left"):
        attributes(private + '<DicomAttribute tag="00090001" vr="LO" privateCreator="more"/>')


def test_other_elements_and_namespaces_are_passed_over() -> None:
    content = (
        '<Comment>x<DicomAttribute tag="00080008" vr="CS"/></Comment>'
        '<other:DicomAttribute xmlns:other="urn:x" tag="00080008" vr="CS"/>'
        '<DicomAttribute tag="00080008" vr="CS">text<Note/><Value number="1">a</Value></DicomAttribute>'
    )
    assert attributes(content) == {"00080008": {"vr": "CS", "Value": ["a"]}}
    assert from_xml(b'<NativeDicomModel><DicomAttribute tag="00080008" vr="CS"/></NativeDicomModel>') == {
        "00080008": {"vr": "CS"}
    }


def test_other_encodings_of_xml_are_read() -> None:
    text = '<?xml version="1.0" encoding="UTF-16"?><NativeDicomModel><DicomAttribute tag="00081030" vr="LO">'
    text += '<Value number="1">é</Value></DicomAttribute></NativeDicomModel>'
    assert from_xml(text.encode("utf-16")) == {"00081030": {"vr": "LO", "Value": ["é"]}}


@pytest.mark.parametrize(
    ("xml", "what"),
    [
        (b"", "no element found"),
        (b"{}", "malformed"),
        (document("").replace(b"UTF-8", b"TF-8"), "encoding that is not read"),
        (document("").replace(b"UTF-8", b"GB18030"), "encoding that is not read"),
        (document("")[:-5], "malformed"),
        (b"<DicomModel/>", "the document's element is NativeDicomModel, not DicomModel"),
        (b"<!DOCTYPE x [<!ENTITY a 'b'>]><NativeDicomModel/>", "document type declaration"),
        (b"<!DOCTYPE x SYSTEM 'file:///etc/passwd'><NativeDicomModel/>", "document type declaration"),
        (document("&a;"), "undefined entity"),
        (document('<DicomAttribute tag="8" vr="CS"/>'), "'8' is not a tag"),
        (document('<DicomAttribute vr="CS"/>'), "'' is not a tag"),
        (document('<DicomAttribute tag="00080008"/>'), r"\(0008,0008\) has no vr"),
        (document('<DicomAttribute tag="00080008" vr="CS"/>' * 2), r"\(0008,0008\) occurs twice"),
        (document('<DicomAttribute tag="00080008" vr="OB"><BulkData/></DicomAttribute>'), "BulkData has no uri"),
    ],
)
def test_what_is_no_document_of_the_model_is_refused_and_where(xml: bytes, what: str) -> None:
    with pytest.raises(BadRequest, match=what) as caught:
        from_xml(xml)
    assert "line 1" in caught.value.detail or "line 2" in caught.value.detail


@pytest.mark.parametrize("number", ["0", "-1", "x", "1.5", "", "9999999999", "²"])
def test_what_is_no_number_of_a_value_is_refused(number: str) -> None:
    with pytest.raises(BadRequest, match="not a number of a value"):
        attributes(f'<DicomAttribute tag="00080008" vr="CS"><Value number="{number}">a</Value></DicomAttribute>')


def test_two_values_of_one_number_are_refused() -> None:
    with pytest.raises(BadRequest, match="two values of number 1"):
        attributes('<DicomAttribute tag="00080008" vr="CS"><Value number="1"/><Value number="1"/></DicomAttribute>')


def test_a_number_cannot_make_a_long_list_of_nothing() -> None:
    def numbered(number: int) -> dict[str, Any]:
        return attributes(f'<DicomAttribute tag="00080008" vr="CS"><Value number="{number}">a</Value></DicomAttribute>')

    assert numbered(66)["00080008"]["Value"] == [*[""] * 65, "a"]
    with pytest.raises(BadRequest, match="no values before number 67"):
        numbered(67)


def test_elements_within_each_other_have_a_limit() -> None:
    def nested(depth: int) -> str:
        begin = '<DicomAttribute tag="00081140" vr="SQ"><Item number="1">' * depth
        return begin + "</Item></DicomAttribute>" * depth

    assert attributes(nested(MAX_NESTING_DEPTH))
    with pytest.raises(BadRequest, match="MAX_NESTING_DEPTH"):
        attributes(nested(MAX_NESTING_DEPTH + 8))
    with pytest.raises(BadRequest, match="within each other"):
        attributes("<a>" * 1000 + "</a>" * 1000)
