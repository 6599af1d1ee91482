"""Middleware that is written down and would not be in force: the configuration is refused."""

import pytest

from tests.config.conftest import Configure, Problems

PIPELINE = """
[proxy]
id = "gateway"
[network.default.http]
bind_address = "127.0.0.1"
[pipelines.web]
networks = ["default"]
endpoints = ["ENDPOINT"]
middleware = MIDDLEWARE
backends = ["BACKEND"]
[endpoints.web]
service = "dicomweb"
[endpoints.scp]
service = "dicom_scp"
options = { local_aet = "HARMONY", port = 11112 }
[backends.archive]
service = "storage"
[backends.origin]
service = "dicomweb"
options = { base_url = "http://127.0.0.1:8042/dicom-web" }
[middleware.kept]
type = "cache"
[middleware.inverse]
type = "dicom_to_dicomweb"
[middleware.users]
type = "basic_auth"
options = { username = "a", password = "b" }
[middleware.guard]
type = "policies"
options = { policies = ["nobody"] }
[middleware.paths]
type = "path_filter"
options = { rules = ["/studies"] }
[policies.nobody]
rules = ["x_ray"]
[rules.x_ray]
type = "aet_deny"
weight = 1
options = { ae_titles = ["XRAY"] }
"""


def pipeline(middleware: str, endpoint: str = "web", backend: str = "archive") -> str:
    text = PIPELINE.replace("MIDDLEWARE", middleware)
    return text.replace("ENDPOINT", endpoint).replace("BACKEND", backend)


@pytest.mark.parametrize(
    "middleware",
    [
        '{ left = ["dicomweb_bridge"], right = ["users", "dicomweb_bridge"] }',
        '{ left = ["dicomweb_bridge"], right = ["dicomweb_bridge", "users"] }',
    ],
)
def test_who_asks_is_not_learnt_on_the_right_only(problems: Problems, middleware: str) -> None:
    """There a request that a step has changed is dropped: with it the principal, and what a token is confined to."""
    sentence = (
        'config.toml:9: pipelines.web.middleware: "users" (basic_auth) stands on the right only, where nobody learns '
        "who asks; list it on the left"
    )
    assert sentence in problems(pipeline(middleware))


def test_where_the_sides_cross_a_bridge_may_stand_in_front_of_who_authenticates(problems: Problems) -> None:
    """Its memory of pages is asked before anybody is: on the left alone the order looks right."""
    found = problems(pipeline('{ left = ["users", "dicomweb_bridge"], right = ["users", "dicomweb_bridge"] }'))
    assert any('"users" stands behind "dicomweb_bridge"' in one for one in found)


@pytest.mark.parametrize("checking", ["guard", "paths"])
def test_a_request_is_checked_in_front_of_what_makes_another_of_it(
    configure: Configure, problems: Problems, checking: str
) -> None:
    kind = {"guard": "policies", "paths": "path_filter"}[checking]
    configure(pipeline(f'["{checking}", "inverse"]', "scp", "origin"))
    assert problems(pipeline(f'["inverse", "{checking}"]', "scp", "origin")) == [
        f'config.toml:9: pipelines.web.middleware: "{checking}" ({kind}) stands behind "inverse" (dicom_to_dicomweb), '
        "behind which no request is of the one who asked: not its origin, method or path; put it in front"
    ]


@pytest.mark.parametrize("checking", ["guard", "paths"])
def test_behind_a_cache_it_may_be_listed_since_the_house_puts_it_in_front(configure: Configure, checking: str) -> None:
    configure(pipeline(f'["kept", "{checking}"]', "scp", "archive"))
