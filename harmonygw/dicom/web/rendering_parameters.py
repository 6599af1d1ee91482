"""How a client wants a rendering to look: query parameters to values (PS3.18 §8.3.5, and §9.4 and §9.5 for WADO-URI).

Names that are not known are ignored (§8.3), values that are malformed are refused: a picture that looks otherwise than
was asked for could be taken for what it is not.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from harmonygw.dicom.web.media_types import travels
from harmonygw.dicom.web.resources import MAX_FRAME_DIGITS
from harmonygw.errors import BadRequest

MAX_VIEWPORT: Final = 8192
"""Pixels of a viewport's side. The largest displays have 7,680, and a picture of both sides takes 200 MB of memory."""

MAX_NUMBER_LENGTH: Final = 32
"""Characters of a decimal number; what a program writes of a double has at most 24."""

MAX_SHOWN: Final = 64
"""Characters of a refused value that the refusal shows."""


class WindowFunction(StrEnum):
    """What becomes of the values within the window: the VOI LUT Function (0028,1056), PS3.3 §C.11.2.1.3."""

    LINEAR = "linear"
    LINEAR_EXACT = "linear-exact"
    SIGMOID = "sigmoid"


class Annotation(StrEnum):
    """What is written into the picture, PS3.18 §8.3.5.1.1."""

    PATIENT = "patient"
    TECHNIQUE = "technique"


class ICCProfile(StrEnum):
    """Whether the picture has a colour profile, and which, PS3.18 §8.3.5.1.5."""

    NO = "no"
    YES = "yes"
    """The object's own."""
    SRGB = "srgb"
    ADOBE_RGB = "adobergb"
    ROMM_RGB = "rommrgb"


@dataclass(frozen=True, slots=True)
class Window:
    """The values that are told apart in the picture, PS3.18 §8.3.5.1.4 and PS3.3 §C.11.2.1.2."""

    centre: float
    width: float
    """At least 1 for the function LINEAR, else more than 0."""
    function: WindowFunction = WindowFunction.LINEAR


@dataclass(frozen=True, slots=True)
class Viewport:
    """The largest size of the picture; it fills it as far as its aspect ratio lets it (PS3.18 §8.3.5.1.3)."""

    columns: int | None
    """Pixels, from 1 to `MAX_VIEWPORT`; None, which WADO-URI allows of one of the two, for no limit."""
    rows: int | None


@dataclass(frozen=True, slots=True)
class Source:
    """The part of an image that is shown, in whole pixels that the image has."""

    x: int
    y: int
    columns: int
    rows: int
    mirrored: bool = False
    """Whether left and right change places."""
    upside_down: bool = False
    """Whether top and bottom do."""


@dataclass(frozen=True, slots=True)
class Region:
    """The part of an image that is asked for."""

    x: float
    """From the left edge to the region's: pixels, or with `fractions` parts of the image's columns."""
    y: float
    columns: float | None = None
    """Width, not 0; a negative one mirrors the picture. None reaches to the right edge."""
    rows: float | None = None
    """Height, likewise."""
    fractions: bool = False


@dataclass(frozen=True, slots=True)
class RenderingParameters:
    """What a client says of a rendering; None where it says nothing."""

    viewport: Viewport | None = None
    window: Window | None = None
    quality: int | None = None
    """From 1, the worst, to 100."""
    annotation: frozenset[Annotation] = frozenset()
    unknown_annotations: tuple[str, ...] = ()
    """Keywords of `annotation` that are not known here: a Warning 299 says so (PS3.18 §8.3.5.1.1)."""
    icc_profile: ICCProfile | None = None
    region: Region | None = None

    def source(self, columns: int, rows: int) -> Source:
        """Return the part that is shown of an image of that size, at least one pixel of it.

        Raises BadRequest when the region lies outside of the image.
        """
        region = self.region or Region(0, 0)
        x, width = _extent(region.x, region.columns, columns, fractions=region.fractions)
        y, height = _extent(region.y, region.rows, rows, fractions=region.fractions)
        return Source(x, y, width, height, (region.columns or 1) < 0, (region.rows or 1) < 0)


@dataclass(frozen=True, slots=True)
class URIParameters:
    """What a request to the URI service asks for besides its UIDs, PS3.18 §9.1.2, §9.4.1.2 and §9.5.1.2."""

    content_types: tuple[str, ...] = ()
    """The values of `contentType`, as they came."""
    transfer_syntax: str | None = None
    """The UID that `transferSyntax` gives; only `application/dicom` has one."""
    frame: int | None = None
    """From 1."""
    rendering: RenderingParameters = RenderingParameters()
    ignored: tuple[str, ...] = ()
    """Parameters of the standard that were given and have no effect here."""


def parse_rendering(query: Sequence[tuple[str, str]]) -> RenderingParameters:
    """Return what decoded names and values say of a rendering, PS3.18 §8.3.5.1.

    Raises BadRequest that names the parameter, when it is malformed or given twice with different values.
    """
    given = _Given(query)
    viewport = region = None
    if text := given.value("viewport"):
        viewport, region = _viewport(text)
    known, unknown = _annotation(given)
    return RenderingParameters(
        viewport=viewport,
        window=_window(given.value("window")),
        quality=_quality(given, "quality"),
        annotation=known,
        unknown_annotations=unknown,
        icc_profile=_icc_profile(given.value("iccprofile")),
        region=region,
    )


def parse_thumbnail(query: Sequence[tuple[str, str]]) -> Viewport | None:
    """Return the largest size that a thumbnail is to have, PS3.18 §8.3.5.2; None when nothing is said.

    Raises BadRequest, also for a viewport with a region, which a thumbnail cannot have.
    """
    text = _Given(query).value("viewport")
    if not text:
        return None
    viewport, region = _viewport(text)
    if region is not None:
        raise _malformed("viewport", text, "two numbers, width and height, since a thumbnail shows everything")
    return viewport


def parse_uri(query: Sequence[tuple[str, str]]) -> URIParameters:
    """Return what a request to the URI service asks for besides its UIDs; its names are read in any letter case.

    Raises BadRequest that names the parameter, when it is malformed or given twice with different values, and for
    `anonymize`, which is not done here: objects that a client takes for anonymous must not go out.
    """
    given = _Given(query, any_case=True)
    if (text := given.value("anonymize")) is not None:
        raise _malformed("anonymize", text, "left out, since this service does not remove what identifies a patient")
    syntax = given.value("transferSyntax")
    if syntax is not None and not travels(syntax):
        raise _malformed("transferSyntax", syntax, "the UID of a transfer syntax that may be used on the web")
    known, unknown = _annotation(given)
    return URIParameters(
        content_types=tuple(value for value in given.values("contentType") if value),
        transfer_syntax=syntax,
        frame=_frame(given.value("frameNumber")),
        rendering=RenderingParameters(
            viewport=_rows_and_columns(given),
            window=_centre_and_width(given),
            quality=_quality(given, "imageQuality"),
            annotation=known,
            unknown_annotations=unknown,
            region=_fractions(given.value("region")),
        ),
        ignored=tuple(name for name in _WITHOUT_EFFECT if given.value(name) is not None),
    )


_WITHOUT_EFFECT: Final = ("charset", "presentationSeriesUID", "presentationUID")
"""Parameters of the URI service that name what is not done here: the text is UTF-8, presentation states are not
applied."""

_DECIMAL: Final = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_WHOLE: Final = re.compile("[0-9]{1,9}")


class _Given:
    """The parameters of a request by name."""

    def __init__(self, query: Sequence[tuple[str, str]], *, any_case: bool = False) -> None:
        self._any_case = any_case
        self._values: dict[str, list[str]] = {}
        for name, value in query:
            self._values.setdefault(self._key(name), []).append(value.strip())

    def _key(self, name: str) -> str:
        return name.lower() if self._any_case else name

    def values(self, name: str) -> list[str]:
        return self._values.get(self._key(name), [])

    def value(self, name: str) -> str | None:
        """Return the parameter's one value; None when it is not given."""
        different = list(dict.fromkeys(self.values(name)))
        if len(different) > 1:
            raise BadRequest(f"{name} is given twice, with different values.")
        if different and not different[0]:
            raise BadRequest(f"{name} has no value.")
        return different[0] if different else None


def _malformed(name: str, text: str, expected: str) -> BadRequest:
    shown = text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"
    return BadRequest(f"{name} is {shown!r}; it has to be {expected}.")


def _decimal(name: str, text: str, whole: str, expected: str) -> float:
    """Return a number that stands for itself or within `whole`, which is what a refusal shows."""
    text = text.strip()
    if len(text) > MAX_NUMBER_LENGTH or not _DECIMAL.fullmatch(text) or not math.isfinite(number := float(text)):
        raise _malformed(name, whole, expected)
    return number


def _side(name: str, text: str, whole: str, expected: str) -> int:
    text = text.strip()
    if not _WHOLE.fullmatch(text) or not 1 <= int(text) <= MAX_VIEWPORT:
        raise _malformed(name, whole, expected)
    return int(text)


def _viewport(text: str) -> tuple[Viewport, Region | None]:
    expected = (
        f"width,height[,x,y,width,height]: the first two whole numbers from 1 to {MAX_VIEWPORT}, the others pixels"
    )
    parts = [part.strip() for part in text.split(",")]
    if not 2 <= len(parts) <= 6:
        raise _malformed("viewport", text, expected)
    columns, rows = (_side("viewport", part, text, expected) for part in parts[:2])
    viewport = Viewport(columns, rows)
    if len(parts) == 2:
        return viewport, None
    x, y, width, height = (
        _decimal("viewport", part, text, expected) if part else None for part in (*parts[2:], *[""] * (6 - len(parts)))
    )
    if width == 0 or height == 0:
        raise _malformed("viewport", text, "without 0 as the width or height of the region")
    # The standard gives a meaning to the absolute values of x and y, and none to their signs.
    return viewport, Region(abs(x or 0), abs(y or 0), width, height)


def _window(text: str | None) -> Window | None:
    if text is None:
        return None
    expected = "centre,width,function: two numbers and one of linear, linear-exact, sigmoid"
    parts = text.split(",")
    if len(parts) != 3:
        raise _malformed("window", text, expected)
    centre, width = (_decimal("window", part, text, expected) for part in parts[:2])
    try:
        function = WindowFunction(parts[2].strip().lower().replace("_", "-"))
    except ValueError:
        raise _malformed("window", text, expected) from None
    return _checked(Window(centre, width, function), "window", text)


def _checked(window: Window, name: str, text: str) -> Window:
    if window.width <= 0 or (window.function is WindowFunction.LINEAR and window.width < 1):
        raise _malformed(name, text, "a width of at least 1, or with linear-exact and sigmoid more than 0")
    return window


def _icc_profile(text: str | None) -> ICCProfile | None:
    try:
        return None if text is None else ICCProfile(text.lower())
    except ValueError:
        raise _malformed("iccprofile", str(text), f"one of {', '.join(ICCProfile)}") from None


def _quality(given: _Given, name: str) -> int | None:
    text = given.value(name)
    if text is None:
        return None
    if not _WHOLE.fullmatch(text) or not 1 <= int(text) <= 100:
        raise _malformed(name, text, "a whole number from 1 to 100")
    return int(text)


def _annotation(given: _Given) -> tuple[frozenset[Annotation], tuple[str, ...]]:
    text = given.value("annotation")
    if text is None:
        return frozenset(), ()
    keywords = [keyword.strip() for keyword in text.split(",")]
    if not all(re.fullmatch("[A-Za-z0-9_-]{1,32}", keyword) for keyword in keywords):
        raise _malformed("annotation", text, f"a list of keywords, of {', '.join(Annotation)}")
    known = frozenset(Annotation(keyword.lower()) for keyword in keywords if keyword.lower() in set(Annotation))
    return known, tuple(dict.fromkeys(keyword for keyword in keywords if keyword.lower() not in known))


def _rows_and_columns(given: _Given) -> Viewport | None:
    expected = f"a whole number from 1 to {MAX_VIEWPORT}"
    columns, rows = (
        None if (text := given.value(name)) is None else _side(name, text, text, expected)
        for name in ("columns", "rows")
    )
    return None if columns is None and rows is None else Viewport(columns, rows)


def _centre_and_width(given: _Given) -> Window | None:
    centre, width = given.value("windowCenter"), given.value("windowWidth")
    if centre is None and width is None:
        return None
    if centre is None or width is None:
        raise BadRequest("windowCenter and windowWidth have to be given both, or neither of them.")
    centre_value = _decimal("windowCenter", centre, centre, "a number")
    return _checked(Window(centre_value, _decimal("windowWidth", width, width, "a number")), "windowWidth", width)


def _fractions(text: str | None) -> Region | None:
    if text is None:
        return None
    expected = "left,top,right,bottom: four numbers from 0 to 1, left less than right and top less than bottom"
    parts = text.split(",")
    if len(parts) != 4:
        raise _malformed("region", text, expected)
    left, top, right, bottom = (_decimal("region", part, text, expected) for part in parts)
    if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
        raise _malformed("region", text, expected)
    return Region(left, top, right - left, bottom - top, fractions=True)


def _frame(text: str | None) -> int | None:
    if text is None:
        return None
    if not re.fullmatch(f"[0-9]{{1,{MAX_FRAME_DIGITS}}}", text) or not int(text):
        raise _malformed("frameNumber", text, "a whole number from 1")
    return int(text)


def _extent(start: float, length: float | None, size: int, *, fractions: bool) -> tuple[int, int]:
    """Return the first whole pixel of an extent, and their number, in an image that has `size` of them."""
    unit = size if fractions else 1
    first = start * unit
    beyond = size if length is None else min(first + abs(length) * unit, size)
    if first >= size:
        raise BadRequest(f"The region begins {first:g} pixels from the edge of an image that has {size}.")
    whole = min(round(first), size - 1)
    return whole, max(round(beyond) - whole, 1)
