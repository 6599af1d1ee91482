"""Retrievals with a scripted `begin`: which associations are asked for, in order, and what is made of the answers."""

from typing import Any

import pytest
from pytest_twisted import ensureDeferred

from harmonygw.backends.dicom_scu import contexts, retrieval
from harmonygw.backends.dicom_scu.contexts import LOSSLESS, LOSSY, NATIVE, VIDEO
from harmonygw.backends.dicom_scu.expectation import Expectation
from harmonygw.dicom.dataset.patient import Patient
from harmonygw.dicom.dimse.commands import CStoreRQ
from harmonygw.errors import BadRequest, Incomplete, NotAcceptable, PeerError, RejectedError, TimedOut, TransportError
from harmonygw.net.association.operations import Outcome
from harmonygw.net.association.receiving import Admission, Refusal
from harmonygw.operations import Level, Retrieve
from harmonygw.streams import Instance, Match
from tests.alerted import alerts
from tests.backends.dicom_scu.archive import Archive, instance, series
from tests.backends.dicom_scu.retrieving import (
    CT,
    EXPLICIT,
    J2K_LOSSLESS,
    JPEG,
    MR,
    NO_CONTEXT,
    NO_SYNTAX,
    PATIENT,
    SC,
    SOME_FAILED,
    STUDY,
    STUDY_KEYS,
    SUCCESS,
    TWO,
    Retrieving,
    Script,
    came,
)


@ensureDeferred
async def test_one_association_is_enough_when_all_comes() -> None:
    script = Script(("1.2.3.4", "1.2.3.5", SUCCESS))
    retrieving = Retrieving(script)
    assert await retrieving.run() == ["1.2.3.4", "1.2.3.5"]
    assert script.begun == [(Level.STUDY, (), (CT,), (*NATIVE, *LOSSLESS))]
    assert retrieving.archive.asked == []
    assert (retrieving.record.instances, retrieving.record.dimse_status, retrieving.record.notes) == (2, 0, [])


@ensureDeferred
async def test_classes_that_are_not_told_are_guessed_from_the_modalities() -> None:
    script = Script(("1.2.3.4", SUCCESS))
    await Retrieving(script, expectation=Expectation(PATIENT, STUDY_KEYS, modalities=("MR",))).run()
    assert script.begun[0][2] == contexts.likely_classes(("MR",))


@ensureDeferred
async def test_the_syntax_in_which_an_instance_is_held_is_proposed_first() -> None:
    script = Script(("1.2.3.4", SUCCESS), ("1.2.3.4", SUCCESS))
    held = Expectation(PATIENT, STUDY_KEYS, classes=(CT,), transfer_syntaxes=(JPEG,))
    await Retrieving(script, expectation=held).run()
    await Retrieving(
        script, expectation=held, retrieve=Retrieve(Level.STUDY, "1.2", transfer_syntaxes=(EXPLICIT,))
    ).run()
    assert [syntaxes for _, _, _, syntaxes in script.begun] == [(JPEG, *NATIVE, *LOSSLESS), NATIVE]


@ensureDeferred
async def test_lossy_syntaxes_are_in_the_first_association_when_so_configured() -> None:
    script = Script(("1.2.3.4", SUCCESS))
    await Retrieving(script, expectation=Expectation(PATIENT, classes=(CT,)), lossy_with_others=True).run()
    assert script.begun[0][3] == (*NATIVE, *LOSSLESS, *LOSSY, *VIDEO)


@ensureDeferred
async def test_what_the_first_association_left_out_is_asked_for_with_other_syntaxes_until_it_comes() -> None:
    script = Script(("1.2.3.4", SOME_FAILED), (SOME_FAILED,), (SOME_FAILED,), ("1.2.3.5", SUCCESS))
    retrieving = Retrieving(script, Archive([], [series()], TWO))
    assert await retrieving.run() == ["1.2.3.4", "1.2.3.5"]
    assert script.begun == [
        (Level.STUDY, (), (CT,), (*NATIVE, *LOSSLESS)),
        (Level.IMAGE, ("1.2.3.5",), (CT,), (*NATIVE, *LOSSLESS)),
        (Level.IMAGE, ("1.2.3.5",), (CT,), LOSSLESS),
        (Level.IMAGE, ("1.2.3.5",), (CT,), (*LOSSY, *VIDEO)),
    ]
    assert retrieving.record.notes == ["1 instances were left out by the first association"]
    assert retrieving.record.dimse_status == 0


@ensureDeferred
async def test_what_is_left_out_is_asked_for_series_by_series_with_the_classes_it_has() -> None:
    archive = Archive(
        [],
        [series(), series("1.2.4", "MR"), series("1.2.5", "SR")],
        {"1.2.3": [instance("1")], "1.2.4": [instance("2", MR), instance("3", SC)], "1.2.5": []},
    )
    script = Script(
        (SOME_FAILED,), ("1", SUCCESS), (came("2", series_uid="1.2.4"), came("3", series_uid="1.2.4"), SUCCESS)
    )
    await Retrieving(script, archive).run()
    assert script.begun[1:] == [
        (Level.IMAGE, ("1",), (CT,), (*NATIVE, *LOSSLESS)),
        (Level.IMAGE, ("2", "3"), (MR, SC), (*NATIVE, *LOSSLESS)),
    ]
    assert [find.keys for find in archive.asked] == [
        STUDY_KEYS,
        *({**STUDY_KEYS, "0020000E": {"vr": "UI", "Value": [uid]}} for uid in ("1.2.3", "1.2.4", "1.2.5")),
    ]


@ensureDeferred
async def test_one_identifier_lists_no_more_than_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrieval, "BATCH", 2)
    archive = Archive([], [series()], {"1.2.3": [instance(uid) for uid in "123"]})
    script = Script((SOME_FAILED,), ("1", "2", SUCCESS), ("3", SUCCESS))
    await Retrieving(script, archive).run()
    assert [uids for _, uids, _, _ in script.begun] == [(), ("1", "2"), ("3",)]


@ensureDeferred
async def test_success_with_too_few_instances_is_not_believed() -> None:
    script = Script(("1.2.3.4", SUCCESS), ("1.2.3.5", SUCCESS))
    retrieving = Retrieving(script, Archive([], [series()], TWO))
    assert await retrieving.run() == ["1.2.3.4", "1.2.3.5"]
    assert retrieving.record.notes[0] == "the archive reported success with 1 of 2 instances"


@ensureDeferred
async def test_what_still_lacks_at_the_end_makes_it_incomplete() -> None:
    named = Retrieve(Level.STUDY, "1.2", transfer_syntaxes=(EXPLICIT, J2K_LOSSLESS))
    script = Script(("1.2.3.4", SOME_FAILED), (SOME_FAILED,), (SOME_FAILED,))
    error = await Retrieving(script, Archive([], [series()], TWO), named).failing(
        Incomplete, r"1 of 2 instances did not come \(the archive's final status: B000H"
    )
    assert error.log_detail == "1.2.3.5"  # type: ignore[attr-defined]


@ensureDeferred
async def test_the_count_of_associations_for_what_is_left_out_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrieval, "MAX_ROUNDS", 3)
    script = Script(("1.2.3.4", SOME_FAILED), *[(SOME_FAILED,)] * 3)
    await Retrieving(script, Archive([], [series()], TWO)).failing(Incomplete, "1 of 2 instances did not come")
    assert len(script.begun) == 4


@ensureDeferred
async def test_too_many_left_out_fail_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrieval, "MAX_LEFT_OUT", 1)
    script = Script((SOME_FAILED,))
    await Retrieving(script, Archive([], [series()], TWO)).failing(Incomplete, "MAX_LEFT_OUT")


@ensureDeferred
async def test_a_uid_of_the_archives_that_cannot_be_asked_for_is_its_own_fault() -> None:
    async def search(find: object) -> list[Match]:
        raise BadRequest("(0020,000E) UI: '1..2' is not a UID")

    retrieving = Retrieving(Script((SOME_FAILED,)))
    retrieving.retrieval.search = search
    with alerts() as raised:
        await retrieving.failing(PeerError, "the archive lists what cannot be asked for: .*1..2")
    assert [one.kind for one in raised] == ["hostile_bytes"]


@ensureDeferred
async def test_only_lossy_syntaxes_are_asked_for_instance_by_instance() -> None:
    script = Script(("1.2.3.4", "1.2.3.5", SUCCESS))
    lossy = Retrieve(Level.STUDY, "1.2", transfer_syntaxes=(JPEG,))
    await Retrieving(script, Archive([], [series()], TWO), lossy).run()
    assert script.begun == [(Level.IMAGE, ("1.2.3.4", "1.2.3.5"), (CT,), (JPEG,))]


@ensureDeferred
async def test_instances_that_are_named_are_looked_for_among_themselves() -> None:
    wanted = Retrieve(Level.IMAGE, "1.2", "1.2.3", ("1.2.3.5",))
    script = Script((SOME_FAILED,), ("1.2.3.5", SUCCESS))
    retrieving = Retrieving(script, Archive([], [series()], TWO), wanted)
    assert await retrieving.run() == ["1.2.3.5"]
    assert retrieving.archive.asked[0].keys["0020000E"]["Value"] == ["1.2.3"]
    assert retrieving.archive.asked[1].keys["00080018"]["Value"] == ["1.2.3.5"]


@ensureDeferred
async def test_a_c_move_is_repeated_once_for_what_did_not_come() -> None:
    script = Script(("1.2.3.4", SUCCESS), (SUCCESS,))
    script.contexts_are_ours = False
    await Retrieving(script, Archive([], [series()], TWO)).failing(Incomplete, "1 of 2 instances did not come")
    assert len(script.begun) == 2


@ensureDeferred
async def test_an_association_lost_before_the_first_object_is_replaced_once_by_a_fresh_one() -> None:
    script = Script((TransportError("lost"),), ("1.2.3.4", "1.2.3.5", SUCCESS))
    retrieving = Retrieving(script)
    assert await retrieving.run() == ["1.2.3.4", "1.2.3.5"]
    assert script.fresh == [False, True]
    assert retrieving.record.notes == ["the association was lost before the first object; tried once more"]


@pytest.mark.parametrize(
    ("answers", "count"),
    [
        ([(TransportError("lost"),), (TransportError("lost"),)], 2),
        ([("1.2.3.4", TransportError("lost"))], 1),
        ([(TimedOut("lost"),)], 1),
        ([(PeerError("lost"),)], 1),
    ],
)
@ensureDeferred
async def test_other_losses_are_final(answers: list[Any], count: int) -> None:
    script = Script(*answers)
    await Retrieving(script).failing(type(answers[-1][-1]), "lost")
    assert len(script.begun) == count


@pytest.mark.parametrize("status", [0xA700, 0xA701, 0xA801, 0xA900, 0x0124])
@ensureDeferred
async def test_a_refusal_is_not_argued_with(status: int) -> None:
    script = Script((Outcome(status, error_comment="go away"),))
    error = await Retrieving(script).failing(RejectedError, f"refused the retrieval with status {status:04X}H")
    assert (error.status, error.log_detail) == (status, "go away")  # type: ignore[attr-defined]


@ensureDeferred
async def test_an_end_without_final_response_is_the_peers_error() -> None:
    script = Script(("1.2.3.4", None))
    await Retrieving(script).failing(PeerError, "without a final response")


NAMED = Retrieve(Level.STUDY, "1.2", transfer_syntaxes=(J2K_LOSSLESS,))


@pytest.mark.parametrize(
    ("answers", "retrieve", "kind", "sentence"),
    [
        ([(SOME_FAILED,)] * 2, NAMED, NotAcceptable, f"SOP class {CT}.* in none of {J2K_LOSSLESS} .*B000H"),
        ([(Outcome(0xA702),)] * 2, NAMED, NotAcceptable, "in none of"),
        ([(Outcome(0xC000),)] * 2, NAMED, RejectedError, "sent nothing of what it lists .*C000H"),
        ([(SUCCESS,)] * 2, NAMED, RejectedError, "sent nothing of what it lists .*0000H"),
        ([(NO_SYNTAX,)] * 2, NAMED, NotAcceptable, "in none of"),
        ([(NO_CONTEXT,), (NO_SYNTAX,)], NAMED, NotAcceptable, "in none of"),
        ([(NO_CONTEXT,)] * 2, NAMED, RejectedError, "no context for CT"),
        ([(NO_SYNTAX,)] * 28, STUDY, RejectedError, "no context for CT in any syntax"),
        ([(SOME_FAILED,)] * 28, STUDY, RejectedError, "sent nothing of what it lists"),
    ],
)
@ensureDeferred
async def test_why_nothing_came(answers: list[Any], retrieve: Retrieve, kind: type[Exception], sentence: str) -> None:
    script = Script(*answers)
    await Retrieving(script, Archive([], [series()], TWO), retrieve).failing(kind, sentence)
    assert script.answers == []


@ensureDeferred
async def test_classes_that_are_not_told_are_said_to_be_unknown() -> None:
    script = Script((SOME_FAILED,), *[(SOME_FAILED,)])
    archive = Archive([], [series()], {"1.2.3": [{"00080018": {"vr": "UI", "Value": ["1.2.3.4"]}}]})
    await Retrieving(script, archive, NAMED).failing(NotAcceptable, "SOP class not told")


@ensureDeferred
async def test_a_c_move_that_brings_nothing_is_the_archives_fault() -> None:
    script = Script((SOME_FAILED,), (SOME_FAILED,))
    script.contexts_are_ours = False
    await Retrieving(script, Archive([], [series()], TWO), NAMED).failing(RejectedError, "sent nothing")


@ensureDeferred
async def test_an_archive_that_lists_nothing_and_sends_nothing_fails() -> None:
    await Retrieving(Script((SUCCESS,))).failing(RejectedError, "sent nothing of what it lists")


SERIES = Retrieve(Level.SERIES, "1.2", "1.2.3")
IMAGE = Retrieve(Level.IMAGE, "1.2", "1.2.3", ("1.2.3.4",))


@pytest.mark.parametrize(
    ("retrieve", "wrong", "sentence"),
    [
        (STUDY, came("1", study_uid="9.9"), "another study"),
        (STUDY, came("1", study_uid=""), "another study, or none"),
        (SERIES, came("1", series_uid="9.9"), "another series"),
        (IMAGE, came("1"), "another SOP instance"),
        (STUDY, came("1", PatientID="P2"), "another patient"),
        (STUDY, came("1", PatientID=""), "it has no PatientID"),
        (STUDY, came("1", IssuerOfPatientID="B"), "another issuer"),
    ],
)
@ensureDeferred
async def test_an_object_that_was_not_asked_for_is_refused_and_ends_the_retrieval(
    retrieve: Retrieve, wrong: Instance, sentence: str
) -> None:
    expectation = Expectation(Patient("P1", "A"), STUDY_KEYS, classes=(CT,))
    script = Script((wrong, SUCCESS))
    retrieving = Retrieving(script, retrieve=retrieve, expectation=expectation)
    with alerts() as raised:
        error = await retrieving.failing(PeerError, f"not asked for: {sentence}")
    of_patient = "atient" in sentence or "issuer" in sentence
    assert [one.kind for one in raised] == ["patients_differ" if of_patient else "unsolicited_object"]
    assert "P2" not in raised[0].sentence
    [refusal] = script.decisions
    assert isinstance(refusal, Refusal)
    assert refusal.status == 0x0124
    assert script.cancelled == [error]
    assert retrieving.record.instances == 0


@ensureDeferred
async def test_an_instance_that_comes_twice_ends_the_retrieval() -> None:
    script = Script(("1.2.3.4", "1.2.3.4", SUCCESS))
    await Retrieving(script).failing(PeerError, "come already")
    assert len(script.decisions) == 2


@ensureDeferred
async def test_a_patient_that_the_archive_did_not_tell_is_that_of_the_first_object() -> None:
    script = Script((came("1", PatientID="A"), came("2", PatientID="B"), SUCCESS))
    await Retrieving(script, expectation=Expectation(classes=(CT,))).failing(PeerError, "another patient")
    assert [type(one) for one in script.decisions] == [Admission, Refusal]


@ensureDeferred
async def test_a_patient_id_beyond_ascii_is_compared_as_text() -> None:
    utf_8 = came("1", PatientID="Müller".encode().decode("latin-1"), SpecificCharacterSet="ISO_IR 192")
    undeclared = came("2", PatientID="Müller")
    script = Script((utf_8, undeclared, SUCCESS))
    expectation = Expectation(Patient("Müller"), classes=(CT,), count=2)
    instances = await Retrieving(script, expectation=expectation, default_character_set=("ISO_IR 100",)).run()
    assert len(instances) == 2
    assert undeclared.default_character_set == ("ISO_IR 100",)


def test_before_it_begins_nothing_is_taken() -> None:
    decision = Retrieving(Script()).retrieval._admit(CStoreRQ(1, CT, "1"), came("1"))
    assert isinstance(decision, Refusal)


@ensureDeferred
async def test_an_object_that_comes_when_nobody_reads_any_more_is_not_counted() -> None:
    script = Script(("1.2.3.4", "1.2.3.5", SUCCESS))
    retrieving = Retrieving(script)
    stream = retrieving.retrieval.instances()
    await stream.__anext__()
    await stream.aclose()
    retrieving.retrieval._admit(CStoreRQ(1, CT, "1.2.3.5"), came("1.2.3.5"))
    assert retrieving.record.instances == 1
