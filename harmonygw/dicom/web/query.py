"""The query language of a Search: query parameters to matching keys and return keys (PS3.18 §8.3.4).

What is here is about names: of parameters, of attributes, of attributes within sequences. What a key may hold
is in `key_values`. A name that means nothing is refused: a typo must not return the whole archive.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Final, Literal, NamedTuple

from pydicom.datadict import dictionary_VM

from harmonygw.dicom.dataset.dictionary import (
    UNKNOWN_VR,
    is_private,
    keyword_of,
    nearest_keywords,
    private_vr,
    resolve_vr,
    tag_of,
    vr_of,
)
from harmonygw.dicom.web.attributes import (
    MODALITIES_IN_STUDY,
    QUERY_RETRIEVE_LEVEL,
    RETRIEVE_URL,
    SPECIFIC_CHARACTER_SET,
    UNIQUE_KEYS,
    Level,
)
from harmonygw.dicom.web.key_values import key_values
from harmonygw.dicom.web.resources import Resource
from harmonygw.errors import BadRequest, TooLarge

DataSet = dict[str, Any]
"""A data set in the DICOM JSON model (PS3.18 §F.2)."""

MAX_PARAMETERS: Final = 1000
"""Query parameters of one request, with the names in `includefield`; a form has dozens."""

MAX_PATH_DEPTH: Final = 8
"""Attributes in one dotted name. Keys of PS3.4 are nested two deep, structured reports perhaps five."""

MAX_COUNT_DIGITS: Final = 18
"""Digits of `limit` and `offset`: more than any archive holds, and what 64 bits hold."""

_FIRST_GROUP, _LAST_GROUP = 0x0008, 0xFFFD
"""Groups of a data set, PS3.5 §7.1: those below hold commands and file meta information, FFFE delimits."""

_PARAMETERS: Final = (
    "includefield",
    "limit",
    "offset",
    "fuzzymatching",
    "emptyvaluematching",
    "multiplevaluematching",
    "accept",
    "charset",
)

_NOT_MATCHED: Final = {
    SPECIFIC_CHARACTER_SET: "states an encoding and cannot be matched; a URL is always UTF-8",
    QUERY_RETRIEVE_LEVEL: "cannot be given; the path states the level",
    RETRIEVE_URL: "is made by this service and cannot be matched",
}


@dataclass(frozen=True, slots=True)
class SearchQuery:
    """What a Search asks for."""

    keys: DataSet
    """Matching keys, the UIDs of the path among them. A sequence has one item (PS3.4 §C.2.2.2.6)."""
    return_keys: DataSet
    """Attributes asked for: `includefield`, and keys that match universally. None is in `keys`."""
    include_all: bool = False
    limit: int | None = None
    """Matches on a page; None when not given."""
    offset: int = 0
    """Matches before the page."""
    fuzzymatching: bool = False
    emptyvaluematching: bool = False
    multiplevaluematching: bool = False
    accept: tuple[str, ...] = ()
    """The values of `accept`, in their order (§8.3.3.1)."""
    ignored: tuple[str, ...] = ()
    """Names of unknown keys, where the configuration says to ignore them."""


class _Attribute(NamedTuple):
    tag: str
    vr: str
    multiple: bool
    """Whether its value multiplicity allows more than one value."""


_Path = tuple[_Attribute, ...]


def parse_search(
    resource: Resource,
    pairs: Sequence[tuple[str, str]],
    *,
    unknown_keys: Literal["error", "ignore"] = "error",
) -> SearchQuery:
    """Return what `pairs`, decoded names and values in the order sent, ask of a Search `resource`.

    Raises BadRequest, naming the parameter, for a name that is no attribute (unless `unknown_keys` is
    "ignore"), a value that its VR does not allow, several values where one is allowed, and a key that
    contradicts the path; TooLarge for more than `MAX_PARAMETERS`.
    """
    general: dict[str, list[str]] = {}
    keyed: list[tuple[str, str]] = []
    for name, value in pairs:
        if name in _PARAMETERS:
            general.setdefault(name, []).append(value)
        else:
            keyed.append((name, value))
    included = [name.strip() for value in general.get("includefield", ()) for name in value.split(",")]
    if (count := len(pairs) + len(included)) > MAX_PARAMETERS:
        raise TooLarge(f"The request has {count} query parameters and fields; at most {MAX_PARAMETERS} are read.")

    names = _Names(keyed, strict=unknown_keys == "error")
    empty_allowed = _flag(general, "emptyvaluematching")
    multiple = _flag(general, "multiplevaluematching")
    texts: dict[_Path, tuple[str, list[str]]] = {}
    returned: dict[_Path, None] = {}
    for name, value in keyed:
        if path := names.path(name):
            reason = _NOT_MATCHED.get(path[-1].tag)
            if reason and value:
                raise BadRequest(f"{name} {reason}.")
            texts.setdefault(path, (name, []))[1].append(value)
    for name in included:
        if name and name != "all" and (path := names.path(name)):
            returned[path] = None

    keys: DataSet = {}
    for path, (name, given) in texts.items():
        tag, vr, several = path[-1]
        several = tag == MODALITIES_IN_STUDY or (multiple and several)
        values = key_values(name, vr, given, several=several, empty_allowed=empty_allowed)
        if values:
            _put(keys, path, {"vr": vr, "Value": values})
        else:
            returned[path] = None
    _restrict_to_path(keys, resource)
    return SearchQuery(
        keys=keys,
        return_keys=_return_keys(returned, keys),
        include_all="all" in included,
        limit=_count(general, "limit"),
        offset=_count(general, "offset") or 0,
        fuzzymatching=_flag(general, "fuzzymatching"),
        emptyvaluematching=empty_allowed,
        multiplevaluematching=multiple,
        accept=tuple(general.get("accept", ())),
        ignored=tuple(names.ignored),
    )


def _once(general: dict[str, list[str]], name: str) -> str | None:
    given = set(general.get(name, ()))
    if len(given) > 1:
        raise BadRequest(f"{name} is given twice, with different values.")
    return given.pop() if given else None


def _flag(general: dict[str, list[str]], name: str) -> bool:
    value = (_once(general, name) or "false").lower()
    if value not in ("true", "false"):
        raise BadRequest(f"{name} can be true or false.")
    return value == "true"


def _count(general: dict[str, list[str]], name: str) -> int | None:
    value = _once(general, name)
    if value is None:
        return None
    if not (value.isascii() and value.isdigit() and len(value) <= MAX_COUNT_DIGITS):
        raise BadRequest(f"{name} can be a whole number from 0, of at most {MAX_COUNT_DIGITS} digits.")
    return int(value)


def _restrict_to_path(keys: DataSet, resource: Resource) -> None:
    for level, uid in ((Level.STUDY, resource.study), (Level.SERIES, resource.series)):
        if uid:
            tag = UNIQUE_KEYS[level]
            if tag in keys and uid not in keys[tag]["Value"]:
                raise BadRequest(f"{keyword_of(int(tag, 16))} contradicts the path.")
            keys[tag] = {"vr": "UI", "Value": [uid]}


def _return_keys(returned: Iterable[_Path], keys: DataSet) -> DataSet:
    """Lay out what is asked for without value; an item's attributes join the item that `keys` has, if any."""
    return_keys: DataSet = {}
    paths = frozenset(returned)
    for path in returned:
        whole_is_asked = any(path[:length] in paths for length in range(1, len(path)))
        if not whole_is_asked and path[-1].tag not in _NOT_MATCHED:
            _put(keys if path[0].tag in keys else return_keys, path, {"vr": path[-1].vr})
    return return_keys


def _put(data_set: DataSet, path: _Path, element: DataSet) -> None:
    for attribute in path[:-1]:
        data_set = data_set.setdefault(attribute.tag, {"vr": "SQ", "Value": [{}]})["Value"][0]
    data_set.setdefault(path[-1].tag, element)


class _Names:
    """Attribute names of one request to paths. Private ones need the request's own private creators."""

    def __init__(self, keyed: Iterable[tuple[str, str]], *, strict: bool) -> None:
        self._strict = strict
        self.ignored: dict[str, None] = {}
        self._creators: dict[tuple[int, ...], str] = {}
        self._paths: dict[str, _Path | None] = {}
        for name, value in keyed:
            tags = tags_of(name)
            if tags and _is_private_creator(tags[-1]):
                self._creators[tags] = value

    def path(self, name: str) -> _Path | None:
        """Return the attributes that `name` names, outermost first; None when it is to be ignored."""
        if name not in self._paths:
            self._paths[name] = self._resolve(name)
        return self._paths[name]

    def _resolve(self, name: str) -> _Path | None:
        tags = tags_of(name)
        if tags is None:
            if self._strict:
                raise BadRequest(_unknown(name))
            self.ignored[name] = None
            return None
        if len(tags) > MAX_PATH_DEPTH:
            raise BadRequest(f"{name} names {len(tags)} attributes in one another; at most {MAX_PATH_DEPTH}.")
        path = tuple(self._attribute(name, tags[: depth + 1]) for depth in range(len(tags)))
        if any(attribute.vr != "SQ" for attribute in path[:-1]):
            raise BadRequest(f"{name} goes into an attribute that is not a sequence.")
        return path

    def _attribute(self, name: str, tags: tuple[int, ...]) -> _Attribute:
        tag = tags[-1]
        if not is_private(tag):
            return _Attribute(f"{tag:08X}", resolve_vr(vr_of(tag)), dictionary_VM(tag) != "1")
        if _is_private_creator(tag):
            return _Attribute(f"{tag:08X}", "LO", False)
        creator_tag = tag & 0xFFFF0000 | tag >> 8 & 0xFF
        creator = self._creators.get((*tags[:-1], creator_tag))
        if not creator:
            raise BadRequest(f"{name} is private; its creator {creator_tag:08X} must be given with a value.")
        vr = resolve_vr(private_vr(tag, creator))
        # Text reads the same whatever text VR the archive knows it by; a C-FIND in Implicit VR states none.
        return _Attribute(f"{tag:08X}", "LO" if vr == UNKNOWN_VR else vr, False)


def tags_of(name: str) -> tuple[int, ...] | None:
    """Return the tags of an attribute's dotted name, by keywords or by tags (PS3.18 §8.3.4.1); None when one of its
    parts is no attribute of a data set."""
    parts = name.split(".")
    tags = tuple(tag for part in parts if (tag := _tag(part)) is not None)
    return tags if len(tags) == len(parts) else None


def _tag(part: str) -> int | None:
    tag = int(part, 16) if re.fullmatch("[0-9A-Fa-f]{8}", part) else tag_of(part)
    if tag is None or not _FIRST_GROUP <= tag >> 16 <= _LAST_GROUP:
        return None
    element = tag & 0xFFFF
    if is_private(tag):
        named = 0x10 <= element <= 0xFF or element >= 0x1000
    else:
        named = element > 0 and vr_of(tag) != UNKNOWN_VR
    return tag if named else None


def _is_private_creator(tag: int) -> bool:
    return is_private(tag) and tag & 0xFFFF <= 0xFF


def _unknown(name: str) -> str:
    part = next(part for part in name.split(".") if _tag(part) is None)[:64]
    nearest = get_close_matches(part.lower(), _PARAMETERS, 1, 0.8)
    nearest += (keyword for keyword in nearest_keywords(part, 3) if _tag(keyword) is not None)
    sentence = f"{part!r} is neither an attribute nor a parameter of a Search"
    return f"{sentence}; the nearest: {', '.join(nearest)}." if nearest else f"{sentence}."
