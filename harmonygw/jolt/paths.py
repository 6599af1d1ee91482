r"""Paths of a specification, on its right side: where a value is written, and where one is looked up.

`a.b`, `a[0]`, `a[]` (behind the last), `a[&1]`, `a[#2]`, `a[@(1,n)]`, `a-&(1,2)`, `@(n,path)`; `\` takes the meaning
from the character behind it.
"""

from collections.abc import Callable
from typing import Any, Final

from harmonygw.jolt.keys import Above, bare, composed, fault, unescaped
from harmonygw.jolt.texts import is_index, text_of
from harmonygw.jolt.walk import Walk
from harmonygw.jolt.work import MAX_DEPTH, MISSING, Work

Evaluate = Callable[[Walk], str | None]
"""Makes a key of where the walk is; None when there is none, and then nothing is written or found."""

BEHIND_THE_LAST: Final = ""
"""The index `[]`."""


class Segment:
    """One step of a path."""

    __slots__ = ("evaluate", "in_array")

    def __init__(self, evaluate: Evaluate, in_array: bool) -> None:
        self.evaluate = evaluate
        self.in_array = in_array
        """Whether the step is into an array."""


class Lookup:
    """`@(level,path)`: the value so many levels up, or what is below it."""

    captures = 1

    def __init__(self, level: int, segments: list[Segment]) -> None:
        self._level = level
        self._segments = segments

    def value(self, walk: Walk) -> Any:
        """Return what is there, or `MISSING`."""
        return _below(walk[-1 - self._level].value, self._segments, walk)

    def key(self, walk: Walk) -> str | None:
        """Return what is there as a key: a text, a number without what is behind its point, true or false."""
        value = self.value(walk)
        if isinstance(value, float):
            return str(int(value))
        return text_of(value) if isinstance(value, str | int) else None


class ContextLookup:
    """`^path`: a value of what goes with the document."""

    def __init__(self, segments: list[Segment]) -> None:
        self._segments = segments

    def value(self, context: Any, walk: Walk) -> Any:
        """Return what is there, or `MISSING`."""
        return _below(context, self._segments, walk)


def _below(value: Any, segments: list[Segment], walk: Walk) -> Any:
    for segment in segments:
        key = segment.evaluate(walk)
        if key is None:
            return MISSING
        if isinstance(value, dict) and not segment.in_array:
            value = value.get(key, MISSING)
        elif isinstance(value, list) and is_index(key) and int(key) < len(value):
            value = value[int(key)]
        else:
            return MISSING
    return value


class Output:
    """A document that is being made. What was written to it is not changed when more is written beside it."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._top: list[Any] = [None]
        self._owned: dict[int, Any] = {}
        """The objects and arrays that were made here, by their identity."""

    @property
    def document(self) -> Any:
        """What has been made; None when nothing was written."""
        return self._top[0]

    def write(self, value: Any, segments: list[Segment], walk: Walk) -> None:
        """Write a value; what lies at its place already and the value become an array."""
        keys = [segment.evaluate(walk) for segment in segments]
        if None in keys:
            return
        self._work.spend(1 + len(keys))
        container, key = self._top, "0"
        for segment, next_key in zip(segments, keys, strict=True):
            inner = self._container(container, key, list if segment.in_array else dict)
            if inner is None or next_key is None:
                return
            container, key = inner, next_key
        self._put(container, key, value)

    def _container(self, outer: Any, key: str, kind: type[Any]) -> Any:
        """Return the object or array at a key, made or copied if need be; None when something else is there."""
        found = _at(outer, key)
        if found is None:
            return self._set(outer, key, self._own(kind()))
        if not isinstance(found, kind):
            return None
        if id(found) in self._owned:
            return found
        self._work.spend(len(found))
        return self._set(outer, key, self._own(found.copy()))

    def _put(self, container: Any, key: str, value: Any) -> None:
        found = _at(container, key)
        if found is None:
            self._set(container, key, value)
        elif not isinstance(found, list):
            self._set(container, key, self._own([found, value]))
        else:
            self._container(container, key, list).append(value)

    def _own(self, made: Any) -> Any:
        self._owned[id(made)] = made
        return made

    def _set(self, container: Any, key: str, value: Any) -> Any:
        if isinstance(container, dict):
            container[key] = value
        elif key == BEHIND_THE_LAST:
            container.append(value)
        else:
            index = int(key)
            if index >= len(container):
                self._work.spend(index - len(container))
                container.extend([None] * (index + 1 - len(container)))
            container[index] = value
        return value


def _at(container: Any, key: str) -> Any:
    if isinstance(container, dict):
        return container.get(key)
    if key == BEHIND_THE_LAST or int(key) >= len(container):
        return None
    return container[int(key)]


# Reading paths


def path(text: str, above: Above, where: str, *, writing: bool) -> list[Segment]:
    """Read a path; an empty one is the top. Raises `ConfigurationError`."""
    segments = [_segment(one, above, where, writing=writing) for one in _cut(text, where)]
    if len(segments) > MAX_DEPTH:
        raise fault(where, f'"{text[:40]}…" has more than {MAX_DEPTH} steps')
    return segments


def lookup(text: str, above: Above, where: str) -> Lookup:
    """Read `@name`, `@(n)`, `@(n,path)` or `@(path)`; raises `ConfigurationError`."""
    inner = text[1:]
    if inner.startswith("("):
        if not inner.endswith(")"):
            raise fault(where, f'"{text}" has no ")" at its end')
        inner = inner[1:-1]
    elif not inner:
        raise fault(where, '"@" alone does not belong here')
    head, comma, below = inner.partition(",")
    if not is_index(head):
        if head[:1].isdigit() and comma:
            raise fault(where, f'"{text}" has no number of levels before its ","')
        head, below = "0", inner
    level = int(head)
    if level >= len(above):
        raise fault(where, f'"{text}" goes up {level} levels, but there are {len(above) - 1} above')
    return Lookup(level, path(below, above, where, writing=False))


def _cut(text: str, where: str) -> list[str]:
    """Cut a path into its steps, `[…]` and `@(…)` each in one piece; escapes stay as they are."""
    steps = [""]
    closing = ""
    position = 0
    while position < len(text):
        character = text[position]
        if character == "\\":
            steps[-1] += text[position : position + 2]
            position += 2
            continue
        if closing:
            steps[-1] += character
            if character == closing[-1]:
                closing = closing[:-1]
                if not closing:
                    steps.append("")
            elif character == "(":
                closing += ")"
        elif character == ".":
            steps.append("")
        elif character == "[":
            steps.append("[")
            closing = "]"
        else:
            steps[-1] += character
            if character == "(" and steps[-1] == "@(":
                closing = ")"
        position += 1
    if closing:
        raise fault(where, f'"{text}" has no "{closing[-1]}" at its end')
    return [step for step in steps if step]


def _segment(text: str, above: Above, where: str, *, writing: bool) -> Segment:
    meaning = bare(text)
    if meaning.startswith("["):
        return Segment(_index(text[1:-1], above, where, writing=writing), in_array=True)
    if meaning.startswith("@"):
        return Segment(lookup(text, above, where).key, in_array=False)
    for character in "*$@#]":
        if character in meaning:
            raise fault(where, f'"{character}" does not belong into a path; "\\{character}" is the character itself')
    if "&" in meaning:
        return Segment(composed(text, above, where).text, in_array=False)
    name = unescaped(text)
    return Segment(lambda walk: name, in_array=False)


def _index(text: str, above: Above, where: str, *, writing: bool) -> Evaluate:
    if not text:
        if not writing:
            raise fault(where, '"[]" does not belong into a path that is looked up')
        return lambda walk: BEHIND_THE_LAST
    if is_index(text):
        return lambda walk: text
    if text.startswith("@"):
        return _if_index(lookup(text, above, where).key)
    if text.startswith("#") and (is_index(text[1:]) or text == "#"):
        level = int(text[1:] or 0)
        if level >= len(above):
            raise fault(where, f'"[{text}]" goes up {level} levels, but there are {len(above) - 1} above')
        return lambda walk: str(walk[-1 - level].matched.children)
    if text.startswith("&"):
        return _if_index(composed(text, above, where).text)
    raise fault(where, f'"[{text}]" is no place of an array: a number, "&", "#" or "@" and their levels')


def _if_index(evaluate: Evaluate) -> Evaluate:
    def index(walk: Walk) -> str | None:
        key = evaluate(walk)
        return key if key is not None and is_index(key) else None

    return index
