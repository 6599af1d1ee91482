"""Stored values to shades of grey: Modality LUT, VOI LUT, Presentation LUT Shape (PS3.4 §N.2.1, PS3.3 §C.11).

A frame of up to 16 bits has at most 65,536 different values: the transformations are done for them, and the frame is
looked up. Overlays are not shown.
"""

from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from harmonygw.dicom.dataset.pixels import PixelDescription
from harmonygw.rendering.frame_attributes import FrameAttributes, items_of
from harmonygw.rendering.lookup_tables import LookupTable, lut_of
from harmonygw.rendering.windows import FUNCTIONS, LINEAR, LINEAR_EXACT, Window, spanning

Shades = NDArray[np.uint8]

BACKGROUND: Final = 0
"""What Pixel Padding Values become: black, whether or not the frame is inverted (PS3.3 §C.7.5.1.1.2)."""

_TABLE_BITS: Final = 16
_LABELMAP: Final = "LABELMAP"


class Extent(NamedTuple):
    """The least and the greatest value of a frame, or of several, after the Modality LUT."""

    lowest: float
    highest: float


@dataclass(frozen=True, slots=True)
class _Stored:
    """A frame as the values that occur and, where they are few enough to be a table, the frame as indices of it."""

    values: NDArray[Any]
    """Every value that the bits can hold, in the order of the indices; or the frame itself."""
    padding: NDArray[np.bool_]
    """Which of `values` are padding."""
    indices: NDArray[Any] | None

    def extent(self, shown: NDArray[np.float64]) -> Extent | None:
        """Return the extent of `shown`, which is `values` transformed; None when there is nothing but padding."""
        relevant = ~self.padding & np.isfinite(shown)
        if self.indices is not None:
            present = np.zeros(len(shown), np.bool_)
            present[self.indices] = True
            relevant &= present
        chosen = shown[relevant]
        return Extent(float(chosen.min()), float(chosen.max())) if chosen.size else None


class GreyFrame:
    """A frame of one sample a pixel on its way to shades of grey.

    `array` is what the decoder returned, and `pixels` describes it; `window` is that of the request. Raises
    `NotAcceptable` when the object has a LUT that cannot be used.
    """

    def __init__(
        self, array: NDArray[Any], pixels: PixelDescription, attributes: FrameAttributes, window: Window | None
    ) -> None:
        self._pixels = pixels
        self._attributes = attributes
        self._stored = _stored(array, pixels, attributes)
        self._values = self._modality()
        self._voi: Window | LookupTable | None = window or self._stored_voi()

    @property
    def extent(self) -> Extent | None:
        """The extent that decides how the frame is shown; None when something else does, or it is all padding."""
        return self._stored.extent(self._values) if self._voi is None else None

    def shades(self, extent: Extent | None = None) -> Shades:
        """Return the frame from 0, black, to 255, white; where nothing else says so, `extent` is shown whole."""
        voi = self._voi or (spanning(*extent) if extent is not None else spanning(0, 1))
        if isinstance(voi, Window):
            shown = voi.apply(self._values)
        else:
            shown = voi.apply(np.nan_to_num(self._values)) / np.float64((1 << voi.bits) - 1)
        if self._inverted():
            shown = 1 - shown
        shades = np.floor(np.nan_to_num(shown) * 255 + 0.5).astype(np.uint8)
        shades[self._stored.padding] = BACKGROUND
        if self._stored.indices is None:
            return shades
        return np.take(shades, self._stored.indices)

    def _modality(self) -> NDArray[np.float64]:
        """Apply the Modality LUT, or Rescale Slope and Intercept, to what is stored."""
        values = self._stored.values.astype(np.float64)
        source = self._attributes.group("PixelValueTransformationSequence")
        luts = items_of(source, "ModalityLUTSequence")
        if luts and not self._pixels.floating:
            lowest = -1.0 if self._pixels.pixel_representation else 0.0
            return lut_of(self._attributes, luts[0], lowest=lowest).apply(values).astype(np.float64)
        slope = self._attributes.number(source, "RescaleSlope")
        intercept = self._attributes.number(source, "RescaleIntercept")
        # A slope of 0 would make every frame uniform; it is not allowed (PS3.3 §C.11.1.1.2 has none).
        values *= slope or 1
        values += intercept or 0
        return values

    def _stored_voi(self) -> Window | LookupTable | None:
        """Return what the object says of its values of interest: a LUT before a window, the first of each."""
        source = self._attributes.group("FrameVOILUTSequence")
        luts = items_of(source, "VOILUTSequence")
        if luts:
            return lut_of(self._attributes, luts[0], lowest=float(np.nanmin(self._values)))
        centre = self._attributes.number(source, "WindowCenter")
        width = self._attributes.number(source, "WindowWidth")
        if centre is not None and width is not None:
            function = FUNCTIONS.get(self._attributes.text(source, "VOILUTFunction"), LINEAR)
            window = Window(centre, width, function)
            if window.usable:
                return window
        return self._whole_range()

    def _whole_range(self) -> Window | None:
        """Return the window of all that the bits can hold, for frames that are made to be shown as they are.

        Those have up to eight bits: to stretch them would change a secondary capture, and make a cine loop flicker.
        Labels and deeper frames use a part of their range.
        """
        labels = self._attributes.text(self._attributes.data_set, "SegmentationType") == _LABELMAP
        if self._pixels.bits_stored > 8 or labels:
            return None
        lowest, highest = float(self._values.min()), float(self._values.max())
        return Window((lowest + highest) / 2, max(highest - lowest, 1.0), LINEAR_EXACT)

    def _inverted(self) -> bool:
        shape = self._attributes.text(self._attributes.data_set, "PresentationLUTShape")
        if shape in ("IDENTITY", "INVERSE"):
            return shape == "INVERSE"
        return self._pixels.photometric_interpretation == "MONOCHROME1"


def _stored(array: NDArray[Any], pixels: PixelDescription, attributes: FrameAttributes) -> _Stored:
    """Take the stored values out of their cells (PS3.5 §8.1.1): what lies above their bits may be anything."""
    if pixels.floating:
        return _Stored(array, _padding(array, attributes, pixels), None)
    bits = min(pixels.bits_stored, 32)
    cells = array.view(array.dtype.str.replace("i", "u").replace("b", "u"))
    if bits > _TABLE_BITS:
        values = _sign_extended(cells.astype(np.int64) & ((1 << bits) - 1), bits, pixels)
        return _Stored(values, _padding(values, attributes, pixels), None)
    if bits < 8 * cells.itemsize:
        cells = cells & cells.dtype.type((1 << bits) - 1)
    values = _sign_extended(np.arange(1 << bits), bits, pixels)
    return _Stored(values, _padding(values, attributes, pixels), cells)


def _sign_extended(values: NDArray[np.int64], bits: int, pixels: PixelDescription) -> NDArray[np.int64]:
    if not pixels.pixel_representation:
        return values
    sign = 1 << (bits - 1)
    return (values ^ sign) - sign


def _padding(values: NDArray[Any], attributes: FrameAttributes, pixels: PixelDescription) -> NDArray[np.bool_]:
    """Tell which values are padding: Pixel Padding Value, or from it to Pixel Padding Range Limit."""
    floating = "DoubleFloatPixelPadding" if values.dtype.itemsize == 8 else "FloatPixelPadding"
    name = floating if pixels.floating else "PixelPadding"
    bounds = []
    for keyword in (f"{name}Value", f"{name}RangeLimit"):
        if pixels.floating:
            bound = attributes.number(attributes.data_set, keyword)
        else:
            words = attributes.words(attributes.data_set, keyword)
            # The VR is US or SS, and not always the one that goes with the pixels.
            bound = (words[0] ^ 0x8000) - 0x8000 if words and pixels.pixel_representation else next(iter(words), None)
        if bound is not None:
            bounds.append(bound)
    if not bounds:
        return np.zeros(values.shape, np.bool_)
    padding: NDArray[np.bool_] = (values >= min(bounds)) & (values <= max(bounds))
    return padding
