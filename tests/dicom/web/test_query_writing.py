from typing import Any

import pytest

from harmonygw.dicom.web.attributes import Level
from harmonygw.dicom.web.query import parse_search
from harmonygw.dicom.web.query_writing import MAX_KEY_DEPTH, MAX_UIDS, Search, write_searches
from harmonygw.dicom.web.resources import parse
from harmonygw.errors import BadRequest


def key(vr: str, *values: Any) -> dict[str, Any]:
    return {"vr": vr, "Value": list(values)} if values else {"vr": vr}


STUDY, SERIES, INSTANCE = "0020000D", "0020000E", "00080018"


def written(level: Level, keys: Any = None, return_keys: Any = None, **more: Any) -> Search:
    [search] = write_searches(level, keys or {}, return_keys or {}, **more)
    return search


@pytest.mark.parametrize(
    ("level", "keys", "path", "parameters"),
    [
        (Level.STUDY, {}, "studies", ()),
        (Level.STUDY, {STUDY: key("UI", "1.2")}, "studies", (("StudyInstanceUID", "1.2"),)),
        (Level.SERIES, {STUDY: key("UI", "1.2")}, "studies/1.2/series", ()),
        (Level.SERIES, {STUDY: key("UI", "1.2", "1.3")}, "series", (("StudyInstanceUID", "1.2,1.3"),)),
        (Level.SERIES, {}, "series", ()),
        (
            Level.IMAGE,
            {STUDY: key("UI", "1.2"), SERIES: key("UI", "1.3"), INSTANCE: key("UI", "1.4", "1.5")},
            "studies/1.2/series/1.3/instances",
            (("SOPInstanceUID", "1.4,1.5"),),
        ),
        (Level.IMAGE, {STUDY: key("UI", "1.2")}, "studies/1.2/instances", ()),
        (Level.IMAGE, {SERIES: key("UI", "1.3")}, "instances", (("SeriesInstanceUID", "1.3"),)),
        (Level.IMAGE, {STUDY: key("UI", "*")}, "instances", (("includefield", "StudyInstanceUID"),)),
    ],
)
def test_unique_keys_of_the_levels_above_stand_in_the_path(
    level: Level, keys: Any, path: str, parameters: tuple[tuple[str, str], ...]
) -> None:
    search = written(level, keys)
    assert "/".join(search.path) == path
    assert search.parameters == parameters
    assert all(uid in search.path for uid in search.named.values())


@pytest.mark.parametrize(
    ("tag", "given", "text"),
    [
        ("00100010", key("PN", {"Alphabetic": "DOE^J*"}), "DOE^J*"),
        ("00100010", key("PN", {"Ideographic": "山田^太郎"}), "=山田^太郎"),
        ("00100010", key("PN", {"Alphabetic": "A", "Phonetic": "B"}), "A==B"),
        ("00080020", key("DA", "20250101-"), "20250101-"),
        ("00080061", key("CS", "CT", "MR"), "CT,MR"),
        ("00201208", key("IS", 5), "5"),
        ("00101030", key("DS", 70.0), "70"),
        ("00101030", key("DS", 70.5), "70.5"),
        ("00081030", key("LO", "Müller & Söhne, links"), "Müller & Söhne, links"),
        ("00100020", key("LO", "P1", None, ""), "P1"),
    ],
)
def test_values_are_written_as_text(tag: str, given: Any, text: str) -> None:
    [(name, value)] = written(Level.STUDY, {tag: given}).parameters
    assert value == text
    assert name.isalpha()


def test_what_has_no_keyword_is_named_by_its_tag() -> None:
    keys = {"00090010": key("LO", "ACME"), "00091001": key("LO", "x")}
    assert written(Level.STUDY, keys).parameters == (("00090010", "ACME"), ("00091001", "x"))


def test_keys_within_a_sequence_are_nested_by_dots_and_the_sequence_comes_back() -> None:
    keys = {"00400275": key("SQ", {"00401001": key("SH", "RP1"), "00400009": key("SH")})}
    assert written(Level.STUDY, keys).parameters == (
        ("RequestAttributesSequence.RequestedProcedureID", "RP1"),
        ("includefield", "RequestAttributesSequence"),
    )
    # At SERIES level a match has it anyway (PS3.18 Table 10.6.3-4).
    assert len(written(Level.SERIES, keys).parameters) == 1


def test_keys_that_match_everything_are_asked_for_only() -> None:
    keys = {"00081030": key("LO", "*"), "00081048": key("PN", {}), "00400275": key("SQ")}
    assert written(Level.STUDY, keys, {"00104000": key("LT")}).parameters == (
        ("includefield", "StudyDescription,PhysiciansOfRecord,RequestAttributesSequence,PatientComments"),
    )


def test_what_every_match_has_is_not_asked_for() -> None:
    return_keys = {tag: key("LO") for tag in ("00100010", "00080005", "00080054", "00080056", "00100000", "00020010")}
    assert written(Level.STUDY, {}, return_keys).parameters == ()


def test_what_no_url_can_carry_is_told() -> None:
    keys = {"00091002": {"vr": "UN", "InlineBinary": "AAE="}, "00091003": {"vr": "UN"}}
    search = written(Level.STUDY, keys)
    assert search.unmatched == ("00091002",)
    assert search.parameters == (("includefield", "00091002,00091003"),)


def test_fuzzy_matching_is_asked_for() -> None:
    assert written(Level.STUDY, fuzzy_matching=True).parameters == (("fuzzymatching", "true"),)


def test_a_long_list_of_uids_takes_several_requests() -> None:
    uids = [f"1.2.{number}" for number in range(MAX_UIDS * 2 + 1)]
    keys = {STUDY: key("UI", "1"), SERIES: key("UI", "2"), INSTANCE: key("UI", *uids, *uids[:5])}
    searches = write_searches(Level.IMAGE, keys, {})
    values = [dict(search.parameters)["SOPInstanceUID"].split(",") for search in searches]
    assert [len(one) for one in values] == [MAX_UIDS, MAX_UIDS, 1]
    assert [uid for one in values for uid in one] == uids
    assert len(write_searches(Level.IMAGE, {INSTANCE: key("UI", *uids[:MAX_UIDS])}, {})) == 1


@pytest.mark.parametrize("uid", ["1.2/../3", "1" * 65, "a b"])
def test_what_is_no_uid_is_refused(uid: str) -> None:
    with pytest.raises(BadRequest):
        written(Level.SERIES, {STUDY: key("UI", uid)})
    with pytest.raises(BadRequest):
        written(Level.STUDY, {STUDY: key("UI", uid)})


def test_keys_nested_too_deep_are_refused() -> None:
    def nested(depth: int) -> dict[str, Any]:
        return key("SQ", {"0040A730": nested(depth - 1)}) if depth else key("LO", "x")

    assert written(Level.STUDY, {"0040A730": nested(MAX_KEY_DEPTH - 1)}).parameters[0][1] == "x"
    with pytest.raises(BadRequest, match="MAX_KEY_DEPTH"):
        written(Level.STUDY, {"0040A730": nested(MAX_KEY_DEPTH)})


def test_our_own_reader_reads_what_is_written() -> None:
    keys = {
        STUDY: key("UI", "1.2"),
        SERIES: key("UI", "1.3", "1.4"),
        "00080060": key("CS", "CT"),
        "00081050": key("PN", {"Alphabetic": "Gr*", "Ideographic": "山"}),
        "00080021": key("DA", "20250101-20250131"),
        "00400275": key("SQ", {"00401001": key("SH", "RP?")}),
    }
    search = written(Level.SERIES, keys, {"00400244": key("DA"), "00081032": key("SQ")})
    read = parse_search(parse(search.path, method="GET", query=search.parameters), search.parameters)
    assert read.keys == keys
    assert read.return_keys == {"00081032": key("SQ")}
