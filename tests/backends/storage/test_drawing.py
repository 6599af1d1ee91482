import math

import pytest

from harmonygw.backends.storage.drawing import Ellipse, spans


def drawn(ellipse: Ellipse, rows: int, columns: int, spacing: float = 1.0) -> list[str]:
    picture = [["."] * columns for _ in range(rows)]
    for row, first, end in spans(ellipse, rows=rows, columns=columns, spacing=spacing):
        picture[row][first:end] = "#" * (end - first)
    return ["".join(row) for row in picture]


def test_a_circle_is_round() -> None:
    assert drawn(Ellipse("", 0, 0, 3, 3), 8, 8) == [
        "........",
        "........",
        "..####..",
        ".######.",
        ".######.",
        ".######.",
        "..####..",
        "........",
    ]


def test_a_quarter_turn_exchanges_the_radii() -> None:
    lying = drawn(Ellipse("", 0, 0, 6, 2), 16, 16)
    standing = drawn(Ellipse("", 0, 0, 2, 6, 90), 16, 16)

    assert lying == standing


def test_spacing_scales_millimetres_to_pixels() -> None:
    assert drawn(Ellipse("", 2, -2, 6, 2, 30), 16, 16, 0.5) == drawn(Ellipse("", 4, -4, 12, 4, 30), 16, 16)


def test_what_lies_outside_the_picture_is_cut_off() -> None:
    assert drawn(Ellipse("", 0, 0, 100, 100), 4, 5) == ["#####"] * 4
    assert list(spans(Ellipse("", 50, 0, 3, 3), rows=8, columns=8, spacing=1)) == []
    assert list(spans(Ellipse("", 0, 50, 3, 3), rows=8, columns=8, spacing=1)) == []


@pytest.mark.parametrize("turn", [0, 17, 45, 90, 163])
def test_the_area_is_that_of_an_ellipse(turn: float) -> None:
    covered = sum(
        end - first for _, first, end in spans(Ellipse("", 0, 0, 60, 25, turn), rows=200, columns=200, spacing=1)
    )

    assert covered == pytest.approx(math.pi * 60 * 25, rel=0.01)
