"""DICOM JSON out of bytes: what pydicom makes of the same bytes, but for the differences that are listed here."""

import io
import math
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from struct import pack
from typing import Any

import orjson
import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import config
from pydicom.data import get_charset_files, get_testdata_file
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import _read_file_meta_info, read_dataset, read_preamble
from pydicom.filewriter import write_dataset

from harmonygw.dicom.dataset.character_sets import LONGEST_TERM, MAX_TERMS, character_set
from harmonygw.dicom.dataset.elements import inflate
from harmonygw.dicom.dataset.json_encoding import to_json
from harmonygw.dicom.dataset.limits import MAX_NESTING_DEPTH
from harmonygw.errors import PeerError
from tests.corpus import CORPUS

IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
DEFLATED = "1.2.840.10008.1.2.1.99"
BIG_ENDIAN = "1.2.840.10008.1.2.2"
ENCODINGS = [IMPLICIT, EXPLICIT, BIG_ENDIAN]

WORDS = {"OW": 2, "OF": 4, "OL": 4, "OD": 8, "OV": 8}
ITEM = bytes.fromhex("FEFF00E0")
ENDLESS = bytes.fromhex("FFFFFFFF")
ITEM_END = bytes.fromhex("FEFF0DE0 00000000")
SEQUENCE_END = bytes.fromhex("FEFFDDE0 00000000")

FILES = [
    *("CT_small.dcm", "MR_small.dcm", "MR_small_implicit.dcm", "MR_small_bigendian.dcm", "MR_small_RLE.dcm"),
    *("693_J2KI.dcm", "ExplVR_BigEnd.dcm", "JPEG2000.dcm", "JPGExtended.dcm", "UN_sequence.dcm"),
    *("examples_overlay.dcm", "examples_palette.dcm", "examples_ybr_color.dcm", "image_dfl.dcm"),
    *("empty_charset_LEI.dcm", "nested_priv_SQ.dcm", "priv_SQ.dcm", "reportsi.dcm", "rtdose.dcm", "rtplan.dcm"),
    *("rtdose_expb.dcm", "test-SR.dcm", "waveform_ecg.dcm", "SC_rgb_small_odd_big_endian.dcm"),
    *("chrArab.dcm", "chrFren.dcm", "chrFrenMulti.dcm", "chrGerm.dcm", "chrGreek.dcm", "chrH31.dcm"),
    *("chrH32.dcm", "chrHbrw.dcm", "chrI2.dcm", "chrJapMulti.dcm", "chrJapMultiExplicitIR6.dcm"),
    *("chrKoreanMulti.dcm", "chrRuss.dcm", "chrSQEncoding.dcm", "chrSQEncoding1.dcm", "chrX1.dcm", "chrX2.dcm"),
]


def as_here(attributes: dict[str, Any], *, big_endian: bool = False) -> dict[str, Any]:
    """Return pydicom's JSON with every difference that is meant; whatever else differs is a fault."""
    result = {}
    for name, attribute in attributes.items():
        vr = str(attribute["vr"])
        values = attribute.get("Value")
        inline = attribute.get("InlineBinary")
        # Group lengths are left out (PS3.18 §F.2.2), whatever VR pydicom finds for them.
        if name.endswith("0000"):
            continue
        # Encapsulated pixel data has no place in JSON but at its URI.
        if name == "7FE00010" and inline and b64decode(inline[:8]).startswith(ITEM):
            continue
        # JSON does not tell the transfer syntax: binary values are Little Endian.
        if inline and big_endian and vr in WORDS:
            data = b64decode(inline)
            step = WORDS[vr]
            words = (data[at : at + step][::-1] for at in range(0, len(data), step))
            inline = b64encode(b"".join(words)).decode()
        # The first value of a LUT Descriptor is unsigned whatever its VR (PS3.3 §C.11.1.1).
        if values and name in ("00281101", "00281102", "00281103", "00283002"):
            values = [values[0] & 0xFFFF, *values[1:]]
        if values is not None:
            values = list(_values(vr, values, big_endian=big_endian))
        # An attribute without values has no array (§F.2.5).
        content = {"InlineBinary": inline} if inline else {"Value": values} if values else {}
        result[name] = {"vr": vr, **content}
    return result


def _values(vr: str, values: list[Any], *, big_endian: bool) -> Iterator[Any]:
    for value in values:
        if vr == "SQ":
            yield as_here(value, big_endian=big_endian)
        elif vr == "PN":
            # Empty component groups are left out (§F.2.2).
            yield {name: group for name, group in value.items() if group} or None
        elif vr in ("UC", "LT", "ST", "UT", "UR"):
            yield value or None
        elif isinstance(value, str):
            # Spaces are padding on both sides and in each value (PS3.5 §6.2); the empty value is null (§F.2.5).
            yield value.strip(" \0") or None
        elif isinstance(value, float) and not math.isfinite(value):
            # JSON has no such numbers.
            yield "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
        else:
            yield value


def with_numbers(attributes: dict[str, Any]) -> dict[str, Any]:
    """Return our JSON with those DS as numbers that are strings so that no digit is lost (§F.2.3)."""
    result = {}
    for name, attribute in attributes.items():
        values = attribute.get("Value")
        if attribute["vr"] == "SQ" and values:
            attribute = {**attribute, "Value": [with_numbers(item) for item in values]}
        elif attribute["vr"] == "DS" and values:
            attribute = {**attribute, "Value": [float(value) if isinstance(value, str) else value for value in values]}
        result[name] = attribute
    return result


def encoded(data_set: Dataset, transfer_syntax_uid: str) -> bytes:
    buffer = DicomBytesIO()
    buffer.is_implicit_VR = transfer_syntax_uid == IMPLICIT
    buffer.is_little_endian = transfer_syntax_uid != BIG_ENDIAN
    write_dataset(buffer, data_set)
    return buffer.getvalue()


def by_pydicom(data: bytes, transfer_syntax_uid: str) -> dict[str, Any]:
    little_endian = transfer_syntax_uid != BIG_ENDIAN
    read = read_dataset(io.BytesIO(data), transfer_syntax_uid == IMPLICIT, little_endian)
    return as_here(read.to_json_dict(), big_endian=not little_endian)


def split(path: Path) -> tuple[Dataset, bytes, str]:
    """Return pydicom's reading of a file, and the data set's bytes with their transfer syntax."""
    file = io.BytesIO(path.read_bytes())
    read_preamble(file, True)
    meta = _read_file_meta_info(file)
    uid = str(meta.TransferSyntaxUID)
    data = file.read()
    return pydicom.dcmread(path), inflate(data) if uid == DEFLATED else data, uid


def shipped(name: str) -> Path:
    """Return one of the files that pydicom brings along."""
    charset_files: list[str] = get_charset_files(name)
    return Path(charset_files[0] if charset_files else get_testdata_file(name, download=False))


def corpus_files() -> list[Path]:
    """Return the well-formed Part 10 files of the corpus, none when it is not there."""
    paths = sorted((CORPUS / "wellformed").glob("*.dcm")) if CORPUS is not None else []
    return [path for path in paths if path.read_bytes()[128:132] == b"DICM"]


@pytest.fixture
def quiet_pydicom() -> Iterator[None]:
    mode = config.settings.reading_validation_mode
    config.settings.reading_validation_mode = config.IGNORE
    yield
    config.settings.reading_validation_mode = mode


def short(name: str, vr: bytes, value: bytes) -> bytes:
    tag = int(name, 16)
    return pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr, len(value)) + value


def long(name: str, vr: bytes, value: bytes, length: int | None = None) -> bytes:
    tag = int(name, 16)
    return pack("<HH2s2xL", tag >> 16, tag & 0xFFFF, vr, len(value) if length is None else length) + value


def implicit(name: str, value: bytes, length: int | None = None) -> bytes:
    tag = int(name, 16)
    return pack("<HHL", tag >> 16, tag & 0xFFFF, len(value) if length is None else length) + value


def endless_sequence(name: str, items: bytes, vr: bytes = b"SQ") -> bytes:
    return long(name, vr, ITEM + ENDLESS + items + ITEM_END + SEQUENCE_END, 0xFFFFFFFF)


def one(name: str, vr: bytes, value: bytes) -> dict[str, Any]:
    """Return what one explicit element becomes."""
    make = long if vr.decode() in {"OB", "OD", "OF", "OL", "OV", "OW", "SV", "UC", "UN", "UR", "UT", "UV"} else short
    attribute: dict[str, Any] = to_json(make(name, vr, value), EXPLICIT)[name]
    return attribute


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


# Structure


def test_group_lengths_and_file_meta_information_are_left_out() -> None:
    data = short("00020000", b"UL", bytes(4)) + short("00020010", b"UI", b"1.2\0")
    data += short("00080000", b"UL", bytes(4)) + short("00090000", b"UL", bytes(4)) + short("00100020", b"LO", b"1")
    assert list(to_json(data, EXPLICIT)) == ["00100020"]


def test_attributes_are_in_order_whatever_the_bytes_are() -> None:
    data = short("00100020", b"LO", b"1") + endless_sequence("00081140", b"") + short("00080060", b"CS", b"MR")
    assert list(to_json(data, EXPLICIT)) == ["00080060", "00081140", "00100020"]


def test_of_two_elements_with_one_tag_the_last_counts() -> None:
    assert to_json(short("00100020", b"LO", b"1") + short("00100020", b"LO", b"2"), EXPLICIT) == {
        "00100020": {"vr": "LO", "Value": ["2"]}
    }


@pytest.mark.parametrize(
    ("data", "sequence"),
    [
        (long("00081140", b"SQ", b""), {"vr": "SQ"}),
        (long("00081140", b"SQ", SEQUENCE_END, 0xFFFFFFFF), {"vr": "SQ"}),
        (long("00081140", b"SQ", SEQUENCE_END), {"vr": "SQ"}),
        (long("00081140", b"SQ", ITEM + bytes(4)), {"vr": "SQ", "Value": [{}]}),
        (endless_sequence("00081140", b""), {"vr": "SQ", "Value": [{}]}),
        (
            long("00081140", b"SQ", ITEM + pack("<L", 18) + short("00080100", b"SH", b"ab") + ITEM_END),
            {"vr": "SQ", "Value": [{"00080100": {"vr": "SH", "Value": ["ab"]}}]},
        ),
    ],
    ids=["empty", "empty endless", "superfluous end", "empty item", "endless empty item", "superfluous item end"],
)
def test_sequences_and_items_may_be_empty_or_end_in_any_way(data: bytes, sequence: dict[str, Any]) -> None:
    assert to_json(data, EXPLICIT) == {"00081140": sequence}


@pytest.mark.parametrize("vr", [b"SQ", b"UN"])
@pytest.mark.parametrize("inside", [implicit("00080100", b"ab"), short("00080100", b"SH", b"ab")])
def test_items_may_be_implicit_in_an_explicit_data_set(vr: bytes, inside: bytes) -> None:
    expected = {"00081140": {"vr": "SQ", "Value": [{"00080100": {"vr": "SH", "Value": ["ab"]}}]}}
    assert to_json(endless_sequence("00081140", inside, vr), EXPLICIT) == expected
    assert to_json(long("00081140", vr, ITEM + pack("<L", 10) + inside), EXPLICIT) == expected


def test_un_is_what_the_dictionaries_know_and_little_endian_everywhere() -> None:
    def un(group: int, element: int, value: bytes) -> bytes:
        return pack(">HH2s2xL", group, element, b"UN", len(value)) + value

    data = un(0x0019, 0x0010, b"GEMS_ACQU_01") + un(0x0019, 0x1011, pack("<h", -2)) + un(0x0019, 0x10FE, b"\1\2")
    data += un(0x0028, 0x0010, pack("<H", 512)) + un(0x0028, 0x0103, pack("<H", 1)) + un(0x0028, 0x0106, pack("<h", -3))
    data += un(0x7FE0, 0x0010, b"\1\2")
    assert to_json(data, BIG_ENDIAN) == {
        "00190010": {"vr": "LO", "Value": ["GEMS_ACQU_01"]},
        "00191011": {"vr": "SS", "Value": [-2]},
        "001910FE": {"vr": "UN", "InlineBinary": "AQI="},
        "00280010": {"vr": "US", "Value": [512]},
        "00280103": {"vr": "US", "Value": [1]},
        "00280106": {"vr": "SS", "Value": [-3]},
        "7FE00010": {"vr": "OW", "InlineBinary": "AQI="},
    }


def test_un_that_does_not_fit_the_dictionary_s_vr_is_un() -> None:
    assert one("00280010", b"UN", b"abc") == {"vr": "UN", "InlineBinary": "YWJj"}


def test_a_private_creator_that_is_no_text_is_none() -> None:
    data = short("00190010", b"US", b"\1\0") + long("00191011", b"UN", b"\1\2")
    assert to_json(data, EXPLICIT)["00191011"] == {"vr": "UN", "InlineBinary": "AQI="}


def test_un_that_is_no_sequence_after_all_is_un() -> None:
    assert to_json(long("00081140", b"UN", b"none"), EXPLICIT) == {"00081140": {"vr": "UN", "InlineBinary": "bm9uZQ=="}}


def test_pixel_representation_is_that_of_the_nearest_data_set() -> None:
    item = implicit("00280106", b"\xff\xff")
    signed = implicit("00280103", b"\1\0") + item
    items = b"".join(ITEM + pack("<L", len(content)) + content for content in (item, signed))
    data = implicit("00081140", items) + implicit("00280103", b"\0\0") + item
    shown = to_json(data, IMPLICIT)
    assert [attribute["00280106"] for attribute in (*shown["00081140"]["Value"], shown)] == [
        {"vr": "US", "Value": [65535]},
        {"vr": "SS", "Value": [-1]},
        {"vr": "US", "Value": [65535]},
    ]


def test_without_pixel_representation_values_are_unsigned() -> None:
    assert to_json(implicit("00280106", b"\xff\xff"), IMPLICIT)["00280106"] == {"vr": "US", "Value": [65535]}


# Bulk data


def recording(uri: str | None) -> tuple[list[Any], Callable[..., str | None]]:
    asked: list[Any] = []

    def bulk_data(*about: Any) -> str | None:
        asked.append(about)
        return uri

    return asked, bulk_data


def test_long_values_of_the_vrs_that_may_be_bulk_get_their_uri() -> None:
    asked, bulk_data = recording("/bulk")
    item = long("0040A160", b"UT", bytes(9)) + long("00420011", b"OB", bytes(9)) + short("00720062", b"SH", bytes(9))
    data = endless_sequence("00081140", item) + short("00283006", b"US", bytes(8)) + long("7FE00010", b"OW", bytes(10))
    shown = to_json(data, EXPLICIT, bulk_data=bulk_data, bulk_threshold=8)
    assert asked == [
        (("00081140", 0, "0040A160"), "UT", 9),
        (("00081140", 0, "00420011"), "OB", 9),
        (("7FE00010",), "OW", 10),
    ]
    assert shown["00081140"]["Value"][0]["00420011"] == {"vr": "OB", "BulkDataURI": "/bulk"}
    assert shown["00283006"] == {"vr": "US", "Value": [0] * 4}
    assert shown["7FE00010"] == {"vr": "OW", "BulkDataURI": "/bulk"}


def test_an_ambiguous_vr_is_resolved_before_its_uri_is_asked_for() -> None:
    asked, bulk_data = recording("/bulk")
    data = implicit("00283002", pack("<3H", 256, 0, 16)) + implicit("00283006", bytes(512))
    shown = to_json(data, IMPLICIT, bulk_data=bulk_data, bulk_threshold=8)
    assert asked == [(("00283006",), "OW", 512)]
    assert shown["00283006"] == {"vr": "OW", "BulkDataURI": "/bulk"}


def test_a_long_value_without_uri_is_inline() -> None:
    _, bulk_data = recording(None)
    data = long("00420011", b"OB", bytes(3)) + long("00189004", b"UT", b"text")
    assert to_json(data, EXPLICIT, bulk_data=bulk_data, bulk_threshold=2) == {
        "00189004": {"vr": "UT", "Value": ["text"]},
        "00420011": {"vr": "OB", "InlineBinary": "AAAA"},
    }


FRAGMENTS = ITEM + bytes(4) + ITEM + pack("<L", 4) + b"\xff\xd8\xff\xd9" + SEQUENCE_END


@pytest.mark.parametrize("vr", [b"OB", b"OW", b"UN"])
@pytest.mark.parametrize(
    ("uri", "shown"), [("/pixels", {"7FE00010": {"vr": "OB", "BulkDataURI": "/pixels"}}), (None, {})]
)
def test_encapsulated_pixel_data_is_at_its_uri_or_nowhere(vr: bytes, uri: str | None, shown: dict[str, Any]) -> None:
    asked, bulk_data = recording(uri)
    data = long("7FE00010", vr, FRAGMENTS, 0xFFFFFFFF)
    assert to_json(data, EXPLICIT, bulk_data=bulk_data) == shown
    assert asked == [(("7FE00010",), "OB", len(FRAGMENTS))]
    assert to_json(data, EXPLICIT) == {}


# Malformed data sets


@pytest.mark.parametrize(
    ("data", "detail"),
    [
        (short("00100020", b"LO", b"1234")[:-1], "4 bytes announced, 3 there, (0010,0020) at byte 0"),
        (ITEM_END, "a delimiter among data elements, (FFFE,E00D) at byte 0"),
        (endless_sequence("00081140", SEQUENCE_END), "a delimiter among data elements, (FFFE,E0DD) at byte 20"),
        (
            long("00081140", b"SQ", ITEM + pack("<L", 8) + ITEM_END[:4] + b"\1\0\0\0"),
            "1 bytes announced, 0 there, (FFFE,E00D) at byte 20",
        ),
        (long("00081140", b"SQ", implicit("00100020", b"")), "an item was expected, (0010,0020) at byte 12"),
        (long("00081140", b"SQ", ITEM + ENDLESS, 0xFFFFFFFF), "the item does not end, (FFFE,E00D) at byte 20"),
        (long("00081140", b"SQ", b"", 0xFFFFFFFF), "the sequence does not end, (FFFE,E0DD) at byte 12"),
        (long("00080000", b"SQ", b"", 0xFFFFFFFF), "a sequence that belongs into no data set, (0008,0000)"),
    ],
)
def test_a_malformed_data_set_is_refused_with_tag_and_offset(data: bytes, detail: str) -> None:
    with pytest.raises(PeerError) as raised:
        to_json(data, EXPLICIT)
    assert detail in raised.value.detail


def test_sequences_may_nest_as_deep_as_the_limit_and_be_serialised() -> None:
    data = b""
    for _ in range(MAX_NESTING_DEPTH):
        data = endless_sequence("00081140", data)
    assert orjson.dumps(to_json(data, EXPLICIT)).count(b"00081140") == MAX_NESTING_DEPTH


@pytest.mark.parametrize("depth", [MAX_NESTING_DEPTH + 1, 10_000])
def test_sequences_beyond_the_limit_are_refused_by_its_name(depth: int) -> None:
    data = (long("00081140", b"SQ", b"", 0xFFFFFFFF) + ITEM + ENDLESS) * depth
    with pytest.raises(PeerError, match="MAX_NESTING_DEPTH"):
        to_json(data, EXPLICIT)


tags = st.sampled_from(
    [
        *("00080000", "00080005", "00081140", "00100010", "00190010", "00191011", "00280103", "00280106"),
        *("00283006", "7FE00010", "FFFEE000", "FFFEE00D", "FFFEE0DD"),
    ]
)
vrs = st.sampled_from([vr.encode() for vr in pydicom.valuerep.STANDARD_VR] + [b"??", b"ZZ", b"\0\0"])
lengths = st.one_of(st.none(), st.just(0xFFFFFFFF), st.integers(0, 64))
explicit_elements = st.builds(long, tags, vrs, st.binary(max_size=24), lengths)
short_elements = st.builds(short, tags, vrs, st.binary(max_size=24))
implicit_elements = st.builds(implicit, tags, st.binary(max_size=24), lengths)
hostile = st.lists(
    st.one_of(explicit_elements, short_elements, implicit_elements, st.sampled_from([ITEM_END, SEQUENCE_END])),
    max_size=8,
).map(b"".join)


@given(st.one_of(st.binary(max_size=64), hostile), st.sampled_from(ENCODINGS), st.booleans())
def test_any_bytes_become_json_or_a_peer_error(data: bytes, uid: str, bulk: bool) -> None:
    try:
        shown = to_json(data, uid, bulk_data=(lambda *_: "/uri") if bulk else None, bulk_threshold=4)
    except PeerError:
        return
    assert orjson.loads(orjson.dumps(shown)) == shown


@pytest.mark.parametrize("make", [bytearray, memoryview])
def test_any_buffer_can_be_read(make: type) -> None:
    assert to_json(make(short("00100020", b"LO", b"1")), EXPLICIT)["00100020"]["Value"] == ["1"]
