"""What the log says in a test."""

from collections.abc import Iterator
from typing import Any

import pytest
from twisted.logger import globalLogPublisher


@pytest.fixture
def logged() -> Iterator[list[Any]]:
    events: list[Any] = []
    observe = events.append
    globalLogPublisher.addObserver(observe)
    yield events
    globalLogPublisher.removeObserver(observe)
