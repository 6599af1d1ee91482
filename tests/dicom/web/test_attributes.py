import pytest

from harmonygw.dicom.web.attributes import (
    EVERY_LEVEL,
    IF_KNOWN,
    REQUIRED,
    UNIQUE_KEYS,
    Level,
    _tags,
    attributes_of,
    level_of,
    vr_of_tag,
)


def test_required_attributes_are_those_of_the_contract() -> None:
    if_known = {"00080054", "00080056", "00080201"}
    assert {*if_known, "00083002"} == IF_KNOWN
    study = "0020000D 00080020 00080030 00080050 00080061 00080090 00100010 00100020 00100030 00100040"
    assert set(REQUIRED[Level.STUDY]) == {*study.split(), "00200010", "00201206", "00201208", *if_known}
    series = "0008103E 00080060 0020000E 00200011 00201209 00400244 00400245 00400275"
    assert set(REQUIRED[Level.SERIES]) == {*series.split(), *if_known}
    image = "00080016 00080018 00200013 00280008 00280010 00280011 00280100 00083002"
    assert set(REQUIRED[Level.IMAGE]) == {*image.split(), *if_known}


@pytest.mark.parametrize("level", [Level.STUDY, Level.SERIES])
def test_required_attributes_belong_to_their_level_or_one_above(level: Level) -> None:
    order = list(Level)
    for tag in REQUIRED[level]:
        belongs = level_of(tag)
        assert belongs is None or order.index(belongs) <= order.index(level)


@pytest.mark.parametrize(
    ("tag", "level"),
    [
        ("00100010", Level.PATIENT),
        ("00100021", Level.PATIENT),
        ("00201200", Level.PATIENT),
        ("00080020", Level.STUDY),
        ("00101010", Level.STUDY),
        ("00080061", Level.STUDY),
        ("00080060", Level.SERIES),
        ("00400275", Level.SERIES),
        ("00080080", Level.SERIES),
        ("00080016", Level.IMAGE),
        ("00280010", Level.IMAGE),
        ("00080021", Level.SERIES),
        ("00080022", Level.IMAGE),
    ],
)
def test_level_of_an_attribute(tag: str, level: Level) -> None:
    assert level_of(tag) is level


def test_unique_keys_belong_to_their_levels() -> None:
    for level, tag in UNIQUE_KEYS.items():
        assert level_of(tag) is level


def test_what_describes_the_match_and_private_attributes_belong_to_no_level() -> None:
    for tag in (*EVERY_LEVEL, "00090010", "00091002"):
        assert level_of(tag) is None


def test_a_keyword_that_the_dictionary_lacks_cannot_enter_the_tables() -> None:
    with pytest.raises(LookupError, match="PatentName"):
        list(_tags("PatientID PatentName"))


@pytest.mark.parametrize(
    ("level", "some", "none"),
    [
        (Level.STUDY, {"00100010", "00101010", "00081030", "00201206"}, {"00080060", "00280010"}),
        (Level.SERIES, {"00080060", "00180015", "00080070"}, {"00100010", "00081030", "00280010"}),
        (Level.IMAGE, {"00080016", "00280010"}, {"00100010", "00081030", "00080060"}),
    ],
)
def test_all_attributes_of_a_level_are_its_own_and_the_required_ones(
    level: Level, some: set[str], none: set[str]
) -> None:
    attributes = attributes_of(level)
    assert some | set(REQUIRED[level]) <= set(attributes)
    assert not none & set(attributes)


@pytest.mark.parametrize(
    ("tag", "vr"), [("00100010", "PN"), ("0020000D", "UI"), ("00400275", "SQ"), ("00280106", "US")]
)
def test_vr_of_an_attribute(tag: str, vr: str) -> None:
    assert vr_of_tag(tag) == vr
