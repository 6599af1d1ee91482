"""What a token must claim (RFC 7519 §4.1), once its signature is known to be good."""

from collections.abc import Callable, Mapping
from math import isfinite
from typing import Any, Final

from harmonygw.config.tokens import TokenOptions
from harmonygw.middleware.authentication.bearer import refusal

MAX_SUBJECT_CHARACTERS: Final = 255
"""Characters of a subject. Default 255, as OpenID Connect Core §2 has it: it is in log lines and audit records."""


class Claims:
    """Checks the claims of tokens by the options of an authentication."""

    def __init__(self, options: TokenOptions, now: Callable[[], float]) -> None:
        """`now` returns seconds since 1970 of the wall clock, which tokens are dated by."""
        self._issuers = frozenset(options.issuers)
        self._audience = options.audience
        self._required = options.required_claims
        self._leeway = options.leeway_secs
        self._validates_expiry = options.validate_expiry
        self._now = now

    def subject(self, claims: Mapping[str, Any]) -> str:
        """Return who it is; raises `Unauthenticated` when a claim is missing or not right."""
        self._check_times(claims)
        if self._issuers and not _is_one_of(claims.get("iss"), self._issuers):
            raise refusal("its issuer (iss) is none that is trusted")
        if self._audience and not self._is_for_us(claims.get("aud")):
            raise refusal("it is not for us (aud)")
        for name in self._required:
            if claims.get(name) is None:
                raise refusal(f"a claim that is required is missing ({name})")
        subject = claims.get("sub")
        if not isinstance(subject, str) or not 0 < len(subject.strip()) <= len(subject) <= MAX_SUBJECT_CHARACTERS:
            raise refusal(f"its subject (sub) is no text of 1 to {MAX_SUBJECT_CHARACTERS} characters")
        if not subject.isprintable():
            raise refusal("its subject (sub) has characters that cannot be printed")
        return subject

    def _check_times(self, claims: Mapping[str, Any]) -> None:
        now = self._now()
        for name in ("exp", "nbf", "iat"):
            if name in claims and not _is_date(claims[name]):
                raise refusal(f"a date in it is no number ({name})")
        if self._validates_expiry:
            if "exp" not in claims:
                raise refusal("it has no end (exp)")
            # The sum is on our side: a number of the token's may be too large for one.
            if claims["exp"] <= now - self._leeway:
                raise refusal("it has expired (exp)")
        if "nbf" in claims and claims["nbf"] > now + self._leeway:
            raise refusal("it is not valid yet (nbf)")
        if "iat" in claims and claims["iat"] > now + self._leeway:
            raise refusal("it is of a time to come (iat)")

    def _is_for_us(self, audience: Any) -> bool:
        if isinstance(audience, list):
            return all(isinstance(one, str) for one in audience) and self._audience in audience
        return isinstance(audience, str) and audience == self._audience


def _is_one_of(value: Any, wanted: frozenset[str]) -> bool:
    return isinstance(value, str) and value in wanted


def _is_date(value: Any) -> bool:
    """Whether it is a NumericDate (RFC 7519 §2): a number, with or without a fraction."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return isinstance(value, int) or isfinite(value)
