"""The files of a configuration as one document: the main file, and every `*.toml` of its pipelines folder.

Tables merge by name. A name that two files define is a problem that names both places; so is a table that has
no names below it (`[proxy]`, `[logging]`) and stands in two files.
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from harmonygw.config.environment import Noted, named, substitute
from harmonygw.config.locating import KeyPath, dotted, locate

DEFAULT_PIPELINES_PATH = "pipelines"
"""The folder, beside the main file, that is read when `proxy.pipelines_path` says nothing."""

MAX_FILE_BYTES = 4 * 1024 * 1024
"""Bytes of one file. A configuration is written by people; whatever is larger was named by mistake."""

NAMED = frozenset(
    {
        "network", "services", "middleware_types", "peers", "targets", "authentications", "provider", "mesh",
        "pipelines", "endpoints", "backends", "middleware", "policies", "rules", "authorizations",
    }
)  # fmt: skip
"""The tables that hold one table a name, and merge by that name."""


@dataclass(frozen=True, slots=True)
class Place:
    """A line of a file, as an editor or a grep would name it."""

    file: str
    line: int = 0
    """From 1; 0 for the file as a whole."""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


class Problem(NamedTuple):
    """What is wrong, and where."""

    place: Place
    sentence: str


@dataclass(slots=True)
class Document:
    """What the files say, merged, and where they say it."""

    main: str
    """The main file, as the operator named it."""
    tables: dict[str, Any] = field(default_factory=dict)
    places: dict[KeyPath, Place] = field(default_factory=dict)
    files: list[Path] = field(default_factory=list)
    """The files that were found, the main file first."""
    problems: list[Problem] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    taken: dict[str, str] = field(default_factory=dict)
    """What was taken of the environment, by name. Nothing that is said has it."""
    whole: bool = True
    """Whether every file could be read: only then is a name that is missing here missing indeed."""

    def place(self, path: KeyPath) -> Place:
        """Return where `path` stands, or the closest thing around it that stands somewhere; at last the main
        file."""
        for length in range(len(path), 0, -1):
            if place := self.places.get(path[:length]):
                return place
        return Place(self.main)

    def report(self, path: KeyPath, sentence: str) -> None:
        """Keep a problem with the key at `path`; the same problem counts once."""
        problem = Problem(self.place(path), f"{dotted(path)}: {sentence}")
        if problem not in self.problems:
            self.problems.append(problem)

    def sorted_problems(self) -> tuple[str, ...]:
        """Return the problems as text, in the order of the files and their lines."""
        names = [str(path) for path in self.files]
        order = {name: position for position, name in enumerate(names)}
        found = sorted(self.problems, key=lambda one: (order.get(one.place.file, len(order)), one.place.line))
        return tuple(f"{problem.place}: {named(problem.sentence, self.taken)}" for problem in found)

    def warn(self, path: KeyPath, sentence: str) -> None:
        """Keep a warning about the key at `path`."""
        self.warnings.append(f"{self.place(path)}: {dotted(path)}: {named(sentence, self.taken)}")

    def defines(self, kind: str) -> list[str]:
        """Return the names that a kind of table is defined under, whether they are right otherwise or not."""
        named = self.tables.get(kind)
        return list(named) if isinstance(named, dict) else []


def read(path: Path, environ: Mapping[str, str]) -> Document:
    """Return what the main file at `path` and its pipelines folder say, variables replaced.

    What cannot be read is among the document's problems; nothing is raised.
    """
    document = Document(str(path))
    environ = Noted(environ, document.taken)
    _add(document, path, environ)
    if not document.whole:
        return document
    folder = _pipelines_folder(document, path)
    try:
        found = sorted(folder.glob("*.toml")) if folder.is_dir() else None
    except OSError as error:
        document.problems.append(Problem(Place(str(folder)), f"{error.strerror}"))
        document.whole = False
        return document
    if found is None and not document.defines("pipelines"):
        document.report(
            ("proxy", "pipelines_path"),
            f"there is no folder {str(folder)!r}, and the main file defines no pipelines",
        )
    for file in found or ():
        if file.resolve() != path.resolve():
            _add(document, file, environ)
    return document


def _pipelines_folder(document: Document, path: Path) -> Path:
    proxy = document.tables.get("proxy")
    named = proxy.get("pipelines_path", DEFAULT_PIPELINES_PATH) if isinstance(proxy, dict) else DEFAULT_PIPELINES_PATH
    return path.parent / (named if isinstance(named, str) else DEFAULT_PIPELINES_PATH)


def _add(document: Document, path: Path, environ: Mapping[str, str]) -> None:
    try:
        text = _text(path)
        tables = tomllib.loads(text)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        document.problems.append(_unreadable(path, error))
        document.whole = False
        return
    document.files.append(path)
    lines = locate(text)
    own = Document(str(path), places={key: Place(str(path), line) for key, line in lines.items()})
    tables = substitute(tables, environ, own.report)
    document.problems += own.problems
    _merge(document, tables, own.places)


def _text(path: Path) -> str:
    with path.open("rb") as file:
        data = file.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise OSError(0, f"is larger than {MAX_FILE_BYTES} bytes")
    return data.decode("utf-8-sig")


def _unreadable(path: Path, error: Exception) -> Problem:
    if isinstance(error, OSError):
        return Problem(Place(str(path)), str(error.strerror))
    if isinstance(error, UnicodeDecodeError):
        return Problem(Place(str(path)), f"is not UTF-8 text (byte {error.start})")
    at = re.search(r" \(at line (\d+), column (\d+)\)$", str(error))
    if at is not None:
        return Problem(Place(str(path), int(at[1])), f"is not TOML: {str(error)[: at.start()]} (column {at[2]})")
    return Problem(Place(str(path)), f"is not TOML: {error}")


def _merge(document: Document, tables: dict[str, Any], places: Mapping[KeyPath, Place]) -> None:
    kept: set[KeyPath] = set()
    for kind, table in tables.items():
        if kind in NAMED and isinstance(table, dict) and isinstance(document.tables.get(kind, {}), dict):
            held = document.tables.setdefault(kind, {})
            for name, inner in table.items():
                if _is_new((kind, name), name in held, document, places):
                    held[name] = inner
                    kept.add((kind, name))
        elif _is_new((kind,), kind in document.tables, document, places):
            document.tables[kind] = table
            kept.add((kind,))
    for path, place in places.items():
        if path[:1] in kept or path[:2] in kept:
            document.places[path] = place
        else:
            document.places.setdefault(path, place)


def _is_new(path: KeyPath, known: bool, document: Document, places: Mapping[KeyPath, Place]) -> bool:
    if known:
        sentence = f"{dotted(path)}: is defined twice; also at {document.place(path)}"
        document.problems.append(Problem(places[path], sentence))
    return not known
