"""`shift`: a new document of what a specification finds in one, each value at the paths that it names."""

from typing import Any, Final

from harmonygw.jolt.children import Children, keys_of
from harmonygw.jolt.keys import (
    Above,
    Constant,
    Itself,
    Key,
    OwnName,
    bare,
    fault,
    plain_key,
    reference,
    unescaped,
)
from harmonygw.jolt.paths import Lookup, Output, Segment, lookup, path
from harmonygw.jolt.walk import Matched, Place, Walk
from harmonygw.jolt.work import MAX_DEPTH, MISSING, Work

TOP: Final = "root"
"""The key of the whole document, as `&` and `$` see it."""

TOP_PLACES: Final = (1, 1)
"""The captures of the places that a walk begins with: JOLT has the document there twice, and specifications know it."""


class Shift:
    """The operation. When it finds nothing, the new document is null."""

    in_place = False

    def __init__(self, specification: Any, where: str) -> None:
        if not isinstance(specification, dict):
            raise fault(where, "a shift has an object")
        self._top = _Branch(Itself(1), specification, TOP_PLACES, where)

    def apply(self, document: Any, context: Any, work: Work) -> Any:
        """Return a new document."""
        output = Output(work)
        self._top.descend(document, [Place(document, Matched((TOP,))) for _ in TOP_PLACES], output, work)
        return output.document


class _Branch:
    """A key of the specification with an object: what is below the key of the document is looked at."""

    def __init__(self, key: Any, specification: dict[str, Any], above: Above, where: str) -> None:
        if not specification:
            raise fault(where, "an empty object says nothing of where a value goes")
        if len(above) > MAX_DEPTH:
            raise fault(where, f"the specification is nested deeper than {MAX_DEPTH}")
        self.key = key
        nodes = [(text, _node(text, value, above, place)) for text, value, place in keys_of(specification, where)]
        self._special = [node for _, node in nodes if isinstance(node.key, Itself | OwnName | Constant | Lookup)]
        self._children = Children((text, node) for text, node in nodes if node not in self._special)

    def apply(self, key: str, value: Any, walk: Walk, output: Output, work: Work) -> bool:
        """Look below a key, if it matches; whether it does."""
        work.spend()
        if isinstance(self.key, Lookup):
            value = self.key.value(walk)
            matched: Matched | None = None if value is MISSING else walk[-1].matched
        else:
            matched = self.key.match(key, walk)
        if matched is None:
            return False
        walk.append(Place(None if value is MISSING else value, matched))
        self.descend(value, walk, output, work)
        walk.pop()
        walk[-1].matched.children += 1
        return True

    def descend(self, value: Any, walk: Walk, output: Output, work: Work) -> None:
        """Let the children do their work below a value that the walk has come to."""
        for special in self._special:
            special.apply("", value, walk, output, work)
        for key, one, nodes in self._children.due(value):
            for node in nodes:
                if node.apply(key, one, walk, output, work):
                    break


class _Leaf:
    """A key of the specification with paths: the value is written to each of them."""

    def __init__(self, key: Any, paths: list[list[Segment]]) -> None:
        self.key = key
        self._paths = paths

    def apply(self, key: str, value: Any, walk: Walk, output: Output, work: Work) -> bool:
        """Write a value, if its key matches; whether it does."""
        work.spend()
        found = None if value is MISSING else value
        written = found
        if isinstance(self.key, Lookup):
            written = self.key.value(walk)
            matched = None if written is MISSING else walk[-1].matched
        else:
            matched = self.key.match(key, walk)
        if matched is None:
            return False
        if isinstance(self.key, OwnName | Constant):
            written = matched.key
        walk.append(Place(found, matched))
        for segments in self._paths:
            output.write(written, segments, walk)
        walk.pop()
        if not isinstance(self.key, Itself | OwnName | Constant | Lookup):
            walk[-1].matched.children += 1
        return True


def _node(text: str, value: Any, above: Above, where: str) -> _Branch | _Leaf:
    key = _key(text, above, where)
    below = (*above, key.captures)
    if isinstance(value, dict):
        if isinstance(key, Itself | OwnName):
            raise fault(where, f'"{text}" is a value: it has no object below it, only paths')
        return _Branch(key, value, below, where)
    texts = value if isinstance(value, list) else [] if value is None else [value]
    for one in texts:
        if not isinstance(one, str):
            raise fault(where, "a key has a path, a list of paths, an object or null")
    return _Leaf(key, [path(one, below, where, writing=True) for one in texts])


def _key(text: str, above: Above, where: str) -> Any:
    """Read a key of the left side; raises `ConfigurationError`."""
    meaning = bare(text)
    if meaning == "@":
        return Itself(above[-1])
    if meaning.startswith("@"):
        return lookup(text, above, where)
    if meaning.startswith("$"):
        return OwnName(reference(text, above, where))
    if meaning.startswith("#"):
        constant = unescaped(text[1:])
        if constant.startswith("(") and constant.endswith(")"):
            constant = constant[1:-1]
        if not constant:
            raise fault(where, '"#" is followed by the text that is written')
        return Constant(constant)
    key: Key = plain_key(text, above, where)
    return key
