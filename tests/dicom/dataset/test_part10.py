"""Preamble and file meta information, byte for byte as pydicom writes them."""

from io import BytesIO
from pathlib import Path
from struct import pack

import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import FileMetaDataset
from pydicom.filewriter import write_file_meta_info

from harmonygw.dicom.dataset.implementation import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from harmonygw.dicom.dataset.part10 import (
    MAX_FILE_META_LENGTH,
    FileMeta,
    decode_uid,
    encode_ae_title,
    encode_uid,
    file_header,
    read_file_meta,
)
from harmonygw.errors import BadRequest, TooLarge

CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
DEFLATED = "1.2.840.10008.1.2.1.99"
START = bytes(128) + b"DICM"


def by_pydicom(instance: str, source: str, sending: str) -> bytes:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CT
    meta.MediaStorageSOPInstanceUID = instance
    meta.TransferSyntaxUID = EXPLICIT
    meta.ImplementationClassUID = IMPLEMENTATION_CLASS_UID
    meta.ImplementationVersionName = IMPLEMENTATION_VERSION_NAME
    if source:
        meta.SourceApplicationEntityTitle = source
    if sending:
        meta.SendingApplicationEntityTitle = sending
    written = BytesIO()
    write_file_meta_info(written, meta)
    return START + written.getvalue()


@pytest.mark.parametrize("instance", ["1.2.3", "1.2.34"])
@pytest.mark.parametrize(("source", "sending"), [("", ""), ("HARMONYGW", "PACS"), ("EVEN", ""), ("", "ODD")])
def test_the_header_is_what_pydicom_writes(instance: str, source: str, sending: str) -> None:
    header = file_header(CT, instance, EXPLICIT, source_ae_title=source, sending_ae_title=sending)
    assert header == by_pydicom(instance, source, sending)


def test_the_header_is_read_again_with_the_offset_of_the_data_set() -> None:
    header = file_header(CT, "1.2.3", EXPLICIT, source_ae_title="A")
    expected = FileMeta(EXPLICIT, CT, "1.2.3", len(header))
    assert read_file_meta(header) == expected
    assert read_file_meta(memoryview(header + b"\x08\0\x05\0")) == expected
    assert [read_file_meta(header[:length]) for length in range(len(header))] == [None] * len(header)


@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small.dcm", "JPEG2000.dcm", "image_dfl.dcm", "rtplan.dcm"])
def test_files_of_other_makers_are_read(name: str) -> None:
    path = get_testdata_file(name, download=False)
    meta = pydicom.dcmread(path, stop_before_pixels=True).file_meta
    assert read_file_meta(Path(path).read_bytes()) == FileMeta(
        meta.TransferSyntaxUID,
        meta.MediaStorageSOPClassUID,
        meta.MediaStorageSOPInstanceUID,
        len(START) + 12 + meta.FileMetaInformationGroupLength,
    )


def ui(element: int, uid: str) -> bytes:
    value = uid.encode() + b"\0" * (len(uid) % 2)
    return pack("<HH2sH", 2, element, b"UI", len(value)) + value


def private_information(length: int) -> bytes:
    return pack("<HH2sHI", 2, 0x0102, b"OB", 0, length) + bytes(length)


@pytest.mark.parametrize(
    "group_length", [b"", pack("<HH2sHI", 2, 0, b"UL", 4, 5), pack("<HH2sHI", 2, 0, b"UL", 4, 9999)]
)
def test_a_missing_or_wrong_group_length_is_made_up_for(group_length: bytes) -> None:
    meta = START + group_length + ui(0x0002, CT) + ui(0x0010, EXPLICIT)
    assert read_file_meta(meta) is None
    assert read_file_meta(meta + pack("<HH2sH", 8, 5, b"CS", 0)) == FileMeta(EXPLICIT, CT, "", len(meta))


def test_a_right_group_length_ends_it_even_where_deflated_bytes_look_like_its_group() -> None:
    group_length = pack("<HH2sHI", 2, 0, b"UL", 4, len(ui(0x0010, DEFLATED)))
    meta = START + group_length + ui(0x0010, DEFLATED)
    assert read_file_meta(meta + b"\2\0" * 10) == FileMeta(DEFLATED, "", "", len(meta))


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (bytes(132), "not a DICOM file"),
        (START + ui(0x0002, CT) + pack("<HHI", 8, 5, 0), "TransferSyntaxUID .* is missing"),
        (START + pack("<HHI", 2, 0x0010, 20) + bytes(20), r"\(0002,0010\) at byte 132 has no VR"),
        (START + ui(0x0010, "../1") + pack("<HHI", 8, 5, 0), r"\(0002,0010\) is not a UID"),
        (START + ui(0x0010, EXPLICIT) + ui(0x0003, "1/2") + pack("<HHI", 8, 5, 0), r"\(0002,0003\) is not a UID"),
    ],
)
def test_what_is_not_a_dicom_file_is_refused(data: bytes, complaint: str) -> None:
    with pytest.raises(BadRequest, match=complaint):
        read_file_meta(data)


def test_file_meta_information_may_be_as_long_as_the_limit_and_no_longer() -> None:
    room = MAX_FILE_META_LENGTH - len(ui(0x0010, EXPLICIT)) - 12
    longest = START + ui(0x0010, EXPLICIT) + private_information(room)
    assert read_file_meta(longest + pack("<HHI", 8, 5, 0)) == FileMeta(EXPLICIT, "", "", len(longest))
    with pytest.raises(TooLarge, match="MAX_FILE_META_LENGTH"):
        read_file_meta(START + ui(0x0010, EXPLICIT) + private_information(room + 2)[:12])


@pytest.mark.parametrize("uid", ["1.2.3", "1", "1" * 64, "a-B_1", "2.25.0"])
def test_a_uid_survives_both_directions(uid: str) -> None:
    encoded = encode_uid(uid)
    assert len(encoded) % 2 == 0
    assert decode_uid(encoded) == decode_uid(encoded + b" \0") == uid


@pytest.mark.parametrize(
    "uid", ["", ".", "..", "1..2", "../1", "1/2", "1\\2", "1 2", "1\n", "\x7f", "1" * 65, "é", "1*", '1"']
)
def test_what_a_path_could_not_name_is_no_uid(uid: str) -> None:
    with pytest.raises(BadRequest, match="is not a UID"):
        encode_uid(uid)
    assert decode_uid(uid.encode() + b"\0") is None


@pytest.mark.parametrize("ae_title", ["", "SEVENTEEN_LETTERS", "A\\B", "A\nB", "É"])
def test_what_is_no_ae_title_is_not_encoded(ae_title: str) -> None:
    with pytest.raises(BadRequest, match="is not an AE title"):
        encode_ae_title(ae_title)


def test_an_ae_title_is_padded_with_a_space() -> None:
    assert encode_ae_title("ODD") == b"ODD "
    assert encode_ae_title("SIXTEEN__LETTERS") == b"SIXTEEN__LETTERS"
