from harmonygw.dicom.audit import codes
from harmonygw.dicom.audit.codes import Code

ALL = {name: code for name, code in vars(codes).items() if isinstance(code, Code)}


def test_no_two_names_are_one_code() -> None:
    assert len({(code.system, code.value) for code in ALL.values()}) == len(ALL)


def test_dicom_s_are_of_its_range_and_rfc_3881_s_are_numbers() -> None:
    for code in ALL.values():
        assert code.system in ("DCM", "RFC-3881", "99HARMONYGW")
        assert code.system == "99HARMONYGW" or code.value.isdigit()
        assert code.system != "DCM" or 110100 <= int(code.value) <= 110190
        assert code.meaning


def test_the_meanings_are_the_standard_s() -> None:
    assert Code("110102", "DCM", "Begin Transferring DICOM Instances") == codes.BEGIN_TRANSFERRING
    assert Code("110153", "DCM", "Source Role ID") == codes.SOURCE_ROLE
    assert Code("2", "RFC-3881", "Patient Number") == codes.PATIENT_NUMBER
