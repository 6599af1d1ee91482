"""The PATIENT level over an archive that has none: its studies are asked for, and each patient is answered once.

An archive that is asked in Study Root knows no PATIENT level, and a requestor of Patient Root begins there.
"""

from dataclasses import replace
from typing import Any, Final

from harmonygw.dicom.web.attributes import UNIQUE_KEYS
from harmonygw.errors import TooLarge
from harmonygw.operations import Find, Level
from harmonygw.streams import Match

PATIENT_ID: Final = UNIQUE_KEYS[Level.PATIENT]
PATIENT_NAME: Final = "00100010"
ISSUER_OF_PATIENT_ID: Final = "00100021"

COUNTS: Final = frozenset({"00201200", "00201202", "00201204"})
"""Numbers of Patient Related Studies, Series and Instances: no study has them."""

MAX_PATIENTS: Final = 50_000
"""Patients of one query that are remembered. Default 50,000: some megabytes, and more than anybody reads."""


def studies_of(query: Find) -> Find:
    """Return the query at STUDY level that finds the patients of one at PATIENT level."""
    return_keys = {tag: key for tag, key in query.return_keys.items() if tag not in COUNTS}
    for tag, vr in ((PATIENT_ID, "LO"), (ISSUER_OF_PATIENT_ID, "LO"), (PATIENT_NAME, "PN")):
        if tag not in query.keys:
            return_keys.setdefault(tag, {"vr": vr})
    keys = {tag: key for tag, key in query.keys.items() if tag not in COUNTS}
    return replace(query, level=Level.STUDY, keys=keys, return_keys=return_keys)


class Patients:
    """Those that a query has found already; who has no Patient ID is told from others by the name."""

    def __init__(self) -> None:
        self._seen: set[tuple[str, str, str]] = set()

    def is_new(self, study: Match) -> bool:
        """Whether a study is the first of its patient; raises `TooLarge` beyond `MAX_PATIENTS`."""
        patient_id = _text(study, PATIENT_ID)
        patient = patient_id, _text(study, ISSUER_OF_PATIENT_ID), "" if patient_id else _text(study, PATIENT_NAME)
        if patient in self._seen:
            return False
        if len(self._seen) >= MAX_PATIENTS:
            raise TooLarge(f"the query finds more than {MAX_PATIENTS} patients (MAX_PATIENTS)")
        self._seen.add(patient)
        return True


def _text(study: Match, tag: str) -> str:
    values: list[Any] = study.get(tag, {}).get("Value") or [""]
    return str(values[0])
