"""Options of every type: what they hold, and what their keys demand of one another."""

import re
from datetime import UTC, date, time
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from harmonygw.config.binding import INVALID, bind
from harmonygw.config.options import (
    BACKENDS,
    ENDPOINTS,
    MIDDLEWARE,
    RULES,
    HeaderMatch,
    ParameterMatch,
    PathFilterRule,
    TimeBasedOptions,
    TypeFamily,
    UserAgentPattern,
    UserIdentity,
)

FAMILIES = (ENDPOINTS, BACKENDS, MIDDLEWARE, RULES)


def bound(family: TypeFamily, name: str, **options: object) -> tuple[Any, list[str]]:
    found: list[str] = []
    cls = family.options[family.canonical(name)]
    value = bind(cls, options, (), lambda path, sentence: found.append(f"{'.'.join(map(str, path))}: {sentence}"))
    return value, found


def right(family: TypeFamily, name: str, **options: object) -> Any:
    value, found = bound(family, name, **options)
    assert found == []
    return value


def wrong(family: TypeFamily, name: str, **options: object) -> list[str]:
    value, found = bound(family, name, **options)
    assert value is INVALID or found
    return found


@pytest.mark.parametrize(
    ("family", "alias", "canonical"),
    [
        (BACKENDS, "dicom", "dicom_scu"),
        (BACKENDS, "dimse", "dicom_scu"),
        (MIDDLEWARE, "dicomweb", "dicomweb_bridge"),
        (MIDDLEWARE, "dicomweb_processor", "dicomweb_bridge"),
        (MIDDLEWARE, "jwtauth", "jwt_auth"),
        (MIDDLEWARE, "json", "json_extractor"),
        (MIDDLEWARE, "transform", "transform"),
    ],
)
def test_old_names_of_types_are_known(family: TypeFamily, alias: str, canonical: str) -> None:
    assert family.canonical(alias) == canonical
    assert canonical in family.options


NEEDED: dict[str, dict[str, object]] = {
    "path_filter": {"rules": []},
    "policies": {"policies": []},
    "transform": {"spec_path": "a.json"},
    "metadata_transform": {"spec_path": "a.json"},
    "webhook": {"endpoint": "https://x/events"},
    "cors": {"allowed_origins": ["https://viewer.example.org"]},
    "ip_allow": {"ip_addresses": ["::1"]},
    "ip_deny": {"ip_addresses": ["10.0.0.0/8"]},
    "rate_limit": {"max_requests": 20, "window_seconds": 60},
    "path": {"paths": ["/studies/{*path}"], "mode": "allow"},
    "method": {"methods": ["get"], "mode": "deny"},
    "content_type": {"content_types": ["application/*"], "mode": "allow"},
    "header": {"headers": [], "mode": "allow"},
    "query_parameter": {"parameters": [], "mode": "allow"},
    "user_agent": {"patterns": [], "mode": "deny"},
    "aet_allow": {"ae_titles": ["CT1"]},
    "aet_deny": {"ae_titles": ["CT1"]},
}


@pytest.mark.parametrize(
    ("family", "name"),
    [(family, name) for family in FAMILIES for name in family.options],
    ids=lambda one: str(one)[:40],
)
def test_each_type_demands_just_this_and_refuses_what_it_does_not_know(family: TypeFamily, name: str) -> None:
    needed = NEEDED.get(name, {}) if family in (MIDDLEWARE, RULES) else {}
    right(family, name, **needed)
    for key in needed:
        assert wrong(family, name, **{other: needed[other] for other in needed if other != key})[-1] == (
            f': "{key}" is missing'
        )
    assert "zzzzzz: unknown key" in wrong(family, name, **needed, zzzzzz=1)[0]


@pytest.mark.parametrize(
    ("mode", "port", "may_get", "may_move"),
    [("auto", None, True, False), ("auto", 0, True, True), ("get", 11112, True, False), ("move", 11112, False, True)],
)
def test_how_a_pacs_may_be_asked_to_send(mode: str, port: int | None, may_get: bool, may_move: bool) -> None:
    stated = {} if port is None else {"incoming_store_port": port}
    options = right(BACKENDS, "dicom_scu", dimse_retrieve_mode=mode, **stated)
    assert (options.may_get, options.may_move) == (may_get, may_move)


def test_a_move_needs_somewhere_to_send_to() -> None:
    assert wrong(BACKENDS, "dimse", dimse_retrieve_mode="move") == [
        'dimse_retrieve_mode: move needs "incoming_store_port", for what the PACS sends'
    ]


@pytest.mark.parametrize(("size", "fits"), [(16383, False), (16384, True), (131072, True), (131073, False)])
@pytest.mark.parametrize(("family", "name"), [(ENDPOINTS, "dicom_scp"), (BACKENDS, "dicom_scu")])
def test_the_length_of_pdus_has_its_bounds(family: TypeFamily, name: str, size: int, fits: bool) -> None:
    expected = [] if fits else [f"max_pdu: must be 16384 to 131072, not {size}"]
    assert bound(family, name, max_pdu=size)[1] == expected


def test_a_user_identity_keeps_its_passcode_to_itself() -> None:
    options = right(BACKENDS, "dicom_scu", user_identity={"username": "u", "passcode": "hush"})
    assert options.user_identity == UserIdentity("u", "hush")
    assert "hush" not in repr(options)


def test_credentials_are_not_for_anybody() -> None:
    assert wrong(MIDDLEWARE, "cors", allowed_origins=["https://v", "*"], allow_credentials=True) == [
        'allow_credentials: needs origins by name in "allowed_origins", not "*"'
    ]
    assert right(MIDDLEWARE, "cors", allowed_origins=["https://*.v"], allow_credentials=True).allow_credentials


@pytest.mark.parametrize(("seconds", "fits"), [(-1, False), (0, True), (86400, True), (86401, False)])
def test_a_preflight_s_answer_is_kept_a_day_at_most(seconds: int, fits: bool) -> None:
    expected = [] if fits else [f"max_age_secs: must be 0 to 86400, not {seconds}"]
    assert bound(MIDDLEWARE, "cors", allowed_origins=["*"], max_age_secs=seconds)[1] == expected


def test_a_path_filter_takes_text_and_ordered_rules() -> None:
    options = right(MIDDLEWARE, "path_filter", rules=["/a", {"allow": "/b"}, {"deny": "/{*rest}"}])
    assert options.rules == ("/a", PathFilterRule(allow="/b"), PathFilterRule(deny="/{*rest}"))
    assert wrong(MIDDLEWARE, "path_filter", rules=[{}]) == ['rules.0: give either "allow" or "deny"']


def test_time_is_read_as_time() -> None:
    assert right(RULES, "time_based") == TimeBasedOptions(timezone=UTC)
    assert right(
        RULES,
        "time_based",
        timezone="Europe/Berlin",
        start_time="22:00",
        end_time="06:00",
        days_of_week=["monday"],
        start_date="2026-01-01",
        end_date="2026-01-01",
    ) == TimeBasedOptions(
        True, ZoneInfo("Europe/Berlin"), time(22), time(6), ("monday",), date(2026, 1, 1), date(2026, 1, 1)
    )


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"start_time": "07:00"}, 'start_time: needs "end_time"'),
        ({"end_time": "07:00"}, 'end_time: needs "start_time"'),
        (
            {"start_time": "07:00", "end_time": "07:00"},
            'end_time: is "start_time" too; leave both out for the whole day',
        ),
        ({"start_date": "2026-01-02", "end_date": "2026-01-01"}, 'end_date: is before "start_date"'),
        (
            {"days_of_week": ["mon"]},
            (
                'days_of_week.0: must be one of "monday", "tuesday", "wednesday", "thursday", "friday",'
                ' "saturday", "sunday", not "mon"; did you mean "monday"?'
            ),
        ),
    ],
)
def test_a_window_must_be_one(options: dict[str, object], problem: str) -> None:
    assert wrong(RULES, "time_based", **options) == [problem]


def test_conditions_on_headers_and_parameters() -> None:
    listed = [{"name": "X", "value": "^a", "match_type": "regex"}, {"name": "Y", "value": "("}]
    headers = right(RULES, "header", mode="allow", headers=listed)
    assert headers.headers == (HeaderMatch("X", "^a", "regex"), HeaderMatch("Y", "("))
    parameters = right(
        RULES,
        "query_parameter",
        mode="deny",
        parameters=[
            {"name": "a", "match_type": "exists"},
            {"name": "b", "value": "1"},
            {"name": "c", "value": "x", "match_type": "regex"},
        ],
    )
    assert parameters.parameters == (
        ParameterMatch("a", None, "exists"),
        ParameterMatch("b", "1"),
        ParameterMatch("c", "x", "regex"),
    )


@pytest.mark.parametrize(
    ("name", "options", "problem"),
    [
        (
            "header",
            {"headers": [{"name": "X", "value": "(", "match_type": "regex"}]},
            "headers.0: '(' is not a regular expression: missing ), unterminated subpattern at position 0",
        ),
        (
            "header",
            {"headers": [{"name": "X Y", "value": ""}]},
            "headers.0.name: 'X Y' is not the name of a header field",
        ),
        ("query_parameter", {"parameters": [{"name": "a"}]}, 'parameters.0: "match_type" exact needs a "value"'),
        (
            "query_parameter",
            {"parameters": [{"name": "a", "match_type": "exists", "value": "1"}]},
            'parameters.0.match_type: exists takes no "value"',
        ),
        (
            "query_parameter",
            {"parameters": [{"name": "a", "match_type": "regex", "value": "("}]},
            "parameters.0: '(' is not a regular expression: missing ), unterminated subpattern at position 0",
        ),
        (
            "user_agent",
            {"patterns": [{"pattern": "/(/i"}]},
            "patterns.0.pattern: '/(/i' is not a regular expression: missing ), unterminated subpattern at position 0",
        ),
        ("method", {"methods": ["G T"]}, "methods.0: 'G T' is not an HTTP method"),
    ],
)
def test_a_condition_that_could_never_be_checked(name: str, options: dict[str, object], problem: str) -> None:
    assert wrong(RULES, name, mode="allow", **options) == [problem]


def test_user_agents_and_methods_are_ready_for_use() -> None:
    agents = right(RULES, "user_agent", mode="deny", patterns=[{"label": "bots", "pattern": "/bot/i"}])
    assert agents.patterns == (UserAgentPattern(re.compile("bot", re.IGNORECASE), "bots"),)
    assert right(RULES, "method", mode="allow", methods=["get", "POST"]).methods == ("GET", "POST")


def test_an_scp_has_its_certificate_and_key_together() -> None:
    alone = 'client_ca_path: needs TLS: "cert_path" and "key_path"'
    assert wrong(ENDPOINTS, "dicom_scp", cert_path="c") == ['cert_path: needs "key_path"']
    assert wrong(ENDPOINTS, "dicom_scp", key_path="k") == ['key_path: needs "cert_path"']
    assert wrong(ENDPOINTS, "dicom_scp", client_ca_path="a") == [alone]
    assert right(ENDPOINTS, "dicom_scp", cert_path="c", key_path="k", tls_profile="strict").tls_profile == "strict"
