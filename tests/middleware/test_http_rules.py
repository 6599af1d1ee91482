"""Rules about header fields, query parameters and user agents, and what does not get round them."""

import re
from typing import Any

import pytest

from harmonygw.config.options import HeaderMatch, HeaderOptions, ParameterMatch
from harmonygw.exchange import AssociationOrigin, HTTPOrigin, Request
from harmonygw.middleware.http_rules import (
    MAX_MATCHED_CHARACTERS,
    by_headers,
    by_query_parameters,
    by_user_agent,
)

ASSOCIATION = Request(AssociationOrigin("CT1", "GATEWAY"), "192.0.2.1", "c")
BOTH = pytest.mark.parametrize("denies", [False, True])


def with_fields(*lines: tuple[str, str]) -> Request:
    """A request with header fields as they were sent, in lower case."""
    sent: dict[str, tuple[str, ...]] = {}
    for name, value in lines:
        sent[name] = (*sent.get(name, ()), value)
    joined = {name: ", ".join(values) for name, values in sent.items()}
    repeated = {name: values for name, values in sent.items() if len(values) > 1}
    return Request(HTTPOrigin("GET", (), headers=joined, repeated=repeated), "192.0.2.1", "c")


def with_query(*query: tuple[str, str]) -> Request:
    return Request(HTTPOrigin("GET", (), query), "192.0.2.1", "c")


def header(match_type: Any, value: str, request: Request, *, denies: bool) -> bool | None:
    return by_headers([HeaderMatch("X-Site", value, match_type)], denies=denies)(request)


def parameter(match_type: Any, value: str | None, request: Request, *, denies: bool) -> bool | None:
    return by_query_parameters([ParameterMatch("site", value, match_type)], denies=denies)(request)


COMPARISONS = pytest.mark.parametrize(
    ("match_type", "value", "sent", "expected"),
    [
        ("exact", "north", "north", True),
        ("exact", "north", "North", False),
        ("exact", "north", "northern", False),
        ("prefix", "nor", "north", True),
        ("prefix", "orth", "north", False),
        ("suffix", "rth", "north", True),
        ("suffix", "nort", "north", False),
        ("contains", "ort", "north", True),
        ("contains", "east", "north", False),
        ("contains", ".", "north", False),
        ("regex", "n.rth", "northern", True),
        ("regex", "^orth", "north", False),
        ("regex", "^n[a-z]+h$", "north", True),
        ("regex", "NORTH", "north", False),
        ("regex", "/^NORTH$/i", "north", True),
    ],
)


class TestHeaders:
    @BOTH
    @COMPARISONS
    def test_comparison(self, match_type: str, value: str, sent: str, expected: bool, denies: bool) -> None:
        assert header(match_type, value, with_fields(("x-site", sent)), denies=denies) is expected

    @BOTH
    @pytest.mark.parametrize("name", ["X-Site", "x-site", "X-SITE"])
    def test_the_name_is_in_any_case(self, name: str, denies: bool) -> None:
        condition = by_headers([HeaderMatch(name, "north")], denies=denies)
        assert condition(with_fields(("x-site", "north"))) is True

    @BOTH
    def test_space_around_a_value_does_not_count(self, denies: bool) -> None:
        assert header("exact", "north", with_fields(("x-site", " north\t")), denies=denies) is True

    @BOTH
    def test_a_field_that_is_not_sent_matches_nothing(self, denies: bool) -> None:
        assert header("prefix", "", with_fields(("x-other", "north")), denies=denies) is False
        assert header("regex", ".*", with_fields(), denies=denies) is False

    @BOTH
    def test_a_field_that_is_empty_is_there(self, denies: bool) -> None:
        assert header("exact", "", with_fields(("x-site", "")), denies=denies) is True

    @BOTH
    def test_all_that_is_listed_must_hold(self, denies: bool) -> None:
        listed = [HeaderMatch("X-Site", "north"), HeaderMatch("X-Role", "viewer")]
        condition = by_headers(listed, denies=denies)
        assert condition(with_fields(("x-site", "north"), ("x-role", "viewer"))) is True
        assert condition(with_fields(("x-site", "north"), ("x-role", "editor"))) is False
        assert condition(with_fields(("x-site", "north"))) is False

    @BOTH
    def test_what_does_not_hold_outweighs_what_cannot_be_told(self, denies: bool) -> None:
        listed = [HeaderMatch("X-Site", "n", "regex"), HeaderMatch("X-Role", "viewer")]
        condition = by_headers(listed, denies=denies)
        long = ("x-site", "n" * (MAX_MATCHED_CHARACTERS + 1))
        assert condition(with_fields(long, ("x-role", "viewer"))) is None
        assert condition(with_fields(long, ("x-role", "editor"))) is False

    @BOTH
    def test_a_rule_that_lists_nothing_matches_nobody(self, denies: bool) -> None:
        assert by_headers([], denies=denies)(with_fields(("x-site", "north"))) is False

    @BOTH
    def test_an_association_has_no_fields(self, denies: bool) -> None:
        assert header("regex", ".*", ASSOCIATION, denies=denies) is False

    @pytest.mark.parametrize("values", [("north", "south"), ("south", "north"), ("south", "east", "north")])
    @pytest.mark.parametrize(
        ("match_type", "value"), [("exact", "north"), ("prefix", "nor"), ("suffix", "orth"), ("regex", "^north$")]
    )
    def test_one_of_several_values_denies_and_does_not_allow(
        self, match_type: str, value: str, values: tuple[str, ...]
    ) -> None:
        request = with_fields(*(("x-site", one) for one in values))
        assert header(match_type, value, request, denies=True) is True
        assert header(match_type, value, request, denies=False) is False

    def test_several_values_that_all_match_allow(self) -> None:
        request = with_fields(("x-site", "north"), ("x-site", "north"))
        assert header("exact", "north", request, denies=False) is True

    def test_an_element_of_a_list_denies_and_does_not_allow(self) -> None:
        request = with_fields(("x-site", "south,north , east"))
        assert header("exact", "north", request, denies=True) is True
        assert header("exact", "north", request, denies=False) is False

    def test_a_value_with_a_comma_is_one_value_too(self) -> None:
        request = with_fields(("x-site", "north, upper floor"))
        for denies in (False, True):
            assert header("exact", "north, upper floor", request, denies=denies) is True
            assert header("regex", "^north, upper", request, denies=denies) is True

    def test_values_that_match_only_when_they_are_joined_deny(self) -> None:
        request = with_fields(("x-site", "north"), ("x-site", "south"))
        assert header("exact", "north, south", request, denies=True) is True
        assert header("exact", "north, south", request, denies=False) is False

    def test_bytes_beyond_ascii_are_read_both_ways(self) -> None:
        in_latin_1, in_utf_8 = "Köln", "Köln".encode().decode("latin-1")
        for sent, allowed in ((in_latin_1, True), (in_utf_8, False)):
            assert header("exact", "Köln", with_fields(("x-site", sent)), denies=True) is True
            assert header("exact", "Köln", with_fields(("x-site", sent)), denies=False) is allowed

    def test_a_value_that_a_transformation_wrote_may_have_any_characters(self) -> None:
        assert header("exact", "北", with_fields(("x-site", "北")), denies=False) is True


class TestRegularExpressions:
    @BOTH
    @pytest.mark.parametrize(("extra", "expected"), [(0, True), (1, None)])
    def test_a_value_that_is_too_long_cannot_be_told(self, extra: int, expected: bool | None, denies: bool) -> None:
        text = "n" * (MAX_MATCHED_CHARACTERS + extra)
        assert header("regex", "^n", with_fields(("x-site", text)), denies=denies) is expected
        assert parameter("regex", "^n", with_query(("site", text)), denies=denies) is expected
        assert by_user_agent([re.compile("^n")], denies=denies)(with_fields(("user-agent", text))) is expected

    def test_values_that_are_too_long_together_cannot_be_told(self) -> None:
        half = "n" * (MAX_MATCHED_CHARACTERS // 2)
        assert header("regex", "s", with_fields(("x-site", half), ("x-site", half)), denies=True) is None

    @BOTH
    @pytest.mark.parametrize("match_type", ["exact", "prefix", "suffix", "contains"])
    def test_other_comparisons_take_any_length(self, match_type: str, denies: bool) -> None:
        text = "n" * (MAX_MATCHED_CHARACTERS + 1)
        assert header(match_type, text, with_fields(("x-site", text)), denies=denies) is True

    @BOTH
    @pytest.mark.parametrize("value", ["12\n", "1\n2", "12\r", "12\x00", "12\x7f"])
    def test_a_value_with_control_characters_cannot_be_told(self, value: str, denies: bool) -> None:
        assert parameter("regex", "^[0-9]+$", with_query(("site", value)), denies=denies) is None

    @BOTH
    def test_a_tab_is_a_space(self, denies: bool) -> None:
        assert header("regex", r"a\sb", with_fields(("x-site", "a\tb")), denies=denies) is True

    def test_the_manual_names_the_limit(self) -> None:
        assert f"at most {MAX_MATCHED_CHARACTERS} characters" in (HeaderOptions.__doc__ or "")


class TestParameters:
    @BOTH
    @COMPARISONS
    def test_comparison(self, match_type: str, value: str, sent: str, expected: bool, denies: bool) -> None:
        assert parameter(match_type, value, with_query(("site", sent)), denies=denies) is expected

    @BOTH
    @pytest.mark.parametrize(
        ("query", "expected"),
        [
            ((("site", "north"),), True),
            ((("site", ""),), True),
            ((("Site", "north"),), False),
            ((("other", "site"),), False),
            ((), False),
        ],
    )
    def test_exists(self, query: tuple[tuple[str, str], ...], expected: bool, denies: bool) -> None:
        assert parameter("exists", None, with_query(*query), denies=denies) is expected

    @BOTH
    def test_a_value_is_whole_whatever_commas_it_has(self, denies: bool) -> None:
        assert parameter("exact", "north", with_query(("site", "north,south")), denies=denies) is False

    @BOTH
    def test_space_around_a_value_counts(self, denies: bool) -> None:
        assert parameter("exact", "north", with_query(("site", " north")), denies=denies) is False

    @BOTH
    def test_all_that_is_listed_must_hold(self, denies: bool) -> None:
        listed = [ParameterMatch("site", "north"), ParameterMatch("key", None, "exists")]
        condition = by_query_parameters(listed, denies=denies)
        assert condition(with_query(("key", ""), ("site", "north"))) is True
        assert condition(with_query(("site", "north"))) is False
        assert condition(with_query(("key", ""), ("site", "south"))) is False

    @pytest.mark.parametrize("values", [("north", "south"), ("south", "north")])
    def test_one_of_several_values_denies_and_does_not_allow(self, values: tuple[str, ...]) -> None:
        request = with_query(*(("site", one) for one in values))
        assert parameter("exact", "north", request, denies=True) is True
        assert parameter("exact", "north", request, denies=False) is False
        assert parameter("exists", None, request, denies=False) is True

    @BOTH
    def test_a_rule_that_lists_nothing_matches_nobody(self, denies: bool) -> None:
        assert by_query_parameters([], denies=denies)(with_query(("site", "north"))) is False

    @BOTH
    def test_an_association_has_no_parameters(self, denies: bool) -> None:
        assert parameter("exists", None, ASSOCIATION, denies=denies) is False


CHROME = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/138.0.0.0 Safari/537.36"
BOTS, BROWSERS = re.compile("bot|spider", re.IGNORECASE), re.compile("Chrome|Firefox")


class TestUserAgents:
    @BOTH
    @pytest.mark.parametrize(
        ("sent", "expected"),
        [(CHROME, True), ("GoogleBot/2.1", True), ("curl/8.5", False), ("chrome", False)],
    )
    def test_any_one_of_the_patterns_suffices(self, sent: str, expected: bool, denies: bool) -> None:
        assert by_user_agent([BOTS, BROWSERS], denies=denies)(with_fields(("user-agent", sent))) is expected

    @BOTH
    @pytest.mark.parametrize("fields", [(), (("user-agent", ""),), (("user-agent", " "),)])
    def test_a_request_that_does_not_say_cannot_be_told(
        self, fields: tuple[tuple[str, str], ...], denies: bool
    ) -> None:
        assert by_user_agent([BROWSERS], denies=denies)(with_fields(*fields)) is None

    @BOTH
    def test_an_association_has_no_user_agent(self, denies: bool) -> None:
        assert by_user_agent([BROWSERS], denies=denies)(ASSOCIATION) is False

    @pytest.mark.parametrize("agents", [("curl/8.5", CHROME), (CHROME, "curl/8.5")])
    def test_who_says_two_things_is_denied_for_either_and_allowed_for_both(self, agents: tuple[str, ...]) -> None:
        request = with_fields(*(("user-agent", agent) for agent in agents))
        assert by_user_agent([re.compile("^curl/")], denies=True)(request) is True
        assert by_user_agent([BROWSERS], denies=True)(request) is True
        assert by_user_agent([BROWSERS], denies=False)(request) is False
        assert by_user_agent([BROWSERS, re.compile("^curl/")], denies=False)(request) is True

    @BOTH
    def test_no_pattern_finds_nobody(self, denies: bool) -> None:
        assert by_user_agent([], denies=denies)(with_fields(("user-agent", CHROME))) is False


@pytest.mark.parametrize("named", ["PatientName", "00100010"])
@pytest.mark.parametrize("sent", ["PatientName", "00100010"])
def test_an_attribute_has_one_name_as_a_parameter(named: str, sent: str) -> None:
    condition = by_query_parameters([ParameterMatch(named, None, "exists")], denies=True)
    assert condition(with_query((sent, "Doe*"))) is True
    assert condition(with_query(("PatientID", "1"))) is False


@pytest.mark.parametrize("sent", ["0040a170.00080100", "0040A170.CodeValue", "PurposeOfReferenceCodeSequence.00080100"])
def test_so_has_one_in_a_sequence(sent: str) -> None:
    name = "PurposeOfReferenceCodeSequence.CodeValue"
    assert by_query_parameters([ParameterMatch(name, "1")], denies=True)(with_query((sent, "1"))) is True


@pytest.mark.parametrize(
    ("headers", "denied", "allowed"),
    [
        ({"x-role": "admin"}, True, True),
        ({"x_role": "admin"}, True, False),
        ({"x-role": "admin", "x_role": "other"}, True, False),
        ({"x-role": "other", "x_role": "admin"}, True, False),
        ({"xrole": "admin", "x_rol": "admin"}, False, False),
    ],
)
def test_a_field_is_the_same_with_an_underscore(headers: dict[str, str], denied: bool, allowed: bool) -> None:
    request = Request(HTTPOrigin("GET", ("studies",), headers=headers), "192.0.2.1", "c1")
    wanted = [HeaderMatch("X-Role", "admin")]
    assert (by_headers(wanted, denies=True)(request), by_headers(wanted, denies=False)(request)) == (denied, allowed)
