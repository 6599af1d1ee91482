"""URLs of one server: what is asked for lies below its own URL, whatever the segments and the query hold."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, urlsplit

from harmonygw.errors import BadRequest

SEGMENT_SAFE: Final = "!$&'()*+,;=:@"
"""What a segment of a path may hold as it is, besides what never needs encoding (RFC 3986 §3.3)."""

QUERY_SAFE: Final = "!$'()*,:@/?"
"""The same of a name or value in a query; `+` is left out, since many read it as a space, and `;`, since some read it
as an ampersand."""

_FORBIDDEN: Final = re.compile(r"[\x00-\x1f\x7f/\\]")
"""What would be another path to a server that decodes first and looks afterwards."""

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class BaseURL:
    """The URL that everything of a server lies below."""

    origin: str
    """Scheme and authority: `https://pacs:8443`."""
    authority: str
    """What Host says of it: no default port, no user."""
    path: str
    """Begins with a slash unless it is empty, and ends without."""

    @classmethod
    def of(cls, url: str) -> "BaseURL":
        """Take an absolute URL apart."""
        parts = urlsplit(url)
        host = (parts.hostname or "").encode("idna").decode("ascii") if parts.hostname else ""
        authority = f"[{host}]" if ":" in host else host
        if parts.port is not None and parts.port != _DEFAULT_PORTS[parts.scheme]:
            authority += f":{parts.port}"
        path = quote(parts.path, safe="/%" + SEGMENT_SAFE).rstrip("/")
        return cls(f"{parts.scheme}://{authority}", authority, path)

    def __str__(self) -> str:
        return self.origin + self.path

    def target(self, segments: Sequence[str], query: Iterable[tuple[str, str]]) -> str:
        """Return the request target, in origin form, of what lies at decoded segments below; raises `BadRequest`.

        A segment that would lead elsewhere is refused, however it was encoded: `.`, `..`, with parameters behind a
        semicolon too, and what holds a slash, a backslash or a control character. An empty last one is a slash at the
        end.
        """
        for segment in segments:
            if segment.partition(";")[0] in (".", "..") or _FORBIDDEN.search(segment):
                raise BadRequest("The path has a segment that no server is asked for: '.', '..', or a slash in it.")
        path = self.path + "".join(["/" + quote(segment, safe=SEGMENT_SAFE) for segment in segments])
        pairs = "&".join(f"{quote(name, safe=QUERY_SAFE)}={quote(value, safe=QUERY_SAFE)}" for name, value in query)
        return (path or "/") + (f"?{pairs}" if pairs else "")


def below(base: str, url: str) -> str | None:
    """Return what follows `base` in a URL that is `base` or lies below it; None when it does not."""
    rest = url.removeprefix(base)
    if len(rest) == len(url) and base:
        return None
    return rest if not rest or rest[0] in "/?#" else None
