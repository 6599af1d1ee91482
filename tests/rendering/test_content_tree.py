from typing import Any

import pytest
from pydicom.dataset import Dataset

from harmonygw.dicom.dataset.json_encoding import to_json
from harmonygw.errors import NotAcceptable, TooLarge
from harmonygw.rendering import content_tree as module
from harmonygw.rendering.content_tree import MAX_CONTENT_ITEMS, ContentItem, content_tree, items, meaning, text
from tests.rendering.images import EXPLICIT, data_set, encoded


def code(meaning: str = "", value: str = "1", scheme: str = "99X", **more: str) -> Dataset:
    return data_set(CodeValue=value, CodingSchemeDesignator=scheme, CodeMeaning=meaning, **more)


def item(value_type: str, name: str = "Name", **attributes: Any) -> Dataset:
    return data_set(
        RelationshipType="CONTAINS", ValueType=value_type, ConceptNameCodeSequence=[code(name)], **attributes
    )


def model(content: Dataset) -> dict[str, Any]:
    return to_json(encoded(content), EXPLICIT)


def value(value_type: str, **attributes: Any) -> str:
    tree = content_tree(model(item(value_type, **attributes)))
    assert (tree.value_type, tree.name) == (value_type, "Name")
    return tree.value


def measured(number: str, unit: Dataset | None) -> list[Dataset]:
    units = {} if unit is None else {"MeasurementUnitsCodeSequence": [unit]}
    return [data_set(NumericValue=number, **units)]


def test_every_value_type_is_text() -> None:
    assert value("TEXT", TextValue="No finding.\r\nNone.") == "No finding.\r\nNone."
    assert value("CODE", ConceptCodeSequence=[code("Normal")]) == "Normal"
    assert value("DATETIME", DateTime="20200102030405.5+0100") == "2020-01-02 03:04:05.5 +0100"
    assert value("DATE", Date="20200102") == "2020-01-02"
    assert value("TIME", Time="030405") == "03:04:05"
    assert value("PNAME", PersonName="Doe^Jane") == "Doe Jane"
    assert value("UIDREF", UID="1.2.3") == "1.2.3"
    assert value("TCOORD", TemporalRangeType="POINT") == "POINT"
    assert value("SCOORD", GraphicType="CIRCLE", GraphicData=[1.0, 2.0, 3.0, 4.0]) == "CIRCLE, points: 2"
    assert value("SCOORD3D", GraphicType="POINT", GraphicData=[1.0, 2.0, 3.0]) == "POINT, points: 1"
    assert value("CONTAINER") == ""
    assert value("TABLE") == ""


def test_numbers_have_units() -> None:
    assert value("NUM", MeasuredValueSequence=measured("1.5", code("centimeter", "cm", "UCUM"))) == "1.5 cm"
    assert value("NUM", MeasuredValueSequence=measured("3", code("no units", "1", "UCUM"))) == "3"
    assert value("NUM", MeasuredValueSequence=measured("3", code("thousand", "10*3", "UCUM"))) == "3 10*3"
    assert value("NUM", MeasuredValueSequence=measured("3", code("apples"))) == "3 apples"
    assert value("NUM", MeasuredValueSequence=measured("3", None)) == "3"
    assert value("NUM", NumericValueQualifierCodeSequence=[code("Not a number")]) == "Not a number"
    assert value("NUM") == ""


def test_references_have_the_name_of_the_sop_class_and_the_uid() -> None:
    reference = data_set(
        ReferencedSOPClassUID="1.2.840.10008.5.1.4.1.1.2",
        ReferencedSOPInstanceUID="1.2.3",
        ReferencedFrameNumber=["2", "5"],
    )
    assert value("IMAGE", ReferencedSOPSequence=[reference]) == "CT Image Storage 1.2.3, frame 2, 5"
    other = data_set(ReferencedSOPClassUID="1.2.99", ReferencedSOPInstanceUID="1.2.4")
    assert value("COMPOSITE", ReferencedSOPSequence=[other, other]) == "1.2.99 1.2.4; 1.2.99 1.2.4"
    assert value("WAVEFORM") == ""


def test_the_tree_is_nested() -> None:
    leaf = item("TEXT", "Inner", TextValue="a")
    root = item("CONTAINER", "Root", ContentSequence=[item("CONTAINER", "Outer", ContentSequence=[leaf, leaf])])
    inner = ContentItem("TEXT", "Inner", "a")
    assert content_tree(model(root)) == ContentItem(
        "CONTAINER", "Root", "", (ContentItem("CONTAINER", "Outer", "", (inner, inner)),)
    )


def test_an_item_may_refer_to_another() -> None:
    reference = data_set(RelationshipType="INFERRED FROM", ReferencedContentItemIdentifier=[1, 2, 3])
    root = content_tree(model(item("CONTAINER", ContentSequence=[reference])))
    assert root.children == (ContentItem("", "inferred from", "see item 1.2.3"),)


def test_a_code_without_meaning_is_the_code() -> None:
    names = [
        data_set(CodeValue="T-1", CodingSchemeDesignator="SRT"),
        data_set(LongCodeValue="L" * 20, CodingSchemeDesignator="SRT"),
        data_set(URNCodeValue="urn:x"),
    ]
    shown = [meaning(model(data_set(ConceptNameCodeSequence=[name])), "ConceptNameCodeSequence") for name in names]
    assert shown == ["T-1 SRT", "L" * 20 + " SRT", "urn:x"]
    assert meaning({}, "ConceptNameCodeSequence") == ""


def test_text_is_for_a_person_to_read() -> None:
    content = data_set(
        SpecificCharacterSet="ISO_IR 192",
        PatientName="Yamada^Tarou=山田^太郎",
        StudyDate="20200102",
        StudyTime="0304",
        PatientID="",
        ReferencedFrameNumber=["1", "2"],
    )
    attributes = model(content)
    assert text(attributes, "PatientName") == "Yamada Tarou = 山田 太郎"
    assert text(attributes, "StudyDate") == "2020-01-02"
    assert text(attributes, "StudyTime") == "03:04"
    assert text(attributes, "PatientID") == ""
    assert text(attributes, "AccessionNumber") == ""
    assert text(attributes, "ReferencedFrameNumber") == "1, 2"


@pytest.mark.parametrize(
    ("vr", "tag", "keyword", "stored", "shown"),
    [
        ("DA", "00080020", "StudyDate", "2020.01.02", "2020.01.02"),
        ("TM", "00080030", "StudyTime", "03", "03"),
        ("DT", "0040A120", "DateTime", "20200102", "2020-01-02"),
        ("DT", "0040A120", "DateTime", "2020", "2020"),
        ("DT", "0040A120", "DateTime", "202001020304", "2020-01-02 03:04"),
    ],
)
def test_what_is_no_date_or_time_is_shown_as_it_is(vr: str, tag: str, keyword: str, stored: str, shown: str) -> None:
    assert text({tag: {"vr": vr, "Value": [stored, None]}}, keyword) == shown


def test_what_is_no_sequence_has_no_items() -> None:
    assert items({"0040A730": {"vr": "UN", "InlineBinary": "AA=="}}, "ContentSequence") == []
    assert items({"0040A730": {"vr": "SQ"}}, "ContentSequence") == []


def test_an_object_without_content_is_no_report() -> None:
    with pytest.raises(NotAcceptable, match="no structured report"):
        content_tree(model(data_set(Modality="CT")))


def test_a_report_has_max_content_items_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    assert MAX_CONTENT_ITEMS == 20_000
    monkeypatch.setattr(module, "MAX_CONTENT_ITEMS", 3)
    leaf = item("TEXT", TextValue="a")
    assert len(content_tree(model(item("CONTAINER", ContentSequence=[leaf, leaf]))).children) == 2
    with pytest.raises(TooLarge, match=r"MAX_CONTENT_ITEMS \(3\)"):
        content_tree(model(item("CONTAINER", ContentSequence=[leaf, leaf, leaf])))
