import pytest
from pytest_twisted import ensureDeferred

from harmonygw.backends.dicom_scu.expectation import expect
from harmonygw.backends.dicom_scu.patient import Patient
from harmonygw.errors import Conflict, NotFound
from harmonygw.operations import Level, Retrieve
from tests.backends.dicom_scu.archive import Archive, instance, series, study

CT, SC = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.7"
STUDY = Retrieve(Level.STUDY, "1.2")
SERIES = Retrieve(Level.SERIES, "1.2", "1.2.3")
IMAGES = Retrieve(Level.IMAGE, "1.2", "1.2.3", ("1.2.3.4", "1.2.3.5"))
STUDY_KEYS = {"0020000D": {"vr": "UI", "Value": ["1.2"]}}


@ensureDeferred
async def test_a_study_tells_patient_classes_modalities_and_count_in_one_query() -> None:
    archive = Archive([study(_00100021="HOSPITAL", _00080061=["CT", "SR"], _00080062=[CT, SC], _00201208=12)], [])
    found = await expect(archive.search, STUDY)
    assert found.patient == Patient("P1", "HOSPITAL")
    assert (found.classes, found.modalities, found.count) == ((CT, SC), ("CT", "SR"), 12)
    [find] = archive.asked
    assert find.keys == STUDY_KEYS == found.study_keys
    assert set(find.return_keys) == {"00100020", "00100021", "00080061", "00080062", "00201208"}
    assert find.return_keys["00080062"] == {"vr": "UI"}


@ensureDeferred
async def test_modalities_that_the_study_does_not_tell_are_those_of_its_series() -> None:
    archive = Archive([study()], [series(), series("1.2.4", "SR"), series("1.2.5"), series("1.2.6", "")])
    found = await expect(archive.search, STUDY)
    assert (found.modalities, found.classes, found.count) == (("CT", "SR"), (), None)


@ensureDeferred
async def test_a_series_has_a_count_and_a_modality_of_its_own() -> None:
    archive = Archive([study(_00080062=[CT, SC], _00201208=12)], [series(_00201209="5"), series("9.9")])
    found = await expect(archive.search, SERIES)
    assert (found.modalities, found.classes, found.count) == (("CT",), (), 5)
    assert archive.asked[1].keys == {**STUDY_KEYS, "0020000E": {"vr": "UI", "Value": ["1.2.3"]}}


@pytest.mark.parametrize("count", ["", "many"])
@ensureDeferred
async def test_a_count_that_is_no_number_is_not_known(count: str) -> None:
    archive = Archive([study()], [series(_00201209=count)])
    assert (await expect(archive.search, SERIES)).count is None


@ensureDeferred
async def test_instances_tell_class_and_transfer_syntaxes_and_only_those_that_exist_are_expected() -> None:
    rows = [instance("1.2.3.4", _00083002="1.2.4.5"), instance("1.2.3.4", _00083002=["1.2.4.6"])]
    archive = Archive([study()], [series()], rows)
    found = await expect(archive.search, IMAGES)
    assert (found.classes, found.transfer_syntaxes, found.count) == ((CT,), ("1.2.4.5", "1.2.4.6"), 1)
    assert archive.asked[2].keys["00080018"] == {"vr": "UI", "Value": ["1.2.3.4", "1.2.3.5"]}


@pytest.mark.parametrize(
    ("archive", "retrieve", "sentence"),
    [
        (Archive([], []), STUDY, "there is no such study"),
        (Archive([study("9.9")], []), STUDY, "there is no such study"),
        (Archive([study()], []), STUDY, "there is no such series in the study"),
        (Archive([study()], [series("9.9")]), SERIES, "there is no such series in the study"),
        (Archive([study()], [series()], [instance("9.9")]), IMAGES, "there is no such instance in the series"),
    ],
)
@ensureDeferred
async def test_what_the_archive_does_not_list_is_not_found(archive: Archive, retrieve: Retrieve, sentence: str) -> None:
    with pytest.raises(NotFound, match=sentence):
        await expect(archive.search, retrieve)


@pytest.mark.parametrize("second", [study(patient="P2"), study(_00100021="B"), study(patient="")])
@ensureDeferred
async def test_several_patients_under_one_study_uid_are_a_conflict(second: dict[str, object]) -> None:
    with pytest.raises(Conflict, match="several patients"):
        await expect(Archive([study(_00100021="A"), second], []).search, STUDY)


@ensureDeferred
async def test_a_row_that_is_given_twice_is_one_study() -> None:
    found = await expect(Archive([study(_00080061="CT"), study(_00080061="CT")], []).search, STUDY)
    assert found.patient == Patient("P1")


@ensureDeferred
async def test_in_patient_root_the_patient_id_goes_with_every_key_below() -> None:
    archive = Archive([study()], [series()], [instance("1.2.3.4")])
    found = await expect(archive.search, IMAGES, patient_root=True)
    patient = {"vr": "LO", "Value": ["P1"]}
    assert found.study_keys == {**STUDY_KEYS, "00100020": patient}
    assert "00100020" not in archive.asked[0].keys
    assert [find.keys["00100020"] for find in archive.asked[1:]] == [patient, patient]


@ensureDeferred
async def test_in_patient_root_a_patient_id_that_is_given_is_asked_for() -> None:
    archive = Archive([study(_00080061="CT")], [])
    await expect(archive.search, Retrieve(Level.STUDY, "1.2", patient_id="P1"), patient_root=True)
    assert archive.asked[0].keys["00100020"] == {"vr": "LO", "Value": ["P1"]}
