"""What a token must claim."""

from typing import Any

import pytest

from harmonygw.config.tokens import TokenOptions
from harmonygw.errors import Unauthenticated
from harmonygw.middleware.authentication.bearer import INVALID_TOKEN
from harmonygw.middleware.authentication.claims import MAX_SUBJECT_CHARACTERS, Claims
from tests.middleware.authentication.issuer import CLAIMS, NOW

LEEWAY = 60.0
GONE = object()


def subject(options: dict[str, Any], **claims: Any) -> str:
    wanted = {name: value for name, value in {**CLAIMS, **claims}.items() if value is not GONE}
    return Claims(TokenOptions(leeway_secs=LEEWAY, **options), lambda: NOW).subject(wanted)


FROM = {"issuer": "https://a"}
FOR = {"audience": "gateway"}


@pytest.mark.parametrize(
    ("options", "claims"),
    [
        ({}, {}),
        ({}, {"exp": NOW - LEEWAY + 1}),
        ({}, {"exp": NOW + 0.5}),
        ({}, {"exp": 10**400}),
        ({}, {"nbf": NOW + LEEWAY, "iat": NOW + LEEWAY}),
        ({"validate_expiry": False}, {"exp": GONE}),
        ({"validate_expiry": False}, {"exp": 0}),
        ({}, {"iss": 7, "aud": 7}),
        (FROM, {"iss": "https://a"}),
        ({**FROM, "trusted_issuers": ("https://b",)}, {"iss": "https://a"}),
        ({"trusted_issuers": ("https://a", "https://b")}, {"iss": "https://b"}),
        (FOR, {"aud": "gateway"}),
        (FOR, {"aud": ["other", "gateway"]}),
        ({"required_claims": ("scope", "x")}, {"scope": "", "x": 0}),
        ({}, {"sub": "s" * MAX_SUBJECT_CHARACTERS}),
    ],
)
def test_right_claims_say_who_it_is(options: dict[str, Any], claims: dict[str, Any]) -> None:
    assert subject(options, **claims) == claims.get("sub", "jörg")


@pytest.mark.parametrize(
    ("options", "claims", "why"),
    [
        ({}, {"exp": GONE}, "it has no end (exp)"),
        ({}, {"exp": NOW - LEEWAY}, "it has expired (exp)"),
        ({}, {"exp": 0}, "it has expired (exp)"),
        ({}, {"exp": -(10**400)}, "it has expired (exp)"),
        ({}, {"nbf": NOW + LEEWAY + 1}, "it is not valid yet (nbf)"),
        ({}, {"nbf": 10**400}, "it is not valid yet (nbf)"),
        ({}, {"iat": NOW + LEEWAY + 1}, "it is of a time to come (iat)"),
        ({"validate_expiry": False}, {"iat": 10**400}, "it is of a time to come (iat)"),
        *(
            ({"validate_expiry": validates}, {name: value}, f"a date in it is no number ({name})")
            for validates in (True, False)
            for name in ("exp", "nbf", "iat")
            for value in ("1900000000", None, True, [1], {}, float("nan"), float("inf"), float("-inf"))
        ),
        *((FROM, {"iss": value}, "its issuer (iss) is none that is trusted") for value in (GONE, "", "https://a/", 7)),
        *((FROM, {"iss": value}, "its issuer (iss) is none that is trusted") for value in (["https://a"], None)),
        *((FOR, {"aud": value}, "it is not for us (aud)") for value in (GONE, "", "Gateway", "gateway2", None, 7)),
        *((FOR, {"aud": value}, "it is not for us (aud)") for value in ([], ["other"], ["gateway", 7], [["gateway"]])),
        (FOR, {"aud": {"gateway": 1}}, "it is not for us (aud)"),
        ({"required_claims": ("scope",)}, {}, "a claim that is required is missing (scope)"),
        ({"required_claims": ("scope",)}, {"scope": None}, "a claim that is required is missing (scope)"),
        *(
            ({}, {"sub": value}, "its subject (sub) is no text of 1 to 255 characters")
            for value in (GONE, "", "  ", 7, None, ["a"], "s" * (MAX_SUBJECT_CHARACTERS + 1))
        ),
        *(
            ({}, {"sub": value}, "its subject (sub) has characters that cannot be printed")
            for value in ("a\nb", "a\0", "a\x1b[31m", "a\u202eb", "a\ud800")
        ),
    ],
)
def test_wrong_claims_are_refused(options: dict[str, Any], claims: dict[str, Any], why: str) -> None:
    with pytest.raises(Unauthenticated) as refused:
        subject(options, **claims)
    assert (refused.value.challenge, refused.value.log_detail) == (INVALID_TOKEN, why)
