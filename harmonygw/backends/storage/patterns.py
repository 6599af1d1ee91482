"""Where a file goes: `write_pattern`, expanded with values that nobody can climb out of the root with.

A pattern is a relative path with names in braces: `{uuid}` (a new one), `{timestamp}` (when it was stored,
UTC), `{file}` (the hash of the SOP Instance UID with `.dcm`), and any attribute by its keyword,
`{PatientID}/{Modality}/{file}`. What a peer sent is reduced to letters, digits, `.`, `_` and `-`; a value
has no say in which folders there are.
"""

import hashlib
import re
from collections.abc import Callable
from datetime import datetime
from typing import Final
from uuid import uuid4

from pydicom.datadict import tag_for_keyword

from harmonygw.errors import ConfigurationError

MAX_VALUE_LENGTH: Final = 128
"""Characters that are kept of one value: a person name may have 194, a file name 255 bytes."""

MAX_COMPONENT_LENGTH: Final = 200
"""Characters of one folder or file name, so that a suffix still fits into the 255 that are allowed."""

BY_HASH: Final = "{file}"
"""The default pattern; alone, and only then, it stands for two folders and the file."""

NO_VALUE: Final = "_"
"""Stands for a value that is absent, or of which nothing is left."""

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


class WritePattern:
    """A `write_pattern`, checked when it is read: `ConfigurationError` says what it must not hold.

    `BY_HASH`, or none, spreads the files over 65,536 folders by the hash of their SOP Instance UID.
    """

    def __init__(self, pattern: str = "") -> None:
        self._pattern = pattern or BY_HASH
        problem = _problem(pattern)
        if problem:
            raise ConfigurationError((f"write_pattern {pattern!r}: {problem}",))

    def path(self, sop_instance_uid: str, value_of: Callable[[str], str], now: datetime) -> str:
        """Return the path below the root, parted by `/`; `value_of` gives an attribute's text by keyword."""
        name = file_name(sop_instance_uid)
        if self._pattern == BY_HASH:
            return f"{name[:2]}/{name[2:4]}/{name}"

        def value(match: re.Match[str]) -> str:
            match match[1]:
                case "uuid":
                    return str(uuid4())
                case "timestamp":
                    return f"{now:%Y%m%dT%H%M%S.%fZ}"
                case "file":
                    return name
                case keyword:
                    return reduced(value_of(keyword))

        return "/".join(_component(_NAME.sub(value, part)) for part in self._pattern.split("/"))


def beside(path: str) -> str:
    """Return a name next to `path` that is not taken, for when `path` is."""
    stem, dot, extension = path.rpartition(".")
    if not dot or "/" in extension:
        return f"{path}-{uuid4().hex[:16]}"
    return f"{stem}-{uuid4().hex[:16]}.{extension}"


def _component(text: str) -> str:
    if len(text) <= MAX_COMPONENT_LENGTH:
        return text
    extension = text[-4:] if text.endswith(".dcm") else ""
    return text[: MAX_COMPONENT_LENGTH - len(extension)] + extension


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
