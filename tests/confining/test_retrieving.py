"""Retrieve and Move: nothing goes out of what does not comply, whatever the archive says of it."""

from collections.abc import Sequence
from typing import Any

import pytest
from twisted.internet.defer import CancelledError

from harmonygw.confining import retrieving
from harmonygw.dicom.dataset import header_scan
from harmonygw.errors import Incomplete, NotFound, TooLarge, TransportError
from harmonygw.exchange import SOURCE
from harmonygw.journal import Alert
from harmonygw.operations import Find, Level, Move, MoveResult, Retrieve
from harmonygw.streams import Instance
from tests.confining.archive import (
    Keeper,
    Lax,
    Sent,
    confined,
    elements,
    encoded,
    hospital,
    image,
    keys,
    mixed,
    object_of,
    result_of,
    sent,
    series,
    study,
    tag,
)
from tests.middleware.exchanges import logged


@pytest.mark.parametrize("level", [Level.STUDY, Level.SERIES, Level.IMAGE])
@pytest.mark.parametrize("uid", ["1", "2", "3", "9"])
def test_a_study_that_is_hidden_is_not_there(level: Level, uid: str) -> None:
    archive = hospital()
    retrieve = Retrieve(level, uid, f"{uid}.1" * (level is not Level.STUDY), (f"{uid}.1.1",) * (level is Level.IMAGE))
    somebody = confined(archive, IssuerOfPatientID="west")
    if uid == "2":
        assert somebody.sent(retrieve) == ["2.1.1"]
        return
    with pytest.raises(NotFound) as caught:
        somebody.reply(retrieve)
    assert caught.value.detail == retrieving.NOTHING
    assert archive.retrieved == []


def test_what_is_not_there_is_said_in_the_same_words() -> None:
    archive = mixed()
    archive.error = NotFound("the archive's own words")
    with pytest.raises(NotFound) as caught:
        confined(archive, Modality="US").reply(Retrieve(Level.STUDY, "9"))
    assert caught.value.detail == retrieving.NOTHING


@pytest.mark.parametrize(
    "said",
    [
        {"PatientID": "A"},
        {"PatientID": None},
        {"PatientID": ""},
        {"PatientID": "B\\A"},
        {"PatientID": "b"},
        {"StudyInstanceUID": "1"},
        {"StudyInstanceUID": None},
    ],
)
def test_an_object_that_is_not_what_its_study_was_shown_for_does_not_go_out(said: dict[str, Any]) -> None:
    archive = hospital()
    archive.objects = {"2.1.1": said}
    with logged("harmonygw.alert") as events, pytest.raises(NotFound) as caught:
        confined(archive, PatientID="B").reply(Retrieve(Level.STUDY, "2"))
    assert caught.value.detail == retrieving.NOTHING
    assert archive.instances.closed
    (alert,) = [event["alert"] for event in events if isinstance(event.get("alert"), Alert)]
    assert (alert.kind, alert.correlation_id) == ("confined_study_differs", "c1")
    assert "2.1.1" in alert.sentence


def test_and_what_has_gone_out_does_not_look_complete() -> None:
    archive = Keeper(study("2", series("2.1", image("2.1.1"), image("2.1.2"), image("2.1.3")), PatientID="B"))
    archive.objects = {"2.1.2": {"PatientID": "A"}}
    reply = confined(archive, PatientID="B").reply(Retrieve(Level.STUDY, "2"))
    with pytest.raises(Incomplete) as caught:
        sent(reply)
    assert caught.value.missing == ("2.1.2",)
    assert archive.instances.closed


@pytest.mark.parametrize(
    ("issuer", "goes"), [(None, True), ("", True), ("west", True), ("east", False), ("east\\west", False)]
)
def test_an_issuer_may_be_known_of_the_study_alone(issuer: str | None, goes: bool) -> None:
    archive = hospital()
    archive.objects = {"2.1.1": {"IssuerOfPatientID": issuer}}
    somebody = confined(archive, IssuerOfPatientID="west")
    if goes:
        assert somebody.sent(Retrieve(Level.STUDY, "2")) == ["2.1.1"]
        return
    with pytest.raises(NotFound):
        somebody.reply(Retrieve(Level.STUDY, "2"))


def test_nobodys_word_is_taken_for_what_stands_in_an_object() -> None:
    """An index, or a cache, may say something else than the object that goes out."""
    row = elements(StudyInstanceUID="2", SeriesInstanceUID="2.1", SOPInstanceUID="2.1.1", PatientID="A")
    instance = object_of(row, leading={"PatientID": "B", "StudyInstanceUID": "2"})
    archive = hospital()
    archive.stream_of = lambda retrieve: Sent(instance)  # type: ignore[method-assign]
    with pytest.raises(NotFound):
        confined(archive, PatientID="B").reply(Retrieve(Level.STUDY, "2"))


def test_text_is_compared_whatever_its_encoding() -> None:
    archive = Keeper(study("1", series("1.1", image("1.1.1")), PatientID="Müller"))
    archive.objects = {"1.1.1": {"SpecificCharacterSet": "ISO_IR 100", "PatientID": "Müller".encode("latin-1")}}
    assert confined(archive, PatientID="Mu\u0308ller").sent(Retrieve(Level.STUDY, "1")) == ["1.1.1"]
    archive.objects = {"1.1.1": {"PatientID": "Müller".encode("latin-1")}}
    with pytest.raises(NotFound):
        confined(archive, PatientID="Müller").reply(Retrieve(Level.STUDY, "1"))


def test_series_that_are_hidden_are_left_out_of_their_study() -> None:
    archive = mixed()
    somebody = confined(archive, Modality="US")
    assert somebody.sent(Retrieve(Level.STUDY, "1")) == ["1.2.1", "1.2.2"]
    for retrieve in (
        Retrieve(Level.STUDY, "2"),
        Retrieve(Level.SERIES, "1", "1.1"),
        Retrieve(Level.IMAGE, "1", "1.1", ("1.1.1",)),
        Retrieve(Level.IMAGE, "1", "1.9", ("1.1.1",)),
    ):
        archive.retrieved.clear()
        with pytest.raises(NotFound):
            somebody.reply(retrieve)
        assert archive.retrieved == []
    assert somebody.sent(Retrieve(Level.IMAGE, "1", "1.2", ("1.2.2",))) == ["1.2.2"]


@pytest.mark.parametrize("level", [Level.STUDY, Level.SERIES, Level.IMAGE])
def test_each_object_is_looked_at_whatever_its_series_was_said_to_be(level: Level) -> None:
    archive = Keeper(study("1", series("1.1", image("1.1.1"), image("1.1.2"), Modality="US")))
    archive.objects = {"1.1.1": {"Modality": "CT"}}
    uids = ("1.1.1", "1.1.2") if level is Level.IMAGE else ()
    somebody = confined(archive, Modality="US")
    reply = somebody.reply(Retrieve(level, "1", "1.1" * (level is not Level.STUDY), uids))
    if level is Level.IMAGE:
        with pytest.raises(Incomplete) as caught:
            sent(reply)
        assert caught.value.missing == ("1.1.1",)
    else:
        assert sent(reply) == ["1.1.2"]
    archive.objects["1.1.2"] = {"Modality": None}
    with pytest.raises(NotFound):
        somebody.reply(Retrieve(level, "1", "1.1" * (level is not Level.STUDY), uids))


def test_an_institution_stands_in_the_object() -> None:
    archive = Lax(*mixed().studies)
    somebody = confined(archive, InstitutionName="St Elsewhere")
    assert somebody.sent(Retrieve(Level.STUDY, "1")) == ["1.2.1", "1.2.2"]
    assert somebody.sent(Retrieve(Level.SERIES, "2", "2.1")) == ["2.1.1"]
    with pytest.raises(NotFound):
        somebody.reply(Retrieve(Level.STUDY, "3"))


def test_what_is_of_instances_alone_is_looked_for_in_each() -> None:
    archive = mixed()
    archive.studies[0].children[1].children[1].attributes.update(elements(BurnedInAnnotation="NO"))
    assert confined(archive, BurnedInAnnotation="NO").sent(Retrieve(Level.STUDY, "1")) == ["1.2.2"]
    with pytest.raises(NotFound):
        confined(archive, BurnedInAnnotation="NO").reply(Retrieve(Level.STUDY, "2"))


def test_a_malformed_object_does_not_go_out() -> None:
    whole = encoded(elements(PatientID="B", StudyInstanceUID="2", SOPInstanceUID="2.1.1", InstitutionName="x"))
    for data in (whole[:-5], whole[:8] + b"\xff" * 40, whole + whole):
        instance = Instance("1.2", "2.1.1", "1.2.840.10008.1.2.1", Sent((data,)))
        archive = hospital()
        archive.stream_of = lambda retrieve, one=instance: Sent(one)  # type: ignore[method-assign, misc]
        with pytest.raises(NotFound):
            confined(archive, PatientID="B").reply(Retrieve(Level.STUDY, "2"))


def test_what_stands_too_far_behind_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    archive = hospital()
    assert confined(archive, PatientID="B").sent(Retrieve(Level.STUDY, "2")) == ["2.1.1"]
    archive.objects = {"2.1.1": {"00091001": b"x" * 60_000, "0009FF01": b"x" * 60_000}}
    assert header_scan.HEADER_SCAN_LIMIT == 65536
    with pytest.raises(NotFound):
        confined(archive, PatientID="B").reply(Retrieve(Level.STUDY, "2"))


def test_a_digest_tells_one_part_of_a_study_from_another() -> None:
    archive = mixed()
    archive.digest = "abc"
    some, others = (confined(archive, Modality=one).reply(Retrieve(Level.STUDY, "1")).digest for one in ("US", "CT"))
    assert len({some, others, "abc"}) == 3
    assert all(len(one) == 32 for one in (some, others))
    whole = confined(archive, PatientID="P1").reply(Retrieve(Level.STUDY, "1"))
    assert whole.digest == "abc"


def test_nothing_is_said_before_the_first_instance_complies() -> None:
    """A conditional request is answered by the digest alone: it must not confirm what is hidden."""
    archive = mixed()
    archive.digest = "abc"
    archive.objects = {"2.1.1": {"Modality": "MR"}}
    with pytest.raises(NotFound):
        confined(archive, Modality="CT").reply(Retrieve(Level.STUDY, "2"))


def test_an_archive_without_anything_has_nothing() -> None:
    archive = hospital()
    archive.stream_of = lambda retrieve: Sent()  # type: ignore[method-assign]
    with pytest.raises(NotFound):
        confined(archive, PatientID="B").reply(Retrieve(Level.STUDY, "2"))


def test_what_else_goes_wrong_is_passed_on() -> None:
    archive = mixed()
    archive.stream_of = lambda retrieve: Sent(TransportError("gone"))  # type: ignore[method-assign]
    with pytest.raises(TransportError):
        confined(archive, PatientID="P1").reply(Retrieve(Level.STUDY, "1"))


def test_what_the_archive_cannot_be_asked_is_not_shown() -> None:
    archive = mixed()
    archive.error = TransportError("no archive")
    with pytest.raises(TransportError):
        confined(archive, PatientID="P1").reply(Retrieve(Level.STUDY, "1"))


def test_who_names_an_archive_is_answered_by_what_that_says() -> None:
    archive = hospital()
    somebody = confined(archive, PatientID="B")
    for title in ("ONE", "TWO"):
        somebody.reply(Retrieve(Level.STUDY, "2"), attributes={SOURCE: title})
    assert archive.log == ["STUDY StudyInstanceUID=2"] * 2


# Move


def moves(archive: Keeper) -> list[tuple[str, str, str, Sequence[str]]]:
    return [
        (one.level.value, one.study_instance_uid, one.series_instance_uid, one.sop_instance_uids)
        for one in archive.moves
    ]


@pytest.mark.parametrize("uid", ["1", "2", "9"])
def test_a_study_is_moved_when_it_complies(uid: str) -> None:
    archive = hospital()
    somebody = confined(archive, PatientID="B")
    move = Move(Level.STUDY, uid, "ELSEWHERE")
    if uid == "2":
        assert somebody.reply(move).result == MoveResult(1, 0)
        assert archive.moves == [move]
        return
    with pytest.raises(NotFound):
        somebody.reply(move)
    assert archive.moves == []


def test_a_study_is_moved_in_parts_when_not_all_of_it_complies() -> None:
    archive = mixed()
    archive.studies[0].children.append(series("1.3", image("1.3.1"), Modality="US"))
    assert confined(archive, Modality="US").reply(Move(Level.STUDY, "1", "X")).result == MoveResult(2, 0)
    assert moves(archive) == [("SERIES", "1", "1.2", ()), ("SERIES", "1", "1.3", ())]
    archive.moves.clear()
    whole = Move(Level.STUDY, "3", "X")
    confined(archive, Modality="US").reply(whole)
    assert archive.moves == [whole]


@pytest.mark.parametrize(
    ("move", "expected"),
    [
        (Move(Level.SERIES, "1", "X", "1.2"), [("SERIES", "1", "1.2", ())]),
        (Move(Level.IMAGE, "1", "X", "1.2", ("1.2.1",)), [("IMAGE", "1", "1.2", ("1.2.1",))]),
        (Move(Level.SERIES, "1", "X", "1.1"), []),
        (Move(Level.IMAGE, "1", "X", "1.1", ("1.1.1",)), []),
        (Move(Level.SERIES, "1", "X", "1.9"), []),
        (Move(Level.STUDY, "2", "X"), []),
        (Move(Level.STUDY, "9", "X"), []),
    ],
)
def test_series_and_instances_are_moved_when_they_comply(move: Move, expected: list[Any]) -> None:
    archive = mixed()
    somebody = confined(archive, Modality="US")
    if not expected:
        with pytest.raises(NotFound):
            somebody.reply(move)
    else:
        somebody.reply(move)
    assert moves(archive) == expected


@pytest.mark.parametrize(
    ("move", "expected"),
    [
        (Move(Level.STUDY, "1", "X"), [("IMAGE", "1", "1.2", ("1.2.2",))]),
        (Move(Level.SERIES, "1", "X", "1.2"), [("IMAGE", "1", "1.2", ("1.2.2",))]),
        (Move(Level.IMAGE, "1", "X", "1.2", ("1.2.2",)), [("IMAGE", "1", "1.2", ("1.2.2",))]),
        (Move(Level.IMAGE, "1", "X", "1.2", ("1.2.1", "1.2.2")), []),
        (Move(Level.STUDY, "3", "X"), []),
    ],
)
def test_instances_are_listed_when_their_series_does_not_say_enough(move: Move, expected: list[Any]) -> None:
    archive = Lax(*mixed().studies)
    archive.studies[0].children[1].children[0].attributes.update(elements(InstitutionName="Main"))
    somebody = confined(archive, InstitutionName="St Elsewhere")
    if not expected:
        with pytest.raises(NotFound):
            somebody.reply(move)
    else:
        assert somebody.reply(move).result == MoveResult(1, None)
    assert moves(archive) == expected


def test_a_study_is_not_moved_in_too_many_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    archive = mixed()
    archive.studies[0].children.append(series("1.3", image("1.3.1"), Modality="US"))
    monkeypatch.setattr(retrieving, "MAX_MOVES", 2)
    confined(archive, Modality="US").reply(Move(Level.STUDY, "1", "X"))
    monkeypatch.setattr(retrieving, "MAX_MOVES", 1)
    with pytest.raises(TooLarge, match="MAX_MOVES"):
        confined(archive, Modality="US").reply(Move(Level.STUDY, "1", "X"))


def test_a_move_that_is_given_up_is_given_up() -> None:
    archive = hospital()
    archive.error = CancelledError()
    with pytest.raises(CancelledError):
        confined(archive, PatientID="B").reply(Move(Level.STUDY, "2", "X"))


def test_what_a_retrieve_gives_up_is_given_up_at_the_archive() -> None:
    archive = hospital()
    reply = confined(archive, PatientID="B").reply(Retrieve(Level.STUDY, "2"))
    result_of(reply.result.aclose())
    assert archive.instances.closed


def test_random_access_is_given_to_what_complies_alone() -> None:
    """A file that lies whole, as a cache gives it, goes with its instance, and with no other."""
    rows = [
        elements(StudyInstanceUID="1", SeriesInstanceUID="1.1", SOPInstanceUID=f"1.1.{number}", Modality=modality)
        for number, modality in ((1, "CT"), (2, "US"))
    ]
    files: Any = [object(), object()]
    archive = Keeper(study("1", series("1.1", image("1.1.1"), image("1.1.2"), Modality="US")))
    archive.stream_of = lambda retrieve: Sent(  # type: ignore[method-assign]
        *(object_of(row, file=file) for row, file in zip(rows, files, strict=True))
    )
    reply = confined(archive, Modality="US").reply(Retrieve(Level.STUDY, "1", random_access=True))

    async def read() -> list[Any]:
        return [instance.file async for instance in reply.result]

    assert result_of(read()) == [files[1]]


def test_finding_and_retrieving_agree() -> None:
    """What a Search hides, a Retrieve does not have; and the other way round."""
    for restriction in ({"Modality": "US"}, {"InstitutionName": "Main"}, {"PatientID": "P2"}, {"InstitutionName": ""}):
        for uid in "123":
            somebody = confined(mixed(), **restriction)
            shown = bool(somebody.rows(Find(Level.STUDY, keys(StudyInstanceUID=uid))))
            try:
                assert bool(somebody.sent(Retrieve(Level.STUDY, uid))) is shown
            except NotFound:
                assert not shown
    assert tag("Modality") == "00080060"


def test_a_series_that_has_just_come_is_there_at_once() -> None:
    archive = mixed()
    somebody = confined(archive, Modality="US")
    assert somebody.sent(Retrieve(Level.STUDY, "1")) == ["1.2.1", "1.2.2"]
    new = Retrieve(Level.SERIES, "1", "1.3")
    with pytest.raises(NotFound):
        somebody.reply(new)
    archive.studies[0].children.append(series("1.3", image("1.3.1"), Modality="US"))
    assert somebody.sent(new) == ["1.3.1"]
    below = Find(Level.IMAGE, keys(StudyInstanceUID="1", SeriesInstanceUID="1.4"))
    archive.studies[0].children.append(series("1.4", image("1.4.1"), Modality="US"))
    assert somebody.uids(below, "SOPInstanceUID") == ["1.4.1"]
    archive.studies[0].children.append(series("1.5", image("1.5.1"), Modality="US"))
    somebody.reply(Move(Level.SERIES, "1", "X", "1.5"))
    assert moves(archive) == [("SERIES", "1", "1.5", ())]


def test_an_object_that_is_malformed_ends_what_has_begun() -> None:
    """It is not left out: what stands behind the fault may be anybody's."""
    archive = hospital()
    row = elements(StudyInstanceUID="2", SeriesInstanceUID="2.1", SOPInstanceUID="2.1.1", PatientID="B")
    broken = Instance("1.2", "2.1.2", "1.2.840.10008.1.2.1", Sent((encoded(row)[:-3],)))
    archive.stream_of = lambda retrieve: Sent(object_of(row), broken)  # type: ignore[method-assign]
    reply = confined(archive, PatientID="B").reply(Retrieve(Level.STUDY, "2"))
    with pytest.raises(Incomplete) as caught:
        sent(reply)
    assert caught.value.missing == ("2.1.2",)


@pytest.mark.parametrize("cut", [0, 4])
def test_an_object_that_ends_early_is_malformed(cut: int) -> None:
    """Also where it ends behind all that is demanded."""
    row = elements(SOPInstanceUID="2.1.1", PatientID="B", StudyInstanceUID="2")
    whole = encoded(row)
    data = whole + b"\x20\x00\x0d\x00"[:cut]
    archive = hospital()
    instance = Instance("1.2", "2.1.1", "1.2.840.10008.1.2.1", Sent((data,)))
    archive.stream_of = lambda retrieve: Sent(instance)  # type: ignore[method-assign]
    somebody = confined(archive, PatientID="B")
    if cut:
        with pytest.raises(NotFound):
            somebody.reply(Retrieve(Level.STUDY, "2"))
    else:
        assert somebody.sent(Retrieve(Level.STUDY, "2")) == ["2.1.1"]
