"""The keys of tokens: what they demand of one another."""

from typing import Any

import pytest

from harmonygw.config.binding import bind
from harmonygw.config.system import Authentication
from harmonygw.config.tokens import TokenOptions, is_safe

ISSUER = "https://login.hospital.local/realms/x/"
SMART = {"scopes": "smart"}


def bound(cls: type, table: dict[str, object]) -> tuple[Any, list[str]]:
    found: list[str] = []
    value = bind(cls, table, (), lambda path, sentence: found.append(f"{'.'.join(map(str, path))}: {sentence}"))
    return value, found


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ({"discovery": "openid"}, 'discovery: needs an "issuer"'),
        ({"discovery": "yes", "issuer": ISSUER}, "discovery: "),
        ({"discovery": "openid", "issuer": "hospital"}, ": 'hospital' is not an absolute http or https URL"),
        ({"discovery": "openid", "issuer": f"{ISSUER}?a=1"}, ": 'https://login.hospital.local/realms/x/?a=1' is not"),
        (
            {"discovery": "oauth", "issuer": ISSUER, "trusted_issuers": ["http://login.hospital.local"]},
            "discovery: needs https, and 'http://login.hospital.local' has not",
        ),
        ({"token_types": []}, "token_types: must have one at least"),
        ({"patient_issuer": "HOSPITAL"}, 'patient_issuer: needs "scopes" = "smart"'),
        ({"patient_authority": "&1.2&ISO"}, 'patient_authority: needs "scopes" = "smart"'),
        ({"patient_claim": ["sub"]}, 'patient_claim: needs "scopes" = "smart"'),
        ({**SMART, "patient_claim": []}, "patient_claim: must have names that are not empty"),
        ({**SMART, "patient_claim": ["a", ""]}, "patient_claim: must have names that are not empty"),
        ({"scope_claim": ""}, "scope_claim: must not be empty"),
        *(
            ({**SMART, "patient_issuer": one}, f"patient_issuer: {one!r} is not an LO")
            for one in ("a\\b", " a", "a\nb")
        ),
        ({**SMART, "patient_issuer": "x" * 65}, "patient_issuer: 'xxx"),
        *(
            ({"required_scopes": ["a", one]}, f"required_scopes.1: {one!r} is not one scope")
            for one in ("", "a b", 'a"', "a\\b", "ä", "a\r\n")
        ),
    ],
)
def test_what_would_not_protect_as_it_says_is_an_error(table: dict[str, object], problem: str) -> None:
    _, found = bound(TokenOptions, table)
    assert len(found) == 1
    assert found[0].startswith(problem)


@pytest.mark.parametrize(
    "table",
    [
        {"discovery": "openid", "issuer": ISSUER},
        {"discovery": "oauth", "trusted_issuers": [ISSUER, "http://127.0.0.1:8080"]},
        {**SMART, "patient_issuer": "x" * 64, "patient_authority": "&1.2&ISO", "patient_claim": ["a", "b"]},
        {"required_scopes": ["dicom.read", "patient/*.rs?a=b"]},
    ],
)
def test_what_fits_together_is_taken(table: dict[str, object]) -> None:
    assert bound(TokenOptions, table)[1] == []


def test_issuers_are_those_of_both_keys_once() -> None:
    assert TokenOptions(issuer="a", trusted_issuers=("b", "a", "")).issuers == ("a", "b")
    assert TokenOptions().issuers == ()


@pytest.mark.parametrize(
    ("options", "limits"), [({}, False), ({"required_scopes": ("a",)}, True), ({"scopes": "smart"}, True)]
)
def test_whether_scopes_count(options: dict[str, Any], limits: bool) -> None:
    assert TokenOptions(**options).limits_by_scopes == limits


@pytest.mark.parametrize("options", [{"required_scopes": ["a"]}, SMART])
def test_scopes_are_for_tokens_only(options: dict[str, object]) -> None:
    table = {"method": "bearer", "options": {"token": "t", **options}}
    assert bound(Authentication, table)[1] == ['method: bearer has no scopes, and "options" asks for some']
    table = {"method": "jwt", "options": {"discovery": "openid", "issuer": ISSUER, **options}}
    assert bound(Authentication, table)[1] == []


@pytest.mark.parametrize(
    ("url", "safe"),
    [
        ("https://a", True),
        ("http://[::1]:1/a", True),
        ("http://localhost", True),
        ("http://a", False),
        ("http:", False),
    ],
)
def test_what_can_be_changed_on_its_way_is_not_safe(url: str, safe: bool) -> None:
    assert is_safe(url) == safe
