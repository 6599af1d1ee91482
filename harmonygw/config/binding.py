"""A mapping as TOML gives it to the dataclass that describes it: every key known, every value of its type.

One field is one key. The field's type says what the value must be (`constraints`); a field without default
must be given. Everything wrong is reported with its key path, and what is wrong in one place hides nothing in
another.
"""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from datetime import date, datetime, time
from difflib import get_close_matches
from functools import cache
from math import isfinite
from sys import float_info
from types import MappingProxyType, NoneType, UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin, get_type_hints

from harmonygw.config.constraints import Alias, Between, Converted
from harmonygw.config.environment import Report
from harmonygw.config.locating import KeyPath
from harmonygw.errors import ConfigurationError


class _Invalid:
    """Stands for a value that was wrong, and has been reported."""


INVALID: Final = _Invalid()

_NOUNS: Mapping[type, str] = {
    str: "text",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    list: "a list",
    dict: "a table",
    datetime: "a date and time",
    date: "a date",
    time: "a time",
}


@dataclass(frozen=True, slots=True)
class Key:
    """One key of a table, as its field declares it."""

    name: str
    wanted: Any
    field: "Field[Any]"
    aliases: tuple[str, ...]

    @property
    def required(self) -> bool:
        """Whether the key has no default."""
        return self.field.default is MISSING and self.field.default_factory is MISSING

    def default(self) -> Any:
        """Return the default of a key that has one."""
        if self.field.default_factory is not MISSING:
            return self.field.default_factory()
        return self.field.default


@cache
def keys(cls: type) -> tuple[Key, ...]:
    """Return the keys of a table that `cls` describes, in the order of its fields."""
    hints = get_type_hints(cls, include_extras=True)
    return tuple(
        Key(
            one.name,
            hints[one.name],
            one,
            tuple(note.name for note in annotations(hints[one.name]) if isinstance(note, Alias)),
        )
        for one in fields(cls)
    )


def annotations(wanted: Any) -> tuple[Any, ...]:
    """Return what is annotated to a type."""
    return get_args(wanted)[1:] if get_origin(wanted) is Annotated else ()


def nearest(name: str, known: Iterable[str]) -> str:
    """Return the known name that is most like `name`, or nothing when none is like it."""
    by_lower_case = {one.lower(): one for one in sorted(known)}
    near = get_close_matches(name.lower(), by_lower_case, 1, 0.5)
    return by_lower_case[near[0]] if near else ""


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return the end of a sentence that offers the nearest known name, or all of them when none is near."""
    names = sorted(known)
    if near := nearest(name, names):
        return f'; did you mean "{near}"?'
    return f"; known: {', '.join(names)}" if names else ""


def bind(cls: type, table: object, path: KeyPath, report: Report) -> Any:
    """Return the `cls` that `table` describes.

    A key whose value is wrong is reported and gets its default, so that everything around it is looked at
    too; what comes back is then for looking at only. Returns `INVALID` when not even that is possible.
    """
    if not isinstance(table, dict):
        report(path, f"must be a table, not {_noun(table)}")
        return INVALID
    declared = keys(cls)
    wrong: set[str] = set()
    known = {name for key in declared for name in (key.name, *key.aliases)}
    for name in table:
        if name not in known:
            report((*path, name), "unknown key" + suggestion(name, (key.name for key in declared)))
            wrong.add(nearest(name, (key.name for key in declared)))
    values: dict[str, Any] = {}
    written: dict[str, str] = {}
    for key in declared:
        given = [name for name in (key.name, *key.aliases) if name in table]
        value: Any = INVALID
        if len(given) > 1:
            report((*path, given[1]), f'says the same as "{given[0]}"; give one of them')
        elif given:
            value = _value(key.wanted, table[given[0]], (*path, given[0]), report)
        elif not key.required:
            continue
        elif key.name not in wrong:
            report(path, f'"{key.name}" is missing')
        if value is not INVALID:
            values[key.name] = value
            written[key.name] = given[0]
        else:
            wrong.add(key.name)
    if any(key.required and key.name not in values for key in declared):
        return INVALID
    return _built(cls, values, written, wrong, path, report)


def _built(
    cls: type,
    values: Mapping[str, Any],
    written: Mapping[str, str],
    wrong: Collection[str],
    path: KeyPath,
    report: Report,
) -> Any:
    """Return the instance; what its class says of its keys together is reported, at the key it begins with.

    `written` are the names that the keys were given under.
    """
    try:
        return cls(**values)
    except ConfigurationError as error:
        for sentence in error.problems:
            # What is said of a key that was wrong by itself is said of its default.
            if any(f'"{name}"' in sentence for name in wrong):
                continue
            subject = re.match(r'"(\w+)" ', sentence)
            if subject is not None and subject[1] in written:
                report((*path, written[subject[1]]), sentence[subject.end() :])
            else:
                report(path, sentence)
        return INVALID


def _value(wanted: Any, value: object, path: KeyPath, report: Report) -> Any:
    kind = get_origin(wanted)
    if wanted is Any:
        return value
    if kind is Annotated:
        return _annotated(wanted, value, path, report)
    if kind in (Union, UnionType):
        return _value(_member(get_args(wanted), value), value, path, report)
    if kind is Literal:
        return _choice(get_args(wanted), value, path, report)
    if kind is tuple:
        return _sequence(get_args(wanted)[0], value, path, report)
    if kind is Mapping:
        return _mapping(get_args(wanted)[1], value, path, report)
    if is_dataclass(wanted) and isinstance(wanted, type):
        return bind(wanted, value, path, report)
    return _scalar(wanted, value, path, report)


def _member(members: tuple[Any, ...], value: object) -> Any:
    """Return the one that is a table when a table is given, else the one that is not."""
    given = [one for one in members if one is not NoneType]
    return next((one for one in given if is_dataclass(one) == isinstance(value, dict)), given[0])


def _annotated(wanted: Any, value: object, path: KeyPath, report: Report) -> Any:
    notes = annotations(wanted)
    converted = next((note for note in notes if isinstance(note, Converted)), None)
    bound = _value(get_args(wanted)[0] if converted is None else str, value, path, report)
    if bound is INVALID:
        return INVALID
    for note in notes:
        if isinstance(note, Between) and not note.low <= bound <= note.high:
            report(path, f"must be {note}, not {value}")
            return INVALID
    if converted is None:
        return bound
    try:
        return converted.function(bound)
    except ConfigurationError as error:
        report(path, error.detail)
        return INVALID


def _choice(choices: tuple[Any, ...], value: object, path: KeyPath, report: Report) -> Any:
    if value in choices and isinstance(value, str):
        return value
    if not isinstance(value, str):
        report(path, f"must be text, not {_noun(value)}")
    else:
        listed = ", ".join(f'"{choice}"' for choice in choices)
        near = get_close_matches(value.lower(), choices, 1, 0.5)
        report(path, f'must be one of {listed}, not "{value}"' + (f'; did you mean "{near[0]}"?' if near else ""))
    return INVALID


def _sequence(inner: Any, value: object, path: KeyPath, report: Report) -> Any:
    if not isinstance(value, list):
        report(path, f"must be a list, not {_noun(value)}")
        return INVALID
    bound = tuple(_value(inner, element, (*path, index), report) for index, element in enumerate(value))
    return INVALID if INVALID in bound else bound


def _mapping(inner: Any, value: object, path: KeyPath, report: Report) -> Any:
    if not isinstance(value, dict):
        report(path, f"must be a table, not {_noun(value)}")
        return INVALID
    bound = {name: _value(inner, element, (*path, name), report) for name, element in value.items()}
    return MappingProxyType({name: element for name, element in bound.items() if element is not INVALID})


def _scalar(wanted: type, value: object, path: KeyPath, report: Report) -> Any:
    if wanted is float:
        # True is an int to Python, and no TOML integer is too large for tomllib.
        if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= float_info.max:
            return float(value)
    elif type(value) is wanted:
        return value
    report(path, f"must be {_NOUNS[wanted]}, not {_noun(value)}")
    return INVALID


def _noun(value: object) -> str:
    if isinstance(value, float) and not isfinite(value):
        return str(value)
    return _NOUNS.get(type(value), type(value).__name__)
