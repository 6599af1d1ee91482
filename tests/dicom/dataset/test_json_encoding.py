"""DICOM JSON out of bytes: what pydicom makes of the same bytes, but for the differences that are listed here."""

import math
from collections.abc import Iterator
from struct import pack
from typing import Any

import orjson
import pydicom
import pytest
from pydicom import config
from pydicom.dataset import Dataset

from harmonygw.dicom.dataset.character_sets import LONGEST_TERM, MAX_TERMS, character_set
from harmonygw.dicom.dataset.json_encoding import to_json
from tests.dicom.dataset.json_bytes import (
    BIG_ENDIAN,
    ENCODINGS,
    EXPLICIT,
    FILES,
    as_here,
    by_pydicom,
    corpus_files,
    encoded,
    endless_sequence,
    long,
    one,
    shipped,
    short,
    split,
    with_numbers,
)


@pytest.fixture
def quiet_pydicom() -> Iterator[None]:
    mode = config.settings.reading_validation_mode
    config.settings.reading_validation_mode = config.IGNORE
    yield
    config.settings.reading_validation_mode = mode


# Against pydicom


def every_vr() -> Dataset:
    data_set = Dataset()
    data_set.SpecificCharacterSet = "ISO_IR 192"
    data_set.ImageType = ["ORIGINAL", "PRIMARY", "", "M"]
    data_set.StudyDate = "20240229"
    data_set.StudyTime = "101112.123"
    data_set.AcquisitionDateTime = "20240229101112+0100"
    data_set.AccessionNumber = "É 12"
    data_set.RetrieveAETitle = ["ARCHIVE", "ARCHIVE2"]
    data_set.RetrieveURL = "https://pacs.example/studies"
    data_set.SOPInstanceUID = "1.2.3"
    data_set.StudyDescription = "Thorax  à  droite"
    data_set.ReferringPhysicianName = ["Müller^Hans=山田^太郎=やまだ", "Doe^Jane"]
    data_set.PatientName = "=山田"
    data_set.PatientAge = "042Y"
    data_set.OtherPatientIDs = ["A", "", "C"]
    data_set.PatientWeight = "70.5"
    data_set.ImagePositionPatient = ["1", "-2.50", "1e-3"]
    data_set.SeriesNumber = "+7"
    data_set.NumberOfStudyRelatedInstances = ["1", "-2"]
    data_set.AdditionalPatientHistory = "  leading\r\nand \\ more"
    data_set.DerivationDescription = "derived"
    data_set.LongCodeValue = "  code"
    data_set.TextValue = "text"
    data_set.FrameIncrementPointer = [0x00181063, 0x0018106A]
    data_set.Rows = 512
    data_set.add_new(0x60000050, "SS", [1, -1])
    data_set.TagAngleSecondAxis = -3
    data_set.SmallestImagePixelValue = 5
    data_set.PixelRepresentation = 0
    data_set.RegionLocationMinX0 = 4_000_000_000
    data_set.ReferencePixelX0 = -2_000_000_000
    data_set.TableOfParameterValues = [0.1, 2.5]
    data_set.DoubleFloatRealWorldValueFirstValueMapped = math.pi
    data_set.add_new(0x00080055, "AE", "STATION")
    data_set.add_new(0x00720082, "SV", -(2**62))
    data_set.add_new(0x00720083, "UV", 2**63)
    data_set.add_new(0x00720065, "OB", b"\1\2")
    data_set.add_new(0x00720073, "OD", pack("<2d", 1, 2))
    data_set.add_new(0x00720067, "OF", pack("<f", 3))
    data_set.add_new(0x00720075, "OL", pack("<L", 4))
    data_set.add_new(0x00720081, "OV", pack("<Q", 5))
    data_set.add_new(0x00720069, "OW", b"\1\2\3\4")
    data_set.add_new(0x00091001, "UN", b"\1\2")
    item = Dataset()
    item.CodeValue = "é"
    inner = Dataset()
    inner.PatientName = "Ä^B"
    item.ReferencedSeriesSequence = [inner, Dataset()]
    data_set.ReferencedStudySequence = [item]
    data_set.ReferencedPatientSequence = []
    return data_set


@pytest.mark.parametrize("uid", ENCODINGS)
@pytest.mark.usefixtures("quiet_pydicom")
def test_every_vr_is_what_pydicom_makes_of_it(uid: str) -> None:
    data = encoded(every_vr(), uid)
    assert to_json(data, uid) == by_pydicom(data, uid)


def test_every_vr_of_the_standard_is_among_them() -> None:
    present = {attribute["vr"] for attribute in to_json(encoded(every_vr(), EXPLICIT), EXPLICIT).values()}
    assert present == set(pydicom.valuerep.STANDARD_VR)


@pytest.mark.parametrize("uid", ENCODINGS)
@pytest.mark.usefixtures("quiet_pydicom")
def test_private_attributes_are_what_pydicom_makes_of_them(uid: str) -> None:
    data_set = Dataset()
    block = data_set.private_block(0x0019, "GEMS_ACQU_01", create=True)
    block.add_new(0x11, "SS", -5)
    block.add_new(0x02, "SL", 7)
    unknown = data_set.private_block(0x0019, "NOBODY KNOWS", create=True)
    unknown.add_new(0x11, "UN", b"\1\2")
    unknown.add_new(0x12, "LO", "text")
    data = encoded(data_set, uid)
    assert to_json(data, uid) == by_pydicom(data, uid)
    assert to_json(data, uid)["00191011"] == {"vr": "SS", "Value": [-5]}


@pytest.mark.parametrize("uid", ENCODINGS)
@pytest.mark.parametrize("pixel_representation", [0, 1])
@pytest.mark.usefixtures("quiet_pydicom")
def test_ambiguous_vrs_are_what_pydicom_makes_of_them(uid: str, pixel_representation: int) -> None:
    vr = "SS" if pixel_representation else "US"
    data_set, item = Dataset(), Dataset()
    item.LUTDescriptor = [1 if pixel_representation else 2, 0, 16]
    item.LUTData = 9 if pixel_representation else b"\1\2\3\4"
    item["LUTDescriptor"].VR = "US"
    item["LUTData"].VR = "US" if pixel_representation else "OW"
    data_set.ModalityLUTSequence = [item]
    data_set.PixelRepresentation = pixel_representation
    data_set.add_new(0x00280106, vr, 3)
    data_set.add_new(0x00281101, vr, [65000, 0, 16])
    data_set.add_new(0x60003000, "OW", b"\1\2")
    data_set.add_new(0x7FE00010, "OW", b"\1\2")
    data = encoded(data_set, uid)
    assert to_json(data, uid) == by_pydicom(data, uid)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.usefixtures("quiet_pydicom")
@pytest.mark.filterwarnings("ignore")
def test_pydicom_s_files_are_what_pydicom_makes_of_them(name: str) -> None:
    data_set, data, uid = split(shipped(name))
    expected = as_here(data_set.to_json_dict(), big_endian=uid == BIG_ENDIAN)
    actual = to_json(data, uid)
    assert with_numbers(actual) == expected
    assert list(actual) == sorted(actual)
    assert orjson.loads(orjson.dumps(actual)) == actual


@pytest.mark.usefixtures("quiet_pydicom")
@pytest.mark.filterwarnings("ignore")
def test_the_corpus_is_what_pydicom_makes_of_it() -> None:
    for path in corpus_files():
        data_set, data, uid = split(path)
        expected = as_here(data_set.to_json_dict(), big_endian=uid == BIG_ENDIAN)
        assert with_numbers(to_json(data, uid)) == expected, path.name


# Values


@pytest.mark.parametrize(
    ("vr", "value", "values"),
    [
        (b"CS", b" MR \\ CT", ["MR", "CT"]),
        (b"CS", b"  ", None),
        (b"CS", b"", None),
        (b"LO", b" a  b\0", ["a  b"]),
        (b"LO", b"\\", [None, None]),
        (b"SH", b"a\\ \\b ", ["a", None, "b"]),
        (b"ST", b"  a\\b \0", ["  a\\b"]),
        (b"LT", b"   ", None),
        (b"UT", b" a", [" a"]),
        (b"UC", b" a \\ b ", [" a", " b"]),
        (b"UR", b"http://a/\\b ", ["http://a/\\b"]),
        (b"UI", b"1.2\\1.3\0", ["1.2", "1.3"]),
        (b"AE", b"  A  ", ["A"]),
        (b"DA", b"20240101-20240131 ", ["20240101-20240131"]),
    ],
)
def test_padding_is_taken_away_and_values_are_split(vr: bytes, value: bytes, values: list[Any] | None) -> None:
    assert one("00091001", vr, value).get("Value") == values


@pytest.mark.parametrize(
    ("value", "values"),
    [
        (b"Doe^Jane ", [{"Alphabetic": "Doe^Jane"}]),
        (b"", None),
        (b"  ", None),
        (b"a=b=c", [{"Alphabetic": "a", "Ideographic": "b", "Phonetic": "c"}]),
        (b"=b", [{"Ideographic": "b"}]),
        (b"==c ", [{"Phonetic": "c"}]),
        (b"a=b=c=d", [{"Alphabetic": "a", "Ideographic": "b", "Phonetic": "c"}]),
        (b"a \\\\b", [{"Alphabetic": "a"}, None, {"Alphabetic": "b"}]),
        (b"=", [None]),
    ],
)
def test_a_person_name_has_its_component_groups(value: bytes, values: list[Any] | None) -> None:
    assert one("00100010", b"PN", value).get("Value") == values


@pytest.mark.parametrize(
    ("value", "values"),
    [
        (b"12", [12]),
        (b"-7 ", [-7]),
        (b" +7", [7]),
        (b"007", [7]),
        (b"1\\\\3", [1, None, 3]),
        (b"1.0", ["1.0"]),
        (b"1-2", ["1-2"]),
        (b"-", ["-"]),
        (b"1_0", ["1_0"]),
        (b"999999999999", [999999999999]),
        (b"1234567890123", ["1234567890123"]),
        (b"1" * 5000, ["1" * 5000]),
        (b"\xb2", ["\ufffd"]),
        (b"  ", None),
    ],
)
def test_an_integer_string_is_a_number_when_it_is_one(value: bytes, values: list[Any] | None) -> None:
    assert one("00200013", b"IS", value).get("Value") == values


@pytest.mark.parametrize(
    ("value", "values"),
    [
        (b"1.5 ", [1.5]),
        (b"-.5", [-0.5]),
        (b"5.", [5.0]),
        (b"42", [42]),
        (b"1e3", [1000.0]),
        (b"-1.5E-3", [-0.0015]),
        (b"1\\\\2.5", [1, None, 2.5]),
        (b"1.9.10.0", ["1.9.10.0"]),
        (b"--1", ["--1"]),
        (b"abc", ["abc"]),
        (b"nan", ["nan"]),
        (b"1_0.5", ["1_0.5"]),
        (b"inf", ["inf"]),
        (b"1e-400", ["1e-400"]),
        (b"1e400", ["1e400"]),
        (b"1e", ["1e"]),
        (b"0.1234567890123456789", ["0.1234567890123456789"]),
        (b"0.12345678901234", [0.12345678901234]),
        (b"1234567890123456", [1234567890123456.0]),
        (b"12345678901234567", ["12345678901234567"]),
        (b"0.50000000000000000000", [0.5]),
        (b"0." + b"5" + b"0" * 62, ["0.5" + "0" * 62]),
    ],
)
def test_a_decimal_string_is_a_number_when_json_shows_the_same(value: bytes, values: list[Any]) -> None:
    shown = one("00101030", b"DS", value)["Value"]
    assert shown == values
    assert [type(number) for number in shown] == [type(number) for number in values]


@pytest.mark.parametrize(
    ("vr", "value", "values"),
    [
        (b"FL", pack("<3f", math.nan, math.inf, 1), ["NaN", "Infinity", 1.0]),
        (b"FD", pack("<d", -math.inf), ["-Infinity"]),
        (b"FD", b"", None),
        (b"AT", bytes.fromhex("08000500 E07F1000"), ["00080005", "7FE00010"]),
        (b"SS", pack("<h", -1), [-1]),
        (b"SS", b"", None),
        (b"UV", pack("<Q", 2**64 - 1), [2**64 - 1]),
    ],
)
def test_binary_numbers_are_numbers_that_json_has(vr: bytes, value: bytes, values: list[Any] | None) -> None:
    attribute = one("00091001", vr, value)
    assert attribute.get("Value") == values
    assert orjson.loads(orjson.dumps(attribute)) == attribute


def test_the_first_value_of_a_lut_descriptor_is_unsigned() -> None:
    assert one("00283002", b"SS", pack("<3h", -1, -5, 16))["Value"] == [65535, -5, 16]


@pytest.mark.parametrize("vr", [b"US", b"FL", b"SV", b"AT", b"SS"])
def test_a_number_of_the_wrong_length_is_shown_as_it_is(vr: bytes) -> None:
    assert one("00091001", vr, b"abc") == {"vr": "UN", "InlineBinary": "YWJj"}


@pytest.mark.parametrize("vr", [b"OB", b"OW", b"OF", b"OD", b"OL", b"OV", b"UN"])
def test_binary_values_are_inline_or_nothing(vr: bytes) -> None:
    assert one("00091001", vr, b"12345678") == {"vr": vr.decode(), "InlineBinary": "MTIzNDU2Nzg="}
    assert one("00091001", vr, b"") == {"vr": vr.decode()}


def test_binary_values_that_are_no_whole_words_stay_as_they_are() -> None:
    data = pack(">HH2s2xL", 0x7FE0, 0x0010, b"OW", 3) + b"abc"
    assert to_json(data, BIG_ENDIAN)["7FE00010"]["InlineBinary"] == "YWJj"


# Character sets


def test_text_is_decoded_by_the_character_set_of_its_data_set() -> None:
    data = short("00080005", b"CS", b"ISO_IR 100") + short("00100010", b"PN", b"M\xfcller")
    assert to_json(data, EXPLICIT) == {
        "00080005": {"vr": "CS", "Value": ["ISO_IR 100"]},
        "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Müller"}]},
    }


@pytest.mark.parametrize("absent", [b"", short("00080005", b"CS", b""), short("00080005", b"US", b"\1\0")])
def test_without_a_character_set_the_default_holds(absent: bytes) -> None:
    data = absent + short("00104000", b"LT", b"\xd6l")
    shown = to_json(data, EXPLICIT, default_character_set=("ISO_IR 100",))
    assert shown["00104000"]["Value"] == ["Öl"]


def test_items_have_a_character_set_of_their_own_or_inherit_it() -> None:
    latin = short("00080005", b"CS", b"ISO_IR 100")
    greek = endless_sequence("00081140", short("00080005", b"CS", b"ISO_IR 126") + short("00104000", b"LT", b"\xe1"))
    inherited = endless_sequence("00081199", short("00104000", b"LT", b"\xe1"))
    shown = to_json(latin + greek + inherited + short("00104000", b"LT", b"\xe1"), EXPLICIT)
    assert shown["00081140"]["Value"][0]["00104000"]["Value"] == ["α"]
    assert shown["00081199"]["Value"][0]["00104000"]["Value"] == ["á"]
    assert shown["00104000"]["Value"] == ["á"]


def test_what_the_character_set_says_beyond_the_limits_is_not_looked_at() -> None:
    before = character_set.cache_info().currsize
    for term in (b"a", b"b", b"c"):
        to_json(short("00080005", b"CS", b"\\".join([b"x"] * MAX_TERMS + [term])), EXPLICIT)
        to_json(short("00080005", b"CS", b"x" * LONGEST_TERM + term), EXPLICIT)
    assert character_set.cache_info().currsize <= before + 2


def test_a_character_set_in_un_holds_too() -> None:
    data = long("00080005", b"UN", b"ISO_IR 192") + long("00104000", b"UN", "é".encode())
    assert to_json(data, EXPLICIT)["00104000"] == {"vr": "LT", "Value": ["é"]}


@pytest.mark.parametrize("vr", [b"CS", b"DA", b"IS", b"LO", b"LT", b"PN", b"UI"])
def test_what_cannot_be_decoded_is_shown_so_and_reported_by_its_tag(vr: bytes) -> None:
    reported: list[str] = []
    data = short("0009100A", vr, b"a\xff") + short("0009100B", b"LO", b"b")
    shown = to_json(data, EXPLICIT, on_undecodable=reported.append)
    assert "a\ufffd" in str(shown["0009100A"]["Value"])
    assert reported == ["0009100A"]


def test_what_cannot_be_decoded_needs_nobody_to_be_told() -> None:
    assert one("00091001", b"LO", b"\xff")["Value"] == ["\ufffd"]


def test_a_code_string_beyond_its_repertoire_is_read_in_the_declared_set() -> None:
    data = short("00080005", b"CS", b"ISO_IR 192") + short("00180015", b"CS", "SCHÄDEL".encode())
    assert to_json(data, EXPLICIT)["00180015"]["Value"] == ["SCHÄDEL"]
