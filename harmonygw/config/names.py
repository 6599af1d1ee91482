"""Names that one table uses for another, and names of types: looked up, or reported with the nearest that is
known."""

from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Any

from harmonygw.config.binding import INVALID, bind, suggestion
from harmonygw.config.locating import KeyPath
from harmonygw.config.options import BACKENDS, ENDPOINTS, MIDDLEWARE, RULES, TypeFamily
from harmonygw.config.reading import Document
from harmonygw.config.system import Registration
from harmonygw.config.tables import Tables

PREFIX = "authentications."
"""What may stand before the name of an authentication that is referred to."""


class Names:
    """What the tables of one document are called, and the types that they may name."""

    def __init__(self, tables: Tables, document: Document) -> None:
        self.tables = tables
        self.document = document
        self._foreign = {
            ENDPOINTS.noun: _foreign(tables.services),
            BACKENDS.noun: _foreign(tables.services),
            MIDDLEWARE.noun: _foreign(tables.middleware_types),
            RULES.noun: (),
        }

    def known(self, kind: str, name: str, path: KeyPath, noun: str) -> bool:
        """Return whether a table of this kind is defined, rightly or wrongly; report when none is.

        While a file could not be read nothing is reported: the table may stand in that file.
        """
        defined = self.document.defines(kind)
        if name not in defined and self.document.whole:
            self.document.report(path, f'there is no {noun} "{name}"' + suggestion(name, defined))
        return name in defined

    def authentication(self, name: str, path: KeyPath) -> str | None:
        """Return the name in `authentications` that `name`, or `authentications.name`, refers to."""
        if not name:
            return None
        plain = name.removeprefix(PREFIX)
        return plain if self.known("authentications", plain, path, "authentication") else None

    def types(self, family: TypeFamily) -> tuple[str, ...]:
        """Return every name that a type of this family may be called by."""
        return (*family.options, *family.aliases, *self._foreign[family.noun])

    def typed(
        self,
        family: TypeFamily,
        name: str,
        options: Mapping[str, Any],
        paths: tuple[KeyPath, KeyPath],
        available: Collection[str] | None,
    ) -> tuple[str, Any]:
        """Return the canonical name of the type `name` and its options, or `INVALID` for options that are
        wrong.

        `paths` are where the name and where the options stand. `available` are the types that this build has,
        None when nothing uses this one. A third party's type gets its options as they are, as a read-only
        mapping.
        """
        if name in self._foreign[family.noun]:
            return name, MappingProxyType(dict(options))
        canonical = family.canonical(name)
        if canonical not in family.options:
            sentence = f'there is no {family.noun} "{name}"' + suggestion(name, self.types(family))
            self.document.report(paths[0], sentence)
            return name, INVALID
        if available is not None and canonical not in available:
            self.document.report(paths[0], f'{family.noun} "{canonical}" is not in this build yet')
        return canonical, bind(family.options[canonical], dict(options), paths[1], self.document.report)

    def check_registrations(self) -> None:
        """Warn of a registration of something built in that is not."""
        services = {*ENDPOINTS.options, *BACKENDS.options, *BACKENDS.aliases}
        types = {*MIDDLEWARE.options, *MIDDLEWARE.aliases}
        for kind, registered, known in (
            ("services", self.tables.services, services),
            ("middleware_types", self.tables.middleware_types, types),
        ):
            for name, registration in registered.items():
                if not registration.module and name not in known:
                    sentence = f'nothing built in is called "{name}"' + suggestion(name, known)
                    self.document.warn((kind, name), sentence)


def _foreign(registered: Mapping[str, Registration]) -> tuple[str, ...]:
    """Return the names of third parties' types."""
    return tuple(name for name, registration in registered.items() if registration.module)
