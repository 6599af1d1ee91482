"""The payloads of PS3.18 Annex J."""

from typing import Any

import pytest

from harmonygw.dicom.dataset.references import Reference, item
from harmonygw.dicom.web import commitment
from harmonygw.dicom.web.commitment import read_request, write_response
from harmonygw.errors import BadRequest, TooLarge

CT, MR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"
ONE, TWO = Reference(CT, "1.1"), Reference(MR, "1.2")


def ui(value: str) -> dict[str, Any]:
    return {"vr": "UI", "Value": [value]}


def sequence(*items: Any) -> dict[str, Any]:
    return {"vr": "SQ", "Value": list(items)}


def listed(*references: Reference) -> dict[str, Any]:
    return {"00081199": sequence(*map(item, references))}


def by_study(*instances: dict[str, Any], sop_class: str = CT) -> dict[str, Any]:
    of_class = {"00081150": ui(sop_class), "0008114A": sequence(*instances)}
    series = {"0020000E": ui("1.2.3"), "00081112": sequence(of_class)}
    return {"0020000D": ui("1.2"), "00081115": sequence(series)}


def test_instances_are_named_in_a_list_or_by_study_and_series() -> None:
    assert read_request(listed(ONE, TWO, ONE)) == (ONE, TWO)
    studies = {"00081110": sequence(by_study({"00081155": ui("1.1")}, {"00081155": ui("1.9")}))}
    assert read_request(studies) == (Reference(CT, "1.1", "1.2", "1.2.3"), Reference(CT, "1.9", "1.2", "1.2.3"))


@pytest.mark.parametrize(
    ("payload", "said"),
    [
        ({}, "refers to no instance"),
        (listed(Reference(CT, "")), r"\(0008,1155\) is empty"),
        (listed(Reference("", "1.1")), r"\(0008,1150\) is empty"),
        (listed(Reference(CT, "1/2")), r"\(0008,1155\) has one of the characters"),
        (listed(ONE, Reference(MR, "1.1")), "1.1 is given two SOP classes"),
    ],
)
def test_a_request_that_names_no_instance_in_full_is_refused(payload: dict[str, Any], said: str) -> None:
    with pytest.raises(BadRequest, match=said):
        read_request(payload)


def test_a_request_has_a_greatest_number_of_instances(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commitment, "MAX_REFERENCES", 2)
    assert len(read_request(listed(ONE, TWO))) == 2
    with pytest.raises(TooLarge, match="more than 2 instances"):
        read_request(listed(ONE, TWO, Reference(CT, "1.3")))


def test_an_answer_has_the_form_of_the_request() -> None:
    assert write_response((ONE, TWO), {}) == listed(ONE, TWO)
    assert write_response((ONE, TWO), {"1.2": 0x0112}) == {
        "00081198": sequence(item(TWO, 0x0112)),
        "00081199": sequence(item(ONE)),
    }
    study = (Reference(CT, "1.1", "1.2", "1.2.3"), Reference(CT, "1.9", "1.2", "1.2.3"))
    assert write_response(study, {"1.9": 0x0213}) == {
        "00081110": sequence(by_study({"00081155": ui("1.1")})),
        "0008119B": sequence(by_study({"00081155": ui("1.9"), "00081197": {"vr": "US", "Value": [0x0213]}})),
    }
