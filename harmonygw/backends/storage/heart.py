"""The pictures of the sample ultrasound: a chamber that beats once, in a fan of speckle."""

import math
import random
from functools import cache
from typing import Final

from harmonygw.backends.storage.drawing import Ellipse, spans

COLUMNS: Final = 256
ROWS: Final = 256
FRAMES: Final = 30
FRAME_TIME: Final = 33.3
"""Milliseconds from one frame to the next: thirty of them are one beat of a heart at rest."""

_STRIP: Final = 4096
_ECHOES: Final = {"dark": (14, 9), "tissue": (92, 34), "wall": (158, 40), "lung": (46, 22)}
"""Grey values: mean and standard deviation of the speckle."""
_APEX_ROW: Final = 8
_DEPTH: Final = 240
_HALF_ANGLE: Final = math.radians(38)


@cache
def _strip(echo: str) -> bytes:
    mean, deviation = _ECHOES[echo]
    noise = random.Random(echo)
    return bytes(min(255, max(0, round(noise.gauss(mean, deviation)))) for _ in range(_STRIP))


def frame_pixels(number: int) -> bytes:
    """Return frame `number` (from 0) as 256 rows of 256 grey values."""
    squeeze = math.sin(math.pi * number / FRAMES) ** 2
    size = 1 - 0.3 * squeeze
    drawing = _Frame(random.Random(number))
    drawing.fan()
    for echo, x, y, rx, ry in (
        ("wall", 0.0, 10.0, 62 + 2 * squeeze, 74 + 2 * squeeze),
        ("dark", 0.0, 10.0, 50 * size, 62 * size),
        ("wall", 0.0, 94.0, 40.0, 24.0),
        ("dark", 0.0, 94.0, 32 + 3 * squeeze, 17 + 2 * squeeze),
    ):
        drawing.fill(Ellipse(echo, x, y, rx, ry))
    return bytes(drawing.pixels)


class _Frame:
    def __init__(self, places: random.Random) -> None:
        self._places = places
        self.pixels = bytearray(ROWS * COLUMNS)

    def fan(self) -> None:
        for row in range(_APEX_ROW, _APEX_ROW + _DEPTH):
            depth = row - _APEX_ROW
            half = min(depth * math.tan(_HALF_ANGLE), math.sqrt(_DEPTH**2 - depth**2))
            self._run("tissue" if depth < 190 else "lung", row, *_ends(half))

    def fill(self, ellipse: Ellipse) -> None:
        for row, first, end in spans(ellipse, rows=ROWS, columns=COLUMNS, spacing=1.0):
            depth = row - _APEX_ROW
            left, right = _ends(max(0.0, depth) * math.tan(_HALF_ANGLE))
            self._run(ellipse.tissue, row, max(first, left), min(end, right))

    def _run(self, echo: str, row: int, first: int, end: int) -> None:
        if first < end:
            place = int(self._places.random() * (_STRIP - COLUMNS))
            start = row * COLUMNS
            self.pixels[start + first : start + end] = _strip(echo)[place : place + end - first]


def _ends(half: float) -> tuple[int, int]:
    return max(0, round(COLUMNS / 2 - half)), min(COLUMNS, round(COLUMNS / 2 + half))
