"""Whose a study is, and whether an object belongs to the same patient.

The answer to a query and an object may be encoded in different character sets; what is compared is text. PatientIDs are
compared exactly, but for padding: `p1` is not `P1`.
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple
from unicodedata import normalize

from harmonygw.dicom.dataset.leading import text_of

NO_PATIENT_ID: Final = "it has no PatientID"
ANOTHER_PATIENT: Final = "another patient"
ANOTHER_ISSUER: Final = "another issuer of the PatientID"
OF_ANOTHER_PATIENT: Final = frozenset({NO_PATIENT_ID, ANOTHER_PATIENT, ANOTHER_ISSUER})
"""All that `Patient.difference` says."""


class Patient(NamedTuple):
    """PatientID (0010,0020) and IssuerOfPatientID (0010,0021); empty when there is none."""

    patient_id: str = ""
    issuer: str = ""

    @classmethod
    def of_row(cls, row: Mapping[str, Any]) -> "Patient":
        """Return the patient of a match in the DICOM JSON model, of a C-FIND or a Search."""
        return cls(*(_comparable("\\".join(_texts(row, tag))) for tag in ("00100020", "00100021")))

    @classmethod
    def of_instance(cls, leading: Mapping[str, str], default_character_set: tuple[str, ...]) -> "Patient":
        """Return the patient of an object, by its leading attributes (see `Instance.leading`).

        These stand there as Latin-1, a character for each byte; here they are decoded by the object's own
        SpecificCharacterSet (0008,0005), or by `default_character_set` when it states none.
        """
        texts = (
            text_of(leading, keyword, "LO", default_character_set) for keyword in ("PatientID", "IssuerOfPatientID")
        )
        return cls(*map(_comparable, texts))

    def difference(self, other: "Patient") -> str:
        """Say why `other` is not this patient; empty when it may be. An issuer counts when both have one."""
        if self.patient_id and not other.patient_id:
            return NO_PATIENT_ID
        if self.patient_id != other.patient_id:
            return ANOTHER_PATIENT
        if self.issuer and other.issuer and self.issuer != other.issuer:
            return ANOTHER_ISSUER
        return ""


NOBODY = Patient()
"""When it is not known."""


def _comparable(value: str) -> str:
    return normalize("NFC", "\\".join(part.strip(" \0") for part in value.split("\\")))


def _texts(row: Mapping[str, Any], tag: str) -> list[str]:
    return [value for value in row.get(tag, {}).get("Value", ()) if isinstance(value, str) and value]
