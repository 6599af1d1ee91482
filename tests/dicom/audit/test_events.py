from base64 import b64decode
from datetime import UTC, datetime
from typing import Any

from harmonygw.dicom.audit import codes
from harmonygw.dicom.audit.events import (
    MAX_CLASSES,
    AuditedPatient,
    AuditedStudy,
    Circumstances,
    application_started,
    application_stopped,
    begin_transferring,
    instances_accessed,
    instances_transferred,
    login,
    query,
    security_alert,
    uri_query,
)
from harmonygw.dicom.audit.message import (
    Action,
    ActiveParticipant,
    AuditSourceIdentification,
    Outcome,
    SOPClass,
    write,
)
from tests.dicom.audit.schema import event_of, objects_of, users_of, validated

NOW = Circumstances(datetime(2026, 11, 28, tzinfo=UTC), AuditSourceIdentification("gateway"))
FAILED = Circumstances(NOW.when, NOW.source, Outcome.SERIOUS_FAILURE, "the archive is gone")
PACS = ActiveParticipant("PACS")
CLIENT = ActiveParticipant("client", is_requestor=True, access_point="192.0.2.1")
DOCTOR = ActiveParticipant("doctor")
PATIENT = AuditedPatient("P1", "Müller^Jürgen=M^J", "HOSPITAL")
STUDY = AuditedStudy("1.2.3", (SOPClass("1.2.840.10008.5.1.4.1.1.2", 7),), "A1")


def participants(root: Any) -> list[tuple[str, str, list[str]]]:
    return [
        (one.get("UserID"), one.get("UserIsRequestor"), [role.get("csd-code") for role in one.iterfind("RoleIDCode")])
        for one in root.iterfind("ActiveParticipant")
    ]


def types(root: Any) -> list[str]:
    return [one.get("csd-code") for one in root.iterfind("EventIdentification/EventTypeCode")]


def test_application_activity() -> None:
    for message, kind in ((application_started(NOW, PACS), "110120"), (application_stopped(NOW, PACS), "110121")):
        root = validated(write(message))
        assert event_of(root) == ("110100", "E", "0")
        assert types(root) == [kind]
        assert participants(root) == [("PACS", "false", ["110150"])]
        assert root.find("ParticipantObjectIdentification") is None


def test_begin_transferring() -> None:
    root = validated(write(begin_transferring(NOW, PACS, CLIENT, [DOCTOR], [STUDY], PATIENT)))
    assert event_of(root) == ("110102", "E", "0")
    assert participants(root) == [
        ("PACS", "false", ["110153"]),
        ("client", "true", ["110152"]),
        ("doctor", "false", []),
    ]
    study, patient = root.iterfind("ParticipantObjectIdentification")
    assert dict(study.attrib) == {
        "ParticipantObjectID": "1.2.3",
        "ParticipantObjectTypeCode": "2",
        "ParticipantObjectTypeCodeRole": "3",
    }
    assert study.find(".//Accession").get("Number") == "A1"
    assert study.find(".//SOPClass").get("NumberOfInstances") == "7"
    assert dict(patient.attrib) == {
        "ParticipantObjectID": "P1",
        "ParticipantObjectTypeCode": "1",
        "ParticipantObjectTypeCodeRole": "1",
    }
    assert patient.findtext("ParticipantObjectName") == "Müller^Jürgen=M^J"
    assert b64decode(patient.find("ParticipantObjectDetail").get("value")) == b"HOSPITAL"


def test_instances_transferred() -> None:
    root = validated(write(instances_transferred(FAILED, PACS, CLIENT, [], [STUDY, AuditedStudy("1.2.4")], PATIENT)))
    assert event_of(root) == ("110104", "R", "8")
    assert root.findtext(".//EventOutcomeDescription") == "the archive is gone"
    assert objects_of(root, "110180") == ["1.2.3", "1.2.4"]


def test_instances_accessed() -> None:
    root = validated(write(instances_accessed(NOW, Action.DELETE, [DOCTOR, PACS], [STUDY], AuditedPatient())))
    assert event_of(root) == ("110103", "D", "0")
    assert users_of(root) == ["doctor", "PACS"]
    assert objects_of(root, "2") == ["<none>"]
    assert root.find("ParticipantObjectIdentification[2]/ParticipantObjectDetail") is None


def test_what_is_not_known_of_a_study_is_not_said() -> None:
    nothing = AuditedStudy("", accession_number="A1", details=(("Further studies", b"7"),))
    root = validated(write(begin_transferring(NOW, PACS, CLIENT, [], [nothing], PATIENT)))
    study = root.find("ParticipantObjectIdentification")
    assert study.get("ParticipantObjectID") == "<none>"
    assert study.find("ParticipantObjectDescription") is None
    assert b64decode(study.find("ParticipantObjectDetail").get("value")) == b"7"


def test_sop_classes_beyond_the_limit_are_counted_together() -> None:
    for number, listed in ((MAX_CLASSES, MAX_CLASSES), (MAX_CLASSES + 1, MAX_CLASSES)):
        study = AuditedStudy("1.2", tuple(SOPClass(f"1.2.{one}", 2) for one in range(number)))
        root = validated(write(begin_transferring(NOW, PACS, CLIENT, [], [study], PATIENT)))
        classes = list(root.iterfind(".//SOPClass"))
        assert len(classes) == listed
        assert sum(int(one.get("NumberOfInstances")) for one in classes) == 2 * number
        assert (classes[-1].get("UID") is None) is (number > MAX_CLASSES)


def test_query() -> None:
    message = query(
        NOW,
        CLIENT,
        PACS,
        [],
        sop_class_uid="1.2.840.10008.5.1.4.1.2.2.1",
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        identifier=b"\x10\0\x20\0LO\x02\0P1",
        details=(("Query String", b"PatientID=P1"),),
    )
    root = validated(write(message))
    assert event_of(root) == ("110112", "E", "0")
    assert participants(root)[:2] == [("client", "true", ["110153"]), ("PACS", "false", ["110152"])]
    queried = root.find("ParticipantObjectIdentification")
    assert objects_of(root, "110181") == ["1.2.840.10008.5.1.4.1.2.2.1"]
    assert b64decode(queried.findtext("ParticipantObjectQuery")) == b"\x10\0\x20\0LO\x02\0P1"
    details = {one.get("type"): b64decode(one.get("value")) for one in queried.iterfind("ParticipantObjectDetail")}
    assert details == {"TransferSyntax": b"1.2.840.10008.1.2.1", "Query String": b"PatientID=P1"}


def test_query_of_a_uri() -> None:
    root = validated(write(uri_query(NOW, CLIENT, PACS, [DOCTOR], path="/studies", parameters=b"PatientID=P1")))
    assert objects_of(root, "12") == ["/studies"]
    assert b64decode(root.findtext(".//ParticipantObjectQuery")) == b"PatientID=P1"


def test_security_alert() -> None:
    message = security_alert(
        FAILED, codes.NODE_AUTHENTICATION, PACS, [CLIENT], subject="192.0.2.1", description="unknown AE title \ud800"
    )
    root = validated(write(message))
    assert event_of(root) == ("110113", "E", "8")
    assert types(root) == ["110126"]
    assert participants(root) == [("PACS", "false", []), ("client", "false", [])]
    assert objects_of(root, "110182") == ["192.0.2.1"]
    detail = root.find(".//ParticipantObjectDetail")
    assert (detail.get("type"), b64decode(detail.get("value"))) == ("Alert Description", b"unknown AE title ?")


def test_login() -> None:
    root = validated(write(login(NOW, DOCTOR, PACS)))
    assert event_of(root) == ("110114", "E", "0")
    assert types(root) == ["110122"]
    assert participants(root) == [("doctor", "true", []), ("PACS", "false", [])]
