"""Matches held against what was asked for: an archive may ignore an optional key, and then returns too much.

Only what can be told for certain counts (UIDs, coded strings, dates), and only on attributes that a match has: a study
that is hidden does more harm than one too many.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from harmonygw.dicom.dataset.matching import DEFINITE_VRS, EMPTY_VALUE, Matcher
from harmonygw.dicom.web.attributes import UNIQUE_KEYS
from harmonygw.operations import ContestedMatch, DataSet, Level
from harmonygw.streams import Match

LEVELS = (Level.STUDY, Level.SERIES, Level.IMAGE)
"""The levels of a Search, top first."""

_WHOSE = ("00100020", "00100021")
"""PatientID and IssuerOfPatientID: matches that differ in them are never taken for one, whatever their UIDs."""


_NOTHING: dict[str, Any] = {}


def down_to(level: Level) -> tuple[Level, ...]:
    """Return the levels from the top down to one."""
    return LEVELS[: LEVELS.index(level) + 1]


def first(row: Match, tag: str) -> Any:
    """Return the first value that is not empty; None when there is none."""
    for value in row.get(tag, _NOTHING).get("Value", ()):
        if value is not None and value != "":
            return value
    return None


def text(row: Match, tag: str) -> str:
    """Return the first value that is not empty as text; empty when there is none."""
    value = first(row, tag)
    return "" if value is None else str(value)


def lacks(row: Match, tag: str) -> bool:
    """Tell whether there is no value that is not empty."""
    return first(row, tag) is None


def identity(row: Match, level: Level) -> str:
    """Return what tells one match from every other of its level."""
    found = "\n".join(text(row, tag) for tag in _IDENTITIES[level])
    return f"{found}\n{row.source}" if isinstance(row, ContestedMatch) else found


def is_of_the_same(row: Match, parent: Match) -> bool:
    """Tell whether a match belongs below another: a contested one names a patient, who must be the parent's."""
    return not isinstance(row, ContestedMatch) or all(text(row, tag) == text(parent, tag) for tag in _WHOSE)


def below(row: Match, parent: ContestedMatch) -> ContestedMatch:
    """Return a match of what a contested one holds, which is of the same patient and source."""
    return ContestedMatch({**row, **{tag: parent[tag] for tag in _WHOSE if tag in parent}}, parent.source)


def joined(row: Match, parent: Match, uids: DataSet) -> Match:
    """Return a match with the attributes of its parent and the unique keys above; contested if either is."""
    found = {**parent, **row, **uids}
    for one in (parent, row):
        if isinstance(one, ContestedMatch):
            return ContestedMatch(found, one.source)
    return found


_IDENTITIES = {level: (*(UNIQUE_KEYS[one] for one in down_to(level)), *_WHOSE) for level in LEVELS}


@dataclass(frozen=True, slots=True)
class Check:
    """The keys of one level or several, as far as matches can be held against them."""

    matchers: tuple[Matcher, ...] = ()
    """All of them have to be satisfied."""
    checkable: tuple[str, ...] = ()
    """Tags of the keys by which a match can be told to be wrong."""
    empty: tuple[str, ...] = ()
    """Tags of attributes that are to have no value (PS3.4 §C.2.2.2.7)."""

    @property
    def selective(self) -> bool:
        """Whether a match can fail."""
        return bool(self.checkable or self.empty)

    def fits(self, row: Match) -> bool:
        """Tell whether nothing speaks against a match."""
        for matcher in self.matchers:
            if matcher.definite_mismatches(row):
                return False
        return all(lacks(row, tag) for tag in self.empty)

    def unknown(self, row: Match) -> list[str]:
        """Return the tags of what cannot be told of a match, since the archive has left the attribute out."""
        unknown = [tag for tag in self.checkable if lacks(row, tag)]
        return unknown + [tag for tag in self.empty if tag not in row]


def united(checks: Iterable[Check]) -> Check:
    """Return the check that several make together."""
    parts = tuple(checks)
    return Check(
        tuple(matcher for part in parts for matcher in part.matchers),
        tuple(tag for part in parts for tag in part.checkable),
        tuple(tag for part in parts for tag in part.empty),
    )


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of one level, taken apart into what is asked of an archive and what is checked here."""

    asked: dict[str, Any]
    """Matching keys for the archive. They may match more than was meant."""
    check: Check
    unperformed: frozenset[str]
    """Parameters of the Search (`emptyvaluematching`, `multiplevaluematching`) that were not given their effect."""


def take_apart(keys: DataSet, *, empty_values: bool, every_value: bool) -> Keys:
    """Take the keys of one level apart.

    With `empty_values`, `""` means an attribute without value: everything is asked for, and what has a value is
    dropped. With `every_value`, a match has to have every value of a list (PS3.4 §C.2.2.2.8): the first is asked for,
    the others are checked, where that can be done. Neither is negotiated with an archive, and neither is done within
    a sequence.
    """
    asked: dict[str, Any] = {}
    empty: list[str] = []
    matchers: list[Matcher] = []
    unperformed: set[str] = set()
    for tag, key in keys.items():
        if key["vr"] == "SQ":
            unperformed.update(_special(key, empty_values=empty_values, every_value=every_value))
        elif empty_values and _is_empty_value(key):
            empty.append(tag)
            continue
        elif every_value and len(key["Value"]) > 1 and key["vr"] != "UI":
            key, *others = ({"vr": key["vr"], "Value": [value]} for value in key["Value"])
            matchers += (Matcher({tag: other}) for other in others)
            if key["vr"] not in DEFINITE_VRS:
                unperformed.add("multiplevaluematching")
        asked[tag] = key
    checkable = tuple(tag for tag, key in asked.items() if key["vr"] in DEFINITE_VRS)
    if checkable:
        matchers.append(Matcher({tag: asked[tag] for tag in checkable}))
    return Keys(asked, Check(tuple(matchers), checkable, tuple(empty)), frozenset(unperformed))


def _special(key: Mapping[str, Any], *, empty_values: bool, every_value: bool) -> Iterable[str]:
    """Yield the parameters that would change what the keys within a sequence mean."""
    for item in key.get("Value", ()):
        for inner in item.values():
            if inner["vr"] == "SQ":
                yield from _special(inner, empty_values=empty_values, every_value=every_value)
            elif empty_values and _is_empty_value(inner):
                yield "emptyvaluematching"
            elif every_value and len(inner.get("Value", ())) > 1 and inner["vr"] != "UI":
                yield "multiplevaluematching"


def _is_empty_value(key: Mapping[str, Any]) -> bool:
    return key.get("Value") in ([EMPTY_VALUE], [{"Alphabetic": EMPTY_VALUE}])
