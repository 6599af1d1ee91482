"""Storage commitment of the archive itself: what it has is on the disk, so that it can say at once (PS3.4 Annex J)."""

from collections.abc import Sequence
from typing import Final

from harmonygw.backends.storage.index import Index
from harmonygw.dicom.dataset.references import Reference

NO_SUCH_OBJECT_INSTANCE: Final = 0x0112
CLASS_INSTANCE_CONFLICT: Final = 0x0119
"""Failure Reasons (PS3.3 §C.14.1.1)."""


def failures(index: Index, references: Sequence[Reference]) -> dict[str, int]:
    """Return why instances are not committed, by SOP Instance UID; it blocks."""
    failed: dict[str, int] = {}
    with index.reading() as connection:
        for one in references:
            row = connection.execute(
                "SELECT sop_class_uid FROM instance WHERE sop_instance_uid = ?", (one.sop_instance_uid,)
            ).fetchone()
            if row is None:
                failed[one.sop_instance_uid] = NO_SUCH_OBJECT_INSTANCE
            elif row[0] != one.sop_class_uid:
                failed[one.sop_instance_uid] = CLASS_INSTANCE_CONFLICT
    return failed
