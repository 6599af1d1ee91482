"""What is different in a configuration that was read again."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Final

from harmonygw.config.model import Configuration

NOT_TABLES: Final = frozenset({"routes", "unauthenticated", "warnings", "files", "folder", "taken"})
"""What of a configuration follows from its tables, or says where they stood."""

AT_START: Final = ("logging", "audit")
"""The tables that are read when the process starts, and not again."""


def difference(before: Configuration, now: Configuration) -> dict[str, Any]:
    """Return the tables that have changed: for those with names the names added, removed and changed, else True."""
    found: dict[str, Any] = {}
    for one in fields(Configuration):
        old, new = getattr(before, one.name), getattr(now, one.name)
        if one.name in NOT_TABLES or old == new:
            continue
        if not isinstance(new, Mapping):
            found[one.name] = True
            continue
        found[one.name] = {
            "added": [name for name in new if name not in old],
            "removed": [name for name in old if name not in new],
            "changed": [name for name in new if name in old and old[name] != new[name]],
        }
    return found


def needs_restart(before: Configuration, now: Configuration) -> list[str]:
    """Return the tables that have changed, and have no effect before the next start."""
    return [name for name in AT_START if getattr(before, name) != getattr(now, name)]
