"""Frames of an instance rendered into a file that browsers show (PS3.18 §8.3.5); runs in a worker process.

Pixels are taken as square: Pixel Aspect Ratio and Pixel Spacing scale nothing. Overlays and shutters are not drawn.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from harmonygw.dicom.dataset.pixels import PixelDescription
from harmonygw.dicom.dataset.transcoding import decoded_pixels
from harmonygw.errors import BadRequest, TooLarge
from harmonygw.rendering import geometry, image_files, windows
from harmonygw.rendering.annotations import annotate, unknown
from harmonygw.rendering.codecs import decode
from harmonygw.rendering.colour import MONOCHROME, to_rgb
from harmonygw.rendering.frame_attributes import FrameAttributes, read_attributes
from harmonygw.rendering.geometry import Viewport
from harmonygw.rendering.grayscale import Extent, GreyFrame
from harmonygw.rendering.icc_profiles import Colourist
from harmonygw.rendering.icons import DEFAULT_SIDE, icon_job
from harmonygw.rendering.transfer_syntaxes import NATIVE, RLE_LOSSLESS

Picture = NDArray[np.uint8]

MAX_ANIMATION_PIXELS: Final = 1 << 27
"""Rows times columns times frames of what is rendered into one file. Default 134 million: 500 frames of 512 by 512."""


def render_job(parameters: dict[str, Any], payload: Sequence[bytes]) -> tuple[dict[str, Any], bytes]:
    """Render frames into one file; the first part of `payload` is the data set before its Pixel Data, the others are
    the stored bytes of the frames.

    `parameters` has `transfer_syntax`, a UID (a deflated data set comes inflated); `pixels`, the fields of a
    `PixelDescription`; `frames`, the numbers from 1 of those in the payload; `media_type`; and, None or left out when
    the request has no such parameter: `viewport`, two to six numbers; `window`, centre, width and function; `quality`,
    1 to 100; `annotation`, keywords; `iccprofile`. `thumbnail` makes a small JPEG without text whatever else is asked.
    `default_character_set` has the terms for data sets without one.

    Returns the `media_type`, the `columns` and `rows` of the picture and the `ignored` annotations; and the file.
    Raises `BadRequest` for parameters that make no sense, `TooLarge` beyond a limit, `NotAcceptable` for an object that
    cannot be rendered, and what `codecs.decode` raises.
    """
    rendering = _Rendering(parameters, payload)
    if parameters.get("thumbnail"):
        return rendering.thumbnail()
    return rendering.file()


@dataclass(frozen=True)
class _Rendering:
    parameters: dict[str, Any]
    payload: Sequence[bytes]

    def thumbnail(self) -> tuple[dict[str, Any], bytes]:
        viewport = self.parameters.get("viewport")
        attributes = self._attributes(self.frames[0])
        if attributes.text(attributes.data_set, "BurnedInAnnotation") == "YES":
            return icon_job({"kind": "image", "viewport": viewport}, ())
        if viewport is None:
            view = Viewport(DEFAULT_SIDE, DEFAULT_SIDE, enlarging=False)
        else:
            view = geometry.requested(viewport)
        picture = view.apply(self._shown(self._decoded(0), self.frames[0], None))
        return self._result([picture], image_files.JPEG, []), image_files.encode([picture], image_files.JPEG)

    def file(self) -> tuple[dict[str, Any], bytes]:
        media_type = self.parameters["media_type"]
        annotation = self.parameters.get("annotation") or ()
        colourist = Colourist(self.parameters.get("iccprofile"), self._attributes(self.frames[0]))
        pictures = []
        for picture, frame in zip(self._scaled(), self.frames, strict=True):
            coloured = colourist.colour(picture)
            if annotation:
                coloured = annotate(
                    coloured,
                    annotation,
                    self._attributes(frame),
                    frame=frame,
                    default_character_set=tuple(self.parameters.get("default_character_set") or ()),
                )
            pictures.append(coloured)
        file = image_files.encode(
            pictures,
            media_type,
            quality=self._quality,
            icc_profile=colourist.profile,
            frame_times=image_files.frame_times(self._attributes(self.frames[0]), self.frames),
        )
        return self._result(pictures, media_type, unknown(annotation)), file

    @cached_property
    def frames(self) -> list[int]:
        frames = list(self.parameters["frames"])
        if not frames or len(frames) != len(self.payload) - 1:
            raise BadRequest(f"{len(frames)} frames are to be rendered, of {len(self.payload) - 1}")
        return frames

    @cached_property
    def _quality(self) -> int | None:
        quality = self.parameters.get("quality")
        if quality is not None and not 1 <= quality <= 100:
            raise BadRequest(f"quality is {quality}; it must be 1 to 100")
        return None if quality is None else int(quality)

    @cached_property
    def _window(self) -> windows.Window | None:
        window = self.parameters.get("window")
        return None if window is None else windows.requested(window)

    @cached_property
    def _syntax(self) -> str:
        return str(self.parameters["transfer_syntax"])

    @cached_property
    def _stored_pixels(self) -> PixelDescription:
        return PixelDescription(**self.parameters["pixels"])

    @cached_property
    def _pixels(self) -> PixelDescription:
        return decoded_pixels(self._syntax, self._stored_pixels)

    @cached_property
    def _unused_bits(self) -> int:
        """Bits of a cell below those that are stored, which old objects may have (PS3.5 §8.1.1)."""
        pixels = self._stored_pixels
        possible = not pixels.floating and 0 < pixels.bits_stored <= pixels.high_bit < pixels.bits_allocated
        return pixels.high_bit + 1 - pixels.bits_stored if possible and self._syntax in NATIVE | {RLE_LOSSLESS} else 0

    @cached_property
    def _data_set(self) -> Any:
        return read_attributes(self.payload[0], self._syntax)

    def _attributes(self, frame: int) -> FrameAttributes:
        return FrameAttributes(self._data_set, frame, transfer_syntax_uid=self._syntax)

    def _decoded(self, index: int) -> NDArray[Any]:
        pixels, unused = self._stored_pixels, self._unused_bits
        if not unused:
            return decode(self.payload[1 + index], self._syntax, pixels)
        # The decoder keeps the lowest bits only.
        cells = decode(self.payload[1 + index], self._syntax, replace(pixels, bits_stored=pixels.bits_stored + unused))
        return cells >> unused

    @property
    def _grey(self) -> bool:
        return self._pixels.photometric_interpretation in MONOCHROME

    def _grey_frame(self, index: int) -> GreyFrame:
        return GreyFrame(self._decoded(index), self._pixels, self._attributes(self.frames[index]), self._window)

    def _extent(self) -> Extent | None:
        """Return what all frames together extend to, so that an animation does not flicker."""
        if not self._grey or len(self.frames) == 1:
            return None
        extents = [extent for index in range(len(self.frames)) if (extent := self._grey_frame(index).extent)]
        return Extent(min(extents)[0], max(extent.highest for extent in extents)) if extents else None

    def _shown(self, array: NDArray[Any], frame: int, extent: Extent | None) -> Picture:
        attributes = self._attributes(frame)
        if not self._grey:
            return to_rgb(array, self._pixels, attributes)
        grey = GreyFrame(array, self._pixels, attributes, self._window)
        return grey.shades(extent or grey.extent)

    def _scaled(self) -> Iterator[Picture]:
        """Yield the frames as pictures of the size asked for, one after the other."""
        viewport = self.parameters.get("viewport")
        view = None if viewport is None else geometry.requested(viewport)
        extent = self._extent()
        rendered = 0
        for index, frame in enumerate(self.frames):
            picture = self._shown(self._decoded(index), frame, extent)
            if view is not None:
                picture = view.apply(picture)
            rendered += picture.shape[0] * picture.shape[1]
            if len(self.frames) > 1 and rendered > MAX_ANIMATION_PIXELS:
                raise TooLarge(f"the frames are more than MAX_ANIMATION_PIXELS ({MAX_ANIMATION_PIXELS}) together")
            yield picture

    def _result(self, pictures: Sequence[Picture], media_type: str, ignored: list[str]) -> dict[str, Any]:
        rows, columns = pictures[0].shape[:2]
        return {"media_type": media_type, "columns": int(columns), "rows": int(rows), "ignored": ignored}
