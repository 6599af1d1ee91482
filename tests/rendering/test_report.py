import zlib
from html.parser import HTMLParser
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset

from harmonygw.dicom.dataset.limits import MAX_NESTING_DEPTH
from harmonygw.errors import NotAcceptable, PeerError
from harmonygw.rendering.report import HTML, PLAIN, report_job
from tests.rendering.images import EXPLICIT, IMPLICIT, data_set, encoded
from tests.rendering.test_content_tree import code, item

VOID = {"meta"}


class Outline(HTMLParser):
    """Reads a document, and refuses elements that do not nest."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, int]] = []
        self.texts: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, len(self.open)))
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip() and self.open[-1] != "style":
            self.texts.append(data)


def document(content: Dataset, media_type: str = HTML, **parameters: Any) -> str:
    asked = {"transfer_syntax": EXPLICIT, "media_type": media_type, **parameters}
    answer, file = report_job(asked, [encoded(content)])
    assert answer == {"media_type": f"{media_type}; charset=utf-8", "ignored": []}
    return file.decode("utf-8")


def outline(content: Dataset) -> Outline:
    parser = Outline()
    parser.feed(document(content))
    parser.close()
    assert parser.open == []
    return parser


def report(*content: Dataset, **attributes: Any) -> Dataset:
    return data_set(
        ValueType="CONTAINER",
        ConceptNameCodeSequence=[code("Chest X-Ray Report")],
        **attributes,
        **({"ContentSequence": list(content)} if content else {}),
    )


def test_a_report_is_a_whole_document() -> None:
    lines = document(report()).splitlines()
    assert lines[0] == "<!DOCTYPE html>"
    assert '<meta charset="utf-8">' in lines[1]
    assert "default-src 'none'" in lines[2]
    assert "<h1>Chest X-Ray Report</h1>" in lines
    assert lines[-1] == "</body></html>"


def test_what_it_is_about_stands_at_the_top() -> None:
    observer = data_set(VerifyingObserverName="Doe^Jane", VerificationDateTime="20200102")
    texts = outline(
        report(
            PatientName="Roe^Richard",
            PatientID="42",
            StudyDate="20200101",
            CompletionFlag="COMPLETE",
            VerificationFlag="VERIFIED",
            VerifyingObserverSequence=[observer],
        )
    ).texts
    assert texts == [
        "Chest X-Ray Report",
        "Chest X-Ray Report",
        *("Patient's Name", "Roe Richard"),
        *("Patient ID", "42"),
        *("Study Date", "2020-01-01"),
        *("Completion Flag", "COMPLETE"),
        *("Verification Flag", "VERIFIED"),
        *("Verifying Observer", "Doe Jane, 2020-01-02"),
    ]


def test_containers_are_sections_and_items_are_lists() -> None:
    finding = item("TEXT", "Finding", TextValue="Nodule", ContentSequence=[item("DATE", "Seen", Date="20200102")])
    seen = outline(report(item("CONTAINER", "Findings", ContentSequence=[finding]), finding)).seen
    body = [(tag, depth) for tag, depth in seen if depth >= 2 and tag not in ("meta", "title", "style", "b", "span")]
    assert body == [
        *(("h1", 2), ("dl", 2)),
        *(("section", 2), ("h2", 3), ("ul", 3), ("li", 4), ("ul", 5), ("li", 6)),
        *(("ul", 2), ("li", 3), ("ul", 4), ("li", 5)),
    ]


def test_lists_end_where_a_container_comes() -> None:
    leaf, section = item("TEXT", "Leaf", TextValue="a"), item("CONTAINER", "Section")
    seen = [tag for tag, _ in outline(report(leaf, section, leaf)).seen if tag in ("ul", "section", "li")]
    assert seen == ["ul", "li", "section", "ul", "li"]


def test_headings_end_at_the_sixth() -> None:
    nested = item("CONTAINER", "Deepest")
    for _ in range(8):
        nested = item("CONTAINER", "Outer", ContentSequence=[nested])
    headings = [tag for tag, _ in outline(report(nested)).seen if tag[0] == "h" and tag[1:].isdigit()]
    assert headings == ["h1", "h2", "h3", "h4", "h5", "h6", "h6", "h6", "h6", "h6"]


def test_nothing_is_said_of_names_that_there_are_not() -> None:
    unnamed = data_set(ValueType="CONTAINER", ContentSequence=[data_set(ValueType="TEXT", TextValue="plain")])
    parsed = outline(data_set(ValueType="CONTAINER", ContentSequence=[unnamed]))
    assert parsed.texts == ["Structured Report", "Structured Report", "plain"]


def test_a_root_with_a_value_shows_it() -> None:
    assert outline(data_set(ValueType="TEXT", TextValue="All of it")).texts[-1] == "All of it"


def test_hostile_text_stays_text() -> None:
    hostile = "<script>alert('x')</script>\"&<img src=x onerror=y>"
    content = report(
        item("TEXT", hostile, TextValue=hostile),
        item("CONTAINER", hostile),
        PatientName=hostile.replace("=", ""),
        PatientID=hostile,
    )
    content.ConceptNameCodeSequence[0].CodeMeaning = hostile
    parsed = outline(content)
    assert not {"script", "img"} & {tag for tag, _ in parsed.seen}
    assert {name for name, _ in parsed.attributes} == {"lang", "charset", "http-equiv", "content"}
    assert parsed.texts.count(hostile) == 6


def test_control_characters_are_replaced() -> None:
    content = report(item("TEXT", "A", TextValue="a\x1b]0;x\x07b\r\nc\rd\x85"))
    assert "a\ufffd]0;x\ufffdb\nc\nd" in document(content, PLAIN).replace("\n  ", "\n")
    assert "\x1b" not in document(content)


def test_plain_text_is_indented() -> None:
    inner = item("TEXT", "Inner", TextValue="two\nlines")
    content = report(item("CONTAINER", "Outer", ContentSequence=[inner, data_set(ValueType="TEXT")]), PatientID="42")
    assert document(content, PLAIN) == ("Chest X-Ray Report\n\nPatient ID: 42\n\nOuter\n  Inner: two\n  lines\n  \n")
    assert document(data_set(ValueType="CONTAINER"), PLAIN).startswith("Structured Report\n")


def test_text_is_decoded_and_the_document_is_utf_8() -> None:
    content = report(SpecificCharacterSet="ISO_IR 100", PatientName="Müller^Jörg")
    assert "Müller Jörg" in document(content)
    raw = encoded(report(PatientID="x")).replace(b"LO\x02\x00x ", b"LO\x02\x00\xfc ")
    parameters = {"transfer_syntax": EXPLICIT, "media_type": PLAIN, "default_character_set": ["ISO_IR 100"]}
    assert "Patient ID: ü" in report_job(parameters, [raw])[1].decode("utf-8")


@pytest.mark.parametrize("name", ["reportsi.dcm", "test-SR.dcm"])
def test_real_reports_are_shown(name: str) -> None:
    path = get_testdata_file(name, download=False)
    assert isinstance(path, str)
    stored = dcmread(path)
    content = Dataset()
    content.update({element.tag: element for element in stored if element.tag.group != 2})
    parsed = outline(content)
    assert str(stored.ConceptNameCodeSequence[0].CodeMeaning) in parsed.texts


def test_implicit_vr_is_read() -> None:
    parameters = {"transfer_syntax": IMPLICIT, "media_type": PLAIN}
    _, file = report_job(parameters, [encoded(report(PatientID="7"), IMPLICIT)])
    assert b"Patient ID: 7\n" in file


def test_a_report_may_be_as_deep_as_a_data_set() -> None:
    def deep(levels: int) -> Dataset:
        nested = item("CONTAINER", "Deepest")
        for _ in range(levels):
            nested = data_set(ValueType="CONTAINER", ContentSequence=[nested])
        return nested

    # The name of the deepest is a sequence, too.
    assert "Deepest" in document(deep(MAX_NESTING_DEPTH - 1))
    with pytest.raises(PeerError):
        document(deep(MAX_NESTING_DEPTH))


def test_a_malformed_data_set_is_an_error_of_the_peer() -> None:
    with pytest.raises(PeerError):
        report_job({"transfer_syntax": EXPLICIT, "media_type": HTML}, [zlib.compress(b"no data set")])


def test_another_media_type_is_not_acceptable() -> None:
    with pytest.raises(NotAcceptable, match="application/pdf"):
        document(report(), "application/pdf")
