"""Which parts go on when the configuration is read again: those that would be built from the same as before."""

from typing import Any

from twisted.logger import Logger

from harmonygw.pipeline import Context

log = Logger()


class Inheritance:
    """The parts of a house by where they are in the configuration, and what each of them was built from.

    `before` are those of the house before; what is taken of them is not changed until `renew`.
    """

    def __init__(self, before: "Inheritance | None" = None) -> None:
        self._parts: dict[str, tuple[object, Any]] = {}
        self._left = dict(before._parts) if before is not None else {}
        self._renewed: list[tuple[Any, Context]] = []

    def part(self, place: str, kind: Any, context: Context) -> Any:
        """Return the part that goes on in this place, or a new one of a kind; raises what building it raises."""
        found = getattr(kind, "foundation", None)
        foundation = found(context) if found is not None else None
        if foundation is None:
            return kind(context)
        foundation = (kind, foundation)
        part = self._heir(place, foundation)
        if part is None:
            part = kind(context)
        else:
            self._renewed.append((part, context))
        self._parts[place] = foundation, part
        return part

    def _heir(self, place: str, foundation: object) -> Any:
        """Return the one of this name, else one that is built from the same and has another name now."""
        table = place.partition(".")[0]
        for name in (place, *(one for one in self._left if one.partition(".")[0] == table)):
            known, part = self._left.get(name, (None, None))
            if known == foundation:
                del self._left[name]
                return part
        return None

    def renew(self) -> None:
        """Tell the parts that go on of the configuration that they are in now."""
        renewed, self._renewed = self._renewed, []
        for part, context in renewed:
            try:
                getattr(part, "renew", _nothing)(context)
            except Exception:  # noqa: BLE001 - a third party's part may raise anything, and there is no way back
                log.failure("{name} goes on as it was configured before", name=context.name)
        self._left.clear()


def _nothing(_context: Context) -> None:
    """Stand in for what a part need not want to know."""
