from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset

from harmonygw.errors import NotAcceptable
from harmonygw.rendering.frame_attributes import FrameAttributes
from harmonygw.rendering.lookup_tables import MAX_ENTRIES, LookupTable, lut_of, palette_of
from tests.rendering.images import EXPLICIT, attributes_of, data_set

NAMES = ("Red", "Green", "Blue")


def words(*values: int) -> bytes:
    return np.array(values, "<u2").tobytes()


def lut(descriptor: list[int], data: bytes, lowest: float = 0) -> LookupTable:
    item = data_set(LUTDescriptor=descriptor, LUTData=data)
    return lut_of(FrameAttributes(Dataset(), 1, transfer_syntax_uid=EXPLICIT), item, lowest=lowest)


def palette(descriptor: list[int], data: bytes, *, segmented: bool = False, signed: bool = False) -> list[list[int]]:
    content: dict[str, Any] = {}
    for name in NAMES:
        content[f"{name}PaletteColorLookupTableDescriptor"] = descriptor
        content[f"{'Segmented' if segmented else ''}{name}PaletteColorLookupTableData"] = data
    tables = palette_of(attributes_of(**content), signed=signed)
    return [table.entries.tolist() for table in tables]


def applied(table: LookupTable, *values: float) -> list[int]:
    return table.apply(np.array(values)).tolist()


def test_values_outside_get_the_first_and_the_last_entry() -> None:
    table = lut([3, 100, 16], words(7, 8, 9))
    assert applied(table, -5, 100, 101, 102, 103, 1e9) == [7, 7, 8, 9, 9, 9]


def test_values_are_rounded_to_entries() -> None:
    assert applied(lut([3, 0, 16], words(7, 8, 9)), 0.4, 0.6, 1.6) == [7, 8, 9]


def test_a_count_of_zero_is_65536() -> None:
    table = lut([0, 0, 16], np.arange(65536).astype("<u2").tobytes())
    assert len(table.entries) == MAX_ENTRIES
    assert applied(table, 65535) == [65535]


@pytest.mark.parametrize(("lowest", "first"), [(0.0, 64512), (-1024.0, -1024)])
def test_the_first_value_is_signed_when_values_are(lowest: float, first: int) -> None:
    assert lut([2, 64512, 12], words(0, 4095), lowest).first == first


def test_entries_of_eight_bits_may_be_packed_or_not() -> None:
    assert lut([4, 0, 8], bytes([1, 2, 3, 4])).entries.tolist() == [1, 2, 3, 4]
    assert lut([4, 0, 8], words(1, 2, 3, 4)).entries.tolist() == [1, 2, 3, 4]


def test_entries_that_need_more_bits_than_promised_are_believed() -> None:
    assert lut([2, 0, 8], words(0, 4095)).bits == 12
    assert lut([2, 0, 0], words(0, 0)).bits == 1
    assert lut([2, 0, 99], words(0, 1)).bits == 16


@pytest.mark.parametrize("item", [data_set(), data_set(LUTDescriptor=[2, 0, 16]), data_set(LUTData=words(1))])
def test_an_incomplete_lut_is_not_acceptable(item: Dataset) -> None:
    with pytest.raises(NotAcceptable, match="LUT of the object is incomplete"):
        lut_of(FrameAttributes(Dataset(), 1, transfer_syntax_uid=EXPLICIT), item, lowest=0)


def test_palettes_of_sixteen_bits_keep_them() -> None:
    assert palette([2, 0, 16], words(256, 65535)) == [[256, 65535]] * 3


def test_palettes_of_eight_bits_may_be_packed_or_not() -> None:
    assert palette([2, 0, 8], bytes([3, 200])) == [[3, 200]] * 3
    assert palette([2, 0, 8], words(3, 200)) == [[3, 200]] * 3


def test_a_palette_says_how_many_bits_its_entries_have() -> None:
    def bits(descriptor: list[int], data: bytes) -> int:
        content: dict[str, Any] = {}
        for name in NAMES:
            content[f"{name}PaletteColorLookupTableDescriptor"] = descriptor
            content[f"{name}PaletteColorLookupTableData"] = data
        return palette_of(attributes_of(**content), signed=False)[0].bits

    assert bits([2, 0, 8], words(3, 200)) == 8
    assert bits([2, 0, 8], words(3, 20000)) == 16
    assert bits([2, 0, 16], words(3, 200)) == 16


def test_segments_are_expanded() -> None:
    # Discrete 10, 20; linear in four steps to 60; indirect, the one segment at word 0 once more.
    segments = words(0, 2, 10, 20, 1, 4, 60, 2, 1, 0, 0)
    assert palette([8, 0, 16], segments, segmented=True) == [[10, 20, 30, 40, 50, 60, 10, 20]] * 3


def test_segments_of_eight_bits_are_expanded() -> None:
    segments = bytes([0, 2, 10, 20, 1, 4, 60, 2, 1, 0, 0, 0, 0, 0])
    assert palette([8, 0, 8], segments, segmented=True) == [[10, 20, 30, 40, 50, 60, 10, 20]] * 3


def test_a_linear_segment_at_the_beginning_comes_from_black() -> None:
    assert palette([4, 0, 16], words(1, 4, 400), segmented=True) == [[100, 200, 300, 400]] * 3


def test_segments_stop_at_the_descriptors_count() -> None:
    assert palette([3, 0, 16], words(1, 65535, 65535), segmented=True) == [[1, 2, 3]] * 3


def test_segments_that_repeat_one_another_stop_at_the_descriptors_count() -> None:
    segments = words(0, 1, 5, 2, 65535, 0, 0)
    assert palette([4, 0, 16], segments, segmented=True) == [[5, 5]] * 3
    # From word 0, each of many segments: a discrete one and then an indirect one, which is not followed.
    assert palette([2, 0, 16], words(0, 1, 5, 2, 1, 0, 0, 2, 1, 0, 0), segmented=True) == [[5, 5]] * 3


def test_an_indirect_segment_beyond_the_end_adds_nothing() -> None:
    assert palette([4, 0, 16], words(0, 1, 5, 2, 9, 100, 0), segmented=True) == [[5]] * 3


@pytest.mark.parametrize("segments", [words(7, 1, 5), words(1, 4)])
def test_malformed_segments_are_not_acceptable(segments: bytes) -> None:
    with pytest.raises(NotAcceptable, match="malformed"):
        palette([4, 0, 16], segments, segmented=True)


def test_a_palette_without_entries_is_not_acceptable() -> None:
    with pytest.raises(NotAcceptable, match="empty"):
        palette([4, 0, 16], words(0, 0), segmented=True)


def test_an_incomplete_palette_is_not_acceptable() -> None:
    with pytest.raises(NotAcceptable, match="incomplete"):
        palette_of(attributes_of(RedPaletteColorLookupTableDescriptor=[2, 0, 8]), signed=False)


def test_the_first_index_of_a_palette_is_signed_when_pixels_are() -> None:
    content: dict[str, Any] = {"PixelRepresentation": 0}
    for name in NAMES:
        content[f"{name}PaletteColorLookupTableDescriptor"] = [2, 65526, 16]
        content[f"{name}PaletteColorLookupTableData"] = words(1, 2)
    assert palette_of(attributes_of(**content), signed=True)[0].first == -10
    assert palette_of(attributes_of(**content), signed=False)[0].first == 65526
