"""Identifiers and matches as documents."""

from dataclasses import dataclass
from typing import Any

import pytest

from harmonygw.errors import Untransformable
from harmonygw.middleware.describing import identifier_of
from harmonygw.middleware.transform.data_sets import data_set_of, with_identifier
from harmonygw.operations import Find, Level

STUDY = {"vr": "UI", "Value": ["1.2"]}


def test_an_identifier_has_keys_and_return_keys_in_order() -> None:
    find = Find(Level.STUDY, keys={"0020000D": STUDY}, return_keys={"00080020": {"vr": "DA"}})
    assert list(identifier_of(find).items()) == [("00080020", {"vr": "DA"}), ("0020000D", STUDY)]
    assert with_identifier(find, identifier_of(find)) == find


def test_an_identifier_in_one_piece_stays_one() -> None:
    @dataclass(frozen=True)
    class Worklist:
        identifier: Any

    query = Worklist({"00100020": {"vr": "LO"}})
    assert identifier_of(query) == {"00100020": {"vr": "LO"}}
    assert with_identifier(query, {"00100020": {"Value": ["17"]}}) == Worklist(
        {"00100020": {"vr": "LO", "Value": ["17"]}}
    )


def test_what_has_a_value_is_a_key() -> None:
    document = {
        "00080020": {"Value": []},
        "0020000d": STUDY,
        "00080005": {"vr": "CS", "Value": ["ISO_IR 192"]},
        "00080052": {"vr": "CS", "Value": ["STUDY"]},
        "00091001": {"vr": "OB", "InlineBinary": "AA=="},
    }
    assert with_identifier(Find(Level.STUDY), document) == Find(
        Level.STUDY,
        keys={"00091001": {"vr": "OB", "InlineBinary": "AA=="}, "0020000D": STUDY},
        return_keys={"00080020": {"vr": "DA"}},
    )


def test_the_level_stays() -> None:
    with pytest.raises(Untransformable, match="the level of a query stays as it is, SERIES"):
        with_identifier(Find(Level.SERIES), {"00080052": {"vr": "CS", "Value": ["STUDY"]}})


@pytest.mark.parametrize(
    ("level", "keys", "document", "relational"),
    [
        (Level.SERIES, {"0020000D": STUDY}, {"0020000D": STUDY, "00080060": {"Value": ["CT"]}}, False),
        (Level.SERIES, {"0020000D": STUDY}, {"0020000D": STUDY, "00100020": {"Value": ["17"]}}, True),
        (Level.SERIES, {"0020000D": STUDY}, {"00080060": {"Value": ["CT"]}}, True),
        (Level.STUDY, {}, {"00100020": {"Value": ["17"]}}, False),
    ],
)
def test_other_keys_of_upper_levels_make_a_query_relational(
    level: Level, keys: Any, document: Any, relational: bool
) -> None:
    assert with_identifier(Find(level, keys=keys), document).relational is relational


@pytest.mark.parametrize(
    ("document", "sentence"),
    [
        ([], "the result is no data set: an object of DICOM JSON"),
        ({"PatientID": "17"}, 'the result is no data set: "PatientID" is no tag of eight hexadecimal digits'),
        ({"00100020": "17"}, "the result is no data set: 00100020 has no object with vr and Value"),
        ({"00100020": {"vr": 1}}, "the result is no data set: the vr of 00100020 is no VR"),
        ({"00100020": {"vr": "lo"}}, "the result is no data set: the vr of 00100020 is no VR"),
        ({"00100020": {"Value": "17"}}, "the result is no data set: the Value of 00100020 is no array"),
        ({"00100020": {"value": []}}, "the result is no data set: 00100020 has value"),
    ],
)
def test_what_is_no_data_set(document: Any, sentence: str) -> None:
    with pytest.raises(Untransformable) as caught:
        data_set_of(document)
    assert str(caught.value) == sentence
