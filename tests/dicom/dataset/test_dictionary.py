"""The data dictionary: what is known, what is not, and what is meant."""

import pytest
from pydicom.datadict import dictionary_VR, get_private_entry, private_dictionaries
from pydicom.tag import Tag

from harmonygw.dicom.dataset import dictionary
from harmonygw.dicom.dataset.dictionary import (
    BULK_VRS,
    has_one_value,
    is_private,
    keyword_of,
    nearest_keywords,
    private_vr,
    resolve_vr,
    tag_of,
    vr_of,
)


@pytest.mark.parametrize(
    ("tag", "vr"),
    [
        (0x00100010, "PN"),
        (0x00280106, "US or SS"),
        (0x60023000, "OB or OW"),
        (0x00080000, "UL"),
        (0x00190000, "UL"),
        (0x00191001, "UN"),
        (0x00081999, "UN"),
        (0x001021FF, "UN"),
    ],
)
def test_the_vr_of_a_tag_is_the_dictionary_s_or_un(tag: int, vr: str) -> None:
    assert vr_of(tag) == vr


def test_items_and_delimiters_have_no_vr() -> None:
    assert 0xFFFEE000 not in dictionary.VR_BY_TAG


def test_every_tag_has_pydicom_s_vr() -> None:
    assert all(vr == dictionary_VR(tag) for tag, vr in dictionary.VR_BY_TAG.items())


@pytest.mark.parametrize(
    ("tag", "keyword"),
    [(0x00100020, "PatientID"), (0x60043000, "OverlayData"), (0x00191001, ""), (0x00081999, "")],
)
def test_a_tag_has_a_keyword_or_none(tag: int, keyword: str) -> None:
    assert keyword_of(tag) == keyword


@pytest.mark.parametrize(
    ("keyword", "tag"), [("PatientID", 0x00100020), ("patientid", None), ("", None), ("OverlayData", None)]
)
def test_a_keyword_has_a_tag_or_none(keyword: str, tag: int | None) -> None:
    assert tag_of(keyword) == tag


def test_odd_groups_are_private() -> None:
    assert is_private(0x00091001)
    assert not is_private(0x00081001)


@pytest.mark.parametrize(
    ("tag", "creator", "vr"),
    [
        (0x00090010, "", "LO"),
        (0x000900FF, "anyone", "LO"),
        (0x00191011, "GEMS_ACQU_01", "SS"),
        (0x0019F011, "GEMS_ACQU_01", "SS"),
        (0x00191001, "nobody", "UN"),
        (0x00091003, "GEMS_IDEN_01", "UN"),
        (0x0009000A, "GEMS_IDEN_01", "UN"),
    ],
)
def test_a_private_vr_depends_on_the_creator_and_not_on_the_block(tag: int, creator: str, vr: str) -> None:
    assert private_vr(tag, creator) == vr


def test_every_private_attribute_has_pydicom_s_vr() -> None:
    for creator, entries in private_dictionaries.items():
        for key in (key for key in entries if not key.endswith("10xx")):
            tag = Tag(int(key.replace("xxxx", "0110").replace("xx", "10"), 16))
            if tag.is_private_creator:
                continue
            assert private_vr(tag, creator) == get_private_entry(tag, creator)[0].replace("_", " or ")


@pytest.mark.parametrize(
    ("text", "nearest"),
    [("PatientIDs", "PatientID"), ("patientname", "PatientName"), ("StudyInstanceUId", "StudyInstanceUID")],
)
def test_a_misspelt_keyword_is_near_to_the_right_one(text: str, nearest: str) -> None:
    assert nearest_keywords(text)[0] == nearest


def test_what_looks_like_no_keyword_is_near_to_none() -> None:
    assert nearest_keywords("\u4e00" * 10) == ()


def test_as_many_near_keywords_are_given_as_are_asked_for() -> None:
    assert len(nearest_keywords("PatientNme", n=2)) == 2


def test_only_the_beginning_of_a_long_keyword_is_compared() -> None:
    padding = "x" * dictionary.MAX_KEYWORD_LENGTH
    assert nearest_keywords(padding + "PatientID") == nearest_keywords(padding)


@pytest.mark.parametrize(("vr", "bulk"), [("OW", True), ("UN", True), ("DS", True), ("LO", False), ("SQ", False)])
def test_the_vrs_that_may_be_bulk_data_are_those_of_the_standard(vr: str, *, bulk: bool) -> None:
    assert (vr in BULK_VRS) is bulk


@pytest.mark.parametrize(
    ("vr", "pixel_representation", "lut_entries", "resolved"),
    [
        ("US or SS", 0, None, "US"),
        ("US or SS", 1, None, "SS"),
        ("US or SS", None, None, "US"),
        ("US or OW", None, 1, "US"),
        ("US or OW", None, 256, "OW"),
        ("US or OW", None, None, "OW"),
        ("OB or OW", None, None, "OW"),
        ("US or SS or OW", 1, None, "OW"),
        ("LO", None, None, "LO"),
    ],
)
def test_an_ambiguous_vr_is_resolved_by_what_it_depends_on(
    vr: str, pixel_representation: int | None, lut_entries: int | None, resolved: str
) -> None:
    assert resolve_vr(vr, pixel_representation=pixel_representation, lut_entries=lut_entries) == resolved


@pytest.mark.parametrize(
    ("tag", "one"),
    [(0x00080060, True), (0x00080061, False), (0x00091001, False), (0x60000010, False), (0x00201041, True)],
)
def test_an_attribute_has_one_value_or_more(tag: int, one: bool) -> None:
    assert has_one_value(tag) is one
