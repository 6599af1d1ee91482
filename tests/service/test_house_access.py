"""Who may come in: the credentials that an endpoint demands, and the authorizations of its pipelines."""

from base64 import b64encode
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.testing import MemoryReactorClock

from harmonygw.errors import ConfigurationError, Denied
from harmonygw.exchange import Reply, Request
from harmonygw.middleware.basic_auth import CHALLENGE
from harmonygw.operations import Find, Level
from harmonygw.service import Gateway
from harmonygw.service.house import House
from tests.middleware.authentication.issuer import signed
from tests.net.http.asking import ask
from tests.service.conftest import Build, Configure
from tests.service.parts import BRIDGED, REQUEST, result, web


def test_an_endpoint_that_demands_credentials_is_guarded_in_front_of_its_pipeline(build: Build) -> None:
    gateway = build(
        web().replace('service = "dicomweb"', 'service = "dicomweb"\nauthentication = "ward"'),
        '[authentications.ward]\nmethod = "basic"\noptions = { username = "ward", password = "secret" }',
    )
    root = gateway.resource("default")
    refused = ask(root, "/dicom/studies")
    assert (refused.status, refused.header["www-authenticate"]) == (401, CHALLENGE)
    assert refused.document["detail"] == "A valid user name and password are needed."
    credentials = "Authorization: Basic " + b64encode(b"ward:secret").decode()
    assert ask(root, "/dicom/studies", credentials).status == 200
    assert gateway.configuration.unauthenticated == ()


@pytest.mark.parametrize(
    ("method", "options", "credentials", "challenge"),
    [
        ("bearer", 'token = "abc"', "Authorization: Bearer abc", 'Bearer realm="harmonygw"'),
        (
            "api_key",
            'token = "abc", header = "X-Clinic"',
            "X-Clinic: abc",
            'ApiKey realm="harmonygw", header="X-Clinic"',
        ),
    ],
)
def test_an_endpoint_may_demand_a_token(
    build: Build, method: str, options: str, credentials: str, challenge: str
) -> None:
    root = build(
        web().replace('service = "dicomweb"', 'service = "dicomweb"\nauthentication = "viewer"'),
        f'[authentications.viewer]\nmethod = "{method}"\noptions = {{ {options} }}',
    ).resource("default")
    refused = ask(root, "/dicom/studies")
    assert (refused.status, refused.header["www-authenticate"]) == (401, challenge)
    assert ask(root, "/dicom/studies", credentials).status == 200


def test_an_endpoint_may_demand_a_json_web_token(build: Build) -> None:
    secret = "s" * 32
    root = build(
        web().replace('service = "dicomweb"', 'service = "dicomweb"\nauthentication = "staff"'),
        f'[authentications.staff]\nmethod = "jwt"\noptions = {{ use_hs256 = true, hs256_secret = "{secret}" }}',
    ).resource("default")
    refused = ask(root, "/dicom/studies")
    assert (refused.status, refused.header["www-authenticate"]) == (401, 'Bearer realm="harmonygw"')
    refused = ask(root, "/dicom/studies", "Authorization: Bearer a.b.c")
    expected = (401, 'Bearer realm="harmonygw", error="invalid_token"')
    assert (refused.status, refused.header["www-authenticate"]) == expected
    token = signed(secret.encode(), "HS256", {"sub": "ward", "exp": 9_999_999_999})
    assert ask(root, "/dicom/studies", f"Authorization: Bearer {token}").status == 200


def test_a_token_in_two_ways_is_a_bad_request_that_says_so(build: Build) -> None:
    root = build(
        web().replace('service = "dicomweb"', 'service = "dicomweb"\nauthentication = "viewer"'),
        '[authentications.viewer]\nmethod = "bearer"\noptions = { token = "abc" }',
    ).resource("default")
    refused = ask(root, "/dicom/studies?access_token=abc", "Authorization: Bearer abc")
    expected = (400, 'Bearer realm="harmonygw", error="invalid_request"')
    assert (refused.status, refused.header["www-authenticate"]) == expected


def test_what_guards_an_endpoint_is_one_for_all_pipelines_and_starts_before_the_doors(
    build: Build, tmp_path: Path
) -> None:
    (tmp_path / "users").write_text("ward:$2y$05$" + "." * 53 + "\n")
    second = '[pipelines.other]\nnetworks = ["second"]\nendpoints = ["web"]\nbackends = ["archive"]'
    house = build(
        web().replace('service = "dicomweb"', 'service = "dicomweb"\nauthentication = "ward"'),
        '[authentications.ward]\nmethod = "basic"\noptions = { credentials_path = "users" }',
        second,
        '[network.second.http]\nbind_address = "127.0.0.1"\nbind_port = 0',
    )._house
    parts = dict(house.parts())
    assert parts["endpoints.web.authentication"] is house.guards["endpoints.web"]
    assert list(house.guards) == ["endpoints.web"]


def test_credentials_of_http_cannot_be_demanded_of_an_association(problems: Any, configure: Configure) -> None:
    with pytest.raises(ConfigurationError, match='brings nothing that method "basic" could check'):
        configure(
            BRIDGED.format(middleware="[]").replace(
                'service = "dicomweb"', 'service = "dicom_scp"\nauthentication = "w"'
            ),
            '[authentications.w]\nmethod = "basic"\noptions = { username = "ward", password = "secret" }',
        )


def asked_of(house: House, pipeline: str, principal: str | None, operation: Any) -> Any:
    async def ask() -> Reply:
        return await house.pipelines[pipeline](replace(REQUEST, principal=principal, operation=operation))

    return result(Deferred.fromCoroutine(ask()))


def test_authorizations_hold_in_the_pipelines_that_they_apply_to(
    configure: Configure, memory: MemoryReactorClock
) -> None:
    tables = """
[authorizations.anna]
principals = ["anna"]
pipelines = ["web"]

[authorizations.off]
principals = ["*"]
enabled = false
"""
    house = Gateway(configure(web("empty"), web("empty", "other", "/other"), tables), memory)._house
    find = Find(Level.STUDY)
    assert isinstance(asked_of(house, "web", "anna", find), Reply)
    for principal in (None, "ben"):
        assert asked_of(house, "web", principal, find).check(Denied)
        assert isinstance(asked_of(house, "other", principal, find), Reply)
    assert asked_of(house, "web", "ben", None).check(Denied)


@pytest.mark.parametrize(
    "middleware",
    ['{ left = ["bridge", "cache"], right = ["bridge"] }', '{ left = ["mine", "cache"], right = ["mine", "cache"] }'],
)
def test_where_nobody_could_be_confined_is_a_problem_of_the_pipeline(
    middleware: str, problems: Callable[..., tuple[str, ...]], tmp_path: Path
) -> None:
    bridged = BRIDGED.replace('service = "dicomweb"', 'service = "dicom_scp"').format(middleware=middleware)
    cache = f'[middleware.cache]\ntype = "cache"\noptions = {{ path = "{tmp_path}/cache" }}'
    (problem,) = problems(bridged, cache)
    assert problem.startswith("pipelines.web: middleware: a cache or dicom_to_dicomweb ")


def test_what_an_endpoint_says_by_itself_is_for_everybody(configure: Configure, memory: MemoryReactorClock) -> None:
    """A viewer's pages, and a C-ECHO, show nothing of an archive."""
    text = web("empty") + '\n[authorizations.anna]\nprincipals = ["anna"]\n'
    house = Gateway(configure(text), memory)._house

    async def page(request: Request) -> Reply:
        return Reply(299)

    proceed = house._around(house._configuration.pipelines["web"], page)

    async def ask() -> Reply:
        return await proceed(REQUEST)

    assert result(Deferred.fromCoroutine(ask())).status == 299
