"""The `policies` middleware: whether a request may go on.

Every policy that is named must let it pass. Within a policy, rules are taken by weight, the highest first; the first
that refuses decides. A deny rule that matches refuses. Allow rules are grouped by type, and when the last of a group
has not matched either, the group refuses: one rule of each type that has allow rules must match. A policy with
`combine = "any"` has one group of all its allow rules. A policy without allow rules lets pass what nothing denies. A
`rate_limit` counts the requests that no rule of more weight has refused.

The client learns that it was refused, and of a rate limit when to come again; the rule's name stays in the log.
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil

from zope.interface import implementer

from harmonygw.config.model import Configuration, Policy, Rule
from harmonygw.config.options import EveryRequestOptions, RateLimitOptions, TimeBasedOptions
from harmonygw.errors import Denied, RateLimited
from harmonygw.exchange import Reply, Request
from harmonygw.middleware.conditions import Condition
from harmonygw.middleware.rules import RateLimit, condition_of
from harmonygw.middleware.time_rules import WallClock
from harmonygw.pipeline import Context, IMiddleware, Proceed

DENYING_TYPES = frozenset({"ip_deny", "aet_deny", "deny_all"})
"""The types that deny by themselves; any other has a `mode`, or `allow_during_window`, or allows."""


@implementer(IMiddleware)
class Policies:
    """Raises `Denied` or `RateLimited` for what a policy refuses, and changes nothing else.

    `wall_clock` is what `time_based` rules go by: the reactor's clock may be monotonic, and knows no time of day.
    """

    def __init__(self, context: Context, wall_clock: WallClock = time.time) -> None:
        self._reactor = context.reactor
        named = (_policy(name, context.configuration, wall_clock) for name in context.options.policies)
        self._policies = tuple(policy for policy in named if policy is not None)

    @staticmethod
    def foundation(context: Context) -> object:
        """Return what the middleware is built from: while that is the same, rate limits go on counting."""
        configuration = context.configuration
        tables = [configuration.policies.get(name) for name in context.options.policies]
        rules = [configuration.rules.get(rule) for table in tables if table is not None for rule in table.rules]
        return context.settings, tables, rules

    async def intercept(self, request: Request, proceed: Proceed) -> Reply:
        """Proceed when every policy lets the request pass."""
        now = self._reactor.seconds()
        for policy in self._policies:
            policy.check(request, now)
        return await proceed(request)


def _policy(name: str, configuration: Configuration, wall_clock: WallClock) -> "_Policy | None":
    """Return a policy, or None when it is disabled. What is named and not there refuses everything."""
    table = configuration.policies.get(name)
    if table is None:
        return _Policy(name, Policy(rules=()), [_refusing_everything(name)], wall_clock)
    if not table.enabled:
        return None
    rules = [configuration.rules.get(rule) or _refusing_everything(rule) for rule in table.rules]
    return _Policy(name, table, [rule for rule in rules if rule.enabled], wall_clock)


def _refusing_everything(name: str) -> Rule:
    return Rule(name, type="deny_all", weight=0, enabled=True, options=EveryRequestOptions())


@dataclass(slots=True)
class _Gate:
    """A rule in its place."""

    rule: Rule
    test: Condition | RateLimit
    denies: bool
    group: str
    """Of which one allow rule must match."""
    last: bool = False
    """Whether no allow rule of its group comes after it."""


class _Policy:
    """The enabled rules of one policy, in the order in which they decide."""

    def __init__(self, name: str, policy: Policy, rules: Iterable[Rule], wall_clock: WallClock) -> None:
        self._name = name
        self._gates = [_gate(rule, policy, wall_clock) for rule in sorted(rules, key=lambda rule: -rule.weight)]
        allowing = {gate.group: gate for gate in self._gates if not gate.denies}
        for gate in allowing.values():
            gate.last = True

    def check(self, request: Request, now: float) -> None:
        """Return when the request may pass; `now` is in seconds of the reactor's clock."""
        satisfied: set[str] = set()
        for gate in self._gates:
            if isinstance(gate.test, RateLimit):
                if wait := gate.test.wait(request, now):
                    raise RateLimited(
                        "There were too many requests.", retry_after=ceil(wait), log_detail=self._detail(gate)
                    )
            elif gate.denies:
                if gate.test(request) is not False:
                    raise Denied("The request is not allowed.", log_detail=self._detail(gate))
            elif gate.group not in satisfied:
                if gate.test(request):
                    satisfied.add(gate.group)
                elif gate.last:
                    raise Denied("The request is not allowed.", log_detail=self._detail(gate))

    def _detail(self, gate: _Gate) -> str:
        return f"policy {self._name}, rule {gate.rule.name} ({gate.rule.type})"


def _gate(rule: Rule, policy: Policy, wall_clock: WallClock) -> _Gate:
    if isinstance(rule.options, RateLimitOptions):
        return _Gate(rule, RateLimit(rule.options), denies=False, group=rule.type)
    any_one = policy.combine == "any"
    condition = condition_of(rule, alone_suffices=any_one, wall_clock=wall_clock)
    return _Gate(rule, condition, _denies(rule), "" if any_one else rule.type)


def _denies(rule: Rule) -> bool:
    if isinstance(rule.options, TimeBasedOptions):
        return not rule.options.allow_during_window
    return rule.type in DENYING_TYPES or getattr(rule.options, "mode", None) == "deny"
