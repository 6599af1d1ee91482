from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harmonygw.dicom.web.query import (
    MAX_COUNT_DIGITS,
    MAX_PARAMETERS,
    MAX_PATH_DEPTH,
    SearchQuery,
    parse_search,
)
from harmonygw.dicom.web.resources import Kind, Resource
from harmonygw.errors import BadRequest, HarmonyError, TooLarge

STUDIES = Resource(Kind.SEARCH_STUDIES)


def search(*pairs: tuple[str, str], resource: Resource = STUDIES) -> SearchQuery:
    return parse_search(resource, pairs)


def values(name: str, *texts: str, **flags: str) -> list[Any]:
    """Return the values of the one key that a search for `name` with each of `texts` has."""
    query = search(*((name, text) for text in texts), *flags.items())
    ((_, element),) = query.keys.items()
    value: list[Any] = element["Value"]
    return value


# Names


@pytest.mark.parametrize("name", ["PatientID", "00100020"])
def test_a_key_is_named_by_keyword_or_tag(name: str) -> None:
    assert search((name, "P1")).keys == {"00100020": {"vr": "LO", "Value": ["P1"]}}


def test_hexadecimal_digits_come_in_either_case() -> None:
    assert search(("0020000d", "1.2")).keys == {"0020000D": {"vr": "UI", "Value": ["1.2"]}}


def test_a_key_in_a_sequence_is_named_with_dots_by_keywords_tags_or_both() -> None:
    keys = {"00400275": {"vr": "SQ", "Value": [{"00401001": {"vr": "SH", "Value": ["R1"]}}]}}
    for name in (
        "RequestAttributesSequence.RequestedProcedureID",
        "00400275.00401001",
        "00400275.RequestedProcedureID",
    ):
        assert search((name, "R1")).keys == keys


def test_keys_of_one_sequence_share_its_item() -> None:
    query = search(
        ("00081032.CodeValue", "X"),
        ("ProcedureCodeSequence.00080102", "DCM"),
        ("includefield", "00081032.CodeMeaning"),
    )
    item = {
        "00080100": {"vr": "SH", "Value": ["X"]},
        "00080102": {"vr": "SH", "Value": ["DCM"]},
        "00080104": {"vr": "LO"},
    }
    assert query.keys == {"00081032": {"vr": "SQ", "Value": [item]}}
    assert query.return_keys == {}


def test_the_same_attribute_by_two_names_is_one_key() -> None:
    assert values("00080018", "1.2") == ["1.2"]
    assert search(("SOPInstanceUID", "1.2"), ("00080018", "1.3")).keys["00080018"]["Value"] == ["1.2", "1.3"]


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("PatentID", "PatientID"),
        ("patientid", "PatientID"),
        ("Limit", "limit"),
        ("includeField", "includefield"),
        ("RequestAttributesSequence.RequestedProcedurID", "RequestedProcedureID"),
    ],
)
def test_an_unknown_key_is_named_with_the_nearest(name: str, nearest: str) -> None:
    with pytest.raises(BadRequest) as refusal:
        search((name, "1"))
    assert repr(name.rpartition(".")[2]) in refusal.value.detail
    assert nearest in refusal.value.detail.partition("the nearest: ")[2]


@pytest.mark.parametrize(
    "name",
    [
        "00100099",  # not in the dictionary
        "00080000",  # a group length
        "TransferSyntaxUID",  # file meta information
        "00000900",  # a command's
        "FFFEE000",  # an item's
        "00090001",  # odd, but neither a creator nor in a block
        "0010002",
        "٠٠١٠٠٠٢٠",
        "",
        "PatientID.",
        "qzxjwv",
    ],
)
def test_what_names_no_attribute_of_a_data_set_is_refused(name: str) -> None:
    with pytest.raises(BadRequest, match="neither an attribute nor a parameter"):
        search((name, "1"))


def test_the_nearest_are_attributes_that_can_be_asked_for() -> None:
    with pytest.raises(BadRequest) as refusal:
        search(("TransferSyntaxUID", "1"))
    assert "AvailableTransferSyntaxUID" in refusal.value.detail
    assert ": TransferSyntaxUID" not in refusal.value.detail


def test_unknown_keys_are_ignored_where_configured_and_named_once() -> None:
    pairs = (("orderby", "x"), ("PatientID", "1"), ("orderby", "y"), ("includefield", "Nonsense"))
    query = parse_search(STUDIES, pairs, unknown_keys="ignore")
    assert query.ignored == ("orderby", "Nonsense")
    assert list(query.keys) == ["00100020"]


def test_only_a_sequence_has_attributes_within() -> None:
    with pytest.raises(BadRequest, match="not a sequence"):
        search(("PatientID.PatientName", "x"))


def test_names_are_nested_to_a_limit() -> None:
    sequence = "ContentSequence"
    deepest = ".".join([sequence] * (MAX_PATH_DEPTH - 1) + ["TextValue"])
    assert "0040A730" in search((deepest, "x")).keys
    with pytest.raises(BadRequest, match=f"at most {MAX_PATH_DEPTH}"):
        search((f"{sequence}.{deepest}", "x"))


@pytest.mark.parametrize("name", ["QueryRetrieveLevel", "SpecificCharacterSet", "RetrieveURL"])
def test_what_is_no_key_is_refused_with_a_value_and_passed_over_without(name: str) -> None:
    with pytest.raises(BadRequest, match=name):
        search((name, "STUDY"))
    assert search((name, ""), ("includefield", name)) == SearchQuery(keys={}, return_keys={})


def test_parameters_are_read_up_to_a_limit() -> None:
    pairs = [("charset", "utf-8")] * MAX_PARAMETERS
    assert parse_search(STUDIES, pairs).keys == {}
    with pytest.raises(TooLarge, match=str(MAX_PARAMETERS)):
        parse_search(STUDIES, [*pairs, ("charset", "utf-8")])
    with pytest.raises(TooLarge, match=str(MAX_PARAMETERS)):
        search(("includefield", "," * MAX_PARAMETERS))


# Private attributes (PS3.5 §7.8)


def test_a_private_key_goes_with_its_creator() -> None:
    query = search(("00091002", "x"), ("00090010", "ACME 1.1"), ("includefield", "00091003"))
    assert query.keys == {
        "00091002": {"vr": "LO", "Value": ["x"]},
        "00090010": {"vr": "LO", "Value": ["ACME 1.1"]},
    }
    assert query.return_keys == {"00091003": {"vr": "LO"}}


def test_a_known_creator_tells_the_vr_of_its_attributes() -> None:
    query = search(("00191002", "5"), ("00190010", "GEMS_ACQU_01"))
    assert query.keys["00191002"] == {"vr": "SL", "Value": [5]}


def test_a_private_key_without_its_creator_is_refused() -> None:
    for creators in ((), (("00090011", "ACME"),), (("00090010", ""),), (("00400275.00090010", "ACME"),)):
        with pytest.raises(BadRequest, match="00090010 must be given"):
            search(("00091002", "x"), *creators)


def test_a_creator_counts_in_its_own_item() -> None:
    query = search(("00400275.00091002", "x"), ("00400275.00090010", "ACME"))
    (item,) = query.keys["00400275"]["Value"]
    assert item["00091002"] == {"vr": "LO", "Value": ["x"]}


# General parameters


def test_a_search_without_parameters_asks_for_everything() -> None:
    assert search() == SearchQuery(keys={}, return_keys={})


def test_includefield_is_repeated_comma_separated_nested_or_all() -> None:
    query = search(
        ("includefield", "00081030, SeriesDescription"),
        ("includefield", "RequestAttributesSequence.RequestedProcedureID"),
        ("includefield", ""),
    )
    assert query.return_keys == {
        "00081030": {"vr": "LO"},
        "0008103E": {"vr": "LO"},
        "00400275": {"vr": "SQ", "Value": [{"00401001": {"vr": "SH"}}]},
    }
    assert not query.include_all
    assert search(("includefield", "StudyDate,all")).include_all


@pytest.mark.parametrize("order", [1, -1])
def test_a_whole_sequence_includes_what_is_in_it(order: int) -> None:
    fields = ["RequestAttributesSequence", "RequestAttributesSequence.RequestedProcedureID"][::order]
    assert search(*(("includefield", field) for field in fields)).return_keys == {"00400275": {"vr": "SQ"}}


def test_what_is_matched_is_not_asked_for_again() -> None:
    query = search(("StudyDate", "20250101"), ("includefield", "StudyDate,00080020"))
    assert list(query.keys) == ["00080020"]
    assert query.return_keys == {}


def test_an_ambiguous_vr_is_decided() -> None:
    assert search(("includefield", "SmallestImagePixelValue")).return_keys == {"00280106": {"vr": "US"}}


def test_limit_and_offset_are_counts() -> None:
    query = search(("limit", "0"), ("offset", "025"))
    assert (query.limit, query.offset) == (0, 25)
    assert search(("limit", "9" * MAX_COUNT_DIGITS)).limit == 10**MAX_COUNT_DIGITS - 1


@pytest.mark.parametrize("name", ["limit", "offset"])
@pytest.mark.parametrize("text", ["-1", "+1", "1.5", "", "ten", "٣", " 1", "9" * (MAX_COUNT_DIGITS + 1)])
def test_what_is_no_count_is_refused(name: str, text: str) -> None:
    with pytest.raises(BadRequest, match=name):
        search((name, text))


def test_a_parameter_given_twice_must_say_the_same() -> None:
    assert search(("limit", "5"), ("limit", "5")).limit == 5
    with pytest.raises(BadRequest, match="limit is given twice"):
        search(("limit", "5"), ("limit", "6"))


@pytest.mark.parametrize("name", ["fuzzymatching", "emptyvaluematching", "multiplevaluematching"])
@pytest.mark.parametrize(("text", "meant"), [("true", True), ("TRUE", True), ("false", False), ("", False)])
def test_flags_are_true_or_false_and_an_empty_one_is_false(name: str, text: str, meant: bool) -> None:
    assert getattr(search((name, text)), name) is meant
    with pytest.raises(BadRequest, match=name):
        search((name, "1"))


def test_accept_is_handed_on_and_charset_is_not_a_key() -> None:
    query = search(("accept", "application/json"), ("charset", "utf-8"), ("accept", "*/*"))
    assert query.accept == ("application/json", "*/*")
    assert query.keys == {}


# The path


def test_the_uids_of_the_path_are_keys() -> None:
    resource = Resource(Kind.SEARCH_INSTANCES, "1.2", "1.3")
    assert search(resource=resource).keys == {
        "0020000D": {"vr": "UI", "Value": ["1.2"]},
        "0020000E": {"vr": "UI", "Value": ["1.3"]},
    }


def test_a_key_may_repeat_the_path_but_not_contradict_it() -> None:
    resource = Resource(Kind.SEARCH_SERIES, "1.2")
    for text in ("", "1.2", "1.1,1.2"):
        query = search(("StudyInstanceUID", text), resource=resource)
        assert query.keys == {"0020000D": {"vr": "UI", "Value": ["1.2"]}}
        assert query.return_keys == {}
    with pytest.raises(BadRequest, match="StudyInstanceUID contradicts the path"):
        search(("StudyInstanceUID", "1.3"), resource=resource)


def test_keys_of_other_levels_are_accepted() -> None:
    query = search(("PatientID", "P1"), ("Modality", "CT"), resource=Resource(Kind.SEARCH_INSTANCES))
    assert set(query.keys) == {"00100020", "00080060"}


# Universal matching


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("PatientID", ""),
        ("StudyDate", ""),
        ("RequestAttributesSequence", ""),
        ("PixelData", ""),
        ("PatientName", "*"),
        ("ModalitiesInStudy", "***"),
    ],
)
def test_what_matches_everything_is_only_asked_for(name: str, text: str) -> None:
    query = search((name, text))
    assert query.keys == {}
    ((_, element),) = query.return_keys.items()
    assert set(element) == {"vr"}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("PatientID", " "),
        ("PatientID", "\\"),
        ("PatientComments", "  "),
        ("PatientName", "="),
        ("StudyInstanceUID", ","),
        ("StudyInstanceUID", "*"),
        ("ModalitiesInStudy", "CT,"),
        ("StudyDate", "-"),
        ("StudyDate", "*"),
        ("StudyTime", "-"),
    ],
)
def test_a_value_that_restricts_nothing_by_mistake_is_refused(name: str, text: str) -> None:
    with pytest.raises(BadRequest, match=name):
        search((name, text))


# Several values


def test_uid_lists_are_comma_separated_backslash_joined_or_repeated() -> None:
    for texts in (("1.2,1.3",), ("1.2\\1.3",), ("1.2", "1.3"), ("1.2, 1.3",), ("", "1.2", "1.3", "1.2")):
        assert values("StudyInstanceUID", *texts) == ["1.2", "1.3"]


def test_modalities_in_study_are_comma_separated() -> None:
    assert values("ModalitiesInStudy", "CT,MR") == ["CT", "MR"]
    assert values("ModalitiesInStudy", "CT\\MR") == ["CT", "MR"]


@pytest.mark.parametrize(
    ("name", "texts"),
    [
        ("Modality", ("CT,MR",)),
        ("PatientID", ("1", "2")),
        ("StudyDate", ("20250101", "20250102")),
        ("ImageType", ("ORIGINAL\\PRIMARY",)),
    ],
)
def test_other_keys_have_one_value(name: str, texts: tuple[str, ...]) -> None:
    with pytest.raises(BadRequest, match=f"{name} has several values"):
        values(name, *texts)


def test_multiple_value_matching_is_for_attributes_that_have_several_values() -> None:
    flag = {"multiplevaluematching": "true"}
    assert values("ImageType", "ORIGINAL\\PRIMARY", **flag) == ["ORIGINAL", "PRIMARY"]
    assert values("OtherPatientNames", "A^B", "C", **flag) == [{"Alphabetic": "A^B"}, {"Alphabetic": "C"}]
    for name, text in (("Modality", "CT,MR"), ("PixelSpacing", "1\\2"), ("StudyDate", "20250101\\20250102")):
        with pytest.raises(BadRequest, match="only one"):
            values(name, text, **flag)


def test_an_empty_value_is_asked_for_with_two_quotes() -> None:
    flag = {"emptyvaluematching": "true"}
    assert values("StudyDate", '""', **flag) == ['""']
    assert values("PatientName", '""', **flag) == [{"Alphabetic": '""'}]
    for pairs in ((("StudyDate", '""'),), (("StudyInstanceUID", '""'), ("emptyvaluematching", "true"))):
        with pytest.raises(BadRequest):
            search(*pairs)


# What clients send


def test_the_requests_of_known_clients() -> None:
    ohif = search(
        ("limit", "101"),
        ("offset", "0"),
        ("fuzzymatching", ""),
        ("StudyInstanceUID", "1.2\\1.3"),
        ("ModalitiesInStudy", "CT,MR"),
        ("includefield", "00081030,00080060"),
    )
    assert ohif.keys["0020000D"]["Value"] == ["1.2", "1.3"]
    assert (ohif.limit, ohif.offset, ohif.fuzzymatching) == (101, 0, False)
    weasis = search(("00100020", ""), ("includefield", "00080020,00080030,00080050"))
    assert weasis.keys == {}
    assert set(weasis.return_keys) == {"00100020", "00080020", "00080030", "00080050"}
    walk = search(("includefield", "00080018"), ("limit", "1"), ("offset", "7"))
    assert (walk.return_keys, walk.limit, walk.offset) == ({"00080018": {"vr": "UI"}}, 1, 7)


NAMES = (
    *("PatientName", "StudyDate", "StudyTime", "AcquisitionDateTime", "Rows", "PatientWeight"),
    *("ModalitiesInStudy", "00091002", "00400275.00401001", "includefield", "limit"),
)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(NAMES) | st.text(max_size=12),
            st.text(max_size=20) | st.from_regex("[0-9*?.,=^-]{0,20}"),
        ),
        max_size=4,
    )
)
def test_whatever_comes_is_parsed_or_refused_in_our_own_words(pairs: list[tuple[str, str]]) -> None:
    try:
        query = parse_search(STUDIES, pairs)
    except HarmonyError:
        return
    assert not query.keys.keys() & query.return_keys.keys()
