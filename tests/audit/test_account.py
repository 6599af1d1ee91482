import pytest

from harmonygw.audit import account as account_module
from harmonygw.audit.account import MAX_LEADING, Account, Tally
from harmonygw.dicom.audit.events import MAX_CLASSES, AuditedPatient, AuditedStudy
from harmonygw.dicom.audit.message import SOPClass
from harmonygw.dicom.dataset.leading import leading_of_text
from tests.audit.parts import CT, MR, instance


def settled(account: Account, *, whole: bool = True, **not_taken: int) -> list[Tally]:
    return account.settled(whole=whole, not_taken={("1.2", CT): not_taken["ct"]} if not_taken else {})


def test_what_flows_is_counted_by_patient_study_and_class() -> None:
    account = Account()
    for one in (instance(), instance(), instance(sop_class=MR), instance("1.3"), instance(PatientID="P2")):
        tally = account.of_instance(one)
        tally.ends(tally.begins(one.sop_class_uid), whole=True)
    found = [(one.study_instance_uid, one.patient.patient_id, one.whole) for one in settled(account)]
    assert found == [("1.2", "P1", {CT: 2, MR: 1}), ("1.3", "P1", {CT: 1}), ("1.2", "P2", {CT: 1})]


@pytest.mark.parametrize(("whole", "counts"), [(True, ({CT: 2}, {})), (False, ({CT: 1}, {CT: 1}))])
def test_what_was_under_way_at_the_end_ended_as_the_exchange_did(
    whole: bool, counts: tuple[dict[str, int], dict[str, int]]
) -> None:
    account = Account()
    tally = account.of_instance(instance())
    tally.ends(tally.begins(CT), whole=True)
    tally.begins(CT)
    [found] = settled(account, whole=whole)
    assert (found.whole, found.broken, found.under_way) == (*counts, {})


def test_what_the_receiver_did_not_take_was_not_transferred() -> None:
    account = Account()
    for study in ("1.2", "1.3"):
        tally = account.of_instance(instance(study))
        for _ in range(3):
            tally.ends(tally.begins(CT), whole=True)
    first, second = settled(account, ct=2)
    assert (first.whole, first.broken) == ({CT: 1}, {CT: 2})
    assert (second.whole, second.broken) == ({CT: 3}, {})


def test_more_than_there_was_cannot_have_been_refused() -> None:
    tally = Tally("1.2", whole={"": 1})
    tally.not_taken(CT, 5)
    assert (tally.whole, tally.broken) == ({"": 0}, {"": 1})
    tally.not_taken(CT, 5)
    assert (tally.whole, tally.broken) == ({"": 0}, {"": 1})


def test_sop_classes_beyond_the_limit_are_one() -> None:
    tally = Tally("1.2")
    for number in range(MAX_CLASSES + 2):
        assert tally.begins(f"1.{number}") == (f"1.{number}" if number < MAX_CLASSES else "")
    assert tally.begins("1.0") == "1.0"
    assert tally.under_way[""] == 2


def test_studies_beyond_the_limit_are_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(account_module, "MAX_STUDIES", 2)
    account = Account()
    for study in ("1", "2", "3", "4", "1"):
        account.asks_for(study)
        tally = account.of_instance(instance(study))
        tally.ends(tally.begins(CT), whole=True)
    assert list(account.asked) == ["1", "2"]
    found = settled(account)
    assert [(one.study_instance_uid, one.whole) for one in found] == [("1", {CT: 2}), ("2", {CT: 1}), ("", {CT: 2})]
    assert found[2].study(found[2].whole) == AuditedStudy("", (SOPClass(CT, 2),), "", (("Further studies", b"2"),))


def test_the_archive_answers_in_the_order_in_which_it_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(account_module, "MAX_WAITING", 2)
    account = Account()
    for study in ("1", "2", "3"):
        tally = account.of_instance(instance(study))
        account.waits(tally, tally.begins(CT))
    for stored in (True, False, True):
        account.answered(stored=stored)
    found = {one.study_instance_uid: (one.whole, one.broken) for one in settled(account, whole=False)}
    assert found == {"1": ({CT: 1}, {}), "2": ({}, {CT: 1}), "3": ({}, {CT: 1})}


@pytest.mark.parametrize(
    ("leading", "default", "name"),
    [
        ({"PatientName": "Doe^Jane"}, ("ISO_IR 6",), "Doe^Jane"),
        ({"PatientName": "M\xfcller^Ida", "SpecificCharacterSet": "ISO_IR 100"}, ("ISO_IR 6",), "Müller^Ida"),
        ({"PatientName": "M\xc3\xbcller^Ida"}, ("ISO_IR 192",), "Müller^Ida"),
        (leading_of_text({"PatientName": "山田^太郎"}), ("ISO_IR 6",), "山田^太郎"),
        (
            {
                "PatientName": b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B".decode("latin-1"),
                "SpecificCharacterSet": "\\ISO 2022 IR 87",
            },
            ("ISO_IR 6",),
            "Yamada^Tarou=山田^太郎",
        ),
    ],
)
def test_names_are_text(leading: dict[str, str], default: tuple[str, ...], name: str) -> None:
    assert Tally("1.2", leading, default).patient == AuditedPatient("", name, "")


def test_of_what_is_longer_than_it_can_be_the_beginning_is_kept() -> None:
    account = Account()
    long = "x" * (MAX_LEADING + 1)
    tally = account.of_instance(instance(PatientID=long, PatientName=long, StudyDate="20250102"))
    assert account.of_instance(instance(PatientID=long[:-1])) is tally
    assert tally.leading == {"PatientID": long[:-1], "PatientName": long[:-1]}


def test_a_study_has_its_accession_number_and_the_classes_that_count() -> None:
    tally = Tally("1.2", {"AccessionNumber": "A1"})
    assert tally.study({CT: 2, MR: 0}) == AuditedStudy("1.2", (SOPClass(CT, 2),), "A1")
