"""Configurations written to a folder of their own, and loaded by the names of their files."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from harmonygw.config.loading import load
from harmonygw.config.model import Configuration
from harmonygw.config.options import BACKENDS, ENDPOINTS, MIDDLEWARE, RULES, Availability
from harmonygw.errors import ConfigurationError

EVERYTHING = Availability(ENDPOINTS.options, BACKENDS.options, MIDDLEWARE.options, RULES.options)

Configure = Callable[..., Configuration]
Problems = Callable[..., list[str]]


@pytest.fixture
def configure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Configure:
    """Load a main file's text, with pipeline files by name, from the working directory."""
    monkeypatch.chdir(tmp_path)

    def loaded(
        main: str,
        pipelines: Mapping[str, str] | None = None,
        environ: Mapping[str, str] | None = None,
        available: Availability = EVERYTHING,
    ) -> Configuration:
        Path("config.toml").write_text(main, encoding="utf-8")
        for name, text in (pipelines or {}).items():
            Path("pipelines").mkdir(exist_ok=True)
            Path("pipelines", name).write_text(text, encoding="utf-8")
        return load("config.toml", environ=environ or {}, available=available)

    return loaded


@pytest.fixture
def problems(configure: Configure) -> Problems:
    """Return what is wrong with a configuration that must be wrong."""

    def found(*arguments: object, **keywords: object) -> list[str]:
        with pytest.raises(ConfigurationError) as caught:
            configure(*arguments, **keywords)
        return list(caught.value.problems)

    return found
