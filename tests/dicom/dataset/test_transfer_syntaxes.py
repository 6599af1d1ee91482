import pynetdicom  # noqa: F401 (adds what is newer to pydicom's registry)
import pytest
from pydicom._uid_dict import UID_dictionary

from harmonygw.dicom.dataset.transfer_syntaxes import (
    FORBIDDEN_ON_THE_WEB,
    LOSSLESS,
    LOSSY,
    NATIVE,
    TRANSFER_SYNTAXES,
    VIDEO,
    Compression,
    TransferSyntax,
    describe,
)
from tests.dicom.dataset.encoded import BIG_ENDIAN, DEFLATED, EXPLICIT, IMPLICIT, JPEG_BASELINE

NEVER_OF_A_DATA_SET = ("1.2.840.10008.1.2.6", "1.2.840.10008.1.2.7", "1.2.840.10008.1.20")


def test_the_names_are_those_of_the_registry() -> None:
    assert {uid: row.name for uid, row in TRANSFER_SYNTAXES.items()} == {
        uid: entry[0]
        for uid, entry in UID_dictionary.items()
        if entry[1] == "Transfer Syntax" and not uid.startswith(NEVER_OF_A_DATA_SET)
    }


@pytest.mark.parametrize(
    ("uid", "explicit", "little_endian", "deflated"),
    [
        (IMPLICIT, False, True, False),
        (EXPLICIT, True, True, False),
        (DEFLATED, True, True, True),
        (BIG_ENDIAN, True, False, False),
    ],
)
def test_a_native_syntax_says_how_elements_are_encoded(
    uid: str, explicit: bool, little_endian: bool, deflated: bool
) -> None:
    row = describe(uid)
    assert (row.explicit, row.little_endian, row.deflated) == (explicit, little_endian, deflated)
    assert not row.encapsulated
    assert row.lossless
    assert not row.lossy


@pytest.mark.parametrize("number", [57, 58, 65, 66, 70, 80, 90, 92, 110, 201, 202])
def test_lossless_codecs_keep_the_pixels(number: int) -> None:
    row = describe(f"1.2.840.10008.1.2.4.{number}")
    assert row.uid in LOSSLESS
    assert (row.encapsulated, row.lossless, row.lossy, row.video) == (True, True, False, False)


@pytest.mark.parametrize("uid", ["1.2.840.10008.1.2.5", "1.2.840.10008.1.2.1.98", "1.2.840.10008.1.2.8.1"])
def test_frames_without_a_codec_of_their_own_are_lossless(uid: str) -> None:
    assert uid in LOSSLESS
    assert describe(uid).lossless


@pytest.mark.parametrize("number", [50, 51, 52, 53, 54, 55, 56, 59, 60, 61, 62, 63, 64, 81, 91, 93, 111, 112, 203])
def test_lossy_codecs_may_change_the_pixels(number: int) -> None:
    row = describe(f"1.2.840.10008.1.2.4.{number}")
    assert row.uid in LOSSY
    assert (row.encapsulated, row.lossless, row.lossy, row.video) == (True, False, True, False)


@pytest.mark.parametrize("suffix", ["100", "100.1", "101", "102", "103.1", "104", "105", "106.1", "107", "108"])
def test_video_is_lossy(suffix: str) -> None:
    row = describe(f"1.2.840.10008.1.2.4.{suffix}")
    assert row.uid in VIDEO
    assert (row.encapsulated, row.lossless, row.lossy, row.video) == (True, False, True, True)


def test_jpip_has_no_pixels_of_its_own() -> None:
    assert not describe("1.2.840.10008.1.2.4.94").encapsulated
    assert describe("1.2.840.10008.1.2.4.95").deflated
    assert describe("1.2.840.10008.1.2.4.205").compression is Compression.UNKNOWN


def test_the_sets_share_nothing_and_are_in_the_table() -> None:
    sets = (NATIVE, LOSSLESS, LOSSY, VIDEO)
    assert sum(map(len, sets)) == len(frozenset().union(*sets))
    assert frozenset().union(*sets) < TRANSFER_SYNTAXES.keys()


def test_implicit_vr_and_big_endian_are_forbidden_on_the_web() -> None:
    assert frozenset({IMPLICIT, BIG_ENDIAN}) == FORBIDDEN_ON_THE_WEB


def test_an_unknown_syntax_is_taken_for_encapsulated_and_neither_lossless_nor_lossy() -> None:
    row = describe("1.2.3.4")
    assert row == TransferSyntax("1.2.3.4", "1.2.3.4", encapsulated=True, compression=Compression.UNKNOWN)
    assert (row.explicit, row.little_endian, row.lossless, row.lossy) == (True, True, False, False)


def test_a_known_syntax_is_always_the_same_row() -> None:
    assert describe(JPEG_BASELINE) is TRANSFER_SYNTAXES[JPEG_BASELINE]
