"""Where a file goes and where it is read: patterns, expanded with values that nobody can climb out of the root with.

A pattern is a relative path with names in braces: `{uuid}` (a new one), `{timestamp}` (when it was stored,
UTC), `{file}` (of an instance the hash of its SOP Instance UID with `.dcm`; of an upload the name that its sender gave
it), and any attribute by its keyword, `{PatientID}/{Modality}/{file}`. What a peer sent is reduced to letters,
digits, `.`, `_` and `-`; a value has no say in which folders there are.
"""

import hashlib
import re
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final
from uuid import uuid4

from pydicom.datadict import tag_for_keyword

from harmonygw.errors import ConfigurationError

MAX_VALUE_LENGTH: Final = 128
"""Characters that are kept of one value: a person name may have 194, a file name 255 bytes."""

MAX_COMPONENT_LENGTH: Final = 200
"""Characters of one folder or file name, so that a suffix still fits into the 255 that are allowed."""

MAX_EXTENSION_LENGTH: Final = 16
"""Characters of what follows the last dot of a name that is kept when the name is cut."""

BY_HASH: Final = "{file}"
"""The default pattern; alone, and only then, it stands for two folders and the file of an instance."""

NO_VALUE: Final = "_"
"""Stands for a value that is absent, or of which nothing is left."""

ValueOf = Callable[[str], str]
"""Returns an attribute's text by its keyword, `""` when there is none."""

_NAME: Final = re.compile(r"\{([A-Za-z0-9]+)\}")
_LITERAL: Final = re.compile(r"[A-Za-z0-9._/-]*")
_UNFIT: Final = re.compile(r"[^A-Za-z0-9._-]+")
_OWN_NAMES: Final = ("uuid", "timestamp", "file")


def file_name(sop_instance_uid: str) -> str:
    """Return the name of an instance's file: a hash, since a UID may hold what no file name should."""
    return hashlib.sha256(sop_instance_uid.encode("utf-8", "surrogatepass")).hexdigest() + ".dcm"


def reduced(value: str) -> str:
    """Return `value` with each run of unfit characters made `_`, without leading dots, cut, never empty."""
    return _UNFIT.sub("_", value).lstrip(".")[:MAX_VALUE_LENGTH] or NO_VALUE


def reduced_file_name(given: str) -> str:
    """Return the name that a sender gave to a file, reduced; without its folders, `""` when nothing is left of it."""
    name = _UNFIT.sub("_", re.split(r"[/\\]", given)[-1]).lstrip(".")
    return _cut(name, MAX_VALUE_LENGTH) if name.strip("_") else ""


class _Pattern:
    """A pattern that is checked when it is read: `ConfigurationError` says what it must not hold."""

    key = ""
    """Where it stands in the options."""

    def __init__(self, pattern: str = "") -> None:
        self._pattern = pattern or BY_HASH
        problem = _problem(pattern)
        if problem:
            raise ConfigurationError((f"{self.key} {pattern!r}: {problem}",))

    def _expanded(self, value_of: ValueOf) -> str:
        """Return the path with every name replaced by what `value_of` returns, as it is."""
        parts = self._pattern.split("/")
        return "/".join(_cut(_NAME.sub(lambda match: value_of(match[1]), part), MAX_COMPONENT_LENGTH) for part in parts)


class WritePattern(_Pattern):
    """A `write_pattern`.

    `BY_HASH`, or none, spreads instances over 65,536 folders by the hash of their SOP Instance UID.
    """

    key = "write_pattern"

    def path(self, sop_instance_uid: str, value_of: ValueOf, now: datetime) -> str:
        """Return the path of an instance below the root, parted by `/`."""
        name = file_name(sop_instance_uid)
        if self._pattern == BY_HASH:
            return f"{name[:2]}/{name[2:4]}/{name}"
        return self.path_of_file(name, value_of, now)

    def path_of_file(self, name: str, value_of: ValueOf, now: datetime) -> str:
        """Return the path of a file with a name that has been reduced, or that we made."""

        def value(keyword: str) -> str:
            match keyword:
                case "uuid":
                    return str(uuid4())
                case "timestamp":
                    return f"{now:%Y%m%dT%H%M%S.%fZ}"
                case "file":
                    return name
                case _:
                    return reduced(value_of(keyword))

        return self._expanded(value)


class ReadPattern(_Pattern):
    """A `read_pattern`: `{file}` is what a reader names, folders and all; what else it names comes from the reader."""

    key = "read_pattern"

    def path(self, name: Sequence[str], value_of: ValueOf) -> str | None:
        """Return the path below the root, None when no file can have it."""
        if not name or any(segment != reduced(segment) for segment in name):
            return None
        found = "/".join(name)
        parts = self._pattern.split("/")
        return "/".join(
            _NAME.sub(lambda match: found if match[1] == "file" else reduced(value_of(match[1])), part)
            for part in parts
        )

    def name_of(self, path: str) -> str | None:
        """Return the name by which a file is read, None when no name by itself leads to it."""
        before, file, after = self._pattern.partition("{file}")
        if not file or _NAME.search(before + after) or not (path.startswith(before) and path.endswith(after)):
            return None
        return path[len(before) : len(path) - len(after)] or None


def beside(path: str) -> str:
    """Return a name next to `path` that is not taken, for when `path` is."""
    stem, dot, extension = path.rpartition(".")
    if not dot or "/" in extension:
        return f"{path}-{uuid4().hex[:16]}"
    return f"{stem}-{uuid4().hex[:16]}.{extension}"


def _cut(name: str, length: int) -> str:
    """Return a name that is not too long, and keeps its extension."""
    if len(name) <= length:
        return name
    _, dot, extension = name.rpartition(".")
    kept = f".{extension}" if dot and 0 < len(extension) <= MAX_EXTENSION_LENGTH else ""
    return name[: length - len(kept)] + kept


def _problem(pattern: str) -> str:
    for name in _NAME.findall(pattern):
        if name not in _OWN_NAMES and tag_for_keyword(name) is None:
            return f"{{{name}}} is neither one of {{uuid}}, {{timestamp}}, {{file}} nor an attribute's keyword"
    literal = _NAME.sub("x", pattern)
    if not _LITERAL.fullmatch(literal):
        return "outside its names it may hold letters, digits, '.', '_', '-' and '/' only"
    if pattern and any(part == "" or part.startswith(".") for part in literal.split("/")):
        return "it must be a relative path whose parts are not empty and do not begin with a dot"
    return ""
