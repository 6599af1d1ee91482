"""What is written down to protect, and protects nothing, is said."""

import pytest

from tests.config.conftest import Configure

BASE = """
[proxy]
id = "gateway"
[network.default.http]
bind_address = "127.0.0.1"
[pipelines.web]
networks = ["default"]
endpoints = ["web"]
middleware = ["guard", "dicomweb_bridge"]
backends = ["archive"]
[endpoints.web]
service = "dicomweb"
options = { path_prefix = "/dicom" }
[backends.archive]
service = "storage"
[middleware.guard]
type = "policies"
options = { policies = ["reading"] }
[policies.reading]
rules = ["paths"]
[rules.paths]
type = "path"
weight = 1
options = { mode = "deny", paths = ["/studies/{*path}", "/dicomweb"] }
"""


def test_what_is_in_force_is_not_warned_of(configure: Configure) -> None:
    assert configure(BASE).warnings == ()


@pytest.mark.parametrize(
    ("was", "becomes", "warnings"),
    [
        (
            '"guard", ',
            "",
            [
                "middleware.guard: no pipeline lists it: it keeps nobody out",
                "policies.reading: no pipeline is under it: it denies nothing",
            ],
        ),
        (
            'policies = ["reading"]',
            "policies = []",
            [
                "middleware.guard: none of its policies is enabled: it lets everything pass",
                "policies.reading: no pipeline is under it: it denies nothing",
            ],
        ),
        (
            'rules = ["paths"]',
            'rules = ["paths"]\nenabled = false',
            ["middleware.guard: none of its policies is enabled: it lets everything pass"],
        ),
        (
            "weight = 1",
            "weight = 1\nenabled = false",
            ["policies.reading: none of its rules is enabled: it denies nothing"],
        ),
        ('rules = ["paths"]', "rules = []", ["policies.reading: none of its rules is enabled: it denies nothing"]),
        (
            '"/dicomweb"',
            '"/dicom/studies", "/dicom"',
            [
                f'rules.paths.options.paths[{at}]: begins with the prefix of an endpoint, "/dicom"; a path is what '
                "comes after that"
                for at in (1, 2)
            ],
        ),
    ],
)
def test_what_protects_nothing_is_said(configure: Configure, was: str, becomes: str, warnings: list[str]) -> None:
    found = configure(BASE.replace(was, becomes)).warnings
    assert [one.partition(": ")[2] for one in found] == warnings
