"""What talks to real peers, and what becomes of a test when one is missing.

`HARMONYGW_REQUIRE_INTEROP` makes a missing one a failure instead of a skip.
"""

import os
import shutil
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from twisted.internet import reactor
from twisted.internet.utils import getProcessOutputAndValue

Tool = Callable[..., Coroutine[Any, Any, tuple[int, str]]]
"""Runs a program of DCMTK with these arguments; returns its exit code and everything it said."""

DCMTK = ("echoscu", "findscu", "getscu", "movescu", "storescu", "storescp", "dcmqrscp")


def need(*programs: str) -> None:
    """Skip the test, or fail it, unless these programs are installed."""
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        sentence = f"not installed: {', '.join(missing)} (Debian: apt-get install dcmtk orthanc)"
        if os.environ.get("HARMONYGW_REQUIRE_INTEROP"):
            pytest.fail(sentence)
        pytest.skip(sentence)


@pytest.fixture
def dcmtk() -> Tool:
    """Runs DCMTK's programs."""
    need(*DCMTK)
    return _run


@pytest.fixture(scope="session")
def real_peers() -> None:
    """DCMTK and Orthanc are there."""
    need(*DCMTK, "Orthanc")


async def _run(tool: str, *arguments: object) -> tuple[int, str]:
    # Without TCP_NODELAY each of its responses waits for a delayed ACK, 45 ms.
    environment = {**os.environ, "TCP_NODELAY": "1"}
    out, err, code = await getProcessOutputAndValue(
        shutil.which(tool), [str(one) for one in arguments], env=environment, reactor=reactor
    )
    return code, (out + err).decode("utf-8", "replace")
