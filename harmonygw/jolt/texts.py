"""Values as text and numbers, as JOLT knows them from Java: it is seen in keys, in `toString` and in `concat`."""

import math
import re
from decimal import Decimal
from typing import Any, Final

INT_BITS: Final = 32
LONG_BITS: Final = 64

_INTEGER = re.compile(r"[+-]?[0-9]+")
_DOUBLE = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


def is_index(text: str) -> bool:
    """Whether a text is a place in an array; ASCII digits, as few as nine so that it is no number to fear."""
    return text.isascii() and text.isdigit() and len(text) < 10


def text_of(value: Any) -> str:
    """Return any value as text: `null`, `true`, `1`, `0.5`, `[a, b]`, `{a=b}`."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case float():
            return _text_of_double(value)
        case list():
            return "[" + ", ".join(map(text_of, value)) + "]"
        case dict():
            return "{" + ", ".join(f"{key}={text_of(one)}" for key, one in value.items()) + "}"
    return str(value)


def _text_of_double(number: float) -> str:
    """Return a number with at least one digit behind the point, and an exponent outside of 0.001 to 10,000,000."""
    if number == 0:
        return "-0.0" if math.copysign(1, number) < 0 else "0.0"
    if 1e-3 <= abs(number) < 1e7:
        text = f"{Decimal(repr(number)):f}"
        return text if "." in text else text + ".0"
    mantissa, _, exponent = f"{Decimal(repr(number)).normalize():E}".partition("E")
    return f"{mantissa if '.' in mantissa else mantissa + '.0'}E{int(exponent)}"


def is_number(value: Any) -> bool:
    """Whether a value is a number of JSON; true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_int(value: Any) -> bool:
    """Whether a value is a whole number of 32 bits."""
    return type(value) is int and -(2 ** (INT_BITS - 1)) <= value < 2 ** (INT_BITS - 1)


def number_of(value: Any) -> int | float | None:
    """Return a number as it is, or the number that a text says; None for anything else."""
    if is_number(value):
        return value  # type: ignore[no-any-return]
    if not isinstance(value, str):
        return None
    if len(value) < 20 and _INTEGER.fullmatch(value):
        return int(value)
    if _DOUBLE.fullmatch(text := value.strip()):
        number = float(text)
        return number if math.isfinite(number) else None
    return None


def wrapped(number: int, bits: int) -> int:
    """Return a whole number as it is kept in so many bits."""
    number &= (1 << bits) - 1
    return number - (1 << bits) if number >> (bits - 1) else number


def whole(number: int | float, bits: int) -> int:
    """Return the whole part of a number in so many bits: the nearest that there is for one with a point."""
    if isinstance(number, float):
        lowest = -(1 << (bits - 1))
        return max(lowest, min(int(number), -lowest - 1))
    return wrapped(number, bits)
