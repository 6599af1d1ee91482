"""Which child of a specification is at work on which key of a document, and in which order."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, Generic, Protocol, TypeVar

from harmonygw.jolt.keys import Composed, Key, Name, Pattern, alternatives, fault
from harmonygw.jolt.texts import is_index, text_of
from harmonygw.jolt.work import MISSING


class Node(Protocol):
    """A key of a specification with what is to be done there."""

    key: Any


N = TypeVar("N", bound=Node)


class Children(Generic[N]):
    """The children of one object of a specification that match keys of a document.

    A name comes before whatever else matches a key; then `&`, then patterns: more stars first, then the longer one.
    """

    def __init__(self, nodes: Iterable[tuple[str, N]]) -> None:
        self.names: dict[str, N] = {}
        computed: list[tuple[tuple[Any, ...], N]] = []
        for text, node in nodes:
            if isinstance(node.key, Name):
                self.names[node.key.text] = node
            else:
                computed.append((_rank(text, node.key), node))
        self.computed: Sequence[N] = tuple(node for _, node in sorted(computed, key=lambda one: one[0]))
        patterns = [node.key for node in self.computed if isinstance(node.key, Pattern)]
        self._in_the_order_of_the_document = len(patterns) < len(self.computed) or any(
            pattern.matches_all or pattern.taken(name) for name in self.names for pattern in patterns
        )

    def due(self, value: Any, size: int | None = None) -> Iterator[tuple[str, Any, Sequence[N]]]:
        """Yield each key of a value, what is there, and the children that may be at work on it: the first that matches.

        Of an array the keys are its indexes, of anything else but null its text; `size` is the length that an array
        had before it was made longer.
        """
        if value is None or value is MISSING:
            return
        if self._in_the_order_of_the_document:
            for key, one in _items(value, size):
                named = self.names.get(key)
                yield key, one, self.computed if named is None else (named,)
            return
        for name, node in self.names.items():
            found = _item(value, name, size)
            if found is not _NOTHING:
                yield name, found, (node,)
        if self.computed:
            for key, one in _items(value, size):
                if key not in self.names:
                    yield key, one, self.computed

    def every_name(self, value: Any, size: int | None = None) -> Iterator[tuple[str, Any, Sequence[N]]]:
        """Yield as `due` does, but all of the names first, those that the value lacks with `MISSING`."""
        for name, node in self.names.items():
            found = _item(value, name, size)
            yield name, MISSING if found is _NOTHING else found, (node,)
        if self.computed:
            for key, one in _items(value, size):
                yield key, one, self.computed


_NOTHING: Final = object()
"""No such key, where `MISSING` is a key without a value."""


def _rank(text: str, key: Key) -> tuple[Any, ...]:
    if isinstance(key, Composed):
        return 0, 0, -len(text), text
    stars = 0 if not isinstance(key, Pattern) or key.matches_all else len(key.parts) - 1
    return 1, -min(stars, 3), -len(text), text


def _items(value: Any, size: int | None) -> Iterable[tuple[str, Any]]:
    if isinstance(value, dict):
        return list(value.items())
    if isinstance(value, list):
        return [(str(index), _element(value, index, size)) for index in range(len(value))]
    return [] if value is None or value is MISSING else [(text_of(value), MISSING)]


def _item(value: Any, key: str, size: int | None) -> Any:
    if isinstance(value, dict):
        return value.get(key, _NOTHING)
    if isinstance(value, list):
        return _element(value, int(key), size) if is_index(key) and int(key) < len(value) else _NOTHING
    return MISSING if value is not MISSING and text_of(value) == key else _NOTHING


def _element(value: list[Any], index: int, size: int | None) -> Any:
    """Return an element; what only makes an array longer is missing."""
    return MISSING if size is not None and index >= size and value[index] is None else value[index]


def keys_of(specification: Mapping[str, Any], where: str) -> Iterator[tuple[str, Any, str]]:
    """Yield each key of an object of a specification, `a|b` as two: the key, what it leads to, and where that is."""
    seen: set[str] = set()
    for text, value in specification.items():
        for key in alternatives(text):
            if key in seen:
                raise fault(where, f'"{key}" is there twice')
            seen.add(key)
            yield key, value, f"{where}.{key}"
