from base64 import b64decode
from collections.abc import Iterable
from dataclasses import replace
from io import BytesIO
from typing import Any

import pytest
from pydicom.filereader import read_dataset

from harmonygw.audit.account import Account
from harmonygw.audit.telling import MAX_QUERY_STRING, OUTCOMES, STUDIES_A_MESSAGE, Telling
from harmonygw.dicom.audit.events import MAX_CLASSES
from harmonygw.dicom.audit.message import AuditSourceIdentification, write
from harmonygw.exchange import Request
from harmonygw.journal import Alert, Ending
from harmonygw.operations import Find, FindWorklist, Level
from harmonygw.streams import Instance
from tests.audit.parts import COMPLETE, CT, MR, NOW, dimse, http, instance
from tests.dicom.audit.schema import event_of, objects_of, users_of, validated

TELLING = Telling(AuditSourceIdentification("gateway", "hospital"), ("HARMONYGW",), lambda: NOW)
REFUSED = replace(COMPLETE, outcome="refused", status=404, reason="NotFound: nothing")
FAILED = replace(COMPLETE, outcome="failed", status=502, reason="TransportError: gone")
ABORTED = replace(COMPLETE, outcome="aborted", reason="TransportError: gone")
GONE = replace(COMPLETE, outcome="client_gone")


def told(request: Request, ending: Ending = COMPLETE) -> list[Any]:
    return [validated(write(one)) for one in TELLING.ended(request, ending)]


def account(*instances: Instance, broken: Iterable[Instance] = (), **changes: Any) -> Account:
    noted = Account(**changes)
    for one in instances:
        tally = noted.of_instance(one)
        tally.ends(tally.begins(one.sop_class_uid), whole=True)
    for one in broken:
        noted.of_instance(one).begins(one.sop_class_uid)
    return noted


def counts(root: Any) -> dict[str, dict[str | None, str]]:
    return {
        one.get("ParticipantObjectID"): {
            sop_class.get("UID"): sop_class.get("NumberOfInstances") for sop_class in one.iterfind(".//SOPClass")
        }
        for one in root.iterfind("ParticipantObjectIdentification")
        if one.get("ParticipantObjectTypeCode") == "2"
    }


def roles(root: Any) -> dict[str, str]:
    return {
        one.find("RoleIDCode").get("originalText").split()[0]: one.get("UserID")
        for one in root.iterfind("ActiveParticipant")
        if one.find("RoleIDCode") is not None
    }


def details(root: Any) -> dict[str, bytes]:
    return {one.get("type"): b64decode(one.get("value")) for one in root.iterfind(".//ParticipantObjectDetail")}


# Transfers


def test_a_retrieval_tells_who_got_what_of_whom() -> None:
    request = http("Retrieve", "studies/1.2", account=account(instance(), instance(), instance(sop_class=MR)))
    [root] = told(request)
    assert event_of(root) == ("110104", "R", "0")
    assert roles(root) == {"Source": "gateway", "Destination": "192.0.2.1"}
    assert users_of(root) == ["gateway", "192.0.2.1", "pacs"]
    assert counts(root) == {"1.2": {CT: "2", MR: "1"}}
    assert objects_of(root, "2") == ["P1"]
    assert root.findtext("ParticipantObjectIdentification[2]/ParticipantObjectName") == "Doe^Jane"
    assert root.find("AuditSourceIdentification").get("AuditEnterpriseSiteID") == "hospital"


def test_the_beginning_tells_whose_and_no_numbers() -> None:
    noted = account(instance())
    [tally] = noted.tallies.values()
    root = validated(write(TELLING.begins(http("Retrieve", account=noted), tally, storing=False)))
    assert event_of(root) == ("110102", "E", "0")
    assert counts(root) == {"1.2": {}}
    assert objects_of(root, "2") == ["P1"]


@pytest.mark.parametrize(("ending", "outcome"), [(ABORTED, "8"), (FAILED, "8"), (GONE, "4"), (REFUSED, "4")])
def test_what_went_and_what_did_not_are_told_apart(ending: Ending, outcome: str) -> None:
    ending = replace(ending, status=200)
    request = http("Retrieve", "studies/1.2", account=account(instance(), broken=[instance()]))
    whole, broken = told(request, ending)
    assert (event_of(whole), counts(whole)) == (("110104", "R", "0"), {"1.2": {CT: "1"}})
    assert whole.find(".//EventOutcomeDescription") is None
    assert (event_of(broken), counts(broken)) == (("110104", "R", outcome), {"1.2": {CT: "1"}})
    assert (broken.findtext(".//EventOutcomeDescription") or "") == ending.reason


@pytest.mark.parametrize(
    ("ending", "outcome"), [(FAILED, "8"), (replace(GONE, status=None), "4"), (REFUSED, "4")], ids=lambda one: str(one)
)
def test_what_was_read_for_a_client_that_got_none_of_it_did_not_go(ending: Ending, outcome: str) -> None:
    [broken] = told(http("Retrieve", "studies/1.2", account=account(instance(), broken=[instance()])), ending)
    assert (event_of(broken), counts(broken)) == (("110104", "R", outcome), {"1.2": {CT: "2"}})
    [stored] = told(http("Store Instances", account=account(instance())), FAILED)[:1]
    assert (event_of(stored)[2], counts(stored)) == ("0", {"1.2": {CT: "1"}}), "that is what the archive says"


def test_a_retrieval_that_ends_between_two_instances_did_not_succeed() -> None:
    whole, broken = told(http("Retrieve", account=account(instance())), ABORTED)
    assert (event_of(whole)[2], counts(whole)) == ("0", {"1.2": {CT: "1"}})
    assert (event_of(broken)[2], counts(broken)) == ("8", {"1.2": {}})


def test_what_a_move_destination_does_not_take_was_not_transferred() -> None:
    request = dimse("C-MOVE", destination="WORKSTATION", not_taken={("1.2", CT): 1}, dimse_status=0xB000)
    request.record.audit = account(instance(), instance())
    whole, broken = told(request)
    assert roles(whole) == {"Source": "gateway", "Destination": "WORKSTATION"}
    assert users_of(whole) == ["gateway", "WORKSTATION", "MODALITY", "pacs"]
    assert (event_of(whole)[2], counts(whole)) == ("0", {"1.2": {CT: "1"}})
    assert (event_of(broken)[2], counts(broken)) == ("8", {"1.2": {CT: "1"}})
    assert broken.findtext(".//EventOutcomeDescription") == "some instances were not transferred"


def test_a_warning_that_not_all_came_is_no_success() -> None:
    request = dimse("C-GET", dimse_status=0xB000)
    request.record.audit = account(instance())
    assert [event_of(one)[2] for one in told(request)] == ["0", "8"]
    request.record.dimse_status = 0
    assert [event_of(one)[2] for one in told(request)] == ["0"]


@pytest.mark.parametrize(("target", "sender"), [("pacs", "pacs"), ("", "unknown")])
def test_a_move_that_the_archive_carries_out(target: str, sender: str) -> None:
    noted = Account(is_direct=True)
    noted.tally("1.2", {"PatientID": "P1"}, ()).whole[""] = 5
    request = dimse("C-MOVE", destination="WORKSTATION")
    request.record.audit, request.record.target = noted, target
    [root] = told(request)
    assert roles(root) == {"Source": sender, "Destination": "WORKSTATION"}
    assert users_of(root)[2:] == ["MODALITY", "gateway"]
    assert root.find("ActiveParticipant[4]").get("AlternativeUserID") == "AETITLES=HARMONYGW"
    assert counts(root) == {"1.2": {None: "5"}}


def test_a_store_comes_from_the_client() -> None:
    request = dimse("C-STORE")
    request.record.audit = account(instance())
    [root] = told(request)
    assert event_of(root) == ("110104", "R", "0")
    assert roles(root) == {"Source": "MODALITY", "Destination": "gateway"}
    requestors = [one.get("UserIsRequestor") for one in root.iterfind("ActiveParticipant")]
    assert requestors == ["true", "false", "false"]


@pytest.mark.parametrize(("ending", "outcome"), [(COMPLETE, "0"), (ABORTED, "8")])
def test_what_is_passed_on_unread_has_no_numbers(ending: Ending, outcome: str) -> None:
    noted = Account(is_passed_on=True)
    noted.tally("1.2", {}, ()).counted = False
    [root] = told(http("Pass on", "studies/1.2", account=noted), ending)
    assert event_of(root) == ("110104", "R", outcome)
    assert counts(root) == {"1.2": {}}
    assert objects_of(root, "2") == ["<none>"]


def test_each_patient_has_his_own_message() -> None:
    noted = account(instance(), instance("1.3"), instance("1.4", PatientID="P2", IssuerOfPatientID="H"))
    first, second = told(http("Retrieve", account=noted))
    assert (objects_of(first, "2"), objects_of(first, "110180")) == (["P1"], ["1.2", "1.3"])
    assert (objects_of(second, "2"), objects_of(second, "110180")) == (["P2"], ["1.4"])


def test_the_longest_message_is_one_that_a_collector_takes() -> None:
    noted = Account()
    uid = "1.2.840.113619.2.55.3.2831178355.123.1234567890.1234567890.{:04d}"
    for study in range(STUDIES_A_MESSAGE + 1):
        for sop_class in range(MAX_CLASSES + 1):
            one = instance(uid.format(study), uid.format(sop_class), AccessionNumber="A" * 16, PatientName="N" * 192)
            tally = noted.of_instance(one)
            tally.ends(tally.begins(one.sop_class_uid), whole=True)
    request = http("Retrieve", account=noted)
    request.record.principal = "p" * 255
    messages = [write(one) for one in TELLING.ended(request, COMPLETE)]
    assert [len(objects_of(validated(one), "110180")) for one in messages] == [STUDIES_A_MESSAGE, 1]
    assert max(map(len, messages)) < 32_000


# What is accessed, and what was asked for in vain


def test_metadata_are_accessed() -> None:
    noted = account(instance(), broken=[instance(sop_class=MR)])
    [root] = told(http("Retrieve Metadata", "studies/1.2/metadata", account=noted))
    assert event_of(root) == ("110103", "R", "0")
    assert users_of(root) == ["192.0.2.1", "gateway"]
    assert counts(root) == {"1.2": {CT: "1", MR: "1"}}
    assert objects_of(root, "2") == ["P1"]


@pytest.mark.parametrize(
    ("request_", "action", "study", "patient"),
    [
        (http("Retrieve", "studies/1.2", account=Account(asked={"1.2": "P1"})), "R", "1.2", "P1"),
        (http("Retrieve", "studies/1.2"), "R", "1.2", "<none>"),
        (http("Retrieve Frames", "studies/1.2/series/1.3/instances/1.4/frames/1"), "R", "1.2", "<none>"),
        (http("Store Instances", "studies", method="POST"), "C", "<none>", "<none>"),
        (dimse("C-GET"), "R", "<none>", "<none>"),
        (http("a third party's", account=Account(asked={"1.2": ""})), "R", "1.2", "<none>"),
    ],
)
def test_what_was_asked_for_and_not_given(request_: Request, action: str, study: str, patient: str) -> None:
    [root] = told(request_, REFUSED)
    assert event_of(root) == ("110103", action, "4")
    assert root.findtext(".//EventOutcomeDescription") == "NotFound: nothing"
    assert objects_of(root, "110180") == [study]
    assert objects_of(root, "2") == [patient]


def test_what_had_not_changed_was_read_all_the_same() -> None:
    [root] = told(http("Retrieve", "studies/1.2"), replace(COMPLETE, outcome="not_modified", status=304))
    assert event_of(root) == ("110103", "R", "0")


def test_the_removal_of_cached_copies() -> None:
    [root] = told(http("management", "middleware/cache/studies/1.2", method="DELETE"))
    assert event_of(root) == ("110103", "D", "0")
    assert objects_of(root, "110180") == ["1.2"]


@pytest.mark.parametrize(
    "request_",
    [
        http("management", "targets"),
        http("management", "middleware/cache/studies/1.2"),
        http("Retrieve Capabilities"),
        http("echo", "anything"),
        http("", "anything"),
        dimse("C-ECHO"),
        http("Pass on", "anything", account=Account(is_passed_on=True)),
    ],
)
def test_of_what_touches_no_study_there_is_nothing_to_tell(request_: Request) -> None:
    assert told(request_) == told(request_, REFUSED) == []


# Queries


def identifier_of(root: Any) -> Any:
    encoded = b64decode(root.findtext(".//ParticipantObjectQuery"))
    return read_dataset(BytesIO(encoded), is_implicit_VR=False, is_little_endian=True)


KEYS = {"00100020": {"vr": "LO", "Value": ["P1"]}, "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Müller*"}]}}


@pytest.mark.parametrize(
    ("level", "sop_class"),
    [
        (Level.PATIENT, "1.2.840.10008.5.1.4.1.2.1.1"),
        (Level.STUDY, "1.2.840.10008.5.1.4.1.2.2.1"),
        (Level.IMAGE, "1.2.840.10008.5.1.4.1.2.2.1"),
    ],
)
def test_a_query_is_told_as_it_was_asked(level: Level, sop_class: str) -> None:
    find = Find(level, KEYS, {"0020000D": {"vr": "UI"}})
    request = dimse("C-FIND")
    request.record.audit = Account(query=find)
    [root] = told(request)
    assert event_of(root) == ("110112", "E", "0")
    assert roles(root) == {"Source": "MODALITY", "Destination": "gateway"}
    assert objects_of(root, "110181") == [sop_class]
    assert details(root) == {"TransferSyntax": b"1.2.840.10008.1.2.1"}
    asked = identifier_of(root)
    assert (asked.PatientID, asked.PatientName, asked.QueryRetrieveLevel) == ("P1", "Müller*", str(level))
    assert asked.StudyInstanceUID == ""


def test_a_query_for_a_worklist() -> None:
    request = dimse("C-FIND")
    request.record.audit = Account(query=FindWorklist(KEYS))
    [root] = told(request)
    assert objects_of(root, "110181") == ["1.2.840.10008.5.1.4.31"]
    assert identifier_of(root).PatientID == "P1"


def test_a_search_is_told_with_what_the_client_wrote() -> None:
    query = (("PatientName", "Müller*"), ("limit", "5"))
    request = http("Search for Studies", "studies", query=query, account=Account(query=Find(Level.STUDY, KEYS)))
    [root] = told(request)
    assert details(root)["Query String"] == b"/studies?PatientName=M%C3%BCller%2A&limit=5"


def test_a_long_search_is_cut() -> None:
    request = http("Search for Studies", "studies", query=(("PatientID", "1" * 9000),))
    request.record.audit = Account(query=Find(Level.STUDY))
    [root] = told(request)
    assert len(details(root)["Query String"]) == MAX_QUERY_STRING


def test_a_search_that_was_not_understood_is_told_as_a_uri() -> None:
    [root] = told(http("Search for Studies", "studies", query=(("Nonsense", "Doe\ud800"),)), REFUSED)
    assert event_of(root) == ("110112", "E", "4")
    assert objects_of(root, "12") == ["/studies"]
    assert b64decode(root.findtext(".//ParticipantObjectQuery")) == b"Nonsense=Doe%3F"


def test_a_query_by_dimse_that_was_not_understood_has_no_identifier() -> None:
    [root] = told(dimse("C-FIND"), REFUSED)
    assert objects_of(root, "110181") == ["<none>"]
    assert root.findtext(".//ParticipantObjectQuery") == ""


def test_a_query_that_cannot_be_encoded_is_told_in_json() -> None:
    request = dimse("C-FIND")
    request.record.audit = Account(query=Find(Level.STUDY, {"00100020": {"vr": "LO", "Value": ["a\0b"]}}))
    [root] = told(request, REFUSED)
    assert b"a\\u0000b" in details(root)["DICOM JSON"]


def test_a_query_of_no_name_is_a_query() -> None:
    [root] = told(http("a third party's", account=Account(query=Find(Level.STUDY, KEYS))))
    assert event_of(root)[0] == "110112"


def test_every_word_of_the_journal_has_an_outcome() -> None:
    [root] = told(dimse("C-FIND"), replace(COMPLETE, outcome="a word to come"))
    assert event_of(root)[2] == "8"
    assert set(OUTCOMES) == {"complete", "not_modified", "refused", "failed", "aborted", "client_gone"}


# Alerts and logins


@pytest.mark.parametrize(
    ("request_", "ending", "alert"),
    [
        (http("", "studies/1.2"), replace(REFUSED, status=403, reason="Denied"), "denied"),
        (http("", "studies/1.2"), replace(REFUSED, status=429, reason="RateLimited"), "rate_limited"),
        (dimse("C-FIND", dimse_status=0x0124), replace(REFUSED, status=None), "denied"),
        (http("", "studies/1.2"), REFUSED, ""),
        (http("", "studies/1.2"), COMPLETE, ""),
    ],
)
def test_a_refusal_is_an_alert(request_: Request, ending: Ending, alert: str) -> None:
    found = TELLING.refusal(request_, ending)
    assert (found.kind if found is not None else "") == alert
    if found is not None:
        root = validated(write(TELLING.alert(found, request_)))
        assert event_of(root) == ("110113", "E", "4")
        assert users_of(root)[0] == "gateway"
        assert objects_of(root, "110182") == [request_.peer]
        assert request_.correlation_id.encode() in details(root)["Alert Description"]


@pytest.mark.parametrize(
    ("kind", "code", "outcome"),
    [
        ("association_rejected", "110126", "4"),
        ("hostile_bytes", "hostile_bytes", "8"),
        ("unsolicited_object", "unsolicited_object", "8"),
        ("patients_differ", "patients_differ", "8"),
        ("another", "alert", "8"),
    ],
)
def test_alerts_from_anywhere(kind: str, code: str, outcome: str) -> None:
    root = validated(write(TELLING.alert(Alert(kind, "what happened", "192.0.2.9"))))
    assert event_of(root) == ("110113", "E", outcome)
    assert root.find(".//EventTypeCode").get("csd-code") == code
    assert users_of(root) == ["gateway", "192.0.2.9"]
    assert details(root) == {"Alert Description": b"what happened"}


def test_an_alert_about_nobody() -> None:
    root = validated(write(TELLING.alert(Alert("patients_differ", "what happened"))))
    assert users_of(root) == ["gateway"]
    assert objects_of(root, "110182") == ["unknown"]


def test_logins() -> None:
    request = http()
    request.record.principal = "doctor"
    root = validated(write(TELLING.logged_in(request)))
    assert (event_of(root), users_of(root)) == (("110114", "E", "0"), ["doctor", "gateway"])
    root = validated(write(TELLING.not_logged_in(http(headers={"authorization": "Basic ZXZlOng="}), "wrong")))
    assert (event_of(root), users_of(root)) == (("110114", "E", "4"), ["eve", "gateway"])
    assert root.findtext(".//EventOutcomeDescription") == "wrong"


def test_the_gateway_s_life() -> None:
    for message in (TELLING.started(), TELLING.stopped()):
        root = validated(write(message))
        assert event_of(root) == ("110100", "E", "0")
        assert root.find("ActiveParticipant").get("AlternativeUserID") == "AETITLES=HARMONYGW"
