"""The identifier of a worklist query (PS3.4 Table K.6-1)."""

import pytest
from pydicom.datadict import tag_for_keyword

from harmonygw.dicom.web import worklist
from harmonygw.dicom.web.query import parse_search
from harmonygw.dicom.web.resources import Kind, Resource
from harmonygw.dicom.web.worklist import RETURNED, RETURNED_OF_STEP, identifier_keys

STEP = "00400100"


def tag(keyword: str) -> str:
    return f"{tag_for_keyword(keyword):08X}"


def test_whatever_a_match_has_to_have_is_asked_for() -> None:
    asked = identifier_keys({}, {})
    assert asked == {**RETURNED, STEP: {"vr": "SQ", "Value": [dict(RETURNED_OF_STEP)]}}
    assert asked[tag("PatientID")] == {"vr": "LO"}
    assert asked[STEP]["Value"][0][tag("ScheduledStationAETitle")] == {"vr": "AE"}


def test_keys_of_the_step_stand_in_the_one_item_of_its_sequence() -> None:
    pairs = (
        ("ScheduledProcedureStepSequence.Modality", "CT"),
        ("00400100.00400002", "20260101-20260131"),
        ("PatientName", "Doe*"),
        ("includefield", "ScheduledProcedureStepSequence.ScheduledProcedureStepEndDate,PatientAge"),
    )
    query = parse_search(Resource(Kind.SEARCH_WORKLIST), pairs)
    asked = identifier_keys(query.keys, query.return_keys)
    assert asked[tag("PatientName")] == {"vr": "PN", "Value": [{"Alphabetic": "Doe*"}]}
    assert asked[tag("PatientAge")] == {"vr": "AS"}
    [step] = asked[STEP]["Value"]
    assert step == {
        **RETURNED_OF_STEP,
        tag("Modality"): {"vr": "CS", "Value": ["CT"]},
        tag("ScheduledProcedureStepStartDate"): {"vr": "DA", "Value": ["20260101-20260131"]},
        tag("ScheduledProcedureStepEndDate"): {"vr": "DA"},
    }


def test_a_keyword_that_is_none_is_found_when_the_module_is_loaded() -> None:
    with pytest.raises(LookupError, match="Patient is not in the data dictionary"):
        worklist._empty("PatientID Patient")
