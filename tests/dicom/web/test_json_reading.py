from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harmonygw.dicom.web.json_reading import MAX_ELEMENT_LENGTH, ArrayReader, read_data_set, read_object
from harmonygw.errors import BadRequest, TooLarge

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(st.characters(exclude_categories=("Cs",))),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text('"\\{}[],:é a', max_size=3), inner, max_size=3),
    max_leaves=12,
)
ARRAYS = st.lists(st.dictionaries(st.sampled_from(["a", '"', "\\"]), JSON, max_size=3), max_size=5)


def read(*pieces: bytes, **options: Any) -> list[Any]:
    reader = ArrayReader(**options)
    elements = [element for piece in pieces for element in reader.feed(piece)]
    reader.finish()
    return elements


@given(ARRAYS, st.booleans(), st.data())
def test_an_array_is_read_however_it_is_cut(array: list[Any], indented: bool, data: st.DataObject) -> None:
    whole = orjson.dumps(array, option=orjson.OPT_INDENT_2 if indented else 0)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=6)))
    pieces = [whole[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    assert read(*pieces) == array


@given(ARRAYS)
def test_an_array_is_read_byte_by_byte(array: list[Any]) -> None:
    whole = orjson.dumps(array)
    assert read(*(whole[at : at + 1] for at in range(len(whole)))) == array


@given(ARRAYS, st.data())
def test_an_array_that_is_cut_short_never_ends(array: list[Any], data: st.DataObject) -> None:
    whole = orjson.dumps(array)
    with pytest.raises(BadRequest):
        read(whole[: data.draw(st.integers(0, len(whole) - 1))])


@given(st.binary(max_size=60))
def test_nonsense_is_refused_and_nothing_else_is_raised(data: bytes) -> None:
    try:
        elements = read(data)
    except BadRequest:
        return
    assert elements == orjson.loads(data)


def test_elements_are_there_as_soon_as_they_are_whole() -> None:
    reader = ArrayReader()
    assert reader.feed(b' [ {"a": "}"') == []
    assert reader.feed(b'} , {"b": {"c": [{}, {"d": 1}]}}') == [{"a": "}"}, {"b": {"c": [{}, {"d": 1}]}}]
    with pytest.raises(BadRequest):
        reader.finish()
    assert reader.feed(b"\n]\n") == []
    reader.finish()


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"<html>",
        b"{}",
        b"[1]",
        b"[{} {}]",
        b"[{},]",
        b"[,{}]",
        b"[{}]]",
        b"[{}],",
        b"[{}] x",
        b"[[{}]]",
        b"[{}",
        b'[{"a":1]',
        b'["a"]',
        b"\xef\xbb\xbf[]",
        b'[{"a" 1}]',
        b"[{}}]",
    ],
)
def test_what_is_no_array_of_objects_is_refused(text: bytes) -> None:
    with pytest.raises(BadRequest):
        read(text)


def test_an_element_has_a_limit() -> None:
    element = b'{"a":"' + b"x" * 100 + b'"}'
    assert read(b"[" + element[:50], element[50:] + b"," + element + b"]", max_element_length=len(element)) != []
    with pytest.raises(TooLarge, match="MAX_ELEMENT_LENGTH"):
        read(b"[" + element[:-1], max_element_length=len(element) - 2)
    assert MAX_ELEMENT_LENGTH == 1 << 20


def test_blanks_without_end_are_not_held() -> None:
    reader = ArrayReader(max_element_length=100)
    for _ in range(50):
        assert reader.feed(b" " * 100) == []
    assert reader.feed(b'[{"a":1}') == [{"a": 1}]


def test_what_nests_without_end_is_refused() -> None:
    for opening, closing in ((b'{"a":', b"}"), (b"[", b"]")):
        with pytest.raises(BadRequest):
            read(b'[{"a":' + opening * 100_000 + b"1" + closing * 100_000 + b"}]")


def test_one_object_is_read() -> None:
    assert read_object(b'{"a": 1}') == {"a": 1}
    for text in (b"[]", b"", b"<html>", b"1"):
        with pytest.raises(BadRequest):
            read_object(text)


@pytest.mark.parametrize(
    ("element", "attribute"),
    [
        ({"vr": "CS", "Value": ["CT"]}, {"vr": "CS", "Value": ["CT"]}),
        ({"vr": "CS"}, {"vr": "CS"}),
        ({"vr": "CS", "Value": None}, {"vr": "CS"}),
        ({"Value": ["CT"]}, {"vr": "CS", "Value": ["CT"]}),
        ({"vr": "CS", "Value": "CT"}, {"vr": "CS", "Value": ["CT"]}),
        ({"vr": "UN", "InlineBinary": "AAE="}, {"vr": "UN", "InlineBinary": "AAE="}),
    ],
)
def test_attributes_are_put_right(element: Any, attribute: Any) -> None:
    assert read_data_set({"00080060": element}) == ({"00080060": attribute}, ())


@pytest.mark.parametrize("element", ["CT", ["CT"], None, {"vr": "XX", "Value": ["CT"]}, {"vr": 1}])
def test_an_attribute_that_makes_no_sense_is_left_without_value(element: Any) -> None:
    assert read_data_set({"00080060": element}) == ({"00080060": {"vr": "CS"}}, ("00080060",))


def test_what_is_given_by_reference_is_left_without_value() -> None:
    element = {"vr": "OW", "BulkDataURI": "http://elsewhere/"}
    assert read_data_set({"7fe00010": element}) == ({"7FE00010": {"vr": "OW"}}, ("7FE00010",))


def test_a_name_that_is_no_tag_is_left_out() -> None:
    assert read_data_set({"resourceType": "Bundle", "0008006g": {}}) == ({}, ("resourceType", "0008006g"))
