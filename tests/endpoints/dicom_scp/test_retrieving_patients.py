"""Retrievals that name a patient: study by study, and nobody else's."""

from typing import Any

import pytest
from twisted.logger import capturedLogs

from harmonygw.dicom.dimse.commands import CGetRQ, CGetRSP
from harmonygw.endpoints.dicom_scp import retrieving
from harmonygw.operations import Find, Level, Retrieve
from tests.endpoints.dicom_scp.retrieving import COUNT, stored
from tests.endpoints.dicom_scp.scripted import CT, EXPLICIT, PATIENT_GET, Script, identifier, instance, key, stream


def test_a_patient_is_retrieved_study_by_study_and_nobody_elses() -> None:
    script = Script()
    rows = [
        {"00100020": key("LO", patient), "0020000D": key("UI", uid), COUNT: key("IS", 1)}
        for patient, uid in (("P1", "1.2"), ("P10", "1.9"), ("P1", "1.3"))
    ]
    script.pipeline.answer = lambda operation: stream(*rows) if isinstance(operation, Find) else stream(instance(1))
    peer = script.getting((CT, EXPLICIT), sop_class_uid=PATIENT_GET)
    came = peer.send(CGetRQ(7, PATIENT_GET), identifier("PATIENT", _00100020=key("LO", "P1")))
    came += stored(peer, came)
    assert [one.command.remaining for one in came if isinstance(one.command, CGetRSP)] == [1, 0, None]
    assert script.pipeline.operations[1:] == [
        Retrieve(Level.STUDY, uid, transfer_syntaxes=(EXPLICIT,), patient_id="P1") for uid in ("1.2", "1.3")
    ]


def of_patient(level: str, patient_id: str, **more: Any) -> bytes:
    return identifier(level, _00100020=key("LO", patient_id), _0020000D=key("UI", "1.2"), **more)


@pytest.mark.parametrize(
    "query",
    [
        of_patient("STUDY", "P1"),
        of_patient("SERIES", "P1", _0020000E=key("UI", "1.2.3")),
        of_patient("IMAGE", "P1", _0020000E=key("UI", "1.2.3"), _00080018=key("UI", "1.2.3.1")),
    ],
)
def test_what_is_asked_for_with_its_patient_is_retrieved_when_it_is_that_patients(query: bytes) -> None:
    script = Script()
    row = {"00100020": key("LO", "P1"), "0020000D": key("UI", "1.2"), COUNT: key("IS", 1), "00201209": key("IS", 1)}
    script.pipeline.answer = lambda operation: stream(row) if isinstance(operation, Find) else stream(instance(1))
    peer = script.getting((CT, EXPLICIT), sop_class_uid=PATIENT_GET)
    came = peer.send(CGetRQ(7, PATIENT_GET), query)
    came += stored(peer, came)
    assert [one.command.remaining for one in came if isinstance(one.command, CGetRSP)] == [0, None]
    studies, *_, retrieve = script.pipeline.operations
    assert studies == Find(Level.STUDY, {"00100020": key("LO", "P1"), "0020000D": key("UI", "1.2")}, {COUNT: key("IS")})
    assert retrieve.patient_id == "P1"


@pytest.mark.parametrize(
    ("query", "status", "failed"),
    [
        (of_patient("STUDY", "P2"), 0x0000, 0),
        (of_patient("SERIES", "P2", _0020000E=key("UI", "1.2.3")), 0x0000, 0),
        (of_patient("IMAGE", "P2", _0020000E=key("UI", "1.2.3"), _00080018=key("UI", "1.2.3.1")), 0xA702, 1),
    ],
)
@pytest.mark.parametrize("matches", [True, False])
def test_a_study_of_another_patient_than_was_asked_for_is_not_retrieved(
    query: bytes, status: int, failed: int, matches: bool
) -> None:
    script = Script()
    # Some archives take no notice of a Patient ID beside a Study Instance UID.
    row = {"00100020": key("LO", "P1"), "0020000D": key("UI", "1.2"), COUNT: key("IS", 1)}
    script.pipeline.answer = lambda operation: stream(row) if matches else stream()
    peer = script.getting((CT, EXPLICIT), sop_class_uid=PATIENT_GET)
    with capturedLogs() as events:
        [last] = peer.send(CGetRQ(7, PATIENT_GET), query)
    assert (last.command.status, last.command.failed) == (status, failed)  # type: ignore[union-attr]
    assert [type(one) for one in script.pipeline.operations] == [Find]
    [line] = [event["exchange"] for event in events if "exchange" in event]
    assert "the archive has some of the studies under no such patient" in line["notes"]


@pytest.mark.parametrize(("studies", "status"), [(2, 0x0000), (3, 0xA702)])
def test_a_patient_with_too_many_studies_is_refused_and_not_cut_short(
    monkeypatch: pytest.MonkeyPatch, studies: int, status: int
) -> None:
    monkeypatch.setattr(retrieving, "MAX_ROWS", 2)
    script = Script()
    rows = [{"00100020": key("LO", "P1"), "0020000D": key("UI", f"1.{number}")} for number in range(studies)]
    script.pipeline.answer = lambda operation: stream(*rows) if isinstance(operation, Find) else stream()
    peer = script.getting((CT, EXPLICIT), sop_class_uid=PATIENT_GET)
    [last] = peer.send(CGetRQ(7, PATIENT_GET), identifier("PATIENT", _00100020=key("LO", "P1")))
    assert last.command.status == status  # type: ignore[union-attr]
    assert len(script.pipeline.operations) == (3 if status == 0x0000 else 1)
