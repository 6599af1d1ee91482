"""What a body asks: its operation, level, keys, destination."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pytest_twisted import ensureDeferred

from harmonygw.errors import BadRequest, TooLarge
from harmonygw.middleware.dimse_over_http import asking
from harmonygw.middleware.dimse_over_http.asking import MAX_JSON_BYTES, MAX_MATCHES, Asked, read_json
from harmonygw.operations import Level, Move, Retrieve
from harmonygw.streams import Body
from tests.net.http.wire import Source

PATIENT = {"00100020": {"vr": "LO", "Value": ["P1"]}}
STUDY = {"0020000D": {"vr": "UI", "Value": ["1.2"]}}
IMAGE = {"study_instance_uid": "1.2", "series_instance_uid": "1.2.3", "sop_instance_uid": "1.2.3.4"}


# Reading


@ensureDeferred
async def test_no_body_and_blanks_ask_nothing() -> None:
    assert await read_json(None) == await read_json(Body.of(b" \r\n")) == {}


@ensureDeferred
async def test_a_body_is_json_in_whatever_pieces() -> None:
    source = Source()
    source.feed.put((b'{"a"', b":"), 5)
    source.feed.put((b"1}",), 2)
    source.feed.end()
    assert await read_json(source.body) == {"a": 1}


@pytest.mark.parametrize(
    "text", [b"{", b"nonsense", b'{"a": NaN}', b'"\xff"', b"[" * 100_000, b'{"a":' * 10_000, b"\x00"]
)
@ensureDeferred
async def test_what_is_no_json_is_refused(text: bytes) -> None:
    with pytest.raises(BadRequest, match="is not JSON"):
        await read_json(Body.of(text))


@pytest.mark.parametrize(("size", "fits"), [(MAX_JSON_BYTES, True), (MAX_JSON_BYTES + 1, False)])
@ensureDeferred
async def test_it_has_a_limit(size: int, fits: bool) -> None:
    body = Body.of(b"{}" + b" " * (size - 2))
    if fits:
        assert await read_json(body) == {}
    else:
        with pytest.raises(TooLarge, match="MAX_JSON_BYTES"):
            await read_json(body)


@ensureDeferred
async def test_a_body_that_is_too_long_is_given_up() -> None:
    source = Source()
    source.feed.put((bytes(MAX_JSON_BYTES + 1),), 1)
    with pytest.raises(TooLarge):
        await read_json(source.body)
    assert source.aborted


# The operation


@pytest.mark.parametrize(
    ("given", "word", "operation"),
    [
        (None, "find", "find"),
        ("C-FIND", "", "find"),
        ("c-get", "", "get"),
        ("C-MOVE", "move", "move"),
        ("C-ECHO", "", "echo"),
    ],
)
def test_the_operation_is_the_paths_or_the_bodys(given: str | None, word: str, operation: str) -> None:
    assert Asked.of({} if given is None else {"operation": given}, word).operation == operation


@pytest.mark.parametrize(
    ("body", "word", "sentence"),
    [
        ({}, "", "is one of C-ECHO, C-FIND, C-GET, C-MOVE"),
        ({"operation": "C-STORE"}, "", "POST to /store"),
        ({"operation": 1}, "", "is one of"),
        ({"operation": "C-GET"}, "find", "contradicts the path"),
        ([], "find", "is a JSON object"),
        ("x", "find", "is a JSON object"),
        ({"query": []}, "find", '"query" is a JSON object'),
        ({"identifier": "x"}, "find", '"identifier" is a JSON object'),
        ({"levle": "STUDY"}, "find", "'levle' is neither"),
    ],
)
def test_what_says_no_operation_is_refused(body: Any, word: str, sentence: str) -> None:
    with pytest.raises(BadRequest, match=sentence):
        Asked.of(body, word)


# The level


@pytest.mark.parametrize(
    ("body", "level"),
    [
        ({"00080052": {"vr": "CS", "Value": ["SERIES"]}}, Level.SERIES),
        ({"identifier": {"00080052": {"vr": "CS", "Value": ["IMAGE"]}}}, Level.IMAGE),
        ({"query": {"QueryRetrieveLevel": "PATIENT"}}, Level.PATIENT),
        ({"query_retrieve_level": "SERIES"}, Level.SERIES),
        ({"level": "series"}, Level.SERIES),
        ({"query_level": "IMAGE", "level": "IMAGE"}, Level.IMAGE),
        ({}, Level.STUDY),
        ({"patient_id": "P1"}, Level.STUDY),
        ({"query": {"StudyInstanceUID": "1.2"}}, Level.STUDY),
        ({"study_instance_uid": "1.2", "series_instance_uid": "1.2.3"}, Level.SERIES),
        (IMAGE, Level.IMAGE),
        ({**IMAGE, "sop_instance_uid": ""}, Level.SERIES),
        ({**IMAGE, "level": "STUDY"}, Level.STUDY),
    ],
)
def test_the_level_is_that_given_else_that_of_the_lowest_uid_else_study(body: Any, level: Level) -> None:
    asked = Asked.of(body, "find")
    assert asked.level is level
    assert "00080052" not in asked.identifier


@pytest.mark.parametrize(
    "body",
    [
        {"level": "FRAME"},
        {"level": None},
        {"level": 3},
        {"level": "STUDY", "query_level": "SERIES"},
        {"level": "STUDY", "00080052": {"vr": "CS", "Value": ["IMAGE"]}},
        {"00080052": {"vr": "CS", "Value": [{}]}},
    ],
)
def test_a_level_that_is_none_or_two_is_refused(body: Any) -> None:
    with pytest.raises(BadRequest, match="The level is one of PATIENT, STUDY, SERIES, IMAGE"):
        Asked.of(body, "find")


# A query


@pytest.mark.parametrize(
    "body",
    [
        PATIENT,
        {"identifier": PATIENT},
        {"query": {"PatientID": "P1"}},
        {"patient_id": "P1"},
        {"query": {"00100020": "P1"}},
        {"identifier": PATIENT, "operation": "C-FIND", "level": "STUDY"},
    ],
)
def test_all_forms_mean_the_same(body: Any) -> None:
    find = Asked.of(body, "find").find()
    assert find.keys == PATIENT
    assert find == Asked.of(PATIENT, "find").find()


def test_forms_may_be_mixed_and_nothing_is_said_twice() -> None:
    find = Asked.of({"identifier": STUDY, "query": {"PatientID": "P1"}, "patient_name": ""}, "find").find()
    assert find.keys == {**STUDY, **PATIENT}
    assert find.return_keys == {"00100010": {"vr": "PN"}}
    with pytest.raises(BadRequest, match="given twice"):
        Asked.of({"identifier": PATIENT, "patient_id": "P2"}, "find")


def test_what_is_named_to_be_returned_is_returned_and_nothing_else() -> None:
    find = Asked.of({"query": {"PatientID": "P1", "StudyDescription": ""}}, "find").find()
    assert find.return_keys == {"00081030": {"vr": "LO"}}


@pytest.mark.parametrize(
    ("level", "some"),
    [("PATIENT", "00100010"), ("STUDY", "00080020"), ("SERIES", "00080060"), ("IMAGE", "00200013")],
)
def test_who_names_nothing_gets_what_a_search_returns(level: str, some: str) -> None:
    find = Asked.of({"level": level, "query": {"PatientID": "*"}}, "find").find()
    assert some in find.return_keys
    assert "00100020" in find.return_keys
    assert find.keys == {}


def test_the_character_set_is_not_the_clients_to_say() -> None:
    assert Asked.of({"00080005": {"vr": "CS", "Value": ["ISO_IR 100"]}}, "find").find().keys == {}


@pytest.mark.parametrize(
    ("body", "relational"),
    [
        ({"level": "STUDY"}, False),
        ({"level": "PATIENT"}, False),
        ({"level": "SERIES"}, True),
        ({"level": "SERIES", "study_instance_uid": "1.2"}, False),
        ({"level": "SERIES", "study_instance_uid": ["1.2", "1.3"]}, True),
        ({"level": "SERIES", "0020000D": {"vr": "UI", "Value": ["1.*"]}}, True),
        ({"level": "IMAGE", "study_instance_uid": "1.2"}, True),
        (IMAGE, False),
    ],
)
def test_without_one_uid_of_each_level_above_a_query_is_relational(body: Any, relational: bool) -> None:
    assert Asked.of(body, "find").find().relational is relational


@pytest.mark.parametrize(
    ("limit", "bound"),
    [(None, MAX_MATCHES + 1), (1, 1), (MAX_MATCHES, MAX_MATCHES), (MAX_MATCHES + 9, MAX_MATCHES + 1)],
)
def test_matches_are_bounded(limit: int | None, bound: int) -> None:
    assert Asked.of({"limit": limit}, "find").find().limit == bound


@pytest.mark.parametrize(("limit", "word"), [(0, "find"), (-1, "find"), ("5", "find"), (True, "find"), (5, "get")])
def test_a_limit_is_a_number_of_matches(limit: Any, word: str) -> None:
    with pytest.raises(BadRequest, match='"limit"'):
        Asked.of({**IMAGE, "limit": limit}, word)


@pytest.mark.parametrize("word", ["find", "get"])
def test_a_unique_key_is_text(word: str) -> None:
    with pytest.raises(BadRequest, match="is text"):
        Asked.of({"0020000D": {"vr": "UI", "Value": [1.2]}}, word)


# A retrieval


def retrievals(body: Any, word: str = "get") -> Any:
    asked = Asked.of(body, word)
    return asked.retrievals(asked.studies)


def test_a_retrieval_has_the_unique_keys_down_to_its_level() -> None:
    assert retrievals({"study_instance_uid": "1.2"}) == [Retrieve(Level.STUDY, "1.2", service="get")]
    [series] = retrievals({"study_instance_uid": "1.2", "series_instance_uid": "1.2.3"}, "move")
    assert series == Retrieve(Level.SERIES, "1.2", "1.2.3", service="move")
    [image] = retrievals({**IMAGE, "sop_instance_uid": ["1", "2", "1"], "patient_id": "P1"})
    assert image == Retrieve(Level.IMAGE, "1.2", "1.2.3", ("1", "2"), patient_id="P1", service="get")


def test_a_list_of_studies_is_as_many_retrievals() -> None:
    assert [one.study_instance_uid for one in retrievals({"study_instance_uid": ["1", "2"]})] == ["1", "2"]
    series = retrievals({"study_instance_uid": "1", "series_instance_uid": ["1.1", "1.2"]})
    assert [one.series_instance_uid for one in series] == ["1.1", "1.2"]


def test_a_patient_has_all_the_studies_that_were_found() -> None:
    asked = Asked.of({"level": "PATIENT", "patient_id": "P1"}, "get")
    assert asked.studies == ()
    assert asked.retrievals(("1", "2")) == [
        Retrieve(Level.STUDY, "1", patient_id="P1", service="get"),
        Retrieve(Level.STUDY, "2", patient_id="P1", service="get"),
    ]


def test_a_destination_makes_it_a_move_to_somebody_else() -> None:
    assert retrievals({**IMAGE, "destination": "ELSEWHERE"}, "move") == [
        Move(Level.IMAGE, "1.2", "ELSEWHERE", "1.2.3", ("1.2.3.4",))
    ]
    assert retrievals({**IMAGE, "destination": ""}, "move")[0].service == "move"


@pytest.mark.parametrize(
    ("body", "word", "sentence"),
    [
        ({}, "get", "StudyInstanceUID is missing"),
        ({"patient_id": "P1"}, "get", "StudyInstanceUID is missing"),
        ({"level": "SERIES", "study_instance_uid": "1.2"}, "get", "SeriesInstanceUID is missing"),
        ({"series_instance_uid": "1.2.3"}, "get", "StudyInstanceUID is missing"),
        ({"sop_instance_uid": "1", "study_instance_uid": "1"}, "get", "SeriesInstanceUID is missing"),
        ({**IMAGE, "study_instance_uid": ["1", "2"]}, "get", "StudyInstanceUID has several values"),
        ({"0020000D": {"vr": "UI", "Value": ["1.*"]}}, "get", "StudyInstanceUID has one of"),
        ({"0020000D": {"vr": "UI", "Value": ["../../etc"]}}, "get", "StudyInstanceUID has one of"),
        ({"study_instance_uid": "1.2", "patient_id": "P*"}, "get", "without wildcards"),
        ({"study_instance_uid": "1.2", "patient_id": ["P1", "P2"]}, "get", "without wildcards"),
        ({"study_instance_uid": "1.2", "modality": "CT"}, "get", r"\(0008,0060\) selects nothing"),
        ({**IMAGE, "level": "STUDY"}, "get", r"\(0020,000E\) selects nothing"),
        ({"study_instance_uid": "1.2", "destination": "X"}, "get", "nothing else has one"),
        ({"study_instance_uid": "1.2", "destination": 5}, "move", "nothing else has one"),
        ({"study_instance_uid": "1.2", "destination": "X" * 17}, "move", "is not an AE title"),
        ({"study_instance_uid": "1.2", "destination": "A\\B"}, "move", "is not an AE title"),
    ],
)
def test_what_would_retrieve_something_else_is_refused(body: Any, word: str, sentence: str) -> None:
    with pytest.raises(BadRequest, match=sentence):
        retrievals(body, word)


def test_attributes_without_a_value_select_nothing_and_do_no_harm() -> None:
    assert len(retrievals({"study_instance_uid": "1.2", "patient_name": "", "modality": None})) == 1


def test_a_patient_alone_is_one_patient() -> None:
    with pytest.raises(BadRequest, match=r"\(0020,000D\) selects nothing"):
        Asked.of({"level": "PATIENT", "patient_id": "P1", "study_instance_uid": "1.2"}, "get").retrievals(("1.2",))


@given(
    st.dictionaries(
        st.sampled_from(["operation", "level", "query_level", "destination", "limit", "query", "identifier"])
        | st.sampled_from(["patient_id", "study_instance_uid", "0020000D", "00080052", "StudyDate"])
        | st.text(max_size=4),
        st.recursive(
            st.none()
            | st.booleans()
            | st.integers()
            | st.text(max_size=6)
            | st.sampled_from(["STUDY", "1.2", "C-GET"]),
            lambda inner: (
                st.lists(inner, max_size=2)
                | st.dictionaries(st.sampled_from(["vr", "Value", "PatientID", "0020000D"]), inner, max_size=2)
            ),
            max_leaves=5,
        ),
        max_size=4,
    ),
    st.sampled_from(["", "find", "get", "move", "echo"]),
)
def test_whatever_a_body_says_it_is_read_or_refused(body: Any, word: str) -> None:
    try:
        asked = Asked.of(body, word)
        asked.find()
        asked.retrievals(asked.studies)
    except BadRequest:
        pass


def test_the_limit_of_json_holds_what_a_long_list_of_uids_needs() -> None:
    body = {"sop_instance_uid": ["1." + "9" * 62] * 10_000}
    assert len(orjson.dumps(body)) < asking.MAX_JSON_BYTES
