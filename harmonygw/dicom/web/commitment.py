"""Payloads of the Storage Commitment service (PS3.18 §13, Annex J), in the DICOM JSON model.

Instances are named in one list, or by study and series; the answer has the form of the request.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from harmonygw.dicom.dataset.references import (
    FAILED_SOP_SEQUENCE,
    REFERENCED_SOP_CLASS_UID,
    REFERENCED_SOP_INSTANCE_UID,
    REFERENCED_SOP_SEQUENCE,
    Reference,
    item,
    items,
    text,
)
from harmonygw.dicom.web.resources import check_uid
from harmonygw.errors import BadRequest, TooLarge

MAX_REFERENCES: Final = 50_000
"""Instances of one request: those of a study of several series of thin slices. One takes some 150 bytes on the wire."""

_STUDY_INSTANCE_UID: Final = "0020000D"
_SERIES_INSTANCE_UID: Final = "0020000E"
_REFERENCED_STUDY_SEQUENCE: Final = "00081110"
_BY_SOP_CLASS_SEQUENCE: Final = "00081112"
_REFERENCED_SERIES_SEQUENCE: Final = "00081115"
_REFERENCED_INSTANCE_SEQUENCE: Final = "0008114A"
_FAILED_STUDY_SEQUENCE: Final = "0008119B"


def read_request(payload: Mapping[str, Any]) -> tuple[Reference, ...]:
    """Return the instances of a Storage Commitment Request Module (PS3.18 §J.1), each once, in their order.

    Raises `BadRequest` when there are none or one is not named in full, and `TooLarge` for more than
    `MAX_REFERENCES`.
    """
    found: dict[str, Reference] = {}
    for one in (*_listed(payload), *_by_study(payload)):
        known = found.setdefault(one.sop_instance_uid, one)
        if known.sop_class_uid != one.sop_class_uid:
            raise BadRequest(f"ReferencedSOPInstanceUID {one.sop_instance_uid} is given two SOP classes.")
        if len(found) > MAX_REFERENCES:
            raise TooLarge(f"The request refers to more than {MAX_REFERENCES} instances (MAX_REFERENCES).")
    if not found:
        raise BadRequest("The payload refers to no instance: ReferencedSOPSequence (0008,1199) is needed.")
    return tuple(found.values())


def write_response(references: Sequence[Reference], failures: Mapping[str, int]) -> dict[str, Any]:
    """Return a Storage Commitment Response Module (PS3.18 §J.2); `failures` are reasons by SOP Instance UID."""
    written: dict[str, Any] = {}
    for listed_in, studies_in, failed in (
        (REFERENCED_SOP_SEQUENCE, _REFERENCED_STUDY_SEQUENCE, False),
        (FAILED_SOP_SEQUENCE, _FAILED_STUDY_SEQUENCE, True),
    ):
        some = [one for one in references if (one.sop_instance_uid in failures) is failed]
        listed = [one for one in some if not one.study_instance_uid]
        if listed:
            made = [item(one, failures.get(one.sop_instance_uid)) for one in listed]
            written[listed_in] = {"vr": "SQ", "Value": made}
        studies = _studies((one for one in some if one.study_instance_uid), failures)
        if studies:
            written[studies_in] = {"vr": "SQ", "Value": studies}
    return dict(sorted(written.items()))


def _listed(payload: Mapping[str, Any]) -> Iterable[Reference]:
    for one in items(payload, REFERENCED_SOP_SEQUENCE):
        yield Reference(_uid(one, REFERENCED_SOP_CLASS_UID), _uid(one, REFERENCED_SOP_INSTANCE_UID))


def _by_study(payload: Mapping[str, Any]) -> Iterable[Reference]:
    for study in items(payload, _REFERENCED_STUDY_SEQUENCE):
        study_uid = _uid(study, _STUDY_INSTANCE_UID)
        for series in items(study, _REFERENCED_SERIES_SEQUENCE):
            series_uid = _uid(series, _SERIES_INSTANCE_UID)
            for of_class in items(series, _BY_SOP_CLASS_SEQUENCE):
                sop_class_uid = _uid(of_class, REFERENCED_SOP_CLASS_UID)
                for one in items(of_class, _REFERENCED_INSTANCE_SEQUENCE):
                    instance_uid = _uid(one, REFERENCED_SOP_INSTANCE_UID)
                    yield Reference(sop_class_uid, instance_uid, study_uid, series_uid)


def _uid(data_set: Mapping[str, Any], tag: str) -> str:
    return check_uid(text(data_set, tag), f"({tag[:4]},{tag[4:]})")


def _studies(references: Iterable[Reference], failures: Mapping[str, int]) -> list[dict[str, Any]]:
    """Return the items of a sequence of studies: series, SOP classes and instances in the order of the request."""
    tree: dict[str, dict[str, dict[str, list[dict[str, Any]]]]] = {}
    for one in references:
        named = item(one, failures.get(one.sop_instance_uid))
        del named[REFERENCED_SOP_CLASS_UID]
        of_series = tree.setdefault(one.study_instance_uid, {}).setdefault(one.series_instance_uid, {})
        of_series.setdefault(one.sop_class_uid, []).append(named)
    return [
        {
            _STUDY_INSTANCE_UID: {"vr": "UI", "Value": [study]},
            _REFERENCED_SERIES_SEQUENCE: {"vr": "SQ", "Value": [_series(*one) for one in of_study.items()]},
        }
        for study, of_study in tree.items()
    ]


def _series(series: str, classes: Mapping[str, list[dict[str, Any]]]) -> dict[str, Any]:
    by_class = [
        {
            REFERENCED_SOP_CLASS_UID: {"vr": "UI", "Value": [sop_class_uid]},
            _REFERENCED_INSTANCE_SEQUENCE: {"vr": "SQ", "Value": instances},
        }
        for sop_class_uid, instances in classes.items()
    ]
    return {
        _SERIES_INSTANCE_UID: {"vr": "UI", "Value": [series]},
        _BY_SOP_CLASS_SEQUENCE: {"vr": "SQ", "Value": by_class},
    }
