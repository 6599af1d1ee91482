"""What N-ACTION and N-EVENT-REPORT of Storage Commitment carry (PS3.4 Annex J, PS3.3 §C.14)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from harmonygw.dicom.dataset.references import (
    FAILED_SOP_SEQUENCE,
    FAILURE_REASON,
    REFERENCED_SOP_INSTANCE_UID,
    REFERENCED_SOP_SEQUENCE,
    Reference,
    item,
    items,
    text,
)
from harmonygw.dicom.dimse.statuses import PROCESSING_FAILURE

STORAGE_COMMITMENT: Final = "1.2.840.10008.1.20.1"
"""The Storage Commitment Push Model SOP class."""
STORAGE_COMMITMENT_INSTANCE: Final = "1.2.840.10008.1.20.1.1"
"""Its one, well-known SOP instance (PS3.4 §J.3.5)."""

REQUEST_STORAGE_COMMITMENT: Final = 1
"""The Action Type ID (PS3.4 Table J.3-1)."""
ALL_COMMITTED: Final = 1
SOME_FAILED: Final = 2
"""The Event Type IDs (PS3.4 Table J.3-2)."""

TRANSACTION_UID: Final = "00081195"


@dataclass(frozen=True, slots=True)
class Report:
    """The result of a transaction: which SOP Instance UIDs are committed, and why others are not."""

    transaction_uid: str
    committed: frozenset[str]
    failures: Mapping[str, int]
    """Failure Reason (0008,1197) by SOP Instance UID. What stands among both counts as failed."""


def action_information(transaction_uid: str, references: Sequence[Reference]) -> dict[str, Any]:
    """Return the Action Information of a request, in the DICOM JSON model (PS3.4 Table J.3-1)."""
    return {
        TRANSACTION_UID: {"vr": "UI", "Value": [transaction_uid]},
        REFERENCED_SOP_SEQUENCE: {"vr": "SQ", "Value": [item(one) for one in references]},
    }


def read_report(event_information: Mapping[str, Any]) -> Report:
    """Return what Event Information says (PS3.4 Table J.3-2); items without SOP Instance UID say nothing."""
    failures = {
        uid: _reason(one)
        for one in items(event_information, FAILED_SOP_SEQUENCE)
        if (uid := text(one, REFERENCED_SOP_INSTANCE_UID))
    }
    named = (text(one, REFERENCED_SOP_INSTANCE_UID) for one in items(event_information, REFERENCED_SOP_SEQUENCE))
    committed = frozenset(uid for uid in named if uid and uid not in failures)
    return Report(text(event_information, TRANSACTION_UID), committed, failures)


def _reason(failed: Mapping[str, Any]) -> int:
    values = failed.get(FAILURE_REASON, {}).get("Value") or (None,)
    return values[0] if isinstance(values[0], int) else PROCESSING_FAILURE
