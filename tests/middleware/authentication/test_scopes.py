"""What scopes grant, to whom they confine it, and what they do not grant."""

from typing import Any

import pytest

from harmonygw.config.tokens import TokenOptions
from harmonygw.errors import InsufficientScope
from harmonygw.exchange import HTTPOrigin, Request, Restriction
from harmonygw.middleware.authentication.needs import Need
from harmonygw.middleware.authentication.scopes import MAX_PATIENT_ID_CHARACTERS, Scopes

GRANTED = (Need.SEARCH, Need.RETRIEVE, Need.STORE, Need.WORKLIST)
ASKING = {
    Need.NOTHING: ("GET", ()),
    Need.SEARCH: ("GET", ("studies",)),
    Need.RETRIEVE: ("GET", ("studies", "1")),
    Need.STORE: ("POST", ("studies",)),
    Need.WORKLIST: ("GET", ("modality-scheduled-procedure-steps",)),
    Need.UNKNOWN: ("GET", ("find",)),
}
CHALLENGE = 'Bearer realm="harmonygw", error="insufficient_scope"'


def smart(**options: Any) -> Scopes:
    return Scopes(TokenOptions(**{"scopes": "smart", **options}))


def check(scopes: Scopes, claims: dict[str, Any], need: Need) -> tuple[Restriction, ...]:
    method, path = ASKING[need]
    request = Request(HTTPOrigin(method, path), "192.0.2.1", "id")
    return scopes.check(scopes.grants(claims), request)


def granted(text: str, **claims: Any) -> str:
    """Return what is granted, by the first letters of the needs, in upper case for every patient."""
    scopes = smart()
    letters = []
    for need in GRANTED:
        try:
            restrictions = check(scopes, {"scope": text, "patient": "P1", **claims}, need)
        except InsufficientScope:
            continue
        letter = need.name[1] if need is Need.STORE else need.name[0]
        letters.append(letter.lower() if restrictions else letter)
    return "".join(letters)


@pytest.mark.parametrize(
    ("text", "letters"),
    [
        ("patient/ImagingStudy.rs", "sr"),
        ("patient/ImagingStudy.r", "r"),
        ("patient/ImagingStudy.s", "s"),
        ("patient/ImagingStudy.c", "t"),
        ("patient/ImagingStudy.u", "t"),
        ("patient/ImagingStudy.d", ""),
        ("patient/ImagingStudy.cruds", "srt"),
        ("patient/*.rs", "srw"),
        ("patient/*.r", "r"),
        ("patient/ImagingStudy.read", "sr"),
        ("patient/ImagingStudy.write", "t"),
        ("patient/ImagingStudy.*", "srt"),
        ("patient/*.*", "srtw"),
        ("user/ImagingStudy.rs", "SR"),
        ("system/*.cruds", "SRTW"),
        ("system/*.read", "SRW"),
        ("patient/ImagingStudy.r patient/ImagingStudy.s", "sr"),
        ("openid fhirUser launch/patient offline_access patient/ImagingStudy.s", "s"),
        ("patient/Patient.rs patient/ImagingStudy.s", "s"),
        # Scopes add up, in whatever order: the wider one holds.
        ("patient/ImagingStudy.rs user/ImagingStudy.s", "Sr"),
        ("user/ImagingStudy.s patient/ImagingStudy.rs", "Sr"),
        ("user/*.rs patient/ImagingStudy.cruds", "SRtW"),
    ],
)
def test_a_scope_grants_what_it_says(text: str, letters: str) -> None:
    assert granted(text) == letters
    assert granted("", scope=text.split(" ")) == letters


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "openid",
        "patient/Observation.rs",
        "patient/Patient.rs",
        "patient/ImagingStudy",
        "patient/ImagingStudy.",
        "patient/ImagingStudy.sr",
        "patient/ImagingStudy.dus",
        "patient/ImagingStudy.rrs",
        "patient/ImagingStudy.rsx",
        "patient/ImagingStudy.readwrite",
        "patient/ImagingStudy.READ",
        "patient/imagingstudy.rs",
        "Patient/ImagingStudy.rs",
        "patient/ImagingStudy/1.rs",
        "patient.ImagingStudy.rs",
        "/ImagingStudy.rs",
        "ImagingStudy.rs",
        "patient/**.rs",
        "practitioner/ImagingStudy.rs",
        "xuser/ImagingStudy.rs",
        "user/ImagingStudy.rs,user/*.rs",
        "user/ImagingStudy.rs\n",
        "user/ImagingStudy.rs\tuser/*.rs",
        "user/ImagingStudy.rs?modality=CT",
        "user/ImagingStudy.rs?",
        "patient/ImagingStudy.rs?modality=http://dicom.nema.org/resources/ontology/DCM|CT",
        "user/*.cruds?_id=1",
    ],
)
def test_what_is_not_wholly_understood_grants_nothing(text: str) -> None:
    assert granted(text) == ""
    assert granted("", scope=[text]) == ""


@pytest.mark.parametrize("claim", [None, 7, True, {"user/*.cruds": 1}, [["user/*.cruds"]], ["user/*.cruds", 7]])
def test_what_is_neither_a_text_nor_a_list_of_texts_has_no_scopes(claim: Any) -> None:
    assert granted("", scope=claim) == ""


def test_the_claim_may_have_another_name() -> None:
    scopes = smart(scope_claim="scp")
    assert check(scopes, {"scp": ["user/ImagingStudy.s"]}, Need.SEARCH) == ()
    with pytest.raises(InsufficientScope):
        check(scopes, {"scope": "user/ImagingStudy.s"}, Need.SEARCH)


def test_a_patient_scope_confines_to_the_patient() -> None:
    claims = {"scope": "patient/*.cruds", "patient": "P^1"}
    for need in GRANTED:
        (restriction,) = check(smart(), claims, need)
        assert restriction == Restriction({"00100020": ("P^1",)}, "scope patient/*.cruds")
    (restriction,) = check(smart(patient_issuer="HOSPITAL"), claims, Need.SEARCH)
    assert restriction.keys == {"00100020": ("P^1",), "00100021": ("HOSPITAL",)}


IUA = {"patient_claim": ("extensions", "ihe_iua", "person_id")}
AUTHORITY = "&2.16.756.5.30.1.127.3.10.3&ISO"


@pytest.mark.parametrize(
    ("options", "claims", "patient_id"),
    [
        (IUA, {"extensions": {"ihe_iua": {"person_id": "P1"}}}, "P1"),
        (
            {**IUA, "patient_authority": AUTHORITY},
            {"extensions": {"ihe_iua": {"person_id": f"7613^^^{AUTHORITY}"}}},
            "7613",
        ),
        ({"patient_claim": ("https://issuer/patient",)}, {"https://issuer/patient": "P1"}, "P1"),
        ({}, {"patient": "x" * MAX_PATIENT_ID_CHARACTERS}, "x" * MAX_PATIENT_ID_CHARACTERS),
        ({}, {"patient": "Jörg 1"}, "Jörg 1"),
    ],
)
def test_the_patient_is_where_the_configuration_says(
    options: dict[str, Any], claims: dict[str, Any], patient_id: str
) -> None:
    (restriction,) = check(smart(**options), {"scope": "patient/*.s", **claims}, Need.SEARCH)
    assert restriction.keys == {"00100020": (patient_id,)}


@pytest.mark.parametrize(
    ("options", "claims"),
    [
        ({}, {}),
        *(({}, {"patient": one}) for one in ("", " ", " P1", "P1 ", "P\n1", "P1\0", "P\u202e1", "P*", "?1", "P1\\P2")),
        *(({}, {"patient": one}) for one in (7, None, True, ["P1"], {"P1": 1}, "x" * 65)),
        (IUA, {"person_id": "P1"}),
        *((IUA, {"extensions": one}) for one in ("P1", [], {}, {"ihe_iua": "P1"}, {"ihe_iua": {"person_id": ["P1"]}})),
        *(
            ({"patient_authority": AUTHORITY}, {"patient": one})
            for one in (
                "P1",
                "P1^^^&1.2&ISO",
                f"^^^{AUTHORITY}",
                f"P1^^^{AUTHORITY}^PI",
                f"P1^^{AUTHORITY}",
                f"P1^^^&1.2&ISO^^^{AUTHORITY}",
            )
        ),
    ],
)
def test_without_a_patient_to_go_by_a_patient_scope_grants_nothing(
    options: dict[str, Any], claims: dict[str, Any]
) -> None:
    scopes = smart(**options)
    with pytest.raises(InsufficientScope) as refused:
        check(scopes, {"scope": "patient/*.cruds", **claims}, Need.SEARCH)
    assert refused.value.log_detail == "no scope grants it; its patient/ scopes count for nothing without a patient"
    assert check(scopes, {"scope": "patient/*.cruds user/*.s", **claims}, Need.SEARCH) == ()


@pytest.mark.parametrize(
    ("need", "scope"),
    [
        (Need.SEARCH, "patient/ImagingStudy.s"),
        (Need.RETRIEVE, "patient/ImagingStudy.r"),
        (Need.STORE, "patient/ImagingStudy.c"),
        (Need.WORKLIST, "patient/*.s"),
    ],
)
def test_a_refusal_names_the_least_scope_that_would_do(need: Need, scope: str) -> None:
    with pytest.raises(InsufficientScope) as refused:
        check(smart(), {}, need)
    assert refused.value.challenge == f'{CHALLENGE}, scope="{scope}"'
    assert refused.value.log_detail == "no scope grants it"
    assert check(smart(), {"scope": scope, "patient": "P1"}, need)


def test_what_is_not_dicomweb_is_granted_by_nothing() -> None:
    with pytest.raises(InsufficientScope) as refused:
        check(smart(), {"scope": "system/*.cruds"}, Need.UNKNOWN)
    assert refused.value.challenge == CHALLENGE


def test_the_description_of_the_service_needs_no_scope() -> None:
    assert check(smart(), {}, Need.NOTHING) == ()


def test_scopes_that_are_not_asked_for_do_not_count() -> None:
    scopes = Scopes(TokenOptions())
    for need in Need:
        assert check(scopes, {"scope": "patient/*.cruds"}, need) == ()


@pytest.mark.parametrize("claims", [{}, {"scope": "a"}, {"scope": "b ab"}, {"scope": ["a b"]}, {"scope": "A b"}])
def test_all_scopes_that_are_required_must_be_there(claims: dict[str, Any]) -> None:
    for options in ({}, {"scopes": "smart"}):
        scopes = Scopes(TokenOptions(required_scopes=("a", "b"), **options))
        with pytest.raises(InsufficientScope) as refused:
            check(scopes, claims, Need.NOTHING)
        assert refused.value.challenge == f'{CHALLENGE}, scope="a b"'
        assert check(scopes, {"scope": "b c a"}, Need.NOTHING) == ()


def test_required_scopes_and_those_of_smart_must_both_be_there() -> None:
    scopes = smart(required_scopes=("a",))
    assert check(scopes, {"scope": "a user/*.s"}, Need.SEARCH) == ()
    with pytest.raises(InsufficientScope):
        check(scopes, {"scope": "a user/*.s"}, Need.RETRIEVE)
