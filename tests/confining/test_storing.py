"""Store: what does not comply is refused by itself, and what goes on is whole."""

from typing import Any

import pytest

from harmonygw.confining import storing
from harmonygw.confining.constraints import Constraints
from harmonygw.confining.scanning import Watched
from harmonygw.dicom.dataset import header_scan
from harmonygw.errors import PeerError, TransportError
from harmonygw.exchange import Reply, Request
from harmonygw.operations import Store, StoreResult
from harmonygw.streams import Instance
from tests.confining.archive import Keeper, Sent, confined, elements, encoded, hospital, object_of, result_of

REFUSED = 0x0124


def new(uid: str, study: str = "9", **others: Any) -> Instance:
    given = {"PatientID": "B", "Modality": "US", **others}
    present = {name: value for name, value in given.items() if value is not None}
    return object_of(elements(StudyInstanceUID=study, SeriesInstanceUID=f"{study}.1", SOPInstanceUID=uid, **present))


def stored(somebody: confined, *instances: Instance) -> list[tuple[str, int]]:
    reply = somebody.reply(Store(Sent(*instances)))

    async def read() -> list[tuple[str, int]]:
        return [(one.sop_instance_uid, one.status) async for one in reply.result]

    return result_of(read())  # type: ignore[no-any-return]


def test_each_instance_is_looked_at_and_each_has_its_result() -> None:
    archive = hospital()
    instances = [new("1", PatientID="A"), new("2"), new("3", PatientID=None), new("4"), new("5", PatientID="b")]
    found = stored(confined(archive, PatientID="B"), *instances)
    assert found == [("1", REFUSED), ("2", 0), ("3", REFUSED), ("4", 0), ("5", REFUSED)]
    assert [one.sop_instance_uid for one in archive.stored] == ["2", "4"]


def test_who_may_store_nothing_of_it_asks_for_nothing() -> None:
    archive = hospital()
    assert stored(confined(archive, PatientID="B"), new("1", PatientID="A"), new("2", PatientID="C")) == [
        ("1", REFUSED),
        ("2", REFUSED),
    ]
    assert archive.served == []
    assert stored(confined(archive, PatientID="B")) == []


@pytest.mark.parametrize(("study", "status"), [("1", REFUSED), ("2", 0), ("8", 0), (None, REFUSED)])
def test_nothing_is_stored_into_a_study_that_is_somebody_elses(study: str | None, status: int) -> None:
    archive = hospital()
    somebody = confined(archive, PatientID="B")
    one = object_of(elements(PatientID="B", SOPInstanceUID="7", **({"StudyInstanceUID": study} if study else {})))
    assert stored(somebody, one) == [("7", status)]


def test_an_issuer_has_to_stand_in_what_is_stored() -> None:
    somebody = confined(hospital(), IssuerOfPatientID="west")
    assert stored(somebody, new("1"), new("2", IssuerOfPatientID="west")) == [("1", REFUSED), ("2", 0)]


def test_a_malformed_object_is_refused() -> None:
    broken = Instance("1.2", "1", "1.2.840.10008.1.2.1", Sent((b"\x08\0\x16\0UI",)))
    assert stored(confined(hospital(), PatientID="B"), broken, new("2")) == [("1", REFUSED), ("2", 0)]


def broken_off(somebody: confined, one: Instance) -> PeerError:
    with pytest.raises(PeerError) as caught:
        stored(somebody, one)
    return caught.value


@pytest.mark.parametrize("second", ["PatientID", "StudyInstanceUID", "InstitutionName"])
def test_what_stands_in_an_object_twice_does_not_go_on(second: str) -> None:
    """An archive may go by the second, which would make it another patient's, or of somebody else's study."""
    archive = hospital()
    somebody = confined(archive, PatientID="B", InstitutionName="Main")
    beginning = elements(
        PatientID="B", InstitutionName="Main", StudyInstanceUID="9", SeriesInstanceUID="9.1", SOPInstanceUID="1"
    )
    one = object_of(beginning)
    behind = encoded(elements(SeriesNumber="1"))
    one.data_set = Sent((encoded(beginning), behind), (encoded(elements(**{second: "1"})),))
    assert "occurs twice" in broken_off(somebody, one).detail
    assert len(archive.stored) == 1, "it had begun, and its end did not come"


def test_of_a_constrained_attribute_the_first_does_not_count_alone() -> None:
    somebody = confined(hospital(), AccessionNumber="1")
    first = elements(AccessionNumber="1", SOPInstanceUID="1")
    rest = elements(StudyInstanceUID="9", SeriesInstanceUID="9.1")
    one = object_of({**first, **rest})
    one.data_set = Sent((encoded(first) + encoded(elements(AccessionNumber="2")) + encoded(rest),))
    assert stored(somebody, one) == [("1", REFUSED)]


def test_what_cannot_be_looked_at_whole_does_not_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(header_scan, "WHOLE_LIMIT", 200)
    somebody = confined(hospital(), PatientID="B")
    assert stored(somebody, new("1")) == [("1", 0)]
    assert "too long" in broken_off(somebody, new("2", PatientComments="x" * 200)).detail


def test_what_is_given_up_on_its_way_is_given_up() -> None:
    one = new("1")
    watched = Watched(one, Constraints(()))
    given_up = one.data_set
    result_of(watched.aclose())
    with pytest.raises(Exception, match="gave the stream up"):
        result_of(given_up.__anext__())


def test_a_study_is_asked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    archive = hospital()
    stored(confined(archive, PatientID="B"), new("1", "8"), new("2", "8"))
    assert archive.log == ["STUDY StudyInstanceUID=8"] * 2
    monkeypatch.setattr(storing, "MAX_STUDIES", 1)
    archive.asked.clear()
    stored(confined(archive, PatientID="B"), new("1", "8"), new("2", "9"), new("3", "8"))
    assert len(archive.asked) == 6
    assert len([one for one in archive.served if isinstance(one, Store)]) == 4
    archive.asked.clear()
    stored(confined(archive, Modality="US"), new("1", "8"))
    assert archive.asked == [], "who is not confined to studies asks for none"


def test_an_archive_that_fails_fails_the_store() -> None:
    archive = hospital()
    first, second = new("1", Modality="US"), new("2", Modality="US")
    archive.error = TransportError("gone")
    coming = Sent(first, second)
    with pytest.raises(TransportError):
        confined(archive, Modality="US").reply(Store(coming))
    assert coming.closed


def test_an_archive_that_says_too_little_or_too_much_hides_no_refusal() -> None:
    async def respond(request: Request) -> Reply:
        async def results() -> Any:
            async for instance in request.operation.instances:  # type: ignore[union-attr]
                await instance.data_set.aclose()
            yield StoreResult("1.2", "2", 0)

        return Reply(result=results())

    class Terse(Keeper):
        async def _respond(self, request: Request) -> Reply:
            return await respond(request)

    somebody = confined(Terse(), Modality="US")
    found = stored(somebody, new("1", Modality="CT"), new("2"), new("3"), new("4", Modality="CT"))
    assert found == [("1", REFUSED), ("2", 0), ("4", REFUSED)]

    class Chatty(Keeper):
        async def _respond(self, request: Request) -> Reply:
            reply = await respond(request)

            async def twice() -> Any:
                async for one in reply.result:
                    yield one
                    yield one

            return Reply(result=twice())

    assert stored(confined(Chatty(), Modality="US"), new("2")) == [("2", 0), ("2", 0)]


def test_several_studies_are_stored_one_after_another() -> None:
    """No query waits for a place at an archive while the Store that it is for holds one."""
    archive = hospital()
    instances = [
        new("1", "1"),
        new("2", "8"),
        new("3", "8", PatientID="A"),
        new("4", "8"),
        new("5", "1"),
        new("6", "2"),
        new("7", "8"),
        new("8", "3"),
        new("9", "2", PatientID=None),
    ]
    found = stored(confined(archive, PatientID="B"), *instances)
    assert found == [(str(number), 0 if number in (2, 4, 6, 7) else REFUSED) for number in range(1, 10)]
    assert [one.sop_instance_uid for one in archive.stored] == ["2", "4", "6", "7"]
    assert len([one for one in archive.served if isinstance(one, Store)]) == 2


def test_a_later_study_that_the_archive_does_not_take_fails_the_rest() -> None:
    archive = hospital()
    coming = Sent(new("1", "8"), new("2", "9"))
    reply = confined(archive, PatientID="B").reply(Store(coming))

    async def read() -> list[str]:
        uids = []
        async for one in reply.result:
            uids.append(one.sop_instance_uid)
            archive.error = TransportError("gone")
        return uids

    with pytest.raises(TransportError):
        result_of(read())
    assert coming.closed
