"""The soak finds growth, and what it soaks is a configuration that loads."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harmonygw.audit.spool import SEGMENTS
from harmonygw.config.loading import load
from harmonygw.service import available
from soak.__main__ import MEMORY_MIB, POOL_THREADS, Soak
from soak.house import SPOOL_BYTES, Count, House

REST = Count(
    memory=100.0,
    descriptors=("socket", "/a"),
    threads=9,
    associations=0,
    waiting=0,
    staged=0,
    unsent=0,
    spool=1000,
    unrecorded=0,
)


def compared(after: Count, samples: list[float]) -> list[str]:
    unused: Any = None
    soak = Soak(unused, unused, 1.0, 1)
    soak.samples = [replace(REST, memory=one) for one in samples]
    soak._compare(REST, after)
    return soak.problems


def test_what_has_not_grown_is_no_problem() -> None:
    assert compared(REST, [100.0, 100.0, 100.0, 100.0 + MEMORY_MIB]) == []


@pytest.mark.parametrize("name", ["associations", "waiting", "staged", "unsent", "unrecorded"])
def test_one_more_than_before_is_a_problem(name: str) -> None:
    was = getattr(REST, name)
    assert compared(replace(REST, **{name: was + 1}), []) == [f"{name}: {was} before, {was + 1} after"]


def test_a_descriptor_more_is_a_problem_and_named() -> None:
    assert compared(replace(REST, descriptors=("socket", "/b", "socket")), []) == [
        "descriptors that were not open before: {'socket': 1, '/b': 1}"
    ]
    assert compared(replace(REST, descriptors=("/b",)), []) == []


def test_a_spool_that_keeps_more_than_a_segment_is_a_problem() -> None:
    segment = SPOOL_BYTES // SEGMENTS
    assert compared(replace(REST, spool=1000 + segment), []) == []
    (problem,) = compared(replace(REST, spool=1001 + segment), [])
    assert problem == f"the audit trail's spool: 1000 bytes before, {1001 + segment} after"


def test_threads_beyond_what_pools_may_have_are_a_problem() -> None:
    assert compared(replace(REST, threads=REST.threads + POOL_THREADS), []) == []
    assert compared(replace(REST, threads=14), []) == ["threads: 9 before, 14 after"]


def test_memory_that_grows_under_load_is_a_problem() -> None:
    assert compared(REST, [100.0, 100.0, 100.0, 113.0]) == ["memory has grown by 13.0 MiB"]


def test_what_is_soaked_can_be_loaded(tmp_path: Path) -> None:
    House(tmp_path, 11112, {"P1"})
    assert load(tmp_path / "config.toml", environ={}, available=available()).pipelines.keys() == {
        *("web", "cached", "archive"),
    }
