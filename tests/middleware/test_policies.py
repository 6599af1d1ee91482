"""Policies: how rules combine, in which order they decide, and what the client is told of it."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from harmonygw.config.constraints import ip_block
from harmonygw.config.loading import load
from harmonygw.config.model import Policy, Rule
from harmonygw.config.options import (
    RULES,
    AETOptions,
    Availability,
    EveryRequestOptions,
    HeaderMatch,
    HeaderOptions,
    IPOptions,
    MethodOptions,
    PathOptions,
    PoliciesOptions,
    RateLimitOptions,
    TimeBasedOptions,
    UserAgentOptions,
    UserAgentPattern,
)
from harmonygw.errors import Denied, HarmonyError, RateLimited
from harmonygw.exchange import AssociationOrigin, HTTPOrigin, Reply, Request
from harmonygw.middleware.policies import Policies
from harmonygw.operations import Find, Level, Store
from harmonygw.pipeline import BACKENDS, ENDPOINTS, MIDDLEWARE, RULE_TYPES, Context, chain

INSIDE, OUTSIDE = "10.0.0.1", "203.0.113.9"


def get(*path: str, peer: str = INSIDE) -> Request:
    return Request(origin=HTTPOrigin("GET", path), peer=peer, correlation_id=uuid4().hex)


def post(*path: str, peer: str = INSIDE) -> Request:
    return Request(origin=HTTPOrigin("POST", path), peer=peer, correlation_id=uuid4().hex)


FIND = Request(origin=AssociationOrigin("CT1", "GATEWAY"), peer=INSIDE, correlation_id="c", operation=Find(Level.STUDY))
STORE = replace(FIND, operation=Store(instances=None))  # type: ignore[arg-type]


def rule(name: str, options: Any, type_: str = "", weight: int = 0, enabled: bool = True) -> Rule:
    types = {PathOptions: "path", MethodOptions: "method", RateLimitOptions: "rate_limit", IPOptions: "ip_allow"}
    return Rule(name, type_ or types[type(options)], weight, enabled, options)


WARDS = rule("wards", IPOptions((ip_block("10.0.0.0/8"),)))
VIEWERS = rule("viewers", IPOptions((ip_block("192.0.2.0/24"),)))
PRINTER = rule("printer", IPOptions((ip_block("10.9.9.9"),)), "ip_deny")
READING = rule("reading", MethodOptions(("GET",), "allow"))
NO_DELETING = rule("no_deleting", MethodOptions(("DELETE",), "deny"))
STUDIES = rule("studies", PathOptions(("/studies/{*path}",), "allow"))
NO_SERIES = rule("no_series", PathOptions(("/studies/{id}/series",), "deny"))
EVERYBODY = rule("everybody", EveryRequestOptions(), "allow_all")
NOBODY = rule("nobody", EveryRequestOptions(), "deny_all")
TWICE = rule("twice", RateLimitOptions(max_requests=2, window_seconds=60))


class Guarded:
    """A pipeline of policies in front of a backend that answers."""

    def __init__(
        self, policies: Mapping[str, Policy], rules: Sequence[Rule], named: Sequence[str] | None = None
    ) -> None:
        self.clock = Clock()
        self.requests: list[Request] = []
        configuration: Any = SimpleNamespace(policies=policies, rules={one.name: one for one in rules})
        options = PoliciesOptions(tuple(policies) if named is None else tuple(named))
        settings = SimpleNamespace(name="guard", options=options)
        self.now = 0.0
        policies_ = Policies(Context(settings, configuration, self.clock), wall_clock=lambda: self.now)
        self.proceed = chain([policies_], self.backend)

    async def backend(self, request: Request) -> Reply:
        self.requests.append(request)
        return Reply()

    def ask(self, request: Request) -> HarmonyError | None:
        """Return what refused the request, or None; the backend has seen it, unchanged, or has not."""
        before = len(self.requests)
        found: list[Any] = []
        exchange: Deferred[Reply] = self.proceed(request)
        exchange.addCallbacks(lambda reply: found.append(None), lambda failure: found.append(failure.value))
        assert self.requests[before:] == ([request] if found == [None] else [])
        error: HarmonyError | None = found[0]
        return error

    def lets(self, request: Request) -> bool:
        error = self.ask(request)
        assert error is None or isinstance(error, Denied)
        return error is None


def guarded(*rules: Rule, **policy: Any) -> Guarded:
    return Guarded({"inside": Policy(rules=tuple(one.name for one in rules), **policy)}, rules)


FROM_NORTH = rule("from_north", HeaderOptions((HeaderMatch("X-Site", "north"),), "allow"), "header")
NO_BOTS = rule("no_bots", UserAgentOptions((UserAgentPattern(re.compile("bot")),), "deny"), "user_agent")
BY_DAY = rule("by_day", TimeBasedOptions(True, start_time=time(9), end_time=time(17)), "time_based")
BY_NIGHT = rule("by_night", TimeBasedOptions(True, start_time=time(22), end_time=time(6)), "time_based")
NOT_AT_NOON = rule("not_at_noon", TimeBasedOptions(False, start_time=time(12), end_time=time(13)), "time_based")
SCANNERS = rule("scanners", AETOptions(("CT1", "MR1")), "aet_allow")
NOT_CT1 = rule("not_ct1", AETOptions(("CT1",)), "aet_deny")


class TestTimes:
    @pytest.mark.parametrize(
        ("hour", "passes"), [(5, True), (6, False), (9, True), (12, False), (13, True), (17, False), (22, True)]
    )
    def test_any_one_window_allows_and_no_window_may_deny(self, hour: int, passes: bool) -> None:
        guard = guarded(BY_DAY, BY_NIGHT, NOT_AT_NOON)
        guard.now = hour * 3600.0
        assert guard.lets(get()) is passes
        assert guard.lets(FIND) is passes

    def test_a_window_that_denies_says_nothing_outside_of_it(self) -> None:
        assert guarded(NOT_AT_NOON).lets(get())
        assert not guarded(NOT_AT_NOON, VIEWERS).lets(get())

    def test_an_allowing_window_is_one_type_among_others(self) -> None:
        guard = guarded(BY_DAY, WARDS)
        assert not guard.lets(get())
        guard.now = 9 * 3600.0
        assert guard.lets(get())
        assert not guard.lets(get(peer=OUTSIDE))

    def test_the_reactors_clock_does_not_move_a_window(self) -> None:
        guard = guarded(BY_DAY)
        guard.clock.advance(9 * 3600.0)
        assert not guard.lets(get())


class TestWhatOnlyOneDoorHas:
    def test_an_allow_rule_about_header_fields_refuses_an_association(self) -> None:
        guard = guarded(FROM_NORTH)
        assert guard.lets(replace(get(), origin=HTTPOrigin("GET", (), headers={"x-site": "north"})))
        assert not guard.lets(get())
        assert not guard.lets(FIND)

    def test_a_deny_rule_about_user_agents_says_nothing_about_an_association(self) -> None:
        guard = guarded(NO_BOTS)
        assert guard.lets(FIND)
        assert guard.lets(replace(get(), origin=HTTPOrigin("GET", (), headers={"user-agent": "curl/8.5"})))
        assert not guard.lets(replace(get(), origin=HTTPOrigin("GET", (), headers={"user-agent": "a bot"})))

    def test_a_request_without_user_agent_is_refused_by_a_rule_about_it(self) -> None:
        assert not guarded(NO_BOTS).lets(get())

    def test_an_allow_rule_about_calling_titles_refuses_http(self) -> None:
        guard = guarded(SCANNERS)
        assert guard.lets(FIND)
        assert not guard.lets(replace(FIND, origin=AssociationOrigin("CT2", "GATEWAY")))
        assert not guard.lets(get())

    def test_a_deny_rule_about_calling_titles_says_nothing_about_http(self) -> None:
        guard = guarded(NOT_CT1)
        assert guard.lets(get())
        assert guard.lets(replace(FIND, origin=AssociationOrigin("CT2", "GATEWAY")))
        assert not guard.lets(FIND)

    def test_a_calling_title_that_says_nothing_passes_no_rule_about_titles(self) -> None:
        nameless = replace(FIND, origin=AssociationOrigin("   ", "GATEWAY"))
        assert not guarded(SCANNERS).lets(nameless)
        assert not guarded(NOT_CT1).lets(nameless)


class TestCombination:
    def test_every_type_that_has_allow_rules_must_be_satisfied(self) -> None:
        guard = guarded(WARDS, READING)
        assert guard.lets(get("studies"))
        assert not guard.lets(get("studies", peer=OUTSIDE))
        assert not guard.lets(post("studies"))

    def test_one_rule_of_a_type_suffices(self) -> None:
        guard = guarded(VIEWERS, WARDS, READING)
        assert guard.lets(get(peer="10.0.0.1"))
        assert guard.lets(get(peer="192.0.2.1"))
        assert not guard.lets(get(peer=OUTSIDE))

    def test_no_deny_rule_may_match(self) -> None:
        guard = guarded(WARDS, PRINTER)
        assert guard.lets(get())
        assert not guard.lets(get(peer="10.9.9.9"))

    def test_a_policy_without_allow_rules_lets_pass_what_nothing_denies(self) -> None:
        guard = guarded(PRINTER, NO_DELETING)
        assert guard.lets(get(peer=OUTSIDE))
        assert not guard.lets(replace(get(), origin=HTTPOrigin("DELETE", ())))

    def test_paths_are_allowed_and_denied_after_the_prefix(self) -> None:
        guard = guarded(STUDIES, NO_SERIES)
        assert guard.lets(get("studies"))
        assert guard.lets(get("studies", "1.2"))
        assert not guard.lets(get("studies", "1.2", "series"))
        assert not guard.lets(get("series"))

    def test_allow_all_satisfies_its_own_type_only(self) -> None:
        assert guarded(EVERYBODY).lets(get(peer=OUTSIDE))
        assert not guarded(EVERYBODY, WARDS).lets(get(peer=OUTSIDE))

    def test_deny_all_refuses_whatever_else_allows(self) -> None:
        assert not guarded(EVERYBODY, WARDS, NOBODY).lets(get())

    def test_combine_any_takes_one_allow_rule_of_any_type(self) -> None:
        guard = guarded(WARDS, READING, NO_SERIES, combine="any")
        assert guard.lets(get("studies", peer=OUTSIDE))
        assert guard.lets(post("studies"))
        assert not guard.lets(post("studies", peer=OUTSIDE))
        assert not guard.lets(get("studies", "1.2", "series"))

    def test_all_policies_must_let_a_request_pass(self) -> None:
        guard = Guarded({"a": Policy(("wards",)), "b": Policy(("reading",))}, [WARDS, READING])
        assert guard.lets(get())
        assert not guard.lets(get(peer=OUTSIDE))
        assert not guard.lets(post())


class TestWhatIsDisabledOrMissing:
    def test_a_disabled_rule_is_ignored(self) -> None:
        assert guarded(READING, replace(WARDS, enabled=False)).lets(get(peer=OUTSIDE))
        assert guarded(WARDS, replace(NOBODY, enabled=False)).lets(get())

    def test_a_disabled_policy_is_ignored(self) -> None:
        assert guarded(NOBODY, enabled=False).lets(get())

    def test_a_policy_without_rules_lets_everything_pass(self) -> None:
        assert guarded().lets(get(peer=OUTSIDE))

    def test_a_policy_that_does_not_exist_refuses_everything(self) -> None:
        error = Guarded({}, [rule("inside", EveryRequestOptions(), "allow_all")], named=["inside"]).ask(get())
        assert isinstance(error, Denied)
        assert error.log_detail == "policy inside, rule inside (deny_all)"

    def test_a_rule_that_does_not_exist_refuses_everything(self) -> None:
        assert not Guarded({"inside": Policy(("wards", "lost"))}, [WARDS]).lets(get())


class TestWhatCannotBeTold:
    """It counts against the request, whichever mode the rule has."""

    @pytest.mark.parametrize("one", [WARDS, PRINTER])
    def test_a_client_without_address_passes_no_rule_about_addresses(self, one: Rule) -> None:
        assert not guarded(one).lets(get(peer=""))

    @pytest.mark.parametrize("one", [STUDIES, NO_SERIES])
    def test_a_path_with_dots_passes_no_rule_about_paths(self, one: Rule) -> None:
        assert not guarded(one).lets(get("studies", "1.2", "x", "..", "series"))

    @pytest.mark.parametrize("one", [READING, NO_DELETING])
    def test_an_association_without_operation_passes_no_rule_about_methods(self, one: Rule) -> None:
        assert not guarded(one).lets(replace(FIND, operation=None))


class TestAssociations:
    def test_reading_only_holds_for_dimse_too(self) -> None:
        guard = guarded(WARDS, READING)
        assert guard.lets(FIND)
        assert not guard.lets(STORE)
        assert not guard.lets(replace(FIND, peer=OUTSIDE))

    def test_an_allow_rule_about_paths_refuses_an_association(self) -> None:
        assert not guarded(WARDS, STUDIES).lets(FIND)

    def test_a_deny_rule_about_paths_says_nothing_about_an_association(self) -> None:
        assert guarded(WARDS, NO_SERIES).lets(FIND)


class TestRateLimits:
    def test_the_client_is_told_when_to_come_again_and_nothing_else(self) -> None:
        guard = guarded(TWICE)
        assert guard.lets(get())
        assert guard.lets(get())
        guard.clock.advance(0.5)
        error = guard.ask(get())
        assert isinstance(error, RateLimited)
        assert error.retry_after == 60
        assert str(error) == "There were too many requests."
        assert error.log_detail == "policy inside, rule twice (rate_limit)"
        guard.clock.advance(59.5)
        assert guard.lets(get())

    def test_retry_after_is_at_least_a_second(self) -> None:
        guard = guarded(TWICE)
        assert guard.lets(get())
        assert guard.lets(get())
        guard.clock.advance(59.999)
        error = guard.ask(get())
        assert isinstance(error, RateLimited)
        assert error.retry_after == 1

    def test_a_rate_limit_is_no_allow_rule(self) -> None:
        assert guarded(TWICE).lets(get())
        assert guarded(TWICE, VIEWERS, combine="any").ask(get()) is not None

    def test_one_rule_of_two_policies_counts_for_each(self) -> None:
        guard = Guarded({"a": Policy(("twice",)), "b": Policy(("twice",))}, [TWICE])
        assert guard.lets(get())
        assert guard.lets(get())
        assert isinstance(guard.ask(get()), RateLimited)


class TestOrder:
    """The rule of the highest weight decides first; of the same weight, the first that the policy lists."""

    @pytest.mark.parametrize(
        ("rules", "decides"),
        [
            ((replace(WARDS, weight=1), replace(READING, weight=2)), "reading"),
            ((replace(WARDS, weight=2), replace(READING, weight=1)), "wards"),
            ((READING, WARDS), "reading"),
            ((WARDS, READING), "wards"),
            ((WARDS, READING, replace(NOBODY, weight=1)), "nobody"),
            ((replace(VIEWERS, weight=3), replace(WARDS, weight=1), replace(READING, weight=2)), "reading"),
        ],
    )
    def test_the_log_names_the_rule_that_decided(self, rules: tuple[Rule, ...], decides: str) -> None:
        error = guarded(*rules).ask(post(peer=OUTSIDE))
        assert isinstance(error, Denied)
        assert f"policy inside, rule {decides} " in error.log_detail
        assert str(error) == "The request is not allowed."

    def test_who_is_refused_by_a_rule_of_more_weight_is_not_counted(self) -> None:
        guard = guarded(replace(WARDS, weight=90), replace(READING, weight=80), TWICE)
        for _ in range(3):
            assert not guard.lets(post())
        assert guard.lets(get())
        assert guard.lets(get())
        assert isinstance(guard.ask(get()), RateLimited)

    def test_who_is_refused_by_a_rule_of_less_weight_is_counted(self) -> None:
        guard = guarded(WARDS, replace(TWICE, weight=90))
        assert not guard.lets(get(peer=OUTSIDE))
        assert not guard.lets(get(peer=OUTSIDE))
        assert isinstance(guard.ask(get(peer=OUTSIDE)), RateLimited)


EXAMPLE = """
[proxy]
id = "radiology-gateway"
[network.default.http]
bind_address = "127.0.0.1"
[pipelines.web]
networks = ["default"]
endpoints = ["dicomweb"]
middleware = ["guard"]
backends = ["archive"]
[backends.archive]
service = "storage"
[middleware.guard]
type = "policies"
options = { policies = ["inside"] }
[policies.inside]
id = "inside"
name = "Hospital networks, reading only"
rules = ["wards", "reading"]
[rules.wards]
id = "wards"
type = "ip_allow"
weight = 90
options = { ip_addresses = ["10.0.0.0/8", "127.0.0.1/32"] }
[rules.reading]
id = "reading"
type = "method"
weight = 80
options = { mode = "allow", methods = ["GET"] }
"""


def loaded(folder: Path, text: str) -> Guarded:
    """Return the policies of a configuration that this build runs."""
    path = folder / "config.toml"
    path.write_text(text)
    configuration = load(path, environ={}, available=Availability(ENDPOINTS, BACKENDS, MIDDLEWARE, RULE_TYPES))
    return Guarded(configuration.policies, list(configuration.rules.values()))


@pytest.mark.parametrize(
    ("request_", "passes"),
    [
        (get("studies", peer="127.0.0.1"), True),
        (get("studies", peer="10.3.4.5"), True),
        (get("studies", peer=OUTSIDE), False),
        (post("studies"), False),
    ],
)
def test_the_example_of_the_manual_holds_what_it_promises(tmp_path: Path, request_: Request, passes: bool) -> None:
    assert loaded(tmp_path, EXAMPLE).lets(request_) is passes


# The rules of the policy that Harmony's DICOMweb example has, under their published names.
IMAGING = f"""
{EXAMPLE[: EXAMPLE.index("[policies.inside]")].replace('"inside"', '"dicomweb_security"')}
[policies.dicomweb_security]
id = "dicomweb_security"
enabled = true
rules = ["medical_networks", "dicomweb_paths", "rate_limit", "method_filter"]
[rules.medical_networks]
type = "ip_allow"
weight = 90
options.ip_addresses = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "127.0.0.1/32"]
[rules.dicomweb_paths]
type = "path"
weight = 85
options = {{ mode = "allow", paths = ["/studies/{{*path}}", "/series/{{*path}}", "/instances/{{*path}}"] }}
[rules.method_filter]
type = "method"
weight = 80
options = {{ mode = "allow", methods = ["GET", "POST"] }}
[rules.rate_limit]
type = "rate_limit"
weight = 50
options = {{ max_requests = 20, window_seconds = 60 }}
"""


@pytest.mark.parametrize(
    ("request_", "passes"),
    [
        (get("studies", peer="192.168.7.7"), True),
        (get("studies", "1.2", "series", peer="172.31.0.1"), True),
        (post("studies", peer="127.0.0.1"), True),
        (get("studies", peer="172.32.0.1"), False),
        (get("studies", peer=OUTSIDE), False),
        (post("studies", peer=OUTSIDE), False),
        (get("admin"), False),
        (get(), False),
        (replace(get(), origin=HTTPOrigin("DELETE", ("studies", "1.2"))), False),
    ],
)
def test_the_published_imaging_policy_lets_medical_networks_in_only(
    tmp_path: Path, request_: Request, passes: bool
) -> None:
    assert loaded(tmp_path, IMAGING).lets(request_) is passes


def test_the_published_imaging_policy_takes_twenty_requests_a_minute(tmp_path: Path) -> None:
    guard = loaded(tmp_path, IMAGING)
    for _ in range(20):
        assert guard.lets(get("studies"))
        assert not guard.lets(get("studies", peer=OUTSIDE))
    assert isinstance(guard.ask(get("studies")), RateLimited)
    assert guard.lets(get("studies", peer="10.0.0.2"))


def test_every_rule_type_of_the_dialect_is_in_this_build() -> None:
    assert set(RULES.options) == RULE_TYPES
