"""`cardinality`: one value made of an array, or an array of one value; and `sort`, the keys in their order."""

from typing import Any, Literal

from harmonygw.jolt.children import Children, keys_of
from harmonygw.jolt.keys import Name, bare, fault, plain_key
from harmonygw.jolt.walk import Matched, Place, Walk
from harmonygw.jolt.work import MAX_DEPTH, MISSING, Work


class Cardinality:
    """The operation: `ONE` keeps the first of an array, `MANY` puts what is none into one; `@` is the value itself."""

    in_place = True

    def __init__(self, specification: Any, where: str) -> None:
        if not isinstance(specification, dict):
            raise fault(where, "a cardinality has an object")
        self._top = _Node(Name("0"), specification, where, 1)

    def apply(self, document: Any, context: Any, work: Work) -> Any:
        """Change a document, and return it."""
        top = [document]
        self._top.apply("0", top, [Place(top, Matched(("0",)))], work)
        return top[0]


class _Node:
    def __init__(self, key: Any, specification: Any, where: str, depth: int) -> None:
        if depth > MAX_DEPTH:
            raise fault(where, f"the specification is nested deeper than {MAX_DEPTH}")
        self.key = key
        self._wanted: Literal["ONE", "MANY"] | None = None
        self._children: Children[_Node] = Children(())
        if isinstance(specification, dict):
            if not specification:
                raise fault(where, 'an empty object says neither "ONE" nor "MANY"')
            nodes = []
            for text, value, place in keys_of(specification, where):
                if bare(text) == "@":
                    self._wanted = _wanted(value, place)
                else:
                    nodes.append((text, _Node(plain_key(text, (1,) * depth, place), value, place, depth + 1)))
            self._children = Children(nodes)
        else:
            self._wanted = _wanted(specification, where)

    def apply(self, key: str, container: Any, walk: Walk, work: Work) -> None:
        """Change what is under a key, and below it."""
        place: Any = int(key) if isinstance(container, list) else key
        value = container[place]
        if self._wanted == "MANY" and not isinstance(value, list):
            value = container[place] = [] if value is None else [value]
        elif self._wanted == "ONE" and isinstance(value, list):
            value = container[place] = value[0] if value else None
        if not isinstance(value, dict | list):
            return
        for name, _, nodes in self._children.due(value):
            for node in nodes:
                work.spend()
                matched = node.key.match(name, walk)
                if matched is not None:
                    walk.append(Place(value, matched))
                    node.apply(name, value, walk, work)
                    walk.pop()
                    break


def _wanted(value: Any, where: str) -> Literal["ONE", "MANY"]:
    if value == "ONE":
        return "ONE"
    if value == "MANY":
        return "MANY"
    raise fault(where, 'a cardinality is "ONE" or "MANY"')


class Sort:
    """The operation: the keys of every object in the order of their characters, those that begin with `~` first."""

    in_place = True

    def __init__(self, specification: Any, where: str) -> None:
        if specification not in (MISSING, None, {}):
            raise fault(where, "to sort needs no specification")

    def apply(self, document: Any, context: Any, work: Work) -> Any:
        """Put the keys of a document in order, and return it."""
        if isinstance(document, dict | list):
            work.spend(1 + len(document))
        if isinstance(document, dict):
            items = sorted(document.items(), key=lambda item: (not item[0].startswith("~"), item[0]))
            document.clear()
            document.update(items)
            for one in document.values():
                self.apply(one, context, work)
        elif isinstance(document, list):
            for one in document:
                self.apply(one, context, work)
        return document
