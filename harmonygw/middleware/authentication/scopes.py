"""What the scopes of a token grant: those of SMART App Launch §Scopes for requesting FHIR Resources, and IHE IUA's.

    patient/ImagingStudy.rs     read and search what belongs to the patient whom the token names
    user/*.cruds                everything, of every patient

A scope's permissions are a subset of `cruds` in this order, or of version 1 `read` (`rs`), `write` (`cud`) and `*`. Of
resources `ImagingStudy` and `*` count. Scopes add up: what a `user/` or `system/` scope grants is not confined by a
`patient/` scope beside it. A scope that is not wholly understood grants nothing; so does one with a search parameter
(`?modality=…`), because what it grants would be wider without it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from harmonygw.config.tokens import TokenOptions
from harmonygw.errors import InsufficientScope
from harmonygw.exchange import Request, Restriction
from harmonygw.middleware.authentication.bearer import insufficient_scope
from harmonygw.middleware.authentication.needs import Need, need_of

PATIENT_ID: Final = "00100020"
ISSUER_OF_PATIENT_ID: Final = "00100021"

MAX_PATIENT_ID_CHARACTERS: Final = 64
"""Characters of a PatientID, an LO (PS3.5 Table 6.2-1)."""

_SCOPE: Final = re.compile(r"(patient|user|system)/(ImagingStudy|\*)\.(read|write|\*|(?=[cruds])c?r?u?d?s?)")

_OF_VERSION_1: Final = {"read": "rs", "write": "cud", "*": "cruds"}

_GRANTING: Final = ((Need.SEARCH, "s"), (Need.RETRIEVE, "r"), (Need.STORE, "cu"))
"""Any one of these letters grants it. A Store adds to a study, or makes it: FHIR lets an update do both."""

_NOT_IN_A_PATIENT_ID: Final = frozenset("\\*?")
"""More values than one, and the wildcards of a query (PS3.4 §C.2.2.2.4)."""


@dataclass(frozen=True, slots=True)
class Grants:
    """What one token grants."""

    has_required: bool
    """Whether it has the scopes that everything needs."""
    restrictions: Mapping[Need, tuple[Restriction, ...]]
    """What is granted, and what it is confined to."""
    wants_patient: bool = False
    """Whether it has `patient/` scopes, and no patient that can be gone by."""


class Scopes:
    """Checks requests against the scopes of tokens, by the options of an authentication."""

    def __init__(self, options: TokenOptions) -> None:
        self._required = options.required_scopes
        self._is_smart = options.scopes == "smart"
        self._claim = options.scope_claim
        self._patient_claim = options.patient_claim
        self._authority = f"^^^{options.patient_authority}" if options.patient_authority else ""
        self._issuer = options.patient_issuer

    def grants(self, claims: Mapping[str, Any]) -> Grants:
        """Return what a token with these claims grants, once for all requests that bring it."""
        scopes = _listed(claims.get(self._claim))
        found: dict[Need, tuple[Restriction, ...]] = {}
        patient = self._patient(claims)
        wants_patient = False
        for scope in scopes if self._is_smart else ():
            if (match := _SCOPE.fullmatch(scope)) is None:
                continue
            context, resource, permissions = match.groups()
            letters = _OF_VERSION_1.get(permissions, permissions)
            needs = [need for need, granting in _GRANTING if not set(granting).isdisjoint(letters)]
            if resource == "*" and "s" in letters:
                needs.append(Need.WORKLIST)
            if context != "patient":
                found.update(dict.fromkeys(needs, ()))
            elif patient:
                for need in needs:
                    found.setdefault(need, (Restriction(patient, f"scope {scope}"),))
            else:
                wants_patient = True
        return Grants(all(one in scopes for one in self._required), found, wants_patient)

    def check(self, grants: Grants, request: Request) -> tuple[Restriction, ...]:
        """Return what a request is confined to; raises `InsufficientScope` when it is not granted."""
        if not grants.has_required:
            raise insufficient_scope(" ".join(self._required), "a scope that is required is missing")
        if not self._is_smart:
            return ()
        need = need_of(request)
        if need is Need.NOTHING:
            return ()
        restrictions = grants.restrictions.get(need)
        if restrictions is None:
            raise _refusal(need, grants)
        return restrictions

    def _patient(self, claims: Mapping[str, Any]) -> Mapping[str, tuple[str, ...]]:
        """Return the keys that a patient's studies have; empty when no patient is named in a way to go by."""
        found: Any = claims
        for name in self._patient_claim:
            found = found.get(name) if isinstance(found, Mapping) else None
        if not isinstance(found, str) or not found.endswith(self._authority):
            return {}
        patient_id = found.removesuffix(self._authority)
        if not 0 < len(patient_id) <= MAX_PATIENT_ID_CHARACTERS or patient_id != patient_id.strip():
            return {}
        if self._authority and "^" in patient_id:
            return {}
        if not patient_id.isprintable() or not _NOT_IN_A_PATIENT_ID.isdisjoint(patient_id):
            return {}
        keys = {PATIENT_ID: (patient_id,)}
        return {**keys, ISSUER_OF_PATIENT_ID: (self._issuer,)} if self._issuer else keys


def _listed(claim: Any) -> frozenset[str]:
    """Return scopes in the form of RFC 8693 §4.2, or listed one by one; what is neither is none."""
    listed = claim.split(" ") if isinstance(claim, str) else claim
    if not isinstance(listed, list) or not all(isinstance(one, str) for one in listed):
        return frozenset()
    return frozenset(listed)


def _refusal(need: Need, grants: Grants) -> InsufficientScope:
    if need is Need.UNKNOWN:
        return insufficient_scope("", "it is no transaction of DICOMweb that a scope could grant")
    lacking = "; its patient/ scopes count for nothing without a patient" if grants.wants_patient else ""
    return insufficient_scope(need.value, f"no scope grants it{lacking}")
