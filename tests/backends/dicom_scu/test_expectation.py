import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock

from harmonygw.backends.dicom_scu.expectation import BATCH, EXPECTATION_SECS, Expectation, Expectations, Search
from harmonygw.dicom.dataset.patient import Patient
from harmonygw.errors import Conflict, NotFound, RejectedError
from harmonygw.operations import Find, Level, Retrieve
from harmonygw.streams import Match
from tests.alerted import alerts
from tests.backends.dicom_scu.archive import Archive, instance, series, study

CT, SC = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.7"
STUDY = Retrieve(Level.STUDY, "1.2")
SERIES = Retrieve(Level.SERIES, "1.2", "1.2.3")
IMAGES = Retrieve(Level.IMAGE, "1.2", "1.2.3", ("1.2.3.4", "1.2.3.5"))
STUDY_KEYS = {"0020000D": {"vr": "UI", "Value": ["1.2"]}}


async def expect(search: Search, retrieve: Retrieve, *, patient_root: bool = False) -> Expectation:
    """What a backend expects that has been asked nothing before."""
    return await Expectations(Clock()).expect(search, retrieve, patient_root=patient_root)


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
    assert (found.instances, found.is_listed) == (("1.2.3.4",), True)
    assert [find.level for find in archive.asked] == [Level.STUDY, Level.IMAGE]
    assert archive.asked[1].keys["00080018"] == {"vr": "UI", "Value": ["1.2.3.4", "1.2.3.5"]}


@pytest.mark.parametrize(
    ("archive", "retrieve", "sentence"),
    [
        (Archive([], []), STUDY, "there is no such study"),
        (Archive([study("9.9")], []), STUDY, "there is no such study"),
        (Archive([study()], []), STUDY, "there is no such series in the study"),
        (Archive([study()], [series("9.9")]), SERIES, "there is no such series in the study"),
        (Archive([study()], [series()], [instance("9.9")]), IMAGES, "there is no such instance in the series"),
        (Archive([study()], [series()]), Retrieve(Level.IMAGE, "1.2", "1.2.3"), "no instance is named"),
        (Archive([], [], []), IMAGES, "there is no such study"),
    ],
)
@ensureDeferred
async def test_what_the_archive_does_not_list_is_not_found(archive: Archive, retrieve: Retrieve, sentence: str) -> None:
    with pytest.raises(NotFound, match=sentence):
        await expect(archive.search, retrieve)


@pytest.mark.parametrize("second", [study(patient="P2"), study(_00100021="B"), study(patient="")])
@ensureDeferred
async def test_several_patients_under_one_study_uid_are_a_conflict(second: dict[str, object]) -> None:
    with alerts() as raised, pytest.raises(Conflict, match="several patients"):
        await expect(Archive([study(_00100021="A"), second], []).search, STUDY)
    assert [one.kind for one in raised] == ["patients_differ"]


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
    assert [find.keys["00100020"] for find in archive.asked[1:]] == [patient]


@ensureDeferred
async def test_in_patient_root_a_patient_id_that_is_given_is_asked_for() -> None:
    archive = Archive([study(_00080061="CT")], [])
    await expect(archive.search, Retrieve(Level.STUDY, "1.2", patient_id="P1"), patient_root=True)
    assert archive.asked[0].keys["00100020"] == {"vr": "LO", "Value": ["P1"]}


# What is asked, and how often

FIRST = Retrieve(Level.IMAGE, "1.2", "1.2.3", ("1.2.3.4",))
SECOND = Retrieve(Level.IMAGE, "1.2", "1.2.3", ("1.2.3.5", "1.2.3.4"))
J2K_LOSSLESS, JPEG, J2K = "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.91"


def levels(archive: Archive) -> list[str]:
    return [find.level.value for find in archive.asked]


@ensureDeferred
async def test_only_a_whole_study_is_asked_for_what_costs_an_archive_time() -> None:
    archive = Archive([study()], [series(_00201209="5")])
    await expect(archive.search, SERIES)
    assert set(archive.asked[0].return_keys) == {"00100020", "00100021"}


@ensureDeferred
async def test_a_burst_of_retrievals_in_one_series_asks_once() -> None:
    archive = Archive([study()], [series()], [instance("1.2.3.4", _00083002=J2K_LOSSLESS), instance("1.2.3.5")])
    clock = Clock()
    expectations = Expectations(clock)
    first = await expectations.expect(archive.search, FIRST)
    clock.advance(EXPECTATION_SECS - 0.1)
    second = await expectations.expect(archive.search, SECOND)
    assert levels(archive) == ["STUDY", "IMAGE"]
    assert (first.instances, first.is_listed, first.count) == (("1.2.3.4",), True, 1)
    assert second == Expectation(
        Patient("P1"),
        STUDY_KEYS,
        (CT,),
        count=2,
        transfer_syntaxes=(J2K_LOSSLESS,),
        instances=("1.2.3.5", "1.2.3.4"),
        is_listed=False,
    )
    clock.advance(0.1)
    await expectations.expect(archive.search, SECOND)
    assert levels(archive) == ["STUDY", "IMAGE"] * 2


@ensureDeferred
async def test_a_series_or_a_study_that_is_retrieved_again_at_once_is_not_asked_for_again() -> None:
    archive = Archive([study(_00080061="CT")], [series(_00201209="5")])
    expectations = Expectations(Clock())
    for retrieve in (SERIES, SERIES, STUDY, STUDY):
        await expectations.expect(archive.search, retrieve)
    assert levels(archive) == ["STUDY", "SERIES", "STUDY"]


@ensureDeferred
async def test_what_is_forgotten_is_asked_for_again() -> None:
    archive = Archive([study()], [series()], [instance("1.2.3.4")])
    expectations = Expectations(Clock())
    for forgotten in ("1.3", "1.2"):
        await expectations.expect(archive.search, FIRST)
        expectations.forget(forgotten)
    await expectations.expect(archive.search, FIRST)
    assert levels(archive) == ["STUDY", "IMAGE"] * 2


@ensureDeferred
async def test_an_instance_that_is_not_there_says_nothing_of_its_series() -> None:
    archive = Archive([study()], [series()], [instance("1.2.3.4")])
    expectations = Expectations(Clock())
    with pytest.raises(NotFound, match="no such instance"):
        await expectations.expect(archive.search, Retrieve(Level.IMAGE, "1.2", "1.2.3", ("1.2.3.9",)))
    assert (await expectations.expect(archive.search, FIRST)).is_listed
    assert levels(archive) == ["STUDY", "IMAGE", "IMAGE"]


@ensureDeferred
async def test_of_an_archive_that_tells_no_class_the_series_is_asked_instead() -> None:
    archive = Archive([study()], [series()], [instance("1.2.3.4", ""), instance("1.2.3.5", "")])
    clock = Clock()
    expectations = Expectations(clock)
    first = await expectations.expect(archive.search, FIRST)
    assert levels(archive) == ["STUDY", "IMAGE", "SERIES"]
    clock.advance(EXPECTATION_SECS)
    second = await expectations.expect(archive.search, FIRST)
    assert levels(archive)[3:] == ["STUDY", "SERIES"]
    assert [(one.classes, one.modalities, one.is_listed) for one in (first, second)] == [
        ((), ("CT",), True),
        ((), ("CT",), False),
    ]


@pytest.mark.parametrize(
    ("told", "held"),
    [
        ([JPEG, JPEG], (JPEG,)),
        ([JPEG, ""], ()),
        ([JPEG, J2K], ()),
        ([JPEG, J2K_LOSSLESS], (J2K_LOSSLESS,)),
        ([[JPEG, J2K_LOSSLESS]], (J2K_LOSSLESS,)),
    ],
)
@ensureDeferred
async def test_a_lossy_syntax_counts_only_when_all_are_held_in_it(told: list[str], held: tuple[str, ...]) -> None:
    wanted = tuple(f"1.2.3.{number}" for number, _ in enumerate(told))
    rows = [instance(uid, _00083002=syntax) for uid, syntax in zip(wanted, told, strict=True)]
    archive = Archive([study()], [series()], rows)
    found = await expect(archive.search, Retrieve(Level.IMAGE, "1.2", "1.2.3", wanted))
    assert found.transfer_syntaxes == held


@ensureDeferred
async def test_where_lossy_instances_are_each_retrieval_asks_how_its_own_are_held() -> None:
    archive = Archive([study()], [series()], [instance("1.2.3.4", _00083002=JPEG), instance("1.2.3.5")])
    expectations = Expectations(Clock())
    await expectations.expect(archive.search, FIRST)
    second = await expectations.expect(archive.search, SECOND)
    assert (second.transfer_syntaxes, second.is_listed, second.instances) == ((), True, SECOND.sop_instance_uids)
    assert levels(archive) == ["STUDY", "IMAGE", "IMAGE"]


@ensureDeferred
async def test_a_long_list_is_asked_for_in_batches() -> None:
    wanted = tuple(f"1.2.3.{number}" for number in range(BATCH + 1))
    archive = Archive([study()], [series()], [instance(uid) for uid in wanted])
    found = await expect(archive.search, Retrieve(Level.IMAGE, "1.2", "1.2.3", wanted))
    assert [len(find.keys["00080018"]["Value"]) for find in archive.asked[1:]] == [BATCH, 1]
    assert found.instances == wanted


# At the same time


class Slow:
    """An archive whose answers are awaited until a test gives them."""

    def __init__(self) -> None:
        self.asked: dict[Level, Deferred[list[Match]]] = {}
        self.cancelled: list[Level] = []

    async def search(self, find: Find) -> list[Match]:
        self.asked[find.level] = Deferred(lambda _: self.cancelled.append(find.level))
        return await self.asked[find.level]


@pytest.mark.parametrize(("concurrently", "at_first"), [(True, [Level.STUDY, Level.IMAGE]), (False, [Level.STUDY])])
@ensureDeferred
async def test_study_and_instances_are_asked_at_the_same_time(concurrently: bool, at_first: list[Level]) -> None:
    slow = Slow()
    expectations = Expectations(Clock(), concurrently=concurrently)
    expected = Deferred.fromCoroutine(expectations.expect(slow.search, FIRST))
    assert list(slow.asked) == at_first
    slow.asked[Level.STUDY].callback([study()])
    slow.asked[Level.IMAGE].callback([instance("1.2.3.4")])
    assert (await expected).patient == Patient("P1")


@ensureDeferred
async def test_who_gives_up_cancels_both() -> None:
    slow = Slow()
    expected = Deferred.fromCoroutine(Expectations(Clock()).expect(slow.search, FIRST))
    expected.cancel()
    with pytest.raises(CancelledError):
        await expected
    assert set(slow.cancelled) == {Level.STUDY, Level.IMAGE}


@ensureDeferred
async def test_what_is_wrong_with_the_study_is_told_first() -> None:
    slow = Slow()
    expected = Deferred.fromCoroutine(Expectations(Clock()).expect(slow.search, FIRST))
    slow.asked[Level.IMAGE].errback(RejectedError("no"))
    slow.asked[Level.STUDY].callback([])
    with pytest.raises(NotFound, match="study"):
        await expected
