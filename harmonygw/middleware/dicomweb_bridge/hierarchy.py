"""A Search taken apart by level (PS3.4 §C.4.1.3.1): what each level is asked, and which have to be asked at all.

The model is Study Root: the patient's attributes are the study's.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from harmonygw.dicom.web.attributes import (
    EVERY_LEVEL,
    REQUIRED,
    UNIQUE_KEYS,
    attributes_of,
    level_of,
    vr_of_tag,
)
from harmonygw.dicom.web.query import SearchQuery
from harmonygw.dicom.web.resources import Resource
from harmonygw.middleware.dicomweb_bridge.checking import LEVELS, Check, down_to, take_apart, united
from harmonygw.middleware.dicomweb_bridge.synthesis import NEVER_WITHOUT_VALUE
from harmonygw.operations import Level

UNPERFORMED = {
    "emptyvaluematching": (
        "The emptyvaluematching parameter is not supported. Empty Value Matching has not been performed."
    ),
    "multiplevaluematching": (
        "The multiplevaluematching parameter is not supported. Multiple Value Matching has not been performed."
    ),
}
"""What a client is told of a parameter that has no effect, PS3.18 §8.3.4.5 and §8.3.4.6."""

_Keys = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Plan:
    """What a Search asks of each level."""

    level: Level
    """The level searched."""
    keys: Mapping[Level, _Keys]
    """Matching keys."""
    return_keys: Mapping[Level, _Keys]
    """Attributes asked for, of the level searched and those above."""
    checks: Mapping[Level, Check]
    """What the matches of each level are held against."""
    fixed: Mapping[Level, str]
    """Unique keys of levels above with one value: they name a parent, and nobody has to look for it."""
    above: tuple[Level, ...]
    """Levels above that have to be asked first, for their keys or their attributes, top first."""
    below: tuple[Level, ...]
    """Levels below, down to the lowest that has keys, top first."""
    required: Mapping[str, Mapping[str, str]]
    """Elements without value of what every match has, whether the archive gives it or not."""
    warnings: tuple[str, ...]
    """What the client should be told whatever is found."""

    @property
    def check(self) -> Check:
        """What a match of the level searched, with the attributes of those above, is held against."""
        return united(self.checks[one] for one in down_to(self.level))


def plan(resource: Resource, query: SearchQuery) -> Plan:
    """Take a Search apart."""
    level = resource.level
    keys: dict[Level, _Keys] = {one: {} for one in LEVELS}
    return_keys: dict[Level, _Keys] = {one: {} for one in LEVELS}
    for tag, key in query.keys.items():
        keys[_level(tag, level)][tag] = key
    for tag, element in query.return_keys.items():
        return_keys[_level(tag, level)][tag] = element
    required: dict[str, dict[str, str]] = {}
    for one in resource.levels:
        for tag in (*REQUIRED[one], *(attributes_of(one) if query.include_all else ())):
            if one is level or tag not in EVERY_LEVEL:
                return_keys[one].setdefault(tag, {"vr": vr_of_tag(tag)})
        required.update((tag, {"vr": vr_of_tag(tag)}) for tag in REQUIRED[one] if tag not in NEVER_WITHOUT_VALUE)
    parts = {
        one: take_apart(keys[one], empty_values=query.emptyvaluematching, every_value=query.multiplevaluematching)
        for one in LEVELS
    }
    for one, part in parts.items():
        return_keys[one].update((tag, {"vr": keys[one][tag]["vr"]}) for tag in part.check.empty)
    upper = down_to(level)[:-1]
    fixed = {one: uids[0] for one in upper if len(uids := _uids(keys[one], one)) == 1}
    lower = LEVELS[len(upper) + 1 :]
    return Plan(
        level,
        {one: part.asked for one, part in parts.items()},
        return_keys,
        {one: part.check for one, part in parts.items()},
        fixed,
        above=tuple(one for one in upper if one not in fixed or {*keys[one], *return_keys[one]} > {UNIQUE_KEYS[one]}),
        below=max((lower[: index + 1] for index, one in enumerate(lower) if keys[one]), default=(), key=len),
        required=required,
        warnings=tuple(
            UNPERFORMED[name] for name in sorted({name for part in parts.values() for name in part.unperformed})
        ),
    )


def _level(tag: str, asked: Level) -> Level:
    level = level_of(tag)
    if level is None:
        return asked
    return Level.STUDY if level is Level.PATIENT else level


def _uids(keys: _Keys, level: Level) -> list[str]:
    uids: list[str] = keys.get(UNIQUE_KEYS[level], {}).get("Value", [])
    return uids
