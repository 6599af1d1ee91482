"""`remove`: keys of a document, and places of its arrays, that are left out."""

from typing import Any

from harmonygw.jolt.keys import Name, Pattern, alternatives, bare, fault, pattern, unescaped
from harmonygw.jolt.texts import is_index
from harmonygw.jolt.work import MAX_DEPTH, Work


class Remove:
    """The operation: `""` at a key takes it away, an object leads below it."""

    in_place = True

    def __init__(self, specification: Any, where: str) -> None:
        if not isinstance(specification, dict):
            raise fault(where, "a removal has an object")
        self._top = _Branch(specification, where, 1)

    def apply(self, document: Any, context: Any, work: Work) -> Any:
        """Take away what is to go, and return the document."""
        self._top.apply(document, work)
        return document


class _Branch:
    def __init__(self, specification: dict[str, Any], where: str, depth: int) -> None:
        if depth > MAX_DEPTH:
            raise fault(where, f"the specification is nested deeper than {MAX_DEPTH}")
        self._nodes: list[tuple[Name | Pattern, _Branch | None]] = []
        for text, value in specification.items():
            place = f"{where}.{text}"
            if isinstance(value, dict):
                branch: _Branch | None = _Branch(value, place, depth + 1)
            elif isinstance(value, str) and not value.strip():
                branch = None
            else:
                raise fault(place, 'what is removed has "", and what leads there an object')
            self._nodes += [
                (pattern(one) if "*" in bare(one) else Name(unescaped(one)), branch) for one in alternatives(text)
            ]

    def apply(self, value: Any, work: Work) -> None:
        """Take away what is to go below a value."""
        if not isinstance(value, dict | list):
            return
        gone: set[Any] = set()
        for key, branch in self._nodes:
            for found in _keys(value, key):
                work.spend()
                if branch is None:
                    gone.add(found)
                else:
                    branch.apply(value[found], work)
        if isinstance(value, list):
            value[:] = [one for index, one in enumerate(value) if index not in gone] if gone else value
        else:
            for found in gone:
                del value[found]


def _keys(value: Any, key: Name | Pattern) -> list[Any]:
    """Return the keys that match; of an array a number or `*` does."""
    if isinstance(value, list):
        if isinstance(key, Pattern):
            return list(range(len(value))) if key.matches_all else []
        return [int(key.text)] if is_index(key.text) and int(key.text) < len(value) else []
    if isinstance(key, Name):
        return [key.text] if key.text in value else []
    return [one for one in value if key.matches_all or key.taken(one)]
