from typing import Any

import pytest

from harmonygw.dicom.dataset.json_decoding import from_json
from harmonygw.dicom.dataset.json_encoding import to_json
from harmonygw.endpoints.dicom_scp.identifiers import (
    MAX_FAILED_UIDS,
    Matches,
    Selection,
    decode_identifier,
    failed_list,
    find_of,
)
from harmonygw.endpoints.dicom_scp.offer import PATIENT_ROOT, STUDY_ROOT, InformationModel
from harmonygw.errors import BadRequest, Incomplete
from harmonygw.operations import Level, Retrieve
from tests.endpoints.dicom_scp.scripted import EXPLICIT, IMPLICIT, key

PATIENT_ID, STUDY, SERIES, INSTANCE = "00100020", "0020000D", "0020000E", "00080018"
NAME = "00100010"


def level(name: str) -> dict[str, Any]:
    return {"00080052": key("CS", name)}


def test_keys_with_values_match_and_the_others_return() -> None:
    query = find_of(
        {
            **level("STUDY"),
            "00080005": key("CS", "ISO_IR 100"),
            "00080053": key("CS", "CLASSIC"),
            "00080054": key("AE"),
            NAME: key("PN", {"Alphabetic": "Doe*"}),
            STUDY: key("UI"),
        },
        STUDY_ROOT,
    )
    assert query.level is Level.STUDY
    assert query.keys == {NAME: key("PN", {"Alphabetic": "Doe*"})}
    assert query.return_keys == {STUDY: key("UI")}


@pytest.mark.parametrize(
    ("model", "identifier", "relational"),
    [
        (STUDY_ROOT, level("STUDY"), False),
        (STUDY_ROOT, {**level("SERIES"), STUDY: key("UI", "1.2")}, False),
        (STUDY_ROOT, {**level("SERIES"), STUDY: key("UI")}, True),
        (STUDY_ROOT, {**level("SERIES"), STUDY: key("UI", "1.2", "1.3")}, True),
        (STUDY_ROOT, {**level("IMAGE"), STUDY: key("UI", "1.2"), SERIES: key("UI", "1.2.3")}, False),
        (STUDY_ROOT, {**level("IMAGE"), STUDY: key("UI", "1.2")}, True),
        (PATIENT_ROOT, level("PATIENT"), False),
        (PATIENT_ROOT, {**level("STUDY"), PATIENT_ID: key("LO", "P1")}, False),
        (PATIENT_ROOT, {**level("STUDY"), PATIENT_ID: key("LO", "P*")}, False),
        (PATIENT_ROOT, level("STUDY"), False),
        (PATIENT_ROOT, {**level("SERIES"), PATIENT_ID: key("LO", "P1"), STUDY: key("UI", "1.*")}, True),
    ],
)
def test_a_query_without_the_unique_keys_above_but_the_patients_is_relational(
    model: InformationModel, identifier: dict[str, Any], relational: bool
) -> None:
    assert find_of(identifier, model).relational is relational


@pytest.mark.parametrize(
    ("model", "identifier"),
    [
        (STUDY_ROOT, {}),
        (STUDY_ROOT, {"00080052": key("CS")}),
        (STUDY_ROOT, level("PATIENT")),
        (STUDY_ROOT, {"00080052": key("CS", "STUDY", "SERIES")}),
        (PATIENT_ROOT, level("VISIT")),
    ],
)
def test_a_level_that_the_model_lacks_is_refused(model: InformationModel, identifier: dict[str, Any]) -> None:
    with pytest.raises(BadRequest, match=r"Query/Retrieve Level \(0008,0052\)"):
        find_of(identifier, model)


def test_an_identifier_that_cannot_be_read_is_a_bad_request() -> None:
    with pytest.raises(BadRequest, match="identifier cannot be read"):
        decode_identifier(memoryview(b"\x08\x00\x52\x00CS\x20\x00"), EXPLICIT)


ASKED = {**level("STUDY"), NAME: key("PN"), STUDY: key("UI", "1.2"), "00080061": key("CS")}


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT])
def test_a_match_comes_with_what_was_asked_for_and_nothing_else(syntax: str) -> None:
    encode = Matches(ASKED, syntax, "ARCHIVE").encode
    row = {
        NAME: key("PN", {"Alphabetic": "Doe^Jane"}), STUDY: key("UI", "1.2"), "00080054": key("AE", "PACS"),
        "00100030": key("DA", "19700101"),
    }  # fmt: skip
    assert to_json(encode(row), syntax) == {
        **level("STUDY"),
        "00080054": key("AE", "ARCHIVE"),
        "00080061": key("CS"),
        NAME: key("PN", {"Alphabetic": "Doe^Jane"}),
        STUDY: key("UI", "1.2"),
    }


def test_no_retrieve_ae_title_is_given_where_nothing_is_retrieved() -> None:
    assert "00080054" not in to_json(Matches(ASKED, EXPLICIT, "").encode({}), EXPLICIT)


@pytest.mark.parametrize(
    ("asked", "name", "sent"),
    [
        ((), "Doe", None),
        ((), "Müller", "ISO_IR 192"),
        (("ISO_IR 100",), "Müller", "ISO_IR 100"),
        (("ISO_IR 100",), "山田", "ISO_IR 192"),
        (("ISO_IR 192",), "山田", "ISO_IR 192"),
    ],
)
def test_text_is_in_the_character_set_of_the_request_if_it_can_be(
    asked: tuple[str, ...], name: str, sent: str | None
) -> None:
    request = ASKED | ({"00080005": key("CS", *asked)} if asked else {})
    row = {NAME: key("PN", {"Alphabetic": name})}
    response = to_json(Matches(request, EXPLICIT, "").encode(row), EXPLICIT)
    assert response[NAME] == row[NAME]
    assert response.get("00080005") == (key("CS", sent) if sent else None)


@pytest.mark.parametrize("asked", [(), ("ISO_IR 192",)])
def test_a_match_that_no_data_set_can_hold_fails_the_query(asked: tuple[str, ...]) -> None:
    request = ASKED | ({"00080005": key("CS", *asked)} if asked else {})
    with pytest.raises(Incomplete, match="a match cannot be encoded"):
        Matches(request, EXPLICIT, "").encode({STUDY: key("UI", "1" * 70_000)})


@pytest.mark.parametrize(
    ("model", "identifier", "selection"),
    [
        (PATIENT_ROOT, {**level("PATIENT"), PATIENT_ID: key("LO", "P1")}, ("P1", (), (), ())),
        (STUDY_ROOT, {**level("STUDY"), STUDY: key("UI", "1.2", "1.3", "1.2")}, ("", ("1.2", "1.3"), (), ())),
        (
            PATIENT_ROOT,
            {**level("STUDY"), PATIENT_ID: key("LO", "P1"), STUDY: key("UI", "1.2")},
            ("P1", ("1.2",), (), ()),
        ),
        (
            STUDY_ROOT,
            {**level("SERIES"), STUDY: key("UI", "1.2"), SERIES: key("UI", "1.2.3", "1.2.4")},
            ("", ("1.2",), ("1.2.3", "1.2.4"), ()),
        ),
        (
            STUDY_ROOT,
            {**level("IMAGE"), STUDY: key("UI", "1.2"), SERIES: key("UI", "1.2.3"), INSTANCE: key("UI", "1", "2")},
            ("", ("1.2",), ("1.2.3",), ("1", "2")),
        ),
    ],
)
def test_a_retrieval_is_read_at_every_level(
    model: InformationModel, identifier: dict[str, Any], selection: tuple[Any, ...]
) -> None:
    read = Selection.of(identifier, model)
    assert (read.patient_id, read.studies, read.series, read.instances) == selection


@pytest.mark.parametrize(
    ("model", "identifier", "missing"),
    [
        (STUDY_ROOT, level("STUDY"), "0020,000D"),
        (STUDY_ROOT, {**level("STUDY"), STUDY: key("UI", "1.2", "")}, "0020,000D"),
        (STUDY_ROOT, {**level("STUDY"), STUDY: key("US", 7)}, "0020,000D"),
        (STUDY_ROOT, {**level("SERIES"), SERIES: key("UI", "1.2.3")}, "0020,000D"),
        (
            STUDY_ROOT,
            {**level("SERIES"), STUDY: key("UI", "1.2", "1.3"), SERIES: key("UI", "1.2.3")},
            "0020,000D",
        ),
        (PATIENT_ROOT, {**level("PATIENT"), PATIENT_ID: key("LO", "P1", "P2")}, "0010,0020"),
        (PATIENT_ROOT, {**level("PATIENT"), PATIENT_ID: key("LO", "*")}, "0010,0020"),
        (PATIENT_ROOT, {**level("STUDY"), STUDY: key("UI", "1.2")}, "0010,0020"),
        (STUDY_ROOT, {**level("STUDY"), STUDY: key("UI", "../../etc")}, "../../etc"),
        (STUDY_ROOT, {**level("STUDY"), STUDY: key("UI", "1" * 65)}, "1111"),
    ],
)
def test_a_retrieval_with_a_unique_key_missing_or_wrong_is_refused(
    model: InformationModel, identifier: dict[str, Any], missing: str
) -> None:
    with pytest.raises(BadRequest) as refused:
        Selection.of(identifier, model)
    assert missing in refused.value.detail


def test_each_study_and_each_series_is_retrieved_by_itself() -> None:
    studies = Selection(Level.PATIENT, "P1", (), (), ())
    assert list(studies.operations(("1.2", "1.3"), ("*",))) == [
        Retrieve(Level.STUDY, "1.2", patient_id="P1"),
        Retrieve(Level.STUDY, "1.3", patient_id="P1"),
    ]
    series = Selection(Level.SERIES, "", ("1.2",), ("1.2.3", "1.2.4"), ())
    assert list(series.operations(series.studies, (EXPLICIT,))) == [
        Retrieve(Level.SERIES, "1.2", "1.2.3", (), (EXPLICIT,)),
        Retrieve(Level.SERIES, "1.2", "1.2.4", (), (EXPLICIT,)),
    ]


def test_a_list_of_failed_instances_fits_its_vr_however_many_there_are() -> None:
    uids = [f"2.25.{number:059d}" for number in range(MAX_FAILED_UIDS + 1)]
    assert len(uids[0]) == 64
    listed = to_json(failed_list(uids, EXPLICIT), EXPLICIT)
    assert listed == {"00080058": key("UI", *uids[:MAX_FAILED_UIDS])}


@pytest.mark.parametrize(
    ("terms", "name", "bytes_of_name"),
    [
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎", b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B"),
        (["ISO_IR 100"], "Müller", b"M\xfcller"),
        (["ISO_IR 144"], "Люкceмбypг", "Люкceмбypг".encode("iso8859_5")),
        (["GB18030"], "王^小东", "王^小东".encode("gb18030")),
    ],
)
def test_a_requestor_is_answered_in_its_own_character_set(terms: list[str], name: str, bytes_of_name: bytes) -> None:
    raw = from_json({**ASKED, NAME: key("PN")}, EXPLICIT, character_set=tuple(terms))
    asked = decode_identifier(memoryview(raw), EXPLICIT)
    alphabetic, _, ideographic = name.partition("=")
    groups = {"Alphabetic": alphabetic, **({"Ideographic": ideographic} if ideographic else {})}
    data = Matches(asked, EXPLICIT, "").encode({NAME: key("PN", groups)})
    assert bytes_of_name in data
    assert "\\".join(terms).encode() in data
