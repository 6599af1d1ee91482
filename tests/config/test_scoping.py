"""Scopes of SMART App Launch at endpoints that have no paths of DICOMweb."""

import pytest

from tests.config.conftest import Configure, Problems

MAIN = """
[proxy]
id = "x"

[network.default.http]
bind_address = "127.0.0.1"

[authentications.smart]
method = "jwt"
options = { jwks_uri = "https://issuer/keys", scopes = "smart" }

[authentications.plain]
method = "jwt"
options = { jwks_uri = "https://issuer/keys", required_scopes = ["a"] }

[middleware.guard]
type = "jwt_auth"
options = { jwks_uri = "https://issuer/keys", scopes = "smart" }

[middleware.referring]
type = "jwt_auth"
authentication = "smart"

[middleware.plain]
type = "jwt_auth"
authentication = "plain"

[backends.archive]
service = "dicom_scu"
options = { host = "127.0.0.1", aet = "PACS", local_aet = "GATEWAY" }

[pipelines.web]
networks = ["default"]
endpoints = ["door"]
backends = ["archive"]
"""


def door(service: str, middleware: str = "", authentication: str = "") -> str:
    steps = f'middleware = ["{middleware}", "dicomweb_bridge"]\n' if middleware else ""
    named = f'authentication = "{authentication}"\n' if authentication else ""
    return f'{MAIN}{steps}[endpoints.door]\nservice = "{service}"\n{named}'


@pytest.mark.parametrize("service", ["http", "echo", "viewer", "management"])
@pytest.mark.parametrize("guard", [("guard", ""), ("referring", ""), ("", "smart")])
def test_where_paths_are_not_those_of_dicomweb_they_are_refused(
    problems: Problems, service: str, guard: tuple[str, str]
) -> None:
    (problem,) = problems(door(service, *guard))
    assert problem.endswith(
        f'endpoints.door: "scopes" = "smart" is for endpoints of service "dicomweb", and this one\'s is "{service}"'
    )


@pytest.mark.parametrize(
    ("service", "middleware", "authentication"),
    [
        ("dicomweb", "guard", ""),
        ("dicomweb", "plain", "smart"),
        ("http", "plain", ""),
        ("http", "", "plain"),
        ("http", "", ""),
    ],
)
def test_elsewhere_they_are_taken(configure: Configure, service: str, middleware: str, authentication: str) -> None:
    assert configure(door(service, middleware, authentication)).endpoints["door"].service == service


def test_an_association_is_refused_by_the_middleware_and_needs_no_error(configure: Configure) -> None:
    text = MAIN.replace('endpoints = ["door"]', 'endpoints = ["door", "scp"]').replace(
        "[pipelines.web]\n",
        """
[endpoints.scp]
service = "dicom_scp"
options = { local_aet = "GATEWAY", port = 11113, bind_addr = "127.0.0.1" }

[pipelines.web]
""",
    )
    text += 'middleware = ["guard", "dicomweb_bridge"]\n[endpoints.door]\nservice = "dicomweb"\n'
    assert set(configure(text).endpoints) == {"door", "scp"}
