"""The keys that say what a JSON Web Token is checked by, and what its scopes allow."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from typing import Annotated, Literal
from urllib.parse import urlsplit

from harmonygw.config.constraints import Address, Converted, Leeway, http_url, is_loopback
from harmonygw.errors import ConfigurationError

MIN_HS256_SECRET_BYTES = 32
"""Bytes of the secret of HS256: as many as its hash has (RFC 7518 §3.2)."""

MAX_ISSUER_OF_PATIENT_ID = 64
"""Characters of an LO (PS3.5 Table 6.2-1)."""


def scope_token(text: str) -> str:
    """Return one scope (`scope-token`, RFC 6749 §3.3)."""
    if not re.fullmatch(r"[\x21\x23-\x5b\x5d-\x7e]+", text):
        raise ConfigurationError((f"{text!r} is not one scope: printable ASCII without blank, quote and backslash",))
    return text


def issuer_of_patient_id(text: str) -> str:
    """Return the value of an Issuer of Patient ID (0010,0021); empty for none."""
    if len(text) > MAX_ISSUER_OF_PATIENT_ID or text != text.strip() or not text.isprintable() or "\\" in text:
        raise ConfigurationError((f"{text!r} is not an LO: 1 to 64 printable characters without backslash",))
    return text


ScopeToken = Annotated[str, Converted(scope_token, "scope")]
IssuerOfPatientID = Annotated[str, Converted(issuer_of_patient_id, "LO")]


@dataclass(frozen=True, slots=True)
class TokenOptions:
    """What a JSON Web Token is checked by (RFC 7519), and what its scopes allow."""

    issuer: str = ""
    """The issuer (`iss`) that a token must name; empty for any."""
    audience: str = ""
    """The audience (`aud`) that a token must name; empty for any, which a warning says: tokens that were made for other
    services are taken then."""
    trusted_issuers: tuple[str, ...] = ()
    """Issuers of which any one will do."""
    discovery: Literal["none", "openid", "oauth"] = "none"
    """Where `issuer`, and each of `trusted_issuers`, says where its keys are: `openid` for
    `<issuer>/.well-known/openid-configuration` (OpenID Connect Discovery §4), `oauth` for
    `/.well-known/oauth-authorization-server` between its host and its path (RFC 8414 §3; IHE ITI-103). It must have
    https, or be on this machine. An issuer's keys are good for its own tokens only. Give one of `discovery`,
    `jwks_uri`, `public_key_path` and `use_hs256`."""
    jwks_uri: Address | None = None
    """Where the issuer's keys are fetched."""
    algorithms: tuple[str, ...] = ()
    """The signature algorithms allowed, of RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, ES512 and EdDSA;
    empty for those that fit the key. HS256 only with `use_hs256`."""
    token_types: tuple[str, ...] = ("", "JWT", "at+jwt")
    """The types (`typ`) that a token may have, whatever their case, with or without `application/`; the empty one for a
    token that says none. `["at+jwt"]` is what RFC 9068 §4 asks for. Others, such as `logout+jwt`, are refused."""
    required_claims: tuple[str, ...] = ()
    """Claims that a token must have."""
    public_key_path: str = ""
    """The public key, or certificate, that signatures are checked with, PEM, relative to the working directory."""
    use_hs256: bool = False
    """Whether tokens are signed with the shared secret `hs256_secret`."""
    hs256_secret: str = field(default="", repr=False)
    """The shared secret; 32 bytes or more."""
    leeway_secs: Leeway = 60.0
    """Seconds that clocks may differ."""
    validate_expiry: bool = True
    """Whether a token that has expired (`exp`), or that never does, is refused."""
    required_scopes: tuple[ScopeToken, ...] = ()
    """Scopes that a token must have, all of them, whatever is asked; 403 without one."""
    scopes: Literal["none", "smart"] = "none"
    """Whether a token's scopes say what may be done. With `smart` those of SMART App Launch for `ImagingStudy` do
    (`patient/ImagingStudy.rs`): 403 for what none of them covers, and for all that is no resource of DICOMweb."""
    scope_claim: str = "scope"
    """The claim that has the scopes, as a list or as one text with blanks between."""
    patient_claim: tuple[str, ...] = ("patient",)
    """The claim that names the patient of `patient/` scopes, by the names on the way to it; that of IHE IUA is
    `["extensions", "ihe_iua", "person_id"]`. Its value is the PatientID."""
    patient_authority: str = ""
    """The assigning authority that a patient's identifier must have in the form of HL7's CX, such as
    `&2.16.756.5.30.1.127.3.10.3&ISO`; the PatientID is what stands before `^^^` then. Empty for a plain PatientID."""
    patient_issuer: IssuerOfPatientID = ""
    """The IssuerOfPatientID (0010,0021) that the patient's studies must have too; empty for any. Archives that hold
    patients of several issuers need it."""

    def __post_init__(self) -> None:
        if self.use_hs256 and len(self.hs256_secret.encode()) < MIN_HS256_SECRET_BYTES:
            raise ConfigurationError(
                (f'"use_hs256" needs an "hs256_secret" of {MIN_HS256_SECRET_BYTES} bytes or more',)
            )
        if not self.use_hs256 and "HS256" in self.algorithms:
            raise ConfigurationError(('"algorithms" has HS256, which needs "use_hs256" = true',))
        if self.discovery != "none":
            _check_issuers(self.issuers)
        if not self.token_types:
            raise ConfigurationError(('"token_types" must have one at least',))
        if self.scopes == "none":
            self._check_unheeded("patient_claim", "patient_authority", "patient_issuer")
        elif not self.patient_claim or not all(self.patient_claim):
            raise ConfigurationError(('"patient_claim" must have names that are not empty',))
        if not self.scope_claim:
            raise ConfigurationError(('"scope_claim" must not be empty',))

    def _check_unheeded(self, *names: str) -> None:
        for key in fields(TokenOptions):
            if key.name in names and getattr(self, key.name) != key.default:
                raise ConfigurationError((f'"{key.name}" needs "scopes" = "smart"',))

    @property
    def issuers(self) -> tuple[str, ...]:
        """The issuers of which a token must name one; empty for any."""
        return tuple(dict.fromkeys(one for one in (self.issuer, *self.trusted_issuers) if one))

    @property
    def has_key(self) -> bool:
        """Whether the signature of a token can be checked."""
        return bool(self.jwks_uri or self.public_key_path or self.use_hs256 or self.discovery != "none")

    @property
    def limits_by_scopes(self) -> bool:
        """Whether scopes of a token count."""
        return bool(self.required_scopes) or self.scopes != "none"


def is_safe(url: str) -> bool:
    """Return whether what comes from an http or https URL cannot be changed on its way: by TLS, or within here."""
    parts = urlsplit(url)
    return parts.scheme == "https" or is_loopback(parts.hostname or "")


def _check_issuers(issuers: Iterable[str]) -> None:
    """Raise `ConfigurationError` unless there are issuers, all of them URLs (OpenID Connect Discovery §3)."""
    if not issuers:
        raise ConfigurationError(('"discovery" needs an "issuer"',))
    for issuer in issuers:
        http_url(issuer)
        if not is_safe(issuer):
            raise ConfigurationError((f'"discovery" needs https, and {issuer!r} has not',))
