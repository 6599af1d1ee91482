from base64 import b64decode, b64encode
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harmonygw.dicom.audit import codes
from harmonygw.dicom.audit.message import (
    MAX_TEXT,
    MAX_UID,
    MAX_VALUE,
    AccessPoint,
    Action,
    ActiveParticipant,
    AuditMessage,
    AuditSourceIdentification,
    EventIdentification,
    ObjectDescription,
    Outcome,
    ParticipantObjectIdentification,
    SOPClass,
    fit,
    write,
)
from tests.dicom.audit.schema import validated

WHEN = datetime(2026, 11, 28, 2, 37, 0, 123456, UTC)
EVENT = EventIdentification(codes.QUERY, Action.EXECUTE, WHEN)
SOURCE = AuditSourceIdentification("gateway")
CLIENT = ActiveParticipant("client")


def message(**changes: object) -> AuditMessage:
    parts = {"event": EVENT, "participants": (CLIENT,), "source": SOURCE, **changes}
    return AuditMessage(**parts)  # type: ignore[arg-type]


def test_the_least_there_can_be() -> None:
    assert write(message()).decode() == (
        "<?xml version='1.0' encoding='UTF-8'?>"
        "<AuditMessage>"
        '<EventIdentification EventActionCode="E" EventDateTime="2026-11-28T02:37:00.123+00:00"'
        ' EventOutcomeIndicator="0"><EventID csd-code="110112" codeSystemName="DCM" originalText="Query"/>'
        "</EventIdentification>"
        '<ActiveParticipant UserID="client" UserIsRequestor="false"></ActiveParticipant>'
        '<AuditSourceIdentification AuditSourceID="gateway"><AuditSourceTypeCode csd-code="4"/>'
        "</AuditSourceIdentification></AuditMessage>"
    )
    validated(write(message()))


def test_all_there_can_be() -> None:
    whole = AuditMessage(
        EventIdentification(
            codes.SECURITY_ALERT,
            Action.EXECUTE,
            WHEN.astimezone(timezone(timedelta(hours=2))),
            Outcome.MINOR_FAILURE,
            (codes.RESTRICTED_FUNCTION, codes.RATE_LIMITED),
            'refused: <"&>',
        ),
        (
            ActiveParticipant(
                "dr@example.org",
                is_requestor=True,
                roles=(codes.SOURCE_ROLE,),
                alternative_user_id="AETITLES=A;B",
                user_name="Doctor",
                access_point="192.0.2.1",
            ),
            ActiveParticipant("pacs", access_point="pacs.example.org", access_point_type=AccessPoint.MACHINE_NAME),
        ),
        AuditSourceIdentification("gateway", "hospital", ("4", "9")),
        (
            ParticipantObjectIdentification(
                codes.STUDY_INSTANCE_UID,
                "1.2.3",
                "2",
                "3",
                name="a study",
                details=(("a type", b"\0\xff"),),
                description=ObjectDescription(("A1", "A2"), (SOPClass("1.2", 3), SOPClass("", 4)), ("1.2.3", "1.2.4")),
            ),
            ParticipantObjectIdentification(codes.SOP_CLASS_UID, "1.2", "2", query=b"identifier"),
        ),
    )
    root = validated(write(whole))
    event = root.find("EventIdentification")
    assert event.get("EventDateTime") == "2026-11-28T02:37:00.123+00:00"
    assert event.findtext("EventOutcomeDescription") == 'refused: <"&>'
    assert [one.get("csd-code") for one in event.iterfind("EventTypeCode")] == ["110132", "rate_limited"]
    doctor, pacs = root.iterfind("ActiveParticipant")
    assert dict(doctor.attrib) == {
        "UserID": "dr@example.org",
        "AlternativeUserID": "AETITLES=A;B",
        "UserName": "Doctor",
        "UserIsRequestor": "true",
        "NetworkAccessPointID": "192.0.2.1",
        "NetworkAccessPointTypeCode": "2",
    }
    assert doctor.find("RoleIDCode").get("originalText") == "Source Role ID"
    assert pacs.get("NetworkAccessPointTypeCode") == "1"
    source = root.find("AuditSourceIdentification")
    assert dict(source.attrib) == {"AuditEnterpriseSiteID": "hospital", "AuditSourceID": "gateway"}
    assert [one.get("csd-code") for one in source] == ["4", "9"]
    study, query = root.iterfind("ParticipantObjectIdentification")
    assert study.findtext("ParticipantObjectName") == "a study"
    detail = study.find("ParticipantObjectDetail")
    assert (detail.get("type"), b64decode(detail.get("value"))) == ("a type", b"\0\xff")
    description = study.find("ParticipantObjectDescription")
    assert [(one.tag, *one.attrib.items()) for one in description.iter()][1:] == [
        ("Accession", ("Number", "A1")),
        ("Accession", ("Number", "A2")),
        ("SOPClass", ("UID", "1.2"), ("NumberOfInstances", "3")),
        ("SOPClass", ("NumberOfInstances", "4")),
        ("ParticipantObjectContainsStudy",),
        ("StudyIDs", ("UID", "1.2.3")),
        ("StudyIDs", ("UID", "1.2.4")),
    ]
    assert query.get("ParticipantObjectTypeCodeRole") is None
    assert query.findtext("ParticipantObjectQuery") == b64encode(b"identifier").decode()


HOSTILE = "a\0b\x1b[31m\r\n<c>&\"'\ud800\u2028\ufffe\x85\tz]]>"


def test_nothing_that_a_peer_sends_breaks_out() -> None:
    hostile = message(
        event=EventIdentification(codes.QUERY, Action.EXECUTE, WHEN, description=HOSTILE),
        participants=(ActiveParticipant(HOSTILE, alternative_user_id=HOSTILE, access_point=HOSTILE),),
        objects=(
            ParticipantObjectIdentification(
                codes.PATIENT_NUMBER,
                HOSTILE,
                "1",
                name=HOSTILE,
                details=((HOSTILE, HOSTILE.encode("utf-8", "replace")),),
                description=ObjectDescription((HOSTILE,), (SOPClass(HOSTILE, 1),)),
            ),
        ),
    )
    written = write(hostile)
    root = validated(written)
    assert b"\n" not in written
    assert b"\r" not in written
    cleaned = "a\ufffdb\ufffd[31m\ufffd\ufffd<c>&\"'\ufffd\ufffd\ufffd\ufffd\ufffdz]]>"
    assert root.find("ActiveParticipant").get("UserID") == cleaned
    assert root.findtext("ParticipantObjectIdentification/ParticipantObjectName") == cleaned
    assert root.findtext("EventIdentification/EventOutcomeDescription") == cleaned


@given(st.text(st.characters(), max_size=40))
def test_any_text_is_written_as_it_is_or_replaced(text: str) -> None:
    root = validated(write(message(participants=(ActiveParticipant(text, user_name=text),))))
    assert root.find("ActiveParticipant").get("UserID") == fit(text)
    assert len(fit(text)) == len(text)


def test_texts_end_at_their_limit() -> None:
    assert fit("x" * MAX_TEXT) == "x" * MAX_TEXT
    assert fit("x" * (MAX_TEXT + 1)) == "x" * (MAX_TEXT - 1) + "…"
    described = ObjectDescription(sop_classes=(SOPClass("1" * (MAX_UID + 1), 1),), contains_studies=("2" * 65,))
    one = ParticipantObjectIdentification(codes.STUDY_INSTANCE_UID, "1.2", "2", description=described)
    root = validated(write(message(objects=(one,))))
    assert root.find(".//SOPClass").get("UID") == "1" * (MAX_UID - 1) + "…"
    assert root.find(".//StudyIDs").get("UID") == "2" * (MAX_UID - 1) + "…"


@pytest.mark.parametrize("size", [MAX_VALUE, MAX_VALUE + 1])
def test_values_end_at_their_limit(size: int) -> None:
    one = ParticipantObjectIdentification(codes.SOP_CLASS_UID, "1.2", "2", query=bytes(size))
    root = validated(write(message(objects=(one,))))
    assert len(b64decode(root.findtext(".//ParticipantObjectQuery"))) == MAX_VALUE
