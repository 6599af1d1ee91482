"""Matching keys and return keys to the path and the query parameters of a Search (PS3.18 §8.3.4 and §10.6).

It is what `query` reads, written: for an origin server that is asked on behalf of a C-FIND. The unique keys of the
levels above go into the path as far as they are single and without a gap; everything else is a parameter. Attributes
are named by keyword where they have one, and nested by dots; several values of a key are joined by commas, which
servers read as a list, while hardly one reads a backslash so.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from harmonygw.dicom.dataset.dictionary import BINARY_VRS, keyword_of
from harmonygw.dicom.dataset.part10 import encode_uid
from harmonygw.dicom.web.attributes import EVERY_LEVEL, REQUIRED, UNIQUE_KEYS, Level
from harmonygw.errors import BadRequest

DataSet = Mapping[str, Any]
"""A data set in the DICOM JSON model (PS3.18 §F.2)."""

MAX_KEY_DEPTH: Final = 8
"""Sequences around a key at most: those of PS3.4 are nested two deep, and each level lengthens the URL."""

MAX_UIDS: Final = 60
"""UIDs in one parameter at most: 4 KB with the longest, half of what servers take as a URL. Longer lists are asked for
in several requests."""

_RESOURCES: Final = {
    Level.STUDY: "studies",
    Level.SERIES: "series",
    Level.IMAGE: "instances",
}
"""Where matches of a level are searched; there is no resource of patients."""

_ABOVE: Final = {
    Level.STUDY: (),
    Level.SERIES: (Level.STUDY,),
    Level.IMAGE: (Level.STUDY, Level.SERIES),
}
_GROUP_NAMES: Final = ("Alphabetic", "Ideographic", "Phonetic")


class Search(NamedTuple):
    """One request for matches."""

    path: tuple[str, ...]
    """Segments of the resource's path."""
    parameters: tuple[tuple[str, str], ...]
    """Names and values, to be percent-encoded as UTF-8."""
    named: Mapping[str, str]
    """The UIDs in the path, by tag: each match has them, said or not."""
    unmatched: tuple[str, ...] = ()
    """Names of keys whose value no URL can carry: they restrict nothing, and matches are to be held against them."""


def write_searches(level: Level, keys: DataSet, return_keys: DataSet, *, fuzzy_matching: bool = False) -> list[Search]:
    """Return the requests that find together what matches `keys`; one, unless a list of UIDs is long.

    Several requests have no match in common. Raises `BadRequest` for a UID that is none, and for keys nested deeper
    than `MAX_KEY_DEPTH`.
    """
    key = next((tag for tag in _unique_keys(level) if len(_texts(keys.get(tag, {}))) > MAX_UIDS), None)
    if key is None:
        return [_search(level, keys, return_keys, fuzzy_matching=fuzzy_matching)]
    uids = list(dict.fromkeys(_texts(keys[key])))
    return [
        search
        for start in range(0, len(uids), MAX_UIDS)
        for search in write_searches(
            level,
            {**keys, key: {"vr": "UI", "Value": uids[start : start + MAX_UIDS]}},
            return_keys,
            fuzzy_matching=fuzzy_matching,
        )
    ]


def _unique_keys(level: Level) -> list[str]:
    """Return the unique keys that are UIDs, down to a level: what has one UID of a list has no other."""
    return [UNIQUE_KEYS[one] for one in (*_ABOVE[level], level)]


def _search(level: Level, keys: DataSet, return_keys: DataSet, *, fuzzy_matching: bool) -> Search:
    path: tuple[str, ...] = ()
    named: dict[str, str] = {}
    for above in _ABOVE[level]:
        uids = _texts(keys.get(UNIQUE_KEYS[above], {}))
        if len(uids) != 1 or "*" in uids[0] or "?" in uids[0]:
            break
        encode_uid(uids[0])
        path += (_RESOURCES[above], uids[0])
        named[UNIQUE_KEYS[above]] = uids[0]
    parameters: list[tuple[str, str]] = []
    included: dict[str, None] = {}
    unmatched: list[str] = []
    for tag, key in keys.items():
        if tag in named or not _is_named(tag):
            continue
        matching = list(_matching((tag,), key, unmatched))
        parameters += matching
        if not matching or key.get("vr") == "SQ":
            included[tag] = None
    included.update(dict.fromkeys(filter(_is_named, return_keys)))
    asked = [tag for tag in included if tag not in REQUIRED[level]]
    if asked:
        parameters.append(("includefield", ",".join(map(_name, asked))))
    if fuzzy_matching:
        parameters.append(("fuzzymatching", "true"))
    return Search((*path, _RESOURCES[level]), tuple(parameters), named, tuple(unmatched))


def _is_named(tag: str) -> bool:
    """Tell whether an attribute can be asked for: it is in the data set, and of what is found."""
    return tag not in EVERY_LEVEL and tag[4:] != "0000" and tag[:4] > "0007"


def _matching(path: tuple[str, ...], key: Mapping[str, Any], unmatched: list[str]) -> Iterator[tuple[str, str]]:
    """Yield the parameters of a key, those of a sequence's one item among them (PS3.4 §C.2.2.2.6)."""
    name = ".".join(map(_name, path))
    if len(path) > MAX_KEY_DEPTH:
        raise BadRequest(f"a key is nested deeper than MAX_KEY_DEPTH ({MAX_KEY_DEPTH})")
    if key.get("vr") == "SQ":
        for item in key.get("Value") or ():
            for tag, inner in item.items():
                yield from _matching((*path, tag), inner, unmatched)
        return
    if key.get("vr") in BINARY_VRS:
        if "InlineBinary" in key:
            unmatched.append(name)
        return
    texts = _texts(key)
    if any(text.strip("*") for text in texts):
        if key.get("vr") == "UI":
            for uid in texts:
                encode_uid(uid)
        yield name, ",".join(texts)


def _name(tag: str) -> str:
    return keyword_of(int(tag, 16)) or tag


def _texts(key: Mapping[str, Any]) -> list[str]:
    """Return the values of a key as text, without empty ones."""
    return [text for value in key.get("Value") or () if (text := _text(value))]


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return "=".join(str(value.get(name, "")) for name in _GROUP_NAMES).rstrip("=")
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return "" if value is None else str(value)
