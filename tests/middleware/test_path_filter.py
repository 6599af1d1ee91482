"""The path filter: which paths are let through."""

from dataclasses import replace
from typing import Any

import pytest

from harmonygw.config.options import PathFilterOptions, PathFilterRule
from harmonygw.errors import ConfigurationError, NotFound
from harmonygw.exchange import HTTPOrigin, Reply
from harmonygw.middleware.path_filter import PathFilter
from harmonygw.operations import Echo
from harmonygw.pipeline import MIDDLEWARE, load
from tests.middleware.exchanges import Pipeline, context, dimse, http


def allow(path: str) -> PathFilterRule:
    return PathFilterRule(allow=path)


def deny(path: str) -> PathFilterRule:
    return PathFilterRule(deny=path)


def pipeline(*rules: Any) -> Pipeline:
    return Pipeline(PathFilter(context(PathFilterOptions(rules))))


def test_the_registry_has_it() -> None:
    assert load(MIDDLEWARE["path_filter"]) is PathFilter


@pytest.mark.parametrize(
    ("rules", "path", "passes"),
    [
        (("/ImagingStudy", "/Patient/{id}"), "ImagingStudy", True),
        (("/ImagingStudy", "/Patient/{id}"), "Patient/17", True),
        (("/ImagingStudy", "/Patient/{id}"), "Patient", False),
        (("/ImagingStudy/",), "ImagingStudy", True),
        ((allow("/api/public/{*rest}"), deny("/api/{*rest}"), allow("/{*rest}")), "api/public/x", True),
        ((allow("/api/public/{*rest}"), deny("/api/{*rest}"), allow("/{*rest}")), "api/x", False),
        ((allow("/api/public/{*rest}"), deny("/api/{*rest}"), allow("/{*rest}")), "x", True),
        ((deny("/admin/{*rest}"),), "studies", False),
        ((allow("/{*rest}"),), "studies/../admin", False),
        (("/",), "", True),
        ((), "studies", False),
    ],
)
def test_the_first_rule_that_matches_decides(rules: tuple[Any, ...], path: str, passes: bool) -> None:
    one = pipeline(*rules)
    origin = HTTPOrigin("GET", tuple(part for part in path.split("/") if part))
    answer = one.ask(replace(http(), origin=origin))
    assert (answer == Reply()) is passes
    assert len(one.asked) is int(passes)
    if not passes:
        assert isinstance(answer, NotFound)
        assert str(answer) == "There is no such resource."


def test_an_association_has_no_path_and_passes() -> None:
    assert pipeline(deny("/{*rest}")).ask(dimse(Echo())) == Reply()


def test_what_is_no_pattern_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"^middleware\.step\.options\.rules\.1: '/a\*\{' is not a path"):
        pipeline("/a", deny("/a*{"))
