"""The attributes that rendering needs, as they hold for one frame (PS3.3 §C.7.6.16)."""

import struct
import warnings
from collections.abc import Sequence
from io import BytesIO
from typing import Any, Final

from pydicom.config import disable_value_validation
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset

from harmonygw.dicom.dataset.transfer_syntaxes import describe
from harmonygw.errors import NotAcceptable

_CHANNELS: Final = ("Red", "Green", "Blue")

KEYWORDS: Final = (
    "SpecificCharacterSet",
    "SOPClassUID",
    "StudyDate",
    "Modality",
    "RecommendedDisplayFrameRate",
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "CineRate",
    "FrameTime",
    "FrameTimeVector",
    "SeriesNumber",
    "InstanceNumber",
    "PixelRepresentation",
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
    "FloatPixelPaddingValue",
    "FloatPixelPaddingRangeLimit",
    "DoubleFloatPixelPaddingValue",
    "DoubleFloatPixelPaddingRangeLimit",
    "BurnedInAnnotation",
    "WindowCenter",
    "WindowWidth",
    "VOILUTFunction",
    "VOILUTSequence",
    "RescaleIntercept",
    "RescaleSlope",
    "ModalityLUTSequence",
    *(f"{channel}PaletteColorLookupTableDescriptor" for channel in _CHANNELS),
    *(f"{channel}PaletteColorLookupTableData" for channel in _CHANNELS),
    *(f"Segmented{channel}PaletteColorLookupTableData" for channel in _CHANNELS),
    "ICCProfile",
    "OpticalPathSequence",
    "SegmentationType",
    "PresentationLUTShape",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
)
"""What is read of a data set; the rest is passed over."""

_TAGS: Final = [tag for keyword in KEYWORDS if (tag := tag_for_keyword(keyword)) is not None]


class FrameAttributes:
    """The attributes of one frame, of its functional groups where it has them and of the data set otherwise.

    `frame` is its number, from 1.
    """

    def __init__(self, data_set: Dataset, frame: int, *, transfer_syntax_uid: str) -> None:
        self._data_set = data_set
        self._frame = frame
        self._order = "<" if describe(transfer_syntax_uid).little_endian else ">"

    @property
    def data_set(self) -> Dataset:
        """The data set itself."""
        return self._data_set

    def group(self, macro: str) -> Dataset:
        """Return the item of a functional group macro, of this frame or shared; else the data set.

        `macro` is the keyword of its sequence, such as `FrameVOILUTSequence`.
        """
        per_frame = items_of(self._data_set, "PerFrameFunctionalGroupsSequence")
        shared = items_of(self._data_set, "SharedFunctionalGroupsSequence")
        for groups in (*per_frame[self._frame - 1 : self._frame], *shared[:1]):
            items = items_of(groups, macro)
            if items:
                return items[0]
        return self._data_set

    def words(self, source: Dataset, keyword: str) -> tuple[int, ...]:
        """Return the 16-bit words of an attribute whose VR may be US, SS or OW, unsigned."""
        value = value_of(source, keyword)
        if isinstance(value, bytes):
            return struct.unpack(f"{self._order}{len(value) // 2}H", value[: len(value) // 2 * 2])
        values = value if isinstance(value, Sequence) else (value,)
        return tuple(number & 0xFFFF for number in values if isinstance(number, int))

    def octets(self, source: Dataset, keyword: str) -> bytes:
        """Return the value of an attribute of words as its bytes in Little Endian; empty when it is absent."""
        words = self.words(source, keyword)
        return struct.pack(f"<{len(words)}H", *words)

    def number(self, source: Dataset, keyword: str) -> float | None:
        """Return the first value of an attribute as a finite number, None when there is none."""
        numbers = numbers_of(source, keyword)
        return numbers[0] if numbers else None

    def text(self, source: Dataset, keyword: str) -> str:
        """Return a code string, its first value, in upper case; empty when it is absent."""
        value = value_of(source, keyword)
        first = value if isinstance(value, str) or not isinstance(value, Sequence) else next(iter(value), "")
        return str(first or "").strip().upper()


def read_attributes(data: bytes, transfer_syntax_uid: str) -> Dataset:
    """Read what rendering needs of a data set that comes without its file meta information and is not deflated.

    Raises `NotAcceptable` when it cannot be read.
    """
    syntax = describe(transfer_syntax_uid)
    try:
        with disable_value_validation(), warnings.catch_warnings():
            # A worker has nobody to warn, and an unknown character set is none of the picture's.
            warnings.simplefilter("ignore")
            return read_dataset(
                BytesIO(data),
                is_implicit_VR=not syntax.explicit,
                is_little_endian=syntax.little_endian,
                specific_tags=list(_TAGS),
            )
    except Exception as error:
        # pydicom raises whatever it stumbles over.
        raise NotAcceptable("the data set cannot be read", log_detail=repr(error)) from error


def value_of(source: Dataset, keyword: str) -> Any:
    """Return the value of an attribute, None when it is absent, empty or cannot be read."""
    try:
        with disable_value_validation(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            value = source.get(keyword)
    except Exception:  # noqa: BLE001 - a value that nobody can read is one that is not there
        return None
    return None if value in ("", b"") else value


def items_of(source: Dataset, keyword: str) -> list[Dataset]:
    """Return the items of a sequence, none when it is absent or is no sequence."""
    value = value_of(source, keyword)
    return [item for item in value if isinstance(item, Dataset)] if isinstance(value, Sequence) else []


def numbers_of(source: Dataset, keyword: str) -> list[float]:
    """Return the values of an attribute that are finite numbers."""
    value = value_of(source, keyword)
    values = [value] if isinstance(value, str | int | float) else value if isinstance(value, Sequence) else []
    numbers = []
    for each in values:
        try:
            number = float(each)
        except (TypeError, ValueError, OverflowError):
            continue
        if number - number == 0:
            numbers.append(number)
    return numbers
