"""Text burnt into rendered pictures, when the request asks for it (PS3.18 §8.3.5.1.1)."""

import unicodedata
from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from pydicom.datadict import dictionary_VR, tag_for_keyword

from harmonygw.dicom.dataset.character_sets import character_set
from harmonygw.rendering.frame_attributes import FrameAttributes, value_of

Picture = NDArray[np.uint8]

PATIENT: Final = "patient"
TECHNIQUE: Final = "technique"

LONGEST_LINE: Final = 128
"""Characters of a line. Default 128: two values of VR LO, and more than fits into most pictures."""

_LINES: Final = {
    PATIENT: (("", "PatientName"), ("ID ", "PatientID"), ("born ", "PatientBirthDate")),
    TECHNIQUE: (("", "Modality"), ("", "StudyDate"), ("series ", "SeriesNumber"), ("image ", "InstanceNumber")),
}

_SMALLEST_FONT, _LARGEST_FONT, _LINES_IN_A_PICTURE = 9, 48, 40
"""Height of the font in pixels, and how many of its lines a picture has room for."""

_FIRST_PRINTABLE, _LAST_PRINTABLE = " ", "~"


def unknown(annotation: Iterable[str]) -> list[str]:
    """Return those of `annotation` that are no keyword known here, which the standard lets a server ignore."""
    return [keyword for keyword in annotation if keyword not in _LINES]


def annotate(
    picture: Picture,
    annotation: Sequence[str],
    attributes: FrameAttributes,
    *,
    frame: int,
    default_character_set: tuple[str, ...],
) -> Picture:
    """Return `picture` with a line about the patient at its top and one about the technique at its bottom.

    `picture` is (rows, columns) or (rows, columns, 3), 0 to 255. The font has the characters of ASCII: letters lose
    their diacritics, and others become question marks. What does not fit into the picture is cut off at its edge.
    """
    image = Image.fromarray(picture)
    draw = ImageDraw.Draw(image)
    height = min(max(min(image.size) // _LINES_IN_A_PICTURE, _SMALLEST_FONT), _LARGEST_FONT)
    font = ImageFont.load_default(height)
    margin = height // 2
    for keyword, top in ((PATIENT, margin), (TECHNIQUE, image.height - margin - height)):
        if keyword in annotation:
            text = line(keyword, attributes, frame=frame, default_character_set=default_character_set)
            # Black around white is legible on whatever is below.
            draw.text((margin, top), text, fill="white", font=font, stroke_width=1, stroke_fill="black")
    return np.asarray(image)


def line(keyword: str, attributes: FrameAttributes, *, frame: int, default_character_set: tuple[str, ...]) -> str:
    """Return the text for a keyword, in printable ASCII."""
    terms = _terms(attributes) or default_character_set
    parts = [prefix + text for prefix, name in _LINES[keyword] if (text := _text(attributes, name, terms))]
    if keyword == TECHNIQUE:
        parts.append(f"frame {frame}")
    return ", ".join(parts)[:LONGEST_LINE]


def _text(attributes: FrameAttributes, keyword: str, terms: tuple[str, ...]) -> str:
    text = character_set(terms).decode(_raw(attributes, keyword), dictionary_VR(keyword))
    if keyword == "PatientName":
        text = " ".join(text.split("=")[0].replace("^", " ").split())
    plain = (_ascii(character) for character in unicodedata.normalize("NFKD", text.strip(" \0")))
    return "".join(plain)


def _ascii(character: str) -> str:
    if unicodedata.combining(character):
        return ""
    return character if _FIRST_PRINTABLE <= character <= _LAST_PRINTABLE else "?"


def _terms(attributes: FrameAttributes) -> tuple[str, ...]:
    value = value_of(attributes.data_set, "SpecificCharacterSet") or ()
    return (value,) if isinstance(value, str) else tuple(map(str, value))


def _raw(attributes: FrameAttributes, keyword: str) -> bytes:
    """Return the bytes of a value as they are in the data set: how pydicom decodes text depends on a global setting."""
    value = getattr(attributes.data_set.get_item(tag_for_keyword(keyword) or 0, keep_deferred=True), "value", None)
    return value if isinstance(value, bytes) else b""
