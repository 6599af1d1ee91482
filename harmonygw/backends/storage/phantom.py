"""The pictures of the sample CT: a torso that was never anyone's, slice by slice.

Everything is an ellipsoid, so everything in a slice is an ellipse, drawn over what lies around it. A span of
a row is filled with a slice of a ready-made strip of tissue (a mean and its noise): a picture costs a few
thousand slice assignments and no loop over pixels. The noise comes from fixed seeds: the same phantom comes
out everywhere and always.
"""

import math
import random
import sys
from array import array
from collections.abc import Iterator
from functools import cache
from typing import Final, NamedTuple

from harmonygw.backends.storage.drawing import Ellipse, spans

COLUMNS: Final = 512
ROWS: Final = 512
SLICES: Final = 120
PIXEL_SPACING: Final = 0.78125
"""Millimetres between the centres of pixels: a field of view of 400 mm."""
SLICE_SPACING: Final = 2.5
"""Millimetres between slices, which go from feet to head."""
RESCALE_INTERCEPT: Final = -1024
"""Stored value to Hounsfield units, with a slope of 1."""

STRIP: Final = 8192
"""Pixels of a strip of tissue: rows begin at different places of it, so that no pattern shows."""


class Ellipsoid(NamedTuple):
    """A body in millimetres: x to the patient's left, y to the back, z to the head; from the middle of the
    volume.

    `turn` rotates it about z, in degrees. A body that reaches far beyond both ends of the volume is a
    cylinder.
    """

    tissue: str
    x: float
    y: float
    z: float
    rx: float
    ry: float
    rz: float
    turn: float = 0.0


TISSUES: Final = {
    "air": (-1000, 6),
    "foam": (-880, 12),
    "shell": (-150, 15),
    "skin": (45, 12),
    "fat": (-98, 13),
    "muscle": (58, 14),
    "lung": (-845, 24),
    "vessel": (48, 14),
    "bronchus": (-985, 8),
    "heart": (52, 14),
    "blood": (165, 15),
    "liver": (108, 14),
    "hepatic": (148, 14),
    "bile": (8, 11),
    "spleen": (118, 14),
    "stomach": (32, 14),
    "gas": (-970, 12),
    "kidney": (175, 16),
    "pelvis": (14, 12),
    "cortex": (880, 60),
    "marrow": (260, 42),
    "dense": (1150, 40),
    "disc": (85, 15),
    "cord": (32, 12),
}
"""Hounsfield units: mean and standard deviation."""

HALF_LENGTH: Final = SLICES * SLICE_SPACING / 2
LONG: Final = 4000.0

TRUNK: Final = (
    Ellipsoid("skin", 0, 0, 10, 172, 118, 900),
    Ellipsoid("fat", 0, 0, 10, 169.5, 115.5, 880),
    Ellipsoid("muscle", 0, 2, 30, 154, 98, 640),
)
ABDOMEN: Final = (
    Ellipsoid("fat", 0, -8, -170, 124, 76, 175),
    Ellipsoid("stomach", 56, -38, -62, 47, 36, 58, -25),
    Ellipsoid("gas", 58, -58, -58, 29, 13, 38, -12),
    Ellipsoid("spleen", 100, 28, -55, 24, 41, 52, 24),
    Ellipsoid("muscle", -34, 62, -150, 21, 18, 85),
    Ellipsoid("muscle", 34, 62, -150, 21, 18, 85),
    Ellipsoid("kidney", 66, 42, -104, 25, 31, 52, 28),
    Ellipsoid("pelvis", 60, 38, -104, 9, 13, 24, 28),
    Ellipsoid("kidney", -68, 44, -118, 25, 31, 52, -28),
    Ellipsoid("pelvis", -62, 40, -118, 9, 13, 24, -28),
)
BOWEL: Final = (
    Ellipsoid("stomach", -48, -46, -150, 27, 20, 36, 10),
    Ellipsoid("gas", -48, -54, -150, 17, 9, 26, 10),
    Ellipsoid("stomach", 6, -54, -152, 26, 17, 40),
    Ellipsoid("stomach", 62, -34, -150, 26, 22, 30, 20),
    Ellipsoid("gas", 60, -44, -150, 15, 9, 22, 8),
    Ellipsoid("stomach", 98, -6, -140, 17, 21, 44),
    Ellipsoid("gas", 99, -14, -140, 9, 9, 36),
    Ellipsoid("stomach", 20, -12, -148, 24, 16, 30, -20),
)
CHEST: Final = (
    Ellipsoid("fat", 0, -20, 45, 60, 60, 105),
    Ellipsoid("lung", -76, -2, 48, 61, 81, 122, -7),
    Ellipsoid("lung", 76, 0, 46, 60, 80, 122, 7),
    Ellipsoid("fat", 8, -34, 28, 56, 52, 72, 32),
    Ellipsoid("heart", 22, -30, 14, 59, 46, 50, 33),
    Ellipsoid("blood", 34, -24, 10, 25, 19, 34, 34),
    Ellipsoid("blood", -2, -48, 18, 25, 18, 32, 28),
    Ellipsoid("blood", -22, -14, 24, 17, 17, 28),
    Ellipsoid("blood", 8, 4, 34, 28, 13, 22, 4),
)
LIVER: Final = (
    Ellipsoid("liver", -56, -8, -62, 86, 82, 76, 10),
    Ellipsoid("liver", 2, -46, -62, 70, 33, 46, 8),
    Ellipsoid("hepatic", -58, 4, -42, 7, 34, 14, 50),
    Ellipsoid("hepatic", -34, -20, -44, 6, 30, 14, -35),
    Ellipsoid("hepatic", -50, -6, -72, 38, 7, 10, 18),
    Ellipsoid("bile", -50, -56, -92, 15, 20, 24, 20),
)
GREAT_VESSELS: Final = (
    Ellipsoid("blood", 22, 36, -10, 12, 12, 150),
    Ellipsoid("vessel", -20, 30, -110, 12, 10, 80),
    Ellipsoid("blood", -14, -32, 58, 15, 15, 42),
    Ellipsoid("blood", 14, -40, 52, 14, 13, 30),
    Ellipsoid("blood", -34, -30, 84, 10, 10, 76),
    Ellipsoid("blood", 4, -10, 96, 22, 35, 13, -35),
    Ellipsoid("blood", 22, -12, 130, 6, 6, 40),
    Ellipsoid("blood", -6, -30, 130, 7, 7, 40),
    Ellipsoid("vessel", 2, 28, 60, 9, 6, 120),
    Ellipsoid("bronchus", 2, 28, 60, 3, 2, 110),
    Ellipsoid("vessel", 0, 8, 122, 12, 11, 58),
    Ellipsoid("bronchus", 0, 8, 122, 9, 8.5, 60),
    Ellipsoid("bronchus", -22, 8, 62, 19, 6, 8, 12),
    Ellipsoid("bronchus", 24, 10, 62, 19, 6, 8, -12),
)
RIB_LEVELS: Final = tuple(range(-150, 330, 27))
"""Where ribs leave the spine, in millimetres; they fall by `RIB_FALL` on their way to the front."""
RIB_FALL: Final = 118.0
VERTEBRA: Final = 32.0
"""Millimetres from one vertebra to the next, of which `DISC` are the disc."""
DISC: Final = 7.0


@cache
def _strip(tissue: str) -> "array[int]":
    mean, deviation = TISSUES[tissue]
    noise = random.Random(tissue)
    base = mean - RESCALE_INTERCEPT
    return array("H", [max(0, base + round(noise.gauss(0, deviation))) for _ in range(STRIP)])


def slice_pixels(number: int) -> bytes:
    """Return slice `number` (0 at the feet) as 512 rows of 512 unsigned little-endian 16-bit values."""
    z = (number + 0.5) * SLICE_SPACING - HALF_LENGTH
    picture = Picture(random.Random(number))
    for ellipse in _anatomy(z):
        picture.fill(ellipse)
    return picture.pixels()


class Picture:
    """A slice in the making: air, and what is drawn over it in turn."""

    def __init__(self, places: random.Random) -> None:
        self._places = places
        self._pixels = array("H")
        for _ in range(ROWS):
            self._pixels += self._texture(_strip("air"), COLUMNS)

    def _texture(self, strip: "array[int]", length: int) -> "array[int]":
        start = int(self._places.random() * (STRIP - length))
        return strip[start : start + length]

    def fill(self, ellipse: Ellipse) -> None:
        """Draw over what is there; what lies outside the picture is cut off."""
        strip = _strip(ellipse.tissue)
        pixels = self._pixels
        for row, first, end in spans(ellipse, rows=ROWS, columns=COLUMNS, spacing=PIXEL_SPACING):
            start = row * COLUMNS
            pixels[start + first : start + end] = self._texture(strip, end - first)

    def pixels(self) -> bytes:
        """Return the rows as little-endian bytes, whatever this machine's order is."""
        if sys.byteorder == "big":
            self._pixels.byteswap()
        return self._pixels.tobytes()


def _anatomy(z: float) -> Iterator[Ellipse]:
    yield from _table()
    for body in (*TRUNK, *ABDOMEN, *BOWEL, *CHEST):
        yield from _cut(body, z)
    yield from _lung_vessels(z)
    for body in (*LIVER, *GREAT_VESSELS):
        yield from _cut(body, z)
    yield from _ribs(z)
    yield from _sternum(z)
    yield from _spine(z)


def _cut(body: Ellipsoid, z: float) -> Iterator[Ellipse]:
    share = 1 - ((z - body.z) / body.rz) ** 2
    if share > 0.002:
        scale = math.sqrt(share)
        yield Ellipse(body.tissue, body.x, body.y, body.rx * scale, body.ry * scale, body.turn)


def _table() -> Iterator[Ellipse]:
    yield Ellipse("shell", 0, 141, 178, 24)
    yield Ellipse("foam", 0, 141, 175, 21)
    yield Ellipse("air", 0, 111, 186, 26)


@cache
def _vessel_tree() -> tuple[tuple[Ellipsoid, ...], ...]:
    """Branches that leave the root of each lung, as chains of small bodies that grow thinner."""
    grow = random.Random("vessels")
    branches = []
    for side in (-1, 1):
        for _ in range(60):
            along, rise = grow.uniform(-2.0, 2.0), grow.uniform(-1.4, 1.4)
            x, y, z, radius = side * 36.0, 4.0, 48.0, grow.uniform(2.6, 5.2)
            chain = []
            for _ in range(14):
                x += side * math.cos(along) * 4.6
                y += math.sin(along) * 4.6
                z += rise * 7.0
                along += grow.uniform(-0.3, 0.3)
                radius *= 0.92
                chain.append(Ellipsoid("vessel", x, y, z, radius * 1.5, radius, 6.5, side * math.degrees(along)))
            branches.append(tuple(chain))
    return tuple(branches)


def _lung_vessels(z: float) -> Iterator[Ellipse]:
    lungs = [cut for body in CHEST if body.tissue == "lung" for cut in _cut(body, z)]
    for chain in _vessel_tree():
        for body in chain:
            if any(_inside(body.x, body.y, lung, 0.93) for lung in lungs):
                yield from _cut(body, z)


def _inside(x: float, y: float, ellipse: Ellipse, share: float) -> bool:
    return ((x - ellipse.x) / ellipse.rx) ** 2 + ((y - ellipse.y) / ellipse.ry) ** 2 < share**2


def _ribs(z: float) -> Iterator[Ellipse]:
    """Cut each rib where, falling towards the front, it passes this slice; both sides alike."""
    for level in RIB_LEVELS:
        way = (level - z) / RIB_FALL
        if not 0.06 < way < 0.92:
            continue
        angle = math.radians(90 - 158 * way)
        x, y = 143 * math.cos(angle), 2 + 90 * math.sin(angle)
        along = math.degrees(math.atan2(90 * math.cos(angle), -143 * math.sin(angle)))
        for side in (-1, 1):
            yield Ellipse("cortex", side * x, y, 17, 4.6, side * along)
            yield Ellipse("marrow", side * x, y, 14, 2.2, side * along)


def _sternum(z: float) -> Iterator[Ellipse]:
    if z > -12:
        width = 17 + min(10.0, max(0.0, z - 90) / 4)
        yield Ellipse("cortex", 0, -86, width, 7)
        yield Ellipse("marrow", 0, -86, width - 2.5, 4.5)


def _spine(z: float) -> Iterator[Ellipse]:
    place = (z + HALF_LENGTH) % VERTEBRA
    waist = 1 - 0.1 * math.sin(math.pi * max(0.0, place - DISC) / (VERTEBRA - DISC))
    if place < DISC:
        yield Ellipse("disc", 0, 54, 24, 18)
    else:
        yield Ellipse("cortex", 0, 54, 24 * waist, 18 * waist)
        yield Ellipse("marrow", 0, 54, 22 * waist, 16 * waist)
    if DISC <= place < DISC + 14:
        for side in (-1, 1):
            yield Ellipse("cortex", side * 14, 73, 5, 10, side * 12)
            yield Ellipse("cortex", side * 33, 80, 20, 4.5, side * 20)
            yield Ellipse("marrow", side * 33, 80, 16, 2, side * 20)
    for side in (-1, 1):
        yield Ellipse("muscle", side * 29, 92, 24, 13, side * -8)
        yield Ellipse("cortex", side * 10, 86, 12, 4, side * -32)
    yield Ellipse("fat", 0, 75, 10.5, 9)
    yield Ellipse("cord", 0, 75, 5.5, 4.5)
    length = 13 + 5 * math.sin(2 * math.pi * place / VERTEBRA)
    yield Ellipse("dense", 0, 90 + length / 2, 3, length / 2 + 2)
    yield Ellipse("marrow", 0, 91 + length / 2, 1.2, length / 2)
