"""ICC profiles of rendered pictures: which one goes in, and the pixels made to match it (PS3.18 §8.3.5.1.5)."""

import struct
from functools import lru_cache
from io import BytesIO
from typing import Final

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from harmonygw.errors import BadRequest
from harmonygw.rendering.frame_attributes import FrameAttributes, items_of, value_of

Picture = NDArray[np.uint8]

VALUES: Final = ("no", "yes", "srgb", "adobergb", "rommrgb")
"""What the parameter may be."""

MAX_PROFILE_BYTES: Final = 4 * 1024 * 1024
"""Bytes of an ICC profile that is taken from an object. Default 4 MiB: slide scanners' have a tenth; longer ones are as
if they were not there."""

_D50: Final = (0.3457, 0.3585)
_ROMM_PRIMARIES: Final = (0.7347, 0.2653, 0.1596, 0.8404, 0.0366, 0.0001)
_ROMM_GAMMA: Final = 1.8
"""ROMM RGB (ISO 22028-2): white point, primaries as x and y of red, green and blue, exponent."""

_SIGNATURE: Final = slice(36, 40)
_COLOUR_SPACE: Final = slice(16, 20)


class Colourist:
    """What `iccprofile` asks for, for the pictures of one object; `value` is None when it was not asked for.

    Without the parameter pictures have no profile and keep their colours. Shades of grey become RGB when a profile is
    asked for, since the profiles that the standard names are of RGB. Raises `BadRequest` for a value that is none.
    """

    def __init__(self, value: str | None, attributes: FrameAttributes) -> None:
        if value is not None and value not in VALUES:
            raise BadRequest(f"iccprofile is {value!r}; allowed are {', '.join(VALUES)}")
        self._source = well_known("srgb")
        self.profile = b""
        """The profile for the file, empty for none."""
        if value in (None, "no"):
            return
        self._source = _profile_of(attributes) or self._source
        self.profile = self._source if value == "yes" else well_known(str(value))

    def colour(self, picture: Picture) -> Picture:
        """Return `picture` in the colour space of the profile, as it is when there is none."""
        if not self.profile:
            return picture
        if picture.ndim == 2:
            picture = np.repeat(picture[..., np.newaxis], 3, axis=2)
        if self.profile == self._source:
            return picture
        converted = ImageCms.profileToProfile(
            Image.fromarray(picture),
            _opened(self._source),
            _opened(self.profile),
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
            outputMode="RGB",
        )
        return picture if converted is None else np.asarray(converted)


@lru_cache(len(VALUES))
def well_known(name: str) -> bytes:
    """Return the profile of `srgb`, `adobergb` or `rommrgb`, always the same bytes."""
    if name == "rommrgb":
        profile = imagecodecs.cms_profile("rgb", whitepoint=_D50, primaries=_ROMM_PRIMARIES, gamma=_ROMM_GAMMA)
    else:
        profile = imagecodecs.cms_profile(name)
    # The profile's time of creation would make every file another one, and its ETag.
    return bytes(profile[:24]) + struct.pack(">6H", 2000, 1, 1, 0, 0, 0) + bytes(profile[36:])


def _profile_of(attributes: FrameAttributes) -> bytes:
    """Return the RGB profile of the object, of its first optical path when it has several; empty when it has none."""
    data_set = attributes.data_set
    for source in (data_set, *items_of(data_set, "OpticalPathSequence")[:1]):
        profile = value_of(source, "ICCProfile")
        if isinstance(profile, bytes) and len(profile) <= MAX_PROFILE_BYTES and _usable(profile):
            return profile
    return b""


def _usable(profile: bytes) -> bool:
    if profile[_SIGNATURE] != b"acsp" or profile[_COLOUR_SPACE] != b"RGB ":
        return False
    try:
        ImageCms.buildTransform(_opened(profile), _opened(well_known("srgb")), "RGB", "RGB")
    except (OSError, ImageCms.PyCMSError):
        return False
    return True


def _opened(profile: bytes) -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(BytesIO(profile))
