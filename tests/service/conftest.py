"""What the tests of the gateway share."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import formatEvent, globalLogPublisher

from harmonygw.config.model import Configuration
from harmonygw.errors import ConfigurationError
from harmonygw.service import Gateway
from tests.service import parts

Configure = Callable[..., Configuration]
Build = Callable[..., Gateway]


@pytest.fixture(autouse=True)
def diary() -> list[str]:
    parts.diary.clear()
    return parts.diary


@pytest.fixture(autouse=True)
def log() -> Iterator[list[str]]:
    """Every line of the log, with the kind of what was caught."""
    found: list[str] = []

    def observe(event: dict[str, Any]) -> None:
        if not event.get("log_namespace", "").startswith("harmonygw"):
            return
        caught = f" ({event['log_failure'].type.__name__})" if "log_failure" in event else ""
        found.append(f"{event['log_level'].name}: {formatEvent(event)}{caught}")

    globalLogPublisher.addObserver(observe)
    yield found
    globalLogPublisher.removeObserver(observe)


@pytest.fixture
def configure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Configure:
    monkeypatch.chdir(tmp_path)
    return lambda *texts, **more: parts.configuration(tmp_path, *texts, **more)


@pytest.fixture
def memory() -> MemoryReactorClock:
    return MemoryReactorClock()


@pytest.fixture
def build(configure: Configure, memory: MemoryReactorClock) -> Build:
    """Build a gateway whose reactor is in memory."""
    return lambda *texts, **more: Gateway(configure(*texts, **more), memory)


@pytest.fixture
def problems(configure: Configure, memory: MemoryReactorClock) -> Callable[..., tuple[str, ...]]:
    """Build a gateway that cannot be built, and return why."""

    def found(*texts: str, **more: Any) -> tuple[str, ...]:
        with pytest.raises(ConfigurationError) as caught:
            Gateway(configure(*texts, **more), memory)
        return caught.value.problems

    return found


@pytest.fixture
def started(build: Build, diary: list[str]) -> Build:
    """Start a gateway whose reactor is in memory; the diary is empty then."""

    def begin(*texts: str, **more: Any) -> Gateway:
        gateway = build(*texts, **more)
        gateway.startService()
        diary.clear()
        return gateway

    return begin
