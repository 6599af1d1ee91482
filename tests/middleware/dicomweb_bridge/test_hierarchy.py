from typing import Any

import pytest

from harmonygw.dicom.web.attributes import EVERY_LEVEL, REQUIRED, Level, attributes_of
from harmonygw.dicom.web.query import parse_search
from harmonygw.dicom.web.resources import Resource, parse
from harmonygw.middleware.dicomweb_bridge.hierarchy import UNPERFORMED, Plan, plan
from tests.middleware.dicomweb_bridge.archive import element, elements


def planned(target: str) -> Plan:
    path, _, query = target.partition("?")
    resource: Resource = parse(tuple(path.split("/")))
    pairs = [(name, value) for name, _, value in (pair.partition("=") for pair in query.split("&") if pair)]
    return plan(resource, parse_search(resource, pairs))


@pytest.mark.parametrize(
    ("target", "above", "below"),
    [
        ("studies", (), ()),
        ("studies?Modality=CT", (), (Level.SERIES,)),
        ("studies?SOPInstanceUID=1", (), (Level.SERIES, Level.IMAGE)),
        ("studies/1/series", (), ()),
        ("studies/1/series?StudyInstanceUID=1", (), ()),
        ("studies/1/series?PatientID=1", (Level.STUDY,), ()),
        ("studies/1/series?includefield=PatientName", (Level.STUDY,), ()),
        ("studies/1/series?Rows=1", (), (Level.IMAGE,)),
        ("series", (Level.STUDY,), ()),
        ("series?StudyInstanceUID=1", (Level.STUDY,), ()),
        ("studies/1/instances", (Level.SERIES,), ()),
        ("studies/1/series/2/instances", (), ()),
        ("studies/1/series/2/instances?Modality=CT", (Level.SERIES,), ()),
        ("instances", (Level.STUDY, Level.SERIES), ()),
    ],
)
def test_levels_are_asked_where_they_have_to_be(
    target: str, above: tuple[Level, ...], below: tuple[Level, ...]
) -> None:
    assert (planned(target).above, planned(target).below) == (above, below)


def test_keys_go_where_they_belong() -> None:
    taken = planned("series?PatientID=P&StudyDate=20250101&Modality=CT&Rows=512&InstanceAvailability=ONLINE")
    assert taken.keys == {
        Level.STUDY: elements(PatientID="P", StudyDate="20250101"),
        Level.SERIES: elements(Modality="CT", InstanceAvailability="ONLINE"),
        Level.IMAGE: {"00280010": element("Rows", 512)},
    }


@pytest.mark.parametrize(
    ("target", "fixed"),
    [
        ("studies/1/series/2/instances", {Level.STUDY: "1", Level.SERIES: "2"}),
        ("instances?SeriesInstanceUID=2", {Level.SERIES: "2"}),
        ("series?StudyInstanceUID=1,2", {}),
        ("studies?StudyInstanceUID=1", {}),
    ],
)
def test_one_uid_of_a_level_above_names_the_parent(target: str, fixed: dict[Level, str]) -> None:
    assert planned(target).fixed == fixed


def test_what_is_shown_is_asked_for() -> None:
    taken = planned("series")
    assert set(taken.return_keys[Level.SERIES]) == set(REQUIRED[Level.SERIES])
    assert set(taken.return_keys[Level.STUDY]) == set(REQUIRED[Level.STUDY]) - EVERY_LEVEL
    assert taken.return_keys[Level.IMAGE] == {}
    taken = planned("studies/1/series?includefield=all")
    assert set(taken.return_keys[Level.SERIES]) == set(attributes_of(Level.SERIES))
    assert taken.return_keys[Level.STUDY] == {}


@pytest.mark.parametrize(
    ("target", "tags"),
    [
        ("studies", "00080020 00080030 00080050 00080090 00100010 00100020 00100030 00100040 0020000D 00200010"),
        ("studies/1/series", "0008103E 00080060 0020000E 00200011 00400244 00400245 00400275"),
        (
            "studies/1/series/2/instances",
            "00080016 00080018 00200013 00280008 00280010 00280011 00280100",
        ),
    ],
)
def test_what_every_match_has_is_laid_out_without_value(target: str, tags: str) -> None:
    required: Any = planned(target).required
    assert set(required) == set(tags.split())
    assert all(set(one) == {"vr"} for one in required.values())


def test_what_has_no_effect_is_warned_of() -> None:
    nested = "RequestAttributesSequence.RequestedProcedureID"
    target = f'studies/1/series?{nested}=""&emptyvaluematching=true&OtherPatientNames=A\\B&multiplevaluematching=true'
    assert planned(target).warnings == tuple(UNPERFORMED.values())
    assert planned("studies?emptyvaluematching=true").warnings == ()
