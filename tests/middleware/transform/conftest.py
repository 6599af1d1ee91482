"""Specifications in files, and the steps that apply them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harmonygw.config.options import TransformOptions
from harmonygw.pipeline import Context
from tests.middleware.exchanges import context

Written = Callable[..., Context]


@pytest.fixture
def written(tmp_path: Path) -> Written:
    """Return what a step is built from whose specification is these operations, by name and object."""

    def write(*operations: tuple[str, Any], proxy: Any = None, **options: Any) -> Context:
        folder = tmp_path / "transforms"
        folder.mkdir(exist_ok=True)
        several = [{"operation": name, "spec": spec} for name, spec in operations]
        (folder / "a.json").write_text(json.dumps(several), encoding="utf-8")
        return context(TransformOptions("a.json", **options), folder=tmp_path, **(proxy or {}))

    return write
