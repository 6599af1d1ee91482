from collections.abc import Sequence
from typing import Any

import pytest

from harmonygw.dicom.dataset.json_decoding import from_json
from harmonygw.dicom.dataset.json_streaming import LONGEST_VALUE, Segment, check_vr, written
from harmonygw.dicom.dataset.limits import MAX_NESTING_DEPTH
from harmonygw.errors import BadRequest
from tests.dicom.dataset.encoded import EXPLICIT, JPEG_BASELINE, UNDEFINED, header, read

BULK = bytes(range(256)) * 8
PLACES = {"http://a/1": [Segment(0, 100)], "http://a/2": [Segment(7, 5)], "http://a/3": [Segment(0, 4), Segment(4, 7)]}


def find(uri: str) -> Sequence[Segment]:
    return PLACES.get(uri, [])


def made(data_set: dict[str, Any], **options: Any) -> bytes:
    """The data set with its bulk data in place."""
    pieces = written(data_set, find, **options)
    assert all(pieces)
    return b"".join(
        piece if isinstance(piece, bytes) else BULK[piece.offset : piece.offset + piece.length] for piece in pieces
    )


def bulk(vr: str, uri: str = "http://a/1") -> dict[str, str]:
    return {"vr": vr, "BulkDataURI": uri}


def test_bulk_data_comes_into_its_place_with_even_length() -> None:
    data = made(
        {
            "7FE00010": bulk("OB", "http://a/2"),
            "00080018": {"vr": "UI", "Value": ["1.2.3"]},
            "00420011": bulk("OB"),
            "00204000": bulk("LT", "http://a/2"),
            "00189461": bulk("FL"),
        }
    )
    data_set = read(data, EXPLICIT)
    assert [elem.tag for elem in data_set] == sorted(elem.tag for elem in data_set)
    assert data_set[0x00080005].value == "ISO_IR 192"
    assert data_set.PixelData == BULK[7:12] + b"\0"
    assert data_set.EncapsulatedDocument == BULK[:100]
    assert data.count(header(0x00204000, "LT", 6) + BULK[7:12] + b" ") == 1
    assert header(0x00189461, "FL", 100) + BULK[:100] in data


def test_nothing_between_bulk_data_is_in_more_than_one_piece() -> None:
    pieces = written({"00080018": {"vr": "UI"}, "00420011": bulk("OB"), "7FE00010": bulk("OB", "http://a/2")}, find)
    assert [isinstance(piece, bytes) for piece in pieces] == [True, False, True, False, True]


def test_bulk_data_within_sequences_comes_into_its_place() -> None:
    icon = {"00280010": {"vr": "US", "Value": [8]}, "7FE00010": bulk("OW", "http://a/2")}
    waveform = {"54001010": bulk("OW")}
    data_set = read(
        made(
            {
                "00880200": {"vr": "SQ", "Value": [icon]},
                "54000100": {"vr": "SQ", "Value": [waveform, {}, waveform]},
                "00081140": {"vr": "SQ"},
            }
        ),
        EXPLICIT,
    )
    assert data_set.IconImageSequence[0].PixelData == BULK[7:12] + b"\0"
    assert [item.get("WaveformData") for item in data_set.WaveformSequence] == [BULK[:100], None, BULK[:100]]
    assert "SpecificCharacterSet" not in data_set.WaveformSequence[0]
    assert len(data_set.ReferencedImageSequence) == 0


def test_without_bulk_data_it_is_what_from_json_makes_of_it() -> None:
    data_set = {
        "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Müller^Jörg"}]},
        "00280010": {"vr": "US", "Value": [3]},
        "00090010": {"vr": "LO", "Value": ["MINE"]},
        "00091001": {"vr": "OB", "InlineBinary": "AAEC"},
        "00020010": {"vr": "UI", "Value": ["1.2"]},
        "00080000": {"vr": "UL", "Value": [5]},
    }
    assert made(data_set) == from_json(data_set)


def test_what_a_retrieve_adds_to_metadata_is_not_stored() -> None:
    added = {
        "00083002": {"vr": "UI", "Value": [EXPLICIT]},
        "00081190": {"vr": "UR", "Value": ["http://a"]},
        "00080056": {"vr": "CS", "Value": ["ONLINE"]},
    }
    item = {"00081199": {"vr": "SQ", "Value": [added]}}
    assert made(added) == made({})
    assert read(made(item), EXPLICIT).ReferencedSOPSequence[0].RetrieveURL == "http://a"


def test_frames_become_fragments() -> None:
    data = made({"7FE00010": bulk("OW", "http://a/3")}, encapsulated=True)
    first = bytes.fromhex("FEFF00E0 00000000 FEFF00E0 04000000") + BULK[:4]
    second = bytes.fromhex("FEFF00E0 08000000") + BULK[4:11] + b"\0"
    assert data.endswith(header(0x7FE00010, "OB", UNDEFINED) + first + second + bytes.fromhex("FEFFDDE0 00000000"))
    assert read(data, JPEG_BASELINE)["PixelData"].is_undefined_length


def test_only_the_outermost_pixel_data_has_frames() -> None:
    icon = {"00880200": {"vr": "SQ", "Value": [{"7FE00010": bulk("OB", "http://a/3")}]}}
    with pytest.raises(BadRequest, match="2 parts of the request are this value"):
        made(icon, encapsulated=True)


@pytest.mark.parametrize(
    ("data_set", "what"),
    [
        ({"7FE00010": bulk("OW", "http://b/1")}, r"\(7FE0,0010\) OW: no part of the request .* 'http://b/1'"),
        ({"7FE00010": bulk("OW", "http://a/3")}, "2 parts of the request are this value"),
        ({"7FE00010": {"vr": "OW", "BulkDataURI": 1}}, "a BulkDataURI is a string"),
        ({"7FE00010": {**bulk("OW"), "InlineBinary": "AA=="}}, "a value is given once"),
        ({"00204000": {**bulk("LT"), "Value": ["a"]}}, "a value is given once"),
        ({"00100010": bulk("PN")}, "this VR has no bulk data"),
        ({"00081140": bulk("SQ")}, "this VR has no bulk data"),
        ({"00081140": {"vr": "SQ", "Value": {"a": 1}}}, "an item is an object"),
        ({"00081140": {"vr": "SQ", "Value": [None]}}, "an item is an object"),
        ({"0010": {"vr": "SQ"}}, "not a tag"),
        ({"00100010": {"vr": "XX"}}, "none of the VRs"),
        ({"00280010": {"vr": "LO", "Value": ["3"]}}, r"\(0028,0010\) has VR US, not LO"),
        ({"00280010": {"vr": "US", "Value": [70000]}}, r"^\(0028,0010\) US: its value cannot be encoded$"),
        ({"00100010": {"vr": "PN", "Value": ["Doe\\Jane"]}}, r"^\(0010,0010\) PN: its value cannot be encoded$"),
    ],
)
def test_what_cannot_be_written_is_refused(data_set: dict[str, Any], what: str) -> None:
    with pytest.raises(BadRequest, match=what):
        made(data_set)


def test_a_value_is_no_longer_than_its_length_can_say() -> None:
    def long(uri: str) -> list[Segment]:
        return [Segment(0, int(uri))]

    assert written({"7FE00010": bulk("OW", str(LONGEST_VALUE))}, long)[1] == Segment(0, LONGEST_VALUE)
    with pytest.raises(BadRequest, match=f"{LONGEST_VALUE + 1} bytes are more than"):
        written({"7FE00010": bulk("OW", str(LONGEST_VALUE + 1))}, long)
    with pytest.raises(BadRequest, match="a fragment has at most"):
        written({"7FE00010": bulk("OB", str(LONGEST_VALUE + 1))}, long, encapsulated=True)
    with pytest.raises(BadRequest, match=r"\(0020,4000\) LT: 70000 bytes"):
        written({"00204000": bulk("LT", "70000")}, long)


def test_sequences_have_a_limit() -> None:
    def nested(depth: int) -> dict[str, Any]:
        data_set: dict[str, Any] = {"7FE00010": bulk("OB")}
        for _ in range(depth):
            data_set = {"00081140": {"vr": "SQ", "Value": [data_set]}}
        return data_set

    assert made(nested(MAX_NESTING_DEPTH))
    with pytest.raises(BadRequest, match="MAX_NESTING_DEPTH"):
        made(nested(MAX_NESTING_DEPTH + 1))


@pytest.mark.parametrize(
    ("tag", "vr"),
    [
        (0x00100010, "PN"),
        (0x00080050, "LO"),
        (0x7FE00010, "OB"),
        (0x7FE00010, "OW"),
        (0x00280106, "US"),
        (0x00280106, "SS"),
        (0x00280010, "UN"),
        (0x00091001, "FD"),
        (0x60003000, "OB"),
        (0x0018FFFF, "UL"),
    ],
)
def test_a_vr_that_is_encoded_like_the_dictionary_s_passes(tag: int, vr: str) -> None:
    check_vr(tag, vr)


@pytest.mark.parametrize(
    ("tag", "vr"),
    [(0x00100010, "US"), (0x00280010, "UL"), (0x00081140, "LO"), (0x00100020, "SQ"), (0x7FE00010, "UT")],
)
def test_a_vr_that_is_encoded_otherwise_is_refused(tag: int, vr: str) -> None:
    with pytest.raises(BadRequest, match=f"not {vr}"):
        check_vr(tag, vr)


@pytest.mark.parametrize(
    ("tag", "attribute"),
    [
        ("00100010", {"vr": "PN", "Value": [{"Alphabetic": "M\ufffdller"}]}),
        ("00081030", {"vr": "LO", "Value": ["Thorax", "\ufffd"]}),
        ("00080050", {"vr": "SH", "Value": ["\ufffd"]}),
    ],
)
def test_what_could_not_be_decoded_is_not_written(tag: str, attribute: dict[str, Any]) -> None:
    with pytest.raises(BadRequest, match="cannot be encoded"):
        made({tag: attribute})
    with pytest.raises(BadRequest, match="cannot be encoded"):
        made({"00082218": {"vr": "SQ", "Value": [{tag: attribute}]}})
    assert from_json({tag: attribute}, EXPLICIT, character_set=("ISO_IR 192",)).count("\ufffd".encode()) == 1
