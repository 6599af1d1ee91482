"""Retrieves over several archives: from whoever has the study, all of its parts, and nothing of two patients."""

from typing import Any

import pytest

from harmonygw.errors import (
    Conflict,
    HarmonyError,
    Incomplete,
    NotAcceptable,
    NotFound,
    PeerError,
    TimedOut,
    TransportError,
)
from harmonygw.exchange import Reply, Request
from harmonygw.operations import Level, Move, MoveResult, Retrieve
from harmonygw.several import retrieving, whereabouts
from tests.several.archives import (
    PACS,
    TIMEOUT,
    Hospital,
    document,
    find,
    image,
    read,
    result_of,
    scu,
    series,
    study,
    table,
)

DOWN = TransportError("the PACS refuses connections")
STUDY = Retrieve(Level.STUDY, "1")
MULTIPART = 'multipart/related; type="application/dicom"'


def one(uid: str, *leaves: str, **attributes: Any) -> Any:
    return study(uid, series(f"{uid}.1", *map(image, leaves or (f"{uid}.1.1",))), **attributes)


def two_parts() -> Hospital:
    """Series 1.1 is whole at A, 1.2 is in part at each, 1.3 is at B alone, and so is one instance of 1.4."""
    a = study(
        "1",
        series("1.1", image("1.1.1"), image("1.1.2")),
        series("1.2", image("1.2.1"), image("1.2.2")),
        series("1.4", image("1.4.1")),
    )
    b = study(
        "1",
        series("1.1", image("1.1.1"), image("1.1.2")),
        series("1.2", image("1.2.2"), image("1.2.3")),
        series("1.3", image("1.3.1")),
        series("1.4", image("1.4.2")),
    )
    return Hospital({"A": PACS(a), "B": PACS(b)})


def test_a_study_comes_from_the_one_that_has_it_and_where_it_is_is_remembered() -> None:
    a, b = PACS(one("1")), PACS(one("2", "2.1.1", "2.1.2"))
    hospital = Hospital({"A": a, "B": b})
    asked = Retrieve(Level.STUDY, "2")
    assert hospital.retrieved(asked) == ["2.1.1", "2.1.2"]
    assert hospital.retrieved(asked) == ["2.1.1", "2.1.2"]
    assert (a.log, a.retrieved) == (["STUDY StudyInstanceUID=2"], [])
    assert b.log == ["STUDY StudyInstanceUID=2"]
    assert b.retrieved == [asked, asked]
    hospital.forget()
    hospital.retrieved(asked)
    assert len(a.log) == 2


def test_what_a_search_has_found_is_not_looked_for_again() -> None:
    a, b = PACS(one("1")), PACS(one("2"))
    hospital = Hospital({"A": a, "B": b})
    hospital.rows(find())
    asked = (len(a.log), len(b.log))
    hospital.retrieved(Retrieve(Level.STUDY, "2"))
    assert (len(a.log), len(b.log)) == asked


def test_nothing_is_remembered_when_that_is_configured() -> None:
    a = PACS(one("1"))
    hospital = Hospital({"A": a, "B": PACS()}, remember_secs=0.0)
    hospital.retrieved(STUDY)
    hospital.retrieved(STUDY)
    assert (len(a.log), hospital.several.state()["studies_remembered"]) == (2, 0)


def test_a_study_that_has_moved_is_found_again() -> None:
    a, b = PACS(one("1")), PACS()
    hospital = Hospital({"A": a, "B": b})
    hospital.retrieved(STUDY)
    a.studies, b.studies = b.studies, a.studies
    hospital.clock.advance(1)
    assert hospital.retrieved(STUDY) == ["1.1.1"]
    assert len(b.retrieved) == 1


def test_what_nobody_has_is_not_found() -> None:
    hospital = Hospital({"A": PACS(one("1")), "B": PACS()})
    with pytest.raises(NotFound):
        hospital.respond(Retrieve(Level.STUDY, "9"))
    hospital.pacs["A"].unlisted = {"9"}
    hospital.pacs["B"].studies.append(one("9"))
    assert hospital.retrieved(Retrieve(Level.STUDY, "9")) == ["9.1.1"]


def test_what_is_listed_and_not_there_is_not_looked_for_a_third_time() -> None:
    a = PACS(one("1"))
    a.instances_of = lambda retrieve: []  # type: ignore[method-assign, assignment]
    hospital = Hospital({"A": a, "B": PACS()})
    hospital.rows(find())
    hospital.clock.advance(1)
    with pytest.raises(NotFound):
        hospital.respond(STUDY)
    assert len(a.retrieved) == 2


def test_with_a_source_down_what_the_others_have_comes_with_a_warning() -> None:
    hospital = Hospital({"A": PACS(one("1")), "B": PACS()})
    hospital.pacs["B"].error = DOWN
    hospital.reply("studies/1", MULTIPART)
    request = hospital.gateway.request
    assert request is not None
    assert request.common_headers == [("Warning", '299 harmonygw "B did not answer; what it holds is missing here."')]
    assert "B could not be asked: the PACS refuses connections" in request.record.notes


def test_with_a_source_down_what_the_others_lack_is_an_error_and_not_absent() -> None:
    hospital = Hospital({"A": PACS(one("1")), "B": PACS()})
    hospital.pacs["B"].error = DOWN
    with pytest.raises(TransportError):
        hospital.respond(Retrieve(Level.STUDY, "9"))
    hospital.pacs["B"].error = None
    with pytest.raises(NotFound):
        hospital.respond(Retrieve(Level.STUDY, "9"))


def test_or_a_source_down_fails_every_retrieve_as_configured() -> None:
    hospital = Hospital({"A": PACS(one("1")), "B": PACS()}, on_missing_source="fail")
    hospital.pacs["B"].error = DOWN
    with pytest.raises(TransportError):
        hospital.respond(STUDY)


def test_a_silent_source_is_waited_for_once_while_that_is_remembered() -> None:
    hospital = Hospital({"A": PACS(one("1")), "B": PACS()})
    hospital.pacs["B"].silent = True
    _, replies = hospital.begin(STUDY)
    hospital.clock.advance(TIMEOUT)
    assert len(replies) == 1
    _, replies = hospital.begin(STUDY)
    assert len(replies) == 1


def test_a_search_asks_a_source_that_is_back() -> None:
    hospital = Hospital({"A": PACS(one("1")), "B": PACS(one("1", PatientID="Q"))})
    hospital.pacs["B"].error = DOWN
    hospital.retrieved(STUDY)
    hospital.clock.advance(1)
    hospital.pacs["B"].error = None
    hospital.rows(find(PatientID="P1"))
    with pytest.raises(Conflict):
        hospital.respond(STUDY)


# Clashing identifiers


def clash() -> Hospital:
    return Hospital({"A": PACS(one("1", PatientID="P")), "B": PACS(one("1", PatientID="Q"))})


@pytest.mark.parametrize(
    "retrieve",
    [
        STUDY,
        Retrieve(Level.SERIES, "1", "1.1"),
        Retrieve(Level.IMAGE, "1", "1.1", ("1.1.1",)),
        Retrieve(Level.STUDY, "1", patient_id="P"),
    ],
)
def test_a_contested_study_is_given_to_nobody_who_does_not_name_its_source(retrieve: Retrieve) -> None:
    hospital = clash()
    with pytest.raises(Conflict, match=r"at A, B. Name the one that is meant: aets/\{AE title\}/"):
        hospital.respond(retrieve)
    assert hospital.retrieved(retrieve, source="B") == ["1.1.1"]
    assert [len(pacs.retrieved) for pacs in hospital.pacs.values()] == [0, 1]


@pytest.mark.parametrize(
    "target", ["", "/metadata", "/rendered", "/series/1.1", "/series/1.1/instances/1.1.1/frames/1"]
)
def test_nor_is_anything_made_of_it(target: str) -> None:
    with pytest.raises(Conflict):
        clash().reply(f"studies/1{target}")


def test_head_says_the_same() -> None:
    with pytest.raises(Conflict):
        clash().reply("studies/1", MULTIPART, method="HEAD")
    assert two_parts().reply("studies/1", MULTIPART, method="HEAD").status == 200


def test_a_conflict_stays_one_while_the_other_source_is_down() -> None:
    hospital = clash()
    hospital.rows(find())
    hospital.pacs["B"].error = DOWN
    with pytest.raises(Conflict):
        hospital.respond(STUDY)


def test_a_conflict_is_seen_though_a_search_has_shown_one_patient_only() -> None:
    hospital = clash()
    hospital.rows(find(PatientID="P"))
    with pytest.raises(Conflict):
        hospital.respond(STUDY)


# Parts


def test_of_a_study_in_two_parts_each_instance_comes_once() -> None:
    hospital = two_parts()
    assert hospital.retrieved(STUDY) == ["1.1.1", "1.1.2", "1.2.1", "1.2.2", "1.4.1", "1.3.1", "1.4.2", "1.2.3"]
    a, b = hospital.pacs.values()
    assert a.retrieved == [STUDY]
    assert b.retrieved == [
        Retrieve(Level.SERIES, "1", "1.3"),
        Retrieve(Level.SERIES, "1", "1.4"),
        Retrieve(Level.IMAGE, "1", "1.2", ("1.2.3",)),
    ]


def test_so_with_one_series_of_it_and_with_some_instances() -> None:
    hospital = two_parts()
    assert hospital.retrieved(Retrieve(Level.SERIES, "1", "1.2")) == ["1.2.1", "1.2.2", "1.2.3"]
    assert hospital.retrieved(Retrieve(Level.SERIES, "1", "1.3")) == ["1.3.1"]
    assert hospital.retrieved(Retrieve(Level.IMAGE, "1", "1.2", ("1.2.3", "1.2.1", "1.2.2"))) == [
        "1.2.1",
        "1.2.2",
        "1.2.3",
    ]
    assert hospital.retrieved(Retrieve(Level.IMAGE, "1", "1.2", ("1.2.3",))) == ["1.2.3"]
    with pytest.raises(NotFound):
        hospital.respond(Retrieve(Level.SERIES, "1", "1.9"))


def test_two_wholly_different_parts_are_two_whole_retrieves() -> None:
    a, b = PACS(study("1", series("1.1", image("1.1.1")))), PACS(study("1", series("1.2", image("1.2.1"))))
    hospital = Hospital({"A": a, "B": b})
    asked, [reply] = hospital.begin(STUDY)
    assert [one.sop_instance_uid for one in result_of(read(reply.result))] == ["1.1.1", "1.2.1"]
    assert (a.retrieved, b.retrieved) == ([STUDY], [STUDY])
    assert (asked.record.target, asked.record.notes) == ("A, B", ["retrieved in parts from A, B"])


def test_a_true_copy_comes_from_the_first_alone() -> None:
    hospital = Hospital({"B": PACS(one("1")), "A": PACS(one("1"))})
    assert hospital.retrieved(STUDY) == ["1.1.1"]
    assert [len(pacs.retrieved) for pacs in hospital.pacs.values()] == [1, 0]


def test_a_copy_is_taken_when_the_first_has_gone_since() -> None:
    hospital = Hospital({"A": PACS(one("1")), "B": PACS(one("1"))})
    hospital.rows(find())
    hospital.pacs["A"].error = DOWN
    asked, [reply] = hospital.begin(STUDY)
    assert len(result_of(read(reply.result))) == 1
    assert [value for _, value in asked.common_headers] == [
        '299 harmonygw "A did not answer; what it holds is missing here."'
    ]
    hospital.pacs["B"].error = TimedOut("late")
    with pytest.raises(TransportError):
        hospital.respond(STUDY)


def test_a_dimse_client_has_no_header_for_a_warning() -> None:
    hospital = Hospital({"A": PACS(one("1")), "B": PACS()})
    hospital.pacs["B"].error = DOWN
    asked, [_] = hospital.begin(STUDY, origin=scu())
    assert asked.common_headers == []


def test_a_part_that_fails_breaks_the_whole_off() -> None:
    hospital = two_parts()
    hospital.pacs["B"].breaks_after = 0
    stream = hospital.respond(STUDY).result
    with pytest.raises(HarmonyError, match="broken"):
        result_of(read(stream))


def test_a_first_part_that_fails_fails_the_request() -> None:
    hospital = two_parts()
    hospital.pacs["A"].breaks_after = 0
    with pytest.raises(HarmonyError, match="broken"):
        hospital.respond(STUDY)


def test_what_is_given_up_is_not_read_on() -> None:
    hospital = two_parts()
    stream = hospital.respond(STUDY).result
    result_of(stream.aclose())
    assert result_of(read(stream)) == []
    assert hospital.pacs["B"].retrieved == []


def test_parts_are_not_asked_for_without_bulk_data_only() -> None:
    hospital = two_parts()
    with pytest.raises(NotAcceptable):
        hospital.respond(Retrieve(Level.SERIES, "1", "1.1", without_bulk_data=True, whole_otherwise=False))


def test_long_lists_of_instances_take_several_queries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrieving, "BATCH", 2)
    hospital = two_parts()
    uids = ("1.2.1", "1.2.2", "1.2.3")
    assert hospital.retrieved(Retrieve(Level.IMAGE, "1", "1.2", uids)) == list(uids)
    assert len([line for line in hospital.pacs["A"].log if line.startswith("IMAGE")]) == 2


def test_a_source_that_lists_without_end_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrieving, "MAX_LISTED", 3)
    hospital = two_parts()
    hospital.pacs["A"].studies[0].children.pop()
    with pytest.raises(Incomplete, match="B lists more than 3"):
        Hospital(hospital.pacs, on_missing_source="fail").respond(STUDY)
    assert hospital.retrieved(STUDY) == ["1.1.1", "1.1.2", "1.2.1", "1.2.2"]


def test_a_source_that_lists_a_series_without_instances_gives_none() -> None:
    a, b = PACS(study("1", series("1.1"))), PACS(one("1"))
    assert Hospital({"A": a, "B": b}).retrieved(STUDY) == ["1.1.1"]
    empty = Hospital({"A": PACS(study("1", series("1.1"))), "B": PACS(study("1", series("1.1")))})
    with pytest.raises(NotFound):
        empty.respond(STUDY)


def test_metadata_of_parts_is_one_array() -> None:
    a, b = PACS(study("1", series("1.1"))), PACS(study("1"))
    with pytest.raises(NotFound):
        document(Hospital({"A": a, "B": b}).reply("studies/1/metadata"))


# What is remembered


def test_many_studies_are_looked_for_in_batches_and_remembered_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whereabouts, "BATCH", 2)
    monkeypatch.setattr(whereabouts, "MAX_STUDIES", 4)
    a, b = PACS(*(one(str(n)) for n in range(1, 6))), PACS()
    hospital = Hospital({"A": a, "B": b})
    hospital.rows(find())
    assert b.log[1:] == ["STUDY StudyInstanceUID=1+2", "STUDY StudyInstanceUID=3+4", "STUDY StudyInstanceUID=5"]
    assert hospital.several.state()["studies_remembered"] == 4


def test_a_source_that_fails_at_one_batch_is_not_asked_for_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whereabouts, "BATCH", 1)
    a, b = PACS(one("1"), one("2")), PACS()
    hospital = Hospital({"A": a, "B": b})
    judged = b._judge

    def fails(query: Any) -> None:
        judged(query)
        if query.keys:
            raise DOWN

    b._judge = fails  # type: ignore[method-assign]
    assert table(hospital.rows(find()), "StudyInstanceUID") == [("1",), ("2",)]
    assert b.log == ["STUDY", "STUDY StudyInstanceUID=1"]


def test_a_source_that_answers_more_than_it_was_asked_is_in_error() -> None:
    class Endless(PACS):
        def _matches(self, find: Any) -> Any:
            while True:
                yield dict(self.studies[0].attributes)

    hospital = Hospital({"A": PACS(one("1")), "B": Endless(one("7"))}, on_missing_source="fail")
    with pytest.raises(PeerError, match="B answered with more studies than it was asked for"):
        hospital.respond(STUDY)


def test_alerts_are_remembered_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whereabouts, "MAX_ALERTED", 1)
    a, b = PACS(one("1"), one("2")), PACS(one("1", PatientID="Q"), one("2", PatientID="Q"))
    hospital = Hospital({"A": a, "B": b})
    hospital.rows(find())
    assert list(hospital.several._whereabouts._alerted) == ["2"]


def test_who_was_asked_for_a_study_and_has_not_named_it_has_it_not() -> None:
    a, b = PACS(one("1")), PACS(one("2"))
    hospital = Hospital({"A": a, "B": b})
    hospital.rows(find(StudyInstanceUID="1"))
    assert hospital.retrieved(STUDY) == ["1.1.1"]
    assert b.log == ["STUDY StudyInstanceUID=1"]


def test_many_at_once_ask_once() -> None:
    a, b = PACS(one("1")), PACS()
    hospital = Hospital({"A": a, "B": b})
    b.silent = True
    waiting = [hospital.begin(STUDY)[1] for _ in range(5)]
    assert (len(b.waits), a.log) == (1, ["STUDY StudyInstanceUID=1"])
    b.silent = False
    b.waits[0].callback(None)
    assert [len(replies) for replies in waiting] == [1] * 5


def test_a_conflict_that_was_mended_is_none_at_once() -> None:
    hospital = clash()
    hospital.rows(find())
    hospital.clock.advance(1)
    hospital.pacs["B"].studies = [one("1", PatientID="P")]
    assert hospital.retrieved(STUDY) == ["1.1.1"]


def test_patients_that_are_corrected_one_after_another_are_no_conflict_of_what_was_and_what_is() -> None:
    a, b = PACS(one("1", PatientID="P")), PACS(one("1", PatientID="P"))
    hospital = Hospital({"A": a, "B": b})
    hospital.rows(find())
    hospital.clock.advance(1)
    a.studies, b.studies = [one("1", PatientID="Z", StudyDescription="new")], [one("1", PatientID="Z")]
    asked, _ = hospital.begin(find(StudyDescription="new"))
    assert asked.record.notes == []


# To somebody else


class Moving(PACS):
    """Tells what it moved."""

    moved: list[Move]
    counts: tuple[int | None, int | None] = (2, 1)

    async def respond(self, request: Request) -> Reply:
        if isinstance(request.operation, Move) and self.error is None:
            self.moved = [*getattr(self, "moved", []), request.operation]
            return Reply(result=MoveResult(*self.counts))
        return await super().respond(request)


MOVE = Move(Level.STUDY, "1", "ELSEWHERE")


def test_a_move_is_asked_of_the_source_that_has_the_study() -> None:
    hospital = Hospital({"A": Moving(one("2")), "B": Moving(one("1"))})
    assert hospital.respond(MOVE).result == MoveResult(2, 1)
    assert hospital.pacs["B"].moved == [MOVE]  # type: ignore[attr-defined]
    with pytest.raises(NotFound):
        hospital.respond(Move(Level.STUDY, "9", "ELSEWHERE"))
    with pytest.raises(Conflict):
        clash().respond(MOVE)


def test_of_a_study_in_parts_each_source_moves_its_own() -> None:
    a, b = (Moving(*pacs.studies) for pacs in two_parts().pacs.values())
    hospital = Hospital({"A": a, "B": b})
    assert hospital.respond(MOVE).result == MoveResult(8, 4)
    assert a.moved == [MOVE]
    assert b.moved == [
        Move(Level.SERIES, "1", "ELSEWHERE", "1.3"),
        Move(Level.SERIES, "1", "ELSEWHERE", "1.4"),
        Move(Level.IMAGE, "1", "ELSEWHERE", "1.2", ("1.2.3",)),
    ]
    b.counts = (None, 0)
    assert hospital.respond(MOVE).result == MoveResult(None, 1)


def test_behind_failover_and_by_name_a_move_is_one_sources_alone() -> None:
    a, b = Moving(one("1")), Moving(one("1"))
    Hospital({"A": a, "B": b}, strategy="failover").respond(MOVE)
    Hospital({"A": a, "B": b}).respond(MOVE, source="B")
    assert (a.moved, b.moved) == ([MOVE], [MOVE])
