"""Middleware with credentials, policies and rules."""

import pytest

from tests.config.conftest import Configure, Problems

MAIN = '[proxy]\nid = "x"\n'
FILES = {"none.toml": ""}
SECRET = "s" * 32


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        (
            'type = "basic_auth"',
            "config.toml:3: middleware.m: nothing to check credentials by: give options.username and password,"
            " options.token_path, or authentication",
        ),
        (
            'type = "jwtauth"',
            "config.toml:3: middleware.m: nothing to check credentials by: give options.discovery, jwks_uri,"
            " public_key_path or use_hs256, or authentication",
        ),
        (
            'type = "token_auth"',
            "config.toml:3: middleware.m: nothing to check credentials by: give authentication",
        ),
        (
            'type = "token_auth"\nauthentication = "people"',
            'config.toml:5: middleware.m.authentication: method is "basic" there, but "bearer" or "api_key" is needed',
        ),
        (
            'type = "jwt_auth"\nauthentication = "people"',
            'config.toml:5: middleware.m.authentication: method is "basic" there, but "jwt" is needed',
        ),
        (
            'type = "jwt_auth"\nauthentication = "tokens"\noptions.scopes = "smart"',
            "config.toml:5: middleware.m.authentication: the options of the authentication count: name required_scopes"
            " and scopes there",
        ),
        (
            'type = "basic_auth"\nauthentication = "peeple"',
            'config.toml:5: middleware.m.authentication: there is no authentication "peeple"; did you mean "people"?',
        ),
        (
            'type = "policies"\noptions.policies = ["a", "b"]',
            'config.toml:5: middleware.m.options.policies[1]: there is no policy "b"; known: a',
        ),
        ('type = "policies"', 'config.toml:3: middleware.m.options: "policies" is missing'),
    ],
)
def test_middleware_that_could_not_do_its_work(problems: Problems, table: str, problem: str) -> None:
    rest = (
        "\n[authentications.people]\nmethod = 'basic'\noptions = { username = 'u', password = 'p' }\n"
        "[authentications.tokens]\nmethod = 'jwt'\noptions = { jwks_uri = 'https://issuer/keys' }\n"
        "[policies.a]\nrules = []\n"
    )
    assert problems(f"{MAIN}[middleware.m]\n{table}{rest}", FILES) == [problem]


@pytest.mark.parametrize(
    "table",
    [
        'type = "basic_auth"\noptions = { username = "u", password = "p" }',
        'type = "basic_auth"\noptions = { token_path = "users" }',
        'type = "basic_auth"\nauthentication = "authentications.people"',
        'type = "jwt_auth"\noptions = { public_key_path = "key.pem" }',
        f'type = "jwt_auth"\noptions = {{ use_hs256 = true, hs256_secret = "{SECRET}" }}',
    ],
)
def test_middleware_that_knows_what_to_check_by(configure: Configure, table: str) -> None:
    people = "\n[authentications.people]\nmethod = 'basic'\noptions.credentials_path = 'users'\n"
    assert configure(f"{MAIN}[middleware.m]\n{table}{people}", FILES).middleware["m"].name == "m"


def test_a_policy_names_rules_that_exist_and_goes_by_its_own_name(problems: Problems) -> None:
    text = (
        MAIN + '[policies.a]\nid = "b"\nrules = ["r", "s"]\n'
        '[rules.r]\nid = "q"\ntype = "allow_all"\n[rules.t]\ntype = "ip_alow"\n'
    )
    assert problems(text, FILES) == [
        'config.toml:4: policies.a.id: must be the table\'s name, "a", not "b"',
        'config.toml:5: policies.a.rules[1]: there is no rule "s"; known: r, t',
        'config.toml:7: rules.r.id: must be the table\'s name, "r", not "q"',
        'config.toml:10: rules.t.type: there is no rule type "ip_alow"; did you mean "ip_allow"?',
    ]


@pytest.mark.parametrize(
    ("type_", "options", "problem"),
    [
        (
            "user_agent",
            'mode = "deny", patterns = [{ pattern = "/bot(/i" }]',
            "patterns[0].pattern: '/bot(/i' is not a regular expression: missing ), unterminated subpattern at"
            " position 3",
        ),
        (
            "header",
            'mode = "allow", headers = [{ name = "X-Site", match_type = "regex", value = "[" }]',
            "headers[0]: '[' is not a regular expression: unterminated character set at position 0",
        ),
        (
            "time_based",
            'timezone = "Europe/Berlon"',
            "timezone: 'Europe/Berlon' is not a time zone of this system's database, such as 'Europe/Berlin'",
        ),
        (
            "time_based",
            'start_time = "9am", end_time = "17:00"',
            "start_time: '9am' is not a time of day as HH:MM",
        ),
        ("time_based", 'start_date = "1.3.2026"', "start_date: '1.3.2026' is not a date as YYYY-MM-DD"),
        (
            "aet_allow",
            'ae_titles = ["A_TITLE_OF_SEVENTEEN"]',
            "ae_titles[0]: 'A_TITLE_OF_SEVENTEEN' is not an AE title: 1 to 16 printable ASCII characters without"
            " backslash (PS3.5 §6.2)",
        ),
    ],
)
def test_what_a_rule_could_never_check_is_said_where_it_is_written(
    problems: Problems, type_: str, options: str, problem: str
) -> None:
    text = f'{MAIN}[rules.r]\ntype = "{type_}"\noptions = {{ {options} }}\n'
    assert problems(text, FILES) == [f"config.toml:5: rules.r.options.{problem}"]


@pytest.mark.parametrize(("enabled", "warnings"), [("true", 1), ("false", 0)])
def test_the_weaker_way_to_combine_rules_is_a_warning(configure: Configure, enabled: str, warnings: int) -> None:
    text = f'{MAIN}[policies.a]\nrules = []\ncombine = "any"\nenabled = {enabled}\n'
    found = [warning for warning in configure(text, FILES).warnings if "combine" in warning]
    sentence = (
        "config.toml:5: policies.a.combine: any allow rule that matches lets a request in,"
        " whatever the other types of rules say"
    )
    assert found == [sentence][:warnings]
