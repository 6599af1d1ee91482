"""`${NAME}` and `${NAME:-default}` in string values, replaced from the environment.

As in a shell, the default of `${NAME:-default}` stands in for an unset and for an empty variable. What was
put in is not looked at again, so a value of the environment may hold anything.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

from harmonygw.config.locating import KeyPath

Report = Callable[[KeyPath, str], None]
"""Where a problem goes: the key path it concerns, and a sentence."""

_REFERENCE = re.compile(r"\$\{([^}]*)\}?")
_VARIABLE = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?", re.DOTALL)


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
