"""`modify-overwrite-beta` and its kin: values made of values, in the document's own places."""

from enum import Enum
from typing import Any, NamedTuple

from harmonygw.jolt.children import Children, keys_of
from harmonygw.jolt.expressions import Expression, Scene, expression
from harmonygw.jolt.keys import Above, Index, Name, Pattern, bare, fault, index, plain_key
from harmonygw.jolt.shift import TOP, TOP_PLACES
from harmonygw.jolt.walk import Matched, Place, Walk
from harmonygw.jolt.work import MAX_DEPTH, MISSING, Work


class Mode(Enum):
    """Where a value is written: everywhere, where none or null is, or where none is. The sign before a key."""

    OVERWRITE = "+"
    DEFAULT = "~"
    DEFINE = "_"

    def allows(self, container: Any, key: str, size: int | None) -> bool:
        """Whether a value may be written under a key; `size` is what an array had before it was made longer."""
        if isinstance(container, dict):
            return self is Mode.OVERWRITE or (
                container.get(key) is None if self is Mode.DEFAULT else key not in container
            )
        if self is Mode.OVERWRITE:
            return True
        return container[int(key)] is None and (self is Mode.DEFAULT or int(key) >= (size or 0))


class _Scene(NamedTuple):
    """What stays the same all the way."""

    context: Any
    work: Work


class Modify:
    """The operation, in one of its modes."""

    in_place = True

    def __init__(self, specification: Any, where: str, mode: Mode) -> None:
        if not isinstance(specification, dict):
            raise fault(where, "a modification has an object")
        self._top = _Branch(_Target(Name(TOP), mode, only_present=False), specification, mode, TOP_PLACES, where)

    def apply(self, document: Any, context: Any, work: Work) -> Any:
        """Change a document, and return it."""
        matched = Matched((TOP,))
        walk = [Place(document, matched) for _ in TOP_PLACES]
        self._top.apply_to(TOP, document, matched, walk, _Scene(context, work), top=True)
        return document


class _Target(NamedTuple):
    """A key of the left side."""

    key: Any
    mode: Mode
    only_present: bool
    """Whether nothing is done where the key is missing: `?`."""


def _target(text: str, mode: Mode, where: str) -> _Target:
    if text[:1] in (one.value for one in Mode):
        mode, text = Mode(text[0]), text[1:]
    only_present = text.endswith("?") and not text.endswith("\\?")
    text = text.removesuffix("?") if only_present else text
    if bare(text).startswith("["):
        return _Target(index(text, where), mode, only_present)
    if "&" in bare(text):
        raise fault(where, 'the keys of a modification are names, patterns and places, without "&"')
    return _Target(plain_key(text, (), where), mode, only_present)


class _Leaf:
    """A key with expressions: the first that has a value gives it."""

    def __init__(self, target: _Target, expressions: list[Expression]) -> None:
        self.key, self.mode, self.only_present = target
        self._expressions = expressions

    def apply_to(self, key: str, value: Any, matched: Matched, walk: Walk, scene: _Scene) -> None:
        """Write the value."""
        container = walk[-1].value
        walk.append(Place(None if value is MISSING else value, matched))
        found: Any = MISSING
        for one in self._expressions:
            found = one(Scene(value, walk, *scene))
            if found is not MISSING:
                break
        walk.pop()
        if found is MISSING or not isinstance(container, dict | list):
            return
        if self.mode.allows(container, key, matched.size):
            _set(container, key, scene.work.copied(found, len(walk)))


class _Branch:
    """A key with an object: what is below it is modified; what is missing is made."""

    def __init__(self, target: _Target, specification: dict[str, Any], mode: Mode, above: Above, where: str) -> None:
        """`mode` is the operation's own: the sign before a key holds for that key, and not for those below it."""
        if len(above) > MAX_DEPTH:
            raise fault(where, f"the specification is nested deeper than {MAX_DEPTH}")
        self.key, self.mode, self.only_present = target
        nodes = [(text, _node(text, value, mode, above, place)) for text, value, place in keys_of(specification, where)]
        indexes = [node for _, node in nodes if isinstance(node.key, Index)]
        named = [node for _, node in nodes if not isinstance(node.key, Index) and not _matches_all(node.key)]
        if indexes and named:
            raise fault(where, "places of an array and keys of an object do not go together")
        self._kind: type | None = list if indexes else dict if named else None
        self._length = max((node.key.index + 1 for node in indexes if not node.only_present), default=0)
        for node in indexes:
            node.key = Name(str(node.key.index))
        self._children: Children[_Leaf | _Branch] = Children(nodes)
        self._as_they_come = self.mode is Mode.DEFINE and self._kind is list and bool(self._children.computed)

    def apply_to(self, key: str, value: Any, matched: Matched, walk: Walk, scene: _Scene, *, top: bool = False) -> None:
        """Modify what is below a value; `top` for the document itself."""
        if value is MISSING or value is None:
            value = None if top else self._made(key, walk)
        if value is None or (self._kind is not None and not isinstance(value, self._kind)):
            return
        size: int | None = None
        if isinstance(value, list):
            size = len(value)
            if self._kind is list and self._length > size:
                scene.work.spend(self._length - size)
                value.extend([None] * (self._length - size))
            matched = Matched(matched.captures, size)
        here = Place(value, matched)
        if top:
            walk[-1] = here
        else:
            walk.append(here)
        due = self._children.due if self._as_they_come else self._children.every_name
        for name, one, nodes in due(value, size):
            for node in nodes:
                scene.work.spend()
                found = _match(node.key, name, walk)
                if found is not None:
                    if one is not MISSING or not node.only_present:
                        node.apply_to(name, one, found, walk, scene)
                    break
        if not top:
            walk.pop()

    def _made(self, key: str, walk: Walk) -> Any:
        """Make what is missing, where it may be made and one knows what."""
        container, matched = walk[-1]
        if (
            self._kind is None
            or not isinstance(container, dict | list)
            or not self.mode.allows(container, key, matched.size)
        ):
            return None
        return _set(container, key, self._kind())


def _match(key: Any, text: str, walk: Walk) -> Matched | None:
    """Match a key; below an array, what is matched knows of the array's length."""
    found: Matched | None = key.match(text, walk)
    if found is None or walk[-1].matched.size is None:
        return found
    return Matched(found.captures, walk[-1].matched.size)


def _matches_all(key: Any) -> bool:
    return isinstance(key, Pattern) and key.matches_all


def _set(container: Any, key: str, value: Any) -> Any:
    if isinstance(container, dict):
        container[key] = value
    else:
        container[int(key)] = value
    return value


def _node(text: str, value: Any, mode: Mode, above: Above, where: str) -> _Leaf | _Branch:
    target = _target(text, mode, where)
    below = (*above, target.key.captures)
    if isinstance(value, dict) and value:
        return _Branch(target, value, mode, below, where)
    several = value if isinstance(value, list) and value else [value]
    return _Leaf(target, [expression(one, below, where) for one in several])
