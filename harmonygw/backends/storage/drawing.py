"""Ellipses as the rows and columns that they cover."""

import math
from collections.abc import Iterator
from typing import NamedTuple


class Ellipse(NamedTuple):
    """An ellipse, in millimetres from the middle of the picture and degrees; y goes downwards."""

    tissue: str
    x: float
    y: float
    rx: float
    ry: float
    turn: float = 0.0


def spans(ellipse: Ellipse, *, rows: int, columns: int, spacing: float) -> Iterator[tuple[int, int, int]]:
    """Yield row, first column and end column of every row of the picture that an ellipse covers.

    `spacing` is the distance of two pixels in millimetres.
    """
    centre_x = columns / 2 + ellipse.x / spacing
    centre_y = rows / 2 + ellipse.y / spacing
    rx, ry = ellipse.rx / spacing, ellipse.ry / spacing
    angle = math.radians(ellipse.turn)
    cosine, sine = math.cos(angle), math.sin(angle)
    # The ellipse is a x² + 2 b x y + c y² = 1: in every row a quadratic equation in x, whose
    # discriminant is a - (y / (rx ry))².
    a = (cosine / rx) ** 2 + (sine / ry) ** 2
    b = cosine * sine * (1 / rx**2 - 1 / ry**2)
    height = math.hypot(rx * sine, ry * cosine)
    for row in range(max(0, math.ceil(centre_y - height)), min(rows, math.floor(centre_y + height) + 1)):
        y = row - centre_y
        half = math.sqrt(max(0.0, a - (y / (rx * ry)) ** 2)) / a
        middle = centre_x - b * y / a
        first, end = max(0, round(middle - half)), min(columns, round(middle + half))
        if first < end:
            yield row, first, end
