import pytest

from harmonygw.backends.dicom_scu.rows import asked, number, text, texts, uids
from tests.backends.dicom_scu.archive import row


def test_return_keys_have_their_vr_and_no_value() -> None:
    assert asked("00080062", "00201208") == {"00080062": {"vr": "UI"}, "00201208": {"vr": "IS"}}


def test_a_list_of_uids_is_one_key() -> None:
    assert uids("00080018", "1.2", "1.3") == {"00080018": {"vr": "UI", "Value": ["1.2", "1.3"]}}


def test_values_that_are_no_text_are_passed_over() -> None:
    one = row(_00080061=["CT", None, "", 7, "SR"])
    assert texts(one, "00080061") == ("CT", "SR")
    assert (text(one, "00080061"), text(one, "00080060")) == ("CT", "")


@pytest.mark.parametrize(("value", "expected"), [(5, 5), ("5", 5), ("five", None), (None, None), ([], None)])
def test_a_number_is_the_first_value_if_that_is_one(value: object, expected: int | None) -> None:
    assert number(row(_00201208=value), "00201208") == expected
    assert number({}, "00201208") is None
