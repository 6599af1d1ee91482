from typing import Any

import pytest

from harmonygw.dicom.dataset.references import REFERENCED_SOP_SEQUENCE, Reference, item, items, text


def test_an_item_names_class_and_instance_and_why_it_failed() -> None:
    named = {"00081150": {"vr": "UI", "Value": ["1.2"]}, "00081155": {"vr": "UI", "Value": ["3.4"]}}
    assert item(Reference("1.2", "3.4")) == named
    assert item(Reference("1.2", "3.4", "5", "6"), 0x0112) == {**named, "00081197": {"vr": "US", "Value": [274]}}


@pytest.mark.parametrize("element", [None, {}, {"vr": "SQ"}, {"Value": "no list"}, "no element"])
def test_what_is_no_sequence_has_no_items_and_no_text(element: Any) -> None:
    assert items({REFERENCED_SOP_SEQUENCE: element}, REFERENCED_SOP_SEQUENCE) == []
    assert text({"00081155": element}, "00081155") == ""


def test_items_and_text_are_what_they_should_be_or_passed_over() -> None:
    assert items({"00081199": {"vr": "SQ", "Value": [{}, "x", {"1": 2}]}}, "00081199") == [{}, {"1": 2}]
    assert text({"00081155": {"vr": "UI", "Value": ["1.2"]}}, "00081155") == "1.2"
    assert text({"00081155": {"vr": "UI", "Value": ["1.2", "1.3"]}}, "00081155") == ""
    assert text({"00081155": {"vr": "UI", "Value": [5]}}, "00081155") == ""
