"""The Query/Retrieve information models and their SOP classes (PS3.4 §C.6)."""

from typing import Final, NamedTuple


class InformationModel(NamedTuple):
    """One of them, as an SCU needs it."""

    name: str
    find: str
    move: str
    get: str


STUDY_ROOT: Final = InformationModel(
    "Study Root", "1.2.840.10008.5.1.4.1.2.2.1", "1.2.840.10008.5.1.4.1.2.2.2", "1.2.840.10008.5.1.4.1.2.2.3"
)
PATIENT_ROOT: Final = InformationModel(
    "Patient Root", "1.2.840.10008.5.1.4.1.2.1.1", "1.2.840.10008.5.1.4.1.2.1.2", "1.2.840.10008.5.1.4.1.2.1.3"
)

WITHOUT_BULK_DATA_GET: Final = "1.2.840.10008.5.1.4.1.2.5.3"
"""Composite Instance Retrieve Without Bulk Data - GET, which is of no root (PS3.4 §Z.6)."""
