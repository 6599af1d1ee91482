"""Searches over several archives: merged by UID, never by position, each row with its source; one silent, one gone."""

from dataclasses import replace
from typing import Any

import pytest
from twisted.logger import capturedLogs

from harmonygw.alerts import Alert
from harmonygw.errors import HarmonyError, NotAcceptable, RejectedError, TimedOut, TooLarge, TransportError
from harmonygw.operations import ContestedMatch, Find, Level
from harmonygw.several import absences, searching
from tests.several.archives import (
    PACS,
    TIMEOUT,
    Hospital,
    find,
    first,
    image,
    read,
    result_of,
    series,
    study,
    table,
    warnings_of,
)

STUDIES = ("StudyInstanceUID", "PatientID", "RetrieveAETitle")
DOWN = TransportError("the PACS refuses connections")


def one(uid: str, *, images: int = 1, modality: str = "CT", of: str = "", **attributes: Any) -> Any:
    """A study of one series, whose UIDs are made of the study's."""
    leaves = [image(f"{uid}.1.{number}{of}") for number in range(1, images + 1)]
    return study(uid, series(f"{uid}.1", *leaves, Modality=modality), **attributes)


def test_what_several_find_is_taken_in_turn_and_names_its_source() -> None:
    hospital = Hospital({"A": PACS(one("1"), one("2"), one("3")), "B": PACS(one("7"))})
    assert table(hospital.search("studies"), *STUDIES) == [
        ("1", "P1", "A"),
        ("7", "P7", "B"),
        ("2", "P2", "A"),
        ("3", "P3", "A"),
    ]


def test_a_row_is_never_made_of_two_that_stand_at_the_same_position() -> None:
    a = PACS(one("1", PatientName="Apple^Ann"), one("2", PatientName="Birch^Bob"))
    b = PACS(one("2", PatientName="Birch^Bob"), one("3", PatientName="Cedar^Cid"))
    rows = Hospital({"A": a, "B": b}).search("studies")
    assert [(first(row, "StudyInstanceUID"), first(row, "PatientName")["Alphabetic"]) for row in rows] == [
        ("1", "Apple^Ann"),
        ("2", "Birch^Bob"),
        ("3", "Cedar^Cid"),
    ]


def test_of_true_duplicates_the_row_of_the_first_source_stands() -> None:
    a, b = PACS(one("1", StudyDescription="from A")), PACS(one("1", StudyDescription="from B"), one("2"))
    rows = Hospital({"B": b, "A": a}).search("studies?includefield=StudyDescription")
    assert table(rows, "StudyInstanceUID", "StudyDescription", "RetrieveAETitle") == [
        ("1", "from B", "B"),
        ("2", None, "B"),
    ]


def test_a_study_in_two_parts_has_the_modalities_and_the_counts_of_both() -> None:
    a = PACS(study("1", series("1.1", image("1.1.1"), Modality="CT")))
    b = PACS(study("1", series("1.2", image("1.2.1"), image("1.2.2"), Modality="MR"), PatientID="P1"))
    [row] = Hospital({"A": a, "B": b}).search("studies")
    assert row["00080061"]["Value"] == ["CT", "MR"]
    counts = table([row], "NumberOfStudyRelatedSeries", "NumberOfStudyRelatedInstances", "RetrieveAETitle")
    assert counts == [(2, 3, "A")]
    assert row["00081190"]["Value"] == ["https://pacs.example/dicomweb/studies/1"]


def test_the_modalities_of_a_part_that_does_not_match_by_itself_are_known() -> None:
    a = PACS(study("1", series("1.1", image("1.1.1"), Modality="CT"), StudyDescription="head"))
    b = PACS(study("1", series("1.2", image("1.2.1"), Modality="MR"), StudyDescription="neck", PatientID="P1"))
    [row] = Hospital({"A": a, "B": b}).search("studies?StudyDescription=neck")
    assert row["00080061"]["Value"] == ["CT", "MR"]
    assert table([row], "RetrieveAETitle", "NumberOfStudyRelatedInstances") == [("B", 2)]


def test_the_series_of_a_study_in_two_parts_are_united_and_their_copies_counted_once() -> None:
    a = PACS(study("1", series("1.1", image("1.1.1"), image("1.1.2")), series("1.2", image("1.2.1"))))
    b = PACS(study("1", series("1.1", image("1.1.2"), image("1.1.3")), series("1.3", image("1.3.1")), PatientID="P1"))
    hospital = Hospital({"A": a, "B": b})
    rows = hospital.search("studies/1/series")
    assert table(rows, "SeriesInstanceUID", "NumberOfSeriesRelatedInstances", "RetrieveAETitle") == [
        ("1.1", 3, "A"),
        ("1.2", 1, "A"),
        ("1.3", 1, "B"),
    ]
    rows = hospital.search("studies/1/series/1.1/instances")
    assert table(rows, "SOPInstanceUID", "RetrieveAETitle") == [("1.1.1", "A"), ("1.1.2", "A"), ("1.1.3", "B")]


def test_below_a_study_only_those_are_asked_who_have_it() -> None:
    a, b = PACS(one("1")), PACS(one("2"))
    hospital = Hospital({"A": a, "B": b})
    assert len(hospital.search("studies/2/series")) == 1
    assert a.log == ["STUDY StudyInstanceUID=2"]
    assert b.log == ["STUDY StudyInstanceUID=2", "SERIES StudyInstanceUID=2"]
    hospital.search("studies/2/series")
    assert (len(a.log), len(b.log)) == (1, 3)


# Clashing identifiers


def clash(**of_b: Any) -> Hospital:
    """The same Study Instance UID, and series, of two patients."""
    a = PACS(one("1", PatientID="P1", PatientName="Apple^Ann"), one("2", PatientID="P2"))
    b = PACS(one("1", **{"PatientID": "Q1", "PatientName": "Quince^Quentin", "modality": "MR", "images": 2, **of_b}))
    return Hospital({"A": a, "B": b})


def test_one_uid_of_two_patients_is_two_rows_and_each_names_its_source() -> None:
    hospital = clash()
    reply = hospital.reply("studies")
    rows = hospital.search("studies")
    assert [
        (*found, first(row, "PatientName")["Alphabetic"])
        for found, row in zip(table(rows, *STUDIES), rows, strict=True)
    ][:2] == [("1", "P1", "A", "Apple^Ann"), ("1", "Q1", "B", "Quince^Quentin")]
    assert [row["00081190"]["Value"][0] for row in rows] == [
        "https://pacs.example/dicomweb/aets/A/studies/1",
        "https://pacs.example/dicomweb/aets/B/studies/1",
        "https://pacs.example/dicomweb/studies/2",
    ]
    [warning] = warnings_of(reply)
    assert "different patients (A, B)" in warning


def test_what_a_contested_row_lacks_is_made_of_its_own_source() -> None:
    hospital = clash()
    for pacs in hospital.pacs.values():
        pacs.leaves_out = {"00080061", "00201206", "00201208"}
    rows = hospital.search("studies?StudyInstanceUID=1")
    assert table(rows, "PatientID", "ModalitiesInStudy", "NumberOfStudyRelatedInstances") == [
        ("P1", "CT", 1),
        ("Q1", "MR", 2),
    ]
    for pacs in hospital.pacs.values():
        pacs.leaves_out |= {"00201209"}
    rows = hospital.search("studies?StudyInstanceUID=1&includefield=StudyDescription")
    assert table(rows, "PatientID", "NumberOfStudyRelatedInstances") == [("P1", 1), ("Q1", 2)]


def test_an_issuer_alone_makes_two_patients() -> None:
    a = PACS(one("1", IssuerOfPatientID="NORTH"))
    b = PACS(one("1", IssuerOfPatientID="SOUTH"))
    rows = Hospital({"A": a, "B": b}).search("studies")
    assert table(rows, "PatientID", "IssuerOfPatientID", "RetrieveAETitle") == [
        ("P1", "NORTH", "A"),
        ("P1", "SOUTH", "B"),
    ]


def test_an_issuer_that_one_does_not_give_can_be_configured() -> None:
    a, b = PACS(one("1", IssuerOfPatientID="NORTH")), PACS(one("1"))
    assert len(Hospital({"A": a, "B": b}).search("studies")) == 2
    assert len(Hospital({"A": a, "B": b}, issuers={"b": "NORTH"}).search("studies")) == 1


def test_a_conflict_is_seen_though_only_one_of_the_patients_was_asked_for() -> None:
    [row] = clash().search("studies?PatientID=P1")
    assert row["00081190"]["Value"] == ["https://pacs.example/dicomweb/aets/A/studies/1"]


@pytest.mark.parametrize("relational", [False, True])
def test_nothing_of_one_patient_comes_under_the_name_of_another(relational: bool) -> None:
    hospital = clash()
    for pacs in hospital.pacs.values():
        pacs.relational = relational
        pacs.echoes_upper_keys = False
    rows = hospital.search("series?PatientID=P1&includefield=PatientName")
    assert table(rows, "PatientID", "Modality", "RetrieveAETitle") == [("P1", "CT", "A")]
    rows = hospital.search("instances?PatientID=Q1&includefield=PatientName")
    assert [first(row, "PatientName")["Alphabetic"] for row in rows] == ["Quince^Quentin"] * 2
    assert {first(row, "SOPInstanceUID") for row in rows} == {"1.1.1", "1.1.2"}
    assert rows[0]["00081190"]["Value"][0].startswith("https://pacs.example/dicomweb/aets/B/studies/1/series/1.1/")


def test_the_series_of_a_contested_study_each_name_patient_and_source() -> None:
    rows = clash().search("studies/1/series")
    assert table(rows, "SeriesInstanceUID", "PatientID", "Modality", "RetrieveAETitle") == [
        ("1.1", "P1", "CT", "A"),
        ("1.1", "Q1", "MR", "B"),
    ]
    assert rows[1]["00081190"]["Value"] == ["https://pacs.example/dicomweb/aets/B/studies/1/series/1.1"]


def test_a_conflict_is_told_to_whoever_runs_this_once_and_noted_each_time() -> None:
    hospital = clash()
    with capturedLogs() as events:
        for _ in range(2):
            asked, _ = hospital.begin(find(PatientID="P1"))
            assert asked.record.notes == ["ALERT: a Study Instance UID belongs to different patients (A, B)"]
    [event] = [event for event in events if "alert" in event]
    sentence = "ALERT: a Study Instance UID belongs to different patients (A, B): 1"
    assert replace(event["alert"], correlation_id="") == Alert("patients_differ", sentence, "A, B")
    assert event["alert"].correlation_id
    assert "P1" not in str({**event, "log_logger": None, "log_source": None})


def test_nothing_of_a_contested_study_is_merged_not_even_what_is_of_one_patient() -> None:
    a, b, c = (PACS(one("1", PatientID=patient, images=count)) for patient, count in (("P1", 1), ("Q1", 2), ("P1", 3)))
    rows = Hospital({"A": a, "B": b, "C": c}).search("studies")
    assert table(rows, "StudyInstanceUID", "PatientID", "RetrieveAETitle", "NumberOfStudyRelatedInstances") == [
        ("1", "P1", "A", 1),
        ("1", "Q1", "B", 2),
        ("1", "P1", "C", 3),
    ]


# Sources that are missing


def test_without_one_of_them_the_others_answer_and_say_so() -> None:
    hospital = Hospital({"A": PACS(one("1")), "B": PACS(one("2"))})
    hospital.pacs["A"].error = DOWN
    reply = hospital.reply("studies")
    assert warnings_of(reply) == ['299 harmonygw "A did not answer; what it holds is missing here."']
    assert table(hospital.search("studies"), *STUDIES) == [("2", "P2", "B")]


def test_or_the_search_fails_as_configured() -> None:
    hospital = Hospital({"A": PACS(one("1")), "B": PACS(one("2"))}, on_missing_source="fail")
    hospital.pacs["B"].error = DOWN
    with pytest.raises(TransportError):
        hospital.reply("studies")


def test_when_none_answers_it_is_an_error_and_no_empty_list() -> None:
    hospital = Hospital({"A": PACS(one("1")), "B": PACS(one("2"))})
    hospital.pacs["A"].error = TimedOut("late")
    hospital.pacs["B"].error = DOWN
    for target in ("studies", "studies/1/series"):
        with pytest.raises(TimedOut):
            hospital.reply(target)


def test_a_silent_source_is_waited_for_as_long_as_its_time_says_and_no_longer() -> None:
    hospital = Hospital({"A": PACS(one("1")), "B": PACS(one("2")), "C": PACS(one("3"))})
    hospital.pacs["B"].silent = True
    _, replies = hospital.begin(find())
    hospital.clock.advance(TIMEOUT - 0.001)
    assert replies == []
    hospital.clock.advance(0.001)
    [reply] = replies
    assert table(result_of(read(reply.result)), "StudyInstanceUID") == [("1",), ("3",)]
    assert reply.result.warnings == ["B did not answer; what it holds is missing here."]
    assert [waiting.called for waiting in hospital.pacs["B"].waits] == [True]
    assert hospital.clock.getDelayedCalls() == []


def test_a_silent_source_is_waited_for_once_in_a_search_of_several_queries() -> None:
    hospital = Hospital({"A": PACS(one("1"), leaves_out=["00201208", "00201209"]), "B": PACS()}, remember_secs=0.0)
    hospital.pacs["B"].silent = True
    replies = hospital.exchange("studies?ModalitiesInStudy=CT,MR")
    hospital.clock.advance(TIMEOUT)
    [reply] = replies
    assert len(hospital.pacs["A"].log) > 4
    assert len(hospital.pacs["B"].waits) == 1
    assert warnings_of(reply) == ['299 harmonygw "B did not answer; what it holds is missing here."']
    replies = hospital.exchange("studies")
    assert len(hospital.pacs["B"].waits) == 2
    hospital.clock.advance(TIMEOUT)
    assert len(replies) == 1


def test_a_source_that_has_refused_one_query_is_asked_the_next() -> None:
    b = PACS(one("2"), refuses=[Level.SERIES])
    hospital = Hospital({"A": PACS(one("1")), "B": b})
    b.leaves_out = {"00201206"}
    assert len(hospital.search("studies")) == 2
    assert b.log[-1].startswith("SERIES")


def test_absences_are_kept_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(absences, "MAX_REQUESTS", 2)
    hospital = Hospital({"A": PACS(one("1")), "B": PACS()})
    hospital.pacs["B"].error = DOWN
    for _ in range(4):
        hospital.rows(find())
    assert len(hospital.several._absences._requests) == 2


def test_a_source_that_stops_in_the_midst_gives_what_it_gave() -> None:
    b = PACS(one("2"), one("3"))
    hospital = Hospital({"A": PACS(one("1")), "B": b})
    whole = b._matches

    def broken(query: Find) -> Any:
        yield whole(query)[0]
        raise DOWN

    b._matches = broken  # type: ignore[method-assign, assignment]
    matches = hospital.respond(find()).result
    assert table(result_of(read(matches)), "StudyInstanceUID") == [("1",), ("2",)]
    assert matches.warnings == ["B did not answer; what it holds is missing here."]


def test_a_source_that_cannot_answer_such_a_query_is_missing_from_it() -> None:
    hospital = Hospital({"A": PACS(one("1")), "B": PACS(one("2"))})
    hospital.pacs["B"].error = RejectedError("no such key", status=0xA900)
    assert table(hospital.rows(find()), "StudyInstanceUID") == [("1",)]


def test_where_one_has_no_relational_queries_none_is_asked_one() -> None:
    a, b = PACS(one("1"), relational=True), PACS(one("2"))
    hospital = Hospital({"A": a, "B": b})
    with pytest.raises(NotAcceptable):
        hospital.respond(Find(Level.SERIES, {}, {}, relational=True))
    assert {first(row, "StudyInstanceUID") for row in hospital.search("series")} == {"1", "2"}


def test_what_each_warns_of_is_told_once() -> None:
    hospital = Hospital({"A": PACS(one("1")), "B": PACS(one("2"))})
    [warning] = hospital.warnings("studies?fuzzymatching=true&PatientName=Doe")
    assert "Only literal matching has been performed." in warning


def test_cancelling_ends_every_query() -> None:
    hospital = Hospital({"A": PACS(), "B": PACS()})
    for pacs in hospital.pacs.values():
        pacs.silent = True
    running = hospital._proceed(hospital.begin(find())[0])
    running.addErrback(lambda _: None)
    running.cancel()
    assert [pacs.waits[1].called for pacs in hospital.pacs.values()] == [True, True]
    hospital.clock.advance(TIMEOUT)
    assert hospital.clock.getDelayedCalls() == []


# Bounds


def test_of_each_no_more_is_read_than_the_reader_wants() -> None:
    a, b = PACS(*(one(f"1.{n}") for n in range(9))), PACS(*(one(f"2.{n}") for n in range(9)))
    hospital = Hospital({"A": a, "B": b})
    rows = table(hospital.rows(find(limit=3))[:3], "StudyInstanceUID")
    assert rows == [("1.0",), ("2.0",), ("1.1",)]
    assert (a.taken[0], a.cancelled[0], b.taken[0]) == (3, True, 3)
    assert hospital.rows(find(limit=3))[3:]


def test_a_query_is_read_in_rounds_and_nothing_comes_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searching, "FIRST_ROUND", 2)
    a, b = PACS(*(one(f"1.{n}") for n in range(9))), PACS(*(one(f"1.{n}") for n in range(4, 12)))
    hospital = Hospital({"A": a, "B": b})
    rows = table(hospital.rows(find()), "StudyInstanceUID")
    assert sorted(rows, key=lambda row: int(row[0][2:])) == [(f"1.{n}",) for n in range(12)]
    assert [one for one in a.log if one == "STUDY"] == ["STUDY"] * 3


def test_there_is_an_end_to_what_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searching, "MAX_ROWS", 3)
    hospital = Hospital({"A": PACS(one("1"), one("2")), "B": PACS(one("3"), one("4"))})
    with pytest.raises(TooLarge, match="MAX_ROWS"):
        hospital.respond(find())


def test_who_gives_up_asks_no_more() -> None:
    hospital = Hospital({"A": PACS(one("1"), one("2")), "B": PACS()})
    matches = hospital.respond(find(limit=1)).result
    result_of(matches.aclose())
    assert result_of(read(matches)) == []


# Levels


def test_patients_are_merged_by_id_and_issuer() -> None:
    class Patients(PACS):
        def _judge(self, find: Find) -> None:
            pass

        def _matches(self, find: Find) -> list[Any]:
            keep = ("00100020", "00100021", "00100010")
            counted = {"00201200": {"vr": "IS", "Value": [1]}}
            return [{**{t: one.attributes[t] for t in keep if t in one.attributes}, **counted} for one in self.studies]

    a = Patients(one("1", PatientID="P"), one("2", PatientID="Q"))
    b = Patients(one("3", PatientID="P"), one("4", PatientID="Q", IssuerOfPatientID="X"))
    asked = find(Level.PATIENT, "PatientID", "IssuerOfPatientID")
    rows = Hospital({"A": a, "B": b}).rows(asked)
    assert table(rows, "PatientID", "IssuerOfPatientID", "NumberOfPatientRelatedStudies") == [
        ("P", None, None),
        ("Q", None, 1),
        ("Q", "X", 1),
    ]


def test_a_relational_query_is_merged_by_what_its_studies_are() -> None:
    a = PACS(study("1", series("1.1", image("1.1.1"))), relational=True)
    b = PACS(study("1", series("1.1", image("1.1.2")), series("1.2", image("1.2.1")), PatientID="P1"), relational=True)
    hospital = Hospital({"A": a, "B": b})
    assert hospital.several.relational_queries
    rows = hospital.search("series?Modality=CT")
    found = table(rows, "SeriesInstanceUID", "NumberOfSeriesRelatedInstances", "RetrieveAETitle")
    assert found == [("1.1", 2, "A"), ("1.2", 1, "B")]


def test_a_row_that_lacks_its_unique_key_stands_for_itself() -> None:
    a = PACS(one("1"), one("2"), leaves_out=["StudyInstanceUID"])
    assert len(Hospital({"A": a, "B": PACS()}).rows(find())) == 2


def test_one_source_alone_answers_as_it_does_and_names_itself() -> None:
    hospital = Hospital({"A": PACS(one("1")), "B": PACS(one("2"))})
    assert table(hospital.rows(find(), source="B"), "StudyInstanceUID", "RetrieveAETitle") == [("2", "B")]
    assert hospital.pacs["A"].log == []


def test_an_error_that_is_none_of_ours_is_not_taken_for_a_missing_source() -> None:
    hospital = Hospital({"A": PACS(one("1")), "B": PACS(one("2"))})
    hospital.pacs["B"].error = ZeroDivisionError()  # type: ignore[assignment]
    with pytest.raises(ZeroDivisionError):
        hospital.respond(find())
    assert not issubclass(ZeroDivisionError, HarmonyError)


def test_a_contested_match_knows_its_source() -> None:
    row = ContestedMatch({"0020000D": {}}, "A")
    assert (row.source, dict(row)) == ("A", {"0020000D": {}})
