"""Storage commitment: what is asked, and what a report says."""

from harmonygw.dicom.dataset.json_decoding import from_json
from harmonygw.dicom.dataset.json_encoding import to_json
from harmonygw.dicom.dataset.references import Reference, item
from harmonygw.dicom.dimse.commitment import Report, action_information, read_report

ONE, TWO = Reference("1.2.840.10008.5.1.4.1.1.2", "1.1"), Reference("1.2.840.10008.5.1.4.1.1.4", "1.2")
EXPLICIT = "1.2.840.10008.1.2.1"


def sequence(*items: object) -> dict[str, object]:
    return {"vr": "SQ", "Value": list(items)}


def test_a_request_names_the_transaction_and_each_instance() -> None:
    information = action_information("2.25.7", (ONE, TWO))
    assert information == {
        "00081195": {"vr": "UI", "Value": ["2.25.7"]},
        "00081199": sequence(item(ONE), item(TWO)),
    }
    assert to_json(from_json(information, EXPLICIT, character_set=()), EXPLICIT) == information


def test_a_report_says_what_is_committed_and_why_the_rest_is_not() -> None:
    information = {
        "00081195": {"vr": "UI", "Value": ["2.25.7"]},
        "00081199": sequence(item(ONE)),
        "00081198": sequence(item(TWO, 0x0112)),
    }
    assert read_report(information) == Report("2.25.7", frozenset({"1.1"}), {"1.2": 0x0112})


def test_what_a_report_calls_both_failed_and_committed_has_failed() -> None:
    information = {"00081199": sequence(item(ONE), {}), "00081198": sequence(item(ONE), {})}
    assert read_report(information) == Report("", frozenset(), {"1.1": 0x0110})
