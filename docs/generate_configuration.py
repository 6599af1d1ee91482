"""Write docs/configuration.rst from the classes that describe the configuration, and the texts beneath their
fields.

Run `python docs/generate_configuration.py` after a change of `harmonygw/config`; a test holds the two
together.
"""

import ast
import inspect
import re
from collections.abc import Iterator, Mapping
from dataclasses import is_dataclass
from datetime import tzinfo
from itertools import pairwise
from pathlib import Path
from textwrap import dedent, fill
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from harmonygw.config.binding import Key, annotations, keys
from harmonygw.config.constraints import Between, Converted
from harmonygw.config.options import BACKENDS, ENDPOINTS, MIDDLEWARE, RULES, TypeFamily
from harmonygw.config.tables import Tables

TARGET = Path(__file__).parent / "configuration.rst"

HEAD = """\
.. Written by docs/generate_configuration.py; change the texts in harmonygw/config instead.

Configuration
=============

``twistd harmonygw -c config.toml`` reads the TOML dialect of the Harmony proxy. ``config.toml`` is the main
file; every ``*.toml`` of its pipelines folder is read after it, in name order, and their tables merge by
name. Any table may stand in any of the files. A name that is defined twice, a key that is not known and a
value that is not right are errors; all errors are reported together, each with file, line and key.

- ``${NAME}`` and ``${NAME:-default}`` in a string are replaced from the environment. A variable that is not
  set and has no default is an error; the default stands in for an empty one too.
- The pipelines and the transforms folder are relative to the main file's folder. Every other relative path
  (logs, storage, certificates) is relative to the working directory that twistd runs in.
- Where a backend is: its ``options`` come first, then its ``connection``, then its target, key by key.
  Where a ``dicom_scp`` listens: its ``options``, then its ``connection``, then its peer, then its networks
  (a network's port only when no HTTP endpoint uses it), then port 11112.
- A pipeline that others than this machine reach without authentication runs; the log, ``readyz`` and the
  management API say so.
- What is assumed about a name that no table defines is a warning in the log.

Seconds may have a fraction. A key without default must be given.
"""


def main() -> None:
    TARGET.write_text(reference(), encoding="utf-8")


def reference() -> str:
    """Return the page."""
    parts = [HEAD, _heading("Tables", "-")]
    for key in keys(Tables):
        parts += _table(key)
    for title, prefix, family in (
        ("Endpoint services", "endpoints.<name>.options", ENDPOINTS),
        ("Backend services", "backends.<name>.options", BACKENDS),
        ("Middleware types", "middleware.<name>.options", MIDDLEWARE),
        ("Rule types", "rules.<name>.options", RULES),
    ):
        parts += [_heading(title, "-"), f"Options are keys of ``[{prefix}]``.\n"]
        parts += _family(family)
    return "\n".join(parts).rstrip() + "\n"


def _table(key: Key) -> list[str]:
    wanted, name = _plain(key.wanted), key.name
    if get_origin(wanted) is Mapping:
        wanted = get_args(wanted)[1]
        if is_dataclass(wanted):
            name += ".<name>"
    heading = _heading(f"[{name}]", "~")
    if not is_dataclass(wanted):
        return [heading, _text(_notes(Tables)[key.name]) + "\n"]
    return [heading, _text(inspect.getdoc(wanted) or "") + "\n", *_entries(wanted)]


def _family(family: TypeFamily) -> Iterator[str]:
    described: dict[type, list[str]] = {}
    for name, cls in family.options.items():
        described.setdefault(cls, []).append(name)
    for cls, names in described.items():
        yield _heading(", ".join(names), "~")
        yield _text(inspect.getdoc(cls) or "") + "\n"
        yield from _entries(cls)


def _entries(cls: Any, prefix: str = "") -> Iterator[str]:
    notes = _notes(cls)
    for key in keys(cls):
        wanted = _plain(key.wanted)
        inner = next((one for one in _members(wanted) if isinstance(one, type) and is_dataclass(one)), None)
        if wanted is inner:
            if key.aliases:
                yield f"``{prefix}{key.aliases[0]}`` is another name of ``{prefix}{key.name}``.\n"
            yield from _entries(inner, f"{prefix}{key.name}.")
            continue
        names = ", ".join(f"``{prefix}{name}``" for name in (key.name, *key.aliases))
        yield f"{names} ({_kind(key.wanted)}; {_default(key)})"
        yield fill(_text(notes[key.name]), 110, initial_indent="    ", subsequent_indent="    ") + "\n"
        if inner is not None:
            mark = {Mapping: ".<name>.", tuple: "[]."}.get(get_origin(wanted), ".")
            yield from _entries(inner, f"{prefix}{key.name}{mark}")


def _members(wanted: Any) -> Iterator[Any]:
    """Yield a type and the types that it is made of."""
    yield wanted
    for one in get_args(wanted):
        yield from _members(one)


def _plain(wanted: Any) -> Any:
    """Return a type without its annotations and without None."""
    if get_origin(wanted) is Annotated:
        return _plain(get_args(wanted)[0])
    if get_origin(wanted) in (Union, UnionType):
        members = [one for one in get_args(wanted) if one is not NoneType]
        return _plain(members[0]) if len(members) == 1 else wanted
    return wanted


def _kind(wanted: Any) -> str:
    if get_origin(wanted) in (Union, UnionType):
        return " or ".join(_kind(one) for one in get_args(wanted) if one is not NoneType)
    if get_origin(wanted) is Annotated:
        for note in annotations(wanted):
            if isinstance(note, Converted):
                return note.noun
            if isinstance(note, Between):
                return f"{_kind(get_args(wanted)[0])}, {note}"
        return _kind(get_args(wanted)[0])
    if get_origin(wanted) is Literal:
        return " | ".join(f'"{choice}"' for choice in get_args(wanted))
    if get_origin(wanted) is tuple:
        return f"list of {_kind(get_args(wanted)[0])}"
    if get_origin(wanted) is Mapping or is_dataclass(wanted):
        return "table"
    return {str: "text", bool: "true or false", int: "whole number", float: "number"}[wanted]


def _default(key: Key) -> str:
    if key.required:
        return "required"
    default = key.default()
    if default is None or (default == "" and key.name != "path_prefix"):
        return "no default"
    if isinstance(default, bool):
        return f"default {str(default).lower()}"
    if isinstance(default, int | float):
        return f"default {default:g}" if isinstance(default, float) else f"default {default}"
    if isinstance(default, tzinfo):
        return f'default "{default}"'
    if isinstance(default, str):
        return f'default "{default or "/"}"'
    return "default none"


def _notes(cls: type) -> dict[str, str]:
    """Return the text beneath each field of a class and of those it inherits from."""
    notes: dict[str, str] = {}
    for one in reversed(cls.__mro__[:-1]):
        (body,) = (
            node.body for node in ast.parse(dedent(inspect.getsource(one))).body if isinstance(node, ast.ClassDef)
        )
        for node, after in pairwise(body):
            if isinstance(node, ast.AnnAssign) and isinstance(after, ast.Expr):
                notes[ast.unparse(node.target)] = str(ast.literal_eval(after.value))
    return notes


def _text(text: str) -> str:
    """Return a docstring as reStructuredText: literals in double backquotes, one line a paragraph."""
    return re.sub(r"`([^`]+)`", r"``\1``", " ".join(text.split()))


def _heading(title: str, line: str) -> str:
    return f"{title}\n{line * len(title)}\n"


if __name__ == "__main__":
    main()
