"""Rules of policies: what matches, what cannot be told, and how requests are counted."""

import re
from dataclasses import replace
from datetime import time
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harmonygw.config.constraints import ip_block
from harmonygw.config.model import Rule
from harmonygw.config.options import (
    AETOptions,
    ContentTypeOptions,
    EveryRequestOptions,
    HeaderMatch,
    HeaderOptions,
    IPOptions,
    MethodOptions,
    ParameterMatch,
    PathOptions,
    QueryParameterOptions,
    RateLimitOptions,
    TimeBasedOptions,
    UserAgentOptions,
    UserAgentPattern,
)
from harmonygw.errors import ConfigurationError
from harmonygw.exchange import AssociationOrigin, HTTPOrigin, Request
from harmonygw.middleware import rules
from harmonygw.middleware.rules import (
    CLIENTS_OF_ONE_NETWORK,
    MAX_TRACKED_CLIENTS,
    MAX_TRACKED_EXCHANGES,
    WINDOW_PARTS,
    RateLimit,
    condition_of,
)
from harmonygw.operations import Echo, Find, Level, Operation, Retrieve, Store
from harmonygw.streams import Body


def http(method: str = "GET", path: tuple[str, ...] = ("studies",), peer: str = "192.0.2.1") -> Request:
    return Request(origin=HTTPOrigin(method, path), peer=peer, correlation_id=uuid4().hex)


def association(operation: Operation | None = None, peer: str = "192.0.2.1") -> Request:
    origin = AssociationOrigin(calling_ae_title="CT1", called_ae_title="GATEWAY")
    return Request(origin=origin, peer=peer, correlation_id="c", operation=operation)


def judge(type_: str, options: Any, request: Request) -> bool | None:
    return condition_of(Rule("r", type_, weight=0, enabled=True, options=options))(request)


class TestAddresses:
    @pytest.mark.parametrize(
        ("block", "peer", "expected"),
        [
            ("10.0.0.0/8", "10.255.255.255", True),
            ("10.0.0.0/8", "11.0.0.0", False),
            ("10.1.2.3", "10.1.2.3", True),
            ("10.1.2.3", "10.1.2.4", False),
            ("10.0.0.0/8", "::ffff:10.0.0.1", True),
            ("::ffff:10.0.0.0/104", "10.0.0.1", True),
            ("::ffff:10.0.0.0/104", "11.0.0.1", False),
            ("::ffff:0:0/96", "203.0.113.9", True),
            ("2001:db8::/32", "2001:db8:ffff::1", True),
            ("2001:db8::/32", "2001:db9::1", False),
            ("::/0", "2001:db8::1", True),
            ("::/0", "::ffff:10.0.0.1", False),
            ("0.0.0.0/0", "2001:db8::1", False),
            ("fe80::/10", "fe80::1%eth0", True),
            ("0.0.0.0/0", "", None),
            ("0.0.0.0/0", "/run/gateway.sock", None),
        ],
    )
    def test_block_and_client(self, block: str, peer: str, expected: bool | None) -> None:
        assert judge("ip_allow", IPOptions((ip_block(block),)), http(peer=peer)) is expected
        assert judge("ip_deny", IPOptions((ip_block(block),)), association(peer=peer)) is expected

    def test_any_one_of_several_blocks_suffices(self) -> None:
        options = IPOptions((ip_block("10.0.0.0/8"), ip_block("192.0.2.0/24")))
        assert judge("ip_allow", options, http()) is True

    def test_no_block_holds_nobody(self) -> None:
        assert judge("ip_allow", IPOptions(()), http()) is False


def sending(content_type: str | None, *, body: bool = True) -> Request:
    headers = {} if content_type is None else {"content-type": content_type}
    return replace(
        http(), origin=HTTPOrigin("POST", ("studies",), headers=headers, body=Body.of(b"x") if body else None)
    )


class TestContentTypes:
    @pytest.mark.parametrize(
        ("media_type", "sent", "expected"),
        [
            ("application/json", "application/json", True),
            ("application/json", "Application/JSON; charset=utf-8", True),
            ("Application/JSON", "application/json", True),
            ("application/json", "application/dicom+json", False),
            ("application/json", "text/plain; x=application/json", False),
            ("application/*", "application/dicom", True),
            ("application/*", "applications/dicom", False),
            ("*/*", "text/plain", True),
            ("*/*", None, None),
            ("*/*", "", None),
            ("application/json", "application/json, text/plain", None),
        ],
    )
    def test_a_body_matches_by_its_media_type(self, media_type: str, sent: str | None, expected: bool | None) -> None:
        for mode in ("allow", "deny"):
            options = ContentTypeOptions((media_type,), mode)
            assert judge("content_type", options, sending(sent)) is expected

    def test_of_several_fields_it_cannot_be_told_which_counts(self) -> None:
        """A parameter of the first hides the comma that joins them from who looks at the type alone."""
        request = sending("application/json;a=b, multipart/related")
        lines = {"content-type": ("application/json;a=b", "multipart/related")}
        request = replace(request, origin=replace(request.origin, repeated=lines))
        for one in ("application/json", "multipart/related"):
            for mode in ("allow", "deny"):
                assert judge("content_type", ContentTypeOptions((one,), mode), request) is None

    @pytest.mark.parametrize(
        ("mode", "alone", "expected"), [("allow", False, True), ("allow", True, False), ("deny", False, False)]
    )
    def test_a_request_without_a_body_does_not_fail(self, mode: Any, alone: bool, expected: bool) -> None:
        rule = Rule(
            "r", "content_type", weight=0, enabled=True, options=ContentTypeOptions(("application/json",), mode)
        )
        condition = condition_of(rule, alone_suffices=alone)
        assert condition(sending("text/plain", body=False)) is expected

    def test_an_association_has_no_media_type(self) -> None:
        assert judge("content_type", ContentTypeOptions(("*/*",), "allow"), association(Echo())) is False


class TestMethods:
    @pytest.mark.parametrize(
        ("methods", "method", "expected"),
        [
            (("GET",), "GET", True),
            (("GET",), "HEAD", True),
            (("HEAD",), "HEAD", True),
            (("HEAD",), "GET", False),
            (("GET",), "POST", False),
            (("GET",), "OPTIONS", False),
            (("GET", "POST"), "POST", True),
            ((), "GET", False),
        ],
    )
    def test_http(self, methods: tuple[str, ...], method: str, expected: bool) -> None:
        assert judge("method", MethodOptions(methods, "allow"), http(method)) is expected

    @pytest.mark.parametrize(
        ("operation", "method"),
        [
            (Echo(), "GET"),
            (Find(Level.STUDY), "GET"),
            (Retrieve(Level.STUDY, "1.2"), "GET"),
            (Store(instances=None), "POST"),  # type: ignore[arg-type]
        ],
    )
    def test_an_operation_of_an_association_amounts_to_a_method(self, operation: Operation, method: str) -> None:
        other = {"GET": "POST", "POST": "GET"}[method]
        assert judge("method", MethodOptions((method,), "allow"), association(operation)) is True
        assert judge("method", MethodOptions((other,), "allow"), association(operation)) is False

    def test_an_association_without_operation_cannot_be_told(self) -> None:
        assert judge("method", MethodOptions(("GET",), "allow"), association()) is None

    def test_the_method_of_http_counts_after_the_bridge_too(self) -> None:
        request = replace(http("POST"), operation=Find(Level.STUDY))
        assert judge("method", MethodOptions(("GET",), "allow"), request) is False


class TestPaths:
    @pytest.mark.parametrize(
        ("pattern", "path", "expected"),
        [
            ("/studies", "studies", True),
            ("/studies", "studies/1.2", False),
            ("/studies", "series", False),
            ("/studies", "Studies", False),
            ("/studies/", "studies", True),
            ("/studies/{*path}", "studies", True),
            ("/studies/{*path}", "studies/1.2", True),
            ("/studies/{*path}", "studies/1.2/series/1.3", True),
            ("/studies/{*path}", "studiesx", False),
            ("/studies/{*path}", "", False),
            ("/studies/{id}", "studies/1.2", True),
            ("/studies/{id}", "studies", False),
            ("/studies/{id}", "studies/1.2/series", False),
            ("/studies/{id}/series/{*rest}", "studies/1.2/series/1.3", True),
            ("/studies/{id}/series/{*rest}", "studies/1.2/instances", False),
            ("/{*path}", "", True),
            ("/{*path}", "anything/at/all", True),
            ("/", "", True),
            ("/", "studies", False),
            ("/studies/{*path}", "studies/../admin", None),
            ("/studies/{*path}", "studies/./1.2", None),
        ],
    )
    def test_pattern_and_path(self, pattern: str, path: str, expected: bool | None) -> None:
        request = http(path=tuple(part for part in path.split("/") if part))
        assert judge("path", PathOptions((pattern,), "allow"), request) is expected

    def test_any_one_of_several_patterns_suffices(self) -> None:
        assert judge("path", PathOptions(("/series", "/studies"), "allow"), http()) is True

    def test_an_association_has_no_path(self) -> None:
        assert judge("path", PathOptions(("/{*path}",), "allow"), association(Echo())) is False

    @pytest.mark.parametrize("path", ["/{*rest}/studies", "/studies/a{id}", "/{}", "/{a b}", "/studies/{*rest"])
    def test_braces_around_anything_else_are_refused_with_the_rule_s_name(self, path: str) -> None:
        with pytest.raises(ConfigurationError, match=r"^rules\.r\.options\.paths: '/.* is not a path with \{id\}"):
            judge("path", PathOptions((path,), "deny"), http())


@pytest.mark.parametrize("type_", ["allow_all", "deny_all"])
@pytest.mark.parametrize("request_", [http(), association(), http(peer="")])
def test_every_request_matches_the_rules_for_all(type_: str, request_: Request) -> None:
    assert judge(type_, EveryRequestOptions(), request_) is True


def test_a_type_that_this_build_has_not_is_an_error() -> None:
    with pytest.raises(ConfigurationError, match=r"^rules\.r: rules of type geo are not in this build yet$"):
        judge("geo", None, http())


class TestCallingAETitles:
    @pytest.mark.parametrize(
        ("listed", "calling", "expected"),
        [
            ("CT1", "CT1", True),
            ("CT1", "  CT1 ", True),
            (" CT1 ", "CT1", True),
            ("CT1", "CT10", False),
            ("CT1", "ct1", False),
            ("C T", "C T", True),
            ("C T", "CT", False),
            ("CT1", "", None),
            ("CT1", "    ", None),
        ],
    )
    def test_title(self, listed: str, calling: str, expected: bool | None) -> None:
        request = replace(association(Echo()), origin=AssociationOrigin(calling, "GATEWAY"))
        assert judge("aet_allow", AETOptions((listed,)), request) is expected
        assert judge("aet_deny", AETOptions((listed,)), request) is expected

    def test_any_one_of_several_titles_suffices(self) -> None:
        assert judge("aet_allow", AETOptions(("MR1", "CT1")), association(Echo())) is True

    def test_the_called_title_does_not_count(self) -> None:
        assert judge("aet_allow", AETOptions(("GATEWAY",)), association(Echo())) is False

    def test_an_http_request_has_no_title(self) -> None:
        assert judge("aet_deny", AETOptions(("CT1",)), http()) is False


@pytest.mark.parametrize(
    ("type_", "options"),
    [
        ("header", HeaderOptions((HeaderMatch("X-Site", "north"),), "allow")),
        ("query_parameter", QueryParameterOptions((ParameterMatch("site", "north"),), "allow")),
        ("user_agent", UserAgentOptions((UserAgentPattern(re.compile("Viewer")),), "allow")),
    ],
)
def test_types_about_http_are_told_what_they_look_at(type_: str, options: Any) -> None:
    origin = HTTPOrigin("GET", (), (("site", "north"),), {"x-site": "north", "user-agent": "A Viewer/1"})
    assert judge(type_, options, replace(http(), origin=origin)) is True
    assert (
        judge(type_, options, replace(http(), origin=HTTPOrigin("GET", (), (("site", "x"),), {"user-agent": "curl"})))
        is False
    )


@pytest.mark.parametrize(("mode", "expected"), [("allow", False), ("deny", True)])
def test_types_about_http_are_told_their_mode(mode: Any, expected: bool) -> None:
    origin = HTTPOrigin(
        "GET",
        (),
        (("site", "north"), ("site", "south")),
        {"x-site": "north, south", "user-agent": "curl/8, Viewer/1"},
        repeated={"x-site": ("north", "south"), "user-agent": ("curl/8", "Viewer/1")},
    )
    request = replace(http(), origin=origin)
    assert judge("header", HeaderOptions((HeaderMatch("X-Site", "north"),), mode), request) is expected
    parameters = (ParameterMatch("site", "north"),)
    assert judge("query_parameter", QueryParameterOptions(parameters, mode), request) is expected
    patterns = (UserAgentPattern(re.compile("Viewer")),)
    assert judge("user_agent", UserAgentOptions(patterns, mode), request) is expected


def test_a_window_goes_by_the_wall_clock_that_is_given() -> None:
    rule = Rule("r", "time_based", 0, True, TimeBasedOptions(start_time=time(9), end_time=time(17)))
    for hour, expected in [(8, False), (9, True), (17, False)]:
        assert condition_of(rule, wall_clock=lambda hour=hour: hour * 3600.0)(http()) is expected


class TestRateLimit:
    def test_who_has_all_addresses_of_a_network_is_held(self) -> None:
        limit = RateLimit(RateLimitOptions(max_requests=2, window_seconds=60))

        def waits(number: int, peer: str, principal: str | None = None) -> bool:
            one = replace(http(peer=peer), correlation_id=f"c{number}", principal=principal)
            return limit.wait(one, 0) > 0

        most = 2 * CLIENTS_OF_ONE_NETWORK
        assert not any(waits(number, f"2001:db8::{number:x}") for number in range(most))
        assert waits(most, "2001:db8::ffff")
        assert len(limit._clients) == most + 1, "one that is refused is not remembered"
        assert not waits(most + 1, "2001:db8:0:1::ffff")
        assert not waits(most + 2, "2001:db8::ffff", "anna")
        assert waits(most + 3, "2001:db8::1")
        assert not any(waits(most + 10 + number, f"192.0.2.{number}") for number in range(2 * most))

    def test_the_request_after_the_last_allowed_one_waits_for_the_window(self) -> None:
        limit = RateLimit(RateLimitOptions(max_requests=2, window_seconds=60))
        assert limit.wait(http(), 100) == 0
        assert limit.wait(http(), 100) == 0
        assert limit.wait(http(), 100) == 60
        assert limit.wait(http(), 130) == 30
        assert limit.wait(http(), 159.5) == 0.5
        assert limit.wait(http(), 160) == 0

    def test_what_was_refused_does_not_count(self) -> None:
        limit = RateLimit(RateLimitOptions(max_requests=1, window_seconds=10))
        assert [limit.wait(http(), now) for now in (0, 1, 9, 10, 11, 20)] == [0, 9, 1, 0, 9, 0]

    def test_the_operations_that_a_bridge_makes_of_one_request_count_once(self) -> None:
        limit = RateLimit(RateLimitOptions(max_requests=2, window_seconds=10))
        first, second, third = http(), http(), http()
        assert [limit.wait(one, 0) for one in (first, first, second, first, second, third)] == [0, 0, 0, 0, 0, 10]
        assert limit.wait(replace(second, operation=Find(Level.STUDY)), 20) == 0
        assert [limit.wait(http(), 20) for _ in range(3)] == [0, 0, 10]

    def test_a_request_that_was_refused_is_refused_again(self) -> None:
        limit = RateLimit(RateLimitOptions(max_requests=1, window_seconds=10))
        limit.wait(http(), 0)
        refused = http()
        assert [limit.wait(refused, now) for now in (0, 0, 10, 10)] == [10, 10, 0, 0]

    def test_ten_thousand_requests_are_remembered_to_have_been_counted_and_no_more(self) -> None:
        limit = RateLimit(RateLimitOptions(max_requests=MAX_TRACKED_EXCHANGES + 1, window_seconds=10))
        sent = [http() for _ in range(MAX_TRACKED_EXCHANGES + 1)]
        assert [limit.wait(one, 0) for one in sent] == [0] * len(sent)
        assert (limit.wait(sent[1], 0), limit.wait(sent[0], 0)) == (0, 10)

    def test_the_window_slides(self) -> None:
        limit = RateLimit(RateLimitOptions(max_requests=2, window_seconds=10))
        assert [limit.wait(http(), now) for now in (0, 8, 9, 10, 11, 18)] == [0, 0, 1, 0, 7, 0]

    def test_clients_are_counted_apart(self) -> None:
        limit = RateLimit(RateLimitOptions(max_requests=1, window_seconds=10))
        assert limit.wait(http(peer="192.0.2.1"), 0) == 0
        assert limit.wait(http(peer="192.0.2.2"), 0) == 0
        assert limit.wait(http(peer="192.0.2.1"), 0) == 10

    def test_a_principal_is_counted_wherever_it_comes_from(self) -> None:
        limit = RateLimit(RateLimitOptions(max_requests=1, window_seconds=10))
        assert limit.wait(replace(http(peer="192.0.2.1"), principal="anna"), 0) == 0
        assert limit.wait(replace(http(peer="192.0.2.2"), principal="anna"), 0) == 10
        assert limit.wait(replace(http(peer="192.0.2.1"), principal="bert"), 0) == 0
        assert limit.wait(http(peer="192.0.2.1"), 0) == 0

    def test_a_principal_called_like_an_address_is_not_that_address(self) -> None:
        limit = RateLimit(RateLimitOptions(max_requests=1, window_seconds=10))
        assert limit.wait(replace(http(peer="192.0.2.9"), principal="192.0.2.1"), 0) == 0
        assert limit.wait(http(peer="192.0.2.1"), 0) == 0

    def test_the_client_that_was_quiet_for_longest_is_forgotten_at_the_limit(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(rules, "MAX_TRACKED_CLIENTS", 2)
        limit = RateLimit(RateLimitOptions(max_requests=1, window_seconds=10))
        for peer in ("192.0.2.1", "192.0.2.2"):
            assert limit.wait(http(peer=peer), 0) == 0
        assert limit.wait(http(peer="192.0.2.1"), 0) == 10
        assert limit.wait(http(peer="192.0.2.3"), 0) == 0
        assert limit.wait(http(peer="192.0.2.1"), 0) == 10
        assert limit.wait(http(peer="192.0.2.2"), 0) == 0

    def test_ten_thousand_clients_are_remembered_and_no_more(self) -> None:
        limit = RateLimit(RateLimitOptions(max_requests=1, window_seconds=10))
        for number in range(MAX_TRACKED_CLIENTS):
            limit.wait(http(peer=str(number)), 0)
        assert limit.wait(http(peer="0"), 0) == 10
        limit.wait(http(peer="one more"), 0)
        assert limit.wait(http(peer="2"), 0) == 10
        assert limit.wait(http(peer="1"), 0) == 0

    @given(
        st.integers(1, 40),
        st.lists(st.floats(0, 3, allow_nan=False), max_size=200),
    )
    def test_no_window_ever_has_more_than_are_allowed_and_waiting_is_never_in_vain(
        self, max_requests: int, pauses: list[float]
    ) -> None:
        limit = RateLimit(RateLimitOptions(max_requests=max_requests, window_seconds=16))
        now, admitted = 0.0, []
        for pause in pauses:
            now += pause
            wait = limit.wait(http(), now)
            if wait == 0:
                admitted.append(now)
                assert sum(one + 16 > now for one in admitted) <= max_requests
            else:
                in_window = sum(one + 16 + 16 / WINDOW_PARTS > now for one in admitted)
                assert in_window >= max_requests
                assert 0 < wait <= 16

    def test_what_one_client_costs_does_not_grow_with_its_requests(self) -> None:
        limit = RateLimit(RateLimitOptions(max_requests=1_000_000, window_seconds=16))
        for number in range(5000):
            assert limit.wait(http(), number / 100) == 0
        (parts,) = limit._clients.values()
        assert len(parts) <= WINDOW_PARTS + 2
