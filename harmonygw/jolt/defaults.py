"""`default`: what a document lacks, or has as null, is filled in."""

from collections.abc import Iterable
from typing import Any

from harmonygw.errors import ConfigurationError, Untransformable
from harmonygw.jolt.keys import fault
from harmonygw.jolt.texts import is_index
from harmonygw.jolt.work import MAX_DEPTH, Work


class Default:
    """The operation.

    Names come first, then `a|b` (which of these there are), then `*` (all there are). A key that ends in `[]` is an
    array's, and below it are places. An array of objects fills in the objects that are at the same places already;
    in the JOLT library an array is written whole or not at all.
    """

    in_place = True

    def __init__(self, specification: Any, where: str) -> None:
        if not isinstance(specification, dict):
            raise fault(where, "a default has an object")
        self._of_object = _Branch(specification, where, 1, of_array=False)
        try:
            self._of_array: _Branch | None = _Branch(specification, where, 1, of_array=True)
        except ConfigurationError:
            self._of_array = None

    def apply(self, document: Any, context: Any, work: Work) -> Any:
        """Fill a document in, and return it; null becomes an object."""
        document = {} if document is None else document
        if not isinstance(document, list):
            self._of_object.fill(document, work)
        elif self._of_array is None:
            raise Untransformable("the defaults are those of an object, and the document is an array")
        else:
            self._of_array.fill(document, work)
        return document


class _Branch:
    """The keys of one object or array."""

    def __init__(self, specification: dict[str, Any], where: str, depth: int, *, of_array: bool) -> None:
        if depth > MAX_DEPTH:
            raise fault(where, f"the specification is nested deeper than {MAX_DEPTH}")
        self.kind: type = list if of_array else dict
        nodes = [_Node(key, value, f"{where}.{key}", depth, of_array) for key, value in specification.items()]
        self._nodes = sorted(nodes, key=lambda node: node.rank)
        self._length = max((int(node.names[0]) + 1 for node in nodes if of_array and len(node.names) == 1), default=0)

    def fill(self, container: Any, work: Work) -> None:
        """Fill an object or an array in; anything else stays."""
        if not isinstance(container, self.kind):
            return
        if isinstance(container, list) and self._length > len(container):
            work.spend(self._length - len(container))
            container.extend([None] * (self._length - len(container)))
        for node in self._nodes:
            for key in node.keys(container):
                work.spend()
                node.fill(container, key, work)


class _Node:
    """A key of the specification and what it fills in."""

    def __init__(self, key: str, value: Any, where: str, depth: int, in_array: bool) -> None:
        is_array = key.endswith("[]")
        key = key.removesuffix("[]")
        if "*" in key and key != "*":
            raise fault(where, 'the "*" of a default stands alone')
        self.names = [] if key == "*" else key.split("|")
        if in_array and not all(map(is_index, self.names)):
            raise fault(where, "the keys of an array are its places")
        self.rank = (1, len(self.names), key) if len(self.names) > 1 else (0 if self.names else 2, 0, "")
        self._literal = value
        self._branch = _Branch(value, where, depth + 1, of_array=is_array) if isinstance(value, dict) else None

    def keys(self, container: Any) -> Iterable[Any]:
        """Return the keys of a container that are filled in."""
        if isinstance(container, list):
            there = range(len(container))
            return [int(name) for name in self.names if int(name) in there] if self.names else there
        if len(self.names) == 1:
            return self.names
        return [name for name in self.names if name in container] if self.names else list(container)

    def fill(self, container: Any, key: Any, work: Work) -> None:
        """Fill one key in."""
        found = container[key] if isinstance(container, list) else container.get(key)
        if self._branch is None:
            if found is None:
                container[key] = work.copied(self._literal)
            elif isinstance(found, list) and isinstance(self._literal, list):
                _fill_objects(found, self._literal, work)
            return
        if found is None:
            found = container[key] = self._branch.kind()
        self._branch.fill(found, work)


def _fill_objects(found: list[Any], literal: list[Any], work: Work) -> None:
    for there, wanted in zip(found, literal, strict=False):
        if isinstance(there, dict) and isinstance(wanted, dict):
            _fill(there, wanted, work)


def _fill(there: dict[str, Any], wanted: dict[str, Any], work: Work) -> None:
    for key, value in wanted.items():
        work.spend()
        found = there.get(key)
        if found is None:
            there[key] = work.copied(value)
        elif isinstance(found, dict) and isinstance(value, dict):
            _fill(found, value, work)
        elif isinstance(found, list) and isinstance(value, list):
            _fill_objects(found, value, work)
