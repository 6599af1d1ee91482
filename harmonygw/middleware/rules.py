"""The rules of policies: which condition each type has, what of a request it looks at, and how requests are counted."""

import time
from collections import OrderedDict, deque
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final

from harmonygw.config.model import Rule
from harmonygw.config.options import (
    AETOptions,
    ContentTypeOptions,
    HeaderOptions,
    IPOptions,
    MethodOptions,
    PathOptions,
    QueryParameterOptions,
    RateLimitOptions,
    TimeBasedOptions,
    UserAgentOptions,
)
from harmonygw.errors import ConfigurationError
from harmonygw.exchange import AssociationOrigin, HTTPOrigin, Request
from harmonygw.middleware.conditions import Condition
from harmonygw.middleware.http_rules import by_headers, by_query_parameters, by_user_agent
from harmonygw.middleware.paths import PathPattern, is_ambiguous
from harmonygw.middleware.time_rules import WallClock, in_window
from harmonygw.net.http.addresses import network_of
from harmonygw.operations import (
    CheckCommitment,
    Echo,
    Find,
    FindWorklist,
    Move,
    Operation,
    RequestCommitment,
    Retrieve,
    Store,
)

MAX_TRACKED_EXCHANGES: Final = 10_000
"""Exchanges that one `rate_limit` rule remembers to have counted. Of one that is older, and still goes on, each further
operation counts."""

MAX_TRACKED_CLIENTS: Final = 10_000
"""Clients that one `rate_limit` rule remembers. One more, and the one that has been quiet for longest begins anew: who
has that many addresses is not held by a limit that counts addresses."""

WINDOW_PARTS: Final = 16
"""Parts in which requests of a window are counted together: what a client's memory costs, whatever it is allowed.
A request may be remembered for a sixteenth of the window too long, never too short."""

CLIENTS_OF_ONE_NETWORK: Final = 8
"""Clients whose requests the addresses of one /64 of IPv6 have together. Default 8: who has one such address may have
all of them, and several workstations may share them."""

METHODS: Final[dict[type[Operation], str]] = {
    Echo: "GET",
    Find: "GET",
    FindWorklist: "GET",
    Retrieve: "GET",
    Move: "GET",
    Store: "POST",
    RequestCommitment: "POST",
    CheckCommitment: "GET",
}
"""The HTTP method that a DIMSE operation amounts to, so that "reading only" means the same at every door."""


def condition_of(rule: Rule, *, alone_suffices: bool = False, wall_clock: WallClock = time.time) -> Condition:
    """Return the condition of a rule of any type but `rate_limit`.

    `alone_suffices` says that a request which this rule allows is let in, whatever others say (`combine = "any"`): what
    the rule has nothing to say of does not match then. `wall_clock` is what windows of time go by.

    Raises `ConfigurationError` for a type that has no condition, and for a path that is no pattern.
    """
    match rule.options:
        case IPOptions(ip_addresses=blocks):
            return from_addresses(blocks)
        case PathOptions(paths=paths):
            return on_paths([_pattern(rule, path) for path in paths])
        case MethodOptions(methods=methods):
            return by_methods(methods)
        case ContentTypeOptions(content_types=media_types, mode=mode):
            return by_content_type(media_types, without_body=mode == "allow" and not alone_suffices)
        case HeaderOptions(headers=headers, mode=mode):
            return by_headers(headers, denies=mode == "deny")
        case QueryParameterOptions(parameters=parameters, mode=mode):
            return by_query_parameters(parameters, denies=mode == "deny")
        case UserAgentOptions(patterns=patterns, mode=mode):
            return by_user_agent([one.pattern for one in patterns], denies=mode == "deny")
        case TimeBasedOptions():
            return in_window(rule.options, wall_clock)
        case AETOptions(ae_titles=titles):
            return by_calling_ae_title(titles)
    if rule.type in ("allow_all", "deny_all"):
        return lambda request: True
    raise ConfigurationError((f"rules.{rule.name}: rules of type {rule.type} are not in this build yet",))


def _pattern(rule: Rule, path: str) -> PathPattern:
    try:
        return PathPattern.parse(path)
    except ConfigurationError as error:
        raise ConfigurationError((f"rules.{rule.name}.options.paths: {error}",)) from None


def from_addresses(blocks: Iterable[IPv4Network | IPv6Network]) -> Condition:
    """Match the client's address. An IPv4-mapped IPv6 address (RFC 4291 §2.5.5.2) is the IPv4 address in it."""
    networks = [_unmapped_block(block) for block in blocks]

    def matches(request: Request) -> bool | None:
        try:
            address = _unmapped(ip_address(request.peer))
        except ValueError:
            return None
        return any(address in network for network in networks)

    return matches


def _unmapped(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def _unmapped_block(block: IPv4Network | IPv6Network) -> IPv4Network | IPv6Network:
    address = _unmapped(block.network_address)
    if block.version == 4 or address.version == 6 or block.prefixlen < 96:
        return block
    return IPv4Network((int(address), block.prefixlen - 96))


def by_methods(methods: Iterable[str]) -> Condition:
    """Match the HTTP method, or that of `METHODS` for a request that came by an association.

    GET means HEAD too: HEAD is GET without its content (RFC 9110 §9.3.2). HEAD means HEAD alone.
    """
    named = frozenset(methods)

    def matches(request: Request) -> bool | None:
        if isinstance(request.origin, HTTPOrigin):
            method = request.origin.method
        elif request.operation is not None:
            method = METHODS[type(request.operation)]
        else:
            return None
        return method in named or (method == "HEAD" and "GET" in named)

    return matches


def by_content_type(media_types: Iterable[str], *, without_body: bool) -> Condition:
    """Match the media type of an HTTP request's body, without its parameters; `*` stands for any subtype, or any type.

    A body without a Content-Type, or with several, cannot be told; `without_body` is what is said of a request that has
    none. An association has no media type: as with paths, none matches it.
    """
    wanted = [media_type.strip().lower() for media_type in media_types]

    def matches(request: Request) -> bool | None:
        origin = request.origin
        if not isinstance(origin, HTTPOrigin):
            return False
        if origin.body is None:
            return without_body
        if len(origin.field_lines("content-type")) != 1:
            return None
        found = origin.headers.get("content-type", "").partition(";")[0].strip().lower()
        if not found or "," in found:
            return None
        kind = found.partition("/")[0]
        return any(one in (found, f"{kind}/*", "*/*") for one in wanted)

    return matches


def on_paths(patterns: Iterable[PathPattern]) -> Condition:
    """Match the path of an HTTP request.

    A path that whoever serves it may read otherwise than we do (`is_ambiguous`) cannot be told. An association has no
    path: none matches it, so a deny rule says nothing about it and an allow rule refuses it.
    """
    wanted = tuple(patterns)

    def matches(request: Request) -> bool | None:
        if not isinstance(request.origin, HTTPOrigin):
            return False
        path = request.origin.path
        if is_ambiguous(path):
            return None
        return any(pattern.matches(path) for pattern in wanted)

    return matches


def by_calling_ae_title(titles: Iterable[str]) -> Condition:
    """Match the calling AE title of an association, without the spaces around it; upper and lower case differ (PS3.5
    §6.2, AE).

    One of spaces only, which the standard forbids, cannot be told. An HTTP request has none: as with paths and
    associations, none matches it.
    """
    named = frozenset(title.strip(" ") for title in titles)

    def matches(request: Request) -> bool | None:
        if not isinstance(request.origin, AssociationOrigin):
            return False
        title = request.origin.calling_ae_title.strip(" ")
        return title in named if title else None

    return matches


@dataclass(slots=True)
class _Part:
    """Requests that are counted together."""

    first: float
    last: float
    count: int


class RateLimit:
    """At most `max_requests` in any `window_seconds`, of each client.

    A sliding window: a request counts until `window_seconds` after it, and one that was refused does not count. A
    request counts once, however many operations a bridge before this rule makes of it: it must not be refused halfway.
    A client is its principal, or its address as long as it has none; the addresses of one network of IPv6 are
    `CLIENTS_OF_ONE_NETWORK` together. Each process counts for itself.
    """

    def __init__(self, options: RateLimitOptions) -> None:
        self._max_requests = options.max_requests
        self._window = options.window_seconds
        self._clients: OrderedDict[tuple[str | None, str], deque[_Part]] = OrderedDict()
        self._counted: OrderedDict[str, None] = OrderedDict()

    def wait(self, request: Request, now: float) -> float:
        """Count a request and return 0, or return the seconds until one more is allowed."""
        if request.correlation_id in self._counted:
            return 0
        allowed: list[tuple[tuple[str | None, str], int]] = []
        if request.principal is not None:
            allowed.append(((request.principal, ""), self._max_requests))
        else:
            if network := network_of(request.peer):
                allowed.append(((None, network), CLIENTS_OF_ONE_NETWORK * self._max_requests))
            allowed.append(((None, request.peer), self._max_requests))
        counting: list[deque[_Part]] = []
        for client, most in allowed:
            parts = self._parts(client, now)
            if sum(part.count for part in parts) >= most:
                return parts[0].last + self._window - now
            counting.append(parts)
        for parts in counting:
            self._count(parts, now)
        self._counted[request.correlation_id] = None
        if len(self._counted) > MAX_TRACKED_EXCHANGES:
            self._counted.popitem(last=False)
        return 0

    def _parts(self, client: tuple[str | None, str], now: float) -> deque[_Part]:
        """Return what is remembered of a client, without what is over."""
        parts = self._clients.setdefault(client, deque())
        self._clients.move_to_end(client)
        if len(self._clients) > MAX_TRACKED_CLIENTS:
            self._clients.popitem(last=False)
        while parts and parts[0].last + self._window <= now:
            parts.popleft()
        return parts

    def _count(self, parts: deque[_Part], now: float) -> None:
        if parts and now - parts[-1].first < self._window / WINDOW_PARTS:
            parts[-1].last = now
            parts[-1].count += 1
        else:
            parts.append(_Part(now, now, 1))
