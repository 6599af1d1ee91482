"""Redaction: what is left out of what is shown."""

from types import SimpleNamespace
from typing import Any

import pytest

from harmonygw.config.options import LogDumpOptions
from harmonygw.config.system import Authentication, AuthenticationOptions
from harmonygw.errors import ConfigurationError
from harmonygw.middleware.redaction import MAX_DEPTH, REDACTED, Redaction, secret_patterns


def redaction(*patterns: str, **options: Any) -> Redaction:
    return Redaction(LogDumpOptions(**options), patterns)


def sequence(step: str) -> dict[str, Any]:
    item = {"00400009": {"vr": "SH", "Value": [step]}, "00400007": {"vr": "LO", "Value": ["CT head"]}}
    return {"vr": "SQ", "Value": [item]}


MATCH = {
    "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Doe^Jane"}]},
    "00100020": {"vr": "LO", "Value": ["17"]},
    "00100030": {"vr": "DA"},
    "00080050": {"vr": "SH", "Value": ["A1"]},
    "00080090": {"vr": "PN", "Value": [{"Alphabetic": "House^G"}]},
    "00080060": {"vr": "CS", "Value": ["CT"]},
    "0020000D": {"vr": "UI", "Value": ["1.2"]},
    "00400275": {
        "vr": "SQ",
        "Value": [
            {"00400009": {"vr": "SH", "Value": ["S1"]}, "00321032": {"vr": "PN", "Value": [{"Alphabetic": "X"}]}}
        ],
    },
}


@pytest.mark.parametrize(
    "name", ["Authorization", "Cookie", "Set-Cookie", "X-Api-Key", "Proxy-Authorization", "X-Auth-Token"]
)
def test_credentials_are_always_left_out_of_headers(name: str) -> None:
    shown = redaction(show_patient_identifiers=True).headers([(name, "secret"), ("Accept", "x")])
    assert shown == {name.lower(): REDACTED, "accept": "x"}


def test_headers_that_are_named_or_match_a_pattern_are_left_out() -> None:
    fields = [("X-Ward", "4"), ("X-Session-Id", "7"), ("Vary", "a"), ("vary", "b")]
    shown = redaction("*session*", redact_headers=("x-ward",)).headers(fields)
    assert shown == {"x-ward": REDACTED, "x-session-id": REDACTED, "vary": "a, b"}


def test_the_header_fields_of_keys_are_left_out_too() -> None:
    keys = {
        name: Authentication("api_key", AuthenticationOptions(token="x", header=header))
        for name, header in (("a", "X-Clinic"), ("b", "X.Ward"), ("c", "X-Clinic"))
    }
    bearer = Authentication("bearer", AuthenticationOptions(token="x", header="X-Seen"))
    configuration: Any = SimpleNamespace(
        proxy=SimpleNamespace(sensitive_field_patterns=("pin",)), authentications={**keys, "d": bearer}
    )
    patterns = secret_patterns(configuration)
    assert patterns == ("pin", "X-Clinic", "X\\.Ward")
    shown = redaction(*patterns).headers([(name, "1") for name in ("x-clinic", "x.ward", "x-ward", "x-seen", "pin")])
    assert [name for name, value in shown.items() if value == REDACTED] == ["x-clinic", "x.ward", "pin"]


def test_metadata_are_the_attributes_that_are_text() -> None:
    attributes = {"dimse_op": "find", "Secret": "x", "mine": "y", "PatientID": "17", "json": {"a": 1}}
    assert redaction(redact_metadata=("MINE",)).metadata(attributes) == {
        "dimse_op": "find",
        "Secret": REDACTED,
        "mine": REDACTED,
        "PatientID": REDACTED,
    }


def test_the_query_hides_what_identifies_a_patient() -> None:
    query = [
        ("PatientName", "Doe"),
        ("00100020", "17"),
        ("RequestAttributesSequence.PatientID", "17"),
        ("access_token", "t"),
        ("StudyDate", "2024"),
        ("mine", "x"),
    ]
    shown = redaction(redact_data_fields=("mine",)).query(query)
    assert shown == [*([name, REDACTED] for name, _ in query[:4]), ["StudyDate", "2024"], ["mine", REDACTED]]


def test_attributes_of_the_patient_and_names_of_people_are_left_out_of_dicom_json() -> None:
    shown = redaction().data([MATCH])[0]
    assert shown == {
        "00100010": {"vr": "PN", "Value": [REDACTED]},
        "00100020": {"vr": "LO", "Value": [REDACTED]},
        "00100030": {"vr": "DA"},
        "00080050": {"vr": "SH", "Value": [REDACTED]},
        "00080090": {"vr": "PN", "Value": [REDACTED]},
        "00080060": {"vr": "CS", "Value": ["CT"]},
        "0020000D": {"vr": "UI", "Value": ["1.2"]},
        "00400275": {
            "vr": "SQ",
            "Value": [{"00400009": {"vr": "SH", "Value": ["S1"]}, "00321032": {"vr": "PN", "Value": [REDACTED]}}],
        },
    }


def test_patients_are_shown_when_that_is_asked_for() -> None:
    assert redaction(show_patient_identifiers=True).data(MATCH) == MATCH


@pytest.mark.parametrize("key", ["PatientID", "patient_id", "PATIENT-NAME", "00100030", "AccessionNumber", "birthDate"])
def test_keywords_are_known_however_they_are_written(key: str) -> None:
    assert redaction().data({"query": {key: "x", "StudyDate": "2024"}}) == {
        "query": {key: REDACTED, "StudyDate": "2024"}
    }


def test_in_a_fhir_resource_more_identifies() -> None:
    resource = {
        "resourceType": "Patient",
        "id": "1",
        "name": [{"family": "Doe"}],
        "link": [{"other": {"display": "Jane Doe", "reference": "Patient/2"}}],
    }
    document = {"name": "pipeline", "entry": [{"resource": resource}]}
    assert redaction().data(document) == {
        "name": "pipeline",
        "entry": [
            {
                "resource": {
                    "resourceType": "Patient",
                    "id": "1",
                    "name": REDACTED,
                    "link": [{"other": {"display": REDACTED, "reference": "Patient/2"}}],
                }
            }
        ],
    }
    assert redaction(show_patient_identifiers=True).data(document) == document


@pytest.mark.parametrize("key", ["password", "client_secret", "accessToken", "API-Key", "sessionId"])
def test_credentials_are_always_left_out_of_json(key: str) -> None:
    assert redaction(show_patient_identifiers=True).data([{key: {"any": "thing"}}]) == [{key: REDACTED}]


@pytest.mark.parametrize(
    ("field", "document", "expected"),
    [
        ("ssn", {"ssn": 1, "a": [{"SSN": 2}]}, {"ssn": REDACTED, "a": [{"SSN": REDACTED}]}),
        (
            "user.card",
            {"user": {"card": 1, "x": {"card": 2}}, "card": 3},
            {"user": {"card": REDACTED, "x": {"card": 2}}, "card": 3},
        ),
        ("users.card", {"users": [{"card": 1}]}, {"users": [{"card": REDACTED}]}),
        ("user.card", {"a": {"user": {"card": 1}}}, {"a": {"user": {"card": 1}}}),
        ("StudyDate", {"00080020": {"vr": "DA", "Value": ["x"]}}, {"00080020": {"vr": "DA", "Value": [REDACTED]}}),
        ("00080020", {"StudyDate": "x"}, {"StudyDate": REDACTED}),
        (
            "RequestAttributesSequence.ScheduledProcedureStepID",
            {"00400275": sequence("S1"), "00400009": {"vr": "SH", "Value": ["S2"]}},
            {"00400275": sequence(REDACTED), "00400009": {"vr": "SH", "Value": ["S2"]}},
        ),
    ],
)
def test_fields_that_are_named_are_left_out(field: str, document: Any, expected: Any) -> None:
    assert redaction(redact_data_fields=(field,), show_patient_identifiers=True).data(document) == expected


@pytest.mark.parametrize(
    ("pattern", "name", "hidden"),
    [
        ("*ssn*", "my_SSN_1", True),
        ("ssn", "my_ssn", False),
        ("ssn?", "ssn1", True),
        (".*ward.*", "theWard", True),
        ("^ward$", "wards", False),
        ("ward[0-9]", "xward7x", True),
    ],
)
def test_patterns_are_of_stars_or_expressions(pattern: str, name: str, hidden: bool) -> None:
    assert (redaction(pattern).data({name: 1}) == {name: REDACTED}) is hidden


def test_what_is_no_pattern_is_an_error() -> None:
    with pytest.raises(ConfigurationError, match=r"^proxy\.sensitive_field_patterns: '\(' is no pattern"):
        redaction("(")


def test_what_is_too_deep_is_left_out() -> None:
    document: Any = 1
    for _ in range(MAX_DEPTH + 1):
        document = [document]
    shown = redaction().data(document)
    for _ in range(MAX_DEPTH + 1):
        [shown] = shown
    assert shown == REDACTED


def test_a_document_is_not_changed() -> None:
    document = {"password": "x", "a": {"password": "y"}}
    redaction().data(document)
    assert document == {"password": "x", "a": {"password": "y"}}
