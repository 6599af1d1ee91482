"""Patterns of paths after the endpoint's prefix, as `path` rules and path filters have them."""

import re
from dataclasses import dataclass
from typing import Final

from harmonygw.errors import ConfigurationError

_AMBIGUOUS: Final = re.compile(r"[;%/\\\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class PathPattern:
    """A path after the endpoint's prefix: words, `{id}` for any one segment, and a last `{*path}` for all the rest."""

    segments: tuple[str | None, ...]
    """None for any segment."""
    with_rest: bool
    """Whether more segments may follow, or none."""

    @classmethod
    def parse(cls, text: str) -> "PathPattern":
        """Read `/studies/{study}/{*path}`; raises `ConfigurationError` for braces around anything but a segment.

        A segment that is `*` alone is refused too: it would be that one character, which nobody means. So is one that
        matches no path, because of which a rule would never hold: encoded ones, for one (`is_ambiguous`).
        """
        parts = [part for part in text.split("/") if part]
        with_rest = bool(parts) and parts[-1].startswith("{*") and parts[-1].endswith("}")
        if with_rest:
            parts.pop()
        segments = [None if _is_variable(part) else part for part in parts]
        if any(part is not None and ("{" in part or "}" in part or part == "*") for part in segments):
            raise ConfigurationError((f"{text!r} is not a path with {{id}} for a segment and a last {{*path}}",))
        if is_ambiguous(tuple(part for part in segments if part is not None)):
            raise ConfigurationError((f"{text!r} matches nothing: no path that is decoded has '.', '..', ';' or '%'",))
        return cls(tuple(segments), with_rest)

    def matches(self, path: tuple[str, ...]) -> bool:
        """Whether a path, in decoded segments, is of this pattern; upper and lower case differ."""
        if len(path) < len(self.segments) or (len(path) > len(self.segments) and not self.with_rest):
            return False
        return all(wanted is None or wanted == found for wanted, found in zip(self.segments, path, strict=False))


def _is_variable(part: str) -> bool:
    return part.startswith("{") and part.endswith("}") and part[1:-1].isidentifier()


def is_ambiguous(path: tuple[str, ...]) -> bool:
    """Whether whoever serves a path may read it otherwise than we do.

    It has a segment that is `.` or `..`, or holds what is more than a character to some server: `;`, behind which stand
    parameters (RFC 3986 §3.3), a percent sign that was encoded itself, a slash, a backslash, a control character.
    """
    return any(segment in (".", "..") or _AMBIGUOUS.search(segment) is not None for segment in path)
