"""Bytes out of DICOM JSON: read back by `to_json` and by pydicom, and what a client may not ask for."""

import io
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset

from harmonygw.dicom.dataset.json_decoding import LONGEST_SHORT_FORM, LONGEST_SHOWN_KEY, from_json
from harmonygw.dicom.dataset.json_encoding import to_json
from harmonygw.dicom.dataset.limits import MAX_NESTING_DEPTH
from harmonygw.errors import BadRequest
from tests.corpus import CORPUS
from tests.dicom.dataset.test_json_encoding import corpus_files, shipped, split

IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
BIG_ENDIAN = "1.2.840.10008.1.2.2"
ENCODINGS = [IMPLICIT, EXPLICIT, BIG_ENDIAN]

IDENTIFIER: dict[str, Any] = {
    "00080052": {"vr": "CS", "Value": ["STUDY"]},
    "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Mü*", "Phonetic": "やまだ"}]},
    "00080061": {"vr": "CS", "Value": ["CT", "MR"]},
    "0020000D": {"vr": "UI"},
    "00400275": {"vr": "SQ", "Value": [{"00401001": {"vr": "SH"}}]},
}

ALL_VRS: dict[str, Any] = {
    "00080005": {"vr": "CS", "Value": ["ISO_IR 192"]},
    "00080008": {"vr": "CS", "Value": ["A", None, "B"]},
    "00080018": {"vr": "UI", "Value": ["1.2.3"]},
    "00080020": {"vr": "DA", "Value": ["20240229"]},
    "00080030": {"vr": "TM", "Value": ["1011"]},
    "0008002A": {"vr": "DT", "Value": ["20240229101112"]},
    "00080050": {"vr": "SH", "Value": ["É1"]},
    "00080054": {"vr": "AE", "Value": ["A", "B"]},
    "00080119": {"vr": "UC", "Value": ["long"]},
    "00081030": {"vr": "LO", "Value": ["山田"]},
    "00081140": {"vr": "SQ", "Value": [{"00080100": {"vr": "SH", "Value": ["é"]}}, {}]},
    "00081190": {"vr": "UR", "Value": ["https://pacs.example/a"]},
    "00082111": {"vr": "ST", "Value": ["a\\b"]},
    "00100010": {"vr": "PN", "Value": [{"Alphabetic": "A^B", "Ideographic": "山"}, None, {"Phonetic": "や"}]},
    "00101010": {"vr": "AS", "Value": ["042Y"]},
    "00101030": {"vr": "DS", "Value": [70.5, None, -1, "1.9.10.0"]},
    "001021B0": {"vr": "LT", "Value": ["two\r\nlines"]},
    "00186020": {"vr": "SL", "Value": [-5]},
    "00186018": {"vr": "UL", "Value": [4000000000]},
    "0018605A": {"vr": "FL", "Value": [0.5, "NaN", "-Infinity"]},
    "00189073": {"vr": "FD", "Value": [math.pi, "Infinity"]},
    "00189219": {"vr": "SS", "Value": [-3]},
    "00200013": {"vr": "IS", "Value": [7, None]},
    "00280009": {"vr": "AT", "Value": ["00181063", "7FE00010"]},
    "00280010": {"vr": "US", "Value": [512]},
    "0040A160": {"vr": "UT", "Value": ["text"]},
    "00720065": {"vr": "OB", "InlineBinary": "AQI="},
    "00720067": {"vr": "OF", "InlineBinary": "AACAPw=="},
    "00720069": {"vr": "OW", "InlineBinary": "AQIDBA=="},
    "00720073": {"vr": "OD", "InlineBinary": "AAAAAAAA8D8="},
    "00720075": {"vr": "OL", "InlineBinary": "BAAAAA=="},
    "00720081": {"vr": "OV", "InlineBinary": "BQAAAAAAAAA="},
    "00720082": {"vr": "SV", "Value": [-(2**62)]},
    "00720083": {"vr": "UV", "Value": [2**63]},
    "00990010": {"vr": "LO", "Value": ["NOBODY KNOWS"]},
    "00991001": {"vr": "UN", "InlineBinary": "AQI="},
    "7FE00010": {"vr": "OW", "InlineBinary": "AQIDBA=="},
}


def refused(data_set: Any, **arguments: Any) -> str:
    with pytest.raises(BadRequest) as raised:
        from_json(data_set, **arguments)
    return raised.value.detail


def one(vr: str, *values: Any) -> dict[str, Any]:
    return {"00091001": {"vr": vr, "Value": list(values)}}


def by_pydicom(data: bytes, uid: str) -> Dataset:
    return read_dataset(io.BytesIO(data), uid == IMPLICIT, uid != BIG_ENDIAN)


def value_of(data_set: dict[str, Any], **arguments: Any) -> bytes:
    """Return the value of the one short-form element of a data set."""
    return from_json(data_set, character_set=(), **arguments)[8:]


def test_the_bytes_are_those_of_the_standard() -> None:
    assert from_json({"00100020": {"vr": "LO", "Value": ["é1"]}}) == (
        bytes.fromhex("08000500") + b"CS\x0a\0ISO_IR 192" + bytes.fromhex("10002000") + b"LO\x04\0\xc3\xa91 "
    )


@pytest.mark.parametrize("uid", ENCODINGS)
def test_an_identifier_is_read_by_pydicom(uid: str) -> None:
    read = by_pydicom(from_json(IDENTIFIER, uid), uid)
    assert [element.tag for element in read] == sorted([0x00080005, *(int(name, 16) for name in IDENTIFIER)])
    assert read.SpecificCharacterSet == "ISO_IR 192"
    assert read.PatientName == "Mü*==やまだ"
    assert list(read.ModalitiesInStudy) == ["CT", "MR"]
    assert read.StudyInstanceUID == ""
    assert "ScheduledProcedureStepID" not in read.RequestAttributesSequence[0]
    assert read.RequestAttributesSequence[0].RequestedProcedureID == ""


@pytest.mark.parametrize("uid", ENCODINGS)
def test_every_vr_is_read_back_as_it_was(uid: str) -> None:
    assert to_json(from_json(ALL_VRS, uid), uid) == dict(sorted(ALL_VRS.items()))


@pytest.mark.parametrize("uid", ENCODINGS)
@pytest.mark.filterwarnings("ignore")
def test_every_vr_is_read_by_pydicom(uid: str) -> None:
    read = by_pydicom(from_json(ALL_VRS, uid), uid)
    assert [f"{element.tag:08X}" for element in read] == sorted(ALL_VRS)
    assert read.PatientName[0] == "A^B=山"
    assert read.StudyDescription == "山田"
    assert read.FrameIncrementPointer == [0x00181063, 0x7FE00010]
    assert read.SelectorUVValue == 2**63
    assert read.ReferencedImageSequence[0].CodeValue == "é"


@pytest.mark.parametrize("name", ["CT_small.dcm", "rtplan.dcm", "test-SR.dcm", "chrH32.dcm", "chrX2.dcm"])
@pytest.mark.filterwarnings("ignore")
def test_pydicom_s_files_survive(name: str) -> None:
    _, data, uid = split(shipped(name))
    shown = to_json(data, uid)
    again = from_json(shown, EXPLICIT)
    assert to_json(again, EXPLICIT) == with_utf8(shown)
    assert len(by_pydicom(again, EXPLICIT)) == len(with_utf8(shown))


@pytest.mark.filterwarnings("ignore")
def test_the_corpus_survives() -> None:
    for path in corpus_files() if CORPUS is not None else []:
        _, data, uid = split(path)
        shown = to_json(data, uid)
        # One of them has an odd length, which cannot come back.
        shown.pop("7FE00010", None)
        again = to_json(from_json(shown, EXPLICIT), EXPLICIT)
        assert as_short_ds(again) == as_short_ds(with_utf8(shown)), path.name


def as_short_ds(shown: dict[str, Any]) -> dict[str, Any]:
    """Return a model with its DS in eight digits: those of the corpus are longer than 16 characters here and there."""
    result = {}
    for name, attribute in shown.items():
        values = attribute.get("Value", [])
        if attribute["vr"] == "SQ":
            attribute = {**attribute, "Value": [as_short_ds(item) for item in values]}
        elif attribute["vr"] == "DS":
            attribute = {**attribute, "Value": [value and f"{float(value):.8g}" for value in values]}
        result[name] = attribute
    return result


def with_utf8(shown: dict[str, Any]) -> dict[str, Any]:
    """Return a model with the character set that `from_json` writes by default, in ascending order."""
    items = {
        name: {**attribute, "Value": [without_character_set(item) for item in attribute["Value"]]}
        if attribute["vr"] == "SQ" and "Value" in attribute
        else attribute
        for name, attribute in shown.items()
    }
    return dict(sorted({**items, "00080005": {"vr": "CS", "Value": ["ISO_IR 192"]}}.items()))


def without_character_set(item: dict[str, Any]) -> dict[str, Any]:
    had = with_utf8(item)
    del had["00080005"]
    return had


# Character sets


@pytest.mark.parametrize("terms", [(), ("",), ("ISO_IR 6",)])
def test_the_default_repertoire_is_not_mentioned(terms: tuple[str, ...]) -> None:
    data_set = {"00080005": {"vr": "CS", "Value": ["ISO_IR 100"]}, "00100020": {"vr": "LO", "Value": ["1"]}}
    assert list(to_json(from_json(data_set, character_set=terms), EXPLICIT)) == ["00100020"]


@pytest.mark.parametrize(
    ("terms", "text", "encoded"),
    [
        (("ISO_IR 100",), "Müller", b"M\xfcller"),
        (("ISO_IR 192",), "Müller", "Müller ".encode()),
        (("", "ISO 2022 IR 149"), "길동", b"\x1b$)C\xb1\xe6\xb5\xbf"),
    ],
)
def test_text_is_encoded_in_the_character_set(terms: tuple[str, ...], text: str, encoded: bytes) -> None:
    data = from_json({"00100010": {"vr": "PN", "Value": [{"Alphabetic": text}]}}, character_set=terms)
    assert data.endswith(encoded)
    shown = to_json(data, EXPLICIT)
    assert shown["00100010"]["Value"] == [{"Alphabetic": text}]
    assert shown["00080005"]["Value"] == [term or None for term in terms]


def test_each_of_several_values_begins_in_the_initial_set() -> None:
    data = from_json(one("LO", "길", "길"), character_set=("", "ISO 2022 IR 149"))
    assert data.endswith(b"\x1b$)C\xb1\xe6\\\x1b$)C\xb1\xe6 ")


def test_items_have_no_character_set_of_their_own() -> None:
    item = {"00080005": {"vr": "CS", "Value": ["ISO_IR 100"]}, "00080100": {"vr": "SH", "Value": ["é"]}}
    shown = to_json(from_json({"00081140": {"vr": "SQ", "Value": [item]}}), EXPLICIT)
    assert shown["00081140"]["Value"] == [{"00080100": {"vr": "SH", "Value": ["é"]}}]


def test_a_character_that_the_set_lacks_is_named_with_its_tag() -> None:
    detail = refused({"00100020": {"vr": "LO", "Value": ["λ"]}}, character_set=("ISO_IR 100",))
    assert detail == "(0010,0020) LO: the character 'λ' (U+03BB) is not in the character set ISO_IR 100"


# Values


@pytest.mark.parametrize(
    ("data_set", "value"),
    [
        (one("IS", 5, "+7"), b"5\\+7"),
        (one("IS", -(2**31), 5.0), b"-2147483648\\5 "),
        (one("DS", 1.5, "1.9.10.0", 3), b"1.5\\1.9.10.0\\3"),
        (one("DS", 0.1 + 0.2), b"0.3 "),
        (one("DS", -math.pi * 1e-200), b"-3.14159265e-200"),
        (one("DS", 12345678901234567), b"1.2345678901e+16"),
        (one("UI", "1.2.3"), b"1.2.3\0"),
        (one("PN", "Doe^Jane", None, {"Ideographic": "x"}), b"Doe^Jane\\\\=x"),
        (one("PN", {}), b""),
        (one("CS"), b""),
        (one("US", "7", 7.0), b"\7\0\7\0"),
        (one("ST", "a\\b\t"), b"a\\b\t"),
        ({"00091001": {"vr": "US"}}, b""),
    ],
)
def test_values_are_encoded_and_padded(data_set: dict[str, Any], value: bytes) -> None:
    assert value_of(data_set) == value


def test_binary_values_are_padded_with_null() -> None:
    assert from_json({"00091001": {"vr": "OB", "InlineBinary": "AQ=="}}).endswith(b"\2\0\0\0\1\0")


def test_an_inline_binary_in_an_array_is_understood() -> None:
    assert from_json({"00091001": {"vr": "UN", "InlineBinary": ["AQI="]}}).endswith(b"\1\2")


def test_binary_values_are_turned_for_big_endian() -> None:
    data_set = {"00091001": {"vr": "OW", "InlineBinary": "AQIDBA=="}}
    assert from_json(data_set, BIG_ENDIAN).endswith(b"\2\1\4\3")


def test_group_lengths_and_file_meta_information_are_left_out() -> None:
    data_set = {"00080000": {"vr": "UL", "Value": [1]}, "00020010": {"vr": "UI"}, "0010000a": {"vr": "LO"}}
    assert from_json(data_set, character_set=()) == bytes.fromhex("10000A00") + b"LO\0\0"


@pytest.mark.parametrize(
    ("data_set", "detail"),
    [
        ({"PatientID": {"vr": "LO"}}, "'PatientID' is not a tag of eight hexadecimal digits"),
        ({"00100020": "x"}, "(0010,0020) is not an attribute of a data set"),
        ({"00000002": {"vr": "UI"}}, "(0000,0002)"),
        ({"FFFEE00D": {"vr": "UN"}}, "(FFFE,E00D)"),
        ({"00100020": {}}, "(0010,0020) has none of the VRs of PS3.5"),
        ({"00100020": {"vr": "XX"}}, "(0010,0020) has none of the VRs"),
        ({"00100020": {"vr": []}}, "(0010,0020) has none of the VRs"),
        ({"00280106": {"vr": "US or SS"}}, "(0028,0106) has none of the VRs"),
        ({"00100020": {"vr": "LO", "Value": "x"}}, "(0010,0020) LO: the value is given as an array"),
        ({"00100020": {"vr": "LO", "InlineBinary": "eA=="}}, "(0010,0020) LO: the value is given as an array"),
        ({"00100020": {"vr": "LO", "BulkDataURI": "/x"}}, "(0010,0020) LO: a BulkDataURI"),
        ({"7FE00010": {"vr": "OW", "Value": [1]}}, "(7FE0,0010) OW: a binary value is given as InlineBinary"),
        ({"7FE00010": {"vr": "OW", "InlineBinary": "?"}}, "(7FE0,0010) OW: "),
        ({"7FE00010": {"vr": "OW", "InlineBinary": None}}, "(7FE0,0010) OW: "),
        (one("LO", 5), "(0009,1001) LO: this VR takes strings"),
        (one("LO", "a\\b"), "a backslash would make two values of it"),
        (one("LO", "a\0"), r"the control character '\x00'"),
        (one("LO", "a\x1b$)C"), r"the control character '\x1b'"),
        (one("CS", "É"), "can't encode character"),
        (one("LT", "a", "b"), "this VR has one value"),
        (one("US", 65536), "(0009,1001) US: "),
        (one("US", -1), "(0009,1001) US: "),
        (one("US", 1.5), "this VR takes integers"),
        (one("US", None), "this VR takes numbers"),
        (one("US", True), "this VR takes numbers"),
        (one("US", "x"), "this VR takes numbers"),
        (one("FL", 1e300), "float too large"),
        (one("FD", 10**400), "too large"),
        (one("FD", "x"), "this VR takes numbers"),
        (one("IS", 2**31), "an IS has 32 bits"),
        (one("IS", 1.5), "this VR takes integers"),
        (one("IS", {}), "this VR takes numbers"),
        (one("DS", math.inf), "a DS is finite"),
        (one("DS", 10**400), "too large"),
        (one("DS", [1]), "this VR takes numbers"),
        (one("AT", "0010"), "a tag is a string of eight hexadecimal digits"),
        (one("AT", 5), "a tag is a string"),
        (one("PN", 5), "a person name is an object with Alphabetic, Ideographic, Phonetic"),
        (one("PN", {"Alphabetical": "x"}), "a person name is an object"),
        (one("PN", {"Alphabetic": 5}), "this VR takes strings"),
        (one("PN", {"Alphabetic": "a=b"}), "an equals sign"),
        (one("PN", {"Alphabetic": "a\\b"}), "a backslash"),
        (one("SQ", "x"), "an item is an object"),
        (one("SQ", {"00100020": {"vr": "LO", "Value": [5]}}), "(0009,1001) SQ: (0010,0020) LO: this VR takes"),
    ],
)
def test_what_cannot_be_encoded_is_named(data_set: dict[Any, Any], detail: str) -> None:
    assert detail in refused(data_set)


@pytest.mark.parametrize(
    "attribute",
    [
        "Doe^Jane",
        {"vr": "Doe^Jane"},
        {"vr": "PN", "Value": "Doe^Jane"},
        {"vr": "PN", "Value": ["Doe^Jane\\"]},
        {"vr": "PN", "Value": [{"Alphabetic": "Doe^Jane", "Name": "x"}]},
        {"vr": "CS", "Value": ["Doe^JaneÉ"]},
        {"vr": "OB", "InlineBinary": "Doe^Jane"},
        *({"vr": vr, "Value": ["Doe^Jane"]} for vr in ("AT", "FD", "FL", "SQ", "US", "SV")),
    ],
)
def test_a_value_that_is_refused_is_not_shown(attribute: Any) -> None:
    detail = refused({"00100010": attribute})
    assert "(0010,0010)" in detail
    assert "Doe" not in detail


def test_a_long_key_is_shown_in_part() -> None:
    assert len(refused({"x" * 10_000: {"vr": "LO"}})) < LONGEST_SHOWN_KEY + 100


def test_a_value_of_the_short_form_has_the_length_that_16_bits_can_say() -> None:
    assert len(value_of(one("LO", "x" * LONGEST_SHORT_FORM))) == LONGEST_SHORT_FORM
    assert f"are more than the {LONGEST_SHORT_FORM}" in refused(one("LO", "x" * (LONGEST_SHORT_FORM + 1)))
    assert from_json(one("LO", "x" * 70_000), IMPLICIT).endswith(b"x")


def nested(depth: int) -> dict[str, Any]:
    data_set: dict[str, Any] = {}
    for _ in range(depth):
        data_set = {"00081140": {"vr": "SQ", "Value": [data_set]}}
    return data_set


def test_sequences_may_nest_as_deep_as_the_limit() -> None:
    data = from_json(nested(MAX_NESTING_DEPTH), character_set=())
    assert to_json(data, EXPLICIT) == nested(MAX_NESTING_DEPTH)


@pytest.mark.parametrize("depth", [MAX_NESTING_DEPTH + 1, 500])
def test_sequences_beyond_the_limit_are_refused_by_its_name(depth: int) -> None:
    assert f"MAX_NESTING_DEPTH ({MAX_NESTING_DEPTH})" in refused(nested(depth))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)
attributes = st.fixed_dictionaries(
    {"vr": st.sampled_from(["AT", "CS", "DS", "FL", "IS", "LO", "OB", "OW", "PN", "SQ", "ST", "UI", "UN", "US", "UV"])},
    optional={"Value": json_values | st.lists(json_values, max_size=3), "InlineBinary": json_values},
)
data_sets = st.dictionaries(
    st.sampled_from(["00080005", "00080018", "00100010", "00280106", "7FE00010"]), attributes | json_values, max_size=3
)


@given(data_sets, st.sampled_from(ENCODINGS))
def test_any_json_becomes_bytes_that_can_be_read_or_a_bad_request(data_set: dict[str, Any], uid: str) -> None:
    try:
        data = from_json(data_set, uid)
    except BadRequest:
        return
    assert set(to_json(data, uid)) == {"00080005", *data_set}


@given(st.floats(-1e300, 1e300))
def test_any_number_has_a_decimal_string_near_to_it(number: float) -> None:
    text = value_of(one("DS", number)).decode()
    assert len(text) <= 16
    assert math.isclose(float(text), number, rel_tol=1e-7)
