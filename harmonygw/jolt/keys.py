r"""Keys of a specification, on its left side: which keys of a document each matches.

`name`, `*`, `tag-*`, `*-*`, `&(n,m)`, `@`, `@(n,path)`, `$(n,m)`, `#text` and `[n]`; `\` takes the meaning from the
character behind it. `above` says of every place above a key how many captures it has, so that a reference to what
there is not is found when the specification is read.
"""

import re
from typing import Any, NamedTuple, Protocol

from harmonygw.errors import ConfigurationError
from harmonygw.jolt.texts import is_index
from harmonygw.jolt.walk import Matched, Walk

Above = tuple[int, ...]
"""The number of captures of each place on the walk, from the top."""

_SPECIAL = r"[@$&*#\[\]]"
_REFERENCE = re.compile(r"[&$](?:\((\d{1,9})(?:,(\d{1,9}))?\)|(\d{1,9}))?")
_TOKENS = re.compile(r"\\(.)|([*])|(&(?:\(\d{1,9}(?:,\d{1,9})?\)|\d{1,9})?)|([^\\])", re.DOTALL)


def fault(where: str, sentence: str) -> ConfigurationError:
    """Return the error of a specification: where it is in it, and what is wrong."""
    return ConfigurationError((f"{where}: {sentence}",))


class Key(Protocol):
    """A key on the left side."""

    @property
    def captures(self) -> int:
        """How many captures what it matches has: the key, and one for each `*`."""

    def match(self, key: str, walk: Walk) -> Matched | None:
        """Return what a key of the document is to this one, or None."""


class Name:
    """A key as it is written."""

    captures = 1

    def __init__(self, text: str) -> None:
        self.text = text

    def match(self, key: str, walk: Walk) -> Matched | None:
        """Match the same."""
        return Matched((key,)) if key == self.text else None


class Pattern:
    """A key with `*` in it, each for one character or more, for as few as possible."""

    def __init__(self, parts: tuple[str, ...]) -> None:
        self.parts = parts
        """What is between the stars."""
        self.captures = 1 if self.matches_all else len(parts)

    @property
    def matches_all(self) -> bool:
        """Whether it is `*` alone."""
        return self.parts == ("", "")

    def taken(self, key: str) -> tuple[str, ...] | None:
        """Return what each star stands for, or None."""
        first, *between, last = self.parts
        end = len(key) - len(last)
        if not key.startswith(first) or not key.endswith(last):
            return None
        begin = len(first)
        stars = []
        for part in between:
            found = key.find(part, begin + 1, end)
            if found < 0:
                return None
            stars.append(key[begin:found])
            begin = found + len(part)
        return (*stars, key[begin:end]) if begin < end else None

    def match(self, key: str, walk: Walk) -> Matched | None:
        """Match any key, or one that its parts are in."""
        if self.matches_all:
            return Matched((key,), walk[-1].matched.size)
        stars = self.taken(key)
        return None if stars is None else Matched((key, *stars))


class Reference(NamedTuple):
    """`&(level,capture)` or `$(level,capture)`: a key, or what a star of it stood for, so many levels up."""

    level: int
    capture: int

    def text(self, walk: Walk) -> str:
        """Return what it refers to."""
        return walk[-1 - self.level].matched.captures[self.capture]


class Composed:
    """A text with `&` in it: on the left it matches the key that it makes."""

    captures = 1

    def __init__(self, parts: tuple[str | Reference, ...]) -> None:
        self.parts = parts

    def text(self, walk: Walk) -> str:
        """Return what it makes."""
        return "".join([part if isinstance(part, str) else part.text(walk) for part in self.parts])

    def match(self, key: str, walk: Walk) -> Matched | None:
        """Match what it makes."""
        return Matched((key,)) if key == self.text(walk) else None


class Itself:
    """`@`: the value that the walk has come to."""

    def __init__(self, captures: int) -> None:
        self.captures = captures

    def match(self, key: str, walk: Walk) -> Matched | None:
        """Stay where the walk is."""
        return walk[-1].matched


class OwnName:
    """`$`: the key that the walk has come by, as a value."""

    captures = 1

    def __init__(self, reference: Reference) -> None:
        self._reference = reference

    def match(self, key: str, walk: Walk) -> Matched | None:
        """Return the name as if it had been matched."""
        return Matched((self._reference.text(walk),))


class Constant:
    """`#text`: the text, as a value."""

    captures = 1

    def __init__(self, text: str) -> None:
        self._matched = (text,)

    def match(self, key: str, walk: Walk) -> Matched | None:
        """Return the text as if it had been matched."""
        return Matched(self._matched)


class Index:
    """`[n]`: a place of an array."""

    captures = 1

    def __init__(self, index: int) -> None:
        self.index = index


def alternatives(text: str) -> list[str]:
    r"""Return the keys that `a|b` stands for; `\|` is no such bar."""
    return re.findall(r"(?:\\.|[^|\\]|\\$)+", text, re.DOTALL) or [text]


def unescaped(text: str) -> str:
    r"""Return a text without the `\` that take meanings away."""
    return re.sub(r"\\(.)", r"\1", text, flags=re.DOTALL)


def bare(text: str) -> str:
    r"""Return what of a text has a meaning: without what stands behind a `\`."""
    return re.sub(r"\\(.|$)", "", text, flags=re.DOTALL)


def reference(text: str, above: Above, where: str) -> Reference:
    """Read `&`, `&1`, `&(1)`, `&(1,2)`, or the same with `$`."""
    found = _REFERENCE.fullmatch(text)
    if found is None:
        raise fault(where, f'"{text}" is no reference such as "{text[0]}1" or "{text[0]}(1,2)"')
    level, capture = int(found[1] or found[3] or 0), int(found[2] or 0)
    if level >= len(above):
        raise fault(where, f'"{text}" goes up {level} levels, but there are {len(above) - 1} above')
    if capture >= above[-1 - level]:
        raise fault(where, f'"{text}" wants star {capture}, but the key it refers to has {above[-1 - level] - 1}')
    return Reference(level, capture)


def composed(text: str, above: Above, where: str) -> Composed:
    """Read a text with `&` in it; raises `ConfigurationError`."""
    parts: list[str | Reference] = [""]
    for escaped, _star, ampersand, plain in _TOKENS.findall(text):
        if ampersand:
            parts.append(reference(ampersand, above, where))
        elif isinstance(parts[-1], str):
            parts[-1] += escaped or plain
        else:
            parts.append(escaped or plain)
    return Composed(tuple(part for part in parts if part != ""))


def pattern(text: str) -> Pattern:
    """Read a key with stars."""
    parts = [""]
    for escaped, star, ampersand, plain in _TOKENS.findall(text):
        if star:
            parts.append("")
        else:
            parts[-1] += escaped or ampersand or plain
    return Pattern(tuple(parts))


def index(text: str, where: str) -> Index:
    """Read `[n]`."""
    if not (text.startswith("[") and text.endswith("]") and is_index(text[1:-1])):
        raise fault(where, f'"{text}" is no place of an array such as "[0]"')
    return Index(int(text[1:-1]))


def plain_key(text: str, above: Above, where: str) -> Any:
    """Read a key that a document's key is matched by: a name, a pattern, or one with `&`."""
    meaning = bare(text)
    if found := re.search(r"[@$\[\]]", meaning):
        raise fault(where, f'"{found[0]}" does not belong here; "\\{found[0]}" is the character itself')
    if "&" in meaning:
        if "*" in meaning:
            raise fault(where, 'a key cannot have "*" and "&"')
        return composed(text, above, where)
    return pattern(text) if "*" in meaning else Name(unescaped(text))
