"""What refuses stands in front of what may answer by itself, wherever it is listed."""

from dataclasses import replace

import pytest

from harmonygw.config.model import MiddlewareSettings, Pipeline
from harmonygw.service.ordering import guarded
from tests.net.http.asking import ask
from tests.service.conftest import Build
from tests.service.parts import web

TYPES = {
    "bridge": "dicomweb_bridge",
    "store": "cache",
    "guard": "policies",
    "paths": "path_filter",
    "tokens": "token_auth",
    "log": "log_dump",
}
MIDDLEWARE = {name: MiddlewareSettings(name, kind, None, None) for name, kind in TYPES.items()}
PIPELINE = Pipeline("web", "", (), (), (), (), (), ())


@pytest.mark.parametrize(
    ("listed", "stands"),
    [
        ("bridge guard", "guard bridge"),
        ("tokens bridge store log guard paths", "tokens guard paths bridge store log"),
        ("store guard", "guard store"),
        ("guard log bridge", "guard log bridge"),
        ("log guard", "log guard"),
        ("", ""),
    ],
)
def test_one_list(listed: str, stands: str) -> None:
    pipeline = replace(PIPELINE, middleware=tuple(listed.split()))
    assert guarded(pipeline, MIDDLEWARE).middleware == tuple(stands.split())


def test_each_side_of_two() -> None:
    pipeline = replace(PIPELINE, middleware=None, left=("bridge", "store", "guard"), right=("guard", "store", "bridge"))
    found = guarded(pipeline, MIDDLEWARE)
    assert (found.middleware, found.left, found.right) == (
        None,
        ("guard", "bridge", "store"),
        ("store", "bridge", "guard"),
    )


GUARDED = """
[middleware.guard]
type = "path_filter"
options = { rules = ["/studies/{study}"] }

[middleware.bridge]
type = "dicomweb_bridge"
"""


def test_a_bridge_answers_nothing_that_is_refused_behind_it(build: Build) -> None:
    """The description of the service is the bridge's own."""
    for listed, status in (('"bridge", "guard"', 404), ('"bridge"', 200)):
        texts = web().replace("backends = [", f"middleware = [{listed}]\nbackends = [", 1)
        assert ask(build(texts, GUARDED).resource("default"), "/dicom").status == status
