import orjson
import pytest

from harmonygw.dicom.dataset.xml_encoding import to_xml
from harmonygw.dicom.web.attributes import Level
from harmonygw.errors import BadRequest, NotAcceptable, RejectedError
from harmonygw.middleware.dicomweb_bridge import synthesis
from harmonygw.middleware.dicomweb_bridge.searching import MAX_NAMED
from tests.middleware.dicomweb_bridge.archive import (
    BASE_URL,
    LITERAL,
    Archive,
    Gateway,
    body_of,
    element,
    headers_of,
    image,
    series,
    study,
    tag,
    warnings_of,
)
from tests.middleware.dicomweb_bridge.holding import parts_of
from tests.middleware.dicomweb_bridge.searches import COUNTS, OHIF, WITHOUT_COUNTS, studies, two_studies, warning

XML = 'multipart/related; type="application/dicom+xml"'

# What a match has


def test_a_study_has_its_required_attributes_with_a_value_or_without() -> None:
    gateway = Gateway(Archive(study("1", series("1.1", image("1.1.1")), StudyTime="101112", PatientSex="F")))
    (match,) = gateway.search("studies")
    assert list(match) == sorted(match)
    assert match == {
        "00080020": {"vr": "DA", "Value": ["20250102"]},
        "00080030": {"vr": "TM", "Value": ["101112"]},
        "00080050": {"vr": "SH"},
        "00080061": {"vr": "CS", "Value": ["CT"]},
        "00080090": {"vr": "PN"},
        "00081190": {"vr": "UR", "Value": [f"{BASE_URL}/studies/1"]},
        "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Doe^1"}]},
        "00100020": {"vr": "LO", "Value": ["P1"]},
        "00100030": {"vr": "DA"},
        "00100040": {"vr": "CS", "Value": ["F"]},
        "0020000D": {"vr": "UI", "Value": ["1"]},
        "00200010": {"vr": "SH"},
        "00201206": {"vr": "IS", "Value": [1]},
        "00201208": {"vr": "IS", "Value": [1]},
    }


def test_what_the_archive_leaves_out_is_there_without_value() -> None:
    gateway = Gateway(Archive(*two_studies(), leaves_out=("PatientName", "StudyID", "AccessionNumber")))
    match = gateway.search("studies")[0]
    assert [match[name] for name in ("00100010", "00200010", "00080050")] == [{"vr": "PN"}, {"vr": "SH"}, {"vr": "SH"}]


def test_a_series_of_a_path_has_its_own_attributes_and_the_uid_of_the_study() -> None:
    archive = Archive(*two_studies(), echoes_upper_keys=False)
    match = Gateway(archive).search("studies/1/series")[0]
    assert match == {
        "00080060": {"vr": "CS", "Value": ["CT"]},
        "0008103E": {"vr": "LO"},
        "00081190": {"vr": "UR", "Value": [f"{BASE_URL}/studies/1/series/1.1"]},
        "0020000D": {"vr": "UI", "Value": ["1"]},
        "0020000E": {"vr": "UI", "Value": ["1.1"]},
        "00200011": {"vr": "IS", "Value": [1]},
        "00201209": {"vr": "IS", "Value": [2]},
        "00400244": {"vr": "DA"},
        "00400245": {"vr": "TM"},
        "00400275": {"vr": "SQ"},
    }
    assert archive.log == ["SERIES StudyInstanceUID=1"]


def test_an_instance_of_a_path_has_its_own_attributes_and_the_uids_above() -> None:
    archive = Archive(*two_studies())
    match = Gateway(archive).search("studies/1/series/1.1/instances")[0]
    assert match == {
        "00080016": {"vr": "UI", "Value": ["1.2.840.10008.5.1.4.1.1.2"]},
        "00080018": {"vr": "UI", "Value": ["1.1.1"]},
        "00081190": {"vr": "UR", "Value": [f"{BASE_URL}/studies/1/series/1.1/instances/1.1.1"]},
        "0020000D": {"vr": "UI", "Value": ["1"]},
        "0020000E": {"vr": "UI", "Value": ["1.1"]},
        "00200013": {"vr": "IS"},
        "00280008": {"vr": "IS"},
        "00280010": {"vr": "US", "Value": [512]},
        "00280011": {"vr": "US"},
        "00280100": {"vr": "US"},
    }
    assert archive.log == ["IMAGE SeriesInstanceUID=1.1 StudyInstanceUID=1"]


@pytest.mark.parametrize("relational", [True, False])
@pytest.mark.parametrize(
    ("target", "keyword", "uids", "absent"),
    [
        ("series", "SeriesInstanceUID", ["1.1", "1.2", "2.1"], ()),
        ("instances", "SOPInstanceUID", ["1.1.1", "1.1.2", "1.2.1", "2.1.1"], ()),
        ("studies/1/instances", "SOPInstanceUID", ["1.1.1", "1.1.2", "1.2.1"], ("PatientName", "StudyDate")),
    ],
)
def test_open_levels_above_add_their_attributes(
    target: str, keyword: str, uids: list[str], absent: tuple[str, ...], relational: bool
) -> None:
    matches = Gateway(Archive(*two_studies(), relational=relational)).search(target)
    assert [match[tag(keyword)]["Value"][0] for match in matches] == uids
    for match in matches:
        assert match["00080060"]["Value"][0] in ("CT", "MR")
        assert not {tag(name) for name in absent} & set(match)
        assert absent or match["00100010"]["Value"] == [{"Alphabetic": f"Doe^{match['0020000D']['Value'][0]}"}]
        assert match[tag(keyword)]["Value"][0] in match["00081190"]["Value"][0]


def test_what_is_known_of_a_match_is_there_and_what_is_not_is_left_out() -> None:
    known = {"InstanceAvailability": "ONLINE", "RetrieveAETitle": "PACS", "TimezoneOffsetFromUTC": "+0100"}
    first, second = study("1", **known), study("2", InstanceAvailability="")
    matches = Gateway(Archive(first, second)).search("studies")
    assert [matches[0][tag(name)]["Value"] for name in known] == [["ONLINE"], ["PACS"], ["+0100"]]
    assert not {tag(name) for name in known} & set(matches[1])
    images = Archive(study("1", series("1.1", image("1.1.1"), image("1.1.2", AvailableTransferSyntaxUID="1.2"))))
    matches = Gateway(images).search("studies/1/series/1.1/instances")
    assert [match.get("00083002") for match in matches] == [None, {"vr": "UI", "Value": ["1.2"]}]


def test_the_availability_of_a_study_is_not_that_of_its_series() -> None:
    archive = Archive(study("1", series("1.1"), InstanceAvailability="NEARLINE"))
    assert "00080056" not in Gateway(archive).search("series")[0]
    assert "00080056" not in archive.asked[1].return_keys


def test_the_level_and_the_urls_of_the_archive_stay_there() -> None:
    archive = Archive(study("1", RetrieveURL="http://elsewhere/1"))
    (match,) = Gateway(archive).search("studies")
    assert "00080052" not in match
    assert match["00081190"]["Value"] == [f"{BASE_URL}/studies/1"]


def test_a_match_without_uid_has_no_url() -> None:
    archive = Archive(study("1"), leaves_out=("StudyInstanceUID",))
    (match,) = Gateway(archive).search("studies")
    assert "00081190" not in match


def test_text_is_utf_8_and_the_character_set_that_of_the_archive() -> None:
    archive = Archive(study("1", PatientName="山田^太郎", SpecificCharacterSet=["", "ISO 2022 IR 87"]))
    archive.adds = ["SpecificCharacterSet"]
    reply = Gateway(archive).reply("studies")
    assert "山田^太郎".encode() in body_of(reply)
    (match,) = orjson.loads(body_of(Gateway(archive).reply("studies")))
    assert match["00080005"] == {"vr": "CS", "Value": ["", "ISO 2022 IR 87"]}


def test_values_that_violate_their_vr_pass_through() -> None:
    entity = study("1", PatientBirthDate="unknown", PatientWeight="1.9.10.0", NumberOfStudyRelatedInstances="many")
    (match,) = Gateway(Archive(entity)).search("studies?includefield=PatientWeight")
    given = [
        match[tag(name)]["Value"] for name in ("PatientBirthDate", "PatientWeight", "NumberOfStudyRelatedInstances")
    ]
    assert given == [["unknown"], ["1.9.10.0"], ["many"]]


def test_one_uid_of_two_patients_gives_two_matches_and_a_repeated_match_one() -> None:
    archive = Archive(study("1"), study("1", PatientID="other"), study("1"))
    assert [match["00100020"]["Value"] for match in Gateway(archive).search("studies")] == [["P1"], ["other"]]


# includefield


def test_included_fields_add_to_the_required_ones() -> None:
    archive = Archive(study("1", StudyDescription="Chest"))
    (match,) = Gateway(archive).search("studies?includefield=StudyDescription,00080060")
    assert match["00081030"] == {"vr": "LO", "Value": ["Chest"]}
    assert match["00100010"]["Value"] == [{"Alphabetic": "Doe^1"}]
    assert "00080060" not in match  # a series's, which a study does not have


def test_a_field_of_the_study_in_the_path_is_asked_of_the_study() -> None:
    archive = Archive(*two_studies())
    matches = Gateway(archive).search("studies/1/series?includefield=PatientName")
    assert [match["00100010"]["Value"] for match in matches] == [[{"Alphabetic": "Doe^1"}]] * 2
    assert archive.log == ["relational?", "STUDY StudyInstanceUID=1", "SERIES StudyInstanceUID=1"]
    assert set(archive.asked[1].return_keys) == {"00100010"}


def test_all_fields_are_those_of_the_levels_shown() -> None:
    archive = Archive(study("1", series("1.1", BodyPartExamined="CHEST"), StudyDescription="Chest"), relational=True)
    (match,) = Gateway(archive).search("series?includefield=all")
    assert (match["00081030"]["Value"], match["00180015"]["Value"]) == (["Chest"], ["CHEST"])
    (match,) = Gateway(archive).search("studies/1/series?includefield=all")
    assert match["00180015"]["Value"] == ["CHEST"]
    assert "00081030" not in match


def test_private_attributes_go_with_their_creator() -> None:
    entity = study("1")
    private = {"00090010": element("00090010", "ACME", "LO"), "00091002": element("00091002", "x", "LO")}
    entity.attributes |= private
    archive = Archive(entity, study("2"))
    (match,) = Gateway(archive).search("studies?00090010=ACME&00091002=x")
    assert {name: match[name] for name in private} == private
    assert archive.asked[0].keys == private


# Checking, and what the archive does not do


def test_modalities_in_study_is_any_of_several() -> None:
    archive = Archive(*two_studies(), study("3", series("3.1", Modality="US")))
    assert Gateway(archive).uids("studies?ModalitiesInStudy=CT,MR") == ["1", "2"]
    assert archive.log == ["STUDY ModalitiesInStudy=CT", "STUDY ModalitiesInStudy=MR"]


def test_modalities_in_study_is_all_of_several_with_multiple_value_matching() -> None:
    archive = Archive(*two_studies())
    reply = Gateway(archive).reply("studies?ModalitiesInStudy=CT,MR&multiplevaluematching=true")
    assert [match["0020000D"]["Value"] for match in orjson.loads(body_of(reply))] == [["1"]]
    assert archive.log == ["STUDY ModalitiesInStudy=CT"]
    assert warnings_of(reply) == []


def test_multiple_value_matching_that_cannot_be_checked_is_warned_of() -> None:
    archive = Archive(study("1", series("1.1"), OtherPatientNames="A"), *studies(1))
    reply = Gateway(archive).reply("studies?OtherPatientNames=A\\B&multiplevaluematching=true")
    assert [match["0020000D"]["Value"] for match in orjson.loads(body_of(reply))] == [["1"]]
    assert archive.log == ["STUDY OtherPatientNames=A"]
    assert warnings_of(reply) == [
        warning("The multiplevaluematching parameter is not supported. Multiple Value Matching has not been performed.")
    ]


@pytest.mark.parametrize("limit", ["", "&limit=1"])
def test_an_archive_that_ignores_modalities_in_study_is_checked(limit: str) -> None:
    archive = Archive(study("3", series("3.1", Modality="US")), *two_studies(), ignores=["ModalitiesInStudy"])
    uids = Gateway(archive).uids(f"studies?ModalitiesInStudy=MR{limit}")
    assert uids == (["1"] if limit else ["1", "2"])
    assert archive.asked[0].limit is None  # how many will be dropped is not known beforehand


def test_modalities_that_the_archive_neither_matches_nor_gives_are_made_and_checked() -> None:
    archive = Archive(
        study("3", series("3.1", Modality="US")),
        *two_studies(),
        ignores=["ModalitiesInStudy"],
        leaves_out=["ModalitiesInStudy"],
    )
    gateway = Gateway(archive)
    reply = gateway.reply("studies?ModalitiesInStudy=CT&limit=1")
    (match,) = orjson.loads(body_of(reply))
    assert match["00080061"] == {"vr": "CS", "Value": ["CT", "MR"]}
    assert warnings_of(reply) == []
    assert archive.log == [
        "STUDY ModalitiesInStudy=CT",
        "SERIES StudyInstanceUID=3",
        "SERIES StudyInstanceUID=1",
    ]
    assert gateway.uids("studies?ModalitiesInStudy=CT&limit=1&offset=1") == []
    assert archive.log[3:] == ["STUDY ModalitiesInStudy=CT", "SERIES StudyInstanceUID=2"]


def test_what_cannot_be_checked_is_given_with_a_warning() -> None:
    archive = Archive(*two_studies(), ignores=["ModalitiesInStudy"], leaves_out=["ModalitiesInStudy"])
    reply = Gateway(archive, synthesis_limit=1).reply("studies?ModalitiesInStudy=US")
    assert [match["0020000D"]["Value"] for match in orjson.loads(body_of(reply))] == [["2"]]
    sentence = warning("Some matches lack (0008,0061); whether they match it is not known.")
    assert warnings_of(reply) == [sentence]
    reply = Gateway(archive, synthesis_limit=0).reply("studies?ModalitiesInStudy=US")
    assert len(orjson.loads(body_of(reply))) == 2
    assert warnings_of(reply) == [sentence]


def test_a_date_that_the_archive_ignores_is_checked_and_text_is_not() -> None:
    archive = Archive(*two_studies(), ignores=["StudyDate", "PatientName"])
    gateway = Gateway(archive)
    assert gateway.uids("studies?StudyDate=20250101-&PatientName=Nobody") == ["1"]
    assert archive.log == ["STUDY PatientName=Nobody StudyDate=20250101-"]


def test_empty_value_matching_is_performed_here() -> None:
    archive = Archive(study("1", PatientSex="F"), study("2", series("2.1")), study("3", PatientSex="M"))
    gateway = Gateway(archive)
    reply = gateway.reply('studies?PatientSex=""&PatientName=Doe*&emptyvaluematching=true')
    assert [match["0020000D"]["Value"] for match in orjson.loads(body_of(reply))] == [["2"]]
    assert warnings_of(reply) == []
    assert archive.log == ["STUDY PatientName=Doe*"]
    assert gateway.uids('studies?PatientName=""&emptyvaluematching=true') == []


def test_an_attribute_left_out_may_have_a_value_for_all_one_knows() -> None:
    archive = Archive(study("1"), leaves_out=["PatientSex"])
    reply = Gateway(archive).reply('studies?PatientSex=""&emptyvaluematching=true')
    assert len(orjson.loads(body_of(reply))) == 1
    assert warnings_of(reply) == [warning("Some matches lack (0010,0040); whether they match it is not known.")]


def test_modalities_that_are_to_be_empty_are_checked_once_they_are_made() -> None:
    archive = Archive(*two_studies(), study("3"), leaves_out=["ModalitiesInStudy"])
    assert Gateway(archive).uids('studies?ModalitiesInStudy=""&emptyvaluematching=true') == ["3"]


def test_empty_values_within_a_sequence_are_left_to_the_archive_with_a_warning() -> None:
    gateway = Gateway(Archive(study("1", series("1.1"))))
    reply = gateway.reply('studies/1/series?RequestAttributesSequence.RequestedProcedureID=""&emptyvaluematching=true')
    assert warnings_of(reply) == [
        warning("The emptyvaluematching parameter is not supported. Empty Value Matching has not been performed.")
    ]


def test_the_flags_alone_change_nothing() -> None:
    archive = Archive(*two_studies())
    reply = Gateway(archive).reply("studies?emptyvaluematching=true&multiplevaluematching=true&PatientID=P1")
    assert (len(orjson.loads(body_of(reply))), warnings_of(reply)) == (1, [])


@pytest.mark.parametrize("limit", ["", "&limit=1"])
def test_literal_matching_is_told_also_when_the_answer_is_cut(limit: str) -> None:
    archive = Archive(*two_studies())
    gateway = Gateway(archive)
    reply = gateway.reply(f"studies?PatientName=Doe*&fuzzymatching=true{limit}")
    assert warnings_of(reply) == [
        '299 harmonygw "The fuzzymatching parameter is not supported. Only literal matching has been performed."'
    ]
    assert archive.asked[0].fuzzy_matching
    assert warnings_of(gateway.reply("studies?fuzzymatching=")) == []


def test_the_warnings_of_a_page_stay_with_the_answer() -> None:
    gateway = Gateway(Archive(*two_studies()))
    gateway.reply("studies?fuzzymatching=true")
    assert warnings_of(gateway.reply("studies?fuzzymatching=true&offset=1")) == [warning(LITERAL)]


def test_an_unknown_key_is_refused_or_ignored_with_a_warning() -> None:
    with pytest.raises(BadRequest, match=r"PatientNmae.*PatientName"):
        Gateway(Archive()).reply("studies?PatientNmae=x")
    gateway = Gateway(Archive(*two_studies()), unknown_keys="ignore")
    reply = gateway.reply('studies?Patient"Nämé=x&limit=1')
    assert warnings_of(reply) == [warning("Keys that are not known were ignored: Patient'N'm'.")]
    assert len(orjson.loads(body_of(reply))) == 1


def test_so_many_ignored_keys_are_named_and_each_so_far() -> None:
    names = [f"{number}{'x' * 100}" for number in range(MAX_NAMED + 2)]
    reply = Gateway(Archive(), unknown_keys="ignore").reply("studies?" + "&".join(f"{name}=1" for name in names))
    (sentence,) = warnings_of(reply)
    named = ", ".join(name[:64] for name in names[:MAX_NAMED])
    assert sentence == warning(f"Keys that are not known were ignored: {named} and 2 others.")


# Synthesis


def test_counts_and_modalities_are_made_of_the_levels_below() -> None:
    archive = Archive(*two_studies(), leaves_out=WITHOUT_COUNTS)
    match = Gateway(archive).search("studies?StudyInstanceUID=1")[0]
    assert [match[tag(name)]["Value"] for name in COUNTS] == [["CT", "MR"], [2], [3]]
    assert archive.log == [
        "STUDY StudyInstanceUID=1",
        "SERIES StudyInstanceUID=1",
        "IMAGE SeriesInstanceUID=1.1 StudyInstanceUID=1",
        "IMAGE SeriesInstanceUID=1.2 StudyInstanceUID=1",
    ]


def test_the_instances_of_a_series_are_counted() -> None:
    archive = Archive(*two_studies(), leaves_out=WITHOUT_COUNTS)
    matches = Gateway(archive).search("studies/1/series")
    assert [match["00201209"]["Value"] for match in matches] == [[2], [1]]


def test_what_cannot_be_made_is_left_out() -> None:
    gateway = Gateway(Archive(*two_studies(), leaves_out=WITHOUT_COUNTS), synthesis_limit=0)
    assert [set(match) & {tag(name) for name in COUNTS} for match in gateway.search("studies")] == [set(), set()]
    gateway = Gateway(Archive(study("1"), leaves_out=WITHOUT_COUNTS))
    (match,) = gateway.search("studies")
    assert not set(match) & {tag(name) for name in COUNTS}


def test_synthesis_ends_with_its_bound() -> None:
    archive = Archive(*studies(3), leaves_out=COUNTS)
    gateway = Gateway(archive, synthesis_limit=2)
    assert [match.get("00080061") is not None for match in gateway.search("studies")] == [True, True, False]
    assert archive.log == ["STUDY", "SERIES StudyInstanceUID=1", "SERIES StudyInstanceUID=2"]


def test_instances_are_not_summed_up_when_the_bound_does_not_allow_all_of_it() -> None:
    archive = Archive(*two_studies(), leaves_out=WITHOUT_COUNTS)
    gateway = Gateway(archive, synthesis_limit=2)
    matches = gateway.search("studies")
    assert [match.get("00201208") for match in matches] == [None, None]
    assert [match["00201206"]["Value"] for match in matches] == [[2], [1]]
    assert archive.log == ["STUDY", "SERIES StudyInstanceUID=1", "SERIES StudyInstanceUID=2"]
    assert gateway.request is not None
    assert gateway.request.record.notes == [synthesis.LEFT_OUT]


def test_a_level_that_the_archive_refuses_is_done_without() -> None:
    archive = Archive(*two_studies(), leaves_out=WITHOUT_COUNTS, refuses=[Level.IMAGE])
    gateway = Gateway(archive)
    first, second = gateway.search("studies")
    assert (first["00201206"]["Value"], "00201208" in first) == ([2], False)
    assert (second.get("00201206"), second.get("00080061")) == (None, None)
    assert gateway.request is not None
    assert gateway.request.record.notes == [
        "the archive refused to tell more of its matches: no such level here",
        synthesis.LEFT_OUT,
    ]


def test_more_children_than_are_counted_are_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthesis, "MAX_CHILDREN", 1)
    archive = Archive(*two_studies(), leaves_out=COUNTS)
    gateway = Gateway(archive)
    assert [match.get("00201206") for match in gateway.search("studies")] == [None, {"vr": "IS", "Value": [1]}]


@pytest.mark.parametrize("count", ["many", "1" * 13])
def test_a_count_that_is_none_is_not_summed_up(count: str) -> None:
    entity = study("1", series("1.1", NumberOfSeriesRelatedInstances=count), series("1.2", image("1.2.1")))
    archive = Archive(entity, leaves_out=["NumberOfStudyRelatedInstances"])
    (match,) = Gateway(archive).search("studies")
    assert "00201208" not in match
    assert archive.log[2:] == ["IMAGE SeriesInstanceUID=1.1 StudyInstanceUID=1"]


def test_a_failure_of_the_search_itself_is_a_failure() -> None:
    with pytest.raises(RejectedError, match="no such level"):
        Gateway(Archive(refuses=[Level.STUDY])).reply("studies")


# Media types


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        (None, "application/dicom+json"),
        ("*/*", "application/dicom+json"),
        ("application/dicom+json", "application/dicom+json"),
        ("application/json", "application/json"),
        (OHIF, "application/dicom+json"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_json_is_answered_with_its_exact_type(accept: str | None, media_type: str, method: str) -> None:
    reply = Gateway(Archive(*two_studies())).reply("studies", accept, method=method)
    assert headers_of(reply) == {"Content-Type": media_type}
    assert reply.body is not None
    assert reply.body.length == len(body_of(reply))


def test_the_accept_parameter_comes_first() -> None:
    gateway = Gateway(Archive())
    reply = gateway.reply("studies?accept=application/json", "application/dicom+json")
    assert headers_of(reply) == {"Content-Type": "application/json"}


@pytest.mark.parametrize("accept", ["text/html", "application/dicom+xml"])
def test_nothing_acceptable_is_refused_before_the_archive_is_asked(accept: str) -> None:
    archive = Archive()
    with pytest.raises(NotAcceptable, match=r"application/dicom\+json"):
        Gateway(archive).reply("studies", accept)
    assert archive.asked == []


def test_matches_in_xml_are_parts() -> None:
    reply = Gateway(Archive(study("1"), study("2"))).reply("studies", XML)
    received = parts_of(reply)
    assert [headers for headers, _ in received] == [{"Content-Type": "application/dicom+xml"}] * 2
    matches = Gateway(Archive(study("1"), study("2"))).search("studies")
    assert [document for _, document in received] == [to_xml(match) for match in matches]


def test_no_match_in_xml_is_no_content() -> None:
    reply = Gateway(Archive()).reply("studies", XML)
    assert (reply.status, reply.headers, reply.body) == (204, (), None)
