"""Which tables of `[authorizations]` name the one who asks."""

from collections.abc import Mapping

from harmonygw.config.authorizations import EVERYBODY, Authorization
from harmonygw.errors import Denied
from harmonygw.exchange import AssociationOrigin, Request, Restriction


class Naming:
    """The tables that apply to a pipeline."""

    def __init__(self, tables: Mapping[str, Authorization]) -> None:
        self._named = [(_restriction(name, table), table) for name, table in tables.items()]

    def __bool__(self) -> bool:
        return bool(self._named)

    def restrictions(self, request: Request) -> tuple[Restriction, ...]:
        """Return what the one who asks is confined to; raises `Denied` when no table names him."""
        principal = request.principal or ""
        origin = request.origin
        caller = origin.calling_ae_title.strip(" ") if isinstance(origin, AssociationOrigin) else ""
        found = tuple(
            restriction
            for restriction, table in self._named
            if _is_among(principal, table.principals) or _is_among(caller, table.ae_titles)
        )
        if not found:
            found = tuple(
                restriction
                for restriction, table in self._named
                if EVERYBODY in table.principals or (caller and EVERYBODY in table.ae_titles)
            )
        if not found:
            raise Denied("You are not authorized to use this service.", log_detail="no authorization names him")
        return found


def _restriction(name: str, table: Authorization) -> Restriction:
    return Restriction(table.values_by_tag, f"authorizations.{name}")


def _is_among(name: str, patterns: tuple[str, ...]) -> bool:
    """Whether a name is among some; that of nobody is not, and `*` alone stands for nobody in particular."""
    if not name:
        return False
    return any(
        name.startswith(pattern[:-1]) if pattern.endswith("*") else name == pattern
        for pattern in patterns
        if pattern != EVERYBODY
    )
