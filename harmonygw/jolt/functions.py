"""The functions of `modify`: each takes values, and returns one, or `MISSING` for "leave it as it is"."""

import math
import re
from collections.abc import Callable
from decimal import ROUND_HALF_UP, Decimal
from types import MappingProxyType
from typing import Any, Final

import orjson

from harmonygw.jolt.texts import INT_BITS, LONG_BITS, is_int, is_number, number_of, text_of, whole, wrapped
from harmonygw.jolt.work import MISSING

Function = Callable[..., Any]
"""Called with the values of its arguments, None for one that is missing."""

MAX_PADDED: Final = 500
"""Characters of the longest text that `leftPad` and `rightPad` make."""


def _of_each(function: Function) -> Function:
    """Make a function of one value take several, or an array: it returns an array; what has no result stays."""

    def apply(*values: Any) -> Any:
        if len(values) == 1 and not isinstance(values[0], list):
            return MISSING if values[0] is None else function(values[0])
        several = values[0] if len(values) == 1 else values
        if not several:
            return MISSING
        results = [function(value) for value in several]
        return [value if result is MISSING else result for value, result in zip(several, results, strict=True)]

    return apply


def _of_list(function: Function, single: Function = lambda value: MISSING) -> Function:
    """Make a function of an array take it as one argument or as several; `single` is for one that is no array."""

    def apply(*values: Any) -> Any:
        if len(values) == 1 and not isinstance(values[0], list):
            return MISSING if values[0] is None else single(values[0])
        several = values[0] if len(values) == 1 else list(values)
        return function(several) if several else MISSING

    return apply


def _with_argument(is_right: Callable[[Any], bool], function: Function) -> Function:
    """Make a function of an argument and an array; the array may be the arguments that follow."""

    def apply(*values: Any) -> Any:
        if len(values) == 1 and isinstance(values[0], list):
            values = tuple(values[0])
        if len(values) < 2 or not is_right(values[0]):
            return MISSING
        if len(values) == 2 and not isinstance(values[1], list):
            return MISSING
        return function(values[0], values[1] if len(values) == 2 else list(values[1:]))

    return apply


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _text(function: Callable[[str], str]) -> Function:
    return _of_each(lambda value: function(value) if isinstance(value, str) else MISSING)


def _number(function: Callable[[int | float], Any]) -> Function:
    def apply(value: Any) -> Any:
        number = number_of(value)
        return MISSING if number is None else function(number)

    return _of_each(apply)


def _numbers(values: list[Any]) -> list[int | float]:
    return [number for value in values if (number := number_of(value)) is not None]


def _finite(number: float) -> Any:
    return number if math.isfinite(number) else MISSING


def _to_boolean(value: Any) -> Any:
    if isinstance(value, bool):
        return value
    return {"true": True, "false": False}.get(value.lower(), MISSING) if isinstance(value, str) else MISSING


def _absolute(number: int | float) -> int | float:
    if isinstance(number, float):
        return abs(number)
    return wrapped(abs(number), INT_BITS if is_int(number) else LONG_BITS)


def _join(separator: str, values: list[Any]) -> str:
    return separator.join([text for value in values if value is not None and (text := text_of(value))])


def split_by(separator: "re.Pattern[str]") -> Function:
    """Return the function that splits a text at an expression; empty texts at its end are left out."""

    def split(value: Any) -> Any:
        if not isinstance(value, str):
            return MISSING
        parts, begin = [], 0
        for found in separator.finditer(value):
            if found.end() > 0:
                parts.append(value[begin : found.start()])
                begin = found.end()
        parts.append(value[begin:])
        while len(parts) > 1 and not parts[-1]:
            parts.pop()
        return [] if parts == [""] and value else parts

    return _of_each(split)


def _split(*values: Any) -> Any:
    """Split at a text that is known only now: it is no expression, whoever has chosen it."""
    if len(values) < 2 or not isinstance(values[0], str) or not values[0]:
        return MISSING
    return split_by(re.compile(re.escape(values[0])))(*values[1:])


def _substring(values: list[Any]) -> Any:
    match values:
        case [str(text), begin, end] if is_int(begin) and is_int(end) and 0 <= begin < end <= len(text):
            return text[begin:end]
    return MISSING


def _padded(to_the_left: bool) -> Function:
    def apply(text: str, values: list[Any]) -> Any:
        match values:
            case [width, str(filler), *_] if is_int(width) and 0 < width <= MAX_PADDED and len(filler) == 1:
                return text.rjust(width, filler) if to_the_left else text.ljust(width, filler)
        return MISSING

    return _with_argument(_is_text, apply)


def _subtract(is_right: Callable[[Any], bool], result: Callable[[Any], Any]) -> Function:
    def apply(values: list[Any]) -> Any:
        if len(values) != 2 or not all(map(is_right, values)):
            return MISSING
        return result(values[0] - values[1])

    return _of_list(apply)


def _divide(values: list[Any]) -> Any:
    if len(values) != 2:
        return MISSING
    numbers = _numbers(values)
    return _finite(numbers[0] / numbers[1]) if len(numbers) == 2 and numbers[1] else MISSING


def _divide_and_round(digits: int, values: list[Any]) -> Any:
    quotient = _divide(values)
    if quotient is MISSING or not 0 <= digits <= 15 or abs(quotient) >= 1e15:
        return quotient
    return float(Decimal(quotient).quantize(Decimal(1).scaleb(-digits), rounding=ROUND_HALF_UP))


def _average(values: list[Any]) -> Any:
    numbers = _numbers(values)
    return _finite(sum(map(float, numbers)) / len(numbers)) if numbers else MISSING


def _extreme(pick: Callable[..., Any]) -> Function:
    def apply(values: list[Any]) -> Any:
        numbers = _numbers(values)
        return pick(numbers) if numbers else MISSING

    return _of_list(apply, lambda value: value if is_number(value) else MISSING)


def _sum(bits: int) -> Function:
    return _of_list(lambda values: wrapped(sum(whole(number, bits) for number in _numbers(values)), bits))


def _size(*values: Any) -> Any:
    if len(values) != 1:
        return len(values) or MISSING
    return len(values[0]) if isinstance(values[0], str | list | dict) else MISSING


def _at(index: int, values: list[Any]) -> Any:
    return values[index] if 0 <= index < len(values) else MISSING


def _sorted(values: list[Any]) -> Any:
    kinds = {type(value) for value in values}
    return sorted(values) if len(kinds) == 1 and kinds <= {str, int, float, bool} else MISSING


def _first(test: Callable[[Any], bool]) -> Function:
    return lambda *values: values[0] if values and test(values[0]) else MISSING


def _coalesce(*values: Any) -> Any:
    several = values[0] if len(values) == 1 and isinstance(values[0], list) else values
    return next((value for value in several if value is not None), MISSING)


def _of_whole(function: Function) -> Function:
    """Make a function of one value, whatever it is; several are an array."""

    def apply(*values: Any) -> Any:
        value = values[0] if len(values) == 1 else list(values)
        return MISSING if value is None or value == [] else function(value)

    return apply


def _without_nulls(value: Any) -> Any:
    if isinstance(value, list):
        return [one for one in value if one is not None]
    return {key: one for key, one in value.items() if one is not None} if isinstance(value, dict) else value


def _without_nulls_below(value: Any) -> Any:
    squashed = _without_nulls(value)
    if isinstance(squashed, list):
        return [_without_nulls_below(one) for one in squashed]
    if isinstance(squashed, dict):
        return {key: _without_nulls_below(one) for key, one in squashed.items()}
    return squashed


def _without_duplicates(value: Any) -> Any:
    """Leave out what was there before; 1, 1.0 and true are three different values."""
    if not isinstance(value, list):
        return value
    first: dict[bytes, Any] = {}
    for one in value:
        first.setdefault(orjson.dumps(one, option=orjson.OPT_SORT_KEYS), one)
    return list(first.values())


FUNCTIONS: Final = MappingProxyType(
    {
        "toLower": _text(str.lower),
        "toUpper": _text(str.upper),
        "trim": _text(lambda text: text.strip("".join(map(chr, range(33))))),
        "concat": _of_list(lambda values: "".join([text_of(value) for value in values if value is not None])),
        "join": _with_argument(_is_text, _join),
        "split": _split,
        "substring": _of_list(_substring),
        "leftPad": _padded(to_the_left=True),
        "rightPad": _padded(to_the_left=False),
        "min": _extreme(min),
        "max": _extreme(max),
        "abs": _number(_absolute),
        "avg": _of_list(_average),
        "intSum": _sum(INT_BITS),
        "longSum": _sum(LONG_BITS),
        "doubleSum": _of_list(lambda values: _finite(float(sum(map(float, _numbers(values)))))),
        "intSubtract": _subtract(is_int, lambda number: wrapped(number, INT_BITS)),
        "longSubtract": _subtract(lambda value: type(value) is int, lambda number: wrapped(number, LONG_BITS)),
        "doubleSubtract": _subtract(lambda value: isinstance(value, float), _finite),
        "divide": _of_list(_divide),
        "divideAndRound": _with_argument(is_int, _divide_and_round),
        "toInteger": _number(lambda number: whole(number, INT_BITS)),
        "toLong": _number(lambda number: whole(number, LONG_BITS)),
        "toDouble": _number(float),
        "toBoolean": _of_each(_to_boolean),
        "toString": _of_each(text_of),
        "size": _size,
        "squashNulls": _of_whole(_without_nulls),
        "recursivelySquashNulls": _of_whole(_without_nulls_below),
        "squashDuplicates": _of_whole(_without_duplicates),
        "noop": lambda *values: MISSING,
        "isPresent": _first(lambda value: True),
        "notNull": _first(lambda value: value is not None),
        "isNull": _first(lambda value: value is None),
        "coalesce": _coalesce,
        "firstElement": _of_list(lambda values: values[0]),
        "lastElement": _of_list(lambda values: values[-1]),
        "elementAt": _with_argument(is_int, _at),
        "toList": _of_list(lambda values: values, lambda value: [value]),
        "sort": _of_list(_sorted, lambda value: value),
    }
)
"""The functions by their names."""
