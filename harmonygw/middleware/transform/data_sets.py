"""What C-FIND asks and answers, as documents of DICOM JSON that a specification can change."""

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from harmonygw.dicom.web.attributes import (
    QUERY_RETRIEVE_LEVEL,
    SPECIFIC_CHARACTER_SET,
    UNIQUE_KEYS,
    Level,
    level_of,
    vr_of_tag,
)
from harmonygw.errors import Untransformable
from harmonygw.operations import DataSet, Find, Matches
from harmonygw.streams import Match

_TAG: Final = re.compile(r"[0-9A-Fa-f]{8}")
_VR: Final = re.compile(r"[A-Z]{2}")
_VALUES: Final = frozenset({"Value", "InlineBinary", "BulkDataURI"})
_LEVELS: Final = tuple(Level)


def with_identifier(query: Any, document: Any) -> Any:
    """Return a query with another identifier; its level stays. Raises `Untransformable` for what is none."""
    identifier = data_set_of(document)
    return _of_find(query, identifier) if isinstance(query, Find) else replace(query, identifier=identifier)


def _of_find(find: Find, identifier: dict[str, Any]) -> Find:
    level = identifier.pop(QUERY_RETRIEVE_LEVEL, {}).get("Value")
    if level and level != [find.level]:
        raise Untransformable(f"the level of a query stays as it is, {find.level}")
    identifier.pop(SPECIFIC_CHARACTER_SET, None)
    keys = {tag: one for tag, one in identifier.items() if one.get("Value") or "InlineBinary" in one}
    return_keys = {tag: {"vr": one["vr"]} for tag, one in identifier.items() if tag not in keys}
    relational = find.relational or _of_upper_levels(find.level, keys) != _of_upper_levels(find.level, find.keys)
    return replace(find, keys=keys, return_keys=return_keys, relational=relational)


def _of_upper_levels(level: Level, keys: DataSet) -> set[str]:
    """Return which keys are of levels above; at the study's the patient's are its own (PS3.4 §C.6.2.1.2)."""
    upper = _LEVELS[: _LEVELS.index(level)] if level not in (Level.PATIENT, Level.STUDY) else ()
    return {tag for tag in keys if level_of(tag) in upper or tag in (UNIQUE_KEYS[one] for one in upper)}


def data_set_of(document: Any) -> dict[str, Any]:
    """Return a document as a data set, its tags in upper case and in order, with the VRs that it lacks.

    Raises `Untransformable` for what is no data set in the DICOM JSON model (PS3.18 §F.2).
    """
    if not isinstance(document, dict):
        raise Untransformable("the result is no data set: an object of DICOM JSON")
    data_set: dict[str, Any] = {}
    for tag, attribute in document.items():
        if not _TAG.fullmatch(tag):
            raise Untransformable(f'the result is no data set: "{tag[:40]}" is no tag of eight hexadecimal digits')
        if not isinstance(attribute, dict):
            raise Untransformable(f"the result is no data set: {tag} has no object with vr and Value")
        data_set[tag.upper()] = _attribute(tag.upper(), attribute)
    return dict(sorted(data_set.items()))


def _attribute(tag: str, attribute: Mapping[str, Any]) -> dict[str, Any]:
    vr = attribute.get("vr", vr_of_tag(tag))
    if not isinstance(vr, str) or not _VR.fullmatch(vr):
        raise Untransformable(f"the result is no data set: the vr of {tag} is no VR")
    if not isinstance(attribute.get("Value", []), list):
        raise Untransformable(f"the result is no data set: the Value of {tag} is no array")
    if unknown := attribute.keys() - _VALUES - {"vr"}:
        raise Untransformable(f"the result is no data set: {tag} has {min(unknown)[:40]}")
    return {**attribute, "vr": vr}


class TransformedMatches:
    """Matches, each changed as it comes."""

    def __init__(self, matches: Matches, change: Callable[[Match], Awaitable[Match]]) -> None:
        self._matches = matches
        self._change = change

    @property
    def warnings(self) -> list[str]:
        """What the reader should be warned of."""
        return self._matches.warnings

    def __aiter__(self) -> "TransformedMatches":
        return self

    async def __anext__(self) -> Match:
        match = await self._matches.__anext__()
        try:
            return await self._change(match)
        except BaseException:
            await self._matches.aclose()
            raise

    async def aclose(self) -> None:
        """Give the matches up."""
        await self._matches.aclose()
