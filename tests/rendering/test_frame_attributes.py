import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from harmonygw.errors import NotAcceptable
from harmonygw.rendering.frame_attributes import FrameAttributes, items_of, numbers_of, read_attributes, value_of
from tests.rendering.images import BIG_ENDIAN, EXPLICIT, IMPLICIT, attributes_of, data_set, encoded


def window(centre: str) -> Dataset:
    return data_set(FrameVOILUTSequence=[data_set(WindowCenter=centre, WindowWidth="10")])


def test_what_rendering_does_not_need_is_not_kept() -> None:
    read = read_attributes(encoded(data_set(InstitutionName="Hospital", Modality="CT")), EXPLICIT)
    assert [element.keyword for element in read] == ["Modality"]


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG_ENDIAN])
def test_every_uncompressed_transfer_syntax_is_read(syntax: str) -> None:
    attributes = attributes_of(syntax=syntax, PixelRepresentation=0, PixelPaddingValue=4000, RescaleSlope="1.5")
    assert attributes.number(attributes.data_set, "RescaleSlope") == 1.5
    assert attributes.words(attributes.data_set, "PixelPaddingValue") == (4000,)


def test_a_data_set_that_cannot_be_read_is_not_acceptable() -> None:
    nested = (b"\x28\x00\x10\x30SQ\0\0" + b"\xff" * 4 + b"\xfe\xff\x00\xe0" + b"\xff" * 4) * 5000
    with pytest.raises(NotAcceptable, match="cannot be read"):
        read_attributes(nested, EXPLICIT)


def test_a_frame_has_its_own_group_before_the_shared_one_before_the_data_set() -> None:
    content = data_set(
        WindowCenter="3",
        SharedFunctionalGroupsSequence=[window("2")],
        PerFrameFunctionalGroupsSequence=[window("1"), data_set(), Dataset()],
    )
    centres = [
        FrameAttributes(content, frame, transfer_syntax_uid=EXPLICIT).group("FrameVOILUTSequence").WindowCenter
        for frame in (1, 2, 4)
    ]
    assert centres == [1, 2, 2]
    plain = FrameAttributes(content, 1, transfer_syntax_uid=EXPLICIT).group("PixelValueTransformationSequence")
    assert plain is content


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG_ENDIAN])
def test_tables_of_words_are_the_same_in_every_byte_order(syntax: str) -> None:
    stored = np.array([1, 258, 65535], ">u2" if syntax == BIG_ENDIAN else "<u2").tobytes()
    attributes = attributes_of(
        syntax=syntax,
        RedPaletteColorLookupTableDescriptor=[3, 0, 16],
        RedPaletteColorLookupTableData=stored,
    )
    assert attributes.words(attributes.data_set, "RedPaletteColorLookupTableData") == (1, 258, 65535)
    octets = attributes.octets(attributes.data_set, "RedPaletteColorLookupTableData")
    assert octets == b"\x01\x00\x02\x01\xff\xff"
    assert attributes.octets(attributes.data_set, "BluePaletteColorLookupTableData") == b""


def test_signed_words_are_given_as_their_bits() -> None:
    attributes = attributes_of(PixelRepresentation=1, PixelPaddingValue=-2000)
    assert attributes.words(attributes.data_set, "PixelPaddingValue") == (63536,)


def test_code_strings_come_in_upper_case_and_the_first_of_several() -> None:
    raw = encoded(data_set(PresentationLUTShape="INVERSE", VOILUTFunction=["SIGMOID", "LINEAR"]))
    read = read_attributes(raw.replace(b"INVERSE", b"inverse"), EXPLICIT)
    attributes = FrameAttributes(read, 1, transfer_syntax_uid=EXPLICIT)
    assert attributes.text(attributes.data_set, "PresentationLUTShape") == "INVERSE"
    assert attributes.text(attributes.data_set, "VOILUTFunction") == "SIGMOID"
    assert attributes.text(attributes.data_set, "BurnedInAnnotation") == ""


def test_what_is_no_number_is_left_out() -> None:
    raw = encoded(data_set(WindowCenter="40")).replace(b"40", b"xx")
    read = read_attributes(raw, EXPLICIT)
    assert numbers_of(read, "WindowCenter") == []
    many = data_set(FrameTimeVector=["0", "33.5"])
    assert numbers_of(many, "FrameTimeVector") == [0.0, 33.5]
    assert FrameAttributes(many, 1, transfer_syntax_uid=EXPLICIT).number(many, "CineRate") is None


def test_a_value_of_the_wrong_length_is_not_there() -> None:
    raw = encoded(data_set(CineRate="9", FloatPixelPaddingValue=1.5))
    read = read_attributes(raw.replace(b"FL\x04\x00\x00\x00\xc0\x3f", b"FL\x02\x00\x00\x00"), EXPLICIT)
    assert value_of(read, "FloatPixelPaddingValue") is None
    assert value_of(read, "CineRate") == 9


def test_numbers_that_are_none_within_a_list_are_left_out() -> None:
    content = data_set(LUTExplanation=["1", "nan", "inf", "a", "2"])
    assert numbers_of(content, "LUTExplanation") == [1.0, 2.0]


def test_a_sequence_that_is_none_has_no_items() -> None:
    assert items_of(data_set(PatientID="1"), "PatientID") == []
    assert items_of(data_set(), "VOILUTSequence") == []
    assert len(items_of(data_set(VOILUTSequence=Sequence([Dataset()])), "VOILUTSequence")) == 1


def test_an_unknown_character_set_does_not_hinder() -> None:
    raw = encoded(data_set(SpecificCharacterSet="ISO_IR 100", Modality="CT")).replace(b"ISO_IR 100", b"UNKNOWN   ")
    assert read_attributes(raw, EXPLICIT).Modality == "CT"
