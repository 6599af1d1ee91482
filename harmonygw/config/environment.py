"""`${NAME}` and `${NAME:-default}` in string values, replaced from the environment.

As in a shell, the default of `${NAME:-default}` stands in for an unset and for an empty variable. What was
put in is not looked at again, so a value of the environment may hold anything. It may be a secret: what is said of a
configuration has the variable's name in its place (`named`).
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from harmonygw.config.locating import KeyPath

Report = Callable[[KeyPath, str], None]
"""Where a problem goes: the key path it concerns, and a sentence."""

MIN_SECRET_CHARACTERS: Final = 4
"""Characters of a value below which it is no secret, and would be found in any sentence. Default 4."""

_REFERENCE = re.compile(r"\$\{([^}]*)\}?")
_VARIABLE = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?", re.DOTALL)


class Noted(Mapping[str, str]):
    """An environment that notes in `taken` what is taken of it."""

    def __init__(self, environ: Mapping[str, str], taken: dict[str, str]) -> None:
        self._environ = environ
        self._taken = taken

    def __getitem__(self, name: str) -> str:
        self._taken[name] = self._environ[name]
        return self._taken[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._environ)

    def __len__(self) -> int:
        return len(self._environ)


def named(sentence: str, taken: Mapping[str, str]) -> str:
    """Return a sentence with `${NAME}` in the place of each value that was taken of the environment, as it is or as
    `repr` writes it."""
    for name, value in sorted(taken.items(), key=lambda one: -len(one[1])):
        for written in (value, repr(value)[1:-1], value.strip()):
            if len(written) >= MIN_SECRET_CHARACTERS:
                sentence = sentence.replace(written, f"${{{name}}}")
    return sentence


def substitute(value: Any, environ: Mapping[str, str], report: Report, path: KeyPath = ()) -> Any:
    """Return `value` with the variables of every string in it replaced; keys are left alone.

    A variable that is unset and has no default, and a `${` that begins no variable, are reported and left as
    they are.
    """
    if isinstance(value, dict):
        return {key: substitute(inner, environ, report, (*path, key)) for key, inner in value.items()}
    if isinstance(value, list):
        return [substitute(inner, environ, report, (*path, index)) for index, inner in enumerate(value)]
    if isinstance(value, str) and "${" in value:
        return _REFERENCE.sub(lambda match: _replacement(match, environ, report, path), value)
    return value


def _replacement(match: re.Match[str], environ: Mapping[str, str], report: Report, path: KeyPath) -> str:
    written = match.group()
    variable = _VARIABLE.fullmatch(match.group(1)) if written.endswith("}") else None
    if variable is None:
        report(path, f"{written!r} is not a variable: write ${{NAME}} or ${{NAME:-default}}")
        return written
    name, default = variable.groups()
    if default is not None:
        return environ.get(name) or default
    if name not in environ:
        report(
            path,
            f"the environment variable {name} is not set, and there is no default; ${{{name}:-…}} gives one",
        )
        return written
    return environ[name]
