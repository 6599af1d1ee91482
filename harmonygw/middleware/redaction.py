"""What is left out of what a person or another system is shown of an exchange.

Credentials always are. What identifies a patient is, unless the configuration says otherwise: in DICOM JSON the
attributes of group 0010, every name of a person, and the accession and admission numbers; in other JSON, and in the
query, the keys that are such an attribute's keyword, however they are written (`PatientID`, `patient_id`), and a few
more (`IDENTIFIERS`, and in FHIR `FHIR_IDENTIFIERS`). What else a configuration names is too, and what matches
`proxy.sensitive_field_patterns`.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from fnmatch import translate
from typing import Any, Final, Protocol

from pydicom.datadict import DicomDictionary  # type: ignore[attr-defined]

from harmonygw.config.model import Configuration
from harmonygw.dicom.dataset.dictionary import tag_of
from harmonygw.errors import ConfigurationError

REDACTED: Final = "<redacted>"
"""What stands for a value that is left out."""

CREDENTIAL_HEADERS: Final = frozenset(
    {
        *("authorization", "proxy-authorization", "cookie", "set-cookie", "x-api-key", "api-key", "apikey"),
        *("x-auth-token", "x-amz-security-token", "x-csrf-token", "authentication-info"),
    }
)
"""Header fields whose values are always left out."""

CREDENTIALS: Final = frozenset(
    {
        *("password", "passwd", "secret", "token", "accesstoken", "refreshtoken", "idtoken", "apikey"),
        *("clientsecret", "clientassertion", "authorization", "jwt", "session", "sessionid"),
    }
)
"""Keys of JSON, metadata and queries, in lower case and without punctuation, whose values are always left out."""

MAX_NAME: Final = 256
"""Characters of a name that are held against patterns. Default 256: an expression must not be fed whatever comes."""

MAX_DEPTH: Final = 100
"""Objects and arrays within one another that are shown; what is deeper is left out."""

_TAG: Final = re.compile(r"[0-9A-Fa-f]{8}")
_PUNCTUATION: Final = re.compile(r"[\W_]+")
_GLOB: Final = re.compile(r"[\w*?-]+")


def _bare(name: str) -> str:
    """Return a name in lower case, without punctuation: what is the same to who writes it."""
    return _PUNCTUATION.sub("", name[:MAX_NAME]).lower()


def _identifies(tag: int, vr: str) -> bool:
    """Whether an attribute identifies the patient, or names a person."""
    return tag >> 16 == 0x0010 or vr == "PN" or tag in (0x00080050, 0x00380010)


IDENTIFIERS: Final = frozenset(
    {
        *("patient", "subject", "mrn", "ssn", "birthdate", "dateofbirth", "dob"),
        *("family", "given", "fullname", "firstname", "lastname", "surname", "familyname", "givenname"),
    }
)
"""Keys that identify a patient and are no keyword: what hospitals' own JSON calls it."""

FHIR_IDENTIFIERS: Final = frozenset({"name", "identifier", "telecom", "address", "contact", "photo", "display", "text"})
"""Keys that do so within a FHIR resource, which is known by its `resourceType`; elsewhere they may be anything."""

_IDENTIFYING: Final = IDENTIFIERS | {
    _bare(entry[4]) for tag, entry in DicomDictionary.items() if entry[4] and _identifies(tag, entry[0])
}

_Paths = tuple[tuple[str, ...], ...]


class RedactionOptions(Protocol):
    """The options of a middleware that shows what passes."""

    redact_headers: tuple[str, ...]
    redact_metadata: tuple[str, ...]
    redact_data_fields: tuple[str, ...]
    show_patient_identifiers: bool


def secret_patterns(configuration: Configuration) -> tuple[str, ...]:
    """Return the patterns of names whose values a configuration wants left out, header fields of its keys with them."""
    ways = configuration.authentications.values()
    headers = {one.options.header for one in ways if one.method == "api_key"}
    exact = (header if _GLOB.fullmatch(header) else re.escape(header) for header in sorted(headers))
    return (*configuration.proxy.sensitive_field_patterns, *exact)


class Redaction:
    """Leaves out of headers, metadata, queries and JSON what is not to be shown."""

    def __init__(self, options: RedactionOptions, patterns: Iterable[str]) -> None:
        """Raises `ConfigurationError` for a pattern that is none."""
        self.shows_patients = options.show_patient_identifiers
        self._headers = CREDENTIAL_HEADERS | {name.lower() for name in options.redact_headers}
        self._metadata = {name.lower() for name in options.redact_metadata}
        self._patterns = [_matcher(pattern) for pattern in patterns]
        fields = [tuple(map(_field, field.split("."))) for field in options.redact_data_fields]
        self._anywhere = frozenset(field[0] for field in fields if len(field) == 1)
        self._paths: _Paths = tuple(field for field in fields if len(field) > 1)

    def headers(self, fields: Iterable[tuple[str, str]]) -> dict[str, str]:
        """Return header fields, repeated ones joined, their names in lower case."""
        shown: dict[str, str] = {}
        for name, value in fields:
            name = name.lower()
            if name in self._headers or self._is_secret(name):
                shown[name] = REDACTED
            else:
                shown[name] = f"{shown[name]}, {value}" if name in shown else value
        return shown

    def metadata(self, attributes: Mapping[str, Any]) -> dict[str, str]:
        """Return the metadata among the attributes of a request: those that are text."""
        return {
            name: REDACTED if name.lower() in self._metadata or self._hides(name) else value
            for name, value in attributes.items()
            if isinstance(value, str)
        }

    def query(self, pairs: Iterable[tuple[str, str]]) -> list[list[str]]:
        """Return the parameters of a query; a keyword within a sequence counts as much as one by itself."""
        names = self._anywhere | {path[-1] for path in self._paths}
        return [
            [name, REDACTED if any(_field(part) in names or self._hides(part) for part in name.split(".")) else value]
            for name, value in pairs
        ]

    def data(self, value: Any) -> Any:
        """Return a copy of a document, DICOM JSON or any other.

        A field of one word is left out wherever it is; dots lead down from the top, and arrays are passed through.
        """
        return self._shown(value, self._paths, 0, in_fhir=False)

    def _shown(self, value: Any, paths: _Paths, depth: int, *, in_fhir: bool) -> Any:
        if depth > MAX_DEPTH:
            return REDACTED
        if isinstance(value, list):
            return [self._shown(one, paths, depth + 1, in_fhir=in_fhir) for one in value]
        if not isinstance(value, dict):
            return value
        shown = {}
        in_fhir = in_fhir or (not self.shows_patients and "resourceType" in value)
        for key, one in value.items():
            name = _field(key)
            if (
                name in self._anywhere
                or (name,) in paths
                or (in_fhir and name in FHIR_IDENTIFIERS)
                or self._hides(key)
                or self._is_name_of_person(one)
            ):
                shown[key] = _left_out(one)
            else:
                through = name == "value" and "vr" in value  # to the items of a sequence
                below = paths if through else tuple(path[1:] for path in paths if path[0] == name)
                shown[key] = self._shown(one, below, depth + 1, in_fhir=in_fhir)
        return shown

    def _is_name_of_person(self, value: Any) -> bool:
        return not self.shows_patients and isinstance(value, dict) and value.get("vr") == "PN"

    def _hides(self, name: str) -> bool:
        if _bare(name) in CREDENTIALS or self._is_secret(name):
            return True
        if self.shows_patients:
            return False
        if _TAG.fullmatch(name):
            return _identifies(int(name, 16), "")
        return _bare(name) in _IDENTIFYING

    def _is_secret(self, name: str) -> bool:
        return any(matches(name[:MAX_NAME]) for matches in self._patterns)


def _left_out(value: Any) -> Any:
    """Return what stands for a value; an attribute without one, as a query returns it, has nothing to hide."""
    if isinstance(value, dict) and isinstance(value.get("vr"), str) and len(value["vr"]) == 2:
        return value if value.keys() == {"vr"} else {"vr": value["vr"], "Value": [REDACTED]}
    return REDACTED


def _field(name: str) -> str:
    """Return the name of a field as it is compared: a keyword is its tag."""
    tag = tag_of(name)
    return f"{tag:08x}" if tag is not None else name[:MAX_NAME].lower()


def _matcher(pattern: str) -> Callable[[str], object]:
    """Return whether a name matches: by `*` and `?` when there is nothing else in it, as an expression otherwise."""
    try:
        if _GLOB.fullmatch(pattern):
            return re.compile(translate(pattern), re.IGNORECASE).match
        return re.compile(pattern, re.IGNORECASE).search
    except re.error as error:
        raise ConfigurationError((f"proxy.sensitive_field_patterns: {pattern!r} is no pattern: {error}",)) from None
